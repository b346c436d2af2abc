//! Data forms (XEP-0004), as far as commands need them.

use minidom::Element;

use crate::core::{ns, xml};

/// A form that somebody fills in, or a result for people to read.
#[derive(Clone, Debug)]
pub struct Form {
    element: Element,
}

/// A kind of field (XEP-0004 §3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// Yes or no.
    Boolean,
    /// A text that nobody changes.
    Fixed,
    /// Some of several.
    ListMulti,
    /// A line of text.
    TextSingle,
    /// Several lines of text.
    TextMulti,
}

impl Field {
    fn as_str(self) -> &'static str {
        match self {
            Self::Boolean => "boolean",
            Self::Fixed => "fixed",
            Self::ListMulti => "list-multi",
            Self::TextSingle => "text-single",
            Self::TextMulti => "text-multi",
        }
    }
}

impl Form {
    /// To be filled in.
    #[must_use]
    pub fn to_fill(title: &str, instructions: &str) -> Self {
        let mut form = Self::of("form", title);
        form.text("instructions", instructions);
        form
    }

    /// To be read.
    #[must_use]
    pub fn result(title: &str) -> Self {
        Self::of("result", title)
    }

    fn of(kind: &str, title: &str) -> Self {
        let mut form = Self {
            element: xml::element("x", ns::DATA, &[("type", kind)]),
        };
        form.text("title", title);
        form
    }

    fn text(&mut self, name: &'static str, text: &str) {
        let mut child = Element::bare(name, ns::DATA);
        xml::append_text(&mut child, text);
        self.element.append_child(child);
    }

    /// With one field more; `options` are those of a list: value and label.
    #[must_use]
    pub fn with(mut self, field: Field, name: &str, label: &str, values: &[&str], options: &[(&str, &str)]) -> Self {
        let attributes = [("type", field.as_str()), ("var", name), ("label", label)];
        // A fixed text has no name.
        let attributes = if field == Field::Fixed {
            &attributes[..1]
        } else {
            &attributes[..]
        };
        let mut element = xml::element("field", ns::DATA, attributes);
        for value in values {
            element.append_child(value_of(value));
        }
        for (value, label) in options {
            let mut option = xml::element("option", ns::DATA, &[("label", label)]);
            option.append_child(value_of(value));
            element.append_child(option);
        }
        self.element.append_child(element);
        self
    }

    /// With a table: name and label of each column, and rows of as many cells.
    #[must_use]
    pub fn table<const N: usize>(
        mut self,
        columns: [(&str, &str); N],
        rows: impl Iterator<Item = [String; N]>,
    ) -> Self {
        let mut reported = Element::bare("reported", ns::DATA);
        for (name, label) in columns {
            let attributes = [("type", "text-single"), ("var", name), ("label", label)];
            reported.append_child(xml::element("field", ns::DATA, &attributes));
        }
        self.element.append_child(reported);
        for row in rows {
            let mut item = Element::bare("item", ns::DATA);
            for ((name, _), cell) in columns.iter().zip(row) {
                let mut field = xml::element("field", ns::DATA, &[("var", name)]);
                field.append_child(value_of(&cell));
                item.append_child(field);
            }
            self.element.append_child(item);
        }
        self
    }

    /// As it is sent.
    #[must_use]
    pub fn into_element(self) -> Element {
        self.element
    }
}

fn value_of(text: &str) -> Element {
    let mut value = Element::bare("value", ns::DATA);
    xml::append_text(&mut value, text);
    value
}

/// What somebody has filled in. Fields that nobody asked for say nothing.
#[derive(Clone, Copy, Debug)]
pub struct Submitted<'a>(&'a Element);

impl<'a> Submitted<'a> {
    /// The submitted form in a command, if it has one.
    #[must_use]
    pub fn of(command: &'a Element) -> Option<Self> {
        let form = command.get_child("x", ns::DATA)?;
        (form.attr("type") == Some("submit")).then_some(Self(form))
    }

    /// The values of a field; none if it is not there.
    pub fn values(self, name: &str) -> Option<Vec<String>> {
        let mut fields = self.0.children().filter(|child| child.is("field", ns::DATA));
        let field = fields.find(|field| field.attr("var") == Some(name))?;
        let values = field
            .children()
            .filter(|child| child.is("value", ns::DATA))
            .take(MAX_VALUES);
        Some(values.map(Element::text).collect())
    }

    /// The first value of a field, without blanks around it.
    #[must_use]
    pub fn value(self, name: &str) -> Option<String> {
        let first = self.values(name)?.into_iter().next()?;
        Some(first.trim().to_owned())
    }

    /// What a boolean field says (XEP-0004 §3.3); none if it says anything else.
    #[must_use]
    pub fn flag(self, name: &str) -> Option<bool> {
        match self.value(name)?.as_str() {
            "1" | "true" => Some(true),
            "0" | "false" => Some(false),
            _ => None,
        }
    }
}

/// Most values of one field that are read.
const MAX_VALUES: usize = 64;

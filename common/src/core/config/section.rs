//! The macro behind each section: the struct, its keys, its reading and its rows of the reference are one text.

use std::collections::BTreeMap;
use std::path::Path;

use figment::Figment;
use figment::value::{Dict, Value};

use crate::core::config::fault::{Fault, nearest};
use crate::core::config::setting::{Setting, Shape, Shown};

/// Declares a section of the configuration.
///
/// The doc comment of a key is written for the operator: unit, bounds, price. After the type comes the default; a key
/// without one must be set, and its example (after `=>`) is what the sample shows.
macro_rules! section {
    ($(#[doc = $about:literal])* $name:ident {
        $($(#[doc = $doc:literal])* $key:ident: $ty:ty $(= $default:expr)? $(=> $example:literal)?,)*
    }) => {
        $(#[doc = $about])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name { $($(#[doc = $doc])* pub $key: $ty,)* }

        impl $crate::core::config::setting::Setting for $name {
            const EXPECTED: &'static str = "a table";
            const SHAPE: $crate::core::config::setting::Shape = $crate::core::config::setting::Shape::Table;

            fn rows() -> Vec<$crate::core::config::section::Row> {
                vec![$({
                    #[allow(unused_mut, unused_assignments, reason = "only some keys have a default or an example")]
                    let (mut default, mut example) = (None, None);
                    $(default = Some($crate::core::config::setting::Setting::shown(&{ let value: $ty = $default; value }));)?
                    $(example = Some($example);)?
                    $crate::core::config::section::Row::of::<$ty>(stringify!($key), concat!($($doc, "\n",)*), default, example)
                },)*]
            }

            fn about() -> &'static str {
                concat!($($about, "\n",)*)
            }

            fn read(
                reader: &mut $crate::core::config::section::Reader<'_>,
                place: &$crate::core::config::section::Place,
                value: &::figment::value::Value,
            ) -> Option<Self> {
                let table = reader.table::<Self>(place, value)?;
                $(
                    #[allow(unused_mut, unused_assignments, reason = "only some keys have a default")]
                    let mut default: Option<fn() -> $ty> = None;
                    $(default = Some(|| $default);)?
                    let $key = reader.key::<$ty>(place, &table, stringify!($key), default, [$($example)?].first().copied());
                )*
                let section = Self { $($key: $key?,)* };
                $crate::core::config::section::Check::check(&section, reader, place);
                Some(section)
            }

            fn shown(&self) -> $crate::core::config::setting::Shown {
                $crate::core::config::setting::Shown::Table(vec![
                    $((stringify!($key), $crate::core::config::setting::Setting::shown(&self.$key)),)*
                ])
            }
        }
    };
}
pub(super) use section;

/// What must hold between the keys of one section.
pub trait Check {
    /// Tells `reader` everything that does not.
    fn check(&self, _reader: &mut Reader<'_>, _place: &Place) {}
}

/// One key of the reference.
#[derive(Clone, Debug)]
pub struct Row {
    /// The key.
    pub key: &'static str,
    /// What may be written.
    pub expected: &'static str,
    /// What it is for, in the words of its doc comment.
    pub text: &'static str,
    /// What holds if it is not set; `None` for a key that must be set.
    pub default: Option<Shown>,
    /// What the sample shows, where the default teaches nothing.
    pub example: Option<&'static str>,
    /// How it stands in a file.
    pub shape: Shape,
    /// Whether it may also stand in a file of its own.
    pub secret: bool,
    /// The keys inside, for tables.
    pub rows: Vec<Row>,
    /// What the table inside is for.
    pub about: &'static str,
}

impl Row {
    /// The row of a key of type `T`.
    #[must_use]
    pub fn of<T: Setting>(
        key: &'static str,
        text: &'static str,
        default: Option<Shown>,
        example: Option<&'static str>,
    ) -> Self {
        let (rows, about) = (T::rows(), T::about());
        Self {
            key,
            expected: T::EXPECTED,
            text,
            default,
            example,
            shape: T::SHAPE,
            secret: T::SECRET,
            rows,
            about,
        }
    }
}

/// Where a value stands.
#[derive(Clone, Debug)]
pub struct Place {
    /// The file or the variable.
    pub source: String,
    /// The key with its sections.
    pub key: String,
}

impl Place {
    /// A key inside this place, by the same source.
    #[must_use]
    pub fn inner(&self, key: &str) -> String {
        if self.key.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.key)
        }
    }
}

/// Reads the content of a secret file; the error says what is wrong and what to do.
pub type ReadSecret<'a> = dyn Fn(&Path) -> Result<String, (String, String)> + 'a;

/// Walks over the merged values and gathers the faults.
pub struct Reader<'a> {
    figment: Figment,
    /// Where a key that nobody set would stand.
    main: String,
    secrets: Option<&'a ReadSecret<'a>>,
    faults: Vec<Fault>,
    /// Where each key that was set came from.
    sources: BTreeMap<String, String>,
    /// Whether a file could not be read, so that missing keys prove nothing.
    incomplete: bool,
}

impl<'a> Reader<'a> {
    pub(super) fn new(figment: Figment, main: String, faults: Vec<Fault>, secrets: Option<&'a ReadSecret<'a>>) -> Self {
        let incomplete = !faults.is_empty();
        Self {
            figment,
            main,
            secrets,
            faults,
            sources: BTreeMap::new(),
            incomplete,
        }
    }

    pub(super) fn into_faults(self) -> Vec<Fault> {
        self.faults
    }

    /// Notes what is wrong at a place.
    pub fn fault(&mut self, place: &Place, what: String, fix: String) {
        self.faults.push(Fault {
            source: place.source.clone(),
            key: place.key.clone(),
            what,
            fix,
        });
    }

    /// Notes what is wrong with a key, wherever it was set.
    pub fn fault_at(&mut self, key: String, what: String, fix: String) {
        let source = self.sources.get(&key).cloned().unwrap_or_else(|| self.main.clone());
        self.faults.push(Fault { source, key, what, fix });
    }

    /// The place of an inner value: its own source if it has one, else that of what holds it.
    pub fn place_in(&mut self, outer: &Place, key: String, value: &Value) -> Place {
        // A table may be merged from many sources, so only its leaves tell where they come from.
        let own = self
            .figment
            .get_metadata(value.tag())
            .map(|metadata| metadata.name.to_string());
        let source = own.unwrap_or_else(|| outer.source.clone());
        self.sources.insert(key.clone(), source.clone());
        Place { source, key }
    }

    /// The table of a section, after a look for keys that it does not have.
    pub fn table<T: Setting>(&mut self, place: &Place, value: &Value) -> Option<Dict> {
        let Some(table) = value.as_dict() else {
            let what = format!("{} is not a table", value.to_actual());
            self.fault(
                place,
                what,
                format!("write [{}] on a line of its own and its keys below", place.key),
            );
            return None;
        };
        let mut known: Vec<String> = Vec::new();
        for row in T::rows() {
            known.push(row.key.to_owned());
            if row.secret {
                known.push(format!("{}_file", row.key));
            }
        }
        let unknown = match place.key.as_str() {
            "" => "is no section".to_owned(),
            section => format!("is no key of [{section}]"),
        };
        for (key, value) in table {
            if !known.contains(key) {
                let place = self.place_in(place, place.inner(key), leaf(value));
                let fix = match nearest(key, known.iter().map(String::as_str)) {
                    Some(meant) => format!("did you mean {meant}?"),
                    None => format!("take it out, or write one of {}", known.join(", ")),
                };
                self.fault(&place, unknown.clone(), fix);
            }
        }
        Some(table.clone())
    }

    /// One key of a section, or its default.
    pub fn key<T: Setting>(
        &mut self,
        outer: &Place,
        table: &Dict,
        key: &str,
        default: Option<fn() -> T>,
        example: Option<&str>,
    ) -> Option<T> {
        let path = outer.inner(key);
        if self.secrets.is_none()
            && let Some(unread) = T::unread()
        {
            return Some(unread);
        }
        if T::SECRET
            && let Some(value) = table.get(&format!("{key}_file"))
        {
            return self.secret_file(outer, table, key, value);
        }
        if let Some(value) = table.get(key) {
            let place = self.place_in(outer, path, value);
            // Reading goes on with the default, so that one fault does not hide the next.
            return T::read(self, &place, value).or_else(|| default.map(|make| make()));
        }
        if let Some(make) = default {
            return Some(make());
        }
        let place = Place {
            source: outer.source.clone(),
            key: path,
        };
        if T::SHAPE == Shape::Table {
            return T::read(self, &place, &Value::from(Dict::new()));
        }
        if !self.incomplete {
            let fix = match example {
                _ if T::SECRET => self.secret_fix(&place),
                Some(example) => format!("write {key} = {example}"),
                None => format!("write {}", T::EXPECTED),
            };
            self.fault(&place, "is missing".into(), fix);
        }
        None
    }

    /// What to do about a secret that is not there.
    #[must_use]
    pub fn secret_fix(&self, place: &Place) -> String {
        let key = place.key.strip_suffix("_file").unwrap_or(&place.key);
        let last = key.rsplit('.').next().unwrap_or(key);
        format!("write {last}_file = \"/etc/cusax/{last}\" with the secret in that file, readable by cusax only")
    }

    fn secret_file<T: Setting>(&mut self, outer: &Place, table: &Dict, key: &str, value: &Value) -> Option<T> {
        let place = self.place_in(outer, format!("{}_file", outer.inner(key)), value);
        if table.contains_key(key) {
            let fix = format!("take {key} out and keep {key}_file");
            self.fault(&place, format!("both {key} and {key}_file are set"), fix);
            return None;
        }
        let path = value.as_str().filter(|path| !path.is_empty());
        let Some(path) = path else {
            self.fault(
                &place,
                "is not a path".into(),
                "write the path of a file in quotes".into(),
            );
            return None;
        };
        let secrets = self.secrets?;
        match secrets(Path::new(path)) {
            Ok(text) => T::read(self, &place, &Value::from(text.trim_end_matches(['\r', '\n']))),
            Err((what, fix)) => {
                self.fault(&place, what, fix);
                None
            }
        }
    }
}

/// A value inside that knows its source.
fn leaf(value: &Value) -> &Value {
    match value {
        Value::Dict(_, table) => table.values().next().map_or(value, leaf),
        Value::Array(_, items) => items.first().map_or(value, leaf),
        _ => value,
    }
}

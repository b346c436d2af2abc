//! Elements of the stream as trees, with a bound on their depth.
//!
//! Trees and not types: one attribute that does not parse would otherwise cost the whole stanza, and its sender an
//! answer. The bound keeps the recursion of a tree in hand; the size is [`guard`](super::guard)'s.

use minidom::Element;
use xso::error::{Error, FromEventsError};
use xso::exports::rxml::{AttrMap, Event, QName};
use xso::{Context, FromEventsBuilder, FromXml};

/// One element of the stream, not deeper than [`MAX_DEPTH`]; what lies deeper makes it [`Stanza::TooDeep`].
#[derive(Debug)]
pub enum Stanza {
    /// The element.
    Element(Element),
    /// Its head, whose content was dropped.
    TooDeep(Element),
}

/// Builds a [`Stanza`].
pub struct Builder {
    inner: Option<<Element as FromXml>::Builder>,
    head: Element,
    depth: usize,
}

impl FromEventsBuilder for Builder {
    type Output = Stanza;

    fn feed(&mut self, event: Event, context: &Context<'_>) -> Result<Option<Stanza>, Error> {
        match &event {
            Event::StartElement(..) => {
                self.depth += 1;
                if self.depth > MAX_DEPTH {
                    self.inner = None;
                }
            }
            Event::EndElement(..) if self.depth == 0 && self.inner.is_none() => {
                return Ok(Some(Stanza::TooDeep(self.head.clone())));
            }
            Event::EndElement(..) => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        match &mut self.inner {
            Some(inner) => Ok(inner.feed(event, context)?.map(Stanza::Element)),
            None => Ok(None),
        }
    }
}

impl FromXml for Stanza {
    type Builder = Builder;

    fn from_events(name: QName, attributes: AttrMap, context: &Context<'_>) -> Result<Builder, FromEventsError> {
        let mut head = Element::bare(name.1.as_str(), name.0.as_str());
        for ((namespace, name), value) in &attributes {
            if namespace.is_none() {
                head.set_attr(xso::exports::rxml::Namespace::NONE, name.clone(), value.as_str());
            }
        }
        let inner = Element::from_events(name, attributes, context)?;
        Ok(Builder {
            inner: Some(inner),
            head,
            depth: 0,
        })
    }
}

/// How many elements may lie inside one another.
pub const MAX_DEPTH: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_has_a_bound_and_the_head_survives() {
        let nested = |n: usize| {
            format!(
                "<iq xmlns='jabber:component:accept' id='x' type='get'>{}{}</iq>",
                "<a>".repeat(n),
                "</a>".repeat(n)
            )
        };
        let read = |n| xso::from_bytes::<Stanza>(nested(n).as_bytes()).expect("well-formed");
        assert!(matches!(read(MAX_DEPTH), Stanza::Element(_)));
        assert!(
            matches!(read(MAX_DEPTH + 1), Stanza::TooDeep(head) if head.attr("id") == Some("x") && head.children().next().is_none())
        );
        assert!(matches!(read(10_000), Stanza::TooDeep(_)));
    }
}

//! XML without document types: what an entity stands for is nobody's to say.

use quick_xml::XmlVersion;
use quick_xml::events::{BytesStart, Event};
use quick_xml::name::ResolveResult;
use quick_xml::reader::NsReader;

use super::{Found, MAX_DEPTH, Place, Unreadable, Value, malformed};

/// An element, with what is looked for in it.
#[derive(Debug, Default)]
pub(super) struct Element {
    name: Qualified,
    attributes: Vec<(Qualified, String)>,
    children: Vec<Self>,
    text: String,
    /// A comment or the like stands in it: readers differ on which text is its value.
    parted: bool,
}

/// A local name in a namespace; empty for none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::policy) struct Qualified {
    pub(in crate::policy) space: Box<str>,
    pub(in crate::policy) local: Box<str>,
}

/// One step of a path through elements.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::policy) enum Step {
    Element(Qualified),
    /// `*`: every element.
    Every,
    /// `@name`, at the end.
    Attribute(Qualified),
}

/// Reads a whole body.
pub(super) fn parse(body: &[u8]) -> Result<Element, Unreadable> {
    let Ok(text) = std::str::from_utf8(body) else {
        return malformed("the body is not UTF-8");
    };
    let mut reader = NsReader::from_str(text);
    reader.config_mut().enable_all_checks(true);
    // The document itself, and every element that is open.
    let mut open = vec![Element::default()];
    loop {
        let event = reader.read_event().map_err(broken)?;
        match event {
            Event::Start(start) => {
                let element = element(&reader, &start)?;
                open.push(element);
                if open.len() > MAX_DEPTH + 1 {
                    return malformed(format!("the body is more than {MAX_DEPTH} deep"));
                }
            }
            Event::Empty(start) => {
                let element = element(&reader, &start)?;
                adopt(&mut open, element);
            }
            Event::End(_) => {
                if let Some(element) = open.pop() {
                    adopt(&mut open, element);
                }
            }
            Event::Eof => break,
            other => content(&other, open.last_mut())?,
        }
    }
    let document = open.pop().filter(|_| open.is_empty());
    let document = document.filter(|d| d.children.len() == 1 && d.text.trim().is_empty());
    match document {
        Some(document) => Ok(document),
        None => malformed("the body is not one whole XML element"),
    }
}

fn adopt(open: &mut [Element], element: Element) {
    if let Some(parent) = open.last_mut() {
        parent.children.push(element);
    }
}

fn broken(error: impl std::fmt::Display) -> Unreadable {
    Unreadable::Malformed(format!("the body is no XML: {error}"))
}

/// What is neither the beginning nor the end of an element.
fn content(event: &Event<'_>, element: Option<&mut Element>) -> Result<(), Unreadable> {
    let Some(element) = element else {
        return Ok(());
    };
    match event {
        Event::Text(text) => element.text.push_str(&text.xml10_content()),
        Event::GeneralRef(reference) => {
            let known = match &**reference {
                "lt" => Some('<'),
                "gt" => Some('>'),
                "amp" => Some('&'),
                "apos" => Some('\''),
                "quot" => Some('"'),
                _ => reference.resolve_char_ref().map_err(broken)?,
            };
            match known {
                Some(c) => element.text.push(c),
                None => return malformed("the body has an entity that nothing declares"),
            }
        }
        Event::CData(text) => {
            element.parted = true;
            element.text.push_str(&text.xml10_content());
        }
        Event::Comment(_) | Event::PI(_) => element.parted = true,
        Event::DocType(_) => return malformed("XML with a document type is not read"),
        Event::Decl(declaration) => {
            let utf8 = match declaration.encoding() {
                None => true,
                Some(name) => name.map_err(broken)?.eq_ignore_ascii_case("utf-8"),
            };
            if !utf8 {
                return malformed("the body's text is not UTF-8");
            }
        }
        Event::Start(_) | Event::Empty(_) | Event::End(_) | Event::Eof => {}
    }
    Ok(())
}

fn element(reader: &NsReader<&[u8]>, start: &BytesStart<'_>) -> Result<Element, Unreadable> {
    let resolver = reader.resolver();
    let (space, local) = resolver.resolve_element(start.name());
    let mut element = Element {
        name: qualified(&space, local.into_inner())?,
        ..Element::default()
    };
    for attribute in start.attributes() {
        let attribute = attribute.map_err(broken)?;
        if attribute.key.as_namespace_binding().is_some() {
            if attribute.value.contains('&') {
                return malformed("a namespace has a reference in it");
            }
            continue;
        }
        let (space, local) = resolver.resolve_attribute(attribute.key);
        let name = qualified(&space, local.into_inner())?;
        let value = attribute.normalized_value(XmlVersion::Implicit1_0);
        if element.attributes.iter().any(|(other, _)| *other == name) {
            return malformed("an attribute stands twice");
        }
        let value = value.map_err(broken)?.into_owned();
        element.attributes.push((name, value));
    }
    Ok(element)
}

fn qualified(space: &ResolveResult<'_>, local: &str) -> Result<Qualified, Unreadable> {
    let space = match space {
        ResolveResult::Unbound => "",
        ResolveResult::Bound(space) => space.0,
        ResolveResult::Unknown(_) => return malformed("a prefix has no namespace"),
    };
    Ok(Qualified {
        space: space.into(),
        local: local.into(),
    })
}

impl Element {
    /// Every value at a path; `self` is the document at first.
    pub(super) fn find(
        &self,
        steps: &[Step],
        place: &Place,
        found: &mut Found,
    ) -> Result<(), Unreadable> {
        match steps.split_first() {
            None => self.value(place, found),
            Some((Step::Attribute(name), _)) => {
                match self.attributes.iter().find(|(own, _)| own == name) {
                    Some((_, value)) => push(value, found),
                    None => found.missing = true,
                }
                Ok(())
            }
            Some((step, rest)) => {
                let fits = |child: &&Self| match step {
                    Step::Element(name) => child.name == *name,
                    Step::Every | Step::Attribute(_) => true,
                };
                let mut children = self.children.iter().filter(fits).peekable();
                found.missing |= children.peek().is_none();
                children.try_for_each(|child| child.find(rest, place, found))
            }
        }
    }

    fn value(&self, place: &Place, found: &mut Found) -> Result<(), Unreadable> {
        if self.parted || !self.children.is_empty() {
            return malformed(format!("what stands at `{place}` is no single text"));
        }
        push(&self.text, found);
        Ok(())
    }
}

fn push(text: &str, found: &mut Found) {
    found.present = true;
    found.values.push(Value::Text(text.trim().to_owned()));
}

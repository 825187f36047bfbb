//! What a route matches: a method and a path of segments.

use std::ops::Range;

use http::Method;

use crate::target::Target;

/// How many segments a pattern may have: the route table is walked by recursion.
const MAX_SEGMENTS: usize = 64;

/// `METHOD /path`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    /// `None` for `*`.
    pub(super) method: Option<Method>,
    /// The path's segments; none for `/`, an empty literal at the end for a trailing slash.
    pub(super) segments: Vec<Segment>,
    /// Whether it ends with `/**`: that path and everything below it.
    pub(super) rest: bool,
}

/// One segment of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Segment {
    /// Exactly this text.
    Literal(Box<str>),
    /// `{name}.json`: one segment that holds an identifier between fixed text.
    Shaped(Box<Shape>),
    /// `{name}`: one segment that is an identifier.
    Name(Box<str>),
    /// `*`: one segment.
    Any,
}

/// Fixed text around an identifier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) before: Box<str>,
    pub(super) name: Box<str>,
    pub(super) after: Box<str>,
}

/// What is wrong with a pattern, and where in its text.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PatternError {
    pub(super) span: Range<usize>,
    pub(super) message: String,
}

impl Pattern {
    /// Reads `METHOD /path`.
    pub(super) fn parse(text: &str) -> Result<Self, PatternError> {
        let whole = |message: &str| PatternError {
            span: 0..text.len(),
            message: message.to_owned(),
        };
        let (method, path) = text
            .split_once(' ')
            .ok_or_else(|| whole("a match is a method, one blank and a path: `GET /projects`"))?;
        let method = match method {
            "*" => None,
            _ => Some(read_method(method).ok_or_else(|| PatternError {
                span: 0..method.len(),
                message: format!("`{method}` is no method; write it in capitals, or `*` for all"),
            })?),
        };
        let Some(inner) = path.strip_prefix('/') else {
            return Err(whole("the path of a match begins with `/`"));
        };
        let mut pattern = Self {
            method,
            segments: Vec::new(),
            rest: false,
        };
        if inner.is_empty() {
            return Ok(pattern);
        }
        if inner.split('/').count() > MAX_SEGMENTS {
            let message = format!("the path of a match has at most {MAX_SEGMENTS} segments");
            return Err(whole(&message));
        }
        let mut start = text.len() - inner.len();
        for segment in inner.split('/') {
            let span = start..start + segment.len();
            start = span.end + 1;
            pattern
                .push(segment, start > text.len())
                .map_err(|message| PatternError { span, message })?;
        }
        Ok(pattern)
    }

    fn push(&mut self, segment: &str, last: bool) -> Result<(), String> {
        match segment {
            "**" if last => self.rest = true,
            "**" => return Err("`**` stands only at the end of a path".to_owned()),
            "*" => self.segments.push(Segment::Any),
            _ => self.segments.push(Segment::parse(segment, last)?),
        }
        Ok(())
    }

    /// The names in the path, each with the number of its segment.
    pub(super) fn names(&self) -> impl Iterator<Item = (usize, &str)> {
        self.segments
            .iter()
            .enumerate()
            .filter_map(|(at, segment)| match segment {
                Segment::Name(name) => Some((at, &**name)),
                Segment::Shaped(shape) => Some((at, &*shape.name)),
                Segment::Literal(_) | Segment::Any => None,
            })
    }

    /// Whether some request's method and path fit both.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        let methods = match (&self.method, &other.method) {
            (Some(a), Some(b)) => {
                a == b
                    || (a == Method::GET && b == Method::HEAD)
                    || (a == Method::HEAD && b == Method::GET)
            }
            _ => true,
        };
        methods && paths_meet((&self.segments, self.rest), (&other.segments, other.rest))
    }

    /// The path with the one name in it replaced by `{id}`; `None` if it is not one name among
    /// literals.
    pub(super) fn template(&self) -> Option<String> {
        if self.rest || self.names().count() != 1 {
            return None;
        }
        let mut path = String::new();
        for segment in &self.segments {
            path.push('/');
            match segment {
                Segment::Literal(text) => path.push_str(text),
                Segment::Name(_) => path.push_str("{id}"),
                Segment::Shaped(shape) => {
                    path.push_str(&format!("{}{{id}}{}", shape.before, shape.after));
                }
                Segment::Any => return None,
            }
        }
        Some(path)
    }
}

impl Segment {
    fn parse(text: &str, last: bool) -> Result<Self, String> {
        let inner = text.strip_prefix('{').and_then(|t| t.strip_suffix('}'));
        if let Some(name) = inner {
            return if is_name(name) {
                Ok(Self::Name(name.into()))
            } else {
                Err(format!(
                    "`{name}` is no name: lower-case letters, digits and `_`"
                ))
            };
        }
        if text.contains(['{', '}']) {
            return Shape::parse(text).map(|shape| Self::Shaped(Box::new(shape)));
        }
        if text.contains('*') {
            return Err("`*` stands for a whole segment".to_owned());
        }
        if text.is_empty() {
            return if last {
                Ok(Self::Literal("".into()))
            } else {
                Err("a path has no empty segment".to_owned())
            };
        }
        check_literal(text)?;
        Ok(Self::Literal(text.into()))
    }

    /// Whether a path's segment is one of these.
    pub(super) fn takes(&self, segment: &str) -> bool {
        match self {
            Self::Literal(text) => **text == *segment,
            Self::Shaped(shape) => shape.takes(segment),
            Self::Name(_) | Self::Any => !segment.is_empty(),
        }
    }

    /// How many bytes of fixed text stand before and behind an identifier.
    pub(super) fn margins(&self) -> (usize, usize) {
        match self {
            Self::Shaped(shape) => (shape.before.len(), shape.after.len()),
            Self::Literal(_) | Self::Name(_) | Self::Any => (0, 0),
        }
    }
}

impl Shape {
    fn parse(text: &str) -> Result<Self, String> {
        let parts = text.split_once('{').and_then(|(before, rest)| {
            let (name, after) = rest.split_once('}')?;
            Some((before, name, after))
        });
        let (before, name, after) = parts
            .filter(|(before, _, after)| ![before, after].iter().any(|t| t.contains(['{', '}'])))
            .ok_or_else(|| format!("`{text}`: one `{{name}}` in a segment, and text around it"))?;
        if !is_name(name) {
            return Err(format!(
                "`{name}` is no name: lower-case letters, digits and `_`"
            ));
        }
        if [before, after].iter().any(|text| text.contains('*')) {
            return Err("`*` stands for a whole segment".to_owned());
        }
        // In the place of the identifier a letter that no text around it makes another of.
        check_literal(&format!("{before}x{after}"))?;
        Ok(Self {
            before: before.into(),
            name: name.into(),
            after: after.into(),
        })
    }

    /// Whether a segment has this form, with at least one character for the identifier.
    pub(super) fn takes(&self, segment: &str) -> bool {
        segment.len() > self.before.len() + self.after.len()
            && segment.starts_with(&*self.before)
            && segment.ends_with(&*self.after)
    }

    /// Whether every segment of the other's form has this one.
    fn includes(&self, other: &Self) -> bool {
        other.before.starts_with(&*self.before) && other.after.ends_with(&*self.after)
    }

    /// Whether some segment has both forms.
    fn meets(&self, other: &Self) -> bool {
        let before = |a: &Self, b: &Self| a.before.starts_with(&*b.before);
        let after = |a: &Self, b: &Self| a.after.ends_with(&*b.after);
        (before(self, other) || before(other, self)) && (after(self, other) || after(other, self))
    }

    /// Orders forms: what has more fixed text comes first.
    pub(super) fn rank(&self) -> (std::cmp::Reverse<usize>, &str, &str) {
        let length = self.before.len() + self.after.len();
        (std::cmp::Reverse(length), &self.before, &self.after)
    }
}

/// Whether two patterns match the same request, and neither is the more specific: their first
/// segments that differ are forms that overlap, and neither holds the other.
pub(super) fn clash(a: &Pattern, b: &Pattern) -> bool {
    let pairs = a.segments.iter().zip(&b.segments);
    for (x, y) in pairs {
        match (x, y) {
            (Segment::Shaped(x), Segment::Shaped(y)) => {
                if x.includes(y) && y.includes(x) {
                    continue;
                }
                let ordered = x.includes(y) || y.includes(x);
                return !ordered && x.meets(y) && a.overlaps(b);
            }
            (Segment::Literal(x), Segment::Literal(y)) if x == y => {}
            (Segment::Name(_) | Segment::Any, Segment::Name(_) | Segment::Any) => {}
            _ => return false,
        }
    }
    false
}

/// Faults text that no target's one form holds.
fn check_literal(text: &str) -> Result<(), String> {
    let line = format!("GET /{text}");
    match Target::from_line(&line) {
        Ok(target) if target.query().is_some() => {
            Err("a query takes no part in matching".to_owned())
        }
        Ok(target) if target.to_string() == line => Ok(()),
        Ok(target) => Err(format!(
            "this never matches: a target is judged in its one form, `{}`",
            target.path().trim_start_matches('/')
        )),
        Err(error) => Err(format!("this never matches: {error}")),
    }
}

/// Whether a text is a name: a lower-case letter, then lower-case letters, digits and `_`.
pub(super) fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase())
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

fn read_method(text: &str) -> Option<Method> {
    let capitals = text.bytes().all(|b| b.is_ascii_uppercase() || b == b'-');
    Method::from_bytes(text.as_bytes())
        .ok()
        .filter(|_| capitals)
}

fn paths_meet(a: (&[Segment], bool), b: (&[Segment], bool)) -> bool {
    match (a.0.split_first(), b.0.split_first()) {
        (None, None) => true,
        (None, Some(_)) => a.1,
        (Some(_), None) => b.1,
        (Some((x, rest_a)), Some((y, rest_b))) => {
            segments_meet(x, y) && paths_meet((rest_a, a.1), (rest_b, b.1))
        }
    }
}

fn segments_meet(x: &Segment, y: &Segment) -> bool {
    match (x, y) {
        (Segment::Literal(x), Segment::Literal(y)) => x == y,
        (Segment::Shaped(x), Segment::Shaped(y)) => x.meets(y),
        (Segment::Literal(text), other) | (other, Segment::Literal(text)) => other.takes(text),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_match_is_read_into_its_segments() {
        let pattern = Pattern::parse("GET /projects/{project}/*/**").unwrap();
        assert_eq!(pattern.method, Some(Method::GET));
        assert_eq!(
            pattern.segments,
            [
                Segment::Literal("projects".into()),
                Segment::Name("project".into()),
                Segment::Any
            ]
        );
        assert!(pattern.rest);
        let root = Pattern::parse("* /").unwrap();
        assert_eq!((root.method, root.segments.len()), (None, 0));
        let slash = Pattern::parse("GET /projects/").unwrap();
        assert_eq!(slash.segments.len(), 2);
        assert!(Pattern::parse("PROPFIND /**").unwrap().rest);
    }

    #[test]
    fn what_is_no_match_says_where() {
        for (text, place) in [
            ("", ""),
            ("/projects", "/projects"),
            ("get /x", "get"),
            ("GET  /x", "GET  /x"),
            ("GET x", "GET x"),
            ("GET|POST /x", "GET|POST"),
            ("GET /a/**/b", "**"),
            ("GET /a*/b", "a*"),
            ("GET /a//b", ""),
            ("GET /{Project}/b", "{Project}"),
            ("GET /{}/b", "{}"),
            ("GET /{id}{x}", "{id}{x}"),
            ("GET /{id}.json*", "{id}.json*"),
            ("GET /a}{id}", "a}{id}"),
            ("GET /{Id}.json", "{Id}.json"),
            ("GET /{id}%2e", "{id}%2e"),
            ("GET /a/../b", ".."),
            ("GET /a%2fb", "a%2fb"),
            ("GET /%61", "%61"),
            ("GET /a?x=1", "a?x=1"),
            ("GET /a;b", "a;b"),
            ("GET /a#b", "a#b"),
        ] {
            let error = Pattern::parse(text).unwrap_err();
            assert_eq!(&text[error.span.clone()], place, "{text}: {error:?}");
        }
    }

    #[test]
    fn forms_of_which_neither_holds_the_other_clash() {
        for (a, b, expected) in [
            ("GET /a{x}", "GET /{x}b", true),
            ("GET /a{x}", "* /{x}b/**", true),
            ("GET /a{x}", "POST /{x}b", false),
            ("GET /a{x}", "GET /{x}", false),
            ("GET /a{x}", "GET /ab{x}", false),
            ("GET /a{x}", "GET /b{x}", false),
            ("GET /a{x}/c", "GET /{x}b/d", false),
            ("GET /c/a{x}", "GET /{y}/{x}b", false),
        ] {
            let (a, b) = (Pattern::parse(a).unwrap(), Pattern::parse(b).unwrap());
            assert_eq!(clash(&a, &b), expected, "{a:?} {b:?}");
            assert_eq!(clash(&b, &a), expected, "{b:?} {a:?}");
        }
    }

    #[test]
    fn overlap_is_told() {
        for (a, b, meet) in [
            ("GET /a/**", "* /a/{x}", true),
            ("GET /a/**", "POST /a/{x}", false),
            ("HEAD /a", "GET /a", true),
            ("GET /assets/**", "* /projects/{project}/**", false),
            ("GET /**", "* /projects/{project}/**", true),
            ("GET /a/*", "GET /a/", false),
            ("GET /a/**", "GET /a", true),
            ("GET /a/*/c", "GET /a/b", false),
            ("GET /a/*/c", "GET /*/b/c", true),
            ("GET /{x}.json", "GET /{y}.xml", false),
            ("GET /{x}.json", "GET /a{y}", true),
            ("GET /{x}.json", "GET /a.json", true),
            ("GET /{x}.json", "GET /.json", false),
            ("GET /{x}.json", "GET /{y}", true),
        ] {
            let (a, b) = (Pattern::parse(a).unwrap(), Pattern::parse(b).unwrap());
            assert_eq!(a.overlaps(&b), meet, "{a:?} {b:?}");
            assert_eq!(b.overlaps(&a), meet, "{b:?} {a:?}");
        }
    }
}

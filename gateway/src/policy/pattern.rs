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
    /// `{name}`: one segment that is an identifier.
    Name(Box<str>),
    /// `*`: one segment.
    Any,
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
            return Err("a pattern inside a segment is not built yet in this version".to_owned());
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
        let line = format!("GET /{text}");
        match Target::from_line(&line) {
            Ok(target) if target.to_string() == line && target.query().is_none() => {
                Ok(Self::Literal(text.into()))
            }
            Ok(target) if target.query().is_none() => Err(format!(
                "this never matches: a target is judged in its one form, `{}`",
                target.path().trim_start_matches('/')
            )),
            Ok(_) => Err("a query takes no part in matching".to_owned()),
            Err(error) => Err(format!("this never matches: {error}")),
        }
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
        (Segment::Literal(text), _) | (_, Segment::Literal(text)) => !text.is_empty(),
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
            ("GET /{id}.json", "{id}.json"),
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
        ] {
            let (a, b) = (Pattern::parse(a).unwrap(), Pattern::parse(b).unwrap());
            assert_eq!(a.overlaps(&b), meet, "{a:?} {b:?}");
            assert_eq!(b.overlaps(&a), meet, "{b:?} {a:?}");
        }
    }
}

//! Where in a request a value stands, as written in `routes.toml`.

use std::collections::BTreeMap;
use std::fmt;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Method, Uri};
use percent_encoding::percent_decode_str;

use super::fields::Name;
use super::xml::Qualified;
use super::{Format, Found, Sent, Unreadable, Value, json, malformed, xml};
use crate::policy::pattern::{Pattern, Segment};
use crate::target::{Leniency, Target};

/// A place.
#[derive(Debug)]
pub(in crate::policy) struct Place {
    written: Box<str>,
    pub(super) kind: Kind,
    /// Whether a request may do without.
    pub(in crate::policy) optional: bool,
}

#[derive(Debug)]
pub(super) enum Kind {
    /// In the query, or in a form of that format.
    Field(Option<Format>, Name),
    Json(Vec<json::Step>),
    Xml(Vec<xml::Step>),
    Header(Header),
}

/// Namespaces by the prefixes that `routes.toml` gives them.
pub(in crate::policy) type Namespaces = BTreeMap<Box<str>, Box<str>>;

/// A header field, and the path in it if it is a URL.
#[derive(Debug)]
pub(super) struct Header {
    name: HeaderName,
    path: Option<(Pattern, usize)>,
}

impl Place {
    /// Reads a place of the resource `resource`, or of a value if it has no name.
    pub(in crate::policy) fn parse(
        written: &str,
        resource: Option<&str>,
        namespaces: &Namespaces,
    ) -> Result<Self, String> {
        let (text, optional) = match written.strip_suffix('?') {
            Some(text) => (text, true),
            None => (written, false),
        };
        let wrong = || {
            format!(
                "`{written}` is no place: `query:NAME`, `form:NAME`, `multipart:NAME`, \
                 `json:/POINTER`, `xml:/PATH` or `header:NAME`"
            )
        };
        let (kind, rest) = text.split_once(':').ok_or_else(wrong)?;
        if rest.is_empty() {
            return Err(wrong());
        }
        let kind = match kind {
            "query" => Kind::Field(None, Name::new(rest)),
            "form" => Kind::Field(Some(Format::Form), Name::new(rest)),
            "multipart" => Kind::Field(Some(Format::Multipart), Name::new(rest)),
            "json" => Kind::Json(json_steps(rest)?),
            "xml" => Kind::Xml(xml_steps(rest, namespaces)?),
            "header" => Kind::Header(Header::parse(rest, resource)?),
            _ => return Err(wrong()),
        };
        Ok(Self {
            written: written.into(),
            kind,
            optional,
        })
    }

    /// Whether it stands in this header field.
    pub(super) fn is_in_header(&self, name: &HeaderName) -> bool {
        matches!(&self.kind, Kind::Header(header) if header.name == name)
    }

    /// The form of body that it stands in.
    pub(in crate::policy) const fn format(&self) -> Option<Format> {
        match self.kind {
            Kind::Field(format, _) => format,
            Kind::Json(_) => Some(Format::Json),
            Kind::Xml(_) => Some(Format::Xml),
            Kind::Header(_) => None,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

fn json_steps(text: &str) -> Result<Vec<json::Step>, String> {
    let steps = text
        .strip_prefix('/')
        .ok_or_else(|| format!("`{text}` is no JSON pointer: it begins with `/`"))?;
    steps
        .split('/')
        .map(|step| match step {
            "*" => Ok(json::Step::Every),
            _ if step
                .split('~')
                .skip(1)
                .any(|after| !after.starts_with(['0', '1'])) =>
            {
                Err(format!(
                    "`{text}` is no JSON pointer: `~` is written `~0`, and `/` in a name `~1`"
                ))
            }
            _ if step.contains('[') => Err(format!(
                "`{text}`: a filter picks one member, and the application may take another"
            )),
            _ => Ok(json::Step::Name(
                step.replace("~1", "/").replace("~0", "~").into(),
            )),
        })
        .collect()
}

fn xml_steps(text: &str, namespaces: &Namespaces) -> Result<Vec<xml::Step>, String> {
    let steps = text
        .strip_prefix('/')
        .ok_or_else(|| format!("`{text}` is no path of elements: it begins with `/`"))?;
    let count = steps.split('/').count();
    let step = |(at, step): (usize, &str)| match step.strip_prefix('@') {
        Some(name) if at + 1 == count && at > 0 => {
            Ok(xml::Step::Attribute(qualified(name, namespaces)?))
        }
        Some(_) => Err(format!(
            "`{text}`: an attribute stands at the end, in an element"
        )),
        None if step == "*" => Ok(xml::Step::Every),
        None => Ok(xml::Step::Element(qualified(step, namespaces)?)),
    };
    steps.split('/').enumerate().map(step).collect()
}

fn qualified(name: &str, namespaces: &Namespaces) -> Result<Qualified, String> {
    let (space, local) = match name.split_once(':') {
        Some((prefix, local)) => {
            let space = namespaces.get(prefix).ok_or_else(|| {
                format!("`{prefix}` is no prefix: write `{prefix} = \"…\"` under [namespaces]")
            })?;
            (&**space, local)
        }
        None => ("", name),
    };
    let fits = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
    if local.is_empty() || !local.chars().all(fits) {
        return Err(format!("`{name}` is no name of an element or attribute"));
    }
    Ok(Qualified {
        space: space.into(),
        local: local.into(),
    })
}

impl Header {
    fn parse(text: &str, resource: Option<&str>) -> Result<Self, String> {
        let (name, path) = match text.split_once(':') {
            Some((name, path)) => (name, Some(path)),
            None => (text, None),
        };
        let name = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| format!("`{name}` is no header name"))?;
        let path = match (path, resource) {
            (None, _) => None,
            (Some(_), None) => return Err(format!("`{text}`: only a resource stands in a path")),
            (Some(path), Some(resource)) => Some(template(path, resource)?),
        };
        Ok(Self { name, path })
    }

    /// Every field of this name in any spelling.
    pub(super) fn find(
        &self,
        sent: Sent<'_>,
        found: &mut Found,
        rewritten: &mut Vec<(HeaderName, HeaderValue)>,
    ) -> Result<(), Unreadable> {
        for value in values(sent.headers, self.name.as_str()) {
            let Ok(text) = value.to_str() else {
                return malformed(format!("the header field `{}` is not ASCII", self.name));
            };
            found.present = true;
            let Some((pattern, segment)) = &self.path else {
                found.values.push(Value::Text(text.trim().to_owned()));
                continue;
            };
            let (target, whole) = self.on_this_site(text.trim(), sent)?;
            let named = segments(pattern, target.path());
            let own = pattern.segments.get(*segment);
            let (before, after) = own.map(Segment::margins).unwrap_or_default();
            let id = named
                .and_then(|segments| segments.get(*segment).copied())
                .and_then(|id| id.get(before..id.len() - after))
                .and_then(|id| percent_decode_str(id).decode_utf8().ok());
            // What fits no resource is no resource's name.
            let id = id.unwrap_or_default().into_owned();
            found.values.push(Value::Text(id));
            if whole != text {
                let Ok(value) = HeaderValue::try_from(whole) else {
                    return malformed(format!("the URL in `{}` cannot be read", self.name));
                };
                rewritten.push((self.name.clone(), value));
            }
        }
        found.missing = !found.present;
        Ok(())
    }

    /// The target that a URL or path names, and the URL in its one form. It must be on this site
    /// (RFC 4918, section 10.3), and stand once.
    fn on_this_site(&self, text: &str, sent: Sent<'_>) -> Result<(Target, String), Unreadable> {
        let name = &self.name;
        if values(sent.headers, name.as_str()).count() > 1 || !sent.headers.contains_key(name) {
            return malformed(format!("`{name}` does not stand once, under this name"));
        }
        let elsewhere =
            || Unreadable::Malformed(format!("the URL in `{name}` is not on this site"));
        let origin = if text.starts_with('/') {
            String::new()
        } else {
            let (scheme, rest) = text.split_once("://").ok_or_else(elsewhere)?;
            let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
            let same = scheme.eq_ignore_ascii_case(sent.scheme)
                && port_told(scheme, authority) == port_told(sent.scheme, sent.authority);
            if !same {
                return Err(elsewhere());
            }
            format!("{scheme}://{authority}")
        };
        let path = text.get(origin.len()..).unwrap_or_default();
        let plain = path.starts_with('/') && !path.starts_with("//") && !path.contains(['?', '#']);
        let received = path.parse::<Uri>().ok().filter(|_| plain);
        let received = received.as_ref().and_then(Uri::path_and_query);
        let received = received.ok_or_else(elsewhere)?;
        let target = Target::parse(Method::GET, received, Leniency::default())
            .map_err(|error| Unreadable::Malformed(format!("the URL in `{name}`: {error}")))?;
        let whole = format!("{origin}{}", target.path());
        Ok((target, whole))
    }
}

/// Every value of a header field, however an application may spell it: CGI and its heirs fold all
/// that is no letter or digit.
pub(in crate::policy) fn values<'h>(
    headers: &'h HeaderMap,
    name: &str,
) -> impl Iterator<Item = &'h HeaderValue> {
    let same = move |other: &HeaderName| {
        let fold = |b: u8| match b.is_ascii_alphanumeric() {
            true => b,
            false => b'-',
        };
        other.as_str().bytes().map(fold).eq(name.bytes().map(fold))
    };
    headers
        .iter()
        .filter(move |(other, _)| same(other))
        .map(|(_, value)| value)
}

/// An authority in lower case, with its port.
fn port_told(scheme: &str, authority: &str) -> String {
    let authority = authority.to_ascii_lowercase();
    let has_port = authority
        .rsplit_once(':')
        .is_some_and(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()));
    match (has_port, scheme.eq_ignore_ascii_case("https")) {
        (true, _) => authority,
        (false, true) => authority + ":443",
        (false, false) => authority + ":80",
    }
}

/// The path that a header's URL must have, and which of its segments is the identifier.
fn template(path: &str, resource: &str) -> Result<(Pattern, usize), String> {
    let pattern = Pattern::parse(&format!("* {path}"))
        .map_err(|error| format!("`{path}`: {}", error.message))?;
    let mut names = pattern.names();
    let segment = match (names.next(), names.next()) {
        (Some((segment, name)), None) if name == resource => segment,
        _ => {
            return Err(format!(
                "`{path}` names one `{{{resource}}}`, and `*` for what is another's"
            ));
        }
    };
    drop(names);
    Ok((pattern, segment))
}

/// The path's segments, if it fits.
fn segments<'p>(pattern: &Pattern, path: &'p str) -> Option<Vec<&'p str>> {
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    let length = pattern.segments.len();
    let long_enough = match pattern.rest {
        true => segments.len() >= length,
        false => segments.len() == length,
    };
    let mut pairs = pattern.segments.iter().zip(&segments);
    let all = pairs.all(|(own, segment)| own.takes(segment));
    (long_enough && all).then_some(segments)
}

//! Method overrides: what a request asks to be taken for, beside what it is.

use std::sync::LazyLock;

use http::header::HeaderMap;
use http::{HeaderValue, Method};

use crate::config::MethodOverride;
use crate::target::Target;

use super::reading::{Fields, Format, Media, Name, Unreadable, is_plain, parse_parts, values};
use super::{PolicySet, RouteMatch};

/// Header fields that some application takes for the method.
const HEADERS: [&str; 3] = [
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
];

/// The field of a query or form that some application takes for the method.
static FIELD: LazyLock<Name> = LazyLock::new(|| Name::new("_method"));

/// Methods that every application may know.
const COMMON: [Method; 7] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
    Method::OPTIONS,
];

/// How a request asks to be taken, besides as what it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Overrides {
    /// As each of these.
    These(Vec<Method>),
    /// As whatever its body says, which cannot be read.
    Any,
}

impl Overrides {
    /// Both.
    pub(super) fn add(&mut self, other: Self) {
        match (&mut *self, other) {
            (Self::These(own), Self::These(others)) => own.extend(others),
            _ => *self = Self::Any,
        }
    }
}

impl PolicySet {
    /// The methods that the head of a request names: in header fields, and in the query where the
    /// upstream reads them there.
    ///
    /// # Errors
    ///
    /// [`Unreadable`] for what is no method, or none that is known.
    pub fn overrides_in_head(
        &self,
        target: &Target,
        headers: &HeaderMap,
        declared: MethodOverride,
    ) -> Result<Vec<Method>, Unreadable> {
        let mut methods = Vec::new();
        // Most requests have none of them, and pay for a look at the names.
        if headers.keys().any(|name| name.as_str().contains("method")) {
            for value in HEADERS.iter().flat_map(|name| values(headers, name)) {
                let text = value.to_str().map_err(|_| unknown(value))?;
                for method in text.split(',') {
                    self.push(method, &mut methods)?;
                }
            }
        }
        if let Some(query) = target.query().filter(|_| declared.query) {
            for method in Fields::parse(query.as_bytes())?.values(&FIELD) {
                self.push(method, &mut methods)?;
            }
        }
        Ok(methods)
    }

    /// Whether a body may name a method that the upstream reads there.
    #[must_use]
    pub fn may_override_in_body(&self, headers: &HeaderMap, declared: MethodOverride) -> bool {
        (declared.form || declared.multipart) && !matches!(form_of(headers, declared), Form::None)
    }

    /// The methods that a body names; `None` for one that is too large to be read.
    ///
    /// # Errors
    ///
    /// [`Unreadable`] for what is no method, or none that is known.
    pub fn overrides_in_body(
        &self,
        headers: &HeaderMap,
        body: Option<&[u8]>,
        declared: MethodOverride,
    ) -> Result<Overrides, Unreadable> {
        let form = form_of(headers, declared);
        let fields = match (form, body) {
            (Form::None, _) => return Ok(Overrides::These(Vec::new())),
            (Form::Fields, Some(body)) => Fields::parse(body),
            (Form::Parts(media), Some(body)) => parse_parts(&media, body),
            (Form::Unclear, _) | (_, None) => return Ok(Overrides::Any),
        };
        let Ok(fields) = fields else {
            return Ok(Overrides::Any);
        };
        let mut methods = Vec::new();
        for method in fields.values(&FIELD) {
            self.push(method, &mut methods)?;
        }
        Ok(Overrides::These(methods))
    }

    /// What a request is if it is taken for other methods: a match for each, or `None` where no
    /// route takes one of them.
    #[must_use]
    pub fn overridden(
        &self,
        target: &Target,
        host: &str,
        overrides: &Overrides,
    ) -> Option<Vec<RouteMatch>> {
        let named = self
            .routes
            .iter()
            .filter_map(|route| route.pattern.method.clone());
        let mut methods: Vec<Method> = match overrides {
            Overrides::These(methods) => methods.clone(),
            Overrides::Any => COMMON.into_iter().chain(named).collect(),
        };
        methods.sort_by(|a, b| a.as_str().cmp(b.as_str()));
        methods.dedup();
        methods
            .into_iter()
            .filter(|method| method != target.method())
            .map(|method| self.route(&target.with_method(method), host))
            .collect()
    }

    fn push(&self, text: &str, methods: &mut Vec<Method>) -> Result<(), Unreadable> {
        let name = text.trim().to_ascii_uppercase();
        let method = Method::from_bytes(name.as_bytes()).ok();
        let known = |method: &Method| {
            COMMON.contains(method)
                || self
                    .routes
                    .iter()
                    .any(|r| r.pattern.method.as_ref() == Some(method))
        };
        match method.filter(known) {
            Some(method) => methods.push(method),
            None => {
                let message = format!(
                    "`{}` overrides the method, and is none",
                    text.escape_debug()
                );
                return Err(Unreadable::Malformed(message));
            }
        }
        Ok(())
    }
}

fn unknown(value: &HeaderValue) -> Unreadable {
    Unreadable::Malformed(format!("{value:?} overrides the method, and is none"))
}

/// What of a body an application may take for a form.
enum Form {
    None,
    Fields,
    Parts(Media),
    /// A form, but nobody can say which.
    Unclear,
}

fn form_of(headers: &HeaderMap, declared: MethodOverride) -> Form {
    if !headers.contains_key(http::header::CONTENT_TYPE) {
        // Many take a body that says nothing for a form.
        return if declared.form {
            Form::Fields
        } else {
            Form::None
        };
    }
    let Ok(media) = Media::of(headers) else {
        return Form::Unclear;
    };
    let form = match media.format() {
        Some(Format::Form) if declared.form => Form::Fields,
        Some(Format::Multipart) if declared.multipart => Form::Parts(media),
        None if declared.multipart && media.is_multipart() => Form::Unclear,
        _ => Form::None,
    };
    match form {
        Form::None => Form::None,
        _ if !is_plain(headers) => Form::Unclear,
        form => form,
    }
}

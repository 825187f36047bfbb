//! What callers send: who they say they are, the fields they fill in, and what they are told when
//! these make no sense.

use std::convert::Infallible;

use axum::extract::rejection::{FormRejection, JsonRejection};
use axum::extract::{Form, FromRequest, FromRequestParts, Json, Request};
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{HeaderMap, StatusCode, header};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::model::{Fault, Owner};

/// The longest name or title, in characters.
const LINE: usize = 200;

/// The longest description, in characters.
const TEXT: usize = 4_000;

/// Who calls, by the two headers that the service believes, and what they want to read.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    /// `X-User-Id`.
    pub(super) user: Option<String>,
    /// `X-Company-Id`.
    pub(super) company: Option<String>,
    /// Whether `Accept` names `text/html`.
    pub(super) html: bool,
}

impl Caller {
    /// Whose a project would be that this caller makes.
    pub(super) fn owner(&self) -> Result<Owner<'_>, Refused> {
        match (&self.user, &self.company) {
            (Some(user), Some(company)) => Ok(Owner { user, company }),
            _ => Err(Refused::garbage(
                "a project needs an owner: `X-User-Id` or `X-Company-Id` is missing",
            )),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self {
            user: field(&parts.headers, "x-user-id"),
            company: field(&parts.headers, "x-company-id"),
            html: parts.headers.get_all(header::ACCEPT).iter().any(|value| {
                value
                    .to_str()
                    .is_ok_and(|value| value.to_ascii_lowercase().contains("text/html"))
            }),
        })
    }
}

/// A field's value; an empty one is none.
fn field(headers: &HeaderMap, name: &str) -> Option<String> {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .filter(|value| !value.is_empty())
        .map(str::to_owned)
}

/// A body of fields, as JSON or as a form.
#[derive(Debug)]
pub(super) struct Fields<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Fields<T> {
    type Rejection = Refused;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refused> {
        let is_json = request
            .headers()
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|value| value.to_ascii_lowercase().starts_with("application/json"));
        let fields = if is_json {
            Json::from_request(request, state)
                .await
                .map(|Json(fields)| fields)
                .map_err(|e: JsonRejection| (e.status(), e.body_text()))
        } else {
            Form::from_request(request, state)
                .await
                .map(|Form(fields)| fields)
                .map_err(|e: FormRejection| (e.status(), e.body_text()))
        };
        fields.map(Self).map_err(|(status, text)| {
            let status = match status {
                StatusCode::PAYLOAD_TOO_LARGE => status,
                _ => StatusCode::BAD_REQUEST,
            };
            Refused::new(status, &text)
        })
    }
}

/// A whole project, as far as callers choose it. Owner and company come from the headers, and
/// whatever else a client sends back of a project that it read is left as it is.
#[derive(Debug, Deserialize)]
pub(super) struct NewProject {
    name: String,
    #[serde(default)]
    description: String,
}

impl NewProject {
    pub(super) fn checked(self) -> Result<(String, String), Refused> {
        Ok((line("name", &self.name)?, text(&self.description)?))
    }
}

/// What is to change of a project.
#[derive(Debug, Deserialize)]
pub(super) struct ProjectChange {
    name: Option<String>,
    description: Option<String>,
}

impl ProjectChange {
    pub(super) fn checked(self) -> Result<(Option<String>, Option<String>), Refused> {
        let name = self.name.map(|name| line("name", &name)).transpose()?;
        let description = self.description.map(|d| text(&d)).transpose()?;
        Ok((name, description))
    }
}

/// A new task.
#[derive(Debug, Deserialize)]
pub(super) struct NewTask {
    title: String,
}

impl NewTask {
    pub(super) fn checked(self) -> Result<String, Refused> {
        line("title", &self.title)
    }
}

/// What is to change of a task.
#[derive(Debug, Deserialize)]
pub(super) struct TaskChange {
    title: Option<String>,
    done: Option<bool>,
}

impl TaskChange {
    pub(super) fn checked(self) -> Result<(Option<String>, Option<bool>), Refused> {
        let title = self.title.map(|title| line("title", &title)).transpose()?;
        Ok((title, self.done))
    }
}

fn line(what: &str, value: &str) -> Result<String, Refused> {
    let value = value.trim();
    let length = value.chars().count();
    if length == 0 || length > LINE || value.chars().any(char::is_control) {
        return Err(Refused::garbage(&format!(
            "a {what} is one line of 1 to {LINE} characters"
        )));
    }
    Ok(value.to_owned())
}

fn text(value: &str) -> Result<String, Refused> {
    if value.chars().count() > TEXT {
        return Err(Refused::garbage(&format!(
            "a description has at most {TEXT} characters"
        )));
    }
    // Browsers send line ends as CR LF.
    Ok(value.replace("\r\n", "\n"))
}

/// Why a request was not served.
#[derive(Clone, Debug)]
pub(super) struct Refused {
    pub(super) status: StatusCode,
    pub(super) text: String,
}

impl Refused {
    pub(super) fn new(status: StatusCode, text: &str) -> Self {
        Self {
            status,
            text: text.to_owned(),
        }
    }

    pub(super) fn garbage(text: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, text)
    }

    pub(super) fn unknown() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not found")
    }
}

/// As JSON; the refusal goes along for the one place that knows whether a page is wanted.
impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(json!({ "error": self.text }))).into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<Fault> for Refused {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Unknown => Self::unknown(),
            Fault::Full => Self::new(
                StatusCode::INSUFFICIENT_STORAGE,
                "there are as many as there may be",
            ),
        }
    }
}

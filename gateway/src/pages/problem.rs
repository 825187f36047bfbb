//! Answers for programs: JSON, and problems after RFC 9457.

use http::{Response, StatusCode};
use serde_json::{Map, Value};

use super::answer;
use crate::body::Body;
use crate::client::RequestId;

/// What went wrong, for a program (RFC 9457, section 3.1).
#[derive(Clone, Debug)]
pub struct Problem<'a> {
    /// Kind, in a snake-case word: `not_found` becomes the type `urn:portvakt:problem:not_found`.
    pub kind: &'a str,
    /// What the kind means, the same for every problem of that kind.
    pub title: &'a str,
    /// What is particular to this one. Never says more than its reader may know.
    pub detail: Option<&'a str>,
    /// Names the request.
    pub request_id: &'a RequestId,
    /// Further members, such as `attempts_left`; none may be named like the members above.
    pub more: Map<String, Value>,
}

/// A problem as `application/problem+json`.
#[must_use]
pub fn problem(status: StatusCode, problem: &Problem<'_>) -> Response<Body> {
    let mut members = problem.more.clone();
    let mut put = |name: &str, value: Value| members.insert(name.to_owned(), value);
    put(
        "type",
        format!("urn:portvakt:problem:{}", problem.kind).into(),
    );
    put("title", problem.title.into());
    put("status", status.as_u16().into());
    put("request_id", problem.request_id.to_string().into());
    if let Some(detail) = problem.detail {
        put("detail", detail.into());
    }
    let body = Body::full(Value::Object(members).to_string());
    answer(status, Some("application/problem+json"), body)
}

/// A JSON answer.
#[must_use]
pub fn json(status: StatusCode, value: &Value) -> Response<Body> {
    answer(
        status,
        Some("application/json"),
        Body::full(value.to_string()),
    )
}

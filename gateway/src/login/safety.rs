//! `GET /safety`: the safety statement, for everyone, where the configuration says so.

use std::sync::{Arc, Weak};

use axum::extract::State;
use http::{Response, StatusCode};

use super::Desk;
use super::refused::Refused;
use super::visit::Visit;
use crate::body::Body;
use crate::pages;

/// The statement of this moment.
pub(super) async fn show(State(desk): State<Arc<Desk>>, visit: Visit) -> Response<Body> {
    let Some(safety) = desk.safety.get().and_then(Weak::upgrade) else {
        return Refused::Missing.answer(&desk, &visit);
    };
    let statement = safety.statement().await;
    if !visit.json {
        return statement.page(&visit.frame(&desk));
    }
    match serde_json::to_value(&statement) {
        Ok(value) => pages::json(StatusCode::OK, &value),
        Err(error) => {
            tracing::error!(%error, "the safety statement could not be written");
            pages::bare(StatusCode::INTERNAL_SERVER_ERROR)
        }
    }
}

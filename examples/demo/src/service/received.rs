//! What reached the service.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use axum::extract::Request;
use http::HeaderMap;
use http_body_util::BodyExt;

/// How many requests are remembered.
const REMEMBERED: usize = 4_096;

/// A request as it arrived.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// Such as `GET`.
    pub method: String,
    /// The request target as it was sent, byte for byte.
    pub target: String,
    /// Name (lower case) and value of each field, in order; equal names stand together.
    pub headers: Vec<(String, String)>,
    /// How many bytes of the body have arrived until now.
    pub body_len: u64,
    /// The fields after the body, if it has ended.
    pub trailers: Vec<(String, String)>,
}

impl Received {
    /// The first value of a field, by lower-case name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(field, _)| field == name)
            .map(|(_, value)| value.as_str())
    }
}

/// Names and values; bytes that are not UTF-8 are shown as U+FFFD.
pub(super) fn fields(headers: &HeaderMap) -> Vec<(String, String)> {
    headers
        .iter()
        .map(|(name, value)| {
            let value = String::from_utf8_lossy(value.as_bytes());
            (name.as_str().to_owned(), value.into_owned())
        })
        .collect()
}

/// The last requests, oldest first.
#[derive(Debug, Default)]
pub(super) struct Log(Mutex<VecDeque<Arc<Mutex<Received>>>>);

impl Log {
    /// Writes a request down, now, and then what arrives of its body.
    pub(super) fn record(&self, request: Request) -> Request {
        let (head, body) = request.into_parts();
        let entry = Arc::new(Mutex::new(Received {
            method: head.method.as_str().to_owned(),
            target: head.uri.to_string(),
            headers: fields(&head.headers),
            ..Received::default()
        }));
        {
            let mut log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if log.len() == REMEMBERED {
                log.pop_front();
            }
            log.push_back(Arc::clone(&entry));
        }
        let body = body.map_frame(move |frame| {
            let mut entry = entry.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(data) = frame.data_ref() {
                entry.body_len += data.len() as u64;
            } else if let Some(trailers) = frame.trailers_ref() {
                entry.trailers = fields(trailers);
            }
            drop(entry);
            frame
        });
        Request::from_parts(head, Body::new(body))
    }

    pub(super) fn snapshot(&self) -> Vec<Received> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .map(|entry| entry.lock().unwrap_or_else(PoisonError::into_inner).clone())
            .collect()
    }

    pub(super) fn clear(&self) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }
}

//! The small session service that nginx asks with `auth_request`: a cookie in, a user out.
//!
//! `session-service ADDRESS COOKIE` answers 204 with the user for that one cookie, 401 otherwise.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::header::COOKIE;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().ok_or("which address?")?;
    let cookie = arguments.next().ok_or("which cookie?")?;
    let sessions = Arc::new(HashMap::from([(cookie, ("u-kari", "fjord"))]));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async move {
        let listener = tokio::net::TcpListener::bind(address).await?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let sessions = Arc::clone(&sessions);
            tokio::spawn(async move {
                let service = service_fn(move |request: Request<_>| {
                    let answer = answer(&sessions, &request);
                    async move { Ok::<_, Infallible>(answer) }
                });
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    })
}

fn answer<B>(
    sessions: &HashMap<String, (&'static str, &'static str)>,
    request: &Request<B>,
) -> Response<Empty<Bytes>> {
    let mut answer = Response::new(Empty::new());
    let known = request
        .headers()
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split("; "))
        .find_map(|pair| sessions.get(pair));
    match known {
        Some((user, company)) => {
            *answer.status_mut() = StatusCode::NO_CONTENT;
            let headers = answer.headers_mut();
            headers.insert("x-user-id", hyper::header::HeaderValue::from_static(user));
            headers.insert(
                "x-company-id",
                hyper::header::HeaderValue::from_static(company),
            );
        }
        None => *answer.status_mut() = StatusCode::UNAUTHORIZED,
    }
    answer
}

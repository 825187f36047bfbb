//! The sample application: projects and tasks over HTTP, for people and for programs.
//!
//! It stands for the application that someone already has: it protects nothing, knows nothing of
//! who stands before it, and believes two headers. `X-User-Id` and `X-Company-Id` say whose a new
//! project is, and whose projects the list shows; without them it lists all and creates none.
//!
//! [`Service::received`] tells what reached it, so that tests of whatever stands before it can
//! prove what did and what did not.

mod html;
mod input;
mod live;
mod model;
mod received;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{
    DefaultBodyLimit, FromRequestParts, Path, Query, Request, State, WebSocketUpgrade,
};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Json, Redirect, Response};
use axum::routing::{any, get, patch, post};
use axum::serve::ListenerExt;
use http::{HeaderValue, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use live::{Checksum, pattern};
pub use model::{Project, Task};
pub use received::Received;

use input::{Caller, Fields, NewProject, NewTask, ProjectChange, Refused, TaskChange};
use model::Model;

/// The largest body that is read into memory, in bytes.
const BODY_LIMIT: usize = 64 * 1024;

/// How long the service waits for requests to end when it is told to stop.
const GRACE: Duration = Duration::from_secs(2);

/// Serves on `address`; port 0 lets the system choose.
///
/// # Errors
///
/// Those of binding the address.
pub async fn start(address: SocketAddr) -> io::Result<Running> {
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    // Small answers must not wait for the peer's acknowledgements; where the option cannot be
    // set, the connection is merely slower.
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    let service = Service(Arc::new(Shared {
        model: Model::seeded(),
        received: received::Log::default(),
        stopping: watch::Sender::new(false),
    }));
    let mut stopping = service.0.stopping.subscribe();
    let server =
        axum::serve(listener, router(service.clone())).with_graceful_shutdown(async move {
            // An error means that the service itself is gone, which is a reason to stop as well.
            let _ = stopping.wait_for(|stopping| *stopping).await;
        });
    Ok(Running {
        address,
        service,
        server: tokio::spawn(server.into_future()),
    })
}

/// A service that accepts until [`Running::shutdown`], or until this is dropped.
#[derive(Debug)]
pub struct Running {
    /// Where it serves.
    pub address: SocketAddr,
    /// What it knows.
    pub service: Service,
    server: JoinHandle<io::Result<()>>,
}

impl Running {
    /// What reached the service, as [`Service::received`].
    #[must_use]
    pub fn received(&self) -> Vec<Received> {
        self.service.received()
    }

    /// Stops accepting, lets requests end for at most two seconds, and closes WebSockets.
    pub async fn shutdown(mut self) {
        self.service.0.stopping.send_replace(true);
        // A client that keeps its request open longer keeps its connection; the port is free.
        let _ = tokio::time::timeout(GRACE, &mut self.server).await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.service.0.stopping.send_replace(true);
        self.server.abort();
    }
}

/// The state of a running service.
#[derive(Clone, Debug)]
pub struct Service(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    model: Model,
    received: received::Log,
    stopping: watch::Sender<bool>,
}

impl Service {
    /// The requests that reached the service, oldest first: the last 4,096.
    #[must_use]
    pub fn received(&self) -> Vec<Received> {
        self.0.received.snapshot()
    }

    /// Forgets what was received until now.
    pub fn forget_received(&self) {
        self.0.received.clear();
    }

    /// The projects as they are now.
    #[must_use]
    pub fn projects(&self) -> Vec<Project> {
        self.model().projects(None)
    }

    fn model(&self) -> &Model {
        &self.0.model
    }
}

fn router(service: Service) -> Router {
    Router::new()
        .route("/", get(async || Redirect::to("/projects")))
        .route("/assets/style.css", get(html::style))
        .route("/projects", get(list).post(create))
        .route(
            "/projects/{id}",
            get(show)
                .put(replace)
                .patch(change)
                .post(change)
                .delete(delete),
        )
        .route("/projects/{id}/copy", post(copy))
        .route("/projects/{id}/tasks", get(tasks).post(add_task))
        .route("/projects/{id}/tasks/{task}", post(change_task_of))
        .route("/projects/{id}/live", get(live))
        .route("/projects/{id}/download", get(download))
        .route("/projects/{id}/upload", post(upload))
        .route(
            "/tasks/{id}",
            patch(change_task).get(task).delete(delete_task),
        )
        .route("/echo", any(echo))
        .fallback(async || Refused::unknown())
        .method_not_allowed_fallback(async || {
            Refused::new(StatusCode::METHOD_NOT_ALLOWED, "method not allowed")
        })
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .layer(middleware::from_fn_with_state(service.clone(), attend))
        .with_state(service)
}

/// Writes down what arrives, and shows a refusal in the form that the caller reads.
async fn attend(State(service): State<Service>, request: Request, next: Next) -> Response {
    let (mut head, body) = service.0.received.record(request).into_parts();
    let Ok(caller) = Caller::from_request_parts(&mut head, &()).await;
    let mut response = next.run(Request::from_parts(head, body)).await;
    match response.extensions_mut().remove::<Refused>() {
        Some(refused) if caller.html => html::refused(&caller, &refused),
        _ => response,
    }
}

type Answer = Result<Response, Refused>;

async fn list(State(service): State<Service>, caller: Caller) -> Answer {
    let projects = service.model().projects(caller.company.as_deref());
    Ok(if caller.html {
        html::projects(&caller, &projects)
    } else {
        Json(projects).into_response()
    })
}

async fn create(
    State(service): State<Service>,
    caller: Caller,
    Fields(fields): Fields<NewProject>,
) -> Answer {
    let (name, description) = fields.checked()?;
    let owner = caller.owner()?;
    let project = service.model().create(&name, &description, owner)?;
    Ok(created(
        &caller,
        &format!("/projects/{}", project.id),
        &project,
    ))
}

async fn show(State(service): State<Service>, caller: Caller, Path(id): Path<String>) -> Answer {
    let project = service.model().project(&id)?;
    if !caller.html {
        return Ok(Json(project).into_response());
    }
    let tasks = service.model().tasks(&id).unwrap_or_default();
    Ok(html::project(&caller, &project, &tasks))
}

async fn replace(
    State(service): State<Service>,
    Path(id): Path<String>,
    Fields(fields): Fields<NewProject>,
) -> Answer {
    let (name, description) = fields.checked()?;
    let project = service.model().update(&id, Some(name), Some(description))?;
    Ok(Json(project).into_response())
}

/// `PATCH` by a program, `POST` by a form: browsers' forms know no other method.
async fn change(
    State(service): State<Service>,
    caller: Caller,
    Path(id): Path<String>,
    Fields(fields): Fields<ProjectChange>,
) -> Answer {
    let (name, description) = fields.checked()?;
    let project = service.model().update(&id, name, description)?;
    Ok(changed(
        &caller,
        &format!("/projects/{}", project.id),
        &project,
    ))
}

async fn delete(State(service): State<Service>, Path(id): Path<String>) -> Answer {
    service.model().delete(&id)?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn copy(State(service): State<Service>, caller: Caller, Path(id): Path<String>) -> Answer {
    let owner = caller.owner()?;
    let project = service.model().copy(&id, owner)?;
    Ok(created(
        &caller,
        &format!("/projects/{}", project.id),
        &project,
    ))
}

async fn tasks(State(service): State<Service>, caller: Caller, Path(id): Path<String>) -> Answer {
    let tasks = service.model().tasks(&id)?;
    Ok(if caller.html {
        Redirect::to(&format!("/projects/{id}#tasks")).into_response()
    } else {
        Json(tasks).into_response()
    })
}

async fn add_task(
    State(service): State<Service>,
    caller: Caller,
    Path(id): Path<String>,
    Fields(fields): Fields<NewTask>,
) -> Answer {
    let title = fields.checked()?;
    let task = service.model().add_task(&id, &title)?;
    if caller.html {
        return Ok(Redirect::to(&format!("/projects/{id}#tasks")).into_response());
    }
    Ok(created(&caller, &format!("/tasks/{}", task.id), &task))
}

async fn task(State(service): State<Service>, Path(id): Path<String>) -> Answer {
    let task = service.model().task(&id)?;
    Ok(Json(task).into_response())
}

async fn change_task(
    State(service): State<Service>,
    Path(id): Path<String>,
    Fields(fields): Fields<TaskChange>,
) -> Answer {
    let (title, done) = fields.checked()?;
    let task = service.model().update_task(&id, title, done)?;
    Ok(Json(task).into_response())
}

/// The form on a project's page; a task of another project does not exist here.
async fn change_task_of(
    State(service): State<Service>,
    caller: Caller,
    Path((id, task)): Path<(String, String)>,
    Fields(fields): Fields<TaskChange>,
) -> Answer {
    let model = service.model();
    let (title, done) = fields.checked()?;
    let task = model.task(&task)?;
    if task.project_id != id {
        return Err(Refused::unknown());
    }
    let task = model.update_task(&task.id, title, done)?;
    Ok(changed(&caller, &format!("/projects/{id}#tasks"), &task))
}

async fn delete_task(State(service): State<Service>, Path(id): Path<String>) -> Answer {
    service.model().delete_task(&id)?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn live(
    State(service): State<Service>,
    Path(id): Path<String>,
    socket: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Answer {
    let project = service.model().follow(&id)?;
    let socket = socket.map_err(|_| Refused::garbage("a WebSocket is spoken here"))?;
    let stopping = service.0.stopping.subscribe();
    Ok(socket
        .max_message_size(BODY_LIMIT)
        .on_upgrade(move |socket| live::follow(socket, project, stopping)))
}

#[derive(Deserialize)]
struct Download {
    /// How many; one MiB where it is not said.
    bytes: Option<u64>,
    /// `1`: without a `Content-Length`.
    chunked: Option<u8>,
}

async fn download(
    State(service): State<Service>,
    Path(id): Path<String>,
    wanted: Result<Query<Download>, axum::extract::rejection::QueryRejection>,
) -> Answer {
    let Query(wanted) = wanted.map_err(|_| Refused::garbage("`bytes` is a number"))?;
    service.model().project(&id)?;
    let length = wanted.bytes.unwrap_or(1024 * 1024);
    let mut response = live::download(length).into_response();
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/octet-stream"),
    );
    if wanted.chunked != Some(1) {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    Ok(response)
}

async fn upload(State(service): State<Service>, Path(id): Path<String>, body: Body) -> Answer {
    service.model().project(&id)?;
    let checksum = live::upload(body.into_data_stream())
        .await
        .map_err(|_| Refused::garbage("the body broke off"))?;
    Ok(Json(json!({ "bytes": checksum.length(), "checksum": checksum.digest() })).into_response())
}

/// What arrived here, so that people see what stands between them and the service.
async fn echo(request: Request) -> Answer {
    let (head, body) = request.into_parts();
    let body = Limited::new(body, BODY_LIMIT)
        .collect()
        .await
        .map_err(|e| {
            if e.is::<http_body_util::LengthLimitError>() {
                Refused::new(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large")
            } else {
                Refused::garbage("the body broke off")
            }
        })?;
    let trailers = body.trailers().map(received::fields).unwrap_or_default();
    Ok(Json(json!({
        "method": head.method.as_str(),
        "target": head.uri.to_string(),
        "headers": received::fields(&head.headers),
        "body": String::from_utf8_lossy(&body.to_bytes()),
        "trailers": trailers,
    }))
    .into_response())
}

/// A program is told what it made; a browser is sent there.
fn created(caller: &Caller, location: &str, made: &impl Serialize) -> Response {
    if caller.html {
        Redirect::to(location).into_response()
    } else {
        (
            StatusCode::CREATED,
            [(header::LOCATION, location)],
            Json(made),
        )
            .into_response()
    }
}

/// A program is told the new state; a browser is sent to it.
fn changed(caller: &Caller, location: &str, state: &impl Serialize) -> Response {
    if caller.html {
        Redirect::to(location).into_response()
    } else {
        Json(state).into_response()
    }
}

#[cfg(test)]
mod tests;

//! The Unix socket that commands act through: HTTP and JSON, for the gateway's own account only.
//!
//! Mode 0600 holds from the first moment: the socket is made in a folder that nobody else may
//! enter, and moved to its place when it is closed to others.

use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener as StdListener, UnixStream as StdStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::serve::IncomingStream;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::net::UnixListener;

use super::operations::{OperationError, Operations, Which};

/// The paths, which client and server share.
pub(super) const SESSIONS: &str = "/sessions";
pub(super) const REVOKE: &str = "/sessions/revoke";
pub(super) const USER: &str = "/user";
pub(super) const UNLOCK: &str = "/user/unlock";
pub(super) const SUSPEND: &str = "/user/suspend";
pub(super) const RESUME: &str = "/user/resume";
pub(super) const SHIELD: &str = "/shield";
pub(super) const RAISE: &str = "/shield/raise";
pub(super) const LOWER: &str = "/shield/lower";
pub(super) const ROTATE: &str = "/keys/rotate";
pub(super) const STATUS: &str = "/status";
pub(super) const STATEMENT: &str = "/statement";
pub(super) const EXPLAIN: &str = "/policy/explain";

/// Why the socket cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another gateway is there.
    #[error("another gateway answers at `{0}`; end it, or choose another `admin.socket`")]
    Taken(PathBuf),
    /// Something else is there, which is not ours to remove.
    #[error("`{0}` is no socket; move it away, or choose another `admin.socket`")]
    Foreign(PathBuf),
    /// What the system said.
    #[error("cannot listen at `{path}`: {error}")]
    System {
        /// Where.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

/// The socket, listening. Its file goes when it is dropped.
#[derive(Debug)]
pub struct AdminSocket {
    listener: StdListener,
    file: SocketFile,
}

/// The file, by device and inode, so that a successor's is left alone.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let own = fs::symlink_metadata(&self.path)
            .is_ok_and(|found| (found.dev(), found.ino()) == self.identity);
        if own && let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(%error, path = %self.path.display(), "the admin socket was left behind");
        }
    }
}

impl AdminSocket {
    /// Listens at a path, with mode 0600. A socket there that nobody answers at any more is
    /// replaced; missing folders are made, for their owner only.
    ///
    /// # Errors
    ///
    /// [`SocketError`].
    pub fn bind(path: &Path) -> Result<Self, SocketError> {
        refuse_taken(path)?;
        let system = |error| SocketError::System {
            path: path.to_owned(),
            error,
        };
        let folder = path.parent().unwrap_or(Path::new("."));
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(system)?;
        // A short name: the whole path of a socket has room for about a hundred bytes.
        let closed = folder.join(format!(".{}", std::process::id()));
        let made = in_closed_folder(&closed, path);
        let _ = fs::remove_dir_all(&closed);
        made.map_err(system)
    }
}

fn refuse_taken(path: &Path) -> Result<(), SocketError> {
    match fs::symlink_metadata(path) {
        Err(_) => Ok(()),
        Ok(found) if !found.file_type().is_socket() => Err(SocketError::Foreign(path.to_owned())),
        Ok(_) => match StdStream::connect(path) {
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            _ => Err(SocketError::Taken(path.to_owned())),
        },
    }
}

fn in_closed_folder(closed: &Path, path: &Path) -> io::Result<AdminSocket> {
    // What a process of the same number left when it was killed.
    if closed.exists() {
        fs::remove_dir_all(closed)?;
    }
    DirBuilder::new().mode(0o700).create(closed)?;
    let first = closed.join("s");
    let listener = StdListener::bind(&first)?;
    fs::set_permissions(&first, Permissions::from_mode(0o600))?;
    listener.set_nonblocking(true)?;
    fs::rename(&first, path)?;
    let found = fs::symlink_metadata(path)?;
    Ok(AdminSocket {
        listener,
        file: SocketFile {
            path: path.to_owned(),
            identity: (found.dev(), found.ino()),
        },
    })
}

type Shared = State<Arc<dyn Operations>>;
type Answer<T> = Result<Json<T>, Failure>;

/// Serves until `stop` resolves, then removes the socket's file.
///
/// # Errors
///
/// What the system says of the socket.
pub async fn serve(
    socket: AdminSocket,
    operations: Arc<dyn Operations>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let AdminSocket { listener, file } = socket;
    let listener = UnixListener::from_std(listener)?;
    let router = Router::new()
        .route(SESSIONS, get(sessions))
        .route(REVOKE, post(revoke))
        .route(USER, get(user))
        .route(UNLOCK, post(unlock))
        .route(SUSPEND, post(suspend))
        .route(RESUME, post(resume))
        .route(SHIELD, get(shield))
        .route(RAISE, post(raise))
        .route(LOWER, post(lower))
        .route(ROTATE, post(rotate))
        .route(EXPLAIN, post(explain))
        .route(STATUS, get(status))
        .route(STATEMENT, get(statement))
        .with_state(operations)
        .into_make_service_with_connect_info::<Caller>();
    let served = axum::serve(listener, router)
        .with_graceful_shutdown(stop)
        .await;
    drop(file);
    served
}

/// Who is at the other end, as the kernel says.
#[derive(Clone, Debug)]
struct Caller(String);

impl Connected<IncomingStream<'_, UnixListener>> for Caller {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        Self(match stream.io().peer_cred() {
            Ok(peer) => format!("uid {}", peer.uid()),
            Err(_) => "unknown".to_owned(),
        })
    }
}

type Peer = ConnectInfo<Caller>;

/// Which sessions to list: without either, all.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Filter {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) company: Option<String>,
}

/// Whom a command is about.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Whom {
    pub(super) email: String,
}

async fn sessions(
    State(operations): Shared,
    ConnectInfo(Caller(by)): Peer,
    Query(filter): Query<Filter>,
) -> Answer<super::operations::Sessions> {
    let which = match (filter.user, filter.company.clone()) {
        (Some(user), _) => Which::User(user),
        (None, Some(company)) => Which::Company(company),
        (None, None) => Which::All,
    };
    let mut found = operations.sessions(&by, which).await?;
    if let Some(company) = filter.company {
        found.sessions.retain(|one| one.company == company);
    }
    Ok(Json(found))
}

async fn revoke(
    State(operations): Shared,
    ConnectInfo(Caller(by)): Peer,
    Json(which): Json<Which>,
) -> Answer<super::operations::Ended> {
    Ok(Json(operations.revoke(&by, which).await?))
}

async fn user(
    State(operations): Shared,
    ConnectInfo(Caller(by)): Peer,
    Query(whom): Query<Whom>,
) -> Answer<super::operations::User> {
    Ok(Json(operations.user(&by, &whom.email).await?))
}

async fn unlock(
    State(operations): Shared,
    ConnectInfo(Caller(by)): Peer,
    Json(whom): Json<Whom>,
) -> Answer<super::operations::Unlocked> {
    Ok(Json(operations.unlock(&by, &whom.email).await?))
}

async fn suspend(
    State(operations): Shared,
    ConnectInfo(Caller(by)): Peer,
    Json(whom): Json<Whom>,
) -> Answer<super::operations::Suspended> {
    Ok(Json(operations.suspend(&by, &whom.email).await?))
}

async fn resume(
    State(operations): Shared,
    ConnectInfo(Caller(by)): Peer,
    Json(whom): Json<Whom>,
) -> Answer<super::operations::Resumed> {
    Ok(Json(operations.resume(&by, &whom.email).await?))
}

async fn shield(
    State(operations): Shared,
    ConnectInfo(Caller(by)): Peer,
) -> Answer<super::operations::Shield> {
    Ok(Json(operations.shield(&by).await?))
}

async fn raise(
    State(operations): Shared,
    ConnectInfo(Caller(by)): Peer,
) -> Answer<super::operations::Shield> {
    Ok(Json(operations.raise_shield(&by).await?))
}

async fn lower(
    State(operations): Shared,
    ConnectInfo(Caller(by)): Peer,
) -> Answer<super::operations::Shield> {
    Ok(Json(operations.lower_shield(&by).await?))
}

async fn rotate(
    State(operations): Shared,
    ConnectInfo(Caller(by)): Peer,
) -> Answer<super::operations::Rotated> {
    Ok(Json(operations.rotate_keys(&by).await?))
}

async fn explain(
    State(operations): Shared,
    ConnectInfo(Caller(by)): Peer,
    Json(asked): Json<super::operations::Asked>,
) -> Answer<crate::policy::Explanation> {
    Ok(Json(operations.explain(&by, asked).await?))
}

async fn statement(State(operations): Shared) -> Json<crate::pages::safety::Statement> {
    Json(operations.statement().await)
}

async fn status(State(operations): Shared) -> Json<super::status::Status> {
    Json(operations.status().await)
}

/// An [`OperationError`] as an answer.
struct Failure(OperationError);

impl From<OperationError> for Failure {
    fn from(error: OperationError) -> Self {
        Self(error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = match self.0 {
            OperationError::Unknown(_) => StatusCode::NOT_FOUND,
            OperationError::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        (status, Json(json!({ "error": self.0.to_string() }))).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn the_socket_is_its_owners_alone_and_goes_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state/admin.sock");
        let socket = AdminSocket::bind(&path).unwrap();
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().unwrap()), 0o700);
        let others = fs::read_dir(path.parent().unwrap()).unwrap().count();
        assert_eq!(others, 1, "nothing else is left");
        drop(socket);
        assert!(!path.exists());
    }

    #[test]
    fn what_nobody_answers_at_is_replaced_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("admin.sock");
        // As after a kill: the file is there, and nobody listens.
        drop(StdListener::bind(&path).unwrap());
        let first = AdminSocket::bind(&path).unwrap();
        let second = AdminSocket::bind(&path);
        assert!(matches!(second, Err(SocketError::Taken(_))), "{second:?}");

        // A successor that took the place is not removed by the one before it.
        fs::remove_file(&path).unwrap();
        let successor = AdminSocket::bind(&path).unwrap();
        drop(first);
        assert!(path.exists());
        drop(successor);

        fs::write(&path, "a letter").unwrap();
        let foreign = AdminSocket::bind(&path);
        assert!(
            matches!(foreign, Err(SocketError::Foreign(_))),
            "{foreign:?}"
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), "a letter");
    }

    #[test]
    fn a_path_that_is_too_long_is_said_to_be() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x".repeat(120)).join("admin.sock");
        let error = AdminSocket::bind(&path).unwrap_err();
        assert!(error.to_string().starts_with("cannot listen at `"));
    }
}

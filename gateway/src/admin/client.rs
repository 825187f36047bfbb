//! The commands' side of the socket.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::net::UnixStream;

use super::operations::{
    Asked, Ended, Resumed, Rotated, Sessions, Shield, Suspended, Unlocked, User, Which,
};
use super::socket::{self, Filter, Whom};
use super::status::Status;
use crate::pages::safety::Statement;
use crate::policy::Explanation;

/// How long a command waits for its answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why a command came back without what it was for.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error("no gateway answers at `{}`; is it running with this configuration?", .0.display())]
    Nobody(PathBuf),
    /// The socket is another account's.
    #[error("`{}` is not this account's to use; run the command as the gateway's own", .0.display())]
    Forbidden(PathBuf),
    /// The gateway says why not.
    #[error("{0}")]
    Refused(String),
    /// The answer broke off, came too late, or makes no sense.
    #[error("the gateway at `{}` gave no answer: {reason}", .path.display())]
    Broken {
        /// Where.
        path: PathBuf,
        /// How.
        reason: String,
    },
}

/// A gateway to give commands to.
#[derive(Clone, Debug)]
pub struct GatewayClient {
    socket: PathBuf,
}

type Outcome<T> = Result<T, ClientError>;

impl GatewayClient {
    /// The gateway whose socket this is; nothing is opened yet.
    #[must_use]
    pub fn new(socket: PathBuf) -> Self {
        Self { socket }
    }

    /// Tells how the gateway is.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn status(&self) -> Outcome<Status> {
        self.get(socket::STATUS, &()).await
    }

    /// Tells what protects the application.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn statement(&self) -> Outcome<Statement> {
        self.get(socket::STATEMENT, &()).await
    }

    /// Lists sessions, of one user, of one company, or all.
    ///
    /// # Errors
    ///
    /// [`ClientError`], as with every command.
    pub async fn sessions(
        &self,
        user: Option<String>,
        company: Option<String>,
    ) -> Outcome<Sessions> {
        let filter = Filter { user, company };
        self.get(socket::SESSIONS, &filter).await
    }

    /// Ends sessions.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn revoke(&self, which: &Which) -> Outcome<Ended> {
        self.post(socket::REVOKE, which).await
    }

    /// Shows a user.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn user(&self, email: String) -> Outcome<User> {
        self.get(socket::USER, &Whom { email }).await
    }

    /// Unlocks an account.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn unlock(&self, email: String) -> Outcome<Unlocked> {
        self.post(socket::UNLOCK, &Whom { email }).await
    }

    /// Suspends a user.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn suspend(&self, email: String) -> Outcome<Suspended> {
        self.post(socket::SUSPEND, &Whom { email }).await
    }

    /// Takes a suspension back.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn resume(&self, email: String) -> Outcome<Resumed> {
        self.post(socket::RESUME, &Whom { email }).await
    }

    /// Looks at the login's shield.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn shield(&self) -> Outcome<Shield> {
        self.get(socket::SHIELD, &()).await
    }

    /// Raises it.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn raise_shield(&self) -> Outcome<Shield> {
        self.post(socket::RAISE, &()).await
    }

    /// Lowers it.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn lower_shield(&self) -> Outcome<Shield> {
        self.post(socket::LOWER, &()).await
    }

    /// Rotates the assertion's keys.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn rotate_keys(&self) -> Outcome<Rotated> {
        self.post(socket::ROTATE, &()).await
    }

    /// Tells how a request would be decided.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn explain(&self, asked: &Asked) -> Outcome<Explanation> {
        self.post(socket::EXPLAIN, asked).await
    }

    async fn get<T: DeserializeOwned>(&self, path: &str, query: &impl Serialize) -> Outcome<T> {
        let fields = serde_json::to_value(query).unwrap_or_default();
        let mut pairs = form_urlencoded::Serializer::new(String::new());
        for (name, value) in fields.as_object().into_iter().flatten() {
            pairs.append_pair(name, value.as_str().unwrap_or_default());
        }
        let target = format!("{path}?{}", pairs.finish());
        self.call(Method::GET, &target, Bytes::new()).await
    }

    async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Outcome<T> {
        let body = serde_json::to_vec(body).map_err(|error| self.broken(error))?;
        self.call(Method::POST, path, body.into()).await
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        target: &str,
        body: Bytes,
    ) -> Outcome<T> {
        let exchanged = tokio::time::timeout(PATIENCE, self.exchange(method, target, body));
        let (status, bytes) = exchanged.await.map_err(|error| self.broken(error))??;
        if status.is_success() {
            return serde_json::from_slice(&bytes).map_err(|error| self.broken(error));
        }
        let said: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        match said.get("error").and_then(Value::as_str) {
            Some(reason) => Err(ClientError::Refused(reason.to_owned())),
            None => Err(self.broken(status)),
        }
    }

    async fn exchange(
        &self,
        method: Method,
        target: &str,
        body: Bytes,
    ) -> Outcome<(StatusCode, Bytes)> {
        let stream =
            UnixStream::connect(&self.socket)
                .await
                .map_err(|error| match error.kind() {
                    ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
                        ClientError::Nobody(shown(&self.socket))
                    }
                    ErrorKind::PermissionDenied => ClientError::Forbidden(shown(&self.socket)),
                    _ => self.broken(error),
                })?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.broken(error))?;
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(target)
            .header(header::HOST, "gateway")
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::CONNECTION, "close")
            .body(Full::new(body))
            .map_err(|error| self.broken(error))?;
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| self.broken(error))?;
        let status = response.status();
        let whole = response.into_body().collect().await;
        let bytes = whole.map_err(|error| self.broken(error))?.to_bytes();
        Ok((status, bytes))
    }

    fn broken(&self, error: impl std::fmt::Display) -> ClientError {
        ClientError::Broken {
            path: shown(&self.socket),
            reason: error.to_string(),
        }
    }
}

/// A path as people wrote it: below the folder they are in, without that folder.
fn shown(path: &Path) -> PathBuf {
    std::env::current_dir()
        .ok()
        .and_then(|here| path.strip_prefix(here).ok())
        .unwrap_or(path)
        .to_owned()
}

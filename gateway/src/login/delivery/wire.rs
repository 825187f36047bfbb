//! One HTTP request to a provider, on a connection of its own.
//!
//! What matters here is to know whether a request may have been read: before the connection stands
//! it certainly was not, afterwards nobody can tell. A pooled connection, which the other side may
//! close at any moment, would blur that; a code is sent seldom enough to do without.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use rustls::{ClientConfig, RootCertStore, crypto, version};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;

use super::{CarrierError, SendError};
use crate::config::HttpUrl;

/// For a connection to stand, TLS included.
const CONNECT: Duration = Duration::from_secs(3);

/// For all of it.
const WHOLE: Duration = Duration::from_secs(10);

/// Longest answer that is read, in bytes.
const MAX_ANSWER: usize = 64 * 1024;

const USER_AGENT: &str = concat!("portvakt/", env!("CARGO_PKG_VERSION"));

/// The way to one URL.
pub(super) struct Wire {
    host: String,
    port: u16,
    authority: HeaderValue,
    base_path: String,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Wire {
    /// Prepares the way; connects to nothing yet.
    pub(super) fn new(url: &HttpUrl, ca: Option<&Path>) -> Result<Self, CarrierError> {
        let origin = &url.origin;
        let host = origin.host.trim_matches(['[', ']']).to_owned();
        let unfit = |_| CarrierError::Url(origin.origin());
        let tls = match origin.scheme.as_str() {
            "https" => Some((
                TlsConnector::from(Arc::new(tls_config(ca)?)),
                ServerName::try_from(host.clone())
                    .map_err(|_| CarrierError::Url(origin.origin()))?,
            )),
            _ => None,
        };
        Ok(Self {
            port: origin.port.unwrap_or(if tls.is_some() { 443 } else { 80 }),
            authority: HeaderValue::try_from(origin.authority()).map_err(unfit)?,
            base_path: url.path.clone(),
            host,
            tls,
        })
    }

    /// Posts a body to a path below the URL's own.
    ///
    /// # Errors
    ///
    /// [`SendError::Unsent`] where no connection came about, [`SendError::Unknown`] where there was
    /// one and no answer.
    pub(super) async fn post(
        &self,
        path: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Answer, SendError> {
        let request = self.request(path, headers, body)?;
        let deadline = Instant::now() + WHOLE;
        let stream = timeout(CONNECT, self.connect())
            .await
            .map_err(|_| unsent("no connection within 3 s"))??;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| unsent(format!("no connection: {error}")))?;
        // Dropped, and with it the connection, when this returns.
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        let exchange = async {
            let response = sender.send_request(request).await.map_err(|error| {
                if error.is_canceled() {
                    unsent("the connection closed before the request was sent")
                } else {
                    SendError::Unknown(format!("no answer: {error}"))
                }
            })?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, MAX_ANSWER).collect().await;
            Ok(Answer {
                status: head.status,
                headers: head.headers,
                // The head has said what matters; a body that breaks off is one that says nothing.
                body: body.map(|whole| whole.to_bytes()).unwrap_or_default(),
            })
        };
        timeout_at(deadline, exchange)
            .await
            .unwrap_or_else(|_| Err(SendError::Unknown("no answer within 10 s".to_owned())))
    }

    fn request(
        &self,
        path: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, SendError> {
        let target = match format!("{}{path}", self.base_path) {
            empty if empty.is_empty() => "/".to_owned(),
            target => target,
        };
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = target.parse().map_err(|_| unsent("its path is no path"))?;
        *request.headers_mut() = headers;
        let own = request.headers_mut();
        own.insert(header::HOST, self.authority.clone());
        own.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        own.insert(header::CONNECTION, HeaderValue::from_static("close"));
        Ok(request)
    }

    async fn connect(&self) -> Result<Box<dyn Stream>, SendError> {
        let failed = |error: std::io::Error| unsent(format!("no connection: {error}"));
        let stream = self.dial().await.map_err(failed)?;
        match &self.tls {
            None => Ok(Box::new(stream)),
            Some((connector, name)) => {
                let secured = connector.connect(name.clone(), stream).await;
                Ok(Box::new(secured.map_err(failed)?))
            }
        }
    }

    /// Tries every address that the name has; one that swallows packets does not take all the time.
    async fn dial(&self) -> std::io::Result<TcpStream> {
        let addresses: Vec<_> = tokio::net::lookup_host((self.host.as_str(), self.port))
            .await?
            .collect();
        let share = CONNECT / u32::try_from(addresses.len().max(1)).unwrap_or(u32::MAX);
        let mut last = std::io::Error::other("the name has no address");
        for address in addresses {
            match timeout(share, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => last = error,
                Err(_) => last = std::io::ErrorKind::TimedOut.into(),
            }
        }
        Err(last)
    }
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire")
            .field("authority", &self.authority)
            .field("tls", &self.tls.is_some())
            .finish_non_exhaustive()
    }
}

fn unsent(reason: impl Into<String>) -> SendError {
    SendError::Unsent {
        reason: reason.into(),
        pause: None,
    }
}

/// TLS to whom the authority in a file, or any that this machine trusts, vouches for.
fn tls_config(ca: Option<&Path>) -> Result<ClientConfig, CarrierError> {
    let tls = |error: rustls::Error| CarrierError::Tls(error.to_string());
    let provider = Arc::new(crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&version::TLS13, &version::TLS12])
        .map_err(tls)?
        .with_root_certificates(roots(ca)?)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn roots(ca: Option<&Path>) -> Result<RootCertStore, CarrierError> {
    let mut roots = RootCertStore::empty();
    let Some(path) = ca else {
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            return Err(CarrierError::NoAuthorities);
        }
        return Ok(roots);
    };
    let unfit = |reason: String| CarrierError::Authority(path.to_owned(), reason);
    let read = CertificateDer::pem_file_iter(path).map_err(|error| unfit(error.to_string()))?;
    for certificate in read {
        let certificate = certificate.map_err(|error| unfit(error.to_string()))?;
        roots
            .add(certificate)
            .map_err(|error| unfit(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(unfit("no certificate in it".to_owned()));
    }
    Ok(roots)
}

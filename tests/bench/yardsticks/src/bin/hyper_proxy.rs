//! A bare proxy of hyper and tokio-rustls: the floor of the materials. One thread, TLS in front,
//! HTTP/1.1 or HTTP/2 by ALPN, kept connections behind; it removes the hop-by-hop fields and
//! nothing else.
//!
//! `hyper-proxy ADDRESS UPSTREAM CHAIN KEY`

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{CONNECTION, HOST, HeaderValue, TRANSFER_ENCODING, UPGRADE};
use hyper::service::service_fn;
use hyper::{Request, Response, Version};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Connections to the upstream that wait for a request.
type Kept = Rc<RefCell<Vec<SendRequest<Incoming>>>>;

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let mut next = |what: &str| arguments.next().ok_or(format!("which {what}?"));
    let (address, upstream) = (next("address")?, next("upstream")?);
    let tls = TlsAcceptor::from(Arc::new(tls(&next("chain")?, &next("key")?)?));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async move {
        let listener = TcpListener::bind(address).await?;
        let upstream: Rc<str> = upstream.into();
        let kept = Kept::default();
        loop {
            let (stream, _) = listener.accept().await?;
            let (tls, upstream, kept) = (tls.clone(), Rc::clone(&upstream), Rc::clone(&kept));
            tokio::task::spawn_local(async move {
                let _ = serve(stream, tls, upstream, kept).await;
            });
        }
    })
}

fn tls(chain: &str, key: &str) -> Result<ServerConfig, Failure> {
    let chain = CertificateDer::pem_file_iter(chain)?.collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_file(key)?;
    // Named, since another yardstick brings another one.
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new()?;
    Ok(config)
}

async fn serve(
    stream: TcpStream,
    tls: TlsAcceptor,
    upstream: Rc<str>,
    kept: Kept,
) -> Result<(), Failure> {
    stream.set_nodelay(true)?;
    let stream = tls.accept(stream).await?;
    let is_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let service = service_fn(move |request| forward(request, Rc::clone(&upstream), kept.clone()));
    let io = TokioIo::new(stream);
    if is_h2 {
        hyper::server::conn::http2::Builder::new(Local)
            .timer(TokioTimer::new())
            .serve_connection(io, service)
            .await?;
    } else {
        hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .serve_connection(io, service)
            .await?;
    }
    Ok(())
}

/// Runs hyper's tasks on this thread.
#[derive(Clone, Copy)]
struct Local;

impl<F: Future + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, task: F) {
        tokio::task::spawn_local(async move {
            task.await;
        });
    }
}

async fn forward(
    mut request: Request<Incoming>,
    upstream: Rc<str>,
    kept: Kept,
) -> Result<Response<Incoming>, Failure> {
    let uri = request.uri();
    if request.version() == Version::HTTP_2 {
        if let Some(authority) = uri.authority() {
            let host = HeaderValue::from_str(authority.as_str())?;
            request.headers_mut().insert(HOST, host);
        }
        *request.version_mut() = Version::HTTP_11;
    }
    let path = request.uri().path_and_query().cloned();
    *request.uri_mut() = path.ok_or("no path")?.into();
    for name in [CONNECTION, UPGRADE, TRANSFER_ENCODING] {
        request.headers_mut().remove(name);
    }
    let mut connection = connection(&upstream, &kept).await?;
    let mut answer = connection.send_request(request).await?;
    // It is ready again once the body has passed; until then nobody takes it.
    kept.borrow_mut().push(connection);
    answer.headers_mut().remove(CONNECTION);
    *answer.version_mut() = Version::HTTP_11;
    Ok(answer)
}

async fn connection(upstream: &str, kept: &Kept) -> Result<SendRequest<Incoming>, Failure> {
    {
        let mut kept = kept.borrow_mut();
        kept.retain(|connection| !connection.is_closed());
        if let Some(at) = kept.iter().position(SendRequest::is_ready) {
            return Ok(kept.swap_remove(at));
        }
    }
    let stream = TcpStream::connect(upstream).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    tokio::task::spawn_local(async move {
        let _ = connection.await;
    });
    Ok(sender)
}

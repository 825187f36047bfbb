//! Listeners: addresses that we accept on, with TLS or behind a router that terminates it.
//!
//! Every worker has a socket of its own on every address (`SO_REUSEPORT`), so that the kernel
//! spreads connections and no worker wakes another. Sockets that a supervisor hands over are shared.

mod activity;
pub mod certificates;
pub mod details;
mod guard;
mod head;
mod http_server;
pub mod inherited;
mod proxy_header;
mod stall;
pub mod tls;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::{Request, Response};
use ipnet::IpNet;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio_rustls::TlsAcceptor;

use crate::body::Body;
use crate::config::Limits;
use crate::metrics::Metrics;
use crate::pipeline::{Held, Hold, Peer, Pipeline};

/// How long accepting pauses when the system has no descriptor or memory left.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);
/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4096;

/// One address, with what is needed to serve a connection on it.
#[derive(Clone)]
pub struct Listener {
    /// TLS, unless a router terminates it.
    pub tls: Option<TlsAcceptor>,
    /// Peers whose forwarding headers are believed.
    pub trusted_proxies: Arc<[IpNet]>,
    /// Whether those peers, and nobody else, connect, with a PROXY protocol header first.
    pub proxy_protocol: bool,
    /// What one client may cost.
    pub limits: Limits,
    /// Counts.
    pub metrics: Metrics,
    /// Whether the socket lives on without us: then who waits in it is the successor's to serve.
    pub outlived: bool,
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listener")
            .field("tls", &self.tls.is_some())
            .field("trusted_proxies", &self.trusted_proxies)
            .finish_non_exhaustive()
    }
}

/// Where a connection comes from.
struct Origin {
    address: IpAddr,
    encrypted: Option<bool>,
    /// Whether its forwarding headers are believed.
    believed: bool,
}

impl Listener {
    fn trusts(&self, address: &IpAddr) -> bool {
        self.trusted_proxies.iter().any(|net| net.contains(address))
    }

    /// The peer itself, or whom its PROXY protocol header names.
    async fn origin(&self, stream: &mut TcpStream, peer: SocketAddr) -> io::Result<Origin> {
        let address = peer.ip().to_canonical();
        let over_tls = self.tls.is_some();
        if !self.proxy_protocol {
            return Ok(Origin {
                address,
                encrypted: Some(over_tls),
                believed: self.trusts(&address),
            });
        }
        if !self.trusts(&address) {
            let error = "a peer that is none of `trusted_proxies` connected where the PROXY protocol is spoken";
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, error));
        }
        let reading =
            tokio::time::timeout(self.limits.handshake_timeout, proxy_header::read(stream));
        let header = reading
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        Ok(Origin {
            address: header.client.unwrap_or(address),
            encrypted: if over_tls {
                Some(true)
            } else {
                header.over_tls
            },
            // The header that a client sends through is the client's: it is believed only if the
            // client is a listed proxy itself.
            believed: header.client.is_some_and(|client| self.trusts(&client)),
        })
    }
}

/// Answers the requests of all connections.
#[async_trait]
pub trait Handler: Clone + Send + Sync + 'static {
    /// Always an answer.
    async fn handle(&self, peer: Peer, request: Request<Body>) -> Response<Body>;
}

#[async_trait]
impl Handler for Pipeline {
    async fn handle(&self, peer: Peer, request: Request<Body>) -> Response<Body> {
        Self::handle(self, peer, request).await
    }
}

/// Opens one socket per worker on an address; with port 0 the system chooses one for all.
///
/// # Errors
///
/// What the system says, such as that the address is in use.
pub fn bind(address: SocketAddr, workers: usize) -> io::Result<Vec<std::net::TcpListener>> {
    let first = open(address)?;
    let chosen = first.local_addr()?;
    let mut sockets = vec![first];
    for _ in 1..workers {
        sockets.push(open(chosen)?);
    }
    Ok(sockets)
}

fn open(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Whether another process already accepts on an address, which `SO_REUSEPORT` would hide.
#[must_use]
pub fn is_taken(address: SocketAddr) -> bool {
    if address.port() == 0 {
        return false;
    }
    let exclusive = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )
    .and_then(|socket| {
        socket.set_reuse_address(true)?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.bind(&address.into())?;
        socket.listen(1)
    });
    exclusive.is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse)
}

/// Accepts until `stop` turns true, then lets every connection finish what it is at; returns when
/// the last one is gone. The caller sets the deadline. Whoever waits to be accepted then is
/// accepted still, unless the socket lives on.
pub async fn serve<H: Handler>(
    socket: std::net::TcpListener,
    listener: Listener,
    handler: H,
    mut stop: watch::Receiver<bool>,
) -> io::Result<()> {
    let socket = TcpListener::from_std(socket)?;
    let places = Arc::new(Semaphore::new(listener.limits.connections));
    let (alive, mut gone) = mpsc::channel::<()>(1);
    loop {
        let accepted = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => break,
            accepted = next(&socket, &places) => accepted,
        };
        match accepted {
            Ok((stream, address, place)) => {
                let open = Open::new(&listener.metrics, place, alive.clone(), stop.clone());
                begin(&listener, &handler, &stop, open, (stream, address));
            }
            Err(error) => pause_if_exhausted(&error).await,
        }
    }
    if !listener.outlived {
        // Closing the socket would reset them.
        for accepted in waiting(socket.into_std()?) {
            let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                break;
            };
            let open = Open::new(&listener.metrics, place, alive.clone(), stop.clone());
            begin(&listener, &handler, &stop, open, accepted);
        }
    }
    drop(alive);
    gone.recv().await;
    Ok(())
}

/// Serves a connection, beside all others.
fn begin<H: Handler>(
    listener: &Listener,
    handler: &H,
    stop: &watch::Receiver<bool>,
    open: Open,
    (stream, address): (TcpStream, SocketAddr),
) {
    let connection = Connection {
        listener: listener.clone(),
        handler: handler.clone(),
        stop: stop.clone(),
        hold: Hold::new(open),
    };
    tokio::spawn(connection.run(stream, address));
}

/// What waits to be accepted now.
fn waiting(socket: std::net::TcpListener) -> impl Iterator<Item = (TcpStream, SocketAddr)> {
    std::iter::from_fn(move || {
        let (stream, address) = socket.accept().ok()?;
        stream.set_nonblocking(true).ok()?;
        Some((TcpStream::from_std(stream).ok()?, address))
    })
}

/// The next connection, once there is a place for it.
async fn next(
    socket: &TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let place = Arc::clone(places)
        .acquire_owned()
        .await
        .map_err(io::Error::other)?;
    let (stream, address) = socket.accept().await?;
    Ok((stream, address, place))
}

/// A connection that was reset before we took it is nothing; a lack of descriptors wants a pause,
/// or accepting would spin.
async fn pause_if_exhausted(error: &io::Error) {
    let of_one_connection = matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
    );
    if !of_one_connection {
        tracing::warn!(%error, "accepting pauses");
        tokio::time::sleep(EXHAUSTED_PAUSE).await;
    }
}

/// A connection that counts as open: its place, its share of the drain, its metric.
struct Open {
    gauge: prometheus::IntGauge,
    stop: watch::Receiver<bool>,
    _place: OwnedSemaphorePermit,
    _alive: mpsc::Sender<()>,
}

impl Open {
    fn new(
        metrics: &Metrics,
        place: OwnedSemaphorePermit,
        alive: mpsc::Sender<()>,
        stop: watch::Receiver<bool>,
    ) -> Self {
        metrics.connections.inc();
        Self {
            gauge: metrics.connections.clone(),
            stop,
            _place: place,
            _alive: alive,
        }
    }
}

impl Held for Open {
    fn draining(&self) -> watch::Receiver<bool> {
        self.stop.clone()
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.gauge.dec();
    }
}

/// One accepted connection.
struct Connection<H> {
    listener: Listener,
    handler: H,
    stop: watch::Receiver<bool>,
    hold: Hold,
}

impl<H: Handler> Connection<H> {
    async fn run(self, stream: TcpStream, address: SocketAddr) {
        if let Err(error) = self.serve(stream, address).await {
            tracing::debug!(%error, "a connection ended");
        }
    }

    async fn serve(
        self,
        mut stream: TcpStream,
        address: SocketAddr,
    ) -> Result<(), http_server::Error> {
        stream.set_nodelay(true)?;
        let origin = self.listener.origin(&mut stream, address).await?;
        let proxies = &self.listener.trusted_proxies;
        let peer = Peer {
            address: origin.address,
            encrypted: origin.encrypted,
            believed: origin.believed.then(|| Arc::clone(proxies)),
            hold: self.hold,
        };
        let limits = self.listener.limits;
        let server = http_server::Server {
            limits,
            handler: self.handler,
            peer,
            stop: self.stop,
        };
        let Some(acceptor) = &self.listener.tls else {
            return server.http1(stream).await;
        };
        let handshake = tokio::time::timeout(limits.handshake_timeout, acceptor.accept(stream));
        let stream = handshake
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
            server.http2(stream).await
        } else {
            server.http1(stream).await
        }
    }
}

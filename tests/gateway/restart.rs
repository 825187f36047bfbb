//! A restart loses nothing: under load, with the supervisor holding the socket, on the embedded
//! store, whichever of the two processes goes first.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::{http1, http2};
use hyper::{Request, Response, body::Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::time::{MissedTickBehavior, timeout};

use crate::house::{House, KARI, OLA, free_port};
use crate::supervised::{Process, Supervisor};

/// Restarts in a short run; `PORTVAKT_RESTARTS` says how many for a long one.
const RESTARTS: usize = 5;
/// Between two restarts.
const PAUSE: Duration = Duration::from_millis(700);
/// Clients of each kind, and how often each asks: 500 requests a second in all.
const LOAD: [(Kind, usize, Duration); 4] = [
    (Kind::Kept(Version::Http1), 20, Duration::from_millis(100)),
    (Kind::Kept(Version::Http2), 20, Duration::from_millis(100)),
    (Kind::Fresh(Version::Http1), 10, Duration::from_millis(200)),
    (Kind::Fresh(Version::Http2), 10, Duration::from_millis(200)),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Version {
    Http1,
    Http2,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// One connection for as long as it lasts.
    Kept(Version),
    /// A connection for each request.
    Fresh(Version),
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restarts_under_load_fail_no_request() {
    let restarts = restarts();
    let admin = free_port();
    let mut house = House::open_with(
        |config| *config = config.replace("127.0.0.1:0", &format!("127.0.0.1:{admin}")),
        None,
    )
    .await;
    let cookies = [
        house.session_cookie(KARI).await,
        house.session_cookie(OLA).await,
    ];
    house.gateway.take().unwrap().stop().await;
    let mut supervisor = Supervisor::of(&house);
    let mut gateway = supervisor.start();
    gateway.tells("READY=1", 1).await;

    let load = Arc::new(Load::new(&house));
    let mut clients = Vec::new();
    for (kind, count, pace) in LOAD {
        for number in 0..count {
            let cookie = cookies[number % 2].clone();
            clients.push(tokio::spawn(Arc::clone(&load).ask(kind, pace, cookie)));
        }
    }
    let begun = Instant::now();
    let mut gaps = Vec::new();
    for number in 0..restarts {
        tokio::time::sleep(PAUSE).await;
        let (next, gap) = if number % 2 == 0 {
            stop_then_start(&mut supervisor, gateway).await
        } else {
            start_then_stop(&mut supervisor, gateway).await
        };
        gateway = next;
        gaps.push(gap);
        let failed = load.told.lock().unwrap().failed.clone();
        assert!(failed.is_empty(), "restart {number}: {failed:#?}");
    }
    tokio::time::sleep(PAUSE).await;
    load.over.store(true, Ordering::SeqCst);
    for client in clients {
        client.await.unwrap();
    }
    let took = begun.elapsed();
    gateway.stop().await;

    let told = load.told.lock().unwrap();
    let answered: usize = told.answered.values().sum();
    println!(
        "{restarts} restarts in {:.1} s: {answered} requests answered ({:.0} a second), {} failed; \
         {:?}; {} of kept HTTP/1.1 and {} of kept HTTP/2 were sent again over a fresh connection; \
         the longest wait for an answer was {} ms; from SIGTERM to the next READY {:?}",
        took.as_secs_f32(),
        answered as f32 / took.as_secs_f32(),
        told.failed.len(),
        told.answered,
        told.again.get(&Version::Http1).unwrap_or(&0),
        told.again.get(&Version::Http2).unwrap_or(&0),
        told.longest.as_millis(),
        gaps,
    );
    assert!(told.failed.is_empty(), "{:#?}", told.failed);
    assert_eq!(told.answered.len(), LOAD.len(), "{:?}", told.answered);
    assert!(answered > 200 * restarts, "there was no load: {answered}");
}

/// As `systemctl restart` does.
async fn stop_then_start(supervisor: &mut Supervisor, old: Process) -> (Process, Duration) {
    let told = Instant::now();
    old.stop().await;
    let mut next = supervisor.start();
    next.tells("READY=1", 1).await;
    (next, told.elapsed())
}

/// The next one has read everything and waits for the store when the old one is told to go.
async fn start_then_stop(supervisor: &mut Supervisor, old: Process) -> (Process, Duration) {
    let mut next = supervisor.start();
    next.tells("STATUS=waiting", 1).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let told = Instant::now();
    old.stop().await;
    next.tells("READY=1", 1).await;
    (next, told.elapsed())
}

#[expect(
    clippy::disallowed_methods,
    reason = "how long a test runs is no configuration of the gateway"
)]
fn restarts() -> usize {
    std::env::var("PORTVAKT_RESTARTS").map_or(RESTARTS, |text| text.parse().unwrap())
}

/// What all clients share.
struct Load {
    port: u16,
    tls: BTreeMap<Version, tokio_rustls::TlsConnector>,
    over: AtomicBool,
    told: Mutex<Told>,
}

#[derive(Default)]
struct Told {
    answered: BTreeMap<Kind, usize>,
    again: BTreeMap<Version, usize>,
    failed: Vec<String>,
    longest: Duration,
}

enum Sender {
    Http1(http1::SendRequest<Empty<Bytes>>),
    Http2(http2::SendRequest<Empty<Bytes>>),
}

impl Sender {
    /// Whether another request may be sent here, as far as the client has been told.
    async fn is_open(&mut self) -> bool {
        match self {
            Self::Http1(sender) => sender.ready().await.is_ok(),
            Self::Http2(sender) => sender.ready().await.is_ok(),
        }
    }

    async fn send(&mut self, request: Request<Empty<Bytes>>) -> hyper::Result<Response<Incoming>> {
        match self {
            Self::Http1(sender) => sender.send_request(request).await,
            Self::Http2(sender) => sender.send_request(request).await,
        }
    }
}

impl Load {
    fn new(house: &House) -> Self {
        let connector = |protocol: &[u8]| {
            let mut config = rustls::ClientConfig::builder()
                .with_root_certificates(house.roots())
                .with_no_client_auth();
            config.alpn_protocols = vec![protocol.to_vec()];
            tokio_rustls::TlsConnector::from(Arc::new(config))
        };
        Self {
            port: house.port,
            tls: [
                (Version::Http1, connector(b"http/1.1")),
                (Version::Http2, connector(b"h2")),
            ]
            .into(),
            over: AtomicBool::new(false),
            told: Mutex::default(),
        }
    }

    /// One client, until all is over.
    async fn ask(self: Arc<Self>, kind: Kind, pace: Duration, cookie: String) {
        let mut tick = tokio::time::interval(pace);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut kept = None;
        while !self.over.load(Ordering::SeqCst) {
            tick.tick().await;
            let asked = Instant::now();
            let patience = Duration::from_secs(60);
            let outcome = timeout(patience, self.once(kind, &mut kept, &cookie)).await;
            let outcome = outcome.unwrap_or_else(|_| Err("no answer in a minute".to_owned()));
            let mut told = self.told.lock().unwrap();
            told.longest = told.longest.max(asked.elapsed());
            match outcome {
                Ok(()) => *told.answered.entry(kind).or_default() += 1,
                Err(why) => told.failed.push(format!("{kind:?}: {why}")),
            }
        }
    }

    /// One request. As browsers do, one that a kept connection took without beginning to answer is
    /// sent again, once, over a fresh one; nothing else is.
    async fn once(
        &self,
        kind: Kind,
        kept: &mut Option<Sender>,
        cookie: &str,
    ) -> Result<(), String> {
        let (Kind::Kept(version) | Kind::Fresh(version)) = kind;
        if let Some(mut sender) = kept.take()
            && sender.is_open().await
        {
            if let Ok(answer) = sender.send(self.request(version, cookie)).await {
                read(answer).await?;
                *kept = Some(sender);
                return Ok(());
            }
            *self.told.lock().unwrap().again.entry(version).or_default() += 1;
        }
        let mut sender = self.connect(version).await?;
        let answer = sender.send(self.request(version, cookie)).await;
        read(answer.map_err(|error| format!("on a fresh connection: {error:?}"))?).await?;
        if matches!(kind, Kind::Kept(_)) {
            *kept = Some(sender);
        }
        Ok(())
    }

    async fn connect(&self, version: Version) -> Result<Sender, String> {
        let stream = tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await;
        let stream = stream.map_err(|error| format!("no connection: {error}"))?;
        stream.set_nodelay(true).unwrap();
        let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
        let tls = self.tls[&version].connect(name, stream).await;
        let io = TokioIo::new(tls.map_err(|error| format!("no handshake: {error}"))?);
        Ok(match version {
            Version::Http1 => {
                let (sender, connection) = http1::handshake(io).await.map_err(said)?;
                tokio::spawn(connection);
                Sender::Http1(sender)
            }
            Version::Http2 => {
                let shaken = http2::handshake(TokioExecutor::new(), io).await;
                let (sender, connection) = shaken.map_err(said)?;
                tokio::spawn(connection);
                Sender::Http2(sender)
            }
        })
    }

    fn request(&self, version: Version, cookie: &str) -> Request<Empty<Bytes>> {
        let (uri, host) = match version {
            Version::Http1 => ("/projects/1".to_owned(), Some("localhost")),
            Version::Http2 => ("https://localhost/projects/1".to_owned(), None),
        };
        let mut request = Request::get(uri)
            .header("accept", "application/json")
            .header("cookie", cookie);
        if let Some(host) = host {
            request = request.header("host", host);
        }
        request.body(Empty::new()).unwrap()
    }
}

async fn read(answer: Response<Incoming>) -> Result<(), String> {
    let (head, body) = answer.into_parts();
    let body = body.collect().await;
    let body = body.map_err(|error| format!("an answer broke off: {error:?}"))?;
    if head.status != 200 {
        return Err(format!("{}: {:?}", head.status, body.to_bytes()));
    }
    Ok(())
}

fn said(error: impl std::fmt::Display) -> String {
    error.to_string()
}

//! The way to Redis: one server, a master that sentinels name, or a cluster, with a deadline on
//! every call and a breaker that lets nobody wait for one that does not answer.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, FromRedisValue, IntoConnectionInfo,
    Pipeline, ProtocolVersion, RedisError, RedisFuture, ScriptInvocation, Value,
};
use tokio::runtime::Handle;
use tokio::sync::Mutex;

use crate::config::{RedisPlace, RedisStore};
use crate::store::{StoreError, StoreResult};

/// How long nobody asks a Redis that gave no answer.
const BREAK: Duration = Duration::from_millis(250);
/// How long it takes until another connection is tried.
const AGAIN: Duration = Duration::from_millis(50);
/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(1);

/// What is said of a Redis that `state init` has not prepared.
pub(super) const NO_EPOCH: &str =
    "redis holds no epoch: it is new or was flushed; run `portvakt state init`";

/// The way to Redis.
pub(super) struct Link {
    inner: Arc<Inner>,
    deadline: Duration,
}

struct Inner {
    source: Source,
    /// The connection in use, until another is made.
    way: ArcSwap<Way>,
    breaker: Breaker,
    /// Whether another is being made.
    renewing: AtomicBool,
    /// Where connections live: not with a worker, which may end before others.
    runtime: Handle,
}

/// Where connections come from.
enum Source {
    One(Client),
    Cluster(ClusterClient),
    /// A master by way of its sentinels, asked anew for each connection.
    Sentinels(Mutex<SentinelClient>),
}

#[derive(Clone)]
enum Way {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Link {
    /// Makes the connection.
    pub(super) async fn open(settings: &RedisStore) -> StoreResult<Self> {
        let source = Source::new(settings)?;
        let way = source.connect().await?;
        Ok(Self {
            inner: Arc::new(Inner {
                source,
                way: ArcSwap::from_pointee(way),
                breaker: Breaker::new(),
                renewing: AtomicBool::new(false),
                runtime: Handle::current(),
            }),
            deadline: settings.deadline,
        })
    }

    /// Runs a script.
    pub(super) async fn run<T: FromRedisValue>(
        &self,
        script: &ScriptInvocation<'_>,
    ) -> StoreResult<T> {
        let mut way = self.way();
        self.bounded(async { script.invoke_async(&mut way).await })
            .await
    }

    /// Sends a command.
    pub(super) async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> StoreResult<T> {
        let mut way = self.way();
        self.bounded(async { command.query_async(&mut way).await })
            .await
    }

    fn way(&self) -> Way {
        Way::clone(&self.inner.way.load())
    }

    async fn bounded<T>(
        &self,
        call: impl Future<Output = Result<T, RedisError>>,
    ) -> StoreResult<T> {
        self.inner.breaker.pass()?;
        match tokio::time::timeout(self.deadline, call).await {
            Ok(Ok(answer)) => {
                self.inner.breaker.close();
                Ok(answer)
            }
            Ok(Err(error)) => {
                // A master that became a replica says so; its successor is looked for.
                let demoted = error.code() == Some("READONLY");
                let dropped = error.is_io_error() || error.is_connection_dropped();
                if demoted || dropped || error.is_timeout() {
                    self.lost();
                }
                Err(unavailable(&error))
            }
            Err(_) => {
                self.lost();
                Err(StoreError::Unavailable(format!(
                    "redis gave no answer in {} ms",
                    self.deadline.as_millis()
                )))
            }
        }
    }

    /// Lets nobody ask for a while, and makes another connection: this one may lead nowhere any
    /// more without anyone being told.
    fn lost(&self) {
        self.inner.breaker.open();
        if !self.inner.renewing.swap(true, Ordering::AcqRel) {
            let renewing = renew(Arc::downgrade(&self.inner));
            self.inner.runtime.spawn(renewing);
        }
    }
}

/// Tries until there is a connection, or nobody wants one any more.
async fn renew(link: Weak<Inner>) {
    while let Some(inner) = link.upgrade() {
        let made = inner.source.connect().await;
        match made {
            Ok(way) => {
                inner.way.store(Arc::new(way));
                inner.breaker.close();
                inner.renewing.store(false, Ordering::Release);
                return;
            }
            Err(error) => tracing::debug!(%error, "redis cannot be reached"),
        }
        drop(inner);
        tokio::time::sleep(AGAIN).await;
    }
}

impl Source {
    fn new(settings: &RedisStore) -> StoreResult<Self> {
        Ok(match &settings.place {
            RedisPlace::One(url) => {
                Self::One(Client::open(expose(url)?).map_err(|e| unavailable(&e))?)
            }
            RedisPlace::Cluster(urls) => {
                let nodes = urls.iter().map(expose).collect::<StoreResult<Vec<_>>>()?;
                let client = ClusterClient::builder(nodes)
                    .connection_timeout(CONNECT)
                    .response_timeout(settings.deadline)
                    .retries(2)
                    .min_retry_wait(10)
                    .max_retry_wait(100)
                    .build();
                Self::Cluster(client.map_err(|e| unavailable(&e))?)
            }
            RedisPlace::Sentinels { urls, master } => {
                let client = sentinel_client(urls, master, ProtocolVersion::RESP2)?;
                Self::Sentinels(Mutex::new(client))
            }
        })
    }

    async fn connect(&self) -> StoreResult<Way> {
        let connecting = async {
            let config = AsyncConnectionConfig::new()
                .set_connection_timeout(Some(CONNECT))
                .set_response_timeout(None);
            match self {
                Self::One(client) => {
                    let way = client.get_multiplexed_async_connection_with_config(&config);
                    way.await.map(Way::One)
                }
                Self::Cluster(client) => client.get_async_connection().await.map(Way::Cluster),
                Self::Sentinels(client) => {
                    let mut client = client.lock().await;
                    let way = client.get_async_connection_with_config(&config);
                    way.await.map(Way::One)
                }
            }
        };
        let made = tokio::time::timeout(CONNECT * 3, connecting).await;
        let made = made.map_err(|_| StoreError::Unavailable("redis gave no answer".to_owned()))?;
        made.map_err(|error| unavailable(&error))
    }
}

impl ConnectionLike for Way {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::One(one) => one.req_packed_command(cmd),
            Self::Cluster(cluster) => cluster.req_packed_command(cmd),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        cmd: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::One(one) => one.req_packed_commands(cmd, offset, count),
            Self::Cluster(cluster) => cluster.req_packed_commands(cmd, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        0
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let way = match &self.inner.source {
            Source::One(_) => "one server",
            Source::Cluster(_) => "cluster",
            Source::Sentinels(_) => "sentinels",
        };
        f.debug_struct("Link")
            .field("way", &way)
            .finish_non_exhaustive()
    }
}

/// Lets nobody ask for a while after a call that had no answer: whoever asks then is told at once.
struct Breaker {
    begun: Instant,
    /// Milliseconds after `begun` until which nobody asks.
    until: AtomicU64,
}

impl Breaker {
    fn new() -> Self {
        Self {
            begun: Instant::now(),
            until: AtomicU64::new(0),
        }
    }

    fn pass(&self) -> StoreResult<()> {
        if self.now() < self.until.load(Ordering::Relaxed) {
            return Err(StoreError::Unavailable(
                "redis gave no answer a moment ago".to_owned(),
            ));
        }
        Ok(())
    }

    fn open(&self) {
        let pause = u64::try_from(BREAK.as_millis()).unwrap_or(u64::MAX);
        self.until
            .store(self.now().saturating_add(pause), Ordering::Relaxed);
    }

    fn close(&self) {
        self.until.store(0, Ordering::Relaxed);
    }

    fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// The URLs' user and password are the master's and its sentinels' alike.
pub(super) fn sentinel_client(
    urls: &[crate::secret::Secret],
    master: &str,
    protocol: ProtocolVersion,
) -> StoreResult<SentinelClient> {
    let infos = urls
        .iter()
        .map(|url| {
            expose(url)?
                .into_connection_info()
                .map_err(|e| unavailable(&e))
        })
        .collect::<StoreResult<Vec<_>>>()?;
    let addresses: Vec<ConnectionAddr> = infos.iter().map(|i| i.addr().clone()).collect();
    let first = infos
        .first()
        .ok_or_else(|| StoreError::Unavailable("no sentinel is named".to_owned()))?;
    let mut builder = SentinelClientBuilder::new(addresses, master, SentinelServerType::Master)
        .map_err(|e| unavailable(&e))?
        .set_client_to_redis_protocol(protocol)
        .set_client_to_redis_db(first.redis_settings().db());
    if let Some(name) = first.redis_settings().username() {
        builder = builder
            .set_client_to_redis_username(name)
            .set_client_to_sentinel_username(name);
    }
    if let Some(word) = first.redis_settings().password() {
        builder = builder
            .set_client_to_redis_password(word)
            .set_client_to_sentinel_password(word);
    }
    if matches!(first.addr(), ConnectionAddr::TcpTls { .. }) {
        builder = builder
            .set_client_to_redis_tls_mode(redis::TlsMode::Secure)
            .set_client_to_sentinel_tls_mode(redis::TlsMode::Secure);
    }
    builder.build().map_err(|e| unavailable(&e))
}

pub(super) fn expose(url: &crate::secret::Secret) -> StoreResult<&str> {
    url.expose_text()
        .ok_or_else(|| StoreError::Unavailable("the address of redis is no text".to_owned()))
}

/// What Redis says, in the store's own words.
pub(super) fn unavailable(error: &RedisError) -> StoreError {
    match error.code() {
        Some("NOEPOCH") => StoreError::Unavailable(NO_EPOCH.to_owned()),
        _ => StoreError::Unavailable(format!("redis: {error}")),
    }
}

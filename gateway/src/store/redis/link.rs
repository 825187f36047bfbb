//! The way to Redis: one server, a master that sentinels name, or a cluster, with a deadline on
//! every call and a breaker that lets nobody wait for one that does not answer.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use redis::aio::{
    ConnectionLike, ConnectionManager, ConnectionManagerConfig, MultiplexedConnection,
};
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use redis::{
    Cmd, ConnectionAddr, FromRedisValue, IntoConnectionInfo, Pipeline, ProtocolVersion, RedisError,
    RedisFuture, ScriptInvocation, Value,
};
use tokio::sync::Mutex;

use crate::config::{RedisPlace, RedisStore};
use crate::store::{StoreError, StoreResult};

/// How long nobody asks a Redis that gave no answer.
const BREAK: Duration = Duration::from_millis(250);
/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(1);

/// What is said of a Redis that `state init` has not prepared.
pub(super) const NO_EPOCH: &str =
    "redis holds no epoch: it is new or was flushed; run `portvakt state init`";

/// The way to Redis.
pub(super) struct Link {
    way: Way,
    deadline: Duration,
    breaker: Breaker,
}

#[derive(Clone)]
enum Way {
    One(ConnectionManager),
    Cluster(ClusterConnection),
    Sentinels(Arc<Sentinels>),
}

/// A master by way of its sentinels, asked anew when the one we knew fails.
struct Sentinels {
    client: Mutex<SentinelClient>,
    /// The master, while it answers.
    master: Mutex<Option<MultiplexedConnection>>,
}

impl Link {
    /// Makes the connection.
    pub(super) async fn open(settings: &RedisStore) -> StoreResult<Self> {
        let way = tokio::time::timeout(CONNECT * 3, Way::open(settings))
            .await
            .map_err(|_| StoreError::Unavailable("redis gave no answer".to_owned()))??;
        Ok(Self {
            way,
            deadline: settings.deadline,
            breaker: Breaker::new(),
        })
    }

    /// Runs a script.
    pub(super) async fn run<T: FromRedisValue>(
        &self,
        script: &ScriptInvocation<'_>,
    ) -> StoreResult<T> {
        let mut way = self.way.clone();
        self.bounded(async { script.invoke_async(&mut way).await })
            .await
    }

    /// Sends a command.
    pub(super) async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> StoreResult<T> {
        let mut way = self.way.clone();
        self.bounded(async { command.query_async(&mut way).await })
            .await
    }

    async fn bounded<T>(
        &self,
        call: impl Future<Output = Result<T, RedisError>>,
    ) -> StoreResult<T> {
        self.breaker.pass()?;
        match tokio::time::timeout(self.deadline, call).await {
            Ok(Ok(answer)) => {
                self.breaker.close();
                Ok(answer)
            }
            Ok(Err(error)) => {
                if error.is_io_error() || error.is_connection_dropped() || error.is_timeout() {
                    self.lost().await;
                }
                Err(unavailable(&error))
            }
            Err(_) => {
                self.lost().await;
                Err(StoreError::Unavailable(format!(
                    "redis gave no answer in {} ms",
                    self.deadline.as_millis()
                )))
            }
        }
    }

    async fn lost(&self) {
        self.breaker.open();
        if let Way::Sentinels(sentinels) = &self.way {
            sentinels.forget().await;
        }
    }
}

impl Way {
    async fn open(settings: &RedisStore) -> StoreResult<Self> {
        match &settings.place {
            RedisPlace::One(url) => {
                let client = redis::Client::open(expose(url)?).map_err(|e| unavailable(&e))?;
                let config = ConnectionManagerConfig::new()
                    .set_connection_timeout(Some(CONNECT))
                    .set_response_timeout(Some(settings.deadline))
                    .set_number_of_retries(2)
                    .set_min_delay(Duration::from_millis(10))
                    .set_max_delay(Duration::from_millis(100));
                let one = ConnectionManager::new_with_config(client, config).await;
                Ok(Self::One(one.map_err(|e| unavailable(&e))?))
            }
            RedisPlace::Cluster(urls) => {
                let nodes = urls.iter().map(expose).collect::<StoreResult<Vec<_>>>()?;
                let client = ClusterClient::builder(nodes)
                    .connection_timeout(CONNECT)
                    .response_timeout(settings.deadline)
                    .retries(2)
                    .min_retry_wait(10)
                    .max_retry_wait(100)
                    .build()
                    .map_err(|e| unavailable(&e))?;
                let cluster = client.get_async_connection().await;
                Ok(Self::Cluster(cluster.map_err(|e| unavailable(&e))?))
            }
            RedisPlace::Sentinels { urls, master } => {
                let sentinels = Sentinels::new(urls, master)?;
                sentinels.connection().await.map_err(|e| unavailable(&e))?;
                Ok(Self::Sentinels(Arc::new(sentinels)))
            }
        }
    }
}

impl Sentinels {
    fn new(urls: &[crate::secret::Secret], master: &str) -> StoreResult<Self> {
        let client = sentinel_client(urls, master, ProtocolVersion::RESP2)?;
        Ok(Self {
            client: Mutex::new(client),
            master: Mutex::new(None),
        })
    }

    async fn connection(&self) -> Result<MultiplexedConnection, RedisError> {
        let mut master = self.master.lock().await;
        if let Some(known) = &*master {
            return Ok(known.clone());
        }
        let found = self.client.lock().await.get_async_connection().await?;
        *master = Some(found.clone());
        Ok(found)
    }

    async fn forget(&self) {
        *self.master.lock().await = None;
    }
}

impl ConnectionLike for Way {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::One(one) => one.req_packed_command(cmd),
            Self::Cluster(cluster) => cluster.req_packed_command(cmd),
            Self::Sentinels(sentinels) => Box::pin(async move {
                let mut master = sentinels.connection().await?;
                let answer = master.req_packed_command(cmd).await;
                // A master that became a replica says so; its successor is asked for next time.
                if answer.as_ref().is_err_and(|e| e.code() == Some("READONLY")) {
                    sentinels.forget().await;
                }
                answer
            }),
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
            Self::Sentinels(sentinels) => Box::pin(async move {
                let mut master = sentinels.connection().await?;
                master.req_packed_commands(cmd, offset, count).await
            }),
        }
    }

    fn get_db(&self) -> i64 {
        0
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let way = match &self.way {
            Way::One(_) => "one server",
            Way::Cluster(_) => "cluster",
            Way::Sentinels(_) => "sentinels",
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

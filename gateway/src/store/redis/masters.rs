//! Which servers are the masters now: the one server, the one that sentinels name, or those of a
//! cluster.

use std::collections::HashMap;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::sentinel::SentinelClient;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, FromRedisValue,
    IntoConnectionInfo, ProtocolVersion, RedisError, Value, cmd,
};
use tokio::time::timeout;

use super::link::{expose, sentinel_client, unavailable};
use crate::config::{RedisPlace, RedisStore};
use crate::store::{StoreError, StoreResult};

/// How long a question may take.
const PATIENCE: Duration = Duration::from_millis(500);

/// Who knows the masters.
pub(super) enum Masters {
    One(Client),
    Sentinels(SentinelClient),
    Cluster(Nodes),
}

/// Nodes of a cluster, any of which knows all.
pub(super) struct Nodes {
    known: Vec<ConnectionInfo>,
    asked: Option<MultiplexedConnection>,
}

impl Masters {
    pub(super) fn new(settings: &RedisStore) -> StoreResult<Self> {
        Ok(match &settings.place {
            RedisPlace::One(url) => Self::One(client(info(expose(url)?)?)?),
            RedisPlace::Sentinels { urls, master } => {
                Self::Sentinels(sentinel_client(urls, master, ProtocolVersion::RESP3)?)
            }
            RedisPlace::Cluster(urls) => {
                let known = urls.iter().map(|url| info(expose(url)?));
                Self::Cluster(Nodes {
                    known: known.collect::<StoreResult<_>>()?,
                    asked: None,
                })
            }
        })
    }

    /// Every master by its address.
    pub(super) async fn all(&mut self) -> StoreResult<HashMap<String, Client>> {
        match self {
            Self::One(one) => Ok([("one".to_owned(), one.clone())].into()),
            Self::Sentinels(sentinels) => {
                let master = timeout(PATIENCE, sentinels.async_get_client()).await;
                let master = master.map_err(|_| silent())?.map_err(|e| unavailable(&e))?;
                let name = master.get_connection_info().addr().to_string();
                Ok([(name, master)].into())
            }
            Self::Cluster(nodes) => nodes.masters().await,
        }
    }
}

impl Nodes {
    async fn masters(&mut self) -> StoreResult<HashMap<String, Client>> {
        let (answer, via) = self.ask().await?;
        let mut infos: HashMap<String, ConnectionInfo> = HashMap::new();
        for range in &answer {
            let Some(Value::Array(master)) = range.get(2) else {
                return Err(super::words::damaged("cluster's answer"));
            };
            let [host, port, ..] = master.as_slice() else {
                return Err(super::words::damaged("cluster's answer"));
            };
            let host = String::from_redis_value_ref(host).unwrap_or_default();
            let port = u16::from_redis_value_ref(port)
                .map_err(|_| super::words::damaged("cluster's answer"))?;
            let address = at(via.addr(), &host, port);
            infos.insert(address.to_string(), via.clone().set_addr(address));
        }
        if infos.is_empty() {
            return Err(StoreError::Unavailable(
                "the cluster has no slots".to_owned(),
            ));
        }
        // Those that were named at the start may be gone by now.
        for info in infos.values() {
            let known = |one: &ConnectionInfo| one.addr() == info.addr();
            if !self.known.iter().any(known) {
                self.known.push(info.clone());
            }
        }
        let clients = infos.into_iter();
        clients
            .map(|(name, info)| Ok((name, client(info)?)))
            .collect()
    }

    /// What one of them says, and which; the first of the known ones is asked next time too.
    async fn ask(&mut self) -> StoreResult<(Vec<Vec<Value>>, ConnectionInfo)> {
        let mut slots = cmd("CLUSTER");
        slots.arg("SLOTS");
        for _ in 0..self.known.len() {
            let Some(first) = self.known.first().cloned() else {
                break;
            };
            let asking = async {
                let mut way = match self.asked.take() {
                    Some(way) => way,
                    None => {
                        let config = AsyncConnectionConfig::new();
                        let client = Client::open(first.clone())?;
                        client
                            .get_multiplexed_async_connection_with_config(&config)
                            .await?
                    }
                };
                let answer: Vec<Vec<Value>> = slots.query_async(&mut way).await?;
                Ok::<_, RedisError>((way, answer))
            };
            if let Ok(Ok((way, answer))) = timeout(PATIENCE, asking).await {
                self.asked = Some(way);
                return Ok((answer, first));
            }
            self.known.rotate_left(1);
        }
        Err(silent())
    }
}

/// Another node's address, reached as this one is.
fn at(via: &ConnectionAddr, host: &str, port: u16) -> ConnectionAddr {
    let mut address = via.clone();
    match &mut address {
        ConnectionAddr::Tcp(own, own_port)
        | ConnectionAddr::TcpTls {
            host: own,
            port: own_port,
            ..
        } => {
            // A node that does not know its own name is where it was asked.
            if !host.is_empty() {
                host.clone_into(own);
            }
            *own_port = port;
        }
        _ => {}
    }
    address
}

/// How a URL's server is spoken to: pushes need the protocol's third version.
fn info(url: &str) -> StoreResult<ConnectionInfo> {
    let info = url.into_connection_info().map_err(|e| unavailable(&e))?;
    let spoken = info.redis_settings().clone();
    Ok(info.set_redis_settings(spoken.set_protocol(ProtocolVersion::RESP3)))
}

fn client(info: ConnectionInfo) -> StoreResult<Client> {
    Client::open(info).map_err(|e| unavailable(&e))
}

fn silent() -> StoreError {
    StoreError::Unavailable("redis gave no answer".to_owned())
}

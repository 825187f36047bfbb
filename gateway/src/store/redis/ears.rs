//! Ears: connections on which Redis tells what was changed, each with a heartbeat of its own.
//!
//! One for a single server or the master that sentinels name, one for every master of a cluster.
//! Redis pushes on it the names of changed keys (`CLIENT TRACKING … BCAST`) and what gateways
//! publish of facts; the answer to a heartbeat comes after every push that was sent before it, so
//! that what was changed before the question is known once it is there. They live on a thread of
//! their own: whatever keeps a runtime busy must not look like a store that is silent.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ErrorKind, PushInfo, PushKind, RedisError, Value, cmd};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{sleep, sleep_until, timeout};

use super::masters::Masters;
use super::words;
use crate::config::RedisStore;
use crate::secret::BearerHash;
use crate::store::others::{BELIEF, Change, Others};
use crate::store::{StoreError, StoreResult};

/// How often an ear asks for a sign of life.
const BEAT: Duration = Duration::from_millis(120);
/// How long an ear waits before it connects again.
const AGAIN: Duration = Duration::from_millis(50);
/// How often Redis is asked whether it may drop keys.
const EVICTION: Duration = Duration::from_secs(2);
/// How often it is asked which masters there are.
const TOPOLOGY: Duration = Duration::from_millis(250);
/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_millis(500);

/// What an ear listens for.
#[derive(Debug)]
pub(super) struct Names {
    /// What the names of sessions begin with, up to their identifier.
    pub(super) session: String,
    pub(super) suspended: String,
    /// What the names of sealed values begin with.
    pub(super) sealed: String,
    pub(super) epoch: String,
    /// Notes that there was an epoch once.
    pub(super) lost: String,
    /// The channel on which gateways tell each other of changed facts.
    pub(super) facts: String,
}

/// The thread that listens; it ends when this is let go.
#[derive(Debug)]
pub(super) struct Ears {
    _stop: oneshot::Sender<()>,
}

impl Ears {
    /// Begins to listen, and keeps at it through every failure.
    pub(super) fn listen(
        settings: &RedisStore,
        names: Names,
        others: Arc<Others>,
    ) -> StoreResult<Self> {
        let failed = |error: std::io::Error| StoreError::Unavailable(error.to_string());
        let (stop, stopped) = oneshot::channel();
        let masters = Masters::new(settings)?;
        let head = Arc::new(Head {
            others,
            names,
            deadline: settings.deadline,
            beats: Mutex::default(),
            epoch: Mutex::default(),
        });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(failed)?;
        std::thread::Builder::new()
            .name("store-ears".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    tokio::select! {
                        _ = stopped => {}
                        _ = head.listen_to(masters) => {}
                    }
                });
                // A connection that is just being made is not waited for.
                runtime.shutdown_background();
            })
            .map_err(failed)?;
        Ok(Self { _stop: stop })
    }
}

/// What all ears have between them.
struct Head {
    others: Arc<Others>,
    names: Names,
    deadline: Duration,
    beats: Mutex<HashMap<String, Beat>>,
    /// The epoch as it was last seen; `None` before the first look.
    epoch: Mutex<Option<Option<String>>>,
}

/// How one ear does.
#[derive(Clone, Copy, Debug, Default)]
struct Beat {
    heard: Option<Instant>,
    late: bool,
    evicting: bool,
}

/// The name of what tells which masters there are.
const WHICH: &str = "";

impl Head {
    /// Keeps an ear at every master that there is.
    async fn listen_to(self: &Arc<Self>, mut masters: Masters) -> Infallible {
        let mut ears: HashMap<String, JoinHandle<()>> = HashMap::new();
        loop {
            let asked = Instant::now();
            match masters.all().await {
                Ok(found) => {
                    ears.retain(|name, ear| {
                        let stays = found.contains_key(name);
                        if !stays {
                            ear.abort();
                        }
                        stays
                    });
                    for (name, client) in &found {
                        if !ears.contains_key(name) {
                            let ear = Arc::clone(self).keep_hearing(name.clone(), client.clone());
                            ears.insert(name.clone(), tokio::spawn(ear));
                        }
                    }
                    self.count_only(&found);
                    self.note(WHICH, |beat| {
                        beat.heard = Some(asked);
                        beat.late = false;
                    });
                }
                Err(error) => {
                    tracing::debug!(%error, "nobody tells which redis is the master");
                    self.note(WHICH, |beat| beat.late = true);
                }
            }
            sleep(TOPOLOGY).await;
        }
    }

    async fn keep_hearing(self: Arc<Self>, name: String, client: Client) {
        loop {
            let Err(error) = self.hear(&name, &client).await;
            tracing::debug!(%error, %name, "an ear at redis went deaf");
            self.note(&name, |beat| beat.late = true);
            sleep(AGAIN).await;
        }
    }

    /// One connection's life.
    async fn hear(self: &Arc<Self>, name: &str, client: &Client) -> Result<Infallible, RedisError> {
        let head = Arc::clone(self);
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT))
            .set_response_timeout(Some(BELIEF))
            .set_push_sender(move |push: PushInfo| {
                head.pushed(&push);
                Ok::<(), Infallible>(())
            });
        let mut way = client
            .get_multiplexed_async_connection_with_config(&config)
            .await?;
        let mut tracking = cmd("CLIENT");
        tracking.arg("TRACKING").arg("ON").arg("BCAST");
        for prefix in [
            &self.names.session,
            &self.names.suspended,
            &self.names.sealed,
        ] {
            tracking.arg("PREFIX").arg(prefix);
        }
        let () = tracking.query_async(&mut way).await?;
        way.subscribe(&self.names.facts).await?;
        // What was changed while nobody listened is not known.
        self.others.tell(&Change::Anything);
        let mut policy_due = Instant::now();
        loop {
            let asked = Instant::now();
            self.beat(name, &mut way, asked).await?;
            if asked >= policy_due {
                self.look_at_eviction(name, &mut way).await?;
                policy_due = asked + EVICTION;
            }
            sleep_until((asked + BEAT).into()).await;
        }
    }

    /// Asks for the epoch: an answer is a sign of life, and tells that nothing was flushed.
    async fn beat(
        &self,
        name: &str,
        way: &mut MultiplexedConnection,
        asked: Instant,
    ) -> Result<(), RedisError> {
        let mut asking = cmd("GET");
        asking.arg(&self.names.epoch);
        let mut asked_on = way.clone();
        let answer = asking.query_async::<Option<String>>(&mut asked_on);
        tokio::pin!(answer);
        let mut late = false;
        let answer = match timeout(self.deadline, &mut answer).await {
            Ok(answer) => answer,
            Err(_) => {
                late = true;
                self.note(name, |beat| beat.late = true);
                answer.await
            }
        };
        match answer {
            Ok(epoch) => {
                if self.see_epoch(epoch) {
                    self.note_loss(way).await;
                }
            }
            // Another master of the cluster has it; this one has answered all the same.
            Err(error) if error.code() == Some("MOVED") => {}
            Err(error) => return Err(error),
        }
        self.note(name, |beat| {
            beat.heard = Some(asked);
            beat.late = late;
        });
        Ok(())
    }

    /// Takes in what epoch there is; `true` if there was one before, and there is none now.
    fn see_epoch(&self, epoch: Option<String>) -> bool {
        let missing = epoch.is_none();
        let before = {
            let mut seen = self.epoch.lock().unwrap_or_else(PoisonError::into_inner);
            seen.replace(epoch.clone())
        };
        self.others.note_epoch(missing);
        let Some(before) = before else {
            return false;
        };
        if before == epoch {
            return false;
        }
        self.others.tell(&Change::Anything);
        before.is_some() && missing
    }

    /// Leaves a note for `state init`: this Redis is not young, it has lost what it knew.
    async fn note_loss(&self, way: &mut MultiplexedConnection) {
        let mut note = cmd("SET");
        note.arg(&self.names.lost).arg(1).arg("NX");
        let noted: Result<Option<String>, RedisError> = note.query_async(way).await;
        if let Err(error) = noted {
            tracing::warn!(%error, "that redis has lost its epoch could not be noted there");
        }
    }

    async fn look_at_eviction(
        &self,
        name: &str,
        way: &mut MultiplexedConnection,
    ) -> Result<(), RedisError> {
        let mut asking = cmd("CONFIG");
        asking.arg("GET").arg("maxmemory-policy");
        let told: Result<HashMap<String, String>, RedisError> = asking.query_async(way).await;
        match told {
            Ok(told) => {
                let policy = told.get("maxmemory-policy");
                let evicting = policy.is_some_and(|policy| policy != "noeviction");
                self.note(name, |beat| beat.evicting = evicting);
                Ok(())
            }
            // A managed Redis may not tell; that was said at the start.
            Err(error) if matches!(error.kind(), ErrorKind::Server(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// What Redis tells of itself. Called in the order in which it was sent, and before any answer
    /// that was sent later is seen.
    fn pushed(&self, push: &PushInfo) {
        match push.kind {
            PushKind::Invalidate => match push.data.as_slice() {
                [Value::Array(keys)] => keys.iter().for_each(|key| self.changed(key)),
                // Everything was flushed.
                _ => self.others.tell(&Change::Anything),
            },
            PushKind::Message => {
                if let [_, Value::BulkString(news)] = push.data.as_slice() {
                    match serde_json::from_slice(news) {
                        Ok(news) => self.others.tell(&Change::Facts(&news)),
                        // Of a newer version: whatever it says, nothing is believed unasked.
                        Err(_) => self.others.tell(&Change::Anything),
                    }
                }
            }
            _ => {}
        }
    }

    fn changed(&self, key: &Value) {
        let Value::BulkString(key) = key else {
            return self.others.tell(&Change::Anything);
        };
        let key = String::from_utf8_lossy(key);
        if let Some(session) = key.strip_prefix(&self.names.session) {
            match words::unhex(session.trim_end_matches('}')) {
                Ok(id) => self.others.tell(&Change::Session(BearerHash(id))),
                Err(_) => self.others.tell(&Change::Anything),
            }
        } else if *key == self.names.suspended {
            self.others.tell(&Change::Suspensions);
        } else if key.starts_with(&self.names.sealed) {
            self.others.tell(&Change::Sealed);
        }
    }

    /// Only these count from now on; one that is new has not been heard yet.
    fn count_only(&self, masters: &HashMap<String, Client>) {
        let mut beats = self.beats.lock().unwrap_or_else(PoisonError::into_inner);
        beats.retain(|name, _| name == WHICH || masters.contains_key(name));
        for name in masters.keys() {
            beats.entry(name.clone()).or_default();
        }
    }

    /// Notes how an ear does, and what follows for all: one that is not heard, and nothing is
    /// believed.
    fn note(&self, name: &str, change: impl FnOnce(&mut Beat)) {
        let mut beats = self.beats.lock().unwrap_or_else(PoisonError::into_inner);
        match beats.get_mut(name) {
            Some(beat) => change(beat),
            None if name == WHICH => change(beats.entry(name.to_owned()).or_default()),
            // No master any more.
            None => return,
        }
        let ears = || beats.values();
        let heard: Option<Vec<Instant>> = ears().map(|beat| beat.heard).collect();
        let oldest = heard
            .filter(|all| all.len() > 1)
            .and_then(|all| all.into_iter().min());
        self.others.heard(oldest, ears().any(|beat| beat.late));
        self.others.note_evicting(ears().any(|beat| beat.evicting));
    }
}

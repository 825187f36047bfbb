//! The gateway as a whole: built from a resolved configuration, reloaded, drained.
//!
//! Threads: one per worker (a current-thread runtime with its own sockets and upstream
//! connections), one that writes the store, one the audit trail, one the access log, and the
//! caller's runtime for ops and housekeeping.

mod databases;
mod explain;
mod health;
mod in_force;
mod keys;
mod loaded;
mod operations;
mod readiness;
mod reload;
mod running;
mod shared_store;
mod standing;
mod statement;
mod status;
mod supervisor;
mod trail;
mod workers;

use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use http::{Request, Response};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::admin::socket::AdminSocket;
use crate::admin::{self, Admin};
use crate::audit::{self, Audit, PublicKey, Record};
use crate::body::Body;
use crate::clock::{SharedClock, SystemClock, Timestamp};
use crate::config::fault::Fault;
use crate::config::{self, Config};
use crate::directory::SharedDirectory;
use crate::listener;
use crate::listener::inherited::{InheritError, Inherited};
use crate::login::{self, Carriers, Login, LoginParts, Outbox};
use crate::metrics::Metrics;
use crate::pages::safety::Safety;
use crate::pipeline::{AccessLog, HeaderPlan, Names, OwnPages, Pipeline, Shared};
use crate::policy::Authoriser;
use crate::secret::Key;
use crate::session::assertion::Keyring;
use crate::session::{Sessions, Suspensions};
use crate::store::SharedStore;
use crate::trace::Traces;
use crate::upstream::Upstreams;
pub(crate) use databases::examine_queries;
use in_force::Standing;
use loaded::Loaded;
use reload::Reloads;
use running::Ending;
pub use running::Running;
use trail::Trail;
use workers::Workers;

/// Why the gateway cannot start.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// What people wrote is wrong; every fault.
    #[error("{} faults keep the gateway from starting", .0.len())]
    Faults(Vec<Fault>),
    /// An address cannot be had.
    #[error(
        "cannot listen on {address}: {reason}; end what uses it, or choose another in the configuration"
    )]
    Bind {
        /// Which.
        address: SocketAddr,
        /// What the system said.
        reason: String,
    },
    /// What the supervisor handed over is not what is configured.
    #[error(transparent)]
    Inherited(#[from] InheritError),
    /// Anything else.
    #[error("{0}")]
    Start(String),
}

/// How often sessions' use, the time and due key rotations are written down.
const HOUSEKEEPING: Duration = Duration::from_secs(5);

/// How often sessions are held against the directory, if it may have changed.
const PEOPLE: Duration = Duration::from_millis(200);

/// What housekeeping and reloads work on.
#[derive(Debug)]
struct Gateway {
    shared: Arc<Shared>,
    store: SharedStore,
    /// The directory as everyone else knows it: with those suspended whom ops have suspended.
    suspensions: Arc<Suspensions>,
    /// Names accounts in the store.
    account_key: Key,
    certificates: Vec<(String, Arc<listener::tls::Certificates>)>,
    reloads: Reloads,
    login: Login,
    started: Timestamp,
    /// Where it accepts.
    addresses: Vec<SocketAddr>,
    /// Each worker's way to the upstreams.
    workers_upstreams: Vec<Arc<Upstreams>>,
    /// What became of the audit trail when it was gone through last.
    trail: Trail,
    /// True from the beginning of the drain.
    stopping: watch::Receiver<bool>,
}

/// Starts everything; returns once every address accepts. Without a `clock` the system's is used.
///
/// # Errors
///
/// [`AppError`] with every fault, before anything is served.
pub async fn start(config: Config, clock: Option<SharedClock>) -> Result<Running, AppError> {
    start_on(config, clock, Inherited::default()).await
}

/// As [`start`], on sockets that a supervisor has handed over. Then another gateway may still be
/// at its end: until it lets go of the store, connections wait in the sockets.
///
/// # Errors
///
/// [`AppError`]; sockets must be those of the listeners and, perhaps, of the admin listener.
pub async fn start_on(
    config: Config,
    clock: Option<SharedClock>,
    mut inherited: Inherited,
) -> Result<Running, AppError> {
    // From here on a SIGHUP does not end the process, though it may still be starting.
    let hangup = signal(SignalKind::hangup()).map_err(other)?;
    let metrics = Metrics::new().map_err(other)?;
    let mut loaded = Loaded::read(&config)?;
    let sockets = workers::bind_all(&config, &mut inherited)?;
    let early = early_admin(config.admin.bind, &mut inherited).await?;
    let listeners: Vec<SocketAddr> = config.listeners.iter().map(|one| one.bind).collect();
    inherited.nothing_left(&listeners)?;

    let store = shared_store::open(&config, inherited.any()).await?;
    let admin_socket = match early {
        Some(socket) => socket,
        None => bind_admin(config.admin.bind).await?,
    };
    let clock = match clock {
        Some(clock) => clock,
        None => Arc::new(SystemClock::starting_at(
            store.high_water().await.map_err(other)?,
        )),
    };
    let master = keys::master(&config)?;
    let heads = master.derive(audit::HEADS_KEY);
    let audit = Audit::open(&config.audit.dir, config.audit.keeping, &heads).map_err(other)?;
    let access_log = AccessLog::open(config.log.access.as_deref()).map_err(other)?;
    let listed = databases::open_directory(&config, loaded.people.take(), &clock).await?;
    let suspensions = Suspensions::open(Arc::clone(&store), listed)
        .await
        .map_err(other)?;
    let directory = Arc::clone(&suspensions) as SharedDirectory;
    let sessions = Sessions::new(
        Arc::clone(&store),
        Arc::clone(&directory),
        Arc::clone(&clock),
        config.session,
        metrics.clone(),
    );
    let keyring = Keyring::open(
        Arc::clone(&store),
        master.derive("assertion keys"),
        Arc::clone(&clock),
        config.public_url.origin(),
    )
    .await
    .map_err(other)?;
    let carriers = Carriers::new(&config, &clock).map_err(other)?;
    let login = Login::new(LoginParts {
        store: Arc::clone(&store),
        directory: Arc::clone(&directory),
        sessions: Arc::clone(&sessions),
        keyring: Arc::clone(&keyring),
        clock: Arc::clone(&clock),
        master: &master,
        senders: carriers.senders,
        mailer: carriers.mailer,
        audit: audit.clone(),
        metrics: metrics.clone(),
        config: &config,
    });
    let traces = Traces::to(config.log.traces.as_ref(), &metrics.health.traces_dropped);
    let facts_database = databases::open_facts(&config, &loaded.policy.set).await?;
    let shared = Arc::new(Shared {
        policy: ArcSwap::new(Arc::clone(&loaded.policy.set)),
        authoriser: Authoriser::new(Arc::clone(&store), Arc::clone(&clock), metrics.clone()),
        facts_database,
        headers: Arc::new(HeaderPlan::new(&config.upstreams)),
        names: Names::default(),
        binder: crate::cookie::Binder::new(master.derive("application cookies")),
        own_pages: Arc::new(LoginPages(login.clone())),
        sessions,
        directory,
        keyring,
        metrics,
        audit,
        access_log,
        traces,
        clock,
        config,
    });
    let pipelines = workers::pipelines(&shared)?;
    let ending = Ending::default();
    let gateway = Arc::new(Gateway {
        started: shared.clock.now(),
        addresses: sockets.addresses(),
        workers_upstreams: pipelines.iter().map(Pipeline::upstreams).collect(),
        stopping: ending.leaving.subscribe(),
        reloads: Reloads::new(
            &shared.metrics,
            Standing::begin(&shared.metrics, loaded.policy, shared.clock.now()),
        ),
        suspensions,
        trail: Trail::new(audit_key(&shared.config)?),
        account_key: master.derive(login::ACCOUNT_KEY),
        certificates: loaded.certificates,
        login,
        store,
        shared,
    });
    let open = Open {
        pipelines,
        sockets,
        admin: admin_socket,
        outbox: carriers.outbox,
        hangup,
    };
    if gateway.shared.config.safety_page {
        let safety: Weak<dyn Safety> = Arc::downgrade(&gateway) as _;
        gateway.login.show_safety(safety);
    }
    gateway.begin(open, ending).await
}

/// What the signatures of the trail's heads are checked with, where this configuration's gateway runs.
///
/// # Errors
///
/// [`AppError`] if there is no master key.
pub fn audit_key(config: &Config) -> Result<PublicKey, AppError> {
    let key = keys::known_master(config)?.derive(audit::HEADS_KEY);
    PublicKey::of(&key).ok_or_else(|| other("no key can be derived for the audit trail"))
}

/// What was opened before anything serves.
struct Open {
    pipelines: Vec<Pipeline>,
    sockets: workers::Sockets,
    admin: TcpListener,
    outbox: Option<Arc<Outbox>>,
    hangup: Signal,
}

impl Gateway {
    async fn begin(self: Arc<Self>, open: Open, ending: Ending) -> Result<Running, AppError> {
        let workers = Workers::start(
            &self.shared,
            open.pipelines,
            open.sockets,
            &self.certificates,
            &ending.stop.subscribe(),
        )?;
        let admin_address = open.admin.local_addr().map_err(other)?;
        let admin = Admin {
            metrics: self.shared.metrics.clone(),
            readiness: {
                let gateway = Arc::clone(&self);
                Arc::new(move || {
                    let gateway = Arc::clone(&gateway);
                    Box::pin(async move { gateway.readiness().await })
                })
            },
            policy: {
                let gateway = Arc::clone(&self);
                Arc::new(move || gateway.reloads.policy.told(gateway.shared.clock.now()))
            },
            outbox: open
                .outbox
                .map(|outbox| -> Arc<dyn Fn() -> _ + Send + Sync> {
                    Arc::new(move || serde_json::to_value(outbox.messages()).unwrap_or_default())
                }),
        };
        // The admin listener goes last: it tells that the rest is draining. So do those who end
        // what is revoked meanwhile.
        let stopped = ending.over.subscribe();
        let mut closed = stopped.clone();
        let drained = async move { raised(&mut closed).await };
        let mut tasks = vec![tokio::spawn(async move {
            if let Err(error) = admin::serve(admin, open.admin, drained).await {
                tracing::error!(%error, "the admin listener ended");
            }
        })];
        let commands = AdminSocket::bind(&self.shared.config.admin.socket).map_err(other)?;
        let operations = Arc::clone(&self) as Arc<dyn admin::operations::Operations>;
        let mut closed = stopped.clone();
        let serving = admin::socket::serve(commands, operations, async move {
            raised(&mut closed).await;
        });
        tasks.push(tokio::spawn(async move {
            if let Err(error) = serving.await {
                tracing::error!(%error, "the admin socket ended");
            }
        }));
        tasks.push(tokio::spawn(Arc::clone(&self).keep_house(stopped.clone())));
        tasks.push(tokio::spawn(
            Arc::clone(&self).watch_people(stopped.clone()),
        ));
        if let Some(others) = self.store.others() {
            let following = Arc::clone(&self).follow_keys(Arc::clone(&others), stopped.clone());
            tasks.push(tokio::spawn(following));
            let watching = Arc::clone(&self).watch_store(others, stopped.clone());
            tasks.push(tokio::spawn(watching));
            let clearing = Arc::clone(&self).clear_doubts(stopped.clone());
            tasks.push(tokio::spawn(clearing));
        }
        tasks.push(tokio::spawn(
            Arc::clone(&self).watch_health(self.stopping.clone()),
        ));
        tasks.push(tokio::spawn(
            Arc::clone(&self).watch_trail(self.stopping.clone()),
        ));
        let reloads = reload::watch(Arc::clone(&self), open.hangup, stopped);
        tasks.push(tokio::spawn(reloads));
        self.note("gateway.start", "ok").await?;
        supervisor::ready(&serving_on(&self.addresses));
        let living = supervisor::live(workers.beats.clone(), ending.leaving.subscribe());
        tokio::spawn(living);
        Ok(Running {
            addresses: self.addresses.clone(),
            admin: admin_address,
            ending,
            workers,
            tasks,
            gateway: self,
        })
    }

    async fn note(&self, event: &'static str, result: &str) -> Result<(), AppError> {
        let record = Record::new(self.shared.clock.now(), event, result);
        self.shared.audit.keep(record).await.map_err(other)
    }

    /// Writes down what may be written late: when sessions were used, what time it is.
    async fn keep_house(self: Arc<Self>, mut stopped: watch::Receiver<bool>) {
        let mut tick = tokio::time::interval(HOUSEKEEPING);
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                () = raised(&mut stopped) => return,
            }
            if let Err(error) = self.shared.sessions.flush().await {
                tracing::warn!(%error, "the use of sessions could not be written down");
            }
            if let Err(error) = self.store.mark_time(self.shared.clock.now()).await {
                tracing::warn!(%error, "the time could not be written down");
            }
            if let Err(error) = self.login.watch().await {
                tracing::warn!(%error, "the login's shield could not be looked at");
            }
            if let Err(error) = self.shared.keyring.rotate_if_due().await {
                tracing::warn!(%error, "the assertion's keys could not be rotated");
            }
        }
    }

    /// Ends what a changed directory ends, open streams among it, without waiting for a request.
    async fn watch_people(self: Arc<Self>, mut stopped: watch::Receiver<bool>) {
        let mut tick = tokio::time::interval(PEOPLE);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // What was judged last may be three quarters of this old by the first failure.
        let patience = match &self.shared.config.directory {
            config::Directory::File { .. } => Duration::MAX,
            config::Directory::Postgres(settings) => settings.max_age / 4,
        };
        let mut failing: Option<Timestamp> = None;
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                () = raised(&mut stopped) => return,
            }
            let begun = self.shared.clock.now();
            let Err(error) = self.shared.sessions.recheck().await else {
                failing = None;
                continue;
            };
            let since = *failing.get_or_insert_with(|| {
                tracing::warn!(%error, "sessions cannot be held against the directory");
                begun
            });
            if self.shared.clock.now().since(since) >= patience {
                self.shared.sessions.let_go();
            }
        }
    }
}

fn serving_on(addresses: &[SocketAddr]) -> String {
    let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    format!("serving on {}", addresses.join(", "))
}

/// The admin listener's socket, unless the gateway before this one may still have it.
async fn early_admin(
    address: SocketAddr,
    inherited: &mut Inherited,
) -> Result<Option<TcpListener>, AppError> {
    Ok(match inherited.take(address).pop() {
        Some(handed) => Some(TcpListener::from_std(handed).map_err(other)?),
        None if inherited.any() => None,
        None => Some(bind_admin(address).await?),
    })
}

async fn bind_admin(address: SocketAddr) -> Result<TcpListener, AppError> {
    TcpListener::bind(address)
        .await
        .map_err(|error| AppError::Bind {
            address,
            reason: error.to_string(),
        })
}

/// Resolves once the flag is true, or nobody is left to raise it.
async fn raised(flag: &mut watch::Receiver<bool>) {
    let _ = flag.wait_for(|raised| *raised).await;
}

fn other(error: impl std::fmt::Display) -> AppError {
    AppError::Start(error.to_string())
}

/// The login's pages, as the pipeline asks for them.
#[derive(Debug)]
struct LoginPages(Login);

#[async_trait]
impl OwnPages for LoginPages {
    async fn answer(&self, request: Request<Body>) -> Response<Body> {
        self.0.call(request).await
    }
}

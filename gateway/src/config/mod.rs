//! The configuration: as written ([`written`]), then resolved (this page).
//!
//! A [`Config`] is what the rest of the house sees: every default filled in, every path made
//! absolute against the working directory, every reference to a
//! secret checked, every cross-reference (a listener's `tls`, a route's upstream) found. Nothing
//! below reads the environment or a file again to learn what was meant.

pub mod fault;
mod messages;
mod resolve;
mod schema;
pub mod secret_ref;
mod shape;
mod template;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_directory;
#[cfg(test)]
mod tests_identity;
#[cfg(test)]
mod tests_log;
#[cfg(test)]
mod tests_messages;
#[cfg(test)]
mod tests_papers;
mod upstream;
mod values;
pub use values::duration;
pub mod written;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;

use self::fault::{Fault, Source};
pub use self::messages::{HttpUrl, Mail, MailTls, Sms, SmsProvider, Twilio, TwilioFrom, Webhook};
pub use self::schema::json_schema;
pub use self::upstream::{
    Cookies, Endpoint, HeaderTemplate, Identity, MethodOverride, TemplatePart, Upstream,
    UpstreamNames,
};
pub(crate) use self::values::host_name;
pub use self::values::{is_loopback_host, nearest};
use crate::secret::{MasterKey, Secret};

/// Reads and resolves a configuration file; with it come the warnings.
///
/// `env` looks up environment variables: [`environment`] in earnest, a closure in tests.
///
/// # Errors
///
/// Every fault there is, in the order of the file, warnings among them.
pub fn load(
    path: &Path,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<(Config, Vec<Fault>), Vec<Fault>> {
    match examine(path, env) {
        (Some(config), faults) if faults.iter().all(Fault::is_warning) => Ok((config, faults)),
        (_, faults) => Err(faults),
    }
}

/// As [`load`], but a file with faults gives what could be understood of it, to look for faults
/// in what it points at: never to run.
pub(crate) fn examine(
    path: &Path,
    env: &dyn Fn(&str) -> Option<String>,
) -> (Option<Config>, Vec<Fault>) {
    match Source::read(path) {
        Ok(source) => resolve::resolve(path, source.text(), resolve::Surroundings::here(env)),
        Err(fault) => (None, vec![fault]),
    }
}

/// Looks up a variable in this process's environment.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "the one place where the environment is read"
)]
pub fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Everything that was asked for, with defaults filled in.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file it came from.
    pub source: PathBuf,
    /// What people type into their browsers.
    pub public_url: PublicUrl,
    /// Further host names (lower case, no port) that are answered like the public URL's.
    pub hosts: Vec<String>,
    /// Origins besides our own from which unsafe requests are taken, such as `https://app.example.com`.
    pub allowed_origins: Vec<String>,
    /// Path prefix of the gateway's own pages, `/.portvakt` by default; never ends with `/`.
    pub prefix: String,
    /// Whether the safety statement is served.
    pub safety_page: bool,
    /// Threads that serve requests, each with its own listener and upstream pool; at least 1.
    pub workers: usize,
    /// Addresses we accept on; at least one.
    pub listeners: Vec<Listener>,
    /// Named sets of certificates.
    pub tls: BTreeMap<String, Tls>,
    /// Where state lives.
    pub store: Store,
    /// The master key, where it was given; the embedded store makes one otherwise.
    pub master_key: Option<MasterKey>,
    /// Who exists.
    pub directory: Directory,
    /// How codes travel.
    pub sms: Sms,
    /// How links travel, where there is a mail server.
    pub mail: Option<Mail>,
    /// How long sessions live.
    pub session: Session,
    /// What a login may cost an attacker.
    pub login: Login,
    /// The services we forward to, in order; at least one. The first is the default.
    pub upstreams: Vec<Upstream>,
    /// The policy set.
    pub policy: Policy,
    /// The listener for ops.
    pub admin: Admin,
    /// What one client may cost.
    pub limits: Limits,
    /// What is written down.
    pub log: Log,
    /// The audit trail.
    pub audit: Audit,
}

impl Config {
    /// The upstream of a name; the first one without.
    #[must_use]
    pub fn upstream(&self, name: Option<&str>) -> Option<&Upstream> {
        match name {
            None => self.upstreams.first(),
            Some(name) => self.upstreams.iter().find(|one| one.name == name),
        }
    }

    /// The names of upstreams and of their identities, in order, for the routes that name them.
    #[must_use]
    pub fn upstream_names(&self) -> Vec<UpstreamNames<'_>> {
        self.upstreams.iter().map(UpstreamNames::of).collect()
    }
}

/// The public URL, in parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicUrl {
    /// `https`, or `http` behind nothing but a loopback test.
    pub scheme: String,
    /// Host name, lower case, without a trailing dot; an IPv6 address in brackets.
    pub host: String,
    /// Port, where it is not the scheme's own.
    pub port: Option<u16>,
}

impl PublicUrl {
    /// The origin (RFC 6454, section 6.2), such as `https://localhost:8443`; also the assertion's `iss`.
    #[must_use]
    pub fn origin(&self) -> String {
        format!("{}://{}", self.scheme, self.authority())
    }

    /// Host, with the port where it is not the scheme's own.
    #[must_use]
    pub fn authority(&self) -> String {
        match self.port {
            Some(port) => format!("{}:{port}", self.host),
            None => self.host.clone(),
        }
    }
}

/// An address we accept on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Address and port; port 0 lets the system choose.
    pub bind: SocketAddr,
    /// Which of [`Config::tls`]; `None` behind a router that terminates TLS.
    pub tls: Option<String>,
    /// Peers whose forwarding headers are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Whether connections open with a PROXY protocol header.
    pub proxy_protocol: bool,
}

/// One named set of certificates, chosen by SNI; the first is the default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// At least one pair.
    pub certificates: Vec<CertificateFiles>,
}

/// A certificate chain and its private key, PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// Leaf first.
    pub chain: PathBuf,
    /// PKCS #8, SEC 1 or PKCS #1.
    pub key: PathBuf,
}

/// Where state lives.
#[derive(Clone, Debug)]
pub enum Store {
    /// One file beside the gateway.
    Embedded {
        /// The redb file; its folder is made if missing.
        path: PathBuf,
    },
    /// A Redis that several gateways share.
    Redis(RedisStore),
}

impl Store {
    /// The embedded store's file.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::Embedded { path } => Some(path),
            Self::Redis(_) => None,
        }
    }
}

/// A Redis, and how it is spoken to.
#[derive(Clone, Debug)]
pub struct RedisStore {
    /// Where it is.
    pub place: RedisPlace,
    /// What the names of all keys begin with.
    pub prefix: String,
    /// How long one call may take.
    pub deadline: Duration,
    /// How long, while it does not answer, what is in memory serves safe methods.
    pub grace: Duration,
}

/// Where a Redis is. The addresses hold its password.
#[derive(Clone, Debug)]
pub enum RedisPlace {
    /// One server.
    One(Secret),
    /// Some nodes of a cluster; they name the others.
    Cluster(Vec<Secret>),
    /// Sentinels that know which server is the master.
    Sentinels {
        /// Their addresses.
        urls: Vec<Secret>,
        /// What they call the master.
        master: String,
    },
}

/// Who exists.
#[derive(Clone, Debug)]
pub enum Directory {
    /// A TOML file of companies and users.
    File {
        /// Reloaded when it changes.
        path: PathBuf,
    },
    /// A query over the application's own users table.
    Postgres(Box<Postgres>),
}

/// A directory in PostgreSQL.
#[derive(Clone, Debug)]
pub struct Postgres {
    /// Where it is.
    pub database: crate::postgres::Settings,
    /// Yields every user; no semicolon, no parameters.
    pub query: String,
    /// How old an answer may be when it binds; default 10 s.
    pub max_age: Duration,
}

/// How long sessions live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// Without a request; default 1 h.
    pub idle: Duration,
    /// Since login; default 24 h.
    pub absolute: Duration,
}

/// What a login may cost an attacker: the numbers of rings 1 and 2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// How long a code lives; default 5 min.
    pub code_lifetime: Duration,
    /// Comparisons per challenge; default 3.
    pub attempts_per_challenge: u32,
    /// Live challenges on an account's unknown lane; default 3.
    pub live_challenges: u32,
    /// Failed comparisons per account from unknown devices; default 5 in 24 h and 20 in 30 days.
    pub unknown_device: Vec<Window>,
    /// Failed comparisons per device and account; default 10 in 24 h and 30 in 30 days.
    pub known_device: Vec<Window>,
    /// How long a device is remembered; default 180 days.
    pub device_lifetime: Duration,
    /// The tick on which the login's answers leave; default 50 ms.
    pub answer_tick: Duration,
    /// What messages may be sent.
    pub sends: Sends,
    /// Failed comparisons from unknown devices, all accounts together.
    pub fleet: Fleet,
    /// What a raised shield asks of an unknown device.
    pub shield: Shield,
}

/// The budgets of messages, and of what is asked for by one client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sends {
    /// Messages per account to unknown devices; default 1 in 60 s, 3 in 15 min, 5 in 24 h.
    pub unknown_device: Vec<Window>,
    /// Messages per account to known devices; default 1 in 60 s, 3 in 15 min, 20 in 24 h.
    pub known_device: Vec<Window>,
    /// Messages asked for by unknown devices per client address (IPv4, or IPv6 /64); default 30 in
    /// 1 h.
    pub address: Vec<Window>,
    /// Codes submitted by unknown devices per client address; default 60 in 1 h.
    pub address_codes: Vec<Window>,
    /// Messages to unknown devices per number without its last four digits; default 30 in 1 h.
    pub prefix: Vec<Window>,
    /// Messages per company; a tenth is kept for known devices; default 500 in 1 h, 2,000 in 24 h.
    pub company: Vec<Window>,
    /// Messages in all; a tenth is kept for known devices; default 2,000 in 1 h, 10,000 in 24 h.
    pub all: Vec<Window>,
    /// Countries that messages may go to, as ISO 3166-1 alpha-2; `None` is those of the numbers
    /// in the directory at load.
    pub countries: Option<Vec<String>>,
}

impl Default for Sends {
    fn default() -> Self {
        let (second, hour) = (Duration::from_secs(1), Duration::from_secs(3600));
        let window = |limit, per| Window { limit, per };
        let lane = |daily| {
            vec![
                window(1, second * 60),
                window(3, second * 900),
                window(daily, hour * 24),
            ]
        };
        Self {
            unknown_device: lane(5),
            known_device: lane(20),
            address: vec![window(30, hour)],
            address_codes: vec![window(60, hour)],
            prefix: vec![window(30, hour)],
            company: vec![window(500, hour), window(2_000, hour * 24)],
            all: vec![window(2_000, hour), window(10_000, hour * 24)],
            countries: None,
        }
    }
}

/// The one budget that failed comparisons from unknown devices draw on, whoever's they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fleet {
    /// Units when it is full; default 500.
    pub burst: u32,
    /// Units that come back per day; default 25.
    pub refill_per_day: u32,
}

impl Default for Fleet {
    fn default() -> Self {
        Self {
            burst: 500,
            refill_per_day: 25,
        }
    }
}

/// What a raised shield asks of an unknown device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shield {
    /// To follow a link sent to the account's e-mail address; without a mail server, refused.
    #[default]
    Link,
    /// Nothing: it is refused.
    Refuse,
}

/// A budget's window: at most `limit` in any stretch of `per`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// How many.
    pub limit: u32,
    /// In how long.
    pub per: Duration,
}

/// The policy set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Its folder.
    pub dir: PathBuf,
    /// Whether a set that is not proved, or not covered, may not take effect.
    pub require_proof: bool,
    /// The solver: a path, or a name that `PATH` knows.
    pub solver: PathBuf,
    /// How long a proof may take.
    pub prove_timeout: Duration,
    /// The database that facts `from = "postgres"` are asked of; `None` where none is known.
    pub database: Option<crate::postgres::Settings>,
}

/// The listener for ops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// Metrics, health, outbox.
    pub bind: SocketAddr,
    /// Unix socket for the commands, mode 0600.
    pub socket: PathBuf,
}

/// What one client may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a request's head; default 32 KiB; beyond: `431`.
    pub header_bytes: usize,
    /// Fields in a request's head; default 100; beyond: `431`.
    pub header_count: usize,
    /// Bytes of a body that streams through, where the route names no limit; default 2 GiB; beyond: `413`.
    pub body_bytes: u64,
    /// For the TLS handshake; default 10 s.
    pub handshake_timeout: Duration,
    /// For a request's head; default 10 s.
    pub header_timeout: Duration,
    /// For a body to make progress, either way; default 60 s.
    pub body_timeout: Duration,
    /// Connections at once, per worker; default 10,000.
    pub connections: usize,
    /// Streams at once per HTTP/2 connection; default 100.
    pub streams: u32,
    /// How long it is not ready, but accepts, after `SIGTERM`; default none.
    pub drain_delay: Duration,
    /// How long requests may go on after that; default 30 s.
    pub drain: Duration,
}

/// What is written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// One JSON line per request here; `None` is standard output.
    pub access: Option<PathBuf>,
    /// Where a collector takes traces by OTLP over plain HTTP.
    pub traces: Option<HttpUrl>,
}

/// The audit trail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audit {
    /// Folder of its segments; default beside the store.
    pub dir: PathBuf,
    /// How long records are kept, and when a file is closed.
    pub keeping: Keeping,
}

/// How the trail is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keeping {
    /// How long records stay.
    pub keep: Duration,
    /// At how many bytes a file is closed before its day is over.
    pub largest: u64,
}

impl Default for Keeping {
    /// For ever, a gibibyte a file.
    fn default() -> Self {
        Self {
            keep: Duration::MAX,
            largest: 1 << 30,
        }
    }
}

//! The configuration exactly as its file is written: no default filled in, nothing checked but
//! keys and types. The comments here are the descriptions in the published JSON Schema.

mod messages;
mod upstream;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;
use toml::Spanned;

pub use messages::{Mail, Sms};
pub use upstream::{Basic, Identity, Upstream};

const DURATION: &str = "^[0-9]+(ms|s|m|h|d)$";
const SIZE: &str = "^[0-9]+(B|KiB|MiB|GiB)$";
const SECRET: &str = "^(env:[A-Za-z_][A-Za-z0-9_]*|file:.+)$";

/// Portvakt's configuration. Durations are written `250ms`, `90s`, `5m`, `1h` or `30d`, sizes
/// `512B`, `64KiB`, `8MiB` or `2GiB`, secrets `env:NAME` or `file:PATH`. Relative paths start at
/// the working directory.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "portvakt.toml")]
pub struct Written {
    /// What people type into their browsers, such as `https://projects.example.com`: scheme, host
    /// and perhaps a port, no path. The assertion's `iss`.
    #[schemars(required)]
    pub public_url: Option<At<String>>,
    /// Further host names that are answered like the public URL's, without port. Any other host
    /// gets `421`.
    #[serde(default)]
    pub hosts: Vec<At<String>>,
    /// Origins besides our own from which unsafe requests are taken, such as
    /// `https://app.example.com`.
    #[serde(default)]
    pub allowed_origins: Vec<At<String>>,
    /// Path prefix of the gateway's own pages. Default: `/.portvakt`.
    pub prefix: Option<At<String>>,
    /// Whether everyone may read the safety statement at `/.portvakt/safety`. Default: false.
    pub safety_page: Option<At<bool>>,
    /// Threads that serve requests. Default: one per CPU.
    pub workers: Option<At<u64>>,
    /// Addresses to accept on. May be left out where the platform sets `PORT`.
    #[serde(default)]
    pub listener: Vec<Listener>,
    /// Named sets of certificates, for a listener's `tls`.
    #[serde(default)]
    pub tls: BTreeMap<At<String>, Tls>,
    /// Where state lives.
    #[serde(default)]
    pub store: Store,
    /// Who exists.
    #[schemars(required)]
    pub directory: Option<Directory>,
    /// How codes travel.
    #[schemars(required)]
    pub sms: Option<Sms>,
    /// The mail server, for the links that a raised shield sends. Default: none; with the outbox,
    /// mails go there.
    pub mail: Option<Mail>,
    /// How long sessions live.
    #[serde(default)]
    pub session: Session,
    /// What a login may cost an attacker.
    #[serde(default)]
    pub login: Login,
    /// The services to forward to; the first is the default.
    #[schemars(required)]
    pub upstream: Option<Vec<Upstream>>,
    /// The policy set.
    #[serde(default)]
    pub policy: Policy,
    /// The listener for ops.
    #[serde(default)]
    pub admin: Admin,
    /// Keys.
    #[serde(default)]
    pub keys: Keys,
    /// What one client may cost.
    #[serde(default)]
    pub limits: Limits,
    /// What is written down.
    #[serde(default)]
    pub log: Log,
    /// The audit trail.
    #[serde(default)]
    pub audit: Audit,
}

/// An address to accept on.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// Address and port, such as `0.0.0.0:8443` or `[::]:8443`. Where the platform sets `PORT`, a
    /// listener without `tls` listens on that port of every address instead.
    #[schemars(required)]
    pub bind: Option<At<String>>,
    /// Which set of certificates, by its name under `tls`. Left out behind a router that
    /// terminates TLS; then `trusted_proxies` is required.
    pub tls: Option<At<String>>,
    /// Whether connections open with a PROXY protocol header, version 1 or 2, as some load balancers
    /// send it. Needs `trusted_proxies`; nobody else may connect then. Default: `false`.
    pub proxy_protocol: Option<At<bool>>,
    /// Networks of the routers whose forwarding headers, or PROXY protocol headers, are believed, such
    /// as `10.0.0.0/8`.
    #[serde(default)]
    pub trusted_proxies: Vec<At<String>>,
}

/// A named set of certificates, chosen by the name that the client asks for.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// At least one pair; the first answers clients that ask for no name.
    #[schemars(required)]
    pub certificates: Option<Vec<Certificate>>,
}

/// A certificate chain and its key, both PEM.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// Path of the chain, the server's own certificate first.
    #[schemars(required)]
    pub chain: Option<At<String>>,
    /// Where the private key is: `file:PATH`.
    #[schemars(required, extend("pattern" = "^file:.+$"))]
    pub key: Option<Hidden>,
}

/// Where state lives.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Store {
    /// `embedded`: one file beside one gateway. `redis`: shared by several gateways. Default:
    /// `embedded`.
    #[schemars(extend("enum" = ["embedded", "redis"]))]
    pub kind: Option<At<String>>,
    /// The file of `embedded`. Default: `state/portvakt.redb`.
    pub path: Option<At<String>>,
    /// Where the address of `redis` is, by reference: `redis://user:password@host:6379/0`, or
    /// `rediss://` for TLS; several, of a cluster or of sentinels, with commas between them.
    /// Default: `env:REDIS_URL`.
    pub url: Option<Hidden>,
    /// Whether the addresses are nodes of a Redis Cluster.
    pub cluster: Option<At<bool>>,
    /// The master's name, where the addresses are those of sentinels.
    pub sentinel: Option<At<String>>,
    /// What the names of all keys in `redis` begin with. Default: `portvakt:`.
    pub prefix: Option<At<String>>,
    /// How long one call to `redis` may take, 10ms to 5s; beyond, it counts as unavailable.
    /// Default: `100ms`.
    #[schemars(extend("pattern" = DURATION))]
    pub timeout: Option<At<String>>,
    /// How long, while `redis` does not answer, sessions that the gateway has in memory may still
    /// read (`GET`, `HEAD`), at most 30s; a revocation binds that much later then. Default: `0s`:
    /// not at all.
    #[schemars(extend("pattern" = DURATION))]
    pub grace: Option<At<String>>,
}

/// Who exists.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Directory {
    /// `file`: a TOML file of companies and users. `postgres`: a query over the application's own
    /// users table.
    #[schemars(required, extend("enum" = ["file", "postgres"]))]
    pub kind: Option<At<String>>,
    /// The file. Required for `file`.
    pub path: Option<At<String>>,
    /// Where the database's URL is, for `postgres`: `env:NAME` or `file:PATH`. Default:
    /// `env:DATABASE_URL`. A server on another machine is spoken to over TLS only.
    #[schemars(extend("pattern" = SECRET))]
    pub url: Option<Hidden>,
    /// A PEM file of the certificates that vouch for the database's server. Required for TLS.
    pub ca: Option<At<String>>,
    /// A query that yields every user, with the columns `id`, `email`, `phone`, `name`, `company`
    /// and `company_name`, and perhaps `login`, `roles` (an array, or text joined by commas) and
    /// `suspended` (boolean). Required for `postgres`.
    pub query: Option<At<String>>,
    /// Within what time a change in the database binds, 1 s to 60 s. Default: `10s`.
    #[schemars(extend("pattern" = DURATION))]
    pub max_age: Option<At<String>>,
    /// Connections to the database at once, 1 to 64. Default: 4.
    pub connections: Option<At<u64>>,
    /// How long to wait for a connection, 50 ms to 30 s. Default: `2s`.
    #[schemars(extend("pattern" = DURATION))]
    pub connect_timeout: Option<At<String>>,
    /// How long to wait for an answer, 50 ms to 30 s. Default: `2s`.
    #[schemars(extend("pattern" = DURATION))]
    pub query_timeout: Option<At<String>>,
}

/// How long sessions live.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Session {
    /// Without a request. Default: `1h`.
    #[schemars(extend("pattern" = DURATION))]
    pub idle: Option<At<String>>,
    /// Since login. Default: `24h`.
    #[schemars(extend("pattern" = DURATION))]
    pub absolute: Option<At<String>>,
}

/// What a login may cost an attacker.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// How long a code lives, 30 s to 10 min. Default: `5m`.
    #[schemars(extend("pattern" = DURATION))]
    pub code_lifetime: Option<At<String>>,
    /// Guesses per code, 1 to 5. Default: 3.
    pub attempts_per_challenge: Option<At<u64>>,
    /// Codes of one account that strangers' browsers may have open at once, 1 to 5. Default: 3.
    pub live_challenges: Option<At<u64>>,
    /// Wrong guesses per account from browsers that never logged in to it. Default: 5 in 24 h and
    /// 20 in 30 days.
    pub unknown_device: Option<At<Vec<Window>>>,
    /// Wrong guesses per account from one browser that has logged in to it before. Default: 10 in
    /// 24 h and 30 in 30 days.
    pub known_device: Option<At<Vec<Window>>>,
    /// How long a browser is remembered. Default: `180d`.
    #[schemars(extend("pattern" = DURATION))]
    pub device_lifetime: Option<At<String>>,
    /// The login's answers leave on multiples of this, so that their time tells nothing; 1 ms to
    /// 1 s. Default: `50ms`.
    #[schemars(extend("pattern" = DURATION))]
    pub answer_tick: Option<At<String>>,
    /// What messages may be sent.
    #[serde(default)]
    pub sends: Sends,
    /// The one budget of wrong guesses from browsers that never logged in, all accounts together.
    #[serde(default)]
    pub fleet: Fleet,
    /// What such a browser must do when that budget is empty. `link`: follow a link sent to the
    /// account's e-mail address; without a mail server it is refused. `refuse`: nothing, it is
    /// refused. Default: `link`.
    #[schemars(extend("enum" = ["link", "refuse"]))]
    pub shield: Option<At<String>>,
}

/// What messages may be sent. What is held back by what only the gateway knows (number, company,
/// country, total) is held back silently.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sends {
    /// Messages per account to browsers that never logged in to it. Default: 1 in 60 s, 3 in
    /// 15 min and 5 in 24 h.
    pub unknown_device: Option<At<Vec<Window>>>,
    /// Messages per account to browsers that have logged in to it before. Default: 1 in 60 s, 3 in
    /// 15 min and 20 in 24 h.
    pub known_device: Option<At<Vec<Window>>>,
    /// Messages per client address (IPv4, or IPv6 /64) to browsers that never logged in. Default:
    /// 30 in 1 h.
    pub address: Option<At<Vec<Window>>>,
    /// Codes submitted per client address by browsers that never logged in. Default: 60 in 1 h.
    pub address_codes: Option<At<Vec<Window>>>,
    /// Messages per telephone number without its last four digits, to browsers that never logged
    /// in. Default: 30 in 1 h.
    pub prefix: Option<At<Vec<Window>>>,
    /// Messages per company, a tenth of them for known browsers only. Default: 500 in 1 h and
    /// 2000 in 24 h.
    pub company: Option<At<Vec<Window>>>,
    /// Messages in all, a tenth of them for known browsers only. Default: 2000 in 1 h and 10000
    /// in 24 h.
    pub all: Option<At<Vec<Window>>>,
    /// Countries that messages may go to, such as `["NO", "SE"]` (ISO 3166-1 alpha-2). Default:
    /// those of the numbers in the directory when it is loaded.
    pub countries: Option<Vec<At<String>>>,
}

/// Wrong guesses from browsers that never logged in, all accounts together.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Fleet {
    /// Units when it is full, 10 to 100000. Default: 500.
    pub burst: Option<At<u64>>,
    /// Units that come back per day, 1 to 10000. Default: 25.
    pub refill_per_day: Option<At<u64>>,
}

/// At most `limit` in any stretch of `per`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// How many.
    #[schemars(required)]
    pub limit: Option<At<u64>>,
    /// In how long.
    #[schemars(required, extend("pattern" = DURATION))]
    pub per: Option<At<String>>,
}

/// The policy set.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Its folder. Default: `policies`.
    pub dir: Option<At<String>>,
    /// Whether a set takes effect only if it is proved, and its invariants speak of every action on
    /// every type of resource. Needs the solver wherever the gateway runs. Default: `false`.
    pub require_proof: Option<At<bool>>,
    /// The solver that proves: a path, or a name that `PATH` knows. Default: `cvc5`.
    pub solver: Option<At<String>>,
    /// How long a proof may take before it is given up, 1 s to 10 min. Default: `60s`.
    #[schemars(extend("pattern" = DURATION))]
    pub prove_timeout: Option<At<String>>,
    /// The database that facts `from = "postgres"` are asked of. Default: the directory's, where
    /// that is one, else the one in `DATABASE_URL`, if it is set.
    pub postgres: Option<At<PolicyDatabase>>,
}

/// The database that facts are asked of.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicyDatabase {
    /// Where the database's URL is: `env:NAME` or `file:PATH`. Default: `env:DATABASE_URL`. A
    /// server on another machine is spoken to over TLS only.
    #[schemars(extend("pattern" = SECRET))]
    pub url: Option<Hidden>,
    /// A PEM file of the certificates that vouch for the database's server. Required for TLS.
    pub ca: Option<At<String>>,
    /// Connections to the database at once, 1 to 64. Default: 4.
    pub connections: Option<At<u64>>,
    /// How long to wait for a connection, 50 ms to 30 s. Default: `2s`.
    #[schemars(extend("pattern" = DURATION))]
    pub connect_timeout: Option<At<String>>,
    /// How long to wait for an answer, 50 ms to 30 s. Default: `2s`.
    #[schemars(extend("pattern" = DURATION))]
    pub query_timeout: Option<At<String>>,
}

/// The listener for ops.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Admin {
    /// Metrics, health and outbox. Default: `127.0.0.1:9090`.
    pub bind: Option<At<String>>,
    /// Unix socket for the commands. Default: `state/admin.sock`.
    pub socket: Option<At<String>>,
}

/// Keys.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Keys {
    /// The master key, from which the others are derived: 32 bytes as 64 hexadecimal digits or as
    /// base64, by reference. Default: the embedded store makes one and keeps it beside itself.
    #[schemars(extend("pattern" = SECRET))]
    pub master: Option<Hidden>,
}

/// What one client may cost.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// A request's head, 8 KiB to 1 MiB; beyond: `431`. Default: `32KiB`.
    #[schemars(extend("pattern" = SIZE))]
    pub header_size: Option<At<String>>,
    /// Fields in a request's head, 16 to 1000; beyond: `431`. Default: 100.
    pub header_count: Option<At<u64>>,
    /// A request's body where its route names no limit; beyond: `413`. Default: `2GiB`.
    #[schemars(extend("pattern" = SIZE))]
    pub body_size: Option<At<String>>,
    /// For the TLS handshake. Default: `10s`.
    #[schemars(extend("pattern" = DURATION))]
    pub handshake_timeout: Option<At<String>>,
    /// For a request's head. Default: `10s`.
    #[schemars(extend("pattern" = DURATION))]
    pub header_timeout: Option<At<String>>,
    /// For a body to make progress, either way. Default: `60s`.
    #[schemars(extend("pattern" = DURATION))]
    pub body_timeout: Option<At<String>>,
    /// Connections at once, per worker. Default: 10000.
    pub connections: Option<At<u64>>,
    /// Streams at once per HTTP/2 connection. Default: 100.
    pub streams: Option<At<u64>>,
    /// How long to go on accepting after `SIGTERM`, while `/readyz` says no, so that load balancers
    /// look elsewhere; up to 10 min. Default: `0s`.
    #[schemars(extend("pattern" = DURATION))]
    pub drain_delay: Option<At<String>>,
    /// How long requests may go on after that. Default: `30s`.
    #[schemars(extend("pattern" = DURATION))]
    pub drain: Option<At<String>>,
}

/// What is written down.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// A file for one JSON line per request. Default: standard output.
    pub access: Option<At<String>>,
    /// Where an OpenTelemetry collector takes traces by OTLP over HTTP, such as
    /// `http://127.0.0.1:4318/v1/traces`. Default: nowhere.
    pub traces: Option<At<String>>,
}

/// The audit trail.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Audit {
    /// Folder of its files. Default: `audit` beside the store's file.
    pub dir: Option<At<String>>,
    /// How long records are kept, decisions among them. Default: `400d`.
    pub keep: Option<At<String>>,
    /// At what size a file is closed before its day is over. Default: `1GiB`.
    pub segment_size: Option<At<String>>,
}

/// A value that knows where in the file it stands.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(transparent)]
pub struct At<T>(Spanned<T>);

impl<T> At<T> {
    /// The value.
    pub fn get(&self) -> &T {
        self.0.get_ref()
    }

    /// Where it stands, in bytes.
    pub fn span(&self) -> Range<usize> {
        self.0.span()
    }
}

impl<T: fmt::Debug> fmt::Debug for At<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

impl<T: JsonSchema> JsonSchema for At<T> {
    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// A text that is a secret, or would be one if a person wrote it where a reference belongs.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub struct Hidden(At<String>);

impl Hidden {
    /// The text: not for messages.
    pub fn expose(&self) -> &str {
        self.0.get()
    }

    /// Where it stands, in bytes.
    pub fn span(&self) -> Range<usize> {
        self.0.span()
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hidden(..)")
    }
}

impl JsonSchema for Hidden {
    fn schema_name() -> Cow<'static, str> {
        String::schema_name()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        String::json_schema(generator)
    }
}

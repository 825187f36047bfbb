//! From the configuration as written to the one that is meant: every fault is collected, none
//! stops the search for the next.
//!
//! A value that does not resolve leaves a fault and its default behind, so that what depends on
//! it can be judged as well; a configuration comes out only if there was no fault at all.

mod cookies;
mod database;
mod directory;
mod fields;
mod identity;
mod listeners;
mod login;
mod messages;
mod places;
mod store;
mod upstreams;

use std::collections::HashSet;
use std::fmt;
use std::num::NonZero;
use std::path::Path;
use std::time::Duration;

use toml::de::DeTable;

use super::fault::{Fault, Source};
use super::written::{self, At, Written};
use super::{Config, Limits, PublicUrl, Session, secret_ref, shape, values};

/// What a configuration resolves against besides its own text.
#[derive(Clone, Copy)]
pub(super) struct Surroundings<'a> {
    /// Looks up an environment variable.
    pub(super) env: &'a dyn Fn(&str) -> Option<String>,
    /// Whether a path is a file that can be read.
    pub(super) is_file: &'a dyn Fn(&Path) -> bool,
    /// How many CPUs there are.
    pub(super) cpus: usize,
}

impl<'a> Surroundings<'a> {
    /// This process's machine.
    pub(super) fn here(env: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self {
            env,
            is_file: &Path::is_file,
            cpus: std::thread::available_parallelism().map_or(1, NonZero::get),
        }
    }
}

impl fmt::Debug for Surroundings<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Surroundings")
            .field("cpus", &self.cpus)
            .finish_non_exhaustive()
    }
}

/// Reads and resolves a text. The faults, warnings among them, stand in the order of the text.
/// What comes with faults is no configuration to run: it only says where to look for more faults.
pub(super) fn resolve(
    path: &Path,
    text: &str,
    around: Surroundings<'_>,
) -> (Option<Config>, Vec<Fault>) {
    let (mut table, errors) = DeTable::parse_recoverable(text);
    let shown = secret_ref::masked(text, table.get_ref(), errors.is_empty());
    let source = Source::new(path, shown);
    if !errors.is_empty() {
        // What stands where in a text that is not TOML is a guess: say no more than is known.
        let faults = errors
            .iter()
            .map(|error| source.fault(error.span().unwrap_or(0..0), error.message()));
        return (None, faults.collect());
    }
    let findings = shape::check(&mut table, super::schema::shared(), &source);
    let written: Written = match serde::Deserialize::deserialize(toml::Deserializer::from(table)) {
        Ok(written) => written,
        Err(error) => {
            let fault = source.fault(error.span().unwrap_or(0..0), error.message());
            return (None, findings.faults.into_iter().chain([fault]).collect());
        }
    };
    let mut resolver = Resolver {
        source,
        faults: findings.faults,
        taken: findings.taken,
        around,
    };
    let config = resolver.config(path, &written);
    let mut faults = resolver.faults;
    faults.sort_by_key(Fault::start);
    (Some(config), faults)
}

/// Collects faults while it resolves. Rules on keys are in the rooms below, by table.
struct Resolver<'a> {
    source: Source,
    faults: Vec<Fault>,
    /// Keys that were written but not understood: see [`shape::Findings`].
    taken: HashSet<String>,
    around: Surroundings<'a>,
}

impl Resolver<'_> {
    fn config(&mut self, path: &Path, written: &Written) -> Config {
        let public_url = self.public_url(written.public_url.as_ref());
        let tls = self.tls(&written.tls);
        let listeners = self.listeners(written, &tls);
        let store = self.store(&written.store);
        self.shared_key(written, &store);
        let audit = self.audit(&written.audit, &store);
        let directory = self.directory(written.directory.as_ref());
        Config {
            source: std::path::absolute(path).unwrap_or_else(|_| path.to_owned()),
            hosts: self.hosts(&written.hosts),
            allowed_origins: self.origins(&written.allowed_origins),
            prefix: self.prefix(written.prefix.as_ref()),
            safety_page: written.safety_page.as_ref().is_some_and(|page| *page.get()),
            workers: self.count(
                "workers",
                written.workers.as_ref(),
                1..=1024,
                self.around.cpus,
            ),
            master_key: self.master_key(written.keys.master.as_ref()),
            sms: self.sms(written.sms.as_ref(), &public_url),
            mail: self.mail(written.mail.as_ref()),
            session: self.session(&written.session),
            login: self.login(&written.login),
            upstreams: self.upstreams(written.upstream.as_deref().unwrap_or_default(), &public_url),
            policy: self.policy(&written.policy, &directory),
            directory,
            admin: self.admin(written, &listeners),
            limits: self.limits(&written.limits),
            log: self.log(&written.log),
            public_url,
            listeners,
            tls,
            store,
            audit,
        }
    }

    fn public_url(&mut self, written: Option<&At<String>>) -> PublicUrl {
        let fallback = PublicUrl {
            scheme: "https".to_owned(),
            host: "localhost".to_owned(),
            port: None,
        };
        let Some(written) = written else {
            return fallback;
        };
        match values::origin(written.get()) {
            Ok(url) if url.scheme == "http" && !values::is_loopback_host(&url.host) => {
                self.fault(
                    written.span(),
                    format!(
                        "`public_url` is `{}`: without TLS no cookie is safe",
                        url.origin()
                    ),
                    "write `https://…`; plain `http` is for `localhost` only",
                );
                fallback
            }
            Ok(url) => url,
            Err(error) => {
                self.bad_origin("public_url", written, error);
                fallback
            }
        }
    }

    fn hosts(&mut self, written: &[At<String>]) -> Vec<String> {
        let mut hosts = Vec::new();
        for written in written {
            match values::host_name(written.get()) {
                Some(host) => hosts.push(host),
                None => self.fault(
                    written.span(),
                    format!("`{}` in `hosts` is no host name", written.get()),
                    "a host name or address, without scheme, port and path",
                ),
            }
        }
        hosts
    }

    fn origins(&mut self, written: &[At<String>]) -> Vec<String> {
        let mut origins = Vec::new();
        for written in written {
            match values::origin(written.get()) {
                Ok(origin) => origins.push(origin.origin()),
                Err(error) => self.bad_origin("allowed_origins", written, error),
            }
        }
        origins
    }

    fn bad_origin(&mut self, key: &str, written: &At<String>, error: values::OriginError) {
        // The text as shown: a password in it is starred out.
        let shown = self.source.text().get(written.span()).unwrap_or_default();
        let message = format!("`{key}` has {shown}, which is no origin: {error}");
        self.fault(
            written.span(),
            message,
            "scheme, host and perhaps a port, such as `https://projects.example.com`",
        );
    }

    fn prefix(&mut self, written: Option<&At<String>>) -> String {
        let fallback = "/.portvakt".to_owned();
        let Some(written) = written else {
            return fallback;
        };
        let text = written.get().strip_suffix('/').unwrap_or(written.get());
        let stands_normalised = crate::target::Target::from_line(&format!("GET {text}"))
            .is_ok_and(|target| target.path() == text && target.query().is_none());
        if stands_normalised && text.len() > 1 {
            return text.to_owned();
        }
        self.fault(
            written.span(),
            format!(
                "`prefix` is `{}`, which is no path for pages",
                written.get()
            ),
            "a path of its own, such as `/.portvakt`",
        );
        fallback
    }

    fn session(&mut self, written: &written::Session) -> Session {
        let whole = Duration::from_secs(1)..=Duration::from_secs(365 * 86_400);
        let hour = Duration::from_secs(3600);
        let idle = self.duration("session.idle", written.idle.as_ref(), whole.clone(), hour);
        let absolute = self.duration(
            "session.absolute",
            written.absolute.as_ref(),
            whole,
            hour * 24,
        );
        if let Some(at) = written.idle.as_ref().or(written.absolute.as_ref())
            && idle > absolute
        {
            self.fault(
                at.span(),
                "`session.idle` is longer than `session.absolute`",
                "a session never outlives `absolute`, so `idle` must be the shorter",
            );
        }
        Session { idle, absolute }
    }

    fn limits(&mut self, written: &written::Limits) -> Limits {
        let second = Duration::from_secs(1);
        let patience = second..=second * 3600;
        Limits {
            header_bytes: self.size(
                "limits.header_size",
                written.header_size.as_ref(),
                8 << 10..=1 << 20,
                32 << 10,
            ),
            header_count: self.count(
                "limits.header_count",
                written.header_count.as_ref(),
                16..=1000,
                100,
            ),
            body_bytes: self.size(
                "limits.body_size",
                written.body_size.as_ref(),
                1..=u64::MAX,
                2 << 30,
            ),
            handshake_timeout: self.duration(
                "limits.handshake_timeout",
                written.handshake_timeout.as_ref(),
                patience.clone(),
                second * 10,
            ),
            header_timeout: self.duration(
                "limits.header_timeout",
                written.header_timeout.as_ref(),
                patience.clone(),
                second * 10,
            ),
            body_timeout: self.duration(
                "limits.body_timeout",
                written.body_timeout.as_ref(),
                patience,
                second * 60,
            ),
            connections: self.count(
                "limits.connections",
                written.connections.as_ref(),
                1..=1_000_000,
                10_000,
            ),
            streams: self.count("limits.streams", written.streams.as_ref(), 1..=10_000, 100),
            drain_delay: self.duration(
                "limits.drain_delay",
                written.drain_delay.as_ref(),
                Duration::ZERO..=second * 600,
                Duration::ZERO,
            ),
            drain: self.duration(
                "limits.drain",
                written.drain.as_ref(),
                Duration::ZERO..=second * 3600,
                second * 30,
            ),
        }
    }
}

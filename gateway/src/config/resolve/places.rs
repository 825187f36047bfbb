//! Where things are: `[policy]`, `[admin]`, `[keys]`, `[log]` and `[audit]`.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::super::secret_ref::SecretRef;
use super::super::values::http_url;
use super::super::written::{self, At, Hidden, Written};
use super::super::{Admin, Audit, Directory, HttpUrl, Keeping, Listener, Log, Policy, Store};
use super::Resolver;
use super::database::Database;
use super::listeners::overlap;
use crate::postgres::Settings;
use crate::secret::MasterKey;

const DAY: Duration = Duration::from_secs(86_400);

impl Resolver<'_> {
    pub(super) fn audit(&mut self, written: &written::Audit, store: &Store) -> Audit {
        let beside = match store.file() {
            Some(file) => file.with_file_name("audit"),
            None => PathBuf::from("state/audit"),
        };
        Audit {
            dir: match &written.dir {
                Some(at) => self.path("audit.dir", Some(at), ""),
                None => beside,
            },
            keeping: Keeping {
                keep: self.duration(
                    "audit.keep",
                    written.keep.as_ref(),
                    DAY..=DAY * 3650,
                    DAY * 400,
                ),
                largest: self.size(
                    "audit.segment_size",
                    written.segment_size.as_ref(),
                    64 * 1024..=1 << 40,
                    1 << 30,
                ),
            },
        }
    }

    pub(super) fn master_key(&mut self, written: Option<&Hidden>) -> Option<MasterKey> {
        let at = written?;
        let reference = match SecretRef::parse(at.expose()) {
            Ok(reference) => reference,
            Err(literal) => {
                self.fault(
                    at.span(),
                    format!("`keys.master`: {literal}"),
                    "put the key into a file or variable that only the gateway may read, and make a new one: this one was written down",
                );
                return None;
            }
        };
        let read = reference
            .read(self.around.env)
            .map_err(|error| error.to_string())
            .and_then(|secret| {
                MasterKey::parse(secret.expose_text().unwrap_or_default())
                    .map_err(|error| error.to_string())
            });
        match read {
            Ok(key) => Some(key),
            Err(error) => {
                self.fault(
                    at.span(),
                    format!("`keys.master`: {error}"),
                    "`openssl rand -hex 32` makes one",
                );
                None
            }
        }
    }

    pub(super) fn policy(&mut self, written: &written::Policy, directory: &Directory) -> Policy {
        // A bare name is looked for in `PATH`, and not beside the configuration.
        let solver = written.solver.as_ref();
        let bare = solver.map_or("cvc5", |at| at.get()).to_owned();
        let solver = match solver.filter(|at| at.get().contains('/')) {
            Some(at) => self.path("policy.solver", Some(at), ""),
            None => PathBuf::from(bare),
        };
        Policy {
            dir: self.path("policy.dir", written.dir.as_ref(), "policies"),
            require_proof: written.require_proof.as_ref().is_some_and(|at| *at.get()),
            solver,
            prove_timeout: self.duration(
                "policy.prove_timeout",
                written.prove_timeout.as_ref(),
                Duration::from_secs(1)..=Duration::from_secs(600),
                Duration::from_secs(60),
            ),
            database: self.facts_database(written.postgres.as_ref(), directory),
        }
    }

    /// Where facts are asked for: as written, or the directory's database, or the platform's.
    fn facts_database(
        &mut self,
        written: Option<&At<written::PolicyDatabase>>,
        directory: &Directory,
    ) -> Option<Settings> {
        if let Some(at) = written {
            let written = at.get();
            let database = Database {
                table: "policy.postgres",
                url: written.url.as_ref(),
                ca: written.ca.as_ref(),
                connections: written.connections.as_ref(),
                connect_timeout: written.connect_timeout.as_ref(),
                query_timeout: written.query_timeout.as_ref(),
            };
            return Some(self.database(&database, at.span()));
        }
        match directory {
            Directory::Postgres(postgres) => Some(postgres.database.clone()),
            Directory::File { .. } => self.platform_database(),
        }
    }

    pub(super) fn admin(&mut self, written: &Written, listeners: &[Listener]) -> Admin {
        let default = SocketAddr::from((Ipv4Addr::LOCALHOST, 9090));
        let at = written.admin.bind.as_ref();
        let bind = at
            .and_then(|at| self.address("admin.bind", at))
            .unwrap_or(default);
        let span = at.map_or(0..0, At::span);
        if let Some(other) = listeners.iter().find(|other| overlap(other.bind, bind)) {
            self.fault(
                span.clone(),
                format!(
                    "the admin listener `{bind}` is in the way of the listener `{}`",
                    other.bind
                ),
                "give `admin.bind` a port of its own",
            );
        }
        let providers = written
            .sms
            .iter()
            .flat_map(|sms| [sms].into_iter().chain(&sms.fallback));
        let outbox = providers
            .filter_map(|provider| provider.kind.as_ref())
            .any(|kind| kind.get() == "outbox");
        if !bind.ip().is_loopback() {
            let message = format!("`admin.bind` is `{bind}`, which other machines can reach");
            if outbox {
                self.fault(
                    span,
                    message,
                    "with the outbox, codes are read there: bind to `127.0.0.1`",
                );
            } else {
                self.warn(
                    span,
                    message,
                    "metrics and health are for ops only: see that a firewall stands before it",
                );
            }
        }
        Admin {
            bind,
            socket: self.path(
                "admin.socket",
                written.admin.socket.as_ref(),
                "state/admin.sock",
            ),
        }
    }

    pub(super) fn log(&mut self, written: &written::Log) -> Log {
        Log {
            access: written
                .access
                .as_ref()
                .map(|at| self.path("log.access", Some(at), "")),
            traces: written.traces.as_ref().and_then(|at| self.collector(at)),
        }
    }

    fn collector(&mut self, at: &At<String>) -> Option<HttpUrl> {
        const HELP: &str = "such as `http://127.0.0.1:4318/v1/traces`";
        let shown = self.source.text().get(at.span()).unwrap_or_default();
        let shown = shown.trim_matches('"').to_owned();
        let url = match http_url(at.get()) {
            Ok(url) if url.origin.scheme == "https" => {
                let message =
                    format!("`log.traces` is `{shown}`: collectors are told by plain `http`");
                let help = "put one on this machine or beside the gateway, and let it pass traces on over TLS";
                self.fault(at.span(), message, help);
                return None;
            }
            Ok(url) if url.path.is_empty() => {
                let message = format!("`log.traces` is `{shown}`, without a path");
                self.fault(at.span(), message, HELP);
                return None;
            }
            Ok(url) => url,
            Err(error) => {
                let message = format!("`log.traces` has `{shown}`, which cannot be used: {error}");
                self.fault(at.span(), message, HELP);
                return None;
            }
        };
        Some(url)
    }
}

//! `[store]`: where state lives.

use std::ops::Range;
use std::time::Duration;

use super::super::secret_ref::SecretRef;
use super::super::values::nearest;
use super::super::written::{self, At, Hidden};
use super::super::{RedisPlace, RedisStore, Store};
use super::Resolver;
use crate::secret::Secret;

/// Where the address is on platforms such as Heroku.
const PLATFORM_URL: &str = "REDIS_URL";
const KINDS: [&str; 2] = ["embedded", "redis"];

impl Resolver<'_> {
    pub(super) fn store(&mut self, written: &written::Store) -> Store {
        let kind = written.kind.as_ref();
        match kind.map(|at| at.get().as_str()) {
            None | Some("embedded") => self.embedded(written),
            Some("redis") => {
                let span = kind.map(At::span).unwrap_or_default();
                Store::Redis(self.redis(written, span))
            }
            Some(other) => {
                let help = match nearest(other, KINDS) {
                    Some(meant) => format!("did you mean `{meant}`?"),
                    None => "`embedded` or `redis`".to_owned(),
                };
                let message = format!("`store.kind` is `{other}`, which is unknown");
                self.fault(kind.map(At::span).unwrap_or_default(), message, help);
                self.embedded(written)
            }
        }
    }

    fn embedded(&mut self, written: &written::Store) -> Store {
        let misplaced = [
            ("url", written.url.as_ref().map(Hidden::span)),
            ("cluster", written.cluster.as_ref().map(At::span)),
            ("sentinel", written.sentinel.as_ref().map(At::span)),
            ("prefix", written.prefix.as_ref().map(At::span)),
            ("timeout", written.timeout.as_ref().map(At::span)),
            ("grace", written.grace.as_ref().map(At::span)),
        ];
        for (key, span) in misplaced {
            if let Some(span) = span {
                self.fault(
                    span,
                    format!("`store.{key}` is for `kind = \"redis\"`"),
                    "leave it out, or set the kind",
                );
            }
        }
        Store::Embedded {
            path: self.path("store.path", written.path.as_ref(), "state/portvakt.redb"),
        }
    }

    fn redis(&mut self, written: &written::Store, kind: Range<usize>) -> RedisStore {
        if let Some(at) = &written.path {
            self.fault(
                at.span(),
                "`store.path` is for `kind = \"embedded\"`",
                "leave it out: with `redis` nothing is kept in a file",
            );
        }
        let millisecond = Duration::from_millis(1);
        RedisStore {
            place: self.redis_place(written, kind),
            prefix: self.key_prefix(written.prefix.as_ref()),
            deadline: self.duration(
                "store.timeout",
                written.timeout.as_ref(),
                millisecond * 10..=millisecond * 5000,
                millisecond * 100,
            ),
            grace: self.duration(
                "store.grace",
                written.grace.as_ref(),
                Duration::ZERO..=Duration::from_secs(30),
                Duration::ZERO,
            ),
        }
    }

    /// Every instance must derive the same keys: none of them may make its own.
    pub(super) fn shared_key(&mut self, written: &written::Written, store: &Store) {
        if matches!(store, Store::Redis(_)) && written.keys.master.is_none() {
            let kind = written.store.kind.as_ref();
            self.fault(
                kind.map(At::span).unwrap_or_default(),
                "`keys.master` is missing: the instances on one `redis` share one key",
                "`[keys]` with `master = \"env:PORTVAKT_MASTER_KEY\"`, the same everywhere; `openssl rand -hex 32` makes one",
            );
        }
    }

    fn key_prefix(&mut self, written: Option<&At<String>>) -> String {
        let Some(at) = written else {
            return "portvakt:".to_owned();
        };
        let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b':' | b'-' | b'_' | b'.');
        if !at.get().bytes().all(fits) {
            // Braces would move the keys of a cluster to other slots.
            self.fault(
                at.span(),
                format!("`store.prefix` is `{}`", at.get()),
                "letters, digits, `:`, `-`, `_` and `.`",
            );
        }
        at.get().clone()
    }

    fn redis_place(&mut self, written: &written::Store, kind: Range<usize>) -> RedisPlace {
        let urls = self.urls(written.url.as_ref(), kind);
        let cluster = written.cluster.as_ref().filter(|at| *at.get());
        match (cluster, &written.sentinel) {
            (Some(_), Some(at)) => {
                self.fault(
                    at.span(),
                    "`store.sentinel` beside `cluster = true`",
                    "a cluster has no sentinels: leave one of them out",
                );
                RedisPlace::Cluster(urls)
            }
            (Some(_), None) => RedisPlace::Cluster(urls),
            (None, Some(master)) => RedisPlace::Sentinels {
                urls,
                master: master.get().clone(),
            },
            (None, None) => {
                if urls.len() > 1 {
                    self.fault(
                        written.url.as_ref().map(Hidden::span).unwrap_or_default(),
                        "`store.url` holds several addresses",
                        "say what they are: `cluster = true`, or `sentinel = \"NAME\"` of the master",
                    );
                }
                RedisPlace::One(urls.into_iter().next().unwrap_or_else(|| Secret::new("")))
            }
        }
    }

    /// The addresses; no message shows them, for they hold a password.
    fn urls(&mut self, written: Option<&Hidden>, kind: Range<usize>) -> Vec<Secret> {
        let (reference, span) = match written {
            Some(at) => match SecretRef::parse(at.expose()) {
                Ok(reference) => (reference, at.span()),
                Err(literal) => {
                    self.fault(
                        at.span(),
                        format!("`store.url`: {literal}"),
                        "its URL holds its password: `env:REDIS_URL`, or `file:PATH`",
                    );
                    return Vec::new();
                }
            },
            None => (SecretRef::Env(PLATFORM_URL.to_owned()), kind),
        };
        let url = match reference.read(self.around.env) {
            Ok(url) => url,
            Err(error) => {
                self.fault(
                    span,
                    format!("`store.url`: {error}"),
                    "`url` names where the address is; without it, that is `env:REDIS_URL`",
                );
                return Vec::new();
            }
        };
        let text = url.expose_text().unwrap_or_default();
        let schemes = ["redis://", "rediss://", "redis+unix://", "unix://"];
        let mut found = Vec::new();
        for one in text.split(',').map(str::trim) {
            if !schemes.iter().any(|scheme| one.starts_with(scheme)) {
                self.fault(
                    span.clone(),
                    "`store.url`: an address does not begin with `redis://` or `rediss://`",
                    "such as `rediss://user:password@host:6379/0`",
                );
                return Vec::new();
            }
            found.push(Secret::new(one));
        }
        found
    }
}

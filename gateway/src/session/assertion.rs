//! The assertion: a signed word to the upstream of who is asking, for those who would rather
//! verify than trust a header.
//!
//! A JWT (RFC 7519) signed with ES256 (RFC 7518, section 3.4), for one upstream, with at most a
//! minute of life. It is signed once per session and upstream and used for most of that minute.
//! The keys are made here, kept in the store sealed, and rotated every 30 days; each is published
//! for 30 days before it signs and for 30 days after.

mod keys;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use http::HeaderValue;
use serde::Serialize;
use tokio::sync::Mutex;

use super::Session;
use crate::clock::{SharedClock, Timestamp};
use crate::secret::{self, Key};
use crate::store::{SharedStore, StoreError};
use keys::Keys;

/// The sealed keys' name in the store.
const NAME: &str = "assertion-keys";

/// How long an assertion lives.
const LIFETIME: Duration = Duration::from_secs(60);

/// An assertion with less left than this is not given out again.
const LEAST_LEFT: Duration = Duration::from_secs(20);

/// How long a key signs.
const ROTATION: Duration = Duration::from_secs(30 * 24 * 3600);

/// Rounds of making keys against other instances that do the same.
const ROUNDS: u32 = 8;

/// Signs assertions.
pub struct Keyring {
    store: SharedStore,
    sealing: Key,
    clock: SharedClock,
    issuer: String,
    keys: ArcSwap<Keys>,
    /// Held by whoever exchanges the keys, so that newer ones are not overwritten with older.
    exchange: Mutex<()>,
}

/// Why there are no keys, or no assertion.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// The store did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store's keys were sealed under another master key, or are damaged.
    #[error("the assertion's keys in the store cannot be opened with this master key")]
    Sealed,
    /// Other instances exchanged the keys again and again while this one tried.
    #[error("the assertion's keys changed under every attempt to change them")]
    Contended,
    /// The cryptographic library refused.
    #[error("the assertion could not be signed, or its key not made")]
    Crypto,
}

impl Keyring {
    /// Opens the keys that the store holds, or makes the first ones. The `sealing` key is for
    /// this alone; the `issuer` is the public URL's origin.
    ///
    /// # Errors
    ///
    /// [`KeyringError`], with which the gateway must not start.
    pub async fn open(
        store: SharedStore,
        sealing: Key,
        clock: SharedClock,
        issuer: String,
    ) -> Result<Arc<Self>, KeyringError> {
        let keys = first_keys(&store, &sealing, clock.now()).await?;
        Ok(Arc::new(Self {
            store,
            sealing,
            clock,
            issuer,
            keys: ArcSwap::from_pointee(keys),
            exchange: Mutex::new(()),
        }))
    }

    /// The assertion of a session for an upstream, as a header's value that is not to be logged.
    ///
    /// # Errors
    ///
    /// [`KeyringError::Crypto`], when a new one has to be signed and cannot be.
    pub fn assertion(
        &self,
        session: &Session,
        audience: &str,
    ) -> Result<HeaderValue, KeyringError> {
        let now = self.clock.now();
        let keys = self.keys.load();
        if let Some(value) = session.assertions().usable(audience, keys.serial(), now) {
            return Ok(value);
        }
        let expires = Timestamp::from_millis(now.as_secs() * 1_000).plus(LIFETIME);
        let token = keys.sign(&Claims::new(&self.issuer, audience, session, now, expires))?;
        let mut value = HeaderValue::try_from(token).map_err(|_| KeyringError::Crypto)?;
        value.set_sensitive(true);
        session.assertions().keep(Signed {
            audience: audience.into(),
            serial: keys.serial(),
            usable_until: expires.minus(LEAST_LEFT),
            value: value.clone(),
        });
        Ok(value)
    }

    /// The public keys as a JWK set (RFC 7517, section 5): previous, current, next.
    #[must_use]
    pub fn jwks(&self) -> serde_json::Value {
        self.keys.load().jwks()
    }

    /// Lets the next key sign from now on, and publishes a fresh one to come after it.
    ///
    /// # Errors
    ///
    /// [`KeyringError`]; the keys in force stay.
    pub async fn rotate(&self) -> Result<(), KeyringError> {
        let _exchange = self.exchange.lock().await;
        self.reload().await?;
        self.exchange_keys().await
    }

    /// Takes over what another instance has rotated, then rotates if the current key has signed
    /// for 30 days; says whether it did. To be called every few minutes.
    ///
    /// # Errors
    ///
    /// [`KeyringError`]; the keys in force stay.
    pub async fn rotate_if_due(&self) -> Result<bool, KeyringError> {
        let _exchange = self.exchange.lock().await;
        self.reload().await?;
        let due = self.clock.now() >= self.keys.load().rotated().plus(ROTATION);
        if due {
            self.exchange_keys().await?;
        }
        Ok(due)
    }

    async fn exchange_keys(&self) -> Result<(), KeyringError> {
        let keys = self.keys.load_full();
        let rotated = keys.rotate(&self.sealing, self.clock.now())?;
        let won = self
            .store
            .put_sealed(NAME, Some(keys.sealed()), rotated.sealed())
            .await?;
        if won {
            self.keys.store(Arc::new(rotated));
            return Ok(());
        }
        // Another instance rotated since the reload: its keys are as fresh as ours would be.
        self.reload().await
    }

    async fn reload(&self) -> Result<(), KeyringError> {
        let keys = self.keys.load_full();
        match self.store.sealed(NAME).await? {
            Some(sealed) if sealed == keys.sealed() => {}
            Some(sealed) => {
                let serial = keys.serial() + 1;
                let keys = Keys::open(&self.sealing, sealed, serial)?;
                self.keys.store(Arc::new(keys));
            }
            // The store has lost them; the ones in memory are what upstreams know.
            None => {
                self.store.put_sealed(NAME, None, keys.sealed()).await?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring")
            .field("issuer", &self.issuer)
            .field("current", &self.keys.load().kid())
            .finish_non_exhaustive()
    }
}

async fn first_keys(
    store: &SharedStore,
    sealing: &Key,
    now: Timestamp,
) -> Result<Keys, KeyringError> {
    for _ in 0..ROUNDS {
        if let Some(sealed) = store.sealed(NAME).await? {
            return Keys::open(sealing, sealed, 0);
        }
        let keys = Keys::generate(sealing, now)?;
        if store.put_sealed(NAME, None, keys.sealed()).await? {
            return Ok(keys);
        }
    }
    Err(KeyringError::Contended)
}

/// What an assertion says (RFC 7519, section 4).
#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    aud: &'a str,
    sub: &'a str,
    email: &'a str,
    name: &'a str,
    company: &'a str,
    roles: &'a [Arc<str>],
    sid: &'a str,
    iat: u64,
    nbf: u64,
    exp: u64,
    jti: String,
}

impl<'a> Claims<'a> {
    fn new(
        issuer: &'a str,
        audience: &'a str,
        session: &'a Session,
        now: Timestamp,
        expires: Timestamp,
    ) -> Self {
        let principal = session.principal();
        Self {
            iss: issuer,
            aud: audience,
            sub: principal.id.as_str(),
            email: principal.email.as_str(),
            name: &principal.name,
            company: principal.company.id.as_str(),
            roles: &principal.roles,
            sid: session.handle(),
            iat: now.as_secs(),
            nbf: now.as_secs(),
            exp: expires.as_secs(),
            jti: HEXLOWER.encode(&secret::random::<16>()),
        }
    }
}

/// The assertions of one session, one per upstream.
#[derive(Default)]
pub(super) struct Assertions(ArcSwapOption<Vec<Signed>>);

#[derive(Clone)]
struct Signed {
    audience: Arc<str>,
    /// Of the keys that signed it.
    serial: u64,
    usable_until: Timestamp,
    value: HeaderValue,
}

impl Assertions {
    fn usable(&self, audience: &str, serial: u64, now: Timestamp) -> Option<HeaderValue> {
        self.0
            .load()
            .as_ref()?
            .iter()
            .find(|one| &*one.audience == audience)
            .filter(|one| one.serial == serial && now <= one.usable_until)
            .map(|one| one.value.clone())
    }

    /// Keeps an assertion in the place of its audience's last one. Of two that are kept at the
    /// same moment one may be lost, and is signed again.
    fn keep(&self, signed: Signed) {
        let kept = self.0.load_full();
        let others = kept
            .iter()
            .flat_map(|all| all.iter())
            .filter(|one| one.audience != signed.audience)
            .cloned();
        let mut all: Vec<_> = others.collect();
        all.push(signed);
        self.0.store(Some(Arc::new(all)));
    }
}

/// A JWT's parts are joined by dots.
fn append_part(token: &mut String, part: &[u8]) {
    token.push('.');
    BASE64URL_NOPAD.encode_append(part, token);
}

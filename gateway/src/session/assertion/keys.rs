//! The keys behind the assertion, as they are used and as the store keeps them.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use data_encoding::{BASE64, BASE64URL_NOPAD};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::{Claims, KeyringError, append_part};
use crate::clock::Timestamp;
use crate::secret::{Key, Secret};

/// What the seal is bound to.
const CONTEXT: &[u8] = b"portvakt assertion keys 1";

/// The keys in force.
pub(super) struct Keys {
    /// As the store keeps them.
    sealed: Vec<u8>,
    /// Counts the exchanges in this process, so that what older keys signed is told apart.
    serial: u64,
    rotated: Timestamp,
    previous: Option<PublicKey>,
    current: SigningKey,
    next: SigningKey,
}

impl Keys {
    /// A first pair, with nothing before it.
    pub(super) fn generate(sealing: &Key, now: Timestamp) -> Result<Self, KeyringError> {
        let written = Written {
            rotated: now,
            previous: None,
            current: WrittenKey::generate(now)?,
            next: WrittenKey::generate(now)?,
        };
        Self::open(sealing, written.seal(sealing)?, 0)
    }

    /// Opens what the store keeps.
    pub(super) fn open(sealing: &Key, sealed: Vec<u8>, serial: u64) -> Result<Self, KeyringError> {
        let written = Written::open(sealing, &sealed)?;
        Ok(Self {
            serial,
            rotated: written.rotated,
            previous: written.previous,
            current: written.current.read()?,
            next: written.next.read()?,
            sealed,
        })
    }

    /// The keys after a rotation. The private half of the key that signed until now is forgotten.
    pub(super) fn rotate(&self, sealing: &Key, now: Timestamp) -> Result<Self, KeyringError> {
        let written = Written::open(sealing, &self.sealed)?;
        let rotated = Written {
            rotated: now,
            previous: Some(self.current.public.clone()),
            current: written.next,
            next: WrittenKey::generate(now)?,
        };
        Self::open(sealing, rotated.seal(sealing)?, self.serial + 1)
    }

    pub(super) fn sealed(&self) -> &[u8] {
        &self.sealed
    }

    pub(super) const fn serial(&self) -> u64 {
        self.serial
    }

    pub(super) const fn rotated(&self) -> Timestamp {
        self.rotated
    }

    /// The identifier of the key that signs.
    pub(super) fn kid(&self) -> String {
        self.current.public.thumbprint()
    }

    pub(super) fn jwks(&self) -> Value {
        let keys: Vec<_> = self
            .previous
            .iter()
            .chain([&self.current.public, &self.next.public])
            .map(PublicKey::jwk)
            .collect();
        json!({ "keys": keys })
    }

    /// A JWT in its compact form (RFC 7515, section 7.1).
    pub(super) fn sign(&self, claims: &Claims<'_>) -> Result<String, KeyringError> {
        let claims = serde_json::to_vec(claims).map_err(|_| KeyringError::Crypto)?;
        let mut token = String::with_capacity(self.current.header.len() + claims.len() * 2 + 128);
        token.push_str(&self.current.header);
        append_part(&mut token, &claims);
        let signature = self
            .current
            .pair
            .sign(&SystemRandom::new(), token.as_bytes())
            .map_err(|_| KeyringError::Crypto)?;
        append_part(&mut token, signature.as_ref());
        Ok(token)
    }
}

/// A key that signs, or will.
struct SigningKey {
    pair: EcdsaKeyPair,
    public: PublicKey,
    /// The JWT's first part, the same for all that this key signs.
    header: String,
}

/// The public half: the point's coordinates, base64url (RFC 7518, section 6.2.1).
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PublicKey {
    x: String,
    y: String,
}

impl PublicKey {
    fn of(pair: &EcdsaKeyPair) -> Result<Self, KeyringError> {
        // An uncompressed point (SEC 1, section 2.3.3): 4, then both coordinates.
        match pair.public_key().as_ref() {
            [4, point @ ..] if point.len() == 64 => {
                let (x, y) = point.split_at(32);
                Ok(Self {
                    x: BASE64URL_NOPAD.encode(x),
                    y: BASE64URL_NOPAD.encode(y),
                })
            }
            _ => Err(KeyringError::Crypto),
        }
    }

    fn jwk(&self) -> Value {
        json!({
            "kty": "EC",
            "crv": "P-256",
            "x": self.x,
            "y": self.y,
            "use": "sig",
            "alg": "ES256",
            "kid": self.thumbprint(),
        })
    }

    /// The key's identifier: its SHA-256 thumbprint (RFC 7638, section 3).
    fn thumbprint(&self) -> String {
        let members = format!(
            r#"{{"crv":"P-256","kty":"EC","x":"{}","y":"{}"}}"#,
            self.x, self.y
        );
        BASE64URL_NOPAD.encode(digest(&SHA256, members.as_bytes()).as_ref())
    }
}

/// The keys as the store keeps them, inside the seal.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    rotated: Timestamp,
    previous: Option<PublicKey>,
    current: WrittenKey,
    next: WrittenKey,
}

impl Written {
    fn seal(&self, sealing: &Key) -> Result<Vec<u8>, KeyringError> {
        let plain = Secret::new(serde_json::to_vec(self).map_err(|_| KeyringError::Crypto)?);
        Ok(sealing.seal(CONTEXT, plain.expose()))
    }

    fn open(sealing: &Key, sealed: &[u8]) -> Result<Self, KeyringError> {
        let plain = sealing.open(CONTEXT, sealed).ok_or(KeyringError::Sealed)?;
        serde_json::from_slice(plain.expose()).map_err(|_| KeyringError::Sealed)
    }
}

#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(deny_unknown_fields)]
struct WrittenKey {
    #[zeroize(skip)]
    created: Timestamp,
    /// PKCS #8 in base64.
    pkcs8: String,
}

impl WrittenKey {
    fn generate(now: Timestamp) -> Result<Self, KeyringError> {
        let document =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())
                .map_err(|_| KeyringError::Crypto)?;
        Ok(Self {
            created: now,
            pkcs8: BASE64.encode(document.as_ref()),
        })
    }

    fn read(&self) -> Result<SigningKey, KeyringError> {
        let pkcs8 = BASE64
            .decode(self.pkcs8.as_bytes())
            .map(Secret::new)
            .map_err(|_| KeyringError::Sealed)?;
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.expose())
            .map_err(|_| KeyringError::Sealed)?;
        let public = PublicKey::of(&pair)?;
        let header = json!({ "typ": "JWT", "alg": "ES256", "kid": public.thumbprint() });
        Ok(SigningKey {
            header: BASE64URL_NOPAD.encode(header.to_string().as_bytes()),
            pair,
            public,
        })
    }
}

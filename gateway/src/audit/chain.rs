//! The chain: every record carries its number and the hash of the record before it, and now and then
//! a head, signed, says how far the chain had come.
//!
//! A record is a line of JSON that begins with `{"seq":N,"prev":"H",`, H being the SHA-256 of the
//! line before it without its line end. A head is a line of the file beside: the number of a record,
//! its hash, a moment, and an Ed25519 signature (RFC 8032) over these. Whoever changes, removes or
//! inserts a record breaks the chain; whoever writes a new chain lacks the key; and whoever cuts off
//! the end cuts off what a head has told.

use std::fmt::Write as _;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use data_encoding::{BASE64, HEXLOWER};
use serde::{Deserialize, Serialize};

use crate::secret::Key;

/// The hash of a record.
pub(super) type Hash = [u8; 32];

/// What the first record of a chain has for the hash of the one before it.
pub(super) const NOTHING: Hash = [0; 32];

/// Label of the derived key that heads are signed with.
pub const HEADS_KEY: &str = "audit heads";

/// How far a chain has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tip {
    /// The number of the last record; 0 before the first.
    pub(super) seq: u64,
    /// Its hash.
    pub(super) hash: Hash,
}

impl Tip {
    pub(super) const START: Self = Self {
        seq: 0,
        hash: NOTHING,
    };

    /// Adds a record, whose fields are a JSON object, to lines; it ends with a line end.
    pub(super) fn extend(&mut self, fields: &[u8], lines: &mut Vec<u8>) {
        let begin = lines.len();
        self.seq += 1;
        let mut hex = [0; 64];
        HEXLOWER.encode_mut(&self.hash, &mut hex);
        lines.extend_from_slice(b"{\"seq\":");
        lines.extend_from_slice(self.seq.to_string().as_bytes());
        lines.extend_from_slice(b",\"prev\":\"");
        lines.extend_from_slice(&hex);
        lines.extend_from_slice(b"\",");
        // Without the brace that it begins with.
        lines.extend_from_slice(fields.get(1..).unwrap_or_default());
        self.hash = hash(lines.get(begin..).unwrap_or_default());
        lines.push(b'\n');
    }
}

/// The hash of a line without its line end.
pub(super) fn hash(line: &[u8]) -> Hash {
    let mut out = NOTHING;
    out.copy_from_slice(digest(&SHA256, line).as_ref());
    out
}

/// What every record begins with.
#[derive(Debug, Deserialize)]
pub(super) struct Link {
    pub(super) seq: u64,
    pub(super) prev: String,
    /// When, RFC 3339.
    pub(super) at: String,
    /// Where the record says that older ones are past their time: the last of those.
    pub(super) through: Option<u64>,
}

/// How far a chain had come at a moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Head {
    /// The record's number.
    pub(super) seq: u64,
    /// Its hash, in hexadecimal.
    pub(super) hash: String,
    /// When the record was made, RFC 3339.
    pub(super) at: String,
    /// Over all of these, in base64.
    pub(super) signature: String,
}

/// Signs heads.
#[derive(Debug)]
pub(super) struct Signer(Ed25519KeyPair);

impl Signer {
    /// From the derived key of [`HEADS_KEY`]; `None` if the crypto library takes no seed.
    pub(super) fn new(key: &Key) -> Option<Self> {
        Ed25519KeyPair::from_seed_unchecked(&*key.seed())
            .ok()
            .map(Self)
    }

    /// A head of a chain that has come this far.
    pub(super) fn head(&self, tip: Tip, at: String) -> Head {
        let mut head = Head {
            seq: tip.seq,
            hash: HEXLOWER.encode(&tip.hash),
            at,
            signature: String::new(),
        };
        head.signature = BASE64.encode(self.0.sign(head.signed().as_bytes()).as_ref());
        head
    }

    /// What the signatures are checked with.
    pub(super) fn public(&self) -> PublicKey {
        let mut out = [0; 32];
        out.copy_from_slice(self.0.public_key().as_ref());
        PublicKey(out)
    }
}

impl Head {
    /// What is signed.
    fn signed(&self) -> String {
        let mut text = String::from("portvakt audit head\n");
        // Writing to a string does not fail.
        let _ = write!(text, "{}\n{}\n{}\n", self.seq, self.hash, self.at);
        text
    }

    pub(super) fn is_signed_by(&self, key: &PublicKey) -> bool {
        let Ok(signature) = BASE64.decode(self.signature.as_bytes()) else {
            return false;
        };
        let key = UnparsedPublicKey::new(&ED25519, key.0);
        key.verify(self.signed().as_bytes(), &signature).is_ok()
    }
}

/// What the signatures of a trail's heads are checked with: 32 bytes, written as base64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// The key that a gateway with this derived key signs with; `None` if the crypto library takes
    /// no seed.
    #[must_use]
    pub fn of(key: &Key) -> Option<Self> {
        Some(Signer::new(key)?.public())
    }

    /// Reads a key as it is shown.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = BASE64.decode(text.trim().as_bytes()).ok()?;
        Some(Self(bytes.try_into().ok()?))
    }
}

impl std::fmt::Display for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&BASE64.encode(&self.0))
    }
}

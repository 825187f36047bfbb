//! Secrets: how they are held, made, derived and kept from view.
//!
//! One master key is the root. Every other long-lived key is derived from it by HKDF-SHA-256
//! (RFC 5869) under a label, so that a key for one use says nothing of a key for another.

use std::cell::RefCell;
use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::{constant_time, digest, hkdf, hmac, rand};
use data_encoding::{BASE64, BASE64URL_NOPAD, HEXLOWER_PERMISSIVE};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Bytes that are never shown and are wiped when dropped.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Takes the bytes into custody.
    #[must_use]
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    /// The bytes, for the one who must use them.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The bytes as text, if they are UTF-8.
    #[must_use]
    pub fn expose_text(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// The root of all derived keys: 256 bits.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct MasterKey([u8; 32]);

/// Why a text is no master key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a master key is 32 bytes, written as 64 hexadecimal digits or as base64")]
pub struct MasterKeyError;

impl MasterKey {
    /// A new key from the operating system's generator.
    #[must_use]
    pub fn generate() -> Self {
        Self(random())
    }

    /// Reads a key written as 64 hexadecimal digits or as base64; blanks around it are trimmed.
    ///
    /// # Errors
    ///
    /// [`MasterKeyError`] if it is not 32 bytes so written.
    pub fn parse(text: &str) -> Result<Self, MasterKeyError> {
        let text = text.trim().as_bytes();
        let bytes = HEXLOWER_PERMISSIVE
            .decode(text)
            .or_else(|_| BASE64.decode(text))
            .or_else(|_| BASE64URL_NOPAD.decode(text))
            .map_err(|_| MasterKeyError)?;
        bytes.try_into().map(Self).map_err(|_| MasterKeyError)
    }

    /// The key as 64 hexadecimal digits, for the file that keeps it.
    #[must_use]
    pub fn to_hex(&self) -> String {
        HEXLOWER_PERMISSIVE.encode(&self.0)
    }

    /// The key for one use, named by its label.
    #[must_use]
    pub fn derive(&self, label: &'static str) -> Key {
        let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, b"portvakt/1");
        let mut out = [0; 32];
        salt.extract(&self.0)
            .expand(&[label.as_bytes()], hkdf::HKDF_SHA256)
            .and_then(|okm| okm.fill(&mut out))
            .unwrap_or_else(|_| unreachable!("32 bytes are within HKDF-SHA-256's 8,160"));
        Key(out)
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(..)")
    }
}

/// A derived key: for a MAC or for sealing, never for both.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Key([u8; 32]);

impl Key {
    /// HMAC-SHA-256 over the parts, each preceded by its length so that no two lists collide.
    #[must_use]
    pub fn mac(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &self.0));
        for part in parts {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        let mut out = [0; 32];
        out.copy_from_slice(context.sign().as_ref());
        out
    }

    /// Encrypts and authenticates (AES-256-GCM, random nonce); `context` must be given again to open.
    #[must_use]
    pub fn seal(&self, context: &[u8], plain: &[u8]) -> Vec<u8> {
        let mut sealed = plain.to_vec();
        let nonce = self
            .aead()
            .seal_in_place_append_tag(Aad::from(context), &mut sealed)
            .unwrap_or_else(|_| unreachable!("AES-256-GCM seals anything shorter than 64 GiB"));
        sealed.splice(0..0, *nonce.as_ref());
        sealed
    }

    /// Opens what [`Key::seal`] made under the same key and context; `None` if it is not that.
    #[must_use]
    pub fn open(&self, context: &[u8], sealed: &[u8]) -> Option<Secret> {
        let (nonce, body) = sealed.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut body = body.to_vec();
        let length = self
            .aead()
            .open_in_place(nonce, Aad::from(context), &mut body)
            .ok()?
            .len();
        body.truncate(length);
        Some(Secret(body))
    }

    /// The seed of a pair of signing keys, where the key is used for nothing else.
    #[must_use]
    pub fn seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0)
    }

    fn aead(&self) -> RandomizedNonceKey {
        RandomizedNonceKey::new(&AES_256_GCM, &self.0)
            .unwrap_or_else(|_| unreachable!("an AES-256 key has 32 bytes"))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

/// A 256-bit random identifier that its bearer shows and the store knows only hashed.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct BearerId([u8; 32]);

/// What the store keeps of a [`BearerId`]: its SHA-256.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub struct BearerHash(pub [u8; 32]);

impl BearerId {
    /// A new identifier from the operating system's generator.
    #[must_use]
    pub fn generate() -> Self {
        Self(random())
    }

    /// Reads the value of a cookie: exactly 43 characters of unpadded base64url.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != 43 {
            return None;
        }
        let mut out = [0; 32];
        let length = BASE64URL_NOPAD.decode_mut(text.as_bytes(), &mut out).ok()?;
        (length == out.len()).then_some(Self(out))
    }

    /// The value to put into a cookie.
    #[must_use]
    pub fn to_cookie_value(&self) -> String {
        BASE64URL_NOPAD.encode(&self.0)
    }

    /// What the store may know of it.
    #[must_use]
    pub fn hash(&self) -> BearerHash {
        let mut out = [0; 32];
        out.copy_from_slice(digest::digest(&digest::SHA256, &self.0).as_ref());
        BearerHash(out)
    }
}

impl fmt::Debug for BearerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BearerId(..)")
    }
}

/// Random bytes from the operating system's generator.
///
/// # Panics
///
/// If the generator fails: nothing secure can be done without it.
#[must_use]
pub fn random<const N: usize>() -> [u8; N] {
    let mut out = [0; N];
    #[expect(
        clippy::expect_used,
        reason = "without a random generator nothing secure can go on"
    )]
    rand::fill(&mut out).expect("the operating system's random generator answers");
    out
}

/// Random bytes for a name that nobody needs to keep: unlike a secret, it is drawn from a handful that
/// the thread has in store, at a tenth of the price.
#[must_use]
pub fn identifier<const N: usize>() -> [u8; N] {
    const HANDFUL: usize = 1024;
    thread_local! {
        static STORE: RefCell<([u8; HANDFUL], usize)> = const { RefCell::new(([0; HANDFUL], HANDFUL)) };
    }
    STORE.with_borrow_mut(|(store, used)| {
        if *used + N > HANDFUL {
            *store = random();
            *used = 0;
        }
        let mut out = [0; N];
        match store.get(*used..*used + N) {
            Some(next) => out.copy_from_slice(next),
            // More than a handful.
            None => return random(),
        }
        *used += N;
        out
    })
}

/// Whether two byte strings are equal, in time that tells nothing of where they differ.
#[must_use]
pub fn same(a: &[u8], b: &[u8]) -> bool {
    constant_time::verify_slices_are_equal(a, b).is_ok()
}

/// A four-digit login code: shown once to its person, stored only as a keyed hash.
#[derive(Clone, Zeroize, ZeroizeOnDrop, PartialEq, Eq)]
pub struct Code([u8; 4]);

impl Code {
    /// A code uniform over 0000–9999 from the operating system's generator.
    #[must_use]
    pub fn generate() -> Self {
        // 60,000 is the largest multiple of 10,000 in 16 bits: what lies above is drawn again.
        loop {
            let drawn = u16::from_be_bytes(random());
            if drawn < 60_000 {
                return Self::from_number(drawn % 10_000);
            }
        }
    }

    /// Reads exactly four ASCII digits; anything else is no code.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits: [u8; 4] = text.as_bytes().try_into().ok()?;
        digits
            .iter()
            .all(u8::is_ascii_digit)
            .then_some(Self(digits))
    }

    /// The four digits.
    #[must_use]
    pub fn expose(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    fn from_number(number: u16) -> Self {
        let digit = |place: u16| b'0' + u8::try_from(number / place % 10).unwrap_or_default();
        Self([digit(1000), digit(100), digit(10), digit(1)])
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Code(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_uniform() {
        // χ² over the first two and the last two digits: 99 degrees of freedom, and 180 is
        // beyond the 99.9999th percentile.
        let draws = 200_000_u32;
        let (mut first, mut last) = ([0_u32; 100], [0_u32; 100]);
        for _ in 0..draws {
            let number: usize = Code::generate().expose().parse().unwrap();
            first[number / 100] += 1;
            last[number % 100] += 1;
        }
        let expected = f64::from(draws) / 100.0;
        for counts in [first, last] {
            let chi: f64 = counts
                .iter()
                .map(|&n| (f64::from(n) - expected).powi(2) / expected)
                .sum();
            assert!(chi < 180.0, "χ² = {chi}");
        }
    }

    #[test]
    fn only_four_ascii_digits_are_a_code() {
        assert_eq!(Code::parse("0042").unwrap().expose(), "0042");
        for text in [
            "",
            "1",
            "12345",
            "12 4",
            "-123",
            "１２３４",
            "12a4",
            "1234\n",
            "\0\0\0\0",
        ] {
            assert!(Code::parse(text).is_none(), "{text:?}");
        }
    }

    #[test]
    fn what_was_sealed_opens_only_under_its_key_and_context() {
        let master = MasterKey::generate();
        let key = master.derive("a");
        let sealed = key.seal(b"context", b"plain");
        assert_eq!(key.open(b"context", &sealed).unwrap().expose(), b"plain");
        assert!(key.open(b"other", &sealed).is_none());
        assert!(master.derive("b").open(b"context", &sealed).is_none());
        assert!(key.open(b"context", &[]).is_none());
        let mut bent = sealed;
        *bent.last_mut().unwrap() ^= 1;
        assert!(key.open(b"context", &bent).is_none());
    }

    #[test]
    fn nothing_secret_shows_in_debug() {
        let master = MasterKey::generate();
        let shown = format!(
            "{:?} {:?} {:?} {:?} {:?}",
            Secret::new("hunter2"),
            master,
            master.derive("x"),
            BearerId::generate(),
            Code::parse("1234").unwrap()
        );
        assert_eq!(
            shown,
            "Secret(..) MasterKey(..) Key(..) BearerId(..) Code(..)"
        );
    }

    #[test]
    fn bearer_ids_survive_their_cookie_and_garbage_is_none() {
        let id = BearerId::generate();
        assert_eq!(
            BearerId::parse(&id.to_cookie_value()).unwrap().hash(),
            id.hash()
        );
        for garbage in ["", "x", &"!".repeat(43), &"A".repeat(44)] {
            assert!(BearerId::parse(garbage).is_none());
        }
    }

    #[test]
    fn master_keys_are_read_as_hex_and_base64() {
        let key = MasterKey::generate();
        assert_eq!(MasterKey::parse(&key.to_hex()).unwrap().0, key.0);
        assert_eq!(MasterKey::parse(&BASE64.encode(&key.0)).unwrap().0, key.0);
        assert!(MasterKey::parse("short").is_err());
    }

    #[test]
    fn parts_of_a_mac_do_not_run_together() {
        let key = MasterKey::generate().derive("mac");
        assert_ne!(key.mac(&[b"ab", b"c"]), key.mac(&[b"a", b"bc"]));
    }
}

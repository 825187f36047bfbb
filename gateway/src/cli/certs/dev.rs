//! Development certificates: an authority made for one certificate, whose key is thrown away as
//! soon as it has signed.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};
use time::OffsetDateTime;

use crate::clock::Timestamp;
use crate::listener::details::{Details, read_pair};

/// What a development certificate is for unless somebody says otherwise.
pub const DEV_HOSTS: [&str; 4] = ["localhost", "*.localhost", "127.0.0.1", "::1"];

const DAY: Duration = Duration::from_secs(86_400);
const LIFETIME: Duration = Duration::from_secs(90 * 86_400);

/// A development certificate and where its files are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DevCertificates {
    /// The authority's certificate, for whoever is to trust the pair.
    pub ca: PathBuf,
    /// The server's certificate, then the authority's.
    pub chain: PathBuf,
    /// The server's key, mode 0600.
    pub key: PathBuf,
    /// Until when it is valid.
    pub not_after: Timestamp,
    /// Whether it was made just now; otherwise a good one was there.
    pub is_new: bool,
}

/// Why there is no development certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertsError {
    /// A folder or file that could not be written.
    #[error("cannot write `{}`: {error}", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// Nothing that could be in a certificate.
    #[error("`{0}` is no host name or address")]
    Host(String),
    /// What rcgen said.
    #[error("cannot make a certificate: {0}")]
    Make(#[from] rcgen::Error),
}

impl DevCertificates {
    fn of(dir: &Path, not_after: Timestamp, is_new: bool) -> Self {
        Self {
            ca: dir.join("ca.pem"),
            chain: dir.join("localhost.pem"),
            key: dir.join("localhost.key"),
            not_after,
            is_new,
        }
    }

    /// What to tell the person who asked for it.
    pub(super) fn summary(&self) -> String {
        let what = if self.is_new {
            "made"
        } else {
            "kept (still good; `--force` replaces it)"
        };
        format!(
            "{what}, valid until {}\n  certificate  {}\n  key          {}\n  to trust it  {}\n",
            self.not_after,
            self.chain.display(),
            self.key.display(),
            self.ca.display(),
        )
    }
}

/// Makes `ca.pem`, `localhost.pem` and `localhost.key` in a folder, for the hosts given (names,
/// `*.` names and addresses; [`DEV_HOSTS`] are usual); a pair there that is good for at least one
/// more day and for all these hosts is left alone.
///
/// # Errors
///
/// [`CertsError`] if a host is none or the folder cannot be written.
pub fn make_dev(dir: &Path, hosts: &[&str], now: Timestamp) -> Result<DevCertificates, CertsError> {
    match good_until(dir, hosts, now) {
        Some(not_after) => Ok(DevCertificates::of(dir, not_after, false)),
        None => remake_dev(dir, hosts, now),
    }
}

/// As [`make_dev`], but replaces whatever is there.
///
/// # Errors
///
/// As [`make_dev`].
pub fn remake_dev(
    dir: &Path,
    hosts: &[&str],
    now: Timestamp,
) -> Result<DevCertificates, CertsError> {
    for host in hosts {
        check_host(host)?;
    }
    // Clocks of browsers may be a little behind.
    let from = date(now.minus(Duration::from_secs(3600)));
    let until = Timestamp::from_millis(now.plus(LIFETIME).as_secs() * 1000);
    let authority = authority(from, date(until))?;
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let leaf = leaf(hosts, from, date(until))?.signed_by(&key, &authority)?;

    let made = DevCertificates::of(dir, until, true);
    fs::create_dir_all(dir).map_err(|error| CertsError::Write {
        path: dir.to_owned(),
        error,
    })?;
    let secret = zeroize::Zeroizing::new(key.serialize_pem());
    write(&made.key, &secret, 0o600)?;
    write(
        &made.chain,
        &format!("{}{}", leaf.pem(), authority.pem()),
        0o644,
    )?;
    write(&made.ca, &authority.pem(), 0o644)?;
    Ok(made)
}

/// Until when the pair in a folder may be left alone, if it may.
fn good_until(dir: &Path, hosts: &[&str], now: Timestamp) -> Option<Timestamp> {
    let there = DevCertificates::of(dir, now, false);
    let chain = read_pair(&there.chain, &there.key).ok()?;
    let details = Details::of(&chain, &there.chain).ok()?;
    // The authority beside it must be the one that signed it.
    let authority = crate::listener::details::read_chain(&there.ca).ok()?;
    let lasts = details.not_before <= now && now.plus(DAY) < details.not_after;
    let named = hosts
        .iter()
        .all(|host| details.names.iter().any(|name| name == host));
    (lasts && named && chain.get(1) == authority.first()).then_some(details.not_after)
}

fn authority(
    from: OffsetDateTime,
    until: OffsetDateTime,
) -> Result<CertifiedIssuer<'static, KeyPair>, CertsError> {
    let mut params = CertificateParams::default();
    name(&mut params, "Portvakt development authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = from;
    params.not_after = until;
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    Ok(CertifiedIssuer::self_signed(params, key)?)
}

fn leaf(
    hosts: &[&str],
    from: OffsetDateTime,
    until: OffsetDateTime,
) -> Result<CertificateParams, CertsError> {
    let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
    let mut params = CertificateParams::new(hosts)?;
    name(&mut params, "Portvakt development server");
    params.use_authority_key_identifier_extension = true;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.not_before = from;
    params.not_after = until;
    Ok(params)
}

fn name(params: &mut CertificateParams, common: &str) {
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common);
}

fn check_host(host: &str) -> Result<(), CertsError> {
    let name = host.strip_prefix("*.").unwrap_or(host);
    let is_address = host.parse::<IpAddr>().is_ok();
    if is_address || crate::config::host_name(name).is_some_and(|normal| normal == name) {
        return Ok(());
    }
    Err(CertsError::Host(host.to_owned()))
}

fn date(moment: Timestamp) -> OffsetDateTime {
    let seconds = i64::try_from(moment.as_secs()).unwrap_or(i64::MAX);
    OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// Writes beside the file and moves it into place: a gateway that watches never sees half of it,
/// and a key is never readable by others, not for a moment.
fn write(path: &Path, text: &str, mode: u32) -> Result<(), CertsError> {
    let fresh = path.with_extension("new");
    let written = fs::remove_file(&fresh)
        .or_else(|error| match error.kind() {
            io::ErrorKind::NotFound => Ok(()),
            _ => Err(error),
        })
        .and_then(|()| {
            OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(mode)
                .open(&fresh)
        })
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .and_then(|()| fs::rename(&fresh, path));
    written.map_err(|error| CertsError::Write {
        path: path.to_owned(),
        error,
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use rustls::pki_types::{ServerName, UnixTime};

    use super::*;

    fn noon() -> Timestamp {
        Timestamp::from_millis(1_795_515_607_000)
    }

    #[test]
    fn a_development_pair_parses_and_matches_its_key() {
        let dir = tempfile::tempdir().unwrap();
        let made = make_dev(dir.path(), &DEV_HOSTS, noon()).unwrap();
        assert!(made.is_new);
        let chain = read_pair(&made.chain, &made.key).unwrap();
        assert_eq!(chain.len(), 2);
        let details = Details::of(&chain, &made.chain).unwrap();
        assert_eq!(details.names, DEV_HOSTS);
        assert_eq!(details.key, "ECDSA P-256");
        assert_eq!(details.issuer, "CN=Portvakt development authority");
        assert_eq!(details.not_after.rfc3339(), "2027-02-22T10:20:07Z");
        assert_eq!(details.sha256.len(), 95);
        let mode = fs::metadata(&made.key).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn who_trusts_the_authority_trusts_the_server() {
        let dir = tempfile::tempdir().unwrap();
        let made = make_dev(dir.path(), &DEV_HOSTS, noon()).unwrap();
        let chain = crate::listener::details::read_chain(&made.chain).unwrap();
        let ca = crate::listener::details::read_chain(&made.ca).unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(ca[0].clone()).unwrap();
        let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = rustls::client::WebPkiServerVerifier::builder_with_provider(
            std::sync::Arc::new(roots),
            provider,
        )
        .build()
        .unwrap();
        let at =
            |moment: Timestamp| UnixTime::since_unix_epoch(Duration::from_secs(moment.as_secs()));
        let verify = |name: &'static str, moment| {
            use rustls::client::danger::ServerCertVerifier as _;
            let name = ServerName::try_from(name).unwrap();
            verifier.verify_server_cert(&chain[0], &chain[1..], &name, &[], at(moment))
        };
        for name in ["localhost", "127.0.0.1", "::1"] {
            assert!(verify(name, noon()).is_ok(), "{name}");
        }
        assert!(verify("example.com", noon()).is_err());
        assert!(verify("localhost", noon().plus(LIFETIME + DAY)).is_err());
    }

    #[test]
    fn a_good_pair_is_left_alone_and_a_bad_one_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let made = make_dev(dir.path(), &DEV_HOSTS, noon()).unwrap();
        let key = fs::read(&made.key).unwrap();

        let kept = make_dev(dir.path(), &["localhost"], noon().plus(DAY)).unwrap();
        assert!(!kept.is_new);
        assert_eq!(kept.not_after, made.not_after);
        assert_eq!(fs::read(&made.key).unwrap(), key);

        assert!(remake_dev(dir.path(), &DEV_HOSTS, noon()).unwrap().is_new);
        assert_ne!(fs::read(&made.key).unwrap(), key);

        let later = noon().plus(LIFETIME);
        assert!(make_dev(dir.path(), &DEV_HOSTS, later).unwrap().is_new);
        assert!(make_dev(dir.path(), &["app.test"], later).unwrap().is_new);
        fs::write(&made.key, &key).unwrap();
        assert!(make_dev(dir.path(), &["app.test"], later).unwrap().is_new);
    }

    #[test]
    fn a_host_that_is_none_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        for host in ["", "a b", "https://localhost", "localhost:8443", "*"] {
            let error = make_dev(dir.path(), &[host], noon()).unwrap_err();
            assert!(matches!(error, CertsError::Host(_)), "{host}");
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}

//! Reading certificates: what one says of itself, and whether a key belongs to it.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest;
use data_encoding::HEXUPPER;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use serde::Serialize;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;
use x509_parser::public_key::PublicKey;
use x509_parser::time::ASN1Time;

use crate::clock::Timestamp;

/// What a certificate says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Details {
    /// Whose it is.
    pub subject: String,
    /// The names and addresses it is for (RFC 5280, section 4.2.1.6).
    pub names: Vec<String>,
    /// Who signed it.
    pub issuer: String,
    /// From when it is valid, RFC 3339.
    #[serde(serialize_with = "as_rfc3339")]
    pub not_before: Timestamp,
    /// Until when it is valid, RFC 3339.
    #[serde(serialize_with = "as_rfc3339")]
    pub not_after: Timestamp,
    /// Its kind of key, such as `ECDSA P-256`.
    pub key: String,
    /// SHA-256 of the whole certificate, in hexadecimal with colons.
    pub sha256: String,
}

/// Why a certificate or its key is of no use.
#[derive(Debug, thiserror::Error)]
pub enum PairError {
    /// Not there, or not ours to read.
    #[error("cannot read `{}`: {error}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// Not a PEM file with a certificate in it.
    #[error("there is no certificate in `{}`", .0.display())]
    NoCertificate(PathBuf),
    /// Something else between the lines of a certificate.
    #[error("a certificate in `{}` is malformed", .0.display())]
    Malformed(PathBuf),
    /// Not a PEM file with a private key in it.
    #[error("there is no private key in `{}`", .0.display())]
    NoKey(PathBuf),
    /// A kind of key that TLS cannot use here.
    #[error("the key in `{}` is of no use for TLS: {error}", path.display())]
    UnusableKey {
        /// Which file.
        path: PathBuf,
        /// What rustls said.
        error: rustls::Error,
    },
    /// The key of another certificate.
    #[error("the key in `{}` does not belong to the certificate in `{}`", key.display(), chain.display())]
    Mismatch {
        /// The certificate's file.
        chain: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
}

/// Reads a PEM chain: at least one certificate, the server's own first.
///
/// # Errors
///
/// [`PairError`] if there is none, or one of them is malformed.
pub fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, PairError> {
    let pem = read(path)?;
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|_| PairError::Malformed(path.to_owned()))?;
    if chain.is_empty() {
        return Err(PairError::NoCertificate(path.to_owned()));
    }
    Ok(chain)
}

/// Reads a chain with its key, and sees that they belong together.
///
/// # Errors
///
/// [`PairError`] if either cannot be read or used, or the key is another certificate's.
pub fn read_pair(chain: &Path, key: &Path) -> Result<Vec<CertificateDer<'static>>, PairError> {
    let certificates = read_chain(chain)?;
    let pem = zeroize::Zeroizing::new(read(key)?);
    let private =
        PrivateKeyDer::from_pem_slice(&pem).map_err(|_| PairError::NoKey(key.to_owned()))?;
    let pair = CertifiedKey::from_der(certificates.clone(), private, &default_provider());
    match pair {
        Ok(_) => Ok(certificates),
        Err(rustls::Error::InconsistentKeys(_)) => Err(PairError::Mismatch {
            chain: chain.to_owned(),
            key: key.to_owned(),
        }),
        Err(rustls::Error::InvalidCertificate(_)) => Err(PairError::Malformed(chain.to_owned())),
        Err(error) => Err(PairError::UnusableKey {
            path: key.to_owned(),
            error,
        }),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, PairError> {
    std::fs::read(path).map_err(|error| PairError::Unreadable {
        path: path.to_owned(),
        error,
    })
}

impl Details {
    /// The details of the first certificate of a chain; `path` is for the error.
    ///
    /// # Errors
    ///
    /// [`PairError`] if there is none or it is malformed.
    pub fn of(chain: &[CertificateDer<'_>], path: &Path) -> Result<Self, PairError> {
        let der = chain
            .first()
            .ok_or_else(|| PairError::NoCertificate(path.to_owned()))?;
        let (_, certificate) =
            X509Certificate::from_der(der).map_err(|_| PairError::Malformed(path.to_owned()))?;
        let validity = certificate.validity();
        Ok(Self {
            subject: printable(&certificate.subject().to_string()),
            names: names(&certificate),
            issuer: printable(&certificate.issuer().to_string()),
            not_before: moment(validity.not_before),
            not_after: moment(validity.not_after),
            key: key(&certificate),
            sha256: fingerprint(der),
        })
    }
}

fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let names = certificate.subject_alternative_name().ok().flatten();
    names
        .into_iter()
        .flat_map(|extension| &extension.value.general_names)
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(printable(name)),
            GeneralName::IPAddress(bytes) => address(bytes),
            _ => None,
        })
        .collect()
}

fn address(bytes: &[u8]) -> Option<String> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Some(Ipv4Addr::from(v4).to_string());
    }
    let v6 = <[u8; 16]>::try_from(bytes).ok()?;
    Some(Ipv6Addr::from(v6).to_string())
}

/// A name from a certificate goes to somebody's terminal: no control characters.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

fn moment(time: ASN1Time) -> Timestamp {
    let seconds = u64::try_from(time.timestamp()).unwrap_or(0);
    Timestamp::from_millis(seconds.saturating_mul(1000))
}

fn key(certificate: &X509Certificate<'_>) -> String {
    let public = certificate.public_key();
    let curve = public
        .algorithm
        .parameters
        .as_ref()
        .and_then(|parameters| parameters.as_oid().ok())
        .map(|oid| oid.to_id_string());
    let algorithm = public.algorithm.algorithm.to_id_string();
    match (public.parsed(), algorithm.as_str()) {
        (_, "1.3.101.112") => "Ed25519".to_owned(),
        (Ok(PublicKey::RSA(key)), _) => format!("RSA {}", key.key_size()),
        (Ok(PublicKey::EC(key)), _) => match curve.as_deref() {
            Some("1.2.840.10045.3.1.7") => "ECDSA P-256".to_owned(),
            Some("1.3.132.0.34") => "ECDSA P-384".to_owned(),
            Some("1.3.132.0.35") => "ECDSA P-521".to_owned(),
            _ => format!("ECDSA {}", key.key_size()),
        },
        _ => format!("algorithm {algorithm}"),
    }
}

fn fingerprint(der: &[u8]) -> String {
    let digest = digest::digest(&digest::SHA256, der);
    let pairs: Vec<String> = digest
        .as_ref()
        .iter()
        .map(|byte| HEXUPPER.encode(&[*byte]))
        .collect();
    pairs.join(":")
}

fn as_rfc3339<S: serde::Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&time.rfc3339())
}

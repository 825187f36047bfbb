//! Certificates: read from PEM files, checked against their keys, and described.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::details::Details;
use crate::clock::Timestamp;
use crate::config::CertificateFiles;
use crate::config::fault::Fault;

/// A chain with the key that belongs to it.
#[derive(Clone, Debug)]
pub struct Certificate {
    key: Arc<CertifiedKey>,
    names: Vec<String>,
    not_before: Timestamp,
    not_after: Timestamp,
}

impl Certificate {
    /// Reads a pair of files.
    ///
    /// # Errors
    ///
    /// A [`Fault`] if a file cannot be read, holds no certificate or key, or the two do not belong
    /// together.
    pub fn load(files: &CertificateFiles) -> Result<Self, Fault> {
        let chain = read_chain(&files.chain)?;
        let key = PrivateKeyDer::from_pem_file(&files.key)
            .map_err(|error| pem_fault(&files.key, "private key", &error))?;
        let key = CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider()).map_err(
            |error| {
                Fault::new(format!(
                    "the key `{}` does not serve the certificate `{}`: {error}",
                    files.key.display(),
                    files.chain.display()
                ))
                .help("give the key that the certificate was issued for")
            },
        )?;
        let leaf = key
            .end_entity_cert()
            .map_err(|error| Fault::new(error.to_string()))?;
        let (_, parsed) = X509Certificate::from_der(leaf).map_err(|error| {
            Fault::new(format!(
                "`{}` holds a damaged certificate: {error}",
                files.chain.display()
            ))
        })?;
        Ok(Self {
            names: dns_names(&parsed),
            not_before: moment(parsed.validity().not_before.timestamp()),
            not_after: moment(parsed.validity().not_after.timestamp()),
            key: Arc::new(key),
        })
    }

    /// The chain with its key, for handshakes.
    #[must_use]
    pub fn key(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.key)
    }

    /// The DNS names that it is for.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// When it begins.
    #[must_use]
    pub const fn not_before(&self) -> Timestamp {
        self.not_before
    }

    /// When it ends.
    #[must_use]
    pub const fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// All that it says of itself; `None` if its chain is empty or damaged, which it was not when
    /// it was loaded.
    #[must_use]
    pub fn details(&self) -> Option<Details> {
        Details::of(&self.key.cert, Path::new("")).ok()
    }

    /// Whether it is valid at a moment.
    #[must_use]
    pub fn is_valid(&self, now: Timestamp) -> bool {
        self.not_before <= now && now < self.not_after
    }
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let chain = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| pem_fault(path, "certificate", &error))?;
    if chain.is_empty() {
        return Err(Fault::new(format!(
            "`{}` holds no certificate",
            path.display()
        )));
    }
    Ok(chain)
}

fn pem_fault(path: &Path, what: &str, error: &rustls::pki_types::pem::Error) -> Fault {
    Fault::new(format!(
        "cannot read a {what} from `{}`: {error}",
        path.display()
    ))
    .help("give a PEM file; `portvakt certs dev --dir certs/dev` makes a pair for development")
}

fn dns_names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let extension = certificate.subject_alternative_name().ok().flatten();
    let names = extension
        .iter()
        .flat_map(|extension| &extension.value.general_names);
    names
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            _ => None,
        })
        .collect()
}

fn moment(seconds: i64) -> Timestamp {
    Timestamp::from_millis(u64::try_from(seconds).unwrap_or(0).saturating_mul(1000))
}

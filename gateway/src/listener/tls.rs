//! TLS: rustls with aws-lc-rs; certificates chosen by SNI, exchanged without dropping a connection.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::crypto::aws_lc_rs;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, SupportedProtocolVersion, version};
use tokio_rustls::TlsAcceptor;

use super::certificates::Certificate;

/// The certificates in force on a listener; swapped whole.
pub struct Certificates(ArcSwap<ByName>);

struct ByName {
    names: HashMap<String, Arc<CertifiedKey>>,
    default: Arc<CertifiedKey>,
}

impl Certificates {
    /// The given pairs, of which there is at least one; the first answers unknown names.
    #[must_use]
    pub fn new(first: &Certificate, others: &[Certificate]) -> Self {
        Self(ArcSwap::from_pointee(ByName::new(first, others)))
    }

    /// Puts other pairs in force, for handshakes from now on.
    pub fn replace(&self, first: &Certificate, others: &[Certificate]) {
        self.0.store(Arc::new(ByName::new(first, others)));
    }
}

impl ByName {
    fn new(first: &Certificate, others: &[Certificate]) -> Self {
        let mut names = HashMap::new();
        for certificate in std::iter::once(first).chain(others) {
            for name in certificate.names() {
                names
                    .entry(name.to_ascii_lowercase())
                    .or_insert_with(|| certificate.key());
            }
        }
        Self {
            names,
            default: first.key(),
        }
    }

    /// An exact name, then a wildcard for its first label (RFC 9525, section 6.3), then the first pair.
    fn find(&self, name: Option<&str>) -> Arc<CertifiedKey> {
        let found = name.and_then(|name| {
            let name = name.to_ascii_lowercase();
            self.names.get(&name).or_else(|| {
                let (_, parent) = name.split_once('.')?;
                self.names.get(&format!("*.{parent}"))
            })
        });
        Arc::clone(found.unwrap_or(&self.default))
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.load().names.keys()).finish()
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load().find(hello.server_name()))
    }
}

/// The versions that are spoken, the newest first.
const VERSIONS: &[&SupportedProtocolVersion] = &[&version::TLS13, &version::TLS12];

/// What every acceptor offers, in the names of the IANA registries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offered {
    /// Versions, the newest first.
    pub protocols: Vec<String>,
    /// Suites, the one liked best first.
    pub suites: Vec<String>,
    /// Groups of the key exchange, the one liked best first.
    pub groups: Vec<String>,
}

/// What an [`acceptor`] offers, read from what it is built of.
#[must_use]
pub fn offered() -> Offered {
    let provider = aws_lc_rs::default_provider();
    let name = |debug: String| debug.replace("TLSv1_", "TLS 1.").replace("TLS13_", "TLS_");
    let suites = provider.cipher_suites.iter();
    let groups = provider.kx_groups.iter();
    Offered {
        protocols: VERSIONS
            .iter()
            .map(|one| name(format!("{:?}", one.version)))
            .collect(),
        suites: suites
            .map(|suite| name(format!("{:?}", suite.suite())))
            .collect(),
        groups: groups.map(|group| format!("{:?}", group.name())).collect(),
    }
}

/// An acceptor for TLS 1.2 and 1.3, X25519MLKEM768 first, HTTP/2 and HTTP/1.1 by ALPN, session
/// tickets under rotating keys, no early data.
///
/// # Errors
///
/// [`rustls::Error`] if the provider cannot serve these versions or make tickets.
pub fn acceptor(certificates: Arc<Certificates>) -> Result<TlsAcceptor, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(VERSIONS)?
        .with_no_client_auth()
        .with_cert_resolver(certificates);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.ticketer = aws_lc_rs::Ticketer::new()?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

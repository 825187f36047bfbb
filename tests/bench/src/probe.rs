//! A TLS client that only shakes hands, and one that holds connections open.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs::{self, kx_group};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned};

use crate::Failure;
use crate::process;

/// How a handshake begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shake {
    /// TLS 1.3, X25519.
    Full,
    /// TLS 1.3, X25519MLKEM768.
    PostQuantum,
    /// From a ticket, X25519; with the request that brings the next ticket.
    Resumed,
}

/// A client of one contender.
#[derive(Debug)]
pub struct Probe<'a> {
    pub port: u16,
    pub cookie: &'a str,
    pub authority: &'a Path,
}

type Tls = StreamOwned<ClientConnection, TcpStream>;

impl Probe<'_> {
    /// What a handshake costs the contender, in microseconds of CPU time.
    pub fn handshakes(&self, shake: Shake, count: u32, pids: &[u32]) -> Result<f64, Failure> {
        let config = self.config(shake)?;
        if shake == Shake::Resumed {
            // The first one brings the tickets.
            self.request(&mut self.connect(&config)?)?;
        }
        let before = process::cpu(pids)?;
        for _ in 0..count {
            let mut stream = self.connect(&config)?;
            let expected = match shake {
                Shake::Resumed => HandshakeKind::Resumed,
                _ => HandshakeKind::Full,
            };
            if stream.conn.handshake_kind() != Some(expected) {
                let found = stream.conn.handshake_kind();
                return Err(format!("a handshake was {found:?}, not {expected:?}").into());
            }
            if shake == Shake::Resumed {
                self.request(&mut stream)?;
            }
            stream.conn.send_close_notify();
            let _ = stream.flush();
        }
        // What they left behind is theirs.
        std::thread::sleep(Duration::from_millis(50));
        let spent = process::cpu(pids)? - before;
        Ok(spent.as_secs_f64() * 1e6 / f64::from(count))
    }

    /// What an idle connection takes after one request, in bytes.
    pub fn idle(&self, count: usize, pids: &[u32]) -> Result<f64, Failure> {
        let config = self.config(Shake::Full)?;
        let mut held = Vec::with_capacity(count);
        // What the first ones bring, pools and arenas, is no connection's.
        for _ in 0..200 {
            held.push(self.connect(&config)?);
            held.iter_mut()
                .last()
                .map(|stream| self.request(stream))
                .transpose()?;
        }
        let before = process::memory(pids)?;
        for _ in 0..count {
            let mut stream = self.connect(&config)?;
            self.request(&mut stream)?;
            held.push(stream);
        }
        std::thread::sleep(Duration::from_millis(300));
        let after = process::memory(pids)?;
        Ok(after.saturating_sub(before) as f64 / count as f64)
    }

    fn config(&self, shake: Shake) -> Result<Arc<ClientConfig>, Failure> {
        let group: &'static dyn SupportedKxGroup = match shake {
            Shake::PostQuantum => kx_group::X25519MLKEM768,
            Shake::Full | Shake::Resumed => kx_group::X25519,
        };
        let provider = CryptoProvider {
            kx_groups: vec![group],
            ..aws_lc_rs::default_provider()
        };
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(self.authority)? {
            roots.add(certificate?)?;
        }
        let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        if shake != Shake::Resumed {
            config.resumption = Resumption::disabled();
        }
        Ok(Arc::new(config))
    }

    fn connect(&self, config: &Arc<ClientConfig>) -> Result<Tls, Failure> {
        let address = SocketAddr::from(([127, 0, 0, 1], self.port));
        let mut socket = TcpStream::connect(address)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(Duration::from_secs(10)))?;
        let name = ServerName::try_from("localhost")?;
        let mut connection = ClientConnection::new(Arc::clone(config), name)?;
        while connection.is_handshaking() {
            connection.complete_io(&mut socket)?;
        }
        Ok(StreamOwned::new(connection, socket))
    }

    /// One request, answered 200 with a body of 1,024 bytes.
    fn request(&self, stream: &mut Tls) -> Result<(), Failure> {
        let request = format!(
            "GET /projects/1 HTTP/1.1\r\nHost: localhost:{}\r\nCookie: {}\r\n\r\n",
            self.port, self.cookie
        );
        stream.write_all(request.as_bytes())?;
        let mut answer = Vec::new();
        let mut part = [0; 4096];
        loop {
            let read = stream.read(&mut part)?;
            if read == 0 {
                return Err("the connection ended before its answer".into());
            }
            answer.extend_from_slice(part.get(..read).unwrap_or_default());
            let head = answer.windows(4).position(|four| four == b"\r\n\r\n");
            if head.is_some_and(|head| answer.len() >= head + 4 + 1024) {
                break;
            }
        }
        match answer.starts_with(b"HTTP/1.1 200") {
            true => Ok(()),
            false => Err(String::from_utf8_lossy(&answer).into()),
        }
    }
}

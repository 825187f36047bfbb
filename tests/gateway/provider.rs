//! An SMS provider for the tests: it reads HTTP by itself, keeps every byte, and answers whatever
//! the test wants.

use std::collections::VecDeque;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use data_encoding::{BASE64, HEXLOWER};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// What the provider does with a request that it has read.
#[derive(Clone, Debug)]
pub(crate) enum Does {
    /// Answers with a status line, further header lines, and a body.
    Answer(&'static str, &'static str, String),
    /// Closes the connection without a word.
    HangUp,
    /// Keeps silent.
    Nothing,
}

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Received {
    /// The header lines, sorted.
    pub(crate) fn headers(&self) -> Vec<&str> {
        let mut lines: Vec<&str> = self.head.split("\r\n").skip(1).collect();
        lines.sort_unstable();
        lines
    }

    /// The value of a header.
    pub(crate) fn header(&self, name: &str) -> &str {
        let mut lines = self
            .headers()
            .into_iter()
            .filter_map(|l| l.split_once(": "));
        lines.find(|(own, _)| *own == name).unwrap().1
    }

    /// The form's fields in their order, decoded.
    pub(crate) fn form(&self) -> Vec<(String, String)> {
        form_urlencoded::parse(self.body.as_bytes())
            .into_owned()
            .collect()
    }
}

/// A provider on a port of its own.
#[derive(Clone)]
pub(crate) struct Provider {
    pub(crate) address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
    script: Arc<Mutex<VecDeque<Does>>>,
    otherwise: Does,
}

impl Provider {
    /// Does what the script says, request by request, and then `otherwise`.
    pub(crate) async fn start(script: impl IntoIterator<Item = Does>, otherwise: Does) -> Self {
        Self::listen(script, otherwise, None).await
    }

    /// The same behind TLS, with the development certificate in a folder.
    pub(crate) async fn start_tls(certificates: &Path, otherwise: Does) -> Self {
        let read = |name: &str| std::fs::read(certificates.join(name)).unwrap();
        let chain = CertificateDer::pem_slice_iter(&read("localhost.pem"))
            .map(Result::unwrap)
            .collect();
        let key = PrivateKeyDer::from_pem_slice(&read("localhost.key")).unwrap();
        let config = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        Self::listen([], otherwise, Some(TlsAcceptor::from(Arc::new(config)))).await
    }

    async fn listen(
        script: impl IntoIterator<Item = Does>,
        otherwise: Does,
        tls: Option<TlsAcceptor>,
    ) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let provider = Self {
            address: listener.local_addr().unwrap(),
            received: Arc::default(),
            script: Arc::new(Mutex::new(script.into_iter().collect())),
            otherwise,
        };
        let own = provider.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                match tls.clone() {
                    None => drop(tokio::spawn(own.clone().serve(stream))),
                    Some(tls) => {
                        let own = own.clone();
                        tokio::spawn(async move {
                            if let Ok(stream) = tls.accept(stream).await {
                                own.serve(stream).await;
                            }
                        });
                    }
                }
            }
        });
        provider
    }

    async fn serve(self, mut stream: impl AsyncRead + AsyncWrite + Unpin) {
        let Some(received) = read(&mut stream).await else {
            return;
        };
        self.received.lock().unwrap().push(received);
        let does = self.script.lock().unwrap().pop_front();
        match does.unwrap_or_else(|| self.otherwise.clone()) {
            Does::Answer(status, more, body) => {
                let length = body.len();
                let answer = format!(
                    "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n{more}\r\n{body}"
                );
                let _ = stream.write_all(answer.as_bytes()).await;
                let _ = stream.shutdown().await;
            }
            Does::HangUp => {}
            Does::Nothing => std::future::pending().await,
        }
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    /// The requests, once there are so many.
    pub(crate) async fn after(&self, count: usize) -> Vec<Received> {
        for _ in 0..1_000 {
            let received = self.received();
            if received.len() >= count {
                return received;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{} requests came, not {count}", self.received().len());
    }
}

async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Option<Received> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let n = stream.read(&mut buffer).await.ok().filter(|n| *n > 0)?;
        bytes.extend_from_slice(&buffer[..n]);
        let text = String::from_utf8(bytes.clone()).ok()?;
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head.split("\r\n").find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            (name == "content-length").then(|| value.parse::<usize>().unwrap())
        });
        if body.len() >= length.unwrap_or(0) {
            return Some(Received {
                head: head.to_owned(),
                body: body.to_owned(),
            });
        }
    }
}

/// What Twilio says to a message that it has taken.
pub(crate) fn created() -> Does {
    let body = r#"{"account_sid":"AC0123456789abcdef0123456789abcdef","api_version":"2010-04-01","body":"…","date_created":"Tue, 24 Nov 2026 10:20:07 +0000","date_sent":null,"date_updated":"Tue, 24 Nov 2026 10:20:07 +0000","direction":"outbound-api","error_code":null,"error_message":null,"from":"+15017122661","messaging_service_sid":null,"num_media":"0","num_segments":"1","price":null,"price_unit":null,"sid":"SM0123456789abcdef0123456789abcdef","status":"queued","subresource_uris":{"media":"/2010-04-01/Accounts/AC0123456789abcdef0123456789abcdef/Messages/SM0123456789abcdef0123456789abcdef/Media.json"},"to":"+4790000001","uri":"/2010-04-01/Accounts/AC0123456789abcdef0123456789abcdef/Messages/SM0123456789abcdef0123456789abcdef.json"}"#;
    Does::Answer("201 Created", "", body.to_owned())
}

/// What Twilio says to a message that it does not take.
pub(crate) fn refused(status: &'static str, code: u32) -> Does {
    let number = status.split(' ').next().unwrap();
    let body = format!(
        r#"{{"code":{code},"message":"The 'To' number +4790000001 is not valid","more_info":"https://www.twilio.com/docs/errors/{code}","status":{number}}}"#
    );
    Does::Answer(status, "", body)
}

/// HMAC by another hand than ours: OpenSSL's command.
pub(crate) fn hmac(digest: &str, key: &str, text: &str) -> Vec<u8> {
    let mut openssl = Command::new("openssl")
        .args(["dgst", digest, "-mac", "HMAC", "-macopt"])
        .arg(format!("hexkey:{}", HEXLOWER.encode(key.as_bytes())))
        .arg("-binary")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("openssl is installed");
    let mut input = openssl.stdin.take().unwrap();
    input.write_all(text.as_bytes()).unwrap();
    drop(input);
    openssl.wait_with_output().unwrap().stdout
}

/// The value of `X-Twilio-Signature` for a form to a URL.
pub(crate) fn twilio_signature(token: &str, url: &str, form: &[(&str, &str)]) -> String {
    let mut fields = form.to_vec();
    fields.sort_unstable();
    let fields: String = fields
        .iter()
        .flat_map(|(name, value)| [*name, *value])
        .collect();
    BASE64.encode(&hmac("-sha1", token, &format!("{url}{fields}")))
}

//! An application that writes down what reaches it, byte for byte, and answers as it is told.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::house::House;

/// What reached the application.
#[derive(Clone, Debug)]
pub(crate) struct Recorded {
    pub(crate) line: String,
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Recorded {
    /// Every value of the fields whose name folds to this one.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let fold = |text: &str| text.to_ascii_lowercase().replace('_', "-");
        let fields = self.fields.iter();
        fields
            .filter(|(own, _)| fold(own) == name)
            .map(|(_, value)| value.as_str())
            .collect()
    }

    pub(crate) fn target(&self) -> &str {
        self.line.split(' ').nth(1).unwrap_or_default()
    }
}

type Answer = Box<dyn Fn(&Recorded) -> Vec<u8> + Send + Sync>;

/// The application.
pub(crate) struct Recorder {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<Recorded>>>,
}

impl Recorder {
    /// Answers every request with `answer`'s bytes, and closes.
    pub(crate) async fn start(
        answer: impl Fn(&Recorded) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (log, answer): (_, Arc<Answer>) = (Arc::clone(&seen), Arc::new(Box::new(answer)));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (log, answer) = (Arc::clone(&log), Arc::clone(&answer));
                tokio::spawn(async move {
                    let mut stream = stream;
                    if let Some(recorded) = read(&mut stream).await {
                        let bytes = answer(&recorded);
                        log.lock().unwrap().push(recorded);
                        let _ = stream.write_all(&bytes).await;
                        let _ = stream.shutdown().await;
                    }
                });
            }
        });
        Self { address, seen }
    }

    /// Answers `200` with these header lines, each ending in CRLF.
    pub(crate) async fn with_fields(fields: impl Into<String>) -> Self {
        let fields = fields.into();
        Self::start(move |_| ok(&fields)).await
    }

    /// A gateway before it: `keys` go into its `[[upstream]]`, `routes` is the route table.
    pub(crate) async fn house(&self, keys: &str, routes: &str) -> House {
        let address = self.address;
        let change = |config: &mut String| {
            let start = config.find("addresses = [").unwrap();
            let end = start + config[start..].find('\n').unwrap();
            let line = format!("addresses = [\"http://{address}\"]\n{keys}\n");
            config.replace_range(start..end, &line);
        };
        House::open_on(change, &[("routes.toml", routes)], None).await
    }

    /// Everything that has reached it.
    pub(crate) fn seen(&self) -> Vec<Recorded> {
        self.seen.lock().unwrap().clone()
    }

    /// The newest that has reached it.
    pub(crate) fn last(&self) -> Recorded {
        self.seen()
            .pop()
            .expect("something reached the application")
    }
}

/// The values of a field in the head of an answer that came raw.
pub(crate) fn fields(answer: &[u8], name: &str) -> Vec<String> {
    let text = String::from_utf8_lossy(answer).into_owned();
    let head = text.split("\r\n\r\n").next().unwrap_or_default();
    let lines = head.lines().filter_map(|line| line.split_once(':'));
    lines
        .filter(|(own, _)| own.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim().to_owned())
        .collect()
}

/// An answer `200` with these header lines.
pub(crate) fn ok(fields: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n{fields}\r\nok")
        .into_bytes()
}

async fn read(stream: &mut TcpStream) -> Option<Recorded> {
    let mut bytes = Vec::new();
    let head = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let text = String::from_utf8_lossy(&bytes[..head]).into_owned();
    let mut lines = text.trim_end().split("\r\n");
    let line = lines.next()?.to_owned();
    let fields: Vec<_> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect();
    let mut body = bytes.split_off(head);
    let value = |wanted: &str| {
        let found = fields
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(wanted));
        found.map(|(_, value)| value.clone())
    };
    let length: Option<usize> = value("content-length").and_then(|text| text.parse().ok());
    let chunked = value("transfer-encoding").is_some();
    let done = |body: &[u8]| match length {
        Some(length) => body.len() >= length,
        None => !chunked || body.ends_with(b"0\r\n\r\n"),
    };
    while !done(&body) {
        if stream.read_buf(&mut body).await.ok()? == 0 {
            break;
        }
    }
    Some(Recorded {
        line,
        fields,
        body: String::from_utf8_lossy(&body).into_owned(),
    })
}

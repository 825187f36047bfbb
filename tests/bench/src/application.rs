//! The application behind every contender: 1 KiB of JSON that says whose the project is, as fast as
//! a socket can be written. It counts what it answers, so that a contender's work can be divided
//! by it between any two moments.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::Failure;

/// A running application.
#[derive(Clone, Debug)]
pub struct Application {
    pub address: SocketAddr,
    answered: Arc<AtomicU64>,
}

impl Application {
    /// Starts it on a thread of its own.
    pub fn start() -> Result<Self, Failure> {
        let answered = Arc::new(AtomicU64::new(0));
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let counted = Arc::clone(&answered);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        thread::spawn(move || {
            runtime.block_on(async move {
                let Ok(listener) = TcpListener::from_std(listener) else {
                    return;
                };
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(serve(stream, Arc::clone(&counted)));
                }
            });
        });
        Ok(Self { address, answered })
    }

    /// How many requests it has answered.
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }
}

/// One answer for every request: the load has no bodies, so that a head ends with an empty line.
async fn serve(mut stream: TcpStream, answered: Arc<AtomicU64>) {
    let _ = stream.set_nodelay(true);
    let answer = answer();
    let mut held = Vec::with_capacity(8192);
    loop {
        while let Some(end) = held.windows(4).position(|four| four == b"\r\n\r\n") {
            held.drain(..end + 4);
            answered.fetch_add(1, Ordering::Relaxed);
            if stream.write_all(&answer).await.is_err() {
                return;
            }
        }
        if !matches!(stream.read_buf(&mut held).await, Ok(1..)) {
            return;
        }
    }
}

fn answer() -> Vec<u8> {
    let head = r#"{"id":1,"company_id":"fjord","owner_id":"u-kari","description":""#;
    let tail = "\"}";
    let fill = "x".repeat(1024 - head.len() - tail.len());
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1024\r\n\r\n{head}{fill}{tail}"
    )
    .into_bytes()
}

//! What streams: a project followed over a WebSocket, downloads and uploads of any size.

use std::convert::Infallible;
use std::sync::LazyLock;

use axum::body::{Body, BodyDataStream};
use axum::extract::ws::{Message, WebSocket};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use tokio::sync::watch;

use super::model::Project;

/// Sends the project now and after each change, and every text back as `{"echo":…}`, until
/// the peer leaves, the project is deleted or the service stops.
pub(super) async fn follow(
    mut socket: WebSocket,
    mut project: watch::Receiver<Project>,
    mut stopping: watch::Receiver<bool>,
) {
    project.mark_changed();
    loop {
        let answer = tokio::select! {
            change = project.changed() => match change {
                Ok(()) => json(&*project.borrow_and_update()),
                Err(_) => break,
            },
            message = socket.recv() => match message {
                Some(Ok(Message::Text(text))) => json(&serde_json::json!({ "echo": text.as_str() })),
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                Some(Ok(_)) => continue,
            },
            _ = stopping.wait_for(|stopping| *stopping) => break,
        };
        if socket.send(Message::Text(answer.into())).await.is_err() {
            return;
        }
    }
    // The peer may be gone already: then there is no one to say goodbye to.
    let _ = socket.send(Message::Close(None)).await;
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// The pattern's period: a prime, so that no power of two hides a shifted block.
const PERIOD: u64 = 251;

/// How much of the pattern is sent at once.
const CHUNK: u64 = 64 * 1024;

/// The pattern once, long enough to be cut at any phase.
static PATTERN: LazyLock<Bytes> = LazyLock::new(|| {
    (0..CHUNK + PERIOD)
        .map(|at| u8::try_from(at % PERIOD).unwrap_or_default())
        .collect::<Vec<u8>>()
        .into()
});

/// `length` bytes of the pattern, of which byte `n` is `n mod 251`; none are held.
pub(super) fn download(length: u64) -> Body {
    Body::from_stream(pattern(length))
}

/// The pattern, chunk by chunk.
pub fn pattern(length: u64) -> impl Stream<Item = Result<Bytes, Infallible>> + Send {
    stream::iter((0..length).step_by(64 * 1024)).map(move |at| {
        let from = at % PERIOD;
        let until = from + CHUNK.min(length - at);
        let cut = |at: u64| usize::try_from(at).unwrap_or_default();
        Ok(PATTERN.slice(cut(from)..cut(until)))
    })
}

/// Reads a body to its end, and tells its length and checksum.
pub(super) async fn upload(mut body: BodyDataStream) -> Result<Checksum, axum::Error> {
    let mut checksum = Checksum::default();
    while let Some(chunk) = body.next().await {
        checksum.add(&chunk?);
    }
    Ok(checksum)
}

/// A checksum that is cheap rather than strong: it tells a transfer that lost, doubled or moved
/// bytes from one that did not, and does not depend on how the bytes were cut into chunks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Checksum {
    length: u64,
    state: u64,
    /// Fewer than eight bytes that wait for the rest of their word.
    rest: [u8; 8],
}

impl Checksum {
    /// Takes the next bytes.
    pub fn add(&mut self, mut bytes: &[u8]) {
        let mut filled = self.filled();
        self.length += bytes.len() as u64;
        while filled > 0
            && let Some((byte, later)) = bytes.split_first()
        {
            if let Some(place) = self.rest.get_mut(filled) {
                *place = *byte;
            }
            bytes = later;
            filled = (filled + 1) % 8;
            if filled == 0 {
                self.state = mix(self.state, self.rest);
            }
        }
        let (words, rest) = bytes.as_chunks::<8>();
        self.state = words
            .iter()
            .fold(self.state, |state, word| mix(state, *word));
        for (place, byte) in self.rest.iter_mut().zip(rest) {
            *place = *byte;
        }
    }

    /// How many bytes there were.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.length
    }

    /// 16 hexadecimal digits.
    #[must_use]
    pub fn digest(&self) -> String {
        let mut rest = [0; 8];
        for (place, byte) in rest.iter_mut().zip(self.rest).take(self.filled()) {
            *place = byte;
        }
        let state = mix(mix(self.state, rest), self.length.to_le_bytes());
        format!("{state:016x}")
    }

    fn filled(&self) -> usize {
        usize::try_from(self.length % 8).unwrap_or_default()
    }
}

/// One step of the multiply-and-rotate hash that Firefox uses for its tables.
fn mix(state: u64, word: [u8; 8]) -> u64 {
    (state.rotate_left(5) ^ u64::from_le_bytes(word)).wrapping_mul(0x517c_c1b7_2722_0a95)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(chunks: &[&[u8]]) -> String {
        let mut checksum = Checksum::default();
        for chunk in chunks {
            checksum.add(chunk);
        }
        assert_eq!(
            checksum.length(),
            chunks.iter().map(|c| c.len() as u64).sum::<u64>()
        );
        checksum.digest()
    }

    #[test]
    fn a_checksum_depends_on_the_bytes_and_not_on_the_chunks() {
        let bytes: Vec<u8> = (0..100).collect();
        let whole = digest(&[&bytes]);
        for size in 1..=23 {
            assert_eq!(
                digest(&bytes.chunks(size).collect::<Vec<_>>()),
                whole,
                "{size}"
            );
        }
        let mut swapped = bytes.clone();
        swapped.swap(3, 4);
        assert_ne!(digest(&[&swapped]), whole);
        assert_ne!(digest(&[&bytes[..99]]), whole);
        assert_ne!(digest(&[&[0]]), digest(&[&[0, 0]]));
        assert_ne!(digest(&[&[0]]), digest(&[]));
    }

    #[tokio::test]
    async fn the_pattern_is_what_it_says_to_the_byte() {
        for length in [0, 1, 250, 252, CHUNK, CHUNK + 1, 3 * CHUNK + 17] {
            let bytes: Vec<u8> = pattern(length)
                .map(|chunk| chunk.unwrap())
                .collect::<Vec<_>>()
                .await
                .concat();
            assert_eq!(bytes.len() as u64, length);
            assert!(
                bytes
                    .iter()
                    .zip(0..)
                    .all(|(byte, at): (_, u64)| u64::from(*byte) == at % PERIOD)
            );
        }
    }
}

//! Bodies that stream, sockets that upgrade, upstreams that fail half-way.

use std::process::Stdio;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use reqwest::StatusCode;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest};

use crate::house::{House, KARI, OLA, status};

const GIB: u64 = 1024 * 1024 * 1024;

/// The gateway as a process of its own, on the house's configuration and state.
async fn in_a_process(house: &mut House) -> Child {
    house.gateway.take().unwrap().stop().await;
    let child = Command::new(env!("CARGO_BIN_EXE_portvakt"))
        .args(["run", "--config"])
        .arg(house.config_file())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    for _ in 0..200 {
        if tokio::net::TcpStream::connect(("127.0.0.1", house.port))
            .await
            .is_ok()
        {
            return child;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the gateway did not start");
}

/// The most memory that a process has held, in MiB.
fn high_water(child: &Child) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{}/status", child.id().unwrap())).unwrap();
    let line = text
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    line.split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<u64>()
        .unwrap()
        / 1024
}

#[tokio::test]
async fn a_gibibyte_up_and_down_in_less_than_64_mib() {
    let mut house = House::open().await;
    let cookie = house.session_cookie(KARI).await;
    let child = in_a_process(&mut house).await;
    for version in ["HTTP/1.1", "HTTP/2"] {
        let browser = house.browser_over(|builder| {
            let builder = builder
                .cookie_store(false)
                .timeout(Duration::from_secs(300));
            if version == "HTTP/2" {
                builder.http2_prior_knowledge()
            } else {
                builder.http1_only()
            }
        });
        let path = format!("/projects/1/download?bytes={GIB}");
        let answer = browser
            .get(house.url(&path))
            .header("cookie", &cookie)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        let mut received = 0;
        let mut stream = answer.bytes_stream();
        while let Some(chunk) = stream.next().await {
            received += chunk.unwrap().len() as u64;
        }
        assert_eq!(received, GIB, "{version}");

        let chunk = bytes::Bytes::from(vec![b'x'; 64 * 1024]);
        let chunks =
            (0..GIB / chunk.len() as u64).map(move |_| Ok::<_, std::io::Error>(chunk.clone()));
        let body = reqwest::Body::wrap_stream(futures_util::stream::iter(chunks));
        let answer = browser
            .post(house.url("/projects/1/upload"))
            .header("cookie", &cookie)
            .body(body)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        let told: Value = answer.json().await.unwrap();
        assert_eq!(told["bytes"], GIB, "{version}");
        let held = high_water(&child);
        println!("{version}: a GiB down and a GiB up; at most {held} MiB resident");
        assert!(held < 64, "{held} MiB resident after {version}");
    }
}

#[tokio::test]
async fn a_websocket_opens_for_the_owner_and_closes_with_the_session() {
    let house = House::open().await;
    let connect = |cookie: String, origin: Option<&'static str>| {
        let mut request = format!("wss://localhost:{}/projects/1/live", house.port)
            .into_client_request()
            .unwrap();
        request
            .headers_mut()
            .insert("cookie", cookie.parse().unwrap());
        if let Some(origin) = origin {
            request
                .headers_mut()
                .insert("origin", origin.parse().unwrap());
        }
        let tls = house.tls(&[b"http/1.1"]);
        async move { tokio_tungstenite::client_async(request, tls.await).await }
    };
    let kari = house.session_cookie(KARI).await;
    let (mut socket, _) = connect(kari.clone(), None).await.unwrap();
    let first = socket.next().await.unwrap().unwrap();
    assert!(first.to_text().unwrap().contains("\"owner_id\""), "{first}");
    socket.send(Message::text("hello")).await.unwrap();
    let echoed = socket.next().await.unwrap().unwrap();
    assert!(echoed.to_text().unwrap().contains("hello"), "{echoed}");

    let refused = |outcome: Result<_, tokio_tungstenite::tungstenite::Error>| match outcome {
        Err(tokio_tungstenite::tungstenite::Error::Http(answer)) => answer.status().as_u16(),
        other => panic!(
            "not refused: {:?}",
            other.map(|(_, answer): (_, http::Response<_>)| answer)
        ),
    };
    let ola = house.session_cookie(OLA).await;
    assert_eq!(refused(connect(ola, None).await), 403, "frames are writes");
    assert_eq!(
        refused(connect(kari.clone(), Some("https://evil.example")).await),
        403
    );
    assert_eq!(refused(connect(String::new(), None).await), 401);

    house
        .browser()
        .post(house.url("/.portvakt/logout"))
        .header("accept", "application/json")
        .header("content-type", "application/json")
        .header("cookie", kari)
        .send()
        .await
        .unwrap();
    let closed = tokio::time::timeout(Duration::from_secs(1), async {
        while let Some(Ok(message)) = socket.next().await {
            if message.is_close() {
                break;
            }
        }
    });
    closed
        .await
        .expect("the socket closes within a second of the logout");
}

/// An upstream that answers every connection with the same bytes, and then closes.
async fn canned(answer: &'static [u8]) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut buffer = [0; 4096];
                let _ = stream.read(&mut buffer).await;
                let _ = stream.write_all(answer).await;
            });
        }
    });
    address
}

/// A house whose upstream is another, on a public route so that no facts are asked for.
pub(crate) async fn before(upstream: std::net::SocketAddr) -> House {
    let house = House::open_with(
        |config| {
            let line = config
                .lines()
                .find(|line| line.starts_with("addresses"))
                .unwrap()
                .to_owned();
            let more = format!("addresses = [\"http://{upstream}\"]\nresponse_timeout = \"1s\"");
            *config = config.replace(&line, &more);
        },
        None,
    )
    .await;
    let routes = house.policies().join("routes.toml");
    let text = std::fs::read_to_string(&routes).unwrap();
    let public = "\n[[route]]\nmatch = \"GET /open/**\"\npublic = true\nreason = \"a test\"\n";
    std::fs::write(&routes, text + public).unwrap();
    house.gateway.as_ref().unwrap().reload().await;
    house
}

#[tokio::test]
async fn an_upstream_that_fails_is_told_apart() {
    for (answer, expected) in [
        (&b""[..], 502),
        (b"nonsense\r\n\r\n", 502),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200),
        (
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
            502,
        ),
    ] {
        let house = before(canned(answer).await).await;
        let got = house
            .raw(b"GET /open/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .await;
        assert_eq!(
            status(&got),
            expected,
            "{:?}",
            String::from_utf8_lossy(answer)
        );
    }
}

#[tokio::test]
async fn a_slow_upstream_is_a_504() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let house = before(listener.local_addr().unwrap()).await;
    let answer = house
        .browser()
        .get(house.url("/open/x"))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), StatusCode::GATEWAY_TIMEOUT);
}

#[tokio::test]
async fn a_transfer_that_breaks_off_never_ends_cleanly() {
    let truncated = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\npart";
    let house = before(canned(truncated).await).await;
    for version in ["1", "2"] {
        let browser = house.browser_over(|builder| {
            if version == "2" {
                builder.http2_prior_knowledge()
            } else {
                builder.http1_only()
            }
        });
        let answer = browser.get(house.url("/open/x")).send().await.unwrap();
        assert!(answer.bytes().await.is_err(), "HTTP/{version}");
    }
}

#[tokio::test]
async fn responses_with_many_fields_pass() {
    use std::fmt::Write;
    let mut text = String::from("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n");
    for number in 0..200 {
        write!(text, "X-Field-{number}: 1\r\n").unwrap();
    }
    text.push_str("\r\nok");
    let house = before(canned(Box::leak(text.into_bytes().into_boxed_slice())).await).await;
    let answer = house
        .browser()
        .get(house.url("/open/x"))
        .send()
        .await
        .unwrap();
    assert_eq!(
        answer
            .headers()
            .iter()
            .filter(|(name, _)| name.as_str().starts_with("x-field-"))
            .count(),
        200
    );
}

#[tokio::test]
async fn expect_is_answered_and_a_refused_body_is_not_asked_for() {
    let house = House::open().await;
    let (kari, ola) = (
        house.session_cookie(KARI).await,
        house.session_cookie(OLA).await,
    );
    for (cookie, first) in [(kari, "HTTP/1.1 100"), (ola, "HTTP/1.1 403")] {
        let mut stream = house.tls(&[b"http/1.1"]).await;
        let head = format!(
            "PATCH /projects/1 HTTP/1.1\r\nHost: localhost\r\nCookie: {cookie}\r\nContent-Type: application/json\r\n\
             Content-Length: 12\r\nExpect: 100-continue\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut buffer = [0; 64];
        let n = stream.read(&mut buffer).await.unwrap();
        assert!(
            buffer[..n].starts_with(first.as_bytes()),
            "{}",
            String::from_utf8_lossy(&buffer[..n])
        );
    }
}

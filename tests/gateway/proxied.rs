//! Behind a load balancer that speaks the PROXY protocol: the client is whom a listed peer names,
//! and nobody else can name anyone.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::house::{House, free_port, status};
use crate::recorder::Recorder;

const ROUTES: &str = "\n[[route]]\nmatch  = \"GET /open/**\"\npublic = true\n";
const REQUEST: &str = "GET /open/x HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 198.51.100.66\r\n\
                       X-Request-Id: 0123456789abcdef0123456789abcdef\r\nConnection: close\r\n\r\n";
const LINE: &[u8] = b"PROXY TCP4 203.0.113.9 127.0.0.1 4660 443\r\n";

/// A listener that is spoken to in the PROXY protocol by `proxies`; without TLS if `plain`.
async fn house(application: &Recorder, proxies: &str, plain: bool) -> House {
    let address = application.address;
    House::open_on(
        |config| {
            let start = config.find("addresses = [").unwrap();
            let end = start + config[start..].find('\n').unwrap();
            config.replace_range(start..end, &format!("addresses = [\"http://{address}\"]"));
            let keys = format!("proxy_protocol = true\ntrusted_proxies = [{proxies}]\n");
            let tls = "tls = \"default\"\n";
            let with = if plain { keys } else { format!("{tls}{keys}") };
            *config = config.replacen(tls, &with, 1);
        },
        &[("routes.toml", ROUTES)],
        None,
    )
    .await
}

async fn ask(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &str) -> Vec<u8> {
    let _ = stream.write_all(request.as_bytes()).await;
    let mut answer = Vec::new();
    let reading = stream.read_to_end(&mut answer);
    let _ = tokio::time::timeout(Duration::from_secs(5), reading).await;
    answer
}

/// A header in pieces, then TLS, then a request; nothing if the gateway closes before.
async fn answered(house: &House, header: &[u8], piece: usize) -> Vec<u8> {
    let address = ("127.0.0.1", house.port);
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    for piece in header.chunks(piece) {
        if stream.write_all(piece).await.is_err() {
            return Vec::new();
        }
    }
    let mut config = rustls::ClientConfig::builder()
        .with_root_certificates(house.roots())
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    match connector.connect(name, stream).await {
        Ok(tls) => ask(tls, REQUEST).await,
        Err(_) => Vec::new(),
    }
}

fn binary(command: u8, length: u16, rest: &[u8]) -> Vec<u8> {
    let mut bytes = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    bytes.extend([command, 0x11]);
    bytes.extend(length.to_be_bytes());
    bytes.extend(rest);
    bytes
}

const ENDS: [u8; 12] = [203, 0, 113, 9, 127, 0, 0, 1, 0x12, 0x34, 1, 0xbb];

#[tokio::test]
async fn the_client_is_whom_the_listed_peer_names() {
    let application = Recorder::with_fields("").await;
    let house = house(&application, "\"127.0.0.1\"", false).await;
    for (header, client) in [
        (LINE.to_vec(), "203.0.113.9"),
        (binary(0x21, 12, &ENDS), "203.0.113.9"),
        (
            b"PROXY TCP6 2001:db8::9 ::1 1 2\r\n".to_vec(),
            "2001:db8::9",
        ),
        (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1"),
        (binary(0x20, 0, &[]), "127.0.0.1"),
    ] {
        for piece in [1, 4096] {
            let answer = answered(&house, &header, piece).await;
            assert_eq!(status(&answer), 200, "{client} in pieces of {piece}");
            let recorded = application.last();
            // What the client says of itself counts for nothing.
            assert_eq!(recorded.all("x-forwarded-for"), [client]);
            assert_eq!(recorded.all("x-forwarded-proto"), ["https"]);
            let id = recorded.all("x-request-id").join(" ");
            assert_ne!(id, "0123456789abcdef0123456789abcdef");
        }
    }
    let log = std::fs::read_to_string(house.dir.path().join("state/access.jsonl")).unwrap();
    assert!(log.contains("\"203.0.113.9\""), "{log}");
}

#[tokio::test]
async fn a_client_that_is_a_listed_proxy_is_believed_as_one() {
    let application = Recorder::with_fields("").await;
    let house = house(&application, "\"127.0.0.1\", \"203.0.113.0/24\"", false).await;
    assert_eq!(status(&answered(&house, LINE, 4096).await), 200);
    let recorded = application.last();
    assert_eq!(recorded.all("x-forwarded-for"), ["198.51.100.66"]);
}

#[tokio::test]
async fn nobody_else_names_anyone_and_nothing_malformed_passes() {
    let application = Recorder::with_fields("").await;
    let open = house(&application, "\"127.0.0.1\"", false).await;
    let long = [b"PROXY UNKNOWN ", &[b'x'; 92][..], b"\r\n"].concat();
    let twice = [LINE, LINE].concat();
    for (what, header) in [
        ("no header", &b""[..]),
        ("a truncated line", b"PROXY TCP4 203.0.113.9 127.0.0.1 46"),
        ("a line of 108 bytes", &long),
        ("two headers", &twice),
        (
            "a binary header of a wrong length",
            &binary(0x21, 11, &ENDS),
        ),
        ("one that says it is longer", &binary(0x21, 600, &ENDS)),
        ("an unknown command", &binary(0x22, 12, &ENDS)),
        ("both versions", &[LINE, &binary(0x21, 12, &ENDS)].concat()),
    ] {
        let answer = answered(&open, header, 4096).await;
        assert!(
            answer.is_empty(),
            "{what}: {}",
            String::from_utf8_lossy(&answer)
        );
    }
    let closed = house(&application, "\"192.0.2.0/24\"", false).await;
    for header in [LINE, &binary(0x21, 12, &ENDS), b""] {
        let answer = answered(&closed, header, 4096).await;
        assert!(answer.is_empty(), "an unlisted peer was answered");
    }
    assert!(application.seen().is_empty(), "something was forwarded");
}

#[tokio::test]
async fn a_header_that_nobody_asked_for_is_a_bad_request() {
    let application = Recorder::with_fields("").await;
    let house = application.house("", ROUTES).await;
    for header in [LINE, &binary(0x21, 12, &ENDS)] {
        // Inside TLS, and before it.
        let request = [header, REQUEST.as_bytes()].concat();
        assert_eq!(status(&house.raw(&request).await), 400);
        assert!(answered(&house, header, 4096).await.is_empty());
    }
    assert!(application.seen().is_empty());
}

#[tokio::test]
async fn who_says_nothing_is_given_up() {
    let application = Recorder::with_fields("").await;
    let mut house = house(&application, "\"127.0.0.1\"", false).await;
    house.gateway.take().unwrap().stop().await;
    let text = std::fs::read_to_string(house.config_file()).unwrap();
    let limits = "\n[limits]\nhandshake_timeout = \"1s\"\n";
    std::fs::write(house.config_file(), text + limits).unwrap();
    let mut supervisor = crate::supervised::Supervisor::of(&house);
    let mut gateway = supervisor.start();
    gateway.tells("READY=1", 1).await;
    let mut stream = TcpStream::connect(("127.0.0.1", house.port)).await.unwrap();
    stream.write_all(b"PROXY ").await.unwrap();
    let mut buffer = [0; 1];
    let read = tokio::time::timeout(Duration::from_secs(10), stream.read(&mut buffer));
    assert!(matches!(read.await.unwrap(), Ok(0) | Err(_)), "it was kept");
    gateway.stop().await;
}

/// The real one, in front of a listener with TLS (it passes the bytes on) and of one without (it
/// ends the encryption).
#[tokio::test]
async fn behind_haproxy() {
    for (send, plain) in [
        ("send-proxy", false),
        ("send-proxy-v2", false),
        ("send-proxy-v2", true),
        ("send-proxy-v2-ssl", true),
    ] {
        let application = Recorder::with_fields("").await;
        let house = house(&application, "\"127.0.0.1\"", plain).await;
        let front = free_port();
        let folder = house.dir.path();
        let pem = ["certs/localhost.pem", "certs/localhost.key"]
            .map(|name| std::fs::read_to_string(folder.join(name)).unwrap());
        std::fs::write(folder.join("front.pem"), pem.concat()).unwrap();
        let tls = match plain {
            true => format!("ssl crt {}", folder.join("front.pem").display()),
            false => String::new(),
        };
        let port = house.port;
        let config = format!(
            "global\n  maxconn 50\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 20s\n  \
             timeout server 20s\nlisten front\n  bind 127.0.0.1:{front} {tls}\n  \
             server gateway 127.0.0.1:{port} {send} check send-proxy\n"
        );
        // Its own health checks open with the same header.
        let config = match send {
            "send-proxy" => config,
            _ => config.replace(" check send-proxy", " check"),
        };
        let file = folder.join("haproxy.cfg");
        std::fs::write(&file, config).unwrap();
        let log = std::fs::File::create(folder.join("haproxy.log")).unwrap();
        let _haproxy = tokio::process::Command::new("haproxy")
            .args(["-db", "-f"])
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .expect("haproxy is installed");
        // From an address of its own, so that it is told from HAProxy's.
        let browser = house.browser_over(|builder| {
            builder
                .local_address(Some([127, 0, 0, 77].into()))
                .resolve("localhost", ([127, 0, 0, 1], front).into())
        });
        let url = format!("https://localhost:{front}/open/x");
        let mut answer = None;
        for _ in 0..200 {
            answer = browser
                .get(&url)
                .header("x-forwarded-for", "198.51.100.66")
                .send()
                .await
                .ok();
            if answer.is_some() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let log = std::fs::read_to_string(folder.join("haproxy.log")).unwrap();
        let answer = answer.unwrap_or_else(|| panic!("{send}: no answer: {log}"));
        assert_eq!(answer.status(), 200, "{send}");
        let recorded = application.last();
        assert_eq!(recorded.all("x-forwarded-for"), ["127.0.0.77"], "{send}");
        assert_eq!(recorded.all("x-forwarded-proto"), ["https"], "{send}");
    }
}

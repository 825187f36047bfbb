//! Ambiguous targets, framing and hosts; sizes; what the upstream must never see.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::house::{House, KARI, OLA, free_port, status};

#[tokio::test]
async fn ambiguous_targets_are_refused_and_reach_nobody() {
    let house = House::open().await;
    let cookie = house.session_cookie(KARI).await;
    for target in [
        "//projects/1",
        "/projects//1",
        "/projects/./1",
        "/projects/../projects/1",
        "/projects/%2e%2e/1",
        "/projects/1%2f2",
        "/projects/1%5c2",
        "/projects/1\\2",
        "/projects/1;a=b",
        "/projects/1%3ba",
        "/projects/1%00",
        "/projects/1%0a",
        "/projects/1%",
        "/projects/1%zz",
        "/projects/%252e%252e/1",
        "/projects/%ff",
        "/projects/%c0%ae",
        "/projects/<1>",
        "*",
        "projects/1",
    ] {
        let request =
            format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nCookie: {cookie}\r\n\r\n");
        let answer = house.raw(request.as_bytes()).await;
        assert_eq!(
            status(&answer),
            400,
            "{target}: {}",
            String::from_utf8_lossy(&answer)
        );
    }
    assert!(house.service.received().is_empty());
}

#[tokio::test]
async fn ambiguous_framing_is_refused_and_closes_the_connection() {
    let house = House::open().await;
    let cookie = house.session_cookie(KARI).await;
    for fields in [
        "Host: localhost\r\nTransfer-Encoding: cow, chunked\r\n",
        "Host: localhost\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Host: localhost\r\nTransfer-Encoding: chunked, identity\r\n",
        "Host: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n",
        "Host: localhost\r\nContent-Length: +1\r\n",
        "Host: localhost\r\nContent-Length: 1, 1\r\n",
        "Host: localhost\r\nContent-Length : 1\r\n",
        "Host: localhost\r\nX: a\r\n b\r\n",
        "Host: localhost\r\nX: a\0b\r\n",
        "Host: localhost\r\nX: a\rb\r\n",
        "",
        "Host: localhost\r\nHost: localhost\r\n",
        "Host: \r\n",
        "Host: localhost, localhost\r\n",
        "Host: localhost:abc\r\n",
        "Host: a@localhost\r\n",
    ] {
        let request = format!(
            "POST /echo HTTP/1.1\r\n{fields}Cookie: {cookie}\r\n\r\n0\r\n\r\nGET /echo HTTP/1.1\r\nHost: localhost\r\nCookie: {cookie}\r\n\r\n"
        );
        let answer = house.raw(request.as_bytes()).await;
        assert_eq!(
            status(&answer),
            400,
            "{fields:?}: {}",
            String::from_utf8_lossy(&answer)
        );
        let text = String::from_utf8_lossy(&answer);
        assert_eq!(
            text.matches("HTTP/1.1 ").count(),
            1,
            "the connection closes after {fields:?}"
        );
    }
    assert!(house.service.received().is_empty());
}

#[tokio::test]
async fn a_length_beside_a_coding_is_never_forwarded_with_both() {
    let house = House::open().await;
    let cookie = house.session_cookie(KARI).await;
    let request = format!(
        "POST /echo HTTP/1.1\r\nHost: localhost\r\nCookie: {cookie}\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    );
    house.raw(request.as_bytes()).await;
    for received in house.service.received() {
        let both = ["content-length", "transfer-encoding"].iter().all(|name| {
            received
                .headers
                .iter()
                .any(|(n, _)| n.eq_ignore_ascii_case(name))
        });
        assert!(!both, "{received:?}");
    }
}

#[tokio::test]
async fn hosts_that_are_not_ours_are_misdirected() {
    let house = House::open().await;
    let cookie = house.session_cookie(KARI).await;
    for (host, expected) in [
        ("evil.example", 421),
        ("localhost.evil.example", 421),
        ("127.0.0.1", 421),
        ("LOCALHOST", 200),
        ("localhost.", 200),
        ("localhost.:443", 200),
        ("localhost:1", 200),
    ] {
        let request =
            format!("GET /projects/1 HTTP/1.1\r\nHost: {host}\r\nCookie: {cookie}\r\n\r\n");
        assert_eq!(
            status(&house.raw(request.as_bytes()).await),
            expected,
            "{host}"
        );
    }
    for (line, expected) in [
        ("GET https://localhost/projects/1 HTTP/1.1", 200),
        ("GET https://evil.example/projects/1 HTTP/1.1", 400),
        ("CONNECT localhost:443 HTTP/1.1", 405),
        ("TRACE /projects/1 HTTP/1.1", 405),
    ] {
        let request = format!("{line}\r\nHost: localhost\r\nCookie: {cookie}\r\n\r\n");
        let answer = house.raw(request.as_bytes()).await;
        assert!(
            status(&answer) == expected || (expected == 405 && status(&answer) == 400),
            "{line}: {}",
            String::from_utf8_lossy(&answer)
        );
    }
}

#[tokio::test]
async fn oversized_heads_and_bodies_are_told_so() {
    let house = House::open_with(
        |config| config.push_str("\n[limits]\nbody_size = \"1MiB\"\n"),
        None,
    )
    .await;
    let cookie = house.session_cookie(KARI).await;
    let big = "a".repeat(40 * 1024);
    let many = "X: y\r\n".repeat(150);
    for fields in [
        format!("X-Big: {big}\r\n"),
        many,
        format!("X-Big: {}\r\n", "a".repeat(200 * 1024)),
    ] {
        let request = format!(
            "GET /projects/1 HTTP/1.1\r\nHost: localhost\r\nCookie: {cookie}\r\n{fields}\r\n"
        );
        assert_eq!(
            status(&house.raw(request.as_bytes()).await),
            431,
            "{} bytes",
            fields.len()
        );
    }
    let declared = format!(
        "POST /echo HTTP/1.1\r\nHost: localhost\r\nCookie: {cookie}\r\nContent-Length: 2000000\r\n\r\n"
    );
    assert_eq!(status(&house.raw(declared.as_bytes()).await), 413);
    let routes = house.policies().join("routes.toml");
    let text = std::fs::read_to_string(&routes).unwrap();
    std::fs::write(
        &routes,
        text.replace("body_limit = \"2GiB\"", "body_limit = \"1MiB\""),
    )
    .unwrap();
    house.gateway.as_ref().unwrap().reload().await;
    let mut streamed = format!(
        "POST /projects/1/upload HTTP/1.1\r\nHost: localhost\r\nCookie: {cookie}\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    .into_bytes();
    for _ in 0..40 {
        streamed.extend_from_slice(b"10000\r\n");
        streamed.extend_from_slice(&[b'a'; 0x10000]);
        streamed.extend_from_slice(b"\r\n");
    }
    streamed.extend_from_slice(b"0\r\n\r\n");
    assert_eq!(status(&house.raw(&streamed).await), 413);
}

#[tokio::test]
async fn what_was_judged_is_what_arrives() {
    let house = House::open().await;
    let cookie = house.session_cookie(KARI).await;
    for (sent, arrived) in [
        ("/projects/1", "/projects/1"),
        ("/%70rojects/%31", "/projects/1"),
        ("/projects/1?q=%2e%2e//;%20", "/projects/1?q=%2e%2e//;%20"),
        ("/projects/1?", "/projects/1?"),
    ] {
        let request = format!("GET {sent} HTTP/1.1\r\nHost: localhost\r\nCookie: {cookie}\r\n\r\n");
        assert_eq!(status(&house.raw(request.as_bytes()).await), 200, "{sent}");
        let received = house.service.received();
        let last = received
            .iter()
            .rev()
            .find(|r| r.headers.iter().any(|(n, _)| n == "x-user-id"));
        assert_eq!(last.expect("it arrived").target, arrived, "{sent}");
    }
}

#[tokio::test]
async fn what_is_refused_before_http_is_read_is_answered_like_anything_else() {
    let house = House::open().await;
    let cookie = house.session_cookie(KARI).await;
    for bad in [
        "GET /projects/1#x HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /projects/1 HTTP/1.1\r\nHost: localhost\r\nX : y\r\n\r\n",
        "GET /projects/1 HTTP/1.1\nHost: localhost\n\n",
        "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "\x16\x03\x01 nonsense\r\n\r\n",
    ] {
        // Behind a good request on the same connection, which is answered first.
        let good =
            format!("GET /projects/1 HTTP/1.1\r\nHost: localhost\r\nCookie: {cookie}\r\n\r\n");
        let answer = house.raw(format!("{good}{bad}{good}").as_bytes()).await;
        let text = String::from_utf8_lossy(&answer).to_lowercase();
        let refusal = text
            .split("http/1.1 400")
            .nth(1)
            .unwrap_or_else(|| panic!("{bad:?}: {text}"));
        assert!(text.starts_with("http/1.1 200"), "{bad:?}: {text}");
        assert_eq!(
            text.matches("http/1.1 ").count(),
            2,
            "{bad:?}: nothing after it is read"
        );
        for part in [
            "application/problem+json",
            "connection: close",
            "strict-transport-security",
            "request_id",
        ] {
            assert!(refusal.contains(part), "{part} in {refusal}");
        }
    }
}

#[tokio::test]
async fn a_request_that_was_answered_early_holds_nobody_up() {
    let house = House::open_with(
        |config| *config = config.replace("workers = 2", "workers = 1"),
        None,
    )
    .await;
    let kari = house.logged_in(KARI).await;
    // The application answers a GET without reading its body, which stays unfinished.
    let mut stuck = Vec::new();
    for _ in 0..5 {
        let mut stream = house.tls(&[b"http/1.1"]).await;
        let head =
            "GET /assets/style.css HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n12345";
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut buffer = [0; 16];
        let read = tokio::time::timeout(Duration::from_secs(2), stream.read(&mut buffer)).await;
        stuck.push((stream, read));
    }
    for _ in 0..10 {
        let answer =
            tokio::time::timeout(Duration::from_secs(2), house.get(&kari, "/projects/1")).await;
        assert_eq!(answer.expect("nobody waits").status(), 200);
    }
}

#[tokio::test]
async fn a_refused_upgrade_closes_the_connection() {
    let house = House::open().await;
    let cookie = house.session_cookie(OLA).await;
    let smuggled = format!("GET /echo HTTP/1.1\r\nHost: localhost\r\nCookie: {cookie}\r\n\r\n");
    let request = format!(
        "GET /projects/1/live HTTP/1.1\r\nHost: localhost\r\nCookie: {cookie}\r\nConnection: upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n{smuggled}"
    );
    let answer = house.raw(request.as_bytes()).await;
    assert_eq!(status(&answer), 403);
    assert_eq!(
        String::from_utf8_lossy(&answer)
            .matches("HTTP/1.1 ")
            .count(),
        1
    );
    assert!(!house.service.received().iter().any(|r| r.target == "/echo"));
}

#[tokio::test]
async fn a_plain_listener_serves_trusted_proxies_that_speak_of_https_only() {
    let port = free_port();
    let plain = |trusted: &str| {
        format!("\n[[listener]]\nbind = \"127.0.0.1:{port}\"\ntrusted_proxies = [\"{trusted}\"]\n")
    };
    for (trusted, fields, expected) in [
        ("10.0.0.0/8", "", 400),
        ("10.0.0.0/8", "X-Forwarded-Proto: https\r\n", 400),
        ("127.0.0.0/8", "X-Forwarded-Proto: https\r\n", 401),
        ("127.0.0.0/8", "", 401),
        ("127.0.0.0/8", "X-Forwarded-Proto: http\r\n", 400),
        (
            "127.0.0.0/8",
            "X-Forwarded-Proto: http\r\nAccept: text/html\r\n",
            308,
        ),
        (
            "127.0.0.0/8",
            "X-Forwarded-For: nonsense\r\nX-Forwarded-Proto: https\r\n",
            400,
        ),
    ] {
        let house = House::open_with(|config| config.push_str(&plain(trusted)), None).await;
        let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port))
            .await
            .unwrap();
        let request = format!(
            "GET /projects/1 HTTP/1.1\r\nHost: localhost\r\n{fields}Connection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        assert_eq!(status(&answer), expected, "{trusted} {fields:?}");
        if expected == 308 {
            let text = String::from_utf8_lossy(&answer).into_owned();
            assert!(
                text.contains(&format!(
                    "location: https://localhost:{}/projects/1",
                    house.port
                )),
                "{text}"
            );
        }
    }
}

#[tokio::test]
async fn an_odd_cookie_of_the_applications_hides_no_session() {
    let house = House::open().await;
    let cookie = house.session_cookie(KARI).await;
    for odd in ["theme=Bl\u{e5}", "x=\u{1F600}", "lone", "=nameless"] {
        let request =
            format!("GET /echo HTTP/1.1\r\nHost: localhost\r\nCookie: {odd}; {cookie}\r\n\r\n");
        let answer = house.raw(request.as_bytes()).await;
        assert_eq!(status(&answer), 200, "{odd}");
        assert!(
            !String::from_utf8_lossy(&answer).contains("__Host-portvakt"),
            "{odd}"
        );
    }
}

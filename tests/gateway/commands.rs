//! The commands that act on a running gateway, given as ops give them: the program itself, against
//! the gateway's admin socket.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use futures_util::StreamExt;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::house::{House, KARI, NILS, OLA};
use crate::ran::{asked, portvakt, records};

async fn whoami(house: &House, cookie: &str) -> StatusCode {
    let answer = house
        .browser()
        .get(house.url("/.portvakt/whoami"))
        .header("accept", "application/json")
        .header("cookie", cookie)
        .send()
        .await
        .unwrap();
    answer.status()
}

pub(crate) type WebSocket = WebSocketStream<TlsStream<TcpStream>>;

/// Kari's open WebSocket, which works.
async fn open_socket(house: &House, cookie: &str) -> WebSocket {
    open_socket_of(house, cookie, "1").await
}

/// An open WebSocket of a project's owner, which works.
pub(crate) async fn open_socket_of(house: &House, cookie: &str, project: &str) -> WebSocket {
    let mut request = format!("wss://localhost:{}/projects/{project}/live", house.port)
        .into_client_request()
        .unwrap();
    request
        .headers_mut()
        .insert("cookie", cookie.parse().unwrap());
    let tls = house.tls(&[b"http/1.1"]).await;
    let (mut socket, _) = tokio_tungstenite::client_async(request, tls).await.unwrap();
    socket.next().await.unwrap().unwrap();
    socket
}

/// Waits until it is closed, at most a second.
pub(crate) async fn closes(mut socket: WebSocket) -> bool {
    let closed = async {
        while let Some(Ok(message)) = socket.next().await {
            if message.is_close() {
                break;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(1), closed)
        .await
        .is_ok()
}

#[tokio::test]
async fn without_a_gateway_a_command_says_so() {
    let mut house = House::open().await;
    let socket = house.dir.path().join("state/admin.sock");
    assert!(socket.exists());
    house.gateway.take().unwrap().stop().await;
    assert!(!socket.exists(), "the socket is removed at the stop");
    for line in [
        "session list",
        "user show kari@fjord.example",
        "keys rotate",
    ] {
        let ran = portvakt(&house, line).await;
        assert_eq!((ran.code, ran.out.as_str()), (1, ""), "{line}");
        let said = format!(
            "portvakt: no gateway answers at `{}`; is it running with this configuration?\n",
            socket.display()
        );
        assert_eq!(ran.err, said);
    }
    // As after a kill: a socket that nobody answers at is in nobody's way.
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    assert_eq!(portvakt(&house, "session list").await.code, 1);
    house.start().await;
    assert_eq!(portvakt(&house, "session list").await.code, 0);
    // What is not understood is usage.
    assert_eq!(portvakt(&house, "session revoke").await.code, 2);
    assert_eq!(portvakt(&house, "user dance").await.code, 2);
}

#[tokio::test]
async fn the_socket_is_its_owners_alone_and_no_tcp_listener_serves_it() {
    let house = House::open().await;
    let socket = house.dir.path().join("state/admin.sock");
    let mode = std::fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let kari = house.logged_in(KARI).await;
    let stranger = house.browser();
    for path in ["/sessions", "/user?email=kari@fjord.example"] {
        assert_eq!(
            house.get(&stranger, path).await.status(),
            StatusCode::UNAUTHORIZED
        );
        assert_eq!(
            house.get(&kari, path).await.status(),
            StatusCode::NOT_FOUND,
            "{path}"
        );
        assert_eq!(house.admin(path).await.status(), StatusCode::NOT_FOUND);
    }
    for path in ["/sessions/revoke", "/user/suspend", "/keys/rotate"] {
        let body = json!({ "email": KARI });
        let posted = house.post_json(&kari, path, &body).await;
        assert_eq!(posted.status(), StatusCode::NOT_FOUND, "{path}");
        let posted = reqwest::Client::new()
            .post(format!("http://{}{path}", house.admin))
            .json(&body)
            .send()
            .await
            .unwrap();
        assert_eq!(posted.status(), StatusCode::NOT_FOUND, "{path}");
    }
    assert_eq!(records(&house), [""; 0]);
}

#[tokio::test]
async fn sessions_are_listed_and_ended() {
    let house = House::open().await;
    let kari = house.session_cookie(KARI).await;
    let ola = house.session_cookie(OLA).await;
    let nils = house.session_cookie(NILS).await;
    let socket = open_socket(&house, &kari).await;

    let all = asked(&house, "session list").await;
    assert_eq!(all["sessions"].as_array().unwrap().len(), 3);
    let fjord = asked(&house, "session list --company fjord").await;
    assert_eq!(fjord["sessions"].as_array().unwrap().len(), 2);
    let of_kari = asked(&house, &format!("session list --user {KARI}")).await;
    let one = &of_kari["sessions"][0];
    assert_eq!(one["email"], KARI);
    assert_eq!(
        (&one["user"], &one["company"]),
        (&json!("u-kari"), &json!("fjord"))
    );
    let table = portvakt(&house, "session list").await.out;
    assert!(
        table.starts_with("HANDLE ") && table.ends_with("3 sessions\n"),
        "{table}"
    );
    for cookie in [&kari, &ola, &nils] {
        let value = cookie.split_once('=').unwrap().1;
        assert!(!table.contains(value), "a handle is no key");
    }

    let handle = one["handle"].as_str().unwrap();
    let ended = portvakt(&house, &format!("session revoke {handle}")).await;
    assert_eq!((ended.code, ended.out.as_str()), (0, "1 session ended\n"));
    assert!(closes(socket).await, "within a second of the revocation");
    assert_eq!(whoami(&house, &kari).await, StatusCode::UNAUTHORIZED);
    assert_eq!(whoami(&house, &ola).await, StatusCode::OK);
    let again = portvakt(&house, &format!("session revoke {handle}")).await;
    assert_eq!((again.code, again.out.as_str()), (1, "0 sessions ended\n"));

    assert_eq!(
        asked(&house, "session revoke --company fjord").await["ended"],
        1
    );
    assert_eq!(whoami(&house, &ola).await, StatusCode::UNAUTHORIZED);
    assert_eq!(whoami(&house, &nils).await, StatusCode::OK);
    assert_eq!(asked(&house, "session revoke --all").await["ended"], 1);
    assert_eq!(whoami(&house, &nils).await, StatusCode::UNAUTHORIZED);
    let unknown = portvakt(&house, "session revoke --user nobody@fjord.example").await;
    assert_eq!(unknown.code, 1);
    assert!(
        unknown.err.contains("no user has the address"),
        "{unknown:?}"
    );
    let kept = records(&house);
    let revocations: Vec<_> = kept.iter().filter(|r| r.contains("revoke")).collect();
    assert_eq!(revocations.len(), 9, "{kept:?}");
}

#[tokio::test]
async fn a_suspension_shuts_a_person_out_at_once_and_until_it_is_taken_back() {
    let mut house = House::open().await;
    let (kari, ola) = (
        house.session_cookie(KARI).await,
        house.session_cookie(OLA).await,
    );
    let socket = open_socket(&house, &kari).await;
    let done = portvakt(&house, &format!("user suspend {KARI}")).await;
    assert_eq!(
        (done.code, done.out.as_str()),
        (0, "suspended: 1 session ended\n")
    );
    assert_eq!(whoami(&house, &kari).await, StatusCode::UNAUTHORIZED);
    assert_eq!(whoami(&house, &ola).await, StatusCode::OK);
    assert!(closes(socket).await, "within a second of the suspension");

    house.restart().await;
    assert_eq!(whoami(&house, &ola).await, StatusCode::OK);
    // A login as if for an unknown address: the same answer, and no message.
    let sent = house.outbox().await.len();
    let browser = house.browser();
    house.ask_for_code(&browser, KARI).await;
    let answers = [house.give_code(&browser, "0000").await, {
        let stranger = house.browser();
        house.ask_for_code(&stranger, "kine@fjord.example").await;
        house.give_code(&stranger, "0000").await
    }];
    let [known, unknown] = answers;
    assert_eq!(known.status(), unknown.status());
    let (mut known, mut unknown): (Value, Value) =
        (known.json().await.unwrap(), unknown.json().await.unwrap());
    for answer in [&mut known, &mut unknown] {
        answer["request_id"] = Value::Null;
    }
    assert_eq!(known, unknown);
    assert_eq!(house.outbox().await.len(), sent);

    let shown = asked(&house, &format!("user show {KARI}")).await;
    assert_eq!(shown["suspended"], "ops");
    assert_eq!(shown["sessions"], json!([]));
    let again = portvakt(&house, &format!("user suspend {KARI}")).await;
    assert_eq!(again.out, "suspended already: 0 sessions ended\n");
    let resumed = portvakt(&house, &format!("user resume {KARI}")).await;
    assert_eq!(resumed.code, 0, "{resumed:?}");
    assert_eq!(whoami(&house, &kari).await, StatusCode::UNAUTHORIZED);
    house.logged_in(KARI).await;

    for command in ["show", "suspend", "resume", "unlock"] {
        let line = format!("user {command} nobody@fjord.example");
        let ran = portvakt(&house, &line).await;
        assert_eq!((ran.code, ran.out.as_str()), (1, ""), "{line}");
        let said = "portvakt: no user has the address `nobody@fjord.example`\n";
        assert_eq!(ran.err, said);
    }
    assert_eq!(
        records(&house),
        [
            "admin.user.suspend begun",
            "admin.user.suspend ok",
            "admin.user.show begun",
            "admin.user.suspend begun",
            "admin.user.suspend ok",
            "admin.user.resume begun",
            "admin.user.resume ok",
            "admin.user.show unknown",
            "admin.user.suspend unknown",
            "admin.user.resume unknown",
            "admin.user.unlock unknown",
        ]
    );
}

#[tokio::test]
async fn an_answer_that_still_streams_breaks_off_when_its_session_ends() {
    let house = House::open().await;
    for version in ["HTTP/1.1", "HTTP/2"] {
        let kari = house.session_cookie(KARI).await;
        let browser = house.browser_over(|builder| match version {
            "HTTP/2" => builder.http2_prior_knowledge(),
            _ => builder.http1_only(),
        });
        let path = format!("/projects/1/download?bytes={}", 1_u64 << 40);
        let answer = browser
            .get(house.url(&path))
            .header("cookie", &kari)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{version}");
        let mut stream = answer.bytes_stream();
        stream.next().await.unwrap().unwrap();
        let line = format!("session revoke --user {KARI}");
        assert_eq!(asked(&house, &line).await["ended"], 1);
        let breaks_off = async {
            while let Some(chunk) = stream.next().await {
                if chunk.is_err() {
                    return true;
                }
            }
            false
        };
        let broke = tokio::time::timeout(Duration::from_secs(1), breaks_off).await;
        assert_eq!(
            broke,
            Ok(true),
            "{version}: not a clean end, within a second"
        );
    }
}

#[tokio::test]
async fn a_body_that_is_still_sent_is_cut_off_when_its_session_ends() {
    let house = House::open().await;
    let kari = house.session_cookie(KARI).await;
    let mut stream = house.tls(&[b"http/1.1"]).await;
    let head = format!(
        "POST /projects/1/upload HTTP/1.1\r\nHost: localhost\r\nCookie: {kari}\r\n\
         Content-Length: 1000000\r\n\r\nthe first of it"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    // On record before its first byte is forwarded.
    let trail = house.dir.path().join("state/audit/audit.jsonl");
    while !std::fs::read_to_string(&trail).unwrap().contains("/upload") {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    asked(&house, &format!("user suspend {KARI}")).await;
    stream.write_all(b"and more").await.unwrap();
    let mut answer = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(1), stream.read_to_end(&mut answer));
    ended.await.expect("within a second").ok();
    let text = String::from_utf8_lossy(&answer);
    assert!(text.starts_with("HTTP/1.1 401 "), "{text}");
}

#[tokio::test]
async fn the_directory_file_suspends_and_removes_within_a_second() {
    let house = House::open().await;
    let path = house.dir.path().join("directory.toml");
    let people = std::fs::read_to_string(&path).unwrap();
    let kari = "email = \"kari@fjord.example\"";
    assert!(people.contains(kari));
    let suspended = people.replace(kari, &format!("{kari}\nsuspended = true"));
    // Kari's entry is the first user's; without it she is nobody.
    let (head, rest) = people.split_once("[[user]]").unwrap();
    let (hers, others) = rest.split_once("[[user]]").unwrap();
    assert!(hers.contains(kari));
    let removed = format!("{head}[[user]]{others}");
    for changed in [suspended, removed] {
        std::fs::write(&path, &people).unwrap();
        house.gateway.as_ref().unwrap().reload().await;
        let (cookie, ola) = (
            house.session_cookie(KARI).await,
            house.session_cookie(OLA).await,
        );
        let socket = open_socket(&house, &cookie).await;
        // Nobody reloads, and nobody asks: the watcher has to notice.
        let replacement = path.with_extension("new");
        std::fs::write(&replacement, &changed).unwrap();
        std::fs::rename(&replacement, &path).unwrap();
        assert!(closes(socket).await, "within a second of the change");
        assert_eq!(whoami(&house, &cookie).await, StatusCode::UNAUTHORIZED);
        assert_eq!(whoami(&house, &ola).await, StatusCode::OK);
    }
}

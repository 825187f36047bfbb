//! The commands that act on a running gateway, given as ops give them: the program itself, against
//! the gateway's admin socket.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use futures_util::StreamExt;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::house::{House, KARI, NILS, OLA};

/// What a command came to.
#[derive(Debug)]
struct Ran {
    code: i32,
    out: String,
    err: String,
}

impl Ran {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }
}

/// Runs `portvakt`, a line of words, on the house's configuration.
async fn portvakt(house: &House, line: &str) -> Ran {
    let output = Command::new(env!("CARGO_BIN_EXE_portvakt"))
        .args(line.split_whitespace())
        .arg("--config")
        .arg(house.config_file())
        .output()
        .await
        .unwrap();
    Ran {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Runs a command that must succeed, and reads its JSON.
async fn asked(house: &House, line: &str) -> Value {
    let ran = portvakt(house, &format!("{line} --json")).await;
    assert_eq!(ran.code, 0, "{line}: {ran:?}");
    ran.json()
}

/// The records of commands, in order, as `event result`.
fn records(house: &House) -> Vec<String> {
    let trail = house.dir.path().join("state/audit/audit.jsonl");
    let text = std::fs::read_to_string(trail).unwrap();
    text.lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|record| record["event"].as_str().unwrap().starts_with("admin."))
        .map(|record| {
            assert!(record["client"].as_str().unwrap().starts_with("uid "));
            format!(
                "{} {}",
                record["event"].as_str().unwrap(),
                record["result"].as_str().unwrap()
            )
        })
        .collect()
}

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

type WebSocket = WebSocketStream<TlsStream<TcpStream>>;

/// Kari's open WebSocket, which works.
async fn open_socket(house: &House, cookie: &str) -> WebSocket {
    let mut request = format!("wss://localhost:{}/projects/1/live", house.port)
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
async fn closes(mut socket: WebSocket) -> bool {
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

#[tokio::test]
async fn a_spent_account_is_shown_and_unlocked() {
    let house = House::open().await;
    let mut codes = Vec::new();
    for tries in [3, 2] {
        let guesser = house.browser();
        house.ask_for_code(&guesser, OLA).await;
        let code = house.latest_code(OLA).await;
        let wrong = if code == "0000" { "1111" } else { "0000" };
        codes.push(code);
        for _ in 0..tries {
            house.give_code(&guesser, wrong).await;
        }
    }
    let refused = house
        .post_json(
            &house.browser(),
            "/.portvakt/login",
            &json!({ "email": OLA }),
        )
        .await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);

    let shown = asked(&house, &format!("user show {}", OLA.to_uppercase())).await;
    assert_eq!(shown["id"], "u-ola");
    assert_eq!(shown["phone_ends"], "02");
    assert_eq!(shown["failed_since_login"], 5);
    let lane = &shown["lanes"][0];
    assert_eq!(lane["device"], Value::Null);
    let used: Vec<_> = lane["budgets"].as_array().unwrap().iter().collect();
    assert_eq!(
        (&used[0]["used"], &used[0]["limit"]),
        (&json!(5), &json!(5))
    );
    assert_eq!(
        (&used[1]["used"], &used[1]["limit"]),
        (&json!(5), &json!(20))
    );
    assert_eq!(lane["spent_until"], used[0]["frees"]);
    let challenges = lane["challenges"].as_array().unwrap();
    assert!(challenges.iter().any(|one| one["attempts"] == 2), "{lane}");
    let for_people = portvakt(&house, &format!("user show {OLA}")).await.out;
    for told in [
        "Ola",
        "suspended  no",
        "5 of 5 in 24 h",
        "5 of 20 in 30 d",
        "unknown devices: locked until ",
    ] {
        assert!(for_people.contains(told), "{told}: {for_people}");
    }
    for text in [&for_people, &shown.to_string()] {
        assert!(!text.contains("+4790000002"), "a number is not shown");
        for code in &codes {
            assert!(
                !text.contains(&format!("\"{code}\"")),
                "a code is not shown"
            );
        }
    }

    let unlocked = portvakt(&house, &format!("user unlock {OLA}")).await;
    assert_eq!(
        (unlocked.code, unlocked.out.as_str()),
        (0, "unlocked: 5 failed attempts forgiven\n")
    );
    house.logged_in(OLA).await;
    assert_eq!(
        records(&house)[2..],
        ["admin.user.unlock begun", "admin.user.unlock ok"]
    );
}

#[tokio::test]
async fn the_shield_is_raised_and_lowered_by_hand() {
    let mut house = House::open().await;
    let known = house.logged_in(KARI).await;
    let status = portvakt(&house, "shield status").await;
    assert_eq!(status.code, 0, "{status:?}");
    assert!(
        status.out.starts_with("the shield is down\n500 of 500 "),
        "{status:?}"
    );
    let raised = asked(&house, "shield raise").await;
    assert!(
        raised["raised"].is_string() && raised["by_hand"] == true,
        "{raised}"
    );
    let metrics = house.admin("/metrics").await.text().await.unwrap();
    assert!(metrics.contains("portvakt_login_shield_raised 1"));

    // It survives a restart; an unknown device gets no code, a known one notices nothing.
    house.restart().await;
    assert!(asked(&house, "shield status").await["raised"].is_string());
    house.ask_for_code(&house.browser(), OLA).await;
    let sent = house.outbox().await;
    let olas_phone = sent.iter().any(|message| message["to"] == "+4790000002");
    assert!(!olas_phone, "a link by mail first: {sent:?}");
    house.log_in(&known, KARI).await;

    let lowered = portvakt(&house, "shield lower").await;
    assert!(
        lowered.out.starts_with("the shield is down\n"),
        "{lowered:?}"
    );
    house.logged_in(OLA).await;
    assert_eq!(
        records(&house),
        [
            "admin.shield.status begun",
            "admin.shield.raise begun",
            "admin.shield.raise ok",
            "admin.shield.status begun",
            "admin.shield.lower begun",
            "admin.shield.lower ok",
        ]
    );
}

#[tokio::test]
async fn keys_are_rotated() {
    let house = House::open().await;
    let ids = async || {
        let keys = house.get(&house.browser(), "/.portvakt/jwks.json").await;
        let keys: Value = keys.json().await.unwrap();
        let ids = keys["keys"].as_array().unwrap().iter();
        ids.map(|key| key["kid"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let before = ids().await;
    let told = asked(&house, "keys rotate").await;
    let after = ids().await;
    assert_eq!(after.len(), 3, "previous, current, next");
    assert_eq!(after[0], before[before.len() - 2]);
    assert_eq!(told["current"], after[1].as_str());
    assert_eq!(after[1], before[before.len() - 1]);
    assert_eq!(told["next"], after[2].as_str());
    let said = portvakt(&house, "keys rotate").await.out;
    assert!(
        said.starts_with(&format!("`{}` signs from now on", after[2])),
        "{said}"
    );
}

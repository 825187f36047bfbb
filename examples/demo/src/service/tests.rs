use std::fmt::Write as _;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;

const OLA: &str = "X-User-Id: u-ola\r\nX-Company-Id: fjord\r\n";
const PAGE: &str = "Accept: text/html,application/xhtml+xml\r\n";
const JSON: &str = "Content-Type: application/json\r\n";
const FORM: &str = "Content-Type: application/x-www-form-urlencoded\r\n";

async fn service() -> Running {
    start("127.0.0.1:0".parse().unwrap()).await.unwrap()
}

struct Got {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Got {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (field, value) = line.split_once(": ")?;
            field.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

/// One request on a connection of its own, and the answer to the connection's end.
async fn raw(running: &Running, request: &[u8]) -> Got {
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(answer[..end].to_vec()).unwrap();
    Got {
        status: head.split(' ').nth(1).unwrap().parse().unwrap(),
        head,
        body: answer[end + 4..].to_vec(),
    }
}

async fn send(running: &Running, request: &str, fields: &str, body: &str) -> Got {
    let mut text = format!("{request} HTTP/1.1\r\nHost: service\r\nConnection: close\r\n{fields}");
    if !body.is_empty() {
        write!(text, "Content-Length: {}\r\n", body.len()).unwrap();
    }
    raw(running, format!("{text}\r\n{body}").as_bytes()).await
}

#[tokio::test]
async fn programs_make_read_change_copy_and_delete_projects() {
    let running = service().await;
    let fields = format!("{OLA}{JSON}");
    let made = send(
        &running,
        "POST /projects",
        &fields,
        r#"{"name":"Slipway","description":"Steep","owner_id":"u-kari"}"#,
    )
    .await;
    assert_eq!(made.status, 201);
    assert_eq!(made.header("location"), Some("/projects/4"));
    let expected = serde_json::json!({"id": "4", "name": "Slipway", "description": "Steep", "company_id": "fjord", "owner_id": "u-ola"});
    assert_eq!(made.json(), expected);

    let changed = send(
        &running,
        "PATCH /projects/4",
        &fields,
        r#"{"name":"Ramp","company_id":"tinde","owner_id":"u-nils"}"#,
    )
    .await;
    assert_eq!(changed.status, 200);
    let read = send(&running, "GET /projects/4", OLA, "").await.json();
    assert_eq!(read, changed.json());
    assert_eq!(
        (&read["name"], &read["description"]),
        (&"Ramp".into(), &"Steep".into())
    );
    assert_eq!(
        (&read["owner_id"], &read["company_id"]),
        (&"u-ola".into(), &"fjord".into())
    );

    let replaced = send(&running, "PUT /projects/4", &fields, r#"{"name":"Ramp"}"#).await;
    assert_eq!(replaced.json()["description"], "");

    let copied = send(&running, "POST /projects/1/copy", OLA, "").await;
    assert_eq!(copied.status, 201);
    assert_eq!(copied.header("location"), Some("/projects/5"));
    assert_eq!(copied.json()["owner_id"], "u-ola");

    assert_eq!(
        send(&running, "DELETE /projects/4", OLA, "").await.status,
        204
    );
    let gone = send(&running, "GET /projects/4", OLA, "").await;
    assert_eq!(gone.status, 404);
    assert_eq!(gone.json(), serde_json::json!({"error": "not found"}));
    running.shutdown().await;
}

#[tokio::test]
async fn the_list_is_the_companys_and_everything_without_one() {
    let running = service().await;
    for (fields, expected) in [
        ("", vec!["1", "2", "3"]),
        (OLA, vec!["1", "2"]),
        ("X-Company-Id: tinde\r\n", vec!["3"]),
        ("X-Company-Id: no-such\r\n", vec![]),
    ] {
        let list = send(&running, "GET /projects", fields, "").await.json();
        let ids: Vec<_> = list
            .as_array()
            .unwrap()
            .iter()
            .map(|project| project["id"].as_str().unwrap())
            .collect();
        assert_eq!(ids, expected, "{fields}");
    }
}

#[tokio::test]
async fn without_the_headers_nothing_is_made() {
    let running = service().await;
    let body = r#"{"name":"x"}"#;
    assert_eq!(
        send(&running, "POST /projects", JSON, body).await.status,
        400
    );
    assert_eq!(
        send(&running, "POST /projects/1/copy", "", "").await.status,
        400
    );
    assert_eq!(running.service.projects().len(), 3);
}

#[tokio::test]
async fn tasks_are_added_changed_and_deleted() {
    let running = service().await;
    let made = send(
        &running,
        "POST /projects/2/tasks",
        JSON,
        r#"{"title":"Paint"}"#,
    )
    .await;
    assert_eq!(made.status, 201);
    assert_eq!(made.header("location"), Some("/tasks/8"));
    let expected =
        serde_json::json!({"id": "8", "project_id": "2", "title": "Paint", "done": false});
    assert_eq!(made.json(), expected);
    let done = send(&running, "PATCH /tasks/8", JSON, r#"{"done":true}"#).await;
    assert_eq!(done.json()["done"], true);
    assert_eq!(
        send(&running, "GET /tasks/8", "", "").await.json(),
        done.json()
    );
    assert_eq!(send(&running, "DELETE /tasks/8", "", "").await.status, 204);
    assert_eq!(send(&running, "DELETE /tasks/8", "", "").await.status, 404);
    let left = send(&running, "GET /projects/2/tasks", "", "").await.json();
    assert_eq!(left.as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn people_see_pages_and_forms_lead_to_pages() {
    let running = service().await;
    let fields = format!("{OLA}{PAGE}");
    let home = send(&running, "GET /", &fields, "").await;
    assert_eq!(
        (home.status, home.header("location")),
        (303, Some("/projects"))
    );
    let list = send(&running, "GET /projects", &fields, "").await;
    assert!(list.text().contains("Quay renewal") && !list.text().contains("Summit cabin"));
    let page = send(&running, "GET /projects/1", &fields, "").await;
    assert!(
        page.header("content-type")
            .unwrap()
            .starts_with("text/html")
    );
    for piece in [
        "You are <strong>u-ola</strong>",
        r#"action="/projects/1/copy""#,
        r#"<form method="post" action="/projects/1">"#,
    ] {
        assert!(page.text().contains(piece), "{piece}");
    }
    let form = format!("{fields}{FORM}");
    for (request, body, location) in [
        ("POST /projects", "name=A+b&description=", "/projects/4"),
        ("POST /projects/4", "name=%3Cb%3E", "/projects/4"),
        ("POST /projects/4/copy", "", "/projects/5"),
        ("POST /projects/4/tasks", "title=x", "/projects/4#tasks"),
        ("POST /projects/4/tasks/8", "done=true", "/projects/4#tasks"),
    ] {
        let got = send(&running, request, &form, body).await;
        assert_eq!(
            (got.status, got.header("location")),
            (303, Some(location)),
            "{request}"
        );
    }
    let page = send(&running, "GET /projects/4", &fields, "").await;
    assert!(page.text().contains("&lt;b&gt;") && !page.text().contains("<b>"));
    assert!(page.text().contains(r#"<li class="done">"#));
    let refused = send(&running, "GET /projects/77", &fields, "").await;
    assert_eq!(refused.status, 404);
    assert!(refused.text().contains("<h1>Not Found</h1>"));
    assert_eq!(
        send(&running, "GET /assets/style.css", "", "").await.status,
        200
    );
}

#[tokio::test]
async fn a_task_is_reached_only_through_its_own_project() {
    let running = service().await;
    let stolen = send(
        &running,
        "POST /projects/2/tasks/1",
        JSON,
        r#"{"done":false}"#,
    )
    .await;
    assert_eq!(stolen.status, 404);
    assert_eq!(
        send(&running, "GET /tasks/1", "", "").await.json()["done"],
        true
    );
}

#[tokio::test]
async fn garbage_is_told_so() {
    let running = service().await;
    let long = format!(r#"{{"name":"{}"}}"#, "x".repeat(201));
    let huge = format!(r#"{{"name":"x","description":"{}"}}"#, "x".repeat(70_000));
    for (request, body, status) in [
        ("PATCH /projects/1", "{", 400),
        ("PATCH /projects/1", "[1]", 400),
        ("PATCH /projects/1", r#"{"name":""}"#, 400),
        ("PATCH /projects/1", r#"{"name":"a\nb"}"#, 400),
        ("PATCH /projects/1", r#"{"name":7}"#, 400),
        ("PATCH /projects/1", &long, 400),
        ("PATCH /projects/1", &huge, 413),
        ("PUT /projects/1", r#"{"description":"x"}"#, 400),
        ("PATCH /projects/01", r#"{"name":"x"}"#, 404),
        ("PATCH /projects/%ff", r#"{"name":"x"}"#, 400),
        ("PATCH /tasks/99", r#"{"done":true}"#, 404),
        ("GET /projects/1/download?bytes=x", "", 400),
        ("GET /projects/1/live", "", 400),
        ("GET /nowhere", "", 404),
        ("DELETE /projects", "", 405),
    ] {
        let got = send(&running, request, JSON, body).await;
        assert_eq!(got.status, status, "{request} {body:.40}");
        if request != "PATCH /projects/%ff" {
            assert!(got.json()["error"].is_string(), "{request}");
        }
    }
    let form = send(&running, "PATCH /projects/1", "", "name=\u{1}").await;
    assert_eq!(form.status, 400);
    assert_eq!(running.service.projects()[0].name, "Quay renewal");
}

#[tokio::test]
async fn echo_and_the_log_tell_what_arrived() {
    let running = service().await;
    let got = raw(
        &running,
        b"POST /echo?a=%2e&b HTTP/1.1\r\nHost: h\r\nConnection: close\r\nX-One: 1\r\nx-two: 2\r\nX-ONE: 3\r\n\
          Transfer-Encoding: chunked\r\nTrailer: x-late\r\n\r\n5\r\nhello\r\n0\r\nx-late: yes\r\n\r\n",
    )
    .await;
    assert_eq!(got.status, 200);
    let echo = got.json();
    assert_eq!(echo["method"], "POST");
    assert_eq!(echo["target"], "/echo?a=%2e&b");
    assert_eq!(echo["body"], "hello");
    assert_eq!(echo["trailers"], serde_json::json!([["x-late", "yes"]]));
    let headers = echo["headers"].as_array().unwrap();
    assert_eq!(headers[0], serde_json::json!(["host", "h"]));
    assert!(headers.contains(&serde_json::json!(["x-one", "3"])));
    let received = running.received();
    assert_eq!(received.len(), 1);
    assert_eq!(received[0].target, "/echo?a=%2e&b");
    assert_eq!(received[0].header("x-two"), Some("2"));
    assert_eq!(received[0].body_len, 5);
    assert_eq!(
        received[0].trailers,
        [("x-late".to_owned(), "yes".to_owned())]
    );
    running.service.forget_received();
    assert!(running.received().is_empty());
}

#[tokio::test]
async fn downloads_and_uploads_stream_and_agree() {
    let running = service().await;
    let sized = send(&running, "GET /projects/1/download?bytes=300000", "", "").await;
    assert_eq!(sized.header("content-length"), Some("300000"));
    assert_eq!(sized.body.len(), 300_000);
    let chunked = send(
        &running,
        "GET /projects/1/download?bytes=300000&chunked=1",
        "",
        "",
    )
    .await;
    assert_eq!(chunked.header("content-length"), None);
    assert_eq!(chunked.header("transfer-encoding"), Some("chunked"));
    let head = send(&running, "HEAD /projects/1/download?bytes=9", "", "").await;
    assert_eq!(
        (head.header("content-length"), head.body.len()),
        (Some("9"), 0)
    );

    let mut request = b"POST /projects/1/upload HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 300000\r\n\r\n".to_vec();
    request.extend(&sized.body);
    let uploaded = raw(&running, &request).await.json();
    let mut checksum = Checksum::default();
    checksum.add(&sized.body);
    assert_eq!(uploaded["bytes"], 300_000);
    assert_eq!(uploaded["checksum"], checksum.digest());
    assert_eq!(running.received().last().unwrap().body_len, 300_000);
}

/// One short unmasked frame, as servers send them (RFC 6455, section 5.2).
async fn frame(stream: &mut TcpStream) -> (u8, Vec<u8>) {
    let mut head = [0; 2];
    stream.read_exact(&mut head).await.unwrap();
    let length = match head[1] {
        126 => usize::from(stream.read_u16().await.unwrap()),
        short => usize::from(short),
    };
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload).await.unwrap();
    (head[0] & 0x0f, payload)
}

#[tokio::test]
async fn a_project_is_followed_over_a_websocket_to_its_end() {
    let running = service().await;
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    let request = "GET /projects/1/live HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 101"));

    let parse = |(_, payload): (u8, Vec<u8>)| serde_json::from_slice::<Value>(&payload).unwrap();
    assert_eq!(parse(frame(&mut stream).await)["name"], "Quay renewal");
    send(&running, "PATCH /projects/1", JSON, r#"{"name":"Pier"}"#).await;
    assert_eq!(parse(frame(&mut stream).await)["name"], "Pier");
    // A masked text frame, its mask all zero.
    stream
        .write_all(b"\x81\x82\x00\x00\x00\x00hi")
        .await
        .unwrap();
    let echo = parse(frame(&mut stream).await);
    assert_eq!(echo, serde_json::json!({"echo": "hi"}));
    send(&running, "DELETE /projects/1", "", "").await;
    assert_eq!(frame(&mut stream).await.0, 8);
}

#[tokio::test]
async fn stopping_frees_the_port() {
    let running = service().await;
    let address = running.address;
    running.shutdown().await;
    assert!(TcpStream::connect(address).await.is_err());
}

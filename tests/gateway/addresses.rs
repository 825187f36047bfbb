//! Addresses of the application's own never reach the client, and the host that it is told is the
//! configured one.

use reqwest::StatusCode;

use crate::house::{House, KARI};
use crate::recorder::{Recorded, Recorder, fields, ok};

const ROUTES: &str = r#"
[resource.project]
facts = [{ from = "upstream", get = "/facts/{id}", company = "/company_id", owner = "/owner_id" }]

[[route]]
match    = "MOVE /moved/{project}/**"
action   = "write"
resource = { project = "header:Destination:/moved/{project}/**" }

[[route]]
match    = "* /app/**"
action   = "list"
resource = "company"
reason   = "a test"

[[route]]
match  = "GET /open/**"
public = true
"#;

/// Answers with the header line that the query holds, `+` for a blank; `HERE` is its own address,
/// `HOST` the host that it was told.
fn says(recorded: &Recorded) -> Vec<u8> {
    let query = recorded
        .target()
        .split_once('?')
        .map_or("", |(_, query)| query);
    if recorded.target() == "/facts/1" {
        let body = r#"{"company_id":"fjord","owner_id":"u-kari"}"#;
        let length = body.len();
        return format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        )
        .into_bytes();
    }
    let host = recorded.all("host").join("");
    ok(&format!(
        "{}\r\n",
        query.replace('+', " ").replace("HOST", &host)
    ))
}

async fn answer(house: &House, line: &str, name: &str) -> Vec<String> {
    let request = format!(
        "GET /open/x?{line} HTTP/1.1\r\nHost: LOCALHOST:{}\r\nConnection: close\r\n\r\n",
        house.port
    );
    fields(&house.raw(request.as_bytes()).await, name)
}

#[tokio::test]
async fn an_address_of_the_applications_becomes_the_public_one() {
    let application = Recorder::start(says).await;
    let (here, keys) = (
        application.address,
        "known_as = [\"App.Internal\", \"old:81\"]\n",
    );
    let house = application.house(keys, ROUTES).await;
    let public = house.url("");
    for (sent, got) in [
        (format!("http://{here}/x?y=z"), format!("{public}/x?y=z")),
        (format!("HTTPS://{here}"), public.clone()),
        (format!("//{here}/x"), format!("{public}/x")),
        ("http://HOST/x".to_owned(), format!("{public}/x")),
        ("http://app.internal/x".to_owned(), format!("{public}/x")),
        ("http://app.internal:80/x".to_owned(), format!("{public}/x")),
        ("https://app.internal./x".to_owned(), format!("{public}/x")),
        (
            "http://old:81//evil.example".to_owned(),
            format!("{public}//evil.example"),
        ),
        ("/x".to_owned(), "/x".to_owned()),
        ("x?y".to_owned(), "x?y".to_owned()),
        (
            "https://other.example/x".to_owned(),
            "https://other.example/x".to_owned(),
        ),
        (
            "http://app.internal.evil/x".to_owned(),
            "http://app.internal.evil/x".to_owned(),
        ),
        (format!("http://u@{here}/x"), format!("http://u@{here}/x")),
    ] {
        for name in ["Location", "Content-Location"] {
            let told = answer(&house, &format!("{name}:+{sent}"), name).await;
            assert_eq!(told, [got.as_str()], "{sent}");
        }
    }
    let told = answer(
        &house,
        &format!("Refresh:+5;+url=http://{here}/x"),
        "refresh",
    )
    .await;
    assert_eq!(told, [format!("5; url={public}/x")]);
}

#[tokio::test]
async fn the_port_of_an_answer_is_not_the_clients_to_choose() {
    let application = Recorder::start(says).await;
    let house = application.house("", ROUTES).await;
    let request = "GET /open/x?Location:+http://HOST/x HTTP/1.1\r\nHost: localhost:666\r\nConnection: close\r\n\r\n";
    let told = fields(&house.raw(request.as_bytes()).await, "location");
    assert_eq!(told, [house.url("/x")]);
}

#[tokio::test]
async fn the_application_is_told_the_configured_host() {
    let application = Recorder::start(says).await;
    let here = application.address.to_string();
    for (keys, told) in [
        ("", None),
        ("host = \"public\"\n", None),
        ("host = \"upstream\"\n", Some(here.as_str())),
        ("host = \"app.internal:99\"\n", Some("app.internal:99")),
    ] {
        let house = application.house(keys, ROUTES).await;
        let public = format!("localhost:{}", house.port);
        let kari = house.logged_in(KARI).await;
        let destination = house.url("/moved/1/y");
        let moves = reqwest::Method::from_bytes(b"MOVE").unwrap();
        let send = |method: reqwest::Method, path: &str| {
            let request = kari.request(method, house.url(path));
            request.header("destination", &destination).send()
        };
        let answer = send(moves, "/moved/1/x?Location:+http://HOST/app/y")
            .await
            .unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(answer.headers()["location"], house.url("/app/y"), "{keys}");
        let recorded = application.last();
        assert_eq!(recorded.all("host"), [told.unwrap_or(&public)], "{keys}");
        assert_eq!(
            recorded.all("x-forwarded-host"),
            [public.as_str()],
            "{keys}"
        );
        let moved = told.map_or(destination.clone(), |host| {
            format!("http://{host}/moved/1/y")
        });
        assert_eq!(recorded.all("destination"), [moved], "{keys}");
        // Where nobody judges it, it does not pass.
        let answer = send(reqwest::Method::PUT, "/app/x?").await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        assert!(application.last().all("destination").is_empty(), "{keys}");
    }
}

#[tokio::test]
async fn an_answers_trailers_set_nothing() {
    let application = Recorder::start(|_| {
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: Set-Cookie, X-Sum\r\nConnection: close\r\n\r\n\
          2\r\nok\r\n0\r\nSet-Cookie: evil=1\r\nConnection: x\r\nX-User-Id: evil\r\nX_User_Id: evil\r\n\
          Location: evil\r\nContent-Length: 9\r\nX-Sum: 7\r\n\r\n"
            .to_vec()
    })
    .await;
    let house = application.house("", ROUTES).await;
    let cookie = house.session_cookie(KARI).await;
    for path in ["/app/x", "/open/x"] {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nTE: trailers\r\nConnection: close, TE\r\nCookie: {cookie}\r\n\r\n"
        );
        let answer = String::from_utf8(house.raw(request.as_bytes()).await).unwrap();
        assert!(answer.contains("ok\r\n0\r\n"), "{answer}");
        assert!(!answer.contains("evil"), "{answer}");
        assert!(answer.to_ascii_lowercase().contains("x-sum: 7"), "{answer}");
        let (_, trailers) = answer.split_once("0\r\n").unwrap();
        assert!(
            !trailers.to_ascii_lowercase().contains("content-length"),
            "{answer}"
        );
    }
}

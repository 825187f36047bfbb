//! What a request names beyond its path: what is denied never reaches the application, and what is
//! allowed reaches it byte for byte.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use http::{HeaderMap, Method, StatusCode, Uri};
use reqwest::Client;
use reqwest::header::ACCEPT;

use crate::house::{House, KARI, NILS, OLA};

/// Whose each project is: Kari's and Ola's of one company, Nils's of another.
const FACTS: [(&str, &str, &str); 4] = [
    ("1", "fjord", "u-kari"),
    ("2", "fjord", "u-ola"),
    ("3", "tinde", "u-nils"),
    ("4", "fjord", "u-kari"),
];

/// An application that does whatever it is told, and remembers it.
#[derive(Clone, Default)]
pub(crate) struct Recorder(Arc<Mutex<Vec<Heard>>>);

/// A request as the application heard it.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    pub(crate) method: Method,
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Recorder {
    pub(crate) async fn open() -> (Self, SocketAddr) {
        let recorder = Self::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = Router::new().fallback(hear).with_state(recorder.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        (recorder, address)
    }

    /// What was heard since the last time.
    pub(crate) fn take(&self) -> Vec<Heard> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

async fn hear(
    State(recorder): State<Recorder>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, String) {
    if let Some(id) = uri.path().strip_prefix("/facts/") {
        let found = FACTS.iter().find(|(known, _, _)| *known == id);
        return match found {
            Some((_, company, owner)) => {
                let facts = serde_json::json!({ "company": company, "owner": owner });
                (StatusCode::OK, facts.to_string())
            }
            None => (StatusCode::NOT_FOUND, String::new()),
        };
    }
    recorder.0.lock().unwrap().push(Heard {
        method,
        target: uri.to_string(),
        headers,
        body,
    });
    (StatusCode::OK, "done".to_owned())
}

/// A house before the recorder, with these routes and perhaps a line more for the upstream.
pub(crate) async fn house(routes: &str, upstream: &str) -> (House, Recorder) {
    house_with(routes, upstream, &[]).await
}

/// The same, with these policy files in place of the shipped ones.
pub(crate) async fn house_with(
    routes: &str,
    upstream: &str,
    files: &[(&str, &str)],
) -> (House, Recorder) {
    let (recorder, address) = Recorder::open().await;
    let written = format!(
        r#"
[namespaces]
p = "urn:p"

[resource.project]
id = "[1-9][0-9]{{0,8}}"
facts = [{{ from = "upstream", get = "/facts/{{id}}", company = "/company", owner = "/owner" }}]
{routes}"#
    );
    let change = |config: &mut String| {
        let start = config.find("addresses = [").unwrap();
        let end = start + config[start..].find('\n').unwrap();
        let addresses = format!("addresses = [\"http://{address}\"]\n{upstream}");
        config.replace_range(start..end, &addresses);
        let dir = config.split("dir = \"").nth(1).unwrap();
        let dir = std::path::Path::new(dir.split('"').next().unwrap());
        assert!(dir.ends_with("policies"), "{}", dir.display());
        std::fs::write(dir.join("routes.toml"), &written).unwrap();
        std::fs::create_dir_all(dir.join("facts")).unwrap();
        for (name, text) in files {
            std::fs::write(dir.join(name), text).unwrap();
        }
        std::fs::remove_dir_all(dir.join("tests")).unwrap();
    };
    (House::open_with(change, None).await, recorder)
}

/// Sends a request, and says how it was answered and what the application heard.
pub(crate) async fn send(
    house: &House,
    recorder: &Recorder,
    who: &Client,
    line: &str,
    headers: &[(&'static str, &str)],
    body: &[u8],
) -> (u16, Vec<Heard>) {
    let (method, path) = line.split_once(' ').unwrap();
    let method: Method = method.parse().unwrap();
    let mut request = who.request(method, house.url(path));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    if !body.is_empty() {
        request = request.body(body.to_vec());
    }
    let answer = request.header(ACCEPT, "application/json").send().await;
    (answer.unwrap().status().as_u16(), recorder.take())
}

const ROUTES: &str = r#"
[[route]]
match = "POST /query"
action = "write"
resource = { project = "query:id" }

[[route]]
match = "POST /form"
action = "write"
resource = { project = "form:issue[project_id]" }

[[route]]
match = "POST /parts"
action = "write"
resource = { project = "multipart:project_id" }

[[route]]
match = "PATCH /json"
action = "write"
resource = { project = "json:/tasks/*/project_id" }

[[route]]
match = "REPORT /xml"
action = "write"
resource = { project = "xml:/p:query/p:project/@id" }

[[route]]
match = "MOVE /projects/{project}/**"
action = "write"
resource = { project = "header:Destination:/projects/{project}/**" }
"#;

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");
pub(crate) const JSON: (&str, &str) = ("content-type", "application/json");
const XML: (&str, &str) = ("content-type", "text/xml");
const PARTS: (&str, &str) = ("content-type", "multipart/form-data; boundary=x");

#[tokio::test]
async fn what_is_named_anywhere_is_judged_and_the_bytes_pass_unchanged() {
    let (house, app) = house(ROUTES, "").await;
    let kari = house.logged_in(KARI).await;
    let part = "--x\r\nContent-Disposition: form-data; name=\"project_id\"\r\n\r\n1\r\n--x--\r\n";
    let moved = format!("https://localhost:{}/projects/4/x", house.port);
    for (line, headers, body) in [
        ("POST /query?id=1&id=4&x=%7e", &[][..], ""),
        ("POST /form", &[FORM], "x=1&issue%5bproject_id%5D=1&y=+%7E"),
        ("POST /parts", &[PARTS], part),
        (
            "PATCH /json",
            &[JSON],
            "{ \"tasks\" : [{\"project_id\":\"\\u0031\"}, {\"project_id\": 4 }]}\n",
        ),
        (
            "REPORT /xml",
            &[XML],
            "<query xmlns='urn:p'><project id='1'/></query>",
        ),
        (
            "MOVE /projects/1/x",
            &[("destination", "/projects/4/x")],
            "",
        ),
        ("MOVE /projects/1/x", &[("destination", moved.as_str())], ""),
    ] {
        let (status, heard) = send(&house, &app, &kari, line, headers, body.as_bytes()).await;
        assert_eq!(status, 200, "{line}");
        let [heard] = heard.as_slice() else {
            panic!("{line}: {heard:?}");
        };
        assert_eq!(format!("{} {}", heard.method, heard.target), line);
        assert_eq!(heard.body, body.as_bytes(), "{line}");
        for (name, value) in headers {
            assert_eq!(heard.headers[*name], *value, "{line}");
        }
    }
    let spelled = [("destination", "/projects/%34/%7ex")];
    let (status, heard) = send(&house, &app, &kari, "MOVE /projects/1", &spelled, b"").await;
    assert_eq!(status, 200);
    assert_eq!(heard[0].headers["destination"], "/projects/4/~x");
}

#[tokio::test]
async fn what_names_anything_else_never_reaches_the_application() {
    let (house, app) = house(ROUTES, "").await;
    let (kari, nils) = (house.logged_in(KARI).await, house.logged_in(NILS).await);
    let stranger = house.browser();
    let part = |name: &str, id: &str| {
        format!("--x\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{id}\r\n")
    };
    let parts = part("project_id", "1") + &part("project_id[]", "2") + "--x--\r\n";
    let large = format!(
        "{{\"tasks\":[{{\"project_id\":1}}],\"x\":\"{}\"}}",
        "x".repeat(65_536)
    );
    for (line, headers, body, expected) in [
        ("POST /query?id=1&id=2", &[][..], "", 403),
        ("POST /query?id=1&i%64=3", &[], "", 404),
        ("POST /query?id=1&id[]=2", &[], "", 403),
        ("POST /query?id=1&ID=2", &[], "", 403),
        ("POST /query?id=1;id=2", &[], "", 404),
        ("POST /query?id=7", &[], "", 404),
        ("POST /query?id=1-x", &[], "", 404),
        ("POST /query", &[], "", 400),
        ("POST /query", &[FORM], "id=1", 400),
        (
            "POST /form",
            &[FORM],
            "issue[project_id]=1&issue%5Bproject_id%5D=2",
            403,
        ),
        (
            "POST /form?issue[project_id]=2",
            &[FORM],
            "issue[project_id]=1",
            403,
        ),
        (
            "POST /form",
            &[FORM, ("content-encoding", "gzip")],
            "issue[project_id]=1",
            415,
        ),
        ("POST /form", &[JSON], "{}", 415),
        ("POST /form", &[FORM], "issue[project_id]=%", 400),
        ("POST /parts", &[PARTS], &parts, 403),
        (
            "PATCH /json",
            &[JSON],
            r#"{"tasks":[{"project_id":1},{"project_id":2}]}"#,
            403,
        ),
        (
            "PATCH /json",
            &[JSON],
            r#"{"tasks":[{"project_id":1,"project_id":3}]}"#,
            404,
        ),
        (
            "PATCH /json",
            &[JSON],
            r#"{"tasks":[{"project_id":1}],"Tasks":[{"project_id":2}]}"#,
            403,
        ),
        (
            "PATCH /json",
            &[JSON],
            r#"{"tasks":[{"project_id":1},{}]}"#,
            400,
        ),
        ("PATCH /json", &[JSON], &large, 413),
        ("PATCH /json", &[JSON], "", 400),
        (
            "REPORT /xml",
            &[XML],
            "<query xmlns='urn:p'><project id='2'/></query>",
            403,
        ),
        (
            "REPORT /xml",
            &[XML],
            "<!DOCTYPE query><query xmlns='urn:p'><project id='1'/></query>",
            400,
        ),
        (
            "MOVE /projects/1",
            &[("destination", "/projects/2")],
            "",
            403,
        ),
        (
            "MOVE /projects/2",
            &[("destination", "/projects/1")],
            "",
            403,
        ),
        (
            "MOVE /projects/1",
            &[("destination", "https://evil.example/projects/1")],
            "",
            400,
        ),
        ("MOVE /projects/1", &[], "", 400),
    ] {
        let (status, heard) = send(&house, &app, &kari, line, headers, body.as_bytes()).await;
        assert_eq!(status, expected, "{line} {body:.60}");
        assert!(heard.is_empty(), "{line} {body:.60}: {heard:?}");
    }
    for (who, expected) in [(&nils, 404), (&stranger, 401)] {
        for (line, headers, body) in [
            ("POST /query?id=1", &[][..], ""),
            ("POST /form", &[FORM], "issue[project_id]=1"),
            ("POST /form", &[FORM], "issue[project_id]=%"),
        ] {
            let (status, heard) = send(&house, &app, who, line, headers, body.as_bytes()).await;
            // Who is known to us is told that it cannot be read; a stranger is not even asked.
            let malformed = expected == 404 && body.ends_with('%');
            assert_eq!(status, if malformed { 400 } else { expected }, "{line}");
            assert!(heard.is_empty(), "{line}: {heard:?}");
        }
    }
}

#[tokio::test]
async fn a_write_through_a_body_drops_what_is_known_of_all_that_it_names() {
    let (house, app) = house(ROUTES, "").await;
    let ola = house.logged_in(OLA).await;
    let body = br#"{"tasks":[{"project_id":2}]}"#;
    for _ in 0..2 {
        let (status, heard) = send(&house, &app, &ola, "PATCH /json", &[JSON], body).await;
        assert_eq!((status, heard.len()), (200, 1));
    }
    let metrics = house.admin("/metrics").await.text().await.unwrap();
    let misses = metrics
        .lines()
        .find(|l| l.contains("facts") && l.contains("\"miss\""));
    assert!(misses.unwrap().ends_with(" 2"), "{misses:?}");
}

#[tokio::test]
async fn a_collection_passes_the_fields_that_are_named_and_those_that_the_gateway_sets() {
    let routes = r#"
[[route]]
match = "GET /issues"
action = "list"
resource = "company"
query = { allow = ["status"], set = { company = "{company.id}" } }
"#;
    let (house, app) = house(routes, "").await;
    let kari = house.logged_in(KARI).await;
    for (query, target) in [
        ("", Some("/issues?company=fjord")),
        ("?status=a", Some("/issues?status=a&company=fjord")),
        (
            "?company=tinde&status=a&%63ompany=tinde",
            Some("/issues?status=a&company=fjord"),
        ),
        ("?owner=u-nils", None),
        ("?status=a;owner=u-nils", None),
    ] {
        let line = format!("GET /issues{query}");
        let (status, heard) = send(&house, &app, &kari, &line, &[], b"").await;
        assert_eq!(status, if target.is_some() { 200 } else { 400 }, "{line}");
        assert_eq!(
            heard.first().map(|heard| heard.target.as_str()),
            target,
            "{line}"
        );
    }
}

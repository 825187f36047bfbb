//! `examples/json-server`: an application that protects nothing, protected by files alone.

use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

use crate::example::{Example, copied, installed};
use crate::house::{KARI, NILS, OLA};

const BIN: &str = "examples/json-server/node_modules/json-server/lib/cli/bin.js";

async fn open() -> (Example, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let data = copied("examples/json-server/db.json", folder.path());
    let example = Example::open("json-server", "127.0.0.1:3001", |port| {
        let mut node = Command::new("node");
        node.arg(installed(BIN))
            .args(["--quiet", "--no-cors", "--host", "127.0.0.1", "--port"]);
        node.arg(port.to_string()).arg(data);
        node
    })
    .await;
    (example, folder)
}

/// One request: who, method and target, body, whether it passes.
struct Try(&'static str, &'static str, &'static str, bool);

impl Example {
    async fn send(&self, who: &Client, line: &str, body: &str) -> reqwest::Response {
        let (method, path) = line.split_once(' ').unwrap();
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let mut request = who
            .request(method, self.house.url(path))
            .header("accept", "application/json");
        if !body.is_empty() {
            request = request
                .header("content-type", "application/json")
                .body(body.to_owned());
        }
        request.send().await.unwrap()
    }

    /// It reaches the application and is answered, or it is refused and never does.
    async fn hold(&self, who: &Client, name: &str, line: &str, body: &str, passes: bool) {
        self.forwarded();
        let status = self.send(who, line, body).await.status();
        let forwarded = self.forwarded();
        assert_eq!(
            status.is_success(),
            passes,
            "{name}: {line} {body}: {status}"
        );
        if passes {
            assert_eq!(forwarded.len(), 1, "{name}: {line}: {forwarded:?}");
        } else {
            assert!(status.is_client_error(), "{name}: {line} {body}: {status}");
            assert!(forwarded.is_empty(), "{name}: {line} {body}: {forwarded:?}");
        }
    }
}

#[tokio::test]
async fn what_is_written_passes_and_nothing_else_does() {
    let (example, _folder) = open().await;
    let house = &example.house;
    let (kari, ola, nils) = (
        house.logged_in(KARI).await,
        house.logged_in(OLA).await,
        house.logged_in(NILS).await,
    );
    let nobody = house.browser();
    for Try(name, line, body, passes) in [
        Try("ola", "GET /projects/1", "", true),
        Try("nils", "GET /projects/1", "", false),
        Try("nobody", "GET /projects/1", "", false),
        Try("ola", "GET /projects/9", "", false),
        Try("ola", "GET /projects/01", "", false),
        Try("ola", "GET /projects/1/tasks", "", true),
        Try("nils", "GET /projects/1/tasks", "", false),
        Try("kari", "GET /db", "", false),
        Try("kari", "GET /__rules", "", false),
        Try("kari", "GET /", "", false),
        Try("kari", "GET /projects/1/projects", "", false),
        Try("kari", "GET /projects/1/users", "", false),
        Try("kari", "GET /projects/1?_embed=tasks", "", false),
        Try("kari", "GET /projects/1/tasks?projectId=3", "", false),
        Try("kari", "GET /projects?company_id=tinde", "", true),
        Try("kari", "GET /projects?company_id_like=.", "", false),
        Try("kari", "GET /projects?_expand=x", "", false),
        Try("ola", "GET /tasks?projectId=1", "", true),
        Try("ola", "GET /tasks?projectId=1&projectId=2", "", true),
        Try("ola", "GET /tasks?projectId=1&projectId=3", "", false),
        Try("ola", "GET /tasks?projectId[]=3&projectId=1", "", false),
        Try("ola", "GET /tasks?projectId=1&projectId_ne=9", "", false),
        Try("ola", "GET /tasks?projectId%5B0%5D=3", "", false),
        Try("nils", "GET /tasks?projectId=1", "", false),
        Try("ola", "GET /tasks", "", false),
        Try("ola", "GET /tasks/1", "", true),
        Try("nils", "GET /tasks/1", "", false),
        Try("ola", "PATCH /projects/1", r#"{"name":"mine"}"#, false),
        Try("kari", "PATCH /projects/1", r#"{"name":"mine"}"#, true),
        Try(
            "kari",
            "PATCH /projects/1",
            r#"{"owner_id":"u-ola"}"#,
            false,
        ),
        Try(
            "kari",
            "PATCH /projects/1",
            r#"{"name":"x","company_id":"tinde"}"#,
            false,
        ),
        Try("kari", "PUT /projects/1", r#"{"name":"x"}"#, false),
        Try(
            "kari",
            "POST /projects",
            r#"{"company_id":"tinde","owner_id":"u-kari"}"#,
            false,
        ),
        Try("kari", "POST /projects/1/tasks", r#"{"title":"new"}"#, true),
        Try("ola", "POST /projects/1/tasks", r#"{"title":"new"}"#, false),
        Try(
            "kari",
            "POST /tasks",
            r#"{"projectId":1,"title":"flat"}"#,
            true,
        ),
        Try("kari", "POST /tasks", r#"{"projectId":2}"#, false),
        Try(
            "kari",
            "POST /tasks",
            r#"{"projectId":1,"projectId":2}"#,
            false,
        ),
        Try("kari", "POST /tasks", r#"{"projectId":[1,2]}"#, false),
        Try("kari", "POST /tasks", r#"{"title":"nowhere"}"#, false),
        Try(
            "kari",
            "POST /tasks?projectId=2",
            r#"{"projectId":1}"#,
            false,
        ),
        Try("kari", "PATCH /tasks/1", r#"{"done":true}"#, true),
        Try("kari", "PATCH /tasks/1", r#"{"projectId":2}"#, false),
        Try("kari", "PATCH /tasks/1", r#"{"projectId":3}"#, false),
        Try("ola", "PATCH /tasks/1", r#"{"projectId":2}"#, false),
        Try(
            "kari",
            "PUT /tasks/1",
            r#"{"projectId":2,"title":"x"}"#,
            false,
        ),
        Try("kari", "PUT /tasks/1", r#"{"title":"x"}"#, false),
        Try(
            "kari",
            "PUT /tasks/1",
            r#"{"projectId":1,"title":"x"}"#,
            true,
        ),
        Try("nils", "DELETE /tasks/1", "", false),
        Try("ola", "DELETE /tasks/1", "", false),
        Try("kari", "DELETE /tasks/1", "", true),
        Try("ola", "DELETE /projects/1", "", false),
        Try("kari", "DELETE /projects", "", false),
    ] {
        let who = match name {
            "kari" => &kari,
            "ola" => &ola,
            "nils" => &nils,
            _ => &nobody,
        };
        example.hold(who, name, line, body, passes).await;
    }
    let list: Value = house
        .get(&ola, "/projects?company_id=tinde&company_id=x")
        .await
        .json()
        .await
        .unwrap();
    let ids: Vec<_> = list
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["id"].clone())
        .collect();
    assert_eq!(
        ids,
        [json!(1), json!(2)],
        "the list is the company's, whatever the query says"
    );
}

#[tokio::test]
async fn a_method_that_overrides_does_not() {
    let (example, _folder) = open().await;
    let house = &example.house;
    let kari = house.logged_in(KARI).await;
    for name in [
        "X-HTTP-Method-Override",
        "x-http-method",
        "X-Method-Override",
        "x_http_method_override",
    ] {
        for path in ["/projects/1/tasks", "/tasks", "/projects/3", "/tasks/3"] {
            let answer = kari
                .post(house.url(path))
                .header(name, "DELETE")
                .json(&json!({ "projectId": 1 }))
                .send()
                .await
                .unwrap();
            assert!(
                answer.status().is_client_error(),
                "{name} {path}: {}",
                answer.status()
            );
        }
    }
    assert_eq!(example.forwarded(), [""; 0]);
    let nils = house.logged_in(NILS).await;
    assert_eq!(
        house.get(&nils, "/projects/3").await.status(),
        StatusCode::OK
    );
    assert_eq!(house.get(&nils, "/tasks/3").await.status(), StatusCode::OK);
}

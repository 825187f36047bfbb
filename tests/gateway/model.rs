//! Random requests by random callers, against a model of the rules: what the model denies never
//! reaches the application, and what reaches it is byte for byte what was judged.

use std::collections::HashMap;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use reqwest::StatusCode;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::house::{House, KARI, NILS, OLA};

/// Callers: email, user, company; the last is not logged in.
const CALLERS: [(&str, &str, &str); 4] = [
    (KARI, "u-kari", "fjord"),
    (OLA, "u-ola", "fjord"),
    (NILS, "u-nils", "tinde"),
    ("", "", ""),
];

/// The application as the model knows it.
struct Model {
    /// Project to company and owner.
    projects: HashMap<String, (String, String)>,
    /// Task to project.
    tasks: HashMap<String, String>,
}

#[derive(Debug, PartialEq)]
enum Verdict {
    /// Arrives with exactly this path.
    Arrives(String),
    Stopped,
}

impl Model {
    fn sample() -> Self {
        let projects = [
            ("1", "fjord", "u-kari"),
            ("2", "fjord", "u-ola"),
            ("3", "tinde", "u-nils"),
        ];
        Self {
            projects: projects
                .map(|(id, company, owner)| (id.to_owned(), (company.to_owned(), owner.to_owned())))
                .into(),
            tasks: HashMap::new(),
        }
    }

    fn judge(&self, caller: usize, method: &str, path: &str) -> Verdict {
        let (_, user, company) = CALLERS[caller];
        let Some(path) = only_reading(path) else {
            return Verdict::Stopped;
        };
        let segments: Vec<&str> = path[1..].split('/').collect();
        let reads = matches!(method, "GET" | "HEAD");
        let project = |id: &str, writes: bool| {
            self.projects
                .get(id)
                .is_some_and(|(c, o)| c == company && (!writes || o == user))
        };
        let task_of = |id: &str| self.tasks.get(id);
        let allowed = !user.is_empty()
            && match (segments.as_slice(), method) {
                ([""], _) => reads,
                (["projects"], "GET" | "HEAD" | "POST") => true,
                (["projects", id, "copy"], "POST") => project(id, false),
                (["projects", id, "live"], _) => project(id, true),
                (["projects", id, "tasks", task], _) => {
                    project(id, !reads) && task_of(task).is_some_and(|own| project(own, !reads))
                }
                (["projects", id, ..], _) => project(id, !reads),
                (["tasks", id], _) => task_of(id).is_some_and(|own| project(own, !reads)),
                (["echo"], "GET" | "HEAD" | "POST") => true,
                _ => false,
            };
        if allowed {
            Verdict::Arrives(path)
        } else {
            Verdict::Stopped
        }
    }

    /// What an answered write changed.
    fn learn(&mut self, caller: usize, method: &str, path: &str, status: StatusCode, body: &Value) {
        let (_, user, company) = CALLERS[caller];
        let segments: Vec<&str> = path[1..].split('/').collect();
        let id = body["id"].as_str().unwrap_or_default().to_owned();
        match (segments.as_slice(), method) {
            (["projects"] | ["projects", _, "copy"], "POST") if status == 201 => {
                self.projects
                    .insert(id, (company.to_owned(), user.to_owned()));
            }
            (["projects", project, "tasks"], "POST") if status == 201 => {
                self.tasks.insert(id, (*project).to_owned());
            }
            (["projects", project], "DELETE") if status.is_success() => {
                self.projects.remove(*project);
                self.tasks.retain(|_, parent| parent != project);
            }
            (["tasks", task], "DELETE") if status.is_success() => {
                self.tasks.remove(*task);
            }
            _ => {}
        }
    }
}

/// The one reading of a path, if there is one: written apart from the gateway's, and stupidly.
fn only_reading(path: &str) -> Option<String> {
    let mut out = String::new();
    let mut rest = path;
    while let Some(c) = rest.chars().next() {
        if c == '%' {
            let byte = u8::from_str_radix(rest.get(1..3)?, 16).ok()?;
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'~' => {
                    out.push(byte as char)
                }
                b' ' | b'!' | b'\'' | b'"' | b'<' | b'>' => out.push_str(&format!("%{byte:02X}")),
                _ => return None,
            }
            rest = &rest[3..];
        } else if c.is_ascii_alphanumeric() || "-._~/!$&'()*+,=:@".contains(c) {
            out.push(c);
            rest = &rest[1..];
        } else {
            return None;
        }
    }
    let bad = |segment: &str| matches!(segment, "." | "..");
    let inner = out.strip_prefix('/')?;
    if inner.split('/').any(bad) || out.contains("//") {
        return None;
    }
    Some(out)
}

fn identifier() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => "[1-9]",
        2 => "1[0-9]",
        1 => Just("99999".to_owned()),
        1 => Just("%31".to_owned()),
        1 => Just("7-x".to_owned()),
        1 => Just("1%20".to_owned()),
        1 => Just("1%0a".to_owned()),
        1 => Just("%2e%2e".to_owned()),
        1 => Just("..".to_owned()),
        1 => Just(".".to_owned()),
        1 => Just("1%2f".to_owned()),
        1 => Just("1;x".to_owned()),
        1 => Just(String::new()),
    ]
}

fn path() -> impl Strategy<Value = String> {
    let tail = prop_oneof![
        4 => Just(String::new()),
        1 => Just("/tasks".to_owned()),
        1 => Just("/copy".to_owned()),
        1 => Just("/anything/at/all".to_owned()),
        1 => Just("/../2".to_owned()),
        1 => Just("/".to_owned()),
        1 => Just("/copy/".to_owned()),
        1 => Just("/%63opy".to_owned()),
    ];
    prop_oneof![
        8 => (identifier(), tail).prop_map(|(id, tail)| format!("/projects/{id}{tail}")),
        3 => identifier().prop_map(|id| format!("/tasks/{id}")),
        1 => Just("/projects".to_owned()),
        1 => Just("/echo".to_owned()),
        1 => Just("/projects/".to_owned()),
        1 => Just("//projects/1".to_owned()),
        1 => Just("/PROJECTS/1".to_owned()),
        1 => Just("/%70rojects/2".to_owned()),
        1 => "/[a-z%./;0-9]{0,12}",
    ]
}

fn method() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "GET", "GET", "HEAD", "POST", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW",
    ])
}

#[test]
fn what_the_model_denies_reaches_nobody_and_what_arrives_is_what_was_judged() {
    // A case is a house with 80 requests: twelve by default, more with PROPTEST_CASES.
    let cases = (Config::default().cases / 20).max(1);
    let mut runner = TestRunner::new(Config {
        cases,
        max_shrink_iters: 40,
        ..Config::default()
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let requests = prop::collection::vec((0..CALLERS.len(), method(), path()), 80);
    let outcome = runner.run(&requests, |requests| {
        runtime
            .block_on(play(&requests))
            .map_err(TestCaseError::fail)
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
}

async fn play(requests: &[(usize, &'static str, String)]) -> Result<(), String> {
    let house = House::open().await;
    let mut cookies = Vec::new();
    for (email, ..) in CALLERS {
        cookies.push(if email.is_empty() {
            String::new()
        } else {
            house.session_cookie(email).await
        });
    }
    let mut model = Model::sample();
    read_tasks(&house, &mut model, &["1", "2", "3"]).await;
    for (number, (caller, method, path)) in requests.iter().enumerate() {
        let verdict = model.judge(*caller, method, path);
        let sent = format!("{path}?n={number}");
        let (status, body) = send(&house, &cookies[*caller], method, &sent).await;
        let mark = format!("?n={number}");
        let arrived: Vec<_> = house
            .service
            .received()
            .into_iter()
            .filter(|received| {
                received.target.ends_with(&mark)
                    && received.target.split('?').nth(1) == Some(&mark[1..])
            })
            .collect();
        let context = format!(
            "{method} {path} as {:?}: {status}, {verdict:?}, {arrived:?}",
            CALLERS[*caller]
        );
        match &verdict {
            Verdict::Stopped if !arrived.is_empty() => {
                return Err(format!("let through: {context}"));
            }
            Verdict::Stopped if !status.is_client_error() => {
                return Err(format!("not refused: {context}"));
            }
            Verdict::Stopped => {}
            Verdict::Arrives(judged) => {
                let [received] = arrived.as_slice() else {
                    return Err(format!("not once: {context}"));
                };
                let user = received.header("x-user-id");
                let faithful = received.target == format!("{judged}{mark}")
                    && received.method == *method
                    && user == Some(CALLERS[*caller].1);
                if !faithful {
                    return Err(format!("changed on the way: {context}"));
                }
                model.learn(*caller, method, judged, status, &body);
                if judged.ends_with("/copy") && status == 201 {
                    read_tasks(&house, &mut model, &[body["id"].as_str().unwrap()]).await;
                }
            }
        }
    }
    Ok(())
}

/// The tasks that came with projects, asked for behind the gateway's back.
async fn read_tasks(house: &House, model: &mut Model, projects: &[&str]) {
    for project in projects {
        let url = format!("http://{}/projects/{project}/tasks", house.upstream);
        let client = reqwest::Client::new();
        let tasks: Value = client
            .get(url)
            .header("accept", "application/json")
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        for task in tasks.as_array().unwrap() {
            model.tasks.insert(
                task["id"].as_str().unwrap().to_owned(),
                (*project).to_owned(),
            );
        }
    }
}

/// One request, written byte by byte so that no client library tidies it up.
async fn send(house: &House, cookie: &str, method: &str, target: &str) -> (StatusCode, Value) {
    let body = if matches!(method, "POST" | "PUT" | "PATCH") {
        r#"{"name":"n","title":"t"}"#
    } else {
        ""
    };
    let request = format!(
        "{method} {target} HTTP/1.1\r\nHost: localhost\r\nCookie: {cookie}\r\nAccept: application/json\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let mut stream = house.tls(&[b"http/1.1"]).await;
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let text = String::from_utf8_lossy(&answer);
    let status = text
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .unwrap_or(0);
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let json = body
        .find('{')
        .and_then(|open| serde_json::from_str(&body[open..]).ok());
    (
        StatusCode::from_u16(status).unwrap_or(StatusCode::IM_A_TEAPOT),
        json.unwrap_or_default(),
    )
}

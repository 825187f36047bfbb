//! A table of requests (`table/requests.toml`), each sent by three people, and who gets it through.
//! What is refused provably never reaches the application: it writes down all that does.

use futures_util::{StreamExt, stream};
use serde::Deserialize;

use crate::house::{KARI, NILS, OLA, status};
use crate::recorder::{Recorded, Recorder, ok};

const ROUTES: &str = include_str!("table/routes.toml");
const REQUESTS: &str = include_str!("table/requests.toml");

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    group: Vec<Group>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    about: String,
    requests: Vec<Entry>,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    line: String,
    /// Names, with blanks between them.
    passes: String,
    #[serde(rename = "type")]
    kind: Option<String>,
    body: Option<String>,
    #[serde(default)]
    fields: Vec<String>,
    forwarded: Option<String>,
    status: Option<u16>,
}

impl Entry {
    fn bytes(&self, cookie: &str, mark: &str) -> Vec<u8> {
        let mut head = format!(
            "{} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nCookie: {cookie}\r\nX-Mark: {mark}\r\n",
            self.line
        );
        for field in &self.fields {
            head.push_str(field);
            head.push_str("\r\n");
        }
        if let Some(kind) = &self.kind {
            let media = match kind.as_str() {
                "json" => "application/json",
                "form" => "application/x-www-form-urlencoded",
                "xml" => "application/xml",
                "multipart" => "multipart/form-data; boundary=b",
                other => other,
            };
            head.push_str(&format!("Content-Type: {media}\r\n"));
        }
        if let Some(body) = &self.body {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        head.push_str(self.body.as_deref().unwrap_or_default());
        head.into_bytes()
    }

    /// What is wrong with how it went, if anything.
    fn judge(&self, name: &str, status: u16, arrived: &[Recorded]) -> Option<String> {
        let passes = self.passes.split(' ').any(|one| one == name);
        let lines: Vec<_> = arrived.iter().map(|one| one.line.as_str()).collect();
        let sound = if passes {
            let (method, sent) = self.line.split_once(' ').unwrap();
            let target = self.forwarded.as_deref().unwrap_or(sent);
            let same = match target {
                "*" => true,
                target => lines == [format!("{method} {target} HTTP/1.1")],
            };
            let body = arrived
                .iter()
                .all(|one| one.body == self.body.as_deref().unwrap_or_default());
            status == 200 && lines.len() == 1 && same && body
        } else {
            let expected = self
                .status
                .map_or((400..500).contains(&status), |one| one == status);
            expected && lines.is_empty()
        };
        let outcome = if passes { "passes" } else { "is refused" };
        (!sound).then(|| {
            let body = self.body.as_deref().unwrap_or_default();
            format!(
                "{name}: `{}` {body:?} {outcome}, but: {status}, arrived: {lines:?}",
                self.line
            )
        })
    }
}

/// Who owns what: see the head of the table.
fn application(recorded: &Recorded) -> Vec<u8> {
    let answer = match recorded.target() {
        "/facts/projects/1" => r#"{"company_id":"fjord","owner_id":"u-kari"}"#,
        "/facts/projects/2" => r#"{"company_id":"fjord","owner_id":"u-ola"}"#,
        "/facts/projects/3" => r#"{"company_id":"tinde","owner_id":"u-nils"}"#,
        "/facts/tasks/1" | "/facts/tasks/4" => r#"{"project_id":1}"#,
        "/facts/tasks/2" => r#"{"project_id":2}"#,
        "/facts/tasks/3" => r#"{"project_id":3}"#,
        "/facts/tasks/8" => r#"{"project_id":88}"#,
        "/facts/comments/1" => r#"{"task_id":1}"#,
        "/facts/comments/3" => r#"{"task_id":3}"#,
        "/facts/comments/8" => r#"{"task_id":99}"#,
        facts if facts.starts_with("/facts/") => {
            return b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                .to_vec();
        }
        _ => return ok(""),
    };
    let length = answer.len();
    format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{answer}")
        .into_bytes()
}

#[tokio::test]
async fn every_request_of_the_table_goes_as_it_says() {
    let table: Table = toml::from_str(REQUESTS).unwrap();
    let entries: Vec<(&str, &Entry)> = table
        .group
        .iter()
        .flat_map(|group| {
            group
                .requests
                .iter()
                .map(|entry| (group.about.as_str(), entry))
        })
        .collect();
    assert!(entries.len() >= 150, "{}", entries.len());
    let application = Recorder::start(application).await;
    let keys = "method_override = [\"query\", \"form\", \"multipart\"]\n";
    let house = &application.house(keys, ROUTES).await;
    let mut people = Vec::new();
    for (name, email) in [("kari", KARI), ("ola", OLA), ("nils", NILS)] {
        people.push((name, house.session_cookie(email).await));
    }
    let people = &people;
    let sends = entries.iter().enumerate().flat_map(|(number, (_, entry))| {
        people.iter().map(move |(name, cookie)| async move {
            let answer = house
                .raw(&entry.bytes(cookie, &format!("{number}-{name}")))
                .await;
            (number, *name, status(&answer))
        })
    });
    let answers: Vec<_> = stream::iter(sends).buffer_unordered(8).collect().await;
    let seen = application.seen();
    let mut faults = Vec::new();
    for (number, name, status) in &answers {
        let (about, entry) = entries[*number];
        let mark = format!("{number}-{name}");
        let arrived: Vec<_> = seen
            .iter()
            .filter(|one| one.all("x-mark") == [&mark])
            .cloned()
            .collect();
        faults.extend(
            entry
                .judge(name, *status, &arrived)
                .map(|fault| format!("{about}: {fault}")),
        );
    }
    faults.sort();
    let unmarked = seen.iter().filter(|one| one.all("x-mark").is_empty());
    let strays: Vec<_> = unmarked
        .filter(|one| !one.line.starts_with("GET /facts/"))
        .collect();
    println!(
        "{} requests by three people; {} reached the application",
        entries.len(),
        seen.len()
    );
    assert!(
        faults.is_empty(),
        "{} faults:\n{}",
        faults.len(),
        faults.join("\n")
    );
    assert!(strays.is_empty(), "{strays:?}");
}

//! Traces, as a collector gets them: one that reads them with OpenTelemetry's own types.

use std::process::Stdio;
use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::house::{House, KARI, OLA, repository};
use crate::mail::python;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const TOLD: &str = "00f067aa0ba902b7";

struct Collector {
    _process: Child,
    lines: Lines<BufReader<ChildStdout>>,
    port: u16,
}

impl Collector {
    async fn start() -> Self {
        let mut process = Command::new(python())
            .arg(repository().join("tests/otlp_receiver.py"))
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let port = lines.next_line().await.unwrap();
        Self {
            port: port
                .expect("opentelemetry-proto, which tests/run.sh installs")
                .parse()
                .unwrap(),
            _process: process,
            lines,
        }
    }

    /// A house that tells it, and believes what comes from this machine.
    async fn house(&self) -> House {
        house(self.port).await
    }

    /// The next span of a kind: 2 is a request that came in, 3 one that went on.
    async fn span(&mut self, kind: u8) -> Value {
        loop {
            let line = tokio::time::timeout(Duration::from_secs(10), self.lines.next_line());
            let told: Value = serde_json::from_str(&line.await.unwrap().unwrap().unwrap()).unwrap();
            assert_eq!(told["fault"], Value::Null, "{told}");
            assert_eq!(told["service"], "portvakt");
            if told["kind"] == kind {
                return told;
            }
        }
    }

    /// The next request that came in on a route.
    async fn on(&mut self, route: &str) -> Value {
        loop {
            let span = self.span(2).await;
            if span["name"] == route {
                return span;
            }
        }
    }
}

async fn house(port: u16) -> House {
    House::open_with(
        |config| {
            *config = config.replace(
                "[log]\n",
                &format!("[log]\ntraces = \"http://127.0.0.1:{port}/v1/traces\"\n"),
            );
            *config = config.replacen(
                "tls = \"default\"\n",
                "tls = \"default\"\ntrusted_proxies = [\"127.0.0.1/32\"]\n",
                1,
            );
        },
        None,
    )
    .await
}

/// The `traceparent` that the application received last.
fn received(house: &House) -> String {
    let all = house.service.received();
    all.last()
        .unwrap()
        .header("traceparent")
        .unwrap()
        .to_owned()
}

#[tokio::test]
async fn a_request_is_a_span_and_its_upstream_another_below_it() {
    let mut collector = Collector::start().await;
    let house = collector.house().await;
    let kari = house.logged_in(KARI).await;
    let asked = kari
        .get(house.url("/projects/1"))
        .header("traceparent", format!("00-{TRACE}-{TOLD}-01"));
    assert_eq!(asked.send().await.unwrap().status(), StatusCode::OK);
    let told = received(&house);

    let route = "GET /projects/{project}/**";
    let server = collector.on(route).await;
    let client = collector.span(3).await;
    assert_eq!(
        (&server["trace"], &server["parent"]),
        (&json!(TRACE), &json!(TOLD))
    );
    assert_eq!(
        (&client["trace"], &client["parent"]),
        (&json!(TRACE), &server["span"])
    );
    let span = client["span"].as_str().unwrap();
    assert_eq!(
        told,
        format!("00-{TRACE}-{span}-01"),
        "the application goes on below"
    );
    let attributes = &server["attributes"];
    assert_eq!(attributes["http.request.method"], "GET");
    assert_eq!(attributes["http.route"], route);
    assert_eq!(attributes["http.response.status_code"], 200);
    let rule = attributes["portvakt.rule"].as_str().unwrap();
    assert!(rule.starts_with("projects.cedar:"), "{rule}");
    assert_eq!(client["name"], "projects");
    let time = |span: &Value, end: &str| span[end].as_u64().unwrap();
    // The clock counts milliseconds, the parts of a request are finer.
    assert!(time(&server, "start") <= time(&client, "start"));
    assert!(time(&client, "start") < time(&client, "end"));
    assert!(time(&client, "end") <= time(&server, "end"));

    // A refusal is one span, in a trace of its own, and names nobody.
    let ola = house.logged_in(OLA).await;
    let patch = ola.patch(house.url("/projects/1")).json(&json!({}));
    let refused: Value = patch.send().await.unwrap().json().await.unwrap();
    let server = collector.on("* /projects/{project}/**").await;
    assert_eq!(server["trace"], refused["request_id"]);
    assert_eq!(server["parent"], "");
    assert_eq!(server["attributes"]["http.response.status_code"], 403);
    let text = server.to_string();
    assert!(
        !text.contains("/projects/1") && !text.contains("u-ola"),
        "{text}"
    );
}

#[tokio::test]
async fn what_a_caller_does_not_want_traced_is_not() {
    let mut collector = Collector::start().await;
    let house = collector.house().await;
    let kari = house.logged_in(KARI).await;
    let asked = kari
        .get(house.url("/projects/1"))
        .header("traceparent", format!("00-{TRACE}-{TOLD}-00"));
    asked.send().await.unwrap();
    let told = received(&house);
    assert!(
        told.starts_with(&format!("00-{TRACE}-")) && told.ends_with("-00"),
        "{told}"
    );
    house.get(&kari, "/projects").await;
    // Of the two, the second is the next that arrives.
    loop {
        let span = collector.span(2).await;
        assert_ne!(span["trace"], TRACE);
        if span["name"] == "GET /projects" {
            return;
        }
    }
}

#[tokio::test]
async fn a_dead_collector_costs_nothing_but_its_spans() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = closed.local_addr().unwrap().port();
    drop(closed);
    let house = house(port).await;
    let kari = house.logged_in(KARI).await;
    assert_eq!(
        house.get(&kari, "/projects/1").await.status(),
        StatusCode::OK
    );
    for _ in 0..100 {
        let metrics = house.admin("/metrics").await.text().await.unwrap();
        let dropped = metrics
            .lines()
            .find_map(|line| line.strip_prefix("portvakt_traces_dropped_total "));
        if dropped.unwrap().parse::<u64>().unwrap() > 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("nothing was counted");
}

#[tokio::test]
async fn without_a_collector_what_was_told_is_passed_on_as_it_is() {
    let house = House::open_with(
        |config| {
            *config = config.replacen(
                "tls = \"default\"\n",
                "tls = \"default\"\ntrusted_proxies = [\"127.0.0.1/32\"]\n",
                1,
            );
        },
        None,
    )
    .await;
    let kari = house.logged_in(KARI).await;
    let told = format!("00-{TRACE}-{TOLD}-01");
    let asked = kari
        .get(house.url("/projects/1"))
        .header("traceparent", &told);
    asked.send().await.unwrap();
    assert_eq!(received(&house), told);
}

//! Who has an account is not told: over the wire, by status, fields, body and size, an address that
//! is known, unknown or suspended gets the same answers, with its lane open and with it spent.

use std::sync::Arc;
use std::time::Duration;

use portvakt::clock::{ManualClock, SharedClock, Timestamp};
use reqwest::header::{ACCEPT, REFRESH};
use reqwest::{Client, ClientBuilder, Response, StatusCode};
use serde_json::{Value, json};

use crate::house::{House, KARI};

/// As long as Kari's address, and nobody's.
const NOBODY: &str = "kine@fjord.example";
/// As long as Kari's address, and suspended.
const SUSPENDED: &str = "siri@fjord.example";

/// An answer with what is random to everyone masked by its length.
#[derive(Debug, PartialEq, Eq)]
struct Shape {
    step: &'static str,
    status: StatusCode,
    fields: Vec<String>,
    body: String,
}

#[tokio::test]
async fn accounts_are_alike_over_http_1_as_pages() {
    alike(ClientBuilder::http1_only, Form::Page).await;
}

#[tokio::test]
async fn accounts_are_alike_over_http_1_as_json() {
    alike(ClientBuilder::http1_only, Form::Json).await;
}

#[tokio::test]
async fn accounts_are_alike_over_http_2_as_pages() {
    alike(ClientBuilder::http2_prior_knowledge, Form::Page).await;
}

#[tokio::test]
async fn accounts_are_alike_over_http_2_as_json() {
    alike(ClientBuilder::http2_prior_knowledge, Form::Json).await;
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Page,
    Json,
}

async fn alike(protocol: fn(ClientBuilder) -> ClientBuilder, form: Form) {
    let known = walk(protocol, form, KARI).await;
    let refused = known.iter().filter(|shape| shape.status == 429);
    assert!(refused.count() >= 2, "the lane was spent");
    for email in [NOBODY, SUSPENDED] {
        let other = walk(protocol, form, email).await;
        assert_eq!(known.len(), other.len(), "{email}");
        for (known, other) in known.iter().zip(&other) {
            assert_eq!(known, other, "{email}");
        }
    }
}

/// All answers from an address to a spent lane and beyond.
async fn walk(protocol: fn(ClientBuilder) -> ClientBuilder, form: Form, email: &str) -> Vec<Shape> {
    let clock = Arc::new(ManualClock::at(Timestamp::from_millis(1_795_515_607_000)));
    let shared: SharedClock = clock.clone();
    let house = House::open_with(
        |config| config.push_str("\n[login]\nanswer_tick = \"1ms\"\n"),
        Some(shared),
    )
    .await;
    let people = house.dir.path().join("directory.toml");
    let mut text = std::fs::read_to_string(&people).unwrap();
    text.push_str(
        "\n[[user]]\nid = \"u-siri\"\nemail = \"siri@fjord.example\"\nphone = \"+4790000009\"\n\
         name = \"Siri Lie\"\ncompany = \"fjord\"\nsuspended = true\n",
    );
    std::fs::write(&people, text).unwrap();
    house.gateway.as_ref().unwrap().reload().await;
    let mut walker = Walker {
        browser: house.browser_over(protocol),
        house: &house,
        form,
        email,
        shapes: Vec::new(),
    };
    for _ in 0..3 {
        walker.post("login", &[("email", email)]).await;
        walker.get("code").await;
        let wrong = walker.wrong().await;
        for code in ["12 4", wrong, wrong] {
            walker
                .post("code", &[("code", code), ("email", email)])
                .await;
        }
        // Too soon, and then late enough.
        walker.post("resend", &[("email", email)]).await;
        clock.advance(Duration::from_secs(61));
        walker.post("resend", &[("email", email)]).await;
        let wrong = walker.wrong().await;
        for _ in 0..2 {
            walker
                .post("code", &[("code", wrong), ("email", email)])
                .await;
        }
        clock.advance(Duration::from_secs(61));
    }
    walker.shapes
}

struct Walker<'a> {
    house: &'a House,
    browser: Client,
    form: Form,
    email: &'a str,
    shapes: Vec<Shape>,
}

impl Walker<'_> {
    /// A code that is not the right one.
    async fn wrong(&self) -> &'static str {
        if self.email == KARI && self.house.latest_code(KARI).await == "0000" {
            "1111"
        } else {
            "0000"
        }
    }

    async fn get(&mut self, step: &'static str) {
        let answer = self.asked(&format!("/.portvakt/{step}")).await;
        self.keep(step, answer).await;
    }

    async fn post(&mut self, step: &'static str, fields: &[(&str, &str)]) {
        let path = format!("/.portvakt/{step}");
        let answer = if self.form == Form::Json {
            let body: Value = fields.iter().map(|(n, v)| (*n, json!(v))).collect();
            self.house.post_json(&self.browser, &path, &body).await
        } else {
            let page = self.asked("/.portvakt/login").await.text().await.unwrap();
            let csrf = between(&page, "name=\"csrf\" value=\"", "\"");
            let mut body = form_urlencoded::Serializer::new(String::new());
            body.append_pair("csrf", csrf).extend_pairs(fields);
            let request = self
                .browser
                .post(self.house.url(&path))
                .header(ACCEPT, "text/html")
                .header("content-type", "application/x-www-form-urlencoded");
            request.body(body.finish()).send().await.unwrap()
        };
        let again = answer.headers().get(REFRESH).map(|value| {
            let (_, address) = value.to_str().unwrap().split_once(";url=").unwrap();
            address.to_owned()
        });
        self.keep(step, answer).await;
        if let Some(address) = again {
            let answer = self.asked(&address).await;
            self.keep("wait", answer).await;
        }
    }

    async fn asked(&self, path: &str) -> Response {
        let accepted = match self.form {
            Form::Page => "text/html",
            Form::Json => "application/json",
        };
        let request = self.browser.get(self.house.url(path));
        request.header(ACCEPT, accepted).send().await.unwrap()
    }

    async fn keep(&mut self, step: &'static str, answer: Response) {
        let status = answer.status();
        let port = self.house.port.to_string();
        let mut fields: Vec<String> = answer
            .headers()
            .iter()
            .map(|(name, value)| {
                let text = value.to_str().unwrap();
                let text = match name.as_str() {
                    "set-cookie" => mask(text, "=", ";"),
                    "refresh" => mask(text, "&seal=", "\n"),
                    "date" | "x-request-id" => "_".repeat(text.len()),
                    _ => text.to_owned(),
                };
                format!("{name}: {}", text.replace(&port, "PORT"))
            })
            .collect();
        fields.sort();
        let body = answer.text().await.unwrap();
        let body = mask(&body, "name=\"csrf\" value=\"", "\"");
        let body = mask(&body, "<code>", "</code>");
        let body = mask(&body, "\"request_id\":\"", "\"");
        let masked = "_".repeat(self.email.len());
        self.shapes.push(Shape {
            step,
            status,
            fields,
            body: body.replace(self.email, &masked).replace(&port, "PORT"),
        });
    }
}

/// The text with all that stands between two marks replaced by its length.
fn mask(text: &str, from: &str, to: &str) -> String {
    let mut parts = text.split(from);
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |masked, part| {
        let end = part.find(to).unwrap_or(part.len());
        let hidden = "_".repeat(end);
        format!("{masked}{from}{hidden}{}", &part[end..])
    })
}

fn between<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
    let (_, rest) = text.split_once(from).unwrap();
    rest.split_once(to).unwrap().0
}

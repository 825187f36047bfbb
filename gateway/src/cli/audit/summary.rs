//! What happened in a while, summed up.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use askama::Template;
use serde::Serialize;
use serde_json::Value;

/// From how many wrong codes on an account is worth a look.
const MANY_FAILURES: u64 = 5;

/// From how many refusals on an address is worth a look.
const MANY_REFUSALS: u64 = 100;

/// Counts of records.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    since: String,
    until: String,
    records: u64,
    logins: u64,
    login_failures: u64,
    refusals: u64,
    writes: u64,
    writes_by_company: BTreeMap<String, u64>,
    revocations: u64,
    policy_changes: Vec<Change>,
    commands: BTreeMap<String, u64>,
    days: BTreeMap<String, Day>,
    anomalies: Vec<String>,
    #[serde(skip)]
    failures_by_user: BTreeMap<String, u64>,
    #[serde(skip)]
    refusals_by_client: BTreeMap<String, u64>,
}

/// A day in UTC.
#[derive(Debug, Default, Serialize)]
struct Day {
    logins: u64,
    failures: u64,
    refusals: u64,
    writes: u64,
}

/// A policy set, directory or certificates that were exchanged, or were to be.
#[derive(Debug, Serialize)]
struct Change {
    at: String,
    what: String,
    result: String,
}

impl Summary {
    pub(super) fn new(since: String, until: String) -> Self {
        Self {
            since,
            until,
            records: 0,
            logins: 0,
            login_failures: 0,
            refusals: 0,
            writes: 0,
            writes_by_company: BTreeMap::new(),
            revocations: 0,
            policy_changes: Vec::new(),
            commands: BTreeMap::new(),
            days: BTreeMap::new(),
            anomalies: Vec::new(),
            failures_by_user: BTreeMap::new(),
            refusals_by_client: BTreeMap::new(),
        }
    }

    pub(super) fn add(&mut self, record: &Value) {
        let field = |name: &str| record.get(name).and_then(Value::as_str).unwrap_or_default();
        let (event, result, at) = (field("event"), field("result"), field("at"));
        self.records += 1;
        let day = self
            .days
            .entry(at.get(..10).unwrap_or(at).to_owned())
            .or_default();
        match event {
            "login.code" if result == "ok" => {
                self.logins += 1;
                day.logins += 1;
            }
            "login.code" => {
                self.login_failures += 1;
                day.failures += 1;
                let user = field("user");
                if !user.is_empty() {
                    *self.failures_by_user.entry(user.to_owned()).or_default() += 1;
                }
            }
            "decision" if result == "allow" => {
                let method = field("target").split(' ').next().unwrap_or_default();
                if !matches!(method, "GET" | "HEAD" | "OPTIONS" | "PROPFIND" | "REPORT") {
                    self.writes += 1;
                    day.writes += 1;
                    let company = field("company").to_owned();
                    *self.writes_by_company.entry(company).or_default() += 1;
                }
            }
            "decision" | "request.refused" => {
                self.refusals += 1;
                day.refusals += 1;
                let client = field("client").to_owned();
                *self.refusals_by_client.entry(client).or_default() += 1;
            }
            "session.revoke" => self.revocations += 1,
            "shield.raised" | "login.verification_rate" => {
                self.anomalies
                    .push(format!("{at}: {event} {result} {}", field("detail")));
            }
            _ => {}
        }
        if let Some(what) = event.strip_prefix("reload.") {
            self.policy_changes.push(Change {
                at: at.to_owned(),
                what: what.to_owned(),
                result: result.to_owned(),
            });
        }
        // How it ended is another record of the same command.
        let begun = event.strip_prefix("admin.").filter(|_| result == "begun");
        if let Some(command) = begun {
            *self.commands.entry(command.to_owned()).or_default() += 1;
            if command == "session.revoke" || command == "user.suspend" {
                self.revocations += 1;
            }
        }
    }

    /// What is worth a look, in words.
    fn noticed(&self) -> Vec<String> {
        let accounts = self
            .failures_by_user
            .iter()
            .filter(|(_, count)| **count >= MANY_FAILURES);
        let accounts =
            accounts.map(|(user, count)| format!("{count} wrong codes at the account {user}"));
        let clients = self
            .refusals_by_client
            .iter()
            .filter(|(_, count)| **count >= MANY_REFUSALS);
        let clients = clients.map(|(client, count)| format!("{count} refusals to {client}"));
        self.anomalies
            .iter()
            .cloned()
            .chain(accounts)
            .chain(clients)
            .collect()
    }

    pub(super) fn text(&self) -> String {
        let mut text = format!(
            "{} to {}\n\nrecords      {}\nlogins       {}\nfailures     {}\nrefusals     {}\nwrites       {}\nrevocations  {}\n",
            self.since,
            self.until,
            self.records,
            self.logins,
            self.login_failures,
            self.refusals,
            self.writes,
            self.revocations,
        );
        for (company, count) in &self.writes_by_company {
            // Writing to a string does not fail.
            let _ = writeln!(text, "  writes of {company}: {count}");
        }
        let _ = writeln!(text, "\nexchanged files: {}", self.policy_changes.len());
        for change in &self.policy_changes {
            let _ = writeln!(text, "  {} {} {}", change.at, change.what, change.result);
        }
        let _ = writeln!(
            text,
            "\ncommands of ops: {}",
            self.commands.values().sum::<u64>()
        );
        for (command, count) in &self.commands {
            let _ = writeln!(text, "  {command}: {count}");
        }
        let noticed = self.noticed();
        let _ = writeln!(text, "\nworth a look: {}", noticed.len());
        for one in noticed {
            let _ = writeln!(text, "  {one}");
        }
        text
    }

    /// A page that refers to nothing else, with a plot of the days.
    pub(super) fn html(&self) -> Result<String, String> {
        let page = Page {
            summary: self,
            noticed: self.noticed(),
            bars: self.bars(),
        };
        page.render()
            .map_err(|error| format!("the page cannot be written: {error}"))
    }

    fn bars(&self) -> Vec<Bar> {
        let most = self.days.values().map(Day::sum).max().unwrap_or(0).max(1);
        let width = |count: u64| count.saturating_mul(400) / most;
        let mut bars = Vec::new();
        for (row, (day, counts)) in (0_u64..).zip(&self.days) {
            let mut left = 100;
            let parts = [
                ("login", "logins", counts.logins),
                ("failure", "failures", counts.failures),
                ("refusal", "refusals", counts.refusals),
                ("write", "writes", counts.writes),
            ];
            let parts = parts.map(|(class, what, count)| {
                let part = Part {
                    class,
                    left,
                    width: width(count),
                    what,
                    count,
                };
                left += part.width;
                part
            });
            bars.push(Bar {
                day: day.clone(),
                top: row * 24,
                parts,
            });
        }
        bars
    }
}

impl Day {
    const fn sum(&self) -> u64 {
        self.logins + self.failures + self.refusals + self.writes
    }
}

/// A day in the plot.
struct Bar {
    day: String,
    top: u64,
    parts: [Part; 4],
}

struct Part {
    class: &'static str,
    left: u64,
    width: u64,
    what: &'static str,
    count: u64,
}

#[derive(Template)]
#[template(
    ext = "html",
    source = r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Audit report</title>
<style>
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem; color: #1b2733; background: #fff; }
table { border-collapse: collapse; } th, td { text-align: left; padding: 0.2rem 1.2rem 0.2rem 0; }
svg { width: 100%; height: auto; } text { font-size: 12px; fill: #1b2733; }
.login { fill: #1f5f8b; } .failure { fill: #b3261e; } .refusal { fill: #c96f26; } .write { fill: #2e7d4f; }
</style>
</head>
<body>
<main>
<h1>Audit report</h1>
<p>{{ summary.since }} to {{ summary.until }}, {{ summary.records }} records.</p>
<h2>Sums</h2>
<table>
<tr><th scope="row">Logins</th><td>{{ summary.logins }}</td></tr>
<tr><th scope="row">Failed codes</th><td>{{ summary.login_failures }}</td></tr>
<tr><th scope="row">Refusals</th><td>{{ summary.refusals }}</td></tr>
<tr><th scope="row">Writes</th><td>{{ summary.writes }}</td></tr>
<tr><th scope="row">Revocations</th><td>{{ summary.revocations }}</td></tr>
{% for (company, count) in summary.writes_by_company %}<tr><th scope="row">Writes of {{ company }}</th><td>{{ count }}</td></tr>
{% endfor %}
</table>
<h2>Days</h2>
<svg viewBox="0 0 520 {{ bars.len() * 24 + 24 }}" role="img" aria-label="Logins, failed codes, refusals and writes by day; the numbers are in the table below">
{% for bar in bars %}<text x="0" y="{{ bar.top + 15 }}">{{ bar.day }}</text>
{% for part in bar.parts %}<rect class="{{ part.class }}" x="{{ part.left }}" y="{{ bar.top + 3 }}" width="{{ part.width }}" height="16"><title>{{ bar.day }}: {{ part.count }} {{ part.what }}</title></rect>
{% endfor %}{% endfor %}
</svg>
<table>
<tr><th scope="col">Day</th><th scope="col">Logins</th><th scope="col">Failed codes</th><th scope="col">Refusals</th><th scope="col">Writes</th></tr>
{% for bar in bars %}<tr><th scope="row">{{ bar.day }}</th>{% for part in bar.parts %}<td>{{ part.count }}</td>{% endfor %}</tr>
{% endfor %}
</table>
<h2>Exchanged files</h2>
<ul>{% for change in summary.policy_changes %}<li>{{ change.at }}: {{ change.what }} {{ change.result }}</li>
{% else %}<li>none</li>{% endfor %}</ul>
<h2>Commands of ops</h2>
<ul>{% for (command, count) in summary.commands %}<li>{{ command }}: {{ count }}</li>
{% else %}<li>none</li>{% endfor %}</ul>
<h2>Worth a look</h2>
<ul>{% for one in noticed %}<li>{{ one }}</li>
{% else %}<li>nothing</li>{% endfor %}</ul>
</main>
</body>
</html>
"#
)]
struct Page<'a> {
    summary: &'a Summary,
    noticed: Vec<String>,
    bars: Vec<Bar>,
}

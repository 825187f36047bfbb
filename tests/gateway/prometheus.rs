//! What `deploy/prometheus` and `deploy/grafana` ask of the metrics is there, and means what they
//! take it to mean.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use futures_util::{StreamExt, stream};
use regex::Regex;
use reqwest::header::ACCEPT;
use serde_json::{Value, json};

use crate::house::{House, KARI, NILS, OLA, repository};
use crate::mail::python;
use crate::scraper::{Prometheus, changed, promtool, shipped};

#[test]
fn configuration_and_rules_are_prometheus_own_and_every_alert_is_tested() {
    let checked = promtool(&["check", "config"], shipped().join("prometheus.yml"));
    assert!(checked.status.success(), "{checked:?}");
    let tested = promtool(&["test", "rules"], shipped().join("tests.yml"));
    assert!(tested.status.success(), "{tested:?}");

    // Each is tested both ways.
    let rules = std::fs::read_to_string(shipped().join("rules/alerts.yml")).unwrap();
    let tests = std::fs::read_to_string(shipped().join("tests.yml")).unwrap();
    let mut alerts = 0;
    for line in rules.lines() {
        let Some(name) = line.trim().strip_prefix("- alert: ") else {
            continue;
        };
        alerts += 1;
        let fires = format!("alertname: {name}\n        exp_alerts:\n          - exp_labels:");
        let silent = format!("alertname: {name}\n        exp_alerts: []");
        assert!(tests.contains(&fires), "no test has {name} fire");
        assert!(tests.contains(&silent), "no test has {name} not fire");
    }
    assert!(alerts > 20);
}

#[test]
fn the_checks_of_configuration_and_rules_can_fail() {
    let rule = "rules/alerts.yml";
    for (alert, from, to) in [
        (
            "CertificateEndsIn21Days",
            "days_left < 21",
            "days_left < 14",
        ),
        (
            "ShieldRaised",
            "max(portvakt_login_shield_raised",
            "max(portvakt_shield",
        ),
        ("StoreDown", "severity: critical", "severity: info"),
    ] {
        let dir = changed(rule, |text| text.replace(from, to));
        // Those of this alert are enough.
        let tests = dir.path().join("tests.yml");
        let text = std::fs::read_to_string(&tests).unwrap();
        let mut parts = text.split("\n\n");
        let mut kept = vec![parts.next().unwrap(), "tests:"];
        kept.extend(parts.filter(|part| part.contains(&format!("# Portvakt{alert}: "))));
        assert_eq!(kept.len(), 4, "two tests of {alert}");
        std::fs::write(&tests, kept.join("\n\n")).unwrap();
        let tested = promtool(&["test", "rules"], tests.clone());
        assert!(!tested.status.success(), "{from} → {to}: {tested:?}");
        std::fs::copy(shipped().join(rule), dir.path().join(rule)).unwrap();
        let tested = promtool(&["test", "rules"], tests);
        assert!(tested.status.success(), "{alert}: {tested:?}");
    }
    let dir = changed(rule, |text| text.replace("== 0", "=== 0"));
    let checked = promtool(&["check", "config"], dir.path().join("prometheus.yml"));
    assert!(!checked.status.success(), "{checked:?}");
}

/// Whether the dashboard passes Grafana's own types.
fn passes(dashboard: &Path) -> bool {
    let mut check = Command::new(python());
    check.arg(repository().join("tests/dashboard.py"));
    let output = check.arg(dashboard).output().unwrap();
    assert!(
        !String::from_utf8_lossy(&output.stderr).contains("ModuleNotFound"),
        "grafana-foundation-sdk is missing, which tests/run.sh installs: {output:?}"
    );
    output.status.success()
}

#[test]
fn the_dashboard_is_one_by_grafanas_own_types() {
    let shipped = repository().join("deploy/grafana/portvakt.json");
    assert!(passes(&shipped));
    // And the check can fail.
    let text = std::fs::read_to_string(shipped).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("portvakt.json");
    for (from, to) in [
        ("\"legendFormat\"", "\"legend\""),
        ("\"min\": 0", "\"minimum\": 0"),
        ("\"schemaVersion\"", "\"schema\""),
        ("\"x\": 8, \"y\": 1,", "\"x\": 0, \"y\": 1,"),
    ] {
        let broken = text.replace(from, to);
        assert_ne!(broken, text);
        std::fs::write(&file, broken).unwrap();
        assert!(!passes(&file), "{from} → {to}");
    }
}

/// A little of everything that a gateway counts.
async fn load(house: &House, round: usize) {
    let people = [KARI, OLA, NILS];
    let email = people[round % people.len()];
    let browser = house.browser();
    house.ask_for_code(&browser, email).await;
    house
        .post_json(&browser, "/.portvakt/resend", &json!({}))
        .await;
    let code = house.latest_code(email).await;
    let wrong = if code == "0000" { "1111" } else { "0000" };
    if round < 9 {
        house.give_code(&browser, wrong).await;
    }
    house
        .give_code(&browser, &house.latest_code(email).await)
        .await;
    for path in ["/projects", "/projects/1", "/projects/3", "/nowhere"] {
        house.get(&browser, path).await;
    }
    for project in 1..=3 {
        let path = house.url(&format!("/projects/{project}"));
        let patch = browser.patch(path).json(&json!({ "name": "x" }));
        patch.send().await.unwrap();
    }
    house.get(&house.browser(), "/projects").await;
    let directory = house.dir.path().join("directory.toml");
    let text = std::fs::read_to_string(&directory).unwrap();
    if round.is_multiple_of(2) {
        std::fs::write(&directory, "nonsense").unwrap();
    }
    house.gateway.as_ref().unwrap().reload().await;
    std::fs::write(&directory, text).unwrap();
    house.gateway.as_ref().unwrap().reload().await;
}

/// What the dashboard asks; Grafana fills in the interval.
fn of_the_dashboard() -> Vec<String> {
    let file = repository().join("deploy/grafana/portvakt.json");
    let dashboard: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.filter_map(|panel| panel["targets"].as_array());
    let asked = targets.flatten().map(|target| {
        let expression = target["expr"].as_str().unwrap();
        expression.replace("$__rate_interval", "1m")
    });
    asked.collect()
}

/// What the rules ask. An alert that should be silent has no value as it stands, which is as it
/// should be: of each of its comparisons, either side is asked.
async fn of_the_rules(prometheus: &Prometheus) -> Vec<String> {
    let data = prometheus.api("rules", &[]).await;
    let compared = Regex::new(r" (?:==|>|<) ").unwrap();
    let mut asked = Vec::new();
    for rule in data["groups"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|group| group["rules"].as_array().unwrap())
    {
        assert_eq!(rule["health"], "ok", "{rule}");
        let query = rule["query"].as_str().unwrap();
        if rule["type"] == "recording" {
            asked.push(query.to_owned());
            asked.push(rule["name"].as_str().unwrap().to_owned());
            continue;
        }
        let sides: Vec<&str> = query
            .split(" and ")
            .flat_map(|part| compared.split(part))
            .collect();
        assert!(sides.len() >= 2, "an alert compares: {query}");
        asked.extend(sides.into_iter().map(str::to_owned));
    }
    asked
}

#[tokio::test]
async fn every_expression_of_dashboard_and_rules_has_data() {
    let house = House::open().await;
    let prometheus = Prometheus::scraping(house.admin).await;
    let mut missing = BTreeSet::new();
    for round in 0..60 {
        load(&house, round).await;
        if round < 4 {
            continue;
        }
        missing.clear();
        let mut asked = of_the_dashboard();
        assert!(asked.len() > 40, "{asked:?}");
        let of_rules = of_the_rules(&prometheus).await;
        assert!(of_rules.len() > 60, "{of_rules:?}");
        asked.extend(of_rules);
        for expression in asked {
            if !prometheus.has_data(&expression).await {
                missing.insert(expression);
            }
        }
        if missing.is_empty() {
            // It can fail: what nobody counts has no data.
            assert!(!prometheus.has_data("portvakt_nothing_total").await);
            return;
        }
    }
    panic!("no data: {missing:#?}");
}

/// The series of a gateway.
async fn series(house: &House) -> BTreeSet<String> {
    let text = house.admin("/metrics").await.text().await.unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| line.rsplit_once(' ').unwrap().0.to_owned())
        .collect()
}

/// How many people, addresses and paths; tests/full.sh asks for 100,000.
fn strangers() -> usize {
    let asked = portvakt::config::environment("PORTVAKT_STRANGERS");
    asked.map_or(3_000, |count| count.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_number_of_series_is_the_same_whoever_comes_from_wherever_for_whatever() {
    let believed = |config: &mut String| {
        *config = config.replacen(
            "tls = \"default\"\n",
            "tls = \"default\"\ntrusted_proxies = [\"127.0.0.1/32\"]\n",
            1,
        );
        *config = config.replace("limit = 100000", "limit = 1000000");
    };
    let house = House::open_with(believed, None).await;
    let kari = house.logged_in(KARI).await;
    let stranger = house.browser_over(|builder| builder.cookie_store(false));
    let visit = async |number: usize| {
        let [_, a, b, c] = u32::try_from(number).unwrap().to_be_bytes();
        let from = format!("10.{a}.{b}.{c}");
        let project = kari
            .get(house.url(&format!("/projects/{number}/tasks?of={number}")))
            .header("x-forwarded-for", &from)
            .header(ACCEPT, "application/json");
        let nothing = stranger
            .post(house.url(&format!("/{number}/{number}")))
            .header("x-forwarded-for", &from)
            .header("user-agent", number);
        let login = stranger
            .post(house.url("/.portvakt/login"))
            .header("x-forwarded-for", &from)
            .header(ACCEPT, "application/json")
            .json(&json!({ "email": format!("user-{number}@company-{number}.example") }));
        for (request, status) in [(project, 404), (nothing, 401), (login, 202)] {
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status().as_u16(), status, "{number}");
        }
    };
    let visits = async |from: usize, count: usize| {
        let all = stream::iter(from..from + count).map(&visit);
        all.buffer_unordered(32).collect::<Vec<()>>().await;
    };
    visits(1_000, 20).await;
    let before = series(&house).await;
    visits(2_000, strangers()).await;
    let after = series(&house).await;
    assert_eq!(before, after, "{:?}", after.difference(&before));
    assert!(before.len() < 1_000, "{}", before.len());
    // Nor does any of them name anybody or anything.
    let names = Regex::new(r#"@|10\.0\.|u-kari|fjord|/[0-9]|user-|company-"#).unwrap();
    let named: Vec<_> = after.iter().filter(|one| names.is_match(one)).collect();
    assert!(named.is_empty(), "{named:?}");
    println!(
        "{} series before and after {} strangers",
        after.len(),
        strangers()
    );
}

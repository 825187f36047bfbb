//! Policy sets at a running gateway: only what is proved takes effect, reloads disturb nobody, and
//! every decision can be explained.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::house::{House, KARI, NILS, OLA};

/// What `portvakt policy …` came to on the house's configuration: exit code, output, errors.
pub(crate) async fn policy(house: &House, words: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_portvakt"))
        .arg("policy")
        .args(words)
        .arg("--config")
        .arg(house.config_file())
        .output()
        .await
        .unwrap();
    (
        output.status.code().unwrap(),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

fn edit(house: &House, file: &str, change: impl Fn(&str) -> String) {
    let path = house.policies().join(file);
    let text = std::fs::read_to_string(&path).unwrap();
    let changed = change(&text);
    assert_ne!(text, changed);
    std::fs::write(path, changed).unwrap();
}

async fn ready(house: &House) -> Value {
    house.admin("/readyz").await.json().await.unwrap()
}

#[tokio::test]
async fn a_set_with_a_hole_does_not_take_effect_and_it_is_told_why() {
    let house = House::open().await;
    let nils = house.logged_in(NILS).await;
    let before = ready(&house).await;
    assert_eq!(before["policy"]["generation"], 1);
    assert_eq!(before["policy"]["proof"], "proved");
    assert_eq!(before["policy"]["last_failure"], Value::Null);

    // Only the proof sees this: no example of the set has an editor.
    edit(&house, "projects.cedar", |text| {
        text.replacen(
            "when { resource.company == principal.company };",
            "when { resource.company == principal.company || principal.roles.contains(\"editor\") };",
            1,
        )
    });
    house.gateway.as_ref().unwrap().reload().await;
    assert_eq!(
        house.get(&nils, "/projects/1").await.status(),
        StatusCode::NOT_FOUND
    );
    let after = ready(&house).await;
    assert_eq!(after["policy"]["generation"], 1);
    assert_eq!(after["policy"]["digest"], before["policy"]["digest"]);
    let why = after["policy"]["last_failure"]["message"].as_str().unwrap();
    assert!(why.contains("projects.cedar:4:1: a hole"), "{why}");
    assert!(after["policy"]["failures"].as_u64().unwrap() >= 1);

    edit(&house, "projects.cedar", |text| {
        text.replace(" || principal.roles.contains(\"editor\")", "") + "\n// Again.\n"
    });
    house.gateway.as_ref().unwrap().reload().await;
    let after = ready(&house).await;
    assert_eq!(after["policy"]["generation"], 2, "{after}");
    assert_ne!(after["policy"]["digest"], before["policy"]["digest"]);
    let metrics = house.admin("/metrics").await.text().await.unwrap();
    let digest = after["policy"]["digest"].as_str().unwrap();
    for line in [
        "portvakt_policy_generation 2",
        "portvakt_policy_proved 1",
        &format!("portvakt_policy_info{{digest=\"{digest}\"}} 1"),
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line}");
    }
    let value = |name: &str| {
        let line = metrics.lines().find(|line| line.starts_with(name)).unwrap();
        line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()
    };
    assert!(value("portvakt_policy_loaded_timestamp_seconds ") > 0.0);
    assert!(value("portvakt_policy_failed_timestamp_seconds ") > 0.0);
    assert!(value("portvakt_reloads_total{result=\"failed\",what=\"policy\"} ") >= 1.0);
}

#[tokio::test]
async fn where_a_proof_is_required_nothing_else_takes_effect() {
    let required = "\n[policy]\nrequire_proof = true\ndir =";
    let require = |config: &mut String| *config = config.replace("\n[policy]\ndir =", required);
    let mut house = House::open_with(require, None).await;
    assert_eq!(ready(&house).await["policy"]["proof"], "proved");
    edit(&house, "invariants.cedar", |text| {
        text.replace("permit (principal, action, resource is Company) when { resource != principal.company };", "")
    });
    house.gateway.as_ref().unwrap().reload().await;
    let told = ready(&house).await;
    let why = told["policy"]["last_failure"]["message"].as_str().unwrap();
    assert!(
        why.contains("no invariant says when `create` on a `Company`"),
        "{why}"
    );
    let (code, out, _) = policy(&house, &["prove"]).await;
    assert_eq!(code, 1, "{out}");

    // Without a solver it does not even start.
    house.gateway.take().unwrap().stop().await;
    let config = std::fs::read_to_string(house.config_file()).unwrap();
    let absent = "[policy]\nsolver = \"/nowhere/cvc5\"\n";
    std::fs::write(house.config_file(), config.replace("[policy]\n", absent)).unwrap();
    for command in ["check", "run"] {
        let output = Command::new(env!("CARGO_BIN_EXE_portvakt"))
            .args([command, "--config"])
            .arg(house.config_file())
            .output()
            .await
            .unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{command}: {err}");
        assert!(
            err.contains("there is no solver `/nowhere/cvc5`"),
            "{command}: {err}"
        );
        assert!(err.contains("apt install cvc5"), "{command}: {err}");
    }
}

#[tokio::test]
async fn the_command_proves_or_says_what_is_wrong() {
    let house = House::open().await;
    let (code, out, err) = policy(&house, &["prove"]).await;
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("for 5 of 5 combinations"), "{out}");
    let (code, out, _) = policy(&house, &["prove", "--json"]).await;
    let told: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &told["outcome"]), (0, &json!("proved")));
    let (code, out, _) = policy(&house, &["test"]).await;
    assert_eq!(code, 0);
    assert!(
        out.ends_with("4 of 4 rules, 15 of 15 routes are touched\n"),
        "{out}"
    );

    edit(&house, "projects.cedar", |text| {
        text.replace("forbid (principal", "// forbid (principal")
    });
    let (code, out, err) = policy(&house, &["prove"]).await;
    assert_eq!(code, 1);
    assert!(out.contains("not proved: 5 reasons"), "{out}");
    for part in [
        "projects.cedar:4:1: a hole",
        "invariants.cedar:11",
        "who  User",
        "suspended: true",
    ] {
        assert!(err.contains(part), "{part} in {err}");
    }
}

#[tokio::test]
async fn a_request_is_explained_step_by_step() {
    let house = House::open().await;
    let explain = async |user: &str, request: &str| {
        let (code, out, err) = policy(&house, &["explain", "--user", user, request]).await;
        assert_eq!(code, 0, "{err}");
        out
    };
    let told = explain(OLA, "PATCH /projects/1?x=%7e").await;
    println!("{told}");
    for line in [
        "target    PATCH /projects/1?x=",
        "user      u-ola of fjord",
        "route     `* /projects/{project}/**` at routes.toml:45: action `write`",
        "resource  Project::1: company fjord, owner u-kari; from upstream, /projects/1, ",
        "rules     denied: no rule matches",
        "verdict   deny (403), by default",
    ] {
        assert!(told.contains(line), "{line} in {told}");
    }
    let told = explain(KARI, "PATCH /projects/1").await;
    assert!(
        told.contains("verdict   allow, by projects.cedar:8"),
        "{told}"
    );
    let told = explain(NILS, "GET /projects/1").await;
    assert!(told.contains("verdict   deny (404), by default"), "{told}");
    let field = "X-HTTP-Method-Override: DELETE";
    let words = [
        "explain",
        "--user",
        OLA,
        "--header",
        field,
        "GET /projects/1",
    ];
    let (_, told, _) = policy(&house, &words).await;
    assert!(told.contains("action `write`, judged as DELETE"), "{told}");
    assert!(told.contains("verdict   deny (403), by default"), "{told}");
    let told = explain(KARI, "GET /nowhere").await;
    assert!(told.contains("route     none matches"), "{told}");
    let (code, out, _) = policy(
        &house,
        &["explain", "--user", KARI, "GET /projects/1", "--json"],
    )
    .await;
    let told: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &told["verdict"]), (0, &json!("allow")));
    assert_eq!(told["resources"][0]["owner"], "u-kari");
    let received = house.service.received();
    assert!(
        received.iter().all(|one| one.method != "PATCH"),
        "a described request was made"
    );

    for (words, expected) in [
        (
            ["explain", "--user", "nobody@fjord.example", "GET /"],
            "no user has the address",
        ),
        (["explain", "--user", KARI, "GET /../x"], "is no request"),
    ] {
        let (code, _, err) = policy(&house, &words).await;
        assert_eq!(code, 1, "{err}");
        assert!(err.contains(expected), "{err}");
    }
    assert_eq!(policy(&house, &["explain", "GET /"]).await.0, 2);
}

#[tokio::test]
async fn a_past_request_is_found_by_what_its_refusal_says() {
    let house = House::open().await;
    let ola = house.logged_in(OLA).await;
    let refused = async |path: &str| -> (StatusCode, String) {
        let request = ola.patch(house.url(path)).json(&json!({ "name": "x" }));
        let answer = request.send().await.unwrap();
        let status = answer.status();
        let problem: Value = answer.json().await.unwrap();
        (status, problem["request_id"].as_str().unwrap().to_owned())
    };
    let (status, denied) = refused("/projects/1").await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    let (status, hidden) = refused("/projects/3").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let (status, lost) = refused("/nowhere").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    // A record that waits for the disk is written after those before it.
    let (_, last) = refused("/projects/1").await;
    for _ in 0..100 {
        if policy(&house, &["explain", &last]).await.0 == 0 {
            break;
        }
    }
    for (id, parts) in [
        (
            &denied,
            [
                "decision: deny",
                "PATCH /projects/1",
                "routes.toml:45 * /projects/{project}/**",
                "default: no rule matched",
                "u-ola",
            ],
        ),
        (
            &hidden,
            [
                "decision: deny",
                "PATCH /projects/3",
                "Project::3",
                "policy",
                "fjord",
            ],
        ),
        (
            &lost,
            [
                "request.refused: 404",
                "PATCH /nowhere",
                "no route matches",
                "u-ola",
                "fjord",
            ],
        ),
    ] {
        let (code, out, err) = policy(&house, &["explain", id]).await;
        assert_eq!(code, 0, "{err}");
        for part in parts {
            assert!(out.contains(part), "{part} in {out}");
        }
        let (_, out, _) = policy(&house, &["explain", id, "--json"]).await;
        let told: Value = serde_json::from_str(&out).unwrap();
        assert_eq!(told[0]["request_id"], **id);
    }
    let allowed = house.get(&ola, "/projects/1").await;
    assert_eq!(allowed.status(), StatusCode::OK);
    let trail = house.dir.path().join("state/audit/audit.jsonl");
    let id = loop {
        let text = std::fs::read_to_string(&trail).unwrap();
        let allowed = text
            .lines()
            .find(|line| line.contains("\"result\":\"allow\""));
        if let Some(line) = allowed {
            let record: Value = serde_json::from_str(line).unwrap();
            break record["request_id"].as_str().unwrap().to_owned();
        }
        tokio::task::yield_now().await;
    };
    let (code, out, _) = policy(&house, &["explain", &id]).await;
    assert_eq!(code, 0);
    assert!(
        out.contains("decision: allow") && out.contains("projects.cedar:4"),
        "{out}"
    );

    let (code, _, err) = policy(&house, &["explain", "00000000000000000000000000000000"]).await;
    assert_eq!(code, 1);
    assert!(
        err.contains("nothing is recorded of") && err.contains("--user EMAIL"),
        "{err}"
    );
}

/// Asks over and over, until told to stop: the status is the same every time.
async fn ask_on(
    client: Client,
    request: reqwest::Request,
    expected: StatusCode,
    stop: Arc<AtomicBool>,
    asked: Arc<AtomicU64>,
) {
    while !stop.load(Ordering::SeqCst) {
        let answer = client.execute(request.try_clone().unwrap()).await.unwrap();
        assert_eq!(
            answer.status(),
            expected,
            "{} {}",
            request.method(),
            request.url()
        );
        answer.bytes().await.unwrap();
        asked.fetch_add(1, Ordering::SeqCst);
    }
}

/// `tests/full.sh` asks for 1,000.
#[expect(
    clippy::disallowed_methods,
    reason = "how long a test runs is no configuration of the gateway"
)]
fn reloads() -> usize {
    std::env::var("PORTVAKT_RELOADS").map_or(20, |text| text.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reloads_under_load_fail_no_request_and_change_no_verdict() {
    let reloads = reloads();
    let house = House::open().await;
    let (kari, ola) = (house.logged_in(KARI).await, house.logged_in(OLA).await);
    let nils = house.logged_in(NILS).await;
    let (stop, asked) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    let mut askers = Vec::new();
    for (client, method, path, expected) in [
        (&ola, "GET", "/projects/1", StatusCode::OK),
        (&ola, "PUT", "/projects/1", StatusCode::FORBIDDEN),
        (&kari, "GET", "/projects/1", StatusCode::OK),
        (&nils, "GET", "/projects/1", StatusCode::NOT_FOUND),
        (&nils, "GET", "/projects/3", StatusCode::OK),
    ] {
        let method = method.parse().unwrap();
        let request = client.request(method, house.url(path)).build().unwrap();
        let (stop, asked) = (Arc::clone(&stop), Arc::clone(&asked));
        askers.push(tokio::spawn(ask_on(
            client.clone(),
            request,
            expected,
            stop,
            asked,
        )));
    }
    // Two sets that agree on every verdict and on no name: a request that was routed by one and
    // judged by the other would find no such action.
    let names = ["schema.cedarschema", "projects.cedar", "routes.toml"];
    let texts = names.map(|name| std::fs::read_to_string(house.policies().join(name)).unwrap());
    let renamed = [
        texts[0].replace("action read,", "action open,"),
        texts[1].replace("\"read\"", "\"open\""),
        texts[2]
            .replace("\"read\"", "\"open\"")
            .replace("match  = \"*", "visible_by = \"open\"\nmatch  = \"*"),
    ];
    for number in 1..=reloads {
        let set = if number % 2 == 0 { &texts } else { &renamed };
        for (name, text) in names.iter().zip(set) {
            let broken = number % 10 == 0 && *name == "projects.cedar";
            let text = if broken { "permit (" } else { text };
            std::fs::write(house.policies().join(name), text).unwrap();
        }
        house.gateway.as_ref().unwrap().reload().await;
    }
    stop.store(true, Ordering::SeqCst);
    for asker in askers {
        asker.await.unwrap();
    }
    let told = ready(&house).await;
    println!(
        "{reloads} reloads, {} requests: {}",
        asked.load(Ordering::SeqCst),
        told["policy"]
    );
    assert!(asked.load(Ordering::SeqCst) > 0);
    let generations = told["policy"]["generation"].as_u64().unwrap();
    assert!(generations as usize > reloads / 2, "{told}");
    assert!(
        told["policy"]["failures"].as_u64().unwrap() as usize >= reloads / 10,
        "{told}"
    );
}

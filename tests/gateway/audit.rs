//! The audit trail of a running gateway, looked at as auditors do: with the commands.

use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::house::{House, KARI, OLA};
use crate::ran::{Ran, portvakt};

/// A house where a little has happened.
async fn lived_in() -> House {
    let house = House::open().await;
    let kari = house.logged_in(KARI).await;
    assert_eq!(house.get(&kari, "/projects/1").await.status(), 200);
    let patch = kari
        .patch(house.url("/projects/1"))
        .json(&serde_json::json!({ "description": "new" }))
        .send();
    assert_eq!(patch.await.unwrap().status(), 200);
    let ola = house.logged_in(OLA).await;
    let refused = ola
        .patch(house.url("/projects/1"))
        .json(&serde_json::json!({ "description": "his" }))
        .send();
    assert_eq!(refused.await.unwrap().status(), 403);
    assert_eq!(
        portvakt(&house, "user suspend ola@fjord.example")
            .await
            .code,
        0
    );
    house
}

async fn verified(house: &House) -> Ran {
    portvakt(house, "audit verify --json").await
}

#[tokio::test]
async fn the_trail_of_a_running_gateway_is_unbroken_and_whoever_rewrites_it_is_found() {
    let mut house = lived_in().await;
    let ran = verified(&house).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    let told = ran.json();
    assert!(told["trail"]["records"].as_u64().unwrap() >= 7, "{told}");
    house.gateway.take().unwrap().stop().await;
    let told = verified(&house).await.json();
    // At the stop a head vouches for everything.
    assert_eq!(told["trail"]["vouched"], told["trail"]["last"], "{told}");
    let key = told["key"].as_str().unwrap().to_owned();

    let dir = house.dir.path().join("state/audit");
    let file = dir.join("audit.jsonl");
    let text = std::fs::read_to_string(&file).unwrap();
    // The suspension was not of Ola.
    let forged = text.replacen("ola@fjord.example", "nils@tinde.example", 1);
    assert_ne!(forged, text);
    std::fs::write(&file, forged).unwrap();
    let ran = portvakt(&house, "audit verify").await;
    assert_eq!(ran.code, 1);
    assert!(
        ran.out.starts_with("BROKEN ") && ran.out.contains("audit.jsonl:"),
        "{ran:?}"
    );
    // The end that says so is cut off.
    let cut: String = text.split_inclusive('\n').take(3).collect();
    std::fs::write(&file, cut).unwrap();
    let ran = verified(&house).await;
    assert_eq!(ran.code, 1);
    let broken = &ran.json()["broken"];
    assert!(
        broken["reason"]
            .as_str()
            .unwrap()
            .contains("its end was cut off"),
        "{broken}"
    );
    assert!(broken["seq"].is_u64() && broken["line"].is_u64());

    // An auditor has a copy of the folder and the public key, and nothing else.
    std::fs::write(&file, &text).unwrap();
    let copy = tempfile::tempdir().unwrap();
    crate::house::copy_folder(&dir, copy.path());
    let program = env!("CARGO_BIN_EXE_portvakt");
    let output = tokio::process::Command::new(program)
        .args(["audit", "verify", "--key", &key, "--dir"])
        .arg(copy.path())
        .current_dir(copy.path())
        .output()
        .await
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[tokio::test]
async fn a_gateway_that_finds_its_trail_broken_says_so_and_serves_on() {
    let mut house = lived_in().await;
    let statement = portvakt(&house, "statement --json").await.json();
    assert!(
        statement["trail"]["shown"]["records"].is_u64(),
        "{statement}"
    );
    house.gateway.take().unwrap().stop().await;
    let file = house.dir.path().join("state/audit/audit.jsonl");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replacen("\"u-kari\"", "\"u-nils\"", 1)).unwrap();
    house.start().await;
    let mut metrics = String::new();
    for _ in 0..100 {
        metrics = house.admin("/metrics").await.text().await.unwrap();
        if metrics.contains("portvakt_audit_unbroken 0") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(metrics.contains("portvakt_audit_unbroken 0"), "{metrics}");
    let statement = portvakt(&house, "statement --json").await.json();
    let why = statement["trail"]["not_shown"].as_str().unwrap();
    assert!(why.contains("does not follow on record"), "{why}");
    let kari = house.logged_in(KARI).await;
    assert_eq!(house.get(&kari, "/projects/1").await.status(), 200);
}

#[tokio::test]
async fn tail_chooses_and_follows() {
    let house = lived_in().await;
    let records = async |line: &str| -> Vec<Value> {
        let ran = portvakt(&house, &format!("audit tail --json {line}")).await;
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{line}");
        let lines = ran.out.lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    };
    let events = |records: &[Value]| -> Vec<String> {
        let event = |record: &Value| record["event"].as_str().unwrap().to_owned();
        records.iter().map(event).collect()
    };
    assert_eq!(events(&records("--event gateway").await), ["gateway.start"]);
    let denied = records("--verdict deny --user u-ola --resource Project::1").await;
    assert_eq!(events(&denied), ["decision"]);
    assert_eq!(denied[0]["target"], "PATCH /projects/1");
    assert_eq!(records("--company tinde").await.len(), 0);
    assert_eq!(records("-n 2").await.len(), 2);
    assert_eq!(records("--since 1h --event login.code").await.len(), 2);
    let bad = portvakt(&house, "audit tail --since tomorrow").await;
    assert_eq!(bad.code, 1);
    assert!(bad.err.contains("write 30m, 12h, 7d"), "{bad:?}");

    let mut following = tokio::process::Command::new(env!("CARGO_BIN_EXE_portvakt"))
        .args([
            "audit",
            "tail",
            "--follow",
            "-n",
            "0",
            "--event",
            "admin.session.revoke",
        ])
        .arg("--config")
        .arg(house.config_file())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(following.stdout.take().unwrap()).lines();
    // It may not look yet: revoking goes on until it is seen.
    let seen = async {
        loop {
            portvakt(&house, "session revoke --user kari@fjord.example").await;
            let next = tokio::time::timeout(Duration::from_secs(1), lines.next_line()).await;
            if let Ok(line) = next {
                return line.unwrap().unwrap();
            }
        }
    };
    let line = tokio::time::timeout(Duration::from_secs(30), seen)
        .await
        .unwrap();
    assert!(line.contains("admin.session.revoke"), "{line}");
}

#[tokio::test]
async fn a_report_sums_up_what_happened() {
    let house = lived_in().await;
    let told = portvakt(&house, "audit report --since 1h --json")
        .await
        .json();
    for (what, count) in [
        ("logins", 2),
        ("writes", 1),
        ("refusals", 1),
        ("revocations", 1),
    ] {
        assert_eq!(told[what], count, "{what}: {told}");
    }
    assert_eq!(told["writes_by_company"]["fjord"], 1);
    assert_eq!(told["commands"]["user.suspend"], 1);
    let text = portvakt(&house, "audit report").await;
    assert!(text.out.contains("\nlogins       2\n"), "{text:?}");
    let page = house.dir.path().join("report.html");
    let line = format!("audit report --html {}", page.display());
    assert_eq!(portvakt(&house, &line).await.code, 0);
    let html = std::fs::read_to_string(&page).unwrap();
    assert!(
        html.contains("<svg") && html.contains("Writes of fjord"),
        "{html}"
    );
    assert!(
        !html.contains("<script") && !html.contains("http"),
        "it needs no other file"
    );
}

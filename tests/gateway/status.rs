//! `portvakt status`, given as ops give it, and what it says when things go wrong.

use serde_json::{Value, json};

use crate::house::{House, KARI};
use crate::ran::{portvakt, records};

/// The house's status as JSON, with its exit code.
async fn status(house: &House) -> (i32, Value) {
    let ran = portvakt(house, "status --json").await;
    assert_eq!(ran.err, "");
    (ran.code, ran.json())
}

#[tokio::test]
async fn the_whole_gateway_is_on_one_screen() {
    let house = House::open().await;
    house.logged_in(KARI).await;
    let (code, told) = status(&house).await;
    assert_eq!(code, 0, "{told}");
    assert_eq!(told["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(told["public_url"], house.url("").as_str());
    assert_eq!(told["ready"], true);
    assert!(told["uptime_seconds"].as_u64().unwrap() < 600);
    let listener = &told["listeners"][0];
    assert_eq!(listener["address"], format!("127.0.0.1:{}", house.port));
    let certificate = &listener["certificates"][0];
    assert_eq!(certificate["name"], "localhost");
    assert!(certificate["days_left"].as_u64().unwrap() > 0, "{told}");
    let upstream = &told["upstreams"][0];
    assert_eq!(
        (&upstream["name"], &upstream["up"], &upstream["under_way"]),
        (&json!("projects"), &json!(true), &json!(0))
    );
    assert_eq!(
        upstream["addresses"],
        json!([format!("http://{}", house.upstream)])
    );
    assert_eq!(told["policy"]["generation"], 1);
    assert_eq!(told["policy"]["proof"], "proved");
    assert_eq!(told["policy"]["last_failure"], Value::Null);
    assert_eq!(told["directory"]["kind"], "file");
    assert_eq!(
        (&told["store"]["kind"], &told["store"]["up"]),
        (&json!("embedded"), &json!(true))
    );
    assert_eq!(told["shield"]["raised"], Value::Null);
    assert_eq!(told["shield"]["left"], 500);
    assert_eq!(told["messages"][0]["used"], 1, "the code of the login");
    assert_eq!(told["messages"][0]["per_seconds"], 3600);

    let screen = portvakt(&house, "status").await;
    assert_eq!(screen.code, 0);
    let lines: Vec<&str> = screen.out.lines().collect();
    assert!(lines.len() <= 24, "one screen: {}", screen.out);
    for (name, part) in [
        ("portvakt", "up "),
        ("ready", "yes"),
        ("listeners", "TLS, `localhost` until "),
        ("upstreams", "projects  up at http://127.0.0.1:"),
        ("policy", "generation 1, "),
        ("directory", "file, `"),
        ("store", "embedded, `"),
        ("shield", "down, 500 of 500 guesses left"),
        ("messages", "1 of 100000 in 1h"),
        ("sessions", " live, "),
    ] {
        let line = lines.iter().find(|line| line.starts_with(name));
        assert!(
            line.is_some_and(|line| line.contains(part)),
            "{name}: {part}: {}",
            screen.out
        );
    }
    assert_eq!(records(&house), [""; 0], "looking is not on record");
}

#[tokio::test]
async fn trouble_is_told_and_is_the_exit_code() {
    let mut house = House::open().await;
    let rules = house.policies().join("projects.cedar");
    let text = std::fs::read_to_string(&rules).unwrap();
    std::fs::write(&rules, format!("{text}\npermit (nonsense")).unwrap();
    house.gateway.as_ref().unwrap().reload().await;
    let (code, told) = status(&house).await;
    assert_eq!(code, 0, "the last good policy set serves on");
    // At least: the changed file is noticed by itself as well.
    assert!(told["policy"]["failures"].as_u64() >= Some(1));
    let failure = told["policy"]["last_failure"]["message"].as_str().unwrap();
    assert!(failure.contains("projects.cedar:"), "{failure}");

    let kari = house.logged_in(KARI).await;
    portvakt(&house, "shield raise").await;
    house.stop_service().await;
    house.get(&kari, "/projects").await;
    let (code, told) = status(&house).await;
    assert_eq!((code, &told["ready"]), (1, &json!(false)));
    assert_eq!(told["upstreams"][0]["up"], false);
    assert!(told["upstreams"][0]["failures"]["connect"].as_u64() >= Some(1));
    assert_eq!(told["shield"]["by_hand"], true);
    let screen = portvakt(&house, "status").await;
    assert_eq!(screen.code, 1);
    for part in [
        "\nready      NO\n           - reload:policy: ",
        "- upstreams: no upstream can be reached\n",
        "projects  DOWN at ",
        " failed (connect)",
        " refused, the last at ",
        "RAISED by hand since ",
    ] {
        assert!(screen.out.contains(part), "{part}: {}", screen.out);
    }
}

#[tokio::test]
async fn a_request_under_way_is_told() {
    // It takes connections, and never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let house = House::open_with(
        |config| {
            let (before, after) = config.split_once("addresses = [\"http://").unwrap();
            let (_, after) = after.split_once('"').unwrap();
            *config = format!("{before}addresses = [\"http://{address}\"{after}");
        },
        None,
    )
    .await;
    let kari = house.logged_in(KARI).await;
    let slow = tokio::spawn(kari.get(house.url("/projects")).send());
    let mut under_way = json!(0);
    for _ in 0..100 {
        under_way = status(&house).await.1["upstreams"][0]["under_way"].clone();
        if under_way == 1 {
            break;
        }
    }
    assert_eq!(under_way, 1);
    slow.abort();
}

#[tokio::test]
async fn health_is_in_the_metrics_whoever_asks_or_not() {
    let mut house = House::open().await;
    let metrics = async |house: &House| house.admin("/metrics").await.text().await.unwrap();
    let holds = async |house: &House, line: &str| {
        for _ in 0..150 {
            if metrics(house).await.lines().any(|one| one == line) {
                return true;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        false
    };
    for line in [
        "portvakt_ready 1",
        "portvakt_store_up 1",
        "portvakt_directory_up 1",
        "portvakt_upstream_up{upstream=\"projects\"} 1",
        "portvakt_upstream_requests{upstream=\"projects\"} 0",
        "portvakt_messages_budget_limit{per=\"3600\"} 100000",
        "portvakt_login_fleet_budget_burst 500",
        "portvakt_audit_lost_total 0",
        "portvakt_upstream_errors_total{kind=\"connect\",upstream=\"projects\"} 0",
    ] {
        assert!(
            holds(&house, line).await,
            "{line}: {}",
            metrics(&house).await
        );
    }
    house.stop_service().await;
    for line in [
        "portvakt_ready 0",
        "portvakt_upstream_up{upstream=\"projects\"} 0",
    ] {
        assert!(holds(&house, line).await, "{line}");
    }
    let text = metrics(&house).await;
    assert!(text.contains("process_resident_memory_bytes "), "{text}");
    assert!(text.contains("portvakt_build_info{version="), "{text}");
}

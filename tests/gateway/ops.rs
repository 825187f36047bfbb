//! What ops see and do: health, metrics, records, reloads, and nothing secret in any of it.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::house::{House, KARI, NILS, OLA};

#[tokio::test]
async fn health_and_readiness_tell_what_is_so() {
    let mut house = House::open().await;
    assert_eq!(house.admin("/healthz").await.status(), StatusCode::OK);
    let ready = house.admin("/readyz").await;
    assert_eq!(ready.status(), StatusCode::OK);
    let ready: Value = ready.json().await.unwrap();
    assert_eq!(ready["ready"], true, "{ready}");
    // The admin paths are not on the public listener.
    let stranger = house.browser();
    for path in ["/metrics", "/outbox", "/readyz", "/healthz"] {
        assert_eq!(
            house.get(&stranger, path).await.status(),
            StatusCode::UNAUTHORIZED,
            "{path}"
        );
    }
    house.stop_service().await;
    let down = house.admin("/readyz").await;
    assert_eq!(down.status(), StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn an_outbox_is_read_by_a_loopback_name_only() {
    let house = House::open().await;
    let asked = reqwest::Client::new()
        .get(format!("http://{}/outbox", house.admin))
        .header("host", "evil.example:9090")
        .send()
        .await
        .unwrap();
    assert_eq!(asked.status(), StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_dead_upstream_is_a_502_and_missing_facts_a_503_never_an_allow() {
    let mut house = House::open().await;
    let (kari, nils) = (house.logged_in(KARI).await, house.logged_in(NILS).await);
    assert_eq!(
        house.get(&kari, "/projects/1").await.status(),
        StatusCode::OK
    );
    house.stop_service().await;
    // Facts are at hand: the request is allowed, and cannot be delivered.
    assert_eq!(
        house.get(&kari, "/projects/1").await.status(),
        StatusCode::BAD_GATEWAY
    );
    // Facts are not: nobody is let through.
    let refused = house.get(&nils, "/projects/3").await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(refused.headers().contains_key("retry-after"));
}

#[tokio::test]
async fn a_broken_policy_or_directory_leaves_the_last_good_in_force() {
    let house = House::open().await;
    let (kari, ola) = (house.logged_in(KARI).await, house.logged_in(OLA).await);
    let rules = house.policies().join("projects.cedar");
    let text = std::fs::read_to_string(&rules).unwrap();
    std::fs::write(
        &rules,
        format!("{text}\npermit (principal, action == Action::\"wite\", resource);"),
    )
    .unwrap();
    std::fs::write(house.dir.path().join("directory.toml"), "nonsense").unwrap();
    house.gateway.as_ref().unwrap().reload().await;
    assert_eq!(
        house.get(&kari, "/projects/1").await.status(),
        StatusCode::OK
    );
    let patch = ola
        .patch(house.url("/projects/1"))
        .json(&json!({ "name": "x" }))
        .send()
        .await
        .unwrap();
    assert_eq!(patch.status(), StatusCode::FORBIDDEN);
    let ready: Value = house.admin("/readyz").await.json().await.unwrap();
    let failed: Vec<&Value> = ready["checks"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|c| c["ok"] == false)
        .collect();
    let told = failed
        .iter()
        .map(|check| check.to_string())
        .collect::<String>();
    assert!(
        told.contains("projects.cedar") && told.contains("directory"),
        "{ready}"
    );
}

#[tokio::test]
async fn a_changed_policy_takes_effect_by_itself() {
    let house = House::open().await;
    let ola = house.logged_in(OLA).await;
    assert_eq!(
        house.get(&ola, "/projects/1").await.status(),
        StatusCode::OK
    );
    let routes = house.policies().join("routes.toml");
    let text = std::fs::read_to_string(&routes).unwrap();
    let more =
        "\n[[route]]\nmatch = \"GET /brand-new\"\naction = \"list\"\nresource = \"company\"\n";
    assert_eq!(
        house.get(&ola, "/brand-new").await.status(),
        StatusCode::NOT_FOUND
    );
    let before = house.service.received().len();
    std::fs::write(&routes, format!("{text}{more}")).unwrap();
    for _ in 0..100 {
        house.get(&ola, "/brand-new").await;
        if house.service.received().len() > before {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the new route did not take effect within ten seconds");
}

#[tokio::test]
async fn records_lines_and_metrics_tell_all_and_give_nothing_away() {
    let house = House::open().await;
    let ola = house.browser();
    house.ask_for_code(&ola, OLA).await;
    let code = house.latest_code(OLA).await;
    house
        .give_code(&ola, if code == "0000" { "1111" } else { "0000" })
        .await;
    let given = house.give_code(&ola, &code).await;
    let cookies: Vec<String> = given
        .headers()
        .get_all("set-cookie")
        .iter()
        .map(|c| {
            c.to_str()
                .unwrap()
                .split(';')
                .next()
                .unwrap()
                .split('=')
                .nth(1)
                .unwrap()
                .to_owned()
        })
        .filter(|value| !value.is_empty())
        .collect();
    assert!(cookies.len() >= 2);
    house.get(&ola, "/projects/1?token=verysecret").await;
    let refused = ola
        .patch(house.url("/projects/1"))
        .json(&json!({}))
        .send()
        .await
        .unwrap();
    let problem: Value = refused.json().await.unwrap();
    let request_id = problem["request_id"].as_str().unwrap().to_owned();

    let metrics = house.admin("/metrics").await.text().await.unwrap();
    for family in [
        "portvakt_http_requests_total{method=\"read\",route=\"GET /projects/{project}/**\",status=\"200\"} 1",
        "portvakt_policy_decisions_total{rule=\"projects.cedar:",
        "portvakt_login_steps_total{result=",
        "portvakt_codes_sent_total{",
        "portvakt_request_overhead_seconds_count",
        "portvakt_upstream_response_seconds_count{upstream=\"projects\"}",
        "portvakt_sessions_live",
        "portvakt_certificate_not_after_timestamp_seconds",
    ] {
        assert!(metrics.contains(family), "{family} in {metrics}");
    }

    let state = house.dir.path().join("state");
    let mut records = String::new();
    for _ in 0..100 {
        records = std::fs::read_to_string(state.join("audit/audit.jsonl")).unwrap();
        if records.contains(&request_id) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let denied = records
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .find(|record| record["request_id"] == request_id.as_str())
        .expect("the refusal is on record");
    assert_eq!(
        (&denied["result"], &denied["user"], &denied["company"]),
        (&json!("deny"), &json!("u-ola"), &json!("fjord"))
    );
    assert_eq!(denied["resources"], json!(["Project::1"]));
    assert_eq!(denied["target"], "PATCH /projects/1");
    assert!(denied["policy"].is_string());

    let mut lines = String::new();
    for _ in 0..100 {
        lines = std::fs::read_to_string(state.join("access.jsonl")).unwrap();
        if lines.contains(&request_id) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(
        lines.matches(&request_id).count(),
        1,
        "one line per request"
    );
    for (name, text) in [
        ("records", &records),
        ("lines", &lines),
        ("metrics", &metrics),
    ] {
        assert!(!text.contains("verysecret"), "{name}");
        assert!(!text.contains(&format!("\"{code}\"")), "{name}");
        for cookie in &cookies {
            assert!(!text.contains(cookie), "{name}");
        }
    }
}

#[tokio::test]
async fn every_refusal_is_on_record() {
    let house = House::open().await;
    let kari = house.logged_in(KARI).await;
    let stranger = house.browser();
    let evil =
        |request: reqwest::RequestBuilder| request.header("origin", "https://evil.example").send();
    let mut ids = Vec::new();
    for answer in [
        house.get(&kari, "/nowhere").await,
        house.get(&stranger, "/projects/1").await,
        house.get(&kari, "/projects/1%2f2").await,
        evil(kari.delete(house.url("/projects/1"))).await.unwrap(),
    ] {
        assert!(answer.status().is_client_error());
        let problem: Value = answer.json().await.unwrap();
        ids.push(problem["request_id"].as_str().unwrap().to_owned());
    }
    let path = house.dir.path().join("state/audit/audit.jsonl");
    for _ in 0..100 {
        let records = std::fs::read_to_string(&path).unwrap();
        if ids.iter().all(|id| records.contains(id.as_str())) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("not all of {ids:?} are on record");
}

#[tokio::test]
async fn a_folder_that_never_rests_does_not_hold_up_a_suspension() {
    let house = House::open().await;
    let kari = house.logged_in(KARI).await;
    assert_eq!(
        house.get(&kari, "/projects/1").await.status(),
        StatusCode::OK
    );
    let noise = house.policies().join("noise.toml.tmp.toml");
    let busy = tokio::spawn(async move {
        for n in 0..200 {
            let _ = std::fs::write(&noise, format!("# {n}"));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let directory = house.dir.path().join("directory.toml");
    let text = std::fs::read_to_string(&directory).unwrap();
    std::fs::write(
        &directory,
        text.replace("id = \"u-kari\"", "suspended = true\nid = \"u-kari\""),
    )
    .unwrap();
    let bound = async {
        while house.get(&kari, "/projects/1").await.status() == StatusCode::OK {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(3), bound)
        .await
        .expect("the suspension binds");
    busy.abort();
}

#[tokio::test]
async fn an_emptied_directory_ends_no_session() {
    let house = House::open().await;
    let kari = house.logged_in(KARI).await;
    std::fs::write(house.dir.path().join("directory.toml"), "").unwrap();
    house.gateway.as_ref().unwrap().reload().await;
    assert_eq!(
        house.get(&kari, "/projects/1").await.status(),
        StatusCode::OK
    );
}

#[tokio::test]
async fn a_half_open_admin_connection_does_not_keep_the_gateway_from_ending() {
    use tokio::io::AsyncWriteExt;
    let mut house = House::open().await;
    let mut stream = tokio::net::TcpStream::connect(house.admin).await.unwrap();
    stream
        .write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n")
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let stopped = house.gateway.take().unwrap().stop();
    tokio::time::timeout(Duration::from_secs(10), stopped)
        .await
        .expect("it ends");
}

//! The main job, as a program sees it: who may do what, and what everyone else is told.

use reqwest::StatusCode;
use reqwest::header::{ACCEPT, CONTENT_TYPE, LOCATION, WWW_AUTHENTICATE};
use serde_json::{Value, json};

use crate::house::{House, KARI, NILS, OLA, media_type};

#[tokio::test]
async fn owner_colleague_and_outsider() {
    let house = House::open().await;
    let (kari, ola, nils) = (
        house.logged_in(KARI).await,
        house.logged_in(OLA).await,
        house.logged_in(NILS).await,
    );
    let rename = json!({ "name": "renamed" });
    let patch = |who: &reqwest::Client, path: &str| {
        who.patch(house.url(path))
            .header(ACCEPT, "application/json")
            .json(&rename)
            .send()
    };

    // The owner reads and writes.
    assert_eq!(
        house.get(&kari, "/projects/1").await.status(),
        StatusCode::OK
    );
    assert_eq!(
        patch(&kari, "/projects/1").await.unwrap().status(),
        StatusCode::OK
    );

    // A colleague reads; a write is refused with the way to a copy.
    let read: Value = house.get(&ola, "/projects/1").await.json().await.unwrap();
    assert_eq!(read["name"], "renamed");
    let refused = patch(&ola, "/projects/1").await.unwrap();
    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
    assert_eq!(media_type(&refused), "application/problem+json");
    let problem: Value = refused.json().await.unwrap();
    assert_eq!(problem["copy"], "/projects/1/copy");
    assert_eq!(problem["status"], 403);
    assert!(problem["request_id"].is_string());

    // The copy is the colleague's own.
    let copied = house.post_json(&ola, "/projects/1/copy", &json!({})).await;
    assert_eq!(copied.status(), StatusCode::CREATED);
    let copy: Value = copied.json().await.unwrap();
    let path = format!("/projects/{}", copy["id"].as_str().unwrap());
    assert_eq!(copy["owner_id"], "u-ola");
    assert_eq!(patch(&ola, &path).await.unwrap().status(), StatusCode::OK);
    assert_eq!(
        patch(&kari, &path).await.unwrap().status(),
        StatusCode::FORBIDDEN
    );

    // An outsider cannot tell another company's project from one that does not exist.
    let (foreign, missing) = (
        house.get(&nils, &path).await,
        house.get(&nils, "/projects/99999").await,
    );
    assert_eq!(
        (foreign.status(), missing.status()),
        (StatusCode::NOT_FOUND, StatusCode::NOT_FOUND)
    );
    let stripped = |mut problem: Value| {
        problem.as_object_mut().unwrap().remove("request_id");
        problem
    };
    let (foreign, missing) = (foreign.json().await.unwrap(), missing.json().await.unwrap());
    assert_eq!(stripped(foreign), stripped(missing));
    assert_eq!(
        patch(&nils, "/projects/1").await.unwrap().status(),
        StatusCode::NOT_FOUND
    );
    assert_eq!(
        house.get(&nils, "/projects/3").await.status(),
        StatusCode::OK
    );
}

#[tokio::test]
async fn a_things_project_decides() {
    let house = House::open().await;
    let (kari, ola, nils) = (
        house.logged_in(KARI).await,
        house.logged_in(OLA).await,
        house.logged_in(NILS).await,
    );
    let tasks: Value = house
        .get(&kari, "/projects/1/tasks")
        .await
        .json()
        .await
        .unwrap();
    let task = format!("/tasks/{}", tasks[0]["id"].as_str().unwrap());
    for (who, expected) in [
        (&kari, StatusCode::OK),
        (&ola, StatusCode::FORBIDDEN),
        (&nils, StatusCode::NOT_FOUND),
    ] {
        let answer = who
            .patch(house.url(&task))
            .json(&json!({ "done": true }))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), expected, "{task}");
    }
}

#[tokio::test]
async fn without_a_session_a_browser_goes_to_the_login_and_a_program_is_told() {
    let house = House::open().await;
    let stranger = house.browser();
    for path in ["/projects/1", "/nowhere", "/projects?x=1&y=%2F"] {
        let page = stranger
            .get(house.url(path))
            .header(ACCEPT, "text/html")
            .send()
            .await
            .unwrap();
        assert_eq!(page.status(), StatusCode::SEE_OTHER);
        let location = page.headers()[LOCATION].to_str().unwrap();
        let next = location
            .strip_prefix("/.portvakt/login?next=")
            .expect("the login page");
        assert_eq!(
            percent_encoding::percent_decode_str(next).decode_utf8_lossy(),
            path
        );

        let call = house.get(&stranger, path).await;
        assert_eq!(call.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(
            call.headers()[WWW_AUTHENTICATE],
            "Portvakt login=\"/.portvakt/login\""
        );
        assert_eq!(media_type(&call), "application/problem+json");
    }
    assert!(
        house.service.received().is_empty(),
        "nothing reached the application"
    );
}

#[tokio::test]
async fn no_route_is_404_for_those_who_are_logged_in() {
    let house = House::open().await;
    let kari = house.logged_in(KARI).await;
    for path in [
        "/nowhere",
        "/Projects/1",
        "/projects/1x",
        "/projects/0",
        "/tasks",
    ] {
        let answer = house.get(&kari, path).await;
        assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{path}");
    }
    assert_eq!(
        house.get(&kari, "/projects/7-x").await.status(),
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn every_own_answer_carries_the_security_headers_and_no_server() {
    let house = House::open().await;
    let kari = house.logged_in(KARI).await;
    for (path, accept) in [
        ("/.portvakt/login", "text/html"),
        ("/.portvakt/whoami", "application/json"),
        ("/.portvakt/jwks.json", "application/json"),
        ("/.portvakt/account", "text/html"),
        ("/.portvakt/nowhere", "application/json"),
        ("/projects/3", "application/json"),
        ("/projects/3", "text/html"),
        ("/a//b", "text/html"),
    ] {
        let answer = kari
            .get(house.url(path))
            .header(ACCEPT, accept)
            .send()
            .await
            .unwrap();
        let headers = answer.headers();
        assert_eq!(
            headers["strict-transport-security"], "max-age=31536000; includeSubDomains",
            "{path}"
        );
        assert_eq!(headers["x-content-type-options"], "nosniff", "{path}");
        assert_eq!(headers["referrer-policy"], "same-origin", "{path}");
        assert_eq!(headers["cache-control"], "no-store", "{path}");
        let policy = headers["content-security-policy"].to_str().unwrap();
        assert!(
            policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"),
            "{path}"
        );
        assert!(!headers.contains_key("server"), "{path}");
    }
}

#[tokio::test]
async fn logout_revokes_at_once() {
    let house = House::open().await;
    let kari = house.logged_in(KARI).await;
    let cookie = house.session_cookie(KARI).await;
    let call = || {
        let bare = house.browser();
        let request = bare.get(house.url("/projects/1")).header("cookie", &cookie);
        async move { request.send().await.unwrap().status() }
    };
    assert_eq!(call().await, StatusCode::OK);
    let out = house.browser();
    let gone = out
        .post(house.url("/.portvakt/logout"))
        .header(ACCEPT, "application/json")
        .header(CONTENT_TYPE, "application/json")
        .header("cookie", &cookie)
        .send()
        .await
        .unwrap();
    assert!(gone.status().is_success(), "{}", gone.status());
    assert_eq!(gone.headers()["clear-site-data"], "\"cache\"");
    assert_eq!(call().await, StatusCode::UNAUTHORIZED);
    // Another session of the same person lives on.
    assert_eq!(
        house.get(&kari, "/projects/1").await.status(),
        StatusCode::OK
    );
}

#[tokio::test]
async fn whoami_and_a_removed_user() {
    let house = House::open().await;
    let kari = house.logged_in(KARI).await;
    let who: Value = house
        .get(&kari, "/.portvakt/whoami")
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(
        who["user"],
        json!({ "id": "u-kari", "email": KARI, "name": "Kari Nordmann" })
    );
    assert_eq!(who["company"], json!({ "id": "fjord", "name": "Fjord AS" }));
    for moment in ["created", "expires", "idle_expires"] {
        assert!(
            who["session"][moment].as_str().unwrap().ends_with('Z'),
            "{who}"
        );
    }
    let directory = house.dir.path().join("directory.toml");
    let text = std::fs::read_to_string(&directory).unwrap();
    std::fs::write(
        &directory,
        text.replace("id = \"u-kari\"", "suspended = true\nid = \"u-kari\""),
    )
    .unwrap();
    house.gateway.as_ref().unwrap().reload().await;
    assert_eq!(
        house.get(&kari, "/projects/1").await.status(),
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(
        house.get(&kari, "/.portvakt/whoami").await.status(),
        StatusCode::UNAUTHORIZED
    );
}

#[tokio::test]
async fn another_sites_page_changes_nothing() {
    let house = House::open().await;
    let kari = house.logged_in(KARI).await;
    let send = |fields: &[(&'static str, &str)]| {
        let mut request = kari
            .patch(house.url("/projects/1"))
            .json(&json!({ "name": "evil" }));
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.send()
    };
    let own = format!("https://localhost:{}", house.port);
    for fields in [
        &[("origin", "https://evil.example")][..],
        &[("origin", "null")],
        &[("sec-fetch-site", "cross-site")],
        &[("sec-fetch-site", "same-site")],
        &[
            ("origin", "https://evil.example"),
            ("sec-fetch-site", "same-origin"),
        ],
    ] {
        assert_eq!(
            send(fields).await.unwrap().status(),
            StatusCode::FORBIDDEN,
            "{fields:?}"
        );
    }
    for fields in [
        &[("origin", own.as_str())][..],
        &[("sec-fetch-site", "same-origin")],
        &[],
    ] {
        assert_eq!(
            send(fields).await.unwrap().status(),
            StatusCode::OK,
            "{fields:?}"
        );
    }
    let writes = house
        .service
        .received()
        .iter()
        .filter(|r| r.method == "PATCH")
        .count();
    assert_eq!(writes, 3);
}

#[tokio::test]
async fn a_page_that_refuses_offers_the_copy_and_lands_on_it() {
    let house = House::open().await;
    let ola = house.logged_in(OLA).await;
    let refused = ola
        .post(house.url("/projects/1"))
        .header(ACCEPT, "text/html")
        .header("sec-fetch-mode", "navigate")
        .form(&[("name", "mine now")])
        .send()
        .await
        .unwrap();
    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
    let page = refused.text().await.unwrap();
    assert!(
        page.contains("Kari Nordmann") && page.contains("action=\"/projects/1/copy\""),
        "{page}"
    );
    let copied = ola
        .post(house.url("/projects/1/copy"))
        .header(ACCEPT, "text/html")
        .header("sec-fetch-mode", "navigate")
        .form(&[("", "")])
        .send()
        .await
        .unwrap();
    assert_eq!(copied.status(), StatusCode::SEE_OTHER);
    let landing = copied.headers()[LOCATION].to_str().unwrap().to_owned();
    assert_eq!(house.get(&ola, &landing).await.status(), StatusCode::OK);
}

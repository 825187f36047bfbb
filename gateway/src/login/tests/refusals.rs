//! What is refused, and how.

use std::time::Duration;

use http::{Method, StatusCode, header};
use serde_json::json;

use super::world::{FORM, KARI, World, another};

#[tokio::test]
async fn what_is_not_there_is_missing_and_what_is_not_for_a_method_says_so() {
    let world = World::new().await;
    let mut program = world.program();
    for path in [
        "/.portvakt",
        "/.portvakt/",
        "/.portvakt/login/",
        "/.portvakt/loginx",
        "/.portvaktx/login",
        "/login",
        "/.portvakt/account/sessions/x",
        "/.portvakt/assets/",
        "/.portvakt/assets/none.css",
        "/.portvakt/assets/%ff",
    ] {
        let answer = program.get(path).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
        assert_eq!(answer.json()["error"], "not_found");
    }
    for (method, path, allow) in [
        (Method::PUT, "/.portvakt/login", "GET,HEAD,POST"),
        (Method::DELETE, "/.portvakt/code", "GET,HEAD,POST"),
        (Method::GET, "/.portvakt/logout", "POST"),
        (Method::GET, "/.portvakt/resend", "POST"),
        (Method::POST, "/.portvakt/whoami", "GET,HEAD"),
        (Method::POST, "/.portvakt/jwks.json", "GET,HEAD"),
    ] {
        let answer = program.call(method, path, None, "").await;
        assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{path}");
        assert_eq!(answer.headers[header::ALLOW], allow, "{path}");
        assert_eq!(answer.json()["error"], "method_not_allowed");
    }
    for path in ["account/sessions/%ff/revoke", "account/devices/%ff/forget"] {
        let path = format!("/.portvakt/{path}");
        let answer = program.post_json(&path, &json!({})).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
    }
    let start = world.browser().get("/.portvakt/code").await;
    assert_eq!(start.status, StatusCode::SEE_OTHER);
    assert_eq!(start.location(), "/.portvakt/login");
    let page = world.browser().get("/.portvakt/none").await;
    assert_eq!(page.status, StatusCode::NOT_FOUND);
    assert!(page.text.contains("There is nothing here") && page.text.contains(&"0b".repeat(16)));
    let head = program
        .call(Method::HEAD, "/.portvakt/login", None, "")
        .await;
    assert_eq!((head.status, head.text.as_str()), (StatusCode::OK, ""));
}

#[tokio::test]
async fn a_malformed_address_is_asked_for_again() {
    let world = World::new().await;
    for typed in [
        "",
        "kari",
        "a@x@y.example",
        "<script>@x",
        "k\0@fjord.example",
    ] {
        let fields = [("email", typed), ("next", "/projects/1")];
        let page = world.browser().post("/.portvakt/login", &fields).await;
        assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY, "{typed:?}");
        assert!(page.text.contains("aria-invalid=\"true\"") && !page.text.contains("<script"));
        assert!(page.text.contains("name=\"next\" value=\"/projects/1\""));
        assert!(!page.cookies().contains_key("__Host-portvakt-challenge"));
    }
    for value in [
        json!({}),
        json!({ "email": null }),
        json!({ "email": 1 }),
        json!({ "email": [KARI] }),
        json!({ "email": "kari" }),
    ] {
        let answer = world.program().post_json("/.portvakt/login", &value).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{value}");
        assert_eq!(answer.json()["error"], "malformed_email");
    }
    let twice = [("email", KARI), ("email", "ola@fjord.example")];
    let page = world.browser().post("/.portvakt/login", &twice).await;
    assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(world.outbox.messages().is_empty());
}

#[tokio::test]
async fn a_body_must_be_what_it_says_and_not_too_much() {
    let world = World::new().await;
    let mut program = world.program();
    let mut post = async |kind: Option<&str>, body: &str| {
        let path = "/.portvakt/login";
        program
            .call(Method::POST, path, kind, body)
            .await
            .status
            .as_u16()
    };
    let email = json!({ "email": KARI }).to_string();
    for (kind, body, status) in [
        (Some("application/json"), email.as_str(), 202),
        (Some("Application/JSON; charset=utf-8"), &email, 202),
        (None, &email, 415),
        (Some("text/plain"), &email, 415),
        (Some("application/jsonx"), &email, 415),
        (Some(FORM), "email=kari%40fjord.example", 415),
        (Some("application/json"), "{\"email\":", 400),
        (Some("application/json"), "[]", 400),
        (Some("application/json"), "\"kari@fjord.example\"", 400),
        (Some("application/json"), "\u{0}", 400),
    ] {
        assert_eq!(post(kind, body).await, status, "{kind:?} {body}");
    }
    let pad = |n: usize| json!({ "email": KARI, "pad": "x".repeat(n) }).to_string();
    assert_eq!(post(Some("application/json"), &pad(16_000)).await, 202);
    assert_eq!(post(Some("application/json"), &pad(16_400)).await, 413);

    let mut browser = world.browser();
    let page = browser
        .call(Method::POST, "/.portvakt/login", None, "")
        .await;
    assert_eq!(page.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
}

#[tokio::test]
async fn a_form_needs_its_token_and_its_cookie() {
    let world = World::new().await;
    let mut browser = world.browser();
    let token = browser.csrf().await;
    let cookie = browser.cookies["__Host-portvakt-form"].clone();
    let mut other = world.browser();
    let others_token = other.csrf().await;
    let email = "email=kari%40fjord.example";
    for (cookie, body, passes) in [
        (Some(cookie.as_str()), format!("{email}&csrf={token}"), true),
        (Some(&cookie), email.to_owned(), false),
        (Some(&cookie), format!("{email}&csrf="), false),
        (Some(&cookie), format!("{email}&csrf={others_token}"), false),
        (Some(&cookie), format!("{email}&csrf={cookie}"), false),
        (
            Some(&cookie),
            format!("{email}&csrf={token}&csrf={token}"),
            false,
        ),
        (None, format!("{email}&csrf={token}"), false),
        (Some("garbage"), format!("{email}&csrf={token}"), false),
    ] {
        let mut browser = world.browser();
        if let Some(cookie) = cookie {
            let name = "__Host-portvakt-form".to_owned();
            browser.cookies.insert(name, cookie.to_owned());
        }
        let path = "/.portvakt/login";
        let answer = browser.call(Method::POST, path, Some(FORM), &body).await;
        let status = if passes { 303 } else { 403 };
        assert_eq!(answer.status, status, "{cookie:?} {body}");
        if !passes {
            assert!(answer.text.contains("This form is out of date"));
        }
    }
    let refused: Vec<_> = world
        .records()
        .await
        .iter()
        .map(|r| r["result"].clone())
        .collect();
    assert_eq!(refused.iter().filter(|r| **r == "form_token").count(), 7);
}

#[tokio::test]
async fn another_sites_request_is_refused_on_every_path() {
    let world = World::new().await;
    let mut kari = world.browser();
    kari.log_in(&world, KARI, 1).await;
    for path in [
        "/.portvakt/login",
        "/.portvakt/code",
        "/.portvakt/resend",
        "/.portvakt/logout",
        "/.portvakt/account/sessions/others/revoke",
        "/.portvakt/account/devices/x/forget",
    ] {
        for (name, value) in [
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
            ("origin", "https://evil.example"),
            ("origin", "https://projects.example.com"),
            ("origin", "null"),
        ] {
            let mut browser = kari.clone();
            browser.headers.push((name, value.to_owned()));
            let form = browser.post(path, &[("email", KARI)]).await;
            assert_eq!(form.status, StatusCode::FORBIDDEN, "{path} {name}: {value}");
            browser.headers[0].1 = "application/json".to_owned();
            let call = browser.post_json(path, &json!({ "email": KARI })).await;
            assert_eq!(call.status, StatusCode::FORBIDDEN, "{path} {name}: {value}");
            assert_eq!(call.json()["error"], "cross_site");
        }
        for (name, value) in [
            ("sec-fetch-site", "same-origin"),
            ("sec-fetch-site", "none"),
            ("origin", "https://projects.example.com:8443"),
        ] {
            let mut browser = world.browser();
            browser.headers.push((name, value.to_owned()));
            let form = browser.post(path, &[("email", KARI)]).await;
            assert_ne!(form.status, StatusCode::FORBIDDEN, "{path} {name}: {value}");
        }
    }
    assert_eq!(world.sessions().await, 1);
}

/// A code with the digits that begin at this zero.
fn in_digits(code: &str, zero: char) -> String {
    let digit = |digit: char| char::from_u32(zero as u32 + digit.to_digit(10)?);
    code.chars().map(|it| digit(it).unwrap()).collect()
}

#[tokio::test]
async fn what_is_no_code_is_refused_without_a_charge() {
    let world = World::new().await;
    let mut program = world.program();
    let email = json!({ "email": KARI });
    program.post_json("/.portvakt/login", &email).await;
    let code = world.code(1).await;
    let number: u32 = code.parse().unwrap();
    for value in [
        json!({}),
        json!({ "code": null }),
        json!({ "code": number }),
        json!({ "code": true }),
        json!({ "code": [code.clone()] }),
        json!({ "code": { "code": code.clone() } }),
        json!({ "code": "" }),
        json!({ "code": "123" }),
        json!({ "code": format!("{code}0") }),
        json!({ "code": format!(" {code}") }),
        // The code itself, in digits that are not ASCII's.
        json!({ "code": in_digits(&code, '\u{ff10}') }),
        json!({ "code": in_digits(&code, '\u{660}') }),
        json!({ "code": in_digits(&code, '\u{966}') }),
        json!({ "code": in_digits(&code, '\u{1d7ce}') }),
        json!({ "code": "12\u{0}4" }),
        json!({ "code": "%" }),
    ] {
        let answer = program.post_json("/.portvakt/code", &value).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{value}");
        assert_eq!(answer.json()["error"], "malformed_code");
        let open = program.get("/.portvakt/code").await.json();
        assert_eq!(open["challenge"]["attempts_left"], 3, "{value}");
        // Without a challenge there is nothing that it could have been.
        let answer = world.program().post_json("/.portvakt/code", &value).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        assert_eq!(answer.json()["error"], "challenge_over");
    }
    let mut browser = world.browser();
    browser.cookies = program.cookies.clone();
    let page = browser.post("/.portvakt/code", &[("code", "12345")]).await;
    assert_eq!(page.status, StatusCode::UNAUTHORIZED);
    assert!(page.text.contains("This did not count as a try."));
    let done = program
        .post_json("/.portvakt/code", &json!({ "code": code }))
        .await;
    assert_eq!(done.status, StatusCode::OK);
}

#[tokio::test]
async fn three_wrong_codes_end_a_challenge_for_good() {
    let world = World::new().await;
    let mut browser = world.browser();
    let fields = [("email", KARI), ("next", "/projects/1")];
    browser.post("/.portvakt/login", &fields).await;
    let code = world.code(1).await;
    let wrong = another(&code);
    for says in [
        "That is not the code. You have 2 tries left.",
        "That is not the code. You have 1 try left.",
        "it was the last try",
    ] {
        let fields = [
            ("code", wrong.as_str()),
            ("email", KARI),
            ("next", "/projects/1"),
        ];
        let page = browser.post("/.portvakt/code", &fields).await;
        assert_eq!(page.status, StatusCode::UNAUTHORIZED);
        assert!(page.headers.contains_key(header::WWW_AUTHENTICATE));
        assert!(page.text.contains(says) && page.text.contains("role=\"alert\""));
        assert!(page.text.contains("value=\"/projects/1\"") && page.text.contains(KARI));
    }
    let fields = [
        ("code", code.as_str()),
        ("email", KARI),
        ("next", "//evil.example"),
    ];
    let page = browser.post("/.portvakt/code", &fields).await;
    assert_eq!(page.status, StatusCode::UNAUTHORIZED);
    assert!(page.text.contains("can no longer be used"));
    assert!(page.text.contains("action=\"/.portvakt/login\"") && page.text.contains(KARI));
    assert!(!page.text.contains("evil.example"));
    let resent = browser.post("/.portvakt/resend", &[]).await;
    assert_eq!(resent.status, StatusCode::UNAUTHORIZED);
    assert_eq!(world.outbox.messages().len(), 1);
    assert_eq!(world.sessions().await, 0);
}

#[tokio::test]
async fn a_code_is_good_for_five_minutes_in_its_own_browser_and_once() {
    let world = World::new().await;
    let mut browser = world.browser();
    browser.post("/.portvakt/login", &[("email", KARI)]).await;
    let code = world.code(1).await;
    let mut stranger = world.program();
    let guess = json!({ "code": code });
    let answer = stranger.post_json("/.portvakt/code", &guess).await;
    assert_eq!(answer.json()["error"], "challenge_over");

    let used = browser.clone();
    let done = browser.post("/.portvakt/code", &[("code", &code)]).await;
    assert_eq!(done.status, StatusCode::SEE_OTHER);
    let mut again = used;
    let answer = again.post("/.portvakt/code", &[("code", &code)]).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    assert_eq!(world.sessions().await, 1);

    browser.post("/.portvakt/login", &[("email", KARI)]).await;
    let code = world.code(2).await;
    world.clock.advance(Duration::from_secs(300));
    let late = browser.post("/.portvakt/code", &[("code", &code)]).await;
    assert_eq!(late.status, StatusCode::UNAUTHORIZED);
    assert!(late.text.contains("can no longer be used"));
}

#[tokio::test]
async fn whoever_was_suspended_or_removed_meanwhile_stays_out() {
    use super::world::PEOPLE;
    let suspended = PEOPLE.replace(
        "name = \"Kari Nordmann\"",
        "name = \"Kari Nordmann\"\nsuspended = true",
    );
    let removed = PEOPLE.replace("u-kari", "u-new");
    for people in [suspended, removed] {
        let world = World::new().await;
        let mut program = world.program();
        let email = json!({ "email": KARI });
        program.post_json("/.portvakt/login", &email).await;
        let code = world.code(1).await;
        world.people(&people);
        let right = json!({ "code": code });
        for left in [2, 1] {
            let answer = program.post_json("/.portvakt/code", &right).await;
            assert_eq!(answer.json()["error"], "wrong_code");
            assert_eq!(answer.json()["attempts_left"], left);
            // The code is used up even if they come back.
            world.people(PEOPLE);
        }
        assert_eq!(world.sessions().await, 0);
        assert!(!program.cookies.contains_key("__Host-portvakt"));
    }
}

#[tokio::test]
async fn a_page_without_a_login_leads_to_it_and_a_call_is_told() {
    let world = World::new().await;
    for path in ["/.portvakt/account", "/.portvakt/whoami"] {
        let page = world.browser().get(path).await;
        if path.ends_with("whoami") {
            // Whoever asks wants to know, not to log in.
            assert_eq!(page.status, StatusCode::UNAUTHORIZED);
        } else {
            assert_eq!(page.status, StatusCode::SEE_OTHER);
            assert_eq!(page.location(), "/.portvakt/login?next=/.portvakt/account");
        }
        for garbage in ["garbage", "", &"A".repeat(43), &"A".repeat(44)] {
            let mut program = world.program();
            let cookie = "__Host-portvakt".to_owned();
            program.cookies.insert(cookie, garbage.to_owned());
            let answer = program.get(path).await;
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
            assert_eq!(answer.json()["error"], "not_logged_in");
            assert_eq!(
                answer.headers[header::WWW_AUTHENTICATE],
                "Portvakt login=\"/.portvakt/login\""
            );
        }
    }
}

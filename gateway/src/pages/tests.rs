mod waiting;

use std::time::Duration;

use aws_lc_rs::digest;
use data_encoding::BASE64;
use http_body_util::BodyExt;

use super::*;
use crate::clock::Timestamp;

const HOSTILE: &str = "<script>alert(1)</script>\"'&";

fn frame(language: Language) -> Frame<'static> {
    Frame {
        language,
        prefix: "/.portvakt",
        request_id: RequestId::parse(&"0a".repeat(16)).unwrap(),
    }
}

async fn text(response: Response<Body>) -> String {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn email_form(note: Option<EmailNote>) -> EmailForm<'static> {
    EmailForm {
        site: "projects.example.com",
        csrf: "token",
        next: "/projects/1?a=b&c=d",
        email: "kari@fjord.example",
        note,
        logged_in: None,
    }
}

fn code_form(note: Option<CodeNote>) -> CodeForm<'static> {
    CodeForm {
        site: "projects.example.com",
        csrf: "token",
        email: "kari@fjord.example",
        next: "/projects/1?a=b&c=d",
        minutes: 5,
        resend_in: Duration::from_secs(60),
        note,
    }
}

fn wait_for(what: AwaitedStep) -> Waiting<'static> {
    Waiting {
        what,
        wait: Duration::from_secs(43),
        again: "/.portvakt/wait?until=1",
        onward: "/.portvakt/login?next=%2F",
    }
}

fn account_page() -> AccountPage<'static> {
    let at = Timestamp::from_millis;
    let session = |handle, client, current| SessionRow {
        handle,
        created: at(1_795_515_607_123),
        last_seen: at(1_795_519_207_000),
        client,
        current,
    };
    AccountPage {
        csrf: "token",
        name: "Kari Nordmann",
        email: "kari@fjord.example",
        company: "Fjord AS",
        failures: 0,
        sessions: vec![
            session("s1", "Firefox, Windows", true),
            session("s2", "Safari, iPhone", false),
            session("s3", "", false),
        ],
        devices: vec![DeviceRow {
            handle: "d1",
            created: at(1_795_515_607_123),
            last_seen: at(1_795_519_207_000),
            client: "Firefox, Windows",
            current: true,
        }],
    }
}

/// Every kind of page, with its name.
fn every_page(language: Language) -> Vec<(String, Response<Body>)> {
    let frame = &frame(language);
    let ok = StatusCode::OK;
    let mut pages = vec![
        ("email".to_owned(), email_form(None).page(frame, ok)),
        (
            "email-malformed".to_owned(),
            email_form(Some(EmailNote::Malformed)).page(frame, StatusCode::UNPROCESSABLE_ENTITY),
        ),
        (
            "email-over".to_owned(),
            email_form(Some(EmailNote::Over)).page(frame, StatusCode::UNAUTHORIZED),
        ),
        (
            "email-last-wrong".to_owned(),
            email_form(Some(EmailNote::LastWrong)).page(frame, StatusCode::UNAUTHORIZED),
        ),
        (
            "email-link-over".to_owned(),
            email_form(Some(EmailNote::LinkOver)).page(frame, StatusCode::UNAUTHORIZED),
        ),
        (
            "link-sent".to_owned(),
            LinkSent {
                site: "projects.example.com",
                email: "kari@fjord.example",
                next: "/projects/1",
                minutes: 10,
            }
            .page(frame),
        ),
        (
            "link".to_owned(),
            LinkForm {
                site: "projects.example.com",
                csrf: "token",
                token: "AAAAAAAAAAAAAAAAAAAAAA",
            }
            .page(frame),
        ),
        (
            "other-browser".to_owned(),
            other_browser(frame, StatusCode::OK),
        ),
        ("new-device-refused".to_owned(), new_device_refused(frame)),
        (
            "email-logged-in".to_owned(),
            EmailForm {
                logged_in: Some(LoggedIn {
                    name: "Kari Nordmann",
                }),
                ..email_form(None)
            }
            .page(frame, ok),
        ),
        ("code".to_owned(), code_form(None).page(frame, ok)),
        (
            "code-wrong".to_owned(),
            code_form(Some(CodeNote::Wrong { left: 2 })).page(frame, StatusCode::UNAUTHORIZED),
        ),
        (
            "code-malformed".to_owned(),
            code_form(Some(CodeNote::Malformed)).page(frame, StatusCode::UNPROCESSABLE_ENTITY),
        ),
        (
            "code-resent".to_owned(),
            code_form(Some(CodeNote::Resent)).page(frame, ok),
        ),
        (
            "code-resend-now".to_owned(),
            CodeForm {
                resend_in: Duration::ZERO,
                ..code_form(None)
            }
            .page(frame, ok),
        ),
        (
            "wait-login".to_owned(),
            waiting(
                frame,
                StatusCode::TOO_MANY_REQUESTS,
                &wait_for(AwaitedStep::Login),
            ),
        ),
        (
            "wait-resend".to_owned(),
            waiting(frame, ok, &wait_for(AwaitedStep::Resend)),
        ),
        ("account".to_owned(), account_page().page(frame)),
        (
            "account-failures".to_owned(),
            AccountPage {
                failures: 3,
                ..account_page()
            }
            .page(frame),
        ),
        (
            "copy".to_owned(),
            copy_first(
                frame,
                &CopyFirst {
                    owner_name: Some("Kari Nordmann"),
                    post: "/projects/1/copy",
                    look: "/projects/1",
                },
            ),
        ),
        ("form".to_owned(), form_out_of_date(frame)),
    ];
    for status in [400, 403, 404, 405, 413, 421, 429, 431, 500, 502, 503, 504] {
        let status = StatusCode::from_u16(status).unwrap();
        let wait = matches!(status.as_u16(), 429 | 503).then_some(Duration::from_secs(7_000));
        pages.push((
            format!("refusal-{}", status.as_u16()),
            refusal(frame, status, wait),
        ));
    }
    pages
}

#[tokio::test]
async fn only_the_page_of_a_host_that_is_not_ours_holds_its_style_sheet() {
    for (name, response) in every_page(Language::English) {
        let text = text(response).await;
        let own = format!("<style>{}</style>", assets::STYLE);
        assert_eq!(text.contains(&own), name == "refusal-421", "{name}");
        assert_eq!(text.contains("<style"), name == "refusal-421", "{name}");
    }
}

#[tokio::test]
async fn every_page_is_whole_guarded_and_without_script() {
    for language in Language::ALL {
        for (name, response) in every_page(language) {
            assert_guarded(response.headers());
            assert_eq!(response.headers()[header::CONTENT_LANGUAGE], language.tag());
            assert_eq!(response.headers()[header::CACHE_CONTROL], "no-store");
            let html = text(response).await;
            let count = |what: &str| html.matches(what).count();
            assert!(
                html.starts_with(&format!(
                    "<!doctype html>\n<html lang=\"{}\">",
                    language.tag()
                )),
                "{name}"
            );
            assert_eq!(
                (count("<h1"), count("<main"), count("<title>")),
                (1, 1, 1),
                "{name}"
            );
            assert!(
                count("name=\"viewport\"") == 1 && count("name=\"color-scheme\"") == 1,
                "{name}"
            );
            assert!(count("0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a") == 1, "{name}");
            for forbidden in [
                "<script",
                "javascript:",
                "style=",
                " on",
                "http://",
                "https://",
            ] {
                // ` on` begins a handler's attribute only inside a tag.
                let inside_tags: String = tags(&html);
                assert!(!inside_tags.contains(forbidden), "{name}: {forbidden}");
            }
            for visible in tags(&html)
                .split('\n')
                .filter(|tag| tag.starts_with("<input") && !tag.contains("type=\"hidden\""))
            {
                let id = attribute(visible, "id").unwrap();
                assert_eq!(count(&format!("<label for=\"{id}\">")), 1, "{name}");
            }
            for described in tags(&html)
                .split('\n')
                .filter_map(|tag| attribute(tag, "aria-describedby"))
                .flat_map(|ids| ids.split(' ').map(str::to_owned).collect::<Vec<_>>())
            {
                assert_eq!(
                    count(&format!("id=\"{described}\"")),
                    1,
                    "{name}: {described}"
                );
            }
        }
    }
}

/// The tags of a page, one a line.
fn tags(html: &str) -> String {
    let inside = |part: &str| part.split_once('>').map(|(tag, _)| format!("<{tag}>"));
    html.split('<')
        .filter_map(inside)
        .collect::<Vec<_>>()
        .join("\n")
}

fn attribute<'a>(tag: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = tag.split_once(&format!(" {name}=\""))?;
    rest.split('"').next()
}

fn assert_guarded(headers: &HeaderMap) {
    for (name, value) in [
        (
            "strict-transport-security",
            "max-age=31536000; includeSubDomains",
        ),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "same-origin"),
    ] {
        let values: Vec<_> = headers.get_all(name).iter().collect();
        assert_eq!(values, [value], "{name}");
    }
    // Beside our own files, the one style sheet by its digest.
    let digest = digest::digest(&digest::SHA256, assets::STYLE.as_bytes());
    let policy = format!(
        "default-src 'none'; style-src 'self' 'sha256-{}'; img-src 'self'; form-action 'self'; \
         frame-ancestors 'none'; base-uri 'none'",
        BASE64.encode(digest.as_ref())
    );
    let values: Vec<_> = headers.get_all("content-security-policy").iter().collect();
    assert_eq!(values, [&policy]);
    assert!(!headers.contains_key(header::SERVER));
}

#[tokio::test]
async fn errors_are_announced_and_tied_to_their_field() {
    let response = code_form(Some(CodeNote::Wrong { left: 2 }))
        .page(&frame(Language::English), StatusCode::UNAUTHORIZED);
    let html = text(response).await;
    assert!(html.contains("aria-invalid=\"true\""));
    assert!(html.contains("aria-describedby=\"code-hint code-error\""));
    assert!(
        html.contains(
            "id=\"code-error\" role=\"alert\">That is not the code. You have 2 tries left."
        )
    );
    let calm = text(code_form(None).page(&frame(Language::English), StatusCode::OK)).await;
    assert!(!calm.contains("aria-invalid") && !calm.contains("role=\"alert\""));
    assert!(calm.contains("inputmode=\"numeric\""));
    assert!(calm.contains("autocomplete=\"one-time-code\""));
    assert!(calm.contains("maxlength=\"4\""));
}

#[tokio::test]
async fn what_people_typed_stays_text() {
    let frame = &frame(Language::Norwegian);
    let mut email = email_form(Some(EmailNote::Malformed));
    (email.email, email.next) = (HOSTILE, HOSTILE);
    let mut code = code_form(None);
    (code.email, code.next) = (HOSTILE, HOSTILE);
    let mut account = account_page();
    account.name = HOSTILE;
    account.sessions[1].client = HOSTILE;
    let copy = CopyFirst {
        owner_name: Some(HOSTILE),
        post: HOSTILE,
        look: HOSTILE,
    };
    for response in [
        email.page(frame, StatusCode::OK),
        code.page(frame, StatusCode::OK),
        account.page(frame),
        copy_first(frame, &copy),
    ] {
        let html = text(response).await;
        assert!(
            !html.contains("<script") && !html.contains("alert(1)</"),
            "{html}"
        );
        assert!(html.contains("&#60;script&#62;"));
    }
}

#[tokio::test]
async fn a_refusal_names_the_waiting_time() {
    let wait = Some(Duration::from_millis(7_199_001));
    let response = refusal(
        &frame(Language::English),
        StatusCode::TOO_MANY_REQUESTS,
        wait,
    );
    assert_eq!(response.status(), 429);
    assert_eq!(response.headers()[header::RETRY_AFTER], "7200");
    assert!(
        text(response)
            .await
            .contains("You can try again in 2 hours.")
    );
    let response = refusal(
        &frame(Language::English),
        StatusCode::SERVICE_UNAVAILABLE,
        Some(Duration::from_secs(5)),
    );
    assert_eq!(response.headers()[header::RETRY_AFTER], "5");
}

#[tokio::test]
async fn a_problem_follows_rfc_9457() {
    let id = RequestId::generate();
    let response = problem(
        StatusCode::UNAUTHORIZED,
        &Problem {
            kind: "wrong_code",
            title: "The code is wrong",
            detail: None,
            request_id: &id,
            more: serde_json::Map::from_iter([("attempts_left".to_owned(), 2.into())]),
        },
    );
    assert_guarded(response.headers());
    assert_eq!(
        response.headers()[header::CONTENT_TYPE],
        "application/problem+json"
    );
    let value: serde_json::Value = serde_json::from_str(&text(response).await).unwrap();
    assert_eq!(
        value,
        serde_json::json!({
            "type": "urn:portvakt:problem:wrong_code",
            "title": "The code is wrong",
            "status": 401,
            "request_id": id.to_string(),
            "attempts_left": 2,
        })
    );
}

#[tokio::test]
async fn assets_are_guarded_cacheable_and_revalidated() {
    let fresh = asset("style.css", &HeaderMap::new()).unwrap();
    assert_guarded(fresh.headers());
    assert_eq!(
        fresh.headers()[header::CONTENT_TYPE],
        "text/css; charset=utf-8"
    );
    assert_eq!(
        fresh.headers()[header::CACHE_CONTROL],
        "public, max-age=86400"
    );
    let tag = fresh.headers()[header::ETAG].clone();
    let css = text(fresh).await;
    assert!(css.contains(":focus-visible") && css.contains("prefers-color-scheme: dark"));
    assert!(!css.contains("url(") && !css.contains("@import"));
    let known = HeaderMap::from_iter([(header::IF_NONE_MATCH, tag)]);
    let again = asset("style.css", &known).unwrap();
    assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
    assert!(text(again).await.is_empty());
    for missing in ["", "style", "../mod.rs", "style.css/"] {
        assert!(asset(missing, &HeaderMap::new()).is_none(), "{missing:?}");
    }
}

/// WCAG 2.2, 1.4.3: text has a contrast of at least 4.5:1; 1.4.11: edges of controls 3:1.
#[test]
fn colours_have_contrast_in_both_schemes() {
    let css = include_str!("assets/style.css");
    let (light, dark) = css.split_once("prefers-color-scheme: dark").unwrap();
    for scheme in [light, dark] {
        let luminance = |name: &str| {
            let (_, rest) = scheme.split_once(&format!("--{name}: #")).unwrap();
            let channel = |at: usize| {
                let value = f64::from(u8::from_str_radix(&rest[at..at + 2], 16).unwrap()) / 255.0;
                if value <= 0.04045 {
                    value / 12.92
                } else {
                    ((value + 0.055) / 1.055).powf(2.4)
                }
            };
            0.2126 * channel(0) + 0.7152 * channel(2) + 0.0722 * channel(4)
        };
        let contrast = |a: &str, b: &str| {
            let (a, b) = (luminance(a) + 0.05, luminance(b) + 0.05);
            a.max(b) / a.min(b)
        };
        for (front, back) in [
            ("text", "card"),
            ("text", "good-ground"),
            ("muted", "card"),
            ("muted", "ground"),
            ("accent", "card"),
            ("accent", "good-ground"),
            ("accent-strong", "card"),
            ("on-accent", "accent"),
            ("on-accent", "accent-strong"),
            ("bad", "card"),
            ("bad", "bad-ground"),
        ] {
            let found = contrast(front, back);
            assert!(found >= 4.5, "{front} on {back}: {found:.2}");
        }
        let edge = contrast("control", "card");
        assert!(edge >= 3.0, "control on card: {edge:.2}");
    }
}

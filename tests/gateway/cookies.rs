//! The application's own cookies neither outlive nor cross the gateway's login.

use futures_util::StreamExt;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::house::{House, KARI, OLA, status};
use crate::recorder::{Recorded, Recorder, fields, ok};

const ROUTES: &str = r#"
[[route]]
match    = "* /app/**"
action   = "list"
resource = "company"
reason   = "a test"

[[route]]
match    = "GET /live"
action   = "list"
resource = "company"
upgrade  = "websocket"
reason   = "a test"

[[route]]
match  = "GET /open/**"
public = true
"#;

/// An application that sets what the query asks for: `?set=A&set=B`, with `+` for a blank.
fn sets(recorded: &Recorded) -> Vec<u8> {
    let query = recorded
        .target()
        .split_once('?')
        .map_or("", |(_, query)| query);
    let lines: String = query
        .split('&')
        .filter_map(|field| field.strip_prefix("set="))
        .map(|cookie| {
            format!(
                "Set-Cookie: {}\r\n",
                cookie.replace('+', " ").replace("%22", "\"")
            )
        })
        .collect();
    ok(&lines)
}

/// Sends a request with these cookies (a `Cookie` field, if not empty); the answer's `Set-Cookie`s.
async fn get(house: &House, path: &str, cookies: &str) -> Vec<String> {
    let line = if cookies.is_empty() {
        String::new()
    } else {
        format!("Cookie: {cookies}\r\n")
    };
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{line}\r\n");
    let answer = house.raw(request.as_bytes()).await;
    assert_eq!(
        status(&answer),
        200,
        "{path} {}",
        String::from_utf8_lossy(&answer)
    );
    fields(&answer, "set-cookie")
}

/// The pair that a browser sends back.
fn pair(set: &str) -> &str {
    set.split(';').next().unwrap().trim()
}

async fn open(keys: &str) -> (Recorder, House) {
    let application = Recorder::start(sets).await;
    let house = application.house(keys, ROUTES).await;
    (application, house)
}

#[tokio::test]
async fn a_cookie_comes_back_from_its_user_alone() {
    let (application, house) = open("").await;
    let (kari, ola) = (
        house.session_cookie(KARI).await,
        house.session_cookie(OLA).await,
    );
    let set = get(
        &house,
        "/app/x?set=sid=abc;+Path=/;+HttpOnly&set=q=%22v+w%22",
        &kari,
    )
    .await;
    let (sid, quoted) = (pair(&set[0]).to_owned(), pair(&set[1]).to_owned());
    assert!(sid.starts_with("sid=") && sid.ends_with(".abc"), "{sid}");
    assert!(
        sid.bytes()
            .all(|b| b.is_ascii_graphic() && !b"\",;\\".contains(&b)),
        "{sid}"
    );
    let seen = |cookies: String, path: &'static str| {
        let (house, application) = (&house, &application);
        async move {
            get(house, path, &cookies).await;
            application.last().all("cookie").join("|")
        }
    };
    assert_eq!(
        seen(format!("{kari}; {sid}; {quoted}"), "/app/x").await,
        "sid=abc; q=\"v w\""
    );
    assert_eq!(
        seen(format!("{sid};{kari};{sid}"), "/app/x").await,
        "sid=abc; sid=abc"
    );
    // Another user, nobody, no tag, a tag of another name, another value, a tag alone.
    assert_eq!(seen(format!("{ola}; {sid}; {quoted}"), "/app/x").await, "");
    assert_eq!(seen(sid.clone(), "/open/x").await, "");
    assert_eq!(
        seen(format!("{kari}; {sid}"), "/open/x").await,
        "",
        "public: nobody's session"
    );
    let value = sid.strip_prefix("sid=").unwrap();
    let tag = value.strip_suffix("abc").unwrap();
    for forged in [
        "sid=abc".to_owned(),
        format!("other={value}"),
        format!("SID={value}"),
        format!("sid={tag}abd"),
        format!("sid={tag}"),
        format!("sid=\"{tag}abc"),
        format!("sid={value}x"),
        format!("sid=.{value}"),
        "sid".to_owned(),
        "=sid".to_owned(),
        "sid=".to_owned(),
        format!("s id={value}"),
        value.to_owned(),
        format!("$Version=1; $Path=/; sid2={value}"),
    ] {
        assert_eq!(
            seen(format!("{kari}; {forged}"), "/app/x").await,
            "",
            "{forged}"
        );
        let beside = seen(format!("{forged}; {sid}; {kari}"), "/app/x").await;
        assert_eq!(beside, "sid=abc", "{forged}");
    }
    // A later login of the same person on another device holds the same cookies.
    let again = house.session_cookie(KARI).await;
    assert_eq!(seen(format!("{again}; {sid}"), "/app/x").await, "sid=abc");
}

#[tokio::test]
async fn what_is_set_for_nobody_is_not_carried_into_a_login() {
    let (application, house) = open("").await;
    let kari = house.session_cookie(KARI).await;
    let set = get(&house, "/open/x?set=sid=fixed", "").await;
    let anonymous = pair(&set[0]).to_owned();
    get(&house, "/open/x", &anonymous).await;
    assert_eq!(application.last().all("cookie"), ["sid=fixed"]);
    get(&house, "/app/x", &format!("{kari}; {anonymous}")).await;
    assert!(application.last().all("cookie").is_empty());
    // A public page does not take the session of someone who is logged in away from them.
    let own = get(&house, "/app/x?set=sid=own", &kari).await;
    let own = pair(&own[0]).to_owned();
    let both = format!("{kari}; {own}");
    let set = get(
        &house,
        "/open/x?set=sid=new&set=other=1&set=sid=;+Max-Age=0",
        &both,
    )
    .await;
    assert_eq!(set.len(), 1, "{set:?}");
    assert!(set[0].starts_with("other="), "{set:?}");
    // Whoever has logged out gets a new one.
    assert_eq!(get(&house, "/open/x?set=sid=new", &own).await.len(), 1);
}

#[tokio::test]
async fn attributes_hold_at_the_public_host() {
    let (_application, house) = open("").await;
    let kari = house.session_cookie(KARI).await;
    for (set, attributes) in [
        ("a=1", "Secure; SameSite=Lax"),
        (
            "a=1;+Path=/x;+HttpOnly",
            "Path=/x; HttpOnly; Secure; SameSite=Lax",
        ),
        ("a=1;+Domain=127.0.0.1;+SECURE", "SECURE; SameSite=Lax"),
        (
            "a=1;+domain=.example;+samesite=None;+secure",
            "samesite=None; secure",
        ),
        (
            "a=1;+SameSite=Strict;+Max-Age=60",
            "SameSite=Strict; Max-Age=60; Secure",
        ),
        ("__Host-a=1;+Path=/;+Secure", "Path=/; Secure; SameSite=Lax"),
    ] {
        let got = get(&house, &format!("/app/x?set={set}"), &kari).await;
        let (_, rest) = got[0].split_once("; ").unwrap();
        assert_eq!(rest, attributes, "{set}");
    }
    let got = get(
        &house,
        "/app/x?set=a=;+Max-Age=0;+Path=/&set=b=;+Expires=Thu,01+Jan+1970+00:00:00+GMT",
        &kari,
    )
    .await;
    assert_eq!(got[0], "a=; Max-Age=0; Path=/; Secure; SameSite=Lax");
    assert!(got[1].starts_with("b=; Expires="), "{got:?}");

    let (_application, house) = open("cookie_path = \"/app\"\n").await;
    let kari = house.session_cookie(KARI).await;
    let got = get(
        &house,
        "/app/x?set=a=1;+Path=/internal&set=__Host-b=1;+Path=/",
        &kari,
    )
    .await;
    assert!(
        got[0].ends_with("; Path=/app; Secure; SameSite=Lax"),
        "{got:?}"
    );
    assert!(
        got[1].ends_with("; Path=/; Secure; SameSite=Lax"),
        "{got:?}"
    );
}

#[tokio::test]
async fn an_application_sets_none_of_our_cookies() {
    for keys in [
        "",
        "cookies = \"pass\"\n",
        "cookies = \"drop\"\ncookies_readable = [\"c\"]\n",
    ] {
        let (application, house) = open(keys).await;
        let kari = house.session_cookie(KARI).await;
        for name in [
            "__Host-portvakt",
            "__host-PORTVAKT",
            "__Host-portvakt-device",
            "__Host-portvaktx",
            "__Secure-portvakt",
            "__secure-Portvakt-challenge",
            "+__Host-portvakt+",
            "=__Host-portvakt",
        ] {
            let path = format!("/app/x?set={name}=x;+Path=/;+Secure&set=c=1");
            let set = get(&house, &path, &kari).await;
            assert!(
                set.iter()
                    .all(|one| !one.to_ascii_lowercase().contains("portvakt")),
                "{set:?}"
            );
            assert_eq!(set.len(), 1, "{keys} {name}: {set:?}");
        }
        get(
            &house,
            "/app/x",
            &format!("{kari}; __Secure-portvakt=x; c=1"),
        )
        .await;
        assert!(!format!("{:?}", application.last().all("cookie")).contains("portvakt"));
    }
}

#[tokio::test]
async fn cookies_that_scripts_read_pass_as_they_are() {
    let (application, house) = open("cookies_readable = [\"csrftoken\"]\n").await;
    let kari = house.session_cookie(KARI).await;
    let set = get(&house, "/app/x?set=csrftoken=t0ken&set=sid=1", &kari).await;
    assert_eq!(pair(&set[0]), "csrftoken=t0ken");
    assert_ne!(pair(&set[1]), "sid=1");
    for (sent, seen) in [
        ("csrftoken=t0ken", "csrftoken=t0ken"),
        ("csrftoken=\"t0ken\"", "csrftoken=\"t0ken\""),
        ("csrftoken=", "csrftoken="),
        // What some readers would take for the start of another cookie.
        ("csrftoken=x sid=evil", ""),
        ("csrftoken=x,sid=evil", ""),
        ("csrftoken=\"x; sid=evil; y=\"", ""),
        ("csrftoken=\"x", ""),
        ("CSRFTOKEN=x", ""),
        ("csrftoken", ""),
    ] {
        get(&house, "/app/x", &format!("{kari}; {sent}")).await;
        assert_eq!(application.last().all("cookie").join("|"), seen, "{sent}");
    }
}

#[tokio::test]
async fn cookies_pass_or_do_not_as_configured() {
    let (application, house) = open("cookies = \"pass\"\n").await;
    let kari = house.session_cookie(KARI).await;
    assert_eq!(
        pair(&get(&house, "/app/x?set=sid=1", &kari).await[0]),
        "sid=1"
    );
    get(&house, "/app/x", &format!("sid=1; {kari}")).await;
    assert_eq!(application.last().all("cookie"), ["sid=1"]);

    let (application, house) = open("cookies = \"drop\"\ncookies_readable = [\"t\"]\n").await;
    let kari = house.session_cookie(KARI).await;
    assert_eq!(
        get(&house, "/app/x?set=sid=1&set=t=2", &kari).await,
        ["t=2; Secure; SameSite=Lax"]
    );
    get(&house, "/app/x", &format!("sid=1; t=2; {kari}")).await;
    assert_eq!(application.last().all("cookie"), ["t=2"]);
}

#[tokio::test]
async fn crumbs_and_floods_are_no_way_around() {
    let (application, house) = open("").await;
    let kari = house.session_cookie(KARI).await;
    let set = get(&house, "/app/x?set=sid=abc", &kari).await;
    let browser = house.browser_over(|builder| builder.http2_prior_knowledge().cookie_store(false));
    let mut request = browser.get(house.url("/app/x"));
    for crumb in ["evil=1", kari.as_str(), pair(&set[0]), "evil=2; evil=3"] {
        request = request.header("cookie", crumb);
    }
    assert!(request.send().await.unwrap().status().is_success());
    assert_eq!(application.last().all("cookie"), ["sid=abc"]);
    let flood = "a=AAAAAAAAAAAAAAAAAAAAAA.;".repeat(1000);
    get(
        &house,
        "/app/x",
        &format!("{}; {kari}; {flood}", pair(&set[0])),
    )
    .await;
    assert_eq!(application.last().all("cookie"), ["sid=abc"]);
}

#[tokio::test]
async fn sockets_and_interim_answers_carry_bound_cookies_too() {
    let application = Recorder::start(|recorded| {
        if recorded.target() == "/live" {
            let accept = tokio_tungstenite::tungstenite::handshake::derive_accept_key(
                recorded.all("sec-websocket-key")[0].as_bytes(),
            );
            return format!(
                "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Accept: {accept}\r\nSet-Cookie: sid=abc\r\nSet-Cookie: __Host-portvakt=x\r\n\r\n"
            )
            .into_bytes();
        }
        let early = b"HTTP/1.1 103 Early Hints\r\nSet-Cookie: early=1\r\nLink: </x>\r\n\r\n";
        [&early[..], &ok("Set-Cookie: sid=abc\r\n")].concat()
    })
    .await;
    let house = application.house("", ROUTES).await;
    let kari = house.session_cookie(KARI).await;
    let set = get(&house, "/app/x", &kari).await;
    let sid = pair(&set[0]).to_owned();
    assert!(set.len() == 1 && sid.ends_with(".abc"), "{set:?}");
    let mut request = format!("wss://localhost:{}/live", house.port)
        .into_client_request()
        .unwrap();
    let cookies = format!("{kari}; {sid}; evil=1");
    request
        .headers_mut()
        .insert("cookie", cookies.parse().unwrap());
    let tls = house.tls(&[b"http/1.1"]).await;
    let (mut socket, answer) = tokio_tungstenite::client_async(request, tls).await.unwrap();
    assert_eq!(application.last().all("cookie"), ["sid=abc"]);
    let set: Vec<_> = answer.headers().get_all("set-cookie").iter().collect();
    assert_eq!(set.len(), 1, "{set:?}");
    assert_eq!(pair(set[0].to_str().unwrap()), sid);
    drop(socket.next().await);
}

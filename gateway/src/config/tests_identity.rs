//! How an upstream takes the identity, as it is configured.

use super::tests::{LEAST, complaints, read};
use super::{Cookies, TemplatePart};

#[test]
fn identities_that_cannot_be_meant_are_said_with_their_place() {
    let text = format!(
        r#"{LEAST}headers = {{ Authorization = "env:API_KEY" }}
basic = {{ user = "a:{{user.login}}", password = "hunter2" }}
strip_query = ["key", "a=b", ""]
[[upstream.identity]]
name = "api"
[[upstream.identity]]
name = "api"
headers = {{}}
[[upstream.identity]]
name = "a b"
basic = {{ user = "{{user.logn}}", password = "env:API_KEY" }}
"#
    );
    assert_eq!(
        complaints(&text),
        [
            "15:29 the header `Authorization`: environment variable `API_KEY` is not set",
            "16:18 a user's name in basic authentication has no colon",
            "16:47 the header `basic.password` has a secret in plain text",
            "17:23 `upstream.strip_query` has `a=b`, which is no name of a field",
            "17:30 `upstream.strip_query` has ``, which is no name of a field",
            "19:8 the identity `api` has neither `headers` nor `basic`",
            "21:8 two identities are named `api`, the first in line 19",
            "24:8 `upstream.identity.name` is `a b`, which is no name",
            "25:19 the header `basic.user`: unknown placeholder `{user.logn}`",
            "25:44 the header `basic.password`: environment variable `API_KEY` is not set",
        ]
    );
    let shown = format!("{:?}", read(&text).unwrap_err());
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[test]
fn a_name_and_a_password_make_one_header() {
    let text =
        format!("{LEAST}basic = {{ user = \"{{user.login}}\", password = \"x{{user.id}}\" }}\n");
    let (config, _) = read(&text).unwrap();
    let headers = &config.upstreams[0].headers;
    let last = headers.last().unwrap();
    assert_eq!((headers.len(), last.name.as_str()), (5, "authorization"));
    assert!(matches!(
        last.parts.as_slice(),
        [TemplatePart::Literal(basic), TemplatePart::Basic { .. }] if basic == "Basic "
    ));
}

#[test]
fn what_happens_to_cookies_is_said_or_refused_with_its_place() {
    let text = format!(
        r#"{LEAST}cookies = "bnd"
cookies_readable = ["a b", "__Host-portvakt", "ok"]
cookie_path = "x"
cookie_domain = "example.org"
known_as = ["app.internal:3000", "http://x"]
host = "a b"
"#
    );
    assert_eq!(
        complaints(&text),
        [
            "15:11 `upstream.cookies` is `bnd`, which is nothing that happens to cookies",
            "16:21 `upstream.cookies_readable` has `a b`, which is no cookie's name",
            "16:28 the cookie `__Host-portvakt` is the gateway's own",
            "17:15 `upstream.cookie_path` is `x`, which is no path",
            "18:17 `upstream.cookie_domain` is `example.org`, which is not above `localhost`",
            "19:34 `upstream.known_as` has `http://x`, which is no host",
            "20:8 `upstream.host` is `a b`, which is no host",
        ]
    );
    let text = LEAST.replace("https://localhost", "https://app.localhost");
    let text = format!("{text}cookie_domain = \"App.localhost\"\nhost = \"upstream\"\n");
    let (config, _) = read(&text).unwrap();
    let upstream = &config.upstreams[0];
    assert_eq!(upstream.cookies, Cookies::Bind);
    assert_eq!(upstream.cookie_domain.as_deref(), Some("app.localhost"));
    assert_eq!(upstream.host.as_deref(), Some("127.0.0.1:3000"));
    assert_eq!(upstream.known_as, ["127.0.0.1:3000", "127.0.0.1:3000"]);
}

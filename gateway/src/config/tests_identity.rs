//! How an upstream takes the identity, as it is configured.

use super::TemplatePart;
use super::tests::{LEAST, complaints, read};

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
            "16:49 the header `basic.password` has a secret in plain text",
            "17:23 `upstream.strip_query` has `a=b`, which is no name of a field",
            "17:30 `upstream.strip_query` has ``, which is no name of a field",
            "19:8 the identity `api` has neither `headers` nor `basic`",
            "21:8 two identities are named `api`, the first in line 19",
            "24:8 `upstream.identity.name` is `a b`, which is no name",
            "25:20 the header `basic.user`: unknown placeholder `{user.logn}`",
            "25:47 the header `basic.password`: environment variable `API_KEY` is not set",
        ]
    );
    let shown = format!("{:?}", read(&text).unwrap_err());
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[test]
fn a_name_and_a_password_make_one_header() {
    let text =
        format!("{LEAST}basic = {{ user = \"{{user.login}}\", password = \"x{{user.id}}\" }}\n");
    let config = read(&text).unwrap();
    let headers = &config.upstreams[0].headers;
    let last = headers.last().unwrap();
    assert_eq!((headers.len(), last.name.as_str()), (5, "authorization"));
    assert!(matches!(
        last.parts.as_slice(),
        [TemplatePart::Literal(basic), TemplatePart::Basic { .. }] if basic == "Basic "
    ));
}

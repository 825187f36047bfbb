//! Method overrides: a request is judged as sent and as whatever the application may take it for.

use crate::house::{KARI, OLA};
use crate::reading::{house, send};

const ROUTES: &str = r#"
[[route]]
match = "GET /projects/{project}/**"
action = "read"

[[route]]
match = "POST /projects/{project}/copy"
action = "copy"

[[route]]
match = "PATCH /projects/{project}"
action = "write"
reason = "nothing lies below"

[[route]]
match = "DELETE /projects/{project}"
action = "write"
reason = "nothing lies below"

[[route]]
match = "* /projects/{project}/any/**"
action = "write"

[[route]]
match = "POST /open"
public = true

[[route]]
match = "DELETE /open"
action = "list"
resource = "company"
reason = "a test"
"#;

const RAILS: &str = r#"method_override = ["query", "form", "multipart"]"#;
const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");
const PARTS: (&str, &str) = ("content-type", "multipart/form-data; boundary=x");

#[tokio::test]
async fn a_header_that_overrides_is_judged_and_then_removed() {
    let (house, app) = house(ROUTES, "").await;
    let (kari, ola) = (house.logged_in(KARI).await, house.logged_in(OLA).await);
    for name in [
        "x-http-method-override",
        "X-HTTP-Method",
        "x-method-override",
        "x_http_method_override",
        "X_Method-Override",
    ] {
        for (who, line, value, expected) in [
            (&ola, "GET /projects/1", "DELETE", 403),
            (&ola, "GET /projects/1", "delete", 403),
            (&ola, "GET /projects/1", "GET, DELETE", 403),
            (&ola, "POST /projects/1/copy", "PATCH", 404),
            (&ola, "GET /projects/1", "PUT", 404),
            (&ola, "GET /projects/1", "", 400),
            (&ola, "GET /projects/1", "FLY", 400),
            (&ola, "GET /projects/1", "CONNECT", 400),
            (&ola, "PATCH /projects/1", "GET", 403),
            (&kari, "GET /projects/1", "PATCH", 200),
            (&ola, "GET /projects/1", "GET", 200),
        ] {
            let (status, heard) = send(&house, &app, who, line, &[(name, value)], b"").await;
            assert_eq!(status, expected, "{line} {name}: {value}");
            assert_eq!(
                heard.len(),
                usize::from(expected == 200),
                "{line} {name}: {value}"
            );
            for heard in heard {
                assert_eq!(heard.method.as_str(), line.split(' ').next().unwrap());
                assert!(!heard.headers.keys().any(|n| n.as_str().contains("method")));
            }
        }
    }
    let two = [
        ("x-http-method-override", "GET"),
        ("x-http-method", "DELETE"),
    ];
    let (status, heard) = send(&house, &app, &ola, "GET /projects/1", &two, b"").await;
    assert_eq!((status, heard.len()), (403, 0));
}

#[tokio::test]
async fn a_field_that_overrides_is_judged_where_the_application_reads_it() {
    let (house, app) = house(ROUTES, RAILS).await;
    let (kari, ola) = (house.logged_in(KARI).await, house.logged_in(OLA).await);
    let part = |value: &str| {
        format!(
            "--x\r\nContent-Disposition: form-data; name=\"_method\"\r\n\r\n{value}\r\n--x--\r\n"
        )
    };
    let (patch, get) = (part("patch"), part("GET"));
    let long = format!("x={}&_method=delete", "x".repeat(70_000));
    let any = "POST /projects/1/any";
    for (who, line, headers, body, expected) in [
        (&ola, "GET /projects/1?_method=delete", &[][..], "", 403),
        (&ola, "GET /projects/1?x=1&%5Fmethod=DELETE", &[], "", 403),
        (
            &ola,
            "GET /projects/1?_method=get&_method=delete",
            &[],
            "",
            403,
        ),
        (&ola, "GET /projects/1?_METHOD=delete", &[], "", 403),
        (&ola, "GET /projects/1?_method=fly", &[], "", 400),
        (&ola, "GET /projects/1?method=fly", &[], "", 200),
        (&kari, "GET /projects/1?_method=delete", &[], "", 200),
        (&ola, "POST /projects/1/copy", &[FORM], "_method=get", 200),
        (&ola, "POST /projects/1/copy", &[FORM], "a=b", 200),
        (&ola, "POST /projects/1/copy", &[FORM], "_method=patch", 404),
        (&kari, any, &[FORM], "a=b&_method=patch", 200),
        (&ola, any, &[FORM], "a=b&_method=get", 403),
        (&ola, "GET /projects/1", &[FORM], "_method=DELETE", 403),
        (
            &ola,
            "GET /projects/1",
            &[FORM],
            "_method%5B%5D=DELETE",
            403,
        ),
        (&ola, "GET /projects/1", &[], "_method=DELETE", 403),
        (
            &ola,
            "GET /projects/1",
            &[FORM],
            "_method=x&_method=GET",
            400,
        ),
        (&ola, "GET /projects/1", &[PARTS], patch.as_str(), 403),
        (&ola, "GET /projects/1", &[PARTS], get.as_str(), 200),
        // What cannot be read must be allowed under every method.
        (&ola, "GET /projects/1", &[FORM], long.as_str(), 404),
        (&kari, any, &[FORM], long.as_str(), 200),
        (
            &ola,
            "GET /projects/1",
            &[FORM, ("content-encoding", "gzip")],
            "x",
            404,
        ),
        (&kari, any, &[FORM, ("content-encoding", "gzip")], "x", 200),
        (&kari, any, &[FORM], "a=%zz", 200),
        (
            &ola,
            "GET /projects/1",
            &[("content-type", "application/json")],
            "{\"_method\":1}",
            200,
        ),
    ] {
        let (status, heard) = send(&house, &app, who, line, headers, body.as_bytes()).await;
        assert_eq!(status, expected, "{line} {body:.60}");
        assert_eq!(
            heard.len(),
            usize::from(expected == 200),
            "{line} {body:.60}"
        );
        for heard in heard {
            assert_eq!(heard.body.as_ref(), body.as_bytes(), "{line}");
        }
    }
    // A public route under another method is somebody's.
    let stranger = house.browser();
    for (body, expected) in [("a=b", 200), ("_method=delete", 401)] {
        let (status, heard) = send(
            &house,
            &app,
            &stranger,
            "POST /open",
            &[FORM],
            body.as_bytes(),
        )
        .await;
        assert_eq!(
            (status, heard.len()),
            (expected, usize::from(expected == 200)),
            "{body}"
        );
    }
}

#[tokio::test]
async fn another_sites_page_may_not_override_a_safe_method() {
    let (house, app) = house(ROUTES, RAILS).await;
    let kari = house.logged_in(KARI).await;
    let elsewhere = ("sec-fetch-site", "cross-site");
    for (line, headers, body, expected) in [
        ("GET /projects/1", &[elsewhere][..], "", 200),
        ("GET /projects/1?_method=patch", &[elsewhere], "", 403),
        (
            "GET /projects/1",
            &[elsewhere, ("x-http-method", "PATCH")],
            "",
            403,
        ),
        ("GET /projects/1", &[elsewhere, FORM], "_method=patch", 403),
    ] {
        let (status, heard) = send(&house, &app, &kari, line, headers, body.as_bytes()).await;
        assert_eq!(
            (status, heard.len()),
            (expected, usize::from(expected == 200)),
            "{line}"
        );
    }
}

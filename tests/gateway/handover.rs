//! How an application takes the identity: header templates with secrets, identities by route, and
//! credentials that no client may bring along.

use portvakt::config;
use portvakt::policy::PolicySet;
use reqwest::StatusCode;

use crate::house::{House, KARI, OLA, status};
use crate::recorder::Recorder;

const ROUTES: &str = r#"
[[route]]
match    = "* /app/**"
action   = "list"
resource = "company"
reason   = "a test"

[[route]]
match    = "GET /api/**"
action   = "list"
resource = "company"
identity = "api"

[[route]]
match    = "GET /dav/**"
action   = "list"
resource = "company"
identity = "dav"

[[route]]
match    = "GET /basic/**"
action   = "list"
resource = "company"
identity = "basic"

[[route]]
match    = "GET /nobody/**"
action   = "list"
resource = "company"
identity = "nobody"

[[route]]
match  = "GET /open/**"
public = true
"#;

/// The secrets in files, as ops would mount them.
fn keys(folder: &std::path::Path) -> String {
    let file = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let (key, password) = (file("key", "s3cret-key\n"), file("password", "p4ss:word"));
    format!(
        r#"headers = {{ X-App-User = "{{user.id}}", X-App-Token = "Bearer {{assertion}}" }}
strip_query = ["key", "access_token"]

[[upstream.identity]]
name = "api"
headers = {{ X-Redmine-API-Key = "file:{key}", X-Redmine-Switch-User = "{{user.login}}" }}

[[upstream.identity]]
name = "dav"
headers = {{ X-Remote-Person = "{{user.login}}" }}

[[upstream.identity]]
name = "basic"
basic = {{ user = "{{user.login}}", password = "file:{password}" }}

[[upstream.identity]]
name = "nobody"
headers = {{}}
"#
    )
}

async fn house(application: &Recorder) -> (House, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    (
        application.house(&keys(folder.path()), ROUTES).await,
        folder,
    )
}

/// Every name that any identity sets, or that an application could take for one.
const NAMES: [&str; 7] = [
    "x-app-user",
    "x-app-token",
    "x-redmine-api-key",
    "x-redmine-switch-user",
    "x-remote-person",
    "authorization",
    "x-remote-user",
];

#[tokio::test]
async fn each_route_gets_the_identity_that_it_names_and_no_other() {
    let application = Recorder::with_fields("").await;
    let (house, _secrets) = house(&application).await;
    let kari = house.logged_in(KARI).await;
    let expected: [(&str, &[(&str, &str)]); 5] = [
        ("/app/x", &[("x-app-user", "u-kari")]),
        (
            "/api/x",
            &[
                ("x-redmine-api-key", "s3cret-key"),
                ("x-redmine-switch-user", KARI),
            ],
        ),
        ("/dav/x", &[("x-remote-person", KARI)]),
        (
            "/basic/x",
            // kari@fjord.example:p4ss:word
            &[(
                "authorization",
                "Basic a2FyaUBmam9yZC5leGFtcGxlOnA0c3M6d29yZA==",
            )],
        ),
        ("/nobody/x", &[]),
    ];
    for (path, fields) in expected {
        assert_eq!(
            house.get(&kari, path).await.status(),
            StatusCode::OK,
            "{path}"
        );
        let recorded = application.last();
        for name in NAMES {
            let told: Vec<_> = recorded.all(name);
            if name == "x-app-token" && path == "/app/x" {
                let token = told[0].strip_prefix("Bearer ").unwrap();
                assert_eq!((told.len(), token.split('.').count()), (1, 3));
                continue;
            }
            let wanted: Vec<_> = fields
                .iter()
                .filter(|(own, _)| *own == name)
                .map(|(_, v)| *v)
                .collect();
            assert_eq!(told, wanted, "{name} on {path}");
        }
        assert!(
            recorded.all("x-user-id").is_empty(),
            "the default is replaced"
        );
    }
}

#[tokio::test]
async fn no_spelling_of_any_identitys_name_passes_on_any_route() {
    let application = Recorder::with_fields("").await;
    let (house, _secrets) = house(&application).await;
    let cookie = house.session_cookie(OLA).await;
    for path in [
        "/app/x",
        "/api/x",
        "/dav/x",
        "/basic/x",
        "/nobody/x",
        "/open/x",
    ] {
        let mut fields = String::new();
        for name in NAMES {
            let upper = name.to_ascii_uppercase();
            for spelling in [
                name.to_owned(),
                upper.clone(),
                name.replace('-', "_"),
                upper.replacen('-', "_", 1),
                name.replace('-', "."),
            ] {
                fields.push_str(&format!("{spelling}: evil\r\n"));
            }
        }
        fields.push_str(
            "Connection: x-redmine-api-key, authorization\r\nProxy-Authorization: evil\r\n",
        );
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nCookie: {cookie}\r\n{fields}\r\n"
        );
        let answer = house.raw(request.as_bytes()).await;
        assert_eq!(status(&answer), 200, "{path}");
        let recorded = application.last();
        assert!(
            !format!("{recorded:?}").contains("evil"),
            "{path}: {recorded:?}"
        );
    }
}

#[tokio::test]
async fn the_applications_own_credentials_never_pass_in_a_query() {
    let application = Recorder::with_fields("").await;
    let (house, _secrets) = house(&application).await;
    let cookie = house.session_cookie(OLA).await;
    for (sent, forwarded) in [
        ("?key=evil", ""),
        ("?a=1&key=evil&b=2", "?a=1&b=2"),
        ("?a=1&key=evil&key=evil", "?a=1"),
        ("?a=1&%6bey=evil", "?a=1"),
        ("?a=1&k%65%79=evil&KEY=evil", "?a=1"),
        ("?a=1&%256bey=evil", "?a=1"),
        ("?a=1;key=evil", "?a=1"),
        ("?key[]=evil&key%5B0%5D=evil&a=1", "?a=1"),
        ("?access%5ftoken=evil&access.token=evil&a=1", "?a=1"),
        ("?key%00=evil&+key=evil&a=1", "?a=1"),
        ("?keys=1&monkey=2&a=key", "?keys=1&monkey=2&a=key"),
        ("?a=%20&b=%zz", "?a=%20&b=%zz"),
    ] {
        for path in ["/app/x", "/open/x"] {
            let request = format!(
                "GET {path}{sent} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nCookie: {cookie}\r\n\r\n"
            );
            let answer = house.raw(request.as_bytes()).await;
            assert_eq!(status(&answer), 200, "{sent}");
            assert_eq!(
                application.last().target(),
                format!("{path}{forwarded}"),
                "{sent}"
            );
        }
    }
}

#[tokio::test]
async fn bodies_pass_byte_for_byte() {
    let application = Recorder::with_fields("").await;
    let (house, _secrets) = house(&application).await;
    let cookie = house.session_cookie(OLA).await;
    let request = format!(
        "POST /app/x?key=evil HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nCookie: {cookie}\r\n\
         Content-Length: 11\r\n\r\nkey=a&%6b=b"
    );
    assert_eq!(status(&house.raw(request.as_bytes()).await), 200);
    let recorded = application.last();
    assert_eq!(
        (recorded.target(), recorded.body.as_str()),
        ("/app/x", "key=a&%6b=b")
    );
}

#[tokio::test]
async fn a_route_for_an_identity_that_there_is_not_is_a_fault_with_its_line() {
    let application = Recorder::with_fields("").await;
    let (house, _secrets) = house(&application).await;
    let (config, _) = config::load(&house.config_file(), &|_| None).unwrap();
    let routes = house.policies().join("routes.toml");
    let text = std::fs::read_to_string(&routes).unwrap();
    for (wrong, message) in [
        (
            text.replace("identity = \"api\"", "identity = \"apy\""),
            "the upstream `projects` has no identity `apy`",
        ),
        (
            text.replace("public = true", "public = true\nidentity = \"api\""),
            "a public route names nobody: leave `identity` out",
        ),
    ] {
        std::fs::write(&routes, wrong).unwrap();
        let faults = PolicySet::load(&house.policies(), &config.upstream_names()).unwrap_err();
        assert_eq!(faults.len(), 1);
        assert_eq!(faults[0].message(), message);
        assert!(
            faults[0].location().unwrap().contains("routes.toml:"),
            "{:?}",
            faults[0]
        );
    }
}

#[tokio::test]
async fn a_look_up_as_the_gateway_carries_the_gateways_own_key_and_no_user() {
    const ASKED: &str = r#"
[resource.project]
facts = [{ from = "upstream", get = "/facts/{id}", company = "/c", owner = "/o", identity = "api" }]

[[route]]
match  = "GET /projects/{project}"
action = "read"
"#;
    let application = Recorder::start(|asked| {
        let body = match asked.target() {
            "/facts/1" => r#"{"c":"fjord","o":"u-kari"}"#,
            _ => "ok",
        };
        let length = body.len();
        format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")
            .into_bytes()
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let house = application.house(&keys(folder.path()), ASKED).await;
    let ola = house.logged_in(OLA).await;
    assert_eq!(
        house.get(&ola, "/projects/1").await.status(),
        StatusCode::OK
    );
    let seen = application.seen();
    let asked = seen
        .iter()
        .find(|one| one.target() == "/facts/1")
        .expect("the application was asked");
    assert_eq!(asked.all("x-redmine-api-key"), ["s3cret-key"]);
    for name in [
        "x-redmine-switch-user",
        "x-app-user",
        "x-app-token",
        "cookie",
    ] {
        assert_eq!(asked.all(name), Vec::<&str>::new(), "{name}");
    }
}

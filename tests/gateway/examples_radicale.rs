//! `examples/radicale`: a CalDAV server that believes a header, behind the only one who sets it.

use reqwest::{Client, Method, StatusCode};
use tempfile::TempDir;
use tokio::process::Command;

use crate::example::{Example, installed};
use crate::house::{KARI, NILS, OLA, repository};

const EVENT: &str = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//x//x//EN\r\nBEGIN:VEVENT\r\nUID:1\r\n\
DTSTAMP:20260101T000000Z\r\nDTSTART:20260101T100000Z\r\nSUMMARY:Measure the quay\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n";
const QUERY: &str = r#"<?xml version="1.0"?><C:calendar-query xmlns:D="DAV:" xmlns:C="urn:ietf:params:xml:ns:caldav">
<D:prop><C:calendar-data/></D:prop><C:filter><C:comp-filter name="VCALENDAR"/></C:filter></C:calendar-query>"#;
const WHO: &str = r#"<?xml version="1.0"?><D:propfind xmlns:D="DAV:"><D:prop><D:current-user-principal/></D:prop></D:propfind>"#;

async fn open() -> (Example, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    // Its own configuration, with the port and the folder of this test.
    let file = repository().join("examples/radicale/radicale.conf");
    let text = std::fs::read_to_string(file).unwrap();
    let home = folder.path().display().to_string();
    let example = Example::open("radicale", "127.0.0.1:5232", |port| {
        let text = text
            .replace("127.0.0.1:5232", &format!("127.0.0.1:{port}"))
            .replace("state/radicale", &home);
        let conf = folder.path().join("radicale.conf");
        std::fs::write(&conf, text).unwrap();
        let mut python = Command::new(installed("target/test-venv/bin/python"));
        python.args(["-m", "radicale", "--config"]).arg(conf);
        python
    })
    .await;
    (example, folder)
}

impl Example {
    async fn dav(
        &self,
        who: &Client,
        line: &str,
        fields: &[(&str, &str)],
        body: &str,
    ) -> (StatusCode, String) {
        let (method, path) = line.split_once(' ').unwrap();
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let mut request = who.request(method, self.house.url(path));
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let answer = request.body(body.to_owned()).send().await.unwrap();
        (answer.status(), answer.text().await.unwrap())
    }

    /// A request that is refused and does not reach Radicale.
    async fn refused(&self, who: &Client, line: &str, fields: &[(&str, &str)], status: u16) {
        self.forwarded();
        let (got, _) = self.dav(who, line, fields, "").await;
        assert_eq!(got.as_u16(), status, "{line} {fields:?}");
        assert_eq!(self.forwarded(), [""; 0], "{line} {fields:?}");
    }
}

#[tokio::test]
async fn calendars_are_read_by_colleagues_and_changed_by_their_person() {
    let (example, _folder) = open().await;
    let house = &example.house;
    let (kari, ola, nils) = (
        house.logged_in(KARI).await,
        house.logged_in(OLA).await,
        house.logged_in(NILS).await,
    );
    let (home, of_ola) = ("/kari@fjord.example", "/ola@fjord.example");
    let made = example
        .dav(&kari, &format!("MKCALENDAR {home}/work/"), &[], "")
        .await;
    assert_eq!(made.0, StatusCode::CREATED, "{}", made.1);
    let made = example
        .dav(&ola, &format!("MKCALENDAR {of_ola}/work/"), &[], "")
        .await;
    assert_eq!(made.0, StatusCode::CREATED, "{}", made.1);
    let item = format!("{home}/work/1.ics");
    let calendar = [("content-type", "text/calendar")];
    assert_eq!(
        example
            .dav(&kari, &format!("PUT {item}"), &calendar, EVENT)
            .await
            .0,
        StatusCode::CREATED
    );

    for (who, name) in [(&kari, "kari"), (&ola, "ola")] {
        let (status, text) = example
            .dav(who, &format!("PROPFIND {home}/"), &[("depth", "1")], "")
            .await;
        assert!(
            status == StatusCode::MULTI_STATUS && text.contains("/work/"),
            "{name}: {status} {text}"
        );
        let (status, text) = example
            .dav(
                who,
                &format!("REPORT {home}/work/"),
                &[("depth", "1")],
                QUERY,
            )
            .await;
        assert!(
            status == StatusCode::MULTI_STATUS && text.contains("Measure the quay"),
            "{name}: {status} {text}"
        );
        assert_eq!(
            example.dav(who, &format!("GET {item}"), &[], "").await.0,
            StatusCode::OK,
            "{name}"
        );
    }
    for method in [
        "PUT",
        "DELETE",
        "PROPPATCH",
        "MKCALENDAR",
        "MKCOL",
        "LOCK",
        "POST",
    ] {
        example
            .refused(&ola, &format!("{method} {home}/work/2.ics"), &[], 403)
            .await;
        example
            .refused(&nils, &format!("{method} {home}/work/2.ics"), &[], 404)
            .await;
    }
    for method in ["GET", "PROPFIND", "REPORT", "OPTIONS"] {
        example
            .refused(
                &nils,
                &format!("{method} {home}/work/"),
                &[("depth", "1")],
                404,
            )
            .await;
        example
            .refused(&house.browser(), &format!("{method} {home}/"), &[], 401)
            .await;
    }
    example
        .refused(&kari, "PROPFIND /nobody@fjord.example/", &[], 404)
        .await;
}

#[tokio::test]
async fn what_moves_is_judged_where_it_goes_to() {
    let (example, _folder) = open().await;
    let house = &example.house;
    let (kari, ola) = (house.logged_in(KARI).await, house.logged_in(OLA).await);
    let (home, of_ola) = ("/kari@fjord.example", "/ola@fjord.example");
    let calendar = [("content-type", "text/calendar")];
    for (who, home) in [(&kari, home), (&ola, of_ola)] {
        for name in ["work", "home"] {
            example
                .dav(who, &format!("MKCALENDAR {home}/{name}/"), &[], "")
                .await;
        }
        let (status, _) = example
            .dav(who, &format!("PUT {home}/work/1.ics"), &calendar, EVENT)
            .await;
        assert_eq!(status, StatusCode::CREATED);
    }
    let to = |path: &str| house.url(path);
    let own = to(&format!("{home}/home/1.ics"));
    let line = format!("MOVE {home}/work/1.ics");
    let (status, text) = example
        .dav(&kari, &line, &[("destination", &own)], "")
        .await;
    assert_eq!(status, StatusCode::CREATED, "{text}");
    let (status, _) = example
        .dav(&kari, &format!("GET {home}/home/1.ics"), &[], "")
        .await;
    assert_eq!(status, StatusCode::OK);

    let stolen = to(&format!("{home}/home/2.ics"));
    let line = format!("MOVE {of_ola}/work/1.ics");
    for (destination, status) in [
        (stolen.clone(), 403),
        (format!("{home}/home/2.ics"), 403),
        (
            to(&format!("{of_ola}/../kari@fjord.example/home/2.ics")),
            400,
        ),
        (
            to(&format!("{of_ola}/%2e%2e/kari@fjord.example/home/2.ics")),
            400,
        ),
        (format!("https://evil.example{of_ola}/home/2.ics"), 400),
        (to("//kari@fjord.example/home/2.ics"), 400),
        (to("/work/2.ics"), 404),
    ] {
        example
            .refused(&ola, &line, &[("destination", &destination)], status)
            .await;
    }
    example.refused(&ola, &line, &[], 400).await;
    // Radicale takes this prefix off the destination: judged as ola's, it would land at kari's.
    let prefixed = to(&format!("{of_ola}{home}/home/2.ics"));
    for name in ["X-Script-Name", "x_script_name", "X-Forwarded-Prefix"] {
        example
            .dav(
                &ola,
                &line,
                &[("destination", &prefixed), (name, of_ola)],
                "",
            )
            .await;
        let (status, _) = example
            .dav(&kari, &format!("GET {home}/home/2.ics"), &[], "")
            .await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{name}");
    }
}

#[tokio::test]
async fn who_is_calling_is_what_the_gateway_says() {
    let (example, _folder) = open().await;
    let nils = example.house.logged_in(NILS).await;
    for name in [
        "X-Remote-User",
        "x_remote_user",
        "X-REMOTE_USER",
        "Authorization",
    ] {
        let fields = [("depth", "0"), (name, "kari@fjord.example")];
        let (status, text) = example.dav(&nils, "PROPFIND /", &fields, WHO).await;
        assert_eq!(status, StatusCode::MULTI_STATUS, "{text}");
        assert!(
            text.contains("nils@tinde.example") || text.contains("nils%40tinde.example"),
            "{text}"
        );
        assert!(!text.contains("kari"), "{name}: {text}");
    }
    for depth in [&[("depth", "1")][..], &[("depth", "infinity")], &[]] {
        example.refused(&nils, "PROPFIND /", depth, 404).await;
    }
}

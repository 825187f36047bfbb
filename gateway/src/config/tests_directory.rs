//! `[directory]` in PostgreSQL: where the database is, and that nobody listens on the way.

use std::time::Duration;

use tokio_postgres::config::SslMode;

use super::fault::Fault;
use super::tests::{LEAST, lines, with_env};
use super::{Directory, Postgres};

const QUERY: &str = "query = \"select * from portvakt_people;\"";

/// A configuration whose directory is in PostgreSQL, with these further keys (lines 8 and on).
fn text(keys: &str) -> String {
    LEAST
        .replace("kind = \"file\"", "kind = \"postgres\"")
        .replace("path = \"directory.toml\"", keys)
}

fn postgres(keys: &str, url: &str) -> Result<Postgres, Vec<Fault>> {
    let env = |name: &str| (name == "DATABASE_URL").then(|| url.to_owned());
    match with_env(&text(keys), &env)?.0.directory {
        Directory::Postgres(settings) => Ok(*settings),
        Directory::File { .. } => panic!("a file"),
    }
}

fn complaints(keys: &str, url: &str) -> Vec<String> {
    lines(&postgres(keys, url).unwrap_err())
}

#[test]
fn the_platforms_url_is_taken_and_the_rest_has_defaults() {
    let url = "postgres://app:pw@127.0.0.1:5432/projects";
    let settings = postgres(QUERY, url).unwrap();
    assert_eq!(settings.query, "select * from portvakt_people");
    assert_eq!(settings.max_age, Duration::from_secs(10));
    assert_eq!(settings.database.connections, 4);
    assert_eq!(settings.database.connect_timeout, Duration::from_secs(2));
    assert_eq!(settings.database.query_timeout, Duration::from_secs(2));
    assert_eq!(settings.database.connection.get_dbname(), Some("projects"));
    assert_eq!(
        settings.database.connection.get_ssl_mode(),
        SslMode::Disable
    );
    assert!(!format!("{settings:?}").contains("pw"));
}

#[test]
fn a_database_on_another_machine_is_spoken_to_over_tls_only() {
    let keys = format!("{QUERY}\nca = \"roots.pem\"");
    for url in [
        "postgres://app:pw@db.example/projects",
        "postgres://app:pw@db.example/projects?sslmode=verify-full",
        "postgres://app:pw@localhost,db.example/projects?sslmode=require",
        "postgres://app:pw@localhost/projects?hostaddr=192.0.2.1",
        "postgres://app:pw@db.localhost/projects",
    ] {
        let mode = postgres(&keys, url)
            .unwrap()
            .database
            .connection
            .get_ssl_mode();
        assert_eq!(mode, SslMode::Require, "{url}");
        assert!(
            complaints(QUERY, url)[0].contains("`directory.ca` does not say"),
            "{url}"
        );
    }
    for mode in ["disable", "allow", "prefer"] {
        let url = format!("postgres://app:pw@db.example/projects?sslmode={mode}");
        assert_eq!(
            complaints(&keys, &url),
            [
                "8:8 `directory.url`: its `sslmode` lets passwords and people's data cross the network unencrypted"
            ]
        );
        let here = url.replace("db.example", "[::1]");
        let settings = postgres(&keys, &here).unwrap();
        assert_eq!(
            settings.database.connection.get_ssl_mode(),
            SslMode::Disable
        );
    }
}

#[test]
fn what_is_no_url_is_a_fault_that_does_not_show_it() {
    for url in [
        "",
        "hunter2",
        "host=localhost password=hunter2",
        "mysql://app:hunter2@localhost/projects",
        "postgres:///projects",
        "postgres://app:hunter2@localhost:port/projects",
        "postgres://app:hunter2@localhost/projects?sslmode=perhaps",
        "postgres://app:hunter2@localhost/projects?sslrootcert=x",
    ] {
        let faults = postgres(QUERY, url).unwrap_err();
        let shown: String = faults.iter().map(Fault::report).collect();
        assert!(shown.contains("directory.url"), "{shown}");
        assert!(!shown.contains("hunter2"), "{shown}");
    }
    let faults = with_env(&text(QUERY), &|_| None).unwrap_err();
    assert_eq!(
        lines(&faults),
        ["8:8 `directory.url`: environment variable `DATABASE_URL` is not set"]
    );
    let literal = format!("{QUERY}\nurl = \"postgres://app:hunter2@localhost/x\"");
    let faults = postgres(&literal, "").unwrap_err();
    let shown: String = faults.iter().map(Fault::report).collect();
    assert!(
        shown.contains("by reference") && !shown.contains("hunter2"),
        "{shown}"
    );
}

#[test]
fn a_query_is_one_select_without_parameters() {
    let url = "postgres://app@localhost/projects";
    for (query, message) in [
        (
            "delete from users",
            "does not begin with `select` or `with`",
        ),
        ("", "does not begin with `select` or `with`"),
        ("select * from users where id = $1", "has a parameter"),
    ] {
        let found = complaints(&format!("query = \"{query}\""), url);
        assert!(found[0].contains(message), "{found:?}");
    }
    assert_eq!(
        complaints("max_age = \"5s\"", url),
        ["8:8 `query` is missing in `directory`"]
    );
    assert_eq!(
        complaints(&format!("{QUERY}\nmax_age = \"5m\"\nconnections = 0"), url),
        [
            "10:11 `directory.max_age` is `5m`, out of bounds",
            "11:15 `directory.connections` is `0`, out of bounds",
        ]
    );
}

#[test]
fn keys_of_the_other_kind_are_faults() {
    let url = "postgres://app@localhost/projects";
    assert_eq!(
        complaints(&format!("{QUERY}\npath = \"directory.toml\""), url),
        [
            "10:8 `directory.path` is for a directory of kind `postgres`"
                .replace("postgres", "file")
        ]
    );
    let file = LEAST.replace("path = \"directory.toml\"", QUERY);
    assert_eq!(
        lines(&with_env(&file, &|_| None).unwrap_err()),
        [
            "8:8 `path` is missing in `directory`",
            "9:9 `directory.query` is for a directory of kind `postgres`",
        ]
    );
    let other = LEAST.replace("kind = \"file\"", "kind = \"postgre\"");
    assert_eq!(
        lines(&with_env(&other, &|_| None).unwrap_err()),
        ["8:8 `directory.kind` is `postgre`, which is unknown"]
    );
}

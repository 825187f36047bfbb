//! Facts from a real PostgreSQL: who may do what follows the application's own tables.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use portvakt::clock::{Clock, ManualClock, SharedClock, SystemClock, Timestamp};
use reqwest::{Client, StatusCode};

use crate::cluster::Cluster;
use crate::house::{House, KARI, NILS, OLA};

const ROUTES: &str = r#"
[resource.project]
id    = "[A-Za-z0-9_-]+"
facts = [{ from = "postgres", query = "QUERY" }]

[[route]]
match  = "GET /projects/{project}/**"
action = "read"

[[route]]
match  = "* /projects/{project}/**"
action = "write"
"#;

/// The demo's projects, by number, by uuid and by a word.
const TABLES: &str = "
create table projects (
  id serial primary key, code varchar(20) not null, key uuid not null,
  company_id text, owner_id text, owner_mail text);
insert into projects (code, key, company_id, owner_id, owner_mail) values
  ('one', '8c4a2c1e-0d3b-4e57-9a51-5f2e6f0b7d11', 'fjord', 'u-kari', 'Kari@Fjord.example'),
  ('two', '8c4a2c1e-0d3b-4e57-9a51-5f2e6f0b7d12', 'fjord', 'u-ola', 'nobody@fjord.example'),
  ('three', '8c4a2c1e-0d3b-4e57-9a51-5f2e6f0b7d13', 'tinde', 'u-nils', 'no address');
";

const BY_ID: &str = "select company_id, owner_id from projects where id = $1";

/// A house whose facts are in the database.
async fn house(cluster: &Cluster, source: &str, more: &str) -> (House, Arc<ManualClock>) {
    cluster.sql(TABLES).await;
    let now = SystemClock::starting_at(Timestamp::default()).now();
    let clock = Arc::new(ManualClock::at(now));
    let url = cluster.url();
    let routes = ROUTES.replace("\"QUERY\"", source);
    let house = House::open_with(
        |text| {
            let dir = text.split("dir = \"").find_map(|rest| {
                let path = rest.split('"').next()?;
                path.ends_with("/policies").then(|| path.to_owned())
            });
            let dir = std::path::PathBuf::from(dir.expect("the policy folder"));
            std::fs::write(dir.join("routes.toml"), &routes).unwrap();
            std::fs::remove_dir_all(dir.join("tests")).unwrap();
            let secret = dir.with_file_name("facts-url");
            std::fs::write(&secret, &url).unwrap();
            text.push_str(&format!(
                "\n[policy.postgres]\nurl = \"file:{}\"\n{more}\n",
                secret.display()
            ));
        },
        Some(Arc::clone(&clock) as SharedClock),
    )
    .await;
    (house, clock)
}

fn quoted(query: &str) -> String {
    format!("\"{query}\"")
}

async fn read(house: &House, browser: &Client, id: &str) -> StatusCode {
    house
        .get(browser, &format!("/projects/{id}"))
        .await
        .status()
}

async fn write(house: &House, browser: &Client, id: &str) -> StatusCode {
    let url = house.url(&format!("/projects/{id}"));
    let sent = browser
        .patch(url)
        .json(&serde_json::json!({"name": "x"}))
        .send();
    sent.await.unwrap().status()
}

#[tokio::test]
async fn rows_decide_whatever_the_identifiers_type() {
    let cluster = Cluster::start().await;
    let source = quoted("select company_id, owner_id, id from projects where id = $1");
    let (house, _) = house(&cluster, &source, "").await;
    let (kari, ola, nils) = (
        house.logged_in(KARI).await,
        house.logged_in(OLA).await,
        house.logged_in(NILS).await,
    );
    assert_eq!(write(&house, &kari, "1").await, StatusCode::OK);
    assert_eq!(write(&house, &ola, "1").await, StatusCode::FORBIDDEN);
    assert_eq!(read(&house, &ola, "1").await, StatusCode::OK);
    assert_eq!(read(&house, &nils, "1").await, StatusCode::NOT_FOUND);
    assert_eq!(read(&house, &nils, "3").await, StatusCode::OK);
    for id in [
        "01",
        "x",
        "99999999999999999999",
        "4",
        "-1",
        "1-OR-1",
        "0x1",
        "1_0",
    ] {
        assert_eq!(read(&house, &kari, id).await, StatusCode::NOT_FOUND, "{id}");
    }
}

#[tokio::test]
async fn texts_and_uuids_are_parameters_and_never_sql() {
    let cluster = Cluster::start().await;
    cluster.sql(TABLES).await;
    let settings = portvakt::postgres::Settings {
        connection: cluster.url().parse().unwrap(),
        ca: None,
        connections: 2,
        connect_timeout: Duration::from_secs(2),
        query_timeout: Duration::from_secs(2),
    };
    crate::house::provider();
    let pool = portvakt::postgres::Pool::open(&settings).unwrap();
    let ask = async |column: &str, id: &str| {
        let query = format!("select company_id, owner_id from projects where {column} = $1 -- all");
        let single = portvakt::postgres::Single::new(&query);
        let found = single.ask(&pool, id).await.unwrap();
        found
            .rows
            .into_iter()
            .next()
            .map(|row| row[1].clone().unwrap())
    };
    let kari = Some("u-kari".to_owned());
    assert_eq!(ask("code", "one").await, kari);
    assert_eq!(ask("id", "1").await, kari);
    assert_eq!(
        ask("key", "8c4a2c1e-0d3b-4e57-9a51-5f2e6f0b7d11").await,
        kari
    );
    for (column, id) in [
        ("code", "' or '1'='1"),
        ("code", "one'; drop table projects; --"),
        ("code", "ONE"),
        ("code", "one\0"),
        ("id", "1 or 1=1"),
        ("id", " 1"),
        ("id", "+1"),
        ("id", "1.0"),
        ("id", "2147483648"),
        ("key", "8C4A2C1E-0D3B-4E57-9A51-5F2E6F0B7D11"),
        ("key", "{8c4a2c1e-0d3b-4e57-9a51-5f2e6f0b7d11}"),
        ("key", "one"),
        ("id::text::date::text", "x"),
    ] {
        if column.contains("date") {
            continue;
        }
        assert_eq!(ask(column, id).await, None, "{column} {id:?}");
    }
    // A connection on which the parameter was no value of its type goes on to serve.
    assert_eq!(ask("id", "2147483648").await, None);
    assert_eq!(ask("id", "1").await, kari);
}

#[tokio::test]
async fn owners_by_address_are_found_in_the_directory() {
    let cluster = Cluster::start().await;
    let source = format!(
        "{}, owner_as = \"email\"",
        quoted("select company_id, owner_mail from projects where id = $1")
    );
    let (house, _) = house(&cluster, &source, "").await;
    let (kari, ola) = (house.logged_in(KARI).await, house.logged_in(OLA).await);
    assert_eq!(write(&house, &kari, "1").await, StatusCode::OK);
    assert_eq!(write(&house, &ola, "2").await, StatusCode::FORBIDDEN);
    assert_eq!(read(&house, &ola, "2").await, StatusCode::OK);
}

#[tokio::test]
async fn rows_that_differ_refuse_and_equal_ones_are_one() {
    let cluster = Cluster::start().await;
    let source = quoted("select company_id, owner_id from projects where code = $1");
    let (house, _) = house(&cluster, &source, "").await;
    cluster
        .sql("insert into projects (code, key, company_id, owner_id) select code, key, company_id, owner_id from projects where code = 'one';
              insert into projects (code, key, company_id, owner_id) select code, key, 'tinde', owner_id from projects where code = 'two'")
        .await;
    let kari = house.logged_in(KARI).await;
    // Allowed, and unknown to the sample service.
    assert_eq!(write(&house, &kari, "one").await, StatusCode::NOT_FOUND);
    assert_eq!(
        read(&house, &kari, "two").await,
        StatusCode::SERVICE_UNAVAILABLE
    );
}

#[tokio::test]
async fn without_the_database_it_refuses_and_recovers_by_itself() {
    let mut cluster = Cluster::start().await;
    let (house, clock) = house(&cluster, &quoted(BY_ID), "connections = 2").await;
    let kari = house.logged_in(KARI).await;
    assert_eq!(read(&house, &kari, "1").await, StatusCode::OK);
    cluster.stop();
    clock.advance(Duration::from_secs(31));
    let asked = Instant::now();
    let all = join_all((0..8).map(|_| read(&house, &kari, "1"))).await;
    assert_eq!(all, [StatusCode::SERVICE_UNAVAILABLE; 8]);
    assert!(
        asked.elapsed() < Duration::from_secs(5),
        "{:?}",
        asked.elapsed()
    );
    cluster.resume().await;
    // Connections that died with the server poison nothing.
    for id in ["1", "2", "1", "2"] {
        clock.advance(Duration::from_secs(31));
        assert_eq!(read(&house, &kari, id).await, StatusCode::OK);
    }
}

#[tokio::test]
async fn one_dead_connection_and_a_slow_question_poison_nothing() {
    let cluster = Cluster::start().await;
    let more = "connections = 1\nquery_timeout = \"300ms\"";
    let (house, clock) = house(&cluster, &quoted(BY_ID), more).await;
    let kari = house.logged_in(KARI).await;
    assert_eq!(read(&house, &kari, "1").await, StatusCode::OK);
    cluster
        .sql("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'portvakt'")
        .await;
    clock.advance(Duration::from_secs(31));
    // The first may find out the hard way; whoever comes next does not.
    let _ = read(&house, &kari, "1").await;
    assert_eq!(read(&house, &kari, "1").await, StatusCode::OK);
    let client = cluster.client().await;
    client
        .batch_execute("begin; lock table projects in access exclusive mode")
        .await
        .unwrap();
    clock.advance(Duration::from_secs(31));
    assert_eq!(
        read(&house, &kari, "1").await,
        StatusCode::SERVICE_UNAVAILABLE
    );
    client.batch_execute("rollback").await.unwrap();
    assert_eq!(read(&house, &kari, "1").await, StatusCode::OK);
}

#[tokio::test]
async fn a_query_that_does_not_run_is_told_before_anything_starts() {
    let cluster = Cluster::start().await;
    let (house, _) = house(&cluster, &quoted(BY_ID), "").await;
    let (config, _) = portvakt::config::load(&house.config_file(), &|_| None).unwrap();
    let told = async |query: &str| {
        let routes = ROUTES.replace("\"QUERY\"", &quoted(query));
        std::fs::write(house.policies().join("routes.toml"), routes).unwrap();
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_portvakt"));
        command.args(["check", "--config"]).arg(house.config_file());
        let output = command.output().await.unwrap();
        String::from_utf8_lossy(&output.stderr).into_owned()
            + &String::from_utf8_lossy(&output.stdout)
    };
    assert!(config.policy.database.is_some());
    for (query, message) in [
        (
            "select nothing from projects where id = $1",
            "column \"nothing\" does not exist",
        ),
        (
            "select a.company_id, a.owner_id, a.id, a.code from projects a where a.id = $1",
            "not `company`, `owner`",
        ),
        (
            "select company_id, now() from projects where id = $1",
            "as `timestamptz`",
        ),
    ] {
        let text = told(query).await;
        assert!(
            text.contains(message) && text.contains("routes.toml:4"),
            "{text}"
        );
    }
    assert!(!told(BY_ID).await.contains("routes.toml:4"));
}

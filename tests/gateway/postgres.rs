//! The directory in a real PostgreSQL: it finds people, it binds in time, and without it nobody
//! enters.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use portvakt::cli::certs::make_dev;
use portvakt::clock::{Clock, ManualClock, SharedClock, SystemClock, Timestamp};
use portvakt::config::{self, Directory as Settings};
use portvakt::directory::Directory;
use portvakt::directory::postgres::PostgresDirectory;
use portvakt::principal::{EmailAddress, UserId};
use reqwest::header::COOKIE;
use reqwest::{Client, StatusCode};
use serde_json::json;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::cluster::{Cluster, QUERY};
use crate::house::{House, KARI, NILS, OLA};

const MAX_AGE: Duration = Duration::from_secs(10);

/// So long that a further message may go to the same person.
const A_WHILE: Duration = Duration::from_secs(120);

/// A house whose people are in the database, and the clock in the test's hand.
pub(crate) async fn house(cluster: &Cluster, more: &str) -> (House, Arc<ManualClock>) {
    let now = SystemClock::starting_at(Timestamp::default()).now();
    let clock = Arc::new(ManualClock::at(now));
    let house = House::open_with(
        |text| in_the_database(text, &cluster.url(), QUERY, more),
        Some(Arc::clone(&clock) as SharedClock),
    )
    .await;
    (house, clock)
}

/// Puts a directory in PostgreSQL in the place of the file.
pub(crate) fn in_the_database(text: &mut String, url: &str, query: &str, more: &str) {
    let start = text.find("[directory]").unwrap();
    let end = start + text[start..].find("[sms]").unwrap();
    let folder = text[start..end].split('"').nth(3).unwrap();
    let secret = Path::new(folder).with_file_name("database-url");
    std::fs::write(&secret, url).unwrap();
    let secret = secret.display();
    let section = format!(
        "[directory]\nkind = \"postgres\"\nurl = \"file:{secret}\"\nquery = \"{query}\"\n{more}\n"
    );
    text.replace_range(start..end, &section);
}

/// The directory alone, as the house is configured.
pub(crate) fn directory(house: &House, clock: &Arc<ManualClock>) -> PostgresDirectory {
    directory_of(house, clock, QUERY)
}

/// The same with another query.
pub(crate) fn directory_of(
    house: &House,
    clock: &Arc<ManualClock>,
    query: &str,
) -> PostgresDirectory {
    let (config, _) = config::load(&house.config_file(), &|_| None).unwrap();
    let Settings::Postgres(mut settings) = config.directory else {
        panic!("a file");
    };
    query.clone_into(&mut settings.query);
    PostgresDirectory::open(&settings, Arc::clone(clock) as SharedClock).unwrap()
}

pub(crate) async fn ask(house: &House, email: &str) -> StatusCode {
    let body = json!({ "email": email });
    house
        .post_json(&house.browser(), "/.portvakt/login", &body)
        .await
        .status()
}

/// How many messages have gone to a number. A message travels apart from its page, so nobody
/// can wait for one that is not sent: another one is waited for, which was asked for later.
pub(crate) async fn messages_to(house: &House, phone: &str) -> usize {
    assert_eq!(ask(house, NILS).await, StatusCode::ACCEPTED);
    house.latest_code(NILS).await;
    let messages = house.outbox().await;
    messages.iter().filter(|one| one["to"] == phone).count()
}

/// A client that sends one cookie with every request.
fn with_cookie(house: &House, cookie: &str) -> Client {
    let headers = [(COOKIE, cookie.parse().unwrap())].into_iter().collect();
    house.browser_over(|builder| builder.cookie_store(false).default_headers(headers))
}

type Socket = WebSocketStream<TlsStream<TcpStream>>;

/// What is going on in a project, as it goes on.
async fn live(house: &House, project: u32, cookie: &str) -> Socket {
    let mut request = format!("wss://localhost:{}/projects/{project}/live", house.port)
        .into_client_request()
        .unwrap();
    let headers = request.headers_mut();
    headers.insert("cookie", cookie.parse().unwrap());
    let tls = house.tls(&[b"http/1.1"]).await;
    let (socket, _) = tokio_tungstenite::client_async(request, tls).await.unwrap();
    socket
}

/// The other end closes, though nobody asks for anything.
async fn closes(socket: &mut Socket) {
    let closed = tokio::time::timeout(Duration::from_secs(2), async {
        while let Some(Ok(message)) = socket.next().await {
            if message.is_close() {
                break;
            }
        }
    });
    closed.await.expect("the socket closes without a request");
}

async fn project(house: &House, browser: &Client, number: u32) -> StatusCode {
    let path = format!("/projects/{number}");
    house.get(browser, &path).await.status()
}

#[tokio::test]
async fn suspension_and_removal_bind_within_max_age_and_end_what_streams() {
    let cluster = Cluster::start().await;
    let (house, clock) = house(&cluster, "").await;
    let kari = house.browser();
    house.ask_for_code(&kari, " KARI@fjord.EXAMPLE").await;
    let code = house.latest_code(KARI).await;
    assert_eq!(house.give_code(&kari, &code).await.status(), StatusCode::OK);
    let cookie = house.session_cookie(OLA).await;
    let ola = with_cookie(&house, &cookie);
    assert_eq!(project(&house, &kari, 1).await, StatusCode::OK);
    assert_eq!(project(&house, &ola, 2).await, StatusCode::OK);
    let mut socket = live(&house, 2, &cookie).await;

    cluster
        .sql("update users set suspended_at = now() where handle = 'u-ola'")
        .await;
    cluster
        .sql("delete from users where handle = 'u-kari'")
        .await;
    clock.advance(MAX_AGE);
    assert_eq!(project(&house, &kari, 1).await, StatusCode::UNAUTHORIZED);
    assert_eq!(project(&house, &ola, 2).await, StatusCode::UNAUTHORIZED);
    closes(&mut socket).await;

    clock.advance(Duration::from_secs(16 * 60));
    assert_eq!(ask(&house, OLA).await, StatusCode::ACCEPTED);
    assert_eq!(ask(&house, KARI).await, StatusCode::ACCEPTED);
    assert_eq!(messages_to(&house, "+4790000002").await, 1);
    assert_eq!(
        house.outbox().await.len(),
        3,
        "Kari's, Ola's, and now only Nils's"
    );

    // Resumed: a new login, and the old sessions stay dead.
    cluster
        .sql("update users set suspended_at = null where handle = 'u-ola'")
        .await;
    clock.advance(Duration::from_secs(16 * 60));
    assert_eq!(project(&house, &ola, 2).await, StatusCode::UNAUTHORIZED);
    let again = house.browser();
    house.ask_for_code(&again, OLA).await;
    for _ in 0..200 {
        if house.outbox().await.len() > 3 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let code = house.latest_code(OLA).await;
    assert_eq!(
        house.give_code(&again, &code).await.status(),
        StatusCode::OK
    );
    assert_eq!(project(&house, &again, 2).await, StatusCode::OK);
}

#[tokio::test]
async fn without_its_database_nobody_enters_and_it_recovers_by_itself() {
    let mut cluster = Cluster::start().await;
    let (house, clock) = house(&cluster, "").await;
    let kari = house.logged_in(KARI).await;
    assert_eq!(project(&house, &kari, 1).await, StatusCode::OK);
    assert_eq!(house.admin("/readyz").await.status(), StatusCode::OK);
    let mut socket = live(&house, 3, &house.session_cookie(NILS).await).await;
    cluster.stop();
    // What was heard a moment ago still counts; nothing else does.
    assert_eq!(project(&house, &kari, 1).await, StatusCode::OK);
    assert_eq!(ask(&house, OLA).await, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(
        house.admin("/readyz").await.status(),
        StatusCode::SERVICE_UNAVAILABLE
    );
    clock.advance(MAX_AGE);
    assert_eq!(
        project(&house, &kari, 1).await,
        StatusCode::SERVICE_UNAVAILABLE
    );
    assert_eq!(ask(&house, KARI).await, StatusCode::SERVICE_UNAVAILABLE);
    // The first failure that the watch over streams saw was before this or after: then its
    // patience ends only now.
    tokio::time::sleep(Duration::from_millis(500)).await;
    clock.advance(MAX_AGE / 4);
    closes(&mut socket).await;

    cluster.resume().await;
    assert_eq!(
        project(&house, &kari, 1).await,
        StatusCode::OK,
        "the session outlives it"
    );
    clock.advance(A_WHILE);
    assert_eq!(ask(&house, NILS).await, StatusCode::ACCEPTED);
    assert_eq!(house.admin("/readyz").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn the_gateway_starts_without_its_database_and_waits_for_it() {
    let mut cluster = Cluster::start().await;
    cluster.stop();
    let (house, clock) = house(&cluster, "").await;
    assert_eq!(ask(&house, KARI).await, StatusCode::SERVICE_UNAVAILABLE);
    cluster.resume().await;
    clock.advance(A_WHILE);
    let kari = house.logged_in(KARI).await;
    assert_eq!(project(&house, &kari, 1).await, StatusCode::OK);
}

#[tokio::test]
async fn a_database_that_is_too_slow_is_as_good_as_down() {
    let cluster = Cluster::start().await;
    let (house, clock) = house(&cluster, "query_timeout = \"300ms\"").await;
    let client = cluster.client().await;
    client
        .batch_execute("begin; lock table users in access exclusive mode")
        .await
        .unwrap();
    assert_eq!(ask(&house, KARI).await, StatusCode::SERVICE_UNAVAILABLE);
    client.batch_execute("rollback").await.unwrap();
    clock.advance(A_WHILE);
    assert_eq!(ask(&house, KARI).await, StatusCode::ACCEPTED);
    house.latest_code(KARI).await;
}

#[tokio::test]
async fn two_hundred_at_once_share_the_connections_there_are() {
    let cluster = Cluster::start().await;
    cluster
        .sql(
            "insert into users (handle, mail, mobile, full_name, company_id)
             select 'n-' || n, 'N' || n || '@fjord.example', '+' || 4790000000 + n, 'N', 'fjord'
             from generate_series(4, 20000) n;
             create index on users (handle);
             analyze",
        )
        .await;
    let more = "connections = 3\nconnect_timeout = \"30s\"\nquery_timeout = \"30s\"";
    let (mut house, clock) = house(&cluster, more).await;
    // Alone with the database: its own housekeeping asks as well.
    house.gateway.take().unwrap().stop().await;
    let directory = directory(&house, &clock);
    let observer = cluster.client().await;
    let busy = "select count(*) from pg_stat_activity where application_name = 'portvakt'";
    let all = join_all((0..200).map(|n| {
        let email = EmailAddress::parse(&format!("n{n}@fjord.example")).unwrap();
        let directory = &directory;
        async move { directory.by_email(&email).await.unwrap().is_some() }
    }));
    let mut most = 0;
    let watching = async {
        loop {
            let row = observer.query_one(busy, &[]).await.unwrap();
            most = most.max(row.get::<_, i64>(0));
        }
    };
    let found = tokio::select! {
        found = all => found,
        () = watching => unreachable!("it never ends"),
    };
    assert_eq!(found.iter().filter(|found| **found).count(), 196);
    let row = observer.query_one(busy, &[]).await.unwrap();
    most = most.max(row.get::<_, i64>(0));
    assert!((1..=3).contains(&most), "{most} connections");

    // Whoever is fetched together needs no question of their own.
    let id = |n: u32| UserId::from(format!("n-{n}").as_str());
    let ids: Vec<UserId> = (4..=700).map(id).collect();
    directory.expect(&ids).await.unwrap();
    // A connection counts its use of indexes at the latest when it ends.
    observer
        .batch_execute(
            "select pg_terminate_backend(pid, 10000) from pg_stat_activity
             where application_name = 'portvakt'",
        )
        .await
        .unwrap();
    for index in ["users_lower_idx", "users_handle_idx"] {
        let used = "select idx_scan from pg_stat_user_indexes where indexrelname = $1";
        let row = observer.query_one(used, &[&index]).await.unwrap();
        assert!(row.get::<_, i64>(0) > 0, "{index} does not serve");
    }
    drop(cluster);
    for id in &ids {
        assert!(directory.by_id(id).await.unwrap().is_some(), "{id}");
    }
    assert!(directory.by_id(&id(701)).await.is_err());
}

#[tokio::test]
async fn the_server_proves_who_it_is_where_tls_is_spoken() {
    let folder = tempfile::tempdir().unwrap();
    let made = folder.path().join("own");
    let now = SystemClock::starting_at(Timestamp::default()).now();
    for dir in [&made, &folder.path().join("other")] {
        make_dev(dir, &["localhost"], now).unwrap();
    }
    let cluster = Cluster::start_with(|cluster| {
        let file = |name: &str| std::fs::read(made.join(name)).unwrap();
        cluster.keep("server.pem", &file("localhost.pem"));
        cluster.keep("server.key", &file("localhost.key"));
        vec![
            "ssl=on".to_owned(),
            "ssl_cert_file=../server.pem".to_owned(),
            "ssl_key_file=../server.key".to_owned(),
        ]
    })
    .await;
    let url = cluster.url().replace("127.0.0.1", "localhost") + "?sslmode=verify-full";
    let open = async |ca: &str| {
        let ca = format!("ca = \"{}\"", folder.path().join(ca).display());
        House::open_with(|text| in_the_database(text, &url, QUERY, &ca), None).await
    };
    let house = open("own/ca.pem").await;
    house.logged_in(KARI).await;
    let observer = cluster.client().await;
    let encrypted = "select bool_and(ssl) from pg_stat_ssl join pg_stat_activity using (pid)
                     where application_name = 'portvakt'";
    let row = observer.query_one(encrypted, &[]).await.unwrap();
    assert_eq!(row.get::<_, Option<bool>>(0), Some(true));
    drop(house);
    let house = open("other/ca.pem").await;
    assert_eq!(ask(&house, KARI).await, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn check_asks_a_database_that_answers_what_the_query_yields() {
    let mut cluster = Cluster::start().await;
    let (house, _) = house(&cluster, "").await;
    let file = house.config_file();
    let check = |url: &str, query: &str| {
        let mut text = std::fs::read_to_string(&file).unwrap();
        let start = text.find("query = ").unwrap();
        let end = start + text[start..].find('\n').unwrap();
        text.replace_range(start..end, &format!("query = \"{query}\""));
        std::fs::write(&file, text).unwrap();
        std::fs::write(file.with_file_name("database-url"), url).unwrap();
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_portvakt"))
            .args(["check", "--config"])
            .arg(&file)
            .output()
            .unwrap();
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        (output.status.code(), said)
    };
    let (url, socket) = (cluster.url(), cluster.socket_url());
    for url in [&url, &socket] {
        let (code, said) = check(url, QUERY);
        assert_eq!(code, Some(0), "{said}");
    }
    for (url, query, complaint) in [
        (
            &url,
            QUERY.replace("as suspended", "as suspendd"),
            "has a column `suspendd`",
        ),
        (
            &url,
            QUERY.replace(" as phone", ""),
            "has no column `phone`",
        ),
        (
            &url,
            QUERY.replace("u.mail as", "u.number as"),
            "yields `email` as `int4`",
        ),
        (
            &url,
            QUERY.replace("users u", "usrs u"),
            "relation \"usrs\" does not exist",
        ),
        (
            &url.replace("postgres@", "nobody@"),
            QUERY.to_owned(),
            "role \"nobody\" does not exist",
        ),
    ] {
        let (code, said) = check(url, &query);
        assert_eq!(code, Some(1), "{said}");
        let said = said.replace(['\n', '│'], " ");
        let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(said.contains(complaint), "{complaint}: {said}");
    }
    cluster.stop();
    let (code, said) = check(&url, QUERY);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("cannot be asked"), "{said}");
}

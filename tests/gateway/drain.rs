//! What was asked for before the gateway is told to end is still sent, or told to be dropped.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest};

use crate::house::{House, KARI, free_port, status};
use crate::provider::{Does, Provider, created};
use crate::recorder::{fields, ok};
use crate::sms::{house_with, twilio};
use crate::streams::before;
use crate::supervised::Supervisor;

#[tokio::test]
async fn a_message_that_waits_is_sent_before_the_gateway_ends() {
    let wait = Does::Answer("429 Too Many Requests", "retry-after: 2\r\n", String::new());
    let provider = Provider::start([wait], created()).await;
    let (mut house, _secrets) = house_with(&twilio(provider.address), None).await;
    house.ask_for_code(&house.browser(), KARI).await;
    provider.after(1).await;
    let asked = Instant::now();
    house.gateway.take().unwrap().stop().await;
    assert_eq!(provider.received().len(), 2, "it waited its two seconds");
    assert!(asked.elapsed() < Duration::from_secs(20));
}

#[tokio::test]
async fn what_cannot_be_sent_by_the_drains_end_is_told_with_its_number() {
    let provider = Provider::start([], Does::Nothing).await;
    let (mut house, _secrets) = house_with(&twilio(provider.address), None).await;
    house.gateway.take().unwrap().stop().await;
    let file = house.config_file();
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{text}\n[limits]\ndrain = \"1s\"\n")).unwrap();
    let log = house.dir.path().join("log");
    let out = std::fs::File::create(&log).unwrap();
    let mut gateway = Command::new(env!("CARGO_BIN_EXE_portvakt"))
        .args(["run", "--config"])
        .arg(&file)
        .stdin(Stdio::null())
        .stdout(out.try_clone().unwrap())
        .stderr(out)
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    answers(&house).await;
    house.ask_for_code(&house.browser(), KARI).await;
    provider.after(1).await;
    let id = gateway.id().unwrap().to_string();
    let told = Command::new("kill").args(["-TERM", &id]).status().await;
    assert!(told.unwrap().success());
    let ended = tokio::time::timeout(Duration::from_secs(20), gateway.wait());
    assert!(ended.await.unwrap().unwrap().success());
    let log = std::fs::read_to_string(log).unwrap();
    let line = log.lines().find(|line| line.contains("they are dropped"));
    let line = line.unwrap_or_else(|| panic!("{log}"));
    assert!(line.contains("messages") && line.contains('1'), "{line}");
}

async fn answers(house: &House) {
    for _ in 0..600 {
        let url = house.url("/.portvakt/jwks.json");
        if house.browser().get(url).send().await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the gateway does not answer");
}

/// An application that takes its time.
async fn slow(time: Duration) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut buffer = [0; 4096];
                let _ = stream.read(&mut buffer).await;
                tokio::time::sleep(time).await;
                let _ = stream.write_all(&ok("")).await;
            });
        }
    });
    address
}

const REQUEST: &[u8] = b"GET /open/x HTTP/1.1\r\nHost: localhost\r\n\r\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_under_way_or_just_connected_is_answered_and_told_to_go() {
    let mut house = before(slow(Duration::from_millis(500)).await).await;
    let mut under_way = house.tls(&[b"http/1.1"]).await;
    under_way.write_all(REQUEST).await.unwrap();
    let mut connected = house.tls(&[b"http/1.1"]).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let begun = Instant::now();
    let stopping = tokio::spawn(house.gateway.take().unwrap().stop());
    tokio::time::sleep(Duration::from_millis(400)).await;
    connected.write_all(REQUEST).await.unwrap();
    for stream in [&mut under_way, &mut connected] {
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        assert_eq!(status(&answer), 200);
        assert_eq!(fields(&answer, "connection"), ["close"]);
    }
    stopping.await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(10), "it waited on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_websocket_is_told_that_the_gateway_goes_away() {
    let mut house = House::open().await;
    let cookie = house.session_cookie(KARI).await;
    let mut request = format!("wss://localhost:{}/projects/1/live", house.port)
        .into_client_request()
        .unwrap();
    let headers = request.headers_mut();
    headers.insert("cookie", cookie.parse().unwrap());
    let tls = house.tls(&[b"http/1.1"]).await;
    let (mut socket, _) = tokio_tungstenite::client_async(request, tls).await.unwrap();
    socket.next().await.unwrap().unwrap();
    socket.send(Message::text("hello")).await.unwrap();
    let begun = Instant::now();
    let stopping = tokio::spawn(house.gateway.take().unwrap().stop());
    let mut closed = None;
    while let Some(message) = socket.next().await {
        if let Message::Close(frame) = message.expect("a clean end") {
            closed = frame.map(|frame| u16::from(frame.code));
        }
    }
    assert_eq!(closed, Some(1001));
    stopping.await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(10), "it waited on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn load_balancers_are_told_before_anything_closes() {
    let delay = |config: &mut String| config.push_str("\n[limits]\ndrain_delay = \"2s\"\n");
    let mut house = House::open_with(delay, None).await;
    assert_eq!(house.admin("/readyz").await.status(), 200);
    let stopping = tokio::spawn(house.gateway.take().unwrap().stop());
    tokio::time::sleep(Duration::from_millis(200)).await;
    let ready = house.admin("/readyz").await;
    assert_eq!(ready.status(), 503);
    assert!(
        ready
            .text()
            .await
            .unwrap()
            .contains("the gateway is draining")
    );
    let answer = house.browser().get(house.url("/.portvakt/jwks.json"));
    assert_eq!(answer.send().await.unwrap().status(), 200, "it accepts");
    stopping.await.unwrap();
}

#[tokio::test]
async fn an_http2_client_that_went_without_a_word_is_not_waited_for() {
    let mut house = House::open().await;
    // It has spoken, and then neither reads nor answers.
    let mut stream = house.tls(&[b"h2"]).await;
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    stream.write_all(preface).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let begun = Instant::now();
    house.gateway.take().unwrap().stop().await;
    assert!(
        begun.elapsed() < Duration::from_secs(15),
        "{:?}",
        begun.elapsed()
    );
    drop(stream);
}

#[tokio::test]
async fn a_supervisor_is_told_how_the_gateway_fares() {
    let mut house = House::open().await;
    house.gateway.take().unwrap().stop().await;
    let mut supervisor = Supervisor::of(&house).watching(Duration::from_millis(400));
    let mut gateway = supervisor.start();
    gateway.tells("STATUS=serving on 127.0.0.1:", 1).await;
    gateway.tells("WATCHDOG=1", 3).await;
    gateway.signal("-HUP").await;
    gateway.tells("READY=1", 2).await;
    let told = gateway.told();
    let reload = told.iter().find(|one| one.starts_with("RELOADING=1\n"));
    let reload = reload.expect("it says that it reloads");
    assert!(reload.contains("\nMONOTONIC_USEC="), "{reload}");

    // However it went, the reload has ended.
    std::fs::write(house.policies().join("routes.toml"), "nonsense").unwrap();
    gateway.signal("-HUP").await;
    gateway.tells("STATUS=the reload of policy failed", 1).await;
    gateway.signal("-TERM").await;
    gateway.tells("STOPPING=1", 1).await;
    assert!(gateway.ended().await.success());
}

#[tokio::test]
async fn sockets_that_are_not_configured_are_refused() {
    let mut house = House::open().await;
    house.gateway.take().unwrap().stop().await;
    let elsewhere = free_port();
    let mut supervisor = Supervisor::on(&house, ([127, 0, 0, 1], elsewhere).into());
    let mut gateway = supervisor.start();
    assert_eq!(gateway.ended().await.code(), Some(1));
    let expected = format!(
        "portvakt: sockets were handed over, but none for the listener `127.0.0.1:{port}`; add \
         `ListenStream=127.0.0.1:{port}` to the socket's unit",
        port = house.port
    );
    assert!(gateway.log().contains(&expected), "{}", gateway.log());
}

#[tokio::test]
async fn who_waits_for_the_store_ends_when_told_to() {
    let mut house = House::open().await;
    house.gateway.take().unwrap().stop().await;
    let mut supervisor = Supervisor::of(&house);
    let mut first = supervisor.start();
    first.tells("READY=1", 1).await;
    let mut second = supervisor.start();
    second.tells("STATUS=waiting", 1).await;
    second.stop().await;
    first.stop().await;
}

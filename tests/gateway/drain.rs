//! What was asked for before the gateway is told to end is still sent, or told to be dropped.

use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::process::Command;

use crate::house::{House, KARI};
use crate::provider::{Does, Provider, created};
use crate::sms::{house_with, twilio};

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

//! With no descriptor left, accepting waits without spinning, and goes on when there are some again.

use std::time::Duration;

use tokio::net::TcpStream;

use crate::house::House;
use crate::supervised::Supervisor;

/// A gateway of two workers needs about half of them for itself.
const DESCRIPTORS: u32 = 80;

#[tokio::test]
async fn without_descriptors_accepting_waits_without_spinning_and_recovers() {
    let mut house = House::open().await;
    house.gateway.take().unwrap().stop().await;
    let mut supervisor = Supervisor::of(&house).scarce(DESCRIPTORS);
    let mut gateway = supervisor.start();
    gateway.tells("READY=1", 1).await;
    let mut held = Vec::new();
    for _ in 0..DESCRIPTORS {
        held.push(TcpStream::connect(("127.0.0.1", house.port)).await.unwrap());
    }
    for _ in 0..200 {
        if gateway.log().contains("accepting pauses") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let log = gateway.log();
    assert!(
        log.contains("accepting pauses"),
        "{} open: {log}",
        gateway.descriptors()
    );
    let before = gateway.processor_time();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let used = gateway.processor_time() - before;
    println!(
        "{} descriptors open; {used:?} of a processor in 3 s",
        gateway.descriptors()
    );
    assert!(used < Duration::from_millis(600), "it spins: {used:?}");

    held.clear();
    let url = house.url("/.portvakt/jwks.json");
    let answer = house.browser().get(url).send().await.unwrap();
    assert_eq!(answer.status(), 200, "it has not recovered");
    gateway.stop().await;
}

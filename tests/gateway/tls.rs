//! TLS as a client meets it.

use portvakt::cli::certs;
use portvakt::clock::{Clock, SystemClock, Timestamp};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use crate::house::House;

async fn s_client(house: &House, arguments: &[&str]) -> String {
    let connect = format!("127.0.0.1:{}", house.port);
    let output = Command::new("openssl")
        .args(["s_client", "-connect", &connect, "-servername", "localhost"])
        .args(arguments)
        .stdin(std::process::Stdio::null())
        .output()
        .await
        .expect("openssl is installed");
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[tokio::test]
async fn only_tls_1_2_and_1_3_with_forward_secrecy() {
    let house = House::open().await;
    let ca = house.dir.path().join("certs/ca.pem");
    let ca = ca.to_str().unwrap();
    for (arguments, expected) in [
        (
            &["-tls1_3", "-CAfile", ca, "-verify_return_error"][..],
            "Verify return code: 0 (ok)",
        ),
        (
            &["-tls1_2", "-CAfile", ca, "-verify_return_error"],
            "Verify return code: 0 (ok)",
        ),
        (&["-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"], "alert"),
        (
            &["-tls1_2", "-cipher", "AES128-SHA:AES256-GCM-SHA384"],
            "alert",
        ),
        (&["-alpn", "h2"], "ALPN protocol: h2"),
        (&["-alpn", "http/1.1"], "ALPN protocol: http/1.1"),
    ] {
        let said = s_client(&house, arguments).await;
        assert!(said.contains(expected), "{arguments:?}: {said}");
    }
}

#[tokio::test]
async fn the_post_quantum_group_is_chosen_with_a_client_that_has_it() {
    let house = House::open().await;
    let mut stream = house.tls(&[b"http/1.1"]).await;
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let group = stream
        .get_ref()
        .1
        .negotiated_key_exchange_group()
        .unwrap()
        .name();
    assert_eq!(format!("{group:?}"), "X25519MLKEM768");
}

#[tokio::test]
async fn certificates_are_exchanged_under_open_connections_and_a_faulty_pair_is_not_taken() {
    let house = House::open().await;
    let leaf = |stream: &tokio_rustls::client::TlsStream<_>| {
        stream.get_ref().1.peer_certificates().unwrap()[0].clone()
    };
    let mut open = house.tls(&[b"http/1.1"]).await;
    let before = leaf(&open);

    let folder = house.dir.path().join("certs");
    let key = std::fs::read(folder.join("localhost.key")).unwrap();
    std::fs::write(folder.join("localhost.key"), "no key").unwrap();
    house.gateway.as_ref().unwrap().reload().await;
    assert_eq!(
        leaf(&house.tls(&[b"http/1.1"]).await),
        before,
        "the old pair stays"
    );
    let ready: serde_json::Value = house.admin("/readyz").await.json().await.unwrap();
    let failed = ready["checks"]
        .as_array()
        .unwrap()
        .iter()
        .find(|c| c["name"] == "reload:certificates");
    assert_eq!(failed.unwrap()["ok"], false, "{ready}");
    let metrics = house.admin("/metrics").await.text().await.unwrap();
    assert!(
        metrics.contains("portvakt_reload_failed{what=\"certificates\"} 1"),
        "{metrics}"
    );
    std::fs::write(folder.join("localhost.key"), key).unwrap();

    let now = SystemClock::starting_at(Timestamp::from_millis(0)).now();
    let fresh = house.dir.path().join("fresh");
    certs::make_dev(&fresh, &["localhost"], now).unwrap();
    for file in ["localhost.pem", "localhost.key", "ca.pem"] {
        std::fs::copy(fresh.join(file), folder.join(file)).unwrap();
    }
    house.gateway.as_ref().unwrap().reload().await;
    assert_ne!(
        leaf(&house.tls(&[b"http/1.1"]).await),
        before,
        "the new pair serves"
    );

    open.write_all(
        b"GET /.portvakt/login HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    )
    .await
    .unwrap();
    let mut answer = Vec::new();
    open.read_to_end(&mut answer).await.unwrap();
    assert!(
        answer.starts_with(b"HTTP/1.1 200"),
        "the open connection serves on"
    );
}

//! What is written down and where it is told, as it is configured.

use super::tests::{LEAST, complaints, read};

#[test]
fn a_collector_is_told_over_plain_http_at_a_path() {
    let text = format!("{LEAST}\n[log]\ntraces = \"http://collector:4318/v1/traces\"\n");
    let (config, warnings) = read(&text).unwrap();
    let url = config.log.traces.unwrap();
    assert_eq!(
        (url.origin.authority().as_str(), url.path.as_str()),
        ("collector:4318", "/v1/traces")
    );
    assert!(warnings.is_empty());
    assert!(
        read(LEAST).unwrap().0.log.traces.is_none(),
        "off by default"
    );
    for (traces, said) in [
        (
            "https://collector/v1/traces",
            "17:10 `log.traces` is `https://collector/v1/traces`: collectors are told by plain `http`",
        ),
        (
            "http://collector:4318",
            "17:10 `log.traces` is `http://collector:4318`, without a path",
        ),
    ] {
        let text = format!("{LEAST}\n[log]\ntraces = \"{traces}\"\n");
        assert_eq!(complaints(&text), [said]);
    }
    let text = format!("{LEAST}\n[log]\ntraces = \"http://a:b@collector/x\"\n");
    let said = complaints(&text);
    assert!(
        said.len() == 1 && !said[0].contains("a:b"),
        "a password is not shown: {said:?}"
    );
}

//! `[sms]` and `[mail]`: what providers need, and what is refused.

use std::path::PathBuf;

use super::tests::{LEAST, complaints_in, with_env};
use super::*;

const SID: &str = "0123456789abcdef0123456789abcdef";

fn env(name: &str) -> Option<String> {
    match name {
        "TOKEN" => Some("hunter2-token".to_owned()),
        "KEY" => Some(format!("SK{SID}")),
        "SECRET" => Some("hunter2-secret-of-16".to_owned()),
        "SHORT" => Some("hunter2".to_owned()),
        _ => None,
    }
}

fn with(sms: &str) -> String {
    LEAST.replace("kind = \"outbox\"\n", sms)
}

fn complaints(text: &str) -> Vec<String> {
    complaints_in(text, &env)
}

fn twilio(more: &str) -> String {
    with(&format!(
        "kind = \"twilio\"\naccount_sid = \"AC{SID}\"\n{more}\n"
    ))
}

fn resolved(text: &str) -> Config {
    with_env(text, &env)
        .unwrap_or_else(|faults| panic!("{}", faults.iter().map(Fault::report).collect::<String>()))
        .0
}

#[test]
fn an_account_at_twilio_is_known_by_its_token_or_by_a_key() {
    let config = resolved(&twilio(
        "auth_token = \"env:TOKEN\"\nfrom = \"+4790000001\"",
    ));
    assert_eq!(config.sms.queue, 1_000);
    let [SmsProvider::Twilio(twilio_)] = config.sms.providers.as_slice() else {
        panic!("{config:?}");
    };
    assert_eq!(twilio_.user.expose_text(), Some(&*format!("AC{SID}")));
    assert_eq!(twilio_.password.expose(), b"hunter2-token");
    assert_eq!(twilio_.base_url.origin.origin(), "https://api.twilio.com");
    assert!(twilio_.status_callback);
    assert!(!format!("{config:?}").contains("hunter2"));

    let keyed = "api_key = \"env:KEY\"\napi_secret = \"env:SECRET\"\nstatus_callback = false";
    let config = resolved(&twilio(&format!(
        "{keyed}\nmessaging_service_sid = \"MG{SID}\"\nqueue = 5"
    )));
    let [SmsProvider::Twilio(twilio_)] = config.sms.providers.as_slice() else {
        panic!("{config:?}");
    };
    assert_eq!(twilio_.user.expose_text(), Some(&*format!("SK{SID}")));
    assert_eq!(twilio_.password.expose(), b"hunter2-secret-of-16");
    assert_eq!(twilio_.from, TwilioFrom::Service(format!("MG{SID}")));
    assert_eq!(config.sms.queue, 5);
}

#[test]
fn receipts_that_nobody_could_verify_are_refused() {
    let keyed = "api_key = \"env:KEY\"\napi_secret = \"env:SECRET\"\nfrom = \"4711\"";
    assert_eq!(
        complaints(&twilio(keyed)),
        ["11:8 `sms` takes receipts, but has no `auth_token` to verify them by"]
    );
    assert_eq!(
        complaints(&twilio(&format!("{keyed}\nstatus_callback = true"))),
        ["16:19 `sms` takes receipts, but has no `auth_token` to verify them by"]
    );
    resolved(&twilio(&format!("{keyed}\nauth_token = \"env:TOKEN\"")));
}

#[test]
fn what_a_provider_needs_is_said() {
    for (sms, expected) in [
        (
            with("kind = \"twilio\"\nstatus_callback = false\n"),
            vec![
                "11:8 `sms` is missing `account_sid`",
                "11:8 `sms` is missing `api_key` and `api_secret`, or `auth_token`",
                "11:8 `sms` is missing `from` or `messaging_service_sid`",
            ],
        ),
        (
            with("kind = \"webhook\"\n"),
            vec![
                "11:8 `sms` is missing `url`",
                "11:8 `sms` is missing `secret`",
            ],
        ),
        (
            twilio("auth_token = \"env:UNSET\"\nfrom = \"+4790000001\""),
            vec!["13:14 `sms.auth_token`: environment variable `UNSET` is not set"],
        ),
        (
            twilio("auth_token = \"env:TOKEN\"\nfrom = \"+47 900 00 001\""),
            vec!["14:8 `sms.from` is `+47 900 00 001`, which nobody can send from"],
        ),
        (
            twilio("auth_token = \"env:TOKEN\"\nfrom = \"Projects\"\nurl = \"https://x\""),
            vec!["15:7 `sms.url` means nothing to `twilio`"],
        ),
        (
            with("kind = \"carrier-pigeon\"\n"),
            vec!["11:8 `sms.kind` is `carrier-pigeon`, which is unknown"],
        ),
        (
            with("kind = \"webhook\"\nurl = \"https://sms.example.com\"\nsecret = \"env:SHORT\"\n"),
            vec!["13:10 `sms.secret` has less than 16 bytes: it can be guessed"],
        ),
    ] {
        assert_eq!(complaints(&sms), expected, "{sms}");
    }
}

#[test]
fn messages_go_in_the_clear_to_this_machine_only() {
    let webhook = |url: &str| {
        with(&format!(
            "kind = \"webhook\"\nurl = \"{url}\"\nsecret = \"env:SECRET\"\n"
        ))
    };
    resolved(&webhook("http://127.0.0.1:9999/send"));
    resolved(&webhook("https://sms.example.com/send"));
    assert_eq!(
        complaints(&webhook("http://sms.example.com/send")),
        [
            "12:7 `sms.url` is `http://sms.example.com/send`: without TLS anyone on the way could read codes"
        ]
    );
    assert_eq!(
        complaints(&webhook("https://sms.example.com/send?key=hunter2")).len(),
        1
    );
    assert_eq!(
        complaints(&twilio(
            "auth_token = \"env:TOKEN\"\nfrom = \"4711\"\nbase_url = \"http://api.twilio.com\""
        )),
        [
            "15:12 `sms.base_url` is `http://api.twilio.com`: without TLS anyone on the way could read codes"
        ]
    );
}

#[test]
fn fallbacks_are_tried_in_their_order_and_have_none_of_their_own() {
    let webhook =
        "{ kind = \"webhook\", url = \"https://sms.example.com\", secret = \"env:SECRET\" }";
    let config = resolved(&twilio(&format!(
        "auth_token = \"env:TOKEN\"\nfrom = \"4711\"\nfallback = [{webhook}, {{ kind = \"outbox\" }}]"
    )));
    assert!(matches!(
        config.sms.providers.as_slice(),
        [
            SmsProvider::Twilio(_),
            SmsProvider::Webhook(_),
            SmsProvider::Outbox
        ]
    ));
    let nested = "{ kind = \"outbox\", fallback = [{ kind = \"outbox\" }] }";
    assert_eq!(
        complaints(&with(&format!(
            "kind = \"outbox\"\nfallback = [{nested}]\n"
        ))),
        ["12:53 a fallback has no `queue` and no `fallback` of its own"]
    );
    // The outbox is for this machine, wherever in the list it stands.
    let public =
        twilio("auth_token = \"env:TOKEN\"\nfrom = \"4711\"\nfallback = [{ kind = \"outbox\" }]")
            .replace("https://localhost:8443", "https://projects.example.com");
    let found = complaints(&public);
    assert!(
        found[0].contains("`sms.fallback.kind` is `outbox`"),
        "{found:?}"
    );
}

#[test]
fn literal_secrets_of_providers_are_never_echoed() {
    for text in [
        twilio("auth_token = \"hunter2\"\nfrom = \"4711\""),
        twilio("api_key = \"hunter2\"\napi_secret = \"hunter2\"\nfrom = \"4711\""),
        with(
            "kind = \"webhook\"\nurl = \"https://kari:hunter2@x.example\"\nsecret = \"hunter2\"\n",
        ),
        format!("{LEAST}[mail]\nhost = \"x\"\nfrom = \"a@b.example\"\npassword = \"hunter2\"\n"),
    ] {
        let faults = with_env(&text, &env).unwrap_err();
        assert!(!faults.is_empty());
        for fault in faults {
            let shown = format!("{fault} {fault:?} {}", fault.report());
            assert!(!shown.contains("hunter2"), "{shown}");
        }
    }
}

#[test]
fn a_mail_server_is_reached_over_tls_unless_it_is_this_machine() {
    let mail = |more: &str| format!("{LEAST}[mail]\nfrom = \"no-reply@example.com\"\n{more}\n");
    let config = resolved(&mail(
        "host = \"smtp.example.com\"\nuser = \"portvakt\"\npassword = \"env:SECRET\"",
    ));
    let server = config.mail.unwrap();
    assert_eq!((server.port, server.tls), (587, MailTls::StartTls));
    assert_eq!(server.from.as_str(), "no-reply@example.com");
    assert!(!format!("{server:?}").contains("hunter2"));
    let server = |more: &str| resolved(&mail(more)).mail.unwrap();
    assert_eq!(server("host = \"x.example\"\ntls = \"tls\"").port, 465);
    assert_eq!(server("host = \"[::1]\"\ntls = \"none\"").host, "::1");
    assert_eq!(
        server("host = \"x.example\"\nca = \"ca.pem\"").ca,
        std::path::absolute("ca.pem").ok() as Option<PathBuf>
    );

    for (more, expected) in [
        (
            "host = \"smtp.example.com\"\ntls = \"none\"",
            "17:8 `mail.tls` is `none`, but `smtp.example.com` is not this machine",
        ),
        (
            "host = \"https://x\"",
            "17:8 `mail.host` is `https://x`, which is no host name",
        ),
        (
            "host = \"x.example\"\ntls = \"ssl\"",
            "18:7 `mail.tls` is `ssl`, which is unknown",
        ),
        (
            "host = \"x.example\"\nuser = \"u\"",
            "18:8 `mail` has one of `user` and `password` without the other",
        ),
        (
            "host = \"x.example\"\nca = \"missing.pem\"",
            "18:6 `mail.ca` is `missing.pem`, which is no file",
        ),
    ] {
        assert_eq!(complaints(&mail(more)), [expected], "{more}");
    }
}

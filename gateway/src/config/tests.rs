use std::path::Path;

use super::resolve::{Surroundings, resolve};
use super::*;

/// The least that is a configuration, as TOML in front of which root keys may be put.
pub(super) const LEAST: &str = r#"public_url = "https://localhost:8443"
[[listener]]
bind = "127.0.0.1:8443"
tls = "default"
[tls.default]
certificates = [{ chain = "chain.pem", key = "file:chain.key" }]
[directory]
kind = "file"
path = "directory.toml"
[sms]
kind = "outbox"
[[upstream]]
name = "projects"
addresses = ["http://127.0.0.1:3000"]
"#;

pub(super) fn with_env(
    text: &str,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<(Config, Vec<Fault>), Vec<Fault>> {
    let around = Surroundings {
        env,
        is_file: &|path| !path.ends_with("missing.pem"),
        cpus: 2,
    };
    match resolve(Path::new("t.toml"), text, around) {
        (Some(config), faults) if faults.iter().all(Fault::is_warning) => Ok((config, faults)),
        (_, faults) => Err(faults),
    }
}

pub(super) fn read(text: &str) -> Result<(Config, Vec<Fault>), Vec<Fault>> {
    with_env(text, &|_| None)
}

/// Each fault as `line:column message`.
pub(super) fn complaints(text: &str) -> Vec<String> {
    lines(&read(text).unwrap_err())
}

/// The same, where there is an environment.
pub(super) fn complaints_in(text: &str, env: &dyn Fn(&str) -> Option<String>) -> Vec<String> {
    lines(&with_env(text, env).unwrap_err())
}

pub(super) fn lines(faults: &[Fault]) -> Vec<String> {
    faults
        .iter()
        .map(|fault| {
            let place = fault.location().unwrap_or_default();
            let place = place.strip_prefix("t.toml:").unwrap_or("-").to_owned();
            format!("{place} {}", fault.message())
        })
        .collect()
}

#[test]
fn the_least_configuration_gets_the_documented_defaults() {
    let (config, warnings) = read(LEAST).unwrap();
    assert!(warnings.is_empty());
    assert_eq!(config.public_url.origin(), "https://localhost:8443");
    assert_eq!((config.prefix.as_str(), config.workers), ("/.portvakt", 2));
    let here = std::env::current_dir().unwrap();
    let path = config.store.file().unwrap();
    assert_eq!(path, &here.join("state/portvakt.redb"));
    assert_eq!(config.audit.dir, here.join("state/audit"));
    assert_eq!(config.policy.dir, here.join("policies"));
    assert_eq!(config.admin.bind.to_string(), "127.0.0.1:9090");
    assert_eq!(config.session.idle, Duration::from_secs(3600));
    assert_eq!(config.session.absolute, Duration::from_secs(86_400));
    assert_eq!(config.login.attempts_per_challenge, 3);
    assert_eq!(
        config.login.unknown_device,
        [
            Window {
                limit: 5,
                per: Duration::from_secs(86_400)
            },
            Window {
                limit: 20,
                per: Duration::from_secs(30 * 86_400)
            }
        ]
    );
    assert_eq!(config.limits.header_bytes, 32 * 1024);
    assert_eq!(config.limits.body_bytes, 2 << 30);
    assert!(config.log.access.is_none());
    let upstream = &config.upstreams[0];
    assert_eq!(
        upstream.endpoints,
        [Endpoint {
            host: "127.0.0.1".to_owned(),
            port: 3000
        }]
    );
    let names: Vec<&str> = upstream.headers.iter().map(|h| h.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "x-user-id",
            "x-user-email",
            "x-company-id",
            "x-portvakt-assertion"
        ]
    );
    assert_eq!(
        config.tls["default"].certificates,
        [CertificateFiles {
            chain: here.join("chain.pem"),
            key: here.join("chain.key")
        }]
    );
}

#[test]
fn every_fault_is_shown_at_once_with_line_and_column() {
    let text = r#"public_url = "https://projects.example.com/app"
workers = "four"
colour = "red"
hosts = ["a b"]

[[listener]]
bind = "0.0.0.0"
tls = "defualt"

[[listener]]
bind = "0.0.0.0:8080"
trusted_proxies = ["10.0.0.0/33"]

[[listener]]
bind = "0.0.0.0:8081"

[tls.default]
certificates = [{ chain = "missing.pem", key = "file:a.key" }]

[store]
kind = "redos"
path = 7

[directory]
kind = "file"
path = "directory.toml"

[sms]
kind = "outbox"

[session]
idle = "1 hour"
absolute = "0s"

[[upstream]]
name = "projects"
adresses = ["http://127.0.0.1:3000"]
keep_idle = -1

[[upstream]]
name = "projects"
addresses = ["http://127.0.0.1:3000", "https://10.0.0.1:443", "127.0.0.1:80", "http://h:1/x"]

[limits]
header_size = "1TB"
"#;
    let here = std::env::current_dir().unwrap();
    let missing = here.join("missing.pem");
    assert_eq!(
        complaints(text),
        [
            "1:14 `public_url` has \"https://projects.example.com/app\", which is no origin: it has a path, query or fragment",
            "2:11 `workers` is the text `\"four\"`: a whole number is expected",
            "3:1 unknown key `colour` at the top",
            "4:10 `a b` in `hosts` is no host name",
            "7:8 `listener.bind` is `0.0.0.0`, which is no address and port",
            "8:7 there is no `[tls.defualt]`",
            "12:20 `trusted_proxies` has `10.0.0.0/33`, which is no network",
            "15:8 the listener `0.0.0.0:8081` has neither `tls` nor `trusted_proxies`",
            "17:6 no listener uses `[tls.default]`",
            &format!("18:27 there is no file `{}`", missing.display()),
            "21:8 `store.kind` is `redos`, which is unknown",
            "22:8 `store.path` is the whole number `7`: a text in quotes is expected",
            "32:8 `session.idle` is `1 hour`, which is no duration",
            "33:12 `session.absolute` is `0s`, out of bounds",
            "37:1 unknown key `adresses` in `upstream`",
            "38:13 `upstream.keep_idle` is the whole number `-1`: it must be from 0 to 9223372036854775807",
            "41:8 two upstreams are named `projects`, the first in line 36",
            "42:39 `upstream.addresses` has \"https://10.0.0.1:443\", which is no address",
            "42:63 `upstream.addresses` has \"127.0.0.1:80\", which is no address",
            "42:79 `upstream.addresses` has \"http://h:1/x\", which is no address",
            "45:15 `limits.header_size` is `1TB`, which is no size",
        ]
    );
}

#[test]
fn an_unknown_key_names_the_one_that_was_meant() {
    let text = LEAST.replace("tls = \"default\"", "tsl = \"default\"");
    let faults = read(&text).unwrap_err();
    assert_eq!(lines(&faults), ["4:1 unknown key `tsl` in `listener`"]);
    let report = faults[0].report();
    assert!(report.contains("did you mean `tls`?"), "{report}");
    assert!(report.contains("tsl = \"default\""), "{report}");
    assert!(report.starts_with("t.toml:4:1: "), "{report}");

    let faults = read(&format!("flavour = 1\n{LEAST}")).unwrap_err();
    let report = faults[0].report();
    assert!(
        report.contains("known here: public_url, ") || report.contains("known here: admin, "),
        "{report}"
    );
}

#[test]
fn a_misspelt_table_is_one_fault_and_not_a_missing_table_as_well() {
    for (right, wrong, key) in [
        (
            "[[upstream]]",
            "[[upstraem]]",
            "12:3 unknown key `upstraem`",
        ),
        ("[directory]", "[directry]", "7:2 unknown key `directry`"),
        ("[[listener]]", "[[listner]]", "2:3 unknown key `listner`"),
        ("[tls.default]", "[tsl.default]", "5:2 unknown key `tsl`"),
    ] {
        let mut complaints = complaints(&LEAST.replace(right, wrong));
        complaints.retain(|one| !one.contains("no listener uses"));
        assert_eq!(complaints, [format!("{key} at the top")]);
    }
}

#[test]
fn what_is_missing_is_said_where_it_is_missing() {
    assert_eq!(
        complaints(""),
        [
            "1:1 `public_url` is missing",
            "1:1 `directory` is missing",
            "1:1 `sms` is missing",
            "1:1 `upstream` is missing",
            "1:1 there is no `[[listener]]`",
        ]
    );
    assert_eq!(
        complaints(&format!("{LEAST}[[upstream]]\n")),
        [
            "15:1 `name` is missing in `upstream`",
            "15:1 `addresses` is missing in `upstream`",
        ]
    );
}

#[test]
fn all_syntax_errors_come_with_their_place() {
    let found =
        complaints("public_url = https://localhost\n[store]\nkind = \"embedded\npath = 1\n");
    assert!(found.len() >= 2, "{found:?}");
    assert!(found[0].starts_with("1:14 "), "{found:?}");
    assert!(found.iter().any(|one| one.starts_with("3:")), "{found:?}");
}

#[test]
fn a_literal_secret_is_refused_and_never_echoed() {
    for text in [
        format!("{LEAST}[keys]\nmaster = \"hunter2\"\n"),
        format!("{LEAST}[keys]\nmaster = \"hunter2\"\nmistress = 1\n"),
        format!("{LEAST}[keys]\nmaster = 'env:hunter2!'\n"),
        format!("{LEAST}[keys]\nmaster = [\"hunter2\"]\n"),
        format!("{LEAST}headers = {{ x-api-key = \"hunter2\" }}\n"),
        format!("{LEAST}headers = {{ authorization = \"Bearer hunter2\", Host = \"x\" }}\n"),
        format!("{LEAST}headers = {{ x-api-key = \"{{hunter2}}\" }}\n"),
        LEAST.replace(
            "kind = \"outbox\"",
            "kind = \"twilio\"\nauth_token = \"hunter2\"",
        ),
        LEAST.replace("file:chain.key", "hunter2"),
        LEAST.replace(
            "http://127.0.0.1:3000",
            "http://kari:hunter2@127.0.0.1:3000",
        ),
        LEAST.replace("https://localhost", "https://kari:hunter2@localhost"),
        format!("{LEAST}[keys]\nmaster = hunter2\n"),
    ] {
        let faults = read(&text).unwrap_err();
        assert!(!faults.is_empty());
        for fault in &faults {
            let shown = format!("{fault} {fault:?} {}", fault.report());
            assert!(!shown.contains("hunter2"), "{shown}");
        }
    }
    assert_eq!(
        complaints(&format!("{LEAST}[keys]\nmaster = \"hunter2\"\n")),
        [
            "16:10 `keys.master`: a secret is given by reference, `env:NAME` or `file:PATH`, never as itself"
        ]
    );
}

#[test]
fn secrets_come_by_reference_and_debug_reveals_none() {
    let env = |name: &str| match name {
        "MASTER" => Some("5e".repeat(32)),
        "API_KEY" => Some("hunter2".to_owned()),
        _ => None,
    };
    let text = format!(
        "{LEAST}headers = {{ x-login = \"{{user.login}}\", authorization = \"Bearer {{env:API_KEY}}\" }}\n[keys]\nmaster = \"env:MASTER\"\n"
    );
    let (config, _) = with_env(&text, &env).unwrap();
    assert!(config.master_key.is_some());
    let names: Vec<&str> = config.upstreams[0]
        .headers
        .iter()
        .map(|header| header.name.as_str())
        .collect();
    assert_eq!(names, ["x-login", "authorization"]);
    let shown = format!("{config:?} {:#?}", config.clone());
    assert!(
        !shown.contains("hunter2") && !shown.contains("5e5e"),
        "{shown}"
    );
    assert!(shown.contains("Secret(..)") && shown.contains("MasterKey(..)"));

    let faults = with_env(&text, &|_| None).unwrap_err();
    assert_eq!(
        lines(&faults),
        [
            "15:55 the header `authorization`: environment variable `API_KEY` is not set",
            "17:10 `keys.master`: environment variable `MASTER` is not set",
        ]
    );
}

#[test]
fn a_placeholder_is_pointed_at_where_it_stands() {
    let text = format!("{LEAST}headers = {{ x-id = \"id={{user.idd}}\" }}\n");
    let faults = read(&text).unwrap_err();
    assert_eq!(
        lines(&faults),
        ["15:24 the header `x-id`: unknown placeholder `{user.idd}`"]
    );
    assert!(faults[0].report().contains("did you mean `{user.id}`?"));
}

#[test]
fn headers_that_are_ours_or_one_header_twice_are_refused() {
    let text = format!(
        "{LEAST}headers = {{ Host = \"a\", x_forwarded_for = \"b\", X-User = \"c\", x_user = \"d\", \"a b\" = \"e\" }}\n"
    );
    assert_eq!(
        complaints(&text),
        [
            "15:13 the header `Host` is the gateway's own to set",
            "15:25 the header `x_forwarded_for` is the gateway's own to set",
            "15:62 `x_user` and `X-User` are one header",
            "15:76 `a b` is no header name",
        ]
    );
}

#[test]
fn the_outbox_is_for_loopback_only() {
    let text = LEAST.replace("https://localhost:8443", "https://projects.example.com");
    assert_eq!(
        complaints(&text),
        [
            "11:8 `sms.kind` is `outbox`, but `public_url` is `https://projects.example.com`: anyone at the admin listener could read codes"
        ]
    );
    for host in ["app.localhost", "127.0.0.2", "[::1]"] {
        let text = LEAST.replace("https://localhost:8443", &format!("https://{host}:8443"));
        assert!(read(&text).is_ok(), "{host}");
    }
    assert_eq!(
        complaints(&format!("{LEAST}[admin]\nbind = \"0.0.0.0:9090\"\n")),
        ["16:8 `admin.bind` is `0.0.0.0:9090`, which other machines can reach"]
    );
}

#[test]
fn a_plain_listener_takes_the_platforms_port() {
    let env = |name: &str| (name == "PORT").then(|| "5000".to_owned());
    let plain = LEAST.replace("tls = \"default\"", "trusted_proxies = [\"10.1.2.3\"]");
    let (config, _) = with_env(&plain, &env).unwrap();
    assert_eq!(config.listeners[0].bind.to_string(), "0.0.0.0:5000");
    assert_eq!(
        config.listeners[0].trusted_proxies,
        ["10.1.2.3/32".parse().unwrap()]
    );

    let (config, _) = with_env(LEAST, &env).unwrap();
    assert_eq!(config.listeners[0].bind.to_string(), "127.0.0.1:8443");

    let none = LEAST.replace(
        "[[listener]]\nbind = \"127.0.0.1:8443\"\ntls = \"default\"\n",
        "",
    );
    let (config, warnings) = with_env(&none, &env).unwrap();
    assert_eq!(config.listeners[0].bind.to_string(), "0.0.0.0:5000");
    assert!(!config.listeners[0].trusted_proxies.is_empty());
    assert_eq!(
        lines(&warnings)[0],
        "- no `[[listener]]`, but `PORT`: listening on port 5000 without TLS"
    );

    let faults = with_env(&plain, &|_| Some("http".to_owned())).unwrap_err();
    assert_eq!(
        lines(&faults)[0],
        "- the environment variable `PORT` is `http`"
    );
}

#[test]
fn addresses_that_are_in_each_others_way_are_refused() {
    let text = format!(
        "{LEAST}[admin]\nbind = \"127.0.0.1:8443\"\n[[listener]]\nbind = \"0.0.0.0:8443\"\ntls = \"default\"\n"
    );
    assert_eq!(
        complaints(&text),
        [
            "16:8 the admin listener `127.0.0.1:8443` is in the way of the listener `127.0.0.1:8443`",
            "18:8 the listener `0.0.0.0:8443` is in the way of the listener `127.0.0.1:8443`",
        ]
    );
}

#[test]
fn a_redis_needs_an_address_and_a_key_that_all_instances_share() {
    let text = format!("{LEAST}[store]\nkind = \"redis\"\n");
    assert_eq!(
        complaints(&text),
        [
            "16:8 `store.url`: environment variable `REDIS_URL` is not set",
            "16:8 `keys.master` is missing: the instances on one `redis` share one key",
        ]
    );
    let text = format!("{LEAST}[store]\ngrace = \"3s\"\n");
    assert_eq!(
        complaints(&text),
        ["16:9 `store.grace` is for `kind = \"redis\"`"]
    );
}

#[test]
fn a_solver_is_a_path_or_a_name_and_a_proof_has_an_end() {
    let policy = |text: &str| {
        let text = format!("{LEAST}[policy]\n{text}");
        read(&text).map(|(config, _)| config.policy)
    };
    let default = policy("").unwrap();
    assert_eq!(default.solver, Path::new("cvc5"));
    assert!(!default.require_proof);
    assert_eq!(default.prove_timeout, Duration::from_secs(60));
    let own = policy("require_proof = true\nsolver = \"/opt/cvc5\"\nprove_timeout = \"5s\"\n");
    let own = own.unwrap();
    assert_eq!(own.solver, Path::new("/opt/cvc5"));
    assert!(own.require_proof);
    assert_eq!(own.prove_timeout, Duration::from_secs(5));
    assert!(policy("prove_timeout = \"0s\"\n").is_err());
    assert!(policy("prove_timeout = \"1h\"\n").is_err());
}

#[test]
fn plain_http_is_for_this_machine_and_a_prefix_is_a_path() {
    let text = LEAST.replace("https://localhost:8443", "http://localhost:8080");
    assert!(read(&text).is_ok());
    let text = format!("prefix = \"/gate/\"\n{LEAST}");
    assert_eq!(read(&text).unwrap().0.prefix, "/gate");
    for bad in ["", "/", "gate", "/a//b", "/a/../b", "/a?b", "/a b", "/%2e"] {
        let text = format!("prefix = \"{bad}\"\n{LEAST}");
        assert_eq!(
            complaints(&text),
            [format!(
                "1:10 `prefix` is `{bad}`, which is no path for pages"
            )]
        );
    }
    let text = LEAST.replace("https://localhost:8443", "http://projects.example.com");
    assert_eq!(
        complaints(&text),
        ["1:14 `public_url` is `http://projects.example.com`: without TLS no cookie is safe"]
    );
}

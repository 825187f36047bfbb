//! What `deploy/` ships to run the gateway with: each file is held to a tool that knows its kind,
//! each check is shown to fail, and each configuration passes `portvakt check`.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use portvakt::cli::certs;
use portvakt::clock::{Clock, SystemClock, Timestamp};
use serde_json::Value;
use tempfile::TempDir;

use crate::house::{copy_folder, repository};
use crate::mail::python;

fn shipped(path: &str) -> PathBuf {
    repository().join("deploy").join(path)
}

fn text(path: &str) -> String {
    std::fs::read_to_string(shipped(path)).unwrap()
}

/// Runs a Python tool that tests/run.sh installs.
fn tool(module: &str, arguments: &[&str], file: &Path) -> Output {
    let mut command = Command::new(python());
    let output = command.args(["-m", module]).args(arguments).arg(file);
    let output = output.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!said.contains("No module named"), "tests/run.sh: {said}");
    output
}

/// A file of one name with other text, in a folder of its own.
fn written(name: &str, text: &str) -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    std::fs::write(&path, text).unwrap();
    (dir, path)
}

/// A tool passes a shipped file, and none of these changes of it.
fn holds(module: &str, arguments: &[&str], path: &str, changes: &[(&str, &str)]) {
    let file = shipped(path);
    // A kind that it does not know is a warning to one of them.
    let passes = |output: &Output| {
        output.status.success() && !String::from_utf8_lossy(&output.stdout).contains("WARN")
    };
    let passed = tool(module, arguments, &file);
    assert!(passes(&passed), "{path}: {passed:?}");
    let name = file.file_name().unwrap().to_str().unwrap();
    for (from, to) in changes {
        let broken = text(path).replace(from, to);
        assert_ne!(broken, text(path), "{from}");
        let (_dir, file) = written(name, &broken);
        let found = tool(module, arguments, &file);
        assert!(!passes(&found), "{path}: {from} → {to}: {found:?}");
    }
}

/// The documents of a YAML file.
fn documents(path: &str) -> Vec<Value> {
    let program =
        "import json, sys, yaml; print(json.dumps(list(yaml.safe_load_all(open(sys.argv[1])))))";
    let mut command = Command::new(python());
    let output = command.args(["-c", program]).arg(shipped(path)).output();
    serde_json::from_slice(&output.unwrap().stdout).unwrap()
}

#[test]
fn every_yaml_file_is_tidy() {
    let rules = repository().join("tests/deploy/yamllint.yaml");
    let rules = ["--strict", "-c", rules.to_str().unwrap()];
    let linted = tool("yamllint", &rules, &shipped(""));
    assert!(linted.status.success(), "{linted:?}");
    holds(
        "yamllint",
        &rules,
        "compose.yaml",
        &[("name: portvakt\n", "name: portvakt\nname: again\n")],
    );
}

/// What `systemd-analyze` says of units, with a program that is there.
fn analysed(arguments: &[&str], service: &str) -> Output {
    let dir = tempfile::tempdir().unwrap();
    let service = service.replace("/usr/local/bin/portvakt", "/bin/true");
    std::fs::write(dir.path().join("portvakt.service"), service).unwrap();
    let socket = text("systemd/portvakt.socket");
    std::fs::write(dir.path().join("portvakt.socket"), socket).unwrap();
    let mut command = Command::new("systemd-analyze");
    command.args(arguments).arg("./portvakt.service");
    if arguments == ["verify"] {
        command.arg("./portvakt.socket");
    }
    let output = command.current_dir(dir.path()).output();
    output.expect("systemd-analyze, of Debian's `systemd`")
}

#[test]
fn systemd_takes_the_units_and_finds_them_hardly_exposed() {
    let service = text("systemd/portvakt.service");
    // It ends with 0 and a word to say where it ignores something.
    let silent = |output: &Output| output.status.success() && output.stderr.is_empty();
    let verified = analysed(&["verify"], &service);
    assert!(silent(&verified), "{verified:?}");
    for (from, to) in [
        ("ProtectSystem=", "ProtectSystm="),
        ("Type=notify", "Type=notfy"),
        ("SystemCallFilter=@system-service", "SystemCallFilter=@sys"),
    ] {
        let verified = analysed(&["verify"], &service.replace(from, to));
        assert!(!silent(&verified), "{from} → {to}");
    }
    // In tenths: 1.5 of 10, where 2 is the best that a service with a network gets without effort.
    let security = ["security", "--offline=true", "--threshold=15"];
    let judged = analysed(&security, &service);
    assert!(judged.status.success(), "{judged:?}");
    let looser = service
        .replace("CapabilityBoundingSet=\n", "")
        .replace("ProtectSystem=strict\n", "");
    assert!(!analysed(&security, &looser).status.success());
    // The socket's address is the configuration's.
    assert!(text("systemd/portvakt.socket").contains("ListenStream=0.0.0.0:443\n"));
    assert!(text("systemd/portvakt.toml").contains("bind = \"0.0.0.0:443\""));
}

#[test]
fn compose_takes_its_file_and_nothing_but_the_gateways_is_open_to_the_outside() {
    holds(
        "check_jsonschema",
        &["--builtin-schema", "vendor.compose-spec"],
        "compose.yaml",
        &[
            ("    ports: [\"8443", "    prots: [\"8443"),
            ("    networks: [store]", "    networcs: [store]"),
            ("healthcheck:", "health_check:"),
        ],
    );
    let compose = &documents("compose.yaml")[0];
    let services = compose["services"].as_object().unwrap();
    for (name, service) in services {
        let gateway = name.starts_with("gateway-");
        let networks = service["networks"].to_string();
        assert_eq!(networks.contains("outside"), gateway, "{name}: {networks}");
        for port in service["ports"].as_array().into_iter().flatten() {
            let port = port.as_str().unwrap();
            assert!(gateway && port.ends_with(":8443") || port.starts_with("127.0.0.1:"));
        }
        // What is mounted from the repository is there, but for what users put there.
        for volume in service["volumes"].as_array().into_iter().flatten() {
            let from = volume.as_str().unwrap().split(':').next().unwrap();
            assert!(
                !from.starts_with('.') || shipped(from).exists(),
                "{name}: {from}"
            );
        }
        if gateway {
            assert_eq!(service["read_only"], true);
            assert_eq!(service["cap_drop"][0], "ALL");
            assert_eq!(service["user"], "65532:65532");
        }
    }
    for network in ["application", "store", "ops"] {
        assert_eq!(compose["networks"][network]["internal"], true);
    }
    // Redis throws nothing away.
    assert!(
        services["redis"]["command"]
            .to_string()
            .contains("noeviction")
    );
    let config = shipped("compose/prometheus.yml");
    let (_dir, config) = written(
        "prometheus.yml",
        &std::fs::read_to_string(config).unwrap().replace(
            "rules/",
            &format!("{}/", shipped("prometheus/rules").display()),
        ),
    );
    let checked = Command::new("promtool")
        .args(["check", "config"])
        .arg(config)
        .output();
    assert!(checked.unwrap().status.success());
}

#[test]
fn kubernetes_takes_its_files_and_what_is_not_allowed_is_refused() {
    for (path, changes) in [
        (
            "namespace.yaml",
            &[("kind: Namespace", "kind: Namspace")][..],
        ),
        (
            "gateway.yaml",
            &[
                ("readOnlyRootFilesystem", "readOnlyRootFilesytem"),
                ("runAsNonRoot: true", "runAsNonRoot: maybe"),
                ("minAvailable: 1", "minAvailabel: 1"),
            ],
        ),
        ("redis.yaml", &[("secretKeyRef", "secretKeyReference")]),
        (
            "networkpolicies.yaml",
            &[
                ("podSelector: {}", "podSelektor: {}"),
                ("except: [10.0.0.0/8", "exept: [10.0.0.0/8"),
            ],
        ),
    ] {
        let path = format!("kubernetes/{path}");
        holds(
            "kubernetes_validate",
            &["--strict", "--quiet", "-k", "1.34.0"],
            &path,
            changes,
        );
    }
    let gateway = documents("kubernetes/gateway.yaml");
    let pod = &gateway[0]["spec"]["template"]["spec"];
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["automountServiceAccountToken"], false);
    let container = &pod["containers"][0];
    assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
    assert_eq!(
        container["securityContext"]["capabilities"]["drop"][0],
        "ALL"
    );
    assert_eq!(container["readinessProbe"]["httpGet"]["path"], "/readyz");
    assert_eq!(container["livenessProbe"]["httpGet"]["path"], "/healthz");
    // The service leads to the public listener alone.
    let ports = gateway[2]["spec"]["ports"].as_array().unwrap();
    assert_eq!(ports.len(), 1);
    assert_eq!(ports[0]["targetPort"], "https");

    let policies = documents("kubernetes/networkpolicies.yaml");
    let nothing = &policies[0]["spec"];
    assert_eq!(nothing["podSelector"], serde_json::json!({}));
    assert_eq!(
        nothing["policyTypes"],
        serde_json::json!(["Ingress", "Egress"])
    );
    assert!(nothing["ingress"].is_null() && nothing["egress"].is_null());
    // From anywhere, the public port only; to anywhere, providers' ports only, and not inside.
    for policy in &policies {
        for rule in policy["spec"]["ingress"].as_array().into_iter().flatten() {
            let public = rule["ports"] == serde_json::json!([{ "protocol": "TCP", "port": 8443 }]);
            assert!(public || rule["from"].is_array(), "{rule}");
        }
        for rule in policy["spec"]["egress"].as_array().into_iter().flatten() {
            assert!(rule["to"].is_array() && rule["ports"].is_array(), "{rule}");
            for to in rule["to"].as_array().unwrap() {
                let outside = &to["ipBlock"]["except"];
                assert!(to["ipBlock"].is_null() || outside.to_string().contains("169.254.0.0/16"));
            }
        }
    }
}

#[test]
fn heroku_takes_its_files() {
    let schema = |name: &str| repository().join("tests/deploy").join(name);
    let schema = |name: &str| schema(name).to_str().unwrap().to_owned();
    holds(
        "check_jsonschema",
        &["--schemafile", &schema("heroku.schema.json")],
        "heroku/heroku.yml",
        &[("docker:", "dokcer:"), ("plan:", "plans:")],
    );
    holds(
        "check_jsonschema",
        &["--schemafile", &schema("app.schema.json")],
        "heroku/app.json",
        &[("\"container\"", "\"heroku-24\""), ("\"env\"", "\"envs\"")],
    );
}

/// What `portvakt check` says of a shipped configuration, where everything is that it names.
fn checked(path: &str, change: impl FnOnce(String) -> String) -> Output {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path();
    let now = SystemClock::starting_at(Timestamp::from_millis(0)).now();
    certs::make_dev(&place.join("made"), &["projects.example.com"], now).unwrap();
    for folder in ["certs", "tls", "config"] {
        std::fs::create_dir(place.join(folder)).unwrap();
    }
    for (from, to) in [
        (
            "localhost.pem",
            ["certs/server.pem", "certs/tls.crt", "tls/fullchain.pem"],
        ),
        (
            "localhost.key",
            ["certs/server.key", "certs/tls.key", "tls/privkey.pem"],
        ),
    ] {
        for to in to {
            std::fs::copy(place.join("made").join(from), place.join(to)).unwrap();
        }
    }
    copy_folder(&repository().join("policies"), &place.join("policies"));
    let people = repository().join("config/directory.toml");
    std::fs::copy(&people, place.join("config/directory.toml")).unwrap();
    std::fs::copy(&people, place.join("directory.toml")).unwrap();
    let text = text(path)
        .replace("/etc/portvakt/", &format!("{}/", place.display()))
        .replace("/var/lib/portvakt/", &format!("{}/state/", place.display()));
    std::fs::write(place.join("config/portvakt.toml"), change(text)).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_portvakt"));
    command.arg("check").current_dir(place).stdin(Stdio::null());
    for (name, value) in [
        ("PORTVAKT_MASTER_KEY", "5a".repeat(32).as_str()),
        ("REDIS_URL", "redis://:secret@127.0.0.1:1/0"),
        ("DATABASE_URL", "postgres://portvakt@127.0.0.1:1/projects"),
        ("TWILIO_AUTH_TOKEN", "sample"),
        ("SMTP_PASSWORD", "sample"),
        ("PORT", "5000"),
    ] {
        command.env(name, value);
    }
    command.output().unwrap()
}

#[test]
fn every_configuration_passes_the_gateways_own_check() {
    for path in [
        "systemd/portvakt.toml",
        "compose/portvakt.toml",
        "kubernetes/portvakt.toml",
        "heroku/portvakt.toml",
    ] {
        let passed = checked(path, |text| text);
        assert!(passed.status.success(), "{path}: {passed:?}");
    }
    // And the check can fail.
    let broken = checked("systemd/portvakt.toml", |text| {
        text.replace("[policy]", "[policies]")
    });
    assert!(!broken.status.success(), "{broken:?}");
}

#[test]
fn every_way_to_run_it_has_its_page() {
    for way in ["systemd", "compose", "heroku", "kubernetes"] {
        let page = std::fs::read_to_string(repository().join(format!("docs/{way}.md"))).unwrap();
        assert!(page.contains(&format!("deploy/{way}")), "{way}");
        let readme = std::fs::read_to_string(repository().join("README.md")).unwrap();
        assert!(readme.contains(&format!("docs/{way}.md")), "{way}");
    }
}

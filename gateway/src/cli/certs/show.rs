//! `portvakt certs show`.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::default_provider;
use serde::Serialize;

use super::ShowArgs;
use crate::cli::{complain, now, report, say, say_json};
use crate::clock::Timestamp;
use crate::config::{self, Config};
use crate::listener::details::{Details, PairError, read_pair};

/// What TLS offers here, in order of preference.
#[derive(Debug, Serialize)]
struct InForce {
    protocols: Vec<String>,
    cipher_suites: Vec<String>,
    key_exchange_groups: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Shown {
    tls: String,
    chain: PathBuf,
    #[serde(flatten)]
    details: Details,
}

#[derive(Debug, Serialize)]
struct Everything {
    certificates: Vec<Shown>,
    in_force: InForce,
}

pub(super) fn run(args: &ShowArgs) -> ExitCode {
    let config = match config::load(&args.config.path, &config::environment) {
        Ok((config, _)) => config,
        Err(faults) => {
            report(&faults);
            return ExitCode::FAILURE;
        }
    };
    let (certificates, errors) = certificates(&config);
    for error in &errors {
        complain(&format!("{error}\n"));
    }
    let everything = Everything {
        certificates,
        in_force: in_force(&default_provider()),
    };
    let shown = if args.json {
        say_json(&everything)
    } else {
        say(&text(&everything, now()));
        ExitCode::SUCCESS
    };
    if errors.is_empty() {
        shown
    } else {
        ExitCode::FAILURE
    }
}

fn certificates(config: &Config) -> (Vec<Shown>, Vec<PairError>) {
    let mut shown = Vec::new();
    let mut errors = Vec::new();
    for (name, set) in &config.tls {
        for pair in &set.certificates {
            let details = read_pair(&pair.chain, &pair.key)
                .and_then(|chain| Details::of(&chain, &pair.chain));
            match details {
                Ok(details) => shown.push(Shown {
                    tls: name.clone(),
                    chain: pair.chain.clone(),
                    details,
                }),
                Err(error) => errors.push(error),
            }
        }
    }
    (shown, errors)
}

fn in_force(provider: &CryptoProvider) -> InForce {
    InForce {
        protocols: rustls::ALL_VERSIONS
            .iter()
            .map(|version| format!("{:?}", version.version))
            .collect(),
        cipher_suites: provider
            .cipher_suites
            .iter()
            .map(|suite| format!("{:?}", suite.suite()))
            .collect(),
        key_exchange_groups: provider
            .kx_groups
            .iter()
            .map(|group| format!("{:?}", group.name()))
            .collect(),
    }
}

fn text(everything: &Everything, now: Timestamp) -> String {
    let mut out = String::new();
    for shown in &everything.certificates {
        let details = &shown.details;
        let _ = write!(
            out,
            "[tls.{}] {}\n  subject      {}\n  names        {}\n  issuer       {}\n  valid        {} to {} ({})\n  key          {}\n  fingerprint  SHA-256 {}\n\n",
            shown.tls,
            shown.chain.display(),
            details.subject,
            details.names.join(", "),
            details.issuer,
            details.not_before,
            details.not_after,
            left(details, now),
            details.key,
            details.sha256,
        );
    }
    if everything.certificates.is_empty() {
        out.push_str(
            "no certificate: every listener stands behind a router that terminates TLS\n\n",
        );
    }
    let in_force = &everything.in_force;
    for (title, items) in [
        ("protocols", &in_force.protocols),
        ("cipher suites", &in_force.cipher_suites),
        ("key exchange", &in_force.key_exchange_groups),
    ] {
        let _ = writeln!(out, "{title}, first choice first\n  {}", items.join("\n  "));
    }
    out
}

fn left(details: &Details, now: Timestamp) -> String {
    if now < details.not_before {
        "not yet valid".to_owned()
    } else if now >= details.not_after {
        "EXPIRED".to_owned()
    } else {
        let days = details.not_after.since(now).as_secs() / 86_400;
        format!("{days} days left")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tls_is_1_3_and_1_2_with_the_post_quantum_group_first() {
        let in_force = in_force(&default_provider());
        assert_eq!(in_force.protocols, ["TLSv1_3", "TLSv1_2"]);
        assert_eq!(in_force.key_exchange_groups[0], "X25519MLKEM768");
        assert!(
            in_force
                .cipher_suites
                .iter()
                .all(|suite| suite.contains("GCM") || suite.contains("CHACHA20"))
        );
    }
}

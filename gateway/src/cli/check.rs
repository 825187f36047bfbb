//! `portvakt check`: everything that is wrong, without starting anything.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use rustls::client::verify_server_name;
use rustls::pki_types::ServerName;
use rustls::server::ParsedCertificate;
use tokio::runtime::Builder;

use super::{ConfigFile, complain, counted, now, report, say, say_json};
use crate::app;
use crate::clock::{SystemClock, Timestamp};
use crate::config::fault::Fault;
use crate::config::{self, CertificateFiles, Config, Directory, Shield, SmsProvider};
use crate::directory::file::FileDirectory;
use crate::directory::postgres::PostgresDirectory;
use crate::limit;
use crate::listener::details::{Details, PairError, read_pair};
use crate::policy::{PolicySet, ProofSettings};

const DAY: Duration = Duration::from_secs(86_400);

#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    #[command(flatten)]
    pub(super) config: ConfigFile,
    /// Print the JSON Schema of the configuration instead
    #[arg(long)]
    print_schema: bool,
}

pub(super) fn run(args: &CheckArgs) -> ExitCode {
    if args.print_schema {
        return say_json(&config::json_schema());
    }
    let path = &args.config.path;
    let (config, faults) = examine(path, &config::environment, now());
    report(&faults);
    let warnings = faults.iter().filter(|fault| fault.is_warning()).count();
    let errors = faults.len() - warnings;
    match config {
        Some(config) if errors == 0 => {
            say(&summary(&config, warnings));
            ExitCode::SUCCESS
        }
        _ => {
            complain(&format!(
                "{}: {}, {}\n",
                path.display(),
                counted(errors, "fault"),
                counted(warnings, "warning")
            ));
            ExitCode::FAILURE
        }
    }
}

/// Everything that is wrong with a configuration and with what it points at.
fn examine(
    path: &Path,
    env: &dyn Fn(&str) -> Option<String>,
    now: Timestamp,
) -> (Option<Config>, Vec<Fault>) {
    let (config, mut faults) = config::examine(path, env);
    if let Some(config) = &config {
        // Of a configuration with faults, a file or folder that is not there may be a default
        // that nobody meant.
        let is_whole = faults.iter().all(Fault::is_warning);
        faults.extend(certificates(config, now));
        faults.extend(shield(config));
        faults.extend(countries(config));
        match &config.directory {
            Directory::File { path } if is_whole || path.is_file() => {
                faults.extend(directory(path));
            }
            Directory::Postgres(settings) if is_whole => faults.extend(database(settings)),
            _ => {}
        }
        if is_whole || config.policy.dir.is_dir() {
            faults.extend(policies(config));
        }
    }
    (config, faults)
}

/// Without mails a raised shield has no way past it, which somebody should have meant.
fn shield(config: &Config) -> Option<Fault> {
    let mut providers = config.sms.providers.iter();
    let has_outbox = providers.any(|one| matches!(one, SmsProvider::Outbox));
    let mails = config.mail.is_some() || has_outbox;
    (!mails && config.login.shield == Shield::Link).then(|| {
        Fault::new("there is no `[mail]`: a raised shield would refuse every unknown device")
            .help("add a mail server, or `shield = \"refuse\"` to `[login]` if that is meant")
            .warning()
    })
}

/// A database is not asked which countries its numbers are of: without a list all are allowed.
fn countries(config: &Config) -> Option<Fault> {
    let asked = matches!(config.directory, Directory::Postgres(_));
    (asked && config.login.sends.countries.is_none()).then(|| {
        Fault::new(
            "there are no `countries` in `[login.sends]`: with `directory.kind = \"postgres\"` \
             messages may go to every country",
        )
        .help("list those of your people's numbers, such as `countries = [\"NO\"]`")
        .warning()
    })
}

/// A directory must load whole.
fn directory(path: &Path) -> Vec<Fault> {
    FileDirectory::load(path).err().unwrap_or_default()
}

/// A query must yield what a directory needs. That its database cannot be asked now is a warning.
fn database(settings: &config::Postgres) -> Vec<Fault> {
    let runtime = match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return vec![Fault::new(error.to_string())],
    };
    runtime.block_on(async {
        let clock = Arc::new(SystemClock::starting_at(Timestamp::default()));
        match PostgresDirectory::open(settings, clock) {
            Ok(directory) => directory.examine().await.err().unwrap_or_default(),
            Err(fault) => vec![fault],
        }
    })
}

/// A policy set must load whole, decide its own examples as they say, and hold its invariants.
fn policies(config: &Config) -> Vec<Fault> {
    let loaded = match PolicySet::load(&config.policy.dir, &config.upstream_names()) {
        Ok(loaded) => loaded,
        Err(faults) => return faults,
    };
    let tests = loaded.set.run_tests();
    let queries = queries(config, &loaded.set);
    let proof = loaded.set.prove(&ProofSettings::of(&config.policy));
    let (holes, doubts) = proof.judge(config.policy.require_proof);
    [
        loaded.warnings,
        tests.warnings,
        tests.failures,
        queries,
        doubts,
        holes,
    ]
    .concat()
}

/// What a set asks of a database must run there. That it cannot be asked now is a warning.
fn queries(config: &Config, set: &PolicySet) -> Vec<Fault> {
    match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(app::examine_queries(config, set)),
        Err(error) => vec![Fault::new(error.to_string())],
    }
}

/// Files that are missing are the configuration's own faults: `config::load` has told of them.
fn certificates(config: &Config, now: Timestamp) -> Vec<Fault> {
    let pairs = config.tls.values().flat_map(|set| &set.certificates);
    pairs
        .filter(|pair| pair.chain.is_file() && pair.key.is_file())
        .filter_map(|pair| certificate(pair, now))
        .chain(public_name(config))
        .collect()
}

/// A pair must parse, belong together and be valid; little time left is a warning.
fn certificate(pair: &CertificateFiles, now: Timestamp) -> Option<Fault> {
    let path = pair.chain.display();
    let read = read_pair(&pair.chain, &pair.key).and_then(|chain| Details::of(&chain, &pair.chain));
    let details = match read {
        Ok(details) => details,
        Err(error @ PairError::Mismatch { .. }) => {
            return Some(
                Fault::new(error.to_string())
                    .help("take chain and key from the same renewal, the server's certificate first in the chain"),
            );
        }
        Err(error) => return Some(Fault::new(error.to_string())),
    };
    if now < details.not_before {
        let message = format!(
            "the certificate in `{path}` is not valid before {}",
            details.not_before
        );
        return Some(Fault::new(message).help("see that this machine's clock is right"));
    }
    if now >= details.not_after {
        let message = format!(
            "the certificate in `{path}` expired at {}",
            details.not_after
        );
        return Some(Fault::new(message).help(RENEW));
    }
    let left = details.not_after.since(now);
    (left < DAY * 21).then(|| {
        let message = format!(
            "the certificate in `{path}` expires in {}, at {}",
            counted(
                usize::try_from(left.as_secs() / DAY.as_secs()).unwrap_or(0),
                "day"
            ),
            details.not_after
        );
        Fault::new(message).help(RENEW).warning()
    })
}

const RENEW: &str = "renew it; a development pair with `portvakt certs dev --dir DIR`";

/// Browsers ask for the public URL's host: one of the certificates should be for it.
fn public_name(config: &Config) -> Option<Fault> {
    let host = config.public_url.host.trim_matches(['[', ']']);
    let name = ServerName::try_from(host).ok()?;
    let chains: Vec<_> = config
        .listeners
        .iter()
        .filter_map(|listener| config.tls.get(listener.tls.as_ref()?))
        .flat_map(|set| &set.certificates)
        .filter_map(|pair| read_pair(&pair.chain, &pair.key).ok())
        .collect();
    let is_for_it = |leaf| {
        ParsedCertificate::try_from(leaf).is_ok_and(|leaf| verify_server_name(&leaf, &name).is_ok())
    };
    let found = chains
        .iter()
        .filter_map(|chain| chain.first())
        .any(is_for_it);
    (!chains.is_empty() && !found).then(|| {
        Fault::new(format!(
            "no certificate is for `{host}`, the host of `public_url`"
        ))
        .help("browsers will warn of it: use a certificate that names the host")
        .warning()
    })
}

fn summary(config: &Config, warnings: usize) -> String {
    let listeners: Vec<String> = config
        .listeners
        .iter()
        .map(|listener| listener.bind.to_string())
        .collect();
    let upstreams: Vec<&str> = config
        .upstreams
        .iter()
        .map(|one| one.name.as_str())
        .collect();
    let target = limit::takeovers_per_year(&config.login);
    format!(
        "{}: no faults, {}\n  {} at {}\n  upstreams: {}\n  takeovers by guessing, at worst: one account {} a day, {:.1} % a year; all accounts together {:.2} a year\n",
        config.source.display(),
        counted(warnings, "warning"),
        config.public_url.origin(),
        listeners.join(", "),
        upstreams.join(", "),
        scientific(target.per_day),
        target.per_year * 100.0,
        limit::fleet_takeovers_per_year(&config.login),
    )
}

/// A small chance as people write it, such as `5e-4`.
fn scientific(chance: f64) -> String {
    format!("{chance:.0e}")
}

#[cfg(test)]
mod tests {
    use super::super::certs::{DEV_HOSTS, make_dev};
    use super::*;

    fn noon() -> Timestamp {
        Timestamp::from_millis(1_795_515_607_000)
    }

    /// A configuration in a folder of its own, with a fresh pair of certificates.
    fn folder(url: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        make_dev(dir.path(), &DEV_HOSTS, noon()).unwrap();
        let at = dir.path().display();
        let text = format!(
            r#"public_url = "{url}"
[[listener]]
bind = "127.0.0.1:8443"
tls = "default"
[tls.default]
certificates = [{{ chain = "{at}/localhost.pem", key = "file:{at}/localhost.key" }}]
[directory]
kind = "file"
path = "{root}/config/directory.toml"
[sms]
kind = "outbox"
[[upstream]]
name = "projects"
addresses = ["http://127.0.0.1:3000"]
[policy]
dir = "{root}/policies"
"#,
            root = env!("CARGO_MANIFEST_DIR"),
        );
        std::fs::write(dir.path().join("portvakt.toml"), text).unwrap();
        dir
    }

    fn examined(dir: &tempfile::TempDir, now: Timestamp) -> Vec<Fault> {
        examine(&dir.path().join("portvakt.toml"), &|_| None, now).1
    }

    fn errors(faults: &[Fault]) -> Vec<&str> {
        let errors = faults.iter().filter(|fault| !fault.is_warning());
        errors.map(Fault::message).collect()
    }

    fn warns(faults: &[Fault], of: &str) -> bool {
        let mut warnings = faults.iter().filter(|fault| fault.is_warning());
        warnings.any(|fault| fault.message().contains(of))
    }

    #[test]
    fn what_is_in_order_has_no_faults() {
        let dir = folder("https://localhost:8443");
        let faults = examined(&dir, noon());
        assert!(errors(&faults).is_empty(), "{faults:?}");
        assert!(!warns(&faults, "certificate"), "{faults:?}");
    }

    /// The same folder, with a piece of its configuration changed.
    fn changed(from: &str, to: &str) -> tempfile::TempDir {
        let dir = folder("https://localhost:8443");
        let file = dir.path().join("portvakt.toml");
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.contains(from), "{from}");
        std::fs::write(&file, text.replacen(from, to, 1)).unwrap();
        std::fs::write(dir.path().join("secret"), "a secret of more than 16 bytes").unwrap();
        let url = "postgres://portvakt@127.0.0.1:1/projects";
        std::fs::write(dir.path().join("url"), url).unwrap();
        let at = dir.path().display().to_string();
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, text.replace("DIR", &at)).unwrap();
        dir
    }

    #[test]
    fn a_shield_without_a_way_past_it_is_a_warning_unless_it_is_meant() {
        let webhook = "kind = \"webhook\"\nurl = \"https://sms.example.com/send\"\n\
                       secret = \"file:DIR/secret\"";
        let mail = "\n[mail]\nhost = \"mail.example.com\"\nfrom = \"no-reply@example.com\"";
        let refuse = "\n[login]\nshield = \"refuse\"";
        for (more, warned) in [("", true), (mail, false), (refuse, false)] {
            let dir = changed("kind = \"outbox\"", &format!("{webhook}{more}"));
            let faults = examined(&dir, noon());
            assert!(errors(&faults).is_empty(), "{faults:?}");
            let warns = warns(&faults, "there is no `[mail]`");
            assert_eq!(warns, warned, "{more}: {faults:?}");
        }
        // The outbox takes mails too.
        let faults = examined(&folder("https://localhost:8443"), noon());
        assert!(!warns(&faults, "`[mail]`"), "{faults:?}");
    }

    #[test]
    fn a_database_without_a_list_of_countries_is_a_warning() {
        let root = env!("CARGO_MANIFEST_DIR");
        let file = format!("kind = \"file\"\npath = \"{root}/config/directory.toml\"");
        let postgres = "kind = \"postgres\"\nurl = \"file:DIR/url\"\nquery = \"select 1\"";
        let listed = "\n[login.sends]\ncountries = [\"NO\"]";
        for (more, warned) in [("", true), (listed, false)] {
            let dir = changed(&file, &format!("{postgres}{more}"));
            let faults = examined(&dir, noon());
            let warns = warns(&faults, "messages may go to every country");
            assert_eq!(warns, warned, "{more}: {faults:?}");
        }
    }

    #[test]
    fn a_certificate_warns_before_it_expires_and_fails_after() {
        let dir = folder("https://localhost:8443");
        let faults = examined(&dir, noon().plus(DAY * 70));
        assert!(errors(&faults).is_empty());
        assert!(warns(&faults, "expires in 20 days"), "{faults:?}");
        let faults = examined(&dir, noon().plus(DAY * 90));
        assert!(errors(&faults)[0].contains("expired at 2027-02-22T10:20:07Z"));
        let faults = examined(&dir, noon().minus(DAY));
        assert!(errors(&faults)[0].contains("is not valid before 2026-11-24T09:20:07Z"));
    }

    #[test]
    fn a_key_of_another_certificate_and_rubbish_are_faults() {
        let (dir, other) = (folder("https://localhost"), folder("https://localhost"));
        let key = dir.path().join("localhost.key");
        std::fs::copy(other.path().join("localhost.key"), &key).unwrap();
        let faults = examined(&dir, noon());
        assert!(
            errors(&faults)[0].contains("does not belong to the certificate"),
            "{faults:?}"
        );

        std::fs::write(&key, "rubbish").unwrap();
        assert!(errors(&examined(&dir, noon()))[0].contains("there is no private key in"));
        std::fs::write(dir.path().join("localhost.pem"), "rubbish").unwrap();
        assert!(errors(&examined(&dir, noon()))[0].contains("there is no certificate in"));
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        std::fs::write(dir.path().join("localhost.pem"), broken).unwrap();
        std::fs::copy(other.path().join("localhost.key"), &key).unwrap();
        assert!(errors(&examined(&dir, noon()))[0].contains("is malformed"));
    }

    #[test]
    fn a_public_url_that_no_certificate_is_for_is_a_warning() {
        let dir = folder("https://app.example.localhost");
        let faults = examined(&dir, noon());
        assert!(errors(&faults).is_empty());
        assert!(warns(
            &faults,
            "no certificate is for `app.example.localhost`"
        ));
    }

    #[test]
    fn faults_in_the_directory_are_shown_with_those_of_the_configuration() {
        let dir = folder("https://localhost/app");
        let file = dir.path().join("portvakt.toml");
        let people = dir.path().join("directory.toml");
        std::fs::write(&people, "[[user]]\nid = \"u-kari\"\ncolour = \"red\"\n").unwrap();
        let text = std::fs::read_to_string(&file).unwrap().replace(
            concat!(env!("CARGO_MANIFEST_DIR"), "/config/directory.toml"),
            &people.display().to_string(),
        );
        std::fs::write(&file, text).unwrap();
        let faults = examined(&dir, noon());
        let places: Vec<String> = faults.iter().filter_map(Fault::location).collect();
        for place in ["portvakt.toml:1:14", "directory.toml:3:1"] {
            assert!(
                places.iter().any(|found| found.ends_with(place)),
                "{places:?}"
            );
        }
    }

    #[test]
    fn faults_in_the_configuration_do_not_hide_those_behind_it() {
        let dir = folder("https://localhost/app");
        let faults = examined(&dir, noon().plus(DAY * 90));
        let errors = errors(&faults);
        assert!(errors[0].starts_with("`public_url` has"), "{errors:?}");
        assert!(errors[1].contains("expired at"), "{errors:?}");
    }

    #[test]
    fn a_directory_or_policy_set_that_is_not_there_is_a_fault() {
        let dir = folder("https://localhost:8443");
        let file = dir.path().join("portvakt.toml");
        let text = std::fs::read_to_string(&file).unwrap();
        let root = env!("CARGO_MANIFEST_DIR");
        let text = text
            .replace(
                &format!("{root}/config/directory.toml"),
                "/nonexistent/directory.toml",
            )
            .replace(&format!("{root}/policies"), "/nonexistent/policies");
        std::fs::write(&file, text).unwrap();
        let faults = examined(&dir, noon());
        let errors = errors(&faults);
        for path in ["/nonexistent/directory.toml", "/nonexistent/policies"] {
            assert!(
                errors.iter().any(|error| error.contains(path)),
                "{errors:?}"
            );
        }
    }

    #[test]
    fn the_takeovers_that_the_numbers_allow_are_told() {
        let dir = folder("https://localhost:8443");
        let file = dir.path().join("portvakt.toml");
        let told = || {
            let (config, _) = config::load(&file, &|_| None).unwrap();
            summary(&config, 0)
        };
        let shipped = "one account 5e-4 a day, 2.4 % a year; all accounts together 0.96 a year";
        assert!(told().contains(shipped), "{}", told());
        let text = std::fs::read_to_string(&file).unwrap();
        let wide = format!(
            "{text}[login]\nunknown_device = [{{ limit = 50, per = \"1d\" }}]\n\
             [login.fleet]\nburst = 1000\nrefill_per_day = 100\n"
        );
        std::fs::write(&file, wide).unwrap();
        let wide = "one account 5e-3 a day, 83.9 % a year; all accounts together 3.75 a year";
        assert!(told().contains(wide), "{}", told());
    }
}

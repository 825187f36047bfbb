//! The papers show configuration, policies and rooms; this test holds them to what is there.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use portvakt::cli::certs::{DEV_HOSTS, make_dev};
use portvakt::clock::{Clock, SystemClock, Timestamp};
use portvakt::config;
use portvakt::config::fault::Fault;
use portvakt::policy::{Outcome, PolicySet, ProofSettings};

#[test]
fn the_readmes_configuration_is_one_that_the_gateway_reads() {
    // The README makes the certificates first; here they are made elsewhere.
    let folder = tempfile::tempdir().unwrap();
    let certificates = folder.path().join("certs");
    let now = SystemClock::starting_at(Timestamp::default()).now();
    make_dev(&certificates, &DEV_HOSTS, now).unwrap();
    let shown = block("README.md", "public_url").unwrap();
    assert!(shown.contains("certs/dev/"));
    let written = shown.replace("certs/dev", certificates.to_str().unwrap());
    let file = folder.path().join("portvakt.toml");
    fs::write(&file, written).unwrap();
    let (config, warnings) = config::load(&file, &|_| None).map_err(reports).unwrap();
    assert_eq!(config.public_url.origin(), "https://localhost:8443");
    assert!(warnings.is_empty(), "{}", reports(warnings));
}

#[test]
fn the_readmes_policies_load_and_their_test_passes() {
    let folder = tempfile::tempdir().unwrap();
    let shipped = repository("policies");
    let rules = fs::read_to_string(shipped.join("projects.cedar")).unwrap();
    for shown in block("README.md", "permit").unwrap().lines() {
        assert!(rules.contains(shown.trim()), "not shipped: `{shown}`");
    }
    for entry in fs::read_dir(&shipped).unwrap() {
        let path = entry.unwrap().path();
        let extension = path.extension().unwrap_or_default();
        if extension == "cedar" || extension == "cedarschema" {
            fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
        }
    }
    let routes = block("README.md", "[[route]]").unwrap();
    fs::write(folder.path().join("routes.toml"), routes).unwrap();
    fs::create_dir(folder.path().join("tests")).unwrap();
    let test = block("README.md", "[[test]]").unwrap();
    fs::write(folder.path().join("tests/projects.toml"), test).unwrap();

    let loaded = PolicySet::load(folder.path(), &["projects".into()])
        .map_err(reports)
        .unwrap();
    let report = loaded.set.run_tests();
    assert_eq!(report.count, 1);
    assert!(report.failures.is_empty(), "{}", reports(report.failures));
}

#[test]
fn the_tutorials_policies_load_pass_their_tests_and_are_proved() {
    let text = fs::read_to_string(repository("policies/README.md")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut files = 0;
    // Each file stands in a block of its own, under its name.
    for part in text.split("\n`boards/").skip(1) {
        let (name, rest) = part.split_once("`:\n\n```").unwrap();
        let (_, rest) = rest.split_once('\n').unwrap();
        let (content, _) = rest.split_once("\n```").unwrap();
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        files += 1;
    }
    assert_eq!(files, 5, "the tutorial was not understood");
    let loaded = PolicySet::load(folder.path(), &["tavle".into()])
        .map_err(reports)
        .unwrap();
    assert!(loaded.warnings.is_empty(), "{}", reports(loaded.warnings));
    let tests = loaded.set.run_tests();
    assert!(
        tests.count == 5 && tests.passed(),
        "{}",
        reports(tests.failures)
    );
    let proof = loaded.set.prove(&ProofSettings {
        solver: "cvc5".into(),
        timeout: std::time::Duration::from_secs(60),
        survey: true,
    });
    let (holes, doubts) = proof.judge(true);
    assert!(holes.is_empty(), "{}", reports(holes));
    assert!(doubts.is_empty(), "{}", reports(doubts));
    assert_eq!(proof.outcome, Outcome::Proved);
}

#[test]
fn the_map_names_every_room() {
    let map = fs::read_to_string(repository("ARCHITECTURE.md")).unwrap();
    for entry in fs::read_dir(repository("gateway/src")).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let is_folder = entry.file_type().unwrap().is_dir();
        // A room of one file with a folder of its own stands there as the file.
        let shown = if is_folder && !repository(&format!("gateway/src/{name}.rs")).exists() {
            format!("`{name}/`")
        } else {
            format!("`{}.rs`", name.trim_end_matches(".rs"))
        };
        assert!(
            name == "lib.rs" || map.contains(&shown),
            "ARCHITECTURE.md does not name {shown}"
        );
    }
}

#[test]
fn every_dependency_has_its_reason() {
    let reasons = fs::read_to_string(repository("docs/dependencies.md")).unwrap();
    let manifest = fs::read_to_string(repository("Cargo.toml")).unwrap();
    let names = section(&manifest, "[dependencies]")
        .chain(section(&manifest, "[dev-dependencies]"))
        .filter_map(|line| line.split_once(" = "))
        .map(|(name, _)| name);
    let mut count = 0;
    for name in names.filter(|name| *name != "demo") {
        count += 1;
        let reason = reasons.lines().any(|line| {
            line.strip_prefix("| ")
                .and_then(|line| line.split_once(" | "))
                .is_some_and(|(crates, _)| crates.split(", ").any(|listed| listed == name))
        });
        assert!(
            reason,
            "docs/dependencies.md does not say why `{name}` is here"
        );
    }
    assert!(count > 30, "Cargo.toml was not understood");
}

#[test]
fn links_in_the_papers_lead_somewhere() {
    for paper in [
        "README.md",
        "ARCHITECTURE.md",
        "CHANGELOG.md",
        "SECURITY.md",
    ] {
        let text = fs::read_to_string(repository(paper)).unwrap();
        for link in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            let is_here = !link.contains("://") && !link.starts_with('#');
            assert!(
                !is_here || repository(link).exists(),
                "{paper} leads to `{link}`"
            );
        }
    }
}

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The first fenced block of a paper that contains `mark`.
fn block(paper: &str, mark: &str) -> io::Result<String> {
    let text = fs::read_to_string(repository(paper))?;
    text.split("\n```")
        .skip(1)
        .step_by(2)
        .filter_map(|block| block.split_once('\n'))
        .map(|(_, block)| block)
        .find(|block| block.contains(mark))
        .map(str::to_owned)
        .ok_or_else(|| io::Error::other(format!("no block of {paper} has `{mark}`")))
}

/// The lines of a section of a manifest.
fn section<'a>(manifest: &'a str, head: &'a str) -> impl Iterator<Item = &'a str> {
    manifest
        .lines()
        .skip_while(move |line| *line != head)
        .skip(1)
        .take_while(|line| !line.starts_with('['))
}

fn reports(faults: Vec<Fault>) -> String {
    faults.iter().map(Fault::report).collect()
}

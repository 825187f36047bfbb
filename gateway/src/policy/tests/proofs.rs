//! Proofs: what is shown, what is found instead, and what shows nothing. They need cvc5, which
//! `tests/run.sh` installs.

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::support::{folder, reports, set, shipped, shipped_dir};
use crate::config::fault::Fault;
use crate::policy::{Outcome, Proof, ProofSettings};

pub(super) fn settings() -> ProofSettings {
    ProofSettings {
        solver: PathBuf::from("cvc5"),
        timeout: Duration::from_secs(60),
        survey: true,
    }
}

fn shipped_file(name: &str) -> String {
    std::fs::read_to_string(shipped_dir().join(name)).unwrap()
}

/// The proof of the shipped set with one text of one file replaced.
fn prove_with(file: &str, old: &str, new: &str) -> Proof {
    let text = shipped_file(file);
    assert!(text.contains(old), "{old}");
    prove(&[(file, &text.replace(old, new))])
}

fn prove(files: &[(&str, &str)]) -> Proof {
    set(files).prove(&settings())
}

/// Each fault as `file:line: message`.
fn told(faults: &[Fault]) -> Vec<String> {
    let line = |fault: &Fault| {
        let location = fault.location().unwrap_or_default();
        let file = location.rsplit('/').next().unwrap_or_default();
        let place = file.rsplit_once(':').map_or("-", |(place, _)| place);
        format!("{place}: {}", fault.message())
    };
    faults.iter().map(line).collect()
}

#[test]
fn the_shipped_set_is_proved_whole_and_in_a_moment() {
    let proof = shipped().prove(&settings());
    assert_eq!(
        proof.outcome,
        Outcome::Proved,
        "{}",
        reports(&proof.reasons)
    );
    assert_eq!(
        (proof.invariants, proof.shown, proof.environments),
        (4, 5, 5)
    );
    assert!(proof.uncovered.is_empty(), "{}", reports(&proof.uncovered));
    assert!(proof.warnings.is_empty(), "{}", reports(&proof.warnings));
    println!("the shipped set: {:?}", proof.took);
    assert!(proof.took < Duration::from_secs(2), "{:?}", proof.took);
}

#[test]
fn a_hole_is_told_with_the_rule_that_opens_it_the_invariant_and_an_example() {
    let proof = prove_with(
        "projects.cedar",
        "when { resource.company == principal.company };\n\n// Only",
        "when { resource.owner == principal };\n\n// Only",
    );
    assert_eq!(proof.outcome, Outcome::Failed);
    assert_eq!(
        told(&proof.reasons),
        [
            "projects.cedar:4: a hole: `projects.cedar:4` allows `copy` by a `User` on a `Project` where `invariants.cedar:4` says it must never be",
            "projects.cedar:4: a hole: `projects.cedar:4` allows `read` by a `User` on a `Project` where `invariants.cedar:4` says it must never be",
        ]
    );
    let report = proof.reasons[1].report();
    println!("{report}");
    for part in [
        "who  User::\"user-1\" { company: Company::\"company-1\"",
        "suspended: false",
        "does `read`",
        "to   Project::\"project-1\" { company: Company::\"company-2\", owner: User::\"user-1\" }",
    ] {
        assert!(report.contains(part), "{part} in {report}");
    }
}

#[test]
fn what_a_missing_forbid_lets_through_is_a_hole_of_every_rule() {
    let proof = prove_with(
        "projects.cedar",
        "forbid (principal, action, resource)",
        "// forbid",
    );
    assert_eq!(proof.outcome, Outcome::Failed);
    let told = told(&proof.reasons);
    assert_eq!(told.len(), 5, "{told:?}");
    assert!(
        told.iter()
            .all(|line| line.contains("`invariants.cedar:11`")),
        "{told:?}"
    );
    let (errors, _) = proof.judge(false);
    assert_eq!(errors.len(), 5);
}

#[test]
fn what_the_request_says_counts_too() {
    let schema = shipped_file("schema.cedarschema").replace(
        "action read, copy, write appliesTo {\n  principal: User,\n  resource: Project,\n};",
        "action read, copy appliesTo { principal: User, resource: Project };\naction write appliesTo { principal: User, resource: Project, context: { new_owner?: User } };",
    );
    let invariants = shipped_file("invariants.cedar")
        + "permit (principal, action == Action::\"write\", resource is Project)\nwhen { context has new_owner && context.new_owner != principal };\n";
    let files = [
        ("schema.cedarschema", &*schema),
        ("invariants.cedar", &*invariants),
    ];
    let proof = prove(&files);
    assert_eq!(
        told(&proof.reasons),
        [
            "projects.cedar:8: a hole: `projects.cedar:8` allows `write` by a `User` on a `Project` where `invariants.cedar:12` says it must never be"
        ]
    );
    let report = proof.reasons[0].report();
    assert!(
        report.contains("with context { new_owner: User::\"user-2\" }"),
        "{report}"
    );

    let rules = shipped_file("projects.cedar")
        + "forbid (principal, action == Action::\"write\", resource)\nwhen { context has new_owner && context.new_owner != principal };\n";
    let proof = prove(&[files[0], files[1], ("projects.cedar", &rules)]);
    assert_eq!(
        proof.outcome,
        Outcome::Proved,
        "{}",
        reports(&proof.reasons)
    );
}

#[test]
fn without_a_solver_nothing_is_proved_and_it_is_said_what_to_install() {
    let absent = ProofSettings {
        solver: PathBuf::from("/nowhere/cvc5"),
        ..settings()
    };
    let proof = shipped().prove(&absent);
    assert_eq!(proof.outcome, Outcome::NotShown);
    let (errors, warnings) = proof.judge(false);
    assert!(errors.is_empty());
    assert!(
        warnings[0].report().contains("apt install cvc5"),
        "{}",
        reports(&warnings)
    );
    let (errors, _) = proof.judge(true);
    assert_eq!(
        told(&errors),
        ["-: nothing is proved: there is no solver `/nowhere/cvc5`"]
    );
}

/// A solver that is a script.
fn script(dir: &Path, body: &str) -> ProofSettings {
    let solver = dir.join("solver");
    std::fs::write(&solver, format!("#!/bin/sh\n{body}\n")).unwrap();
    let mut mode = std::fs::metadata(&solver).unwrap().permissions();
    mode.set_mode(0o755);
    std::fs::set_permissions(&solver, mode).unwrap();
    ProofSettings {
        solver,
        timeout: Duration::from_secs(1),
        survey: true,
    }
}

#[test]
fn a_solver_that_hangs_is_ended_and_has_shown_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let pid = dir.path().join("pid");
    let hung = script(
        dir.path(),
        &format!("echo $$ > {}; exec /bin/sleep 600", pid.display()),
    );
    let begun = Instant::now();
    let proof = shipped().prove(&hung);
    assert!(begun.elapsed() < Duration::from_secs(10));
    assert_eq!(proof.outcome, Outcome::NotShown);
    assert_eq!(
        told(&proof.reasons),
        ["-: nothing is proved: no answer within 1s"]
    );
    let pid = std::fs::read_to_string(pid).unwrap();
    assert!(
        !Path::new("/proc").join(pid.trim()).exists(),
        "it still runs"
    );
}

#[test]
fn a_solver_that_does_not_know_that_fails_or_that_babbles_has_shown_nothing() {
    let answer = |word: &str| {
        format!("while read -r line; do case $line in *check-sat*) echo '{word}';; esac; done")
    };
    let endless = "exec /usr/bin/yes '('".to_owned();
    for body in [
        answer("unknown"),
        answer("unsatisfied"),
        "exit 0".to_owned(),
        endless,
    ] {
        let dir = tempfile::tempdir().unwrap();
        let proof = shipped().prove(&script(dir.path(), &body));
        assert_eq!(proof.outcome, Outcome::NotShown, "{body}");
        assert_eq!(proof.shown, 0, "{body}");
        let (errors, _) = proof.judge(true);
        assert!(!errors.is_empty(), "{body}");
    }
}

#[test]
fn the_solver_sees_nothing_of_our_environment() {
    let dir = tempfile::tempdir().unwrap();
    let seen = dir.path().join("seen");
    let nosy = script(
        dir.path(),
        &format!("/usr/bin/env > {}; ulimit -v >> {0}", seen.display()),
    );
    let _ = shipped().prove(&nosy);
    let seen = std::fs::read_to_string(seen).unwrap();
    // What every shell sets itself.
    let own = ["PWD=", "OLDPWD=", "SHLVL=", "_="];
    let foreign: Vec<_> = seen
        .lines()
        .filter(|line| line.contains('=') && !own.iter().any(|own| line.starts_with(own)))
        .collect();
    assert!(foreign.is_empty(), "{foreign:?}");
    assert!(seen.ends_with("2097152\n"), "{seen}");
}

#[test]
fn an_action_that_no_invariant_speaks_of_is_uncovered() {
    let schema = shipped_file("schema.cedarschema")
        + "entity Note = { company: Company };\naction shred appliesTo { principal: User, resource: [Project, Note] };\n";
    let proof = prove(&[("schema.cedarschema", &schema)]);
    assert_eq!(
        proof.outcome,
        Outcome::Proved,
        "{}",
        reports(&proof.reasons)
    );
    // "No one who is suspended" says nothing of a note: who is not suspended might do anything.
    assert_eq!(
        told(&proof.uncovered),
        ["invariants.cedar:1: no invariant says when `shred` on a `Note` would be a hole"]
    );
    let (errors, warnings) = proof.judge(false);
    assert_eq!((errors.len(), warnings.len()), (0, 1));
    assert_eq!(proof.judge(true).0.len(), 1);
}

#[test]
fn a_set_without_invariants_is_not_proved() {
    let proof = prove(&[("invariants.cedar", "// Nothing yet.\n")]);
    assert_eq!(proof.outcome, Outcome::NotShown);
    assert_eq!(
        told(&proof.reasons),
        ["-: nothing is proved: there is no invariant"]
    );
    assert_eq!(proof.uncovered.len(), 5);
}

#[test]
fn rules_and_invariants_that_can_never_apply_are_told() {
    let rules = shipped_file("projects.cedar")
        + "permit (principal, action == Action::\"read\", resource) when { principal.suspended };\n"
        + "permit (principal, action == Action::\"read\", resource is Project)\nwhen { resource.owner == principal && resource.owner != principal };\n";
    let invariants = shipped_file("invariants.cedar")
        + "permit (principal, action, resource is Project)\nwhen { resource.company != principal.company && principal.company == resource.company };\n";
    let proof = prove(&[
        ("projects.cedar", &rules),
        ("invariants.cedar", &invariants),
    ]);
    assert_eq!(
        proof.outcome,
        Outcome::Proved,
        "{}",
        reports(&proof.reasons)
    );
    assert_eq!(
        told(&proof.warnings),
        [
            "projects.cedar:17: the rule `projects.cedar:17` permits nothing: what it permits is all forbidden",
            "projects.cedar:18: the rule `projects.cedar:18` can never apply",
            "invariants.cedar:12: the invariant `invariants.cedar:12` can never match, so it shows nothing",
        ]
    );
}

#[test]
fn an_invariant_that_may_fail_to_be_evaluated_shows_nothing() {
    let schema = shipped_file("schema.cedarschema").replace(
        "action list, create appliesTo {\n  principal: User,\n  resource: Company,\n};",
        "action list, create appliesTo { principal: User, resource: Company, context: { size?: Long } };",
    );
    let invariants = shipped_file("invariants.cedar")
        + "permit (principal, action == Action::\"create\", resource)\nwhen { context has size && context.size + 1 > 10 };\n";
    let rules = shipped_file("projects.cedar")
        + "forbid (principal, action == Action::\"create\", resource)\nwhen { context has size && context.size >= 10 };\n";
    let proof = prove(&[
        ("schema.cedarschema", &schema),
        ("projects.cedar", &rules),
        ("invariants.cedar", &invariants),
    ]);
    assert_eq!(
        proof.outcome,
        Outcome::NotShown,
        "{}",
        reports(&proof.reasons)
    );
    assert!(
        told(&proof.reasons)[0]
            .contains("the invariant `invariants.cedar:12` may fail to be evaluated"),
        "{}",
        reports(&proof.reasons)
    );
}

#[test]
fn an_invariant_that_forbids_is_a_fault() {
    let invariants = shipped_file("invariants.cedar").replace(
        "permit (principal, action, resource) when { principal.suspended };",
        "forbid (principal, action, resource) when { principal.suspended };",
    );
    let faults = super::support::faults(&[("invariants.cedar", &invariants)]);
    assert_eq!(
        faults,
        ["invariants.cedar:11:1: an invariant is a `permit`: it says what would be a hole"]
    );
}

/// A set of 200 rules, 20 actions and 10 types of resources, with an invariant for each type.
fn large() -> tempfile::TempDir {
    let (mut schema, mut rules, mut invariants) = (
        "entity Company;\nentity User = { company: Company, roles: Set<String>, suspended: Bool };\n".to_owned(),
        "forbid (principal, action, resource) when { principal.suspended };\n".to_owned(),
        "permit (principal, action, resource) when { principal.suspended };\n".to_owned(),
    );
    let mut routes = String::new();
    for kind in 0..10 {
        let _ = writeln!(
            schema,
            "entity Kind{kind} = {{ company: Company, owner: User }};"
        );
        let _ = writeln!(
            routes,
            "[resource.kind{kind}]\nfacts = [{{ from = \"upstream\", get = \"/k{kind}/{{id}}\", company = \"/c\", owner = \"/o\" }}]"
        );
        let _ = writeln!(
            invariants,
            "permit (principal, action, resource is Kind{kind}) when {{ resource.company != principal.company }};"
        );
    }
    let kinds: Vec<String> = (0..10).map(|kind| format!("Kind{kind}")).collect();
    for action in 0..20 {
        let kinds = kinds.join(", ");
        let _ = writeln!(
            schema,
            "action act{action} appliesTo {{ principal: User, resource: [{kinds}] }};"
        );
        for rule in 0..10 {
            let _ = writeln!(
                rules,
                "permit (principal, action == Action::\"act{action}\", resource is Kind{rule})\nwhen {{ resource.company == principal.company && (resource.owner == principal || principal.roles.contains(\"role{rule}\")) }};"
            );
        }
    }
    folder(&[
        ("schema.cedarschema", &schema),
        ("projects.cedar", &rules),
        ("invariants.cedar", &invariants),
        ("routes.toml", &routes),
    ])
}

#[test]
fn a_set_of_200_rules_and_20_actions_is_proved_in_less_than_a_minute() {
    let dir = large();
    let loaded = crate::policy::PolicySet::load(dir.path(), &["projects".into()]);
    let set = loaded
        .unwrap_or_else(|faults| panic!("{}", reports(&faults)))
        .set;
    let proof = set.prove(&settings());
    println!(
        "200 rules, 20 actions, {} combinations: {:?}",
        proof.environments, proof.took
    );
    assert_eq!(
        proof.outcome,
        Outcome::Proved,
        "{}",
        reports(&proof.reasons)
    );
    assert_eq!((proof.shown, proof.environments), (200, 200));
    assert!(proof.uncovered.is_empty() && proof.warnings.is_empty());
    assert!(proof.took < Duration::from_secs(60), "{:?}", proof.took);
}

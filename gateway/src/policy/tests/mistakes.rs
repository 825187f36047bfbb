//! Mistakes that people make, seeded one by one into the shipped set: each is caught before the
//! set could take effect, and what is said names the file and line that it is about.
//!
//! This file is long because it is a table: one entry for each mistake.

use std::fmt::Write as _;

use super::proofs::settings;
use super::support::shipped_dir;
use crate::config::fault::Fault;
use crate::policy::PolicySet;

/// What catches a mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    /// The set does not load.
    Check,
    /// One of its own examples is decided otherwise.
    Test,
    /// A request is allowed and a hole; or, where a proof is required, not everything is covered.
    Prove,
}
use By::{Check, Prove, Test};

/// A text in a file, replaced; and what is said of it.
struct Mistake {
    file: &'static str,
    old: &'static str,
    new: &'static str,
    by: By,
    /// The file and line that the message must name.
    at: &'static str,
    says: &'static str,
}

const fn mistake(
    file: &'static str,
    (old, new): (&'static str, &'static str),
    by: By,
    at: &'static str,
    says: &'static str,
) -> Mistake {
    Mistake {
        file,
        old,
        new,
        by,
        at,
        says,
    }
}

const RULES: &str = "projects.cedar";
const SCHEMA: &str = "schema.cedarschema";
const ROUTES: &str = "routes.toml";
const HOLES: &str = "invariants.cedar";

const READ: &str = "resource is Project)\nwhen { resource.company == principal.company };";
const WRITE: &str =
    "when { resource.company == principal.company && resource.owner == principal };";
const LIST: &str = "when { resource == principal.company };";
const SUSPENDED: &str = "forbid (principal, action, resource) when { principal.suspended };";

const MISTAKES: &[Mistake] = &[
    // Rules that say more than is meant.
    mistake(
        RULES,
        (READ, "resource is Project)\nwhen { true };"),
        Prove,
        "projects.cedar:4",
        "`invariants.cedar:4`",
    ),
    mistake(
        RULES,
        (READ, "resource is Project);"),
        Prove,
        "projects.cedar:4",
        "`invariants.cedar:4`",
    ),
    mistake(
        RULES,
        (
            READ,
            "resource is Project)\nwhen { resource.owner == principal };",
        ),
        Prove,
        "projects.cedar:4",
        "a hole",
    ),
    mistake(
        RULES,
        (
            READ,
            "resource is Project)\nwhen { resource.company != principal.company };",
        ),
        Prove,
        "projects.cedar:4",
        "a hole",
    ),
    mistake(
        RULES,
        (
            READ,
            "resource is Project)\nunless { resource.company == principal.company };",
        ),
        Prove,
        "projects.cedar:4",
        "a hole",
    ),
    mistake(
        RULES,
        (
            READ,
            "resource is Project)\nwhen { resource.company == principal.company || principal.roles.contains(\"editor\") };",
        ),
        Prove,
        "projects.cedar:4",
        "a hole",
    ),
    mistake(
        RULES,
        (
            READ,
            "resource is Project)\nwhen { resource.company in principal.company || !principal.suspended };",
        ),
        Prove,
        "projects.cedar:4",
        "a hole",
    ),
    mistake(
        RULES,
        ("&& resource.owner", "|| resource.owner"),
        Prove,
        "projects.cedar:8",
        "`invariants.cedar:8`",
    ),
    mistake(
        RULES,
        (WRITE, "when { resource.company == principal.company };"),
        Prove,
        "projects.cedar:8",
        "`invariants.cedar:8`",
    ),
    mistake(
        RULES,
        (WRITE, "when { resource.owner == principal };"),
        Prove,
        "projects.cedar:8",
        "`invariants.cedar:4`",
    ),
    mistake(
        RULES,
        (
            "resource.owner == principal }",
            "resource.owner != principal }",
        ),
        Prove,
        "projects.cedar:8",
        "`invariants.cedar:8`",
    ),
    mistake(
        RULES,
        (
            "when { resource.company == principal.company && ",
            "unless { resource.company == principal.company && ",
        ),
        Prove,
        "projects.cedar:8",
        "a hole",
    ),
    mistake(
        RULES,
        ("Action::\"copy\"]", "Action::\"copy\", Action::\"write\"]"),
        Prove,
        "projects.cedar:4",
        "`write`",
    ),
    mistake(
        RULES,
        (LIST, "when { true };"),
        Prove,
        "projects.cedar:12",
        "`invariants.cedar:5`",
    ),
    mistake(
        RULES,
        (LIST, "when { resource != principal.company };"),
        Prove,
        "projects.cedar:12",
        "`invariants.cedar:5`",
    ),
    mistake(
        RULES,
        (SUSPENDED, ""),
        Prove,
        "projects.cedar:4",
        "`invariants.cedar:11`",
    ),
    mistake(
        RULES,
        (
            SUSPENDED,
            "// forbid (principal, action, resource) when { principal.suspended };",
        ),
        Prove,
        "projects.cedar:8",
        "`invariants.cedar:11`",
    ),
    mistake(
        RULES,
        ("forbid (principal", "permit (principal"),
        Prove,
        "projects.cedar:16",
        "`invariants.cedar:11`",
    ),
    mistake(
        RULES,
        ("{ principal.suspended }", "{ !principal.suspended }"),
        Prove,
        "projects.cedar:4",
        "`invariants.cedar:11`",
    ),
    mistake(
        RULES,
        (
            "forbid (principal, action, resource)",
            "forbid (principal, action == Action::\"read\", resource)",
        ),
        Prove,
        "projects.cedar:8",
        "`invariants.cedar:11`",
    ),
    mistake(
        RULES,
        (
            "forbid (principal, action, resource)",
            "forbid (principal, action, resource is Project)",
        ),
        Prove,
        "projects.cedar:12",
        "`invariants.cedar:11`",
    ),
    mistake(
        RULES,
        (
            "when { principal.suspended }",
            "unless { principal.suspended }",
        ),
        Prove,
        "projects.cedar:12",
        "`invariants.cedar:11`",
    ),
    mistake(
        RULES,
        (
            "when { principal.suspended }",
            "when { principal.suspended && principal.roles.contains(\"x\") }",
        ),
        Prove,
        "projects.cedar:4",
        "suspended: true",
    ),
    // Rules that say less, or nothing that Cedar can read.
    mistake(
        RULES,
        (
            "action in [Action::\"read\", Action::\"copy\"]",
            "action == Action::\"read\"",
        ),
        Test,
        "projects.cedar:4",
        "`POST /projects/1/copy`",
    ),
    mistake(
        RULES,
        (
            "action in [Action::\"read\", Action::\"copy\"]",
            "action == Action::\"copy\"",
        ),
        Test,
        "routes.toml:41",
        "`GET /projects/1`",
    ),
    mistake(
        RULES,
        ("action == Action::\"write\"", "action == Action::\"copy\""),
        Test,
        "routes.toml:45",
        "`PATCH /projects/1`",
    ),
    mistake(
        RULES,
        (
            "action in [Action::\"list\", Action::\"create\"]",
            "action == Action::\"list\"",
        ),
        Test,
        "routes.toml:35",
        "`POST /projects`",
    ),
    mistake(
        RULES,
        ("Action::\"read\"", "Action::\"raed\""),
        Check,
        "projects.cedar:4",
        "did you mean",
    ),
    mistake(
        RULES,
        ("Action::\"write\"", "Action::\"wriet\""),
        Check,
        "projects.cedar:8",
        "did you mean",
    ),
    mistake(
        RULES,
        (
            "action == Action::\"write\", resource is Project",
            "action == Action::\"write\", resource is Projekt",
        ),
        Check,
        "projects.cedar:8",
        "did you mean",
    ),
    mistake(
        RULES,
        (
            "resource.company == principal.company };",
            "resource.compny == principal.company };",
        ),
        Check,
        "projects.cedar:5",
        "did you mean",
    ),
    mistake(
        RULES,
        ("&& resource.owner", "&& resource.ownr"),
        Check,
        "projects.cedar:9",
        "did you mean",
    ),
    mistake(
        RULES,
        (
            "resource.owner == principal }",
            "resource.owner == principal.company }",
        ),
        Test,
        "projects.cedar:8",
        "`PATCH /projects/1`",
    ),
    mistake(
        RULES,
        ("resource == principal.company }", "resource == principal }"),
        Test,
        "projects.cedar:12",
        "`GET /`",
    ),
    mistake(
        RULES,
        (
            "resource.owner == principal }",
            "resource.owner == \"u-kari\" }",
        ),
        Check,
        "projects.cedar:9",
        "types",
    ),
    mistake(
        RULES,
        (
            "when { resource == principal.company };",
            "when { resource == principal.company }",
        ),
        Check,
        "projects.cedar:16",
        "unexpected",
    ),
    mistake(
        RULES,
        ("&& resource.owner", "& resource.owner"),
        Check,
        "projects.cedar:9",
        "invalid",
    ),
    mistake(
        RULES,
        (
            "permit (principal, action == Action::\"write\"",
            "permit (principal == ?principal, action == Action::\"write\"",
        ),
        Check,
        "projects.cedar:8",
        "decides nothing",
    ),
    // The schema.
    mistake(
        SCHEMA,
        ("  owner: User,\n", ""),
        Check,
        "projects.cedar:9",
        "owner",
    ),
    mistake(
        SCHEMA,
        ("owner: User", "owner: Company"),
        Check,
        "schema.cedarschema:12",
        "does not fit the schema",
    ),
    mistake(
        SCHEMA,
        ("  suspended: Bool,\n", ""),
        Check,
        "projects.cedar:16",
        "suspended",
    ),
    mistake(
        SCHEMA,
        ("suspended: Bool", "suspended: String"),
        Check,
        "schema.cedarschema:6",
        "does not fit the schema",
    ),
    mistake(
        SCHEMA,
        ("read, copy, write", "read, copy"),
        Check,
        "projects.cedar:8",
        "write",
    ),
    mistake(
        SCHEMA,
        ("action list, create", "action lists, create"),
        Check,
        "projects.cedar:12",
        "did you mean",
    ),
    mistake(
        SCHEMA,
        ("entity Project =", "entity Projects ="),
        Check,
        "schema.cedarschema:20",
        "Project",
    ),
    mistake(
        SCHEMA,
        (
            "  principal: User,\n  resource: Company,",
            "  principal: User,\n  resource: Project,",
        ),
        Check,
        "routes.toml:20",
        "the schema does not let a `User` do `list` to a `Company`",
    ),
    // Routes.
    mistake(
        ROUTES,
        ("action = \"read\"", "action = \"raed\""),
        Check,
        "routes.toml:42",
        "did you mean `read`?",
    ),
    mistake(
        ROUTES,
        (
            "match  = \"* /projects/{project}/**\"\naction = \"write\"",
            "match  = \"* /projects/{project}/**\"\naction = \"read\"",
        ),
        Check,
        "routes.toml:45",
        "unsafe method",
    ),
    mistake(
        ROUTES,
        (
            "match  = \"GET /projects/{project}/**\"",
            "match  = \"* /projects/{project}/**\"",
        ),
        Check,
        "routes.toml:45",
        "exactly as specific",
    ),
    mistake(
        ROUTES,
        (
            "match    = \"POST /projects\"\naction   = \"create\"",
            "match    = \"POST /projects\"\naction   = \"list\"",
        ),
        Check,
        "routes.toml:35",
        "unsafe method",
    ),
    mistake(
        ROUTES,
        (
            "match  = \"GET /projects/{project}/**\"\naction = \"read\"",
            "match  = \"GET /projects/{project}/**\"\npublic = true",
        ),
        Check,
        "routes.toml:41",
        "is public and overlaps",
    ),
    mistake(
        ROUTES,
        ("match  = \"GET /assets/**\"", "match  = \"GET /**\""),
        Check,
        "routes.toml:24",
        "is public and overlaps",
    ),
    mistake(
        ROUTES,
        (
            "match  = \"GET /assets/**\"",
            "match  = \"GET /projects/*/assets/**\"",
        ),
        Check,
        "routes.toml:24",
        "is public and overlaps",
    ),
    mistake(
        ROUTES,
        (
            "match  = \"* /projects/{project}/**\"",
            "match  = \"* /projects/*/**\"",
        ),
        Check,
        "routes.toml:45",
        "names no resource",
    ),
    mistake(
        ROUTES,
        (
            "match  = \"* /projects/{project}/**\"",
            "match  = \"* /projects/{projct}/**\"",
        ),
        Check,
        "routes.toml:45",
        "there is no [resource.projct]",
    ),
    mistake(
        ROUTES,
        (
            "match  = \"* /projects/{project}/**\"",
            "match  = \"PUT /projects/{project}/**\"",
        ),
        Test,
        "projects.toml:36",
        "no route matches",
    ),
    mistake(
        ROUTES,
        (
            "[[route]]\nmatch   = \"GET /projects/{project}/live\"\naction  = \"write\"                       # frames are not judged one by one, so only its owner opens it\nupgrade = \"websocket\"\n",
            "",
        ),
        Test,
        "routes.toml:41",
        "`GET /projects/1/live`",
    ),
    mistake(
        ROUTES,
        (
            "action  = \"write\"                       # frames",
            "action  = \"read\" # frames",
        ),
        Check,
        "routes.toml:55",
        "WebSocket",
    ),
    mistake(
        ROUTES,
        (
            "match   = \"GET /projects/{project}/live\"",
            "match   = \"POST /projects/{project}/live\"",
        ),
        Check,
        "routes.toml:55",
        "opens with `GET`",
    ),
    mistake(
        ROUTES,
        (
            "match  = \"POST /projects/{project}/copy\"",
            "match  = \"PUT /projects/{project}/copy\"",
        ),
        Check,
        "routes.toml:51",
        "a copy is a `POST`",
    ),
    mistake(
        ROUTES,
        ("of = \"project\"", "of = \"projet\""),
        Check,
        "routes.toml:51",
        "there is no [resource.projet]",
    ),
    mistake(
        ROUTES,
        (
            "match  = \"* /projects/{project}/tasks/{task}/**\"",
            "match  = \"* /projects/{project}/tasks/{task}\"",
        ),
        Check,
        "routes.toml:69",
        "with a `/` behind it",
    ),
    mistake(
        ROUTES,
        (
            "[[route]]\nmatch  = \"* /projects/{project}/tasks/{task}/**\"\naction = \"write\"\n",
            "",
        ),
        Test,
        "tasks.toml:72",
        "`POST /projects/1/tasks/6`",
    ),
    mistake(
        ROUTES,
        (
            "resource = \"company\"\n\n[[route]]\nmatch  = \"GET /assets/**\"",
            "resource = \"compny\"\n\n[[route]]\nmatch  = \"GET /assets/**\"",
        ),
        Check,
        "routes.toml:21",
        "compny",
    ),
    mistake(
        ROUTES,
        (
            "parent = { project = { from = \"upstream\", get = \"/tasks/{id}\", id = \"/project_id\" } }",
            "",
        ),
        Check,
        "routes.toml:12",
        "no source of facts",
    ),
    mistake(
        ROUTES,
        ("parent = { project =", "parent = { projet ="),
        Check,
        "routes.toml:14",
        "there is no [resource.projet]",
    ),
    mistake(
        ROUTES,
        ("company = \"/company_id\"", "company = \"company_id\""),
        Check,
        "routes.toml:8",
        "company_id",
    ),
    mistake(
        ROUTES,
        ("company = \"/company_id\", ", ""),
        Check,
        "routes.toml:8",
        "has no `company`",
    ),
    mistake(
        ROUTES,
        ("get = \"/projects/{id}\"", "get = \"/projects/{project}\""),
        Check,
        "routes.toml:8",
        "project",
    ),
    mistake(
        ROUTES,
        (
            "  { from = \"learned\" },                 # what passed through when it was made\n",
            "",
        ),
        Check,
        "routes.toml:37",
        "nothing reads what is learned",
    ),
    mistake(
        ROUTES,
        ("from = \"learned\"", "from = \"learnt\""),
        Check,
        "routes.toml:9",
        "no source of facts",
    ),
    mistake(
        ROUTES,
        ("[1-9][0-9]{0,11}\"              #", "[1-9][0-9{0,11}\" #"),
        Check,
        "routes.toml:5",
        "no regular expression",
    ),
    mistake(
        ROUTES,
        ("body_limit = \"2GiB\"", "body_limt = \"2GiB\""),
        Check,
        "routes.toml:62",
        "did you mean `body_limit`?",
    ),
    mistake(
        ROUTES,
        ("body_limit = \"2GiB\"", "body_limit = \"2GB\""),
        Check,
        "routes.toml:62",
        "no size",
    ),
    mistake(
        ROUTES,
        ("cache = \"30s\"", "cache = \"30\""),
        Check,
        "routes.toml:6",
        "no duration",
    ),
    // Invariants.
    mistake(
        HOLES,
        (
            "resource.company != principal.company",
            "resource.compny != principal.company",
        ),
        Check,
        "invariants.cedar:4",
        "did you mean",
    ),
    mistake(
        HOLES,
        (
            "permit (principal, action, resource) when",
            "forbid (principal, action, resource) when",
        ),
        Check,
        "invariants.cedar:11",
        "an invariant is a `permit`",
    ),
    mistake(
        HOLES,
        ("resource.owner != principal", "resource.owner == principal"),
        Prove,
        "projects.cedar:8",
        "`invariants.cedar:8`",
    ),
    mistake(
        HOLES,
        (
            "permit (principal, action, resource is Company) when { resource != principal.company };\n",
            "",
        ),
        Prove,
        "invariants.cedar:1",
        "no invariant says when `create` on a `Company`",
    ),
    // The tests themselves.
    mistake(
        "tests/tasks.toml",
        (
            "by      = \"projects.cedar:8\"",
            "by      = \"projects.cedar:4\"",
        ),
        Test,
        "tasks.toml:12",
        "allowed by `projects.cedar:8`",
    ),
    mistake(
        "tests/tasks.toml",
        ("expect  = \"deny\"", "expect  = \"allow\""),
        Test,
        "tasks.toml:19",
        "denied (403) by `default`",
    ),
    mistake(
        "tests/tasks.toml",
        (
            "\"Task::5\" = { project = \"1\" }",
            "\"Tsk::5\" = { project = \"1\" }",
        ),
        Check,
        "tasks.toml:6",
        "is no resource",
    ),
    mistake(
        "tests/tasks.toml",
        ("request = \"GET /tasks/5\"", "requests = \"GET /tasks/5\""),
        Check,
        "tasks.toml:5",
        "did you mean `request`?",
    ),
];

impl Mistake {
    /// What is said of it, and by what.
    fn caught(&self) -> Option<(By, Vec<Fault>)> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("tests")).unwrap();
        for file in [
            RULES,
            SCHEMA,
            ROUTES,
            HOLES,
            "tests/company.toml",
            "tests/projects.toml",
            "tests/tasks.toml",
        ] {
            let mut text = std::fs::read_to_string(shipped_dir().join(file)).unwrap();
            if file == self.file {
                assert!(text.contains(self.old), "{file} has no `{}`", self.old);
                text = text.replacen(self.old, self.new, 1);
            }
            std::fs::write(dir.path().join(file), text).unwrap();
        }
        let loaded = match PolicySet::load(dir.path(), &["projects".into()]) {
            Err(faults) => return Some((Check, faults)),
            Ok(loaded) => loaded.set,
        };
        let (holes, _) = loaded.prove(&settings()).judge(true);
        if !holes.is_empty() {
            return Some((Prove, holes));
        }
        let tests = loaded.run_tests();
        (!tests.failures.is_empty()).then_some((Test, tests.failures))
    }
}

#[test]
fn every_seeded_mistake_is_caught_before_it_takes_effect_and_its_line_is_named() {
    assert!(MISTAKES.len() >= 50, "{}", MISTAKES.len());
    let (mut missed, mut told) = (String::new(), [0, 0, 0]);
    for (number, mistake) in MISTAKES.iter().enumerate() {
        let Some((by, faults)) = mistake.caught() else {
            let _ = writeln!(missed, "{number}: not caught: `{}`", mistake.new);
            continue;
        };
        told[by as usize] += 1;
        let names = |fault: &&Fault| {
            let whole = format!(
                "{}: {} {}",
                fault.location().unwrap_or_default(),
                fault.message(),
                fault.advice().unwrap_or_default()
            );
            !fault.is_warning() && whole.contains(mistake.says) && names_line(&whole, mistake.at)
        };
        if by != mistake.by || faults.iter().find(names).is_none() {
            let all: Vec<_> = faults
                .iter()
                .map(|fault| {
                    format!(
                        "\n     {} / {}",
                        fault.one_line(),
                        fault.advice().unwrap_or_default()
                    )
                })
                .collect();
            let _ = writeln!(
                missed,
                "{number}: {:?}, {by:?} said: {}",
                mistake.by,
                all.concat()
            );
        }
    }
    let [check, test, prove] = told;
    println!(
        "{} mistakes: check caught {check}, test {test}, prove {prove}",
        MISTAKES.len()
    );
    assert!(missed.is_empty(), "\n{missed}");
}

/// Whether a text names this file and line, and not one that only begins like it.
fn names_line(text: &str, at: &str) -> bool {
    text.match_indices(at).any(|(place, _)| {
        let after = text[place + at.len()..].chars().next();
        !after.is_some_and(|c| c.is_ascii_digit())
    })
}

//! The tests that people write: what they show, and what is wrong with them.

use super::support::{faults, folder};
use crate::config::fault::Fault;
use crate::policy::{PolicySet, report};

#[test]
fn a_failed_test_is_told_with_its_place_and_what_was_decided_by_which_rule() {
    let tests = r#"
[[test]]
as = { user = "u-ola", company = "fjord" }
request = "PATCH /projects/1"
facts = { "Project::1" = { company = "fjord", owner = "u-kari" } }
expect = "allow"

[[test]]
as = { user = "u-ola", company = "fjord" }
request = "GET /projects/1"
facts = { "Project::1" = { company = "fjord", owner = "u-kari" } }
expect = "allow"
by = "projects.cedar:8"

[[test]]
request = "GET /projects"
expect = "allow"

[[test]]
as = { user = "u-ola", company = "fjord" }
request = "GET /nowhere"
expect = "allow"

[[test]]
request = "GET /assets/x"
expect = "allow"
"#;
    let dir = folder(&[("tests/a.toml", tests)]);
    let loaded = PolicySet::load(dir.path(), &[]).unwrap();
    let report = loaded.set.run_tests();
    assert_eq!(report.count, 5);
    let told: Vec<_> = report
        .failures
        .iter()
        .map(|f| {
            let location = f.location().unwrap();
            format!("{}: {}", location.rsplit('/').next().unwrap(), f.message())
        })
        .collect();
    assert_eq!(
        told,
        [
            "a.toml:4:11: `PATCH /projects/1`: expected allow, but: denied (403) by `default`",
            "a.toml:10:11: `GET /projects/1`: expected allow by `projects.cedar:8`, but: allowed by `projects.cedar:4`",
            "a.toml:16:11: `GET /projects`: expected allow, but: denied (404) by `default`",
            "a.toml:21:11: `GET /nowhere`: expected allow, but: no route matches",
        ]
    );
    let printed = report::print_tests(&report);
    assert!(
        printed.ends_with("1 passed, 4 failed\n1 of 4 rules, 4 of 15 routes are touched\n"),
        "{printed}"
    );
    let helped = report
        .failures
        .iter()
        .map(Fault::advice)
        .collect::<Vec<_>>();
    assert_eq!(
        helped,
        [
            Some("it takes the route `* /projects/{project}/**`, routes.toml:45"),
            Some("it takes the route `GET /projects/{project}/**`, routes.toml:41"),
            Some("it takes the route `GET /projects`, routes.toml:30"),
            None,
        ]
    );
    assert!(
        printed.contains("projects.cedar:16:1: no test is decided by `projects.cedar:16`"),
        "{printed}"
    );
    assert!(
        printed.contains("routes.toml:92:12: no test takes the route `POST /echo`"),
        "{printed}"
    );
}

#[test]
fn tests_that_cannot_be_meant_are_faults() {
    for (test, expected) in [
        (
            "request = \"GET /projects/../x\"\nexpect = \"deny\"",
            "is no request",
        ),
        (
            "request = \"GET /projects\"\nexpect = \"maybe\"",
            "`maybe` cannot be expected",
        ),
        (
            "request = \"GET /projects\"",
            "this [[test]] has no `expect`",
        ),
        (
            "request = \"GET /\"\nexpect = \"deny\"\nheaders = { \"a b\" = \"x\" }",
            "`a b` is no header field",
        ),
        (
            "request = \"GET /\"\nexpect = \"deny\"\nbody = 1",
            "`body` is a string, not `integer`",
        ),
        (
            "request = \"GET /\"\nexpect = \"deny\"\nuser = \"x\"",
            "has no key `user`",
        ),
        (
            "request = \"GET /\"\nexpect = \"deny\"\nfacts = { \"Projekt::1\" = { company = \"c\" } }",
            "`Projekt::1` is no resource",
        ),
        (
            "request = \"GET /\"\nexpect = \"deny\"\nfacts = { \"Project::1-x\" = { company = \"c\" } }",
            "`Project::1-x` is no resource",
        ),
        (
            "request = \"GET /\"\nexpect = \"deny\"\nfacts = { \"Task::1\" = { company = \"c\" } }",
            "`Task::1` lies in a `project`",
        ),
        (
            "as = { user = \"u\" }\nrequest = \"GET /\"\nexpect = \"deny\"",
            "as has no `company`",
        ),
    ] {
        let found = faults(&[("tests/a.toml", &format!("[[test]]\n{test}\n"))]);
        assert!(
            found
                .iter()
                .any(|f| f.starts_with("tests/a.toml:") && f.contains(expected)),
            "`{expected}` is not among {found:#?}"
        );
    }
}

/// The warnings of a folder, as `file:line:column: message`.
fn warnings(files: &[(&str, &str)]) -> Vec<String> {
    let dir = folder(files);
    let loaded = PolicySet::load(dir.path(), &["projects".into()]).unwrap();
    let inside = format!("{}/", dir.path().display());
    let told = loaded.warnings.iter().map(|fault| fault.one_line());
    told.map(|line| line.replace(&inside, "")).collect()
}

#[test]
fn what_may_be_meant_otherwise_is_a_warning_with_its_place() {
    assert_eq!(
        warnings(&[(
            "routes.toml",
            "[resource.project]\nfacts = [{ from = \"learned\" }]\n"
        )]),
        ["routes.toml:1:11: `learned` is the only source of facts of `project`"]
    );
    let rules = "permit (principal, action == Action::\"read\", resource);\npermit (principal == User::\"u-ops\", action, resource);\n";
    assert_eq!(
        warnings(&[("projects.cedar", rules)]),
        [
            "projects.cedar:1:1: the rule `projects.cedar:1` permits without a condition: to anyone of any company"
        ]
    );
    let rules = "forbid (principal, action, resource) when { principal.suspended };\n";
    assert_eq!(
        warnings(&[("projects.cedar", rules)]),
        ["no rule permits anything: every request is refused"]
    );
}

#[test]
fn a_test_may_give_headers_and_a_body() {
    let route = "match = \"POST /move\"\naction = \"write\"\nresource = { project = [\"json:/to?\", \"header:X-To?\"] }";
    let tests = r#"
[[test]]
as = { user = "u-kari", company = "fjord" }
request = "POST /move"
content_type = "application/json"
body = '{"to":1}'
facts = { "Project::1" = { company = "fjord", owner = "u-kari" } }
expect = "allow"

[[test]]
as = { user = "u-kari", company = "fjord" }
request = "POST /move"
headers = { X-To = "2" }
facts = { "Project::2" = { company = "fjord", owner = "u-ola" } }
expect = "deny"

[[test]]
as = { user = "u-kari", company = "fjord" }
request = "POST /move"
body = "to=1"
expect = "allow"

[[test]]
as = { user = "u-ola", company = "fjord" }
request = "GET /projects/1?_method=delete"
facts = { "Project::1" = { company = "fjord", owner = "u-kari" } }
expect = "allow"

[[test]]
as = { user = "u-ola", company = "fjord" }
request = "GET /projects/1"
headers = { X-HTTP-Method = "FLY" }
facts = { "Project::1" = { company = "fjord", owner = "u-kari" } }
expect = "deny"
"#;
    let routes = super::reading::with_route(route);
    let dir = folder(&[("routes.toml", &routes), ("tests/a.toml", tests)]);
    let loaded = PolicySet::load(dir.path(), &[]).unwrap();
    let report = loaded.set.run_tests();
    let told: Vec<_> = report
        .failures
        .iter()
        .map(|f| f.message().to_owned())
        .collect();
    assert_eq!(
        told,
        [
            "`POST /move`: expected allow, but: refused (415): the body's type is missing",
            "`GET /projects/1?_method=delete`: expected allow, but: denied (403) by `default`",
        ]
    );
}

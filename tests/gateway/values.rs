//! Values that rules read, fields of the query, resources that are made by naming them, and
//! identifiers with a slash: over the wire, with what reaches the application.

use serde_json::Value;

use crate::house::{KARI, NILS, OLA};
use crate::policies::policy;
use crate::reading::{JSON, house_with, send};

const SCHEMA: &str = r#"
entity Company;
entity User = { company: Company, roles: Set<String>, suspended: Bool };
entity Project = { company: Company, owner: User };
entity Repo = { company: Company, owner: User };
action read appliesTo { principal: User, resource: [Project, Repo] };
action write appliesTo {
  principal: User, resource: [Project, Repo], context: { new_owner?: String },
};
action list, create appliesTo { principal: User, resource: Company };
"#;

const RULES: &str = r#"
permit (principal, action == Action::"read", resource)
when { resource.company == principal.company };
permit (principal, action == Action::"write", resource)
when { resource.company == principal.company && resource.owner == principal };
permit (principal, action in [Action::"list", Action::"create"], resource)
when { resource == principal.company };
forbid (principal, action == Action::"write", resource)
when { context has new_owner && context.new_owner != "u-kari" };
"#;

const ROUTES: &str = r#"
[resource.repo]
id = "[a-z]+/[a-z]+"
encoded_slash = true
facts = [{ from = "file", path = "facts/repos.toml" }]

[[route]]
match = "PATCH /projects/{project}"
action = "write"
visible_by = "read"
context = { new_owner = "json:/owner?" }

[[route]]
match = "PUT /named/{project}"
action = "write"
visible_by = "read"
creates = true

[[route]]
match = "GET /issues"
action = "list"
resource = "company"
query = { allow = ["page"], set = { company = "{company.id}" } }

[[route]]
match = "GET /repos/{repo}"
action = "read"
"#;

#[tokio::test]
async fn what_rules_read_and_routes_rewrite_holds_over_the_wire() {
    let files = [
        ("schema.cedarschema", SCHEMA),
        ("projects.cedar", RULES),
        ("invariants.cedar", ""),
        (
            "facts/repos.toml",
            "\"fjord/boat\" = { company = \"fjord\", owner = \"u-kari\" }\n",
        ),
    ];
    let (house, app) = house_with(ROUTES, "", &files).await;
    let kari = house.logged_in(KARI).await;
    let ola = house.logged_in(OLA).await;
    let nils = house.logged_in(NILS).await;
    let mine = r#"{"owner":"u-kari"}"#;
    let away = r#"{"owner":"u-ola"}"#;
    let twice = r#"{"owner":"u-kari","owner":"u-ola"}"#;
    for (who, line, body, status, reached) in [
        // A value of the request can forbid it, whatever was decided before.
        (&kari, "PATCH /projects/1", mine, 200, Some("/projects/1")),
        (&kari, "PATCH /projects/1", away, 403, None),
        (&kari, "PATCH /projects/1", mine, 200, Some("/projects/1")),
        (&kari, "PATCH /projects/1", twice, 400, None),
        (&ola, "PATCH /projects/1", mine, 403, None),
        (&nils, "PATCH /projects/1", mine, 404, None),
        // What is there is changed by its owner; what is not is made by anyone of a company.
        (&kari, "PUT /named/1", "", 200, Some("/named/1")),
        (&ola, "PUT /named/1", "", 403, None),
        (&nils, "PUT /named/1", "", 404, None),
        (&ola, "PUT /named/77", "", 200, Some("/named/77")),
        (&ola, "PUT /named/077", "", 404, None),
        // Of the query only what is allowed, and the company that the caller is of.
        (&nils, "GET /issues", "", 200, Some("/issues?company=tinde")),
        (
            &ola,
            "GET /issues?page=2&company=tinde&c%6Fmpany=tinde",
            "",
            200,
            Some("/issues?page=2&company=fjord"),
        ),
        (&ola, "GET /issues?page=2&secret=1", "", 400, None),
        // A slash inside an identifier is no step of the path.
        (
            &ola,
            "GET /repos/fjord%2Fboat",
            "",
            200,
            Some("/repos/fjord%2Fboat"),
        ),
        (&nils, "GET /repos/fjord%2Fboat", "", 404, None),
        (&ola, "GET /repos/fjord/boat", "", 404, None),
        (&ola, "GET /repos/fjord%2F..%2Fboat", "", 404, None),
        (&ola, "GET /issues%2F..", "", 400, None),
    ] {
        let headers: &[_] = if body.is_empty() { &[] } else { &[JSON] };
        let (answered, heard) = send(&house, &app, who, line, headers, body.as_bytes()).await;
        assert_eq!(answered, status, "{line} {body}");
        let targets: Vec<&str> = heard.iter().map(|heard| &*heard.target).collect();
        assert_eq!(targets, Vec::from_iter(reached), "{line} {body}");
        assert!(heard.iter().all(|heard| heard.body == body), "{line}");
    }
}

#[tokio::test]
async fn a_described_body_is_explained_as_the_gateway_would_judge_it() {
    let files = [
        ("schema.cedarschema", SCHEMA),
        ("projects.cedar", RULES),
        ("invariants.cedar", ""),
        ("facts/repos.toml", ""),
    ];
    let (house, app) = house_with(ROUTES, "", &files).await;
    for (body, expected) in [
        (
            r#"{"owner":"u-kari"}"#,
            "verdict   allow, by projects.cedar:4",
        ),
        (
            r#"{"owner":"u-ola"}"#,
            "verdict   deny (403), by projects.cedar:8",
        ),
        (r#"{"owner":"#, "verdict   deny (400)"),
    ] {
        let words = [
            "explain",
            "--user",
            KARI,
            "PATCH /projects/1",
            "--content-type",
            "application/json",
            "--body",
            body,
        ];
        let (code, out, err) = policy(&house, &words).await;
        assert_eq!(code, 0, "{err}");
        assert!(out.contains(expected), "{body}: {out}");
        let json = [&words[..], &["--json"]].concat();
        let (_, out, _) = policy(&house, &json).await;
        assert!(serde_json::from_str::<Value>(&out).is_ok(), "{out}");
    }
    assert!(app.take().is_empty(), "an explanation is no request");
}

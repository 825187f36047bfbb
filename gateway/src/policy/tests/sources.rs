//! Where facts come from: databases, files, the directory, and what a thing lies in.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::support::{House, faults, kari, matched, nils, ola, set};
use crate::policy::PolicySet;

const ROUTES: &str = r#"
[[route]]
match  = "GET /projects/{project}/**"
action = "read"
[[route]]
match  = "* /projects/{project}/**"
action = "write"
"#;

/// The shipped rules with these resources, and routes for projects and perhaps more.
pub(super) fn house(resources: &str, more: &str) -> House {
    House::new(routes(resources, more, &[]))
}

fn routes(resources: &str, more: &str, files: &[(&str, &str)]) -> Arc<PolicySet> {
    let text = format!("{resources}\n{ROUTES}\n{more}");
    let files: Vec<_> = files
        .iter()
        .copied()
        .chain([("routes.toml", &*text)])
        .collect();
    set(&files)
}

pub(super) const TASKS: &str = r#"
[[route]]
match  = "GET /tasks/{task}/**"
action = "read"
[[route]]
match  = "* /tasks/{task}/**"
action = "write"
"#;

const QUERY: &str = "select company_id, owner_id from projects where id = $1";

fn by_query(query: &str, more: &str) -> String {
    format!("[resource.project]\nfacts = [{{ from = \"postgres\", query = \"{query}\"{more} }}]\n")
}

const COLUMNS: &[&str] = &["company_id", "owner_id"];

#[tokio::test]
async fn a_query_says_whose_a_project_is() {
    let house = house(&by_query(QUERY, ""), "");
    let app = &house.application;
    app.row(QUERY, "1", COLUMNS, &[&["fjord", "u-kari"]]);
    app.row(
        QUERY,
        "3",
        &["owner_id", "company_id"],
        &[&["u-nils", "tinde"]],
    );
    app.row(QUERY, "4", COLUMNS, &[&["fjord", "null"]]);
    app.row(QUERY, "5", COLUMNS, &[&["null", "u-kari"]]);
    for (who, line, allowed) in [
        (kari(), "PUT /projects/1", true),
        (ola(), "PUT /projects/1", false),
        (ola(), "GET /projects/1", true),
        (nils(), "GET /projects/1", false),
        (nils(), "PUT /projects/3", true),
        (kari(), "GET /projects/3", false),
        (kari(), "GET /projects/4", true),
        (kari(), "PUT /projects/4", false),
        (kari(), "GET /projects/5", false),
        (kari(), "GET /projects/9", false),
    ] {
        let decision = house.decide(&who, line).await;
        assert_eq!(decision.is_allowed(), allowed, "{} {line}", who.id);
    }
}

#[tokio::test]
async fn rows_that_differ_and_a_database_that_is_down_refuse() {
    let house = house(&by_query(QUERY, ""), "");
    let app = &house.application;
    app.row(
        QUERY,
        "1",
        COLUMNS,
        &[&["fjord", "u-kari"], &["fjord", "u-ola"]],
    );
    assert!(house.try_decide(&kari(), "GET /projects/1").await.is_err());
    app.row(
        QUERY,
        "2",
        &["a", "b", "c", "d"],
        &[&["fjord", "u-kari", "", ""]],
    );
    assert!(house.try_decide(&kari(), "GET /projects/2").await.is_err());
    app.row(QUERY, "3", COLUMNS, &[&["fjord", "u-kari"]]);
    app.broken.store(true, Ordering::SeqCst);
    assert!(house.try_decide(&kari(), "GET /projects/3").await.is_err());
    app.broken.store(false, Ordering::SeqCst);
    assert!(house.decide(&kari(), "GET /projects/3").await.is_allowed());
}

#[tokio::test]
async fn the_first_source_that_knows_wins_and_what_was_learned_comes_last() {
    let resources = r#"[resource.project]
facts = [
  { from = "learned" },
  { from = "postgres", query = "select 1 where a = $1" },
  { from = "upstream", get = "/projects/{id}", company = "/company_id", owner = "/owner_id" },
]"#;
    let more = "[[route]]\nmatch = \"POST /projects\"\naction = \"create\"\nresource = \"company\"\nlearn = { project = \"json:/id\" }\n";
    let house = house(resources, more);
    let app = &house.application;
    app.project(1, "fjord", "u-ola");
    assert!(house.decide(&ola(), "PUT /projects/1").await.is_allowed());
    assert_eq!(app.asked(), ["select 1 where a = $1: 1", "/projects/1"]);
    // Learned, and then another source says otherwise.
    house
        .forward(&kari(), "POST /projects", 201, &[], r#"{"id":2}"#)
        .await;
    assert!(house.decide(&kari(), "PUT /projects/2").await.is_allowed());
    app.row(
        "select 1 where a = $1",
        "2",
        COLUMNS,
        &[&["fjord", "u-ola"]],
    );
    house.clock.advance(std::time::Duration::from_secs(30));
    assert!(!house.decide(&kari(), "PUT /projects/2").await.is_allowed());
    // What a source knows is not learned anew.
    house
        .forward(&kari(), "POST /projects", 201, &[], r#"{"id":1}"#)
        .await;
    assert!(!house.store.facts.lock().unwrap().contains_key("Project::1"));
}

#[tokio::test]
async fn owners_are_named_as_the_application_names_them() {
    for owner_as in ["email", "login"] {
        let house = house(
            &by_query(QUERY, &format!(", owner_as = \"{owner_as}\"")),
            "",
        );
        let app = &house.application;
        app.users
            .lock()
            .unwrap()
            .insert("kari".to_owned(), "u-kari".to_owned());
        app.row(QUERY, "1", COLUMNS, &[&["fjord", "kari"]]);
        app.row(QUERY, "2", COLUMNS, &[&["fjord", "u-kari"]]);
        assert!(house.decide(&kari(), "PUT /projects/1").await.is_allowed());
        // Nobody is called so: it has no owner.
        assert!(!house.decide(&kari(), "PUT /projects/2").await.is_allowed());
        assert!(house.decide(&kari(), "GET /projects/2").await.is_allowed());
        app.broken.store(true, Ordering::SeqCst);
        house.clock.advance(std::time::Duration::from_secs(30));
        assert!(house.try_decide(&kari(), "PUT /projects/1").await.is_err());
    }
}

#[tokio::test]
async fn a_file_says_whose_a_project_is_and_how_else_it_is_called() {
    let resources = r#"[resource.project]
id = "[0-9]+"
slug = "[a-z][a-z-]*"
facts = [{ from = "file", path = "facts/projects.KIND" }]
[resource.task]
parent = { project = { from = "file", path = "facts/tasks.toml" } }"#;
    let toml = "7 = { company = \"fjord\", owner = \"u-kari\", also = [\"seven\"] }\n[8]\ncompany = \"tinde\"\n";
    let json = r#"{"7": {"company": "fjord", "owner": "u-kari", "also": ["seven"]}, "8": {"company": "tinde"}}"#;
    for (kind, text) in [("toml", toml), ("json", json)] {
        let files = [
            (&*format!("facts/projects.{kind}"), text),
            ("facts/tasks.toml", "5 = { project = \"seven\" }"),
        ];
        let house = House::new(routes(&resources.replace("KIND", kind), TASKS, &files));
        for (who, line, allowed) in [
            (kari(), "PUT /projects/7", true),
            (kari(), "PUT /projects/seven", true),
            (ola(), "PUT /projects/seven", false),
            (ola(), "GET /projects/seven", true),
            (nils(), "GET /projects/8", true),
            (kari(), "GET /projects/8", false),
            (kari(), "GET /projects/9", false),
            (kari(), "PUT /tasks/5", true),
            (ola(), "PUT /tasks/5", false),
        ] {
            let decision = house.decide(&who, line).await;
            assert_eq!(decision.is_allowed(), allowed, "{kind} {} {line}", who.id);
        }
        let named = house.decide(&kari(), "PUT /projects/seven").await;
        assert_eq!(&*named.resources, [Arc::from("Project::7")]);
    }
}

#[test]
fn files_of_facts_that_say_two_things_or_none_are_faults() {
    let routes = "[resource.project]\nid = \"[0-9]+\"\nfacts = [{ from = \"file\", path = \"facts/p.KIND\" }]\n";
    for (kind, text, expected) in [
        (
            "toml",
            "7 = { company = 1 }",
            "facts/p.toml:1:17: `company` is a string, not `integer`",
        ),
        (
            "toml",
            "x = { company = \"a\" }",
            "facts/p.toml:1:1: `x` is no identifier of this resource",
        ),
        (
            "toml",
            "7 = { company = \"a\", also = [\"7\"] }",
            "facts/p.toml:1:1: `7` names two resources, or one twice",
        ),
        (
            "json",
            "{\"7\": {\"company\": \"a\"}, \"7\": {}}",
            "`7` is there twice",
        ),
        (
            "json",
            "{\"7\": {\"company\": \"a\", \"company\": \"b\"}}",
            "`company` is there twice",
        ),
        ("json", "{\"7\": 1}", "facts/p.json:1:"),
    ] {
        let text_routes = format!("{}{ROUTES}", routes.replace("KIND", kind));
        let found = faults(&[
            (&*format!("facts/p.{kind}"), text),
            ("routes.toml", &text_routes),
        ]);
        assert!(
            found.iter().any(|it| it.contains(expected)),
            "{expected}: {found:#?}"
        );
    }
    let missing = format!("{}{ROUTES}", routes.replace("KIND", "toml"));
    let found = faults(&[("routes.toml", &missing)]);
    assert_eq!(
        found,
        ["routes.toml:3:34: there is no file of facts `facts/p.toml`"]
    );
}

#[test]
fn queries_that_cannot_be_meant_are_faults() {
    for (query, expected) in [
        (
            "update projects set a = $1",
            "begins with `select` or `with`",
        ),
        ("select company from projects", "has one parameter, `$1`"),
        (
            "select company from projects where a = $1 and b = $2",
            "has one parameter, `$1`",
        ),
        (
            "select company from projects where a = $12",
            "has one parameter, `$1`",
        ),
    ] {
        let text = format!("{}{ROUTES}", by_query(query, ""));
        let found = faults(&[("routes.toml", &text)]);
        assert!(
            found.iter().any(|it| it.contains(expected)),
            "{query}: {found:#?}"
        );
    }
}

const SLUGS: &str = r#"[resource.project]
id   = "[1-9][0-9]*"
slug = "[a-z][a-z0-9-]*"
facts = [{ from = "upstream", get = "/projects/{id}", company = "/company_id", owner = "/owner_id", id = "/id" }]
"#;

fn slugs() -> House {
    let house = house(SLUGS, "");
    seven(&house, "u-kari");
    house
}

fn seven(house: &House, owner: &str) {
    let text = format!(r#"{{"id":7,"company_id":"fjord","owner_id":"{owner}"}}"#);
    house.application.answers("/projects/7", &text);
    house.application.answers("/projects/my-project", &text);
}

#[tokio::test]
async fn a_number_and_a_slug_are_one_resource_and_a_write_to_either_drops_both() {
    let spellings = ["7", "my-project"];
    for written in spellings {
        let house = slugs();
        for id in spellings {
            let decision = house.decide(&kari(), &format!("PUT /projects/{id}")).await;
            assert!(decision.is_allowed());
            assert_eq!(&*decision.resources, [Arc::from("Project::7")]);
        }
        let line = format!("PUT /projects/{written}");
        house.forward(&kari(), &line, 200, &[], "").await;
        seven(&house, "u-ola");
        for id in spellings {
            let decision = house.decide(&kari(), &format!("PUT /projects/{id}")).await;
            assert!(!decision.is_allowed(), "{id} after a write to {written}");
        }
    }
}

#[tokio::test]
async fn a_write_to_a_spelling_that_nobody_asked_about_drops_all_of_its_type() {
    let house = slugs();
    assert!(house.decide(&kari(), "PUT /projects/7").await.is_allowed());
    house
        .forward(&kari(), "PUT /projects/my-project", 200, &[], "")
        .await;
    seven(&house, "u-ola");
    assert!(!house.decide(&kari(), "PUT /projects/7").await.is_allowed());
}

#[tokio::test]
async fn a_slug_that_a_write_gives_to_another_project_is_asked_about_again() {
    let house = slugs();
    let eight = r#"{"id":8,"company_id":"fjord","owner_id":"u-ola"}"#;
    house.application.answers("/projects/8", eight);
    assert!(
        house
            .decide(&kari(), "PUT /projects/my-project")
            .await
            .is_allowed()
    );
    assert!(house.decide(&ola(), "PUT /projects/8").await.is_allowed());
    house.forward(&ola(), "PUT /projects/8", 200, &[], "").await;
    house.application.answers("/projects/my-project", eight);
    assert!(
        !house
            .decide(&kari(), "PUT /projects/my-project")
            .await
            .is_allowed()
    );
}

#[tokio::test]
async fn a_source_that_names_something_impossible_is_an_error() {
    let house = slugs();
    for id in ["\"../7\"", "null", "true", "\"\""] {
        let text = format!(r#"{{"id":{id},"company_id":"fjord","owner_id":"u-kari"}}"#);
        house.application.answers("/projects/9", &text);
        assert!(
            house.try_decide(&kari(), "GET /projects/9").await.is_err(),
            "{id}"
        );
    }
    let set = &house.set;
    assert!(
        matched(set, "GET /projects/07")
            .named()
            .next()
            .unwrap()
            .1
            .is_none()
    );
}

#[test]
fn a_slug_whose_source_does_not_say_which_project_it_is_is_a_fault() {
    let text = format!("{}{ROUTES}", SLUGS.replace(", id = \"/id\"", ""));
    let found = faults(&[("routes.toml", &text)]);
    assert_eq!(
        found,
        [
            "routes.toml:3:8: a slug is a second spelling, and a source does not say of which identifier"
        ]
    );
}

#[tokio::test]
async fn a_field_is_found_by_its_name() {
    let house = house(
        r#"[resource.project]
facts = [{ from = "upstream", get = "/projects/{id}", company = "/custom_fields/*[name=Customer]/value", owner = "/custom_fields/*[name=Owner]/value" }]"#,
        "",
    );
    let document = |owners: &str| {
        let text =
            format!(r#"{{"custom_fields":[{{"name":"Customer","value":"fjord"}},{owners}]}}"#);
        house.application.answers("/projects/1", &text);
    };
    document(r#"{"name":"Owner","value":"u-kari"}"#);
    assert!(house.decide(&kari(), "PUT /projects/1").await.is_allowed());
    house.clock.advance(std::time::Duration::from_secs(30));
    document(r#"{"name":"Owner","value":"u-kari"},{"name":"Owner","value":"u-ola"}"#);
    assert!(house.try_decide(&kari(), "PUT /projects/1").await.is_err());
}

//! What lies in something: every step decides, and a change of any is a change of all below it.

use super::sources::{TASKS, house};
use super::support::{House, kari, ola};
use crate::policy::{Denied, Verdict};

const NESTED: &str = r#"
[resource.project]
facts  = [{ from = "upstream", get = "/projects/{id}", company = "/company_id", owner = "/owner_id" }]
parent = { project = { from = "upstream", get = "/projects/{id}", id = "/parent_id" } }
[resource.list]
parent = { project = { from = "upstream", get = "/lists/{id}", id = "/project_id" } }
[resource.task]
parent = { list = { from = "upstream", get = "/tasks/{id}", id = "/list_id" } }
"#;

fn nested() -> House {
    let house = house(NESTED, TASKS);
    let project = |id: u64, owner: &str, parent: &str| {
        let text = format!(r#"{{"company_id":"fjord","owner_id":"{owner}","parent_id":{parent}}}"#);
        house.application.answers(&format!("/projects/{id}"), &text);
    };
    project(1, "u-kari", "null");
    project(2, "u-kari", "1");
    project(3, "u-ola", "1");
    project(4, "u-kari", "3");
    project(5, "u-kari", "6");
    project(6, "u-kari", "5");
    project(7, "u-kari", "99");
    house.application.answers("/lists/1", r#"{"project_id":2}"#);
    house.application.answers("/lists/2", r#"{"project_id":3}"#);
    house.application.answers("/tasks/5", r#"{"list_id":1}"#);
    house
}

#[tokio::test]
async fn a_project_inside_a_project_needs_every_step() {
    let house = nested();
    for (line, allowed) in [
        ("PUT /projects/1", true),
        ("PUT /projects/2", true),
        // Hers, inside one of Ola's.
        ("PUT /projects/4", false),
        ("GET /projects/4", true),
        // Inside what does not exist.
        ("GET /projects/7", false),
    ] {
        assert_eq!(
            house.decide(&kari(), line).await.is_allowed(),
            allowed,
            "{line}"
        );
        assert_eq!(
            house.decide(&kari(), line).await.is_allowed(),
            allowed,
            "{line}"
        );
    }
    let denied = house.decide(&kari(), "PUT /projects/4").await;
    let Verdict::Deny(Denied::Visible { owner, .. }) = denied.verdict else {
        panic!("{denied:?}");
    };
    assert_eq!(owner, Some("u-ola".into()));
    // Facts and parent stand in one document, which is asked for once.
    let asked = house.application.asked();
    assert_eq!(
        asked.iter().filter(|path| *path == "/projects/4").count(),
        1
    );
}

#[tokio::test]
async fn a_circle_in_the_data_is_bounded_and_refused() {
    let house = nested();
    let decision = house.try_decide(&kari(), "GET /projects/5").await.unwrap();
    assert_eq!(decision.verdict, Verdict::Deny(Denied::Hidden));
    assert!(house.application.asked().len() <= 9);
}

#[tokio::test]
async fn a_write_far_above_drops_what_was_known_of_every_step_below() {
    let house = nested();
    assert!(house.decide(&kari(), "PUT /tasks/5").await.is_allowed());
    let asked = house.application.asked().len();
    assert!(house.decide(&kari(), "PUT /tasks/5").await.is_allowed());
    assert_eq!(house.application.asked().len(), asked);
    // A write to project 1 moves the task to another list, two steps below it.
    house
        .forward(&kari(), "POST /projects/1/merge", 200, &[], "")
        .await;
    house.application.answers("/tasks/5", r#"{"list_id":2}"#);
    assert!(!house.decide(&kari(), "PUT /tasks/5").await.is_allowed());
    // What was found out anew is believed again.
    let asked = house.application.asked().len();
    assert!(!house.decide(&kari(), "PUT /tasks/5").await.is_allowed());
    assert_eq!(house.application.asked().len(), asked);
}

#[tokio::test]
async fn a_write_far_above_that_nobody_waited_for_leaves_the_steps_below_uncertain() {
    let house = nested();
    assert!(house.decide(&kari(), "PUT /tasks/5").await.is_allowed());
    drop(house.send("POST /projects/1/merge").await);
    // Read before the application has moved it …
    assert!(house.decide(&kari(), "PUT /tasks/5").await.is_allowed());
    house.application.answers("/tasks/5", r#"{"list_id":2}"#);
    // … and not believed after.
    assert!(!house.decide(&kari(), "PUT /tasks/5").await.is_allowed());
}

#[tokio::test]
async fn a_thing_may_lie_in_things_of_several_types() {
    let each = r#"
[resource.project]
facts  = [{ from = "upstream", get = "/projects/{id}", company = "/company_id", owner = "/owner_id" }]
[resource.folder]
parent = { project = { from = "upstream", get = "/folders/{id}", id = "/project_id" } }
[resource.task]
parent = { folder = { from = "postgres", query = "select folder_id from a where id = $1" }, project = { from = "postgres", query = "select project_id from a where id = $1" } }
"#;
    let one = each.replace(
        "{ folder = { from = \"postgres\", query = \"select folder_id from a where id = $1\" }, project = { from = \"postgres\", query = \"select project_id from a where id = $1\" } }",
        "{ from = \"postgres\", query = \"select container_type, container_id from a where id = $1\", types = { Project = \"project\", Folder = \"folder\" } }",
    );
    for resources in [each, &one] {
        let house = house(resources, TASKS);
        let app = &house.application;
        app.project(1, "fjord", "u-kari");
        app.project(2, "fjord", "u-ola");
        app.answers("/folders/1", r#"{"project_id":2}"#);
        for (id, folder, project) in [
            ("5", "null", "1"),
            ("6", "1", "null"),
            ("7", "null", "null"),
        ] {
            app.row(
                "select folder_id from a where id = $1",
                id,
                &["folder_id"],
                &[&[folder]],
            );
            app.row(
                "select project_id from a where id = $1",
                id,
                &["project_id"],
                &[&[project]],
            );
        }
        let typed = "select container_type, container_id from a where id = $1";
        let columns = &["container_type", "container_id"];
        app.row(typed, "5", columns, &[&["Project", "1"]]);
        app.row(typed, "6", columns, &[&["Folder", "1"]]);
        app.row(typed, "7", columns, &[&["null", "null"]]);
        app.row(typed, "8", columns, &[&["Wiki", "1"]]);
        for (who, line, allowed) in [
            (kari(), "PUT /tasks/5", true),
            (ola(), "PUT /tasks/5", false),
            (kari(), "PUT /tasks/6", false),
            (ola(), "PUT /tasks/6", true),
            (ola(), "GET /tasks/7", false),
            (ola(), "GET /tasks/9", false),
        ] {
            let decision = house.decide(&who, line).await;
            assert_eq!(decision.is_allowed(), allowed, "{} {line}", who.id);
        }
        if resources == one {
            assert!(house.try_decide(&ola(), "GET /tasks/8").await.is_err());
        }
    }
}

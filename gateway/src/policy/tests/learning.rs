//! What answers that pass through teach.

use std::sync::atomic::Ordering;

use super::support::{House, kari, matched, nils, ola, routes_with, set};

/// A house whose application tells nothing of owners.
fn taught() -> House {
    let routes = routes_with(
        "  { from = \"upstream\", get = \"/projects/{id}\", company = \"/company_id\", owner = \"/owner_id\" },\n",
        "",
    );
    House::new(set(&[("routes.toml", &routes)]))
}

#[tokio::test]
async fn who_makes_a_project_owns_it() {
    let house = taught();
    assert!(!house.decide(&kari(), "PUT /projects/7").await.is_allowed());
    let id = house
        .forward(&kari(), "POST /projects", 201, &[], r#"{"id":7}"#)
        .await;
    assert_eq!(id.as_deref(), Some("7"));
    // At once, though a moment ago there was no such project.
    assert!(house.decide(&kari(), "PUT /projects/7").await.is_allowed());
    assert!(house.decide(&ola(), "GET /projects/7").await.is_allowed());
    assert!(!house.decide(&ola(), "PUT /projects/7").await.is_allowed());
    assert!(!house.decide(&nils(), "GET /projects/7").await.is_allowed());
}

#[tokio::test]
async fn what_is_known_is_never_learned_over() {
    let house = taught();
    house
        .forward(&kari(), "POST /projects", 201, &[], r#"{"id":"7"}"#)
        .await;
    house
        .forward(&nils(), "POST /projects", 201, &[], r#"{"id":"7"}"#)
        .await;
    assert!(house.decide(&kari(), "PUT /projects/7").await.is_allowed());
    assert!(!house.decide(&nils(), "GET /projects/7").await.is_allowed());
}

#[tokio::test]
async fn what_the_application_says_ranks_above_what_was_learned() {
    let house = House::shipped();
    // Nils' application answers with kari's project; that teaches nothing of it.
    house.decide(&kari(), "GET /projects/1").await;
    house
        .forward(&nils(), "POST /projects", 201, &[], r#"{"id":"1"}"#)
        .await;
    // Nor of one that nobody asked for before.
    let id = house
        .forward(&nils(), "POST /projects", 201, &[], r#"{"id":"2"}"#)
        .await;
    assert_eq!(id.as_deref(), Some("2"));
    assert!(house.store.facts.lock().unwrap().is_empty());
    // What no other source knows is learned, though a moment ago there was nothing.
    house.decide(&nils(), "GET /projects/7").await;
    house
        .forward(&nils(), "POST /projects", 201, &[], r#"{"id":"7"}"#)
        .await;
    assert!(house.decide(&nils(), "PUT /projects/7").await.is_allowed());
    house.application.project(7, "fjord", "u-kari");
    house.clock.advance(std::time::Duration::from_secs(30));
    assert!(!house.decide(&nils(), "GET /projects/1").await.is_allowed());
    assert!(!house.decide(&nils(), "GET /projects/2").await.is_allowed());
    assert!(house.decide(&ola(), "PUT /projects/2").await.is_allowed());
    assert!(!house.decide(&nils(), "GET /projects/7").await.is_allowed());
}

#[tokio::test]
async fn a_copy_that_the_application_knows_is_not_learned_and_landed_on_all_the_same() {
    let house = House::shipped();
    house.application.project(7, "fjord", "u-ola");
    let id = house
        .forward(&ola(), "POST /projects/1/copy", 201, &[], r#"{"id":7}"#)
        .await;
    assert_eq!(id.as_deref(), Some("7"));
    assert!(house.store.facts.lock().unwrap().is_empty());
    assert!(house.decide(&ola(), "PUT /projects/7").await.is_allowed());
    // The landing found what was asked before.
    assert_eq!(house.application.asked(), ["/projects/7"]);
}

#[tokio::test]
async fn an_error_teaches_nothing() {
    let house = House::shipped();
    house.application.broken.store(true, Ordering::SeqCst);
    let id = house
        .forward(&nils(), "POST /projects", 201, &[], r#"{"id":"2"}"#)
        .await;
    assert_eq!(id.as_deref(), Some("2"));
    assert!(house.store.facts.lock().unwrap().is_empty());
}

#[tokio::test]
async fn that_a_caller_sees_nothing_teaches_nothing() {
    let routes = routes_with(
        "get = \"/projects/{id}\",",
        "get = \"/projects/{id}\", as = \"caller\",",
    );
    let house = House::new(set(&[("routes.toml", &routes)]));
    // Someone else's, which the application hides from nils.
    house
        .forward(&nils(), "POST /projects", 201, &[], r#"{"id":"2"}"#)
        .await;
    assert!(house.store.facts.lock().unwrap().is_empty());
}

#[tokio::test]
async fn only_a_success_teaches() {
    let house = taught();
    for status in [100, 202, 300, 302, 303, 400, 404, 500] {
        let id = house
            .forward(&kari(), "POST /projects", status, &[], r#"{"id":7}"#)
            .await;
        let learned = house.store.facts.lock().unwrap().remove("Project::7");
        assert_eq!(learned.is_some(), status == 202, "{status}");
        assert_eq!(id.is_some(), status == 202, "{status}");
    }
    for body in [
        "",
        "[]",
        r#"{"id":null}"#,
        r#"{"id":"7-x"}"#,
        r#"{"id":"../1"}"#,
        r#"{"id":7.5}"#,
    ] {
        let id = house
            .forward(&kari(), "POST /projects", 201, &[], body)
            .await;
        assert_eq!(id, None, "{body}");
    }
    assert!(house.store.facts.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_location_teaches_from_a_success_and_from_see_other() {
    let routes = routes_with(
        "learn    = { project = \"json:/id\" }",
        "learn = { project = \"location:/projects/{id}\" }",
    );
    let house = House::new(set(&[("routes.toml", &routes)]));
    assert!(
        !matched(&house.set, "POST /projects")
            .route()
            .learn_needs_body()
    );
    for (status, location, expected) in [
        (201, "/projects/7", Some("7")),
        (303, "/projects/8", Some("8")),
        (303, "http://127.0.0.1:3000/projects/9?made=1", Some("9")),
        (303, "/%70rojects/10", Some("10")),
        (302, "/projects/11", None),
        (404, "/projects/11", None),
        (201, "/projects/11/edit", None),
        (201, "/projects/x", None),
        (201, "/projects", None),
        (201, "projects/11", None),
        (201, "/projects/../projects/11", None),
    ] {
        let headers = [("location", location)];
        let id = house
            .forward(&kari(), "POST /projects", status, &headers, "")
            .await;
        assert_eq!(id.as_deref(), expected, "{status} {location}");
    }
    assert_eq!(house.store.facts.lock().unwrap().len(), 4);
}

#[tokio::test]
async fn what_is_deleted_is_forgotten() {
    let house = taught();
    house
        .forward(&kari(), "POST /projects", 201, &[], r#"{"id":7}"#)
        .await;
    house
        .forward(&kari(), "DELETE /projects/7/tasks", 204, &[], "")
        .await;
    house
        .forward(&kari(), "DELETE /projects/7", 403, &[], "")
        .await;
    assert!(house.decide(&kari(), "GET /projects/7").await.is_allowed());
    house
        .forward(&kari(), "DELETE /projects/7", 204, &[], "")
        .await;
    assert!(!house.decide(&kari(), "GET /projects/7").await.is_allowed());
    // The application gives the number away again.
    house
        .forward(&nils(), "POST /projects", 201, &[], r#"{"id":7}"#)
        .await;
    assert!(house.decide(&nils(), "PUT /projects/7").await.is_allowed());
    assert!(!house.decide(&kari(), "GET /projects/7").await.is_allowed());
}

#[tokio::test]
async fn a_broken_store_is_an_error_and_teaches_nothing() {
    let house = taught();
    house.store.broken.store(true, Ordering::SeqCst);
    assert!(house.try_decide(&kari(), "GET /projects/7").await.is_err());
    let id = house
        .forward(&kari(), "POST /projects", 201, &[], r#"{"id":7}"#)
        .await;
    assert_eq!(id.as_deref(), Some("7"));
    assert!(house.store.facts.lock().unwrap().is_empty());
}

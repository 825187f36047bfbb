//! What answers that pass through teach.

use std::sync::atomic::Ordering;

use http::{HeaderMap, StatusCode};

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
    assert!(house.store.facts.lock().unwrap().is_empty());
    house
        .forward(&nils(), "POST /projects", 201, &[], r#"{"id":"2"}"#)
        .await;
    assert!(!house.decide(&nils(), "GET /projects/1").await.is_allowed());
    assert!(!house.decide(&nils(), "GET /projects/2").await.is_allowed());
    assert!(house.decide(&ola(), "PUT /projects/2").await.is_allowed());
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
async fn a_broken_store_is_an_error_both_ways() {
    let house = taught();
    house.store.broken.store(true, Ordering::SeqCst);
    assert!(house.try_decide(&kari(), "GET /projects/7").await.is_err());
    let create = matched(&house.set, "POST /projects");
    let (headers, body, who) = (HeaderMap::new(), Some(&br#"{"id":7}"#[..]), kari());
    let learning = house.authoriser.after_answer(
        &house.set,
        &create,
        &who,
        StatusCode::CREATED,
        &headers,
        body,
    );
    assert!(learning.await.is_err());
}

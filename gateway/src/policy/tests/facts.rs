//! Facts: how often the application is asked, and when what is known is no longer believed.

use std::sync::Arc;
use std::time::Duration;

use super::support::{House, kari, matched, nils, ola, routes_with, set};
use crate::policy::Lookups;

#[tokio::test]
async fn a_hundred_at_once_ask_once() {
    let house = Arc::new(House::shipped());
    house.application.close();
    let asking: Vec<_> = (0..100)
        .map(|n| {
            let house = Arc::clone(&house);
            tokio::spawn(async move {
                let who = if n % 2 == 0 { kari() } else { ola() };
                house.decide(&who, "GET /projects/1").await
            })
        })
        .collect();
    house.application.was_asked(1).await;
    house.application.let_go(1000);
    for asked in asking {
        assert!(asked.await.unwrap().is_allowed());
    }
    assert_eq!(house.application.asked(), ["/projects/1"]);
}

#[tokio::test]
async fn a_client_that_goes_away_takes_the_answer_from_nobody() {
    let house = Arc::new(House::shipped());
    house.application.close();
    let asks = || {
        let house = Arc::clone(&house);
        tokio::spawn(async move { house.decide(&kari(), "GET /projects/1").await })
    };
    let first = asks();
    house.application.was_asked(1).await;
    let second = asks();
    tokio::task::yield_now().await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    house.application.let_go(1);
    assert!(second.await.unwrap().is_allowed());
    assert_eq!(house.application.asked().len(), 1);
}

#[tokio::test]
async fn facts_are_believed_for_their_time_and_no_longer() {
    let house = House::shipped();
    house.decide(&kari(), "GET /projects/1").await;
    house.clock.advance(Duration::from_millis(29_999));
    house.decide(&kari(), "GET /projects/1").await;
    assert_eq!(house.application.asked().len(), 1);
    house.clock.advance(Duration::from_millis(1));
    house.application.project(1, "tinde", "u-nils");
    assert!(!house.decide(&kari(), "GET /projects/1").await.is_allowed());
    assert_eq!(house.application.asked().len(), 2);
    assert_eq!((house.counted("hit"), house.counted("miss")), (1, 2));
}

#[tokio::test]
async fn that_there_is_nothing_is_believed_briefly() {
    let house = House::shipped();
    for _ in 0..3 {
        assert!(!house.decide(&kari(), "GET /projects/9").await.is_allowed());
    }
    assert_eq!(house.application.asked().len(), 1);
    assert_eq!(house.counted("negative"), 2);
    house.application.project(9, "fjord", "u-kari");
    house.clock.advance(Duration::from_secs(2));
    assert!(house.decide(&kari(), "GET /projects/9").await.is_allowed());
}

#[tokio::test]
async fn with_the_callers_credentials_nothing_is_believed_per_caller_and_facts_for_all() {
    let routes = routes_with(
        "get = \"/projects/{id}\",",
        "get = \"/projects/{id}\", as = \"caller\",",
    );
    let house = House::new(set(&[("routes.toml", &routes)]));
    assert!(!house.decide(&kari(), "GET /projects/1").await.is_allowed());
    house.application.project(1, "fjord", "u-kari");
    // Kari was told that there is nothing; ola asks for himself.
    assert!(house.decide(&ola(), "GET /projects/1").await.is_allowed());
    assert_eq!(
        house.application.askers(),
        [Some("u-kari".to_owned()), Some("u-ola".to_owned())]
    );
    // What ola was told are facts, whoever asks.
    assert!(house.decide(&kari(), "GET /projects/1").await.is_allowed());
    assert_eq!(house.application.askers().len(), 2);
}

#[tokio::test]
async fn two_callers_at_once_each_ask_with_their_own_credentials() {
    let routes = routes_with(
        "get = \"/projects/{id}\",",
        "get = \"/projects/{id}\", as = \"caller\",",
    );
    let house = Arc::new(House::new(set(&[("routes.toml", &routes)])));
    house.application.close();
    let asking: Vec<_> = [kari(), ola(), kari()]
        .into_iter()
        .map(|who| {
            let house = Arc::clone(&house);
            tokio::spawn(async move { house.decide(&who, "GET /projects/1").await })
        })
        .collect();
    house.application.was_asked(2).await;
    house.application.let_go(10);
    for asked in asking {
        asked.await.unwrap();
    }
    assert_eq!(house.application.askers().len(), 2);
}

#[tokio::test]
async fn the_gateway_asks_as_itself_unless_told() {
    let house = House::shipped();
    house.decide(&kari(), "GET /projects/1").await;
    assert_eq!(house.application.askers(), [None]);
}

#[tokio::test]
async fn with_no_cache_every_request_asks() {
    let routes = routes_with("cache = \"30s\"", "cache = \"0s\"");
    let house = House::new(set(&[("routes.toml", &routes)]));
    house.application.project(1, "fjord", "u-kari");
    for _ in 0..3 {
        assert!(house.decide(&kari(), "PUT /projects/1").await.is_allowed());
    }
    house.application.project(1, "fjord", "u-ola");
    assert!(!house.decide(&kari(), "PUT /projects/1").await.is_allowed());
    assert_eq!(house.application.asked().len(), 4);
    assert!(!house.decide(&kari(), "GET /projects/9").await.is_allowed());
    assert!(!house.decide(&kari(), "GET /projects/9").await.is_allowed());
    assert_eq!(house.application.asked().len(), 6);
}

#[tokio::test]
async fn with_no_cache_nobody_is_served_an_answer_older_than_their_request() {
    let routes = routes_with("cache = \"30s\"", "cache = \"0s\"");
    let house = Arc::new(House::new(set(&[("routes.toml", &routes)])));
    house.application.project(1, "fjord", "u-kari");
    house.application.close();
    let asks = || {
        let house = Arc::clone(&house);
        tokio::spawn(async move { house.decide(&kari(), "PUT /projects/1").await })
    };
    let first = asks();
    house.application.was_asked(1).await;
    house.application.project(1, "fjord", "u-ola");
    let second = asks();
    house.application.was_asked(2).await;
    house.application.let_go(2);
    assert!(first.await.unwrap().is_allowed());
    assert!(!second.await.unwrap().is_allowed());
}

#[tokio::test]
async fn from_a_write_to_its_answer_nothing_is_cached() {
    let house = House::shipped();
    house.decide(&kari(), "GET /projects/1").await;
    let unsettled = house.send("PATCH /projects/1").await;
    for asked in 2..4 {
        assert!(house.decide(&kari(), "PUT /projects/1").await.is_allowed());
        assert_eq!(house.application.asked().len(), asked);
    }
    // The application makes the change between a read and its answer.
    house.application.project(1, "fjord", "u-ola");
    assert!(!house.decide(&kari(), "PUT /projects/1").await.is_allowed());
    drop(unsettled);
    house
        .forward(&ola(), "PATCH /projects/2", 200, &[], "")
        .await;
    house.decide(&ola(), "GET /projects/2").await;
    house.decide(&ola(), "GET /projects/2").await;
    assert_eq!(house.application.asked().len(), 5);
}

#[tokio::test]
async fn a_write_whose_client_goes_away_leaves_nothing_cached_for_a_minute() {
    let house = Arc::new(House::shipped());
    house.application.task(5, 1);
    drop(house.send("PATCH /projects/1").await);
    // Read before the application has made the change …
    assert!(house.decide(&kari(), "PUT /projects/1").await.is_allowed());
    assert!(house.decide(&kari(), "PUT /tasks/5").await.is_allowed());
    house.application.project(1, "fjord", "u-ola");
    assert!(!house.decide(&kari(), "PUT /projects/1").await.is_allowed());
    assert!(!house.decide(&kari(), "PUT /tasks/5").await.is_allowed());
    // … or begun in the last moment, and answered after it.
    house.clock.advance(Duration::from_millis(59_999));
    house.application.close();
    let asking = {
        let house = Arc::clone(&house);
        tokio::spawn(async move { house.decide(&ola(), "PUT /projects/1").await })
    };
    let asked = house.application.asked().len();
    house.application.was_asked(asked + 1).await;
    house.application.project(1, "fjord", "u-kari");
    house.clock.advance(Duration::from_millis(1));
    house.application.let_go(1000);
    assert!(asking.await.unwrap().is_allowed());
    assert!(!house.decide(&ola(), "PUT /projects/1").await.is_allowed());
    // From now on it is cached again.
    let asked = house.application.asked().len();
    house.decide(&ola(), "GET /projects/1").await;
    assert_eq!(house.application.asked().len(), asked);
}

#[tokio::test]
async fn another_companys_project_is_asked_for_as_often_as_one_that_does_not_exist() {
    let house = House::shipped();
    let asked = async |line: &str| {
        let before = house.application.asked().len();
        assert!(!house.decide(&kari(), line).await.is_allowed());
        house.application.asked().len() - before
    };
    // Nils works on his project all the time; nobody else's business.
    for _ in 0..3 {
        house.decide(&nils(), "GET /projects/3").await;
        let (foreign, missing) = (
            asked("GET /projects/3").await,
            asked("GET /projects/9").await,
        );
        assert_eq!((foreign, missing), (1, 1));
        let (foreign, missing) = (
            asked("GET /projects/3").await,
            asked("GET /projects/9").await,
        );
        assert_eq!((foreign, missing), (0, 0));
        house.clock.advance(Duration::from_secs(2));
    }
    // One's own company's is believed for its whole time.
    house.decide(&kari(), "GET /projects/1").await;
    house.clock.advance(Duration::from_secs(20));
    let before = house.application.asked().len();
    house.decide(&ola(), "GET /projects/1").await;
    assert_eq!(house.application.asked().len(), before);
}

#[tokio::test]
async fn a_company_does_not_join_another_companys_look_up() {
    let house = Arc::new(House::shipped());
    house.application.close();
    let asking = [nils(), kari()].map(|who| {
        let house = Arc::clone(&house);
        tokio::spawn(async move { house.decide(&who, "GET /projects/3").await })
    });
    house.application.was_asked(2).await;
    house.application.let_go(2);
    for asked in asking {
        asked.await.unwrap();
    }
}

#[test]
fn what_only_reads_changes_nothing_and_all_else_does_whatever_its_method() {
    let house = House::shipped();
    for (line, changes) in [
        ("GET /projects/1", false),
        ("HEAD /projects/1", false),
        ("GET /projects", false),
        ("GET /assets/x", false),
        ("GET /projects/1/live", true),
        ("OPTIONS /projects/1", true),
        ("POST /projects/1/copy", true),
        ("POST /echo", true),
    ] {
        let matched = matched(&house.set, line);
        assert_eq!(matched.route().changes(matched.method()), changes, "{line}");
    }
    let routes = routes_with(
        "match  = \"GET /projects/{project}/**\"\naction = \"read\"",
        "match = \"GET /projects/{project}/**\"\naction = \"write\"",
    );
    let set = set(&[("routes.toml", &routes)]);
    let matched = matched(&set, "HEAD /projects/1/toggle");
    assert!(matched.route().changes(matched.method()));
}

#[tokio::test]
async fn a_read_drops_nothing() {
    let house = House::shipped();
    for _ in 0..3 {
        house.decide(&kari(), "GET /projects/1").await;
        house
            .forward(&kari(), "GET /projects/1", 200, &[], "")
            .await;
        house.forward(&kari(), "GET /projects", 200, &[], "").await;
    }
    assert_eq!(house.application.asked().len(), 1);
    // A WebSocket is a write, though it opens with `GET`.
    house
        .forward(&kari(), "GET /projects/1/live", 101, &[], "")
        .await;
    house.decide(&kari(), "GET /projects/1").await;
    assert_eq!(house.application.asked().len(), 2);
}

#[tokio::test]
async fn a_look_up_that_began_before_a_drop_is_not_believed() {
    let house = Arc::new(House::shipped());
    house.application.close();
    let asking = {
        let house = Arc::clone(&house);
        tokio::spawn(async move { house.decide(&kari(), "PUT /projects/1").await })
    };
    // It has read kari as the owner, but its answer is still under way.
    house.application.was_asked(1).await;
    house.application.project(1, "fjord", "u-ola");
    house
        .forward(&kari(), "PATCH /projects/1", 200, &[], "")
        .await;
    house.application.let_go(1);
    // The old answer is thrown away, and the question asked again.
    house.application.was_asked(2).await;
    house.application.let_go(1);
    assert!(!asking.await.unwrap().is_allowed());
    assert!(!house.decide(&kari(), "PUT /projects/1").await.is_allowed());
    assert_eq!(house.application.asked().len(), 2);
}

#[tokio::test]
async fn who_asks_after_a_drop_does_not_join_a_look_up_from_before() {
    let house = Arc::new(House::shipped());
    house.application.close();
    let asks = || {
        let house = Arc::clone(&house);
        tokio::spawn(async move { house.decide(&kari(), "PUT /projects/1").await })
    };
    let first = asks();
    house.application.was_asked(1).await;
    house.application.project(1, "fjord", "u-ola");
    house
        .forward(&kari(), "PATCH /projects/1", 200, &[], "")
        .await;
    let second = asks();
    house.application.was_asked(2).await;
    house.application.let_go(10);
    assert!(!second.await.unwrap().is_allowed());
    assert!(!first.await.unwrap().is_allowed());
}

#[tokio::test]
async fn a_things_project_decides() {
    let house = House::shipped();
    house.application.task(5, 1);
    for (who, line, allowed) in [
        (kari(), "PATCH /tasks/5", true),
        (ola(), "PATCH /tasks/5", false),
        (ola(), "GET /tasks/5", true),
        (nils(), "GET /tasks/5", false),
    ] {
        let decision = house.decide(&who, line).await;
        assert_eq!(decision.is_allowed(), allowed, "{} {line}", who.id);
        assert_eq!(&*decision.resources, [Arc::from("Project::1")]);
    }
    // Each company asks for itself.
    assert_eq!(
        house.application.asked(),
        ["/tasks/5", "/projects/1", "/tasks/5", "/projects/1"]
    );
}

#[tokio::test]
async fn a_thing_in_nothing_is_hidden_and_one_in_something_strange_an_error() {
    let house = House::shipped();
    house
        .application
        .answers("/tasks/5", r#"{"project_id":null}"#);
    assert!(!house.decide(&kari(), "GET /tasks/5").await.is_allowed());
    house.application.task(6, 99);
    assert!(!house.decide(&kari(), "GET /tasks/6").await.is_allowed());
    for (id, document) in [
        (7, r#"{"project_id":"../1"}"#),
        (8, "{}"),
        (9, r#"{"project_id":true}"#),
    ] {
        house.application.answers(&format!("/tasks/{id}"), document);
        let outcome = house.try_decide(&kari(), &format!("GET /tasks/{id}")).await;
        assert!(outcome.is_err(), "{document}");
    }
}

#[tokio::test]
async fn a_write_to_a_thing_or_to_what_it_lies_in_drops_where_it_lies() {
    let house = House::shipped();
    house.application.task(5, 1);
    assert!(house.decide(&kari(), "PATCH /tasks/5").await.is_allowed());
    house.application.task(5, 2);
    house.forward(&kari(), "PATCH /tasks/5", 200, &[], "").await;
    assert!(!house.decide(&kari(), "PATCH /tasks/5").await.is_allowed());
    assert!(house.decide(&ola(), "PATCH /tasks/5").await.is_allowed());
    house.application.task(5, 1);
    house
        .forward(&ola(), "POST /projects/2/merge", 200, &[], "")
        .await;
    assert!(!house.decide(&ola(), "PATCH /tasks/5").await.is_allowed());
}

#[tokio::test]
async fn the_number_7_and_the_text_7_are_one_identifier() {
    let house = House::shipped();
    house.application.project(7, "fjord", "u-kari");
    house.application.answers("/tasks/5", r#"{"project_id":7}"#);
    house
        .application
        .answers("/tasks/6", r#"{"project_id":"7"}"#);
    house.decide(&kari(), "GET /tasks/5").await;
    house.decide(&kari(), "GET /tasks/6").await;
    assert_eq!(
        house.application.asked(),
        ["/tasks/5", "/projects/7", "/tasks/6"]
    );
}

#[tokio::test(start_paused = true)]
async fn an_application_that_says_nothing_is_waited_for_three_seconds_in_all() {
    let house = House::shipped();
    house.application.task(5, 1);
    house.application.close();
    let start = tokio::time::Instant::now();
    assert!(house.try_decide(&kari(), "GET /tasks/5").await.is_err());
    assert_eq!(start.elapsed(), Duration::from_secs(3));
    // Nothing is left in flight: the next one asks.
    tokio::time::sleep(Duration::from_secs(1)).await;
    house.application.let_go(10);
    assert!(house.decide(&kari(), "GET /tasks/5").await.is_allowed());
}

#[tokio::test]
async fn a_look_up_that_panics_is_an_error_and_blocks_nobody() {
    struct Broken;
    #[async_trait::async_trait]
    impl Lookups for Broken {
        async fn get(
            &self,
            _: Option<&str>,
            _: &str,
            _: Option<&Arc<crate::principal::Principal>>,
            _: Option<&str>,
        ) -> Result<crate::policy::LookupAnswer, crate::policy::LookupError> {
            panic!("a mistake of ours")
        }

        async fn rows(
            &self,
            _: &str,
            _: &str,
        ) -> Result<crate::policy::LookupRows, crate::policy::LookupError> {
            panic!("a mistake of ours")
        }

        async fn user(
            &self,
            _: crate::policy::OwnerAs,
            _: &str,
        ) -> Result<Option<crate::principal::UserId>, crate::policy::LookupError> {
            panic!("a mistake of ours")
        }
    }
    let house = House::shipped();
    let broken: Arc<dyn Lookups> = Arc::new(Broken);
    let read = matched(&house.set, "GET /projects/1");
    let deciding = house
        .authoriser
        .decide(&house.set, &kari(), &read, &broken)
        .await;
    assert!(deciding.is_err());
    assert!(house.decide(&kari(), "GET /projects/1").await.is_allowed());
}

#[tokio::test]
async fn facts_survive_a_change_of_rules_but_not_of_where_they_come_from() {
    let mut house = House::shipped();
    house.decide(&kari(), "GET /projects/1").await;
    house.set = set(&[]);
    house.decide(&kari(), "GET /projects/1").await;
    assert_eq!(house.application.asked().len(), 1);
    let routes = routes_with("owner = \"/owner_id\"", "owner = \"/company_id\"");
    house.set = set(&[("routes.toml", &routes)]);
    assert!(!house.decide(&kari(), "PUT /projects/1").await.is_allowed());
    assert_eq!(house.application.asked().len(), 2);
}

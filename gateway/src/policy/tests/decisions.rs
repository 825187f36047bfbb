//! What is decided: the rules, the two ways of refusing, and what a kept decision depends on.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::support::{House, kari, nils, ola, principal, routes_with, set};
use crate::policy::{CopyOffer, Denied, Verdict};
use crate::principal::{Company, Principal};

const HIDDEN: Verdict = Verdict::Deny(Denied::Hidden);

fn visible(owner: &str, copy: Option<&str>) -> Verdict {
    Verdict::Deny(Denied::Visible {
        owner: Some(owner.into()),
        copy: copy.map(|post| CopyOffer {
            post: post.to_owned(),
            look: post.trim_end_matches("/copy").to_owned(),
        }),
    })
}

#[tokio::test]
async fn colleagues_read_owners_write_strangers_see_nothing() {
    let house = House::shipped();
    let offer = visible("u-kari", Some("/projects/1/copy"));
    for (who, line, verdict, rule) in [
        (
            kari(),
            "GET /projects/1",
            Verdict::Allow,
            Some("projects.cedar:4"),
        ),
        (
            kari(),
            "PATCH /projects/1",
            Verdict::Allow,
            Some("projects.cedar:8"),
        ),
        (
            ola(),
            "GET /projects/1",
            Verdict::Allow,
            Some("projects.cedar:4"),
        ),
        (
            ola(),
            "POST /projects/1/copy",
            Verdict::Allow,
            Some("projects.cedar:4"),
        ),
        (ola(), "PATCH /projects/1", offer.clone(), None),
        (ola(), "GET /projects/1/live", offer, None),
        (nils(), "GET /projects/1", HIDDEN, None),
        (nils(), "PATCH /projects/1", HIDDEN, None),
        (nils(), "POST /projects/1/copy", HIDDEN, None),
        (nils(), "GET /projects/99", HIDDEN, None),
        (
            nils(),
            "GET /projects",
            Verdict::Allow,
            Some("projects.cedar:12"),
        ),
    ] {
        let decision = house.decide(&who, line).await;
        assert_eq!(decision.verdict, verdict, "{} {line}", who.id);
        assert_eq!(decision.rule.as_deref(), rule, "{} {line}", who.id);
        assert_eq!(&*decision.digest, house.set.digest());
    }
    let listed = house.decide(&nils(), "GET /projects").await;
    assert_eq!(&*listed.resources, [Arc::from("Company::tinde")]);
    let read = house.decide(&ola(), "GET /projects/1").await;
    assert_eq!(&*read.resources, [Arc::from("Project::1")]);
}

#[tokio::test]
async fn a_foreign_project_and_none_at_all_are_refused_alike() {
    let house = House::shipped();
    for method in ["GET", "PATCH", "DELETE"] {
        let foreign = house
            .decide(&nils(), &format!("{method} /projects/1"))
            .await;
        let nothing = house
            .decide(&nils(), &format!("{method} /projects/99"))
            .await;
        assert_eq!(foreign.verdict, nothing.verdict);
        assert_eq!(foreign.rule, nothing.rule);
    }
}

#[tokio::test]
async fn what_no_resource_is_called_is_hidden_and_nobody_is_asked() {
    let house = House::shipped();
    for id in [
        "7-x",
        "07",
        "0",
        "%20",
        "1%20",
        "x",
        "-1",
        "9999999999999",
        "%C3%A5",
        "1,2",
        "+1",
    ] {
        let decision = house.decide(&kari(), &format!("GET /projects/{id}")).await;
        assert_eq!(decision.verdict, HIDDEN, "{id}");
    }
    assert_eq!(house.application.asked(), [""; 0]);
    // `7%0a` is no target at all.
    assert!(crate::target::Target::from_line("GET /projects/7%0a").is_err());
}

#[tokio::test]
async fn all_identifiers_are_checked_before_anyone_is_asked() {
    let house = House::shipped();
    let decision = house.decide(&kari(), "GET /projects/1/tasks/x").await;
    assert_eq!(decision.verdict, HIDDEN);
    assert_eq!(house.application.asked(), [""; 0]);
}

#[tokio::test]
async fn a_suspended_user_does_nothing_and_the_rule_is_named() {
    let house = House::shipped();
    let suspended = Arc::new(Principal {
        suspended: true,
        ..(*kari()).clone()
    });
    for line in ["GET /projects/1", "PATCH /projects/1", "GET /projects"] {
        let decision = house.decide(&suspended, line).await;
        assert_eq!(decision.verdict, HIDDEN, "{line}");
        assert_eq!(
            decision.rule.as_deref(),
            Some("projects.cedar:16"),
            "{line}"
        );
    }
}

#[tokio::test]
async fn a_kept_decision_depends_on_everything_that_it_read() {
    let house = House::shipped();
    let line = "PATCH /projects/1";
    assert!(house.decide(&kari(), line).await.is_allowed());
    // The same person by another pointer: the kept decision holds.
    assert!(house.decide(&kari(), line).await.is_allowed());
    for other in [
        Principal {
            suspended: true,
            ..(*kari()).clone()
        },
        Principal {
            id: "u-ola".into(),
            ..(*kari()).clone()
        },
        Principal {
            company: Arc::new(Company {
                id: "tinde".into(),
                name: "fjord".into(),
            }),
            ..(*kari()).clone()
        },
    ] {
        assert!(!house.decide(&Arc::new(other), line).await.is_allowed());
    }
    assert!(house.decide(&kari(), line).await.is_allowed());
    // The owner changes: at once another decision.
    house.application.project(1, "fjord", "u-ola");
    house.forward(&kari(), line, 200, &[], "").await;
    assert!(!house.decide(&kari(), line).await.is_allowed());
    assert!(house.decide(&ola(), line).await.is_allowed());
    // The company changes.
    assert!(house.decide(&ola(), "GET /projects/1").await.is_allowed());
    house.application.project(1, "tinde", "u-ola");
    house.forward(&ola(), line, 200, &[], "").await;
    assert_eq!(
        house.decide(&ola(), "GET /projects/1").await.verdict,
        HIDDEN
    );
}

#[tokio::test]
async fn roles_are_read_and_a_kept_decision_depends_on_them() {
    let rules = r#"permit (principal, action == Action::"list", resource is Company)
        when { principal.roles.contains("editor") };"#;
    let house = House::new(set(&[("projects.cedar", rules)]));
    let editor = Arc::new(Principal {
        roles: vec!["editor".into()],
        ..(*kari()).clone()
    });
    assert!(!house.decide(&kari(), "GET /projects").await.is_allowed());
    assert!(house.decide(&editor, "GET /projects").await.is_allowed());
    assert!(!house.decide(&kari(), "GET /projects").await.is_allowed());
}

#[tokio::test]
async fn another_policy_set_decides_anew() {
    let mut house = House::shipped();
    assert!(house.decide(&kari(), "GET /projects").await.is_allowed());
    let first = house.set.digest().to_owned();
    house.set = set(&[("projects.cedar", "forbid (principal, action, resource);")]);
    assert_ne!(house.set.digest(), first);
    assert!(!house.decide(&kari(), "GET /projects").await.is_allowed());
}

#[tokio::test]
async fn a_rule_that_cannot_be_evaluated_denies() {
    // Owners are named, not known: reading their attributes fails, and a `forbid` that fails
    // must not be passed over.
    let rules = r#"permit (principal, action, resource is Project);
forbid (principal, action, resource is Project) when { resource.owner.suspended };"#;
    let house = House::new(set(&[("projects.cedar", rules)]));
    house.application.project(1, "fjord", "u-kari");
    // Kari is known, since she asks.
    assert!(house.decide(&kari(), "GET /projects/1").await.is_allowed());
    let decision = house.decide(&ola(), "GET /projects/1").await;
    assert!(!decision.is_allowed());
    assert_eq!(decision.rule.as_deref(), Some("projects.cedar:2"));
}

#[tokio::test]
async fn what_has_no_owner_is_written_by_no_one() {
    let house = House::shipped();
    let nobody = principal("", "fjord");
    for (id, owner) in [
        (7, r#","owner_id":null"#),
        (8, ""),
        (9, r#","owner_id":"""#),
    ] {
        let document = format!(r#"{{"company_id":"fjord"{owner}}}"#);
        house
            .application
            .answers(&format!("/projects/{id}"), &document);
        let read = house.decide(&kari(), &format!("GET /projects/{id}")).await;
        assert!(read.is_allowed(), "{owner}");
        for who in [kari(), nobody.clone()] {
            let write = house.decide(&who, &format!("PUT /projects/{id}")).await;
            assert!(!write.is_allowed(), "{owner}");
        }
    }
}

#[tokio::test]
async fn what_belongs_to_no_company_is_hidden() {
    let house = House::shipped();
    house
        .application
        .answers("/projects/7", r#"{"company_id":null}"#);
    assert_eq!(
        house.decide(&kari(), "GET /projects/7").await.verdict,
        HIDDEN
    );
}

#[tokio::test]
async fn a_refusal_tells_only_who_may_see_and_offers_only_who_may_copy() {
    let no_copy = r#"permit (principal, action == Action::"read", resource is Project)
        when { resource.company == principal.company };"#;
    let house = House::new(set(&[("projects.cedar", no_copy)]));
    house.application.project(1, "fjord", "u-kari");
    let write = house.decide(&ola(), "PUT /projects/1").await;
    assert_eq!(write.verdict, visible("u-kari", None));
    // Seen by another action.
    let routes = routes_with(
        "match  = \"* /projects/{project}/**\"",
        "visible_by = \"copy\"\nmatch  = \"* /projects/{project}/**\"",
    );
    let house = House::new(set(&[
        ("projects.cedar", no_copy),
        ("routes.toml", &routes),
    ]));
    house.application.project(1, "fjord", "u-kari");
    assert_eq!(
        house.decide(&ola(), "PUT /projects/1").await.verdict,
        HIDDEN
    );
}

#[tokio::test]
async fn a_refusal_tells_nothing_if_one_of_several_may_not_be_seen() {
    let house = House::shipped();
    house.application.task(5, 3);
    house.application.task(6, 1);
    let strange = house.decide(&ola(), "POST /projects/2/tasks/5").await;
    assert_eq!(strange.verdict, HIDDEN);
    let seen = house.decide(&ola(), "POST /projects/2/tasks/6").await;
    assert_eq!(seen.verdict, visible("u-kari", Some("/projects/1/copy")));
}

#[tokio::test]
async fn the_path_of_a_copy_holds_the_identifier() {
    let routes = routes_with("id    = \"[1-9][0-9]{0,11}\"", "id = \"[a-zåæø ]+\"");
    let house = House::new(set(&[("routes.toml", &routes)]));
    let document = r#"{"company_id":"fjord","owner_id":"u-kari"}"#;
    house
        .application
        .answers("/projects/bl%C3%A5%20b", document);
    let write = house.decide(&ola(), "PUT /projects/bl%c3%a5%20b").await;
    assert_eq!(
        write.verdict,
        visible("u-kari", Some("/projects/bl%C3%A5%20b/copy"))
    );
    assert_eq!(&*write.resources, [Arc::from("Project::blå b")]);
}

#[tokio::test]
async fn unavailable_facts_are_an_error_and_never_a_decision() {
    let house = House::shipped();
    house.application.broken.store(true, Ordering::SeqCst);
    let error = house
        .try_decide(&kari(), "GET /projects/1")
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "the facts of `Project::1` are unavailable: the application answered 500"
    );
    house.application.broken.store(false, Ordering::SeqCst);
    // An error is not kept.
    assert!(house.decide(&kari(), "GET /projects/1").await.is_allowed());
    assert_eq!(house.counted("error"), 1);
    for document in [
        "",
        "[]",
        "{}",
        r#"{"company_id":{}}"#,
        r#"{"company_id":""}"#,
        "<html>",
    ] {
        house.application.answers("/projects/7", document);
        let outcome = house.try_decide(&kari(), "GET /projects/7").await;
        assert!(outcome.is_err(), "{document}");
    }
    // A company's own routes need no facts.
    house.application.broken.store(true, Ordering::SeqCst);
    assert!(house.decide(&kari(), "GET /projects").await.is_allowed());
}

#[tokio::test]
async fn decisions_are_counted_by_their_rule() {
    let house = House::shipped();
    for _ in 0..3 {
        house.decide(&kari(), "GET /projects/1").await;
    }
    house.decide(&nils(), "GET /projects/1").await;
    house.decide(&nils(), "GET /projects/99").await;
    let counted = |labels: [&str; 2]| house.metrics.decisions.with_label_values(&labels).get();
    assert_eq!(counted(["allow", "projects.cedar:4"]), 3);
    assert_eq!(counted(["deny", "default"]), 2);
}

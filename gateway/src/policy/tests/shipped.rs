//! The shipped folder is sound, and its own tests cover it.

use super::support::{House, kari, matched, ola, reports, shipped, shipped_dir};
use crate::policy::{PolicySet, report};
use crate::target::Target;

#[test]
fn the_shipped_set_loads_without_a_warning_and_its_tests_cover_it() {
    let loaded = PolicySet::load(shipped_dir(), &["projects".into()]).unwrap_or_else(|faults| {
        panic!("{}", reports(&faults));
    });
    assert!(loaded.warnings.is_empty(), "{}", reports(&loaded.warnings));
    let tests = loaded.set.run_tests();
    let printed = report::print_tests(&tests);
    assert!(tests.passed(), "{printed}");
    assert!(tests.warnings.is_empty(), "{printed}");
    assert!(tests.count >= 40, "{printed}");
    let sum = format!(
        "{} passed, 0 failed\n4 of 4 rules, 15 of 15 routes are touched\n",
        tests.count
    );
    assert_eq!(printed, sum);
}

#[test]
fn routes_are_found_as_the_demo_needs_them() {
    let set = shipped();
    for (line, label, action) in [
        ("GET /", "GET /", "list"),
        ("GET /assets/style.css", "GET /assets/**", "public"),
        ("GET /projects", "GET /projects", "list"),
        ("HEAD /projects/1", "GET /projects/{project}/**", "read"),
        (
            "GET /projects/1/tasks",
            "GET /projects/{project}/**",
            "read",
        ),
        (
            "GET /projects/1/download?bytes=9",
            "GET /projects/{project}/**",
            "read",
        ),
        (
            "POST /projects/1/tasks",
            "* /projects/{project}/**",
            "write",
        ),
        ("OPTIONS /projects/1", "* /projects/{project}/**", "write"),
        ("DELETE /projects/1", "* /projects/{project}/**", "write"),
        (
            "POST /projects/1/copy",
            "POST /projects/{project}/copy",
            "copy",
        ),
        ("GET /projects/1/copy", "GET /projects/{project}/**", "read"),
        (
            "GET /projects/1/live",
            "GET /projects/{project}/live",
            "write",
        ),
        ("PATCH /tasks/5", "* /tasks/{task}/**", "write"),
        ("GET /tasks/5/", "GET /tasks/{task}/**", "read"),
        ("POST /echo", "POST /echo", "list"),
    ] {
        let matched = matched(&set, line);
        assert_eq!(matched.route().label(), label, "{line}");
        assert_eq!(matched.route().action(), action, "{line}");
    }
    for line in [
        "GET /projects/",
        "POST /",
        "GET /tasks",
        "PUT /echo",
        "GET /Projects/1",
    ] {
        let target = Target::from_line(line).unwrap();
        assert!(set.route(&target, "localhost").is_none(), "{line}");
    }
    let live = matched(&set, "GET /projects/1/live");
    assert!(live.route().upgrades());
    let upload = matched(&set, "POST /projects/1/upload");
    assert_eq!(upload.route().body_limit(), Some(2 << 30));
    let copy = matched(&set, "POST /projects/1/copy");
    assert!(copy.route().copies() && copy.route().learns() && copy.route().learn_needs_body());
    assert_eq!(copy.landing("7").as_deref(), Some("/projects/7"));
    assert_eq!(upload.landing("7"), None);
}

#[tokio::test]
async fn a_task_of_another_project_does_not_slip_through_under_ones_own() {
    let house = House::shipped();
    house.application.task(5, 1);
    house.application.task(6, 2);
    let own = house.decide(&kari(), "POST /projects/1/tasks/5").await;
    assert!(own.is_allowed());
    assert_eq!(own.resources.len(), 2);
    for line in [
        "POST /projects/1/tasks/6",
        "POST /projects/1/tasks/6/",
        "POST /projects/1/tasks/6/done",
    ] {
        let foreign = house.decide(&kari(), line).await;
        assert!(!foreign.is_allowed(), "{line}");
    }
    let under = house.decide(&ola(), "POST /projects/2/tasks/5").await;
    assert!(!under.is_allowed());
}

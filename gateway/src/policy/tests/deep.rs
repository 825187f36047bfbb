//! Texts that nest deep: refused with their place, and never the end of the process.

use std::path::Path;
use std::sync::Arc;
use std::thread;

use super::support::{faults, kari, matched, set};
use crate::config::fault::Source;
use crate::policy::nesting::{self, Language, MAX_NESTING};
use crate::policy::resource::Record;

/// What a worker runs on (the default of `std::thread`).
const WORKER_STACK: usize = 2 << 20;

/// Expressions that hold `depth` levels, each with the opening that repeats.
fn deep(opening: &str, middle: &str, closing: &str, depth: usize) -> String {
    let (before, after) = (opening.repeat(depth), closing.repeat(depth));
    format!("permit (principal, action, resource)\nwhen {{ {before}{middle}{after} }};")
}

const SHAPES: [(&str, &str, &str); 10] = [
    ("(", "true", ")"),
    ("!(", "true", ")"),
    ("[", "true", "].contains(true)"),
    ("if ", "true", " then true else false"),
    ("if false then true else ", "true", ""),
    ("principal == principal && ", "true", ""),
    ("{ a: ", "true", " }.a"),
    ("!", "true", ""),
    ("if 1 + 1 == 2 then true else ", "true", ""),
    ("principal.company == principal.company && (", "true", ")"),
];

#[test]
fn what_nests_too_deep_is_refused_at_its_place() {
    for (opening, middle, closing) in SHAPES {
        for depth in [40, 3_000, 30_000] {
            let rules = deep(opening, middle, closing, depth);
            for file in ["projects.cedar", "invariants.cedar"] {
                let found = faults(&[(file, &rules)]);
                let place = format!("{file}:2:");
                let told = found.iter().find(|f| f.contains("operators deep"));
                assert!(told.unwrap().starts_with(&place), "{opening}: {found:#?}");
            }
        }
    }
    for (opening, closing) in [("Set<", ">"), ("{ a: ", " }")] {
        let (before, after) = (opening.repeat(3_000), closing.repeat(3_000));
        let schema = format!("entity Company;\ntype T = {before}Long{after};");
        let found = faults(&[("schema.cedarschema", &schema)]);
        let told = found.iter().find(|f| f.contains("operators deep"));
        assert!(
            told.unwrap().starts_with("schema.cedarschema:2:"),
            "{found:#?}"
        );
    }
}

#[test]
fn toml_that_nests_too_deep_is_refused_too() {
    for text in [
        format!("x = {}{}", "[".repeat(30_000), "]".repeat(30_000)),
        format!("x = {}{}", "{ a = ".repeat(30_000), "}".repeat(30_000)),
        format!("{}a = 1", "a.".repeat(30_000)),
        format!("[{}a]", "a.".repeat(30_000)),
    ] {
        for file in ["routes.toml", "tests/a.toml"] {
            assert!(!faults(&[(file, &text)]).is_empty());
        }
    }
    let match_ = format!("GET {}", "/a".repeat(30_000));
    let routes = format!("[[route]]\nmatch = \"{match_}\"\npublic = true");
    assert!(!faults(&[("routes.toml", &routes)]).is_empty());
}

/// The deepest expression of a shape that the measure lets through.
fn deepest(shape: (&str, &str, &str)) -> String {
    let passes = |rules: &String| {
        let source = Source::new(Path::new("projects.cedar"), rules.as_str());
        nesting::check(&source, Language::Rules).is_ok()
    };
    let (opening, middle, closing) = shape;
    (1..=MAX_NESTING)
        .map(|depth| deep(opening, middle, closing, depth))
        .take_while(passes)
        .last()
        .unwrap()
}

#[test]
fn what_passes_is_evaluated_on_a_workers_stack() {
    // `!` alone is refused beyond four.
    for shape in SHAPES.into_iter().filter(|(opening, ..)| *opening != "!") {
        let set = set(&[("projects.cedar", &deepest(shape))]);
        let action = set.rules.action("read").unwrap();
        let read = matched(&set, "GET /projects/1");
        let (project, _) = read.named().next().unwrap();
        let record = Arc::new(Record {
            kind: project.kind,
            id: "1".into(),
            label: project.label("1"),
            company: "fjord".into(),
            owner: Some("u-kari".into()),
            learned: false,
        });
        let evaluating = thread::Builder::new()
            .stack_size(WORKER_STACK)
            .spawn(move || set.find(&kari(), action, Some(&record), &[]));
        let finding = evaluating.unwrap().join().unwrap();
        // A rule that could not be evaluated would be named, and deny.
        assert_eq!(finding.allow, finding.rule.is_some(), "{shape:?}");
    }
}

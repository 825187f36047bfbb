//! Which files make a set: all of them, or there is none.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::support::{faults, folder, reports, routes_with};
use crate::policy::PolicySet;

/// What is wrong with the shipped folder after a change to it.
fn after(change: impl FnOnce(&Path)) -> String {
    let dir = folder(&[]);
    change(dir.path());
    match PolicySet::load(dir.path(), &[]) {
        Ok(_) => String::new(),
        Err(faults) => reports(&faults).replace(&*dir.path().to_string_lossy(), "DIR"),
    }
}

#[track_caller]
fn assert_fault(told: &str, expected: &str) {
    assert!(told.contains(expected), "`{expected}` is not in: {told}");
}

#[test]
fn a_folder_without_its_files_is_a_fault_that_names_it() {
    let dir = tempfile::tempdir().unwrap();
    let told = reports(&PolicySet::load(dir.path(), &[]).unwrap_err());
    let shown = dir.path().display();
    for name in ["routes.toml", "schema.cedarschema"] {
        assert_fault(
            &told,
            &format!("the policy folder `{shown}` has no `{name}`"),
        );
    }
    let none = dir.path().join("none");
    let told = reports(&PolicySet::load(&none, &[]).unwrap_err());
    assert_fault(
        &told,
        &format!("cannot read the policy folder `{}`", none.display()),
    );
}

#[test]
fn what_is_called_like_a_policy_file_and_is_none_is_a_fault() {
    for name in ["forbid.cedar", "routes.toml", "tests/a.toml", "other.toml"] {
        let expected = format!("`DIR/{name}` is called like a policy file, but is none");
        let told = after(|dir| {
            let _ = fs::remove_file(dir.join(name));
            symlink("nowhere", dir.join(name)).unwrap();
        });
        assert_fault(&told, &expected);
        let told = after(|dir| {
            let _ = fs::remove_file(dir.join(name));
            fs::create_dir(dir.join(name)).unwrap();
        });
        assert_fault(&told, &expected);
    }
}

#[test]
fn a_policy_file_that_would_not_be_read_is_a_fault() {
    for name in [
        "more/forbid.cedar",
        "more/a/b/forbid.cedar",
        "tests/more/a.toml",
    ] {
        let told = after(|dir| {
            fs::create_dir_all(dir.join(name).parent().unwrap()).unwrap();
            fs::write(dir.join(name), "").unwrap();
        });
        assert_fault(&told, &format!("`DIR/{name}` would not be read"));
    }
    let told = after(|dir| {
        fs::create_dir(dir.join(".hidden")).unwrap();
        fs::write(dir.join(".hidden/forbid.cedar"), "").unwrap();
        symlink(".hidden", dir.join("more")).unwrap();
    });
    assert_fault(&told, "`DIR/more/forbid.cedar` would not be read");
}

#[test]
fn a_mounted_secret_and_a_circle_of_links_are_no_fault() {
    let told = after(|dir| {
        fs::create_dir(dir.join("..2026")).unwrap();
        symlink("..2026", dir.join("..data")).unwrap();
        fs::rename(dir.join("routes.toml"), dir.join("..2026/routes.toml")).unwrap();
        symlink("..data/routes.toml", dir.join("routes.toml")).unwrap();
        fs::create_dir(dir.join("docs")).unwrap();
        symlink("..", dir.join("docs/up")).unwrap();
        symlink("docs", dir.join("tests/docs")).unwrap();
    });
    assert_eq!(told, "");
}

#[test]
fn what_is_no_text_is_told_with_its_name() {
    let told = after(|dir| fs::write(dir.join("forbid.cedar"), b"// \xff").unwrap());
    assert_fault(&told, "cannot read `DIR/forbid.cedar`");
    let name = Path::new(std::ffi::OsStr::from_bytes(b"forbid\xff.cedar"));
    let told = after(|dir| fs::write(dir.join(name), "").unwrap());
    assert_fault(&told, "is no UTF-8 text");
}

#[test]
fn whatever_a_file_is_called_what_is_wrong_in_it_is_told() {
    let wrong = "permit (principal, action, resource) when { principal.nothing };";
    for name in [
        "a:b.cedar",
        "a:1.cedar",
        "7.cedar",
        "\u{e6}.cedar",
        "a\nb.cedar",
    ] {
        let found = faults(&[(name, wrong)]);
        assert!(!found.is_empty(), "{name:?}");
    }
    let found = faults(&[("a:1.cedar", wrong)]);
    assert!(found[0].starts_with("a:1.cedar:1:"), "{found:#?}");
}

#[test]
fn a_context_that_an_action_needs_is_given_by_every_route_of_it() {
    let schema = |context: &str| {
        format!(
            "entity Company; entity User = {{ company: Company }}; entity Project = {{ company: Company, owner: User }};
             action read, copy, write appliesTo {{ principal: User, resource: Project }};
             action list, create appliesTo {{ principal: User, resource: Company{context} }};"
        )
    };
    let load = |context| {
        faults(&[
            ("schema.cedarschema", &schema(context)),
            ("projects.cedar", ""),
            ("invariants.cedar", ""),
        ])
    };
    let found = load(", context: { from: String }");
    assert_eq!(found.len(), 5, "{found:#?}");
    let told = |fault: &String| {
        fault.starts_with("routes.toml:")
            && fault.contains("the schema wants `from` in the context")
    };
    assert!(found.iter().all(told), "{found:#?}");
    assert_eq!(load(", context: { from?: String }"), [""; 0]);
    assert_eq!(load(", context: {}"), [""; 0]);
}

#[test]
fn the_digest_is_over_every_policy_file_and_no_other() {
    let digest = |files: &[(&str, &str)]| {
        let loaded = PolicySet::load(folder(files).path(), &[]).unwrap();
        loaded.set.digest().to_owned()
    };
    let plain = digest(&[]);
    assert_eq!(plain.len(), 64);
    assert_eq!(digest(&[]), plain);
    assert_eq!(digest(&[("README.md", "x")]), plain);
    for changed in [
        digest(&[("more.cedar", "")]),
        digest(&[("tests/a.toml", "")]),
        digest(&[("tests/a.toml", "# x")]),
        digest(&[("routes.toml", &routes_with("30s", "31s"))]),
        digest(&[("invariants.cedar", "")]),
    ] {
        assert_ne!(changed, plain);
    }
}

#[test]
fn a_file_that_is_not_read_is_told() {
    let loaded = PolicySet::load(folder(&[("rules.ceder", "")]).path(), &[]).unwrap();
    assert!(reports(&loaded.warnings).contains("rules.ceder` is no policy file"));
}

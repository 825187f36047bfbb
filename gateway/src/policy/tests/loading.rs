//! A policy set loads whole or not at all, and every fault is told at its place.

use super::support::{faults, folder, reports, routes_with};
use crate::policy::{PolicySet, report};

const RESOURCE: &str = r#"
[resource.project]
facts = [{ from = "upstream", get = "/projects/{id}", company = "/c", owner = "/o" }]
"#;

/// The faults of a route table: the routes begin in line 5 of it.
fn route_faults(routes: &str) -> Vec<String> {
    faults(&[("routes.toml", &format!("{RESOURCE}\n{routes}"))])
}

#[track_caller]
fn assert_route_fault(routes: &str, expected: &str) {
    let found = route_faults(routes);
    assert!(
        found.iter().any(|fault| fault.contains(expected)),
        "`{expected}` is not among {found:#?}"
    );
}

#[test]
fn every_fault_of_every_file_is_told_at_once_with_its_place() {
    let routes = r#"
[resource.project]
facts = [{ from = "upstream", get = "/projects", company = "company_id", owner = "/o" }]
cache = "soon"
cash = "30s"

[[route]]
match = "GET /projects/{projet}/**"
action = "reed"

[[route]]
match = "get /projects"
action = "list"
resource = "company"
"#;
    let rules = "permit (principal, action, resource) when { principal.name == 1 };\npermit (principal, action == Action::\"fly\", resource);\n";
    let found = faults(&[
        ("routes.toml", routes),
        ("projects.cedar", rules),
        ("other.cedar", "\n permit (principal, action resource);"),
    ]);
    for expected in [
        "routes.toml:3:37: `/projects` has no `{id}`",
        "routes.toml:3:60: `company_id` is no JSON pointer: it begins with `/`",
        "routes.toml:4:9: `soon` is no duration",
        "routes.toml:5:1: [resource.project] has no key `cash`",
        "routes.toml:8:9: there is no [resource.projet]",
        "routes.toml:9:10: the schema has no action `reed`",
        "routes.toml:12:10: `get` is no method; write it in capitals, or `*` for all",
        "projects.cedar:1:45: ",
        "projects.cedar:2:",
        "other.cedar:2:28: unexpected token `resource`",
    ] {
        assert!(
            found.iter().any(|fault| fault.starts_with(expected)),
            "`{expected}` is not among {found:#?}"
        );
    }
}

#[test]
fn broken_toml_and_a_broken_schema_are_told_alone() {
    let found = faults(&[("routes.toml", "[[route]\nmatch = 1\n")]);
    assert!(
        found
            .iter()
            .all(|fault| fault.starts_with("routes.toml:1:")),
        "{found:#?}"
    );
    assert!(!found.is_empty());
    let found = faults(&[(
        "schema.cedarschema",
        "entity Company;\nentity User = { company: Firm };",
    )]);
    assert!(
        found
            .iter()
            .all(|fault| fault.starts_with("schema.cedarschema:2:")),
        "{found:#?}"
    );
    assert!(!found.is_empty());
}

#[test]
fn routes_that_cannot_be_meant_are_faults() {
    for (routes, expected) in [
        (
            "[[route]]\nmatch = \"GET /x\"\nresource = \"company\"",
            "routes.toml:5:1: this [[route]] has neither `action` nor `public = true`",
        ),
        (
            "[[route]]\naction = \"list\"",
            "this [[route]] has no `match`",
        ),
        (
            "[[route]]\nmatch = \"GET /x\"\naction = \"list\"",
            "the path names no resource",
        ),
        (
            "[[route]]\nmatch = \"GET /projects/{project}\"\naction = \"list\"\nresource = \"company\"",
            "the path names a resource, which would not be judged",
        ),
        (
            "[[route]]\nmatch = \"GET /projects/{project}\"\naction = \"list\"",
            "does not let a `User` do `list` to a `Project`",
        ),
        (
            "[[route]]\nmatch = \"GET /x\"\naction = \"write\"\nresource = \"company\"",
            "does not let a `User` do `write` to a `Company`",
        ),
        (
            "[[route]]\nmatch = \"GET /x\"\naction = \"list\"\nresource = \"company\"\nupstream = \"project\"",
            "no upstream is called `project`",
        ),
        (
            "[[route]]\nmatch = \"GET /x\"\npublic = true\naction = \"read\"",
            "leave `action` out",
        ),
        (
            "[[route]]\nmatch = \"GET /x\"\npublic = 1",
            "`public` is `true` or `false`, not `integer`",
        ),
        (
            "[[route]]\nmatch = \"POST /projects/{project}\"\naction = \"write\"\nupgrade = \"websocket\"",
            "a WebSocket opens with `GET`",
        ),
        (
            "[[route]]\nmatch = \"GET /projects/{project}\"\naction = \"write\"\nupgrade = \"h2c\"",
            "`h2c` is no upgrade",
        ),
        (
            "[[route]]\nmatch = \"POST /projects/{project}/**\"\naction = \"copy\"\ncopy = { of = \"project\", land = \"/projects/{id}\" }",
            "a copy is a `POST` whose path names one `{project}` and nothing else",
        ),
        (
            "[[route]]\nmatch = \"POST /x\"\naction = \"create\"\nresource = \"company\"\nlearn = { project = \"json:/id\" }",
            "nothing reads what is learned of a `project`",
        ),
        (
            "[[route]]\nmatch = \"GET /x\"\npublic = true\nhosts = [\"A.example\"]",
            "`A.example` is no host name",
        ),
        (
            "[[route]]\nmatch = \"GET /x\"\npublic = true\nbody_limit = \"1.5MB\"",
            "`1.5MB` is no size",
        ),
        (
            "[[route]]\nmatch = \"GET /x\"\npublic = true\nraeson = \"x\"",
            "has no key `raeson`",
        ),
        ("[routes]\n", "`routes.toml` has no key `routes`"),
    ] {
        assert_route_fault(routes, expected);
    }
}

#[test]
fn a_misspelt_action_is_told_the_nearest() {
    let dir = folder(&[(
        "routes.toml",
        &routes_with("action   = \"create\"", "action = \"creat\""),
    )]);
    let faults = PolicySet::load(dir.path(), &[]).unwrap_err();
    let told = reports(&faults);
    assert!(told.contains("did you mean `create`?"), "{told}");
}

#[test]
fn equally_specific_and_shadowed_routes_name_both_lines() {
    assert_route_fault(
        "[[route]]\nmatch = \"GET /projects/{project}\"\naction = \"read\"\n\n[[route]]\nmatch = \"GET /projects/*\"\naction = \"list\"\nresource = \"company\"",
        "routes.toml:10:9: `GET /projects/*` is exactly as specific as `GET /projects/{project}` in line 6",
    );
    assert_route_fault(
        "[[route]]\nmatch = \"GET /a/**\"\npublic = true\n[[route]]\nmatch = \"GET /a/*/**\"\npublic = true\n[[route]]\nmatch = \"GET /a\"\npublic = true\n[[route]]\nmatch = \"GET /a/\"\npublic = true",
        "routes.toml:6:9: `GET /a/**` never matches: before it comes `GET /a/*/**` in line 9",
    );
}

#[test]
fn suspicious_routes_need_a_reason() {
    for suspicious in [
        "[[route]]\nmatch = \"PUT /projects/{project}\"\naction = \"write\"\n[[route]]\nmatch = \"PUT /**\"\naction = \"create\"\nresource = \"company\"\n",
        "[[route]]\nmatch = \"* /projects/{project}\"\naction = \"write\"\n[[route]]\nmatch = \"GET /projects/**\"\naction = \"list\"\nresource = \"company\"\n",
        "[[route]]\nmatch = \"* /projects/{project}\"\naction = \"write\"\nhosts = [\"a.example\"]\n[[route]]\nmatch = \"* /projects/*/**\"\naction = \"create\"\nresource = \"company\"\nhosts = [\"a.example\"]\n",
        "[[route]]\nmatch = \"PUT /projects/{project}/in/{project}\"\naction = \"write\"\n[[route]]\nmatch = \"* /projects/{project}/**\"\naction = \"write\"\n",
        "[[route]]\nmatch = \"POST /projects/{project}/search\"\naction = \"read\"\n",
        "[[route]]\nmatch = \"* /projects/{project}/search\"\naction = \"read\"\n",
        "[[route]]\nmatch = \"DELETE /x\"\naction = \"list\"\nresource = \"company\"\n",
        "[[route]]\nmatch = \"GET /projects/{project}/live\"\naction = \"read\"\nupgrade = \"websocket\"\n",
        "[[route]]\nmatch = \"GET /projects/{project}\"\naction = \"read\"\n[[route]]\nmatch = \"GET /**\"\npublic = true\n",
        "[[route]]\nmatch = \"GET /projects/{project}\"\naction = \"read\"\n[[route]]\nmatch = \"* /projects/*/logo\"\npublic = true\n[[route]]\nmatch = \"GET /*/{project}/**\"\naction = \"read\"\n",
    ] {
        let found = route_faults(suspicious);
        assert_eq!(found.len(), 1, "{suspicious}: {found:#?}");
        let blank = suspicious.replace("public = true\n", "public = true\nreason = \" \"\n");
        assert_eq!(route_faults(&blank).len(), 1, "{suspicious}");
        let reasoned = suspicious.replace("[[route]]\n", "[[route]]\nreason = \"a reason\"\n");
        assert_eq!(route_faults(&reasoned), [""; 0]);
    }
    for fine in [
        "[[route]]\nmatch = \"PROPFIND /projects/{project}/**\"\naction = \"read\"\n",
        "[[route]]\nmatch = \"GET /projects/{project}\"\naction = \"write\"\n",
        "[[route]]\nmatch = \"GET /projects/{project}\"\naction = \"read\"\n[[route]]\nmatch = \"* /projects/{project}/**\"\naction = \"write\"\n",
        "[[route]]\nmatch = \"GET /projects/{project}\"\naction = \"read\"\n[[route]]\nmatch = \"PUT /**\"\naction = \"create\"\nresource = \"company\"\n",
        "[[route]]\nmatch = \"GET /projects/{project}\"\naction = \"read\"\n[[route]]\nmatch = \"GET /assets/**\"\npublic = true\n",
    ] {
        assert_eq!(route_faults(fine), [""; 0], "{fine}");
    }
}

#[test]
fn resources_that_cannot_be_meant_are_faults() {
    let ask = "from = \"upstream\", get = \"/x/{id}\"";
    for (resources, expected) in [
        (
            "[resource.project]\nid = \"[0-9]+\"",
            "`project` has no source of facts",
        ),
        (
            "[resource.project]\nfacts = []",
            "`project` has no source of facts",
        ),
        (
            &format!("[resource.project]\nfacts = [{{ {ask}, company = \"/c\" }}]\nid = \"[\""),
            "`[` is no regular expression",
        ),
        (
            &format!(
                "[resource.project]\nfacts = [{{ {ask}, company = \"/c\" }}]\nid = \"[1-9][0-9]*)|(?:x\""
            ),
            "routes.toml:3:6: `[1-9][0-9]*)|(?:x` is no regular expression",
        ),
        (
            &format!("[resource.task]\nparent = {{ project = {{ {ask}, id = \"/p\" }} }}"),
            "there is no [resource.project]",
        ),
        (
            &format!("[resource.task]\nparent = {{ task = {{ {ask}, id = \"/p\" }} }}"),
            "nothing decides over `task`: neither it nor what it lies in has facts",
        ),
        (
            &format!(
                "[resource.a]\nparent = {{ b = {{ {ask}, id = \"/p\" }} }}\n[resource.b]\nparent = {{ a = {{ {ask}, id = \"/p\" }} }}"
            ),
            "nothing decides over `a`: neither it nor what it lies in has facts",
        ),
        (
            &format!("[resource.company]\nfacts = [{{ {ask}, company = \"/c\" }}]"),
            "`company` is taken: rules know it as `Company`",
        ),
        (
            &format!("[resource.folder]\nfacts = [{{ {ask}, company = \"/c\" }}]"),
            "the gateway's `Folder` does not fit the schema",
        ),
        (
            &format!("[resource.project]\nfacts = [{{ {ask}, company = \"/c\", as = \"root\" }}]"),
            "`root` cannot ask: `gateway` or `caller`",
        ),
        (
            &format!(
                "[resource.project]\nfacts = [{{ {ask}, company = \"/c\", upstream = \"x\" }}]"
            ),
            "no upstream is called `x`",
        ),
        (
            "[resource.project]\nfacts = [{ from = \"heaven\" }]",
            "`heaven` is no source of facts",
        ),
    ] {
        let found = faults(&[("routes.toml", resources)]);
        assert!(
            found.iter().any(|fault| fault.contains(expected)),
            "`{expected}` is not among {found:#?}"
        );
    }
}

#[test]
fn things_lie_at_most_eight_deep() {
    let chain = |length: usize| {
        let mut text = RESOURCE.to_owned();
        let mut parent = "project".to_owned();
        for depth in 1..=length {
            // Named so that the innermost is resolved last and first in turn.
            let name = format!("{}{depth}", if depth % 2 == 0 { "a" } else { "z" });
            text.push_str(&format!(
                "[resource.{name}]\nparent = {{ {parent} = {{ from = \"upstream\", get = \"/x/{{id}}\", id = \"/p\" }} }}\n"
            ));
            parent = name;
        }
        faults(&[("routes.toml", &text)])
    };
    assert_eq!(chain(8), [""; 0]);
    let found = chain(9);
    assert!(
        found.iter().any(|f| f.contains("at most 8 deep")),
        "{found:#?}"
    );
}

#[test]
fn a_schema_without_roles_or_an_owner_fits_and_one_that_asks_for_more_does_not() {
    let schema = |user: &str, project: &str| {
        format!(
            "entity Company; entity User = {{ company: Company{user} }}; entity Project = {{ company: Company{project} }};
             action read, copy, write appliesTo {{ principal: User, resource: Project }};
             action list, create appliesTo {{ principal: User, resource: Company }};"
        )
    };
    let load = |user, project| {
        faults(&[
            ("schema.cedarschema", &schema(user, project)),
            ("projects.cedar", ""),
            ("invariants.cedar", ""),
        ])
    };
    assert_eq!(load("", ""), [""; 0]);
    assert_eq!(load(", suspended: Bool", ", owner: User"), [""; 0]);
    let found = load(", phone: String", ", colour: String");
    assert!(
        found.iter().any(|f| f.contains("`User` does not fit")),
        "{found:#?}"
    );
    let found = load("", ", colour: String");
    assert!(
        found.iter().any(|f| f.contains("`Project` does not fit")),
        "{found:#?}"
    );
}

#[test]
fn two_rules_in_one_line_have_two_names() {
    let rules = "permit (principal, action, resource is Project); forbid (principal, action, resource is Project);";
    let tests = r#"
[[test]]
as = { user = "u", company = "c" }
request = "GET /projects/1"
facts = { "Project::1" = { company = "c" } }
expect = "deny"
by = "projects.cedar:1:50"
"#;
    let dir = folder(&[("projects.cedar", rules), ("tests/a.toml", tests)]);
    let loaded = PolicySet::load(dir.path(), &[]).unwrap();
    let tests = loaded.set.run_tests();
    assert!(tests.passed(), "{}", report::print_tests(&tests));
}

#[test]
fn a_template_decides_nothing_and_is_a_fault() {
    let found = faults(&[(
        "a.cedar",
        "permit (principal == ?principal, action, resource);",
    )]);
    assert!(
        found
            .iter()
            .any(|f| f.starts_with("a.cedar:1:1: a rule with `?principal`")),
        "{found:#?}"
    );
}

#[test]
fn invariants_are_checked_but_are_no_rules() {
    let found = faults(&[(
        "invariants.cedar",
        "\npermit (principal, action, resource) when { resource.nothing };",
    )]);
    assert!(
        found.iter().any(|f| f.starts_with("invariants.cedar:2:")),
        "{found:#?}"
    );
    let dir = folder(&[]);
    std::fs::remove_file(dir.path().join("invariants.cedar")).unwrap();
    let loaded = PolicySet::load(dir.path(), &[]).unwrap();
    assert!(reports(&loaded.warnings).contains("nothing says what must never be allowed"));
}

//! Values of a request that rules read, fields of the query, and resources that are made.

use http::HeaderMap;

use super::reading::with_route;
use super::support::{House, faults, kari, matched, nils, ola, set, shipped_dir};
use crate::policy::{Decision, Lookups, PolicySet, Sent, Unreadable};
use crate::principal::Principal;
use std::sync::Arc;

const CONTEXT: &str =
    "{ new_owner?: String, count?: Long, flag?: Bool, tags?: Set<String>, odd?: User }";

const ROUTE: &str = r#"match = "PATCH /give/{project}"
action = "write"
reason = "nothing lies below"
context = { new_owner = "json:/project/owner?", count = "query:n?", flag = "json:/flag?", tags = "json:/tags/*?" }"#;

const RULES: &str = r#"
permit (principal, action in [Action::"read", Action::"copy"], resource is Project)
when { resource.company == principal.company };
permit (principal, action == Action::"write", resource is Project)
when { resource.owner == principal };
permit (principal, action in [Action::"list", Action::"create"], resource is Company);
forbid (principal, action == Action::"write", resource)
when { context has new_owner && context.new_owner != "u-kari" };
forbid (principal, action == Action::"write", resource)
when { context has count && context.count > 5 };
forbid (principal, action == Action::"write", resource)
when { context has flag && context.flag };
forbid (principal, action == Action::"write", resource)
when { context has tags && context.tags.contains("secret") };
"#;

fn schema(context: &str) -> String {
    let shipped = std::fs::read_to_string(shipped_dir().join("schema.cedarschema")).unwrap();
    let (before, _) = shipped.split_once("// On one project.").unwrap();
    format!(
        "{before}
action read, copy appliesTo {{ principal: User, resource: Project }};
action write appliesTo {{ principal: User, resource: Project, context: {context} }};
action list, create appliesTo {{ principal: User, resource: Company }};"
    )
}

fn house() -> House {
    let house = House::new(set(&[
        ("schema.cedarschema", &schema(CONTEXT)),
        ("projects.cedar", RULES),
        ("routes.toml", &with_route(ROUTE)),
    ]));
    house.application.project(1, "fjord", "u-kari");
    house.application.project(2, "fjord", "u-ola");
    house
}

async fn ask(
    house: &House,
    who: &Arc<Principal>,
    line: &str,
    body: &str,
) -> Result<Decision, Unreadable> {
    let mut matched = matched(&house.set, line);
    let mut headers = HeaderMap::new();
    headers.insert("content-type", "application/json".parse().unwrap());
    matched.read(Sent {
        headers: &headers,
        scheme: "https",
        authority: "localhost",
        body: body.as_bytes(),
    })?;
    let lookups: Arc<dyn Lookups> = house.application.clone();
    let deciding = house.authoriser.decide(&house.set, who, &matched, &lookups);
    Ok(deciding.await.unwrap())
}

#[tokio::test]
async fn a_value_in_the_request_can_forbid_it() {
    let house = house();
    for (query, body, expected) in [
        ("", "{}", Some(true)),
        ("", r#"{"project":{"owner":"u-kari"}}"#, Some(true)),
        ("", r#"{"project":{"owner":"u-ola"}}"#, Some(false)),
        ("", r#"{"project":{"owner":"u-kari"}}"#, Some(true)),
        ("", r#"{"project":{"owner":7}}"#, Some(false)),
        (
            "",
            r#"{"project":{"owner":"u-kari","owner":"u-kari"}}"#,
            Some(true),
        ),
        (
            "",
            r#"{"project":{"owner":"u-kari","owner":"u-ola"}}"#,
            None,
        ),
        (
            "",
            r#"{"project":{"owner":"u-kari"},"Project":{"owner":"u-ola"}}"#,
            None,
        ),
        ("", r#"{"project":{"owner":true}}"#, None),
        ("", r#"{"project":{"owner":["u-kari"]}}"#, None),
        ("?n=5", "{}", Some(true)),
        ("?n=6", "{}", Some(false)),
        ("?n=5&n=6", "{}", None),
        ("?n=05", "{}", None),
        ("?n=x", "{}", None),
        ("", r#"{"flag":false}"#, Some(true)),
        ("", r#"{"flag":true}"#, Some(false)),
        ("", r#"{"flag":1}"#, None),
        ("", r#"{"tags":["a","b"]}"#, Some(true)),
        ("", r#"{"tags":["a","secret"]}"#, Some(false)),
        ("", r#"{"tags":["a"],"tags":["secret"]}"#, Some(false)),
        ("", r#"{"tags":[]}"#, Some(true)),
    ] {
        let found = ask(&house, &kari(), &format!("PATCH /give/1{query}"), body).await;
        let found = found.map(|decision| decision.is_allowed()).ok();
        assert_eq!(found, expected, "{query} {body}");
    }
    let unread = house.decide(&kari(), "PATCH /give/1").await;
    assert!(!unread.is_allowed());
    let refused = ask(&house, &ola(), "PATCH /give/1", "{}").await.unwrap();
    assert!(matches!(
        refused.verdict,
        crate::policy::Verdict::Deny(crate::policy::Denied::Visible { .. })
    ));
}

#[test]
fn a_context_that_does_not_fit_the_schema_is_told_in_its_line() {
    for (context, given, expected) in [
        (
            CONTEXT,
            "{ new_ovner = \"json:/a?\" }",
            "has no `new_ovner` in its `context`",
        ),
        (
            CONTEXT,
            "{ odd = \"json:/a?\" }",
            "`odd` is a `String`, `Long`, `Bool`",
        ),
        (
            CONTEXT,
            "{ new_owner = \"cookie:a\" }",
            "`cookie:a` is no place",
        ),
        (
            "{ new_owner: String }",
            "{ new_owner = \"json:/a?\" }",
            "declare it as `new_owner?`",
        ),
        (
            "{ new_owner: String }",
            "{}",
            "the schema wants `new_owner`",
        ),
    ] {
        let route = format!(
            "match = \"PATCH /give/{{project}}/**\"\naction = \"write\"\ncontext = {given}"
        );
        let found = faults(&[
            ("schema.cedarschema", &schema(context)),
            ("projects.cedar", "permit (principal, action, resource);"),
            ("routes.toml", &with_route(&route)),
        ]);
        let told = found
            .iter()
            .any(|f| f.starts_with("routes.toml:") && f.contains(expected));
        assert!(told, "{given}: {found:#?}");
    }
}

fn filtered(set: &PolicySet, line: &str, who: &Principal) -> Result<Option<String>, u16> {
    let target = crate::target::Target::from_line(line).unwrap();
    let found = matched(set, line).filter_query(&target, Some(who));
    let found = found.map_err(|why| why.status().as_u16())?;
    Ok(found.map(|target| target.path_and_query().to_string()))
}

#[test]
fn only_named_query_fields_pass_and_the_gateway_sets_its_own() {
    let route = |query: &str| {
        format!(
            "match = \"GET /issues\"\naction = \"list\"\nresource = \"company\"\nquery = {query}"
        )
    };
    let allowing = set(&[(
        "routes.toml",
        &with_route(&route(r#"{ allow = ["status", "page"] }"#)),
    )]);
    for (query, expected) in [
        ("", Ok(None)),
        ("?status=open&page=2", Ok(None)),
        ("?status[]=a&status[]=b", Ok(None)),
        ("?company=tinde", Err(400)),
        ("?status=open&%63ompany=tinde", Err(400)),
        ("?status=open;company=tinde", Err(400)),
        ("?Status=open", Err(400)),
        ("?status=%zz", Err(400)),
    ] {
        let found = filtered(&allowing, &format!("GET /issues{query}"), &kari());
        assert_eq!(found, expected, "{query}");
    }
    let setting = set(&[(
        "routes.toml",
        &with_route(&route(
            r#"{ set = { company = "{company.id}", "f[by]" = "x {user.id}&" } }"#,
        )),
    )]);
    let set_to = "company=fjord&f%5Bby%5D=x%20u-kari%26";
    for (query, kept) in [
        ("", ""),
        ("?company=tinde", ""),
        (
            "?company=tinde&q=1%7e&company[]=x&COMPANY=y&%63ompany=z",
            "q=1%7e&",
        ),
        ("?q=1&f[by]=u-ola&f.by=u-ola&f%5bby%5D[]=u-ola", "q=1&"),
        ("?x=1;company=tinde&q=1", "q=1&"),
    ] {
        let found = filtered(&setting, &format!("GET /issues{query}"), &kari());
        assert_eq!(
            found,
            Ok(Some(format!("/issues?{kept}{set_to}"))),
            "{query}"
        );
    }
    for (query, expected) in [
        ("{}", "says neither `allow` nor `set`"),
        (
            "{ set = { a = \"{company.secret}\" } }",
            "`{company.secret}` is unknown",
        ),
        ("{ set = { a = \"{\" } }", "does not end"),
        ("{ allw = [] }", "has no key `allw`"),
    ] {
        let found = faults(&[("routes.toml", &with_route(&route(query)))]);
        assert!(
            found.iter().any(|f| f.contains(expected)),
            "{query}: {found:#?}"
        );
    }
}

#[tokio::test]
async fn what_does_not_exist_yet_is_made_on_the_company_and_else_written() {
    let put = "match = \"PUT /named/{project}\"\naction = \"write\"\ncreates = true\nreason = \"nothing lies below\"";
    let routes = with_route(put).replace(
        "cache = \"30s\"",
        "cache = \"30s\"\nnegative_cache = \"30s\"",
    );
    let rules = format!(
        "{RULES}\nforbid (principal == User::\"u-nils\", action == Action::\"create\", resource);"
    );
    let rules = rules
        .split("forbid (principal, action")
        .next()
        .unwrap()
        .to_owned()
        + "forbid (principal == User::\"u-nils\", action == Action::\"create\", resource);";
    let house = House::new(set(&[("projects.cedar", &rules), ("routes.toml", &routes)]));
    house.application.project(1, "fjord", "u-kari");
    for (who, line, allowed) in [
        (kari(), "PUT /named/1", true),
        (ola(), "PUT /named/1", false),
        (ola(), "PUT /named/9", true),
        (nils(), "PUT /named/9", false),
        (nils(), "PUT /named/1", false),
        (ola(), "PUT /named/x", false),
    ] {
        let decision = house.decide(&who, line).await;
        assert_eq!(decision.is_allowed(), allowed, "{} {line}", who.id);
    }
    // Made by another since it was last asked for: what is cached does not decide.
    house.application.project(9, "fjord", "u-kari");
    assert!(!house.decide(&ola(), "PUT /named/9").await.is_allowed());
    for (route, expected) in [
        (
            "match = \"PUT /x\"\naction = \"create\"\nresource = \"company\"\ncreates = true",
            "that the path names",
        ),
        (
            "match = \"PUT /x\"\naction = \"write\"\nresource = { project = \"query:a\" }\ncreates = true",
            "that the path names",
        ),
    ] {
        let found = faults(&[("routes.toml", &with_route(route))]);
        assert!(
            found.iter().any(|f| f.contains(expected)),
            "{route}: {found:#?}"
        );
    }
}

#[tokio::test]
async fn an_answer_teaches_every_resource_that_it_names() {
    let route = "match = \"POST /projects/{project}/clone\"\naction = \"copy\"\nlearn = { project = [\"json:/id\", \"location:/projects/{id}\"] }";
    let house = House::new(set(&[("routes.toml", &with_route(route))]));
    house.application.project(1, "fjord", "u-kari");
    let headers = [("location", "/projects/8")];
    let line = "POST /projects/1/clone";
    let first = house
        .forward(&ola(), line, 201, &headers, r#"{"id":7}"#)
        .await;
    assert_eq!(first.as_deref(), Some("7"));
    for id in ["7", "8"] {
        let line = format!("PATCH /projects/{id}");
        assert!(house.decide(&ola(), &line).await.is_allowed(), "{line}");
    }
}

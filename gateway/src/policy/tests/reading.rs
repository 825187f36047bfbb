//! What a request names beyond its path: every reading of it is found, or it is refused.
//!
//! This file is long because its tables hold every spelling.

use http::HeaderMap;

use super::support::{House, faults, kari, matched, nils, ola, routes_with, set};
use crate::policy::{PolicySet, Sent};

/// Names of the resources that a request names, or the status that refuses it.
pub(super) fn read(
    set: &PolicySet,
    line: &str,
    headers: &[(&'static str, &str)],
    body: &[u8],
) -> Result<Vec<String>, u16> {
    let mut matched = matched(set, line);
    let mut fields = HeaderMap::new();
    for (name, value) in headers {
        fields.append(*name, value.parse().unwrap());
    }
    let sent = Sent {
        headers: &fields,
        scheme: "https",
        authority: "localhost:8443",
        body,
    };
    matched.read(sent).map_err(|why| why.status().as_u16())?;
    Ok(matched
        .named()
        .map(|(resource, id)| format!("{}:{}", resource.name, id.as_deref().unwrap_or("!")))
        .collect())
}

/// The shipped routes and one more.
pub(super) fn with_route(route: &str) -> String {
    routes_with("# Projects.", &format!("[[route]]\n{route}\n"))
}

fn reading(matches: &str, resource: &str) -> std::sync::Arc<PolicySet> {
    let route = format!("match = \"{matches}\"\naction = \"write\"\nresource = {resource}");
    set(&[("routes.toml", &with_route(&route))])
}

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");
const JSON: (&str, &str) = ("content-type", "application/json");
const XML: (&str, &str) = ("content-type", "application/xml; charset=UTF-8");
const PARTS: (&str, &str) = ("content-type", "multipart/form-data; boundary=x");

#[track_caller]
fn assert_names(found: Result<Vec<String>, u16>, expected: Result<&[&str], u16>, what: &str) {
    match (&found, expected) {
        (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{what}"),
        (Err(found), Err(expected)) => assert_eq!(*found, expected, "{what}"),
        _ => panic!("{what}: {found:?}, not {expected:?}"),
    }
}

#[test]
fn a_query_field_is_judged_with_every_value_under_every_spelling() {
    let set = reading("POST /move", r#"{ project = "query:project_id" }"#);
    for (query, expected) in [
        ("project_id=1", Ok(&["project:1"][..])),
        ("x=9&project_id=1", Ok(&["project:1"])),
        ("project_id=1&project_id=2", Ok(&["project:1", "project:2"])),
        ("project_id=1&project_id=1", Ok(&["project:1"])),
        (
            "project_id=1&project_id[]=2",
            Ok(&["project:1", "project:2"]),
        ),
        (
            "project_id[]=1&project_id[]=2",
            Ok(&["project:1", "project:2"]),
        ),
        (
            "project_id=1&project_id%5B0%5D=2",
            Ok(&["project:1", "project:2"]),
        ),
        (
            "project_id=1&%70roject%5Fid=2",
            Ok(&["project:1", "project:2"]),
        ),
        ("project_id=1&Project_ID=2", Ok(&["project:1", "project:2"])),
        ("project_id=1&project.id=2", Ok(&["project:1", "project:2"])),
        ("project_id=1&project+id=2", Ok(&["project:1", "project:2"])),
        (
            "project_id=1&+project_id=2",
            Ok(&["project:1", "project:2"]),
        ),
        (
            "project_id=1&x=y;project_id=2",
            Ok(&["project:1", "project:2"]),
        ),
        ("project_id=1;x=y", Ok(&["project:!", "project:1"])),
        ("project_id=1+2", Ok(&["project:!"])),
        ("project_id=%31", Ok(&["project:1"])),
        ("project_id=1%0a2", Ok(&["project:!"])),
        ("project_id=", Ok(&["project:!"])),
        ("project_id", Ok(&["project:!"])),
        ("", Err(400)),
        ("x=1", Err(400)),
        ("project_ids=1", Err(400)),
        ("Project_ID=1", Err(400)),
        ("project_id=1&x=%zz", Err(400)),
        ("project_id=%ff", Err(400)),
        ("project_id=1&project_id%00=2", Err(400)),
    ] {
        let line = format!("POST /move?{query}");
        assert_names(read(&set, &line, &[], b""), expected, query);
    }
}

#[test]
fn a_form_field_is_read_with_the_query_beside_it() {
    let set = reading("POST /issues", r#"{ project = "form:issue[project_id]" }"#);
    for (query, body, expected) in [
        ("", "issue%5Bproject_id%5D=1", Ok(&["project:1"][..])),
        ("", "issue[project_id]=1&issue[x]=3", Ok(&["project:1"])),
        (
            "",
            "issue[project_id]=1&issue[project_id][]=2",
            Ok(&["project:1", "project:2"]),
        ),
        (
            "",
            "issue[project_id]=1&issue.project_id=2",
            Ok(&["project:1", "project:2"]),
        ),
        (
            "?issue[project_id]=2",
            "issue[project_id]=1",
            Ok(&["project:1", "project:2"]),
        ),
        ("?issue[project_id]=2", "x=1", Err(400)),
        ("", "", Err(400)),
    ] {
        let line = format!("POST /issues{query}");
        assert_names(read(&set, &line, &[FORM], body.as_bytes()), expected, body);
    }
    for (headers, status) in [
        (&[JSON][..], 415),
        (&[], 415),
        (&[FORM, FORM], 415),
        (
            &[(
                "content-type",
                "application/x-www-form-urlencoded; charset=utf-7",
            )],
            415,
        ),
        (&[FORM, ("content-encoding", "gzip")], 415),
        (&[("content-type", "nonsense")], 415),
    ] {
        let found = read(&set, "POST /issues", headers, b"issue[project_id]=1");
        assert_names(found, Err(status), &format!("{headers:?}"));
    }
    let plain = [FORM, ("content-encoding", "identity")];
    let found = read(&set, "POST /issues", &plain, b"issue[project_id]=1");
    assert_names(found, Ok(&["project:1"]), "identity");
}

#[test]
fn json_is_judged_by_every_member_that_a_reader_may_take() {
    let set = reading(
        "PATCH /tasks",
        r#"{ project = "json:/tasks/*/project/id" }"#,
    );
    for (body, expected) in [
        (
            r#"{"tasks":[{"project":{"id":1}}]}"#,
            Ok(&["project:1"][..]),
        ),
        (
            r#"{"tasks":[{"project":{"id":"1"}},{"project":{"id":2}}]}"#,
            Ok(&["project:1", "project:2"]),
        ),
        (
            r#"{"tasks":{"a":{"project":{"id":1}}}}"#,
            Ok(&["project:1"]),
        ),
        (
            r#"{"tasks":[{"project":{"id":1,"id":2}}]}"#,
            Ok(&["project:1", "project:2"]),
        ),
        (
            r#"{"tasks":[{"project":{"id":1},"project":{"id":2}}]}"#,
            Ok(&["project:1", "project:2"]),
        ),
        (
            r#"{"tasks":[{"project":{"id":1}}],"tasks":[{"project":{"id":2}}]}"#,
            Ok(&["project:1", "project:2"]),
        ),
        (
            r#"{"tasks":[{"project":{"id":1,"\u0069d":2}}]}"#,
            Ok(&["project:1", "project:2"]),
        ),
        (
            r#"{"tasks":[{"project":{"id":1,"ID":2}}]}"#,
            Ok(&["project:1", "project:2"]),
        ),
        (
            "{\"task\u{17f}\":[{\"project\":{\"id\":2}}],\"tasks\":[{\"project\":{\"id\":1}}]}",
            Ok(&["project:1", "project:2"]),
        ),
        (
            r#"{"tasks":[{"project":{"id":"7-x"}}]}"#,
            Ok(&["project:!"]),
        ),
        (r#"{"tasks":[{"project":{"id":-1}}]}"#, Ok(&["project:!"])),
        (r#"{"tasks":[{"project":{"id":1}},{}]}"#, Err(400)),
        (
            r#"{"tasks":[{"project":{"id":1}},{"project":{"id":null}}]}"#,
            Err(400),
        ),
        (r#"{"tasks":[{"project":{"id":1.0}}]}"#, Err(400)),
        (r#"{"tasks":[{"project":{"id":1e0}}]}"#, Err(400)),
        (r#"{"tasks":[{"project":{"id":true}}]}"#, Err(400)),
        (r#"{"tasks":[{"project":{"id":[1]}}]}"#, Err(400)),
        (r#"{"tasks":[{"project":{"id":{"a":1}}}]}"#, Err(400)),
        (r#"{"tasks":[]}"#, Err(400)),
        (r#"{"tasks":7}"#, Err(400)),
        (r#"{"Tasks":[{"project":{"id":1}}]}"#, Err(400)),
        (r#"{}"#, Err(400)),
        ("", Err(400)),
        (r#"{"tasks":[{"project":{"id":1}}]} {}"#, Err(400)),
        (r#"{"tasks":[{"project":{"id":1}}],}"#, Err(400)),
        ("\u{feff}{\"tasks\":[{\"project\":{\"id\":1}}]}", Err(400)),
        (r#"{"tasks":[{"project":{"id":"\ud800"}}]}"#, Err(400)),
    ] {
        assert_names(
            read(&set, "PATCH /tasks", &[JSON], body.as_bytes()),
            expected,
            body,
        );
    }
    let deep = format!("{{\"tasks\":{}{}}}", "[".repeat(100), "]".repeat(100));
    assert_names(
        read(&set, "PATCH /tasks", &[JSON], deep.as_bytes()),
        Err(400),
        "deep",
    );
    assert_names(
        read(&set, "PATCH /tasks", &[JSON], b"{\"\xff\":1}"),
        Err(400),
        "bytes",
    );
    let one = r#"{"project":{"id":0}},"#;
    let many: String = (0..1001)
        .map(|n| one.replace('0', &n.to_string()))
        .collect();
    let many = format!("{{\"tasks\":[{}]}}", many.trim_end_matches(','));
    assert_names(
        read(&set, "PATCH /tasks", &[JSON], many.as_bytes()),
        Err(413),
        "many",
    );
}

#[test]
fn xml_is_read_by_namespace_and_only_where_it_has_one_reading() {
    let routes = with_route(
        r#"match = "REPORT /report"
action = "write"
resource = { project = ["xml:/d:query/p:project/@id?", "xml:/d:query/p:ref?"] }"#,
    );
    let routes = format!("[namespaces]\nd = \"DAV:\"\np = \"urn:p\"\n{routes}");
    let set = set(&[("routes.toml", &routes)]);
    for (body, expected) in [
        (
            r#"<query xmlns="DAV:"><project xmlns="urn:p" id="1"/></query>"#,
            Ok(&["project:1"][..]),
        ),
        (
            r#"<?xml version="1.0" encoding="utf-8"?><a:query xmlns:a="DAV:" xmlns:b="urn:p"><b:ref> 1 </b:ref><b:ref>2</b:ref></a:query>"#,
            Ok(&["project:1", "project:2"]),
        ),
        (
            r#"<query xmlns="DAV:"><project xmlns="urn:p" id="&#49;"/></query>"#,
            Ok(&["project:1"]),
        ),
        (
            r#"<query xmlns="DAV:"><ref xmlns="urn:p">&#x31;2</ref></query>"#,
            Ok(&["project:12"]),
        ),
        (r#"<query xmlns="DAV:"><project id="1"/></query>"#, Err(400)),
        (r#"<query><project id="1"/></query>"#, Err(400)),
        (
            r#"<query xmlns="DAV:"><ref xmlns="urn:p">1<!-- -->2</ref></query>"#,
            Err(400),
        ),
        (
            r#"<query xmlns="DAV:"><ref xmlns="urn:p">1<![CDATA[2]]></ref></query>"#,
            Err(400),
        ),
        (
            r#"<query xmlns="DAV:"><ref xmlns="urn:p">1<b/></ref></query>"#,
            Err(400),
        ),
        (
            r#"<!DOCTYPE query [<!ENTITY x "1">]><query xmlns="DAV:"><ref xmlns="urn:p">&x;</ref></query>"#,
            Err(400),
        ),
        (
            r#"<!DOCTYPE query><query xmlns="DAV:"><ref xmlns="urn:p">1</ref></query>"#,
            Err(400),
        ),
        (
            r#"<query xmlns="DAV:"><ref xmlns="urn:p">&x;</ref></query>"#,
            Err(400),
        ),
        (
            r#"<?xml version="1.0" encoding="utf-16"?><query xmlns="DAV:"><ref xmlns="urn:p">1</ref></query>"#,
            Err(400),
        ),
        (
            r#"<query xmlns="DAV:"><ref xmlns="urn:p">1</ref></query><query/>"#,
            Err(400),
        ),
        (
            r#"<query xmlns="DAV:"><ref xmlns="urn:p">1</ref>"#,
            Err(400),
        ),
        (r#"<query xmlns="DAV:"><x:ref>1</x:ref></query>"#, Err(400)),
        (
            r#"<query xmlns="DAV:"><project xmlns="urn:p" id="1" id="2"/></query>"#,
            Err(400),
        ),
    ] {
        assert_names(
            read(&set, "REPORT /report", &[XML], body.as_bytes()),
            expected,
            body,
        );
    }
    let deep = format!("{}{}", "<a>".repeat(100), "</a>".repeat(100));
    assert_names(
        read(&set, "REPORT /report", &[XML], deep.as_bytes()),
        Err(400),
        "deep",
    );
}

#[test]
fn parts_are_read_strictly() {
    let set = reading("POST /upload", r#"{ project = "multipart:project_id" }"#);
    let part = |head: &str, value: &str| format!("--x\r\n{head}\r\n\r\n{value}\r\n");
    let named = |name: &str, value: &str| {
        part(
            &format!("Content-Disposition: form-data; name=\"{name}\""),
            value,
        )
    };
    let end = "--x--\r\n";
    for (body, expected) in [
        (named("project_id", "1"), Ok(&["project:1"][..])),
        (
            named("project_id", "1") + &named("project_id", "2"),
            Ok(&["project:1", "project:2"]),
        ),
        (
            named("project_id", "1") + &named("project_id[]", "2"),
            Ok(&["project:1", "project:2"]),
        ),
        (
            part(
                "content-disposition: form-data; name=project_id; filename=\"a\"\r\nContent-Type: text/plain",
                "1",
            ),
            Ok(&["project:1"]),
        ),
        (named("other", "1"), Err(400)),
        (
            part(
                "Content-Disposition: form-data; name=\"project_id\"; name=\"x\"",
                "1",
            ),
            Err(400),
        ),
        (
            part(
                "Content-Disposition: form-data; name=\"project_id\"; name*=utf-8''x",
                "1",
            ),
            Err(400),
        ),
        (
            part(
                "Content-Disposition: form-data; name=\"a\\\"; filename=\"project_id\"",
                "1",
            ),
            Err(400),
        ),
        (
            part("Content-Disposition: form-data; name=\"project%5Fid\"", "1"),
            Err(400),
        ),
        (
            part(
                "Content-Disposition: form-data; name=\"project_id\"\r\nContent-Disposition: form-data; name=\"x\"",
                "1",
            ),
            Err(400),
        ),
        (
            part(
                "Content-Disposition: form-data; name=\"x\";\r\n name=\"project_id\"",
                "1",
            ),
            Err(400),
        ),
        (
            part(
                "Content-Disposition: form-data; name=\"project_id\"\r\nContent-Transfer-Encoding: base64",
                "MQ==",
            ),
            Err(400),
        ),
        (
            part(
                "Content-Disposition: form-data; name=\"project_id\"\r\nContent-Type: text/plain; charset=utf-16",
                "1",
            ),
            Err(400),
        ),
        (
            part(
                "Content-Disposition: form-data; name=\"project_id\"\r\nContent-Type: multipart/mixed; boundary=y",
                "1",
            ),
            Err(400),
        ),
        (
            "preamble\r\n".to_owned() + &named("project_id", "1"),
            Err(400),
        ),
        (named("project_id", "1").replace("\r\n", "\n"), Err(400)),
        (
            named("project_id", "1") + "--x-- \r\n" + &named("project_id", "2"),
            Err(400),
        ),
    ] {
        let body = body + end;
        assert_names(
            read(&set, "POST /upload", &[PARTS], body.as_bytes()),
            expected,
            &body,
        );
    }
    let body = named("project_id", "1") + end + &named("project_id", "2") + end;
    assert_names(
        read(&set, "POST /upload", &[PARTS], body.as_bytes()),
        Err(400),
        "epilogue",
    );
    let body = named("project_id", "1");
    assert_names(
        read(&set, "POST /upload", &[PARTS], body.as_bytes()),
        Err(400),
        "no end",
    );
    let bare = [("content-type", "multipart/form-data")];
    assert_names(
        read(&set, "POST /upload", &bare, body.as_bytes()),
        Err(400),
        "no boundary",
    );
    let file = part(
        "Content-Disposition: form-data; name=\"f\"; filename=\"f\"\r\nContent-Type: image/png",
        "\u{0}",
    );
    let mut file = (file + &named("project_id", "1") + end).into_bytes();
    let zero = file.iter().position(|b| *b == 0).unwrap();
    file[zero] = 0xff;
    assert_names(
        read(&set, "POST /upload", &[PARTS], &file),
        Ok(&["project:1"]),
        "a file",
    );
}

#[test]
fn a_header_names_a_resource_or_a_path_on_this_site() {
    let set = reading("POST /plain", r#"{ project = "header:X-Project-Id" }"#);
    for (headers, expected) in [
        (&[("x-project-id", "1")][..], Ok(&["project:1"][..])),
        (
            &[("x-project-id", "1"), ("x-project-id", "2")],
            Ok(&["project:1", "project:2"]),
        ),
        (
            &[("x-project-id", "1"), ("x_project_id", "2")],
            Ok(&["project:1", "project:2"]),
        ),
        (&[("x-project-id", "1, 2")], Ok(&["project:!"])),
        (&[], Err(400)),
    ] {
        assert_names(
            read(&set, "POST /plain", headers, b""),
            expected,
            &format!("{headers:?}"),
        );
    }
    let set = reading(
        "MOVE /projects/{project}/**",
        r#"{ project = "header:Destination:/projects/{project}/**" }"#,
    );
    for (destination, expected) in [
        ("/projects/2/a", Ok(&["project:1", "project:2"][..])),
        (
            "https://localhost:8443/projects/2",
            Ok(&["project:1", "project:2"]),
        ),
        (
            "HTTPS://LOCALHOST:8443/projects/2",
            Ok(&["project:1", "project:2"]),
        ),
        ("/projects/%32/a", Ok(&["project:1", "project:2"])),
        ("/projects", Ok(&["project:1", "project:!"])),
        ("/other/2", Ok(&["project:1", "project:!"])),
        ("https://evil.example/projects/2", Err(400)),
        ("https://localhost:8443@evil.example/projects/2", Err(400)),
        ("https://localhost/projects/2", Err(400)),
        ("http://localhost:8443/projects/2", Err(400)),
        ("//evil.example/projects/2", Err(400)),
        ("/projects/2/../3", Err(400)),
        ("/projects/2%2f..%2f3", Err(400)),
        ("/projects/2?x", Err(400)),
        ("/projects/2;x", Err(400)),
        ("projects/2", Err(400)),
        ("", Err(400)),
    ] {
        let headers = [("destination", destination)];
        assert_names(
            read(&set, "MOVE /projects/1/a", &headers, b""),
            expected,
            destination,
        );
    }
    let twice = [
        ("destination", "/projects/1"),
        ("destination", "/projects/2"),
    ];
    assert_names(
        read(&set, "MOVE /projects/1", &twice, b""),
        Err(400),
        "twice",
    );
    assert_names(read(&set, "MOVE /projects/1", &[], b""), Err(400), "none");
}

#[test]
fn a_place_is_needed_unless_it_says_otherwise_and_something_must_be_named() {
    let set = reading(
        "POST /move",
        r#"{ project = ["query:from?", "form:to?", "json:/to?"] }"#,
    );
    for (line, headers, body, expected) in [
        ("POST /move?from=1", &[][..], "", Ok(&["project:1"][..])),
        (
            "POST /move?from=1",
            &[FORM],
            "to=2",
            Ok(&["project:1", "project:2"]),
        ),
        ("POST /move", &[JSON], r#"{"to":2}"#, Ok(&["project:2"])),
        ("POST /move", &[JSON], r#"{"to":null}"#, Err(400)),
        ("POST /move", &[], "", Err(400)),
        ("POST /move?from=1", &[XML], "<a/>", Err(415)),
    ] {
        assert_names(read(&set, line, headers, body.as_bytes()), expected, line);
    }
    let set = reading(
        "POST /both",
        r#"{ project = ["form:to", "json:/to"], task = "json:/task" }"#,
    );
    let found = read(&set, "POST /both", &[FORM], b"to=1");
    assert_names(found, Ok(&["project:1"]), "one of two forms");
    let found = read(&set, "POST /both", &[JSON], br#"{"to":1}"#);
    assert_names(found, Err(400), "a task is missing");
}

#[tokio::test]
async fn all_that_is_named_must_pass_and_an_unread_request_is_denied() {
    let route = "match = \"POST /projects/{project}/move\"\naction = \"write\"\nresource = { project = \"json:/to\" }";
    let house = House::new(set(&[("routes.toml", &with_route(route))]));
    house.application.project(1, "fjord", "u-kari");
    house.application.project(2, "fjord", "u-ola");
    house.application.project(3, "tinde", "u-nils");
    house.application.project(4, "fjord", "u-kari");
    for (who, body, allowed) in [
        (kari(), r#"{"to":4}"#, true),
        (kari(), r#"{"to":1}"#, true),
        (kari(), r#"{"to":2}"#, false),
        (kari(), r#"{"to":3}"#, false),
        (kari(), r#"{"to":9}"#, false),
        (kari(), r#"{"to":"x"}"#, false),
        (kari(), r#"{"to":4,"to":2}"#, false),
        (ola(), r#"{"to":2}"#, false),
        (nils(), r#"{"to":3}"#, false),
    ] {
        let decision = house
            .read_and_decide(&who, "POST /projects/1/move", body)
            .await;
        assert_eq!(decision.is_allowed(), allowed, "{} {body}", who.id);
    }
    let unread = house.decide(&kari(), "POST /projects/1/move").await;
    assert!(!unread.is_allowed());
}

#[test]
fn a_place_that_is_none_is_told() {
    for (resource, expected) in [
        ("{ project = \"cookie:x\" }", "`cookie:x` is no place"),
        ("{ project = \"json:id\" }", "it begins with `/`"),
        ("{ project = \"json:/a~2\" }", "is no JSON pointer"),
        ("{ project = \"xml:/x:a\" }", "`x` is no prefix"),
        (
            "{ project = \"xml:/@a/b\" }",
            "an attribute stands at the end",
        ),
        ("{ project = \"header:a b\" }", "is no header name"),
        (
            "{ project = \"header:Destination:/x/*\" }",
            "names one `{project}`",
        ),
        (
            "{ project = \"header:Destination:/{task}\" }",
            "names one `{project}`",
        ),
        ("{ project = [] }", "names no place"),
        ("{ projet = \"query:a\" }", "there is no [resource.projet]"),
        ("{}", "`resource` names nothing"),
    ] {
        let route = format!("match = \"POST /x\"\naction = \"write\"\nresource = {resource}");
        let found = faults(&[("routes.toml", &with_route(&route))]);
        let told = found
            .iter()
            .any(|f| f.starts_with("routes.toml:") && f.contains(expected));
        assert!(told, "{resource}: {found:#?}");
    }
}

#[test]
fn a_suffix_belongs_to_the_match_and_not_to_the_identifier() {
    let route = "match = [\"GET /items/{project}\", \"GET /items/{project}.json\", \"GET /items/{project}.xml\"]\naction = \"read\"\nreason = \"no route below\"";
    let more =
        format!("{route}\n\n[[route]]\nmatch = \"GET /things/p-{{project}}\"\naction = \"copy\"\n");
    let set = set(&[("routes.toml", &with_route(&more))]);
    for (line, label, expected) in [
        ("GET /items/7", "GET /items/{project}", "project:7"),
        (
            "GET /items/7.json",
            "GET /items/{project}.json",
            "project:7",
        ),
        (
            "GET /items/7%2D.json",
            "GET /items/{project}.json",
            "project:!",
        ),
        (
            "GET /items/7.json?format=xml",
            "GET /items/{project}.json",
            "project:7",
        ),
        ("GET /items/7.xml", "GET /items/{project}.xml", "project:7"),
        ("GET /items/7.csv", "GET /items/{project}", "project:!"),
        (
            "GET /items/7.json.json",
            "GET /items/{project}.json",
            "project:!",
        ),
        ("GET /items/.json", "GET /items/{project}", "project:!"),
        ("GET /items/7.JSON", "GET /items/{project}", "project:!"),
        ("GET /things/p-7", "GET /things/p-{project}", "project:7"),
    ] {
        let found = matched(&set, line);
        assert_eq!(found.route().label(), label, "{line}");
        assert_names(read(&set, line, &[], b""), Ok(&[expected]), line);
    }
    let clash = "match = \"GET /a{project}\"\naction = \"read\"\n\n[[route]]\nmatch = \"* /{project}b\"\naction = \"write\"\n";
    let found = faults(&[("routes.toml", &with_route(clash))]);
    let told = "is exactly as specific as `GET /a{project}` in line";
    assert!(found.iter().any(|fault| fault.contains(told)), "{found:#?}");
}

#[test]
fn an_encoded_slash_stands_only_in_an_identifier_that_may_hold_one() {
    let routes = with_route("match = \"GET /deep/{project}/**\"\naction = \"read\"");
    let routes = routes.replacen("[1-9][0-9]{0,11}", "[a-z./]+|[0-9]+", 1);
    let routes = routes.replacen(
        "[resource.project]",
        "[resource.project]\nencoded_slash = true",
        1,
    );
    let set = set(&[("routes.toml", &routes)]);
    assert!(set.encoded_slashes());
    for (path, holds, expected) in [
        ("/deep/a%2Fb/c", true, "project:a/b"),
        ("/deep/a%2fb", true, "project:a/b"),
        ("/deep/a%2F..%2Fb", true, "project:!"),
        ("/deep/a%2F", true, "project:!"),
        ("/deep/%2Fa", true, "project:!"),
        ("/deep/a/b%2Fc", false, "project:a"),
        ("/deep/a%2Fb/b%2Fc", false, "project:a/b"),
        ("/projects/a%2Fb/tasks/1%2F2", false, "project:a/b"),
    ] {
        let received = path.parse().unwrap();
        let lenient = crate::target::Leniency {
            encoded_slash: true,
            ..Default::default()
        };
        let target = crate::target::Target::parse(http::Method::GET, &received, lenient).unwrap();
        let found = set.route(&target, "localhost").unwrap();
        assert_eq!(found.holds_slashes(), holds, "{path}");
        let (resource, id) = found.named().next().unwrap();
        assert_eq!(
            format!("{}:{}", resource.name, id.as_deref().unwrap_or("!")),
            expected,
            "{path}"
        );
    }
}

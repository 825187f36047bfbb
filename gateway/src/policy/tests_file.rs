//! `tests/*.toml`: this caller, this request, these facts: allow or deny, by which rule.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};

use crate::config::MethodOverride;
use crate::config::fault::{Fault, Source};
use crate::principal::{Company, CompanyId, EmailAddress, Principal, UserId};
use crate::target::{Leniency, Target};

use super::PolicySet;
use super::overrides::Overrides;
use super::reader::{Fields, Reader, Text, Value};
use super::reading::{Sent, Unreadable};
use super::resource::{Above, MAX_DEPTH, Record, Resource, Resources};
use super::routes::{Route, RouteMatch, Subject};
use super::verdict::{self, Decision, Denied, Judged, Verdict};

/// What running the tests showed.
#[derive(Clone, Debug, Default)]
pub struct TestReport {
    /// How many tests there are.
    pub count: usize,
    /// Those that failed: where each stands, and what was decided instead.
    pub failures: Vec<Fault>,
    /// Rules and routes that no test touches, each at its place.
    pub warnings: Vec<Fault>,
    /// How many rules decided a test, and how many there are.
    pub rules: (usize, usize),
    /// How many routes a test took, and how many there are.
    pub routes: (usize, usize),
}

impl TestReport {
    /// Whether no test failed.
    #[must_use]
    pub const fn passed(&self) -> bool {
        self.failures.is_empty()
    }
}

/// One `[[test]]`.
#[derive(Debug)]
pub(super) struct Test {
    source: Source,
    span: Range<usize>,
    target: Target,
    host: Box<str>,
    headers: HeaderMap,
    body: Box<str>,
    /// `None` for someone who is not logged in.
    principal: Option<Arc<Principal>>,
    facts: BTreeMap<Arc<str>, TestFacts>,
    allow: bool,
    by: Option<Box<str>>,
}

/// What a test says of one resource.
#[derive(Debug)]
struct TestFacts {
    own: Option<(CompanyId, Option<UserId>)>,
    parent: Option<(Above, Box<str>)>,
}

/// Reads one file of tests.
pub(super) fn read(source: &Source, resources: &Resources) -> (Vec<Test>, Vec<Fault>) {
    let (mut reader, document) = Reader::open(source);
    let mut tests = Vec::new();
    if let Some(document) = &document {
        let mut top = reader.fields(document.get_ref(), 0..0, "a file of tests");
        for test in top.list("test") {
            tests.extend(read_test(top.reader(), test, resources));
        }
        top.finish();
    }
    (tests, reader.into_faults())
}

/// Runs every test of a set.
pub(super) fn run(set: &PolicySet, tests: &[Test]) -> TestReport {
    let mut report = TestReport {
        count: tests.len(),
        ..TestReport::default()
    };
    let mut touched = BTreeSet::new();
    let mut routes = BTreeSet::new();
    for test in tests {
        let outcome = test.outcome(set, &mut touched, &mut routes);
        let failure = test.check(&outcome.unwrap_or_else(Outcome::Unreadable));
        let matched = set.route(&test.target, &test.host);
        report.failures.extend(match (failure, &matched) {
            (Some(failure), Some(matched)) => {
                let route = matched.route();
                let help = format!("it takes the route `{}`, {}", route.label(), route.name());
                Some(failure.help(help))
            }
            (failure, _) => failure,
        });
    }
    let rules = set.rule_names();
    report.rules = (rules.len(), rules.len());
    for rule in rules.iter().filter(|rule| !touched.contains(*rule)) {
        report.rules.0 -= 1;
        let fault = set.rule_fault(rule, format!("no test is decided by `{rule}`"));
        report.warnings.push(fault.warning());
    }
    report.routes = (set.routes().len(), set.routes().len());
    for route in set.routes() {
        if routes.contains(&Arc::as_ptr(route)) {
            continue;
        }
        report.routes.0 -= 1;
        let message = format!("no test takes the route `{}`", route.label());
        let (source, span) = route.place();
        report.warnings.push(source.fault(span, message).warning());
    }
    report
}

/// What became of a test's request.
enum Outcome {
    NoRoute,
    Unreadable(Unreadable),
    Decided(Decision),
}

impl Test {
    fn sent(&self) -> Sent<'_> {
        Sent {
            headers: &self.headers,
            scheme: "https",
            authority: &self.host,
            body: self.body.as_bytes(),
        }
    }

    /// Judges the request as sent, and as every method that it may be taken for: in a test, a field
    /// `_method` overrides wherever it stands.
    fn outcome(
        &self,
        set: &PolicySet,
        touched: &mut BTreeSet<Arc<str>>,
        routes: &mut BTreeSet<*const Route>,
    ) -> Result<Outcome, Unreadable> {
        let Some(matched) = set.route(&self.target, &self.host) else {
            return Ok(Outcome::NoRoute);
        };
        let everywhere = MethodOverride {
            query: true,
            form: true,
            multipart: true,
        };
        let mut overrides =
            Overrides::These(set.overrides_in_head(&self.target, &self.headers, everywhere)?);
        if !self.body.is_empty() {
            let body = Some(self.body.as_bytes());
            overrides.add(set.overrides_in_body(&self.headers, body, everywhere)?);
        }
        let Some(also) = set.overridden(&self.target, &self.host, &overrides) else {
            return Ok(Outcome::NoRoute);
        };
        let mut outcome = Outcome::NoRoute;
        for mut matched in std::iter::once(matched).chain(also) {
            routes.insert(Arc::as_ptr(matched.route()));
            if !matched.holds_slashes() {
                let message = "the path has an encoded slash".to_owned();
                return Err(Unreadable::Malformed(message));
            }
            if let Some(target) = matched.filter_query(&self.target, self.principal.as_deref())? {
                matched.take_query(&target);
            }
            matched.read(self.sent())?;
            let decision = self.decide(set, &matched, touched);
            let allowed = decision.is_allowed();
            outcome = Outcome::Decided(decision);
            if !allowed {
                break;
            }
        }
        Ok(outcome)
    }

    fn decide(
        &self,
        set: &PolicySet,
        matched: &RouteMatch,
        touched: &mut BTreeSet<Arc<str>>,
    ) -> Decision {
        let route = matched.route();
        let nothing = || Arc::new([]);
        let principal = match (&self.principal, &route.subject) {
            (Some(principal), _) => principal,
            (None, Subject::Public) => {
                let none = std::iter::empty();
                return verdict::decide(set, route, none, |_, _| unreachable!("nothing to judge"));
            }
            (None, _) => return Decision::hidden(set, nothing()),
        };
        let action = route.subject.action();
        let judge = |asked, record: Option<&Arc<Record>>| {
            let asked = match (&route.subject, route.creates, record) {
                (Subject::Named(own, _), Some(create), None) if *own == asked => create,
                _ => asked,
            };
            let given = match action == Some(asked) {
                true => matched.context(),
                false => &[],
            };
            let finding = set.find(principal, asked, record, given);
            if action == Some(asked) {
                touched.extend(finding.rules.iter().cloned());
            }
            Arc::new(Judged::new(principal, record, finding))
        };
        let mut records = Vec::new();
        for (number, (resource, id)) in matched.named().enumerate() {
            let Some(id) = id else {
                return Decision::hidden(set, nothing());
            };
            match self.chain(set, resource, &id) {
                Some(chain) => records.extend(chain.into_iter().map(Some)),
                None if matched.creates(number).is_some() => records.push(None),
                None => return Decision::hidden(set, Arc::new([resource.label(&id)])),
            }
        }
        if let Subject::Company(_) = route.subject {
            return verdict::decide(set, route, std::iter::once(None), judge);
        }
        verdict::decide(set, route, records.iter().map(Option::as_ref), judge)
    }

    /// The facts that decide, as the test gives them: the resource's, and those of what it lies
    /// in.
    fn chain<'s>(
        &'s self,
        set: &'s PolicySet,
        mut resource: &'s Arc<Resource>,
        id: &str,
    ) -> Option<Vec<Arc<Record>>> {
        let mut id: Box<str> = id.into();
        let mut chain = Vec::new();
        for _ in 0..=MAX_DEPTH {
            let label = resource.label(&id);
            let facts = self.facts.get(&label)?;
            if let Some((company, owner)) = &facts.own {
                chain.push(Arc::new(Record {
                    kind: resource.kind,
                    id: id.clone(),
                    label,
                    company: company.clone(),
                    owner: owner.clone(),
                    learned: false,
                }));
            }
            let Some((above, above_id)) = &facts.parent else {
                return Some(chain).filter(|chain| !chain.is_empty());
            };
            resource = set.resource(above.kind)?;
            id = above_id.clone();
        }
        None
    }

    fn check(&self, outcome: &Outcome) -> Option<Fault> {
        let decision = match outcome {
            Outcome::Decided(decision) => Some(decision),
            Outcome::NoRoute | Outcome::Unreadable(_) => None,
        };
        let allowed = decision.is_some_and(Decision::is_allowed);
        let rule = decision
            .and_then(|decision| decision.rule.as_deref())
            .unwrap_or("default");
        let right_rule = self.by.as_deref().is_none_or(|by| by == rule);
        if allowed == self.allow && right_rule {
            return None;
        }
        let how = match decision.map(|decision| &decision.verdict) {
            None => match outcome {
                Outcome::Unreadable(why) => format!("refused ({}): {why}", why.status().as_u16()),
                _ => "no route matches".to_owned(),
            },
            Some(Verdict::Allow) => format!("allowed by `{rule}`"),
            Some(Verdict::Deny(Denied::Hidden)) => format!("denied (404) by `{rule}`"),
            Some(Verdict::Deny(Denied::Visible { .. })) => format!("denied (403) by `{rule}`"),
        };
        let expected = if self.allow { "allow" } else { "deny" };
        let by = self.by.as_deref().map(|by| format!(" by `{by}`"));
        let message = format!(
            "`{}`: expected {expected}{}, but: {how}",
            self.target,
            by.unwrap_or_default()
        );
        Some(self.source.fault(self.span.clone(), message))
    }
}

fn read_test(reader: &mut Reader<'_>, value: &Value<'_>, resources: &Resources) -> Option<Test> {
    let mut fields = reader.table(value, "this [[test]]")?;
    let request = fields.required("request");
    let host = fields.text("host");
    let principal = match fields.value("as") {
        Some(who) => Some(Arc::new(read_principal(fields.reader(), who)?)),
        None => None,
    };
    let facts = match fields.value("facts") {
        Some(facts) => read_facts(fields.reader(), facts, resources),
        None => BTreeMap::new(),
    };
    let expect = fields.required("expect");
    let by = fields.text("by");
    let body = fields.text("body");
    let headers = read_headers(&mut fields);
    let allow = expect.and_then(|expect| read_expect(&mut fields, &expect));
    let source = fields.reader().source().clone();
    let leniency = Leniency {
        encoded_slash: resources.values().flatten().any(|r| r.encoded_slash),
        ..Leniency::default()
    };
    let target = request.as_ref().and_then(|request| {
        let error = match Target::from_line_with(request.get_ref(), leniency) {
            Ok(target) => return Some(target),
            Err(error) => error,
        };
        let message = format!("`{}` is no request: {error}", request.get_ref());
        fields.reader().fault(request.span(), message);
        None
    });
    fields.finish();
    let request = request?;
    Some(Test {
        source,
        span: request.span(),
        target: target?,
        host: host.map_or_else(String::new, Text::into_inner).into(),
        headers,
        body: body.map_or_else(String::new, Text::into_inner).into(),
        principal,
        facts,
        allow: allow?,
        by: by.map(|by| by.get_ref().as_str().into()),
    })
}

/// `headers`, and `content_type`, which is one of them.
fn read_headers(fields: &mut Fields<'_, '_, '_>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let mut written = Vec::new();
    if let Some(content_type) = fields.text("content_type") {
        written.push((
            Text::new(content_type.span(), CONTENT_TYPE.to_string()),
            content_type,
        ));
    }
    let given = fields.value("headers");
    if let Some(mut table) = given.and_then(|value| fields.reader().table(value, "headers")) {
        for (name, value) in table.entries() {
            if let Some(value) = table.reader().string(value, name.get_ref()) {
                written.push((name, value));
            }
        }
    }
    for (name, value) in written {
        let parsed = (
            HeaderName::from_bytes(name.get_ref().as_bytes()),
            HeaderValue::from_str(value.get_ref()),
        );
        let (Ok(key), Ok(content)) = parsed else {
            let message = format!("`{}` is no header field", name.get_ref());
            fields.reader().fault(name.span(), message);
            continue;
        };
        headers.append(key, content);
    }
    headers
}

fn read_expect(fields: &mut Fields<'_, '_, '_>, expect: &Text) -> Option<bool> {
    match expect.get_ref().as_str() {
        "allow" => Some(true),
        "deny" => Some(false),
        other => {
            let message = format!("`{other}` cannot be expected: `allow` or `deny`");
            fields.reader().fault(expect.span(), message);
            None
        }
    }
}

fn read_principal(reader: &mut Reader<'_>, value: &Value<'_>) -> Option<Principal> {
    let mut fields = reader.table(value, "as")?;
    let user = fields.required("user");
    let company = fields.required("company");
    let roles = fields.texts("roles");
    let suspended = fields.flag("suspended");
    fields.finish();
    let (user, company) = (user?.into_inner(), company?.into_inner());
    Some(Principal {
        // Rules do not read it.
        email: EmailAddress::parse("test@test.example").ok()?,
        name: user.as_str().into(),
        login: user.as_str().into(),
        id: UserId::from(user.as_str()),
        company: Arc::new(Company {
            id: CompanyId::from(company.as_str()),
            name: company.into(),
        }),
        roles: roles.into_iter().map(|r| r.into_inner().into()).collect(),
        suspended,
    })
}

fn read_facts(
    reader: &mut Reader<'_>,
    value: &Value<'_>,
    resources: &Resources,
) -> BTreeMap<Arc<str>, TestFacts> {
    let mut all = BTreeMap::new();
    let Some(mut table) = reader.table(value, "facts") else {
        return all;
    };
    for (label, value) in table.entries() {
        let found = label.get_ref().split_once("::").and_then(|(entity, id)| {
            let mut resources = resources.values().flatten();
            resources.find(|resource| *resource.entity == *entity && resource.is_identifier(id))
        });
        let Some(resource) = found else {
            let message = format!("`{}` is no resource, such as `Project::1`", label.get_ref());
            table.reader().fault(label.span(), message);
            continue;
        };
        if let Some(facts) = read_resource_facts(table.reader(), value, &label, resource) {
            all.insert(label.get_ref().as_str().into(), facts);
        }
    }
    all
}

fn read_resource_facts(
    reader: &mut Reader<'_>,
    value: &Value<'_>,
    label: &Text,
    resource: &Resource,
) -> Option<TestFacts> {
    let mut fields = reader.table(value, label.get_ref())?;
    let own = if resource.facts.is_empty() {
        None
    } else {
        let company = fields.required("company");
        let owner = fields.text("owner");
        let user = owner.map(|owner| UserId::from(owner.get_ref().as_str()));
        Some((CompanyId::from(company?.get_ref().as_str()), user))
    };
    let mut parent = None;
    for (name, value) in fields.entries() {
        let Some(above) = resource.lies_in(name.get_ref()) else {
            continue;
        };
        let id = fields.reader().string(value, &above.name)?;
        fields.known(name.get_ref());
        let id = id.get_ref().as_str().into();
        if parent.replace((above.clone(), id)).is_some() {
            let message = format!("`{}` lies in one thing at most", label.get_ref());
            fields.reader().fault(name.span(), message);
        }
    }
    if own.is_none() && parent.is_none() {
        let types = resource.parents.iter().flat_map(|parent| &parent.types);
        let names: Vec<&str> = types.map(|(_, above)| &*above.name).collect();
        let message = format!("`{}` lies in a `{}`", label.get_ref(), names.join("` or `"));
        let help = format!("{{ {} = \"…\" }}", names.first().unwrap_or(&""));
        fields.reader().fault_with_help(value.span(), message, help);
        return None;
    }
    fields.finish();
    Some(TestFacts { own, parent })
}

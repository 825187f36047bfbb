//! What a decision costs: `cargo bench --bench decisions`.
//!
//! From the cache it is to stay under 1 µs; evaluated fresh, with the facts at hand, under 10 µs.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a bench that meets what it did not expect shall fail"
)]

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use criterion::{Criterion, criterion_group, criterion_main};
use portvakt::clock::{ManualClock, Timestamp};
use portvakt::metrics::Metrics;
use portvakt::policy::{
    Authoriser, LookupAnswer, LookupError, LookupRows, Lookups, OwnerAs, PolicySet, RouteMatch,
};
use portvakt::principal::{Company, EmailAddress, Principal, UserId};
use portvakt::store::embedded::Embedded;
use portvakt::target::Target;

/// How many people of her company ask about how many of Kari's projects. All pairs are more than
/// the gateway remembers decisions.
const MANY: usize = 1_000;

/// An application with Kari's projects and a task in each.
struct Application;

#[async_trait]
impl Lookups for Application {
    async fn get(
        &self,
        _: Option<&str>,
        path: &str,
        _: Option<&Arc<Principal>>,
        _: Option<&str>,
    ) -> Result<LookupAnswer, LookupError> {
        let task = path.strip_prefix("/tasks/");
        Ok(match task {
            Some(number) => LookupAnswer::Found(format!(r#"{{"project_id":{number}}}"#).into()),
            None => LookupAnswer::Found(r#"{"company_id":"fjord","owner_id":"u-kari"}"#.into()),
        })
    }

    async fn rows(&self, _: &str, _: &str) -> Result<LookupRows, LookupError> {
        panic!("the shipped policies ask no database")
    }

    async fn user(&self, _: OwnerAs, _: &str) -> Result<Option<UserId>, LookupError> {
        panic!("the shipped policies name owners by identifier")
    }
}

fn principal(id: &str, company: &Arc<Company>) -> Arc<Principal> {
    Arc::new(Principal {
        id: id.into(),
        email: EmailAddress::parse("someone@fjord.example").unwrap(),
        name: id.into(),
        login: id.into(),
        company: Arc::clone(company),
        roles: vec!["editor".into()],
        suspended: false,
    })
}

fn matched(set: &PolicySet, line: &str) -> RouteMatch {
    let target = Target::from_line(line).unwrap();
    set.route(&target, "localhost").unwrap()
}

fn decisions(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    let policies = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies");
    let loaded = PolicySet::load(&policies, &["projects".into()]);
    let set = loaded.unwrap_or_else(|faults| panic!("{faults:?}")).set;
    let store = Arc::new(Embedded::open(&dir.path().join("portvakt.redb")).unwrap());
    let clock = Arc::new(ManualClock::at(Timestamp::from_millis(1_000_000)));
    let authoriser = Authoriser::new(store, clock, Metrics::new().unwrap());
    let lookups: Arc<dyn Lookups> = Arc::new(Application);
    let fjord = Arc::new(Company {
        id: "fjord".into(),
        name: "Fjord AS".into(),
    });
    let kari = principal("u-kari", &fjord);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let people: Vec<_> = (0..MANY)
        .map(|number| principal(&format!("u-{number}"), &fjord))
        .collect();
    for (name, line, anyone) in [
        ("a project, read", "GET /projects/", true),
        ("a task in a project, read", "GET /tasks/", true),
        // The refusal also asks whether it may be read and copied: three evaluations.
        ("a project, refused a write", "PATCH /projects/", false),
    ] {
        let routes: Vec<_> = (1..=MANY)
            .map(|number| matched(&set, &format!("{line}{number}")))
            .collect();
        for route in &routes {
            let warm = authoriser.decide(&set, &kari, route, &lookups);
            assert!(runtime.block_on(warm).unwrap().is_allowed());
        }
        let mut group = criterion.benchmark_group(name);
        group.bench_function("from the cache", |bencher| {
            bencher.to_async(&runtime).iter(|| async {
                let deciding = authoriser.decide(&set, black_box(&kari), &routes[0], &lookups);
                assert!(deciding.await.unwrap().is_allowed());
            });
        });
        // A pair that did not meet lately: their decision is not known, the facts are.
        let next = AtomicUsize::new(0);
        group.bench_function("evaluated, facts at hand", |bencher| {
            bencher.to_async(&runtime).iter(|| async {
                let pair = next.fetch_add(1, Ordering::Relaxed);
                let somebody = &people[pair % MANY];
                let route = &routes[(pair / MANY) % MANY];
                let deciding = authoriser.decide(&set, black_box(somebody), route, &lookups);
                assert_eq!(deciding.await.unwrap().is_allowed(), anyone);
            });
        });
        group.finish();
    }
}

criterion_group!(benches, decisions);
criterion_main!(benches);

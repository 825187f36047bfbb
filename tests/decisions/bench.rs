//! What a decision costs: `cargo bench --bench decisions`.
//!
//! From the cache it is to stay under 1 µs; evaluated fresh, with the facts at hand, under 10 µs.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a bench that meets what it did not expect shall fail"
)]

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use portvakt::clock::{ManualClock, Timestamp};
use portvakt::metrics::Metrics;
use portvakt::policy::{
    Authoriser, LookupAnswer, LookupError, LookupRows, Lookups, OwnerAs, PolicySet, RouteMatch,
};
use portvakt::principal::{Company, EmailAddress, Principal, UserId};
use portvakt::store::embedded::Embedded;
use portvakt::target::Target;

/// An application with Kari's project and a task in it.
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
        Ok(match path {
            "/projects/1" => {
                LookupAnswer::Found(r#"{"company_id":"fjord","owner_id":"u-kari"}"#.into())
            }
            "/tasks/5" => LookupAnswer::Found(r#"{"project_id":1}"#.into()),
            _ => LookupAnswer::Missing,
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
    for (name, line) in [
        ("a project", "PATCH /projects/1"),
        ("a task in a project", "PATCH /tasks/5"),
    ] {
        let route = matched(&set, line);
        let warm = authoriser.decide(&set, &kari, &route, &lookups);
        assert!(runtime.block_on(warm).unwrap().is_allowed());
        let mut group = criterion.benchmark_group(name);
        group.bench_function("from the cache", |bencher| {
            bencher.to_async(&runtime).iter(|| async {
                let deciding = authoriser.decide(&set, black_box(&kari), &route, &lookups);
                assert!(deciding.await.unwrap().is_allowed());
            });
        });
        // Somebody new each time: their decision is not known, the facts are.
        let next = AtomicU64::new(0);
        group.bench_function("evaluated, facts at hand", |bencher| {
            bencher.to_async(&runtime).iter_batched(
                || {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    principal(&format!("{name}-{number}"), &fjord)
                },
                |somebody| {
                    let (authoriser, set, route, lookups) = (&authoriser, &set, &route, &lookups);
                    async move {
                        let deciding = authoriser.decide(set, black_box(&somebody), route, lookups);
                        assert!(!deciding.await.unwrap().is_allowed());
                    }
                },
                BatchSize::SmallInput,
            );
        });
        group.finish();
    }
}

criterion_group!(benches, decisions);
criterion_main!(benches);

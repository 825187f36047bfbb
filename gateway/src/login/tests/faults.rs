//! What happens when a part of us fails: `503`, and nothing opens.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::StatusCode;
use serde_json::json;

use super::world::{Answer, Changes, KARI, World};
use crate::clock::Timestamp;
use crate::config::{Fleet, Window};
use crate::directory::{Directory, DirectoryError, Person};
use crate::principal::{EmailAddress, UserId};
use crate::secret::{BearerHash, BearerId};
use crate::store::{
    AccountKey, Attempt, BudgetKey, Challenge, Charge, Charging, CodeHash, Completion,
    DeviceRecord, LearnedFacts, LinkHash, NewChallenge, Opening, SessionRecord, Shield, Standing,
    Store, StoreError, StoreResult, Whose,
};

fn assert_unavailable(answer: &Answer) {
    assert_eq!(
        answer.status,
        StatusCode::SERVICE_UNAVAILABLE,
        "{}",
        answer.text
    );
    assert_eq!(answer.headers["retry-after"], "5");
    let cookies = answer.cookies();
    assert!(
        cookies.keys().all(|name| name == "__Host-portvakt-form"),
        "{cookies:?}"
    );
    assert!(!answer.text.contains("broken"), "the reason is for the log");
}

#[tokio::test]
async fn without_its_directory_the_login_refuses() {
    let directory = Some(Arc::new(Broken) as _);
    let world = World::with(Changes {
        directory,
        ..Changes::default()
    })
    .await;
    let mut browser = world.browser();
    for email in [KARI, "nobody@else.example"] {
        let page = browser.post("/.portvakt/login", &[("email", email)]).await;
        assert_unavailable(&page);
        let asked = json!({ "email": email });
        let call = world.program().post_json("/.portvakt/login", &asked).await;
        assert_unavailable(&call);
        assert_eq!(call.json()["error"], "unavailable");
    }
    assert_eq!(world.counted("email", "unavailable"), 4);
}

#[tokio::test]
async fn without_its_store_everything_that_needs_it_refuses() {
    let world = World::with(Changes {
        store: Some(Arc::new(Broken)),
        ..Changes::default()
    })
    .await;
    let mut program = world.program();
    for name in [
        "__Host-portvakt",
        "__Host-portvakt-challenge",
        "__Host-portvakt-device",
    ] {
        let value = BearerId::generate().to_cookie_value();
        program.cookies.insert(name.to_owned(), value);
    }
    for (path, body) in [
        ("/.portvakt/login", json!({ "email": KARI })),
        ("/.portvakt/code", json!({ "code": "1234" })),
        ("/.portvakt/resend", json!({})),
        ("/.portvakt/logout", json!({})),
        ("/.portvakt/account/sessions/others/revoke", json!({})),
        ("/.portvakt/account/devices/x/forget", json!({})),
    ] {
        assert_unavailable(&program.post_json(path, &body).await);
    }
    for path in ["login", "code", "whoami", "account"] {
        assert_unavailable(&program.get(&format!("/.portvakt/{path}")).await);
    }
}

#[tokio::test]
async fn a_login_that_cannot_be_recorded_does_not_happen() {
    let world = World::with(Changes {
        full_disk: true,
        ..Changes::default()
    })
    .await;
    let mut browser = world.browser();
    browser.post("/.portvakt/login", &[("email", KARI)]).await;
    let code = world.code(1).await;
    let answer = browser.post("/.portvakt/code", &[("code", &code)]).await;
    assert_unavailable(&answer);
    assert_eq!(world.sessions().await, 0);
    assert_eq!(world.counted("code", "ok"), 0);
}

/// A store and a directory that answer nothing.
#[derive(Debug)]
struct Broken;

fn broken<T>() -> StoreResult<T> {
    Err(StoreError::Unavailable("broken".to_owned()))
}

#[async_trait]
impl Directory for Broken {
    async fn by_email(&self, _: &EmailAddress) -> Result<Option<Arc<Person>>, DirectoryError> {
        Err(DirectoryError("broken".to_owned()))
    }

    async fn by_id(&self, _: &UserId) -> Result<Option<Arc<Person>>, DirectoryError> {
        Err(DirectoryError("broken".to_owned()))
    }

    async fn by_login(&self, _: &str) -> Result<Option<Arc<Person>>, DirectoryError> {
        Err(DirectoryError("broken".to_owned()))
    }

    fn generation(&self) -> u64 {
        0
    }
}

#[async_trait]
impl Store for Broken {
    async fn high_water(&self) -> StoreResult<Timestamp> {
        broken()
    }

    async fn mark_time(&self, _: Timestamp) -> StoreResult<()> {
        broken()
    }

    async fn open_challenge(
        &self,
        _: Timestamp,
        _: NewChallenge,
        _: u32,
        _: &[Window],
    ) -> StoreResult<Opening> {
        broken()
    }

    async fn renew_challenge(
        &self,
        _: Timestamp,
        _: BearerHash,
        _: CodeHash,
        _: Duration,
    ) -> StoreResult<Option<Challenge>> {
        broken()
    }

    async fn challenge(&self, _: Timestamp, _: BearerHash) -> StoreResult<Option<Challenge>> {
        broken()
    }

    async fn charge_attempt(
        &self,
        _: Timestamp,
        _: BearerHash,
        _: u32,
        _: &[Window],
        _: Fleet,
    ) -> StoreResult<Attempt> {
        broken()
    }

    async fn complete_challenge(&self, _: Timestamp, _: Completion) -> StoreResult<bool> {
        broken()
    }

    async fn unlock(&self, _: AccountKey) -> StoreResult<()> {
        broken()
    }

    async fn drafts(&self, _: BudgetKey) -> StoreResult<Vec<(Timestamp, u32)>> {
        broken()
    }

    async fn charge_budgets(
        &self,
        _: Timestamp,
        _: &[Charge],
        _: &[Charge],
    ) -> StoreResult<Charging> {
        broken()
    }

    async fn follow_link(
        &self,
        _: Timestamp,
        _: BearerHash,
        _: LinkHash,
        _: CodeHash,
        _: Duration,
    ) -> StoreResult<Option<Challenge>> {
        broken()
    }

    async fn shield(&self, _: Timestamp, _: Fleet) -> StoreResult<Shield> {
        broken()
    }

    async fn raise_shield(&self, _: Timestamp, _: Fleet) -> StoreResult<()> {
        broken()
    }

    async fn lower_shield(&self, _: Timestamp, _: Fleet) -> StoreResult<()> {
        broken()
    }

    async fn session(&self, _: Timestamp, _: BearerHash) -> StoreResult<Option<SessionRecord>> {
        broken()
    }

    async fn touch_sessions(&self, _: &[(BearerHash, Timestamp)]) -> StoreResult<()> {
        broken()
    }

    async fn sessions(
        &self,
        _: Timestamp,
        _: &Whose,
    ) -> StoreResult<Vec<(BearerHash, SessionRecord)>> {
        broken()
    }

    async fn revoke(&self, _: &Whose) -> StoreResult<Vec<BearerHash>> {
        broken()
    }

    async fn device(&self, _: Timestamp, _: BearerHash) -> StoreResult<Option<DeviceRecord>> {
        broken()
    }

    async fn devices(
        &self,
        _: Timestamp,
        _: AccountKey,
    ) -> StoreResult<Vec<(BearerHash, DeviceRecord)>> {
        broken()
    }

    async fn forget_device(&self, _: AccountKey, _: &str) -> StoreResult<bool> {
        broken()
    }

    async fn sealed(&self, _: &str) -> StoreResult<Option<Vec<u8>>> {
        broken()
    }

    async fn put_sealed(&self, _: &str, _: Option<&[u8]>, _: &[u8]) -> StoreResult<bool> {
        broken()
    }

    async fn suspend(&self, _: &UserId) -> StoreResult<bool> {
        broken()
    }

    async fn resume(&self, _: &UserId) -> StoreResult<bool> {
        broken()
    }

    async fn suspended(&self) -> StoreResult<Vec<UserId>> {
        broken()
    }

    async fn standing(&self, _: Timestamp, _: AccountKey) -> StoreResult<Standing> {
        broken()
    }

    async fn take_failures(&self, _: AccountKey) -> StoreResult<u32> {
        broken()
    }

    async fn learned_facts(&self, _: &str) -> StoreResult<Option<LearnedFacts>> {
        broken()
    }

    async fn learn_facts(&self, _: &str, _: LearnedFacts) -> StoreResult<bool> {
        broken()
    }

    async fn forget_facts(&self, _: &str) -> StoreResult<()> {
        broken()
    }

    async fn ready(&self) -> StoreResult<()> {
        broken()
    }
}

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::HeaderValue;
use jsonwebtoken::jwk::{JwkSet, ThumbprintHash};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde_json::Value;

use super::super::testing::{HOUR, House, MILLISECOND, START};
use super::{Keyring, KeyringError, NAME};
use crate::secret::{Key, MasterKey};
use crate::session::Session;

const ISSUER: &str = "https://localhost:8443";
const DAYS_30: Duration = Duration::from_secs(30 * 24 * 3600);

struct Desk {
    house: House,
    sealing: Key,
    keyring: Arc<Keyring>,
}

impl Desk {
    async fn new() -> Self {
        let house = House::new();
        let sealing = MasterKey::generate().derive("assertion");
        let keyring = keyring(&house, &sealing).await.unwrap();
        Self {
            house,
            sealing,
            keyring,
        }
    }

    async fn session(&self) -> Arc<Session> {
        let id = self.house.log_in("kari");
        self.house.sessions.find(&id).await.unwrap().unwrap()
    }
}

async fn keyring(house: &House, sealing: &Key) -> Result<Arc<Keyring>, KeyringError> {
    Keyring::open(
        house.store.clone(),
        sealing.clone(),
        house.clock.clone(),
        ISSUER.to_owned(),
    )
    .await
}

/// What an upstream does: finds the key by `kid` in the JWKS and verifies.
fn verify(token: &HeaderValue, jwks: &Value, audience: &str) -> Result<Value, String> {
    let token = token.to_str().unwrap();
    let header = decode_header(token).map_err(|error| error.to_string())?;
    assert_eq!(header.typ.as_deref(), Some("JWT"));
    let jwks: JwkSet = serde_json::from_value(jwks.clone()).unwrap();
    let jwk = jwks.find(&header.kid.unwrap()).ok_or("no such key")?;
    let mut validation = Validation::new(Algorithm::ES256);
    validation.set_issuer(&[ISSUER]);
    validation.set_audience(&[audience]);
    validation.set_required_spec_claims(&["exp", "nbf", "iss", "aud", "sub"]);
    // Time stands still in these tests: the claims are compared instead.
    validation.validate_exp = false;
    validation.validate_nbf = false;
    decode::<Value>(token, &DecodingKey::from_jwk(jwk).unwrap(), &validation)
        .map(|data| data.claims)
        .map_err(|error| error.to_string())
}

fn kids(jwks: &Value) -> Vec<String> {
    let keys = jwks["keys"].as_array().unwrap();
    keys.iter()
        .map(|key| key["kid"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn an_assertion_says_who_is_asking_and_verifies_against_the_jwks() {
    let desk = Desk::new().await;
    let session = desk.session().await;
    let token = desk.keyring.assertion(&session, "projects").unwrap();
    let claims = verify(&token, &desk.keyring.jwks(), "projects").unwrap();
    let now = START.as_secs();
    let jti = claims["jti"].as_str().unwrap();
    assert_eq!(
        claims,
        serde_json::json!({
            "iss": ISSUER,
            "aud": "projects",
            "sub": "kari",
            "email": "kari@fjord.example",
            "name": "KARI",
            "company": "fjord",
            "roles": ["editor", "bj\u{f8}rn, \"b\""],
            "sid": session.handle(),
            "iat": now,
            "nbf": now,
            "exp": now + 60,
            "jti": jti,
        })
    );
    assert_eq!(jti.len(), 32);
    assert!(token.is_sensitive());
    assert!(!format!("{token:?}").contains("ey"));
}

#[tokio::test]
async fn another_audience_or_a_bent_assertion_does_not_verify() {
    let desk = Desk::new().await;
    let session = desk.session().await;
    let token = desk.keyring.assertion(&session, "projects").unwrap();
    let jwks = desk.keyring.jwks();
    assert!(verify(&token, &jwks, "wiki").is_err());
    let text = token.to_str().unwrap();
    let mut parts: Vec<_> = text.split('.').map(str::to_owned).collect();
    let other = desk.keyring.assertion(&session, "wiki").unwrap();
    parts[1] = other
        .to_str()
        .unwrap()
        .split('.')
        .nth(1)
        .unwrap()
        .to_owned();
    let bent = HeaderValue::try_from(parts.join(".")).unwrap();
    assert!(verify(&bent, &jwks, "wiki").is_err());
    assert!(verify(&other, &jwks, "wiki").is_ok());
}

#[tokio::test]
async fn the_jwks_names_each_key_by_its_thumbprint_and_shows_no_private_part() {
    let desk = Desk::new().await;
    desk.keyring.rotate().await.unwrap();
    let jwks = desk.keyring.jwks();
    let keys = jwks["keys"].as_array().unwrap();
    assert_eq!(keys.len(), 3);
    for key in keys {
        let mut members: Vec<_> = key
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        members.sort_unstable();
        assert_eq!(members, ["alg", "crv", "kid", "kty", "use", "x", "y"]);
        assert_eq!((&key["kty"], &key["crv"]), (&"EC".into(), &"P-256".into()));
        assert_eq!((&key["use"], &key["alg"]), (&"sig".into(), &"ES256".into()));
    }
    let set: JwkSet = serde_json::from_value(jwks).unwrap();
    for jwk in &set.keys {
        let thumbprint = jwk.thumbprint(ThumbprintHash::SHA256).unwrap();
        assert_eq!(jwk.common.key_id.as_ref(), Some(&thumbprint));
    }
}

#[tokio::test]
async fn an_assertion_is_reused_until_less_than_twenty_seconds_are_left() {
    let desk = Desk::new().await;
    let session = desk.session().await;
    let first = desk.keyring.assertion(&session, "projects").unwrap();
    let other = desk.keyring.assertion(&session, "wiki").unwrap();
    assert_ne!(first, other);
    // It expires on a whole second, 60 s after the second in which it was made.
    let used = START.as_millis() - START.as_secs() * 1_000;
    desk.house
        .clock
        .advance(Duration::from_millis(40_000 - used));
    assert_eq!(desk.keyring.assertion(&session, "projects").unwrap(), first);
    assert_eq!(desk.keyring.assertion(&session, "wiki").unwrap(), other);
    desk.house.clock.advance(MILLISECOND);
    let second = desk.keyring.assertion(&session, "projects").unwrap();
    assert_ne!(second, first);
    let claims = verify(&second, &desk.keyring.jwks(), "projects").unwrap();
    assert_eq!(claims["iat"], START.as_secs() + 40);
    assert_eq!(claims["exp"], START.as_secs() + 100);
}

#[tokio::test]
async fn an_assertion_follows_a_changed_user() {
    let desk = Desk::new().await;
    let id = desk.house.log_in("kari");
    let before = desk.house.sessions.find(&id).await.unwrap().unwrap();
    desk.keyring.assertion(&before, "projects").unwrap();
    desk.house
        .directory
        .change("kari", |kari| kari.roles = vec!["boss".into()]);
    let after = desk.house.sessions.find(&id).await.unwrap().unwrap();
    let token = desk.keyring.assertion(&after, "projects").unwrap();
    let claims = verify(&token, &desk.keyring.jwks(), "projects").unwrap();
    assert_eq!(claims["roles"], serde_json::json!(["boss"]));
}

#[tokio::test]
async fn each_key_is_published_before_it_signs_and_after() {
    let desk = Desk::new().await;
    let session = desk.session().await;
    let start = kids(&desk.keyring.jwks());
    assert_eq!(
        start.len(),
        2,
        "at first there is none before the current one"
    );
    let first = desk.keyring.assertion(&session, "projects").unwrap();

    desk.keyring.rotate().await.unwrap();
    let jwks = desk.keyring.jwks();
    assert_eq!(kids(&jwks)[..2], start[..]);
    verify(&first, &jwks, "projects").unwrap();
    let second = desk.keyring.assertion(&session, "projects").unwrap();
    assert_ne!(
        first, second,
        "what the old key signed is not given out again"
    );
    let kid = decode_header(second.to_str().unwrap()).unwrap().kid;
    assert_eq!(kid.as_ref(), Some(&start[1]));

    desk.keyring.rotate().await.unwrap();
    assert!(verify(&first, &desk.keyring.jwks(), "projects").is_err());
    verify(&second, &desk.keyring.jwks(), "projects").unwrap();
}

#[tokio::test]
async fn keys_are_rotated_every_thirty_days() {
    let desk = Desk::new().await;
    let start = kids(&desk.keyring.jwks());
    desk.house.clock.advance(DAYS_30 - MILLISECOND);
    assert!(!desk.keyring.rotate_if_due().await.unwrap());
    assert_eq!(kids(&desk.keyring.jwks()), start);
    desk.house.clock.advance(MILLISECOND);
    assert!(desk.keyring.rotate_if_due().await.unwrap());
    assert!(!desk.keyring.rotate_if_due().await.unwrap());
    assert_eq!(kids(&desk.keyring.jwks())[..2], start[..]);
}

#[tokio::test]
async fn keys_survive_a_restart() {
    let desk = Desk::new().await;
    desk.keyring.rotate().await.unwrap();
    let again = keyring(&desk.house, &desk.sealing).await.unwrap();
    assert_eq!(again.jwks(), desk.keyring.jwks());
    let session = desk.session().await;
    let token = again.assertion(&session, "projects").unwrap();
    verify(&token, &desk.keyring.jwks(), "projects").unwrap();
}

#[tokio::test]
async fn another_instances_rotation_is_taken_over() {
    let desk = Desk::new().await;
    let session = desk.session().await;
    let other = keyring(&desk.house, &desk.sealing).await.unwrap();
    assert_eq!(other.jwks(), desk.keyring.jwks());
    let before = other.assertion(&session, "projects").unwrap();
    desk.keyring.rotate().await.unwrap();
    assert!(!other.rotate_if_due().await.unwrap());
    assert_eq!(other.jwks(), desk.keyring.jwks());
    assert_ne!(other.assertion(&session, "projects").unwrap(), before);

    desk.house.clock.advance(DAYS_30);
    let (one, two) = tokio::join!(other.rotate_if_due(), desk.keyring.rotate_if_due());
    assert!(one.unwrap() ^ two.unwrap(), "one of them rotates");
    assert!(!other.rotate_if_due().await.unwrap());
    assert_eq!(other.jwks(), desk.keyring.jwks());
}

#[tokio::test]
async fn instances_that_start_together_agree_on_the_keys() {
    let house = House::new();
    let sealing = MasterKey::generate().derive("assertion");
    let opened = futures_util::future::join_all((0..4).map(|_| keyring(&house, &sealing))).await;
    let jwks: Vec<_> = opened.into_iter().map(|one| one.unwrap().jwks()).collect();
    assert!(jwks.iter().all(|one| *one == jwks[0]));
}

#[tokio::test]
async fn keys_of_another_master_key_are_not_overwritten() {
    let desk = Desk::new().await;
    let before = desk.house.store.keys.lock().unwrap()[NAME].clone();
    let stranger = MasterKey::generate().derive("assertion");
    let refused = keyring(&desk.house, &stranger).await;
    assert!(matches!(refused, Err(KeyringError::Sealed)));
    assert_eq!(desk.house.store.keys.lock().unwrap()[NAME], before);
}

#[tokio::test]
async fn a_store_that_fails_changes_no_key() {
    let desk = Desk::new().await;
    let session = desk.session().await;
    let before = desk.keyring.jwks();
    desk.house.store.down.store(true, Ordering::SeqCst);
    assert!(matches!(
        desk.keyring.rotate().await,
        Err(KeyringError::Store(_))
    ));
    assert!(desk.keyring.rotate_if_due().await.is_err());
    assert_eq!(desk.keyring.jwks(), before);
    desk.keyring.assertion(&session, "projects").unwrap();
}

#[tokio::test]
async fn keys_that_the_store_lost_are_put_back() {
    let desk = Desk::new().await;
    let before = desk.keyring.jwks();
    desk.house.store.keys.lock().unwrap().clear();
    desk.keyring.rotate_if_due().await.unwrap();
    assert_eq!(
        keyring(&desk.house, &desk.sealing).await.unwrap().jwks(),
        before
    );
}

#[tokio::test]
async fn nothing_secret_shows_in_debug_or_in_the_store() {
    let desk = Desk::new().await;
    desk.house.clock.advance(HOUR);
    let shown = format!("{:?}", desk.keyring);
    assert!(shown.contains(&kids(&desk.keyring.jwks())[0]), "{shown}");
    assert!(
        !shown.contains("pkcs8") && !shown.contains("sealing"),
        "{shown}"
    );
    let stored = desk.house.store.keys.lock().unwrap()[NAME].clone();
    assert!(!stored.windows(5).any(|window| window == b"pkcs8"));
}

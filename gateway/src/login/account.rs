//! What someone who is logged in may see and end: their sessions and devices.

use std::sync::Arc;

use axum::extract::State;
use http::header::HeaderValue;
use http::{HeaderName, Response, StatusCode};
use serde_json::{Map, Value, json};

use super::refused::Refused;
use super::visit::{Post, Visit};
use super::{Desk, Segment, cookies, segment};
use crate::body::Body;
use crate::clock::Timestamp;
use crate::limit;
use crate::pages::{self, AccountPage, DeviceRow, SessionRow};
use crate::principal::Principal;
use crate::secret::BearerHash;
use crate::session::Session;
use crate::store::{AccountKey, DeviceRecord, SessionRecord, Whose};

/// Stands for a handle: every session but the one that asks.
const OTHERS: &str = "others";

/// `POST logout`: ends this session, if there is one.
pub(super) async fn logout(State(desk): State<Arc<Desk>>, post: Post) -> Response<Body> {
    let visit = &post.visit;
    let ended = end_own(&desk, visit).await;
    desk.count(
        "logout",
        ended.as_ref().map_or_else(Refused::kind, |()| "ok"),
    );
    match ended {
        Ok(()) => {
            let mut response = if visit.json {
                pages::bare(StatusCode::NO_CONTENT)
            } else {
                pages::see_other(&format!("{}/login", desk.prefix))
            };
            logged_out(&mut response);
            response
        }
        Err(refused) => refused.answer(&desk, visit),
    }
}

async fn end_own(desk: &Desk, visit: &Visit) -> Result<(), Refused> {
    let Some(cookie) = visit.jar.bearer(cookies::SESSION) else {
        return Ok(());
    };
    let session = desk.sessions.find(&cookie).await?;
    desk.sessions.revoke(&Whose::Bearer(cookie.hash())).await?;
    if let Some(session) = session {
        let mut record = desk.record(visit, "logout", "ok");
        name(&mut record, session.principal());
        // The session has ended, and who wants to leave is not held back by our disk.
        if let Err(error) = desk.audit.keep(record).await {
            tracing::error!(%error, request_id = %visit.client.request_id, "a logout was not recorded");
        }
    }
    Ok(())
}

/// Takes from the browser what it kept for the person who has left.
fn logged_out(response: &mut Response<Body>) {
    let headers = response.headers_mut();
    cookies::clear(headers, cookies::SESSION);
    headers.insert(
        HeaderName::from_static("clear-site-data"),
        HeaderValue::from_static("\"cache\""),
    );
}

/// `GET whoami`.
pub(super) async fn whoami(State(desk): State<Arc<Desk>>, visit: Visit) -> Response<Body> {
    match logged_in(&desk, &visit).await {
        Ok(session) => {
            let mut value = who(session.principal());
            let times = json!({
                "created": session.created().rfc3339(),
                "expires": session.expires().rfc3339(),
                "idle_expires": session.idle_expires().rfc3339(),
            });
            value.insert("session".to_owned(), times);
            pages::json(StatusCode::OK, &value.into())
        }
        // Whoever asks wants to know, not to log in: never a redirect.
        Err(refused) => {
            let mut response = refused.problem(&visit);
            refused.finish(&desk, &mut response);
            response
        }
    }
}

/// User and company, for JSON.
pub(super) fn who(principal: &Principal) -> Map<String, Value> {
    let user = json!({
        "id": principal.id,
        "email": principal.email,
        "name": &*principal.name,
    });
    let company = json!({
        "id": principal.company.id,
        "name": &*principal.company.name,
    });
    Map::from_iter([("user".to_owned(), user), ("company".to_owned(), company)])
}

/// `GET account`: sessions and devices.
pub(super) async fn show(State(desk): State<Arc<Desk>>, visit: Visit) -> Response<Body> {
    match account(&desk, &visit).await {
        Ok(account) if visit.json => pages::json(StatusCode::OK, &account.json()),
        Ok(account) => match desk.failures(account.session.principal()).await {
            Ok(failures) => account.page(&desk, &visit, failures),
            Err(refused) => refused.answer(&desk, &visit),
        },
        Err(refused) => refused.answer(&desk, &visit),
    }
}

/// `POST account/sessions/{id}/revoke`.
pub(super) async fn revoke(
    State(desk): State<Arc<Desk>>,
    handle: Segment,
    post: Post,
) -> Response<Body> {
    let visit = &post.visit;
    let ended = match segment(handle) {
        Ok(handle) => end(&desk, visit, handle).await,
        Err(refused) => Err(refused),
    };
    match ended {
        Ok(ended) => {
            let mut response = done(&desk, visit);
            if ended == Ended::This {
                logged_out(&mut response);
            }
            response
        }
        Err(refused) => refused.answer(&desk, visit),
    }
}

/// `POST account/devices/{id}/forget`.
pub(super) async fn forget(
    State(desk): State<Arc<Desk>>,
    handle: Segment,
    post: Post,
) -> Response<Body> {
    let visit = &post.visit;
    let forgotten = match segment(handle) {
        Ok(handle) => forget_device(&desk, visit, &handle).await,
        Err(refused) => Err(refused),
    };
    match forgotten {
        Ok(()) => done(&desk, visit),
        Err(refused) => refused.answer(&desk, visit),
    }
}

/// Which session was ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    This,
    Another,
}

async fn end(desk: &Desk, visit: &Visit, handle: String) -> Result<Ended, Refused> {
    let session = logged_in(desk, visit).await?;
    let user = session.principal().id.clone();
    let own = session.handle();
    let others = handle == OTHERS;
    let ended = if handle == own {
        Ended::This
    } else {
        Ended::Another
    };
    let which = if others {
        Whose::User(user, Some(own.to_owned()))
    } else {
        Whose::Handle(user, handle)
    };
    let count = desk.sessions.revoke(&which).await?;
    if count == 0 && !others {
        return Err(Refused::Missing);
    }
    let mut record = desk.record(visit, "session.revoke", "ok");
    name(&mut record, session.principal());
    record.detail = Some(format!("{count} ended"));
    desk.audit.keep(record).await?;
    Ok(ended)
}

async fn forget_device(desk: &Desk, visit: &Visit, handle: &str) -> Result<(), Refused> {
    let session = logged_in(desk, visit).await?;
    let account = desk.account_of(session.principal());
    if !desk.store.forget_device(account, handle).await? {
        return Err(Refused::Missing);
    }
    let mut record = desk.record(visit, "device.forget", "ok");
    name(&mut record, session.principal());
    desk.audit.keep(record).await?;
    Ok(())
}

fn done(desk: &Desk, visit: &Visit) -> Response<Body> {
    if visit.json {
        pages::bare(StatusCode::NO_CONTENT)
    } else {
        pages::see_other(&format!("{}/account", desk.prefix))
    }
}

fn name(record: &mut crate::audit::Record, principal: &Principal) {
    record.user = Some(principal.id.to_string());
    record.company = Some(principal.company.id.to_string());
}

async fn logged_in(desk: &Desk, visit: &Visit) -> Result<Arc<Session>, Refused> {
    desk.session(visit).await?.ok_or(Refused::NotLoggedIn)
}

/// What the account page shows.
struct Account {
    session: Arc<Session>,
    sessions: Vec<SessionRecord>,
    devices: Vec<(bool, DeviceRecord)>,
}

async fn account(desk: &Desk, visit: &Visit) -> Result<Account, Refused> {
    let session = logged_in(desk, visit).await?;
    let principal = session.principal();
    let sessions = desk.sessions.list(&principal.id).await?;
    let own: Vec<BearerHash> = visit.jar.devices().iter().map(|own| own.hash()).collect();
    let now = desk.clock.now();
    let devices = desk.store.devices(now, desk.account_of(principal)).await?;
    let mut devices: Vec<_> = devices
        .into_iter()
        .map(|(id, record)| (own.contains(&id), record))
        .collect();
    devices.sort_by_key(|(_, record)| std::cmp::Reverse(record.last_seen));
    Ok(Account {
        session,
        sessions,
        devices,
    })
}

impl Account {
    fn is_current(&self, record: &SessionRecord) -> bool {
        record.handle == self.session.handle()
    }

    fn json(&self) -> Value {
        let row =
            |handle: &str, created: Timestamp, last_seen: Timestamp, client: &str, current| {
                json!({
                    "id": handle,
                    "created": created.rfc3339(),
                    "last_seen": last_seen.rfc3339(),
                    "client": client,
                    "current": current,
                })
            };
        let sessions: Vec<Value> = self
            .sessions
            .iter()
            .map(|s| {
                row(
                    &s.handle,
                    s.created,
                    s.last_seen,
                    &s.client,
                    self.is_current(s),
                )
            })
            .collect();
        let devices: Vec<Value> = self
            .devices
            .iter()
            .map(|(own, d)| row(&d.handle, d.created, d.last_seen, &d.client, *own))
            .collect();
        json!({ "sessions": sessions, "devices": devices })
    }

    fn page(&self, desk: &Desk, visit: &Visit, failures: u32) -> Response<Body> {
        let principal = self.session.principal();
        let (csrf, fresh) = visit.form_token(desk);
        let page = AccountPage {
            csrf: &csrf,
            name: &principal.name,
            email: principal.email.as_str(),
            company: &principal.company.name,
            failures,
            sessions: self
                .sessions
                .iter()
                .map(|record| SessionRow {
                    handle: &record.handle,
                    created: record.created,
                    last_seen: record.last_seen,
                    client: &record.client,
                    current: self.is_current(record),
                })
                .collect(),
            devices: self
                .devices
                .iter()
                .map(|(own, record)| DeviceRow {
                    handle: &record.handle,
                    created: record.created,
                    last_seen: record.last_seen,
                    client: &record.client,
                    current: *own,
                })
                .collect(),
        };
        let mut response = page.page(&visit.frame(desk));
        if let Some(cookie) = fresh {
            let value = cookie.to_cookie_value();
            cookies::set(response.headers_mut(), cookies::FORM, &value, None);
        }
        response
    }
}

impl Desk {
    /// Failed attempts before a person's latest login, to be told once.
    async fn failures(&self, principal: &Principal) -> Result<u32, Refused> {
        let account = self.account_of(principal);
        Ok(self.store.take_failures(account).await?)
    }

    fn account_of(&self, principal: &Principal) -> AccountKey {
        limit::account_key(&self.account_key, &principal.email)
    }
}

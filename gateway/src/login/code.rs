//! The second step: the code.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use http::{Response, StatusCode};
use serde_json::json;

use super::challenge::Success;
use super::landing::landing;
use super::refused::Refused;
use super::visit::{Post, Visit};
use super::{Desk, account, cookies, email, link, waiting};
use crate::body::Body;
use crate::clock::Timestamp;
use crate::pages::{self, AwaitedStep, CodeForm, CodeNote, EmailNote, LinkSent};
use crate::secret::BearerId;
use crate::store::{Challenge, Gate};

/// Digits of a code.
const DIGITS: u32 = 4;

/// `GET code`: the form, as long as the browser has a live challenge.
pub(super) async fn form(State(desk): State<Arc<Desk>>, visit: Visit) -> Response<Body> {
    if !visit.json && visit.jar.bearer(cookies::CHALLENGE).is_none() {
        return pages::see_other(&format!("{}/login", desk.prefix));
    }
    let now = desk.clock.now();
    let (_, challenge) = match desk.challenge(now, &visit).await {
        Ok(found) => found,
        Err(refused) => return refuse(&desk, &visit, &refused, Typed::default()).await,
    };
    let by_link = matches!(challenge.gate, Gate::Link(_));
    if visit.json && by_link {
        let expires_in = challenge.expires.since(now).as_secs();
        let value = json!({ "link": { "expires_in": expires_in } });
        return pages::json(StatusCode::OK, &value);
    }
    if by_link {
        let link = LinkSent {
            site: &desk.host,
            email: &challenge.email,
            next: &challenge.next,
            minutes: link::LIFETIME.as_secs() / 60,
        };
        return link.page(&visit.frame(&desk));
    }
    if visit.json {
        let left = desk.limits.attempts_per_challenge - challenge.attempts;
        let expires_in = challenge.expires.since(now).as_secs();
        let value = json!({ "challenge": {
            "expires_in": expires_in, "digits": DIGITS, "attempts_left": left,
        } });
        return pages::json(StatusCode::OK, &value);
    }
    let resent = visit.query.text("sent") == Some("again");
    let shown = Shown {
        typed: Typed {
            email: &challenge.email,
            next: &challenge.next,
        },
        resend_in: resend_in(&desk, now, &challenge),
        note: resent.then_some(CodeNote::Resent),
    };
    page(&desk, &visit, StatusCode::OK, &shown)
}

/// `POST code`: a session, or what to do instead.
pub(super) async fn submit(State(desk): State<Arc<Desk>>, post: Post) -> Response<Body> {
    let visit = &post.visit;
    let checked = desk.check(visit, post.fields.text("code")).await;
    let result = checked.as_ref().map_or_else(Refused::kind, |_| "ok");
    desk.count("code", result);
    match checked {
        Ok(success) => succeed(&desk, visit, &success),
        Err(refused) => refuse(&desk, visit, &refused, Typed::of(&post)).await,
    }
}

/// `POST resend`: a new code in place of the old.
pub(super) async fn resend(State(desk): State<Arc<Desk>>, post: Post) -> Response<Body> {
    let visit = &post.visit;
    let renewed = desk.renew(visit).await;
    let result = renewed.as_ref().map_or_else(Refused::kind, |_| "ok");
    desk.count("resend", result);
    match renewed {
        Ok(id) => sent(&desk, visit, &id, "?sent=again"),
        Err(Refused::Spent { wait }) if visit.html => {
            let onward = waiting::code(&desk.prefix);
            waiting::page(&desk, visit, wait, AwaitedStep::Resend, &onward)
        }
        Err(refused) => refuse(&desk, visit, &refused, Typed::of(&post)).await,
    }
}

/// The answer to having asked for a code: the form, and the cookie that binds the code to this
/// browser.
pub(super) fn sent(desk: &Desk, visit: &Visit, id: &BearerId, query: &str) -> Response<Body> {
    let lifetime = desk.limits.code_lifetime;
    let mut response = if visit.json {
        let expires_in = lifetime.as_secs();
        let value = json!({ "challenge": { "expires_in": expires_in, "digits": DIGITS } });
        pages::json(StatusCode::ACCEPTED, &value)
    } else {
        pages::see_other(&format!("{}/code{query}", desk.prefix))
    };
    let value = id.to_cookie_value();
    let headers = response.headers_mut();
    cookies::set(headers, cookies::CHALLENGE, &value, Some(lifetime));
    response
}

/// The answer to having asked while the shield is raised: look at your mail. The cookie binds the
/// link to this browser.
pub(super) fn link_sent(desk: &Desk, visit: &Visit, id: &BearerId) -> Response<Body> {
    let mut response = if visit.json {
        let value = json!({ "link": { "expires_in": link::LIFETIME.as_secs() } });
        pages::json(StatusCode::ACCEPTED, &value)
    } else {
        pages::see_other(&format!("{}/code", desk.prefix))
    };
    let value = id.to_cookie_value();
    let headers = response.headers_mut();
    cookies::set(headers, cookies::CHALLENGE, &value, Some(link::LIFETIME));
    response
}

/// The answer to a link that cannot be followed.
pub(super) async fn refuse_link(desk: &Desk, visit: &Visit, refused: &Refused) -> Response<Body> {
    refuse(desk, visit, refused, Typed::default()).await
}

fn succeed(desk: &Desk, visit: &Visit, success: &Success) -> Response<Body> {
    let mut response = if visit.json {
        let mut value = account::who(&success.principal);
        value.insert("next".to_owned(), success.next.as_str().into());
        pages::json(StatusCode::OK, &value.into())
    } else {
        pages::see_other(&success.next)
    };
    let headers = response.headers_mut();
    let session = success.session.to_cookie_value();
    cookies::set(headers, cookies::SESSION, &session, None);
    let age = desk.limits.device_lifetime;
    cookies::set_devices(headers, &success.device, &success.other_devices, age);
    cookies::clear(headers, cookies::CHALLENGE);
    response
}

/// What a form carries along, so that a person need not type it again.
#[derive(Clone, Copy, Default)]
struct Typed<'a> {
    email: &'a str,
    next: &'a str,
}

impl<'a> Typed<'a> {
    fn of(post: &'a Post) -> Self {
        Self {
            email: post.fields.text("email").unwrap_or_default(),
            next: post.fields.text("next").unwrap_or_default(),
        }
    }
}

/// The form again with what was wrong, or the way to a new code.
async fn refuse(desk: &Desk, visit: &Visit, refused: &Refused, typed: Typed<'_>) -> Response<Body> {
    if visit.json {
        let mut response = refused.problem(visit);
        refused.finish(desk, &mut response);
        return response;
    }
    let unauthorized = StatusCode::UNAUTHORIZED;
    let mut response = match refused {
        Refused::Wrong { left: 0 } => restart(desk, visit, typed, EmailNote::LastWrong),
        Refused::Over => restart(desk, visit, typed, EmailNote::Over),
        Refused::Link => restart(desk, visit, typed, EmailNote::LinkOver),
        Refused::Wrong { .. } | Refused::Code => {
            let now = desk.clock.now();
            let challenge = desk.challenge(now, visit).await;
            let shown = Shown {
                typed,
                // The form is of use all the same where the store has stopped answering.
                resend_in: challenge.map_or(Duration::ZERO, |(_, own)| resend_in(desk, now, &own)),
                note: Some(match refused {
                    Refused::Wrong { left } => CodeNote::Wrong { left: *left },
                    _ => CodeNote::Malformed,
                }),
            };
            page(desk, visit, unauthorized, &shown)
        }
        Refused::Spent { wait } if visit.html => {
            let onward = waiting::login(typed.next, &desk.prefix);
            return waiting::page(desk, visit, *wait, AwaitedStep::Login, &onward);
        }
        _ => return refused.answer(desk, visit),
    };
    refused.finish(desk, &mut response);
    response
}

/// The first form, filled in, with the reason why it has to be sent again.
fn restart(desk: &Desk, visit: &Visit, typed: Typed<'_>, note: EmailNote) -> Response<Body> {
    let next = landing(Some(typed.next), &desk.prefix);
    let shown = email::Shown {
        next: &next,
        email: typed.email,
        note: Some(note),
        session: None,
    };
    email::page(desk, visit, StatusCode::UNAUTHORIZED, &shown)
}

/// What the form shows.
struct Shown<'a> {
    typed: Typed<'a>,
    resend_in: Duration,
    note: Option<CodeNote>,
}

fn resend_in(desk: &Desk, now: Timestamp, challenge: &Challenge) -> Duration {
    let pause = desk.sending.pause(challenge.lane);
    challenge.created.plus(pause).since(now)
}

fn page(desk: &Desk, visit: &Visit, status: StatusCode, shown: &Shown<'_>) -> Response<Body> {
    let (csrf, fresh) = visit.form_token(desk);
    let form = CodeForm {
        site: &desk.host,
        csrf: &csrf,
        email: shown.typed.email,
        next: shown.typed.next,
        minutes: desk.limits.code_lifetime.as_secs().div_ceil(60),
        resend_in: shown.resend_in,
        note: shown.note,
    };
    let mut response = form.page(&visit.frame(desk), status);
    if let Some(cookie) = fresh {
        let value = cookie.to_cookie_value();
        cookies::set(response.headers_mut(), cookies::FORM, &value, None);
    }
    response
}

//! The first step: an e-mail address.

use std::sync::Arc;

use axum::extract::State;
use http::{Response, StatusCode};
use serde_json::json;

use super::landing::landing;
use super::refused::Refused;
use super::visit::{Post, Visit};
use super::{Desk, code, cookies, waiting};
use crate::body::Body;
use crate::pages::{self, AwaitedStep, EmailForm, EmailNote, LoggedIn};
use crate::principal::EmailAddress;
use crate::session::Session;

/// `GET login`: the form; says who is logged in already.
pub(super) async fn form(State(desk): State<Arc<Desk>>, visit: Visit) -> Response<Body> {
    let next = landing(visit.query.text("next"), &desk.prefix);
    let session = match desk.session(&visit).await {
        Ok(session) => session,
        Err(refused) => return refused.answer(&desk, &visit),
    };
    if visit.json {
        let post = format!("{}/login", desk.prefix);
        let form = json!({ "login": { "post": post, "fields": ["email", "next"] } });
        return pages::json(StatusCode::OK, &form);
    }
    page(
        &desk,
        &visit,
        StatusCode::OK,
        &Shown {
            next: &next,
            session: session.as_deref(),
            ..Shown::default()
        },
    )
}

/// `POST login`: on to the code, whether the address is known or not.
pub(super) async fn submit(State(desk): State<Arc<Desk>>, post: Post) -> Response<Body> {
    let visit = &post.visit;
    let typed = post.fields.text("email").unwrap_or_default();
    let next = landing(post.fields.text("next"), &desk.prefix);
    let opened = match EmailAddress::parse(typed) {
        Ok(email) => desk.open(visit, &email, next.clone()).await,
        Err(_) => Err(Refused::Email),
    };
    desk.count(
        "email",
        opened.as_ref().map_or_else(Refused::kind, |_| "ok"),
    );
    match opened {
        Ok(opened) if opened.by_link => code::link_sent(&desk, visit, &opened.id),
        Ok(opened) => code::sent(&desk, visit, &opened.id, ""),
        Err(refused @ Refused::Email) if !visit.json => {
            let shown = Shown {
                next: &next,
                email: typed,
                note: Some(EmailNote::Malformed),
                ..Shown::default()
            };
            let mut response = page(&desk, visit, StatusCode::UNPROCESSABLE_ENTITY, &shown);
            refused.finish(&desk, &mut response);
            response
        }
        Err(Refused::Spent { wait }) if visit.html => {
            let onward = waiting::login(&next, &desk.prefix);
            waiting::page(&desk, visit, wait, AwaitedStep::Login, &onward)
        }
        Err(refused) => refused.answer(&desk, visit),
    }
}

/// What the form shows.
#[derive(Default)]
pub(super) struct Shown<'a> {
    pub(super) next: &'a str,
    pub(super) email: &'a str,
    pub(super) note: Option<EmailNote>,
    pub(super) session: Option<&'a Session>,
}

/// The form, with its token's cookie where the browser has none.
pub(super) fn page(
    desk: &Desk,
    visit: &Visit,
    status: StatusCode,
    shown: &Shown<'_>,
) -> Response<Body> {
    let (csrf, fresh) = visit.form_token(desk);
    let form = EmailForm {
        site: &desk.host,
        csrf: &csrf,
        next: shown.next,
        email: shown.email,
        note: shown.note,
        logged_in: shown.session.map(|session| LoggedIn {
            name: &session.principal().name,
        }),
    };
    let mut response = form.page(&visit.frame(desk), status);
    if let Some(cookie) = fresh {
        let value = cookie.to_cookie_value();
        cookies::set(response.headers_mut(), cookies::FORM, &value, None);
    }
    response
}

//! The link that an unknown device has to follow while the shield is raised.
//!
//! The link holds 128 random bits, of which the store keeps a hash; it works once, in the browser
//! that asked for it, and only when its page's button is pressed: programs that look at mails
//! open links, but press no buttons.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use data_encoding::BASE64URL_NOPAD;
use http::{Response, StatusCode};

use super::code;
use super::delivery::{Mailer, QueuedMailer};
use super::refused::Refused;
use super::sending::Clearance;
use super::visit::{Post, Visit};
use super::{Desk, cookies};
use crate::body::Body;
use crate::clock::Timestamp;
use crate::config;
use crate::pages::{self, LinkForm};
use crate::principal::EmailAddress;
use crate::secret::{self, BearerHash, BearerId};
use crate::store::{AccountKey, Gate, Lane, LinkHash};

/// How long a link works.
pub(super) const LIFETIME: Duration = Duration::from_secs(600);

/// What a link carries.
pub(super) struct Token([u8; 16]);

impl Token {
    pub(super) fn generate() -> Self {
        Self(secret::random())
    }

    fn parse(text: &str) -> Option<Self> {
        let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).ok()?;
        bytes.try_into().ok().map(Self)
    }
}

/// `GET link`: the button. Nothing is looked up and nothing is used up.
pub(super) async fn form(State(desk): State<Arc<Desk>>, visit: Visit) -> Response<Body> {
    let token = visit.query.text("token").unwrap_or_default();
    if visit.json || Token::parse(token).is_none() {
        return code::refuse_link(&desk, &visit, &Refused::Link).await;
    }
    if visit.jar.bearer(cookies::CHALLENGE).is_none() {
        return pages::other_browser(&visit.frame(&desk), StatusCode::OK);
    }
    let (csrf, fresh) = visit.form_token(&desk);
    let form = LinkForm {
        site: &desk.host,
        csrf: &csrf,
        token,
    };
    let mut response = form.page(&visit.frame(&desk));
    if let Some(cookie) = fresh {
        let value = cookie.to_cookie_value();
        cookies::set(response.headers_mut(), cookies::FORM, &value, None);
    }
    response
}

/// `POST link`: on to the code.
pub(super) async fn submit(State(desk): State<Arc<Desk>>, post: Post) -> Response<Body> {
    let visit = &post.visit;
    let followed = desk.follow(visit, post.fields.text("token")).await;
    let result = followed.as_ref().map_or_else(Refused::kind, |_| "ok");
    desk.count("link", result);
    match followed {
        Ok(id) => code::sent(&desk, visit, &id, ""),
        Err(refused) => code::refuse_link(&desk, visit, &refused).await,
    }
}

impl Desk {
    /// Whether there is a way past a raised shield at all.
    pub(super) fn mailer(&self) -> Result<&QueuedMailer, Refused> {
        match (self.limits.shield, &self.mailer) {
            (config::Shield::Link, Some(mailer)) => Ok(mailer),
            _ => Err(Refused::NewDevice),
        }
    }

    /// Charges a mail, to nobody as to someone.
    pub(super) async fn clear_mail(
        &self,
        now: Timestamp,
        visit: &Visit,
        account: AccountKey,
        lane: Lane,
        real: bool,
    ) -> Result<(), Refused> {
        let client = visit.client.address;
        let asked = self.sending.mail(account, lane, client, real);
        self.charge(now, &asked, &[]).await?;
        Ok(())
    }

    /// Mails the link of a challenge: it waits in a queue, and nobody for it.
    pub(super) async fn mail_link(
        &self,
        visit: &Visit,
        mailer: &QueuedMailer,
        to: &EmailAddress,
        token: &Token,
    ) {
        let token = BASE64URL_NOPAD.encode(&token.0);
        let url = format!("{}{}/link?token={token}", self.origin, self.prefix);
        let (subject, text) = pages::mail(visit.language, &self.host, &url);
        if let Err(error) = mailer.send(to, &subject, &text).await {
            tracing::error!(%error, "a link was not sent");
        }
    }

    /// A link's hash; where there is nobody to mail it to, one that no link has.
    pub(super) fn link_hash(&self, challenge: BearerHash, token: &Token, real: bool) -> LinkHash {
        let label: &[u8] = if real { b"link" } else { b"no link" };
        LinkHash(self.pepper.mac(&[label, &challenge.0, &token.0]))
    }

    /// Uses up the link that the browser's challenge waits for, and sends the code.
    async fn follow(&self, visit: &Visit, token: Option<&str>) -> Result<BearerId, Refused> {
        let now = self.clock.now();
        let token = token.and_then(Token::parse).ok_or(Refused::Link)?;
        let found = self.challenge(now, visit).await;
        let (id, challenge) = found.map_err(|refused| match refused {
            Refused::Over => Refused::Link,
            other => other,
        })?;
        let link = self.link_hash(id.hash(), &token, true);
        let Gate::Link(expected) = challenge.gate else {
            return Err(Refused::Link);
        };
        // Before anything is charged: a made-up link must not cost the account its messages.
        if !secret::same(&expected.0, &link.0) {
            return Err(Refused::Link);
        }
        let person = self.addressee(&challenge).await?;
        let lane = challenge.lane;
        let cleared = self
            .clear_message(now, visit, challenge.account, lane, person.as_deref())
            .await?;
        let (code, hash) = self.draw(id.hash(), person.is_some());
        let lifetime = self.limits.code_lifetime;
        let followed = self
            .store
            .follow_link(now, id.hash(), link, hash, lifetime)
            .await?;
        if followed.is_none() {
            return Err(Refused::Link);
        }
        let sent = person.filter(|_| cleared == Clearance::Cleared);
        let result = if sent.is_some() { "sent" } else { "held" };
        let mut record = self.record(visit, "login.link", result);
        record.user = challenge.user.map(|user| user.to_string());
        self.audit.note(&record)?;
        if let Some(person) = sent {
            self.send_code(now, visit, id.hash(), &person, &code);
        }
        Ok(id)
    }
}

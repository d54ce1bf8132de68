//! Changing one's own password.
//!
//! A session left open must not be enough to take over the account, so the current password is asked for, and asked of the
//! login's own scheme: its gates count a wrong one as the guess it is. Afterwards every session of the user is over and this
//! browser signs in anew with the new password.

use std::fmt::Debug;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;
use vestibule_engine::audit::{Ending, Reason, Trail};
use vestibule_engine::identity::{Identity, User};
use vestibule_engine::scheme::{Callback, Login, Unavailable};
use vestibule_engine::secret::Secret;

use super::guard::Form;
use super::login::{Wish, flow};
use super::view::{Display, Field, MIN_PASSWORD, PasswordPage, Problem};
use super::{Portal, Visit, cookie, landing, reply};
use crate::serve::return_to::ReturnTo;

/// Writes a new password for a user of ours.
#[async_trait]
pub trait ChangePassword: Debug + Send + Sync {
    /// Checks `old` and writes `new`; raises the user's epoch and clears the duty to change it.
    ///
    /// # Errors
    /// [`Unavailable`] when it cannot be written.
    async fn change_password(
        &self,
        user: &User,
        old: &Secret<String>,
        new: &Secret<String>,
        trail: &mut Trail,
    ) -> Result<Changed, Unavailable>;
}

/// How that ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Changed {
    /// The new password is in force.
    Changed,
    /// The old one is wrong, or the user has none here.
    Rejected(Reason),
    /// The new one will not do; a sentence for the user says why.
    Unsuitable(String),
}

const PURPOSE: &str = "password";

impl Portal {
    /// GET `/password`.
    pub(super) async fn show_password(&self, visit: &mut Visit<'_>) -> Result<Response<Full<Bytes>>, Unavailable> {
        let Some(identity) = self.session(visit).await? else { return Ok(reply::redirect("/login?return_to=%2F")) };
        if self.passwords.is_none() || identity.user.password.is_none() {
            return Ok(visit.missing());
        }
        let target = &visit.request.target;
        let wish = Wish {
            return_to: target.query_values("return_to").first().and_then(|raw| ReturnTo::parse(raw, &visit.origin, visit.tenant)),
            bind: target.query_values("bind").into_iter().next().filter(|bind| landing::is_bind(bind)),
            again: false,
        };
        Ok(self.password_page(visit, &identity, &wish, StatusCode::OK, None))
    }

    /// POST `/password`.
    pub(super) async fn change_password(&self, visit: &mut Visit<'_>) -> Result<Response<Full<Bytes>>, Unavailable> {
        let Ok(form) = Form::read(visit.request) else { return Ok(visit.forged()) };
        visit.display = Display::parse(form.text("display"));
        let (Some(identity), Some(passwords)) = (self.session(visit).await?, &self.passwords) else { return Ok(visit.forged()) };
        let (Some(old), Some(new), Some(repeat)) = (form.secret("old"), form.secret("new"), form.secret("repeat")) else {
            return Ok(visit.forged());
        };
        if !self.allows(visit, &form, &identity, PURPOSE) {
            return Ok(visit.forged());
        }
        let wish = Wish {
            return_to: ReturnTo::parse(form.text("return_to"), &visit.origin, visit.tenant),
            bind: Some(form.text("bind").to_owned()).filter(|bind| landing::is_bind(bind)),
            again: false,
        };
        let again = |visit: &Visit<'_>, field, sentence: &str, advice: &str| {
            // A slip of the hand is no refusal: only what was checked has a number to ask about.
            let problem = Problem { sentence, advice, id: (field == Field::Old).then_some(visit.id.as_str()) };
            Ok(self.password_page(visit, &identity, &wish, StatusCode::FORBIDDEN, Some((field, problem))))
        };
        if new != repeat {
            return again(visit, Field::Repeat, "The two new passwords differ", "Type the new password twice, the same each time.");
        }
        if new.reveal().chars().count() < MIN_PASSWORD {
            return again(visit, Field::New, "The new password is too short", "Longer is better than stranger.");
        }
        if new == old {
            return again(visit, Field::New, "The new password is the current one", "Choose another.");
        }
        let wrong = ("The current password is not right", "Try again, or give your administrator this number:");
        if !self.proves(visit, &identity, old).await? {
            return again(visit, Field::Old, wrong.0, wrong.1);
        }
        match passwords.change_password(&identity.user, old, new, &mut visit.trail).await? {
            Changed::Changed => {}
            Changed::Rejected(_) => return again(visit, Field::Old, wrong.0, wrong.1),
            Changed::Unsuitable(why) => return again(visit, Field::New, &why, "Choose another."),
        }
        self.engine.sessions.end_all(&visit.tenant.id, identity.user.id, Ending::PasswordChanged, &mut visit.trail).await?;
        self.renew(visit, &identity, new, wish).await
    }

    /// Signs in with the new password: a new token for a changed privilege.
    async fn renew(
        &self,
        visit: &mut Visit<'_>,
        former: &Identity,
        password: &Secret<String>,
        wish: Wish,
    ) -> Result<Response<Full<Bytes>>, Unavailable> {
        let Some(mut identity) = self.prove(visit, former, password).await? else { return Ok(reply::redirect("/login")) };
        let opened = self.engine.sessions.open(&identity, visit.request.host.name(), visit.now, &mut visit.trail).await?;
        identity.session = Some(opened.session.clone());
        let mut response = match wish.return_to {
            Some(_) => self.onward(visit, &identity, &wish).await?,
            None if visit.display == Display::Popup => reply::redirect("/?display=popup"),
            None => reply::redirect("/?notice=password"),
        };
        reply::set_cookie(&mut response, cookie::set_session(visit.request, &opened).reveal());
        Ok(response)
    }

    async fn proves(&self, visit: &mut Visit<'_>, identity: &Identity, password: &Secret<String>) -> Result<bool, Unavailable> {
        Ok(self.prove(visit, identity, password).await?.is_some())
    }

    /// Whoever this password belongs to, if it is the same user.
    async fn prove(&self, visit: &mut Visit<'_>, identity: &Identity, password: &Secret<String>) -> Result<Option<Identity>, Unavailable> {
        let Some(flow) = flow(visit) else { return Ok(None) };
        let name = Secret::new(identity.user.name.to_string());
        let form = [("username".to_owned(), name), ("password".to_owned(), password.clone())];
        let callback = Callback { request: visit.request, tenant: &visit.tenant.id, form: &form, now: visit.now };
        let proof = match flow.finish(&callback, &mut visit.trail).await? {
            Login::Accepted { proof, return_to: _ } => proof,
            Login::Rejected(rejection) => {
                visit.rejected(Some(identity.user.name.to_string()), rejection.reason);
                return Ok(None);
            }
            Login::Continue(_) => return Ok(None),
        };
        let proved = self.admit(visit, *proof).await?.ok();
        Ok(proved.filter(|proved| proved.user.id == identity.user.id))
    }

    fn password_page(
        &self,
        visit: &Visit<'_>,
        identity: &Identity,
        wish: &Wish,
        status: StatusCode,
        problem: Option<(Field, Problem<'_>)>,
    ) -> Response<Full<Bytes>> {
        let page = PasswordPage {
            shell: visit.shell(),
            username: identity.user.name.as_str(),
            token: &self.token(identity, PURPOSE),
            return_to: &wish.return_to.as_ref().map(ToString::to_string).unwrap_or_default(),
            bind: wish.bind.as_deref().unwrap_or_default(),
            must: identity.must_change_password(),
            problem,
        };
        reply::page(visit, status, &page)
    }
}

//! Changing one's own password.
//!
//! A session left open must not be enough to take over the account, so the current password is asked for, and a wrong one
//! counts as the guess it is. Afterwards every session of the user is over and this browser signs in anew with the new password.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;
use vestibule_engine::Timestamp;
use vestibule_engine::audit::{Ending, Reason, Ruling, Trail};
use vestibule_engine::clock::Clock;
use vestibule_engine::identity::{Identity, Level, SchemeName, TenantId, User, password};
use vestibule_engine::realm::{Accounts, Attempt, Offered, Passwords};
use vestibule_engine::request::CheckRequest;
use vestibule_engine::scheme::{Callback, Login, Unavailable};
use vestibule_engine::secret::Secret;

use super::guard::Form;
use super::login::{Wish, flow};
use super::view::{Display, ElsewherePage, Field, PasswordPage, Problem};
use super::words::Words;
use super::{Portal, Visit, landing, reply};
use crate::config::checked::PasswordHelp;
use crate::realms::local::{self, LocalRealm, NewPassword, Weakness};
use crate::serve::return_to::ReturnTo;

/// Writes a new password for a user of ours.
#[async_trait]
pub trait ChangePassword: Debug + Send + Sync {
    /// Checks the old password, counted as a guess where it is wrong, and writes the new one: the user's epoch is raised, the
    /// duty to change it is done.
    ///
    /// # Errors
    /// [`Unavailable`] when it cannot be checked or written.
    async fn change_password(&self, change: &Change<'_>, trail: &mut Trail) -> Result<Changed, Unavailable>;

    /// Least characters of a new password of this tenant's users: for the page, which says so beforehand.
    fn minimum_length(&self, tenant: &TenantId) -> usize;

    /// What to tell a user whose password is kept elsewhere; none for those who have theirs here.
    fn elsewhere(&self, user: &User) -> Option<PasswordHelp>;
}

/// What somebody who is signed in asks for.
#[derive(Debug, Clone, Copy)]
pub struct Change<'a> {
    /// The request that carries it.
    pub request: &'a CheckRequest,
    /// Whose password.
    pub user: &'a User,
    /// The one of today.
    pub old: &'a Secret<String>,
    /// The one to be.
    pub new: &'a Secret<String>,
    /// The time.
    pub now: Timestamp,
}

/// How that ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Changed {
    /// The new password is in force.
    Done,
    /// The old one is wrong, or the user has none here.
    Rejected(Reason),
    /// The new one will not do.
    Unsuitable(Unsuitable),
}

/// Why a new password will not do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsuitable {
    /// It could be guessed, or not be typed.
    Weak(Weakness),
    /// It is the one of today.
    Same,
}

impl Unsuitable {
    /// As the user is told.
    fn told(self, words: &Words) -> String {
        match self {
            Self::Weak(Weakness::Short(least)) => Words::fill(words.too_short, &least.to_string()),
            Self::Weak(Weakness::Long) => words.too_long.to_owned(),
            Self::Weak(Weakness::Uniform) => words.too_uniform.to_owned(),
            Self::Weak(Weakness::Name) => words.is_the_name.to_owned(),
            Self::Weak(Weakness::Character) => words.bad_character.to_owned(),
            Self::Same => words.is_the_same.to_owned(),
        }
    }
}

/// The passwords of a realm of ours.
#[derive(Debug)]
pub struct OwnPasswords {
    /// The realm.
    pub realm: Arc<LocalRealm>,
    /// Who counts guesses.
    pub passwords: Arc<Passwords>,
    /// The name in the trail.
    pub step: SchemeName,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

#[async_trait]
impl ChangePassword for OwnPasswords {
    async fn change_password(&self, change: &Change<'_>, trail: &mut Trail) -> Result<Changed, Unavailable> {
        let Some(old) = password(change.old.reveal()) else { return Ok(Changed::Rejected(Reason::MalformedCredential)) };
        let new = match NewPassword::parse(change.new.reveal(), &change.user.name, self.realm.minimum_length()) {
            Ok(new) => new,
            Err(weakness) => return Ok(Changed::Unsuitable(Unsuitable::Weak(weakness))),
        };
        let attempt = Attempt {
            tenant: &change.user.tenant,
            username: &change.user.name,
            secret: Offered::Password(&old),
            client: &change.request.client,
            channel: change.request.client.channel,
            deadline: self.clock.monotonic().saturating_add(PATIENCE),
            // A live session says so better than a cookie: its owner may get past guesses of others.
            known_device: true,
            accounts: Accounts::All,
            source: Some(change.request.client.address),
            // Nobody signs in by this: the session it comes with is as strong as their profile demands.
            level: Level(u8::MAX),
            floor: Duration::ZERO,
            now: change.now,
        };
        match self.realm.change_password(&self.passwords, &attempt, &self.step, &new, trail).await? {
            local::Changed::Done => Ok(Changed::Done),
            local::Changed::Same => Ok(Changed::Unsuitable(Unsuitable::Same)),
            local::Changed::Rejected(rejection) => Ok(Changed::Rejected(rejection.reason)),
        }
    }

    fn minimum_length(&self, _: &TenantId) -> usize {
        self.realm.minimum_length()
    }

    fn elsewhere(&self, _: &User) -> Option<PasswordHelp> {
        None
    }
}

/// After so long nobody waits for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

const PURPOSE: &str = "password";

impl Portal {
    /// GET `/password`.
    pub(super) async fn show_password(&self, visit: &mut Visit<'_>) -> Result<Response<Full<Bytes>>, Unavailable> {
        let Some(identity) = self.session(visit).await? else {
            visit.challenged();
            return Ok(reply::redirect("/login?return_to=%2F"));
        };
        if let Some(help) = self.passwords.as_ref().and_then(|passwords| passwords.elsewhere(&identity.user)) {
            return Ok(kept_elsewhere(visit, &help));
        }
        if self.passwords.is_none() || identity.user.password.is_none() {
            return Ok(visit.missing());
        }
        let target = &visit.request.target;
        let wish = Wish {
            return_to: target.query_values("return_to").first().and_then(|raw| ReturnTo::parse(raw, &visit.origin, visit.tenant)),
            bind: target.query_values("bind").into_iter().next().filter(|bind| landing::is_bind(bind)),
            ..Wish::default()
        };
        Ok(self.password_page(visit, &identity, &wish, StatusCode::OK, None))
    }

    /// POST `/password`.
    pub(super) async fn change_password(&self, visit: &mut Visit<'_>) -> Result<Response<Full<Bytes>>, Unavailable> {
        let Ok(form) = Form::read(visit.request) else { return Ok(visit.forged()) };
        visit.display = Display::parse(form.text("display")).unwrap_or(visit.display);
        let (Some(identity), Some(passwords)) = (self.session(visit).await?, &self.passwords) else { return Ok(visit.forged()) };
        if let Some(help) = passwords.elsewhere(&identity.user) {
            visit.refusal = Some((Ruling::Deny, Reason::NoPassword));
            return Ok(kept_elsewhere(visit, &help));
        }
        let (Some(old), Some(new), Some(repeat)) = (form.secret("old"), form.secret("new"), form.secret("repeat")) else {
            return Ok(visit.forged());
        };
        if !self.allows(visit, &form, &identity, PURPOSE) {
            return Ok(visit.forged());
        }
        let wish = Wish {
            return_to: ReturnTo::parse(form.text("return_to"), &visit.origin, visit.tenant),
            bind: Some(form.text("bind").to_owned()).filter(|bind| landing::is_bind(bind)),
            ..Wish::default()
        };
        let again = |visit: &Visit<'_>, field, sentence: &str, advice: &str| {
            // A slip of the hand is no refusal: only what was checked has a number to ask about.
            let problem = Problem { sentence, advice, id: (field == Field::Old).then_some(visit.id.as_str()) };
            Ok(self.password_page(visit, &identity, &wish, StatusCode::FORBIDDEN, Some((field, problem))))
        };
        if new != repeat {
            return again(visit, Field::Repeat, visit.words.differ, visit.words.type_twice);
        }
        let change = Change { request: visit.request, user: &identity.user, old, new, now: visit.now };
        match passwords.change_password(&change, &mut visit.trail).await? {
            Changed::Done => {}
            Changed::Rejected(reason) => {
                visit.rejected(Some(identity.user.name.to_string()), reason);
                return again(visit, Field::Old, visit.words.current_wrong, visit.words.give_number);
            }
            Changed::Unsuitable(why) => return again(visit, Field::New, &why.told(visit.words), visit.words.choose_another),
        }
        self.engine.sessions.end_all(&visit.tenant.id, identity.user.id, Ending::PasswordChanged, &mut visit.trail).await?;
        self.renew(visit, &identity, new, wish).await
    }

    /// Signs in with the new password: a new token for a changed privilege. Whoever came by others' word signs in by it again, and
    /// where our form is for emergencies nobody else gets past it.
    async fn renew(
        &self,
        visit: &mut Visit<'_>,
        former: &Identity,
        password: &Secret<String>,
        wish: Wish,
    ) -> Result<Response<Full<Bytes>>, Unavailable> {
        let accounts = self.ways_in.accounts(&visit.tenant.id);
        let may_sign_in = accounts == Accounts::All || former.user.break_glass;
        let opens = may_sign_in && self.ways_in.opens(&visit.tenant.id, visit.request.client.address);
        let flow = flow(visit).filter(|_| opens && self.engine.admission.is_local(&former.issuer));
        let Some(flow) = flow else { return Ok(reply::redirect(&wish.address("/login", visit.chosen()))) };
        let name = Secret::new(former.user.name.to_string());
        let form = [("username".to_owned(), name), ("password".to_owned(), password.clone())];
        let (request, tenant, now) = (visit.request, &visit.tenant.id, visit.now);
        let callback = Callback { request, tenant, form: &form, accounts, floor: Duration::ZERO, now };
        let admitted = match flow.finish(&callback, &mut visit.trail).await? {
            Login::Accepted { proof, return_to: _ } => self.admit(visit, *proof).await?.ok(),
            Login::Rejected(_) | Login::Continue(_) => None,
        };
        let Some(mut identity) = admitted.filter(|admitted| admitted.user.id == former.user.id) else {
            return Ok(reply::redirect("/login"));
        };
        let opened = self.engine.sessions.open(&identity, visit.request.host.name(), visit.now, &mut visit.trail).await?;
        identity.session = Some(opened.session.clone());
        let mut response = match wish.return_to {
            Some(_) => self.onward(visit, &identity, &wish).await?,
            None if visit.display == Display::Popup => reply::redirect("/?display=popup"),
            None => reply::redirect("/?notice=password"),
        };
        self.give(visit, &mut response, &opened)?;
        Ok(response)
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
            minimum: self.passwords.as_ref().map_or(local::MINIMUM_LENGTH, |passwords| passwords.minimum_length(&visit.tenant.id)),
            must: self.engine.admission.must_change_password(&identity.user),
            problem,
        };
        reply::page(visit, status, &page)
    }
}

/// Where a password is changed that is not kept here.
fn kept_elsewhere(visit: &Visit<'_>, help: &PasswordHelp) -> Response<Full<Bytes>> {
    let text = help.text.as_deref().unwrap_or(visit.words.whoever_gave_it);
    reply::page(visit, StatusCode::OK, &ElsewherePage { shell: visit.shell(), text, url: help.url.as_deref() })
}

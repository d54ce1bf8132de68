//! Whom an assertion speaks of, and accounts for those who come for the first time.
//!
//! An identity provider names only users that were linked to it, or, where names are configured to count, users whose names
//! end as its names do. An account of the same name is never taken for a newcomer's: whoever can choose a name there could
//! choose an account here.

use std::collections::BTreeMap;

use vestibule_engine::Timestamp;
use vestibule_engine::admission::barred;
use vestibule_engine::audit::{Event, Reason, Trail};
use vestibule_engine::identity::{AccountState, Attributes, ExternalId, GroupName, ProfileName, TenantId, User, UserId, Username};
use vestibule_engine::request::RequestId;
use vestibule_engine::scheme::{Proof, Replay, Unavailable, Who};
use vestibule_saml::names::name_id;
use vestibule_saml::{Assertion, NameId};

use super::{Answer, IdentityProvider, ServiceProvider};
use crate::config::checked::FoundBy;

/// Longest subject, in characters.
const MAX_SUBJECT: usize = 1024;
/// Attempts to write a user whom somebody else is changing.
const ATTEMPTS: usize = 5;

/// Whom an assertion speaks of, as its issuer calls them.
#[derive(Debug)]
struct Subject {
    /// A value of an attribute, or of the NameID.
    id: String,
    /// For how long it means the same.
    lasts: Lasts,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lasts {
    Beyond,
    ForThisLogin,
}

impl ServiceProvider {
    /// What an answer proves. `Err` names nobody here, or nobody whom its issuer may name.
    ///
    /// # Errors
    /// [`Unavailable`] when the store does not answer.
    pub async fn proof(
        &self,
        answer: &Answer,
        tenant: &TenantId,
        now: Timestamp,
        trail: &mut Trail,
    ) -> Result<Result<Proof, Reason>, Unavailable> {
        let Some(provider) = answer.provider(self) else { return Ok(Err(Reason::UnknownPartner)) };
        let assertion = answer.accepted.assertion.value();
        let Some(subject) = subject(provider, assertion) else { return Ok(Err(Reason::NoAccount)) };
        let who = match self.who(provider, &subject, assertion, tenant, now, trail).await? {
            Ok(who) => who,
            Err(reason) => return Ok(Err(reason)),
        };
        let once = &answer.accepted.once;
        Ok(Ok(Proof {
            tenant: tenant.clone(),
            who,
            scheme: self.name.clone(),
            issuer: provider.issuer().clone(),
            level: provider.level(&answer.accepted),
            authenticated_at: assertion.authn.iter().map(|statement| statement.instant).min().unwrap_or(now).min(now),
            replay: vec![Replay::Once { key: once.id.clone().into_bytes(), until: once.until }],
            attributes: stated(provider, assertion),
            ambient: true,
        }))
    }

    async fn who(
        &self,
        provider: &IdentityProvider,
        subject: &Subject,
        assertion: &Assertion,
        tenant: &TenantId,
        now: Timestamp,
        trail: &mut Trail,
    ) -> Result<Result<Who, Reason>, Unavailable> {
        let found = match &provider.settings().users {
            FoundBy::Name { suffix } => {
                let Some(name) = local(&subject.id, suffix) else { return Ok(Err(Reason::SubjectNotAllowed)) };
                match self.users.by_name(tenant, &name).await? {
                    Some(user) => user,
                    None => return Ok(Err(Reason::UnknownUser)),
                }
            }
            FoundBy::Link => {
                let id = ExternalId { issuer: provider.issuer().clone(), id: subject.id.clone() };
                match (self.users.by_external_id(tenant, &id).await?, &provider.settings().provision) {
                    (Some(user), _) => user,
                    (None, Some(profile)) if subject.lasts == Lasts::Beyond => {
                        return self.welcome(provider, profile, id, assertion, tenant, now, trail).await;
                    }
                    // Admission says that nobody is linked.
                    (None, _) => return Ok(Ok(Who::External(id))),
                }
            }
        };
        self.refresh(provider, found.id, assertion).await.map(|refreshed| refreshed.map(Who::User))
    }

    /// Brings an account up to date with what its issuer says of it.
    async fn refresh(&self, provider: &IdentityProvider, id: UserId, assertion: &Assertion) -> Result<Result<UserId, Reason>, Unavailable> {
        let store = self.users.store();
        for _ in 0..ATTEMPTS {
            let Some(user) = store.user(id).await? else { return Ok(Err(Reason::UnknownUser)) };
            // Nothing is written into an account that this issuer could not open.
            if let Some(reason) = barred(&user) {
                return Ok(Err(reason));
            }
            if user.is_operator() {
                return Ok(Err(Reason::SubjectNotAllowed));
            }
            let groups = groups(provider, assertion).unwrap_or_else(|| user.groups.clone());
            let lost = user.groups.iter().any(|group| !groups.contains(group));
            let (display_name, email) = shown(provider, assertion);
            let renewed = User {
                display_name: display_name.or_else(|| user.display_name.clone()),
                email: email.or_else(|| user.email.clone()),
                groups,
                epoch: if lost { user.epoch.saturating_add(1) } else { user.epoch },
                ..user.clone()
            };
            if renewed == user || store.update_user(&renewed, user.epoch).await? {
                return Ok(Ok(id));
            }
        }
        Err(Unavailable::new("store", "the user is being changed all the time"))
    }

    #[expect(clippy::too_many_arguments, reason = "what an account is made of")]
    async fn welcome(
        &self,
        provider: &IdentityProvider,
        profile: &ProfileName,
        id: ExternalId,
        assertion: &Assertion,
        tenant: &TenantId,
        now: Timestamp,
        trail: &mut Trail,
    ) -> Result<Result<Who, Reason>, Unavailable> {
        let name = match &provider.settings().user_name {
            Some(attribute) => only(assertion, attribute).and_then(Username::parse),
            None => Username::parse(&id.id),
        };
        let Some(name) = name else { return Ok(Err(Reason::NoAccount)) };
        let (display_name, email) = shown(provider, assertion);
        let user = User {
            id: UserId(RequestId::new(now)?.0),
            tenant: tenant.clone(),
            name,
            display_name,
            email,
            groups: groups(provider, assertion).unwrap_or_default(),
            profile: profile.clone(),
            state: AccountState::Active,
            must_change_password: false,
            break_glass: false,
            epoch: 0,
            password: None,
            external_ids: vec![id.clone()],
            created: now,
        };
        if self.users.store().insert_user(&user).await? {
            let by = format!("identity provider {}", provider.name());
            trail.events.push(Event::AdminChanged { by, action: "user.provision".to_owned(), subject: user.name.to_string() });
            return Ok(Ok(Who::User(user.id)));
        }
        // Two first logins at once: the other one made it.
        if let Some(user) = self.users.by_external_id(tenant, &id).await? {
            return self.refresh(provider, user.id, assertion).await.map(|refreshed| refreshed.map(Who::User));
        }
        tracing::error!(identity_provider = provider.name(), name = %user.name, "somebody new has the name of another account here");
        Ok(Err(Reason::NoAccount))
    }
}

/// Whom the issuer names, if it is one.
fn subject(provider: &IdentityProvider, assertion: &Assertion) -> Option<Subject> {
    let fits = |id: &str| !id.is_empty() && id.chars().count() <= MAX_SUBJECT && !id.chars().any(char::is_control);
    let subject = match &provider.settings().subject {
        Some(attribute) => Subject { id: only(assertion, attribute)?.to_owned(), lasts: Lasts::Beyond },
        None => {
            let NameId { value, format, .. } = assertion.name_id()?;
            let lasts = if format.as_deref() == Some(name_id::TRANSIENT) { Lasts::ForThisLogin } else { Lasts::Beyond };
            Subject { id: value.clone(), lasts }
        }
    };
    fits(&subject.id).then_some(subject)
}

/// The one value of an attribute. Two would be two people.
fn only<'a>(assertion: &'a Assertion, attribute: &'a str) -> Option<&'a str> {
    let mut values = assertion.values(attribute);
    match (values.next(), values.next()) {
        (Some(value), None) => Some(value),
        (Some(_), Some(_)) | (None, _) => None,
    }
}

/// The user name in a subject that ends with `suffix`.
fn local(subject: &str, suffix: &str) -> Option<Username> {
    let subject = Username::parse(subject)?;
    Username::parse(subject.as_str().strip_suffix(suffix)?)
}

fn groups(provider: &IdentityProvider, assertion: &Assertion) -> Option<Vec<GroupName>> {
    let (attribute, names): &(String, BTreeMap<String, GroupName>) = provider.settings().groups.as_ref()?;
    let mut groups: Vec<GroupName> = assertion.values(attribute).filter_map(|value| names.get(value).cloned()).collect();
    groups.sort_unstable();
    groups.dedup();
    Some(groups)
}

fn shown(provider: &IdentityProvider, assertion: &Assertion) -> (Option<String>, Option<String>) {
    let of = |attribute: &Option<String>| {
        let value = assertion.values(attribute.as_deref()?).next()?;
        (!value.is_empty() && value.len() <= 256 && !value.chars().any(char::is_control)).then(|| value.to_owned())
    };
    (of(&provider.settings().display_name), of(&provider.settings().email))
}

fn stated(provider: &IdentityProvider, assertion: &Assertion) -> Attributes {
    let mut stated = Attributes::new();
    for (there, here) in &provider.settings().attributes {
        let values: Vec<String> = assertion.values(there).map(str::to_owned).collect();
        if !values.is_empty() {
            stated.insert(here.clone(), values);
        }
    }
    stated
}

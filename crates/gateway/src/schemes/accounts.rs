//! Whom a partner's word is about, and accounts for those who come for the first time.
//!
//! A partner names only users that were linked to it, or, where names are configured to count, users whose names end as its
//! names do. An account of the same name is never taken for a newcomer's: whoever can choose a name there could choose an
//! account here.
//!
//! Who it is about is found first, and nothing is written. Once the partner's word is spent it is written into the account: word
//! that is brought a second time changes nothing (attack 43).

use std::collections::BTreeMap;

use vestibule_engine::Timestamp;
use vestibule_engine::admission::barred;
use vestibule_engine::audit::{Event, Reason, Trail};
use vestibule_engine::identity::{AccountState, Attributes, ExternalId, GroupName, Issuer, ProfileName, TenantId, User, UserId, Username};
use vestibule_engine::request::RequestId;
use vestibule_engine::scheme::{Unavailable, Who};
use vestibule_engine::users::Users;

use crate::config::checked::FoundBy;

/// Longest subject, in characters.
const MAX_SUBJECT: usize = 1024;
/// Attempts to write a user whom somebody else is changing.
const ATTEMPTS: usize = 5;

/// How a partner's users become ours.
#[derive(Debug, Clone, Copy)]
pub struct Mapping<'a> {
    /// Who vouches, as links name it.
    pub issuer: &'a Issuer,
    /// What kind of partner, for the record.
    pub kind: &'a str,
    /// Its name here.
    pub partner: &'a str,
    /// How users are found by a subject.
    pub users: &'a FoundBy,
    /// The profile of accounts that are made; `None` makes none.
    pub provision: Option<&'a ProfileName>,
    /// Where it may say another of these profiles.
    pub profiles: Option<&'a (String, BTreeMap<String, ProfileName>)>,
    /// Where the login name of an account that is made stands; `None` for the subject.
    pub user_name: Option<&'a str>,
    /// Where the name to show stands.
    pub display_name: Option<&'a str>,
    /// Where the mail address stands.
    pub email: Option<&'a str>,
    /// Where groups stand, and what they mean here; `None` leaves groups alone.
    pub groups: Option<&'a (String, BTreeMap<String, GroupName>)>,
    /// What is kept, and its names here.
    pub attributes: &'a [(String, String)],
}

/// Whom a partner speaks of, as it calls them.
#[derive(Debug)]
pub struct Subject {
    /// The name.
    pub id: String,
    /// For how long it means the same.
    pub lasts: Lasts,
}

/// For how long a name means the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lasts {
    /// Beyond this login.
    Beyond,
    /// For this login.
    ForThisLogin,
}

/// What a partner states: the values of a name.
pub trait Stated: Sync {
    /// The values, in order.
    fn values(&self, name: &str) -> Vec<String>;
}

/// The one value of a name. Two would be two people.
pub fn only(stated: &dyn Stated, name: &str) -> Option<String> {
    let mut values = stated.values(name).into_iter();
    match (values.next(), values.next()) {
        (Some(value), None) => Some(value),
        (Some(_), Some(_)) | (None, _) => None,
    }
}

impl Subject {
    /// The subject, if it can be one.
    pub fn parse(id: &str, lasts: Lasts) -> Option<Self> {
        let fits = !id.is_empty() && id.chars().count() <= MAX_SUBJECT && !id.chars().any(char::is_control);
        fits.then(|| Self { id: id.to_owned(), lasts })
    }
}

impl<'a> Mapping<'a> {
    /// Whom a subject is here; [`Account::keep`] comes later. `Err` is nobody, or nobody whom this partner may name.
    ///
    /// # Errors
    /// [`Unavailable`] when the store does not answer.
    pub async fn find(
        self,
        users: &'a Users,
        subject: &Subject,
        stated: &'a dyn Stated,
        tenant: &TenantId,
        now: Timestamp,
    ) -> Result<Result<(Who, Account<'a>), Reason>, Unavailable> {
        let mut account = Account { mapping: self, users, stated, profile: None };
        let found = match self.users {
            FoundBy::Name { suffix } => {
                let Some(name) = local(&subject.id, suffix) else { return Ok(Err(Reason::SubjectNotAllowed)) };
                match users.by_name(tenant, &name).await? {
                    Some(user) => user,
                    None => return Ok(Err(Reason::UnknownUser)),
                }
            }
            FoundBy::Link => {
                let id = ExternalId { issuer: self.issuer.clone(), id: subject.id.clone() };
                match users.linked(tenant, &id, now).await? {
                    Some(user) => user,
                    // Where no account is to be made, admission says that nobody is linked.
                    None => {
                        account.profile = match self.profile(stated) {
                            Ok(profile) => profile.filter(|_| subject.lasts == Lasts::Beyond),
                            Err(reason) => return Ok(Err(reason)),
                        };
                        return Ok(Ok((Who::External(id), account)));
                    }
                }
            }
        };
        Ok(Ok((Who::User(found.id), account)))
    }

    /// Brings an account up to date with what its issuer says of it. Returns whether that changed it.
    ///
    /// # Errors
    /// [`Unavailable`] when the store does not answer.
    pub async fn refresh(
        &self,
        users: &Users,
        id: UserId,
        stated: &dyn Stated,
        now: Timestamp,
    ) -> Result<Result<bool, Reason>, Unavailable> {
        // Mostly it says what it said before, and nobody has to be asked.
        if let Some(user) = users.by_id(id, now).await?
            && self.renewed(&user, stated).is_ok_and(|renewed| renewed == *user)
        {
            return Ok(Ok(false));
        }
        let store = users.store();
        for _ in 0..ATTEMPTS {
            let Some(user) = store.user(id).await? else { return Ok(Err(Reason::UnknownUser)) };
            let renewed = match self.renewed(&user, stated) {
                Ok(renewed) => renewed,
                Err(reason) => return Ok(Err(reason)),
            };
            if renewed == user {
                return Ok(Ok(false));
            }
            if store.update_user(&renewed, user.epoch).await? {
                return Ok(Ok(true));
            }
        }
        Err(Unavailable::new("store", "the user is being changed all the time"))
    }

    /// The account as its issuer describes it. Nothing is written into one that this issuer could not open.
    fn renewed(&self, user: &User, stated: &dyn Stated) -> Result<User, Reason> {
        if let Some(reason) = barred(user) {
            return Err(reason);
        }
        if user.is_operator() {
            return Err(Reason::SubjectNotAllowed);
        }
        let groups = self.groups(stated).unwrap_or_else(|| user.groups.clone());
        let lost = user.groups.iter().any(|group| !groups.contains(group));
        let (display_name, email) = self.shown(stated);
        Ok(User {
            display_name: display_name.or_else(|| user.display_name.clone()),
            email: email.or_else(|| user.email.clone()),
            groups,
            epoch: if lost { user.epoch.saturating_add(1) } else { user.epoch },
            ..user.clone()
        })
    }

    fn groups(&self, stated: &dyn Stated) -> Option<Vec<GroupName>> {
        let (place, names) = self.groups?;
        let mut groups: Vec<GroupName> = stated.values(place).iter().filter_map(|value| names.get(value).cloned()).collect();
        groups.sort_unstable();
        groups.dedup();
        Some(groups)
    }

    fn shown(&self, stated: &dyn Stated) -> (Option<String>, Option<String>) {
        let of = |name: Option<&str>| {
            let value = stated.values(name?).into_iter().next()?;
            (!value.is_empty() && value.len() <= 256 && !value.chars().any(char::is_control)).then_some(value)
        };
        (of(self.display_name), of(self.email))
    }

    /// The profile of an account that is made; `None` makes none. One that is not listed is not to be had.
    fn profile(&self, stated: &dyn Stated) -> Result<Option<&'a ProfileName>, Reason> {
        let (Some(_), Some((place, names))) = (self.provision, self.profiles) else { return Ok(self.provision) };
        match stated.values(place).as_slice() {
            [] => Ok(self.provision),
            [one] => names.get(one).map(Some).ok_or(Reason::NoAccount),
            [_, _, ..] => Err(Reason::NoAccount),
        }
    }

    /// The name of an account that is made.
    fn name_of(&self, id: &ExternalId, stated: &dyn Stated) -> Option<Username> {
        match self.user_name {
            Some(name) => only(stated, name).and_then(|name| Username::parse(&name)),
            None => Username::parse(&id.id),
        }
    }

    /// An account of the same name is never taken for a newcomer's.
    fn taken(&self, name: &Username) -> Reason {
        tracing::error!(partner = self.partner, %name, "somebody new has the name of another account here");
        Reason::NoAccount
    }

    /// What is kept with the session.
    pub fn kept(&self, stated: &dyn Stated) -> Attributes {
        let mut kept = Attributes::new();
        for (there, here) in self.attributes {
            let values = stated.values(there);
            if !values.is_empty() {
                kept.insert(here.clone(), values);
            }
        }
        kept
    }
}

/// What a partner says of somebody, and where it is kept. To be kept when its word is spent, not before.
#[derive(Clone, Copy)]
pub struct Account<'a> {
    mapping: Mapping<'a>,
    users: &'a Users,
    stated: &'a dyn Stated,
    /// The profile of the account that is to be made; `None` for one that is there, or is not to be.
    profile: Option<&'a ProfileName>,
}

impl Account<'_> {
    /// Whether it is to be made.
    pub fn is_new(&self) -> bool {
        self.profile.is_some()
    }

    /// Whether it could be made now, to be asked before the word that makes it is spent: once the operator has mended what is in the
    /// way, the same word is good still.
    ///
    /// # Errors
    /// [`Unavailable`] when the store does not answer.
    pub async fn may_be_made(&self, who: &Who, tenant: &TenantId) -> Result<Result<(), Reason>, Unavailable> {
        let Who::External(id) = who else { return Ok(Ok(())) };
        let Some(name) = self.mapping.name_of(id, self.stated) else { return Ok(Err(Reason::NoAccount)) };
        match self.users.by_name(tenant, &name).await? {
            // Two first logins at once: the other one made it.
            Some(user) if !user.external_ids.contains(id) => Ok(Err(self.mapping.taken(&name))),
            Some(_) | None => Ok(Ok(())),
        }
    }

    /// Makes the account of `who`, or brings it up to date. Returns whose it is if it is another than before; `Err` may not enter.
    ///
    /// # Errors
    /// [`Unavailable`] when the store does not answer.
    pub async fn keep(
        &self,
        who: &Who,
        tenant: &TenantId,
        now: Timestamp,
        trail: &mut Trail,
    ) -> Result<Result<Option<UserId>, Reason>, Unavailable> {
        match (who, self.profile) {
            (Who::User(id), _) => {
                self.mapping.refresh(self.users, *id, self.stated, now).await.map(|kept| kept.map(|changed| changed.then_some(*id)))
            }
            (Who::External(id), Some(profile)) => self.welcome(id, profile, tenant, now, trail).await.map(|made| made.map(Some)),
            (Who::External(_), None) => Ok(Ok(None)),
        }
    }

    async fn welcome(
        &self,
        id: &ExternalId,
        profile: &ProfileName,
        tenant: &TenantId,
        now: Timestamp,
        trail: &mut Trail,
    ) -> Result<Result<UserId, Reason>, Unavailable> {
        let mapping = self.mapping;
        let Some(name) = mapping.name_of(id, self.stated) else { return Ok(Err(Reason::NoAccount)) };
        let (display_name, email) = mapping.shown(self.stated);
        let user = User {
            id: UserId(RequestId::new(now)?.0),
            tenant: tenant.clone(),
            name,
            display_name,
            email,
            groups: mapping.groups(self.stated).unwrap_or_default(),
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
            let by = format!("{} {}", mapping.kind, mapping.partner);
            trail.events.push(Event::AdminChanged { by, action: "user.provision".to_owned(), subject: user.name.to_string() });
            return Ok(Ok(user.id));
        }
        // Two first logins at once: the other one made it.
        if let Some(user) = self.users.by_external_id(tenant, id).await? {
            return mapping.refresh(self.users, user.id, self.stated, now).await.map(|refreshed| refreshed.map(|_| user.id));
        }
        Ok(Err(mapping.taken(&user.name)))
    }
}

/// The user name in a subject that ends with `suffix`.
fn local(subject: &str, suffix: &str) -> Option<Username> {
    let subject = Username::parse(subject)?;
    Username::parse(subject.as_str().strip_suffix(suffix)?)
}

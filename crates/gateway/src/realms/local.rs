//! Our own users (`authentication-chain.md` §4).
//!
//! An attacker measures how long a refusal takes, to learn which names exist. So every attempt costs exactly one
//! hash: of the account, or a decoy for names that are unknown, have no password or may not enter.

use std::sync::Arc;

use async_trait::async_trait;
use vestibule_engine::admission::barred;
use vestibule_engine::audit::{Reason, Trail};
use vestibule_engine::identity::{Attributes, PasswordHash, RealmName, SchemeName, TenantId, User, Username, password};
use vestibule_engine::profile::Profiles;
use vestibule_engine::realm::{Account, Accounts, Answer, Attempt, Check, Offered, Passwords, Realm, RealmStep, Then};
use vestibule_engine::scheme::{Rejection, Unavailable, Who};
use vestibule_engine::secret::Secret;
use vestibule_engine::users::Users;

use super::hashing::{Dearest, HashingPool, Lane, Match, decoy};

/// Least characters of a password where nothing else is configured: longer than NIST SP 800-63B's 8, since many have no
/// second factor.
pub const MINIMUM_LENGTH: usize = 12;
/// Least different characters: twelve times the same one is no password.
const MIN_DIFFERENT: usize = 5;
/// Users read at once by [`LocalRealm::survey`].
const PAGE: usize = 1000;
/// The realm over our own users.
#[derive(Debug)]
pub struct LocalRealm {
    name: RealmName,
    users: Arc<Users>,
    pool: Arc<HashingPool>,
    operators_from: Vec<ipnet::IpNet>,
    minimum_length: usize,
    profiles: Arc<Profiles>,
    decoy: PasswordHash,
    dearest: Dearest,
}

/// How a change of password ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changed {
    /// It is changed; all sessions of the user are over.
    Done,
    /// The new password is the old one.
    Same,
    /// The old password was not accepted, or the user changed meanwhile.
    Rejected(Rejection),
}

/// A password good enough to be set, in NFC.
#[derive(Debug, Clone)]
pub struct NewPassword(Secret<String>);

/// What is wrong with a new password. The text is for its owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Weakness {
    /// Fewer characters than the realm demands.
    #[error("The new password needs at least {0} characters.")]
    Short(usize),
    /// More octets than a login accepts.
    #[error("The new password is too long.")]
    Long,
    /// Nearly all characters are the same.
    #[error("The new password needs more different characters.")]
    Uniform,
    /// It is the user's name.
    #[error("The new password must not be the user name.")]
    Name,
    /// A control character: HTTP Basic could not carry it.
    #[error("The new password contains a character that cannot be used.")]
    Character,
}

impl NewPassword {
    /// Reads what somebody typed as their new password, of at least `minimum` characters. Length counts, not classes of characters (NIST SP 800-63B §3.1.1.2).
    ///
    /// # Errors
    /// The [`Weakness`] to tell them.
    pub fn parse(typed: &str, username: &Username, minimum: usize) -> Result<Self, Weakness> {
        let secret = password(typed).ok_or(Weakness::Long)?;
        let text = secret.reveal();
        if text.chars().count() < minimum {
            return Err(Weakness::Short(minimum));
        }
        if text.chars().any(char::is_control) {
            return Err(Weakness::Character);
        }
        if text.chars().collect::<std::collections::HashSet<_>>().len() < MIN_DIFFERENT {
            return Err(Weakness::Uniform);
        }
        if Username::parse(text).as_ref() == Some(username) {
            return Err(Weakness::Name);
        }
        Ok(Self(secret))
    }

    /// The password itself.
    pub fn secret(&self) -> &Secret<String> {
        &self.0
    }
}

impl LocalRealm {
    /// A realm over these users, whose new passwords have at least `minimum_length` characters. Operator and break-glass accounts are compared only from `operators_from`:
    /// from elsewhere even the right password must look like a wrong one.
    ///
    /// # Errors
    /// [`Unavailable`] without random numbers.
    pub fn new(
        name: RealmName,
        users: Arc<Users>,
        pool: Arc<HashingPool>,
        operators_from: Vec<ipnet::IpNet>,
        minimum_length: usize,
        profiles: Arc<Profiles>,
    ) -> Result<Self, Unavailable> {
        let (decoy, dearest) = (decoy(pool.cost())?, Dearest::default());
        dearest.meet(&decoy, pool.cost());
        Ok(Self { name, users, pool, operators_from, minimum_length, profiles, decoy, dearest })
    }

    /// Least characters of a new password.
    pub fn minimum_length(&self) -> usize {
        self.minimum_length
    }

    /// Reads the users of a tenant, so that the floor covers the dearest hash before it is first met.
    ///
    /// # Errors
    /// [`Unavailable`] when the store does not answer.
    pub async fn survey(&self, tenant: &TenantId) -> Result<(), Unavailable> {
        let mut after = None;
        loop {
            let page = self.users.store().users(tenant, None, after.as_ref(), PAGE).await?;
            page.iter().filter_map(|user| user.password.as_ref()).for_each(|hash| self.dearest.meet(hash, self.pool.cost()));
            match page.last() {
                Some(last) if page.len() == PAGE => after = Some(last.name.clone()),
                Some(_) | None => return Ok(()),
            }
        }
    }

    /// Changes a password at its owner's wish. The attempt carries the old one, which is checked and counted as at
    /// login; `step` names the line in the trail. Raises the epoch: all sessions of the user end.
    ///
    /// # Errors
    /// [`Unavailable`] when the store or the pool does not answer.
    pub async fn change_password(
        self: &Arc<Self>,
        passwords: &Passwords,
        attempt: &Attempt<'_>,
        step: &SchemeName,
        new: &NewPassword,
        trail: &mut Trail,
    ) -> Result<Changed, Unavailable> {
        let steps = [RealmStep { scheme: step.clone(), realm: self.clone(), then: Then::Next }];
        let (id, epoch) = match passwords.verify(&steps, attempt, trail).await? {
            Answer::Accepted { account: Account { who: Who::User(id), epoch: Some(epoch), .. }, .. } => (id, epoch),
            // INVARIANT: this realm names its own users and their epochs only.
            Answer::Accepted { .. } => return Ok(Changed::Rejected(Rejection::next(Reason::UnknownUser))),
            Answer::Rejected(rejection) => return Ok(Changed::Rejected(rejection)),
        };
        if matches!(attempt.secret, Offered::Password(old) if old == new.secret()) {
            return Ok(Changed::Same);
        }
        let hash = self.pool.hash(new.secret(), lane(attempt)).await?;
        let stale = Changed::Rejected(Rejection::next(Reason::StaleEpoch));
        // The epoch is the one the old password was checked under: of two changes at once only one holds.
        let Some(user) = self.users.store().user(id).await?.filter(|user| user.epoch == epoch) else { return Ok(stale) };
        if !self.store(user, hash).await? {
            return Ok(stale);
        }
        passwords.forget(attempt.tenant, attempt.username);
        Ok(Changed::Done)
    }

    async fn store(&self, user: User, hash: PasswordHash) -> Result<bool, Unavailable> {
        let epoch = user.epoch;
        let user = User { password: Some(hash), epoch: epoch.saturating_add(1), must_change_password: false, ..user };
        self.users.store().update_user(&user, epoch).await
    }

    /// The hash to compare with, or why there is none.
    fn hash_of<'a>(&self, user: Option<&'a User>, attempt: &Attempt<'_>) -> Result<(&'a User, &'a PasswordHash), Reason> {
        let user = match attempt.accounts {
            Accounts::All | Accounts::Elsewhere => user,
            Accounts::BreakGlass => user.filter(|user| user.break_glass),
        };
        let user = user.ok_or(Reason::UnknownUser)?;
        if let Some(reason) = barred(user) {
            return Err(reason);
        }
        // A password that was once set here must not survive a revocation where it is checked now.
        if self.profiles.delegate(user).is_some() {
            return Err(Reason::NoPassword);
        }
        let address = attempt.client.address.to_canonical();
        if user.is_operator() {
            let listed = self.operators_from.iter().any(|net| net.contains(&address));
            // `rulings.md`: an alarm per attempt.
            tracing::warn!(%address, listed, user = %user.id, "a password is tried for an operator account");
            if !listed {
                return Err(Reason::AddressNotListed);
            }
        }
        let hash = user.password.as_ref().ok_or(Reason::NoPassword)?;
        attempt.terms().bar(user, &self.profiles).map_or(Ok((user, hash)), Err)
    }

    /// Replaces an imported hash by one of ours. The epoch stays: the password is the same, so sessions live on.
    async fn renew(&self, user: &User, password: &Secret<String>, lane: Lane) -> Result<(), Unavailable> {
        let hash = self.pool.hash(password, lane).await?;
        if let Some(held) = &user.password {
            // What else changed in the meantime is not undone, a newer password least of all.
            self.users.store().replace_password(user.id, held, &hash).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl Realm for LocalRealm {
    fn name(&self) -> &RealmName {
        &self.name
    }

    async fn verify(&self, attempt: &Attempt<'_>, _: &mut Trail) -> Result<Check, Unavailable> {
        // We keep no password that a digest could be compared with.
        let Offered::Password(password) = attempt.secret else { return Ok(Check::Rejected(Reason::NoPassword)) };
        let user = self.users.by_name(attempt.tenant, attempt.username).await?;
        let held = self.hash_of(user.as_deref(), attempt);
        let hash = held.map_or(&self.decoy, |(_, hash)| hash);
        self.dearest.meet(hash, self.pool.cost());
        let found = self.pool.verify(hash, password, lane(attempt), attempt.deadline).await?;
        let user = match held {
            Ok((user, _)) => user,
            Err(reason) => return Ok(Check::Rejected(reason)),
        };
        match found {
            Match::Same => {}
            Match::SameButOutdated => {
                if let Err(down) = self.renew(user, password, lane(attempt)).await {
                    tracing::debug!(error = %down, "an imported hash is replaced another time");
                }
            }
            Match::Different => return Ok(Check::Rejected(Reason::WrongPassword)),
        }
        Ok(Check::Accepted(Account { who: Who::User(user.id), attributes: Attributes::new(), epoch: Some(user.epoch) }))
    }

    async fn pretend(&self, attempt: &Attempt<'_>) {
        let Offered::Password(password) = attempt.secret else { return };
        // What it finds means nothing, and neither does that there was no time for it.
        let _ = self.pool.verify(&self.decoy, password, lane(attempt), attempt.deadline).await;
    }

    fn dearest(&self) -> std::time::Duration {
        self.dearest.cost()
    }
}

fn lane(attempt: &Attempt<'_>) -> Lane {
    Lane::of(attempt.client.address, attempt.known_device)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;
    use std::time::Duration;

    use vestibule_engine::clock::{Clock, SystemClock};
    use vestibule_engine::identity::{AccountState, Level};
    use vestibule_engine::profile::{Hours, Profile};
    use vestibule_engine::realm::{Limits, PASSWORD};
    use vestibule_engine::request::{Channel, Client};

    use super::super::hashing::{self, Cost};
    use super::super::shelf::Shelf;
    use super::*;

    struct House {
        shelf: Arc<Shelf>,
        realm: Arc<LocalRealm>,
        passwords: Passwords,
        clock: Arc<SystemClock>,
    }

    /// Of ours.
    fn hash(password: &str) -> PasswordHash {
        hashing::hash(&Secret::from(password), Cost::default()).unwrap()
    }

    fn import(text: &str) -> PasswordHash {
        hashing::import(text, Cost::default()).unwrap()
    }

    /// Whoever has the profile `elsewhere` has their password checked elsewhere; the others say by their names what they ask.
    fn profiles() -> Arc<Profiles> {
        let elsewhere = Profile { delegated: Some("corp".into()), ..Profile::default() };
        let office = Profile { addresses: vec!["10.0.0.0/8".parse().unwrap()], ..Profile::default() };
        let never = Profile { hours: Some(Hours::parse(&[], "UTC").unwrap()), ..Profile::default() };
        let strong = Profile { level: Some(Level(20)), ..Profile::default() };
        let named = [("elsewhere", elsewhere), ("office", office), ("never", never), ("strong", strong)];
        Arc::new(named.into_iter().map(|(name, profile)| (name.into(), profile)).collect())
    }

    const RIGHT: &str = "correct horse battery";

    fn house() -> House {
        let (shelf, clock) = (Arc::new(Shelf::default()), Arc::new(SystemClock::default()));
        let users = Arc::new(Users::new(shelf.clone(), Duration::from_secs(1)));
        let pool = Arc::new(HashingPool::new(1, 64, Cost::default(), hashing::tests::sealing(), clock.clone()).unwrap());
        let realm = LocalRealm::new("local".into(), users, pool, vec!["10.0.0.0/8".parse().unwrap()], MINIMUM_LENGTH, profiles()).unwrap();
        let limits = Limits { floor: Duration::from_millis(1), ..Limits::default() };
        let passwords = Passwords::new(shelf.clone(), clock.clone(), limits);
        House { shelf, realm: Arc::new(realm), passwords, clock }
    }

    impl House {
        async fn with<T>(&self, name: &str, password: &str, from: &str, accounts: Accounts, run: impl AsyncFnOnce(&Attempt<'_>) -> T) -> T {
            let (tenant, username, secret) = (TenantId::from("north"), Username::parse(name).unwrap(), Secret::from(password));
            let client = Client { address: from.parse().unwrap(), channel: Channel::Tls, sni: None, certificate: Default::default() };
            run(&Attempt {
                tenant: &tenant,
                username: &username,
                secret: Offered::Password(&secret),
                client: &client,
                channel: Channel::Tls,
                deadline: Duration::MAX,
                known_device: false,
                accounts,
                source: Some(client.address),
                level: PASSWORD,
                floor: Duration::ZERO,
                now: self.clock.now(),
            })
            .await
        }

        async fn check(&self, name: &str, password: &str, from: &str, accounts: Accounts) -> Result<Account, Reason> {
            match self
                .with(name, password, from, accounts, async |attempt| self.realm.verify(attempt, &mut Trail::new(self.clock.clone())).await)
                .await
                .unwrap()
            {
                Check::Accepted(account) => Ok(account),
                Check::Rejected(reason) => Err(reason),
            }
        }

        async fn change(&self, old: &str, new: &str) -> Changed {
            let new = NewPassword::parse(new, &Username::parse("ada").unwrap(), MINIMUM_LENGTH).unwrap();
            let mut trail = Trail::new(self.clock.clone());
            let step = SchemeName::from("change-password");
            let run = async |attempt: &Attempt<'_>| self.realm.change_password(&self.passwords, attempt, &step, &new, &mut trail).await;
            self.with("ada", old, "192.0.2.1", Accounts::All, run).await.unwrap()
        }
    }

    #[tokio::test]
    async fn the_right_password_of_an_active_account_is_accepted_and_nothing_else() {
        let house = house();
        let stored = Some(hash(RIGHT));
        let ada = house.shelf.add("ada", stored.clone(), |_| {});
        house.shelf.add("nohash", None, |_| {});
        house.shelf.add("disabled", stored.clone(), |user| user.state = AccountState::Disabled);
        house.shelf.add("locked", stored.clone(), |user| user.state = AccountState::Locked);
        house.shelf.add("expired", stored.clone(), |user| user.state = AccountState::Expired);
        house.shelf.add("delegated", stored.clone(), |user| user.profile = "elsewhere".into());
        house.shelf.add("elsewhere", stored, |user| user.tenant = "south".into());
        let check = async |name, password| {
            house.check(name, password, "192.0.2.1", Accounts::All).await.map(|account| (account.who, account.epoch))
        };
        assert_eq!(check("ada", RIGHT).await, Ok((Who::User(ada), Some(1))));
        assert_eq!(check("ada", "wrong").await, Err(Reason::WrongPassword));
        assert_eq!(check("delegated", RIGHT).await, Err(Reason::NoPassword));
        assert_eq!(check("nobody", RIGHT).await, Err(Reason::UnknownUser));
        assert_eq!(check("elsewhere", RIGHT).await, Err(Reason::UnknownUser));
        assert_eq!(check("nohash", RIGHT).await, Err(Reason::NoPassword));
        assert_eq!(check("disabled", RIGHT).await, Err(Reason::Disabled));
        assert_eq!(check("locked", RIGHT).await, Err(Reason::Locked));
        assert_eq!(check("expired", RIGHT).await, Err(Reason::Expired));
    }

    #[tokio::test]
    async fn the_right_password_of_somebody_who_may_not_enter_is_a_wrong_guess() {
        let house = house();
        let stored = Some(hash(RIGHT));
        for name in ["office", "never", "strong"] {
            house.shelf.add(name, stored.clone(), |user| user.profile = name.into());
        }
        let check = async |name, from| house.check(name, RIGHT, from, Accounts::All).await.err();
        assert_eq!(check("office", "192.0.2.1").await, Some(Reason::AddressNotListed));
        assert_eq!(check("office", "10.1.2.3").await, None);
        assert_eq!(check("never", "10.1.2.3").await, Some(Reason::OutsideHours));
        assert_eq!(check("strong", "10.1.2.3").await, Some(Reason::WeakProof));
        // Counted and waited for like one: after five the gate is closed, whatever was guessed.
        let step = RealmStep { scheme: "basic".into(), realm: house.realm.clone(), then: Then::Next };
        for reason in [Reason::AddressNotListed; 5].into_iter().chain([Reason::AccountGateClosed]) {
            let run = async |attempt: &Attempt<'_>| {
                house.passwords.verify(std::slice::from_ref(&step), attempt, &mut Trail::new(house.clock.clone())).await
            };
            let answer = house.with("office", RIGHT, "192.0.2.1", Accounts::All, run).await.unwrap();
            assert!(matches!(answer, Answer::Rejected(rejection) if rejection.reason == reason), "{answer:?}");
        }
    }

    #[tokio::test]
    async fn operators_are_compared_from_listed_addresses_only() {
        let house = house();
        let stored = Some(hash(RIGHT));
        house.shelf.add("root", stored.clone(), |user| user.profile = User::ADMINISTRATOR.into());
        house.shelf.add("glass", stored.clone(), |user| user.break_glass = true);
        house.shelf.add("ada", stored, |_| {});
        for name in ["root", "glass"] {
            assert_eq!(house.check(name, RIGHT, "192.0.2.1", Accounts::All).await.unwrap_err(), Reason::AddressNotListed);
            assert!(house.check(name, RIGHT, "::ffff:10.1.2.3", Accounts::All).await.is_ok());
        }
        // While an exclusive directory is down.
        assert!(house.check("glass", RIGHT, "10.1.2.3", Accounts::BreakGlass).await.is_ok());
        for name in ["root", "ada"] {
            assert_eq!(house.check(name, RIGHT, "10.1.2.3", Accounts::BreakGlass).await.unwrap_err(), Reason::UnknownUser);
        }
    }

    #[tokio::test]
    async fn an_imported_hash_is_replaced_after_the_first_success_and_sessions_live_on() {
        let house = house();
        let imported = import("{SSHA}12mJ6etYCpM1oXTRaCHR4ffDmnBzYWx0c2FsdA==");
        let ada = house.shelf.add("ada", Some(imported.clone()), |_| {});
        let check = async |password| house.check("ada", password, "192.0.2.1", Accounts::All).await;
        assert_eq!(check("wrong").await.unwrap_err(), Reason::WrongPassword);
        assert_eq!(house.shelf.read(ada).password, Some(imported));
        assert!(check("Tr0ub4dor&3").await.is_ok());
        let user = house.shelf.read(ada);
        assert!(user.password.unwrap().0.starts_with("$argon2id$v=19$m=19456,"));
        assert_eq!(user.epoch, 1);
        assert!(check("Tr0ub4dor&3").await.is_ok());
        assert_eq!(house.shelf.writes.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_hash_of_every_kind_admits_its_owner_once_and_is_ours_from_then_on() {
        let house = house();
        for (number, (password, foreign)) in hashing::tests::FOREIGN.iter().enumerate() {
            let name = format!("user{number}");
            let id = house.shelf.add(&name, Some(import(foreign)), |_| {});
            let check = async |password| house.check(&name, password, "192.0.2.1", Accounts::All).await;
            assert_eq!(check("wrong").await.unwrap_err(), Reason::WrongPassword, "{foreign}");
            assert!(check(password).await.is_ok(), "{foreign}");
            assert!(house.shelf.read(id).password.unwrap().0.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{foreign}");
            assert!(check(password).await.is_ok(), "{foreign}");
        }
    }

    #[tokio::test]
    async fn the_survey_finds_the_dearest_hash_in_store() {
        let house = house();
        let before = house.realm.dearest();
        let dear = import("$2b$14$abcdefghijklmnopqrstuujyowYzwa5GTkdJQ1hID4j4yIozDs7U.");
        house.shelf.add("ada", Some(dear), |_| {});
        house.realm.survey(&"north".into()).await.unwrap();
        assert!(house.realm.dearest() > before + Duration::from_secs(1));
    }

    #[tokio::test]
    async fn changing_a_password_needs_the_old_one_and_ends_all_sessions() {
        let house = house();
        let ada = house.shelf.add("ada", Some(hash(RIGHT)), |user| user.must_change_password = true);
        let new = "a new long password";
        // It was tried before it was set; that must not keep it out afterwards.
        assert_eq!(house.change(new, "whatever else it is").await, Changed::Rejected(Rejection::next(Reason::WrongPassword)));
        assert_eq!(house.change(RIGHT, RIGHT).await, Changed::Same);
        assert_eq!(house.shelf.read(ada).epoch, 1);
        assert_eq!(house.change(RIGHT, new).await, Changed::Done);
        let user = house.shelf.read(ada);
        assert_eq!((user.epoch, user.must_change_password), (2, false));
        assert_eq!(house.change(RIGHT, "yet another password").await, Changed::Rejected(Rejection::next(Reason::WrongPassword)));
        assert_eq!(house.change(new, "yet another password").await, Changed::Done);
    }

    #[test]
    fn weak_passwords_are_named() {
        let ada = Username::parse("ada.lovelace@north").unwrap();
        let parse = |typed: &str| NewPassword::parse(typed, &ada, 12).map(|new| new.secret().reveal().clone());
        assert_eq!(parse("elevenchars"), Err(Weakness::Short(12)));
        assert!(NewPassword::parse("elevenchars", &ada, 11).is_ok());
        assert_eq!(parse("żżżżż12345ół"), Ok("żżżżż12345ół".to_owned()), "characters count, not octets");
        assert_eq!(parse(&"x1y2z".repeat(300)), Err(Weakness::Long));
        assert_eq!(parse("aaaaaaaaaaaaaa"), Err(Weakness::Uniform));
        assert_eq!(parse("ADA.Lovelace@north"), Err(Weakness::Name));
        assert_eq!(parse("with a tab\tin it"), Err(Weakness::Character));
    }
}

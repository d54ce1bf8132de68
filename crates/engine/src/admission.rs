//! The one gate between a proof and an identity, for the chain and for every own endpoint.
//!
//! Nobody can forget a check that is written once: tenant, the issuer's subjects, account state, scheme
//! still configured, replay.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::audit::{Reason, Trail};
use crate::clock::Timestamp;
use crate::identity::{AccountState, Identity, Issuer, Level, TenantId, User, Username};
use crate::profile::Profiles;
use crate::scheme::{Asked, Proof, Rejection, Replay, Unavailable, Who};
use crate::store::{ExpiringStore, Insert, Key, Kind, digest};
use crate::tenant::Tenant;
use crate::users::Users;

/// Turns proofs into identities.
#[derive(Debug)]
pub struct Admission {
    users: Arc<Users>,
    store: Arc<dyn ExpiringStore>,
    rules: HashMap<Issuer, IssuerRules>,
    /// Where break-glass and administrator accounts may come from.
    break_glass_from: Vec<ipnet::IpNet>,
    profiles: Arc<Profiles>,
}

/// What an issuer may say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerRules {
    /// Whether it is one of our own realms; break-glass accounts are never federated.
    pub local: bool,
}

impl Admission {
    /// An admission over these stores, for these issuers.
    pub fn new(
        users: Arc<Users>,
        store: Arc<dyn ExpiringStore>,
        rules: HashMap<Issuer, IssuerRules>,
        break_glass_from: Vec<ipnet::IpNet>,
    ) -> Self {
        Self { users, store, rules, break_glass_from, profiles: Arc::default() }
    }

    /// The same, for users of these profiles.
    pub fn with_profiles(self, profiles: Arc<Profiles>) -> Self {
        Self { profiles, ..self }
    }

    /// Whether nothing but changing the password is allowed: never where it is changed elsewhere.
    pub fn must_change_password(&self, user: &User) -> bool {
        user.must_change_password && self.profiles.delegate(user).is_none()
    }

    /// Whether a tenant has a user of this login name.
    ///
    /// # Errors
    /// [`Unavailable`] if the store does not answer.
    pub async fn knows(&self, tenant: &TenantId, name: &Username) -> Result<bool, Unavailable> {
        Ok(self.users.by_name(tenant, name).await?.is_some())
    }

    /// Whether this issuer is one of our own realms.
    pub fn is_local(&self, issuer: &Issuer) -> bool {
        self.rules.get(issuer).is_some_and(|rules| rules.local)
    }

    /// Whether any profile's passwords are checked elsewhere.
    pub fn delegates(&self) -> bool {
        self.profiles.delegates()
    }

    /// Whether this user's password is checked, and changed, elsewhere.
    pub fn is_delegated(&self, user: &User) -> bool {
        self.profiles.delegate(user).is_some()
    }

    /// Admits a proof presented in a request.
    ///
    /// # Errors
    /// [`Unavailable`] if a store does not answer.
    pub async fn admit(&self, proof: Proof, asked: &Asked<'_>, trail: &mut Trail) -> Result<Result<Identity, Rejection>, Unavailable> {
        self.admit_from(proof, &asked.found.tenant, asked.request.client.address, asked.now, trail).await
    }

    /// Admits a proof for a tenant, from an address.
    ///
    /// # Errors
    /// [`Unavailable`] if a store does not answer.
    pub async fn admit_from(
        &self,
        proof: Proof,
        tenant: &Tenant,
        client: IpAddr,
        now: Timestamp,
        _trail: &mut Trail,
    ) -> Result<Result<Identity, Rejection>, Unavailable> {
        if proof.tenant != tenant.id {
            return Ok(Err(Rejection::next(Reason::OtherTenant)));
        }
        if !tenant.chain.has(&proof.scheme) {
            return Ok(Err(Rejection::next(Reason::SchemeNotConfigured)));
        }
        let Some(rules) = self.rules.get(&proof.issuer) else {
            return Ok(Err(Rejection::next(Reason::SubjectNotAllowed)));
        };
        let user = match &proof.who {
            Who::User(id) => self.users.by_id(*id, now).await?,
            Who::External(id) if id.issuer == proof.issuer => self.users.by_external_id(&tenant.id, id).await?,
            Who::External(_) => return Ok(Err(Rejection::chain(Reason::SubjectNotAllowed))),
        };
        let Some(user) = user.filter(|user| user.tenant == tenant.id) else {
            return Ok(Err(Rejection::next(Reason::UnknownUser)));
        };
        if let Err(rejection) = self.may_enter(&user, rules, client, proof.level, now) {
            return Ok(Err(rejection));
        }
        // Last, so that a proof refused for another reason is not spent.
        if let Err(rejection) = self.spend(&proof, tenant, now).await? {
            return Ok(Err(rejection));
        }
        Ok(Ok(Identity {
            user,
            method: proof.scheme.clone(),
            scheme: proof.scheme,
            issuer: proof.issuer,
            level: proof.level,
            authenticated_at: proof.authenticated_at,
            attributes: Arc::new(proof.attributes),
            session: None,
            ambient: proof.ambient,
            from: Some(client),
        }))
    }

    /// Spends what a proof may be used for once. For whoever has to write something before the proof can be admitted; the rest of
    /// it is admitted like any other.
    ///
    /// # Errors
    /// [`Unavailable`] if the store does not answer.
    pub async fn spend(&self, proof: &Proof, tenant: &Tenant, now: Timestamp) -> Result<Result<(), Rejection>, Unavailable> {
        for condition in &proof.replay {
            if !self.first_use(tenant, &proof.issuer, condition, now).await? {
                return Ok(Err(Rejection::chain(Reason::Replayed)));
            }
        }
        Ok(Ok(()))
    }

    /// Whether somebody who was admitted before, and holds a session, still would be: it is valid in this tenant only, the
    /// scheme of its login is still configured, the account may enter, and from this address.
    ///
    /// # Errors
    /// The rejection of the step that resumed it.
    pub fn readmit(&self, identity: &Identity, asked: &Asked<'_>) -> Result<(), Rejection> {
        self.readmit_from(identity, &asked.found.tenant, asked.request.client.address, asked.now)
    }

    /// The same for a tenant, from an address.
    ///
    /// # Errors
    /// As [`Admission::readmit`].
    pub fn readmit_from(&self, identity: &Identity, tenant: &Tenant, client: IpAddr, now: Timestamp) -> Result<(), Rejection> {
        if *identity.tenant() != tenant.id {
            return Err(Rejection::next(Reason::OtherTenant));
        }
        if !tenant.chain.has(&identity.method) {
            return Err(Rejection::next(Reason::SchemeNotConfigured));
        }
        let Some(rules) = self.rules.get(&identity.issuer) else {
            return Err(Rejection::next(Reason::SubjectNotAllowed));
        };
        // A session ends nothing but itself: whoever it bars may still prove to be somebody else.
        self.may_enter(&identity.user, rules, client, identity.level, now).map_err(|rejection| Rejection::next(rejection.reason))?;
        // A stolen session is worth nothing elsewhere.
        match self.profiles.follows(&identity.user, identity.from, client) {
            true => Ok(()),
            false => Err(Rejection::next(Reason::OtherAddress)),
        }
    }

    fn may_enter(&self, user: &User, rules: &IssuerRules, client: IpAddr, level: Level, now: Timestamp) -> Result<(), Rejection> {
        if let Some(reason) = barred(user) {
            return Err(Rejection::family(reason));
        }
        if user.is_operator() {
            if !rules.local {
                return Err(Rejection::chain(Reason::SubjectNotAllowed));
            }
            let client = client.to_canonical();
            if !self.break_glass_from.iter().any(|net| net.contains(&client)) {
                return Err(Rejection::family(Reason::AddressNotListed));
            }
        }
        self.profiles.restricts(&user.profile, Some(client), level, now).map_err(Rejection::family)
    }

    async fn first_use(&self, tenant: &Tenant, issuer: &Issuer, condition: &Replay, now: Timestamp) -> Result<bool, Unavailable> {
        let (key, bound, until) = match condition {
            Replay::Once { key, until } => (key, None, until),
            Replay::Bound { key, digest, until } => (key, Some(digest), until),
        };
        // What is over cannot be remembered, so its second use could not be told from its first.
        let ttl = match Duration::try_from(until.duration_since(now)) {
            Ok(ttl) if !ttl.is_zero() => ttl,
            Ok(_) | Err(_) => return Ok(false),
        };
        let key = Key::of(&tenant.id, Kind::Replay, &[issuer.as_str().as_bytes(), key]);
        let value = bound.map(|octets| digest(&[octets]).to_vec()).unwrap_or_default();
        match self.store.insert(&key, &value, ttl, &[], None).await? {
            Insert::Inserted => Ok(true),
            Insert::Full => Err(Unavailable::new("store", "there is no room for replay ids")),
            Insert::Exists => match bound {
                None => Ok(false),
                Some(_) => Ok(self.store.get(&key).await?.is_some_and(|(held, _)| held == value)),
            },
        }
    }
}

/// Why this account may not enter, if it may not.
pub fn barred(user: &User) -> Option<Reason> {
    match user.state {
        AccountState::Active => None,
        AccountState::Disabled => Some(Reason::Disabled),
        AccountState::Locked => Some(Reason::Locked),
        AccountState::Expired => Some(Reason::Expired),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::{Chain, Link, OnReject};
    use crate::fixtures::{self, FakeStore, ada, admission, from, identity, now, request, session, trail};
    use crate::identity::{ExternalId, UserId};
    use crate::route::Found;
    use crate::scheme::Outcome;

    /// A scheme that is only there to be in a chain.
    #[derive(Debug)]
    struct Named(crate::identity::SchemeName);

    #[async_trait::async_trait]
    impl crate::scheme::Scheme for Named {
        fn name(&self) -> &crate::identity::SchemeName {
            &self.0
        }

        fn presents(&self, _: &crate::request::CheckRequest) -> bool {
            false
        }

        fn consumes(&self) -> &[crate::scheme::Place] {
            &[]
        }

        async fn authenticate(&self, _: &Asked<'_>, _: &mut Trail) -> Result<Outcome, Unavailable> {
            panic!("not asked here")
        }
    }

    fn found() -> Found {
        let links =
            ["basic", "saml"].map(|name| Link { scheme: Arc::new(Named(name.into())), on_reject: OnReject::Continue, remember: false });
        Found { tenant: Arc::new(fixtures::tenant("north", Chain::new(links.into()))), ..fixtures::found() }
    }

    fn proof(who: Who) -> Proof {
        Proof {
            tenant: "north".into(),
            who,
            scheme: "basic".into(),
            issuer: "local".into(),
            level: Level(10),
            authenticated_at: now(),
            replay: Vec::new(),
            attributes: [("mail".to_owned(), vec!["a@b".to_owned()])].into(),
            ambient: true,
        }
    }

    fn hers() -> Proof {
        proof(Who::User(ada().id))
    }

    fn external(issuer: &str, id: &str) -> ExternalId {
        ExternalId { issuer: issuer.into(), id: id.to_owned() }
    }

    async fn admit(store: &Arc<FakeStore>, proof: Proof, address: &str) -> Result<Result<Identity, Rejection>, Unavailable> {
        let request = from(address, request("GET", "north.example.com/", &[]));
        let found = found();
        admission(store).admit(proof, &Asked { request: &request, found: &found, now: now() }, &mut trail()).await
    }

    async fn refusal(user: User, proof: Proof, address: &str) -> Option<Rejection> {
        admit(&FakeStore::of([user]), proof, address).await.unwrap().err()
    }

    const HOME: &str = "192.0.2.1";
    const LISTED: &str = "10.1.2.3";

    #[tokio::test]
    async fn an_admitted_proof_becomes_the_user_as_they_stand_now() {
        let identity = admit(&FakeStore::of([ada()]), hers(), HOME).await.unwrap().unwrap();
        assert_eq!(*identity.user, ada());
        assert_eq!((identity.scheme.as_str(), identity.method.as_str(), identity.issuer.as_str()), ("basic", "basic", "local"));
        assert_eq!((identity.level, identity.authenticated_at, identity.ambient), (Level(10), now(), true));
        assert_eq!(*identity.attributes, hers().attributes);
        assert_eq!(identity.session, None);
    }

    #[tokio::test]
    async fn a_proof_holds_in_its_tenant_only() {
        let elsewhere = Proof { tenant: "south".into(), ..hers() };
        assert_eq!(refusal(ada(), elsewhere, HOME).await, Some(Rejection::next(Reason::OtherTenant)));
        let foreigner = User { tenant: "south".into(), ..ada() };
        assert_eq!(refusal(foreigner, hers(), HOME).await, Some(Rejection::next(Reason::UnknownUser)));
        assert_eq!(refusal(ada(), proof(Who::User(UserId(uuid::Uuid::nil()))), HOME).await, Some(Rejection::next(Reason::UnknownUser)));
    }

    #[tokio::test]
    async fn a_scheme_or_an_issuer_that_is_not_configured_is_refused() {
        let scheme = Proof { scheme: "oidc".into(), ..hers() };
        assert_eq!(refusal(ada(), scheme, HOME).await, Some(Rejection::next(Reason::SchemeNotConfigured)));
        let issuer = Proof { issuer: "stranger".into(), ..hers() };
        assert_eq!(refusal(ada(), issuer, HOME).await, Some(Rejection::next(Reason::SubjectNotAllowed)));
    }

    #[tokio::test]
    async fn an_issuer_names_only_subjects_it_was_given() {
        let user = User { external_ids: vec![external("idp", "ada-at-idp")], ..ada() };
        let says = |issuer: &str, id: ExternalId| Proof { issuer: issuer.into(), scheme: "saml".into(), ..proof(Who::External(id)) };
        assert_eq!(refusal(user.clone(), says("idp", external("idp", "ada-at-idp")), HOME).await, None);
        for (proof, rejection) in [
            (says("idp", external("idp", "ADA-AT-IDP")), Rejection::next(Reason::UnknownUser)),
            (says("local", external("local", "ada-at-idp")), Rejection::next(Reason::UnknownUser)),
            (says("local", external("idp", "ada-at-idp")), Rejection::chain(Reason::SubjectNotAllowed)),
        ] {
            assert_eq!(refusal(user.clone(), proof, HOME).await, Some(rejection));
        }
    }

    #[tokio::test]
    async fn an_account_that_is_closed_ends_its_family() {
        for (state, reason) in
            [(AccountState::Disabled, Reason::Disabled), (AccountState::Locked, Reason::Locked), (AccountState::Expired, Reason::Expired)]
        {
            assert_eq!(refusal(User { state, ..ada() }, hers(), HOME).await, Some(Rejection::family(reason)));
        }
    }

    #[tokio::test]
    async fn operators_are_never_federated_and_come_from_listed_addresses_only() {
        let ids = vec![external("idp", "x")];
        for user in [
            User { break_glass: true, external_ids: ids.clone(), ..ada() },
            User { profile: User::ADMINISTRATOR.into(), external_ids: ids, ..ada() },
        ] {
            for listed in [LISTED, "::ffff:10.1.2.3"] {
                assert_eq!(refusal(user.clone(), hers(), listed).await, None);
            }
            for other in [HOME, "11.0.0.1", "::1", "::ffff:192.0.2.1"] {
                assert_eq!(refusal(user.clone(), hers(), other).await, Some(Rejection::family(Reason::AddressNotListed)));
            }
            let federated = Proof { issuer: "idp".into(), ..proof(Who::External(external("idp", "x"))) };
            assert_eq!(refusal(user.clone(), federated, LISTED).await, Some(Rejection::chain(Reason::SubjectNotAllowed)));
            let named = Proof { issuer: "idp".into(), ..hers() };
            assert_eq!(refusal(user, named, LISTED).await, Some(Rejection::chain(Reason::SubjectNotAllowed)));
        }
    }

    fn replaying(conditions: &[Replay]) -> Proof {
        Proof { replay: conditions.to_vec(), ..hers() }
    }

    fn once(key: &str) -> Replay {
        Replay::Once { key: key.into(), until: now() + Duration::from_secs(60) }
    }

    fn bound(key: &str, digest: &str) -> Replay {
        Replay::Bound { key: key.into(), digest: digest.into(), until: now() + Duration::from_secs(60) }
    }

    #[tokio::test]
    async fn what_may_be_used_once_is_used_once_per_issuer() {
        let store = FakeStore::of([User { external_ids: vec![external("idp", "x")], ..ada() }]);
        let replayed = Some(Rejection::chain(Reason::Replayed));
        assert_eq!(admit(&store, replaying(&[once("k")]), HOME).await.unwrap().err(), None);
        assert_eq!(admit(&store, replaying(&[once("k")]), HOME).await.unwrap().err(), replayed);
        assert_eq!(admit(&store, replaying(&[bound("k", "d")]), HOME).await.unwrap().err(), replayed);
        assert_eq!(admit(&store, replaying(&[once("other"), once("k")]), HOME).await.unwrap().err(), replayed);
        let elsewhere = Proof { issuer: "idp".into(), who: Who::External(external("idp", "x")), ..replaying(&[once("k")]) };
        assert_eq!(admit(&store, elsewhere, HOME).await.unwrap().err(), None);
    }

    #[tokio::test]
    async fn what_is_bound_may_come_again_with_the_same_digest_only() {
        let store = FakeStore::of([ada()]);
        for (digest, refused) in [("d", false), ("d", false), ("e", true), ("", true), ("d", false)] {
            assert_eq!(admit(&store, replaying(&[bound("k", digest)]), HOME).await.unwrap().is_err(), refused, "{digest}");
        }
        assert!(admit(&store, replaying(&[once("k")]), HOME).await.unwrap().is_err());
    }

    #[tokio::test]
    async fn a_proof_that_is_refused_for_another_reason_is_not_spent() {
        let mut store = FakeStore::of([User { state: AccountState::Disabled, ..ada() }]);
        assert_eq!(admit(&store, replaying(&[once("k")]), HOME).await.unwrap().err(), Some(Rejection::family(Reason::Disabled)));
        Arc::get_mut(&mut store).unwrap().users = vec![ada()];
        assert_eq!(admit(&store, replaying(&[once("k")]), HOME).await.unwrap().err(), None);
    }

    #[tokio::test]
    async fn a_replay_condition_that_is_over_cannot_be_remembered_and_is_refused() {
        for until in [now(), now() - Duration::from_secs(1)] {
            let over = replaying(&[Replay::Once { key: b"k".to_vec(), until }]);
            assert_eq!(refusal(ada(), over, HOME).await, Some(Rejection::chain(Reason::Replayed)));
        }
    }

    #[tokio::test]
    async fn a_store_that_is_down_or_full_admits_nobody_and_accuses_nobody() {
        let down = Arc::new(FakeStore { users: vec![ada()], down: true, ..FakeStore::default() });
        assert!(admit(&down, hers(), HOME).await.is_err());
        let full = Arc::new(FakeStore { users: vec![ada()], full: true, ..FakeStore::default() });
        assert!(admit(&full, replaying(&[once("k")]), HOME).await.is_err());
        assert!(admit(&full, hers(), HOME).await.unwrap().is_ok());
    }

    #[tokio::test]
    async fn a_session_is_held_to_what_its_login_was_held_to() {
        let admission = admission(&FakeStore::of([]));
        let found = found();
        let readmit = |identity: &Identity, address| {
            let request = from(address, request("GET", "north.example.com/", &[]));
            admission.readmit(identity, &Asked { request: &request, found: &found, now: now() }).err()
        };
        let held = |user| Identity { session: Some(session("s")), scheme: "session".into(), ..identity(user) };
        assert_eq!(readmit(&held(ada()), HOME), None);
        assert_eq!(readmit(&held(User { tenant: "south".into(), ..ada() }), HOME), Some(Rejection::next(Reason::OtherTenant)));
        assert_eq!(readmit(&Identity { method: "oidc".into(), ..held(ada()) }, HOME), Some(Rejection::next(Reason::SchemeNotConfigured)));
        assert_eq!(readmit(&Identity { issuer: "gone".into(), ..held(ada()) }, HOME), Some(Rejection::next(Reason::SubjectNotAllowed)));
        assert_eq!(readmit(&held(User { state: AccountState::Locked, ..ada() }), HOME), Some(Rejection::next(Reason::Locked)));
        let operator = User { break_glass: true, ..ada() };
        assert_eq!(readmit(&held(operator.clone()), HOME), Some(Rejection::next(Reason::AddressNotListed)));
        assert_eq!(readmit(&held(operator.clone()), LISTED), None);
        assert_eq!(readmit(&Identity { issuer: "idp".into(), ..held(operator) }, LISTED), Some(Rejection::next(Reason::SubjectNotAllowed)));
    }
}

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
use crate::identity::{AccountState, Identity, Issuer, User};
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
        Self { users, store, rules, break_glass_from }
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
        if let Some(reason) = barred(&user) {
            return Ok(Err(Rejection::family(reason)));
        }
        if user.is_operator() {
            if !rules.local {
                return Ok(Err(Rejection::chain(Reason::SubjectNotAllowed)));
            }
            if !self.break_glass_from.iter().any(|net| net.contains(&client)) {
                return Ok(Err(Rejection::family(Reason::AddressNotListed)));
            }
        }
        // Last, so that a proof refused for another reason is not spent.
        for condition in &proof.replay {
            if !self.first_use(tenant, &proof.issuer, condition, now).await? {
                return Ok(Err(Rejection::chain(Reason::Replayed)));
            }
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
        }))
    }

    async fn first_use(&self, tenant: &Tenant, issuer: &Issuer, condition: &Replay, now: Timestamp) -> Result<bool, Unavailable> {
        let (key, bound, until) = match condition {
            Replay::Once { key, until } => (key, None, until),
            Replay::Bound { key, digest, until } => (key, Some(digest), until),
        };
        let ttl = Duration::try_from(until.duration_since(now)).unwrap_or(Duration::ZERO);
        let key = Key::of(&tenant.id, Kind::Replay, &[issuer.as_str().as_bytes(), key]);
        let value = bound.map(|octets| digest(&[octets]).to_vec()).unwrap_or_default();
        match self.store.insert(&key, &value, ttl, &[], None).await? {
            Insert::Inserted => Ok(true),
            Insert::Full => Ok(false),
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

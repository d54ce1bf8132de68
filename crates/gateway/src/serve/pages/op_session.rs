//! Sessions at OpenID providers that ours descend from: what to show when the user signs out, and which of ours are over when the
//! provider says so.
//!
//! The ID token rests sealed under the key of our own pages. Groups name the provider's session and its subject by digests, so
//! that a store tells nobody who uses what.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use vestibule_engine::clock::random;
use vestibule_engine::identity::{Identity, TenantId, UserId};
use vestibule_engine::scheme::Unavailable;
use vestibule_engine::store::{Group, Insert, Key, Kind, digest};
use vestibule_oidc::logout::LogoutToken;

use super::{Portal, Visit};
use crate::schemes::oidc::{OpenidProvider, SESSION, Vouched};

const PURPOSE: &str = "vestibule op session v1";
const WAY_OUT: &str = "vestibule way out v1";
/// Sessions looked at in one go.
const PAGE: usize = 64;

/// A session at a provider.
#[derive(Serialize, Deserialize)]
pub(super) struct OpSession {
    name: String,
    /// Whose it is here.
    user: UserId,
    /// Which provider, as the configuration calls it.
    provider: String,
    issuer: String,
    subject: String,
    session: Option<String>,
    /// When its ID token was issued.
    issued_at: i64,
    id_token: String,
}

/// Where somebody who signed out goes on to sign out at their provider. The address holds the ID token.
#[derive(Serialize, Deserialize)]
pub(super) struct WayOut {
    /// What the provider is called.
    pub to: String,
    /// The address.
    pub location: String,
}

impl OpSession {
    /// A name for one.
    pub(super) fn name() -> Result<String, Unavailable> {
        Ok(URL_SAFE_NO_PAD.encode(random::<16>()?))
    }

    pub(super) fn new(name: &str, provider: &OpenidProvider, vouched: &Vouched, user: UserId) -> Self {
        let token = vouched.id_token.token();
        Self {
            name: name.to_owned(),
            user,
            provider: provider.name().to_owned(),
            issuer: provider.settings().issuer.clone(),
            subject: token.subject().to_owned(),
            session: token.session.clone(),
            issued_at: token.issued_at,
            id_token: vouched.raw.to_string(),
        }
    }

    fn groups(&self, tenant: &TenantId) -> Vec<Group> {
        let of = |what, name| group(tenant, &self.issuer, what, name);
        self.session.iter().map(|session| of("sid", session)).chain([of("sub", &self.subject)]).collect()
    }
}

fn group(tenant: &TenantId, issuer: &str, what: &str, name: &str) -> Group {
    let hash = digest(&[issuer.as_bytes(), what.as_bytes(), name.as_bytes()]);
    Group::of(tenant, Kind::Session, format_args!("op:{}", URL_SAFE_NO_PAD.encode(hash)))
}

fn key(tenant: &TenantId, name: &str) -> Key {
    Key::of(tenant, Kind::Session, &[b"op session", name.as_bytes()])
}

impl Portal {
    /// Keeps a session there for as long as one of ours may last.
    pub(super) async fn keep_op_session(&self, visit: &Visit<'_>, session: &OpSession) -> Result<(), Unavailable> {
        let tenant = &visit.tenant.id;
        let text = serde_json::to_vec(session).map_err(|why| Unavailable::new("OpenID provider's session", why))?;
        let sealed = self.key.seal(PURPOSE, tenant.as_str(), text)?;
        let life: Duration = self.engine.sessions.settings().absolute;
        match self.store.insert(&key(tenant, &session.name), sealed.as_bytes(), life, &session.groups(tenant), None).await? {
            Insert::Inserted => Ok(()),
            Insert::Exists | Insert::Full => Err(Unavailable::new("store", "no room for a session of an OpenID provider")),
        }
    }

    /// Whether it is there still: nobody has ended it.
    pub(super) async fn is_kept(&self, visit: &Visit<'_>, name: &str) -> Result<bool, Unavailable> {
        Ok(self.store.get(&key(&visit.tenant.id, name)).await?.is_some())
    }

    /// Ends what descends from the session or the user that a provider names. What began after it said so goes on.
    pub(super) async fn end_op_sessions(
        &self,
        visit: &mut Visit<'_>,
        provider: &OpenidProvider,
        token: &LogoutToken,
    ) -> Result<(), Unavailable> {
        let tenant = &visit.tenant.id;
        let issuer = &provider.settings().issuer;
        // Back-Channel Logout 1.0 §2.4: with `sid` that session, without it all of the subject's.
        let group = match (&token.session, &token.subject) {
            (Some(session), _) => group(tenant, issuer, "sid", session),
            (None, Some(subject)) => group(tenant, issuer, "sub", subject),
            (None, None) => return Ok(()),
        };
        let mut after: Option<Key> = None;
        loop {
            let page = self.store.list(&group, after.as_ref(), PAGE).await?;
            let Some(last) = page.last().cloned() else { return Ok(()) };
            for key in page {
                let Some((sealed, _)) = self.store.get(&key).await? else { continue };
                let Some(session) = self.opened(tenant, &sealed) else { continue };
                let fits = token.subject.as_ref().is_none_or(|subject| *subject == session.subject);
                if !fits || session.issued_at > token.issued_at {
                    continue;
                }
                // First this: whoever is signing in by it looks afterwards whether it is there.
                self.store.take(&key).await?;
                let stated = (SESSION, session.name.as_str());
                self.engine.sessions.end_vouched(tenant, session.user, provider.issuer(), stated, &mut visit.trail).await?;
            }
            after = Some(last);
        }
    }

    /// Where somebody who signed out goes on to sign out at their provider.
    pub(super) async fn way_out(&self, visit: &Visit<'_>, identity: &Identity) -> Result<Option<WayOut>, Unavailable> {
        let tenant = &visit.tenant.id;
        let Some(rp) = self.relying_party(visit) else { return Ok(None) };
        let Some(name) = identity.attributes.get(SESSION).and_then(|names| names.first()) else { return Ok(None) };
        let Some(sealed) = self.store.take(&key(tenant, name)).await? else { return Ok(None) };
        let Some(session) = self.opened(tenant, &sealed) else { return Ok(None) };
        let Some(provider) = rp.provider(&session.provider) else { return Ok(None) };
        let location = rp.end_session_url(provider, &session.id_token);
        Ok(location.map(|location| WayOut { to: provider.title().to_owned(), location }))
    }

    /// As it rests while others are told first.
    pub(super) fn sealed_way_out(&self, tenant: &TenantId, out: &WayOut) -> Result<String, Unavailable> {
        let text = serde_json::to_vec(out).map_err(|why| Unavailable::new("OpenID provider's session", why))?;
        self.key.seal(WAY_OUT, tenant.as_str(), text)
    }

    /// As it was sealed.
    pub(super) fn opened_way_out(&self, tenant: &TenantId, sealed: &str) -> Option<WayOut> {
        serde_json::from_slice(&self.key.open(WAY_OUT, tenant.as_str(), sealed)?).ok()
    }

    fn opened(&self, tenant: &TenantId, sealed: &[u8]) -> Option<OpSession> {
        let text = self.key.open(PURPOSE, tenant.as_str(), std::str::from_utf8(sealed).ok()?)?;
        serde_json::from_slice(&text).ok()
    }
}

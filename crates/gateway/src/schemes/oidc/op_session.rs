//! Sessions at OpenID providers that ours descend from: what to show when the user signs out, what to ask the provider with while
//! the session goes on, and which of ours are over when the provider says so.
//!
//! ID token and refresh token rest sealed under the key of our own pages: who reads the store can use neither. Groups name the
//! provider's session and its subject by digests, so that a store tells nobody who uses what.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use vestibule_engine::audit::Trail;
use vestibule_engine::clock::random;
use vestibule_engine::identity::{TenantId, UserId};
use vestibule_engine::scheme::Unavailable;
use vestibule_engine::session::Sessions;
use vestibule_engine::store::{ExpiringStore, Group, Insert, Key, Kind, Version, digest};
use vestibule_oidc::logout::LogoutToken;
use zeroize::{Zeroize as _, Zeroizing};

use super::{OpenidProvider, SESSION, Vouched};
use crate::serve::pages::PageKey;

const PURPOSE: &str = "vestibule op session v1";
/// Sessions looked at in one go.
const PAGE: usize = 64;

/// A session at a provider.
#[derive(Serialize, Deserialize)]
pub struct OpSession {
    pub(super) name: String,
    /// Whose it is here.
    pub(super) user: UserId,
    /// Which provider, as the configuration calls it.
    pub provider: String,
    issuer: String,
    pub(super) subject: String,
    session: Option<String>,
    /// When its first ID token was issued.
    issued_at: i64,
    /// The newest ID token.
    pub id_token: String,
    /// The nonce of the login.
    #[serde(default)]
    pub(super) nonce: String,
    /// What the provider is asked with; `None` if it gave nothing, or is not to be asked.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) refresh_token: Option<String>,
    /// When the provider last said what it says, seconds since 1970.
    #[serde(default)]
    pub(super) asked_at: i64,
    /// Who asks right now.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) asking: Option<Asking>,
}

/// Somebody who is asking a provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Asking {
    /// A random name.
    pub by: String,
    /// Since when, seconds since 1970.
    pub since: i64,
}

impl Drop for OpSession {
    fn drop(&mut self) {
        self.id_token.zeroize();
        self.refresh_token.zeroize();
    }
}

impl OpSession {
    /// A name for one.
    ///
    /// # Errors
    /// [`Unavailable`] without randomness.
    pub fn name() -> Result<String, Unavailable> {
        Ok(URL_SAFE_NO_PAD.encode(random::<16>()?))
    }

    /// The session that an answer speaks of.
    pub fn new(name: &str, provider: &OpenidProvider, vouched: &Vouched, user: UserId) -> Self {
        let token = vouched.id_token.token();
        let refresh_token = provider.settings().refresh.and(vouched.refresh_token.as_ref()).map(|token| token.to_string());
        Self {
            name: name.to_owned(),
            user,
            provider: provider.name().to_owned(),
            issuer: provider.settings().issuer.clone(),
            subject: token.subject().to_owned(),
            session: token.session.clone(),
            issued_at: token.issued_at,
            id_token: vouched.raw.to_string(),
            nonce: vouched.nonce.clone(),
            refresh_token,
            asked_at: vouched.at.as_second(),
            asking: None,
        }
    }

    /// What the provider is asked with. It is not kept here any more.
    pub(super) fn take_refresh_token(&mut self) -> Option<Zeroizing<String>> {
        self.refresh_token.take().map(Zeroizing::new)
    }

    fn groups(&self, tenant: &TenantId) -> Vec<Group> {
        let of = |what, name| group(tenant, &self.issuer, what, name);
        self.session.iter().map(|session| of("sid", session)).chain([of("sub", &self.subject)]).collect()
    }
}

/// All of them.
#[derive(Debug, Clone)]
pub struct OpSessions {
    key: PageKey,
    store: Arc<dyn ExpiringStore>,
}

impl OpSessions {
    /// Sessions in this store, sealed under this key.
    pub fn new(key: PageKey, store: Arc<dyn ExpiringStore>) -> Self {
        Self { key, store }
    }

    /// Keeps a session there for as long as one of ours may last.
    ///
    /// # Errors
    /// [`Unavailable`] when the store does not answer; likewise for every other call.
    pub async fn keep(&self, tenant: &TenantId, session: &OpSession, life: Duration) -> Result<(), Unavailable> {
        let sealed = self.sealed(tenant, session)?;
        match self.store.insert(&key(tenant, &session.name), &sealed, life, &session.groups(tenant), None).await? {
            Insert::Inserted => Ok(()),
            Insert::Exists | Insert::Full => Err(Unavailable::new("store", "no room for a session of an OpenID provider")),
        }
    }

    /// Whether it is there still: nobody has ended it.
    ///
    /// # Errors
    /// See [`OpSessions::keep`].
    pub async fn is_kept(&self, tenant: &TenantId, name: &str) -> Result<bool, Unavailable> {
        Ok(self.store.get(&key(tenant, name)).await?.is_some())
    }

    /// The session of this name. What cannot be opened is none.
    pub(super) async fn read(&self, tenant: &TenantId, name: &str) -> Result<Option<(OpSession, Version)>, Unavailable> {
        let Some((sealed, version)) = self.store.get(&key(tenant, name)).await? else { return Ok(None) };
        Ok(self.opened(tenant, &sealed).map(|session| (session, version)))
    }

    /// Writes it if nobody has written it since.
    pub(super) async fn write(&self, tenant: &TenantId, session: &OpSession, version: Version) -> Result<bool, Unavailable> {
        self.store.replace(&key(tenant, &session.name), version, &self.sealed(tenant, session)?).await
    }

    /// The session of this name, which nobody finds any more.
    ///
    /// # Errors
    /// See [`OpSessions::keep`].
    pub async fn take(&self, tenant: &TenantId, name: &str) -> Result<Option<OpSession>, Unavailable> {
        let sealed = self.store.take(&key(tenant, name)).await?;
        Ok(sealed.and_then(|sealed| self.opened(tenant, &sealed)))
    }

    /// All sessions of the same user there, which nobody finds any more.
    ///
    /// # Errors
    /// See [`OpSessions::keep`].
    pub(super) async fn take_others(&self, tenant: &TenantId, session: &OpSession) -> Result<Vec<OpSession>, Unavailable> {
        let (group, mut taken) = (group(tenant, &session.issuer, "sub", &session.subject), Vec::new());
        let mut after: Option<Key> = None;
        loop {
            let page = self.store.list(&group, after.as_ref(), PAGE).await?;
            let Some(last) = page.last().cloned() else { return Ok(taken) };
            for key in page {
                let sealed = self.store.take(&key).await?;
                taken.extend(sealed.and_then(|sealed| self.opened(tenant, &sealed)).filter(|other| other.user == session.user));
            }
            after = Some(last);
        }
    }

    /// Ends what descends from the session or the user that a provider names. What began after it said so goes on.
    ///
    /// # Errors
    /// See [`OpSessions::keep`].
    pub async fn end(
        &self,
        tenant: &TenantId,
        provider: &OpenidProvider,
        token: &LogoutToken,
        sessions: &Sessions,
        trail: &mut Trail,
    ) -> Result<(), Unavailable> {
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
                sessions.end_vouched(tenant, session.user, provider.issuer(), stated, trail).await?;
            }
            after = Some(last);
        }
    }

    fn sealed(&self, tenant: &TenantId, session: &OpSession) -> Result<Vec<u8>, Unavailable> {
        let text = serde_json::to_vec(session).map_err(|why| Unavailable::new("OpenID provider's session", why))?;
        Ok(self.key.seal(PURPOSE, tenant.as_str(), text)?.into_bytes())
    }

    fn opened(&self, tenant: &TenantId, sealed: &[u8]) -> Option<OpSession> {
        let mut text = self.key.open(PURPOSE, tenant.as_str(), std::str::from_utf8(sealed).ok()?)?;
        let session = serde_json::from_slice(&text).ok();
        text.zeroize();
        session
    }
}

fn group(tenant: &TenantId, issuer: &str, what: &str, name: &str) -> Group {
    let hash = digest(&[issuer.as_bytes(), what.as_bytes(), name.as_bytes()]);
    Group::of(tenant, Kind::Session, format_args!("op:{}", URL_SAFE_NO_PAD.encode(hash)))
}

fn key(tenant: &TenantId, name: &str) -> Key {
    Key::of(tenant, Kind::Session, &[b"op session", name.as_bytes()])
}

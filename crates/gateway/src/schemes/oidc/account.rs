//! Whom an ID token speaks of.

use std::time::Duration;

use vestibule_engine::Timestamp;
use vestibule_engine::audit::Reason;
use vestibule_engine::identity::TenantId;
use vestibule_engine::scheme::{Proof, Replay, Unavailable};
use vestibule_oidc::id_token::IdToken;
use vestibule_oidc::userinfo::{UserInfo, texts};

use super::{OpenidProvider, RelyingParty, SESSION, Vouched};
use crate::schemes::accounts::{Account, Lasts, Mapping, Stated, Subject, only};

/// For how long a login may be under way, and then its name and code be brought again.
const REMEMBERED: Duration = Duration::from_secs(2 * 3600);
/// Deepest claim within claims.
const MAX_DEPTH: usize = 8;

impl RelyingParty {
    /// What an answer proves, and what it says of their account: nothing is written. `Err` names nobody here, or nobody whom its
    /// issuer may name. `session` is what the store calls the session there.
    ///
    /// # Errors
    /// [`Unavailable`] when the store does not answer.
    pub async fn proof<'a>(
        &'a self,
        provider: &'a OpenidProvider,
        vouched: &'a Vouched,
        session: &str,
        tenant: &TenantId,
        now: Timestamp,
    ) -> Result<Result<(Proof, Account<'a>), Reason>, Unavailable> {
        let (mapping, token) = (mapping(provider), vouched.id_token.token());
        let Some(subject) = subject(provider, vouched) else { return Ok(Err(Reason::NoAccount)) };
        let (who, account) = match mapping.find(&self.users, &subject, vouched, tenant, now).await? {
            Ok(found) => found,
            Err(reason) => return Ok(Err(reason)),
        };
        let mut attributes = mapping.kept(vouched);
        attributes.insert(SESSION.to_owned(), vec![session.to_owned()]);
        let authenticated_at = token.authenticated_at.and_then(|at| Timestamp::from_second(at).ok()).unwrap_or(now).min(now);
        let until = vouched.began + REMEMBERED;
        // A login is finished once, by one code. Its provider should refuse the second time; we do not rely on it.
        let login = Replay::Once { key: [b"login ", vouched.state.as_bytes()].concat(), until };
        let code = Replay::Once { key: [b"code ", &vouched.code[..]].concat(), until };
        let proof = Proof {
            tenant: tenant.clone(),
            who,
            scheme: self.name.clone(),
            issuer: provider.issuer().clone(),
            level: provider.level(token.context.as_deref()),
            authenticated_at,
            replay: vec![login, code],
            attributes,
            ambient: true,
        };
        Ok(Ok((proof, account)))
    }
}

/// The ID token, which is signed, counts before UserInfo.
impl Stated for Vouched {
    fn values(&self, name: &str) -> Vec<String> {
        let token = self.id_token.token();
        values(Some(token), self.userinfo.as_ref(), name)
    }
}

/// What they say by this name.
pub(super) fn values(token: Option<&IdToken>, userinfo: Option<&UserInfo>, name: &str) -> Vec<String> {
    if name == "sub" {
        return token.map(|token| token.subject().to_owned()).into_iter().collect();
    }
    let whole = |name: &str| token.and_then(|token| token.claim(name)).or_else(|| userinfo?.claim(name));
    if let Some(value) = whole(name) {
        return texts(value);
    }
    // A claim within another: `realm_access.roles`.
    let mut parts = name.split('.').take(MAX_DEPTH);
    let Some(first) = parts.next() else { return Vec::new() };
    let places = [token.and_then(|token| token.claim(first)), userinfo.and_then(|info| info.claim(first))];
    let within = places.into_iter().flatten().find_map(|outer| parts.clone().try_fold(outer, |outer, part| outer.get(part)));
    within.map(texts).unwrap_or_default()
}

pub(super) fn mapping(provider: &OpenidProvider) -> Mapping<'_> {
    let settings = provider.settings();
    Mapping {
        issuer: provider.issuer(),
        kind: "OpenID provider",
        partner: provider.name(),
        users: &settings.users,
        provision: settings.provision.as_ref(),
        profiles: None,
        user_name: settings.user_name.as_deref(),
        display_name: settings.display_name.as_deref(),
        email: settings.email.as_deref(),
        groups: settings.groups.as_ref(),
        attributes: &settings.attributes,
    }
}

/// Whom the issuer names, if it is one. A mail address names somebody only where the issuer has seen it to be theirs (§5.1): anybody
/// may write anybody's into their own account.
fn subject(provider: &OpenidProvider, vouched: &Vouched) -> Option<Subject> {
    let claim = provider.settings().subject.as_str();
    if claim == "email" && only(vouched, "email_verified")? != "true" {
        return None;
    }
    Subject::parse(&only(vouched, claim)?, Lasts::Beyond)
}

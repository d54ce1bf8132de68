//! Whom an assertion speaks of.

use vestibule_engine::Timestamp;
use vestibule_engine::audit::Reason;
use vestibule_engine::identity::TenantId;
use vestibule_engine::scheme::{Proof, Replay, Unavailable};
use vestibule_saml::names::name_id;
use vestibule_saml::{Assertion, AssertionContent, NameId};

use super::{Answer, IdentityProvider, ServiceProvider};
use crate::schemes::accounts::{Account, Lasts, Mapping, Stated, Subject, only};

impl ServiceProvider {
    /// What an answer proves, and what it says of their account: nothing is written. `Err` names nobody here, or nobody whom its
    /// issuer may name.
    ///
    /// # Errors
    /// [`Unavailable`] when the store does not answer.
    pub async fn proof<'a>(
        &'a self,
        answer: &'a Answer,
        tenant: &TenantId,
        now: Timestamp,
    ) -> Result<Result<(Proof, Account<'a>), Reason>, Unavailable> {
        let Some(provider) = answer.provider(self) else { return Ok(Err(Reason::UnknownPartner)) };
        let assertion = answer.accepted.assertion.value();
        let Some(subject) = subject(provider, assertion) else { return Ok(Err(Reason::NoAccount)) };
        let mapping = mapping(provider);
        let (who, account) = match mapping.find(&self.users, &subject, assertion, tenant, now).await? {
            Ok(found) => found,
            Err(reason) => return Ok(Err(reason)),
        };
        let once = &answer.accepted.once;
        let proof = Proof {
            tenant: tenant.clone(),
            who,
            scheme: self.name.clone(),
            issuer: provider.issuer().clone(),
            level: provider.level(&answer.accepted),
            authenticated_at: assertion.authn.iter().map(|statement| statement.instant).min().unwrap_or(now).min(now),
            replay: vec![Replay::Once { key: once.id.clone().into_bytes(), until: once.until }],
            attributes: mapping.kept(assertion),
            ambient: true,
        };
        Ok(Ok((proof, account)))
    }
}

impl Stated for Assertion {
    fn values(&self, name: &str) -> Vec<String> {
        AssertionContent::values(self, name).map(str::to_owned).collect()
    }
}

fn mapping(provider: &IdentityProvider) -> Mapping<'_> {
    let settings = provider.settings();
    Mapping {
        issuer: provider.issuer(),
        kind: "identity provider",
        partner: provider.name(),
        users: &settings.users,
        provision: settings.provision.as_ref(),
        profiles: settings.profiles.as_ref(),
        user_name: settings.user_name.as_deref(),
        display_name: settings.display_name.as_deref(),
        email: settings.email.as_deref(),
        groups: settings.groups.as_ref(),
        attributes: &settings.attributes,
    }
}

/// Whom the issuer names, if it is one.
fn subject(provider: &IdentityProvider, assertion: &Assertion) -> Option<Subject> {
    match &provider.settings().subject {
        Some(attribute) => Subject::parse(&only(assertion, attribute)?, Lasts::Beyond),
        None => {
            let NameId { value, format, .. } = assertion.name_id()?;
            let lasts = if format.as_deref() == Some(name_id::TRANSIENT) { Lasts::ForThisLogin } else { Lasts::Beyond };
            Subject::parse(value, lasts)
        }
    }
}

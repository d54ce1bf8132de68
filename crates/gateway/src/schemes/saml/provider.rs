//! An identity provider as the configuration and its metadata describe it.

use std::sync::{Arc, OnceLock};

use jiff::SignedDuration;
use metrics::{Gauge, gauge};
use tokio::runtime::Handle;
use vestibule_engine::Timestamp;
use vestibule_engine::identity::{Issuer, Level, SchemeName};
use vestibule_saml::metadata::Endpoint;
use vestibule_saml::sp::{Audiences, Saml11, TrustedIdp, Unsolicited};
use vestibule_saml::{Accepted, Reason};

use super::artifact::Resolver;
use super::saml11::Responder;
use super::signed;
use crate::config::checked::{self, Weakness};
use crate::schemes::partners::Partner;

/// An identity provider.
#[derive(Debug)]
pub struct IdentityProvider {
    settings: Arc<checked::IdentityProvider>,
    trusted: TrustedIdp,
    issuer: Issuer,
    resolver: Option<Resolver>,
    responder: Option<Responder>,
    /// By how much our clock is ahead of its.
    ahead: OnceLock<Gauge>,
}

impl IdentityProvider {
    pub(super) fn new(settings: Arc<checked::IdentityProvider>, control: &Handle) -> Result<Self, String> {
        let trusted = TrustedIdp::from_metadata(&settings.entity).map_err(|why| format!("{}: {why}", settings.name))?;
        let mut trusted = TrustedIdp {
            skew: signed(settings.skew),
            max_age: signed(settings.max_age),
            demand: settings.demand,
            unsolicited: if settings.unsolicited_from.is_empty() { Unsolicited::Refused } else { Unsolicited::Allowed },
            ..trusted
        };
        trusted.profile = settings.profile();
        if settings.weaknesses.contains(&Weakness::Saml11) {
            trusted.saml11 = Saml11::Allowed;
        }
        if settings.weaknesses.contains(&Weakness::Saml11WithoutAudience) {
            trusted.audiences = Audiences::IfNamed;
        }
        let mut responder = None;
        if let Some(site) = &settings.saml11 {
            trusted.max_authn_age = signed(site.max_authn_age);
            responder = Responder::of(site).map_err(|why| format!("{}: {why}", settings.name))?;
        }
        let resolver = settings.resolution.as_ref().map(|resolution| Resolver::new(resolution, control)).transpose()?;
        Ok(Self { issuer: issuer(&settings.entity.entity_id), settings, trusted, resolver, responder, ahead: OnceLock::new() })
    }

    /// What is configured of it.
    pub fn settings(&self) -> &checked::IdentityProvider {
        &self.settings
    }

    /// Its name here.
    pub fn name(&self) -> &str {
        &self.settings.name
    }

    pub(super) fn shared_name(&self) -> Arc<str> {
        self.settings.name.clone()
    }

    /// The name to show.
    pub fn title(&self) -> &str {
        &self.settings.title
    }

    pub(super) fn entity_id(&self) -> &str {
        &self.settings.entity.entity_id
    }

    /// It, as one among those who may sign visitors in.
    pub fn partner<'a>(&'a self, scheme: &'a SchemeName) -> Partner<'a> {
        let settings = &*self.settings;
        let strongest = settings.contexts().strongest();
        Partner { name: &settings.name, title: &settings.title, hosts: &settings.hosts, domains: &settings.domains, strongest, scheme }
    }

    /// How the users it vouches for are linked.
    pub fn issuer(&self) -> &Issuer {
        &self.issuer
    }

    /// Who resolves its artifacts of SAML 1.1.
    pub(super) fn responder(&self) -> Option<&Responder> {
        self.responder.as_ref()
    }

    pub(super) fn resolver(&self) -> Option<&Resolver> {
        self.resolver.as_ref()
    }

    /// Where it takes logouts.
    pub fn logouts(&self) -> &[Endpoint] {
        self.settings.entity.idp.as_ref().map(|role| role.slo.as_slice()).unwrap_or_default()
    }

    /// Whether it may begin a login from this origin.
    pub fn may_begin_from(&self, origin: &str) -> bool {
        self.settings.unsolicited_from.iter().any(|own| own == origin)
    }

    /// What its messages are held against, while its metadata hold.
    ///
    /// # Errors
    /// When they ended.
    pub fn trusted(&self, now: Timestamp) -> Result<&TrustedIdp, String> {
        match self.settings.entity.valid_until {
            Some(end) if end <= now => Err(format!("the metadata held until {end}, now {now}")),
            Some(_) | None => Ok(&self.trusted),
        }
    }

    /// Whether the user signed in there as was asked.
    pub(super) fn check_context(&self, accepted: &Accepted) -> Result<(), (&'static str, Reason, String)> {
        let wanted = &self.settings.contexts;
        let classes = classes(accepted);
        if wanted.is_empty() || classes.iter().any(|class| wanted.iter().any(|wanted| wanted == class)) {
            return Ok(());
        }
        Err(("authentication context", Reason::NoCredentials, format!("expected one of {wanted:?}, found {classes:?}")))
    }

    pub(super) fn level(&self, accepted: &Accepted) -> Level {
        self.settings.contexts().level(classes(accepted))
    }

    /// Shows the operator how far the clocks are apart before anybody is refused for it.
    pub(super) fn note_skew(&self, measured: SignedDuration) {
        // Found once: its name is looked for among all metrics.
        let ahead = || gauge!("vestibule_saml_clock_ahead_seconds", "identity_provider" => self.settings.name.to_string());
        self.ahead.get_or_init(ahead).set(measured.as_secs_f64());
        if measured.abs() > self.trusted.skew / 2 {
            tracing::warn!(identity_provider = %self.settings.name, seconds = measured.as_secs(), allowed = self.trusted.skew.as_secs(), "our clock is ahead of the identity provider's");
        }
    }
}

fn classes(accepted: &Accepted) -> Vec<&str> {
    accepted.assertion.value().authn.iter().filter_map(|statement| statement.class.as_deref()).collect()
}

/// Who vouches, as links name it: by the entity id, which stays the same when the configuration is renamed.
fn issuer(entity_id: &str) -> Issuer {
    Issuer::from(format!("saml:{entity_id}").as_str())
}

//! The scheme `saml`: an identity provider vouches for the user (SAML profiles §4.1).
//!
//! What an attacker tries with somebody else's answer, with another partner's answer, or with one that nobody asked for is
//! refused by the crate `saml`, which sees the message; whom an identity provider may name is decided here and by
//! `Admission`. The portal carries messages to and fro (`serve::pages::saml_sp`).

mod account;
mod artifact;
mod inspect;
mod provider;
mod saml11;

use std::sync::Arc;

use async_trait::async_trait;
use jiff::SignedDuration;
use tokio::runtime::Handle;
use vestibule_engine::Timestamp;
use vestibule_engine::audit::{SamlFault, Trail};
use vestibule_engine::identity::SchemeName;
use vestibule_engine::request::CheckRequest;
use vestibule_engine::scheme::{Asked, Departure, Leads, LoginFlow, Outcome, Place, Scheme, Start, Unavailable};
use vestibule_engine::users::Users;
use vestibule_saml::binding::{Kind, PostForm, RelayState, redirect_url, signed_redirect_url};
use vestibule_saml::metadata::{Endpoint, Entity, IndexedEndpoint, KeyDescriptor, Protocols, SpRole, Usage};
use vestibule_saml::names::binding;
use vestibule_saml::protocol::{Comparison, NameIdPolicy, RequestedContext};
use vestibule_saml::sp::{Expectations, Received, Requests};
use vestibule_saml::{Accepted, Error, NameId, Reason, Rejection, Sendable, Sp, Version};
use vestibule_xmlsec::{Assertions, DecryptionKeys, DecryptionPurpose, Purpose, ServiceProvider as Requesting, SigningKey};

pub use artifact::Fetched;
pub use inspect::{Said, SaidCheck, message};
pub use provider::IdentityProvider;
pub use saml11::TARGET;

use crate::config::checked::{RequestBinding, Saml};

/// Where identity providers send their answers, on the portal.
pub const CONSUMER: &str = "/saml/sp/acs";
/// Where identity providers send logouts, on the portal.
pub const LOGOUT: &str = "/saml/sp/slo";
/// Where our metadata are.
pub const METADATA: &str = "/saml/sp/metadata";

/// A tenant as a service provider.
#[derive(Debug)]
pub struct ServiceProvider {
    name: SchemeName,
    sp: Sp,
    entity: Entity,
    aliases: Vec<String>,
    portal: String,
    saml11_consumer: Option<String>,
    signing: Option<SigningKey<Requesting>>,
    providers: Vec<IdentityProvider>,
    users: Arc<Users>,
}

/// The scheme, as it stands in a chain.
#[derive(Debug)]
pub struct SamlScheme(Arc<ServiceProvider>);

/// An answer of an identity provider that may be believed, but whose subject nobody has looked for yet.
#[derive(Debug)]
pub struct Answer {
    /// Whose it is: its place among the providers.
    provider: usize,
    /// What it says.
    accepted: Accepted,
}

/// Why an answer is not believed: for the audit.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// Whose it is, if that can be told.
    pub provider: Option<Arc<str>>,
    /// The check that failed.
    pub check: &'static str,
    /// Why.
    pub reason: Reason,
    /// Expected and found.
    pub detail: String,
    /// Which request it says to answer.
    pub claimed_request: Option<String>,
}

impl ServiceProvider {
    /// The service provider of a tenant whose portal is at `origin`. Artifacts are resolved on the runtime `control`.
    ///
    /// # Errors
    /// A sentence, where a key cannot be used.
    pub fn new(name: SchemeName, saml: &Saml, origin: &str, users: Arc<Users>, control: &Handle) -> Result<Self, String> {
        let unusable = |why: vestibule_xmlsec::Error| format!("a key of the scheme {name} cannot be used: {why}");
        let mut decryption = DecryptionKeys::new();
        for pair in &saml.decryption {
            decryption.add_pkcs8(Assertions::NAME, pair.key.reveal()).map_err(unusable)?;
        }
        let signing =
            saml.signing.as_ref().map(|pair| SigningKey::from_pkcs8(Requesting::NAME, pair.key.reveal(), Some(&pair.certificate)));
        let entity = metadata(saml, origin);
        let sp = Sp { entity_id: entity.entity_id.clone(), acs_urls: consumers(saml, origin), decryption };
        let providers = saml.providers.iter().map(|provider| IdentityProvider::new(provider.clone(), control)).collect::<Result<_, _>>()?;
        let aliases = saml.aliases.iter().map(|alias| alias.path().to_owned()).collect();
        Ok(Self {
            sp,
            entity,
            aliases,
            portal: origin.to_owned(),
            saml11_consumer: saml.saml11_consumer.clone(),
            signing: signing.transpose().map_err(unusable)?,
            providers,
            users,
            name,
        })
    }

    /// The scheme to stand in a chain.
    pub fn scheme(self: &Arc<Self>) -> SamlScheme {
        SamlScheme(self.clone())
    }

    /// Its name.
    pub fn name(&self) -> &SchemeName {
        &self.name
    }

    /// Our metadata.
    ///
    /// # Errors
    /// [`Error`] if they cannot be written.
    pub fn metadata(&self) -> Result<String, Error> {
        Ok(self.entity.unsigned()?.as_str().to_owned())
    }

    /// Who may vouch for users.
    pub fn providers(&self) -> &[IdentityProvider] {
        &self.providers
    }

    /// How identity providers call us.
    pub fn entity_id(&self) -> &str {
        &self.sp.entity_id
    }

    /// The key that signs what we send, if there is one.
    pub fn signing(&self) -> Option<&SigningKey<Requesting>> {
        self.signing.as_ref()
    }

    /// The keys that open what is encrypted to us.
    pub fn decryption(&self) -> &DecryptionKeys<Assertions> {
        &self.sp.decryption
    }

    /// Whether answers come to this path of the portal.
    pub fn consumes(&self, path: &str) -> bool {
        path == CONSUMER || self.aliases.iter().any(|alias| alias == path)
    }

    /// The provider of this name.
    pub fn provider(&self, name: &str) -> Option<&IdentityProvider> {
        self.providers.iter().find(|provider| provider.name() == name)
    }

    /// The provider of this entity id.
    pub fn provider_of(&self, entity_id: &str) -> Option<&IdentityProvider> {
        self.providers.iter().find(|provider| provider.entity_id() == entity_id)
    }

    /// Judges an answer. `open` are the logins that this browser has begun, with the provider each was sent to; `fetched` says
    /// how it came where it did not come in a form.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn judge(
        &self,
        message: &[u8],
        open: &[(String, String)],
        fetched: Option<&Fetched>,
        now: Timestamp,
    ) -> Result<Answer, Box<Refusal>> {
        let received = match fetched.and_then(|fetched| fetched.peer.clone()) {
            Some(peer) => Received::vouched_by_channel(message, peer),
            None => Received::read(message),
        };
        let received = received.map_err(|rejection| refusal(None, None, rejection))?;
        let claimed = received.claimed_request().map(str::to_owned);
        let place = match received.claimed_issuer() {
            Some(issuer) => self.providers.iter().position(|provider| provider.entity_id() == issuer),
            // A failure of SAML 1.1 says nowhere whose it is.
            None if received.version() == Version::Saml11 => self.only_source_site(),
            None => None,
        };
        let Some(place) = place else {
            return Err(Box::new(Refusal {
                provider: None,
                check: "issuer",
                reason: Reason::WrongIssuer,
                detail: format!("no identity provider here is called {:?}", received.claimed_issuer().unwrap_or_default()),
                claimed_request: claimed,
            }));
        };
        self.judge_of(place, &received, open, fetched.map(|fetched| fetched.request.as_str()), now)
    }

    /// Judges an answer as one of the provider at this place.
    fn judge_of(
        &self,
        place: usize,
        received: &Received,
        open: &[(String, String)],
        resolved: Option<&str>,
        now: Timestamp,
    ) -> Result<Answer, Box<Refusal>> {
        let claimed = received.claimed_request().map(str::to_owned);
        let refuse_for = |provider: Option<&IdentityProvider>, check, reason, detail: String| {
            let provider = provider.map(IdentityProvider::shared_name);
            Box::new(Refusal { provider, check, reason, detail, claimed_request: claimed.clone() })
        };
        let Some(provider) = self.providers.get(place) else {
            return Err(refuse_for(None, "issuer", Reason::WrongIssuer, "there is no such identity provider".to_owned()));
        };
        if provider.settings().saml11.is_some() && received.version() == Version::Saml20 {
            let detail = "expected SAML 1.1, found SAML 2.0".to_owned();
            return Err(refuse_for(Some(provider), "version", Reason::WrongVersion, detail));
        }
        // Attack 39: the answer of one to what another was asked is no answer.
        let requests: Vec<String> = open.iter().filter(|(_, to)| to == provider.name()).map(|(login, _)| request_id(login)).collect();
        let requests: Vec<&str> = requests.iter().map(String::as_str).collect();
        let refuse = |rejection| refusal(Some(provider), claimed.clone(), rejection);
        let idp = provider.trusted(now).map_err(|detail| refuse_for(Some(provider), "metadata", Reason::Expired, detail))?;
        let expected = Expectations { idp, requests: Requests::Open(&requests), resolved };
        let accepted = self.sp.judge_tersely(received, &expected, now).map_err(refuse)?;
        provider.check_context(&accepted).map_err(|(check, reason, detail)| refuse_for(Some(provider), check, reason, detail))?;
        provider.note_skew(accepted.measured_skew);
        Ok(Answer { provider: place, accepted })
    }

    /// Asks a provider to sign somebody in.
    fn ask(&self, provider: &IdentityProvider, start: &Start<'_>) -> Result<Departure, Error> {
        let settings = provider.settings();
        if let Some(site) = &settings.saml11 {
            return Ok(Departure::Redirect(self.transfer(site, start.login)));
        }
        let wanted = match settings.binding {
            RequestBinding::Redirect => binding::REDIRECT,
            RequestBinding::Post => binding::POST,
        };
        let unwritable = Error::Unwritable("the identity provider takes no requests by this binding");
        let endpoint = settings.entity.idp.as_ref().and_then(|role| role.sso_by(wanted)).ok_or(unwritable)?;
        let mut request = self.sp.authn_request(request_id(start.login), &endpoint.location, start.now);
        request.force_authn = settings.force_authn || start.anew;
        request.is_passive = is_passive(start.request);
        if settings.resolution.is_some() {
            request.protocol_binding = Some(binding::ARTIFACT.to_owned());
        }
        request.name_id_policy = settings.name_id_format.clone().map(|format| NameIdPolicy {
            format: Some(format),
            allow_create: true,
            ..NameIdPolicy::default()
        });
        let classes = settings.contexts().wanted(start.level.unwrap_or_default());
        request.requested_context = (!classes.is_empty()).then_some(RequestedContext { comparison: Comparison::Exact, classes });
        let relay_state = RelayState::sent(start.login)?;
        match settings.binding {
            RequestBinding::Redirect => {
                let message = request.unsigned()?;
                let (to, kind) = (&endpoint.location, Kind::Request);
                let address = match &self.signing {
                    Some(key) => signed_redirect_url(to, kind, &message, Some(&relay_state), key)?,
                    None => redirect_url(to, kind, &message, Some(&relay_state))?,
                };
                Ok(Departure::Redirect(address))
            }
            RequestBinding::Post => {
                let message = match &self.signing {
                    Some(key) => request.signed(key)?,
                    None => request.unsigned()?,
                };
                Ok(leaving(PostForm::new(&endpoint.location, Kind::Request, &message, Some(relay_state))?))
            }
        }
    }
}

impl Answer {
    /// The login it answers, by the name that its browser was given; `None` if nobody asked.
    pub fn login(&self) -> Option<&str> {
        self.accepted.in_response_to.as_deref().and_then(|id| id.strip_prefix('_'))
    }

    /// Whose it is.
    pub fn provider<'s>(&self, sp: &'s ServiceProvider) -> Option<&'s IdentityProvider> {
        sp.providers.get(self.provider)
    }

    /// How its issuer calls the user and the session: what a logout will say.
    pub fn session(&self) -> (Option<&NameId>, Vec<String>) {
        let assertion = self.accepted.assertion.value();
        (assertion.name_id(), assertion.authn.iter().filter_map(|statement| statement.session_index.clone()).collect())
    }

    /// When a session has to end at the latest.
    pub fn ends(&self) -> Option<Timestamp> {
        self.accepted.session_not_on_or_after
    }
}

impl Refusal {
    /// The word of the audit.
    pub fn fault(&self) -> SamlFault {
        fault(self.reason)
    }
}

/// What a browser is to post.
pub fn leaving(form: PostForm) -> Departure {
    let mut fields = vec![(form.field.to_owned(), form.value)];
    fields.extend(form.relay_state.map(|state| (form.relay_field.to_owned(), state.as_str().to_owned())));
    Departure::PostForm { action: form.action, fields }
}

/// The metadata of a service provider whose portal is at `origin`.
pub fn metadata(saml: &Saml, origin: &str) -> Entity {
    let key = |pair: &crate::config::checked::Pair, usage| KeyDescriptor {
        usage,
        certificates: vec![pair.certificate.clone()],
        encryption_methods: Vec::new(),
    };
    let signing = saml.signing.iter().map(|pair| key(pair, Usage::Signing));
    let keys = signing.chain(saml.decryption.first().map(|pair| key(pair, Usage::Encryption))).collect();
    let at = |index, binding: &str, path: &str| IndexedEndpoint {
        index,
        is_default: Some(index == 0),
        binding: binding.to_owned(),
        location: format!("{origin}{path}"),
    };
    let mut acs = vec![at(0, binding::POST, CONSUMER)];
    if let Some(path) = &saml.saml11_consumer {
        acs.extend([at(1, binding::SAML11_POST, path), at(2, binding::SAML11_ARTIFACT, path)]);
    }
    if saml.providers.iter().any(|provider| provider.resolution.is_some()) {
        acs.push(at(3, binding::ARTIFACT, CONSUMER));
    }
    // Who cannot sign cannot answer.
    let logouts = match saml.signing {
        Some(_) => [binding::REDIRECT, binding::POST].map(|by| Endpoint::new(by, &format!("{origin}{LOGOUT}"))).into(),
        None => Vec::new(),
    };
    Entity {
        entity_id: saml.entity_id.clone().unwrap_or_else(|| format!("{origin}{METADATA}")),
        valid_until: None,
        cache_duration: None,
        display_name: None,
        idp: None,
        sp: Some(SpRole {
            protocols: Protocols { saml20: true, saml11: saml.saml11_consumer.is_some() },
            keys,
            authn_requests_signed: saml.signing.is_some(),
            want_assertions_signed: true,
            acs,
            slo: logouts,
            name_id_formats: saml.providers.iter().filter_map(|provider| provider.name_id_format.clone()).collect(),
            requested_attributes: Vec::new(),
        }),
    }
}

fn consumers(saml: &Saml, origin: &str) -> Vec<String> {
    let saml11 = saml.saml11_consumer.iter().map(|path| format!("{origin}{path}"));
    std::iter::once(format!("{origin}{CONSUMER}")).chain(saml.aliases.iter().map(ToString::to_string)).chain(saml11).collect()
}

/// Whether whoever leads here wants to know who is there only if nobody has to be asked (OpenID Connect core §3.1.2.1 has the word).
pub fn is_passive(request: &CheckRequest) -> bool {
    request.target.query_values("prompt").iter().any(|prompt| prompt == "none")
}

/// The id of the request that begins a login.
fn request_id(login: &str) -> String {
    format!("_{login}")
}

fn refusal(provider: Option<&IdentityProvider>, claimed_request: Option<String>, rejection: Rejection) -> Box<Refusal> {
    let failed = rejection.checks.iter().find(|check| !check.ok()).map_or("document", |check| check.name);
    let partner_says = rejection.status.as_ref().and_then(|status| status.message.clone());
    let detail = match partner_says {
        Some(message) => format!("{}; it says {message:?}", rejection.detail),
        None => rejection.detail,
    };
    let provider = provider.map(IdentityProvider::shared_name);
    Box::new(Refusal { provider, check: failed, reason: rejection.reason, detail, claimed_request })
}

#[async_trait]
impl Scheme for SamlScheme {
    fn name(&self) -> &SchemeName {
        &self.0.name
    }

    /// Never: answers come to the portal, not to an application.
    fn presents(&self, _: &CheckRequest) -> bool {
        false
    }

    fn consumes(&self) -> &[Place] {
        &[]
    }

    async fn authenticate(&self, _: &Asked<'_>, _: &mut Trail) -> Result<Outcome, Unavailable> {
        Ok(Outcome::NotApplicable)
    }

    fn login_flow(&self) -> Option<&dyn LoginFlow> {
        Some(self)
    }
}

#[async_trait]
impl LoginFlow for SamlScheme {
    async fn begin(&self, start: &Start<'_>) -> Result<Departure, Unavailable> {
        let down = |why: &dyn std::fmt::Display| Unavailable::new(self.0.name.to_string(), why);
        let provider = start.idp.as_deref().and_then(|name| self.0.provider(name));
        let provider = provider.ok_or_else(|| down(&"there is no such identity provider"))?;
        self.0.ask(provider, start).map_err(|why| down(&why))
    }

    fn leads(&self) -> Leads {
        Leads::Away
    }
}

/// The reason of a refusal, in the words of the audit.
pub fn fault(reason: Reason) -> SamlFault {
    match reason {
        Reason::Encoding => SamlFault::Encoding,
        Reason::Dtd => SamlFault::Dtd,
        Reason::Malformed => SamlFault::Malformed,
        Reason::ForbiddenMarkup => SamlFault::ForbiddenMarkup,
        Reason::Limits => SamlFault::Limits,
        Reason::WrongVersion => SamlFault::WrongVersion,
        Reason::Ambiguous => SamlFault::Ambiguous,
        Reason::DuplicateId => SamlFault::DuplicateId,
        Reason::NotEnabled => SamlFault::NotEnabled,
        Reason::NoCredentials => SamlFault::NoCredentials,
        Reason::AlgorithmRefused => SamlFault::AlgorithmRefused,
        Reason::DecryptionFailed => SamlFault::DecryptionFailed,
        Reason::ReferenceRefused => SamlFault::ReferenceRefused,
        Reason::SignatureMissing => SamlFault::SignatureMissing,
        Reason::SignatureInvalid => SamlFault::SignatureInvalid,
        Reason::DigestMismatch => SamlFault::DigestMismatch,
        Reason::UnknownKey => SamlFault::UnknownKey,
        Reason::Wrapped => SamlFault::Wrapped,
        Reason::StatusNotSuccess => SamlFault::StatusNotSuccess,
        Reason::AssertionMissing => SamlFault::AssertionMissing,
        Reason::WrongIssuer => SamlFault::WrongIssuer,
        Reason::WrongDestination => SamlFault::WrongDestination,
        Reason::WrongRecipient => SamlFault::WrongRecipient,
        Reason::WrongInResponseTo => SamlFault::WrongInResponseTo,
        Reason::Unsolicited => SamlFault::Unsolicited,
        Reason::WrongAudience => SamlFault::WrongAudience,
        Reason::Expired => SamlFault::Expired,
        Reason::NotYetValid => SamlFault::NotYetValid,
        Reason::Stale => SamlFault::Stale,
        Reason::Replayed => SamlFault::Replayed,
        Reason::UnknownEndpoint => SamlFault::UnknownEndpoint,
        Reason::Unsupported => SamlFault::Unsupported,
    }
}

fn signed(duration: std::time::Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}

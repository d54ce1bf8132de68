//! The identity provider: from a request to an answer that says who is there (SAML profiles §4.1).
//!
//! What an attacker tries: to have the answer sent to an address of his own (attack 51), to smuggle markup into what we sign
//! (attack 50), to link one user across service providers. Answers go to addresses of metadata only, values are written by a
//! writer that cannot be injected, and a persistent name is another one for each service provider.

use aws_lc_rs::hmac;
use jiff::{SignedDuration, Timestamp};
use vestibule_xmlsec::{
    AesSize, ContentKey, Document, EncryptedForm, EncryptedKeyInfo, Encryption, IdentityProvider, Placement, Profile, Recipient,
    SignedElement, SigningKey, TrustedKeys,
};

use crate::assertion::{
    AssertionContent, Attribute, AuthnStatement, Conditions, Confirmation, ConfirmationMethod, NameId, Subject, Version,
};
use crate::binding::MESSAGE_LIMITS;
use crate::error::{Error, MetadataFault};
use crate::issued::Issued;
use crate::metadata::{Entity, IndexedEndpoint, SpRole, encryption_recipient, signing_keys};
use crate::names::{SAML, SAMLP, SAMLP1, binding, name_id};
use crate::partner::{Incoming, Partner, Signature};
use crate::protocol::{Consumer, NameIdPolicy, RequestedContext, Response, Status, message_id};
use crate::reason::{Check, Reason, Rejection};
use crate::sp::TrustedIdp;

/// An identity provider: ourselves.
#[derive(Debug)]
pub struct Idp {
    /// Its entity id.
    pub entity_id: String,
    /// Addresses that take requests, the one now in use and those still in partners' settings.
    pub sso_urls: Vec<String>,
    /// The key it signs with.
    pub key: SigningKey<IdentityProvider>,
}

/// A service provider that an operator registered.
#[derive(Debug)]
pub struct RegisteredSp {
    /// Its entity id.
    pub entity_id: String,
    /// What its metadata say.
    pub role: SpRole,
    /// Keys it signs with.
    pub keys: TrustedKeys,
    /// Algorithms it may use.
    pub profile: Profile,
    /// Whether its requests have to be signed.
    pub requests: Signature,
    /// What is signed for it.
    pub sign: Sign,
    /// To whom assertions for it are encrypted; `None` for not at all.
    pub encryption: Option<Recipient>,
    /// How far its clock may be off, either way.
    pub skew: SignedDuration,
}

/// What of an answer is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sign {
    /// The assertion.
    Assertion,
    /// The response around it.
    Response,
    /// Both.
    Both,
}

impl RegisteredSp {
    /// A service provider as its metadata describe it: its requests have to be signed if it says that it signs, assertions
    /// are signed and, if it has a key for that, encrypted.
    ///
    /// # Errors
    /// [`Error::Metadata`] if it is none.
    pub fn from_metadata(entity: &Entity) -> Result<Self, Error> {
        let role = entity.sp.clone().ok_or(Error::Metadata(MetadataFault::Missing("SPSSODescriptor")))?;
        Ok(Self {
            entity_id: entity.entity_id.clone(),
            keys: signing_keys(&role.keys),
            profile: Profile::SAML,
            requests: if role.authn_requests_signed { Signature::Required } else { Signature::IfPresent },
            sign: if role.want_assertions_signed { Sign::Assertion } else { Sign::Both },
            encryption: encryption_recipient(&role.keys),
            skew: TrustedIdp::SKEW,
            role,
        })
    }

    /// The service provider as the sender of requests.
    pub fn partner(&self) -> Partner<'_> {
        Partner { entity_id: &self.entity_id, keys: &self.keys, profile: &self.profile, skew: self.skew, max_age: TrustedIdp::MAX_AGE }
    }
}

/// A request that may be answered, and where the answer goes.
#[derive(Debug, Clone)]
pub struct SsoRequest {
    /// Its id; `None` where the login begins here. Answer it once.
    pub id: Option<String>,
    /// Where the answer goes, from metadata.
    pub acs: IndexedEndpoint,
    /// A session is not enough.
    pub force_authn: bool,
    /// Nothing may be shown.
    pub is_passive: bool,
    /// Which kind of name is wanted.
    pub name_id_policy: Option<NameIdPolicy>,
    /// How the user shall sign in.
    pub requested_context: Option<RequestedContext>,
    /// Who is expected: a hint for the login page.
    pub subject: Option<NameId>,
    /// Whether it was signed.
    pub signed: bool,
    /// Every check, in order.
    pub checks: Vec<Check>,
}

/// What is asserted, of whom.
#[derive(Debug, Clone)]
pub struct Login {
    /// The name the service provider shall know.
    pub name_id: NameId,
    /// How and when the user signed in, with the session's index for logout.
    pub authn: AuthnStatement,
    /// What may be released of the user.
    pub attributes: Vec<Attribute>,
    /// For how long the assertion may be presented.
    pub lifetime: SignedDuration,
    /// Random; becomes the id of the response.
    pub response_id: [u8; 16],
    /// Random; becomes the id of the assertion.
    pub assertion_id: [u8; 16],
}

impl Login {
    /// An assertion is presented at once.
    pub const LIFETIME: SignedDuration = SignedDuration::from_mins(5);
}

impl Idp {
    /// Judges a request of a registered service provider.
    ///
    /// # Errors
    /// [`Rejection`]. A request that is refused here is not answered to the service provider: where it listens is not known.
    pub fn validate(&self, incoming: Incoming<'_>, sp: &RegisteredSp, now: Timestamp) -> Result<SsoRequest, Rejection> {
        let own: Vec<_> = self.sso_urls.iter().map(String::as_str).collect();
        let (mut trace, request, signed) = sp.partner().authn_request(incoming, &own, sp.requests, now)?;
        let wanted = request.protocol_binding.as_deref();
        let offered = wanted.is_none_or(|wanted| ANSWERS.contains(&wanted));
        trace.check("binding", offered, Reason::Unsupported, format!("expected POST or Artifact, found {wanted:?}"));
        let qualifier = request.name_id_policy.as_ref().and_then(|policy| policy.sp_name_qualifier.as_deref());
        let own_name = qualifier.is_none_or(|qualifier| qualifier == sp.entity_id);
        trace.check("name qualifier", own_name, Reason::Unsupported, format!("expected {:?}, found {qualifier:?}", sp.entity_id));
        let Some(acs) = answerable(&sp.role, &request.consumer, wanted) else {
            let detail = format!("no address of the metadata fits {:?}", request.consumer);
            return Err(trace.refuse("consumer", Reason::UnknownEndpoint, detail));
        };
        trace.passed("consumer", acs.location.clone());
        Ok(SsoRequest {
            id: Some(request.header.id),
            acs: acs.clone(),
            force_authn: request.force_authn,
            is_passive: request.is_passive,
            name_id_policy: request.name_id_policy,
            requested_context: request.requested_context,
            subject: request.subject,
            signed,
            checks: trace.verdict()?,
        })
    }

    /// Where the answer goes when the login begins here; `consumer` may name an address of the metadata.
    ///
    /// # Errors
    /// [`Error::Metadata`] if there is no such address.
    pub fn unsolicited(&self, sp: &RegisteredSp, consumer: &Consumer) -> Result<SsoRequest, Error> {
        let acs = answerable(&sp.role, consumer, None).ok_or(Error::Metadata(MetadataFault::Missing("such AssertionConsumerService")))?;
        Ok(SsoRequest {
            id: None,
            acs: acs.clone(),
            force_authn: false,
            is_passive: false,
            name_id_policy: None,
            requested_context: None,
            subject: None,
            signed: false,
            checks: Vec::new(),
        })
    }

    /// The answer that says who is there.
    ///
    /// # Errors
    /// [`Error::Character`] if a value cannot be written, [`Error::Xml`] if a key cannot be used.
    pub fn respond(&self, sp: &RegisteredSp, request: &SsoRequest, login: &Login, now: Timestamp) -> Result<Issued, Error> {
        let version = version_of(&request.acs);
        let assertion = self.assertion(version, sp, request, login, now);
        let response = self.response(version, request, login.response_id, Status::success(), now);
        let (sign_assertion, sign_response) = match (sp.sign, version) {
            (Sign::Assertion, Version::Saml20) => (true, false),
            (Sign::Response, _) => (false, true),
            (Sign::Both, _) => (true, true),
            // Browser/POST of SAML 1.1 wants the response signed.
            (Sign::Assertion, Version::Saml11) => (true, true),
        };
        let assertion = if sign_assertion { assertion.signed(&self.key)? } else { assertion.to_xml()? };
        let finished = match (&sp.encryption, version) {
            (Some(recipient), Version::Saml20) => encrypt(&assertion, recipient, sp)?,
            // SAML 1.1 has no encryption.
            (Some(_), Version::Saml11) | (None, _) => String::from(assertion),
        };
        let xml = response.write(Some(&finished))?;
        if sign_response { self.sign_response(version, &xml) } else { Ok(Issued::unsigned(xml)) }
    }

    /// The answer that says why nobody is named: for a request that was valid, always signed. `response_id` is random.
    ///
    /// # Errors
    /// As [`Idp::respond`].
    pub fn refuse(&self, request: &SsoRequest, status: Status, response_id: [u8; 16], now: Timestamp) -> Result<Issued, Error> {
        let version = version_of(&request.acs);
        self.sign_response(version, &self.response(version, request, response_id, status, now).write(None)?)
    }

    /// The assertion that an artifact of SAML 1.1 stands for, signed; [`Idp::resolve`] hands it out.
    ///
    /// # Errors
    /// As [`Idp::respond`].
    pub fn behind_artifact(&self, sp: &RegisteredSp, request: &SsoRequest, login: &Login, now: Timestamp) -> Result<Issued, Error> {
        let assertion = self.assertion(Version::Saml11, sp, request, login, now);
        Ok(Issued::restored(assertion.signed(&self.key)?.into()))
    }

    /// The answer to a request of SAML 1.1 for the assertions behind artifacts; for those that are unknown, spent or somebody
    /// else's there is none, and no failure either (1.1 bindings §4.1.1.6). `response_id` is random.
    ///
    /// # Errors
    /// As [`Idp::respond`].
    pub fn resolve(&self, request_id: &str, assertions: &[Issued], response_id: [u8; 16], now: Timestamp) -> Result<Issued, Error> {
        let response = Response {
            version: Version::Saml11,
            stated_version: String::new(),
            id: message_id(response_id),
            issue_instant: now,
            destination: None,
            in_response_to: Some(request_id.to_owned()),
            issuer: None,
            status: Status::success(),
        };
        let finished: String = assertions.iter().map(Issued::as_str).collect();
        self.sign_response(Version::Saml11, &response.write(Some(&finished).filter(|text| !text.is_empty()).map(String::as_str))?)
    }

    fn assertion(&self, version: Version, sp: &RegisteredSp, request: &SsoRequest, login: &Login, now: Timestamp) -> AssertionContent {
        let end = now.checked_add(login.lifetime).unwrap_or(now);
        // Partners' clocks that are a little behind.
        let begin = now.checked_sub(sp.skew).unwrap_or(now);
        let confirmation = match (version, request.acs.binding.as_str()) {
            (Version::Saml20, _) => Confirmation {
                recipient: Some(request.acs.location.clone()),
                in_response_to: request.id.clone(),
                not_on_or_after: Some(end),
                ..Confirmation::of(ConfirmationMethod::Bearer)
            },
            (Version::Saml11, binding::SAML11_ARTIFACT) => Confirmation::of(ConfirmationMethod::Artifact),
            (Version::Saml11, _) => Confirmation::of(ConfirmationMethod::Bearer),
        };
        AssertionContent {
            version,
            id: message_id(login.assertion_id),
            issuer: self.entity_id.clone(),
            issuer_format: None,
            issue_instant: now,
            subject: Some(Subject { name_id: Some(login.name_id.clone()), confirmations: vec![confirmation] }),
            conditions: Some(Conditions {
                not_before: Some(begin),
                not_on_or_after: Some(end),
                audiences: vec![vec![sp.entity_id.clone()]],
                ..Conditions::default()
            }),
            authn: vec![login.authn.clone()],
            attributes: login.attributes.clone(),
        }
    }

    fn response(&self, version: Version, request: &SsoRequest, id: [u8; 16], status: Status, now: Timestamp) -> Response {
        Response {
            version,
            stated_version: String::new(),
            id: message_id(id),
            issue_instant: now,
            destination: Some(request.acs.location.clone()),
            in_response_to: request.id.clone(),
            issuer: Some(self.entity_id.clone()),
            status,
        }
    }

    fn sign_response(&self, version: Version, xml: &str) -> Result<Issued, Error> {
        match version {
            Version::Saml20 => Issued::signed(xml, (SAMLP, "Response"), Placement::After(SAML, "Issuer"), &self.key),
            Version::Saml11 => Issued::signed(xml, (SAMLP1, "Response"), Placement::First, &self.key),
        }
    }
}

/// Bindings by which answers go.
const ANSWERS: [&str; 4] = [binding::POST, binding::ARTIFACT, binding::SAML11_POST, binding::SAML11_ARTIFACT];

/// The address of the metadata that a request means, if an answer can go there.
fn answerable<'a>(role: &'a SpRole, consumer: &Consumer, wanted: Option<&str>) -> Option<&'a IndexedEndpoint> {
    if wanted.is_some() {
        return role.acs_for(consumer, wanted);
    }
    let any = role.acs_for(consumer, None).filter(|acs| ANSWERS.contains(&acs.binding.as_str()));
    any.or_else(|| ANSWERS.iter().find_map(|binding| role.acs_for(consumer, Some(binding))))
}

fn version_of(acs: &IndexedEndpoint) -> Version {
    match acs.binding.as_str() {
        binding::SAML11_POST | binding::SAML11_ARTIFACT => Version::Saml11,
        _ => Version::Saml20,
    }
}

/// An `EncryptedAssertion` for a service provider.
fn encrypt(assertion: &str, recipient: &Recipient, sp: &RegisteredSp) -> Result<String, Error> {
    let methods = sp.role.keys.iter().flat_map(|key| &key.encryption_methods);
    let (mut shorter, mut longer) = (false, false);
    for method in methods {
        shorter |= method.ends_with("#aes128-gcm");
        longer |= method.ends_with("#aes256-gcm");
    }
    let key = ContentKey::generate(if shorter && !longer { AesSize::Aes128 } else { AesSize::Aes256 })?;
    let document = Document::parse(assertion.as_bytes(), &MESSAGE_LIMITS)?;
    let recipients = EncryptedKeyInfo::Recipients(std::slice::from_ref(recipient));
    let form = EncryptedForm::ElementIn(SAML, "EncryptedAssertion");
    let encryption = Encryption { part: form, key: &key, key_info: recipients, id: None };
    let octets = document.encrypt(SignedElement::Path(&[(SAML, "Assertion")]), &encryption)?;
    // INVARIANT: base64 put into UTF-8 at an element's borders leaves UTF-8.
    String::from_utf8(octets).map_err(|_| Error::Unwritable("the encrypted document is not UTF-8"))
}

/// A name of one user for one service provider, the same at every login (core §8.3.7): HMAC-SHA256 under a key of the caller,
/// so that neither the user's id nor the names at other service providers follow from it.
pub fn persistent_name(key: &[u8; 32], idp: &str, sp: &str, user: &str) -> NameId {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
    for part in ["vestibule persistent NameID", idp, sp, user] {
        // Lengths first: no two lists of parts are one list of octets.
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part.as_bytes());
    }
    let value = context.sign().as_ref().iter().map(|octet| format!("{octet:02x}")).collect();
    NameId {
        value,
        format: Some(name_id::PERSISTENT.to_owned()),
        name_qualifier: Some(idp.to_owned()),
        sp_name_qualifier: Some(sp.to_owned()),
        sp_provided_id: None,
    }
}

/// A name for one session (core §8.3.8), from 128 random bits.
pub fn transient_name(random: [u8; 16]) -> NameId {
    NameId::new(message_id(random), name_id::TRANSIENT)
}

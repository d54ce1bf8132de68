//! The tokens of a response: made of what is known of the caller, and assertions kept for as long as they may be used again.
//!
//! An attacker wants an assertion about somebody else, or about what he was before. Everything an assertion says, and the
//! key it names, is in the name under which it is kept.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use quick_cache::sync::Cache;
use vestibule_engine::basic;
use vestibule_engine::clock::random;
use vestibule_engine::identity::{Identity, SchemeName, Username};
use vestibule_engine::inject::Granted;
use vestibule_engine::request::Shown;
use vestibule_engine::secret::Secret;
use vestibule_engine::store::digest;
use vestibule_saml::{AssertionContent, Attribute, AuthnStatement, Conditions, Confirmation, ConfirmationMethod, NameId, Subject, Version};
use vestibule_wss::{Assertion as WrittenAssertion, AssertionReference, Password, Secret as WssSecret, Token};
use vestibule_xmlsec::{Fragment, SigningKey, WebServices};

use super::PasswordCame;
use crate::certificate;
use crate::config::checked::{Assertion, Confirm, Holder, PasswordForm, PasswordSource, ResponseToken};
use crate::schemes::ws_security::message::{self, Received};
use crate::ticket::{self, SessionTickets};

/// Assertions kept for reuse; some kilobytes each.
const CACHED: usize = 4096;
/// An assertion is used again until this part of its life is left.
const FRESH: i64 = 2;
/// How far receivers' clocks may be behind ours.
const BEHIND: i64 = 30;
/// The class of authentication where nothing more exact can be said (SAML authentication context §3.4.25; SAML 1.1 core §7.1.11).
const CLASSES: (&str, &str) = ("urn:oasis:names:tc:SAML:2.0:ac:classes:unspecified", "urn:oasis:names:tc:SAML:1.0:am:unspecified");

/// A token, made.
#[derive(Debug)]
pub enum Issued {
    /// None beside what the signature needs.
    Nothing,
    /// A name and its password.
    Password {
        /// The name.
        name: String,
        /// How the password stands there.
        form: PasswordForm,
        /// The password.
        password: Secret<String>,
    },
    /// An assertion.
    Saml(Kept),
}

/// An assertion that may be sent again until `until`, seconds since 1970.
#[derive(Debug, Clone)]
pub struct Kept {
    xml: Secret<Fragment>,
    id: String,
    version: Version,
    reference: AssertionReference,
    until: i64,
}

impl Issued {
    /// As it is written.
    pub fn token(&self) -> Token<'_> {
        match self {
            Self::Nothing => Token::Nothing,
            Self::Password { name, form, password } => Token::Username {
                name,
                password: match form {
                    PasswordForm::Digest => Password::Digest(password.reveal()),
                    PasswordForm::Text => Password::Text(password.reveal()),
                },
            },
            Self::Saml(kept) => {
                Token::Saml(WrittenAssertion { xml: kept.xml.reveal(), id: &kept.id, version: kept.version, reference: kept.reference })
            }
        }
    }
}

/// The tokens of one response.
#[derive(Debug)]
pub struct Tokens(Cache<[u8; 32], Kept>);

impl Default for Tokens {
    fn default() -> Self {
        Self(Cache::new(CACHED))
    }
}

impl Tokens {
    /// The token for a grant.
    ///
    /// # Errors
    /// A sentence: what is missing. Nothing is forwarded then.
    pub async fn issue(
        &self,
        token: &ResponseToken,
        signing: Option<&(SigningKey<WebServices>, Vec<u8>)>,
        asked: &Granted<'_>,
        passwords: &HashMap<SchemeName, PasswordCame>,
        tickets: &SessionTickets,
    ) -> Result<Issued, String> {
        let identity = || asked.principal.identity().ok_or("nobody is known, so no token can name them");
        match token {
            ResponseToken::X509 => Ok(Issued::Nothing),
            ResponseToken::Password { form, source } => {
                let identity = identity()?;
                let password = match source {
                    PasswordSource::Shared(secret) => secret.clone(),
                    PasswordSource::Attribute(name) => Secret::new(only(identity, name)?.to_owned()),
                    PasswordSource::Received => received(asked, identity, passwords)?,
                };
                Ok(Issued::Password { name: identity.user.name.to_string(), form: *form, password })
            }
            ResponseToken::Saml(assertion) => {
                let (key, _) = signing.ok_or("there is no key to sign an assertion with")?;
                self.assertion(assertion, key, identity()?, asked, tickets).await.map(Issued::Saml)
            }
        }
    }

    async fn assertion(
        &self,
        wanted: &Assertion,
        key: &SigningKey<WebServices>,
        identity: &Identity,
        asked: &Granted<'_>,
        tickets: &SessionTickets,
    ) -> Result<Kept, String> {
        let holder = match &wanted.confirm {
            Confirm::HolderOfKey(holder) => Some(holder_of(holder, identity, asked)?),
            Confirm::SenderVouches | Confirm::SenderVouchesSigned => None,
        };
        let name = match wanted.name.texts(asked).as_slice() {
            [only] => only.clone(),
            _ => return Err(format!("the caller has no single {:?} to be named by", wanted.name)),
        };
        let mut attributes: Vec<(&str, Vec<String>)> = wanted
            .attributes
            .iter()
            .map(|(name, fact)| (name.as_str(), fact.texts(asked)))
            .filter(|(_, texts)| !texts.is_empty())
            .collect();
        let now = asked.now.as_second();
        let authenticated = identity.authenticated_at.as_second();
        // A ticket says more than the assertion, and is made for this moment: nothing with one is kept.
        if wanted.ticket {
            let ticket = tickets.seal(identity, holder.as_deref(), wanted.lifetime, asked.now).await?;
            attributes.push((ticket::ATTRIBUTE, vec![ticket.reveal().clone()]));
        }
        // A holder shows his key with each message; what we vouch for belongs to one message and is never kept.
        let kept_as = (holder.is_some() && !wanted.ticket).then(|| kept_name(&name, &attributes, holder.as_deref(), authenticated));
        if let Some(found) = kept_as.and_then(|name| self.0.get(&name)).filter(|kept| now < kept.until) {
            return Ok(found);
        }
        let life = i64::try_from(wanted.lifetime.as_secs()).unwrap_or(i64::MAX);
        let moment = |seconds: i64| jiff::Timestamp::from_second(seconds).map_err(|error| error.to_string());
        let id = random::<16>().map_err(|down| down.to_string())?;
        let id = format!("_{}", id.iter().map(|octet| format!("{octet:02x}")).collect::<String>());
        let method = if holder.is_some() { ConfirmationMethod::HolderOfKey } else { ConfirmationMethod::SenderVouches };
        let class = match wanted.version {
            Version::Saml20 => CLASSES.0,
            Version::Saml11 => CLASSES.1,
        };
        let format = match wanted.version {
            Version::Saml20 => "urn:oasis:names:tc:SAML:2.0:attrname-format:basic",
            Version::Saml11 => "urn:vestibule:attribute",
        };
        let content = AssertionContent {
            version: wanted.version,
            id: id.clone(),
            issuer: wanted.issuer.clone(),
            issuer_format: None,
            issue_instant: moment(now)?,
            subject: Some(Subject {
                name_id: Some(NameId::new(name, &wanted.format)),
                confirmations: vec![Confirmation { holder_certificates: holder.into_iter().collect(), ..Confirmation::of(method) }],
            }),
            conditions: Some(Conditions {
                not_before: Some(moment(now.saturating_sub(BEHIND))?),
                not_on_or_after: Some(moment(now.saturating_add(life))?),
                audiences: vec![wanted.audience.clone()],
                ..Conditions::default()
            }),
            authn: vec![AuthnStatement::new(identity.authenticated_at, class)],
            attributes: attributes.into_iter().map(|(name, texts)| Attribute::of_texts(name, format, texts)).collect(),
        };
        let written = match wanted.confirm {
            Confirm::HolderOfKey(_) | Confirm::SenderVouchesSigned => content.signed(key),
            Confirm::SenderVouches => content.to_xml(),
        };
        let kept = Kept {
            xml: Secret::new(written.map_err(|error| error.to_string())?),
            id,
            version: wanted.version,
            // BSP R6612: SAML 2.0 is covered by its id.
            reference: match wanted.version {
                Version::Saml20 => AssertionReference::Direct,
                Version::Saml11 => AssertionReference::Transformed,
            },
            until: now.saturating_add(life / FRESH),
        };
        if let Some(name) = kept_as {
            self.0.insert(name, kept.clone());
        }
        Ok(kept)
    }
}

/// All that an assertion says of the caller. What it says beside that is the response's.
fn kept_name(name: &str, attributes: &[(&str, Vec<String>)], holder: Option<&[u8]>, authenticated: i64) -> [u8; 32] {
    let (count, when) = (attributes.len().to_be_bytes(), authenticated.to_be_bytes());
    let mut lengths = Vec::new();
    let mut parts: Vec<&[u8]> = vec![name.as_bytes(), holder.unwrap_or_default(), &when, &count];
    for (name, texts) in attributes {
        lengths.push(texts.len().to_be_bytes());
        parts.push(name.as_bytes());
        parts.extend(texts.iter().map(String::as_bytes));
    }
    parts.extend(lengths.iter().map(<[u8; 8]>::as_slice));
    digest(&parts)
}

fn only<'a>(identity: &'a Identity, attribute: &str) -> Result<&'a str, String> {
    match identity.attributes.get(attribute).map(Vec::as_slice) {
        Some([only]) => Ok(only),
        Some(_) | None => Err(format!("the caller has no single attribute {attribute}")),
    }
}

/// The certificate (DER) whose key the caller has.
pub fn holder_of(holder: &Holder, identity: &Identity, asked: &Granted<'_>) -> Result<Vec<u8>, String> {
    let attribute = match holder {
        Holder::ClientCertificate => {
            return match &asked.request.client.certificate {
                Shown::Certificate(certificate) => Ok(certificate.der.to_vec()),
                Shown::Nothing | Shown::Refused(_) => Err("the caller showed no certificate in TLS".to_owned()),
            };
        }
        Holder::Message => certificate::ATTRIBUTE,
        Holder::Attribute(name) => name,
    };
    let text = only(identity, attribute)?;
    STANDARD.decode(text.split_ascii_whitespace().collect::<String>()).map_err(|_| format!("the attribute {attribute} is no certificate"))
}

/// The password that the caller sent with this request, and that was checked.
fn received(asked: &Granted<'_>, identity: &Identity, passwords: &HashMap<SchemeName, PasswordCame>) -> Result<Secret<String>, String> {
    let missing = || "the caller sent no password with this request".to_owned();
    let (name, password) = match passwords.get(&identity.scheme).ok_or_else(missing)? {
        PasswordCame::Basic => {
            let found = basic::credentials(&asked.request.headers).ok().flatten().ok_or_else(missing)?;
            (found.name, found.password)
        }
        PasswordCame::Token(role) => {
            let body = message::body(asked.request).ok_or_else(missing)?;
            let received = Received::read(&asked.request.headers, body).map_err(|error| error.to_string())?;
            let token = received.message.username(role).ok_or_else(missing)?;
            match token.secret() {
                Some(WssSecret::Text(text)) => (token.username().to_owned(), Secret::new(text.to_string())),
                Some(WssSecret::Digest { .. }) | None => return Err(missing()),
            }
        }
    };
    // What stands there is what was checked: whoever was recognised is whose name it is.
    let is_theirs = Username::parse(asked.found.tenant.local_name(&name)).is_some_and(|name| name == identity.user.name);
    if is_theirs { Ok(password) } else { Err(missing()) }
}

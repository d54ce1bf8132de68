//! The security header of the message that the service sees: the one that was read taken out, and those that the deciding
//! permits named written in (SOAP Message Security §5; `policy-server-and-ws-security.md` §3, §12).
//!
//! What an attacker tries: a header of his own that the service takes for ours, an assertion about somebody else, a service
//! that is told nothing and takes that for consent. So the header for our role never passes, whoever sent it, unless the
//! route says that the service needs it; what cannot be made is never left out; and of the message nothing else changes.

mod tokens;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderName;
use jiff::SignedDuration;
use vestibule_engine::clock::random;
use vestibule_engine::identity::{ResponseName, SchemeName, TenantId};
use vestibule_engine::inject::{Granted, Injection, Injector, Uninjected};
use vestibule_engine::request::Malformed;
use vestibule_soap::Target;
use vestibule_wss::{Consumed, EncryptFor, Header, Lifetime, Message, MustUnderstand, Randomness, SignWith};
use vestibule_xmlsec::{AesSize, Limits, OaepHash, SigningKey, WebServices};

use crate::config::SIGNING;
use crate::config::checked::{Confirm, Holder, ResponseToken, SecurityHeader, SigningCertificate, WsSecurityResponse};
use crate::schemes::ws_security::message;
use crate::ticket::SessionTickets;
pub(super) use tokens::holder_of;
use tokens::{Issued, Tokens};

/// Octets that a data thread writes by itself.
const AT_ONCE: usize = 64 * 1024;
/// What said something of the octets of the body: it does not hold when they change.
const ABOUT_BODIES: [&str; 6] = ["content-md5", "digest", "content-digest", "repr-digest", "signature", "signature-input"];

/// How a scheme got the password that a response may pass on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PasswordCame {
    /// By HTTP Basic.
    Basic,
    /// In a user name token of the header for this role.
    Token(Target),
}

/// What a route does to security headers.
#[derive(Debug)]
pub struct WsSecurityInjector {
    kept: SecurityHeader,
    /// The roles whose headers each tenant's chain reads.
    roles: HashMap<TenantId, Vec<Target>>,
    responses: BTreeMap<ResponseName, Arc<Prepared>>,
    passwords: HashMap<SchemeName, PasswordCame>,
    tickets: SessionTickets,
    headers: Vec<HeaderName>,
}

/// A response, with its keys read.
#[derive(Debug)]
struct Prepared {
    response: WsSecurityResponse,
    signing: Option<(SigningKey<WebServices>, Vec<u8>)>,
    tokens: Tokens,
}

impl WsSecurityInjector {
    /// What a route of this kind does, for the responses of a configuration.
    ///
    /// # Errors
    /// A sentence: a key that cannot sign.
    pub fn new(
        kept: SecurityHeader,
        roles: HashMap<TenantId, Vec<Target>>,
        responses: impl IntoIterator<Item = (ResponseName, WsSecurityResponse)>,
        passwords: HashMap<SchemeName, PasswordCame>,
        tickets: SessionTickets,
    ) -> Result<Self, String> {
        let prepare = |(name, response): (ResponseName, WsSecurityResponse)| {
            let key = |from: &SigningCertificate| {
                let key = SigningKey::from_pkcs8(SIGNING, from.key.reveal(), Some(&from.certificate));
                key.map(|key| (key, from.certificate.clone())).map_err(|why| format!("{name}: {why}"))
            };
            let signing = response.certificate.as_ref().map(key).transpose()?;
            Ok((name, Arc::new(Prepared { response, signing, tokens: Tokens::default() })))
        };
        let responses: BTreeMap<_, _> = responses.into_iter().map(prepare).collect::<Result<_, String>>()?;
        let rewrites = kept == SecurityHeader::Remove || !responses.is_empty();
        let headers = if rewrites { ABOUT_BODIES.map(HeaderName::from_static).to_vec() } else { Vec::new() };
        Ok(Self { kept, roles, responses, passwords, tickets, headers })
    }

    fn roles(&self, asked: &Granted<'_>) -> &[Target] {
        self.roles.get(&asked.found.tenant.id).map(Vec::as_slice).unwrap_or_default()
    }
}

#[async_trait]
impl Injector for WsSecurityInjector {
    fn name(&self) -> &str {
        "ws-security"
    }

    /// Nothing is set, but what was said of the body as it came goes.
    fn headers(&self) -> &[HeaderName] {
        &self.headers
    }

    async fn inject(&self, asked: &Granted<'_>) -> Result<Injection, Uninjected> {
        let named: Vec<&Arc<Prepared>> = asked.permits.responses.iter().filter_map(|name| self.responses.get(name)).collect();
        let removed = if self.kept == SecurityHeader::Remove || named.iter().any(|one| one.response.remove) {
            self.roles(asked).to_vec()
        } else {
            Vec::new()
        };
        let body = if named.is_empty() { message::octets(asked.request) } else { message::body(asked.request) };
        let Some(body) = body else {
            return if named.is_empty() { Ok(Injection::default()) } else { Err("the request is no SOAP message".into()) };
        };
        if named.is_empty() && (removed.is_empty() || !message::may_be_secured(&asked.request.headers, body)) {
            return Ok(Injection::default());
        }
        let mut headers = Vec::with_capacity(named.len());
        for prepared in named {
            let (response, signing) = (&prepared.response, prepared.signing.as_ref());
            let issued = prepared.tokens.issue(&response.token, signing, asked, &self.passwords, &self.tickets).await?;
            headers.push((prepared.clone(), issued, Randomness(random().map_err(|down| down.to_string())?)));
        }
        let work = Work { http: asked.request.headers.clone(), body: body.clone(), removed, headers, now: asked.now };
        let body = if body.len() > AT_ONCE {
            let ended = tokio::task::spawn_blocking(move || work.done()).await;
            ended.unwrap_or_else(|_| Err("the message could not be written".into()))?
        } else {
            work.done()?
        };
        Ok(Injection { body, ..Injection::default() })
    }
}

/// All that is needed to write a message, without the request it came in.
struct Work {
    http: http::HeaderMap,
    body: Bytes,
    removed: Vec<Target>,
    headers: Vec<(Arc<Prepared>, Issued, Randomness)>,
    now: jiff::Timestamp,
}

impl Work {
    /// The body, if it changes.
    fn done(self) -> Result<Option<Bytes>, Uninjected> {
        let said = |error: vestibule_wss::Error| error.to_string();
        let unreadable = |error: vestibule_wss::Error| {
            tracing::debug!(%error, "a message whose security header would have to go cannot be read");
            Uninjected::Malformed(Malformed::Soap)
        };
        let received = match message::received(&self.http, &self.body).map_err(unreadable)? {
            Some(received) => received,
            None if self.headers.is_empty() => return Ok(None),
            None => return Err("the request is no SOAP message".into()),
        };
        if received.is_packaged() && self.headers.iter().any(|(one, _, _)| !one.response.sign.is_empty() || one.response.encrypt.is_some())
        {
            return Err("a package of several parts cannot be signed or encrypted in place".into());
        }
        let limits = message::room(&self.body);
        let mut message = received.as_sent(&self.body).map_err(said)?;
        let mut written = None;
        for role in self.removed.iter().filter(|role| message.presents(role)).collect::<Vec<_>>() {
            let octets = Header::remove(&message, role).map_err(said)?;
            message = Message::read(&octets, &limits).map_err(said)?;
            written = Some(octets);
        }
        for (prepared, issued, random) in &self.headers {
            let octets = prepared.write(&message, issued, &limits, self.now, random).map_err(said)?;
            message = Message::read(&octets, &limits).map_err(said)?;
            written = Some(octets);
        }
        Ok(written.map(|octets| received.replaced(&self.body, &octets)))
    }
}

impl Prepared {
    fn write(
        &self,
        message: &Message,
        issued: &Issued,
        limits: &Limits,
        now: jiff::Timestamp,
        random: &Randomness,
    ) -> Result<Vec<u8>, vestibule_wss::Error> {
        let response = &self.response;
        let signing = self.signing.as_ref().filter(|_| !response.sign.is_empty());
        let sign = signing.map(|(key, certificate)| SignWith { key, certificate, parts: &response.sign, reference: response.reference });
        let encrypt = response.encrypt.as_ref().map(|to| EncryptFor {
            certificate: &to.certificate,
            parts: &to.parts,
            size: AesSize::Aes256,
            hashes: (OaepHash::Sha256, OaepHash::Sha256),
        });
        let header = Header {
            role: &response.role,
            must_understand: if response.must_understand { MustUnderstand::Written } else { MustUnderstand::Omitted },
            // A header that stays and is somebody else's to understand loses that demand where the response says so (§3.4).
            consumed: if response.must_understand { Consumed::Kept } else { Consumed::Optional(&response.role) },
            lifetime: match response.lifetime {
                Some(length) => Lifetime::For(SignedDuration::try_from(length).unwrap_or(SignedDuration::ZERO)),
                None => Lifetime::Unsaid,
            },
            token: issued.token(),
            sign,
            encrypt,
        };
        header.write(message, limits, now, random)
    }
}

/// What a response needs that not every scheme brings; the table of §3.6.
pub fn needs(response: &WsSecurityResponse) -> Need {
    use crate::config::checked::PasswordSource;
    match &response.token {
        ResponseToken::Password { source: PasswordSource::Received, .. } => Need::ReceivedPassword,
        ResponseToken::Password { .. } | ResponseToken::X509 => Need::Name,
        ResponseToken::Saml(assertion) => match &assertion.confirm {
            Confirm::HolderOfKey(holder) => needs_key(holder),
            Confirm::SenderVouches | Confirm::SenderVouchesSigned => Need::Name,
        },
    }
}

/// What naming this holder needs.
pub fn needs_key(holder: &Holder) -> Need {
    match holder {
        Holder::Message => Need::MessageKey,
        Holder::ClientCertificate => Need::TlsKey,
        Holder::Attribute(_) => Need::Name,
    }
}

/// What a response needs of the scheme that recognised the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Need {
    /// Only who it is.
    Name,
    /// The password as the caller sent it.
    ReceivedPassword,
    /// The key that signed the caller's message.
    MessageKey,
    /// The key of the caller's TLS.
    TlsKey,
}

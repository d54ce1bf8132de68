//! The scheme `session-ticket`: whoever another service of this installation recognised (`policy-server-and-ws-security.md` §2.4).
//!
//! The cookie is looked at first, then the header; the first ticket that opens counts, and if it does not hold, no other is
//! tried. Where messages have to be signed, the key is the one that the ticket names. What an attacker tries: a ticket that he
//! saw, with a message of his own.

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderName;
use vestibule_engine::audit::{Reason, SecurityFault, Trail};
use vestibule_engine::identity::{Issuer, SchemeName};
use vestibule_engine::request::CheckRequest;
use vestibule_engine::scheme::{Asked, Outcome, Place, Proof, Rejection, Replay, Scheme, Unavailable, Who};
use vestibule_soap::Target;
use vestibule_wss::{CertificateStore, Concessions, TokenKind, Window};

use super::family::PlainHttp;
use super::ws_security::message::{self, Received};
use super::ws_security::verifier::{Verifier, Way, reason};
use super::ws_security::{service, spent};
use crate::certificate;
use crate::ticket::{SessionTickets, Ticket};

/// Octets that a data thread verifies by itself.
const AT_ONCE: usize = 64 * 1024;

/// The scheme.
#[derive(Debug)]
pub struct SessionTicketScheme {
    name: SchemeName,
    settings: Settings,
    tickets: SessionTickets,
    plain: PlainHttp,
    consumes: Vec<Place>,
}

/// Where tickets stand, and who may bring them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The cookie.
    pub cookie: String,
    /// The header.
    pub header: HeaderName,
    /// Whether the message has to be signed with the key that the ticket names, and how old it may be.
    pub signed: Option<(Target, Window)>,
}

impl SessionTicketScheme {
    /// The scheme of this name.
    pub fn new(name: SchemeName, settings: Settings, tickets: SessionTickets, plain: PlainHttp) -> Self {
        let mut consumes = vec![Place::Cookie(settings.cookie.clone()), Place::Header(settings.header.clone())];
        consumes.extend(settings.signed.is_some().then_some(Place::SoapToken));
        Self { name, settings, tickets, plain, consumes }
    }

    fn ticket(&self, asked: &Asked<'_>) -> Option<Ticket> {
        let headers = asked.request.headers.get_all(&self.settings.header).iter().filter_map(|value| value.to_str().ok());
        let mut texts = asked.request.cookies(&self.settings.cookie).chain(headers);
        texts.find_map(|text| self.tickets.open(&asked.found.tenant.id, text))
    }

    /// Whether the message is signed by who holds the ticket.
    async fn signed(&self, ticket: &Ticket, role: &Target, window: Window, asked: &Asked<'_>) -> Result<Vec<Replay>, Reason> {
        let missing = Reason::Security(SecurityFault::SignatureMissing);
        let holder = ticket.holder().ok_or(Reason::Security(SecurityFault::UnknownKey))?;
        let body = message::body(asked.request).ok_or(missing)?.clone();
        let mut certificates = CertificateStore::new();
        certificates.know(&holder).map_err(|error| reason(error.reason()))?;
        let verifier = Verifier {
            role: role.clone(),
            tokens: vec![TokenKind::X509],
            parts: Vec::new(),
            window,
            concessions: Concessions::default(),
            certificates,
            issuers: Vec::new(),
            audience: String::new(),
            recipients: Vec::new(),
            decryption: None,
        };
        let (headers, way, now) = (asked.request.headers.clone(), Way::of(asked.request, self.plain), asked.now);
        let large = body.len() > AT_ONCE;
        let verify = move || {
            let received = Received::read(&headers, &body).map_err(|error| reason(error.reason()))?;
            if !verifier.understands(&received.message) {
                return Err(Reason::Security(SecurityFault::NotUnderstood));
            }
            verifier.verify(&received.message, &way, now).map_err(|rejection| reason(rejection.reason))
        };
        let accepted = match large {
            true => tokio::task::spawn_blocking(verify).await.unwrap_or(Err(Reason::Security(SecurityFault::Malformed))),
            false => verify(),
        }?;
        Ok(spent(&accepted.replay, &service(asked.request, asked.found)))
    }
}

#[async_trait]
impl Scheme for SessionTicketScheme {
    fn name(&self) -> &SchemeName {
        &self.name
    }

    fn presents(&self, request: &CheckRequest) -> bool {
        request.headers.contains_key(&self.settings.header) || request.cookies(&self.settings.cookie).next().is_some()
    }

    fn consumes(&self) -> &[Place] {
        &self.consumes
    }

    async fn authenticate(&self, asked: &Asked<'_>, _trail: &mut Trail) -> Result<Outcome, Unavailable> {
        let rejected = |reason| Ok(Outcome::Rejected(Rejection::next(reason)));
        if !self.plain.admits(asked.request) {
            return rejected(Reason::InsecureChannel);
        }
        let Some(ticket) = self.ticket(asked) else { return rejected(Reason::UnknownSession) };
        if let Err(reason) = self.tickets.check(&ticket, asked.now).await? {
            return rejected(reason);
        }
        let mut attributes = ticket.attributes();
        let mut replay = Vec::new();
        if let Some((role, window)) = &self.settings.signed {
            replay = match self.signed(&ticket, role, *window, asked).await {
                Ok(replay) => replay,
                Err(reason) => return Ok(Outcome::Rejected(Rejection::chain(reason))),
            };
            attributes.extend(ticket.holder().map(|der| (certificate::ATTRIBUTE.to_owned(), vec![STANDARD.encode(der)])));
        } else if ticket.is_bound() {
            // It was made for who has that key, and here nobody shows a key.
            return rejected(Reason::Security(SecurityFault::SignatureMissing));
        }
        Ok(Outcome::Authenticated(Box::new(Proof {
            tenant: asked.found.tenant.id.clone(),
            who: Who::User(ticket.user()),
            scheme: self.name.clone(),
            issuer: Issuer::from(ticket.issuer.as_str()),
            level: ticket.level(),
            authenticated_at: ticket.authenticated_at(),
            replay,
            attributes,
            // Browsers send the cookie by themselves; a signature they do not make.
            ambient: self.settings.signed.is_none() && asked.request.cookies(&self.settings.cookie).next().is_some(),
        })))
    }
}

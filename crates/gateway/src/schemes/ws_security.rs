//! The scheme `ws-security`: whoever a SOAP message's security header proves (SOAP Message Security 1.0 and 1.1).
//!
//! A scheme takes one kind of token: a user name with its password, a certificate whose key signed the message, or an
//! assertion. What the header proves is `vestibule-wss`'s to say; here it becomes a user of ours, and what must not be sent
//! again is handed to admission, bound to the service it was sent to: a message that one service passes on to the next is
//! no replay, and twice at the same one it is (attack 65).

pub mod message;
pub mod verifier;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use vestibule_engine::Timestamp;
use vestibule_engine::audit::{Reason, SecurityFault, Trail};
use vestibule_engine::identity::{Attributes, ExternalId, Issuer, Level, SchemeName, Username, password};
use vestibule_engine::realm::{Accounts, Answer, Offered, PASSWORD};
use vestibule_engine::request::CheckRequest;
use vestibule_engine::route::{Destination, Found};
use vestibule_engine::scheme::{Asked, Outcome, Place, Proof, Reach, Rejection, Replay, Scheme, Unavailable, Who};
use vestibule_engine::users::Users;
use vestibule_wss::{Accepted, AcceptedAssertion, Certificate, Confirmed, Secret as WssSecret, TokenKind, UsernameToken};

use super::client_certificate::KEY;
use super::family::{Family, Offer, PlainHttp};
use super::owners::Owners;
use crate::certificate;
use crate::ticket::{self, SessionTickets, Ticket};
use message::Received;
use verifier::{Verifier, Way, reason};

/// Octets that a data thread verifies by itself; more would keep everybody on its core waiting.
const AT_ONCE: usize = 64 * 1024;

/// The scheme.
#[derive(Debug)]
pub struct WsSecurity {
    name: SchemeName,
    verifier: Arc<Verifier>,
    credential: Credential,
    plain: PlainHttp,
    /// How far a refusal reaches: other schemes for the same token may know the sender.
    reach: Reach,
    consumes: [Place; 1],
    /// See [`WsSecurity::knowing_since`].
    knows_since: Option<Timestamp>,
}

/// How what was proven becomes a user.
#[derive(Debug)]
pub enum Credential {
    /// A user name, checked by these realms.
    Username(Family),
    /// A certificate, found by these owners.
    X509(Owners),
    /// An assertion.
    Saml {
        /// What names the user.
        subject: Subject,
        /// The users.
        users: Arc<Users>,
        /// SessionTickets, where one of them names the user.
        tickets: Box<SessionTickets>,
    },
}

/// What in an assertion names the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// Its name is a user's.
    Name,
    /// Its name was linked to a user.
    Linked,
    /// The one value of this attribute is a user's name.
    Attribute(String),
    /// It holds a ticket of ours, which says who was recognised.
    Ticket,
}

impl Credential {
    /// The kind of token it is.
    pub fn token(&self) -> TokenKind {
        match self {
            Self::Username(_) => TokenKind::Username,
            Self::X509(_) => TokenKind::X509,
            Self::Saml { .. } => TokenKind::Saml,
        }
    }
}

impl WsSecurity {
    /// The scheme of this name.
    pub fn new(name: SchemeName, verifier: Verifier, credential: Credential, plain: PlainHttp, reach: Reach) -> Self {
        Self { name, verifier: Arc::new(verifier), credential, plain, reach, consumes: [Place::SoapToken], knows_since: None }
    }

    /// The same over a store that forgot what was used before this: an assertion that was issued earlier, and may be used once or
    /// with one document, may have been, for its end is its issuer's to choose.
    pub fn knowing_since(self, knows_since: Option<Timestamp>) -> Self {
        Self { knows_since, ..self }
    }

    fn rejected(&self, reason: Reason) -> Outcome {
        Outcome::Rejected(Rejection { reason, reach: self.reach })
    }

    async fn username(
        &self,
        token: &UsernameToken,
        signer: Option<&Certificate>,
        family: &Family,
        proven: Proven<'_>,
        trail: &mut Trail,
    ) -> Result<Outcome, Unavailable> {
        let asked = proven.asked;
        let tenant = &asked.found.tenant;
        let unusable = Ok(Outcome::Rejected(Rejection::next(Reason::MalformedCredential)));
        let Some(username) = Username::parse(tenant.local_name(token.username())) else { return unusable };
        let typed;
        let prefix;
        let secret = match token.secret() {
            Some(WssSecret::Text(text)) => {
                let Some(read) = password(text) else { return unusable };
                typed = read;
                Offered::Password(&typed)
            }
            Some(WssSecret::Digest { nonce, created, digest }) => {
                prefix = [nonce.as_slice(), created.as_bytes()].concat();
                Offered::Digest { digest, prefix: &prefix }
            }
            None => return unusable,
        };
        let offer = Offer {
            request: asked.request,
            tenant: &tenant.id,
            username: &username,
            secret,
            accounts: Accounts::All,
            floor: Duration::ZERO,
            now: asked.now,
        };
        Ok(match family.verify(&offer, false, trail).await? {
            Answer::Rejected(rejection) => Outcome::Rejected(rejection),
            Answer::Accepted { account, realm } => {
                let mut proof = family.proof(&self.name, &tenant.id, account, &realm, asked.now);
                // Whose password it is has the key that signed beside it, where a signature is asked for.
                proof.attributes.extend(signer.map(|signer| (certificate::ATTRIBUTE.to_owned(), vec![STANDARD.encode(signer.der())])));
                Outcome::Authenticated(Box::new(Proof { replay: proven.replay, ..proof }))
            }
        })
    }

    async fn certificate(&self, der: &[u8], owners: &Owners, proven: Proven<'_>) -> Result<Outcome, Unavailable> {
        let asked = proven.asked;
        let Ok(read) = certificate::read(&der.into()) else { return Ok(self.rejected(Reason::MalformedCredential)) };
        let user = match owners.find(&asked.found.tenant, &read, asked.now).await? {
            Ok(user) => user,
            Err(reason) => return Ok(self.rejected(reason)),
        };
        let said = [("certificate-subject", read.subject), ("certificate-thumbprint", read.thumbprint)];
        let mut attributes: Attributes = said.map(|(name, value)| (name.to_owned(), vec![value])).into();
        attributes.insert(certificate::ATTRIBUTE.to_owned(), vec![STANDARD.encode(der)]);
        Ok(self.proof(Who::User(user.id), Issuer::from(certificate::ISSUER), KEY, attributes, proven))
    }

    async fn assertion(
        &self,
        accepted: &AcceptedAssertion,
        subject: &Subject,
        (users, tickets): (&Users, &SessionTickets),
        proven: Proven<'_>,
    ) -> Result<Outcome, Unavailable> {
        let assertion = accepted.assertion.value();
        if accepted.is_remembered() && self.knows_since.is_some_and(|since| assertion.issue_instant < since) {
            return Ok(self.rejected(Reason::Security(SecurityFault::Stale)));
        }
        let issuer = Issuer::from(assertion.issuer.as_str());
        let tenant = &proven.asked.found.tenant;
        let named = assertion.name_id().map(|name| name.value.as_str());
        let only = |attribute: &str| {
            let mut values = assertion.values(attribute);
            // Of two values nobody can say which one was meant.
            match (values.next(), values.next()) {
                (Some(only), None) => Some(only.to_owned()),
                (_, _) => None,
            }
        };
        let said;
        let name = match subject {
            Subject::Name | Subject::Linked => named,
            Subject::Attribute(attribute) => {
                said = only(attribute);
                said.as_deref()
            }
            Subject::Ticket => {
                let ticket = only(ticket::ATTRIBUTE).and_then(|text| tickets.open(&tenant.id, &text));
                return self.ticket(ticket, accepted, tickets, proven).await;
            }
        };
        let Some(name) = name else { return Ok(self.rejected(Reason::MalformedCredential)) };
        let who = match subject {
            Subject::Linked => Who::External(ExternalId { issuer: issuer.clone(), id: name.to_owned() }),
            Subject::Name | Subject::Attribute(_) | Subject::Ticket => {
                let Some(username) = Username::parse(tenant.local_name(name)) else { return Ok(self.rejected(Reason::UnknownUser)) };
                match users.by_name(&tenant.id, &username).await? {
                    Some(user) => Who::User(user.id),
                    None => return Ok(self.rejected(Reason::UnknownUser)),
                }
            }
        };
        let texts = |attribute: &vestibule_saml::Attribute| attribute.texts().map(str::to_owned).collect();
        let mut attributes: Attributes = assertion.attributes.iter().map(|one| (one.name.clone(), texts(one))).collect();
        // What an issuer says of certificates is not what we saw ourselves.
        attributes.remove(certificate::ATTRIBUTE);
        let level = match accepted.confirmed {
            Confirmed::HolderOfKey(_) | Confirmed::HolderByTls(_) => {
                attributes.extend(holder(accepted));
                KEY
            }
            Confirmed::SenderVouches(_) | Confirmed::VouchedByTls(_) | Confirmed::Bearer => PASSWORD,
        };
        Ok(self.proof(who, issuer, level, attributes, proven))
    }

    /// Whoever a ticket names; everything that the assertion says beside it is the ticket's to say.
    async fn ticket(
        &self,
        ticket: Option<Ticket>,
        accepted: &AcceptedAssertion,
        tickets: &SessionTickets,
        proven: Proven<'_>,
    ) -> Result<Outcome, Unavailable> {
        let Some(ticket) = ticket else { return Ok(self.rejected(Reason::UnknownSession)) };
        if let Err(reason) = tickets.check(&ticket, proven.asked.now).await? {
            return Ok(self.rejected(reason));
        }
        // An assertion of others may hold a ticket that was made for somebody else's key.
        if ticket.is_bound() && !ticket.holder().is_some_and(|der| accepted.confirmed.is_by(&der)) {
            return Ok(self.rejected(Reason::Security(SecurityFault::UnknownKey)));
        }
        let mut attributes = ticket.attributes();
        attributes.extend(holder(accepted));
        let proof = self.proven(Who::User(ticket.user()), Issuer::from(ticket.issuer.as_str()), ticket.level(), attributes, proven);
        Ok(Outcome::Authenticated(Box::new(Proof { authenticated_at: ticket.authenticated_at(), ..proof })))
    }

    fn proof(&self, who: Who, issuer: Issuer, level: Level, attributes: Attributes, proven: Proven<'_>) -> Outcome {
        Outcome::Authenticated(Box::new(self.proven(who, issuer, level, attributes, proven)))
    }

    fn proven(&self, who: Who, issuer: Issuer, level: Level, attributes: Attributes, proven: Proven<'_>) -> Proof {
        Proof {
            tenant: proven.asked.found.tenant.id.clone(),
            who,
            scheme: self.name.clone(),
            issuer,
            level,
            authenticated_at: proven.asked.now,
            replay: proven.replay,
            attributes,
            // No page can make a browser send a header that it does not have.
            ambient: false,
        }
    }

    /// The header, verified; `None` where there is none for us.
    async fn verified(&self, asked: &Asked<'_>) -> Result<Option<Accepted>, Rejection> {
        let request = asked.request;
        let Some(body) = message::body(request) else { return Ok(None) };
        let (verifier, headers, body) = (self.verifier.clone(), request.headers.clone(), body.clone());
        let (way, now, token, reach) = (Way::of(request, self.plain), asked.now, self.credential.token(), self.reach);
        let large = body.len() > AT_ONCE;
        let verify = move || {
            let refuse = |why| Rejection { reason: reason(why), reach };
            let received = message::received(&headers, &body).map_err(|error| refuse(error.reason()))?;
            let Some(Received { message, .. }) = received else { return Ok(None) };
            if !message.presents(&verifier.role) {
                return Ok(None);
            }
            if !message.offers(&verifier.role).contains(&token) {
                return Err(Rejection::next(Reason::Security(SecurityFault::NoCredentials)));
            }
            if !verifier.understands(&message) {
                return Err(Rejection { reason: Reason::Security(SecurityFault::NotUnderstood), reach });
            }
            verifier.verify(&message, &way, now).map(Some).map_err(|rejection| {
                tracing::debug!(%rejection, "a security header does not hold");
                refuse(rejection.reason)
            })
        };
        if large {
            let broken = Rejection::chain(Reason::Security(SecurityFault::Malformed));
            return tokio::task::spawn_blocking(verify).await.unwrap_or(Err(broken));
        }
        verify()
    }
}

/// What was proven, and must not be proven again.
struct Proven<'a> {
    asked: &'a Asked<'a>,
    replay: Vec<Replay>,
}

/// The certificate of the key that whoever presents an assertion showed, as an attribute.
fn holder(accepted: &AcceptedAssertion) -> Option<(String, Vec<String>)> {
    let confirmations = accepted.assertion.value().subject.iter().flat_map(|subject| &subject.confirmations);
    let mut holders = confirmations.flat_map(|one| &one.holder_certificates);
    let der = holders.find(|der| accepted.confirmed.is_by(der))?;
    Some((certificate::ATTRIBUTE.to_owned(), vec![STANDARD.encode(der)]))
}

/// To whom a message was sent, for telling a replay from a message that is passed on.
pub(super) fn service(request: &CheckRequest, found: &Found) -> String {
    match &found.route.destination {
        Destination::Upstream(name) => format!("upstream {name}"),
        Destination::Own => "own".to_owned(),
        Destination::Elsewhere => format!("host {}", request.host.name()),
    }
}

/// What must not be sent again to this service.
pub(super) fn spent(conditions: &[vestibule_wss::Replay], service: &str) -> Vec<Replay> {
    let condition = |condition: &vestibule_wss::Replay| match condition {
        vestibule_wss::Replay::Once { key, until } => Replay::Once { key: [key.as_slice(), service.as_bytes()].concat(), until: *until },
        // What was vouched for in one document is not another's at any service.
        vestibule_wss::Replay::Bound { key, digest, until } => Replay::Bound { key: key.to_vec(), digest: digest.to_vec(), until: *until },
    };
    conditions.iter().map(condition).collect()
}

#[async_trait]
impl Scheme for WsSecurity {
    fn name(&self) -> &SchemeName {
        &self.name
    }

    fn presents(&self, request: &CheckRequest) -> bool {
        message::body(request).is_some_and(|body| message::may_be_secured(&request.headers, body))
    }

    fn consumes(&self) -> &[Place] {
        &self.consumes
    }

    async fn authenticate(&self, asked: &Asked<'_>, trail: &mut Trail) -> Result<Outcome, Unavailable> {
        let accepted = match self.verified(asked).await {
            Ok(Some(accepted)) => accepted,
            Ok(None) => return Ok(Outcome::NotApplicable),
            Err(rejection) => return Ok(Outcome::Rejected(rejection)),
        };
        let proven = Proven { asked, replay: spent(&accepted.replay, &service(asked.request, asked.found)) };
        match (&self.credential, &accepted) {
            (Credential::Username(family), Accepted { username: Some(token), certificate, .. }) => {
                self.username(token, certificate.as_ref(), family, proven, trail).await
            }
            (Credential::X509(owners), Accepted { certificate: Some(found), .. }) => self.certificate(found.der(), owners, proven).await,
            (Credential::Saml { subject, users, tickets }, Accepted { assertion: Some(found), .. }) => {
                self.assertion(found, subject, (users, tickets), proven).await
            }
            // INVARIANT: what was demanded is there, or nothing was accepted.
            (Credential::Username(_) | Credential::X509(_) | Credential::Saml { .. }, _) => {
                Ok(self.rejected(Reason::Security(SecurityFault::NoCredentials)))
            }
        }
    }
}

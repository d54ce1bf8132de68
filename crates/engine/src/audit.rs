//! Every word the log can say. A closed, versioned set: the JSON of each event is pinned by a test.
//!
//! Three readers, three texts: the client gets a generic sentence and the request id; the log gets the
//! cause chain; the audit gets a [`Reason`]. Nothing here can hold a password, an assertion or a session id.

mod line;
mod oidc;
mod saml;

use std::fmt::Debug;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use oidc::OidcFault;
pub use saml::SamlFault;

use crate::clock::{Clock, Timestamp};
use crate::decision::{Shed, Uncarried};
use crate::identity::{PolicyId, RealmName, ResponseName, RouteName, SchemeName, TenantId, Username};
use crate::realm::hashed_name;
use crate::request::{Malformed, RequestId};
use crate::scheme::{Step, Unavailable, Verdict};

pub mod callout;
mod security;

pub use callout::Callout;
pub use security::SecurityFault;

/// The version of the event format, in every record. It changes when a field changes its meaning or goes; events, fields and words
/// may be added without.
pub const VERSION: u8 = 1;

/// Where events go.
pub trait Sink: Debug + Send + Sync {
    /// Takes one event. Must not block the caller on slow media.
    fn record(&self, event: &Recorded);

    /// Whether more can be taken. While it cannot, the engine judges nothing: no record, no decision.
    ///
    /// # Errors
    /// [`Unavailable`] while a record might be lost.
    fn ready(&self) -> Result<(), Unavailable> {
        Ok(())
    }
}

/// An event with the fields every event has. Fields keep one name everywhere.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Recorded {
    /// Format version.
    pub v: u8,
    /// When.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub time: Timestamp,
    /// In which request; none for what the gateway does by itself.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schemars(with = "Option<String>", extend("format" = "uuid"))]
    pub request_id: Option<RequestId>,
    /// From where.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schemars(with = "Option<String>")]
    pub client: Option<IpAddr>,
    /// In which tenant.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schemars(with = "Option<String>")]
    pub tenant: Option<TenantId>,
    /// What.
    #[serde(flatten)]
    pub event: Event,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "event")]
pub enum Event {
    /// The one record of a decision.
    #[serde(rename = "request.decided")]
    RequestDecided(Decided),
    /// A request could not be read, so nothing in it was believed or judged.
    #[serde(rename = "request.unreadable")]
    RequestUnreadable {
        /// What is wrong with it.
        reason: Malformed,
    },
    /// Somebody proved who they are and a session was opened.
    #[serde(rename = "login.succeeded")]
    LoginSucceeded {
        /// By which scheme.
        #[schemars(with = "String")]
        scheme: SchemeName,
        /// Checked by which realm or issuer.
        realm: String,
        /// Who.
        subject: String,
    },
    /// A login was refused.
    #[serde(rename = "login.rejected")]
    LoginRejected {
        /// By which scheme.
        #[schemars(with = "String")]
        scheme: SchemeName,
        /// The name that was tried, hashed if no such user exists: people type passwords into the name field.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        subject: Option<String>,
        /// Why.
        reason: Reason,
    },
    /// An earlier realm refused a password that a later one accepted.
    #[serde(rename = "login.fell_through")]
    LoginFellThrough {
        /// By which scheme.
        #[schemars(with = "String")]
        scheme: SchemeName,
        /// Which realm refused.
        #[schemars(with = "String")]
        refused_by: RealmName,
        /// Which realm accepted.
        #[schemars(with = "String")]
        realm: RealmName,
        /// Who.
        subject: String,
    },
    /// Somebody tried the emergency door: an alarm, whatever came of it.
    #[serde(rename = "emergency.attempted")]
    EmergencyAttempted {
        /// The name that was tried, hashed unless an account of that name passed or was refused by name.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        subject: Option<String>,
        /// Whether it came from an address of administrators; from elsewhere nothing is checked.
        listed: bool,
        /// Why it failed, if it did.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        reason: Option<Reason>,
    },
    /// An endpoint was asked whether a password is right.
    #[serde(rename = "delegated.called")]
    DelegatedCalled(Box<Callout>),
    /// Too many failures: a gate was closed.
    #[serde(rename = "gate.closed")]
    GateClosed {
        /// Which gate.
        gate: Gate,
        /// For whom: a hashed name or an address range.
        subject: String,
        /// For how many seconds.
        seconds: u64,
    },
    /// A gate was opened before its time.
    #[serde(rename = "gate.opened")]
    GateOpened {
        /// Which gate.
        gate: Gate,
        /// For whom.
        subject: String,
    },
    /// A session began.
    #[serde(rename = "session.opened")]
    SessionOpened {
        /// Its hash.
        session: String,
        /// Whose.
        subject: String,
        /// By which scheme.
        #[schemars(with = "String")]
        scheme: SchemeName,
    },
    /// A session ended.
    #[serde(rename = "session.ended")]
    SessionEnded {
        /// Its hash; none when all of a subject ended.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        session: Option<String>,
        /// Whose.
        subject: String,
        /// Why.
        reason: Ending,
    },
    /// A partner's message was refused: what was checked, expected and found.
    #[serde(rename = "message.refused")]
    MessageRefused {
        /// By which scheme; `idp` where the tenant itself is the identity provider.
        #[schemars(with = "String")]
        scheme: SchemeName,
        /// From which partner, as the configuration calls it; none if it is nobody's we know.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        partner: Option<String>,
        /// The first check that failed.
        check: String,
        /// Why.
        reason: SamlFault,
        /// Expected and found. Holds no subject, no attribute and no session index.
        detail: String,
    },
    /// An OpenID provider's answer was refused: what was checked, expected and found.
    #[serde(rename = "answer.refused")]
    AnswerRefused {
        /// By which scheme.
        #[schemars(with = "String")]
        scheme: SchemeName,
        /// Whose answer it is, as the configuration calls it.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        partner: Option<String>,
        /// The first check that failed.
        check: String,
        /// Why.
        reason: OidcFault,
        /// Expected and found. Holds no token, no code and no subject.
        detail: String,
    },
    /// An assertion about a subject was handed out.
    #[serde(rename = "assertion.issued")]
    AssertionIssued {
        /// About whom.
        subject: String,
        /// For whom: the configured name of the service provider.
        audience: String,
        /// Its id.
        assertion: String,
    },
    /// A one-shot token was issued by which a subject is known elsewhere.
    #[serde(rename = "token.issued")]
    TokenIssued {
        /// By which scheme it opens a session.
        #[schemars(with = "String")]
        scheme: SchemeName,
        /// About whom.
        subject: String,
    },
    /// A signing key changed its place.
    #[serde(rename = "key.rotated")]
    KeyRotated {
        /// What the key is for.
        purpose: String,
        /// Which key.
        key: String,
        /// Its new place.
        state: String,
    },
    /// A new configuration is in force, or a broken one was refused.
    #[serde(rename = "config.reloaded")]
    ConfigReloaded {
        /// Whether it is in force.
        accepted: bool,
        /// What was wrong with it.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        problem: Option<String>,
    },
    /// An audit file was opened: its chain begins, or goes on. The first record of every file and of every process.
    #[serde(rename = "audit.opened")]
    AuditOpened {
        /// The number of the record before it; 0 if there is none.
        previous: u64,
        /// That record's hash.
        previous_hash: String,
        /// The key that seals the chain.
        key: String,
        /// Octets of the line before, which a dying process left half written.
        #[serde(skip_serializing_if = "is_zero", default)]
        torn: u64,
        /// Records that were sealed and are not in the file any more.
        #[serde(skip_serializing_if = "is_zero", default)]
        missing: u64,
    },
    /// The chain of an audit file was signed. Goes to every place that records go to.
    #[serde(rename = "audit.sealed")]
    AuditSealed {
        /// The number of the last record that is signed.
        sealed: u64,
        /// Its hash.
        sealed_hash: String,
        /// The signature, by the key that `audit.opened` names.
        signature: String,
    },
    /// An administrator changed something.
    #[serde(rename = "admin.changed")]
    AdminChanged {
        /// Who.
        by: String,
        /// What, e.g. `user.disable`.
        action: String,
        /// Whom or what.
        subject: String,
    },
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// The record of a decision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Decided {
    /// The method.
    pub method: String,
    /// The host.
    pub host: String,
    /// The path without query.
    pub path: String,
    /// The route it took.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schemars(with = "Option<String>")]
    pub route: Option<RouteName>,
    /// Allow, challenge, deny or fail.
    pub decision: Ruling,
    /// The scheme that recognised the caller.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schemars(with = "Option<String>")]
    pub scheme: Option<SchemeName>,
    /// Who they are.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub subject: Option<String>,
    /// The true reason of a refusal.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<Reason>,
    /// Where a partner's message was refused: whose it was, the check that failed, and what was expected and found.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub detail: Option<String>,
    /// The policies that decided.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    #[schemars(with = "Vec<String>")]
    pub policy: Vec<PolicyId>,
    /// The responses they named.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    #[schemars(with = "Vec<String>")]
    pub responses: Vec<ResponseName>,
    /// Every step of the chain.
    pub steps: Vec<Step>,
    /// How long the decision took, milliseconds.
    pub ms: f64,
}

/// How a decision ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Ruling {
    /// Forwarded.
    Allow,
    /// Asked to say who is calling.
    Challenge,
    /// Refused.
    Deny,
    /// Could not be decided.
    Fail,
}

/// Which counter closed a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Gate {
    /// One account's.
    Account,
    /// One address range's.
    Address,
}

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// The user signed out.
    Logout,
    /// The user signed out everywhere.
    LogoutEverywhere,
    /// Another user signed in over it.
    Switched,
    /// A new login replaced it.
    Renewed,
    /// A partner said that the user signed out there.
    SingleLogout,
    /// The provider that vouched for the user does so no longer.
    Withdrawn,
    /// An administrator ended it.
    Administrator,
    /// The password was changed.
    PasswordChanged,
}

/// The true reason of a refusal. Grows with every scheme; never shown to a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    // Reading the request
    /// The request could not be read.
    Malformed(Malformed),
    /// A credential is unusable: bad base64, no colon, control characters, too long.
    MalformedCredential,
    /// A credential occurs twice.
    DuplicateCredential,
    /// A credential came over an unprotected channel.
    InsecureChannel,
    // Passwords
    /// The password is wrong.
    WrongPassword,
    /// The password is empty.
    EmptyPassword,
    /// No such user.
    UnknownUser,
    /// The user signs in elsewhere and has no password here.
    NoPassword,
    /// The account is disabled.
    Disabled,
    /// The account is locked.
    Locked,
    /// The account has expired.
    Expired,
    /// The account may not enter at this hour or from this machine.
    OutsideHours,
    /// The password has expired where it is kept.
    PasswordExpired,
    /// A directory knows several entries of this name.
    AmbiguousUser,
    /// A directory accepted the password, but nobody here has an account for it.
    NoAccount,
    /// A directory refused for a reason its operator should look at; its log line says which.
    DirectoryRefused,
    /// The account may not enter from this address.
    AddressNotListed,
    /// The account's gate is closed after too many failures.
    AccountGateClosed,
    /// The address' gate is closed after too many failures.
    AddressGateClosed,
    /// The same wrong password again; not sent to the realm.
    RepeatedWrongPassword,
    /// Too many attempts are waiting.
    TooManyWaiting,
    // Messages of partners
    /// A SAML message was refused; `message.refused` says more.
    Saml(SamlFault),
    /// An OpenID provider's answer was refused; `answer.refused` says more. Or what a server says of a bearer token does not do.
    Oidc(OidcFault),
    /// Nobody here knows the partner that a message says it is from.
    UnknownPartner,
    /// A browser went round between us and a partner without arriving.
    Loop,
    // Certificates
    /// No authority we trust for clients vouches for the certificate, or not for this use.
    CertificateUntrusted,
    /// The certificate is not valid yet, or no longer.
    CertificateExpired,
    /// Its issuer has revoked it.
    CertificateRevoked,
    /// Whether it is revoked cannot be told: a list is missing or too old.
    RevocationUnknown,
    /// The certificate holds, and belongs to nobody here.
    UnknownCertificate,
    // Messages
    /// The security header of a SOAP message does not hold.
    Security(SecurityFault),
    // Foreign sessions
    /// The identity URL leads to a host that session ids are not sent to.
    ForeignHostNotListed,
    /// The identity URL names an organisation whose users may not come.
    ForeignOrganizationNotListed,
    /// Its service does not know the foreign session, or not any more.
    ForeignSessionRefused,
    /// The foreign session is another's than the one whose identity it reads.
    ForeignSessionOfAnother,
    /// The service of a foreign session answered what cannot be used; its log line says what.
    ForeignAnswerUnusable,
    /// The account of this name is linked to somebody else.
    LinkedToAnother,
    // Sessions
    /// No such session, or it is over.
    UnknownSession,
    /// The session is used from another address than its login's, and may not be.
    OtherAddress,
    /// The session was idle too long.
    IdleSession,
    /// The session is too old.
    AbsoluteTimeout,
    /// The user's epoch has been raised since: password changed, disabled, signed out everywhere.
    StaleEpoch,
    /// The session belongs to another tenant.
    OtherTenant,
    // Old clients of web services
    /// A request of a session comes so many milliseconds too soon.
    RequestRate(u32),
    /// The tenant's sessions of programs are all taken.
    SessionQuota,
    /// The tenant's requests of the day are used up; so many seconds until some are free again.
    Allotment(u32),
    /// The path is of a service class that knows no sessions of programs.
    SessionNotHere,
    /// The account or its tenant may not use web services this way.
    NotForPrograms,
    /// A one-shot token came from another browser than it is bound to, or from one though it is bound to none.
    OtherBrowser,
    // Admission
    /// The issuer may not name this subject.
    SubjectNotAllowed,
    /// The account needs a stronger proof than this one.
    WeakProof,
    /// It has been used before.
    Replayed,
    /// It is forged.
    Forged,
    /// The scheme is no longer in the tenant's chain.
    SchemeNotConfigured,
    // Decision
    /// Nobody proved who is asking.
    Nobody,
    /// No route takes this request.
    NoRoute,
    /// No permit, or a forbid.
    Policy,
    /// The policy could not be evaluated.
    PolicyError,
    /// A foreign page may have made the browser send this.
    Csrf,
    /// A page of an origin that is not listed asked whether it may send something.
    CrossOrigin,
    /// The password must be changed first.
    MustChangePassword,
    /// Something we depend on did not answer.
    Unavailable,
    /// An injector failed, or two responses write the same place.
    Injection,
    /// The door cannot carry what the route needs.
    Uncarried(Uncarried),
    /// More is asked than is served: it was turned away before anybody was asked who it is.
    Shed(Shed),
    /// The one-shot code is unknown, used or expired.
    BadCode,
    /// The login form had expired or came from elsewhere.
    StaleForm,
}

impl Reason {
    /// Whether it is only said of somebody who exists. Other names are hashed in records: people type passwords into the name
    /// field.
    pub fn names_a_user(self) -> bool {
        matches!(
            self,
            Self::WrongPassword
                | Self::NoPassword
                | Self::NoAccount
                | Self::Disabled
                | Self::Locked
                | Self::Expired
                | Self::OutsideHours
                | Self::PasswordExpired
                | Self::MustChangePassword
                | Self::AddressNotListed
                | Self::WeakProof
        )
    }
}

/// What is learnt on the way to a decision.
#[derive(Debug)]
pub struct Trail {
    clock: Arc<dyn Clock>,
    started: Duration,
    /// The steps of the chain, in order.
    pub steps: Vec<Step>,
    /// Events beside the decision's own, recorded after it.
    pub events: Vec<Event>,
    /// The policies that decided, in file order.
    pub policy: Vec<PolicyId>,
    /// The responses they named.
    pub responses: Vec<ResponseName>,
}

impl Trail {
    /// An empty trail that begins now.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let started = clock.monotonic();
        Self { clock, started, steps: Vec::new(), events: Vec::new(), policy: Vec::new(), responses: Vec::new() }
    }

    /// Time since some fixed point, for [`Trail::step`].
    pub fn mark(&self) -> Duration {
        self.clock.monotonic()
    }

    /// Time since the trail began.
    pub fn elapsed(&self) -> Duration {
        self.clock.monotonic().saturating_sub(self.started)
    }

    /// A login that was refused. `username` stands there as it is only if it is a user's.
    pub fn refused(&mut self, scheme: &SchemeName, username: Option<&Username>, reason: Reason) {
        let asked = self.events.iter().any(|event| matches!(event, Event::DelegatedCalled(_)));
        let known = asked || reason.names_a_user();
        let subject = username.map(|name| if known { name.to_string() } else { hashed_name(name) });
        self.events.push(Event::LoginRejected { scheme: scheme.clone(), subject, reason });
    }

    /// Adds a step that began at `since`, a value of [`Trail::mark`].
    pub fn step(&mut self, scheme: &SchemeName, verdict: Verdict, reason: Option<Reason>, since: Duration) {
        let took = self.clock.monotonic().saturating_sub(since);
        self.steps.push(Step { scheme: scheme.clone(), verdict, reason, took });
    }
}

#[cfg(test)]
mod tests;

//! Every word the log can say. A closed, versioned set: the JSON of each event is pinned by a test.
//!
//! Three readers, three texts: the client gets a generic sentence and the request id; the log gets the
//! cause chain; the audit gets a [`Reason`]. Nothing here can hold a password, an assertion or a session id.

use std::fmt::Debug;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::{Clock, Timestamp};
use crate::identity::{PolicyId, RealmName, ResponseName, RouteName, SchemeName, TenantId};
use crate::request::{Malformed, RequestId};
use crate::scheme::{Step, Unavailable, Verdict};

/// The version of the event format, in every record.
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recorded {
    /// Format version.
    pub v: u8,
    /// When.
    pub time: Timestamp,
    /// In which request; none for what the gateway does by itself.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub request_id: Option<RequestId>,
    /// From where.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub client: Option<IpAddr>,
    /// In which tenant.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tenant: Option<TenantId>,
    /// What.
    #[serde(flatten)]
    pub event: Event,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event")]
pub enum Event {
    /// The one record of a decision.
    #[serde(rename = "request.decided")]
    RequestDecided(Decided),
    /// Somebody proved who they are and a session was opened.
    #[serde(rename = "login.succeeded")]
    LoginSucceeded {
        /// By which scheme.
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
        scheme: SchemeName,
        /// Which realm refused.
        refused_by: RealmName,
        /// Which realm accepted.
        realm: RealmName,
        /// Who.
        subject: String,
    },
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

/// The record of a decision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decided {
    /// The method.
    pub method: String,
    /// The host.
    pub host: String,
    /// The path without query.
    pub path: String,
    /// The route it took.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub route: Option<RouteName>,
    /// Allow, challenge, deny or fail.
    pub decision: Ruling,
    /// The scheme that recognised the caller.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub scheme: Option<SchemeName>,
    /// Who they are.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub subject: Option<String>,
    /// The true reason of a refusal.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<Reason>,
    /// The policies that decided.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub policy: Vec<PolicyId>,
    /// The responses they named.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub responses: Vec<ResponseName>,
    /// Every step of the chain.
    pub steps: Vec<Step>,
    /// How long the decision took, milliseconds.
    pub ms: f64,
}

/// How a decision ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gate {
    /// One account's.
    Account,
    /// One address range's.
    Address,
}

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
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
    /// An administrator ended it.
    Administrator,
    /// The password was changed.
    PasswordChanged,
}

/// The true reason of a refusal. Grows with every scheme; never shown to a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
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
    // Sessions
    /// No such session, or it is over.
    UnknownSession,
    /// The session was idle too long.
    IdleSession,
    /// The session is too old.
    AbsoluteTimeout,
    /// The user's epoch has been raised since: password changed, disabled, signed out everywhere.
    StaleEpoch,
    /// The session belongs to another tenant.
    OtherTenant,
    // Admission
    /// The issuer may not name this subject.
    SubjectNotAllowed,
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
    /// The password must be changed first.
    MustChangePassword,
    /// Something we depend on did not answer.
    Unavailable,
    /// An injector failed, or two responses write the same place.
    Injection,
    /// The one-shot code is unknown, used or expired.
    BadCode,
    /// The login form had expired or came from elsewhere.
    StaleForm,
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

    /// Adds a step that began at `since`, a value of [`Trail::mark`].
    pub fn step(&mut self, scheme: &SchemeName, verdict: Verdict, reason: Option<Reason>, since: Duration) {
        let took = self.clock.monotonic().saturating_sub(since);
        self.steps.push(Step { scheme: scheme.clone(), verdict, reason, took });
    }
}

//! A scheme: one way in which a caller may be recognised.
//!
//! Schemes find credentials; they return values and never write responses, so that they can be
//! tested, ordered and explained.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::HeaderName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::audit::{Reason, Trail};
use crate::clock::Timestamp;
use crate::identity::{Attributes, ExternalId, Identity, Issuer, Level, SchemeName, TenantId, UserId};
use crate::realm::Accounts;
use crate::request::CheckRequest;
use crate::route::Found;
use crate::session::{Place as SessionPlace, Sessions};

/// One way in which a caller may be recognised.
#[async_trait]
pub trait Scheme: Debug + Send + Sync {
    /// The name the configuration gave it.
    fn name(&self) -> &SchemeName;

    /// Whether the request carries this scheme's material at all. Cheap, synchronous, no verdict.
    fn presents(&self, request: &CheckRequest) -> bool;

    /// Whether that material was put there on purpose. A session cookie or a TLS client certificate is
    /// there by itself; a session steps aside for material that is not (architecture §4).
    fn explicit(&self) -> bool {
        true
    }

    /// The places it reads, stripped before forwarding and logging.
    fn consumes(&self) -> &[Place];

    /// Verifies what it found. Called only when [`Scheme::presents`].
    ///
    /// # Errors
    /// [`Unavailable`] if whatever it depends on could not answer; never for bad material.
    async fn authenticate(&self, asked: &Asked<'_>, trail: &mut Trail) -> Result<Outcome, Unavailable>;

    /// How a client nobody knows may present itself to this scheme.
    fn challenge(&self, _request: &CheckRequest) -> Option<Challenge> {
        None
    }

    /// For schemes that need a journey through the browser: SAML, OIDC, the login form.
    fn login_flow(&self) -> Option<&dyn LoginFlow> {
        None
    }

    /// For schemes whose clients may ask for a session in a message that another scheme proves.
    fn keep_alive(&self) -> Option<&dyn KeepAlive> {
        None
    }
}

/// A login that leads through the browser. Both halves run on the portal host.
#[async_trait]
pub trait LoginFlow: Send + Sync {
    /// The first step: where to send the browser, or which page to show.
    ///
    /// # Errors
    /// [`Unavailable`] if whatever it depends on could not answer.
    async fn begin(&self, start: &Start<'_>) -> Result<Departure, Unavailable>;

    /// Where the user proves who they are.
    fn leads(&self) -> Leads {
        Leads::OwnPage
    }

    /// The longest that refusing a password takes; see [`Realm::dearest`](crate::realm::Realm::dearest).
    fn dearest(&self) -> Duration {
        Duration::ZERO
    }

    /// What the browser posted to the login page. The answer of an identity provider comes to an address of its own, so
    /// there is nothing for it to read here.
    ///
    /// # Errors
    /// [`Unavailable`] if whatever it depends on could not answer.
    async fn finish(&self, _callback: &Callback<'_>, _trail: &mut Trail) -> Result<Login, Unavailable> {
        Ok(Login::Rejected(Rejection::next(Reason::MalformedCredential)))
    }
}

/// Where a journey leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leads {
    /// To a form of ours.
    OwnPage,
    /// To an identity provider.
    Away,
}

/// The request a scheme is asked about, and where it landed.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The request.
    pub request: &'a CheckRequest,
    /// Its tenant and route.
    pub found: &'a Found,
    /// The time of this decision.
    pub now: Timestamp,
}

/// Why a browser login begins.
#[derive(Debug, Clone)]
pub struct Start<'a> {
    /// The request that began it.
    pub request: &'a CheckRequest,
    /// The tenant.
    pub tenant: &'a TenantId,
    /// The login that begins, by a name that only this browser was given: the answer has to say it.
    pub login: &'a str,
    /// What can be derived from that name by us and by nobody else, for what else of the login must be secret.
    pub seed: &'a [u8; 32],
    /// Where the user wanted to go: already parsed against the tenant's origins.
    pub return_to: Option<String>,
    /// The identity provider that was asked for.
    pub idp: Option<String>,
    /// The least protection level that will do.
    pub level: Option<Level>,
    /// Whether the user has to prove themselves anew.
    pub anew: bool,
    /// The time.
    pub now: Timestamp,
}

/// What came back from a browser login.
#[derive(Debug)]
pub struct Callback<'a> {
    /// The request that carries it.
    pub request: &'a CheckRequest,
    /// The tenant.
    pub tenant: &'a TenantId,
    /// The form fields, decoded, in order.
    pub form: &'a [(String, crate::secret::Secret<String>)],
    /// Whose accounts may sign in this way.
    pub accounts: Accounts,
    /// A failure is not answered before so long, however quick this tenant's realms are.
    pub floor: Duration,
    /// The time.
    pub now: Timestamp,
}

/// The first step of a browser login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Departure {
    /// Send the browser there.
    Redirect(String),
    /// Make the browser post these fields there.
    PostForm {
        /// Where to.
        action: String,
        /// The fields, in order.
        fields: Vec<(String, String)>,
    },
    /// Show our own login form.
    Page,
}

/// How a browser login ended.
#[derive(Debug)]
pub enum Login {
    /// Proven; still to be admitted.
    Accepted {
        /// The proof.
        proof: Box<Proof>,
        /// Where the user wanted to go.
        return_to: Option<String>,
    },
    /// One more step.
    Continue(Departure),
    /// Refused.
    Rejected(Rejection),
}

/// What a scheme makes of a request.
#[derive(Debug)]
pub enum Outcome {
    /// Its material is absent, or the scheme steps aside.
    NotApplicable,
    /// Somebody proved who they are.
    Authenticated(Box<Proof>),
    /// The material is there and does not hold.
    Rejected(Rejection),
    /// The same, and the caller keeps another session than browsers do: it opens once the request is allowed.
    Opening(Box<Proof>, Opening),
    /// A live session of ours: its proof was admitted when it was opened, the session checked just now.
    Resumed(Box<Resumed>),
}

/// A session that a request came with.
#[derive(Debug)]
pub struct Resumed {
    /// Whose.
    pub identity: Identity,
    /// Where its use is noted, once its user was readmitted; none if it ends with this request.
    pub sessions: Option<Arc<Sessions>>,
}

/// A session that a request asks for beside its own answer.
#[derive(Debug, Clone)]
pub struct Opening {
    /// Which sessions it will be one of.
    pub sessions: Arc<Sessions>,
    /// Whether it takes a place of the quota.
    pub place: SessionPlace,
}

/// Sessions that clients ask for in a message that another scheme proves.
#[async_trait]
pub trait KeepAlive: Send + Sync {
    /// The session that a request of this identity asks for; it has none so far.
    async fn wanted(&self, asked: &Asked<'_>, identity: &Identity) -> Option<Opening>;
}

/// A definite no, with how far it reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rejection {
    /// The true reason, for the audit only.
    pub reason: Reason,
    /// How far it reaches.
    pub reach: Reach,
}

impl Rejection {
    /// The chain goes on with the next step.
    pub const fn next(reason: Reason) -> Self {
        Self { reason, reach: Reach::Step }
    }

    /// No further step over the same material is asked: the account is locked or disabled.
    pub const fn family(reason: Reason) -> Self {
        Self { reason, reach: Reach::Family }
    }

    /// The chain ends: the material is forged or replayed.
    pub const fn chain(reason: Reason) -> Self {
        Self { reason, reach: Reach::Chain }
    }
}

/// How far a rejection reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// This step only.
    Step,
    /// All steps over the same material.
    Family,
    /// The whole chain.
    Chain,
}

/// Something we depend on did not answer. Never lets anyone in, never counts as a guess.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} is unavailable: {why}")]
pub struct Unavailable {
    /// What did not answer, e.g. `store` or a realm's name.
    pub what: String,
    /// Why, for the log; contains no secret.
    pub why: String,
}

impl Unavailable {
    /// `what` did not answer because of `why`.
    pub fn new(what: impl Into<String>, why: impl std::fmt::Display) -> Self {
        Self { what: what.into(), why: why.to_string() }
    }
}

/// A place in a request that a scheme reads.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Place {
    /// A header field.
    Header(HeaderName),
    /// A cookie.
    Cookie(String),
    /// A cookie with a session id of ours under a name that applications have for theirs, too.
    SharedCookie {
        /// The name.
        name: String,
        /// At these paths and below, whatever has this name is ours; elsewhere what [could be an id](crate::session::may_hold_token).
        paths: Vec<String>,
    },
    /// A query parameter.
    Query(String),
    /// A path parameter.
    PathParameter(String),
    /// A token in the SOAP security header.
    SoapToken,
}

/// How a client may present itself: one `WWW-Authenticate` challenge (RFC 9110 §11.6.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// The HTTP scheme, e.g. `Basic`.
    pub scheme: &'static str,
    /// The protection space shown to the client; constant per tenant.
    pub realm: String,
    /// What is wrong with what was presented, in the scheme's own word (RFC 6750 §3.1).
    pub error: Option<&'static str>,
    /// What a token has to be good for, separated by spaces (RFC 6750 §3); empty if nothing is demanded.
    pub scope: String,
}

/// What a scheme proved, before admission: who, how, and on which replay conditions.
#[derive(Debug, Clone)]
pub struct Proof {
    /// The tenant it is valid in.
    pub tenant: TenantId,
    /// Who.
    pub who: Who,
    /// The scheme that proved it.
    pub scheme: SchemeName,
    /// Who vouches: the realm or the identity provider.
    pub issuer: Issuer,
    /// How strongly.
    pub level: Level,
    /// When the subject proved itself.
    pub authenticated_at: Timestamp,
    /// What must not have been seen before.
    pub replay: Vec<Replay>,
    /// What the issuer states of the subject.
    pub attributes: Attributes,
    /// The credential is one that a browser sends by itself.
    pub ambient: bool,
}

/// Who a proof is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    /// A user we hold ourselves.
    User(UserId),
    /// A user as its issuer calls it.
    External(ExternalId),
}

/// A replay condition; the keys are scoped to the tenant and the issuer by [`crate::admission::Admission`].
///
/// `until` is when the proof itself would be refused, clock skew included; a condition that is already over is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replay {
    /// `key` may be used once until `until`.
    Once {
        /// What may be used once, e.g. an assertion's issuer and id.
        key: Vec<u8>,
        /// When it expires by itself.
        until: Timestamp,
    },
    /// `key` may be used again only with the same `digest`.
    Bound {
        /// What is bound, e.g. a nonce.
        key: Vec<u8>,
        /// What it is bound to, e.g. the digest of the message.
        digest: Vec<u8>,
        /// When it expires by itself.
        until: Timestamp,
    },
}

/// One step of a chain as it went, for the audit and for `explain`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Step {
    /// The scheme, or the realm's step within a family.
    #[schemars(with = "String")]
    pub scheme: SchemeName,
    /// How it ended.
    pub verdict: Verdict,
    /// The true reason, where there is one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<Reason>,
    /// How long it took.
    #[serde(rename = "ms", with = "millis")]
    #[schemars(with = "f64")]
    pub took: Duration,
}

impl Step {
    /// How long it took, to the microsecond.
    pub(crate) fn milliseconds(&self) -> f64 {
        millis::of(self.took)
    }
}

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Nothing for this step in the request.
    NotApplicable,
    /// Recognised.
    Authenticated,
    /// Refused.
    Rejected,
    /// Could not be asked.
    Unavailable,
    /// Not reached.
    Skipped,
}

mod millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub fn of(value: Duration) -> f64 {
        (value.as_secs_f64() * 1e6).round() / 1e3
    }

    pub fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(of(*value))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let millis = f64::deserialize(deserializer)?;
        Duration::try_from_secs_f64(millis / 1e3).map_err(serde::de::Error::custom)
    }
}

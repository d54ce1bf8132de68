//! What the engine decided. Plain data; `serve::answer` turns it into HTTP.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::audit::Reason;
use crate::identity::{PolicyId, Principal, ResponseName};
use crate::inject::Injection;
use crate::request::Malformed;
use crate::route::Found;
use crate::scheme::{Challenge, Rejection, Unavailable};

/// The answer to "who is asking, may they, and what shall the application be told about them?"
#[derive(Debug)]
pub enum Decision {
    /// Forward, with what the application shall be told.
    Allow(Box<Grant>),
    /// Nobody proved who is asking: say how they may.
    Challenge(Challenges),
    /// Refuse.
    Deny(Denial),
    /// It could not be decided: 503.
    Fail(Unavailable),
}

/// Permission to forward.
#[derive(Debug)]
pub struct Grant {
    /// Who is asking.
    pub principal: Principal,
    /// What permitted it.
    pub permits: Permits,
    /// What the application shall be told.
    pub injection: Injection,
    /// Tenant and route.
    pub found: Found,
}

/// The permits that decided, and the responses they named.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Permits {
    /// Their ids, in policy-file order.
    pub policies: Arc<[PolicyId]>,
    /// The union of the responses they name, in policy-file order.
    pub responses: Arc<[ResponseName]>,
}

impl Permits {
    /// No permit was needed.
    pub fn none() -> Self {
        Self::default()
    }
}

/// How a client nobody knows may present itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenges {
    /// HTTP challenges, in chain order.
    pub http: Vec<Challenge>,
    /// Whether the chain offers a login through the browser.
    pub login: bool,
    /// Whether a credential was presented and refused.
    pub attempted: bool,
}

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Denial {
    /// It could not be read. 400 and its kin.
    Malformed(Malformed),
    /// No route takes it. 404.
    NoRoute,
    /// The chain ended: forged or replayed. 401.
    Rejected(Rejection),
    /// No permit, or these forbids. 403.
    Policy(Vec<PolicyId>),
    /// These policies could not be evaluated, so nothing was permitted. 403, like [`Denial::Policy`].
    PolicyError(Vec<PolicyId>),
    /// A foreign page may have made the browser send it. 403.
    Csrf,
    /// A page of another origin asks whether it may send something, and may not. 403.
    CrossOrigin,
    /// The password must be changed first. 403, or a redirect to that page.
    MustChangePassword,
    /// The route asks for a stronger proof. 403, or a journey to one.
    WeakProof,
    /// What the application should be told could not be made. 500, nothing is forwarded.
    Injection(String),
    /// The door it came by cannot carry what the route needs. 501, nothing is forwarded.
    Uncarried(Uncarried),
    /// More is asked than is served, for so many seconds. 429 or 503, before anybody is asked who it is.
    Shed(Shed, u32),
}

/// Of what there is too much.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Shed {
    /// Requests a second from one address.
    AddressRate,
    /// Requests at one time from one address.
    AddressRequests,
    /// Requests a second of one route.
    RouteRate,
    /// Requests at one time of one route.
    RouteRequests,
    /// Requests at one time.
    Requests,
}

impl Shed {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::AddressRate, Self::AddressRequests, Self::RouteRate, Self::RouteRequests, Self::Requests];

    /// The word of the audit and of metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::AddressRate => "address_rate",
            Self::AddressRequests => "address_requests",
            Self::RouteRate => "route_rate",
            Self::RouteRequests => "route_requests",
            Self::Requests => "requests",
        }
    }
}

/// What a door that only answers another proxy cannot do for a route (architecture §3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Uncarried {
    /// It does not bring the body the route reads.
    Body,
    /// It cannot put another body in its place.
    NewBody,
    /// It cannot take a credential out of the query.
    Query,
    /// It cannot set a header to a value that is no text.
    Header,
    /// It cannot take cookies out of the application's answer.
    Answer,
}

impl From<Rejection> for Denial {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}

impl Denial {
    /// The audit's word for it.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Malformed(malformed) => Reason::Malformed(*malformed),
            Self::NoRoute => Reason::NoRoute,
            Self::Rejected(rejection) => rejection.reason,
            Self::Policy(_) => Reason::Policy,
            Self::PolicyError(_) => Reason::PolicyError,
            Self::Csrf => Reason::Csrf,
            Self::CrossOrigin => Reason::CrossOrigin,
            Self::MustChangePassword => Reason::MustChangePassword,
            Self::WeakProof => Reason::WeakProof,
            Self::Injection(_) => Reason::Injection,
            Self::Uncarried(what) => Reason::Uncarried(*what),
            Self::Shed(what, _) => Reason::Shed(*what),
        }
    }
}

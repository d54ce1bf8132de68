//! Journeys to an identity provider, kept by the browser: each in a sealed cookie of its own, so that ten tabs that begin at
//! once do not overwrite each other, and anonymous visitors cannot fill a store (architecture §6).
//!
//! Login CSRF: an attacker has a victim's browser bring his own answer. So an answer counts only for a journey that this
//! browser was given. What has arrived is kept for a while: the same answer sent again is then no error, and a browser that
//! goes round without arriving is noticed.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use vestibule_engine::Timestamp;
use vestibule_engine::clock::random;
use vestibule_engine::identity::Level;
use vestibule_engine::request::{CheckRequest, cookies};
use vestibule_engine::scheme::Unavailable;

use super::cookie;
use super::key::PageKey;

/// How long an identity provider may take to sign somebody in.
const MAX_AGE_SECONDS: i64 = 3600;
/// Most journeys of one browser; the oldest gives way.
const MOST: usize = 16;
/// Longest value of a cookie, in octets; browsers drop cookies above 4096 with name and attributes.
const MAX_COOKIE: usize = 3800;
/// So many arrivals for one page, within [`SHORT`], and the browser is going round.
const BOUNCES: usize = 3;
/// Seconds within which a round is one.
const SHORT: i64 = 60;

const PURPOSE: &str = "vestibule journey cookie v1";

/// One journey.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Journey {
    /// Its name: 128 random bits, which the answer has to say.
    #[serde(rename = "i")]
    pub id: String,
    /// When it began, in seconds since 1970.
    #[serde(rename = "s")]
    pub started: i64,
    /// To which identity provider.
    #[serde(rename = "p")]
    pub provider: String,
    /// Where the user wanted to go; parsed before it was sealed.
    #[serde(rename = "r", skip_serializing_if = "Option::is_none", default)]
    pub return_to: Option<String>,
    /// The browser the hand-over is bound to.
    #[serde(rename = "b", skip_serializing_if = "Option::is_none", default)]
    pub bind: Option<String>,
    /// Whether the user has to prove themselves anew.
    #[serde(rename = "a", skip_serializing_if = "std::ops::Not::not", default)]
    pub anew: bool,
    /// Whether nobody was to be asked.
    #[serde(rename = "v", skip_serializing_if = "std::ops::Not::not", default)]
    pub passive: bool,
    /// The least strength of the proof that is wanted.
    #[serde(rename = "l", skip_serializing_if = "is_any", default)]
    pub level: Level,
    /// When its answer arrived.
    #[serde(rename = "d", skip_serializing_if = "Option::is_none", default)]
    pub arrived: Option<i64>,
}

fn is_any(level: &Level) -> bool {
    *level == Level::default()
}

/// All journeys of one browser at one host, oldest first.
#[derive(Debug, Default)]
pub struct Journeys(Vec<Journey>);

impl Journeys {
    /// What the browser holds. A forged, foreign or outdated cookie holds nothing.
    pub fn of(request: &CheckRequest, key: &PageKey, now: Timestamp) -> Self {
        let prefix = cookie::journey_prefix(request);
        let sealed = cookies(&request.headers).filter(|(name, _)| name.starts_with(prefix)).take(2 * MOST);
        let opened = sealed.filter_map(|(_, sealed)| key.open(PURPOSE, request.host.name(), sealed));
        let mut journeys: Vec<Journey> = opened.filter_map(|text| serde_json::from_slice(&text).ok()).collect();
        journeys.retain(|journey| (0..MAX_AGE_SECONDS).contains(&(now.as_second() - journey.started)));
        journeys.sort_by_key(|journey| journey.started);
        Self(journeys)
    }

    /// A journey that begins now, and the cookies it sets.
    ///
    /// # Errors
    /// [`Unavailable`] when there is no randomness.
    pub fn begin(
        &self,
        request: &CheckRequest,
        key: &PageKey,
        journey: impl FnOnce(String) -> Journey,
    ) -> Result<(Journey, Vec<String>), Unavailable> {
        let journey = journey(URL_SAFE_NO_PAD.encode(random::<16>()?));
        let surplus = (self.0.len() + 1).saturating_sub(MOST);
        let mut cookies: Vec<String> = self.0.iter().take(surplus).map(|old| cookie::set_journey(request, &old.id, "")).collect();
        cookies.push(set_cookie(&journey, request, key)?);
        Ok((journey, cookies))
    }

    /// The journey of this name.
    pub fn find(&self, id: &str) -> Option<&Journey> {
        self.0.iter().find(|journey| journey.id == id)
    }

    /// The names of those that are under way, each with its identity provider.
    pub fn open(&self) -> Vec<(String, String)> {
        self.0.iter().filter(|journey| journey.arrived.is_none()).map(|journey| (journey.id.clone(), journey.provider.clone())).collect()
    }

    /// Whether the browser has just set out to this provider, and nothing has come back.
    pub fn sets_out_again(&self, provider: &str, now: Timestamp, seconds: i64) -> bool {
        let just = |journey: &&Journey| journey.arrived.is_none() && now.as_second() - journey.started < seconds;
        self.0.iter().filter(just).any(|journey| journey.provider == provider)
    }

    /// Whether the browser has been here for the same page too often of late.
    pub fn goes_round(&self, return_to: Option<&str>, now: Timestamp) -> bool {
        let recent = |journey: &&Journey| journey.arrived.is_some_and(|arrived| now.as_second() - arrived < SHORT);
        self.0.iter().filter(recent).filter(|journey| journey.return_to.as_deref() == return_to).count() >= BOUNCES
    }
}

/// The cookie of a journey that has arrived.
///
/// # Errors
/// [`Unavailable`] when it cannot be sealed.
pub fn arrived(journey: &Journey, request: &CheckRequest, key: &PageKey, now: Timestamp) -> Result<String, Unavailable> {
    set_cookie(&Journey { arrived: Some(now.as_second()), ..journey.clone() }, request, key)
}

fn set_cookie(journey: &Journey, request: &CheckRequest, key: &PageKey) -> Result<String, Unavailable> {
    let seal = |journey: &Journey| {
        let text = serde_json::to_vec(journey).map_err(|error| Unavailable::new("login cookie", error))?;
        key.seal(PURPOSE, request.host.name(), text)
    };
    let mut sealed = seal(journey)?;
    // A page with an address too long for a cookie is lost rather than the login.
    if sealed.len() > MAX_COOKIE {
        sealed = seal(&Journey { return_to: None, bind: None, ..journey.clone() })?;
    }
    Ok(cookie::set_journey(request, &journey.id, &sealed))
}

//! Logins in progress, kept by the browser in one sealed cookie: anonymous visitors cannot fill a store (architecture §6).
//!
//! Login CSRF: an attacker submits his own credentials in a victim's browser, who then works in his account. The form's
//! token must therefore be one that this browser was given, which only the sealed cookie can say.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use vestibule_engine::Timestamp;
use vestibule_engine::clock::random;
use vestibule_engine::request::CheckRequest;
use vestibule_engine::scheme::Unavailable;

use super::cookie;
use super::key::PageKey;

/// A sign-in page may stand open for a working day.
pub const MAX_AGE_SECONDS: i64 = 8 * 3600;
/// Most tabs with a sign-in page; the oldest gives way.
const MAX_STATES: usize = 8;
/// Longest cookie value in octets; browsers drop cookies above 4096 with name and attributes.
const MAX_COOKIE: usize = 3800;

const PURPOSE: &str = "vestibule login cookie v1";

/// One login in progress.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginState {
    /// The token in the form: 128 random bits.
    #[serde(rename = "i")]
    pub id: String,
    /// When the page was first shown, in seconds since 1970.
    #[serde(rename = "s")]
    pub started: i64,
    /// Where the user wanted to go; parsed before it was sealed.
    #[serde(rename = "r", skip_serializing_if = "Option::is_none", default)]
    pub return_to: Option<String>,
    /// The browser the hand-over is bound to.
    #[serde(rename = "b", skip_serializing_if = "Option::is_none", default)]
    pub bind: Option<String>,
}

/// All logins in progress of one browser at one host.
#[derive(Debug, Default)]
pub struct LoginStates(Vec<LoginState>);

impl LoginStates {
    /// What the browser holds. A forged, foreign or outdated cookie holds nothing.
    pub fn of(request: &CheckRequest, key: &PageKey, now: Timestamp) -> Self {
        let mut states: Vec<LoginState> = request
            .cookies(cookie::login_name(request))
            .find_map(|sealed| key.open(PURPOSE, request.host.name(), sealed))
            .and_then(|text| serde_json::from_slice(&text).ok())
            .unwrap_or_default();
        states.retain(|state| (0..MAX_AGE_SECONDS).contains(&(now.as_second() - state.started)));
        Self(states)
    }

    /// Adds a login that begins now.
    ///
    /// # Errors
    /// [`Unavailable`] when there is no randomness.
    pub fn begin(&mut self, return_to: Option<String>, bind: Option<String>, now: Timestamp) -> Result<LoginState, Unavailable> {
        let id = URL_SAFE_NO_PAD.encode(random::<16>()?);
        let state = LoginState { id, started: now.as_second(), return_to, bind };
        self.0.push(state.clone());
        let surplus = self.0.len().saturating_sub(MAX_STATES);
        self.0.drain(..surplus);
        Ok(state)
    }

    /// The login whose form carried this token.
    pub fn find(&self, token: &str) -> Option<&LoginState> {
        self.0.iter().find(|state| state.id.as_bytes().ct_eq(token.as_bytes()).into())
    }

    /// Forgets a login.
    pub fn forget(&mut self, id: &str) {
        self.0.retain(|state| state.id != id);
    }

    /// `Set-Cookie` for what is held now; the oldest give way until it fits.
    ///
    /// # Errors
    /// [`Unavailable`] when it cannot be sealed.
    pub fn set_cookie(&self, request: &CheckRequest, key: &PageKey) -> Result<String, Unavailable> {
        let mut states = self.0.as_slice();
        while let Some((_, younger)) = states.split_first() {
            let text = serde_json::to_vec(states).map_err(|error| Unavailable::new("login cookie", error))?;
            let sealed = key.seal(PURPOSE, request.host.name(), text)?;
            if sealed.len() <= MAX_COOKIE {
                return Ok(cookie::set_login(request, &sealed));
            }
            states = younger;
        }
        Ok(cookie::set_login(request, ""))
    }
}

//! The cookies of our own pages.
//!
//! `__Host-` keeps a sibling host from planting them (RFC 6265bis §4.1.3.2). On plain loopback browsers accept neither
//! the prefix nor `Secure`, so there the names lose it (architecture, names).

use vestibule_engine::request::{Channel, CheckRequest};

pub use crate::schemes::session::{clear_cookie as clear_session, cookie_name as session_name, set_cookie as set_session};

/// The cookies here, in every form, beside the session's: they are ours and no application's.
pub const COOKIES: [&str; 8] = [
    "__Host-vestibule-login",
    "vestibule-login",
    "__Host-vestibule-landing",
    "vestibule-landing",
    "__Host-vestibule-answered",
    "vestibule-answered",
    "__Host-vestibule-idp",
    "vestibule-idp",
];

/// The cookie of logins in progress.
pub fn login_name(request: &CheckRequest) -> &'static str {
    if is_plain_loopback(request) { "vestibule-login" } else { "__Host-vestibule-login" }
}

/// `Set-Cookie` for logins in progress. An identity provider's answer is a cross-site POST, hence `SameSite=None`.
pub fn set_login(request: &CheckRequest, value: &str) -> String {
    let name = login_name(request);
    let guard = if is_plain_loopback(request) { "SameSite=Lax" } else { "Secure; SameSite=None" };
    let end = if value.is_empty() { "; Max-Age=0" } else { "" };
    format!("{name}={value}; Path=/; HttpOnly; {guard}{end}")
}

/// Begins the names of cookies that hold one journey to an identity provider each: tabs that begin at once would
/// overwrite a common one.
pub fn journey_prefix(request: &CheckRequest) -> &'static str {
    if is_plain_loopback(request) { "vestibule-login." } else { "__Host-vestibule-login." }
}

/// `Set-Cookie` for a journey. Its answer is a cross-site POST also on plain loopback, where browsers take `Secure` for granted.
pub fn set_journey(request: &CheckRequest, name: &str, value: &str) -> String {
    let end = if value.is_empty() { "; Max-Age=0" } else { "" };
    format!("{}{name}={value}; Path=/; HttpOnly; Secure; SameSite=None{end}", journey_prefix(request))
}

/// The cookie that says, sealed, which session an answer from elsewhere comes back to: the session's own cookie is not sent
/// with a cross-site POST. Nothing else takes it for a session.
pub fn answered_name(request: &CheckRequest) -> &'static str {
    if is_plain_loopback(request) { "vestibule-answered" } else { "__Host-vestibule-answered" }
}

/// `Set-Cookie` for it.
pub fn set_answered(request: &CheckRequest, value: &str) -> String {
    format!("{}={value}; Path=/; HttpOnly; Secure; SameSite=None", answered_name(request))
}

/// The cookie of the identity provider that signed somebody in by itself.
pub fn provider_name(request: &CheckRequest) -> &'static str {
    if is_plain_loopback(request) { "vestibule-idp" } else { "__Host-vestibule-idp" }
}

/// `Set-Cookie` for it; empty takes it away.
pub fn set_provider(request: &CheckRequest, value: &str) -> String {
    let guard = if is_plain_loopback(request) { "SameSite=Lax" } else { "Secure; SameSite=Lax" };
    let life = if value.is_empty() { 0 } else { HALF_A_YEAR };
    format!("{}={value}; Path=/; HttpOnly; {guard}; Max-Age={life}", provider_name(request))
}

const HALF_A_YEAR: u32 = 15_552_000;

/// The cookie that a hand-over is bound to.
pub fn landing_name(request: &CheckRequest) -> &'static str {
    if is_plain_loopback(request) { "vestibule-landing" } else { "__Host-vestibule-landing" }
}

/// `Set-Cookie` for it.
pub fn set_landing(request: &CheckRequest, value: &str) -> String {
    let name = landing_name(request);
    let guard = if is_plain_loopback(request) { "SameSite=Lax" } else { "Secure; SameSite=Lax" };
    format!("{name}={value}; Path=/; HttpOnly; {guard}")
}

fn is_plain_loopback(request: &CheckRequest) -> bool {
    request.client.channel == Channel::Plain && request.host.is_localhost()
}

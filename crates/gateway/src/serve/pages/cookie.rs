//! The cookies of our own pages.
//!
//! `__Host-` keeps a sibling host from planting them (RFC 6265bis §4.1.3.2). On plain loopback browsers accept neither
//! the prefix nor `Secure`, so there the names lose it (architecture, names).

use vestibule_engine::request::{Channel, CheckRequest};

pub use crate::schemes::session::{clear_cookie as clear_session, cookie_name as session_name, set_cookie as set_session};

/// The cookies here, in every form, beside the session's: they are ours and no application's.
pub const COOKIES: [&str; 4] = ["__Host-vestibule-login", "vestibule-login", "__Host-vestibule-landing", "vestibule-landing"];

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

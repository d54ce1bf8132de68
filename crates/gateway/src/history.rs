//! Histories as people read them: who signed in and who was refused, and what other services said when they were asked. The
//! command line and the administrators' pages show the same rows.

use std::fmt::Write as _;

use serde::Serialize;

use vestibule_engine::audit::{Callout, Event, Reason, Recorded};
use vestibule_engine::store::History;

/// A login, as it is shown.
#[derive(Debug, Serialize)]
pub struct Login {
    /// When.
    pub time: String,
    /// Who; a hash where nobody is called so.
    pub user: String,
    /// From where.
    pub source: String,
    /// By which scheme.
    pub scheme: String,
    /// Checked by which realm or issuer.
    pub realm: String,
    /// What became of it.
    pub status: &'static str,
    /// The reason in our own words.
    pub reason: Option<Reason>,
    /// The decision's number.
    pub request_id: String,
}

/// The columns of logins.
pub const LOGINS: &[&str] = &["time", "user", "source", "scheme", "realm", "status", "request"];
/// The columns of questions.
pub const CALLOUTS: &[&str] = &[
    "time",
    "user",
    "user_id",
    "source",
    "endpoint",
    "resolved",
    "phase",
    "outcome",
    "http",
    "ms",
    "tls",
    "certificate_until",
    "fault",
    "request",
];

/// Lines of RFC 4180.
pub fn csv(head: &[&str], rows: &[Vec<String>]) -> String {
    let mut text = String::new();
    let head = head.iter().map(|name| (*name).to_owned()).collect();
    for line in std::iter::once(&head).chain(rows) {
        let line: Vec<String> = line.iter().map(|cell| quoted(cell)).collect();
        // Writing to a text cannot fail.
        let _ = writeln!(text, "{}\r", line.join(","));
    }
    text
}

/// A cell of RFC 4180. What a spreadsheet would take for a formula is told apart by an apostrophe: others choose these texts.
fn quoted(cell: &str) -> String {
    let formula = cell.starts_with(['=', '+', '-', '@', '\t', '\r']);
    format!("\"{}{}\"", if formula { "'" } else { "" }, cell.replace('"', "\"\""))
}

/// A login, if this is one.
pub fn login(entry: &Recorded) -> Option<Login> {
    let (scheme, realm, user, reason) = match &entry.event {
        Event::LoginSucceeded { scheme, realm, subject } => (scheme, realm.clone(), subject.clone(), None),
        Event::LoginRejected { scheme, subject, reason } => (scheme, String::new(), subject.clone().unwrap_or_default(), Some(*reason)),
        Event::RequestDecided(_)
        | Event::RequestUnreadable { .. }
        | Event::LoginFellThrough { .. }
        | Event::EmergencyAttempted { .. }
        | Event::DelegatedCalled(_)
        | Event::GateClosed { .. }
        | Event::GateOpened { .. }
        | Event::SessionOpened { .. }
        | Event::SessionEnded { .. }
        | Event::KeyRotated { .. }
        | Event::ConfigReloaded { .. }
        | Event::AssertionIssued { .. }
        | Event::AnswerRefused { .. }
        | Event::TokenIssued { .. }
        | Event::MessageRefused { .. }
        | Event::AuditOpened { .. }
        | Event::AuditSealed { .. }
        | Event::AdminChanged { .. } => return None,
    };
    Some(Login {
        time: entry.time.to_string(),
        user,
        source: entry.client.map(|client| client.to_string()).unwrap_or_default(),
        scheme: scheme.to_string(),
        realm,
        status: status(reason),
        reason,
        request_id: entry.request_id.map(|id| id.to_string()).unwrap_or_default(),
    })
}

/// Its cells.
pub fn login_cells(login: &Login) -> Vec<String> {
    let Login { time, user, source, scheme, realm, status, request_id, .. } = login;
    [time, user, source, scheme, realm, *status, request_id].map(ToOwned::to_owned).into()
}

/// A question to a service, as it is shown.
#[derive(Debug, Serialize)]
pub struct Asked {
    /// When.
    pub time: String,
    /// From where.
    pub source: String,
    /// The decision's number.
    pub request_id: String,
    /// What was asked, and what was answered.
    #[serde(flatten)]
    pub callout: Callout,
}

/// A question to a service, if this is one.
pub fn callout(entry: &Recorded) -> Option<Asked> {
    let (Some((History::Callouts, _)), Event::DelegatedCalled(callout)) = (History::of(&entry.event), &entry.event) else { return None };
    Some(Asked {
        time: entry.time.to_string(),
        source: entry.client.map(|client| client.to_string()).unwrap_or_default(),
        request_id: entry.request_id.map(|id| id.to_string()).unwrap_or_default(),
        callout: (**callout).clone(),
    })
}

/// Its cells.
pub fn callout_cells(asked: &Asked) -> Vec<String> {
    let Callout { subject, user, endpoint, resolved, phase, outcome, status, ms, tls, certificate_until, fault, .. } = &asked.callout;
    let text = |value: Option<String>| value.unwrap_or_default();
    vec![
        asked.time.clone(),
        subject.clone(),
        user.to_string(),
        asked.source.clone(),
        endpoint.clone(),
        text(resolved.map(|address| address.to_string())),
        format!("{phase:?}").to_lowercase(),
        outcome.as_str().to_owned(),
        text(status.map(|status| status.to_string())),
        format!("{ms:.0}"),
        text(tls.clone()),
        text(certificate_until.map(|until| until.to_string())),
        text(fault.clone()),
        asked.request_id.clone(),
    ]
}

/// The texts of a login history that administrators of the old system know.
const STATUSES: [(Reason, &str); 15] = [
    (Reason::WrongPassword, "Invalid password"),
    (Reason::EmptyPassword, "Invalid password"),
    (Reason::RepeatedWrongPassword, "Invalid password"),
    (Reason::PasswordExpired, "Invalid password"),
    (Reason::MustChangePassword, "Invalid password"),
    (Reason::Disabled, "User is inactive"),
    (Reason::Expired, "User is inactive"),
    (Reason::Locked, "Password lockout"),
    (Reason::AccountGateClosed, "Password lockout"),
    (Reason::AddressNotListed, "Restricted IP"),
    (Reason::OutsideHours, "Restricted time"),
    (Reason::WeakProof, "Two-factor required"),
    (Reason::AddressGateClosed, "Login rate exceeded"),
    (Reason::TooManyWaiting, "Login rate exceeded"),
    (Reason::Unavailable, "Your company's authentication service is down"),
];

/// The text for a reason; all that is not listed is a login that no user of ours could have made.
fn status(reason: Option<Reason>) -> &'static str {
    let Some(reason) = reason else { return "Success" };
    STATUSES.iter().find(|(known, _)| *known == reason).map_or("Invalid login", |(_, text)| text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_no_formula() {
        assert_eq!(quoted("=cmd|' /C calc'!A0"), "\"'=cmd|' /C calc'!A0\"");
        assert_eq!(quoted("say \"hi\""), "\"say \"\"hi\"\"\"");
        assert_eq!(quoted("ada"), "\"ada\"");
    }

    #[test]
    fn outages_and_wrong_passwords_are_told_apart() {
        assert_eq!(status(None), "Success");
        assert_eq!(status(Some(Reason::WrongPassword)), "Invalid password");
        assert_eq!(status(Some(Reason::UnknownUser)), "Invalid login");
        assert_eq!(status(Some(Reason::Unavailable)), "Your company's authentication service is down");
    }
}

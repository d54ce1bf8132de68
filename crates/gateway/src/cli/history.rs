//! `vestibule history`: who signed in and who was refused, and what other services said when they were asked.

use std::fmt::Write as _;

use clap::{Args, ValueEnum};
use serde::Serialize;
use serde_json::json;

use vestibule_engine::audit::{Callout, Event, Reason, Recorded};
use vestibule_engine::store::{HISTORY_KEPT, History};

use super::client::{ask, unexpected};
use super::output::Output;
use super::{Answer, Common, Failure};
use crate::serve::admin::protocol::{AdminReply, AdminRequest};

/// Show who signed in, who was refused, and what other services said about passwords
#[derive(Debug, Args)]
pub struct Shown {
    /// Which history
    #[arg(value_enum, default_value_t = Which::Logins)]
    which: Which,
    /// Of this tenant; may be left out where there is only one
    #[arg(long, value_name = "TENANT")]
    tenant: Option<String>,
    /// Of this user
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// At most so many of the latest
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=HISTORY_KEPT as i64))]
    most: u32,
    /// Print CSV (RFC 4180), for a spreadsheet
    #[arg(long, conflicts_with = "json")]
    csv: bool,
}

/// Which history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Which {
    /// Logins
    Logins,
    /// Questions to services that check passwords
    Delegated,
}

/// A login, as it is shown.
#[derive(Debug, Serialize)]
struct Login {
    time: String,
    user: String,
    source: String,
    scheme: String,
    realm: String,
    status: &'static str,
    reason: Option<Reason>,
    request_id: String,
}

impl Shown {
    /// Asks the running server.
    pub fn run(self, common: &Common, output: &mut Output) -> Result<Answer, Failure> {
        let of = match self.which {
            Which::Logins => History::Logins,
            Which::Delegated => History::Callouts,
        };
        let request = AdminRequest::History { of, tenant: self.tenant, user: self.user, most: self.most as usize };
        let AdminReply::History(entries) = ask(common, request)? else { return Err(unexpected()) };
        match of {
            History::Logins => print(LOGINS, entries.iter().filter_map(login).collect(), login_cells, self.csv, output),
            History::Callouts => print(CALLOUTS, entries.iter().filter_map(callout).collect(), callout_cells, self.csv, output),
        }
        Ok(Answer::Yes)
    }
}

const LOGINS: &[&str] = &["time", "user", "source", "scheme", "realm", "status", "request"];
const CALLOUTS: &[&str] = &[
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

fn print<T: Serialize>(head: &[&str], rows: Vec<T>, cells: fn(&T) -> Vec<String>, csv: bool, output: &mut Output) {
    if csv {
        let mut text = String::new();
        for line in std::iter::once(head.iter().map(|name| (*name).to_owned()).collect()).chain(rows.iter().map(cells)) {
            let line: Vec<String> = line.iter().map(|cell| quoted(cell)).collect();
            // Writing to a text cannot fail.
            let _ = writeln!(text, "{}\r", line.join(","));
        }
        return output.verbatim(&text);
    }
    if output.is_json() {
        return output.json(&json!({ "history": rows }));
    }
    if rows.is_empty() {
        return output.line("Nothing is recorded.");
    }
    let table = rows.iter().map(|row| cells(row).iter().map(|cell| cell.as_str().into()).collect()).collect();
    output.table(head, table);
}

/// A cell of RFC 4180. What a spreadsheet would take for a formula is told apart by an apostrophe: others choose these texts.
fn quoted(cell: &str) -> String {
    let formula = cell.starts_with(['=', '+', '-', '@', '\t', '\r']);
    format!("\"{}{}\"", if formula { "'" } else { "" }, cell.replace('"', "\"\""))
}

fn login(entry: &Recorded) -> Option<Login> {
    let (scheme, realm, user, reason) = match &entry.event {
        Event::LoginSucceeded { scheme, realm, subject } => (scheme, realm.clone(), subject.clone(), None),
        Event::LoginRejected { scheme, subject, reason } => (scheme, String::new(), subject.clone().unwrap_or_default(), Some(*reason)),
        Event::RequestDecided(_)
        | Event::RequestUnreadable { .. }
        | Event::LoginFellThrough { .. }
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

fn login_cells(login: &Login) -> Vec<String> {
    let Login { time, user, source, scheme, realm, status, request_id, .. } = login;
    [time, user, source, scheme, realm, *status, request_id].map(ToOwned::to_owned).into()
}

/// A question to a service, as it is shown.
#[derive(Debug, Serialize)]
struct Asked {
    time: String,
    source: String,
    request_id: String,
    #[serde(flatten)]
    callout: Callout,
}

fn callout(entry: &Recorded) -> Option<Asked> {
    let (Some((History::Callouts, _)), Event::DelegatedCalled(callout)) = (History::of(&entry.event), &entry.event) else { return None };
    Some(Asked {
        time: entry.time.to_string(),
        source: entry.client.map(|client| client.to_string()).unwrap_or_default(),
        request_id: entry.request_id.map(|id| id.to_string()).unwrap_or_default(),
        callout: (**callout).clone(),
    })
}

fn callout_cells(asked: &Asked) -> Vec<String> {
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
const STATUSES: [(Reason, &str); 14] = [
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

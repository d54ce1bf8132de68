//! `vestibule history`: who signed in and who was refused, and what other services said when they were asked.

use clap::{Args, ValueEnum};
use serde::Serialize;
use serde_json::json;

use vestibule_engine::store::{HISTORY_KEPT, History};

use super::client::{ask, unexpected};
use super::output::Output;
use super::{Answer, Common, Failure};
use crate::history::{self, CALLOUTS, LOGINS, callout, callout_cells, login, login_cells};
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

fn print<T: Serialize>(head: &[&str], rows: Vec<T>, cells: fn(&T) -> Vec<String>, csv: bool, output: &mut Output) {
    if csv {
        return output.verbatim(&history::csv(head, &rows.iter().map(cells).collect::<Vec<_>>()));
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

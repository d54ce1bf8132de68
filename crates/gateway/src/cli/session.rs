//! `vestibule session`: who is signed in.

use clap::Subcommand;

use super::client::{ask, unexpected};
use super::output::Output;
use super::user::whom;
use super::{Answer, Common, Failure, Who};
use crate::serve::admin::protocol::{AdminReply, AdminRequest, SessionView};

/// Sessions of a user
#[derive(Debug, Subcommand)]
pub enum SessionCommand {
    /// List a user's live sessions
    List {
        /// Whose.
        #[command(flatten)]
        who: Who,
    },
    /// End one session of a user with all that share its login, or all
    End {
        /// Whose.
        #[command(flatten)]
        who: Who,
        /// The session, as `session list` shows it; its first characters will do
        #[arg(required_unless_present = "all")]
        session: Option<String>,
        /// All of them
        #[arg(long, conflicts_with = "session")]
        all: bool,
    },
}

impl SessionCommand {
    /// Asks the running server.
    pub fn run(self, common: &Common, output: &mut Output) -> Result<Answer, Failure> {
        match self {
            Self::List { who } => {
                let AdminReply::Sessions(sessions) = ask(common, AdminRequest::SessionList(whom(who)))? else { return Err(unexpected()) };
                list(&sessions, output);
            }
            // `all` is what the absence of a session means here; clap has seen to it that one of them is there.
            Self::End { who, session, all: _ } => {
                let request = AdminRequest::SessionEnd { user: whom(who), session };
                let AdminReply::Ended { sessions } = ask(common, request)? else { return Err(unexpected()) };
                if output.is_json() {
                    output.json(&serde_json::json!({ "ended": sessions }));
                } else {
                    output.line(match sessions {
                        0 => "There was no session to end.".to_owned(),
                        1 => "One session was ended.".to_owned(),
                        more => format!("{more} sessions were ended."),
                    });
                }
            }
        }
        Ok(Answer::Yes)
    }
}

fn list(sessions: &[SessionView], output: &mut Output) {
    if output.is_json() {
        return output.json(&serde_json::json!({ "sessions": sessions }));
    }
    if sessions.is_empty() {
        return output.line("No live sessions.");
    }
    let row = |session: &SessionView| {
        vec![session.opened.to_string().into(), session.until.to_string().into(), session.id.as_str().into(), session.login.as_str().into()]
    };
    output.table(&["opened", "until", "session", "login"], sessions.iter().map(row).collect());
}

//! `vestibule key`: signing keys of the running server.

use clap::Subcommand;

use vestibule_engine::store::KeyState;

use super::client::{ask, unexpected};
use super::output::{Cell, Output, Tone};
use super::{Answer, Common, Failure};
use crate::serve::admin::protocol::{AdminReply, AdminRequest, KeyView};

/// Signing keys
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// List all keys
    List,
    /// Move the keys of a purpose on by one place: next signs, current is still published, previous is forgotten
    Rotate {
        /// What the keys are for, e.g. jwt
        purpose: String,
    },
    /// Void a key and everything it signed, at once
    Revoke {
        /// The key's id
        id: String,
    },
}

impl KeyCommand {
    /// Asks the running server.
    pub fn run(self, common: &Common, output: &mut Output) -> Result<Answer, Failure> {
        let request = match self {
            Self::List => AdminRequest::KeyList,
            Self::Rotate { purpose } => AdminRequest::KeyRotate { purpose },
            Self::Revoke { id } => AdminRequest::KeyRevoke { id },
        };
        let AdminReply::Keys(keys) = ask(common, request)? else { return Err(unexpected()) };
        print(&keys, output);
        Ok(Answer::Yes)
    }
}

fn print(keys: &[KeyView], output: &mut Output) {
    if output.is_json() {
        return output.json(&serde_json::json!({ "keys": keys }));
    }
    if keys.is_empty() {
        return output.line("There are no keys: the server makes them when a route first needs one.");
    }
    let row = |key: &KeyView| {
        let (state, tone) = match key.state {
            KeyState::Next => ("next", Tone::Plain),
            KeyState::Current => ("current", Tone::Good),
            KeyState::Previous => ("previous", Tone::Quiet),
            KeyState::Revoked => ("revoked", Tone::Bad),
        };
        vec![
            key.id.as_str().into(),
            key.purpose.as_str().into(),
            key.algorithm.as_str().into(),
            Cell::new(state, tone),
            key.changed.to_string().into(),
        ]
    };
    output.table(&["key", "purpose", "algorithm", "state", "since"], keys.iter().map(row).collect());
}

//! `vestibule backup` and `vestibule restore`: a copy of the store of a running gateway, and the way back.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde_json::json;

use vestibule_engine::Timestamp;
use vestibule_engine::clock::{Clock, SystemClock};

use super::client::{Connection, unexpected};
use super::output::{Cell, Output, Tone};
use super::store::configuration;
use super::{Answer, Common, Failure};
use crate::config::checked::{Checked, Durable};
use crate::serve::admin::protocol::{AdminReply, AdminRequest};
use crate::serve::house::{self, NOT_BEFORE, control_runtime};
use crate::store::{embedded, postgres};

/// How long a copy may take. A million users take seconds, a busy disk minutes.
const PATIENCE: Duration = Duration::from_secs(3600);

/// Copy the store of the running server into a file
#[derive(Debug, Args)]
pub struct Backup {
    /// The new file
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

impl Backup {
    /// Asks the running server for a copy, and takes it away.
    pub fn run(self, common: &Common, output: &mut Output) -> Result<Answer, Failure> {
        let shown = self.file.display();
        if self.file.exists() {
            return Err(Failure::not_tried(format!("{shown}: there is such a file already")));
        }
        let mut connection = Connection::open(common)?;
        let AdminReply::Copied { file: copy } = connection.ask_within(AdminRequest::Backup, PATIENCE)? else { return Err(unexpected()) };
        let copy = Gone(copy);
        let unfinished = Gone(PathBuf::from(format!("{shown}.part")));
        let at = |error: io::Error| Failure::not_tried(format!("{shown}: {error}"));
        take(&copy.0, &unfinished.0).map_err(at)?;
        let contents = embedded::inspect(&unfinished.0).map_err(|error| Failure::not_tried(error.to_string()))?;
        fs::rename(&unfinished.0, &self.file).map_err(at)?;
        let octets = fs::metadata(&self.file).map_err(at)?.len();
        if output.is_json() {
            output.json(&json!({ "file": self.file, "octets": octets, "schema": contents.schema, "users": contents.users }));
        } else {
            output.line(format!("{} users, schema {}, {octets} octets are in {shown}.", contents.users, contents.schema));
            output
                .line(Cell::new("Keep the key-encryption key elsewhere: without it the keys in the backup open for nobody.", Tone::Quiet));
        }
        Ok(Answer::Yes)
    }
}

/// Copies octets into a new file that its owner alone may read, down to the disk.
fn take(from: &Path, to: &Path) -> io::Result<()> {
    let mut source = File::open(from)?;
    let mut target = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to)?;
    io::copy(&mut source, &mut target)?;
    target.sync_all()
}

/// A file that goes away.
struct Gone(PathBuf);

impl Drop for Gone {
    fn drop(&mut self) {
        // Renamed, as it should be; or the server removes it when it next starts.
        let _ = fs::remove_file(&self.0);
    }
}

/// Put a backup in the place of the store of a stopped server; ends all sessions
#[derive(Debug, Args)]
pub struct Restore {
    /// The backup; none where the store is in PostgreSQL and `pg_restore` has restored it
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// Since when no gateway has served, in RFC 3339 [default: now]. Where the ids of used tokens are lost, none serves after that until no token is alive: ten minutes, or as long as the longest window of the configuration
    #[arg(long, value_name = "TIME")]
    down_since: Option<Timestamp>,
}

impl Restore {
    /// Works on the store of the configuration.
    pub fn run(self, common: &Common, output: &mut Output) -> Result<Answer, Failure> {
        let now = SystemClock::default().now();
        if self.down_since.is_some_and(|since| since > now) {
            return Err(Failure::not_tried("--down-since is in the future"));
        }
        let checked = configuration(common)?;
        let not_before = self.down_since.unwrap_or(now) + checked.once_for();
        match (&checked.store.durable, &self.file) {
            (Durable::Embedded, Some(file)) => embedded(&checked, file, now, not_before, output),
            (Durable::Embedded, None) => Err(Failure::not_tried("name the backup: vestibule restore FILE")),
            (Durable::Postgres(_), Some(_)) => Err(Failure::not_tried("the store is in PostgreSQL")
                .fix("restore it with pg_restore, then run `vestibule restore` without a file")),
            (Durable::Postgres(settings), None) => {
                let runtime = control_runtime().map_err(|error| Failure::not_tried(format!("no threads: {error}")))?;
                let ended = runtime.block_on(postgres::end_everything(settings, now, (NOT_BEFORE, not_before)));
                ended.map_err(|error| Failure::refused(error.to_string()))?;
                if output.is_json() {
                    output.json(&json!({ "not_before": not_before }));
                } else {
                    output.line("All sessions have ended.");
                    waiting(not_before, now, output);
                }
                Ok(Answer::Yes)
            }
            (Durable::Memory, _) => Err(Failure::not_tried("this configuration keeps nothing")),
        }
    }
}

fn embedded(checked: &Checked, file: &Path, now: Timestamp, not_before: Timestamp, output: &mut Output) -> Result<Answer, Failure> {
    let sealing = house::held_sealing_key(checked).map_err(Failure::refused)?;
    let sealing = sealing.ok_or_else(|| {
        Failure::refused("the key-encryption key is missing, without which no key in the backup opens")
            .fix(format!("put the file {} of the gateway that was backed up there first", house::sealing_file(checked).display()))
    })?;
    let opens = |sealed: &_| house::opens(&sealing, sealed);
    let store = house::database(checked);
    let restored =
        embedded::restore(file, &store, now, opens, (NOT_BEFORE, not_before)).map_err(|error| Failure::refused(error.to_string()))?;
    if output.is_json() {
        output.json(&json!({
            "users": restored.contents.users,
            "schema": restored.contents.schema,
            "replaced": restored.replaced,
            "not_before": (!restored.knows_used_tokens).then_some(not_before),
        }));
        return Ok(Answer::Yes);
    }
    output.line(format!("{} users are restored, and all sessions have ended.", restored.contents.users));
    if let Some(replaced) = &restored.replaced {
        output.line(format!("The store that was there is {} now.", replaced.display()));
    }
    if !restored.knows_used_tokens {
        waiting(not_before, now, output);
    }
    Ok(Answer::Yes)
}

fn waiting(not_before: Timestamp, now: Timestamp, output: &mut Output) {
    if not_before > now {
        output.line(Cell::new(
            format!("Nobody knows which tokens were used since the backup, so no gateway serves before {not_before}, when none of them is valid."),
            Tone::Warn,
        ));
    }
}

//! `vestibule user export`: users as other systems, or another of us, can read them.
//!
//! Password hashes leave only if they are asked for by name, and then only into a new file that its owner alone may read.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::Args;

use super::records::{Format, Writer};
use crate::cli::client::{Connection, unexpected};
use crate::cli::output::Output;
use crate::cli::{Answer, Common, Failure};
use crate::serve::admin::protocol::{AdminReply, AdminRequest};

/// Write all users
#[derive(Debug, Args)]
pub struct Export {
    /// Into this new file; without it, to standard output
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// How it is written [default: as the file's name ends: .ldif, .csv, .jsonl; else JSON Lines]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Of this tenant; may be left out where there is only one
    #[arg(long)]
    tenant: Option<String>,
    /// In this group
    #[arg(long)]
    group: Option<String>,
    /// With the hashes of their passwords, which are licences to guess
    #[arg(long, requires = "output")]
    with_password_hashes: bool,
}

impl Export {
    pub fn run(self, common: &Common, output: &mut Output) -> Result<Answer, Failure> {
        let format = match (&self.output, self.format) {
            (_, Some(format)) => format,
            (Some(file), None) => Format::of(None, file)?,
            (None, None) => Format::Jsonl,
        };
        let connection = Connection::open(common)?;
        let Some(file) = self.output.clone() else {
            self.write(connection, format, io::stdout().lock())?;
            return Ok(Answer::Yes);
        };
        // Complete under its name, or not there.
        let mut unfinished = file.as_os_str().to_owned();
        unfinished.push(".part");
        let unfinished = Unfinished(PathBuf::from(unfinished));
        if file.exists() {
            return Err(Failure::not_tried(format!("{}: there is such a file already", file.display())));
        }
        let at = |error: io::Error| Failure::not_tried(format!("{}: {error}", unfinished.0.display()));
        let made: File = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished.0).map_err(at)?;
        let users = self.write(connection, format, &made)?;
        made.sync_all().and_then(|()| std::fs::rename(&unfinished.0, &file)).map_err(at)?;
        if output.is_json() {
            output.json(&serde_json::json!({ "users": users, "file": file }));
        } else {
            output.line(format!("{users} users are in {}.", file.display()));
        }
        Ok(Answer::Yes)
    }

    fn write(&self, mut connection: Connection, format: Format, to: impl Write) -> Result<u64, Failure> {
        let unwritten = |error: io::Error| Failure::not_tried(format!("the users could not be written: {error}"));
        let mut writer = Writer::new(format, BufWriter::new(to), self.with_password_hashes).map_err(unwritten)?;
        let (mut after, mut count) = (None, 0);
        loop {
            let (tenant, group) = (self.tenant.clone(), self.group.clone());
            let request = AdminRequest::UserExport { tenant, group, after, hashes: self.with_password_hashes };
            let AdminReply::Exported { users, more } = connection.ask(request)? else { return Err(unexpected()) };
            for user in &users {
                writer.write(user).map_err(unwritten)?;
                count += 1;
            }
            after = users.last().map(|last| last.user.name.to_string());
            if !more || after.is_none() {
                writer.end().map_err(unwritten)?;
                return Ok(count);
            }
        }
    }
}

/// A file that goes away unless it was finished.
struct Unfinished(PathBuf);

impl Drop for Unfinished {
    fn drop(&mut self) {
        let gone: &Path = &self.0;
        // Renamed, as it should be.
        let _ = std::fs::remove_file(gone);
    }
}

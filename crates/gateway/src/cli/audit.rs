//! `vestibule audit`: whether audit files are what was written.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::PathBuf;

use clap::Subcommand;

use super::output::{Cell, Output, Tone};
use super::{Answer, Common, Failure};
use crate::audit::chain::{Head, octets};
use crate::audit::file::seal_of;
use crate::audit::verify::{Broken, Demands, Found, verify};

/// Audit files
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// Check that nothing in audit files was changed, removed or moved
    Verify(Verify),
}

/// Check that nothing in audit files was changed, removed or moved
#[derive(Debug, clap::Args)]
pub struct Verify {
    /// The files, oldest first; - is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The key that must have sealed them, as `vestibule status` shows it
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// A record noted elsewhere that must be there, as `audit.sealed` names it: `sealed` and `sealed_hash`
    #[arg(long, value_name = "NUMBER:HASH", value_parser = anchor)]
    anchor: Option<Head>,
}

fn anchor(text: &str) -> Result<Head, String> {
    let parts = text.split_once(':').and_then(|(sequence, hash)| Some((sequence.parse().ok()?, octets(hash)?)));
    let (sequence, hash) = parts.ok_or("write the record's number, a colon and its hash")?;
    Ok(Head { sequence, hash })
}

impl AuditCommand {
    /// Reads the files.
    pub fn run(self, _: &Common, output: &mut Output) -> Result<Answer, Failure> {
        let Self::Verify(Verify { files, key, anchor }) = self;
        let unread = |path: &PathBuf, error: io::Error| Failure::not_tried(format!("{}: {error}", path.display()));
        let mut readers: Vec<(String, Box<dyn BufRead>)> = Vec::new();
        for path in &files {
            let reader: Box<dyn BufRead> = match path.as_os_str() == "-" {
                true => Box::new(io::stdin().lock()),
                false => Box::new(BufReader::new(File::open(path).map_err(|error| unread(path, error))?)),
            };
            readers.push((path.display().to_string(), reader));
        }
        let latest = files.last().map(|path| seal_of(path)).and_then(|path| std::fs::read(path).ok());
        let outcome = verify(readers, latest.as_deref(), &Demands { key: key.clone(), anchor });
        let outcome = outcome.map_err(|error| Failure::not_tried(format!("the files cannot be read: {error}")))?;
        if output.is_json() {
            output.json(&match &outcome {
                Ok(found) => serde_json::json!({ "verdict": "accepted", "found": found }),
                Err(Broken { file, line, what }) => {
                    serde_json::json!({ "verdict": "rejected", "file": file, "line": line, "reason": what.to_string() })
                }
            });
            return Ok(if outcome.is_ok() { Answer::Yes } else { Answer::No });
        }
        match outcome {
            Ok(found) => {
                print(&found, key.is_some(), output);
                Ok(Answer::Yes)
            }
            Err(Broken { file, line, what }) => {
                let place = if line == 0 { format!("{file}, at its end") } else { format!("{file}, line {line}") };
                output.line(Cell::new(format!("Broken: {what} ({place})"), Tone::Bad));
                Ok(Answer::No)
            }
        }
    }
}

fn print(found: &Found, compared: bool, output: &mut Output) {
    let name = |name: &str| Cell::new(name, Tone::Quiet);
    let compared = if compared { "as demanded" } else { "compare with `vestibule status`, or give --key" };
    let mut rows = vec![
        vec![Cell::new("whole", Tone::Good), format!("records {} to {}", found.first, found.last).into()],
        vec![name("last hash"), found.hash.as_str().into()],
        vec![name("seals"), format!("{} by {}: {compared}", found.seals, found.key).into()],
    ];
    if found.unsealed > 0 {
        rows.push(vec![name("not sealed yet"), format!("{} at the end", found.unsealed).into()]);
    }
    if found.unprotected > 0 {
        rows.push(vec![Cell::new("not protected", Tone::Warn), format!("{} lines before the chain began", found.unprotected).into()]);
    }
    if found.torn > 0 {
        rows.push(vec![name("half written"), format!("{} lines, when a process died", found.torn).into()]);
    }
    output.table(&[], rows);
}

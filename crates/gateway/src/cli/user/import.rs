//! `vestibule user import`: the users of another system, in batches, from a file that is read once.
//!
//! An import that was broken off is begun again with the same command: users who are there as the file has them are left
//! alone. What cannot be taken over is said line by line, never with a hash or what might be one: a file whose columns are
//! mixed up has hashes anywhere.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, IsTerminal, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clap::Args;
use serde_json::json;

use vestibule_engine::clock::{Clock, SystemClock};
use vestibule_engine::identity::Username;
use vestibule_engine::store::digest;

use super::records::{self, Entry, Format, Mapping, Reader};
use crate::cli::client::{Connection, unexpected};
use crate::cli::output::{Cell, Output, Tone};
use crate::cli::{Answer, Common, Failure};
use crate::serve::admin::protocol::{AdminReply, AdminRequest, BATCH, Fate, ImportedUser, MAX_REQUEST};

/// Octets of users in one request; what is around them has room beside it.
const MAX_OCTETS: usize = MAX_REQUEST - 4096;
/// Refusals that are shown; all are in the report.
const SHOWN: usize = 100;
/// How often progress is told on a terminal, and where nobody watches.
const WATCHED: Duration = Duration::from_millis(500);
const UNWATCHED: Duration = Duration::from_secs(10);

/// Add the users of another system
#[derive(Debug, Args)]
pub struct Import {
    /// The file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// How it is written [default: as its name ends: .ldif, .csv, .jsonl]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// To this tenant; may be left out where there is only one
    #[arg(long)]
    tenant: Option<String>,
    /// Say what would become of each user, and write nothing
    #[arg(long)]
    dry_run: bool,
    /// Write every refusal into this new file, one JSON object a line
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    #[command(flatten)]
    mapping: Mapping,
}

impl Import {
    pub fn run(self, common: &Common, output: &mut Output) -> Result<Answer, Failure> {
        let format = Format::of(self.format, &self.file)?;
        let unread = |error: io::Error| Failure::not_tried(format!("{}: {error}", self.file.display()));
        let mut file = File::open(&self.file).map_err(unread)?;
        let groups = match format {
            Format::Ldif => records::ldif::groups(BufReader::new(&mut file)).map_err(unread)?,
            Format::Csv | Format::Jsonl => HashMap::new(),
        };
        file.rewind().map_err(unread)?;
        let read = Arc::new(AtomicU64::new(0));
        let length = file.metadata().map_err(unread)?.len();
        let source = Counted { file, read: read.clone() };
        let reader = Reader::open(format, BufReader::new(source), self.mapping, groups)
            .map_err(|why| Failure::refused(format!("{}: {why}", self.file.display())))?;

        let mut session = Session {
            connection: Connection::open(common)?,
            tenant: self.tenant,
            dry_run: self.dry_run,
            batch: Vec::new(),
            lines: Vec::new(),
            octets: 0,
            tally: Tally::default(),
            report: self.report.as_deref().map(Report::create).transpose()?,
            progress: Progress::new(read, length),
        };
        let outcome = session.take_all(reader, &self.file);
        session.progress.end();
        let refused = session.tally.refused;
        session.finish(outcome, output)?;
        Ok(if refused == 0 { Answer::Yes } else { Answer::No })
    }
}

/// One import under way.
struct Session {
    connection: Connection,
    tenant: Option<String>,
    dry_run: bool,
    batch: Vec<ImportedUser>,
    /// Of each user in the batch.
    lines: Vec<u64>,
    octets: usize,
    tally: Tally,
    report: Option<Report>,
    progress: Progress,
}

#[derive(Default)]
struct Tally {
    added: u64,
    present: u64,
    refused: u64,
    skipped: u64,
    shown: Vec<Refused>,
}

struct Refused {
    line: u64,
    name: Option<String>,
    why: String,
}

impl Session {
    fn take_all<R: io::BufRead>(&mut self, mut reader: Reader<R>, file: &Path) -> Result<(), Failure> {
        // Names and external ids by their digests: a million of them fit into memory.
        let mut met: HashMap<[u8; 16], u64> = HashMap::new();
        while let Some(entry) = reader.next().map_err(|error| Failure::not_tried(format!("{}: {error}", file.display())))? {
            match entry {
                Entry::Other => self.tally.skipped += 1,
                Entry::Bad { line, name, why } => self.refuse(Refused { line, name, why })?,
                Entry::User { line, user } => match first_met(&mut met, &user, line) {
                    Ok(()) => self.push(line, *user)?,
                    Err(why) => self.refuse(Refused { line, name: Some(user.name), why })?,
                },
            }
            self.progress.tell(&self.tally);
        }
        self.send()
    }

    fn push(&mut self, line: u64, user: ImportedUser) -> Result<(), Failure> {
        let octets = serde_json::to_vec(&user).map_or(usize::MAX, |text| zeroize::Zeroizing::new(text).len() + 1);
        if octets > MAX_OCTETS {
            return self.refuse(Refused { line, name: Some(user.name), why: "the user is too long".to_owned() });
        }
        if self.batch.len() == BATCH || self.octets + octets > MAX_OCTETS {
            self.send()?;
        }
        self.octets += octets;
        self.batch.push(user);
        self.lines.push(line);
        Ok(())
    }

    fn send(&mut self) -> Result<(), Failure> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let names: Vec<String> = self.batch.iter().map(|user| user.name.clone()).collect();
        let users = std::mem::take(&mut self.batch);
        let request = AdminRequest::UserImport { tenant: self.tenant.clone(), users, dry_run: self.dry_run };
        let AdminReply::Imported(fates) = self.connection.ask(request)? else { return Err(unexpected()) };
        self.octets = 0;
        let lines = std::mem::take(&mut self.lines);
        if fates.len() != lines.len() {
            return Err(unexpected());
        }
        for ((line, name), fate) in lines.into_iter().zip(names).zip(fates) {
            match fate {
                Fate::Added => self.tally.added += 1,
                Fate::Present => self.tally.present += 1,
                Fate::Refused(why) => self.refuse(Refused { line, name: Some(name), why })?,
            }
        }
        Ok(())
    }

    fn refuse(&mut self, refused: Refused) -> Result<(), Failure> {
        self.tally.refused += 1;
        if let Some(report) = &mut self.report {
            report.add(&refused)?;
        }
        if self.tally.shown.len() < SHOWN {
            self.tally.shown.push(refused);
        }
        Ok(())
    }

    /// Says what became of all, even where the rest could not be tried.
    fn finish(mut self, outcome: Result<(), Failure>, output: &mut Output) -> Result<(), Failure> {
        if let Some(report) = &mut self.report {
            report.end()?;
        }
        let Tally { added, present, refused, skipped, shown } = &self.tally;
        let outcome = outcome.map_err(|failure| Failure {
            message: format!("{}; {added} were added before that", failure.message),
            fix: Some(failure.fix.unwrap_or_else(|| "give the same command again: nobody is added twice".to_owned())),
            ..failure
        });
        outcome?;
        if output.is_json() {
            let refusals: Vec<_> = shown.iter().map(Refused::json).collect();
            let counts = json!({
                "dry_run": self.dry_run, "added": added, "present": present, "refused": refused, "skipped": skipped, "refusals": refusals,
            });
            output.json(&counts);
            return Ok(());
        }
        for Refused { line, name, why } in shown {
            let name = name.as_ref().map_or_else(String::new, |name| format!("{name}: "));
            output.line(Cell::new(format!("line {line}: {name}{why}"), Tone::Bad));
        }
        if let Some(more) = refused.checked_sub(shown.len() as u64).filter(|more| *more > 0) {
            output.line(Cell::new(format!("and {more} more; --report FILE lists all"), Tone::Quiet));
        }
        let word = if self.dry_run { "would be added" } else { "added" };
        let others = if *skipped > 0 { format!(", {skipped} entries are no users") } else { String::new() };
        output.line(format!("{added} {word}, {present} there already, {refused} refused{others}."));
        Ok(())
    }
}

/// Whether nobody before in the file has the name or one of the external ids.
fn first_met(met: &mut HashMap<[u8; 16], u64>, user: &ImportedUser, line: u64) -> Result<(), String> {
    let key = |parts: &[&[u8]]| digest(parts).first_chunk::<16>().copied().unwrap_or_default();
    let mut keys = Vec::new();
    if let Some(name) = Username::parse(&user.name) {
        keys.push((key(&[name.as_str().as_bytes()]), "name"));
    }
    for id in &user.external_ids {
        keys.push((key(&[id.issuer.as_str().as_bytes(), id.id.as_bytes()]), "external id"));
    }
    for (key, what) in &keys {
        if let Some(before) = met.get(key) {
            return Err(format!("line {before} has the same {what}"));
        }
    }
    met.extend(keys.into_iter().map(|(key, _)| (key, line)));
    Ok(())
}

impl Refused {
    fn json(&self) -> serde_json::Value {
        json!({ "line": self.line, "name": self.name, "why": self.why })
    }
}

/// Every refusal, for programs.
struct Report(io::BufWriter<File>, PathBuf);

impl Report {
    fn create(path: &Path) -> Result<Self, Failure> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        let file = file.map_err(|error| Failure::not_tried(format!("{}: {error}", path.display())))?;
        Ok(Self(io::BufWriter::new(file), path.to_owned()))
    }

    fn add(&mut self, refused: &Refused) -> Result<(), Failure> {
        writeln!(self.0, "{}", refused.json()).map_err(|error| self.unwritten(&error))
    }

    fn end(&mut self) -> Result<(), Failure> {
        self.0.flush().map_err(|error| self.unwritten(&error))
    }

    fn unwritten(&self, error: &io::Error) -> Failure {
        Failure::not_tried(format!("{}: {error}", self.1.display()))
    }
}

/// A file that says how far it was read.
struct Counted {
    file: File,
    read: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.read.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// How far it is, on standard error.
struct Progress {
    read: Arc<AtomicU64>,
    length: u64,
    clock: SystemClock,
    begun: Duration,
    told: Duration,
    watched: bool,
    said: bool,
}

impl Progress {
    fn new(read: Arc<AtomicU64>, length: u64) -> Self {
        let clock = SystemClock::default();
        let begun = clock.monotonic();
        Self { read, length, clock, begun, told: begun, watched: io::stderr().is_terminal(), said: false }
    }

    fn tell(&mut self, tally: &Tally) {
        let now = self.clock.monotonic();
        if now.saturating_sub(self.told) < if self.watched { WATCHED } else { UNWATCHED } {
            return;
        }
        self.told = now;
        let done = tally.added + tally.present + tally.refused;
        let percent = self.read.load(Ordering::Relaxed).saturating_mul(100).checked_div(self.length).unwrap_or(100);
        let seconds = now.saturating_sub(self.begun).as_secs().max(1);
        let text = format!("{done} users, {percent} % of the file, {} users/s, {} refused", done / seconds, tally.refused);
        let (before, after) = if self.watched { ("\r\x1b[K", "") } else { ("", "\n") };
        // Whoever does not listen misses nothing.
        let _ = write!(io::stderr(), "{before}{text}{after}");
        self.said = true;
    }

    fn end(&self) {
        if self.watched && self.said {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

//! Records in a file, one line of JSON each, in a chain ([`super::chain`]); and on standard output, without.
//!
//! A file may be renamed at any time (logrotate): the next line goes to a new file of the old name, and the chain goes on. It goes
//! on in the next process, too: from the last whole line of the file, or, where that was moved away, from the last seal,
//! which is kept beside it (`NAME.seal`). What a dying process left half written is ended and declared.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use vestibule_engine::audit::{Event, Recorded, VERSION};
use vestibule_engine::clock::Clock;

use super::chain::{Head, Link, MAX_LINE, SEAL_EVERY, SealingKey, is_sealed, octets, text};
use super::line;
use super::log::{LIMITS, Log, Medium};

/// Lines that are chained at once.
const AT_ONCE: usize = 256;

impl Log {
    /// Writes to standard output.
    ///
    /// # Errors
    /// When standard output is closed or no thread can be started.
    pub fn stdout(clock: Arc<dyn Clock>) -> io::Result<Self> {
        let file = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        Self::start("stdout", Plain(file), LIMITS, clock)
    }

    /// Appends to a file, which is made with mode 0600 if it is not there. `told` gets a copy of every seal.
    ///
    /// # Errors
    /// When the file cannot be opened or written, or no thread can be started.
    pub fn file(path: &Path, key: Arc<SealingKey>, told: Vec<Arc<Self>>, clock: Arc<dyn Clock>) -> io::Result<Self> {
        let medium = Chained::open(path, key, told, clock.clone())?;
        Self::start("file", medium, LIMITS, clock)
    }
}

/// The file beside an audit file that holds its last seal.
pub fn seal_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".seal");
    name.into()
}

/// Lines as they are.
struct Plain(File);

impl Medium for Plain {
    fn write(&mut self, batch: &[u8], done: &mut usize) -> io::Result<()> {
        write(&mut self.0, batch, done)
    }

    fn rest(&mut self, _: bool) -> io::Result<()> {
        Ok(())
    }

    fn reopen(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A file whose lines form a chain.
struct Chained {
    path: PathBuf,
    file: File,
    key: Arc<SealingKey>,
    told: Vec<Arc<Log>>,
    clock: Arc<dyn Clock>,
    /// The last record that is in a file as a whole.
    head: Head,
    /// What is to be said before anything else is written.
    opening: Option<Opening>,
    staged: Staged,
    /// Records since the last seal.
    unsealed: u64,
    /// The seal as it stands in the file, to be kept beside it.
    sealed: Option<Vec<u8>>,
    dirty: bool,
}

/// What the first record of a file or process declares.
#[derive(Debug, Clone, Copy, Default)]
struct Opening {
    /// Octets of a line that was left half written.
    torn: usize,
    /// Records that were sealed and are not there.
    missing: u64,
}

/// Lines in the chain's form that are not all written yet.
#[derive(Default)]
struct Staged {
    octets: Vec<u8>,
    written: usize,
    marks: Vec<Mark>,
}

/// The end of a staged line.
#[derive(Clone, Copy)]
struct Mark {
    end: usize,
    /// Where its line ended in the batch; none for a line of our own.
    from: Option<usize>,
    head: Head,
}

impl Chained {
    fn open(path: &Path, key: Arc<SealingKey>, told: Vec<Arc<Log>>, clock: Arc<dyn Clock>) -> io::Result<Self> {
        let mut file = append(path)?;
        let tail = Tail::read(path)?;
        let seal = fs::read(seal_of(path)).ok().and_then(|line| sealed_head(&line, &key));
        let head = tail.head.or(seal).unwrap_or_default();
        let missing = seal.map_or(0, |seal| seal.sequence.saturating_sub(head.sequence));
        if missing > 0 {
            tracing::error!(missing, path = %path.display(), "the end of the audit file is missing: somebody removed records");
        }
        if !tail.ended {
            file.write_all(b"\n")?;
        }
        let opening = Some(Opening { torn: tail.torn, missing });
        let mut chained = Self {
            path: path.to_owned(),
            file,
            key,
            told,
            clock,
            head,
            opening,
            staged: Staged::default(),
            unsealed: 0,
            sealed: None,
            dirty: true,
        };
        // A file that cannot be written is better known now; and every file begins with a seal.
        chained.write(&[], &mut 0)?;
        chained.rest(true)?;
        Ok(chained)
    }

    /// Opens a new file if ours is no longer the one of its name. What was torn is written whole there.
    fn follow(&mut self, done: &mut usize) -> io::Result<()> {
        let ours = self.file.metadata()?;
        let same = match fs::metadata(&self.path) {
            Ok(named) => (named.dev(), named.ino()) == (ours.dev(), ours.ino()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(error),
        };
        if !same {
            let file = append(&self.path)?;
            // What cannot be synchronised any more must not keep us from the file that can.
            synchronise(&self.file);
            self.file = file;
            self.commit(done);
            self.staged = Staged::default();
            self.opening = Some(Opening::default());
        }
        Ok(())
    }

    /// Puts a record of our own into the chain.
    fn say(&mut self, event: Event) -> io::Result<Vec<u8>> {
        let event = Recorded { v: VERSION, time: self.clock.now(), request_id: None, client: None, tenant: None, event };
        let line = line::write(&event)?;
        self.stage(line.strip_suffix(b"\n").unwrap_or(&line), None);
        Ok(line)
    }

    fn stage(&mut self, record: &[u8], from: Option<usize>) {
        let before = self.staged.marks.last().map_or(self.head, |mark| mark.head);
        let head = before.link(record, &mut self.staged.octets);
        self.staged.marks.push(Mark { end: self.staged.octets.len(), from, head });
    }

    /// Writes what is staged.
    fn flush(&mut self, done: &mut usize) -> io::Result<()> {
        let Staged { octets, written, .. } = &mut self.staged;
        let outcome = write(&mut self.file, octets, written);
        self.dirty = true;
        outcome?;
        self.commit(done);
        self.staged.octets.clear();
        self.staged.marks.clear();
        self.staged.written = 0;
        Ok(())
    }

    /// What was written as a whole is done, whatever becomes of the rest.
    fn commit(&mut self, done: &mut usize) {
        for mark in self.staged.marks.iter().filter(|mark| mark.end <= self.staged.written) {
            self.head = mark.head;
            if let Some(from) = mark.from {
                *done = from;
                self.unsealed = self.unsealed.saturating_add(1);
            }
        }
    }

    fn seal(&mut self, done: &mut usize) -> io::Result<()> {
        let head = self.head;
        let signature = self.key.seal(&head);
        let line = self.say(Event::AuditSealed { sealed: head.sequence, sealed_hash: text(&head.hash), signature })?;
        let kept = self.staged.octets.clone();
        self.flush(done)?;
        self.unsealed = 0;
        self.sealed = Some(kept);
        for log in &self.told {
            log.append(&line);
        }
        Ok(())
    }

    /// Puts the last seal beside the file. It only helps: without it the end of a file could go unnoticed.
    fn keep(&mut self) {
        let Some(line) = self.sealed.take() else { return };
        let place = seal_of(&self.path);
        let mut fresh = place.clone().into_os_string();
        fresh.push(".new");
        let written = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh);
        if let Err(error) = written.and_then(|mut file| file.write_all(&line)).and_then(|()| fs::rename(&fresh, &place)) {
            tracing::warn!(%error, path = %place.display(), "the last seal of the audit cannot be kept beside it");
        }
    }
}

impl Medium for Chained {
    fn write(&mut self, batch: &[u8], done: &mut usize) -> io::Result<()> {
        self.follow(done)?;
        self.flush(done)?;
        if let Some(Opening { torn, missing }) = self.opening.take() {
            let Head { sequence: previous, hash } = self.head;
            let torn = torn as u64;
            self.unsealed = 1;
            self.say(Event::AuditOpened { previous, previous_hash: text(&hash), key: self.key.public(), torn, missing })?;
            self.flush(done)?;
            self.seal(done)?;
        }
        loop {
            let mut end = *done;
            let rest = batch.get(*done..).unwrap_or_default();
            for line in rest.split_inclusive(|octet| *octet == b'\n').take(AT_ONCE) {
                end = end.saturating_add(line.len());
                self.stage(line.strip_suffix(b"\n").unwrap_or(line), Some(end));
            }
            if self.staged.marks.is_empty() {
                return Ok(());
            }
            self.flush(done)?;
            if self.unsealed >= SEAL_EVERY {
                self.seal(done)?;
            }
        }
    }

    fn rest(&mut self, _: bool) -> io::Result<()> {
        // Nothing of a batch waits between two: a batch is given until it is written.
        let mut done = 0;
        self.write(&[], &mut done)?;
        if self.unsealed > 0 {
            self.seal(&mut done)?;
        }
        if std::mem::take(&mut self.dirty) {
            synchronise(&self.file);
        }
        self.keep();
        Ok(())
    }

    fn reopen(&mut self) -> io::Result<()> {
        self.follow(&mut 0)
    }
}

/// The end of a file as the process before left it.
struct Tail {
    /// The last record that is there as a whole.
    head: Option<Head>,
    /// Octets of the line after it.
    torn: usize,
    /// Whether the last line is ended.
    ended: bool,
}

impl Tail {
    fn read(path: &Path) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let length = file.seek(SeekFrom::End(0))?;
        // Two lines of the longest kind: one torn, one whole.
        let begin = length.saturating_sub(2 * MAX_LINE as u64);
        file.seek(SeekFrom::Start(begin))?;
        let mut octets = Vec::new();
        file.read_to_end(&mut octets)?;
        let ended = octets.is_empty() || octets.ends_with(b"\n");
        let whole = octets.strip_suffix(b"\n").unwrap_or(&octets);
        let mut lines = whole.rsplit(|octet| *octet == b'\n');
        let last = lines.next().unwrap_or_default();
        let head = |line: &[u8]| Link::read(line).map(|link| link.head);
        Ok(match (head(last), ended) {
            // Only its end is missing, if that.
            (Some(head), _) => Self { head: Some(head), torn: 0, ended },
            (None, false) => Self { head: lines.next().and_then(head), torn: last.len(), ended },
            // A line that was torn and ended, by a process that then died before it could declare it.
            (None, true) => Self { head: lines.next().and_then(head), torn: last.len(), ended },
        })
    }
}

/// The record that a kept seal is, if our key signed it.
fn sealed_head(line: &[u8], key: &SealingKey) -> Option<Head> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let link = Link::read(line)?;
    let record: Recorded = serde_json::from_slice(line).ok()?;
    let Event::AuditSealed { sealed, sealed_hash, signature } = &record.event else { return None };
    let before = Head { sequence: *sealed, hash: octets(sealed_hash)? };
    (is_sealed(&key.public(), &before, signature) && link.follows(&before)).then_some(link.head)
}

fn write(file: &mut File, octets: &[u8], done: &mut usize) -> io::Result<()> {
    while let Some(rest) = octets.get(*done..).filter(|rest| !rest.is_empty()) {
        match file.write(rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => *done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn synchronise(file: &File) {
    if let Err(error) = file.sync_data() {
        tracing::error!(%error, "the audit file could not be synchronised");
        metrics::counter!("vestibule_audit_sync_failures_total").increment(1);
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests;

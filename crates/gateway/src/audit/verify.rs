//! Whether audit files are what was written: `vestibule audit verify`.
//!
//! Reads the files in the order given, oldest first, and stops at the first record that is not what followed the one before.

use std::io::{self, BufRead, Read};

use serde::Serialize;

use vestibule_engine::audit::{Event, Recorded};
use vestibule_engine::clock::Timestamp;

use super::chain::{Head, Link, MAX_LINE, SEAL_EVERY, is_sealed, octets, text};

/// For how long the end may stand unsealed, in seconds of the records' own times: a seal is due every second.
const UNSEALED: i64 = 60;

/// What must hold beside the chain itself.
#[derive(Debug, Clone, Default)]
pub struct Demands {
    /// The key that sealed it. Without it, whichever the files name.
    pub key: Option<String>,
    /// A record that was noted elsewhere and must be there.
    pub anchor: Option<Head>,
}

/// What was found in files that hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Found {
    /// Records in the chain.
    pub records: u64,
    /// The first's number.
    pub first: u64,
    /// The last's number.
    pub last: u64,
    /// The last's hash.
    pub hash: String,
    /// Seals.
    pub seals: u64,
    /// The key that signed them.
    pub key: String,
    /// Records at the end that no seal covers yet.
    pub unsealed: u64,
    /// Lines before the chain began: nothing protects them.
    pub unprotected: u64,
    /// Lines that a dying process left half written, and the next one declared.
    pub torn: u64,
}

/// The first thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// In which file.
    pub file: String,
    /// At which line; 0 is its end.
    pub line: u64,
    /// What.
    pub what: Breach,
}

/// What can be wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Breach {
    /// There is no chain.
    Nothing,
    /// A line is no record.
    Unreadable,
    /// The files begin within a chain.
    NoBeginning(u64),
    /// This record, or the hash before it, is not as it was written.
    Changed(u64),
    /// These records are not there.
    Missing(u64, u64),
    /// The first stands after the second.
    Moved(u64, u64),
    /// The seal of this record does not fit: since the last that does, something was changed and computed anew.
    Seal {
        /// The record that is the seal.
        seal: u64,
        /// The last record that is sealed well.
        good: u64,
    },
    /// Another key than before, or than demanded, is named by this record.
    Key(u64),
    /// Records from this one on should have been sealed.
    Unsealed(u64),
    /// The record that was noted elsewhere is another here.
    Anchor(u64),
    /// Records after this one were sealed and are not there.
    CutOff(u64, u64),
}

impl std::fmt::Display for Breach {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Nothing => write!(f, "there is no chained record"),
            Self::Unreadable => write!(f, "this line is no record of the chain"),
            Self::NoBeginning(first) => write!(f, "record {first} is the first, and the record that opens a file is not there"),
            Self::Changed(record) => write!(f, "record {record} was changed"),
            Self::Missing(from, to) if from == to => write!(f, "record {from} is missing"),
            Self::Missing(from, to) => write!(f, "records {from} to {to} are missing"),
            Self::Moved(record, after) => write!(f, "record {record} stands after record {after}"),
            Self::Seal { seal, good } => {
                write!(f, "the seal in record {seal} does not fit: between record {good} and it something was changed")
            }
            Self::Key(record) => write!(f, "record {record} names another key"),
            Self::Unsealed(from) => write!(f, "the records from {from} on are not sealed, and should be"),
            Self::Anchor(record) => write!(f, "record {record} is not the one that was noted"),
            Self::CutOff(from, to) if from == to => write!(f, "the end is missing: record {from} was sealed"),
            Self::CutOff(from, to) => write!(f, "the end is missing: records {from} to {to} were sealed"),
        }
    }
}

/// Reads files. `latest` is the line in the seal's file beside the last of them, if there is one.
///
/// # Errors
/// When one cannot be read. That something is wrong with what was read is no error but the answer.
pub fn verify<'a>(
    files: impl IntoIterator<Item = (String, Box<dyn BufRead + 'a>)>,
    latest: Option<&[u8]>,
    demands: &Demands,
) -> io::Result<Result<Found, Broken>> {
    let mut reading = Reading::new(demands);
    let mut last = String::new();
    for (name, mut file) in files {
        let mut number = 0;
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = file.by_ref().take(MAX_LINE as u64).read_until(b'\n', &mut line)?;
            if read == 0 {
                break;
            }
            number += 1;
            let outcome = match line.strip_suffix(b"\n") {
                Some(whole) => reading.line(whole, number),
                None if line.len() >= MAX_LINE => Err(Breach::Unreadable),
                None => {
                    reading.fragment = Some(line.len());
                    Ok(())
                }
            };
            if let Err(what) = outcome {
                let line = if what == Breach::Unreadable && reading.torn_at > 0 { reading.torn_at } else { number };
                let what = reading.explain(what, &mut file)?;
                return Ok(Err(Broken { file: name, line, what }));
            }
        }
        last = name;
    }
    Ok(reading.end(latest).map_err(|what| Broken { file: last, line: 0, what }))
}

struct Reading<'a> {
    demands: &'a Demands,
    head: Option<Head>,
    found: Found,
    /// A line that is no record, and its length: the next record must account for it.
    torn: Option<usize>,
    torn_at: u64,
    /// Octets after the last line end of a file.
    fragment: Option<usize>,
    /// The last record a seal covers.
    sealed: u64,
    /// The first record no seal covers, and its time.
    open: Option<(u64, Timestamp)>,
    time: Option<Timestamp>,
    anchored: bool,
}

impl<'a> Reading<'a> {
    fn new(demands: &'a Demands) -> Self {
        let anchored = demands.anchor.is_none();
        Self {
            demands,
            head: None,
            found: Found::default(),
            torn: None,
            torn_at: 0,
            fragment: None,
            sealed: 0,
            open: None,
            time: None,
            anchored,
        }
    }

    fn line(&mut self, line: &[u8], place: u64) -> Result<(), Breach> {
        let Some(link) = Link::read(line) else { return self.no_link(line, place) };
        let record: Recorded = serde_json::from_slice(line).map_err(|_| Breach::Unreadable)?;
        let number = link.head.sequence;
        let opened = if let Event::AuditOpened { previous, previous_hash, torn, key, .. } = &record.event {
            Some((Head { sequence: *previous, hash: octets(previous_hash).ok_or(Breach::Unreadable)? }, *torn, key))
        } else {
            None
        };
        let before = match (self.head, &opened) {
            (Some(head), _) => head,
            (None, Some((previous, ..))) => *previous,
            (None, None) => return Err(Breach::NoBeginning(number)),
        };
        let expected = before.sequence.saturating_add(1);
        if number > expected {
            return Err(Breach::Missing(expected, number - 1));
        }
        if number < expected {
            return Err(Breach::Moved(number, before.sequence));
        }
        if !link.follows(&before) || opened.as_ref().is_some_and(|(previous, ..)| *previous != before) {
            return Err(Breach::Changed(number));
        }
        match (self.torn.take(), &opened) {
            (Some(length), Some((_, torn, _))) if usize::try_from(*torn) == Ok(length) => self.found.torn += 1,
            (Some(_), _) => return Err(Breach::Unreadable),
            (None, _) => {}
        }
        self.torn_at = 0;
        self.fragment = None;
        if let Some((_, _, key)) = opened {
            self.key(key, number)?;
        }
        if self.demands.anchor.is_some_and(|anchor| anchor.sequence == number) {
            self.anchored = true;
            if self.demands.anchor != Some(link.head) {
                return Err(Breach::Anchor(number));
            }
        }
        if let Event::AuditSealed { sealed, sealed_hash, signature } = &record.event {
            let good = *sealed == before.sequence && octets(sealed_hash) == Some(before.hash);
            if !good || !is_sealed(&self.found.key, &before, signature) {
                return Err(Breach::Seal { seal: number, good: self.sealed });
            }
            self.found.seals += 1;
            self.sealed = before.sequence;
            self.open = None;
        } else if self.open.is_none() {
            self.open = Some((number, record.time));
        }
        if self.found.records == 0 {
            self.found.first = number;
        }
        self.found.records += 1;
        self.time = Some(record.time);
        self.head = Some(link.head);
        Ok(())
    }

    fn no_link(&mut self, line: &[u8], place: u64) -> Result<(), Breach> {
        if self.head.is_none() && self.found.records == 0 && serde_json::from_slice::<serde_json::Value>(line).is_ok() {
            self.found.unprotected += 1;
            return Ok(());
        }
        match self.torn.replace(line.len()) {
            None => {
                self.torn_at = place;
                Ok(())
            }
            Some(_) => Err(Breach::Unreadable),
        }
    }

    fn key(&mut self, key: &str, number: u64) -> Result<(), Breach> {
        let known = self.demands.key.as_deref().or(Some(self.found.key.as_str()).filter(|known| !known.is_empty()));
        if known.is_some_and(|known| known != key) {
            return Err(Breach::Key(number));
        }
        key.clone_into(&mut self.found.key);
        Ok(())
    }

    /// Whether what seems to be missing only stands elsewhere.
    fn explain(&self, what: Breach, rest: &mut impl BufRead) -> io::Result<Breach> {
        let Breach::Missing(from, to) = what else { return Ok(what) };
        let mut line = Vec::new();
        loop {
            line.clear();
            if rest.by_ref().take(MAX_LINE as u64).read_until(b'\n', &mut line)? == 0 {
                return Ok(what);
            }
            let link = Link::read(line.strip_suffix(b"\n").unwrap_or(&line));
            if link.is_some_and(|link| link.head.sequence == from) {
                return Ok(Breach::Moved(from, to.saturating_add(1)));
            }
        }
    }

    fn end(mut self, latest: Option<&[u8]>) -> Result<Found, Breach> {
        let Some(head) = self.head else { return Err(Breach::Nothing) };
        self.found.torn += u64::from(self.fragment.is_some());
        if self.torn.is_some() {
            return Err(Breach::Unreadable);
        }
        self.found.last = head.sequence;
        self.found.hash = text(&head.hash);
        if let Some(latest) = latest.and_then(|line| Link::read(line.strip_suffix(b"\n").unwrap_or(line))) {
            let last = latest.head.sequence;
            if last > head.sequence {
                return Err(Breach::CutOff(head.sequence.saturating_add(1), last));
            }
        }
        if let (Some((from, since)), Some(until)) = (self.open, self.time) {
            self.found.unsealed = head.sequence.saturating_sub(from).saturating_add(1);
            let old = until.as_second().saturating_sub(since.as_second()) > UNSEALED;
            if old || self.found.unsealed > SEAL_EVERY.saturating_mul(2) {
                return Err(Breach::Unsealed(from));
            }
        }
        match self.demands.anchor {
            Some(anchor) if !self.anchored && anchor.sequence > head.sequence => {
                Err(Breach::CutOff(head.sequence.saturating_add(1), anchor.sequence))
            }
            Some(anchor) if !self.anchored => Err(Breach::Anchor(anchor.sequence)),
            _ if self.found.seals == 0 => Err(Breach::Unsealed(self.found.first)),
            _ => Ok(self.found),
        }
    }
}

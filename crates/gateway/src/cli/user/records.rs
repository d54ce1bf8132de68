//! The three ways to write users down, read and written.
//!
//! A file is input from outside, and its values are secrets as soon as its columns are mixed up: no message quotes a value.

use std::collections::HashMap;
use std::io::{self, BufRead, Write};
use std::path::Path;
use std::sync::Arc;

use clap::{Args, ValueEnum};

use vestibule_engine::identity::{AccountState, ExternalId};

use crate::cli::Failure;
use crate::serve::admin::protocol::{ExportedUser, ImportedUser};

mod csv;
mod jsonl;
pub mod ldif;

/// Longest line of a file, in octets.
const MAX_LINE: usize = 1 << 20;
/// The profile of a user of whom nobody says otherwise.
const PROFILE: &str = "user";

/// What JSON Lines and CSV say of a user.
const FIELDS: [&str; 11] = [
    "name",
    "display_name",
    "email",
    "groups",
    "profile",
    "state",
    "must_change_password",
    "break_glass",
    "external_ids",
    "created",
    "password_hash",
];

/// How a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// LDAP Data Interchange Format (RFC 2849)
    Ldif,
    /// Comma-separated values (RFC 4180), the first line names the columns
    Csv,
    /// One JSON object a line
    Jsonl,
}

impl Format {
    /// The one that is asked for, else the one the file's name says.
    pub fn of(asked: Option<Self>, file: &Path) -> Result<Self, Failure> {
        let named = || match file.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "ldif" => Some(Self::Ldif),
            "csv" => Some(Self::Csv),
            "jsonl" | "ndjson" => Some(Self::Jsonl),
            _ => None,
        };
        asked.or_else(named).ok_or_else(|| Failure::not_tried("say how the file is written with --format"))
    }
}

/// What attributes of a directory mean here.
#[derive(Debug, Clone, Args)]
pub struct Mapping {
    /// The attribute with the login name, in LDIF
    #[arg(long, value_name = "ATTRIBUTE", default_value = "uid")]
    pub name_attribute: String,
    /// What an issuer calls the user, in LDIF: the issuer and the attribute with its name; `dn` is the entry's own; may be repeated
    #[arg(long = "external-id", value_name = "ISSUER=ATTRIBUTE", value_parser = external_id)]
    pub external_ids: Vec<(String, String)>,
}

fn external_id(text: &str) -> Result<(String, String), String> {
    // An issuer is a URL more often than not; an attribute's name has no equals sign.
    let (issuer, attribute) = text.rsplit_once('=').ok_or("write ISSUER=ATTRIBUTE")?;
    Ok((issuer.to_owned(), attribute.to_ascii_lowercase()))
}

/// What stands in a file.
#[derive(Debug)]
pub enum Entry {
    /// A user.
    User {
        /// Where it begins.
        line: u64,
        /// What it says.
        user: Box<ImportedUser>,
    },
    /// What should be a user and is none.
    Bad {
        /// Where it begins.
        line: u64,
        /// Its name, as far as it can be told.
        name: Option<String>,
        /// Why not.
        why: String,
    },
    /// Something else than a user.
    Other,
}

/// Reads a file.
pub enum Reader<R: BufRead> {
    /// As JSON Lines.
    Jsonl(Lines<R>),
    /// As CSV.
    Csv(Box<csv::Csv<R>>),
    /// As LDIF.
    Ldif(Box<ldif::Ldif<R>>),
}

impl<R: BufRead> Reader<R> {
    /// Begins to read.
    pub fn open(format: Format, source: R, mapping: Mapping, groups: HashMap<[u8; 16], Vec<Arc<str>>>) -> Result<Self, String> {
        Ok(match format {
            Format::Jsonl => Self::Jsonl(Lines::new(source)),
            Format::Csv => Self::Csv(Box::new(csv::Csv::open(source)?)),
            Format::Ldif => Self::Ldif(Box::new(ldif::Ldif::new(Lines::new(source), mapping, groups))),
        })
    }

    /// The next entry.
    pub fn next(&mut self) -> io::Result<Option<Entry>> {
        match self {
            Self::Jsonl(lines) => jsonl::next(lines),
            Self::Csv(csv) => csv.next(),
            Self::Ldif(ldif) => ldif.next(),
        }
    }
}

/// Writes a file.
pub enum Writer<W: Write> {
    /// As JSON Lines.
    Jsonl(W),
    /// As CSV.
    Csv(Box<csv::Table<W>>),
    /// As LDIF.
    Ldif(W),
}

impl<W: Write> Writer<W> {
    /// Begins to write.
    pub fn new(format: Format, mut to: W, hashes: bool) -> io::Result<Self> {
        Ok(match format {
            Format::Jsonl => Self::Jsonl(to),
            Format::Csv => Self::Csv(Box::new(csv::Table::new(to, hashes)?)),
            Format::Ldif => {
                to.write_all(b"version: 1\n")?;
                Self::Ldif(to)
            }
        })
    }

    /// Writes a user.
    pub fn write(&mut self, user: &ExportedUser) -> io::Result<()> {
        match self {
            Self::Jsonl(to) => jsonl::write(to, user),
            Self::Csv(table) => table.write(user),
            Self::Ldif(to) => ldif::write(to, user),
        }
    }

    /// Writes what is still held back.
    pub fn end(self) -> io::Result<()> {
        match self {
            Self::Jsonl(mut to) | Self::Ldif(mut to) => to.flush(),
            Self::Csv(table) => table.end(),
        }
    }
}

/// Lines with their numbers, of bounded length.
pub struct Lines<R> {
    source: R,
    number: u64,
}

impl<R: BufRead> Lines<R> {
    /// The lines of a source.
    pub fn new(source: R) -> Self {
        Self { source, number: 0 }
    }

    /// The next line without its end, and its number; `Err` inside if it is too long.
    fn next(&mut self) -> io::Result<Option<Line>> {
        let mut line = Vec::new();
        let limit = MAX_LINE as u64 + 1;
        if io::Read::take(&mut self.source, limit).read_until(b'\n', &mut line)? == 0 {
            return Ok(None);
        }
        self.number += 1;
        if line.last() != Some(&b'\n') && line.len() > MAX_LINE {
            while {
                line.clear();
                io::Read::take(&mut self.source, limit).read_until(b'\n', &mut line)? > 0 && line.last() != Some(&b'\n')
            } {}
            return Ok(Some((self.number, Err(TooLong))));
        }
        while matches!(line.last(), Some(b'\n' | b'\r')) {
            line.pop();
        }
        Ok(Some((self.number, Ok(line))))
    }
}

/// A line without its end, and its number.
type Line = (u64, Result<Vec<u8>, TooLong>);

/// A line longer than [`MAX_LINE`].
struct TooLong;

impl TooLong {
    fn why() -> String {
        format!("the line is longer than {MAX_LINE} octets")
    }
}

/// A user of whom nothing is known yet.
fn nobody() -> ImportedUser {
    ImportedUser {
        name: String::new(),
        display_name: None,
        email: None,
        groups: Vec::new(),
        profile: PROFILE.to_owned(),
        state: AccountState::Active,
        must_change_password: false,
        break_glass: false,
        external_ids: Vec::new(),
        created: None,
        password_hash: None,
    }
}

fn state(text: &str) -> Result<AccountState, String> {
    match text {
        "active" => Ok(AccountState::Active),
        "disabled" => Ok(AccountState::Disabled),
        "locked" => Ok(AccountState::Locked),
        "expired" => Ok(AccountState::Expired),
        _ => Err("the state is none of active, disabled, locked, expired".to_owned()),
    }
}

fn truth(text: &str, what: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "1" => Ok(true),
        "false" | "no" | "0" => Ok(false),
        _ => Err(format!("{what} is neither true nor false")),
    }
}

/// `ISSUER ID`, as CSV and LDIF have it.
fn issued(text: &str) -> Result<ExternalId, String> {
    let (issuer, id) = text.split_once(' ').ok_or("an external id is an issuer, a space, and what it calls the user")?;
    Ok(ExternalId { issuer: issuer.into(), id: id.to_owned() })
}

#[cfg(test)]
mod tests;

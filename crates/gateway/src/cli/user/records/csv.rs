//! CSV (RFC 4180): the first line names the columns, in any order; `name` must be one. A cell with several groups or external
//! ids separates them by `;`, and `\;` is a semicolon. An external id is its issuer, a space, and the id.

use std::io::{self, BufRead, Write};

use ::csv::{ErrorKind, Position, ReaderBuilder, StringRecord};

use vestibule_engine::secret::Secret;

use super::{Entry, FIELDS, issued, nobody, state, truth};
use crate::serve::admin::protocol::{Confidential, ExportedUser, ImportedUser, state_label};

/// A table being read.
pub struct Csv<R: BufRead> {
    reader: ::csv::Reader<R>,
    /// What each cell is.
    columns: Vec<&'static str>,
}

impl<R: BufRead> Csv<R> {
    pub(super) fn open(source: R) -> Result<Self, String> {
        let mut reader = ReaderBuilder::new().flexible(true).from_reader(source);
        let head = reader.headers().map_err(|_| "the first line is not CSV in UTF-8".to_owned())?.clone();
        let mut columns = Vec::new();
        for (place, cell) in head.iter().enumerate() {
            let cell = cell.trim_start_matches('\u{feff}').trim();
            let known = FIELDS.into_iter().find(|column| column.eq_ignore_ascii_case(cell));
            // Not quoted: a file without a first line has a user there.
            let column = known.ok_or_else(|| format!("column {} has none of the names {}", place + 1, FIELDS.join(", ")))?;
            if columns.contains(&column) {
                return Err(format!("there are two columns `{column}`"));
            }
            columns.push(column);
        }
        match columns.contains(&"name") {
            true => Ok(Self { reader, columns }),
            false => Err("there is no column `name`".to_owned()),
        }
    }

    pub(super) fn next(&mut self) -> io::Result<Option<Entry>> {
        let mut record = StringRecord::new();
        let line = self.reader.position().line();
        match self.reader.read_record(&mut record) {
            Ok(false) => return Ok(None),
            Ok(true) => {}
            Err(error) => match error.into_kind() {
                ErrorKind::Io(error) => return Err(error),
                // It goes on behind the record.
                ErrorKind::Utf8 { .. } => return Ok(Some(Entry::Bad { line, name: None, why: "the line is not UTF-8".to_owned() })),
                _ => return Ok(Some(Entry::Bad { line, name: None, why: "the line is not CSV".to_owned() })),
            },
        }
        let line = record.position().map_or(line, Position::line);
        let place = self.columns.iter().position(|column| *column == "name");
        let name = place.and_then(|place| record.get(place)).map(str::to_owned);
        Ok(Some(match self.read(&record) {
            Ok(user) => Entry::User { line, user: Box::new(user) },
            // In a line with a cell too many the name may be anything.
            Err(why) => Entry::Bad { line, name: name.filter(|_| record.len() == self.columns.len()), why },
        }))
    }

    fn read(&self, record: &StringRecord) -> Result<ImportedUser, String> {
        if record.len() != self.columns.len() {
            return Err(format!("the line has {} cells, the first has {}", record.len(), self.columns.len()));
        }
        let mut user = nobody();
        for (column, cell) in self.columns.iter().zip(record) {
            if cell.is_empty() {
                continue;
            }
            match *column {
                "name" => cell.clone_into(&mut user.name),
                "display_name" => user.display_name = Some(cell.to_owned()),
                "email" => user.email = Some(cell.to_owned()),
                "groups" => user.groups = several(cell),
                "profile" => cell.clone_into(&mut user.profile),
                "state" => user.state = state(cell)?,
                "must_change_password" => user.must_change_password = truth(cell, "must_change_password")?,
                "break_glass" => user.break_glass = truth(cell, "break_glass")?,
                "external_ids" => user.external_ids = several(cell).iter().map(|one| issued(one)).collect::<Result<_, _>>()?,
                "created" => user.created = Some(cell.parse().map_err(|_| "created is no time".to_owned())?),
                // INVARIANT: `open` admits no other column.
                _ => user.password_hash = Some(Confidential(Secret::from(cell))),
            }
        }
        match user.name.is_empty() {
            true => Err("there is no name".to_owned()),
            false => Ok(user),
        }
    }
}

/// The parts between semicolons.
fn several(cell: &str) -> Vec<String> {
    let (mut parts, mut part) = (Vec::new(), String::new());
    let mut characters = cell.chars();
    while let Some(character) = characters.next() {
        match character {
            ';' => parts.push(std::mem::take(&mut part)),
            '\\' => part.push(characters.next().unwrap_or('\\')),
            other => part.push(other),
        }
    }
    parts.push(part);
    parts.retain(|part| !part.is_empty());
    parts
}

/// Parts as one cell.
fn one_cell(parts: impl Iterator<Item = String>) -> String {
    parts.map(|part| part.replace('\\', "\\\\").replace(';', "\\;")).collect::<Vec<_>>().join(";")
}

/// A table being written.
pub struct Table<W: Write> {
    writer: ::csv::Writer<W>,
    hashes: bool,
}

impl<W: Write> Table<W> {
    pub(super) fn new(to: W, hashes: bool) -> io::Result<Self> {
        let mut writer = ::csv::Writer::from_writer(to);
        writer.write_record(FIELDS.iter().filter(|column| hashes || **column != "password_hash"))?;
        Ok(Self { writer, hashes })
    }

    pub(super) fn write(&mut self, exported: &ExportedUser) -> io::Result<()> {
        let user = &exported.user;
        let mut cells = vec![
            user.name.to_string(),
            user.display_name.clone().unwrap_or_default(),
            user.email.clone().unwrap_or_default(),
            one_cell(user.groups.iter().map(ToString::to_string)),
            user.profile.to_string(),
            state_label(user.state).to_owned(),
            user.must_change_password.to_string(),
            user.break_glass.to_string(),
            one_cell(user.external_ids.iter().map(|id| format!("{} {}", id.issuer, id.id))),
            user.created.to_string(),
        ];
        if self.hashes {
            cells.push(exported.password_hash.as_ref().map(|Confidential(hash)| hash.reveal().clone()).unwrap_or_default());
        }
        Ok(self.writer.write_record(cells)?)
    }

    pub(super) fn end(mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

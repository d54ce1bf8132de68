//! What commands print (design.md "Terminal"): aligned columns, colour only on a terminal and not under
//! `NO_COLOR`, nothing twice, or one JSON value with `--json`.
//!
//! Names, paths and reasons come from strangers. An attacker puts escape sequences into them to repaint an
//! administrator's terminal, so control characters and the ones that turn the reading direction are escaped.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;
use serde_json::json;

use super::Failure;
use crate::config::problem::Colour;

/// Columns are this far apart.
const GAP: usize = 2;

/// What a command prints, gathered until it ends.
#[derive(Debug)]
pub struct Output {
    form: Form,
    text: String,
    errors: String,
}

/// For whom it is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// For people, in colour.
    Coloured,
    /// For people, or the file they redirect to.
    Plain,
    /// For programs.
    Json,
}

/// What a text means, beside its words: colour never says anything alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// Nothing special.
    Plain,
    /// Names of things.
    Quiet,
    /// What one looks for.
    Strong,
    /// Yes.
    Good,
    /// Mind this.
    Warn,
    /// No.
    Bad,
}

impl Tone {
    const fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Quiet => "\x1b[2m",
            Self::Strong => "\x1b[1m",
            Self::Good => "\x1b[32m",
            Self::Warn => "\x1b[33m",
            Self::Bad => "\x1b[31m",
        }
    }
}

/// A text in a table or line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    /// A text that means something.
    pub fn new(text: impl AsRef<str>, tone: Tone) -> Self {
        Self { text: clean(text.as_ref()), tone }
    }
}

impl<T: AsRef<str>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::new(text, Tone::Plain)
    }
}

impl Output {
    /// For standard output as it is.
    pub fn for_stdout(json: bool) -> Self {
        Self::new(match (json, io::stdout().is_terminal() && !no_color()) {
            (true, _) => Form::Json,
            (false, true) => Form::Coloured,
            (false, false) => Form::Plain,
        })
    }

    /// In this form.
    pub const fn new(form: Form) -> Self {
        Self { form, text: String::new(), errors: String::new() }
    }

    /// Whether programs read it: commands then call [`Output::json`] and nothing else.
    pub fn is_json(&self) -> bool {
        self.form == Form::Json
    }

    /// The one JSON value.
    pub fn json(&mut self, value: &impl Serialize) {
        match serde_json::to_string_pretty(value) {
            Ok(text) => self.text = text + "\n",
            Err(error) => self.errors = format!("error: {error}\n"),
        }
    }

    /// A line.
    pub fn line(&mut self, cell: impl Into<Cell>) {
        let line = self.painted(&cell.into());
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }

    /// A document, as it is: whoever asks for one wants its octets.
    pub fn verbatim(&mut self, text: &str) {
        self.text.push_str(text);
    }

    /// An empty line.
    pub fn gap(&mut self) {
        self.text.push('\n');
    }

    /// Rows in aligned columns under a quiet head; no head if it is empty.
    pub fn table(&mut self, head: &[&str], rows: Vec<Vec<Cell>>) {
        let head: Vec<Cell> = head.iter().map(|name| Cell::new(name, Tone::Quiet)).collect();
        let rows: Vec<Vec<Cell>> = (!head.is_empty()).then_some(head).into_iter().chain(rows).collect();
        let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.text.chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for row in &rows {
            let mut line = String::new();
            let mut blank = 0;
            for (cell, width) in row.iter().zip(&widths) {
                if !cell.text.is_empty() {
                    line.extend(std::iter::repeat_n(' ', blank));
                    line.push_str(&self.painted(cell));
                    blank = 0;
                }
                blank += width - cell.text.chars().count() + GAP;
            }
            self.text.push_str(&line);
            self.text.push('\n');
        }
    }

    /// Why a command did not do what it was asked, and what to do next. For programs on standard output, too:
    /// they read one stream.
    pub fn failure(&mut self, failure: &Failure) {
        if self.is_json() {
            let (error, fix, problems) = (&failure.message, &failure.fix, &failure.problems);
            return self.json(&match problems.as_slice() {
                [] => json!({ "error": error, "fix": fix }),
                some => json!({ "error": error, "fix": fix, "problems": some }),
            });
        }
        // They have lines of their own and are clean already.
        let colour = Colour::of(&io::stderr());
        self.errors.extend(failure.problems.iter().map(|problem| problem.render(colour) + "\n"));
        self.errors.push_str(&format!("error: {}\n", clean(&failure.message)));
        if let Some(fix) = &failure.fix {
            self.errors.push_str(&format!("  fix: {}\n", clean(fix)));
        }
    }

    /// Prints all of it.
    ///
    /// # Errors
    /// When standard output or standard error cannot be written.
    pub fn print(self) -> io::Result<()> {
        io::stdout().write_all(self.text.as_bytes())?;
        io::stdout().flush()?;
        io::stderr().write_all(self.errors.as_bytes())
    }

    /// What would be printed on standard output.
    #[cfg(test)]
    pub fn text(&self) -> &str {
        &self.text
    }

    fn painted(&self, cell: &Cell) -> String {
        match (self.form, cell.tone) {
            (Form::Plain | Form::Json, _) | (_, Tone::Plain) => cell.text.clone(),
            (Form::Coloured, tone) => format!("{}{}\x1b[0m", tone.code(), cell.text),
        }
    }
}

/// Whether the user wants no colour (no-color.org: set and not empty).
pub fn no_color() -> bool {
    is_no_color(std::env::var_os("NO_COLOR").as_deref())
}

fn is_no_color(value: Option<&std::ffi::OsStr>) -> bool {
    value.is_some_and(|value| !value.is_empty())
}

/// Text without what would act on a terminal.
fn clean(text: &str) -> String {
    let acts = |c: char| c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    if !text.chars().any(acts) {
        return text.to_owned();
    }
    text.chars().flat_map(|c| if acts(c) { c.escape_default().collect::<Vec<_>>() } else { vec![c] }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::problem::Problem;

    fn table(form: Form) -> String {
        let mut output = Output::new(form);
        output.table(
            &["name", "state", "groups"],
            vec![
                vec!["ada".into(), Cell::new("active", Tone::Good), "staff".into()],
                vec!["łucja".into(), Cell::new("disabled", Tone::Bad), "".into()],
                vec!["x".into(), "".into(), "y".into()],
            ],
        );
        output.text
    }

    #[test]
    fn columns_are_aligned_and_lines_end_with_their_text() {
        assert_eq!(table(Form::Plain), "name   state     groups\nada    active    staff\nłucja  disabled\nx                y\n");
    }

    #[test]
    fn colour_changes_no_alignment_and_is_absent_without_a_terminal() {
        let coloured = table(Form::Coloured);
        assert!(coloured.contains("\x1b[32mactive\x1b[0m"));
        let mut stripped = coloured;
        for tone in [Tone::Quiet, Tone::Good, Tone::Bad] {
            stripped = stripped.replace(tone.code(), "");
        }
        assert_eq!(stripped.replace("\x1b[0m", ""), table(Form::Plain));
        assert!(!table(Form::Plain).contains('\x1b'));
    }

    #[test]
    fn no_color_counts_when_it_is_not_empty() {
        assert!(is_no_color(Some("1".as_ref())) && is_no_color(Some("0".as_ref())));
        assert!(!is_no_color(Some("".as_ref())) && !is_no_color(None));
    }

    #[test]
    fn strangers_cannot_act_on_the_terminal() {
        let mut output = Output::new(Form::Plain);
        output.line("a\x1b[2Jb\r\n\u{202e}c");
        output.failure(&Failure::refused("x\x1b]0;y\x07"));
        assert_eq!(output.text(), "a\\u{1b}[2Jb\\r\\n\\u{202e}c\n");
        assert!(!output.errors.contains(['\x1b', '\x07']));
    }

    #[test]
    fn problems_with_the_configuration_keep_their_lines() {
        let problem = Problem::of_file("v.toml".as_ref(), "no").help("do");
        let failure = Failure { problems: vec![problem], ..Failure::refused("not valid") };
        let mut output = Output::new(Form::Plain);
        output.failure(&failure);
        assert!(output.errors.contains("v.toml: error: no\n") && output.errors.ends_with("error: not valid\n"), "{}", output.errors);
        let mut output = Output::new(Form::Json);
        output.failure(&failure);
        assert_eq!(serde_json::from_str::<serde_json::Value>(output.text()).unwrap()["problems"][0]["message"], "no");
    }

    #[test]
    fn programs_get_errors_as_json() {
        let mut output = Output::new(Form::Json);
        output.failure(&Failure::refused("no").fix("do"));
        assert_eq!(serde_json::from_str::<serde_json::Value>(output.text()).unwrap(), json!({ "error": "no", "fix": "do" }));
    }
}

//! What is wrong with a configuration, where, and what to do about it.
//!
//! The text is shown to operators and written to logs on reload, so an excerpt must not carry what it should
//! not: control characters become dots, and what may be a secret is left out.

use std::cmp::Ordering;
use std::fmt::{self, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// Longest excerpt of a source line, in characters.
const MAX_EXCERPT: usize = 120;
/// How many characters stay visible before the caret in a line that is cut.
const LEAD: usize = 40;

/// One thing that is wrong, or that an operator should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Whether it stops the gateway from starting.
    pub severity: Severity,
    /// The file as the operator named it.
    pub file: String,
    /// The line, from 1; 0 if the problem is the file itself.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    #[serde(skip)]
    excerpt: Option<Excerpt>,
}

/// Whether a problem stops the gateway from starting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It does.
    Error,
    /// It does not.
    Warning,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Excerpt {
    text: String,
    /// Characters before the caret, and how many carets.
    caret: (usize, usize),
}

/// Whether to write escape sequences for colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// For a terminal.
    On,
    /// For everything else.
    Off,
}

impl Colour {
    /// On for a terminal, unless the user asked for none (<https://no-color.org>).
    pub fn of(stream: &impl std::io::IsTerminal) -> Self {
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        if stream.is_terminal() && !unwanted { Self::On } else { Self::Off }
    }
}

impl Problem {
    /// A problem with a file as a whole.
    pub fn of_file(file: &Path, message: impl Into<String>) -> Self {
        let file = file.display().to_string();
        Self { severity: Severity::Error, file, line: 0, column: 0, message: message.into(), help: None, excerpt: None }
    }

    /// The same, with what to do.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The same, as a warning.
    #[must_use]
    pub fn warning(mut self) -> Self {
        self.severity = Severity::Warning;
        self
    }

    /// The text for people: place, what is wrong, the line with a caret, what to do.
    pub fn render(&self, colour: Colour) -> String {
        let paint = |code: &str, text: &str| match colour {
            Colour::On => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
            Colour::Off => text.to_owned(),
        };
        let place = match self.line {
            0 => self.file.clone(),
            _ => format!("{}:{}:{}", self.file, self.line, self.column),
        };
        let severity = match self.severity {
            Severity::Error => paint("1;31", "error"),
            Severity::Warning => paint("1;33", "warning"),
        };
        let mut text = format!("{place}: {severity}: {}\n", tame(&self.message));
        let number = self.line.to_string();
        let margin = " ".repeat(number.len());
        if let Some(excerpt) = &self.excerpt {
            let (before, width) = excerpt.caret;
            let caret = paint("1;31", &"^".repeat(width));
            // INVARIANT: writing to a String does not fail.
            let _ = writeln!(text, "  {number} | {}\n  {margin} | {}{caret}", excerpt.text, " ".repeat(before));
        }
        for (index, line) in self.help.iter().flat_map(|help| help.lines()).enumerate() {
            let label = if index == 0 { paint("1;36", "help:") } else { "     ".to_owned() };
            let _ = writeln!(text, "  {margin}   {label} {}", tame(line));
        }
        text
    }
}

impl fmt::Display for Problem {
    /// One line, for logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file, tame(&self.message))?,
            _ => write!(f, "{}:{}:{}: {}", self.file, self.line, self.column, tame(&self.message))?,
        }
        match &self.help {
            Some(help) => write!(f, " ({})", tame(&help.replace('\n', " "))),
            None => Ok(()),
        }
    }
}

/// In the order of the file, errors of one place before its warnings.
pub fn sort(problems: &mut Vec<Problem>) {
    fn key(problem: &Problem) -> (usize, usize, Severity, &str) {
        (problem.line, problem.column, problem.severity, &problem.message)
    }
    problems.sort_by(|a, b| match a.file.cmp(&b.file) {
        Ordering::Equal => key(a).cmp(&key(b)),
        other => other,
    });
    problems.dedup();
}

/// A file that problems point into.
#[derive(Debug, Clone)]
pub struct Source {
    /// Where it is.
    pub path: PathBuf,
    /// What it says.
    pub text: String,
    /// Where its lines begin.
    lines: Vec<usize>,
}

/// How much of a source line may be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Show {
    Line,
    /// Nothing after the span: a value may follow.
    UpToSpan,
    /// Not the span itself.
    Masked,
}

impl Source {
    /// A file with this text.
    pub fn new(path: PathBuf, text: String) -> Self {
        let lines = [0].into_iter().chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { path, text, lines }
    }

    /// A problem with what stands at `span`, a range of octets.
    pub fn problem(&self, span: &Range<usize>, message: impl Into<String>) -> Problem {
        self.point(span, message.into(), Show::Line)
    }

    /// A problem with a key whose value must not be shown, because nobody knows what it is.
    pub fn problem_with_key(&self, span: &Range<usize>, message: impl Into<String>) -> Problem {
        self.point(span, message.into(), Show::UpToSpan)
    }

    /// A problem with a value that must not be shown.
    pub fn problem_with_secret(&self, span: &Range<usize>, message: impl Into<String>) -> Problem {
        self.point(span, message.into(), Show::Masked)
    }

    fn point(&self, span: &Range<usize>, message: String, show: Show) -> Problem {
        let text = self.text.as_str();
        let start = floor_char(text, span.start);
        let line = self.lines.partition_point(|begin| *begin <= start);
        let line_start = line.checked_sub(1).and_then(|index| self.lines.get(index)).copied().unwrap_or(0);
        let rest = text.get(line_start..).unwrap_or_default();
        let whole = rest.split('\n').next().unwrap_or_default().trim_end_matches('\r');
        let line_end = line_start + whole.len();
        let end = floor_char(text, span.end).clamp(start, line_end.max(start));

        let lead = text.get(line_start..start).unwrap_or_default();
        let marked = text.get(start..end).unwrap_or_default();
        let tail = text.get(end..line_end).unwrap_or_default();
        let column = lead.chars().count() + 1;
        let (marked, tail) = match show {
            Show::Line => (marked.to_owned(), tail),
            Show::UpToSpan => (marked.to_owned(), ""),
            Show::Masked => ("…".to_owned(), ""),
        };
        let width = marked.chars().count().max(1);
        let excerpt = (!shows_password(&format!("{lead}{marked}{tail}"))).then(|| Excerpt::cut(lead, &marked, tail, width));
        Problem { severity: Severity::Error, file: self.path.display().to_string(), line, column, message, help: None, excerpt }
    }
}

/// Whether a line has a URL with a name and a password in it (RFC 3986 §3.2.1). Whatever else is wrong with the
/// line, it is not shown then: the URL of another problem, or of none, may stand beside the one that is pointed at.
fn shows_password(line: &str) -> bool {
    line.split("://").skip(1).any(|rest| {
        let url = rest.split(['"', '\'']).next().unwrap_or_default();
        url.rsplit_once('@').is_some_and(|(user, _)| user.contains(':'))
    })
}

impl Excerpt {
    fn cut(lead: &str, marked: &str, tail: &str, width: usize) -> Self {
        let mut text: Vec<char> = lead.chars().chain(marked.chars()).chain(tail.chars()).map(visible).collect();
        let mut before = lead.chars().count();
        if text.len() > MAX_EXCERPT && before > LEAD {
            let cut = before - LEAD;
            text.splice(..cut, ['…']);
            before = LEAD + 1;
        }
        if text.len() > MAX_EXCERPT {
            text.truncate(MAX_EXCERPT);
            text.push('…');
        }
        let width = width.min(text.len().saturating_sub(before)).max(1);
        Self { text: text.into_iter().collect::<String>().trim_end().to_owned(), caret: (before, width) }
    }
}

/// Text without what a terminal would obey, or show in another order than it stands.
pub fn tame(text: &str) -> String {
    text.chars().map(visible).collect()
}

fn visible(c: char) -> char {
    match c {
        '\t' => ' ',
        c if c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') => '·',
        c => c,
    }
}

fn floor_char(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

/// Help that names what was probably meant, or else all there is.
pub fn suggest<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let mut known: Vec<&str> = known.into_iter().collect();
    known.sort_unstable();
    known.dedup();
    let allowed = (typed.chars().count() / 3).max(1);
    let nearest = known.iter().map(|name| (distance(typed, name), *name)).min();
    match nearest {
        Some((steps, name)) if steps <= allowed => Some(format!("did you mean `{name}`?")),
        Some(_) => Some(format!("there is {}", list(&known))),
        None => None,
    }
}

/// `a`, `b` and `c`.
pub fn list(names: &[&str]) -> String {
    match names {
        [] => "nothing".to_owned(),
        [only] => format!("`{only}`"),
        [first @ .., last] => {
            let first: Vec<String> = first.iter().map(|name| format!("`{name}`")).collect();
            format!("{} and `{last}`", first.join(", "))
        }
    }
}

/// Edits from one word to the other: insertions, removals, replacements and swapped neighbours.
fn distance(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.to_lowercase().chars().collect(), to.to_lowercase().chars().collect());
    let mut older: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=to.len()).collect();
    let at = |row: &[usize], index: usize| row.get(index).copied().unwrap_or(usize::MAX / 2);
    let same = |i: usize, j: usize| from.get(i).is_some() && from.get(i) == to.get(j);
    for i in 0..from.len() {
        let mut row = vec![i + 1];
        for j in 0..to.len() {
            let replace = at(&last, j) + usize::from(!same(i, j));
            let mut best = replace.min(at(&last, j + 1) + 1).min(at(&row, j) + 1);
            if i > 0 && j > 0 && same(i, j - 1) && same(i - 1, j) {
                best = best.min(at(&older, j - 1) + 1);
            }
            row.push(best);
        }
        older = std::mem::replace(&mut last, row);
    }
    at(&last, to.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        Source::new("v.toml".into(), text.to_owned())
    }

    #[test]
    fn a_problem_points_at_its_place() {
        let source = source("a = 1\nčain = [\"basci\"]\n");
        let start = source.text.find("\"basci").unwrap();
        let problem = source.problem(&(start..start + 7), "no scheme is called `basci`").help("did you mean `basic`?");
        assert_eq!(
            problem.render(Colour::Off),
            "v.toml:2:9: error: no scheme is called `basci`\n  2 | čain = [\"basci\"]\n    |         ^^^^^^^\n      help: did you mean `basic`?\n"
        );
        assert_eq!(problem.to_string(), "v.toml:2:9: no scheme is called `basci` (did you mean `basic`?)");
    }

    #[test]
    fn a_span_over_several_lines_is_marked_on_its_first() {
        let problem = source("a = [\n1,\n]\n").problem(&(4..9), "x");
        assert_eq!(problem.render(Colour::Off), "v.toml:1:5: error: x\n  1 | a = [\n    |     ^\n");
    }

    #[test]
    fn secrets_and_unknown_values_are_not_shown() {
        let source = source("password = \"hunter2\"");
        assert!(!source.problem_with_secret(&(11..20), "x").render(Colour::Off).contains("hunter"));
        assert!(!source.problem_with_key(&(0..8), "x").render(Colour::Off).contains("hunter"));
    }

    #[test]
    fn a_password_in_a_url_is_not_shown_by_a_problem_beside_it() {
        let text = "url = [\"ldaps://reader:hunter2@one\", \"two\"], x = 1";
        let source = source(text);
        let two = text.find("\"two\"").unwrap();
        for span in [two..two + 5, 0..3, text.len() - 5..text.len(), 10..20] {
            for problem in [source.problem(&span, "x"), source.problem_with_key(&span, "x"), source.problem_with_secret(&span, "x")] {
                assert!(!problem.render(Colour::Off).contains("hunter"), "{}", problem.render(Colour::Off));
            }
        }
        assert!(super::shows_password("'ldap://a:b@c'") && !super::shows_password("'postgresql://a@b:1/c'"));
    }

    #[test]
    fn a_terminal_obeys_nothing_in_an_excerpt() {
        let rendered = source("a = \"\u{1b}[2J\u{202e}\"").problem(&(4..6), "x").render(Colour::Off);
        assert!(rendered.contains("a = \"·[2J·\""), "{rendered}");
    }

    #[test]
    fn a_long_line_is_cut_around_its_place() {
        let text = format!("{}X{}", "a".repeat(500), "b".repeat(500));
        let rendered = source(&text).problem(&(500..501), "x").render(Colour::Off);
        let lines: Vec<&str> = rendered.lines().collect();
        assert!(lines[1].chars().count() < 140);
        let caret = lines[2].chars().position(|c| c == '^').unwrap();
        assert_eq!(lines[1].chars().nth(caret), Some('X'));
    }

    #[test]
    fn any_span_is_survived() {
        for text in ["", "ä", "a\r\nb", "\n"] {
            for start in 0..5 {
                for end in 0..5 {
                    source(text).problem(&(start..end), "x").render(Colour::On);
                }
            }
        }
    }

    #[test]
    fn suggestions_are_near_or_complete() {
        assert_eq!(suggest("basci", ["session", "basic"]).as_deref(), Some("did you mean `basic`?"));
        assert_eq!(suggest("tennant", ["tenant", "route"]).as_deref(), Some("did you mean `tenant`?"));
        assert_eq!(suggest("xyz", ["session", "basic", "form"]).as_deref(), Some("there is `basic`, `form` and `session`"));
        assert_eq!(suggest("x", []), None);
        assert_eq!((distance("", "abc"), distance("ab", "ba"), distance("kitten", "sitting")), (3, 1, 3));
    }
}

//! One TOML file in three stages: as written, as meant, as running (architecture §7).

pub mod build;
pub mod checked;
pub mod file;
pub mod keystore;
pub mod pem;
pub mod problem;
pub mod read;
pub mod reload;
pub mod resolve;
pub mod routes;
pub mod schema;
pub mod secrets;
pub mod values;

#[cfg(test)]
mod tests;

use std::path::Path;

use vestibule_engine::Timestamp;

use self::checked::Checked;
use self::file::File;
use self::problem::{Problem, Source, sort};

/// Longest configuration we read, in octets.
const MAX_FILE: u64 = 16 << 20;

/// What a configuration is read for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To serve. Nothing made for tests and demonstrations is admitted.
    Serve,
    /// To say what is wrong. As to serve, but metadata that a start fetches may not be there yet.
    Check,
    /// To demonstrate or to test: the store may be the memory.
    Demo,
}

pub use resolve::{DECRYPTION, SIGNING, Unfetched};

/// Finds what is wrong with the policies of a configuration whose names have been resolved.
pub type PolicyFindings = fn(&Checked) -> Vec<Problem>;

/// Octets that are read in the place of a file of metadata: whether the configuration would go with them.
#[derive(Debug, Clone, Copy)]
pub struct Instead<'a> {
    /// The file.
    pub file: &'a Path,
    /// What it would hold.
    pub octets: &'a [u8],
}

/// Reads and checks a configuration file. The second value of a success holds its warnings.
///
/// # Errors
/// All problems that were found, warnings among them, in the order of the file.
pub fn load(path: &Path, purpose: Purpose, now: Timestamp, policies: PolicyFindings) -> Result<(Checked, Vec<Problem>), Vec<Problem>> {
    load_with(path, purpose, now, policies, None)
}

/// The same as if a file that it names held something else.
///
/// # Errors
/// As [`load`].
pub fn load_with(
    path: &Path,
    purpose: Purpose,
    now: Timestamp,
    policies: PolicyFindings,
    instead: Option<Instead<'_>>,
) -> Result<(Checked, Vec<Problem>), Vec<Problem>> {
    check(source(path)?, purpose, now, policies, instead)
}

/// The metadata files that a configuration names, that are not there yet, and that may be fetched because a key is pinned for them.
/// A configuration with problems has none: reading it says which.
pub fn unfetched(path: &Path, now: Timestamp) -> Vec<Unfetched> {
    let Ok(source) = source(path) else { return Vec::new() };
    match File::read(&source) {
        Ok(file) => resolve::unfetched(&source, &file, now),
        Err(_) => Vec::new(),
    }
}

fn source(path: &Path) -> Result<Source, Vec<Problem>> {
    let unreadable = |why: String| {
        let problem = Problem::of_file(path, format!("the configuration cannot be read: {why}"));
        vec![problem.help("`--config FILE` says where it is; there are some to begin with in examples/, and `vestibule demo` needs none")]
    };
    let length = std::fs::metadata(path).map_err(|why| unreadable(secrets::reason(&why)))?.len();
    if length > MAX_FILE {
        return Err(unreadable(format!("it is longer than {MAX_FILE} octets")));
    }
    let text = std::fs::read_to_string(path).map_err(|why| unreadable(secrets::reason(&why)))?;
    Ok(Source::new(path.to_owned(), text))
}

/// Checks a configuration that was read already, as if a file that it names held something else. Relative paths are found beside
/// `source.path`.
///
/// # Errors
/// As [`load`].
pub fn check(
    source: Source,
    purpose: Purpose,
    now: Timestamp,
    policies: PolicyFindings,
    instead: Option<Instead<'_>>,
) -> Result<(Checked, Vec<Problem>), Vec<Problem>> {
    let sorted = |mut problems: Vec<Problem>| {
        sort(&mut problems);
        problems
    };
    let file = File::read(&source).map_err(sorted)?;
    let (checked, mut warnings) = resolve::resolve(&source, &file, purpose, now, instead).map_err(sorted)?;
    warnings.extend(policies(&checked));
    if warnings.iter().any(|problem| problem.severity == problem::Severity::Error) {
        return Err(sorted(warnings));
    }
    Ok((checked, sorted(warnings)))
}

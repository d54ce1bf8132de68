//! Where secrets come from: the terminal without echo, a file, or standard input. Never an argument.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use clap::Args;
use zeroize::Zeroizing;

use vestibule_engine::identity::MAX_PASSWORD;
use vestibule_engine::secret::Secret;

use super::Failure;
use crate::serve::admin::protocol::{Confidential, NewPassword};

/// Where a new password comes from; asked on the terminal if none of these is given.
#[derive(Debug, Clone, Args)]
#[group(multiple = false)]
pub struct PasswordSource {
    /// Read the password from a file (- for standard input)
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
    /// Read the hash of the password from a file (- for standard input): Argon2, bcrypt, scrypt, PBKDF2 or salted SHA as
    /// other systems write them. It is kept wrapped in Argon2id and replaced when the user next signs in
    #[arg(long, value_name = "FILE")]
    pub hash_file: Option<PathBuf>,
    /// Make a password and print it once
    #[arg(long)]
    pub generate: bool,
    /// No password: the user signs in elsewhere
    #[arg(long)]
    pub no_password: bool,
}

impl PasswordSource {
    /// The new password; typed twice if it is typed.
    ///
    /// # Errors
    /// When it cannot be read, or was typed differently the second time.
    pub fn read(&self, user: &str) -> Result<NewPassword, Failure> {
        if self.generate {
            Ok(NewPassword::Generate)
        } else if self.no_password {
            Ok(NewPassword::None)
        } else if let Some(file) = &self.hash_file {
            from_file(file, "hash").map(|text| NewPassword::Hash(Confidential(text)))
        } else {
            new_password(&format!("New password for {user}: "), self.password_file.as_deref())
                .map(|text| NewPassword::Given(Confidential(text)))
        }
    }
}

/// A new password: read from a file, or typed twice.
///
/// # Errors
/// When it cannot be read, or was typed differently the second time.
pub fn new_password(prompt: &str, file: Option<&Path>) -> Result<Secret<String>, Failure> {
    let first = password(prompt, file)?;
    if file.is_none() && password("Once more: ", None)? != first {
        return Err(Failure::not_tried("the two passwords differ").fix("try again; nothing was changed"));
    }
    Ok(first)
}

/// A password: read from a file (`-` for standard input), or typed without echo.
///
/// # Errors
/// When it cannot be read, is empty or too long.
pub fn password(prompt: &str, file: Option<&Path>) -> Result<Secret<String>, Failure> {
    let text = match file {
        None => Secret::new(rpassword::prompt_password(prompt).map_err(|error| {
            Failure::not_tried(format!("there is no terminal to ask for the password on: {error}"))
                .fix("use --password-file FILE, or --password-file - for standard input")
        })?),
        Some(file) => return from_file(file, "password"),
    };
    fitting(text, "password")
}

fn from_file(file: &Path, what: &str) -> Result<Secret<String>, Failure> {
    let unread = |error: io::Error| Failure::not_tried(format!("{}: {error}", file.display()));
    let source: Box<dyn Read> = if file == Path::new("-") { Box::new(io::stdin()) } else { Box::new(File::open(file).map_err(unread)?) };
    fitting(read(source).map_err(unread)?, what)
}

fn fitting(text: Secret<String>, what: &str) -> Result<Secret<String>, Failure> {
    if text.reveal().is_empty() {
        return Err(Failure::not_tried(format!("the {what} is empty")));
    }
    if text.reveal().len() > MAX_PASSWORD {
        return Err(Failure::not_tried(format!("the {what} is longer than {MAX_PASSWORD} octets")));
    }
    Ok(text)
}

/// The first line, without its end: editors add one to every file.
fn read(source: impl Read) -> io::Result<Secret<String>> {
    let mut text = Zeroizing::new(String::with_capacity(MAX_PASSWORD + 3));
    source.take(MAX_PASSWORD as u64 + 3).read_to_string(&mut text)?;
    let line = text.strip_suffix('\n').map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
    if line.contains(['\n', '\r']) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "more than one line; one is expected"));
    }
    Ok(Secret::from(line))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::FailureKind;
    use crate::cli::tests::TempDir;

    #[test]
    fn one_line_end_is_not_part_of_a_password_and_spaces_are() {
        for (file, want) in [("a b \n", "a b "), ("a\r\n", "a"), ("a", "a"), ("zażółć\n", "zażółć")] {
            assert_eq!(read(file.as_bytes()).unwrap().reveal(), want);
        }
        assert!(read(&b"a\nb\n"[..]).is_err());
        assert!(read(&b"\xff"[..]).is_err());
    }

    #[test]
    fn what_cannot_be_a_password_was_not_tried() {
        let dir = TempDir::new();
        let file = dir.path().join("password");
        assert_eq!(password("", Some(&file)).unwrap_err().kind, FailureKind::NotTried);
        for text in ["", "\n", &"x".repeat(MAX_PASSWORD + 1), &"x".repeat(MAX_PASSWORD * 9)] {
            std::fs::write(&file, text).unwrap();
            let failure = new_password("", Some(&file)).unwrap_err();
            assert!(!failure.message.contains("xx"));
        }
        std::fs::write(&file, "x".repeat(MAX_PASSWORD)).unwrap();
        assert!(new_password("", Some(&file)).is_ok());
    }
}

//! `vestibule hash`: the hash of a password, without a server.

use std::path::PathBuf;

use clap::Args;

use vestibule_engine::identity::{PasswordHash, password};

use super::output::Output;
use super::{Answer, Failure, ask};
use crate::realms::hashing::{self, Cost};

/// Make a password hash for an import or a configuration
#[derive(Debug, Args)]
pub struct Hash {
    /// Read the password from a file (- for standard input)
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

impl Hash {
    /// Prints the hash in PHC form.
    pub fn run(self, output: &mut Output) -> Result<Answer, Failure> {
        let typed = ask::new_password("Password: ", self.password_file.as_deref())?;
        let failed = |why: String| Failure::not_tried(format!("the password could not be hashed: {why}"));
        let password = password(typed.reveal()).ok_or_else(|| failed("it is too long".to_owned()))?;
        // There is no configuration here; a server that asks for another cost replaces it after the first success.
        let PasswordHash(hash) = hashing::hash(&password, Cost::default()).map_err(|down| failed(down.to_string()))?;
        if output.is_json() {
            output.json(&serde_json::json!({ "hash": hash }));
        } else {
            output.line(hash);
        }
        Ok(Answer::Yes)
    }
}

#[cfg(test)]
mod tests {
    use vestibule_engine::secret::Secret;

    use super::*;
    use crate::cli::output::Form;
    use crate::cli::tests::TempDir;

    #[test]
    fn the_hash_is_argon2id_as_ruled_and_fits_the_password_in_nfc() {
        let dir = TempDir::new();
        let file = dir.path().join("password");
        std::fs::write(&file, "cafe\u{301}\n").unwrap();
        let mut output = Output::new(Form::Plain);
        Hash { password_file: Some(file) }.run(&mut output).unwrap();
        let text = output.text().trim_end();
        assert!(text.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{text}");
        let verify =
            |offered| hashing::verify(&PasswordHash(text.to_owned()), &Secret::from(offered), Cost::default(), &hashing::tests::sealing());
        assert_eq!(verify("caf\u{e9}"), Ok(hashing::Match::Same));
        assert_eq!(verify("cafe"), Ok(hashing::Match::Different));
    }
}

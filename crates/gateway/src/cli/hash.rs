//! `vestibule hash`: the hash of a password, without a server.

use std::path::PathBuf;

use argon2::password_hash::PasswordHasher;
use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, Version};
use clap::Args;

use vestibule_engine::clock::random;
use vestibule_engine::identity::password;

use super::output::Output;
use super::{Answer, Failure, ask};

/// Argon2id's memory in KiB, passes and lanes: `rulings.md`.
const COST: (u32, u32, u32) = (19 * 1024, 2, 1);

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
        let salt = random::<16>().map_err(|down| failed(down.to_string()))?;
        let (memory, passes, lanes) = COST;
        let params = Params::new(memory, passes, lanes, None).map_err(|error| failed(error.to_string()))?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let hash: PasswordHash =
            argon2.hash_password_with_salt(password.reveal().as_bytes(), &salt).map_err(|error| failed(error.to_string()))?;
        if output.is_json() {
            output.json(&serde_json::json!({ "hash": hash.to_string() }));
        } else {
            output.line(hash.to_string());
        }
        Ok(Answer::Yes)
    }
}

#[cfg(test)]
mod tests {
    use argon2::password_hash::PasswordVerifier;

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
        let hash = PasswordHash::new(text).unwrap();
        assert!(Argon2::default().verify_password("caf\u{e9}".as_bytes(), &hash).is_ok());
        assert!(Argon2::default().verify_password(b"cafe", &hash).is_err());
    }
}

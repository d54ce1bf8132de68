//! Secrets are references: to a file or to an environment variable, never the value itself.
//!
//! A configuration is copied, mailed, committed and shown in tickets; command lines and process lists are
//! read by everybody. So an inline secret is refused, and no message repeats it.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, Visitor};

use vestibule_engine::secret::Secret;

/// Longest secret we read, in octets; a chain of keys in PEM form is far shorter.
const MAX_SECRET: u64 = 64 * 1024;

/// What is said of a secret that was written in place. `file.rs` hides the line by it.
pub const INLINE: &str = "a secret is not written in the configuration itself\n\
    put it into a file and write { file = \"/run/secrets/name\" }, or into the environment and write { env = \"NAME\" }";

/// Where a secret is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretRef {
    /// In this file; one trailing line break is not part of it.
    File(PathBuf),
    /// In this environment variable.
    Env(String),
    /// In this credential of the service manager (systemd.exec(5): `LoadCredential`, `LoadCredentialEncrypted`).
    Credential(String),
}

impl<'de> Deserialize<'de> for SecretRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "lowercase")]
        enum Key {
            File,
            Env,
            Credential,
        }
        struct Visit;
        impl<'de> Visitor<'de> for Visit {
            type Value = SecretRef;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(INLINE)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<SecretRef, A::Error> {
                let one = || {
                    de::Error::custom(
                        "a secret comes from one place\n\
                        write either { file = \"/run/secrets/name\" }, { env = \"NAME\" } or { credential = \"name\" }",
                    )
                };
                let reference = match map.next_key::<Key>()? {
                    Some(Key::File) => SecretRef::File(map.next_value()?),
                    Some(Key::Env) => SecretRef::Env(map.next_value()?),
                    Some(Key::Credential) => SecretRef::Credential(map.next_value()?),
                    None => return Err(one()),
                };
                match map.next_key::<Key>()? {
                    Some(_) => Err(one()),
                    None => Ok(reference),
                }
            }

            fn visit_str<E: de::Error>(self, _: &str) -> Result<SecretRef, E> {
                Err(E::custom(INLINE))
            }

            fn visit_i64<E: de::Error>(self, _: i64) -> Result<SecretRef, E> {
                Err(E::custom(INLINE))
            }

            fn visit_f64<E: de::Error>(self, _: f64) -> Result<SecretRef, E> {
                Err(E::custom(INLINE))
            }
        }
        deserializer.deserialize_any(Visit)
    }
}

impl JsonSchema for SecretRef {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Secret".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Where a secret is kept: in a file, in an environment variable or in a credential of the service manager, never in the configuration itself.",
            "oneOf": [
                { "type": "object", "properties": { "file": { "type": "string" } }, "required": ["file"], "additionalProperties": false },
                { "type": "object", "properties": { "env": { "type": "string" } }, "required": ["env"], "additionalProperties": false },
                { "type": "object", "properties": { "credential": { "type": "string" } }, "required": ["credential"], "additionalProperties": false },
            ],
        })
    }
}

impl SecretRef {
    /// Fetches the secret. Relative files are found below `base`. Beside it, what an operator should know of
    /// how it is kept.
    ///
    /// # Errors
    /// A sentence that says what is missing; never the value.
    pub fn fetch(&self, base: &Path) -> Result<(Secret<String>, Option<String>), String> {
        let (secret, warning) = match self {
            Self::Env(name) => {
                let value = std::env::var_os(name).ok_or_else(|| format!("the environment has no variable `{name}`"))?;
                let value = value.into_string().map_err(|_| format!("the environment variable `{name}` is not UTF-8"))?;
                (Secret::new(value), None)
            }
            Self::File(path) => read(&base.join(path))?,
            Self::Credential(name) => read(&credential(name)?)?,
        };
        if secret.reveal().trim().is_empty() {
            return Err("the secret is empty".to_owned());
        }
        Ok((secret, warning))
    }
}

/// Where the service manager put a credential.
fn credential(name: &str) -> Result<PathBuf, String> {
    let directory = std::env::var_os("CREDENTIALS_DIRECTORY").ok_or("no service manager gave us credentials")?;
    // A name, not a path: whoever may name a credential may not name any file by it.
    match name.is_empty() || name.contains('/') || name.starts_with('.') {
        true => Err(format!("`{name}` is not the name of a credential")),
        false => Ok(Path::new(&directory).join(name)),
    }
}

fn read(path: &Path) -> Result<(Secret<String>, Option<String>), String> {
    let shown = path.display();
    let file = File::open(path).map_err(|why| {
        let absent = why.kind() == std::io::ErrorKind::NotFound && path.starts_with("/run/credentials");
        let more = if absent { "; systemd puts it there while the service runs" } else { "" };
        format!("the secret `{shown}` cannot be read: {}{more}", reason(&why))
    })?;
    let metadata = file.metadata().map_err(|why| format!("the secret `{shown}` cannot be read: {}", reason(&why)))?;
    if metadata.len() > MAX_SECRET {
        return Err(format!("the secret `{shown}` is longer than {MAX_SECRET} octets"));
    }
    let mut text = String::new();
    file.take(MAX_SECRET).read_to_string(&mut text).map_err(|why| format!("the secret `{shown}` cannot be read: {}", reason(&why)))?;
    let mut secret = text.as_str();
    secret = secret.strip_suffix('\n').unwrap_or(secret);
    secret = secret.strip_suffix('\r').unwrap_or(secret);
    let secret = Secret::from(secret);
    zeroize::Zeroize::zeroize(&mut text);
    let mode = metadata.mode() & 0o777;
    let warning =
        (mode & 0o077 != 0).then(|| format!("the secret `{shown}` may be read or changed by others than its owner (mode {mode:04o})"));
    Ok((secret, warning))
}

/// What the operating system says, without the number.
pub fn reason(why: &std::io::Error) -> String {
    match why.kind() {
        std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
        std::io::ErrorKind::PermissionDenied => "permission is denied".to_owned(),
        std::io::ErrorKind::InvalidData => "it is not UTF-8 text".to_owned(),
        std::io::ErrorKind::IsADirectory => "it is a directory".to_owned(),
        _ => why.to_string(),
    }
}

//! The key that seals at rest, and the gateway's own secrets, sealed under it in the store.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use vestibule_engine::clock::random;
use vestibule_engine::secret::Secret;
use vestibule_engine::store::DurableStore;

use crate::config::checked::Checked;
use crate::keys::KeyEncryptionKey;

/// The file of the key-encryption key, where the configuration names none.
const SEALING_KEY: &str = "sealing.key";

/// The file of the key-encryption key, where the configuration names none.
pub fn sealing_file(checked: &Checked) -> PathBuf {
    checked.store.path.join(SEALING_KEY)
}

/// The key that seals private keys at rest, if there is one already.
///
/// # Errors
/// When it cannot be read.
pub fn held_sealing_key(checked: &Checked) -> Result<Option<KeyEncryptionKey>, String> {
    match checked.keys.key_encryption_key.is_some() || sealing_file(checked).exists() {
        true => sealing_key(checked).map(Some),
        false => Ok(None),
    }
}

/// Whether a key-encryption key opens the secret that the pages of a store are sealed with.
pub fn opens(sealing: &KeyEncryptionKey, sealed: &Secret<Vec<u8>>) -> bool {
    sealing.open(&secret_context("pages"), sealed.reveal()).is_ok()
}

fn secret_context(name: &str) -> [&[u8]; 2] {
    [b"secret", name.as_bytes()]
}

/// The key that seals private keys at rest: from the configuration, else from a file beside the store.
pub(super) fn sealing_key(checked: &Checked) -> Result<KeyEncryptionKey, String> {
    let octets = match &checked.keys.key_encryption_key {
        Some(octets) => octets.clone(),
        None => made_or_read(&sealing_file(checked))?,
    };
    let octets: [u8; 32] = octets.reveal().as_slice().try_into().map_err(|_| "the key-encryption key has not 32 octets".to_owned())?;
    KeyEncryptionKey::new(&Secret::new(octets)).map_err(|error| error.to_string())
}

fn made_or_read(path: &Path) -> Result<Secret<Vec<u8>>, String> {
    let at = |error: std::io::Error| format!("{}: {error}", path.display());
    let fresh = random::<32>().map_err(|down| down.to_string())?;
    match fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(mut file) => {
            file.write_all(&fresh).and_then(|()| file.sync_all()).map_err(at)?;
            Ok(Secret::new(fresh.to_vec()))
        }
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => fs::read(path).map(Secret::new).map_err(at),
        Err(error) => Err(at(error)),
    }
}

/// What the gateway seals and signs its own notes to browsers with; the same on all nodes.
pub(super) struct Secrets {
    pub pages: Secret<[u8; 32]>,
    pub csrf: Secret<[u8; 32]>,
    pub devices: Secret<[u8; 32]>,
    pub audit: Secret<[u8; 32]>,
    pub tokens: Secret<[u8; 32]>,
}

impl Secrets {
    /// Reads them from the store, and makes those that are not there yet.
    pub async fn load(store: &Arc<dyn DurableStore>, sealing: &KeyEncryptionKey) -> Result<Self, String> {
        let one = async |name: &str| {
            let setting = format!("secret:{name}");
            let context = secret_context(name);
            let fresh = random::<32>().map_err(|down| down.to_string())?;
            let sealed = sealing.seal(&context, &fresh).map_err(|error| error.to_string())?;
            let stands = store.setting_or_insert(&setting, &sealed).await.map_err(|down| down.to_string())?;
            let opened = sealing.open(&context, &stands);
            let opened = opened.map_err(|_| "the store was sealed under another key-encryption key; restore that key".to_owned())?;
            let octets: [u8; 32] = opened.reveal().as_slice().try_into().map_err(|_| format!("the stored secret {name} is damaged"))?;
            Ok::<_, String>(Secret::new(octets))
        };
        Ok(Self {
            pages: one("pages").await?,
            csrf: one("csrf").await?,
            devices: one("devices").await?,
            audit: one("audit").await?,
            tokens: one("tokens").await?,
        })
    }
}

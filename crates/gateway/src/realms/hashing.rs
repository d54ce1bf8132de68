//! Password hashes: ours is Argon2id (RFC 9106) as a PHC string; those of other systems are wrapped in it.
//!
//! Whoever steals the store guesses offline, so a fast imported hash must not lie there bare. An import stores
//! `$vestibule-wrapped$KIND$PARAMETERS$argon2id$v=19$m=…,t=…,p=…$SALT$OUTPUT`: the foreign digest is replaced by its
//! Argon2id, and only its salt and parameters are kept. After the first success the user gets a plain Argon2id hash.
//!
//! An import of a million cannot wait for a million Argon2id. It stores `$vestibule-sealed$KIND$PARAMETERS$sealed$…`, the
//! foreign hash sealed under the key-encryption key, which the store's thief has not; [`wrapping`] wraps them by and by.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use subtle::ConstantTimeEq;
use vestibule_engine::clock::random;
use vestibule_engine::identity::PasswordHash;
use vestibule_engine::scheme::Unavailable;
use vestibule_engine::secret::Secret;
use zeroize::Zeroizing;

use self::foreign::Foreign;
use crate::keys::KeyEncryptionKey;

mod foreign;
mod pool;
pub mod wrapping;

pub use self::foreign::{ImportError, MAX_LANES, MAX_MEMORY, MAX_PASSES};
pub use self::pool::{HashingPool, Lane};

/// Octets of salt and of output of our own hashes.
const SALT: usize = 16;
const OUTPUT: usize = 32;
/// Longest hash we read, in octets.
const MAX_HASH: usize = 1024;
/// Longest hash we store, in octets: one that was read, sealed.
const MAX_STORED: usize = 2048;
const WRAPPED: &str = "$vestibule-wrapped$";
/// What stands between the parameters of a sealed hash and the seal.
const SEAL: &str = "$sealed$";
/// What a seal over a hash is bound to. Not to its user: whoever could move it could write any other hash, too.
const SEALED_CONTEXT: [&[u8]; 1] = [b"imported password hash"];

/// What one of our own hashes costs whoever makes or guesses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    /// Memory, in KiB; at most [`MAX_MEMORY`].
    pub memory: u32,
    /// Passes over it; at most [`MAX_PASSES`].
    pub passes: u32,
    /// Lanes; at most [`MAX_LANES`].
    pub lanes: u32,
}

impl Default for Cost {
    /// The second choice of OWASP's password storage cheat sheet (`rulings.md`).
    fn default() -> Self {
        Self { memory: 19 * 1024, passes: 2, lanes: 1 }
    }
}

/// How an offered password compares with a hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Match {
    /// It is the one.
    Same,
    /// It is the one, and its hash should be replaced by one of ours.
    SameButOutdated,
    /// It is not.
    Different,
}

/// Hashes a password as we store it. Takes tens of milliseconds: servers ask the [`HashingPool`].
///
/// # Errors
/// [`Unavailable`] without random numbers or memory.
pub fn hash(password: &Secret<String>, cost: Cost) -> Result<PasswordHash, Unavailable> {
    Ok(PasswordHash(Outer::over(password.reveal().as_bytes(), cost)?.text()))
}

/// Compares a password with a stored hash; one of another cost than ours is outdated. A hash that cannot be read costs as much as one that can, and matches nothing.
///
/// # Errors
/// [`Unavailable`] without memory.
pub fn verify(stored: &PasswordHash, password: &Secret<String>, ours: Cost, sealing: &KeyEncryptionKey) -> Result<Match, Unavailable> {
    let offered = password.reveal().as_bytes();
    match Stored::parse(&stored.0) {
        Some(Stored::Plain(outer)) => Ok(match (outer.matches(offered)?, outer.is_of(ours)) {
            (true, true) => Match::Same,
            (true, false) => Match::SameButOutdated,
            (false, _) => Match::Different,
        }),
        Some(Stored::Wrapped { foreign, outer }) => {
            let digest = foreign.digest(offered)?;
            // The outer hash is computed even for what the inner one refuses, so that all refusals cost the same.
            let same = outer.matches(&digest.octets)?;
            Ok(if same && digest.usable { Match::SameButOutdated } else { Match::Different })
        }
        Some(Stored::Sealed { sealed, .. }) => {
            // It costs what a wrapped one does.
            Outer::unmatchable(ours)?.matches(offered)?;
            let Some((foreign, held)) = opened(&sealed, sealing).and_then(|text| Foreign::parse(text.reveal()).ok()) else {
                tracing::error!("a sealed password hash cannot be opened");
                return Ok(Match::Different);
            };
            let digest = foreign.digest(offered)?;
            let same: bool = digest.octets.ct_eq(&held).into();
            Ok(if same && digest.usable { Match::SameButOutdated } else { Match::Different })
        }
        None => {
            tracing::error!("a stored password hash cannot be read");
            Outer::unmatchable(ours)?.matches(offered)?;
            Ok(Match::Different)
        }
    }
}

/// Takes over a hash of another system: Argon2, bcrypt, scrypt, PBKDF2, SHA-crypt, salted SHA of LDAP. Argon2id at least as
/// dear as ours is kept, everything else is wrapped.
///
/// # Errors
/// [`ImportError`] says why it cannot be taken over.
pub fn import(text: &str, ours: Cost) -> Result<PasswordHash, ImportError> {
    let text = text.trim();
    if let Some(kept) = kept(text, ours)? {
        return Ok(kept);
    }
    let (foreign, digest) = Foreign::parse(text)?;
    let outer = Outer::over(&digest, ours).map_err(|_| ImportError::Unavailable)?;
    Ok(PasswordHash(format!("{WRAPPED}{foreign}{}", outer.text())))
}

/// Takes over a hash of another system as [`import`] does, but at once: what would be wrapped is sealed for now.
///
/// # Errors
/// [`ImportError`] says why it cannot be taken over.
pub fn seal(text: &str, ours: Cost, sealing: &KeyEncryptionKey) -> Result<PasswordHash, ImportError> {
    let text = text.trim();
    if let Some(kept) = kept(text, ours)? {
        return Ok(kept);
    }
    let (foreign, _) = Foreign::parse(text)?;
    let sealed = sealing.seal(&SEALED_CONTEXT, text.as_bytes()).map_err(|_| ImportError::Unavailable)?;
    Ok(PasswordHash(format!("{}{foreign}{SEAL}{}", PasswordHash::SEALED, STANDARD_NO_PAD.encode(sealed))))
}

/// Wraps a hash that rests sealed.
///
/// # Errors
/// [`ImportError`] if it is not one of ours, or this cannot be done now.
pub fn wrap(stored: &PasswordHash, ours: Cost, sealing: &KeyEncryptionKey) -> Result<PasswordHash, ImportError> {
    match Stored::parse(&stored.0) {
        Some(Stored::Sealed { sealed, .. }) => import(opened(&sealed, sealing).ok_or(ImportError::Malformed)?.reveal(), ours),
        Some(Stored::Plain(_) | Stored::Wrapped { .. }) | None => Err(ImportError::Malformed),
    }
}

/// A stored hash as it leaves the house: one that rests sealed as it came in. `None` if it cannot be opened.
pub fn reveal(stored: &PasswordHash, sealing: &KeyEncryptionKey) -> Option<Secret<String>> {
    match Stored::parse(&stored.0) {
        Some(Stored::Sealed { sealed, .. }) => opened(&sealed, sealing),
        Some(Stored::Plain(_) | Stored::Wrapped { .. }) | None => Some(Secret::from(stored.0.as_str())),
    }
}

/// A hash that is kept as it is: ours, or as dear as ours.
fn kept(text: &str, ours: Cost) -> Result<Option<PasswordHash>, ImportError> {
    if text.len() > MAX_HASH {
        return Err(ImportError::TooLong);
    }
    match Stored::parse(text) {
        Some(Stored::Plain(outer)) if !outer.is_weaker_than(ours) => Ok(Some(PasswordHash(outer.text()))),
        // What was wrapped cannot be wrapped again: the password is not at hand.
        Some(Stored::Wrapped { outer, .. }) if outer.is_weaker_than(ours) => Err(ImportError::Parameters),
        Some(Stored::Wrapped { foreign, outer }) => Ok(Some(PasswordHash(format!("{WRAPPED}{foreign}{}", outer.text())))),
        Some(Stored::Plain(_) | Stored::Sealed { .. }) | None => Ok(None),
    }
}

fn opened(sealed: &[u8], sealing: &KeyEncryptionKey) -> Option<Secret<String>> {
    let text = sealing.open(&SEALED_CONTEXT, sealed).ok()?;
    std::str::from_utf8(text.reveal()).ok().map(Secret::from)
}

/// A hash that no password matches and that costs as much as ours: for names that do not exist.
///
/// # Errors
/// [`Unavailable`] without random numbers.
pub fn decoy(ours: Cost) -> Result<PasswordHash, Unavailable> {
    Ok(PasswordHash(Outer::unmatchable(ours)?.text()))
}

/// How long checking this hash takes on a slow machine. A floor made of it hides which account has a dear hash;
/// so it errs on the long side.
pub fn cost(stored: &PasswordHash, ours: Cost) -> Duration {
    match Stored::parse(&stored.0) {
        Some(Stored::Plain(outer)) => outer.cost(),
        Some(Stored::Sealed { foreign, .. }) => foreign.cost().saturating_add(argon2_cost(ours)),
        Some(Stored::Wrapped { foreign, outer }) => foreign.cost().saturating_add(outer.cost()),
        None => Duration::ZERO,
    }
}

/// The dearest of the hashes met so far.
#[derive(Debug, Default)]
pub struct Dearest(AtomicU64);

impl Dearest {
    /// Takes note of a hash in store.
    pub fn meet(&self, stored: &PasswordHash, ours: Cost) {
        let micros = u64::try_from(cost(stored, ours).as_micros()).unwrap_or(u64::MAX);
        self.0.fetch_max(micros, Ordering::Relaxed);
    }

    /// What the dearest takes.
    pub fn cost(&self) -> Duration {
        Duration::from_micros(self.0.load(Ordering::Relaxed))
    }
}

/// A hash as it lies in the store.
enum Stored {
    Plain(Outer),
    Wrapped {
        foreign: Foreign,
        outer: Outer,
    },
    /// Its parameters stand beside it, so that what it costs is known without opening it.
    Sealed {
        foreign: Foreign,
        sealed: Vec<u8>,
    },
}

impl Stored {
    fn parse(text: &str) -> Option<Self> {
        if text.len() > MAX_STORED {
            return None;
        }
        if let Some(rest) = text.strip_prefix(PasswordHash::SEALED) {
            let (foreign, sealed) = rest.split_once(SEAL)?;
            return Some(Self::Sealed { foreign: Foreign::from_stored(foreign)?, sealed: STANDARD_NO_PAD.decode(sealed).ok()? });
        }
        match text.strip_prefix(WRAPPED) {
            None => Some(Self::Plain(Outer::parse(text)?)),
            Some(rest) => {
                let at = rest.find("$argon2id$")?;
                let (foreign, outer) = rest.split_at_checked(at)?;
                Some(Self::Wrapped { foreign: Foreign::from_stored(foreign)?, outer: Outer::parse(outer)? })
            }
        }
    }
}

/// An Argon2id hash: over the password itself, or over the digest of a foreign hash.
struct Outer {
    cost: Cost,
    salt: Vec<u8>,
    output: Vec<u8>,
}

impl Outer {
    fn over(input: &[u8], cost: Cost) -> Result<Self, Unavailable> {
        let salt = random::<SALT>()?.to_vec();
        let mut outer = Self { cost, salt, output: vec![0; OUTPUT] };
        outer.output = outer.compute(input)?.to_vec();
        Ok(outer)
    }

    /// Random octets in place of an output: to find a password for them is to invert Argon2id.
    fn unmatchable(cost: Cost) -> Result<Self, Unavailable> {
        let (salt, output) = (random::<SALT>()?.to_vec(), random::<OUTPUT>()?.to_vec());
        Ok(Self { cost, salt, output })
    }

    fn parse(text: &str) -> Option<Self> {
        let hash = foreign::Argon2Hash::parse(text).ok()?;
        let ours = hash.variant == Algorithm::Argon2id && hash.version == Version::V0x13;
        let foreign::Argon2Hash { memory, passes, lanes, salt, output, .. } = hash;
        ours.then_some(Self { cost: Cost { memory, passes, lanes }, salt, output })
    }

    fn text(&self) -> String {
        let Cost { memory, passes, lanes } = self.cost;
        let (salt, output) = (STANDARD_NO_PAD.encode(&self.salt), STANDARD_NO_PAD.encode(&self.output));
        format!("$argon2id$v=19$m={memory},t={passes},p={lanes}${salt}${output}")
    }

    fn compute(&self, input: &[u8]) -> Result<Zeroizing<Vec<u8>>, Unavailable> {
        argon2(Algorithm::Argon2id, Version::V0x13, self.cost, input, &self.salt, self.output.len())
    }

    fn matches(&self, input: &[u8]) -> Result<bool, Unavailable> {
        Ok(self.compute(input)?.ct_eq(&self.output).into())
    }

    fn is_of(&self, ours: Cost) -> bool {
        self.cost == ours && self.salt.len() >= SALT && self.output.len() >= OUTPUT
    }

    fn is_weaker_than(&self, ours: Cost) -> bool {
        self.cost.memory < ours.memory || self.cost.passes < ours.passes || self.output.len() < OUTPUT
    }

    fn cost(&self) -> Duration {
        argon2_cost(self.cost)
    }
}

fn argon2(
    variant: Algorithm,
    version: Version,
    Cost { memory, passes, lanes }: Cost,
    input: &[u8],
    salt: &[u8],
    length: usize,
) -> Result<Zeroizing<Vec<u8>>, Unavailable> {
    let failed = |error: argon2::Error| Unavailable::new("hashing", error);
    let params = Params::new(memory, passes, lanes, Some(length)).map_err(failed)?;
    let mut output = Zeroizing::new(vec![0; length]);
    Argon2::new(variant, version, params).hash_password_into(input, salt, &mut output).map_err(failed)?;
    Ok(output)
}

/// 1.5 ms per MiB and pass.
fn argon2_cost(Cost { memory, passes, lanes: _ }: Cost) -> Duration {
    Duration::from_nanos(1_465 * u64::from(memory) * u64::from(passes))
}

#[cfg(test)]
pub(crate) mod tests;

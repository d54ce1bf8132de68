//! Whose session was verified here lately: told from the cookie alone, before anything is asked.
//!
//! A table of hashes under a key of this process, each in the one place its hash names. Who does not hold the cookie cannot
//! make one that is known; a session that has ended may stay known, which is worth a place in a crowd and nothing else.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

/// Sessions that can be known: half a megabyte. With more, those that are seen more often are.
const PLACES: usize = 1 << 16;

#[derive(Debug)]
pub(super) struct Familiar {
    places: Box<[AtomicU64]>,
    hasher: RandomState,
}

impl Default for Familiar {
    fn default() -> Self {
        Self { places: (0..PLACES).map(|_| AtomicU64::new(0)).collect(), hasher: RandomState::new() }
    }
}

impl Familiar {
    pub(super) fn note(&self, token: &str) {
        let hash = self.hash(token);
        if let Some(place) = self.place(hash).filter(|place| place.load(Ordering::Relaxed) != hash) {
            place.store(hash, Ordering::Relaxed);
        }
    }

    pub(super) fn knows(&self, token: &str) -> bool {
        let hash = self.hash(token);
        self.place(hash).is_some_and(|place| place.load(Ordering::Relaxed) == hash)
    }

    /// Never 0, which an empty place has.
    fn hash(&self, token: &str) -> u64 {
        self.hasher.hash_one(token) | 1 << 63
    }

    fn place(&self, hash: u64) -> Option<&AtomicU64> {
        self.places.get(usize::try_from(hash).unwrap_or(0) % PLACES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_noted_is_known() {
        let familiar = Familiar::default();
        familiar.note("token of ada");
        assert!(familiar.knows("token of ada"));
        assert!(!familiar.knows("token of eve") && !familiar.knows(""));
        assert!(!Familiar::default().knows("token of ada"), "another process has another key");
    }
}

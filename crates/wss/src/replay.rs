//! What has to be spent before a message may count: a second time it is refused (attack 65).
//!
//! Keys are hashes over length-prefixed parts, so that no two lists of parts are one. They are made of what is signed, or
//! of what the password fixes, never of octets that anybody may change: the value of an ECDSA signature has a twin.

use aws_lc_rs::digest::{Context, SHA256};
use jiff::Timestamp;

/// One condition.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Replay {
    /// The key may be seen once.
    Once {
        /// What was used.
        key: [u8; 32],
        /// Until when it has to be remembered: nothing accepts it after.
        until: Timestamp,
    },
    /// The key may be seen again, but only with the same digest: an assertion that is vouched for belongs to one document.
    Bound {
        /// What was used.
        key: [u8; 32],
        /// With what.
        digest: [u8; 32],
        /// Until when it has to be remembered.
        until: Timestamp,
    },
}

/// SHA-256 over length-prefixed parts.
pub(crate) fn hash<'a>(kind: &'a str, parts: impl IntoIterator<Item = &'a [u8]>) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    for part in [kind.as_bytes()].into_iter().chain(parts) {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    let mut out = [0; 32];
    out.iter_mut().zip(context.finish().as_ref()).for_each(|(to, from)| *to = *from);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cannot_flow_into_each_other() {
        let of = |parts: &[&str]| hash("k", parts.iter().map(|part| part.as_bytes()));
        assert_ne!(of(&["ab", "c"]), of(&["a", "bc"]));
        assert_ne!(of(&["a"]), of(&["a", ""]));
        assert_ne!(hash("a", [b"b".as_slice()]), hash("b", [b"b".as_slice()]));
    }
}

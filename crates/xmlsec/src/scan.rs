//! Looking through octets for what ends a name, a value or a text.
//!
//! Names and values are short: a call of a wide search costs more than they do, so values are looked at eight octets at a time. What an attacker tries is an octet that
//! one search counts and another does not; so each has a plain twin in the tests, which has to find the same.
//!
//! A word holds eight octets. Comparing adds to their lower seven bits, which never carries into a neighbour; the answer
//! of each octet is its highest bit.

/// A name with its colons, as far as it is ASCII.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AsciiName {
    pub(crate) length: usize,
    /// 0, 1, or 2 for more.
    pub(crate) colons: usize,
    /// Where the first colon stands.
    pub(crate) colon: usize,
}

/// The octets at the beginning that are ASCII characters of a name, or colons. One at a time: most names are shorter than what
/// looking at eight together costs.
pub(crate) fn name(octets: &[u8]) -> AsciiName {
    let mut found = AsciiName { length: in_name(octets), colons: 0, colon: 0 };
    while let Some((b':', rest)) = octets.get(found.length..).and_then(<[u8]>::split_first) {
        if found.colons == 0 {
            found.colon = found.length;
        }
        found.colons = (found.colons + 1).min(2);
        found.length += 1 + in_name(rest);
    }
    found
}

/// How many octets at the beginning are ASCII characters of a name, without the colon.
fn in_name(octets: &[u8]) -> usize {
    octets.iter().position(|octet| !NAMES.get(usize::from(*octet)).copied().unwrap_or(false)).unwrap_or(octets.len())
}

static NAMES: [bool; 256] = {
    let mut names = [false; 256];
    let mut rest: &mut [bool] = &mut names;
    let mut octet = 0_u8;
    while let [first, after @ ..] = rest {
        *first = octet.is_ascii_alphanumeric() || matches!(octet, b'_' | b'-' | b'.');
        octet = octet.wrapping_add(1);
        rest = after;
    }
    names
};

/// Where an attribute's value ends or has to be looked at closely: at the quote, `<`, `&` or an octet below the blank.
/// `None` if that is not near.
pub(crate) fn value(octets: &[u8], quote: u8) -> Option<usize> {
    first(octets, |word| !(differs(word, quote) & differs(word, b'<') & differs(word, b'&') & at_least_blank(word)))
}

/// Where a text ends or has to be looked at closely: at `<`, `&`, `>` or a carriage return. `None` if that is not near.
pub(crate) fn text(octets: &[u8]) -> Option<usize> {
    first(octets, |word| !(differs(word, b'<') & differs(word, b'&') & differs(word, b'>') & differs(word, b'\r')))
}

/// Whether there is white space as XML knows it.
pub(crate) fn has_space(octets: &[u8]) -> bool {
    // Without a branch for each octet.
    octets.iter().fold(false, |found, octet| found | (*octet == b' ') | (*octet == b'\t') | (*octet == b'\r') | (*octet == b'\n'))
}

/// Octets that are looked at before a wide search is the better one.
const NEAR: usize = 96;
const WORD: usize = 8;
const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x80 * ONES;
const LOW: u64 = 0x7f * ONES;

/// The first octet for which the highest bit is set in what `special` makes of a word.
#[inline]
fn first(octets: &[u8], special: impl Fn(u64) -> u64) -> Option<usize> {
    let mut rest = octets.get(..NEAR).unwrap_or(octets);
    let mut at = 0;
    while let Some((eight, after)) = rest.split_first_chunk() {
        let found = special(u64::from_le_bytes(*eight)) & HIGH;
        if found != 0 {
            return Some(at + place(found));
        }
        at += WORD;
        rest = after;
    }
    // What is filled up stands behind the octets and is not theirs.
    let mut last = [0; WORD];
    last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
    let found = special(u64::from_le_bytes(last)) & HIGH;
    Some(place(found)).filter(|place| found != 0 && *place < rest.len()).map(|place| at + place)
}

/// Which octet of a word a set bit is in.
fn place(found: u64) -> usize {
    // INVARIANT: at most 8.
    (found.trailing_zeros() / 8) as usize
}

fn word_of(octet: u8) -> u64 {
    ONES.wrapping_mul(u64::from(octet))
}

/// Which octets are another one than this ASCII character.
#[inline]
fn differs(word: u64, ascii: u8) -> u64 {
    ((word & LOW) ^ word_of(ascii)).wrapping_add(LOW) | word
}

/// Which octets are the blank, one above, or beyond ASCII.
#[inline]
fn at_least_blank(word: u64) -> u64 {
    (word & LOW).wrapping_add(word_of(0x80 - b' ')) | word
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plainly(octets: &[u8], special: impl Fn(u8) -> bool) -> Option<usize> {
        octets.iter().take(NEAR).position(|octet| special(*octet))
    }

    fn is_name_octet(octet: u8) -> bool {
        octet.is_ascii_alphanumeric() || matches!(octet, b'_' | b'-' | b'.')
    }

    fn plain_name(octets: &[u8]) -> AsciiName {
        let length = octets.iter().position(|octet| !is_name_octet(*octet) && *octet != b':').unwrap_or(octets.len());
        let colons: Vec<usize> = (0..length).filter(|at| octets[*at] == b':').collect();
        AsciiName { length, colons: colons.len().min(2), colon: colons.first().copied().unwrap_or(0) }
    }

    fn same(octets: &[u8]) {
        assert_eq!(name(octets), plain_name(octets), "{octets:?}");
        for quote in [b'"', b'\''] {
            let special = |octet| octet == quote || matches!(octet, b'<' | b'&') || octet < b' ';
            assert_eq!(value(octets, quote), plainly(octets, special), "{octets:?}");
        }
        assert_eq!(text(octets), plainly(octets, |octet| matches!(octet, b'<' | b'&' | b'>' | b'\r')), "{octets:?}");
        assert_eq!(has_space(octets), octets.iter().any(|octet| matches!(octet, b' ' | b'\t' | b'\r' | b'\n')), "{octets:?}");
    }

    #[test]
    fn every_octet_is_seen_in_every_place() {
        for octet in 0..=u8::MAX {
            for around in [b'a', 0x80, 0xff, b';'] {
                for at in 0..20 {
                    let mut octets = [around; 20];
                    octets[at] = octet;
                    same(&octets);
                    same(&octets[..=at]);
                }
            }
        }
    }

    proptest! {
        #[test]
        fn eight_at_a_time_find_what_one_at_a_time_finds(octets in prop::collection::vec(prop_oneof![4 => b'a'..=b'z', 1 => any::<u8>(), 1 => Just(b':')], 0..200)) {
            same(&octets);
        }
    }
}

//! Base64 (RFC 4648 §4) as XML carries it: with white space between the digits, and otherwise strict.
//!
//! What an attacker tries: two readings of one value. So there is one padding, its unused bits are zero, and nothing but the
//! alphabet and XML's white space is skipped or admitted.

use crate::scan;

/// The octets of a text, or `None` if anything in it is not base64.
pub fn decode(text: &str) -> Option<Vec<u8>> {
    let octets = text.as_bytes();
    // Lines end early, where they end at all.
    let begin = octets.get(..LINE).unwrap_or(octets);
    if let (false, Some(decoded)) = (scan::has_space(begin), decode_digits(octets)) {
        return Some(decoded);
    }
    if scan::has_space(octets) {
        let lines = octets.split(|octet| matches!(octet, b' ' | b'\t' | b'\r' | b'\n'));
        let digits = lines.fold(Vec::with_capacity(octets.len()), |mut digits, line| {
            digits.extend_from_slice(line);
            digits
        });
        return decode_digits(&digits);
    }
    None
}

/// Longer than a line of base64 (RFC 2045 §6.8).
const LINE: usize = 80;

fn decode_digits(digits: &[u8]) -> Option<Vec<u8>> {
    let (quads, rest) = digits.as_chunks::<4>();
    if !rest.is_empty() {
        return None;
    }
    let Some((last, quads)) = quads.split_last() else { return Some(Vec::new()) };
    let mut octets = Vec::with_capacity(digits.len() / 4 * 3);
    octets.resize(quads.len() * 3, 0);
    let mut wrong = 0;
    for (quad, three) in quads.iter().zip(octets.as_chunks_mut::<3>().0) {
        let values = quad.map(value);
        wrong |= values.iter().fold(0, |all, value| all | value);
        *three = join(values);
    }
    let (known, padding) = match last {
        [_, _, b'=', b'='] => (2, 2),
        [_, _, _, b'='] => (3, 1),
        [_, _, _, _] => (4, 0),
    };
    let mut values = [0; 4];
    values.iter_mut().zip(last).take(known).for_each(|(to, digit)| *to = value(*digit));
    wrong |= values.iter().fold(0, |all, value| all | value);
    let three = join(values);
    let (tail, unused) = three.split_at_checked(3 - padding)?;
    octets.extend_from_slice(tail);
    (wrong & INVALID == 0 && unused.iter().all(|octet| *octet == 0)).then_some(octets)
}

/// Six bits, or [`INVALID`].
fn value(digit: u8) -> u8 {
    VALUES.get(usize::from(digit)).copied().unwrap_or(INVALID)
}

fn join([a, b, c, d]: [u8; 4]) -> [u8; 3] {
    [a << 2 | b >> 4, b << 4 | c >> 2, c << 6 | d]
}

/// A bit that no value has.
const INVALID: u8 = 0x80;

static VALUES: [u8; 256] = {
    let mut values = [INVALID; 256];
    let mut rest: &mut [u8] = &mut values;
    let mut octet = 0_u8;
    while let [first, after @ ..] = rest {
        match octet {
            b'A'..=b'Z' => *first = octet - b'A',
            b'a'..=b'z' => *first = octet - b'a' + 26,
            b'0'..=b'9' => *first = octet - b'0' + 52,
            b'+' => *first = 62,
            b'/' => *first = 63,
            _ => {}
        }
        octet = octet.wrapping_add(1);
        rest = after;
    }
    values
};

#[cfg(test)]
mod tests {
    use ::base64::Engine as _;
    use ::base64::engine::general_purpose::STANDARD;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_value_has_one_spelling() {
        assert_eq!(decode(""), Some(Vec::new()));
        assert_eq!(decode(" Z g\r\n=\t= ").as_deref(), Some(&b"f"[..]));
        for wrong in
            ["Z", "Zg", "Zg=", "Zh==", "Zm9=", "Zg==Zg==", "Z===", "====", "Zm9v=", "Zm9v====", "Zm-v", "Zm_v", "Zm9\u{b}", "Zm9\u{e4}"]
        {
            assert_eq!(decode(wrong), None, "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn it_is_what_another_decoder_reads(octets in prop::collection::vec(any::<u8>(), 0..100)) {
            prop_assert_eq!(decode(&STANDARD.encode(&octets)), Some(octets));
        }

        #[test]
        fn it_refuses_what_another_decoder_refuses(text in "[A-Za-z0-9+/=]{0,12}") {
            prop_assert_eq!(decode(&text), STANDARD.decode(&text).ok());
        }
    }
}

//! An event as one line of JSON.
//!
//! Names, paths and hosts come from strangers. An attacker puts line ends into them to forge a record, escape sequences to
//! repaint a terminal, characters that turn the reading direction to show another name. JSON escapes the first 32
//! characters only; here every control character and every one that turns or hides text is written as `\uXXXX`.

use std::io;

use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::Formatter;

use vestibule_engine::audit::Recorded;

/// Room for a line: most decisions fit.
const LINE: usize = 1024;

/// The line, with its end.
///
/// # Errors
/// When something in it cannot be JSON.
pub fn write(event: &Recorded) -> serde_json::Result<Vec<u8>> {
    let mut line = Vec::with_capacity(LINE);
    event.serialize(&mut Serializer::with_formatter(&mut line, Plain))?;
    line.push(b'\n');
    Ok(line)
}

/// Compact JSON in which nothing acts.
struct Plain;

impl Formatter for Plain {
    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        if fragment.bytes().all(|octet| octet < 0x7f) {
            return writer.write_all(fragment.as_bytes());
        }
        let mut rest = fragment;
        while let Some((at, acting)) = rest.char_indices().find(|(_, c)| acts(*c)) {
            let (before, from) = rest.split_at(at);
            writer.write_all(before.as_bytes())?;
            for unit in acting.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
            rest = from.get(acting.len_utf8()..).unwrap_or_default();
        }
        writer.write_all(rest.as_bytes())
    }
}

/// Whether a character does something instead of being seen.
fn acts(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::tests::decided;

    #[test]
    fn nothing_in_a_line_acts_and_all_of_it_can_be_read_back() {
        let path = "/łódź\n\r\t\x1b[2J\u{7f}\u{85}\u{9b}\u{202e}\u{2028}\u{feff}\u{200b}\u{e0041}😀\"\\";
        let event = decided(path);
        let line = String::from_utf8(write(&event).unwrap()).unwrap();
        assert_eq!(serde_json::from_str::<Recorded>(&line).unwrap(), event);
        let body = line.strip_suffix('\n').unwrap();
        assert!(!body.chars().any(acts), "{line}");
        assert!(body.contains("łódź") && body.contains("😀") && body.contains(r"\u202e") && body.contains(r"\u009b"), "{line}");
    }

    #[test]
    fn every_character_is_either_seen_or_escaped() {
        for c in (0..=0x10_ffff).filter_map(char::from_u32) {
            let mut written = Vec::new();
            Plain.write_string_fragment(&mut written, c.encode_utf8(&mut [0; 4])).unwrap();
            let written = String::from_utf8(written).unwrap();
            assert_eq!(written.starts_with('\\') && written.len() > 1, acts(c), "{c:?}");
        }
    }
}

//! An event as one line of JSON, in which nothing acts.

use vestibule_engine::audit::Recorded;

/// Room for a line: most decisions fit.
const LINE: usize = 1024;

/// The line, with its end.
///
/// # Errors
/// When something in it cannot be JSON.
pub fn write(event: &Recorded) -> serde_json::Result<Vec<u8>> {
    let mut line = Vec::with_capacity(LINE);
    event.write_line(&mut line)?;
    Ok(line)
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
        assert!(!body.chars().any(|c| c.is_control() || "\u{202e}\u{2028}\u{feff}\u{200b}\u{e0041}".contains(c)), "{line}");
        assert!(body.contains("łódź") && body.contains("😀") && body.contains(r"\u202e") && body.contains(r"\u009b"), "{line}");
    }
}

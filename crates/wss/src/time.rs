//! Instants as WS-Security writes them (SOAP Message Security §10): UTC, and said so.

use jiff::Timestamp;
use jiff::fmt::temporal::DateTimePrinter;

/// Reads an `xs:dateTime` in UTC: `Z`, or `+00:00` as one client writes it. More digits than a nanosecond's are cut.
pub(crate) fn parse(text: &str) -> Option<Timestamp> {
    let text = text.trim_matches([' ', '\t', '\r', '\n']);
    let (head, rest) = text.split_at_checked("0000-00-00T00:00:00".len())?;
    let shape = head.bytes().zip(*b"0000-00-00T00:00:00").all(|(octet, want)| match want {
        b'0' => octet.is_ascii_digit(),
        other => octet == other,
    });
    // BSP R3213: a leap second would be read as the second before.
    if !shape || head.ends_with("60") {
        return None;
    }
    let fraction = match rest.strip_suffix('Z').or_else(|| rest.strip_suffix("+00:00"))? {
        "" => "",
        fraction => fraction.strip_prefix('.').filter(|digits| is_fraction(digits))?,
    };
    let dot = if fraction.is_empty() { "" } else { "." };
    format!("{head}{dot}{}Z", fraction.get(..9).unwrap_or(fraction)).parse().ok()
}

fn is_fraction(digits: &str) -> bool {
    !digits.is_empty() && digits.len() <= MOST_DIGITS && digits.bytes().all(|octet| octet.is_ascii_digit())
}

/// Digits of a fraction of a second that are read at all.
const MOST_DIGITS: usize = 24;

/// Writes an instant to the millisecond (BSP R3229), with all three digits: some readers need them.
pub(crate) fn written(instant: Timestamp) -> String {
    PRINTER.timestamp_to_string(&instant)
}

static PRINTER: DateTimePrinter = DateTimePrinter::new().precision(Some(3));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_in_utc_and_of_one_form() {
        let noon: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
        for same in
            ["2026-03-01T12:00:00Z", "2026-03-01T12:00:00+00:00", " 2026-03-01T12:00:00.000Z\n", "2026-03-01T12:00:00.0000000000009Z"]
        {
            assert_eq!(parse(same), Some(noon), "{same}");
        }
        for wrong in [
            "2026-03-01T12:00:00",
            "2026-03-01T13:00:00+01:00",
            "2026-03-01T12:00:00-00:00",
            "2026-03-01 12:00:00Z",
            "2026-03-01T12:00Z",
            "2026-03-01T12:00:60Z",
            "2026-03-01T12:00:00.Z",
            "2026-03-01T12:00:00z",
            "2026-13-01T12:00:00Z",
            "2026-03-01T12:00:00,5Z",
            "",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_is_written_has_milliseconds_and_is_read_again() {
        let instant: Timestamp = "2026-03-01T12:00:00.0709Z".parse().unwrap();
        assert_eq!(written(instant), "2026-03-01T12:00:00.070Z");
        assert_eq!(parse(&written(instant)).map(written), Some(written(instant)));
    }
}

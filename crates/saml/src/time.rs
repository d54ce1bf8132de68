//! Instants and durations as XML Schema writes them.
//!
//! SAML core §1.3.3: times are in UTC. A value without a zone would mean what the reader's clock likes; it is refused.
//! Offsets are converted, `Z` is written.

use jiff::{SignedDuration, Span, SpanRelativeTo, Timestamp};

/// Reads an `xs:dateTime` with a zone.
pub(crate) fn parse(value: &str) -> Option<Timestamp> {
    let value = value.trim_matches(is_space);
    let (date, rest) = value.split_at_checked("0000-00-00T00:00:00".len())?;
    let shape = date.bytes().zip(*b"0000-00-00T00:00:00").all(|(octet, want)| match want {
        b'0' => octet.is_ascii_digit(),
        other => octet == other,
    });
    let (fraction, zone) = match rest.strip_prefix('.') {
        Some(rest) => {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            rest.split_at_checked(digits).filter(|(fraction, _)| !fraction.is_empty())?
        }
        None => ("", rest),
    };
    let zoned = zone == "Z"
        || (zone.len() == 6
            && zone.bytes().zip(*b"+00:00").all(|(octet, want)| match want {
                b'0' => octet.is_ascii_digit(),
                b'+' => matches!(octet, b'+' | b'-'),
                other => octet == other,
            }));
    if !shape || !zoned || fraction.len() > MOST_DIGITS {
        return None;
    }
    match fraction.get(..9).filter(|nanoseconds| nanoseconds.len() < fraction.len()) {
        // Finer than a nanosecond says nothing to anybody.
        Some(nanoseconds) => format!("{date}.{nanoseconds}{zone}").parse().ok(),
        None => value.parse().ok(),
    }
}

/// Digits of a fraction of a second that are read at all.
const MOST_DIGITS: usize = 24;

/// Writes an instant in UTC, to the millisecond: SAML core §1.3.3 lets nobody rely on more.
pub(crate) fn written(instant: Timestamp) -> String {
    to_millisecond(instant).to_string()
}

/// What is left of an instant once it was written.
pub(crate) fn to_millisecond(instant: Timestamp) -> Timestamp {
    Timestamp::from_millisecond(instant.as_millisecond()).unwrap_or(instant)
}

/// Reads an `xs:duration` of days and less, in which a day has 24 hours. Years and months have no length.
pub(crate) fn duration(value: &str) -> Option<SignedDuration> {
    let value = value.trim_matches(is_space);
    if value.len() > 64 || !value.starts_with('P') {
        return None;
    }
    let span: Span = value.parse().ok()?;
    span.to_duration(SpanRelativeTo::days_are_24_hours()).ok().filter(|length| !length.is_negative())
}

/// White space of XML.
pub(crate) fn is_space(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\r' | '\n')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_need_a_zone_and_a_plain_form() {
        let noon: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
        for same in
            ["2026-03-01T12:00:00Z", " 2026-03-01T12:00:00.000Z\n", "2026-03-01T13:00:00+01:00", "2026-03-01T12:00:00.0000000000009Z"]
        {
            assert_eq!(parse(same), Some(noon), "{same}");
        }
        for bad in [
            "2026-03-01T12:00:00",
            "2026-03-01 12:00:00Z",
            "2026-03-01T12:00Z",
            "2026-03-01T12:00:00z",
            "2026-03-01T12:00:00.Z",
            "20260301T120000Z",
            "2026-13-01T12:00:00Z",
            "2026-03-01T12:00:00+01",
            "2026-03-01T12:00:00Z[UTC]",
            "",
            "2026-03-01T12:00:0\u{665}Z",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let instant: Timestamp = "2026-03-01T12:00:00.123456789Z".parse().unwrap();
        assert_eq!(written(instant), "2026-03-01T12:00:00.123Z");
        assert_eq!(parse(&written(instant)), Some(to_millisecond(instant)));
    }

    #[test]
    fn durations_have_a_length() {
        assert_eq!(duration("PT6H"), Some(SignedDuration::from_hours(6)));
        assert_eq!(duration("P1DT1S"), Some(SignedDuration::from_secs(86_401)));
        for bad in ["P1M", "P1Y", "-PT1H", "6h", "PT-1H", ""] {
            assert_eq!(duration(bad), None, "{bad}");
        }
    }
}

//! The hours of a week in which people of a profile may sign in and stay (`login-saml-delegated.md` §8.2).

use jiff::civil::Weekday;
use jiff::tz::TimeZone;

use crate::clock::Timestamp;

/// Most spans of one week.
const MOST: usize = 64;
const DAYS: [(&str, Weekday); 7] = [
    ("mon", Weekday::Monday),
    ("tue", Weekday::Tuesday),
    ("wed", Weekday::Wednesday),
    ("thu", Weekday::Thursday),
    ("fri", Weekday::Friday),
    ("sat", Weekday::Saturday),
    ("sun", Weekday::Sunday),
];

/// Spans of the week in one time zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hours {
    zone: TimeZone,
    spans: Vec<Span>,
}

/// On some days, from one minute up to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    first: i8,
    last: i8,
    from: u16,
    to: u16,
}

impl Hours {
    /// Reads spans as `mon-fri 08:00-18:00` or `sat 09:00-12:00`; one over midnight is two spans. No span means no hour at all.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn parse(spans: &[&str], zone: &str) -> Result<Self, String> {
        if spans.len() > MOST {
            return Err(format!("a week has at most {MOST} spans"));
        }
        let zone = TimeZone::get(zone).map_err(|_| format!("`{zone}` is no time zone; write it as \"Europe/Berlin\""))?;
        let spans = spans.iter().map(|text| Span::parse(text)).collect::<Result<_, _>>()?;
        Ok(Self { zone, spans })
    }

    /// Whether this is one of them.
    pub fn admit(&self, now: Timestamp) -> bool {
        let there = now.to_zoned(self.zone.clone());
        let day = there.weekday().to_monday_zero_offset();
        let minute = u16::from(there.hour().unsigned_abs()) * 60 + u16::from(there.minute().unsigned_abs());
        self.spans.iter().any(|span| (span.first..=span.last).contains(&day) && (span.from..span.to).contains(&minute))
    }
}

impl Span {
    fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no span of the week; write it as \"mon-fri 08:00-18:00\"");
        let (days, hours) = text.trim().split_once(' ').ok_or_else(wrong)?;
        let (first, last) = days.split_once('-').unwrap_or((days, days));
        let (from, to) = hours.trim().split_once('-').ok_or_else(wrong)?;
        let day = |text: &str| DAYS.iter().find(|(name, _)| *name == text).map(|(_, day)| day.to_monday_zero_offset());
        let span = Self {
            first: day(first).ok_or_else(wrong)?,
            last: day(last).ok_or_else(wrong)?,
            from: minute(from).ok_or_else(wrong)?,
            to: minute(to).ok_or_else(wrong)?,
        };
        match span.first <= span.last && span.from < span.to {
            true => Ok(span),
            false => Err(format!("`{text}` ends before it begins; write two spans")),
        }
    }
}

/// A time of day, up to 24:00.
fn minute(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    let digits = |text: &str| (text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse::<u16>().ok()).flatten();
    let (hour, minute) = (digits(hour)?, digits(minute)?);
    (minute < 60 && hour * 60 + minute <= 24 * 60).then_some(hour * 60 + minute)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_are_those_of_their_zone() {
        let hours = Hours::parse(&["mon-fri 08:00-18:00", "sat 09:30-12:00", "sun 22:00-24:00"], "Europe/Berlin").unwrap();
        for (now, admitted) in [
            // Winter, an hour ahead of UTC; Monday is 5 January 2026.
            ("2026-01-05T06:59:59Z", false),
            ("2026-01-05T07:00:00Z", true),
            ("2026-01-05T16:59:59Z", true),
            ("2026-01-05T17:00:00Z", false),
            // Summer: two hours.
            ("2026-07-06T06:00:00Z", true),
            ("2026-07-06T05:59:59Z", false),
            ("2026-01-10T08:30:00Z", true),
            ("2026-01-10T11:00:00Z", false),
            ("2026-01-11T22:59:59Z", true),
            ("2026-01-11T23:00:00Z", false),
        ] {
            assert_eq!(hours.admit(now.parse().unwrap()), admitted, "{now}");
        }
        assert!(!Hours::parse(&[], "UTC").unwrap().admit(Timestamp::UNIX_EPOCH), "no span, no hour");
    }

    #[test]
    fn what_is_no_span_is_refused() {
        for text in [
            "",
            "mon",
            "mon 8:00-18:00",
            "mon 08:00",
            "fri-mon 08:00-09:00",
            "mon 18:00-08:00",
            "mon 08:00-08:00",
            "mon 08:00-24:01",
            "moon 08:00-09:00",
            "mon 08:60-09:00",
        ] {
            assert!(Hours::parse(&[text], "UTC").is_err(), "{text}");
        }
        assert!(Hours::parse(&["mon 08:00-09:00"], "Mars/Olympus").is_err());
        assert!(Hours::parse(&["mon 08:00-09:00"; 65], "UTC").is_err());
    }
}

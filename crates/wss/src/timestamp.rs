//! `wsu:Timestamp` (SOAP Message Security §10, WS-I Basic Security Profile R3203 to R3229).
//!
//! What an attacker tries: to send a good message again later, with the time taken out, moved elsewhere or written twice. A
//! time proves something only where a signature covers it.

use vestibule_xmlsec::{Authority, ElementView, Error as XmlError, FromSigned, Signed};

use crate::namespaces::{Era, WSU};
use crate::reason::{Reason, Refused, Trace};
use crate::rules::Window;
use crate::time;

/// When a message was made, and until when it counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timestamp {
    /// When it was made.
    pub created: jiff::Timestamp,
    /// Until when it counts.
    pub expires: Option<jiff::Timestamp>,
}

impl FromSigned for Timestamp {
    fn from_signed(element: ElementView<'_, Signed>) -> Result<Self, XmlError> {
        Self::read(&element, Era::Standard)
    }
}

impl Timestamp {
    pub(crate) fn read<A: Authority>(element: &ElementView<'_, A>, era: Era) -> Result<Self, XmlError> {
        let utility = era.utility().unwrap_or(WSU);
        if !element.is(utility, "Timestamp") {
            return Err(element.unreadable("no Timestamp"));
        }
        for child in element.children() {
            let known = child.namespace() == utility
                && match child.local() {
                    "Created" | "Expires" => true,
                    // The drafts have nodes on the way write when they had it.
                    "Received" => era != Era::Standard,
                    _ => false,
                };
            // BSP R3222, R3225 to R3227.
            if !known {
                return Err(child.unreadable("an element that a Timestamp does not have"));
            }
            if child.attribute("", "ValueType").is_some_and(|kind| era == Era::Standard || !kind.ends_with("dateTime")) {
                return Err(child.unreadable("a time of another type"));
            }
        }
        let instant = |name: &str| {
            let child = element.child(utility, name)?;
            child.map(|child| time::parse(&child.text()?).ok_or_else(|| child.unreadable("a time that is no instant in UTC"))).transpose()
        };
        let created = instant("Created")?.ok_or_else(|| element.unreadable("a Timestamp without Created"))?;
        let expires = instant("Expires")?;
        if expires.is_some_and(|expires| expires <= created) {
            return Err(element.unreadable("a Timestamp that ends before it begins"));
        }
        Ok(Self { created, expires })
    }

    /// Whether it counts now.
    pub(crate) fn check(&self, trace: &mut Trace, window: &Window, now: jiff::Timestamp) -> Result<(), Refused> {
        let name = "timestamp";
        if let Some(expires) = self.expires {
            let holds = now < expires.checked_add(window.skew).unwrap_or(jiff::Timestamp::MAX);
            trace.demand(name, holds, Reason::Expired, format!("expires {expires}, now {now}, skew {} s", window.skew.as_secs()))?;
        }
        check_created(trace, name, self.created, window, now)
    }

    /// The instant from which nothing accepts it.
    pub(crate) fn end(&self, window: &Window) -> jiff::Timestamp {
        let aged = window.end_of(self.created);
        let expired = self.expires.and_then(|expires| expires.checked_add(window.skew).ok());
        expired.map_or(aged, |expired| expired.min(aged))
    }
}

/// Whether something was made lately.
pub(crate) fn check_created(
    trace: &mut Trace,
    name: &'static str,
    created: jiff::Timestamp,
    window: &Window,
    now: jiff::Timestamp,
) -> Result<(), Refused> {
    let age = now.duration_since(created);
    let detail = format!("created {created}, now {now}");
    trace.demand(name, -age <= window.future, Reason::NotYetValid, detail.clone())?;
    trace.demand(name, age <= window.max_age, Reason::Stale, detail)
}

#[cfg(test)]
mod tests {
    use vestibule_xmlsec::{Document, FromClaimed, Limits, Unsigned};

    use super::*;
    use crate::reason::Outcome;

    struct Claim(Timestamp);

    impl FromClaimed for Claim {
        fn from_claimed(root: ElementView<'_, Unsigned>) -> Result<Self, XmlError> {
            let era = Era::ALL.into_iter().find(|era| era.utility() == Some(root.namespace())).unwrap_or(Era::Standard);
            Timestamp::read(&root, era).map(Self)
        }
    }

    fn read_in(utility: &str, inside: &str) -> Result<Timestamp, XmlError> {
        let text = format!("<u:Timestamp xmlns:u='{utility}'>{inside}</u:Timestamp>");
        Document::parse(text.as_bytes(), &Limits::MESSAGE)?.claim::<Claim>().map(|claim| claim.sender_says().0)
    }

    fn read(inside: &str) -> Result<Timestamp, XmlError> {
        read_in(WSU, inside)
    }

    const CREATED: &str = "<u:Created>2026-03-01T12:00:00Z</u:Created>";
    const EXPIRES: &str = "<u:Expires>2026-03-01T12:05:00Z</u:Expires>";

    #[test]
    fn it_has_one_beginning_and_at_most_one_end() {
        assert!(read(CREATED).is_ok_and(|timestamp| timestamp.expires.is_none()));
        assert_eq!(read(&format!("{CREATED}{EXPIRES}")), read(&format!("{EXPIRES}{CREATED}")));
        for wrong in [
            String::new(),
            EXPIRES.to_owned(),
            CREATED.repeat(2),
            format!("{CREATED}{EXPIRES}{EXPIRES}"),
            format!("{CREATED}<u:Received>2026-03-01T12:00:00Z</u:Received>"),
            format!("{CREATED}<x/>"),
            CREATED.replace("Created>2026", "Created ValueType='x'>2026"),
            CREATED.replace('Z', "+01:00"),
            CREATED.replace("12:00:00", "12:0<!-- -->0:00"),
            format!("{CREATED}<u:Expires>2026-03-01T12:00:00Z</u:Expires>"),
            format!("{CREATED}<u:Expires>2026-03-01T11:59:59Z</u:Expires>"),
        ] {
            assert!(read(&wrong).is_err(), "{wrong}");
        }
        let draft = Era::Draft200306.utility().unwrap();
        assert!(read_in(draft, &format!("{CREATED}<u:Received>2026-03-01T12:00:01Z</u:Received>")).is_ok());
    }

    #[test]
    fn its_borders_are_exact_to_the_second() {
        let timestamp = read(&format!("{CREATED}{EXPIRES}")).unwrap();
        let endless = read(CREATED).unwrap();
        let judged = |timestamp: &Timestamp, now: &str| {
            let mut trace = Trace::default();
            let _ = timestamp.check(&mut trace, &Window::default(), now.parse().unwrap());
            trace.0.last().map(|check| check.outcome).unwrap()
        };
        for (now, expected) in [
            ("2026-03-01T11:58:59Z", Outcome::Failed(Reason::NotYetValid)),
            ("2026-03-01T11:59:00Z", Outcome::Passed),
            ("2026-03-01T12:05:00Z", Outcome::Passed),
            ("2026-03-01T12:05:01Z", Outcome::Failed(Reason::Stale)),
            ("2026-03-01T12:05:29Z", Outcome::Failed(Reason::Stale)),
            ("2026-03-01T12:05:30Z", Outcome::Failed(Reason::Expired)),
        ] {
            assert_eq!(judged(&timestamp, now), expected, "{now}");
        }
        assert_eq!(judged(&endless, "2026-03-01T12:05:30Z"), Outcome::Failed(Reason::Stale));
        assert_eq!(timestamp.end(&Window::default()), "2026-03-01T12:05:01Z".parse().unwrap());
    }
}

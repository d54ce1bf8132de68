//! A record as a line of JSON.
//!
//! Names, paths and hosts come from strangers. An attacker puts line ends into them to forge a record, escape sequences to
//! repaint a terminal, characters that turn the reading direction to show another name. JSON escapes the first 32
//! characters only; here every control character and every one that turns or hides text is written as `\uXXXX`.
//!
//! Every request writes one, and half of what serde took for it was looking for something to escape, octet by octet, in
//! words that are our own. So the record of a decision is written here; a test holds it to what serde writes.

use std::fmt::Display;
use std::io::{self, Write as _};

use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::Formatter;

use super::{Decided, Event, Recorded};
use crate::scheme::Step;

impl Recorded {
    /// Appends this record, as serde would write it, and a line's end.
    ///
    /// # Errors
    /// When serde has no JSON for it; part of a line may have been written.
    pub fn write_line(&self, line: &mut Vec<u8>) -> Result<(), serde_json::Error> {
        match &self.event {
            Event::RequestDecided(decided) => write_decided(self, decided, line)?,
            Event::RequestUnreadable { .. }
            | Event::LoginSucceeded { .. }
            | Event::LoginRejected { .. }
            | Event::LoginFellThrough { .. }
            | Event::GateClosed { .. }
            | Event::GateOpened { .. }
            | Event::SessionOpened { .. }
            | Event::SessionEnded { .. }
            | Event::AssertionIssued { .. }
            | Event::TokenIssued { .. }
            | Event::KeyRotated { .. }
            | Event::ConfigReloaded { .. }
            | Event::AnswerRefused { .. }
            | Event::MessageRefused { .. }
            | Event::EmergencyAttempted { .. }
            | Event::DelegatedCalled(_)
            | Event::AuditOpened { .. }
            | Event::AuditSealed { .. }
            | Event::AdminChanged { .. } => value(self, line)?,
        }
        line.push(b'\n');
        Ok(())
    }
}

fn write_decided(recorded: &Recorded, decided: &Decided, line: &mut Vec<u8>) -> Result<(), serde_json::Error> {
    // Named one by one: a new field must be thought of here.
    let Recorded { v, time, request_id, client, tenant, event: _ } = recorded;
    let Decided { method, host, path, route, decision, scheme, subject, reason, detail, policy, responses, steps, ms } = decided;
    line.extend_from_slice(b"{\"v\":");
    value(v, line)?;
    plain(",\"time\":", time, line)?;
    if let Some(id) = request_id {
        line.extend_from_slice(b",\"request_id\":\"");
        line.extend_from_slice(id.0.hyphenated().encode_lower(&mut [0; uuid::fmt::Hyphenated::LENGTH]).as_bytes());
        line.push(b'"');
    }
    if let Some(client) = client {
        plain(",\"client\":", client, line)?;
    }
    optional(",\"tenant\":", tenant.as_ref().map(|tenant| tenant.as_str()), line)?;
    line.extend_from_slice(b",\"event\":\"request.decided\",\"method\":");
    text(method, line)?;
    line.extend_from_slice(b",\"host\":");
    text(host, line)?;
    line.extend_from_slice(b",\"path\":");
    text(path, line)?;
    optional(",\"route\":", route.as_ref().map(|route| route.as_str()), line)?;
    line.extend_from_slice(b",\"decision\":");
    value(decision, line)?;
    optional(",\"scheme\":", scheme.as_ref().map(|scheme| scheme.as_str()), line)?;
    optional(",\"subject\":", subject.as_deref(), line)?;
    if let Some(reason) = reason {
        line.extend_from_slice(b",\"reason\":");
        value(reason, line)?;
    }
    optional(",\"detail\":", detail.as_deref(), line)?;
    if !policy.is_empty() {
        list(",\"policy\":[", policy, |policy, line| text(policy.as_str(), line), line)?;
    }
    if !responses.is_empty() {
        list(",\"responses\":[", responses, |response, line| text(response.as_str(), line), line)?;
    }
    list(",\"steps\":[", steps, write_step, line)?;
    line.extend_from_slice(b",\"ms\":");
    value(ms, line)?;
    line.push(b'}');
    Ok(())
}

fn write_step(step: &Step, line: &mut Vec<u8>) -> Result<(), serde_json::Error> {
    let Step { scheme, verdict, reason, took: _ } = step;
    line.extend_from_slice(b"{\"scheme\":");
    text(scheme.as_str(), line)?;
    line.extend_from_slice(b",\"verdict\":");
    value(verdict, line)?;
    if let Some(reason) = reason {
        line.extend_from_slice(b",\"reason\":");
        value(reason, line)?;
    }
    line.extend_from_slice(b",\"ms\":");
    value(&step.milliseconds(), line)?;
    line.push(b'}');
    Ok(())
}

fn list<T>(
    begin: &str,
    items: &[T],
    write: impl Fn(&T, &mut Vec<u8>) -> Result<(), serde_json::Error>,
    line: &mut Vec<u8>,
) -> Result<(), serde_json::Error> {
    line.extend_from_slice(begin.as_bytes());
    for (place, item) in items.iter().enumerate() {
        if place > 0 {
            line.push(b',');
        }
        write(item, line)?;
    }
    line.push(b']');
    Ok(())
}

fn optional(name: &str, content: Option<&str>, line: &mut Vec<u8>) -> Result<(), serde_json::Error> {
    let Some(content) = content else { return Ok(()) };
    line.extend_from_slice(name.as_bytes());
    text(content, line)
}

/// What never holds anything to escape.
fn plain(name: &str, content: &impl Display, line: &mut Vec<u8>) -> Result<(), serde_json::Error> {
    write!(line, "{name}\"{content}\"").map_err(serde_json::Error::io)
}

fn value(value: &impl Serialize, line: &mut Vec<u8>) -> Result<(), serde_json::Error> {
    value.serialize(&mut Serializer::with_formatter(line, Plain))
}

fn text(text: &str, line: &mut Vec<u8>) -> Result<(), serde_json::Error> {
    // All octets are looked at, whatever is found: so the compiler looks at many at once.
    let escapes = text.bytes().fold(false, |found, octet| found | !(b' '..0x7f).contains(&octet) | (octet == b'"') | (octet == b'\\'));
    if escapes {
        return value(&text, line);
    }
    line.push(b'"');
    line.extend_from_slice(text.as_bytes());
    line.push(b'"');
    Ok(())
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
    use std::time::Duration;

    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::audit::{Reason, Ruling, VERSION};
    use crate::clock::Timestamp;
    use crate::request::{Malformed, RequestId};
    use crate::scheme::Verdict;

    fn reason(number: u8) -> Option<Reason> {
        [None, Some(Reason::WrongPassword), Some(Reason::Malformed(Malformed::Host))][usize::from(number % 3)]
    }

    fn ruling(number: u8) -> Ruling {
        [Ruling::Allow, Ruling::Challenge, Ruling::Deny, Ruling::Fail][usize::from(number % 4)]
    }

    proptest! {
        #[test]
        fn a_decision_is_written_as_serde_writes_it(
            (time, id, client) in (0_i64..4_000_000_000_000_000, any::<Option<u128>>(), any::<Option<std::net::IpAddr>>()),
            texts in prop::collection::vec("(?s).{0,12}", 5),
            (some, number, ms) in (any::<[bool; 4]>(), any::<u8>(), any::<f64>()),
            lists in prop::collection::vec(prop::collection::vec("(?s).{0,6}", 0..3), 2),
            steps in prop::collection::vec(("(?s).{0,6}", any::<u8>(), 0_u64..10_000_000), 0..3),
        ) {
            let optional = |place: usize| some[place].then(|| texts[place].as_str());
            let recorded = Recorded {
                v: VERSION,
                time: Timestamp::from_microsecond(time).unwrap(),
                request_id: id.map(|id| RequestId(Uuid::from_u128(id))),
                client,
                tenant: optional(0).map(Into::into),
                event: Event::RequestDecided(Decided {
                    method: texts[4].clone(),
                    host: texts[3].clone(),
                    path: texts[2].clone(),
                    route: optional(1).map(Into::into),
                    decision: ruling(number),
                    scheme: optional(2).map(Into::into),
                    subject: optional(3).map(Into::into),
                    reason: reason(number),
                    detail: optional(0).map(Into::into),
                    policy: lists[0].iter().map(|name| name.as_str().into()).collect(),
                    responses: lists[1].iter().map(|name| name.as_str().into()).collect(),
                    steps: steps
                        .iter()
                        .map(|(scheme, number, took)| Step {
                            scheme: scheme.as_str().into(),
                            verdict: Verdict::Rejected,
                            reason: reason(*number),
                            took: Duration::from_nanos(*took),
                        })
                        .collect(),
                    ms,
                }),
            };
            let mut line = Vec::new();
            recorded.write_line(&mut line).unwrap();
            let mut whole = Vec::new();
            value(&recorded, &mut whole).unwrap();
            let (line, whole) = (String::from_utf8(line).unwrap(), String::from_utf8(whole).unwrap());
            prop_assert_eq!(&line, &(whole + "\n"));
            prop_assert_eq!(line.chars().filter(|c| acts(*c)).collect::<String>(), "\n");
            let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
            prop_assert_eq!(read(&line), read(&serde_json::to_string(&recorded).unwrap()));
        }
    }

    #[test]
    fn every_character_is_either_seen_or_escaped() {
        for c in (0..=0x10_ffff).filter_map(char::from_u32) {
            let mut written = Vec::new();
            value(&c, &mut written).unwrap();
            let written = String::from_utf8(written).unwrap();
            let shown = written.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap();
            assert_eq!(shown.starts_with('\\') && shown.len() > 1, acts(c) || c == '"' || c == '\\', "{c:?}");
            assert_eq!(serde_json::from_str::<char>(&written).unwrap(), c);
        }
    }
}

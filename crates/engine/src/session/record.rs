//! A session as the store keeps it: a version, then fields in a fixed order.
//!
//! Whoever can write to the store can already be anyone; but a record cut short, of another version or with
//! something after its end is refused, so that a fault does not become a different login.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use quick_cache::sync::Cache;
use uuid::Uuid;

use crate::clock::Timestamp;
use crate::identity::{Attributes, Issuer, Level, SchemeName, UserId};

/// The format written here.
const VERSION: u8 = 2;
/// The one before, without an address: sessions live on while a program is replaced.
const WITHOUT_ADDRESS: u8 = 1;
/// Longest record, in octets: issuers may state much of a subject, a store of sessions must not become theirs.
pub(super) const MAX_RECORD: usize = 64 * 1024;

/// What is remembered of a login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub user: UserId,
    /// The user's epoch at login.
    pub epoch: u64,
    /// The store's epoch at login.
    pub store_epoch: u64,
    pub login: LoginId,
    pub host: Arc<str>,
    pub method: SchemeName,
    pub issuer: Issuer,
    pub level: Level,
    pub authenticated_at: Timestamp,
    /// When the login began, from which the absolute limit counts; sessions handed to other hosts share it.
    pub began: Timestamp,
    /// When this session was opened.
    pub opened: Timestamp,
    /// The last use that was written down.
    pub used: Timestamp,
    pub attributes: Arc<Attributes>,
    /// The address of the login, if it is known.
    pub from: Option<IpAddr>,
}

/// What the sessions of one login have in common. As text: 22 characters of base64url.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct LoginId(pub [u8; 16]);

impl fmt::Display for LoginId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; 22];
        let length = URL_SAFE_NO_PAD.encode_slice(self.0, &mut text).map_err(|_| fmt::Error)?;
        f.write_str(std::str::from_utf8(text.get(..length).unwrap_or_default()).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for LoginId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Text that many records share: hosts, schemes, issuers. A decision by a session that nobody used for a while reads
/// as little memory as it can.
#[derive(Debug)]
pub(super) struct Names {
    known: Cache<Arc<str>, Arc<str>>,
    nothing: Arc<Attributes>,
}

impl Names {
    /// More than these at once are not shared.
    const MOST: usize = 4096;

    fn shared(&self, text: &str) -> Arc<str> {
        self.known.get(text).unwrap_or_else(|| {
            let name: Arc<str> = text.into();
            self.known.insert(name.clone(), name.clone());
            name
        })
    }
}

impl Default for Names {
    fn default() -> Self {
        Self { known: Cache::new(Self::MOST), nothing: Arc::default() }
    }
}

impl Record {
    /// `None` if it would be longer than [`MAX_RECORD`].
    pub fn encode(&self) -> Option<Vec<u8>> {
        let mut octets = Vec::with_capacity(128);
        octets.push(VERSION);
        octets.extend_from_slice(self.user.0.as_bytes());
        octets.extend_from_slice(&self.login.0);
        octets.push(self.level.0);
        number(&mut octets, self.epoch);
        number(&mut octets, self.store_epoch);
        for time in [self.authenticated_at, self.began, self.opened, self.used] {
            octets.extend_from_slice(&time.as_microsecond().to_be_bytes());
        }
        for name in [&*self.host, self.method.as_str(), self.issuer.as_str()] {
            text(&mut octets, name);
        }
        number(&mut octets, self.attributes.len() as u64);
        for (name, values) in &*self.attributes {
            text(&mut octets, name);
            number(&mut octets, values.len() as u64);
            for value in values {
                text(&mut octets, value);
            }
        }
        match self.from.map(|from| from.to_canonical()) {
            None => octets.push(0),
            Some(IpAddr::V4(from)) => {
                octets.push(4);
                octets.extend_from_slice(&from.octets());
            }
            Some(IpAddr::V6(from)) => {
                octets.push(6);
                octets.extend_from_slice(&from.octets());
            }
        }
        (octets.len() <= MAX_RECORD).then_some(octets)
    }

    /// `None` for anything that [`Record::encode`] has not made.
    pub fn decode(octets: &[u8], names: &Names) -> Option<Self> {
        let mut reader = Reader(octets);
        let [version] = reader.take()?;
        if octets.len() > MAX_RECORD || !matches!(version, VERSION | WITHOUT_ADDRESS) {
            return None;
        }
        let user = UserId(Uuid::from_bytes(reader.take()?));
        let login = LoginId(reader.take()?);
        let [level] = reader.take()?;
        let (epoch, store_epoch) = (reader.number()?, reader.number()?);
        let (authenticated_at, began, opened, used) = (reader.time()?, reader.time()?, reader.time()?, reader.time()?);
        let (host, method, issuer) = (names.shared(reader.text()?), names.shared(reader.text()?), names.shared(reader.text()?));
        let mut attributes = Attributes::new();
        for _ in 0..reader.number()? {
            let name = reader.text()?.to_owned();
            let mut values = Vec::new();
            for _ in 0..reader.number()? {
                values.push(reader.text()?.to_owned());
            }
            attributes.insert(name, values);
        }
        let from = match version {
            WITHOUT_ADDRESS => None,
            _ => match reader.take()? {
                [0] => None,
                [4] => Some(IpAddr::from(reader.take::<4>()?)),
                [6] => Some(IpAddr::from(reader.take::<16>()?)),
                _ => return None,
            },
        };
        reader.0.is_empty().then_some(Self {
            user,
            epoch,
            store_epoch,
            login,
            host,
            method: method.into(),
            issuer: issuer.into(),
            level: Level(level),
            authenticated_at,
            began,
            opened,
            used,
            attributes: if attributes.is_empty() { names.nothing.clone() } else { Arc::new(attributes) },
            from,
        })
    }
}

/// Seven bits an octet, the lowest first.
fn number(octets: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        octets.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    octets.push(value.to_le_bytes()[0]);
}

fn text(octets: &mut Vec<u8>, value: &str) {
    number(octets, value.len() as u64);
    octets.extend_from_slice(value.as_bytes());
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (octets, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*octets)
    }

    fn number(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let [octet] = self.take()?;
            let bits = u64::from(octet & 0x7f);
            value |= bits.checked_shl(shift).filter(|shifted| shifted >> shift == bits)?;
            if octet < 0x80 {
                return Some(value);
            }
        }
        None
    }

    fn time(&mut self) -> Option<Timestamp> {
        Timestamp::from_microsecond(i64::from_be_bytes(self.take()?)).ok()
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = usize::try_from(self.number()?).ok()?;
        let (octets, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        std::str::from_utf8(octets).ok()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub fn sample() -> Record {
        let at = |seconds: i64| Timestamp::from_second(1_800_000_000 + seconds).unwrap();
        Record {
            user: UserId(Uuid::from_u128(7)),
            epoch: 300,
            store_epoch: 1,
            login: LoginId([9; 16]),
            host: "app.north.example.com".into(),
            method: "basic".into(),
            issuer: "local".into(),
            level: Level(10),
            authenticated_at: at(0),
            began: at(1),
            opened: at(2),
            used: at(3),
            attributes: Arc::new(Attributes::from([("mail".into(), vec!["a@b".into(), String::new()]), ("none".into(), Vec::new())])),
            from: Some(IpAddr::from([192, 0, 2, 1])),
        }
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let octets = sample().encode().unwrap();
        assert_eq!(Record::decode(&octets, &Names::default()), Some(sample()));
        let plain = Record { attributes: Arc::default(), ..sample() };
        assert!(plain.encode().unwrap().len() < 125, "a session should cost little");
        for from in [None, Some(IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1]))] {
            let record = Record { from, ..sample() };
            assert_eq!(Record::decode(&record.encode().unwrap(), &Names::default()), Some(record));
        }
    }

    #[test]
    fn a_record_of_the_program_before_is_read_and_has_no_address() {
        let mut octets = Record { from: None, ..sample() }.encode().unwrap();
        octets[0] = WITHOUT_ADDRESS;
        octets.pop();
        assert_eq!(Record::decode(&octets, &Names::default()), Some(Record { from: None, ..sample() }));
    }

    #[test]
    fn what_is_not_a_record_is_refused() {
        let octets = sample().encode().unwrap();
        for length in 0..octets.len() {
            assert_eq!(Record::decode(&octets[..length], &Names::default()), None, "cut to {length}");
        }
        assert_eq!(Record::decode(&[octets.as_slice(), b"x"].concat(), &Names::default()), None, "something after the end");
        let mut newer = octets;
        newer[0] = 3;
        assert_eq!(Record::decode(&newer, &Names::default()), None, "another version");
    }

    #[test]
    fn an_issuer_cannot_make_records_grow_without_limit() {
        let attributes = Arc::new(Attributes::from([("much".into(), vec!["x".repeat(MAX_RECORD)])]));
        assert_eq!(Record { attributes, ..sample() }.encode(), None);
    }

    proptest! {
        #[test]
        fn any_octets_are_read_or_refused(octets in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Record::decode(&octets, &Names::default());
            let _ = Record::decode(&[[VERSION].as_slice(), &octets].concat(), &Names::default());
        }

        #[test]
        fn numbers_survive(value: u64) {
            let mut octets = Vec::new();
            number(&mut octets, value);
            prop_assert_eq!(Reader(&octets).number(), Some(value));
        }
    }
}

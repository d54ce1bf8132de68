//! What a directory says of a user: its id, its marks, its groups.
//!
//! People may edit much of their own entry, so nothing but the id finds an account, and a group counts only if its
//! whole name is listed, or it stands below a base that the operator named.

use std::collections::HashMap;

use ldap3::SearchEntry;
use uuid::Uuid;
use vestibule_engine::audit::Reason;
use vestibule_engine::identity::GroupName;

use super::{Dialect, Groups, Mapping};

/// Longest name, address or group taken from a directory, in octets.
const MAX_TEXT: usize = 256;
/// Longest id, in octets.
const MAX_ID: usize = 256;
/// Most groups somebody may be in. Leaving some out could leave out the one that a policy forbids.
const MAX_GROUPS: usize = 1000;
/// `userAccountControl`: ACCOUNTDISABLE.
const ACCOUNT_DISABLED: u32 = 0x2;
/// `pwdAccountLockedTime` of an account that an administrator locked: it ends with no time.
const LOCKED_FOR_GOOD: &str = "000001010000Z";

/// An entry. Names of attributes are lower case: they have no case (RFC 4512 §2.5).
#[derive(Debug)]
pub struct Entry {
    /// Its name, as the server spells it.
    pub dn: String,
    values: HashMap<String, Vec<Vec<u8>>>,
}

impl Entry {
    /// Takes what a search found.
    pub fn new(found: SearchEntry) -> Self {
        let mut values: HashMap<String, Vec<Vec<u8>>> = HashMap::new();
        for (name, texts) in found.attrs {
            values.entry(name.to_ascii_lowercase()).or_default().extend(texts.into_iter().map(String::into_bytes));
        }
        for (name, octets) in found.bin_attrs {
            values.entry(name.to_ascii_lowercase()).or_default().extend(octets);
        }
        Self { dn: found.dn, values }
    }

    /// What the directory calls this user for good; none if there is no such value, or several.
    pub fn id(&self, mapping: &Mapping) -> Option<String> {
        let [octets] = self.all(&mapping.id) else { return None };
        if octets.is_empty() || octets.len() > MAX_ID {
            return None;
        }
        if mapping.id.eq_ignore_ascii_case("objectGUID") {
            // [MS-DTYP] §2.3.4.2: its first three fields are little-endian.
            return Some(Uuid::from_bytes_le(octets.as_slice().try_into().ok()?).to_string());
        }
        let text = std::str::from_utf8(octets).ok().filter(|text| !text.chars().any(char::is_control));
        Some(text.map_or_else(|| octets.iter().map(|octet| format!("{octet:02x}")).collect(), str::to_owned))
    }

    /// The first value of an attribute, if it can be shown.
    pub fn text(&self, attribute: &str) -> Option<String> {
        let text = std::str::from_utf8(self.all(attribute).first()?).ok()?.trim();
        let fits = !text.is_empty() && text.len() <= MAX_TEXT && !text.chars().any(char::is_control);
        fits.then(|| text.to_owned())
    }

    /// Why the entry says by itself that its owner may not enter, so that nobody need try the password.
    pub fn barred(&self, dialect: Dialect) -> Option<Reason> {
        match dialect {
            Dialect::ActiveDirectory => {
                let control = self.text("userAccountControl")?.parse::<i32>().ok()?.cast_unsigned();
                (control & ACCOUNT_DISABLED != 0).then_some(Reason::Disabled)
            }
            Dialect::Ds389 => self.text("nsAccountLock").filter(|lock| lock.eq_ignore_ascii_case("true")).map(|_| Reason::Disabled),
            Dialect::OpenLdap => self.text("pwdAccountLockedTime").filter(|time| time == LOCKED_FOR_GOOD).map(|_| Reason::Locked),
        }
    }

    /// Whether a refused password may be refused because of a lock. A time beside a password that is accepted means
    /// nothing: OpenLDAP keeps it until the first success after the lock has ended.
    pub fn may_be_locked(&self, dialect: Dialect) -> bool {
        match dialect {
            Dialect::OpenLdap => !self.all("pwdAccountLockedTime").is_empty(),
            Dialect::ActiveDirectory | Dialect::Ds389 => false,
        }
    }

    /// The groups, sorted; none if the directory is not asked for them.
    ///
    /// # Errors
    /// A sentence: they cannot be known in full.
    pub fn groups(&self, groups: &Groups) -> Result<Option<Vec<GroupName>>, String> {
        let attribute = match groups {
            Groups::Ours => return Ok(None),
            Groups::Table { attribute, .. } | Groups::Below { attribute, .. } => attribute,
        };
        let named = |dn: &str| match groups {
            Groups::Ours => None,
            Groups::Table { names, .. } => names.get(&Name::parse(dn)?).cloned(),
            Groups::Below { base, .. } => below(dn, base),
        };
        // [MS-ADTS] §3.1.1.3.1.3.3: a range is part of the values only, under another name.
        let ranged = format!("{}{}", attribute.to_ascii_lowercase(), ";range=");
        if self.values.keys().any(|name| name.starts_with(&ranged)) {
            return Err("the directory gives a part of somebody's groups only".to_owned());
        }
        let texts = self.all(attribute).iter().filter_map(|octets| std::str::from_utf8(octets).ok());
        let mut found: Vec<GroupName> = texts.filter_map(named).map(|name| GroupName::from(name.as_str())).collect();
        found.sort();
        found.dedup();
        if found.len() > MAX_GROUPS {
            return Err(format!("somebody is in more than {MAX_GROUPS} groups"));
        }
        Ok(Some(found))
    }

    fn all(&self, attribute: &str) -> &[Vec<u8>] {
        self.values.get(&attribute.to_ascii_lowercase()).map_or(&[], Vec::as_slice)
    }
}

/// A distinguished name in one spelling: lower case, no spaces around separators, escapes as what they stand for
/// (RFC 4514 §2.4, §3). Two spellings that this takes for two names lose a group, never grant one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Name(Vec<(String, String)>);

impl Name {
    /// Reads a name; none if it cannot be read.
    pub fn parse(dn: &str) -> Option<Self> {
        let parts = relative_names(dn)?;
        Some(Self(parts.into_iter().map(|(kind, value)| (kind, value.to_lowercase())).collect()))
    }

    /// Part by part: as text, `cn=x\,ou=groups,dc=example` ends like a name below `ou=groups,dc=example`.
    fn is_below(&self, base: &Self) -> bool {
        self.0.len() > base.0.len() && self.0.ends_with(&base.0)
    }
}

/// The value of the first part of a name that stands below `base`, anywhere below it.
fn below(dn: &str, base: &Name) -> Option<String> {
    if !Name::parse(dn)?.is_below(base) {
        return None;
    }
    let (_, value) = relative_names(dn)?.into_iter().next()?;
    let fits = !value.is_empty() && value.len() <= MAX_TEXT && !value.chars().any(char::is_control);
    fits.then_some(value)
}

/// The parts of a name, each one type, in lower case, and one value. Names of several values are not read: `cn=a+ou=b`.
fn relative_names(dn: &str) -> Option<Vec<(String, String)>> {
    let mut parts = Vec::new();
    let mut rest = dn;
    loop {
        let (kind, value) = rest.split_once('=')?;
        let kind = kind.trim().to_ascii_lowercase();
        if kind.is_empty() || !kind.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-' || octet == b'.') {
            return None;
        }
        let (value, after) = unescape(value.trim_start())?;
        parts.push((kind, value));
        match after {
            Some(after) => rest = after,
            None => return Some(parts),
        }
    }
}

/// A value up to the next comma, and what follows that.
fn unescape(text: &str) -> Option<(String, Option<&str>)> {
    if text.starts_with('#') {
        return None;
    }
    let octets = text.as_bytes();
    let (mut value, mut at, mut ends) = (Vec::new(), 0, 0);
    loop {
        match (octets.get(at).copied(), octets.get(at + 1).copied(), octets.get(at + 2).copied()) {
            (None, _, _) => break,
            (Some(b','), _, _) => break,
            (Some(b'+' | b'"' | b';' | b'<' | b'>' | 0), _, _) | (Some(b'\\'), None, _) => return None,
            (Some(b'\\'), Some(high), Some(low)) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                let pair = text.get(at + 1..at + 3)?;
                value.push(u8::from_str_radix(pair, 16).ok()?);
                at += 3;
                ends = value.len();
            }
            (Some(b'\\'), Some(escaped), _) => {
                value.push(escaped);
                at += 2;
                ends = value.len();
            }
            (Some(plain), _, _) => {
                value.push(plain);
                at += 1;
                // Spaces before a separator are none of the value's.
                ends = if plain == b' ' { ends } else { value.len() };
            }
        }
    }
    value.truncate(ends);
    Some((String::from_utf8(value).ok()?, text.get(at + 1..)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(values: &[(&str, &[&[u8]])]) -> Entry {
        let (mut attrs, mut bin_attrs) = (HashMap::new(), HashMap::new());
        for (name, octets) in values {
            let texts: Result<Vec<String>, _> = octets.iter().map(|octets| String::from_utf8(octets.to_vec())).collect();
            match texts {
                Ok(texts) => drop(attrs.insert((*name).to_owned(), texts)),
                Err(_) => drop(bin_attrs.insert((*name).to_owned(), octets.iter().map(|octets| octets.to_vec()).collect())),
            }
        }
        Entry::new(SearchEntry { dn: "uid=ada".into(), attrs, bin_attrs })
    }

    fn mapping(id: &str) -> Mapping {
        Mapping { id: id.into(), name: "uid".into(), display_name: "cn".into(), email: "mail".into() }
    }

    #[test]
    fn an_id_is_one_value() {
        assert_eq!(entry(&[("EntryUUID", &[b"a-b"])]).id(&mapping("entryUUID")).as_deref(), Some("a-b"));
        for values in [&[][..], &[&b"a"[..], b"b"], &[b""]] {
            assert_eq!(entry(&[("entryUUID", values)]).id(&mapping("entryUUID")), None);
        }
        let guid: [u8; 16] = [0x33, 0x22, 0x11, 0x00, 0x55, 0x44, 0x77, 0x66, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff];
        let id = entry(&[("objectGUID", &[&guid])]).id(&mapping("objectguid"));
        assert_eq!(id.as_deref(), Some("00112233-4455-6677-8899-aabbccddeeff"));
        // Sixteen octets that happen to be text are the same kind of id.
        assert_eq!(entry(&[("objectGUID", &[b"0123456789abcdef"])]).id(&mapping("objectGUID")).unwrap().len(), 36);
        assert_eq!(entry(&[("objectGUID", &[b"short"])]).id(&mapping("objectGUID")), None);
        assert_eq!(entry(&[("x", &[&[0xff, 1]])]).id(&mapping("x")).as_deref(), Some("ff01"));
    }

    #[test]
    fn each_dialect_marks_a_closed_account_in_its_own_way() {
        let barred = |name, value: &[u8], dialect| entry(&[(name, &[value])]).barred(dialect);
        assert_eq!(barred("userAccountControl", b"514", Dialect::ActiveDirectory), Some(Reason::Disabled));
        assert_eq!(barred("userAccountControl", b"512", Dialect::ActiveDirectory), None);
        assert_eq!(barred("userAccountControl", b"-2147483646", Dialect::ActiveDirectory), Some(Reason::Disabled));
        assert_eq!(barred("nsAccountLock", b"TRUE", Dialect::Ds389), Some(Reason::Disabled));
        assert_eq!(barred("nsAccountLock", b"false", Dialect::Ds389), None);
        assert_eq!(barred("pwdAccountLockedTime", b"000001010000Z", Dialect::OpenLdap), Some(Reason::Locked));
        assert_eq!(barred("pwdAccountLockedTime", b"20260101000000Z", Dialect::OpenLdap), None, "it may have ended");
        assert!(entry(&[("pwdAccountLockedTime", &[b"20260101000000Z"])]).may_be_locked(Dialect::OpenLdap));
    }

    #[test]
    fn only_listed_groups_and_those_below_the_base_count() {
        let names = HashMap::from([(Name::parse("CN=Staff, OU=Groups,DC=example").unwrap(), "staff".to_owned())]);
        let table = Groups::Table { attribute: "memberOf".into(), names };
        let dns: &[&[u8]] = &[
            b"cn=staff,ou=groups,dc=example",
            b"cn=admins,ou=groups,dc=example",
            b"cn=staff,ou=groups,dc=example,dc=evil",
            b"cn=Big\\, Boss,ou=deep,ou=Groups, dc=example",
            b"cn=x\\,ou=groups\\,dc=example,dc=evil",
            b"cn=x\\,ou=groups,dc=example",
            b"cn=a+sn=b,ou=groups,dc=example",
            b"not a name",
        ];
        let of = |groups| entry(&[("memberof", dns)]).groups(groups).unwrap().unwrap();
        assert_eq!(of(&table), [GroupName::from("staff")]);
        let base = Groups::Below { attribute: "memberOf".into(), base: Name::parse("ou=groups,dc=example").unwrap() };
        assert_eq!(of(&base), [GroupName::from("Big, Boss"), "admins".into(), "staff".into()]);
        assert_eq!(entry(&[]).groups(&table).unwrap(), Some(Vec::new()), "nobody's groups are no groups");
        assert_eq!(entry(&[("memberOf", dns)]).groups(&Groups::Ours).unwrap(), None);
        assert!(entry(&[("memberOf;range=0-1499", dns)]).groups(&table).is_err(), "a part is not all");
    }

    #[test]
    fn spellings_of_a_name_are_one_name_and_no_other() {
        let same = Name::parse("cn=Łucja\\, a, ou=People ,dc=example");
        assert_eq!(Name::parse("CN=\\c5\\81ucja\\2c a,OU=people,DC=Example"), same);
        assert_ne!(Name::parse("cn=Łucja,cn=a,ou=people,dc=example"), same);
        for unreadable in ["", "x", "=a", "cn=a;dc=b", "cn=#04024869", "cn=a\\", "cn=\\ff", "c n=a"] {
            assert_eq!(Name::parse(unreadable), None, "{unreadable}");
        }
    }
}

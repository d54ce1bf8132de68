//! LDIF (RFC 2849), as `slapcat` and `ldapsearch` write it: people, and the groups that name them as members.
//!
//! An account that its directory has closed must not come over open: what Active Directory, 389 Directory Server and
//! OpenLDAP's password policy say about that is read.

use std::collections::HashMap;
use std::io::{self, BufRead, Write};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use vestibule_engine::identity::{AccountState, ExternalId};
use vestibule_engine::secret::Secret;
use vestibule_engine::store::digest;

use super::{Entry, Line, Lines, Mapping, TooLong, issued, nobody, state, truth};
use crate::serve::admin::protocol::{Confidential, ExportedUser, ImportedUser, state_label};

/// Most lines of one entry. Groups have a line for each member.
const MAX_LINES: usize = 2_000_000;
/// Object classes of groups, and the attributes that name their members.
const GROUPS: [&str; 5] = ["groupofnames", "groupofuniquenames", "groupofmembers", "posixgroup", "group"];
const MEMBERS: [&str; 3] = ["member", "uniquemember", "memberuid"];
/// `ADS_UF_ACCOUNTDISABLE` of `userAccountControl`.
const ACCOUNT_DISABLED: i64 = 2;
/// What an export writes beside the attributes of `inetOrgPerson`; names are compared in lower case.
const EXTERNAL_ID: &str = "vestibuleexternalid";
const PROFILE: &str = "vestibuleprofile";
const STATE: &str = "vestibulestate";
const MUST_CHANGE: &str = "vestibulemustchangepassword";
const BREAK_GLASS: &str = "vestibulebreakglass";
const CREATED: &str = "vestibulecreated";

/// A file being read.
pub struct Ldif<R: BufRead> {
    records: Records<R>,
    mapping: Mapping,
    groups: HashMap<[u8; 16], Vec<Arc<str>>>,
}

/// The groups of a file, by whom they name as a member: by DN, or by login name.
pub fn groups(source: impl BufRead) -> io::Result<HashMap<[u8; 16], Vec<Arc<str>>>> {
    let mut groups: HashMap<[u8; 16], Vec<Arc<str>>> = HashMap::new();
    let mut records = Records { lines: Lines::new(source), ahead: None };
    while let Some((_, record)) = records.next()? {
        let Ok(record) = record else { continue };
        if !record.is_group() {
            continue;
        }
        let Some(name) = record.first("cn").map(Arc::<str>::from) else { continue };
        for member in MEMBERS.iter().flat_map(|attribute| record.all(attribute)) {
            groups.entry(member_key(member)).or_default().push(name.clone());
        }
    }
    Ok(groups)
}

impl<R: BufRead> Ldif<R> {
    pub(super) fn new(lines: Lines<R>, mapping: Mapping, groups: HashMap<[u8; 16], Vec<Arc<str>>>) -> Self {
        Self { records: Records { lines, ahead: None }, mapping, groups }
    }

    pub(super) fn next(&mut self) -> io::Result<Option<Entry>> {
        let Some((line, record)) = self.records.next()? else { return Ok(None) };
        let record = match record {
            Ok(record) => record,
            Err(why) => return Ok(Some(Entry::Bad { line, name: None, why })),
        };
        let attribute = self.mapping.name_attribute.to_ascii_lowercase();
        let Some(name) = record.first(&attribute).filter(|_| !record.is_group()) else { return Ok(Some(Entry::Other)) };
        Ok(Some(match self.read(&record, name) {
            Ok(user) => Entry::User { line, user: Box::new(user) },
            Err(why) => Entry::Bad { line, name: Some(name.to_owned()), why },
        }))
    }

    fn read(&self, record: &Record, name: &str) -> Result<ImportedUser, String> {
        if record.first("changetype").is_some_and(|change| !change.eq_ignore_ascii_case("add")) {
            return Err("this is a change, not an entry".to_owned());
        }
        let first = |attribute: &str| record.first(attribute).map(str::to_owned);
        let is_true = |attribute: &str| record.first(attribute).is_some_and(|text| text.eq_ignore_ascii_case("true"));
        let mark = |attribute: &str| record.first(attribute).map_or(Ok(false), |text| truth(text, attribute));
        let mut user = ImportedUser {
            name: name.to_owned(),
            display_name: first("displayname").or_else(|| first("cn")),
            email: first("mail"),
            must_change_password: mark(MUST_CHANGE)? || is_true("pwdreset"),
            break_glass: mark(BREAK_GLASS)?,
            state: match record.first(STATE) {
                Some(text) => state(text)?,
                None => record.state()?,
            },
            ..nobody()
        };
        user.groups.extend(record.all("memberof").filter_map(leading_value));
        for member in [record.first("dn").unwrap_or_default(), name] {
            let named = self.groups.get(&member_key(member)).into_iter().flatten();
            user.groups.extend(named.map(|group| group.to_string()));
        }
        user.groups.sort();
        user.groups.dedup();
        for (issuer, attribute) in &self.mapping.external_ids {
            user.external_ids.extend(first(attribute).map(|id| ExternalId { issuer: issuer.as_str().into(), id }));
        }
        for id in record.all(EXTERNAL_ID) {
            user.external_ids.push(issued(id)?);
        }
        user.profile = first(PROFILE).unwrap_or(user.profile);
        if let Some(created) = record.first(CREATED) {
            user.created = Some(created.parse().map_err(|_| format!("{CREATED} is no time"))?);
        }
        let mut hashes = record.all("userpassword");
        user.password_hash = match (hashes.next(), hashes.next()) {
            (None, _) => None,
            (Some(only), None) => Some(Confidential(Secret::from(only))),
            (Some(_), Some(_)) => return Err("there are several passwords".to_owned()),
        };
        Ok(user)
    }
}

/// An attribute's name in lower case, without options, and its value. What is no text is `None`: certificates, photographs.
type Attribute = (String, Option<Secret<String>>);

/// An entry.
struct Record(Vec<Attribute>);

impl Record {
    fn all<'a>(&'a self, attribute: &'a str) -> impl Iterator<Item = &'a str> {
        let named = self.0.iter().filter(move |(name, _)| name == attribute);
        named.filter_map(|(_, value)| value.as_ref()).map(|value| value.reveal().as_str())
    }

    fn first<'a>(&'a self, attribute: &'a str) -> Option<&'a str> {
        self.all(attribute).next()
    }

    fn is_group(&self) -> bool {
        self.all("objectclass").any(|class| GROUPS.contains(&class.to_ascii_lowercase().as_str()))
    }

    fn state(&self) -> Result<AccountState, String> {
        let is_true = |attribute: &str| self.first(attribute).is_some_and(|text| text.eq_ignore_ascii_case("true"));
        if let Some(flags) = self.first("useraccountcontrol") {
            let flags: i64 = flags.parse().map_err(|_| "userAccountControl is no number".to_owned())?;
            if flags & ACCOUNT_DISABLED != 0 {
                return Ok(AccountState::Disabled);
            }
        }
        if is_true("nsaccountlock") || is_true("logindisabled") {
            return Ok(AccountState::Disabled);
        }
        match self.first("pwdaccountlockedtime") {
            Some(_) => Ok(AccountState::Locked),
            None => Ok(AccountState::Active),
        }
    }
}

struct Records<R> {
    lines: Lines<R>,
    /// A line that was read to see whether it goes on with the one before.
    ahead: Option<Line>,
}

impl<R: BufRead> Records<R> {
    /// The next record and where it begins; inside, what is wrong with it.
    fn next(&mut self) -> io::Result<Option<(u64, Result<Record, String>)>> {
        let (mut begun, mut wrong) = (None, None);
        let mut attributes = Vec::new();
        while let Some((line, text)) = self.logical()? {
            let read = match text {
                // Several blank lines, or a comment alone, are no record.
                Ok(text) if text.is_empty() && begun.is_none() => continue,
                Ok(text) if text.is_empty() => break,
                Ok(text) if text.first() == Some(&b'#') => continue,
                Ok(text) if begun.is_none() && text.starts_with(b"version:") => continue,
                Ok(text) => attribute(&text).map_err(|why| format!("{why} (line {line})")),
                Err(TooLong) => Err(TooLong::why()),
            };
            begun.get_or_insert(line);
            match read {
                Ok(_) if attributes.len() >= MAX_LINES => {
                    wrong.get_or_insert_with(|| format!("the entry has more than {MAX_LINES} lines"));
                }
                Ok(attribute) => attributes.push(attribute),
                Err(why) => drop(wrong.get_or_insert(why)),
            }
        }
        Ok(begun.map(|line| (line, wrong.map_or(Ok(Record(attributes)), Err))))
    }

    /// A line with those that go on with it: they begin with a space (§2, note 2).
    fn logical(&mut self) -> io::Result<Option<Line>> {
        let first = match self.ahead.take() {
            Some(line) => Some(line),
            None => self.lines.next()?,
        };
        let Some((line, mut text)) = first else { return Ok(None) };
        // A blank line ends the record, whatever follows.
        if matches!(&text, Ok(text) if text.is_empty()) {
            return Ok(Some((line, text)));
        }
        loop {
            match self.lines.next()? {
                Some((_, Ok(more))) if more.first() == Some(&b' ') => {
                    if let Ok(whole) = &mut text {
                        whole.extend(more.iter().skip(1));
                        if whole.len() > super::MAX_LINE {
                            text = Err(TooLong);
                        }
                    }
                }
                next => {
                    self.ahead = next;
                    return Ok(Some((line, text)));
                }
            }
        }
    }
}

/// `name: text`, `name:: base64`.
fn attribute(line: &[u8]) -> Result<Attribute, &'static str> {
    let colon = line.iter().position(|octet| *octet == b':').ok_or("a line is no attribute")?;
    let (name, value) = line.split_at(colon);
    let name = std::str::from_utf8(name).map_err(|_| "the name of an attribute is no text")?;
    let name = name.split(';').next().unwrap_or_default().to_ascii_lowercase();
    let value = value.get(1..).unwrap_or_default();
    let trimmed = |value: &[u8]| value.iter().copied().skip_while(|octet| *octet == b' ').collect::<Vec<u8>>();
    let octets = match value.first() {
        Some(b':') => STANDARD.decode(trimmed(value.get(1..).unwrap_or_default())).map_err(|_| "a value is not base64")?,
        Some(b'<') => return Err("a value is in another file"),
        Some(_) | None => trimmed(value),
    };
    Ok((name, String::from_utf8(octets).ok().map(Secret::new)))
}

/// A member's DN or login name, however it is spaced and capitalised.
fn member_key(name: &str) -> [u8; 16] {
    let parts: Vec<String> = name.split(',').map(|part| part.trim().to_lowercase()).collect();
    digest(&[parts.join(",").as_bytes()]).first_chunk::<16>().copied().unwrap_or_default()
}

/// The value of a DN's first part: `cn=staff,ou=groups` is `staff`. Escapes of RFC 4514 are undone.
fn leading_value(dn: &str) -> Option<String> {
    let (_, rest) = dn.split_once('=')?;
    let mut octets = Vec::new();
    let mut read = rest.bytes();
    while let Some(octet) = read.next() {
        match octet {
            b',' | b'+' => break,
            b'\\' => {
                let next = read.next()?;
                match char::from(next).to_digit(16) {
                    Some(high) => {
                        let low = char::from(read.next()?).to_digit(16)?;
                        octets.push(u8::try_from(high * 16 + low).ok()?);
                    }
                    None => octets.push(next),
                }
            }
            other => octets.push(other),
        }
    }
    String::from_utf8(octets).ok().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
}

pub(super) fn write(to: &mut impl Write, exported: &ExportedUser) -> io::Result<()> {
    let user = &exported.user;
    let tenant = escaped(user.tenant.as_str());
    let name = user.name.as_str();
    let mark = |set: bool| if set { "TRUE" } else { "FALSE" };
    to.write_all(b"\n")?;
    line(to, "dn", &format!("uid={},o={tenant}", escaped(name)))?;
    line(to, "objectClass", "inetOrgPerson")?;
    line(to, "uid", name)?;
    // The class demands both.
    let shown = user.display_name.as_deref().unwrap_or(name);
    line(to, "cn", shown)?;
    line(to, "sn", shown)?;
    if let Some(shown) = &user.display_name {
        line(to, "displayName", shown)?;
    }
    if let Some(mail) = &user.email {
        line(to, "mail", mail)?;
    }
    for group in &user.groups {
        line(to, "memberOf", &format!("cn={},o={tenant}", escaped(group.as_str())))?;
    }
    for id in &user.external_ids {
        line(to, EXTERNAL_ID, &format!("{} {}", id.issuer, id.id))?;
    }
    line(to, PROFILE, user.profile.as_str())?;
    line(to, STATE, state_label(user.state))?;
    line(to, MUST_CHANGE, mark(user.must_change_password))?;
    line(to, BREAK_GLASS, mark(user.break_glass))?;
    line(to, CREATED, &user.created.to_string())?;
    match &exported.password_hash {
        Some(Confidential(hash)) => line(to, "userPassword", hash.reveal()),
        None => Ok(()),
    }
}

/// In base64 what could be taken for something else (§2, SAFE-STRING).
fn line(to: &mut impl Write, attribute: &str, value: &str) -> io::Result<()> {
    let safe = value.bytes().all(|octet| matches!(octet, 0x20..=0x7e)) && !value.starts_with([' ', ':', '<']) && !value.ends_with(' ');
    match safe {
        true => writeln!(to, "{attribute}: {value}"),
        false => writeln!(to, "{attribute}:: {}", STANDARD.encode(value)),
    }
}

/// A value in a DN (RFC 4514 §2.4).
fn escaped(value: &str) -> String {
    let mut text = String::new();
    for (place, character) in value.chars().enumerate() {
        if matches!(character, ',' | '+' | '"' | '\\' | '<' | '>' | ';' | '=') || (place == 0 && matches!(character, '#' | ' ')) {
            text.push('\\');
        }
        text.push(character);
    }
    text
}

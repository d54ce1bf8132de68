//! What each format says, and that what one writes it reads.

use vestibule_engine::Timestamp;
use vestibule_engine::identity::{User, UserId, Username};
use vestibule_engine::secret::Secret;

use super::*;
use crate::serve::admin::protocol::Confidential;

fn entries(format: Format, text: &[u8]) -> Vec<Entry> {
    let external_ids = vec![("https://idp.example/a=b".into(), "entryuuid".into())];
    let mapping = Mapping { name_attribute: "uid".into(), external_ids };
    let mut reader = Reader::open(format, text, mapping, ldif::groups(text).unwrap()).unwrap();
    std::iter::from_fn(|| reader.next().unwrap()).collect()
}

fn users(format: Format, text: &[u8]) -> Vec<ImportedUser> {
    let user = |entry| match entry {
        Entry::User { user, .. } => Some(*user),
        Entry::Other => None,
        Entry::Bad { .. } => panic!("{entry:?}"),
    };
    entries(format, text).into_iter().filter_map(user).collect()
}

/// Lines and names of what is no user.
fn bad(format: Format, text: &[u8]) -> Vec<(u64, Option<String>)> {
    let bad = |entry| match entry {
        Entry::Bad { line, name, why } => {
            assert!(!why.contains("hunter2"), "{why}");
            Some((line, name))
        }
        Entry::User { .. } | Entry::Other => None,
    };
    entries(format, text).into_iter().filter_map(bad).collect()
}

fn exported() -> Vec<ExportedUser> {
    let user = |name: &str| User {
        id: UserId(uuid::Uuid::nil()),
        tenant: "north".into(),
        name: Username::parse(name).unwrap(),
        display_name: None,
        email: None,
        groups: Vec::new(),
        profile: "user".into(),
        state: AccountState::Active,
        must_change_password: false,
        break_glass: false,
        epoch: 3,
        password: None,
        external_ids: Vec::new(),
        created: Timestamp::UNIX_EPOCH,
    };
    let ids = [("https://idp.example", " CN=Ada\\, Lovelace;x "), ("urn:other", "7")];
    let ada = User {
        display_name: Some(" Łucja \"Ada\", of: <North> ".into()),
        email: Some("ada@north.example".into()),
        groups: vec!["a;b\\c".into(), "staff, all".into()],
        profile: "administrator".into(),
        state: AccountState::Locked,
        must_change_password: true,
        break_glass: true,
        external_ids: ids.map(|(issuer, id)| ExternalId { issuer: issuer.into(), id: id.into() }).into(),
        ..user("ada, the #1")
    };
    let hash = Some(Confidential(Secret::from("{SSHA}12mJ6etYCpM1oXTRaCHR4ffDmnBzYWx0c2FsdA==")));
    vec![ExportedUser { user: ada, password_hash: hash }, ExportedUser { user: user("bob"), password_hash: None }]
}

fn written(format: Format, users: &[ExportedUser], hashes: bool) -> Vec<u8> {
    let mut text = Vec::new();
    let mut writer = Writer::new(format, &mut text, hashes).unwrap();
    users.iter().for_each(|user| writer.write(user).unwrap());
    writer.end().unwrap();
    text
}

#[test]
fn what_is_written_is_read_again() {
    for format in [Format::Jsonl, Format::Csv, Format::Ldif] {
        let text = written(format, &exported(), true);
        let read = users(format, &text);
        assert_eq!(read.len(), 2, "{}", String::from_utf8_lossy(&text));
        for (read, ExportedUser { user, password_hash }) in read.iter().zip(exported()) {
            assert_eq!(read.name, user.name.as_str());
            // A directory's people have a name to show.
            let shown = user.display_name.or((format == Format::Ldif).then(|| user.name.to_string()));
            assert_eq!((&read.display_name, &read.email), (&shown, &user.email), "{format:?}");
            assert_eq!(read.groups, user.groups.iter().map(ToString::to_string).collect::<Vec<_>>(), "{format:?}");
            assert_eq!((read.profile.as_str(), read.state), (user.profile.as_str(), user.state));
            assert_eq!((read.must_change_password, read.break_glass), (user.must_change_password, user.break_glass));
            assert_eq!(read.external_ids, user.external_ids, "{format:?}");
            assert_eq!((read.created, &read.password_hash), (Some(user.created), &password_hash));
        }
        let without = String::from_utf8(written(format, &exported()[1..], false)).unwrap().to_lowercase();
        assert!(!without.contains("password_hash") && !without.contains("userpassword"), "{without}");
    }
}

const DIRECTORY: &str = "version: 1
# a comment
 that goes on

dn: ou=people,dc=example
objectClass: organizationalUnit

dn: uid=Ada,ou=People,
 dc=example
objectClass: inetOrgPerson
uid: Ada
cn:: xYF1Y2ph
mail: ada@north.example
entryUUID: 1-2-3
userPassword:: e1NTSEF9eA==
memberOf: cn=a\\2cb\\+c,ou=groups
jpegPhoto:: /9j/


dn: cn=staff,ou=groups
objectClass: groupOfNames
cn: staff
member: uid=ada, ou=people, dc=example

dn: cn=all,ou=groups
objectClass: posixGroup
cn: all
memberUid: bob

dn: uid=bob
uid: bob
userAccountControl: 514

dn: uid=cleo
uid: cleo
nsAccountLock: TRUE

dn: uid=dora
uid: dora
pwdAccountLockedTime: 20260101000000Z
pwdReset: TRUE
";

#[test]
fn a_directory_comes_over_with_its_groups_and_its_closed_accounts() {
    let read = users(Format::Ldif, DIRECTORY.as_bytes());
    let [ada, bob, cleo, dora] = read.as_slice() else { panic!("{read:?}") };
    assert_eq!((ada.name.as_str(), ada.display_name.as_deref()), ("Ada", Some("Łucja")));
    assert_eq!(ada.groups, ["a,b+c", "staff"]);
    assert_eq!(ada.external_ids, [ExternalId { issuer: "https://idp.example/a=b".into(), id: "1-2-3".into() }]);
    assert_eq!(ada.password_hash, Some(Confidential(Secret::from("{SSHA}x"))));
    assert_eq!((bob.groups.as_slice(), bob.state), (["all".to_owned()].as_slice(), AccountState::Disabled));
    assert_eq!(cleo.state, AccountState::Disabled);
    assert_eq!((dora.state, dora.must_change_password), (AccountState::Locked, true));
    let others = entries(Format::Ldif, DIRECTORY.as_bytes()).iter().filter(|entry| matches!(entry, Entry::Other)).count();
    assert_eq!(others, 3);
    assert_eq!(users(Format::Ldif, DIRECTORY.replace('\n', "\r\n").as_bytes()), read);
}

#[test]
fn what_is_no_user_is_said_with_its_line_and_without_its_values() {
    let text = b"dn: uid=a\nuid: a\nuserPassword: hunter2\nuserPassword: {SSHA}x\n\ndn: uid=b\nuid: b\nnonsense hunter2\n\n\
        dn: uid=c\nchangetype: modify\nuid: c\n\ndn: uid=d\nuid: d\nuserPassword:< file:///hunter2\n\ndn: uid=e\nuid: e\n";
    assert_eq!(bad(Format::Ldif, text).iter().map(|(line, _)| *line).collect::<Vec<_>>(), [1, 6, 10, 14]);
    assert_eq!(users(Format::Ldif, b"dn: uid=e\nuid: e").len(), 1, "no line end at the end");

    let text = b"{\"name\":\"a\",\"hunter2\":1}\n\n{\"name\":\"b\",\"groups\":\"hunter2\"}\n{\"name\":\"c\",\"password_hash\":\"hunter2\n\
        [\"hunter2\"]\n{\"email\":\"x\"}\n{\"name\":\"f\",\"state\":\"hunter2\"}\n{\"name\":\"g\",\"email\":null}\n";
    let found = bad(Format::Jsonl, text);
    assert_eq!(found.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [1, 3, 4, 5, 6, 7]);
    assert_eq!(found[0].1.as_deref(), Some("a"));
    let long = format!("{{\"name\":\"{}\"}}\n{{\"name\":\"b\"}}\n", "x".repeat(MAX_LINE));
    assert_eq!(bad(Format::Jsonl, long.as_bytes()).len(), 1);
    assert_eq!(entries(Format::Jsonl, long.as_bytes()).len(), 2, "and the next is read");

    let text = b"email,Name,groups,password_hash\nx,a,s;t,{SSHA}x\nhunter2,b\n\"x\ny\",c,,\n,\xff,,\nx,,,\n";
    assert_eq!(bad(Format::Csv, text), [(3, None), (6, None), (7, Some(String::new()))]);
    for head in ["name,hunter2\n", "name,name\n", "email\n", "hunter2,{SSHA}x\n"] {
        let mapping = Mapping { name_attribute: "uid".into(), external_ids: vec![] };
        let refused = Reader::open(Format::Csv, head.as_bytes(), mapping, HashMap::new()).err().unwrap();
        assert!(!refused.contains("hunter2"), "{refused}");
    }
}

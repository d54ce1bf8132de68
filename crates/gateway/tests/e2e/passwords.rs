//! Users who bring the hash of their password from another system.

use rusqlite::OpenFlags;

use crate::lifecycle::wait_for;
use crate::support::{Gateway, get};

const PASSWORD: &str = "Tr0ub4dor&3";

/// Hashes of that password as other systems made them: crypt(3), Python's hashlib, Django, passlib, OpenLDAP.
const HASHES: [(&str, &str); 6] = [
    ("bcrypt", "$2b$05$abcdefghijklmnopqrstuujyowYzwa5GTkdJQ1hID4j4yIozDs7U."),
    ("scrypt", "$scrypt$ln=10,r=8,p=1$c2FsdHNhbHQ$9WtcDe9C4ccaTXsgxCuYt3s6q6/76Aro1u/6BEophW8"),
    ("django", "pbkdf2_sha256$1000$seasalt$olWGYCxvlPSZExlxfIAP1yOMIBkWGfzuPM0hj1JSGug="),
    ("passlib", "$pbkdf2-sha512$i=1000,l=32$c2FsdHNhbHQ$jkT5m2WHywDv9LeKJM9ZMaBTiyJlq7CG39fREQQC400"),
    ("ssha", "{SSHA}12mJ6etYCpM1oXTRaCHR4ffDmnBzYWx0c2FsdA=="),
    ("ssha512", "{SSHA512}Nba3v6CXeIpi9sOduvMdiYev9ew13XRVpzfctkSMELyY9Gw2KP65wLUfZu7L+7HBDfN1+ykKvBRV/obscmG1FXNhbHRzYWx0"),
];

/// What a plain hash of ours begins with.
const OURS: &str = "$argon2id$v=19$m=19456,t=2,p=1$";

#[test]
fn an_imported_hash_rests_wrapped_lets_its_user_in_and_is_replaced_then() {
    let gateway = Gateway::start();
    let stored = |name: &str| -> String {
        let path = gateway.store();
        let store = rusqlite::Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
        store.query_row("SELECT password FROM user WHERE name = ?1", [name], |row| row.get(0)).unwrap()
    };
    for (name, hash) in HASHES {
        let file = gateway.scratch.write("hash", hash);
        let added = gateway.command(&["user", "add", name, "--tenant", "north", "--group", "staff", "--hash-file", file.to_str().unwrap()]);
        assert!(added.status.success(), "{name}: {}", String::from_utf8_lossy(&added.stderr));
        let imported = stored(name);
        let digest = hash.rsplit(['$', '}']).next().unwrap();
        assert!(!imported.starts_with(OURS) && !imported.contains(digest), "{name}: the foreign digest is no longer there");

        assert_eq!(gateway.send(&get("/api/orders").basic(name, "Tr0ub4dor&4")).status, 401, "{name}");
        assert_eq!(stored(name), imported, "{name}: a wrong password changes nothing");
        assert_eq!(gateway.send(&get("/api/orders").basic(name, PASSWORD)).status, 200, "{name}");
        wait_for(|| stored(name).starts_with(OURS));
        let (cookie, session) = gateway.sign_in(name, PASSWORD);
        assert_eq!(gateway.send(&get("/api/orders").cookie(&cookie, &session)).status, 200, "{name}");
    }
    let file = gateway.scratch.write("hash", "5f4dcc3b5aa765d61d8327deb882cf99");
    let refused = gateway.command(&["user", "add", "md5", "--tenant", "north", "--hash-file", file.to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("hash is not known"), "{refused:?}");
}

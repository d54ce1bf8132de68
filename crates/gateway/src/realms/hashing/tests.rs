//! The vectors were made with crypt(3), Python's hashlib and the Argon2 reference program.

use std::sync::Arc;

use vestibule_engine::identity::User;
use vestibule_engine::store::memory::MemoryDurableStore;
use vestibule_engine::store::{DurableStore, conformance};

use super::wrapping::Page;
use super::*;

const PASSWORD: &str = "Tr0ub4dor&3";

fn import_here(text: &str) -> Result<PasswordHash, ImportError> {
    import(text, Cost::default())
}

fn verify_here(stored: &PasswordHash, password: &Secret<String>) -> Result<Match, Unavailable> {
    verify(stored, password, Cost::default(), &sealing())
}

/// A key-encryption key.
pub(crate) fn sealing() -> Arc<KeyEncryptionKey> {
    Arc::new(KeyEncryptionKey::new(&Secret::new([7; 32])).unwrap())
}

/// A password and a hash of it, of every kind.
pub(crate) const FOREIGN: [(&str, &str); 24] = [
    (PASSWORD, "{SSHA}12mJ6etYCpM1oXTRaCHR4ffDmnBzYWx0c2FsdA=="),
    (PASSWORD, "{SSHA256}qtqMejIPPAZYzUX47mVaUiDSARnHyGd750Cx1MBsAdVzYWx0c2FsdA=="),
    (PASSWORD, "{SSHA512}Nba3v6CXeIpi9sOduvMdiYev9ew13XRVpzfctkSMELyY9Gw2KP65wLUfZu7L+7HBDfN1+ykKvBRV/obscmG1FXNhbHRzYWx0"),
    (PASSWORD, "pbkdf2_sha256$1000$seasalt$olWGYCxvlPSZExlxfIAP1yOMIBkWGfzuPM0hj1JSGug="),
    (PASSWORD, "pbkdf2_sha1$1000$seasalt$npdfRm8BYyEKuDFQLNygzLSb4nY="),
    (PASSWORD, "$pbkdf2-sha256$i=1000,l=32$c2FsdHNhbHQ$UQvwnr3yP8xTm6zT+Frz5Eg97Yudb3HfklVWrH8wcYo"),
    (PASSWORD, "$pbkdf2-sha256$1000$c2FsdHNhbHQ$UQvwnr3yP8xTm6zT.Frz5Eg97Yudb3HfklVWrH8wcYo"),
    (PASSWORD, "$pbkdf2-sha512$i=1000,l=32$c2FsdHNhbHQ$jkT5m2WHywDv9LeKJM9ZMaBTiyJlq7CG39fREQQC400"),
    (PASSWORD, "$pbkdf2-sha1$i=1000,l=20$c2FsdHNhbHQ$KoNbD1PqHrpGi5GBtyqTlBk1BIs"),
    (PASSWORD, "$scrypt$ln=10,r=8,p=1$c2FsdHNhbHQ$9WtcDe9C4ccaTXsgxCuYt3s6q6/76Aro1u/6BEophW8"),
    (PASSWORD, "$2b$05$abcdefghijklmnopqrstuujyowYzwa5GTkdJQ1hID4j4yIozDs7U."),
    (PASSWORD, "$2y$05$abcdefghijklmnopqrstuujyowYzwa5GTkdJQ1hID4j4yIozDs7U."),
    (PASSWORD, "$6$saltstring$XikFVg.7EhH1eUDEUpzvo18fWP5xsooAUeVrPgDQF0pycEsAR1KJFDpioiNUhrHfBTxVAip6F1kkOGFYRBADj/"),
    (PASSWORD, "$6$rounds=1400$anotherlongsalts$KqEinOaYAq7OE7pipAgP6OuCA9x5hyrHiiB8Xq0aDQ9/3cFQBPREHYkveTvTSDhiXI6K78fD3QvOOa3vGU3tT0"),
    (PASSWORD, "$5$saltstring$RT55UUFV8nhS8YjKMVGspyCektw1KgSPNiHv3htupz8"),
    (PASSWORD, "{CRYPT}$5$rounds=1000$x$qGfBW3/0reMAHMDN.a8bJ0zapEr5h3WCfbDTwK86RK0"),
    (PASSWORD, "{CRYPT}$2b$05$abcdefghijklmnopqrstuujyowYzwa5GTkdJQ1hID4j4yIozDs7U."),
    (PASSWORD, "{PBKDF2}1000$c2FsdHNhbHT7/w$Nwaatq46uMTkjSF0xkZokNjBE1w"),
    (PASSWORD, "{PBKDF2-SHA1}1000$c2FsdHNhbHT7/w$Nwaatq46uMTkjSF0xkZokNjBE1w"),
    (PASSWORD, "{PBKDF2-SHA256}1000$c2FsdHNhbHT7/w$qJ6t6oCG8FwB9/xHKTsyYwjr2M6Vg/yqUr.jMfCXn3E"),
    (PASSWORD, "{PBKDF2-SHA512}1000$c2FsdHNhbHT7/w$gDVZ8Bt4y6s1BbcXthf37AjoxST74S4S0BCak/iv0GzWEr7AluMMVF.kCdnyibX8giE/efrF8RduWgq3xhFMZA"),
    (
        PASSWORD,
        "{PBKDF2_SHA256}AAAD6AABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4fICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj+BOAwR/NUjEs6ra0XO5jFbgjKLmSC2rmeeSUypz+JeE/t2qVCwYD4DSFDJzYzpf+lsgLwXemH54o5NQzMfZ1G1dds4TM6CdwxNXxYUT8dU/nZeTwd1A8zlDCfVrGMPEXMEH5MaHhTfV7dCocvw5Al/S1Ing6wm6JIi6zEb3lOV0Yy5gwGt+OyEJJOijHGfnP+NHi4K85kMTs5qdyChveaAv3jR5ARdttxRPyyskqiMfoesqmi7+LFM+gzeGT6Joe+BsEWIrWpYwm+tSfta6sXvX0mhy6KZ7J+mJBElx64E8Ecxbg1dTw/UhFFcYw5BGN06gw+AHl8GzygfGRNTn9z+",
    ),
    ("password", "$argon2i$v=19$m=65536,t=2,p=4$c29tZXNhbHQ$RdescudvJCsgt3ub+b+dWRWJTmaaJObG"),
    ("password", "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4"),
];

#[test]
fn foreign_hashes_are_wrapped_and_match_their_password_only() {
    for (password, foreign) in FOREIGN {
        let stored = import_here(foreign).unwrap_or_else(|error| panic!("{foreign}: {error}"));
        assert!(stored.0.starts_with(WRAPPED), "{foreign}");
        assert_eq!(verify_here(&stored, &Secret::from(password)), Ok(Match::SameButOutdated), "{foreign}");
        assert_eq!(verify_here(&stored, &Secret::from("Tr0ub4dor&4")), Ok(Match::Different), "{foreign}");
    }
}

#[test]
fn a_hash_that_waits_sealed_matches_its_password_only_and_is_opened_by_its_key_alone() {
    let other = KeyEncryptionKey::new(&Secret::new([8; 32])).unwrap();
    for (password, foreign) in FOREIGN {
        let stored = seal(foreign, Cost::default(), &sealing()).unwrap();
        assert!(stored.0.starts_with(PasswordHash::SEALED), "{foreign}");
        let (_, digest) = Foreign::parse(foreign).unwrap();
        assert!(!stored.0.contains(STANDARD_NO_PAD.encode(&*digest).get(..20).unwrap()), "{foreign}: the digest is not in it");
        assert_eq!(verify_here(&stored, &Secret::from(password)), Ok(Match::SameButOutdated), "{foreign}");
        assert_eq!(verify_here(&stored, &Secret::from("Tr0ub4dor&4")), Ok(Match::Different), "{foreign}");
        assert_eq!(verify(&stored, &Secret::from(password), Cost::default(), &other), Ok(Match::Different), "{foreign}");
        let wrapped = wrap(&stored, Cost::default(), &sealing()).unwrap();
        assert!(wrapped.0.starts_with(WRAPPED), "{foreign}");
        assert_eq!(cost(&stored, Cost::default()), cost(&wrapped, Cost::default()), "{foreign}: the floor covers it at once");
        assert_eq!(reveal(&stored, &sealing()).unwrap().reveal(), foreign, "it leaves as it came");
        assert_eq!(reveal(&wrapped, &sealing()).unwrap().reveal(), &wrapped.0);
        assert_eq!(seal(&wrapped.0, Cost::default(), &sealing()).unwrap(), wrapped, "what another of us wrapped stays so");
        assert!(wrap(&wrapped, Cost::default(), &sealing()).is_err());
        assert!(seal(&stored.0, Cost::default(), &sealing()).is_err(), "nobody else's seal can be opened");
    }
    let ours = hash(&Secret::from("correct horse battery"), Cost::default()).unwrap();
    assert_eq!(seal(&ours.0, Cost::default(), &sealing()).unwrap(), ours, "as dear as ours: kept");
    let cheap =
        "$vestibule-wrapped$salted-sha1$s=c2FsdHNhbHQ$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";
    assert_eq!(seal(cheap, Cost::default(), &sealing()), Err(ImportError::Parameters));
    assert_eq!(seal("hunter2", Cost::default(), &sealing()), Err(ImportError::UnknownKind));
}

#[tokio::test]
async fn what_waits_sealed_is_wrapped_once_and_what_changed_meanwhile_stays() {
    let store: Arc<dyn DurableStore> = Arc::new(MemoryDurableStore::default());
    let pool = HashingPool::new(1, 8, Cost::default(), sealing(), Arc::new(vestibule_engine::clock::SystemClock::default())).unwrap();
    let (password, foreign) = FOREIGN[0];
    let mut users = Vec::new();
    for name in ["ada", "bob", "cleo"] {
        let hash = seal(foreign, Cost::default(), &sealing()).unwrap();
        users.push(User { password: Some(hash), ..conformance::user(&"north".into(), name).unwrap() });
    }
    // Nobody can open this one.
    users[2].password = Some(seal(foreign, Cost::default(), &KeyEncryptionKey::new(&Secret::new([8; 32])).unwrap()).unwrap());
    assert_eq!(store.insert_users(&users).await, Ok(vec![true; 3]));
    assert_eq!(wrapping::page(&store, &pool).await, Ok(Page { left: 3, wrapped: 2 }));
    assert_eq!(wrapping::page(&store, &pool).await, Ok(Page { left: 1, wrapped: 0 }), "it is not lost");
    for user in &users[..2] {
        let stored = store.user(user.id).await.unwrap().unwrap();
        let hash = stored.password.clone().unwrap();
        assert!(hash.0.starts_with(WRAPPED));
        assert_eq!(verify_here(&hash, &Secret::from(password)), Ok(Match::SameButOutdated));
        assert_eq!(User { password: None, ..stored }, User { password: None, ..user.clone() });
    }
}

#[test]
fn the_foreign_digest_is_not_in_what_is_stored() {
    for (_, foreign) in FOREIGN {
        let stored = import_here(foreign).unwrap().0;
        let (_, digest) = Foreign::parse(foreign).unwrap();
        let digest = STANDARD_NO_PAD.encode(&*digest);
        assert!(!stored.contains(digest.get(..20).unwrap()), "{foreign}");
    }
}

#[test]
fn our_own_hashes_match_and_are_salted() {
    let secret = Secret::from("correct horse battery");
    let (first, second) = (hash(&secret, Cost::default()).unwrap(), hash(&secret, Cost::default()).unwrap());
    assert!(first.0.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
    assert_ne!(first, second);
    assert_eq!(verify_here(&first, &secret), Ok(Match::Same));
    assert_eq!(verify_here(&first, &Secret::from("correct horse")), Ok(Match::Different));
    assert_eq!(import_here(&first.0).unwrap(), first, "as dear as ours: kept");
}

/// Attack 124: the cost of the configuration is the cost of every hash.
#[test]
fn hashes_have_the_cost_that_is_asked_for_and_others_are_outdated() {
    let dear = Cost { memory: 32 * 1024, passes: 3, lanes: 2 };
    let secret = Secret::from("correct horse battery");
    for stored in [hash(&secret, dear).unwrap(), decoy(dear).unwrap()] {
        assert!(stored.0.starts_with("$argon2id$v=19$m=32768,t=3,p=2$"), "{stored:?}");
    }
    let stored = hash(&secret, dear).unwrap();
    assert_eq!(verify(&stored, &secret, dear, &sealing()), Ok(Match::Same));
    assert_eq!(verify(&stored, &secret, Cost::default(), &sealing()), Ok(Match::SameButOutdated));
    let cheap = hash(&secret, Cost::default()).unwrap();
    assert_eq!(verify(&cheap, &secret, dear, &sealing()), Ok(Match::SameButOutdated));
    let imported = import(&cheap.0, dear).unwrap();
    assert!(imported.0.starts_with(WRAPPED) && imported.0.contains("$argon2id$v=19$m=32768,t=3,p=2$"), "weaker than ours: wrapped");
}

/// What the configuration admits must be readable again, or everybody would be locked out.
#[test]
fn the_dearest_cost_that_may_be_configured_can_be_read() {
    let dearest = Cost { memory: MAX_MEMORY, passes: MAX_PASSES, lanes: MAX_LANES };
    assert!(matches!(Stored::parse(&decoy(dearest).unwrap().0), Some(Stored::Plain(outer)) if outer.cost == dearest));
}

#[test]
fn a_dearer_argon2id_is_kept_and_replaced_at_success() {
    let reference = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
    let stored = import_here(reference).unwrap();
    assert_eq!(stored.0, reference);
    assert_eq!(verify_here(&stored, &Secret::from("password")), Ok(Match::SameButOutdated));
}

/// Attack 73: of 80 octets bcrypt reads 72, so every password that begins with them would match.
#[test]
fn bcrypt_accepts_no_password_that_it_does_not_read_whole() {
    let of_eighty = "$2b$05$abcdefghijklmnopqrstuujf8SX2ahXLwp9w/B.Y5XdysS6yR576q";
    let stored = import_here(of_eighty).unwrap();
    for length in [71, 72, 73, 80, 200] {
        assert_eq!(verify_here(&stored, &Secret::new("x".repeat(length))), Ok(Match::Different), "{length}");
    }
    // The longest that is read whole still matches itself.
    let longest = "y".repeat(71);
    let hashed = ::bcrypt::hash_with_salt(&longest, 4, *b"0123456789abcdef").unwrap().to_string();
    let stored = import_here(&hashed).unwrap();
    assert_eq!(verify_here(&stored, &Secret::new(longest.clone())), Ok(Match::SameButOutdated));
    assert_eq!(verify_here(&stored, &Secret::new(format!("{longest}\0"))), Ok(Match::Different));
}

#[test]
fn hashes_that_ask_for_too_much_are_refused() {
    let tail = "c29tZXNhbHQ$RdescudvJCsgt3ub+b4dWRWJTmaaJObG";
    for text in [
        format!("$argon2id$v=19$m=4194304,t=1,p=1${tail}"),
        format!("$argon2id$v=19$m=99999999999,t=1,p=1${tail}"),
        format!("$argon2id$v=19$m=65536,t=1000,p=1${tail}"),
        format!("$argon2id$v=19$m=65536,t=1,p=0${tail}"),
        format!("$argon2id$v=19$m=8,t=1,p=4${tail}"),
        format!("$scrypt$ln=24,r=8,p=1${tail}"),
        format!("$scrypt$ln=20,r=64,p=1${tail}"),
        format!("$scrypt$ln=200,r=8,p=1${tail}"),
        format!("$scrypt$ln=14,r=8,p=4294967295${tail}"),
        format!("$pbkdf2-sha256$i=10000001,l=24${tail}"),
        format!("$pbkdf2-sha256$i=0,l=24${tail}"),
        "$6$rounds=1000001$saltstring$XikFVg.7EhH1eUDEUpzvo18fWP5xsooAUeVrPgDQF0pycEsAR1KJFDpioiNUhrHfBTxVAip6F1kkOGFYRBADj/".to_owned(),
        "$5$rounds=999$x$qGfBW3/0reMAHMDN.a8bJ0zapEr5h3WCfbDTwK86RK0".to_owned(),
        "{PBKDF2}10000001$c2FsdHNhbHT7/w$Nwaatq46uMTkjSF0xkZokNjBE1w".to_owned(),
        "$2b$16$abcdefghijklmnopqrstuujyowYzwa5GTkdJQ1hID4j4yIozDs7U.".to_owned(),
        "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$AAAA".to_owned(),
    ] {
        assert_eq!(import_here(&text), Err(ImportError::Parameters), "{text}");
    }
}

#[test]
fn directories_name_the_scheme_before_the_hash() {
    let (_, bcrypt) = FOREIGN.into_iter().find(|(_, foreign)| foreign.starts_with("$2b")).unwrap();
    let (password, argon2) = FOREIGN.into_iter().find(|(_, foreign)| foreign.starts_with("$argon2i$")).unwrap();
    for (password, text) in
        [(PASSWORD, format!("{{crypt}}{bcrypt}")), (PASSWORD, format!("{{BCRYPT}}{bcrypt}")), (password, format!("{{ARGON2}}{argon2}"))]
    {
        let stored = import_here(&text).unwrap();
        assert_eq!(verify_here(&stored, &Secret::from(password)), Ok(Match::SameButOutdated), "{text}");
    }
    for text in
        ["{CRYPT}{CRYPT}$5$x$y", "{CRYPT}$1$salt$hash", "{CRYPT}ab01FAX.bQRSU", "{ARGON2}{SSHA}AAAA", "{MD5}rL0Y20zC+Fzt72VPzMSk2A=="]
    {
        assert!(matches!(import_here(text), Err(ImportError::UnknownKind | ImportError::Malformed)), "{text}");
    }
}

/// crypt(3) ends a password at its first NUL.
#[test]
fn sha_crypt_accepts_no_password_that_goes_on_behind_a_nul() {
    let (_, foreign) = FOREIGN.into_iter().find(|(_, foreign)| foreign.starts_with("$6$")).unwrap();
    let stored = import_here(foreign).unwrap();
    assert_eq!(verify_here(&stored, &Secret::new(format!("{PASSWORD}\0"))), Ok(Match::Different));
    // Of each length around a block of the hash, and of the longest.
    for length in [0, 1, 31, 32, 33, 63, 64, 65, 1024] {
        assert_eq!(verify_here(&stored, &Secret::new("x".repeat(length))), Ok(Match::Different), "{length}");
    }
}

#[test]
fn what_is_no_hash_is_refused() {
    for text in [
        "",
        "secret",
        "{SHA}2jmj7l5rSw0yVb/vlWAYkK/YBwk=",
        "{SSHA}AAAA",
        "{SSHA",
        "$1$salt$hash",
        "$2x$05$abcdefghijklmnopqrstuujyowYzwa5GTkdJQ1hID4j4yIozDs7U.",
        "$2b$05$abcdef",
        "$2b$05$żabcdefghijklmnopqrstuujyowYzwa5GTkdJQ1hID4j4yIozDs7U.",
        "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ",
        "$argon2id$v=7$m=65536,t=2,p=1$c29tZXNhbHQ$RdescudvJCsgt3ub+b4dWRWJTmaaJObG",
        "pbkdf2_md5$1$a$b",
        "$vestibule-wrapped$bcrypt$c=5",
        "$6$saltstring$XikFVg",
        "$6$saltstring",
        "$5$a long salt with spaces$qGfBW3/0reMAHMDN.a8bJ0zapEr5h3WCfbDTwK86RK0",
        "{PBKDF2-MD5}1000$c2FsdHNhbHQ$Nwaatq46uMTkjSF0xkZokNjBE1w",
        "{PBKDF2_SHA256}AAAD6A",
    ] {
        assert!(import_here(text).is_err(), "{text}");
    }
    assert_eq!(import_here(&"x".repeat(5000)), Err(ImportError::TooLong));
}

#[test]
fn an_unreadable_or_decoy_hash_matches_nothing() {
    for stored in [decoy(Cost::default()).unwrap(), PasswordHash("garbage".into()), PasswordHash("$vestibule-wrapped$x$argon2id$".into())] {
        assert_eq!(verify_here(&stored, &Secret::from("")), Ok(Match::Different));
        assert_eq!(verify_here(&stored, &Secret::from("garbage")), Ok(Match::Different));
    }
}

#[test]
fn the_dearest_hash_in_store_sets_the_cost() {
    let dearest = Dearest::default();
    dearest.meet(&decoy(Cost::default()).unwrap(), Cost::default());
    let ours = dearest.cost();
    dearest.meet(&import_here("$2b$12$abcdefghijklmnopqrstuujyowYzwa5GTkdJQ1hID4j4yIozDs7U.").unwrap(), Cost::default());
    assert!(dearest.cost() > ours);
    let dear = dearest.cost();
    dearest.meet(&decoy(Cost::default()).unwrap(), Cost::default());
    assert_eq!(dearest.cost(), dear);
}

//! Passwords that both sides keep as they are, for programs that send digests of them (Username Token Profile 1.1 §3.1).
//!
//! An attacker measures which names exist: a name that is unknown, or may not enter, is compared with a decoy. Its users are
//! ours, by name; the file holds nothing but their passwords, and never those of operators.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use vestibule_engine::admission::barred;
use vestibule_engine::audit::{Reason, Trail};
use vestibule_engine::clock::random;
use vestibule_engine::identity::{Attributes, RealmName, User, Username};
use vestibule_engine::profile::Profiles;
use vestibule_engine::realm::{Account, Accounts, Attempt, Check, Offered, Realm};
use vestibule_engine::scheme::{Unavailable, Who};
use vestibule_engine::secret::Secret;
use vestibule_engine::users::Users;

/// The realm.
#[derive(Debug)]
pub struct SharedSecretsRealm {
    name: RealmName,
    users: Arc<Users>,
    secrets: BTreeMap<Username, Secret<String>>,
    profiles: Arc<Profiles>,
    decoy: Secret<String>,
}

impl SharedSecretsRealm {
    /// A realm of these passwords.
    ///
    /// # Errors
    /// [`Unavailable`] without random numbers.
    pub fn new(
        name: RealmName,
        users: Arc<Users>,
        secrets: BTreeMap<Username, Secret<String>>,
        profiles: Arc<Profiles>,
    ) -> Result<Self, Unavailable> {
        let decoy = random::<16>()?.iter().map(|octet| format!("{octet:02x}")).collect::<String>();
        Ok(Self { name, users, secrets, profiles, decoy: Secret::new(decoy) })
    }

    fn admitted<'a>(&'a self, user: Option<&'a User>, attempt: &Attempt<'_>) -> Result<(&'a User, &'a Secret<String>), Reason> {
        let user = user.filter(|_| attempt.accounts == Accounts::All).ok_or(Reason::UnknownUser)?;
        if let Some(reason) = barred(user) {
            return Err(reason);
        }
        if user.is_operator() {
            return Err(Reason::NoPassword);
        }
        let secret = self.secrets.get(attempt.username).ok_or(Reason::NoPassword)?;
        attempt.terms().bar(user, &self.profiles).map_or(Ok((user, secret)), Err)
    }
}

#[async_trait]
impl Realm for SharedSecretsRealm {
    fn name(&self) -> &RealmName {
        &self.name
    }

    async fn verify(&self, attempt: &Attempt<'_>, _trail: &mut Trail) -> Result<Check, Unavailable> {
        let user = self.users.by_name(attempt.tenant, attempt.username).await?;
        let held = self.admitted(user.as_deref(), attempt);
        let secret = held.map_or(&self.decoy, |(_, secret)| secret);
        let same = is_proven(attempt.secret, secret);
        match held {
            Err(reason) => Ok(Check::Rejected(reason)),
            Ok(_) if !same => Ok(Check::Rejected(Reason::WrongPassword)),
            Ok((user, _)) => {
                Ok(Check::Accepted(Account { who: Who::User(user.id), attributes: Attributes::new(), epoch: Some(user.epoch) }))
            }
        }
    }
}

/// Whether this was offered by somebody who has the secret. Takes the same time wherever they differ.
fn is_proven(offered: Offered<'_>, secret: &Secret<String>) -> bool {
    let secret = secret.reveal().as_bytes();
    match offered {
        Offered::Password(password) => {
            let of = |octets: &[u8]| digest(&SHA256, octets);
            verify_slices_are_equal(of(password.reveal().as_bytes()).as_ref(), of(secret).as_ref()).is_ok()
        }
        Offered::Digest { digest, prefix } => {
            let mut context = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
            context.update(prefix);
            context.update(secret);
            verify_slices_are_equal(digest, context.finish().as_ref()).is_ok()
        }
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    /// The vectors of the project's reference, §6.4.
    #[test]
    fn digests_are_those_of_the_profile() {
        let nonce = STANDARD.decode("AAECAwQFBgcICQoLDA0ODw==").unwrap();
        let created = b"2026-01-02T03:04:05Z";
        let prefix = [nonce.as_slice(), created].concat();
        let wrong = [b"AAECAwQFBgcICQoLDA0ODw==".as_slice(), created].concat();
        let proven = |word: &str, sent: &str, prefix: &[u8]| {
            let digest = STANDARD.decode(sent).unwrap();
            is_proven(Offered::Digest { digest: &digest, prefix }, &Secret::from(word))
        };
        assert!(proven("verifyMe-7", "AeEM6zuq/Ng5SpVLzURFJqvTnsk=", &prefix));
        assert!(proven("pässwörd", "E39PJWjG8ZiTrvKk/6LcbAi4tEs=", &prefix));
        assert!(proven("qqzNNNv2tcYNjJ/jI4j9Ae+Azzw=", "WU/uImQ/Qe3O0qdqdw8YOsdtG9g=", &prefix));
        assert!(!proven("verifyMe-7", "wFqSROWvS+klSwARKL13EoWyfLc=", &prefix), "the nonce is decoded");
        assert!(proven("verifyMe-7", "wFqSROWvS+klSwARKL13EoWyfLc=", &wrong));
        assert!(!proven("verifyMe-7", "AeEM6zuq/Ng5SpVLzURFJqvTnss=", &prefix));
        assert!(is_proven(Offered::Password(&Secret::from("a")), &Secret::from("a")));
        assert!(!is_proven(Offered::Password(&Secret::from("a")), &Secret::from("b")));
    }
}

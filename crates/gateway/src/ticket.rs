//! Session tickets: who was recognised, sealed by one node of an installation for all of them
//! (`policy-server-and-ws-security.md` §2.4).
//!
//! A ticket is what a service passes on to the next, so that its caller is not asked again. Only this installation can make or
//! read one: it is encrypted and authenticated under a key that never leaves the store. What an attacker tries: a stolen ticket
//! (it names the key its holder has to sign with, or lives for minutes over TLS), one of another tenant (its tenant is what it is
//! sealed for), one from before a password was changed or a backup restored (it carries both epochs), one that renews itself
//! for ever (what is issued for a ticket ends with it).

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use vestibule_engine::Timestamp;
use vestibule_engine::audit::Reason;
use vestibule_engine::identity::{Attributes, Identity, Level, TenantId, UserId};
use vestibule_engine::scheme::Unavailable;
use vestibule_engine::secret::Secret;
use vestibule_engine::users::Users;

use crate::certificate;
use crate::serve::pages::key::PageKey;

/// The attribute of an assertion that holds a ticket.
pub const ATTRIBUTE: &str = "urn:vestibule:session-ticket";
/// What is known of a caller whom a ticket brought: when it ends.
const UNTIL: &str = "session-ticket-until";
/// The form of a ticket.
const FORM: &str = "v1.";
const PURPOSE: &str = "vestibule session ticket v1";
/// Octets of the longest ticket that is looked at.
const LONGEST: usize = 16 * 1024;

/// Makes and reads tickets.
#[derive(Debug, Clone)]
pub struct SessionTickets {
    key: PageKey,
    users: Arc<Users>,
}

/// A ticket that could be opened. Whether it still counts is another question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    #[serde(rename = "u")]
    user: Uuid,
    #[serde(rename = "e")]
    epoch: u64,
    #[serde(rename = "s")]
    store_epoch: u64,
    /// Whose word it was.
    #[serde(rename = "i")]
    pub issuer: String,
    #[serde(rename = "l")]
    level: u8,
    /// Seconds since 1970, as all times here.
    #[serde(rename = "a")]
    authenticated: i64,
    #[serde(rename = "x")]
    until: i64,
    #[serde(rename = "f")]
    attributes: Attributes,
    /// The certificate (DER in base64) whose key its holder signs with.
    #[serde(rename = "h", skip_serializing_if = "Option::is_none", default)]
    holder: Option<String>,
}

impl SessionTickets {
    /// SessionTickets under the secret of an installation.
    pub fn new(secret: &Secret<[u8; 32]>, users: Arc<Users>) -> Self {
        Self { key: PageKey::new(secret), users }
    }

    /// A ticket for somebody who was recognised, for `life` at most.
    ///
    /// # Errors
    /// A sentence: what keeps it from being made.
    pub async fn seal(&self, identity: &Identity, holder: Option<&[u8]>, life: Duration, now: Timestamp) -> Result<Secret<String>, String> {
        let life = i64::try_from(life.as_secs()).unwrap_or(i64::MAX);
        let ends = [identity.session.as_ref().map(|session| session.until), brought_until(identity)];
        let until = ends.into_iter().flatten().fold(now.as_second().saturating_add(life), |until, end| until.min(end.as_second()));
        if until <= now.as_second() {
            return Err("the session is over".to_owned());
        }
        let mut attributes = Attributes::clone(&identity.attributes);
        // Whoever brings it shows a certificate anew, or none.
        attributes.retain(|name, _| name != certificate::ATTRIBUTE && name != UNTIL);
        let ticket = Ticket {
            user: identity.user.id.0,
            epoch: identity.user.epoch,
            store_epoch: self.users.store_epoch(now).await.map_err(|down| down.to_string())?,
            issuer: identity.issuer.as_str().to_owned(),
            level: identity.level.0,
            authenticated: identity.authenticated_at.as_second(),
            until,
            attributes,
            holder: holder.map(|der| STANDARD.encode(der)),
        };
        let text = serde_json::to_vec(&ticket).map_err(|error| error.to_string())?;
        let sealed = self.key.seal(PURPOSE, identity.tenant().as_str(), text).map_err(|down| down.to_string())?;
        if sealed.len() + FORM.len() > LONGEST {
            return Err("what is known of the caller is too long for a ticket".to_owned());
        }
        Ok(Secret::new(format!("{FORM}{sealed}")))
    }

    /// Opens what may be a ticket of this tenant.
    pub fn open(&self, tenant: &TenantId, text: &str) -> Option<Ticket> {
        let sealed = text.strip_prefix(FORM).filter(|_| text.len() <= LONGEST)?;
        serde_json::from_slice(&self.key.open(PURPOSE, tenant.as_str(), sealed)?).ok()
    }

    /// Whether a ticket still counts.
    ///
    /// # Errors
    /// [`Unavailable`] if the store does not answer.
    pub async fn check(&self, ticket: &Ticket, now: Timestamp) -> Result<Result<(), Reason>, Unavailable> {
        if now.as_second() >= ticket.until {
            return Ok(Err(Reason::AbsoluteTimeout));
        }
        if self.users.store_epoch(now).await? != ticket.store_epoch {
            return Ok(Err(Reason::UnknownSession));
        }
        let Some(user) = self.users.by_id(ticket.user(), now).await? else { return Ok(Err(Reason::UnknownUser)) };
        Ok(if user.epoch == ticket.epoch { Ok(()) } else { Err(Reason::StaleEpoch) })
    }
}

impl Ticket {
    /// Whose it is.
    pub fn user(&self) -> UserId {
        UserId(self.user)
    }

    /// How surely they were recognised.
    pub fn level(&self) -> Level {
        Level(self.level)
    }

    /// When they were.
    pub fn authenticated_at(&self) -> Timestamp {
        Timestamp::from_second(self.authenticated).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// Whether it names a holder, and so is nobody else's.
    pub fn is_bound(&self) -> bool {
        self.holder.is_some()
    }

    /// The certificate (DER) of the key that its holder has.
    pub fn holder(&self) -> Option<Vec<u8>> {
        STANDARD.decode(self.holder.as_deref()?).ok()
    }

    /// What was known of them, and until when this ticket says so.
    pub fn attributes(&self) -> Attributes {
        let mut attributes = self.attributes.clone();
        let until = Timestamp::from_second(self.until).unwrap_or(Timestamp::UNIX_EPOCH);
        attributes.insert(UNTIL.to_owned(), vec![until.to_string()]);
        attributes
    }
}

/// When the ticket ends that brought a caller.
fn brought_until(identity: &Identity) -> Option<Timestamp> {
    identity.attributes.get(UNTIL)?.first()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use vestibule_engine::identity::{Issuer, User};
    use vestibule_engine::store::DurableStore as _;
    use vestibule_engine::store::conformance;
    use vestibule_engine::store::memory::MemoryDurableStore;

    use super::*;

    const LIFE: Duration = Duration::from_secs(600);

    fn now() -> Timestamp {
        "2026-11-29T12:00:00Z".parse().unwrap()
    }

    fn later(seconds: i64) -> Timestamp {
        Timestamp::from_second(now().as_second() + seconds).unwrap()
    }

    async fn house() -> (SessionTickets, Arc<MemoryDurableStore>, User) {
        let durable = Arc::new(MemoryDurableStore::default());
        let user = conformance::user(&"north".into(), "ada").unwrap();
        durable.insert_user(&user).await.unwrap();
        let users = Arc::new(Users::new(durable.clone(), Duration::ZERO));
        (SessionTickets::new(&Secret::new([7; 32]), users), durable, user)
    }

    fn identity(user: &User) -> Identity {
        Identity {
            user: Arc::new(user.clone()),
            scheme: "basic".into(),
            method: "basic".into(),
            issuer: Issuer::from("local"),
            level: Level(10),
            authenticated_at: now(),
            attributes: Arc::new([("mail".to_owned(), vec!["a@b".to_owned()])].into()),
            from: None,
            session: None,
            ambient: false,
        }
    }

    #[tokio::test]
    async fn a_ticket_says_who_was_recognised_until_it_ends() {
        let (tickets, _, user) = house().await;
        let text = tickets.seal(&identity(&user), Some(b"der"), LIFE, now()).await.unwrap();
        let ticket = tickets.open(&"north".into(), text.reveal()).unwrap();
        assert_eq!((ticket.user(), ticket.level(), ticket.authenticated_at()), (user.id, Level(10), now()));
        assert_eq!((ticket.holder().as_deref(), ticket.attributes()["mail"][0].as_str()), (Some(&b"der"[..]), "a@b"));
        for (at, counts) in [(0, Ok(())), (599, Ok(())), (600, Err(Reason::AbsoluteTimeout)), (601, Err(Reason::AbsoluteTimeout))] {
            assert_eq!(tickets.check(&ticket, later(at)).await.unwrap(), counts, "{at}");
        }
        assert_eq!(tickets.open(&"south".into(), text.reveal()), None, "another tenant's");
        let other = SessionTickets { key: PageKey::new(&Secret::new([8; 32])), ..tickets.clone() };
        assert_eq!(other.open(&"north".into(), text.reveal()), None, "another installation's");
        for at in 0..text.reveal().len() {
            let mut octets = text.reveal().clone().into_bytes();
            octets[at] = if octets[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(tickets.open(&"north".into(), std::str::from_utf8(&octets).unwrap()), None, "{at}");
        }
    }

    #[tokio::test]
    async fn a_ticket_for_a_ticket_ends_with_it() {
        let (tickets, _, user) = house().await;
        let first = tickets.seal(&identity(&user), None, LIFE, now()).await.unwrap();
        let first = tickets.open(&"north".into(), first.reveal()).unwrap();
        let brought = Identity { attributes: Arc::new(first.attributes()), ..identity(&user) };
        let second = tickets.seal(&brought, None, LIFE, later(300)).await.unwrap();
        assert_eq!(tickets.open(&"north".into(), second.reveal()).unwrap().until, first.until);
        assert!(tickets.seal(&brought, None, LIFE, later(600)).await.is_err());
    }

    #[tokio::test]
    async fn a_ticket_is_nothing_once_its_user_was_signed_out_everywhere() {
        let (tickets, durable, user) = house().await;
        let text = tickets.seal(&identity(&user), None, LIFE, now()).await.unwrap();
        let ticket = tickets.open(&"north".into(), text.reveal()).unwrap();
        durable.update_user(&User { epoch: user.epoch + 1, ..user.clone() }, user.epoch).await.unwrap();
        assert_eq!(tickets.check(&ticket, later(1)).await.unwrap(), Err(Reason::StaleEpoch));
    }
}

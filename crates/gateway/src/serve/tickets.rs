//! Tickets: what somebody who is signed in here presents to another service in place of the password (`login-saml-delegated.md` §4.3).
//!
//! That service passes it on to our delegate endpoint as if it were the password, which therefore never leaves us. A ticket is read by
//! us only, holds for a minute, for one name at one endpoint, and once. An attacker tries to forge one, to use one that he saw a second
//! time, to bring his under another's name, and to bring to one endpoint what was made for another.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use vestibule_engine::Timestamp;
use vestibule_engine::audit::Reason;
use vestibule_engine::clock::random;
use vestibule_engine::identity::{SchemeName, TenantId, UserId, Username};
use vestibule_engine::scheme::Unavailable;
use vestibule_engine::secret::Secret;
use vestibule_engine::store::{ExpiringStore, Insert, Key, Kind};

use super::pages::PageKey;

/// What a ticket begins with; no password is taken for one, unless it was made here.
pub const PREFIX: &str = "vt1.";
/// How long one holds, in seconds.
const LIFE: i64 = 60;
const PURPOSE: &str = "vestibule ticket v1";

/// Makes and takes tickets.
#[derive(Debug, Clone)]
pub struct Tickets {
    key: PageKey,
    store: Arc<dyn ExpiringStore>,
}

/// What one says.
#[derive(Serialize, Deserialize)]
struct Ticket {
    #[serde(rename = "i")]
    id: String,
    #[serde(rename = "n")]
    name: Username,
    #[serde(rename = "u")]
    user: UserId,
    /// The user's epoch: signed out everywhere, a ticket is over as well.
    #[serde(rename = "e")]
    epoch: u64,
    #[serde(rename = "t")]
    issued: i64,
}

/// Who brought a good one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The user.
    pub user: UserId,
    /// Their epoch when it was made.
    pub epoch: u64,
}

impl Tickets {
    /// Tickets under a secret that all nodes share, remembered in `store` once they are used.
    pub fn new(secret: &Secret<[u8; 32]>, store: Arc<dyn ExpiringStore>) -> Self {
        Self { key: PageKey::new(secret), store }
    }

    /// A ticket for an endpoint.
    ///
    /// # Errors
    /// [`Unavailable`] when there is no randomness.
    pub fn issue(
        &self,
        tenant: &TenantId,
        endpoint: &SchemeName,
        name: &Username,
        holder: &Holder,
        now: Timestamp,
    ) -> Result<Secret<String>, Unavailable> {
        let id = URL_SAFE_NO_PAD.encode(random::<16>()?);
        let ticket = Ticket { id, name: name.clone(), user: holder.user, epoch: holder.epoch, issued: now.as_second() };
        let text = serde_json::to_vec(&ticket).map_err(|error| Unavailable::new("ticket", error))?;
        Ok(Secret::new(format!("{PREFIX}{}", self.key.seal(PURPOSE, &place(tenant, endpoint), text)?)))
    }

    /// Takes a ticket that came in place of a password.
    ///
    /// # Errors
    /// [`Unavailable`] when nobody can tell whether it was used before.
    pub async fn take(
        &self,
        tenant: &TenantId,
        endpoint: &SchemeName,
        name: &Username,
        offered: &str,
        now: Timestamp,
    ) -> Result<Result<Holder, Reason>, Unavailable> {
        let opened = offered.strip_prefix(PREFIX).and_then(|sealed| self.key.open(PURPOSE, &place(tenant, endpoint), sealed));
        let Some(ticket) = opened.and_then(|text| serde_json::from_slice::<Ticket>(&text).ok()) else { return Ok(Err(Reason::Forged)) };
        if ticket.name != *name {
            return Ok(Err(Reason::SubjectNotAllowed));
        }
        let age = now.as_second() - ticket.issued;
        // Another node's clock may be a little ahead.
        if !(-LIFE..LIFE).contains(&age) {
            return Ok(Err(Reason::Expired));
        }
        let key = Key::of(tenant, Kind::Replay, &[b"ticket", ticket.id.as_bytes()]);
        // Longer than any clock of ours would still take it.
        let ttl = Duration::from_secs(3 * LIFE.unsigned_abs());
        match self.store.insert(&key, &[], ttl, &[], None).await? {
            Insert::Inserted => Ok(Ok(Holder { user: ticket.user, epoch: ticket.epoch })),
            Insert::Exists => Ok(Err(Reason::Replayed)),
            Insert::Full => Err(Unavailable::new("store", "no room for used tickets")),
        }
    }
}

/// What a ticket is bound to: neither name has a line's end in it.
fn place(tenant: &TenantId, endpoint: &SchemeName) -> String {
    format!("{tenant}\n{endpoint}")
}

#[cfg(test)]
mod tests {
    use vestibule_engine::clock::ManualClock;
    use vestibule_engine::store::memory::MemoryStore;

    use super::*;

    #[tokio::test]
    async fn a_ticket_holds_for_one_name_at_one_endpoint_for_a_minute_and_once() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let store = Arc::new(MemoryStore::new(Arc::new(ManualClock::at(now))));
        let tickets = Tickets::new(&Secret::new([7; 32]), store.clone());
        let (north, endpoint, ada) = (TenantId::from("north"), SchemeName::from("crm"), Username::parse("ada").unwrap());
        let holder = Holder { user: UserId(uuid::Uuid::from_u128(1)), epoch: 3 };
        let make = || tickets.issue(&north, &endpoint, &ada, &holder, now).unwrap().reveal().clone();
        let at = |seconds: i64| Timestamp::from_second(1_800_000_000 + seconds).unwrap();
        let ticket = make();
        assert_eq!(tickets.take(&north, &endpoint, &ada, &ticket, at(59)).await, Ok(Ok(holder.clone())));
        assert_eq!(tickets.take(&north, &endpoint, &ada, &ticket, at(59)).await, Ok(Err(Reason::Replayed)));
        let bob = Username::parse("bob").unwrap();
        for (tenant, endpoint, name, ticket, now, reason) in [
            (&north, &endpoint, &ada, make(), at(60), Reason::Expired),
            (&north, &endpoint, &ada, make(), at(-61), Reason::Expired),
            (&north, &endpoint, &bob, make(), at(1), Reason::SubjectNotAllowed),
            (&TenantId::from("south"), &endpoint, &ada, make(), at(1), Reason::Forged),
            (&north, &SchemeName::from("other"), &ada, make(), at(1), Reason::Forged),
            (&north, &endpoint, &ada, format!("{}x", make()), at(1), Reason::Forged),
            (&north, &endpoint, &ada, PREFIX.to_owned(), at(1), Reason::Forged),
            (&north, &endpoint, &ada, "a password".to_owned(), at(1), Reason::Forged),
        ] {
            assert_eq!(tickets.take(tenant, endpoint, name, &ticket, now).await, Ok(Err(reason)), "{ticket}");
        }
        let others = Tickets::new(&Secret::new([8; 32]), store);
        assert_eq!(others.take(&north, &endpoint, &ada, &make(), at(1)).await, Ok(Err(Reason::Forged)));
    }
}

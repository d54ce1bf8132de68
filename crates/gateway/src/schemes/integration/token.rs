//! One-shot tokens by which a user who is signed in here is known elsewhere, and by which that other place opens a session
//! for them (`oracle-stateful-sessions.md` §6, §10).
//!
//! ```text
//! base64url( version key-period issued-at nonce user HMAC-SHA-256 )     the tenant is under the HMAC
//! ```
//!
//! An attacker guesses, plays a token twice or in another tenant, or a hundred times at once at several nodes (114). The HMAC
//! keeps what we did not issue from the store; what a token is still good for stands in the store alone, and is taken from it by
//! comparing and setting, never by looking first.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;
use vestibule_engine::Timestamp;
use vestibule_engine::admission::barred;
use vestibule_engine::audit::Reason;
use vestibule_engine::clock::random;
use vestibule_engine::identity::{Identity, Level, TenantId, User, UserId};
use vestibule_engine::scheme::Unavailable;
use vestibule_engine::secret::Secret;
use vestibule_engine::store::{ExpiringStore, Insert, Key, Kind};
use vestibule_engine::users::Users;

/// The form written here.
const VERSION: u8 = 1;
/// Octets before the tag: version, period, time, nonce, user.
const SIGNED: usize = 1 + 4 + 8 + 16 + 16;
/// Octets of a token.
const LENGTH: usize = SIGNED + 32;
/// A key signs for so many seconds; the next one is derived for the next period.
const PERIOD: i64 = 7 * 24 * 3600;
/// How often a use that somebody else's came before is tried again: a token has two.
const ATTEMPTS: usize = 8;

/// What tokens are signed with: one secret of the installation, a key for each period and tenant.
#[derive(Clone)]
pub struct TokenKey(hmac::Key);

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<token key>")
    }
}

impl TokenKey {
    /// Takes 256 random bits that are used for nothing else.
    pub fn new(secret: &Secret<[u8; 32]>) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret.reveal()))
    }

    fn of(&self, tenant: &TenantId, period: u32) -> hmac::Key {
        let mut context = hmac::Context::with_key(&self.0);
        for part in [&b"sso token"[..], &[VERSION], &period.to_be_bytes(), tenant.as_str().as_bytes()] {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        hmac::Key::new(hmac::HMAC_SHA256, context.sign().as_ref())
    }
}

/// How tokens are used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// How long one is good for.
    pub lifetime: Duration,
    /// Whether asking whose it is and opening a session are one use together.
    pub strict: bool,
}

/// The tokens of a tenant.
#[derive(Debug)]
pub struct Tokens {
    tenant: TenantId,
    key: TokenKey,
    settings: Settings,
    store: Arc<dyn ExpiringStore>,
    users: Arc<Users>,
}

/// What a token is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    /// Whose it is: once, and before a session was opened with it.
    Validate,
    /// A session: once.
    Consume,
}

/// Whom a token was about.
#[derive(Debug, Clone)]
pub struct Spent {
    /// Who.
    pub user: Arc<User>,
    /// How strongly they had proved it.
    pub level: Level,
    /// When.
    pub authenticated_at: Timestamp,
}

/// The one browser that may use a token as a browser.
pub type Bind = [u8; 32];

/// Who presents a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presenter {
    /// A program, which nobody can lead to an address.
    Program,
    /// A browser, and what it holds.
    Browser(Option<Bind>),
}

impl Tokens {
    /// Tokens of this tenant.
    pub fn new(tenant: TenantId, key: TokenKey, settings: Settings, store: Arc<dyn ExpiringStore>, users: Arc<Users>) -> Self {
        Self { tenant, key, settings, store, users }
    }

    /// A new token about whoever this is.
    ///
    /// # Errors
    /// [`Unavailable`] when the store or the system does not answer.
    pub async fn issue(&self, identity: &Identity, bind: Option<Bind>, now: Timestamp) -> Result<Secret<String>, Unavailable> {
        let nonce = random::<16>()?;
        let user = identity.user.id;
        let mut octets = Vec::with_capacity(LENGTH);
        octets.push(VERSION);
        let period = period(now.as_second());
        octets.extend_from_slice(&period.to_be_bytes());
        octets.extend_from_slice(&now.as_second().to_be_bytes());
        octets.extend_from_slice(&nonce);
        octets.extend_from_slice(user.0.as_bytes());
        let tag = hmac::sign(&self.key.of(&self.tenant, period), &octets);
        octets.extend_from_slice(tag.as_ref());
        let record = Record {
            uses: Uses::default(),
            level: identity.level,
            epoch: identity.user.epoch,
            authenticated_at: identity.authenticated_at,
            bind,
        };
        match self.store.insert(&self.slot(&nonce), &record.encode(), self.settings.lifetime, &[], None).await? {
            Insert::Inserted => Ok(Secret::new(URL_SAFE_NO_PAD.encode(octets))),
            Insert::Exists | Insert::Full => Err(Unavailable::new("store", "a new token was refused")),
        }
    }

    /// Whose a token is, without using it; `None` for what was not issued here.
    pub fn user(&self, token: &str) -> Option<UserId> {
        self.read(token).map(|claim| claim.user)
    }

    /// Whose a token is (§7).
    ///
    /// # Errors
    /// [`Unavailable`] when a store does not answer.
    pub async fn validate(&self, token: &str, now: Timestamp) -> Result<Result<Arc<User>, Reason>, Unavailable> {
        Ok(self.spend(token, Use::Validate, Presenter::Program, now).await?.map(|spent| spent.user))
    }

    /// Uses a token for a session (§6).
    ///
    /// # Errors
    /// [`Unavailable`] when a store does not answer.
    pub async fn consume(&self, token: &str, by: Presenter, now: Timestamp) -> Result<Result<Spent, Reason>, Unavailable> {
        self.spend(token, Use::Consume, by, now).await
    }

    async fn spend(&self, token: &str, wanted: Use, by: Presenter, now: Timestamp) -> Result<Result<Spent, Reason>, Unavailable> {
        let Some(claim) = self.read(token) else { return Ok(Err(Reason::BadCode)) };
        let slot = self.slot(&claim.nonce);
        for _ in 0..ATTEMPTS {
            let Some((value, version)) = self.store.get(&slot).await? else { return Ok(Err(Reason::BadCode)) };
            let Some(record) = Record::decode(&value) else { return Ok(Err(Reason::BadCode)) };
            // The store forgets in its own time; the token says when its own is over.
            let age = Duration::try_from(now.duration_since(claim.issued)).unwrap_or(Duration::ZERO);
            if age >= self.settings.lifetime {
                return Ok(Err(Reason::BadCode));
            }
            let Some(uses) = record.uses.with(wanted, self.settings.strict) else { return Ok(Err(Reason::Replayed)) };
            // Before it is spent: whoever leads a browser here with a token of their own spends nothing of anybody's.
            if let Presenter::Browser(held) = by
                && (record.bind.is_none() || record.bind != held)
            {
                return Ok(Err(Reason::OtherBrowser));
            }
            let Some(user) = self.users.by_id(claim.user, now).await?.filter(|user| user.tenant == self.tenant) else {
                return Ok(Err(Reason::UnknownUser));
            };
            if let Some(reason) = barred(&user) {
                return Ok(Err(reason));
            }
            if user.epoch != record.epoch {
                return Ok(Err(Reason::StaleEpoch));
            }
            let (level, authenticated_at) = (record.level, record.authenticated_at);
            if self.store.replace(&slot, version, &Record { uses, ..record }.encode()).await? {
                return Ok(Ok(Spent { user, level, authenticated_at }));
            }
        }
        Err(Unavailable::new("store", "a token is being used all the time"))
    }

    /// What a token says, if we said it.
    fn read(&self, token: &str) -> Option<Claim> {
        // A client that repairs its own encoding writes a plus where a space arrives (§6.3); a token of ours has neither.
        if token.len() != LENGTH.div_ceil(3) * 4 - (3 - LENGTH % 3) % 3 {
            return None;
        }
        let octets = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (signed, tag) = octets.split_at_checked(SIGNED)?;
        let (version, rest) = signed.split_first_chunk::<1>()?;
        let (period, rest) = rest.split_first_chunk::<4>()?;
        let (issued, rest) = rest.split_first_chunk::<8>()?;
        let (nonce, rest) = rest.split_first_chunk::<16>()?;
        let user = rest.first_chunk::<16>()?;
        hmac::verify(&self.key.of(&self.tenant, u32::from_be_bytes(*period)), signed, tag).ok()?;
        (*version == [VERSION]).then_some(())?;
        let issued = Timestamp::from_second(i64::from_be_bytes(*issued)).ok()?;
        Some(Claim { nonce: *nonce, user: UserId(Uuid::from_bytes(*user)), issued })
    }

    fn slot(&self, nonce: &[u8; 16]) -> Key {
        Key::of(&self.tenant, Kind::Handoff, &[b"sso token", nonce])
    }
}

struct Claim {
    nonce: [u8; 16],
    user: UserId,
    issued: Timestamp,
}

fn period(seconds: i64) -> u32 {
    u32::try_from(seconds.div_euclid(PERIOD)).unwrap_or(0)
}

/// What a token was used for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Uses {
    validated: bool,
    consumed: bool,
}

impl Uses {
    /// The same after one more use, if there is one left (§6.2): both flags must be clear to ask whose it is, the second to open
    /// a session; where it is strict, the first use of either kind is the last.
    fn with(self, wanted: Use, strict: bool) -> Option<Self> {
        let left = match wanted {
            Use::Validate => !self.validated && !self.consumed,
            Use::Consume => !(self.consumed || (strict && self.validated)),
        };
        left.then_some(match wanted {
            Use::Validate => Self { validated: true, ..self },
            Use::Consume => Self { consumed: true, ..self },
        })
    }
}

/// A token as the store keeps it.
struct Record {
    uses: Uses,
    level: Level,
    epoch: u64,
    authenticated_at: Timestamp,
    bind: Option<Bind>,
}

impl Record {
    fn encode(&self) -> Vec<u8> {
        let flags = u8::from(self.uses.validated) | u8::from(self.uses.consumed) << 1;
        let mut octets = vec![flags, self.level.0];
        octets.extend_from_slice(&self.epoch.to_be_bytes());
        octets.extend_from_slice(&self.authenticated_at.as_microsecond().to_be_bytes());
        octets.extend(self.bind.iter().flatten());
        octets
    }

    fn decode(octets: &[u8]) -> Option<Self> {
        let ([flags, level], rest) = octets.split_first_chunk::<2>()?;
        let (epoch, rest) = rest.split_first_chunk::<8>()?;
        let (at, rest) = rest.split_first_chunk::<8>()?;
        let bind = match rest.len() {
            0 => None,
            _ => Some(rest.try_into().ok()?),
        };
        Some(Self {
            uses: Uses { validated: flags & 1 != 0, consumed: flags & 2 != 0 },
            level: Level(*level),
            epoch: u64::from_be_bytes(*epoch),
            authenticated_at: Timestamp::from_microsecond(i64::from_be_bytes(*at)).ok()?,
            bind,
        })
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;
    use vestibule_engine::clock::{Clock, ManualClock};
    use vestibule_engine::identity::Issuer;
    use vestibule_engine::store::memory::{MemoryDurableStore, MemoryStore};
    use vestibule_engine::store::{DurableStore, conformance};

    use super::*;

    struct House {
        clock: Arc<ManualClock>,
        store: Arc<MemoryStore>,
        durable: Arc<MemoryDurableStore>,
        user: User,
    }

    impl House {
        async fn new() -> Self {
            let clock = Arc::new(ManualClock::at(Timestamp::from_second(1_800_000_000).unwrap()));
            let durable = Arc::new(MemoryDurableStore::default());
            let user = conformance::user(&"north".into(), "ada").unwrap();
            durable.insert_user(&user).await.unwrap();
            Self { store: Arc::new(MemoryStore::new(clock.clone())), clock, durable, user }
        }

        fn tokens(&self, tenant: &str, strict: bool) -> Tokens {
            let users = Arc::new(Users::new(self.durable.clone(), Duration::from_secs(1)));
            let settings = Settings { lifetime: Duration::from_secs(60), strict };
            Tokens::new(tenant.into(), TokenKey::new(&Secret::new([7; 32])), settings, self.store.clone(), users)
        }

        fn identity(&self) -> Identity {
            Identity {
                user: Arc::new(self.user.clone()),
                scheme: "session".into(),
                method: "form".into(),
                issuer: Issuer::from("local"),
                level: Level(10),
                authenticated_at: self.now(),
                attributes: Arc::default(),
                session: None,
                ambient: true,
                from: None,
            }
        }

        fn now(&self) -> Timestamp {
            self.clock.now()
        }

        async fn issue(&self, tokens: &Tokens, bind: Option<Bind>) -> String {
            tokens.issue(&self.identity(), bind, self.now()).await.unwrap().reveal().clone()
        }

        async fn validate(&self, tokens: &Tokens, token: &str) -> Result<(), Reason> {
            tokens.validate(token, self.now()).await.unwrap().map(drop)
        }

        async fn consume(&self, tokens: &Tokens, token: &str) -> Result<(), Reason> {
            self.present(tokens, token, Presenter::Program).await
        }

        async fn present(&self, tokens: &Tokens, token: &str, by: Presenter) -> Result<(), Reason> {
            tokens.consume(token, by, self.now()).await.unwrap().map(drop)
        }
    }

    #[tokio::test]
    async fn use_validation_and_login_are_counted_separately() {
        let house = House::new().await;
        let tokens = house.tokens("north", false);
        let token = house.issue(&tokens, None).await;
        assert_eq!(house.validate(&tokens, &token).await, Ok(()));
        assert_eq!(house.validate(&tokens, &token).await, Err(Reason::Replayed), "once only");
        assert_eq!(house.consume(&tokens, &token).await, Ok(()), "validate, then log in");
        assert_eq!(house.consume(&tokens, &token).await, Err(Reason::Replayed), "once only");
        let token = house.issue(&tokens, None).await;
        assert_eq!(house.consume(&tokens, &token).await, Ok(()));
        assert_eq!(house.validate(&tokens, &token).await, Err(Reason::Replayed), "after a login nothing works");
    }

    #[tokio::test]
    async fn use_strict_single_use_makes_the_first_of_either_final() {
        let house = House::new().await;
        let tokens = house.tokens("north", true);
        let token = house.issue(&tokens, None).await;
        assert_eq!(house.validate(&tokens, &token).await, Ok(()));
        assert_eq!(house.consume(&tokens, &token).await, Err(Reason::Replayed));
    }

    #[tokio::test]
    async fn lifetime_a_short_time() {
        let house = House::new().await;
        let tokens = house.tokens("north", false);
        let token = house.issue(&tokens, None).await;
        house.clock.advance(Duration::from_secs(59));
        assert_eq!(house.validate(&tokens, &token).await, Ok(()));
        house.clock.advance(Duration::from_secs(1));
        assert_eq!(house.consume(&tokens, &token).await, Err(Reason::BadCode));
    }

    #[tokio::test]
    async fn attack_token_of_another_tenant_forged_or_changed() {
        let house = House::new().await;
        let (north, south) = (house.tokens("north", false), house.tokens("south", false));
        let token = house.issue(&north, None).await;
        assert_eq!(house.consume(&south, &token).await, Err(Reason::BadCode));
        let octets = URL_SAFE_NO_PAD.decode(&token).unwrap();
        for place in 0..octets.len() {
            let mut changed = octets.clone();
            changed[place] ^= 1;
            assert_eq!(house.consume(&north, &URL_SAFE_NO_PAD.encode(changed)).await, Err(Reason::BadCode), "octet {place}");
        }
        for odd in ["", " ", "%", "$6$YQ==;$6$YQ==", &token[1..], &format!("{token} "), &token.replace(|c: char| c.is_ascii_digit(), "+")] {
            assert_eq!(house.consume(&north, odd).await, Err(Reason::BadCode), "{odd}");
        }
        assert_eq!(house.consume(&north, &token).await, Ok(()), "trying spent nothing");
        assert!(token.bytes().all(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_')), "safe in a URL");
    }

    #[tokio::test]
    async fn attack_login_csrf_a_browser_uses_only_what_it_was_given() {
        let house = House::new().await;
        let tokens = house.tokens("north", false);
        let token = house.issue(&tokens, Some([1; 32])).await;
        for held in [None, Some([2; 32])] {
            assert_eq!(house.present(&tokens, &token, Presenter::Browser(held)).await, Err(Reason::OtherBrowser));
        }
        assert_eq!(house.present(&tokens, &token, Presenter::Browser(Some([1; 32]))).await, Ok(()));
        let unbound = house.issue(&tokens, None).await;
        for held in [None, Some([1; 32])] {
            assert_eq!(house.present(&tokens, &unbound, Presenter::Browser(held)).await, Err(Reason::OtherBrowser));
        }
        assert_eq!(house.consume(&tokens, &unbound).await, Ok(()), "a third party's server may");
    }

    #[tokio::test]
    async fn attack_119_whoever_is_shut_out_meanwhile_is_shut_out() {
        let house = House::new().await;
        let tokens = house.tokens("north", false);
        let token = house.issue(&tokens, None).await;
        let user = User { epoch: house.user.epoch + 1, ..house.user.clone() };
        assert!(house.durable.update_user(&user, house.user.epoch).await.unwrap());
        assert_eq!(house.validate(&tokens, &token).await, Err(Reason::StaleEpoch));
        assert_eq!(house.consume(&tokens, &token).await, Err(Reason::StaleEpoch));
    }

    #[tokio::test]
    async fn attack_114_of_100_redemptions_at_two_nodes_exactly_one_wins() {
        let house = House::new().await;
        let nodes = [house.tokens("north", false), house.tokens("north", false)];
        let token = house.issue(&nodes[0], None).await;
        let both = join_all((0..100).map(|number| house.consume(&nodes[number % 2], &token))).await;
        assert_eq!(both.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    }
}

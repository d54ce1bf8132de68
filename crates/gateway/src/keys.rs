//! Signing keys: sealed at rest, rotated, revoked, published (RFC 7517, NIST SP 800-57 part 1 §5.3, §8.3).
//!
//! An attacker who reads the store wants a private key; one who writes to it wants his own public key among
//! those we publish, an old key back in service, or a revoked one revived. So private parts rest under a
//! key-encryption key that is not in the store, bound to the purpose, id and algorithm of their record; a
//! key that no longer signs loses its private part for good and keeps only a seal over its public one; a
//! revocation is written once and never taken back, whatever another node writes at the same time.
//!
//! The places of a key: next (published, so that verifiers know it before it is used), current (signs),
//! previous (still published, until the last token it signed has expired), revoked (gone at once).

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use vestibule_engine::Timestamp;
use vestibule_engine::audit::{Event, Recorded, Sink, VERSION};
use vestibule_engine::clock::Clock;
use vestibule_engine::scheme::Unavailable;
use vestibule_engine::secret::Secret;
use vestibule_engine::store::{DurableStore, KeyRecord, KeyState, digest};
use vestibule_oidc::jose::{self, Algorithm, Purpose, SigningKey};
use vestibule_oidc::jwks::{Jwks, PublicKey};

pub use self::sealing::KeyEncryptionKey;

mod sealing;

/// How often the store is asked whether another node has changed the keys.
pub const REFRESH: Duration = Duration::from_secs(30);
/// How long verifiers may keep the published set.
pub const PUBLISHED_MAX_AGE: Duration = Duration::from_secs(300);
/// A node may sign with a key for so long after another has replaced it.
const LAG: Duration = Duration::from_secs(2 * REFRESH.as_secs());

/// How the keys of one purpose are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Of new keys. A change takes effect with the next rotation.
    pub algorithm: Algorithm,
    /// A current key of this age is replaced.
    pub max_age: Duration,
    /// The longest life of a token; a previous key is published for so long.
    pub token_life: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { algorithm: Algorithm::Es256, max_age: Duration::from_secs(30 * 24 * 3600), token_life: Duration::from_secs(300) }
    }
}

/// Why keys cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] Unavailable),
    /// The key-encryption key does not open it: another one sealed it, or the record was changed.
    #[error("the key {0} was sealed under another key-encryption key, or its record was changed")]
    Sealed(String),
    /// A record contradicts itself.
    #[error("the record of key {id} is unusable: {why}")]
    Record {
        /// Of which key.
        id: String,
        /// What is wrong with it.
        why: String,
    },
    /// There is no such key.
    #[error("there is no key {0}")]
    Unknown(String),
    /// The cryptographic library failed.
    #[error("the cryptographic library failed")]
    Cryptography,
}

/// The keys of one purpose.
pub struct KeyRing<P: Purpose> {
    records: Records<P>,
    state: ArcSwap<State<P>>,
    /// Changes of this process come one after the other.
    changing: tokio::sync::Mutex<()>,
}

/// The public keys as verifiers fetch them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The JWK set, JSON.
    pub body: Bytes,
    /// A strong entity tag, quoted.
    pub etag: String,
}

impl<P: Purpose> KeyRing<P> {
    /// Reads the keys of this purpose, and makes those that are missing.
    ///
    /// # Errors
    /// [`Error`]; without keys the gateway must not start.
    pub async fn load_or_create(
        store: Arc<dyn DurableStore>,
        sealing: Arc<KeyEncryptionKey>,
        settings: Settings,
        clock: Arc<dyn Clock>,
        sink: Arc<dyn Sink>,
    ) -> Result<Arc<Self>, Error> {
        let records = Records { store, sealing, settings, clock, sink, purpose: PhantomData };
        let state = records.open(&records.settled().await?)?;
        Ok(Arc::new(Self { records, state: ArcSwap::from_pointee(state), changing: tokio::sync::Mutex::new(()) }))
    }

    /// The key that signs now.
    pub fn current(&self) -> Arc<SigningKey<P>> {
        self.state.load().current.clone()
    }

    /// The public keys as verifiers fetch them.
    pub fn published(&self) -> Arc<Published> {
        self.state.load().published.clone()
    }

    /// How the keys are kept.
    pub fn settings(&self) -> &Settings {
        &self.records.settings
    }

    /// Next becomes current, current becomes previous, a new next is made.
    ///
    /// # Errors
    /// [`Error`]; the keys in use stay as they are.
    pub async fn rotate(&self) -> Result<(), Error> {
        let _changing = self.changing.lock().await;
        let records = self.records.settled().await?;
        let records = self.records.rotated(records).await?;
        self.adopt(&records)
    }

    /// Takes a key out of service for good: what it signed no longer verifies. A current one is replaced at once.
    /// Other nodes follow within [`REFRESH`].
    ///
    /// # Errors
    /// [`Error::Unknown`], or another [`Error`]; call it again then.
    pub async fn revoke(&self, id: &str) -> Result<(), Error> {
        let _changing = self.changing.lock().await;
        let mut all = self.records.store.keys(P::NAME).await?;
        let record = all.iter_mut().find(|record| record.id == id).ok_or_else(|| Error::Unknown(id.to_owned()))?;
        // The mark comes first: from here on no node takes this key up again.
        self.records.store.setting_or_insert(&revocation_mark::<P>(id), b"1").await?;
        if record.state != KeyState::Revoked {
            self.records.place(record, KeyState::Revoked).await?;
        }
        self.adopt(&self.records.settled().await?)
    }

    /// Takes up what other nodes have changed, and rotates if the current key is too old.
    ///
    /// # Errors
    /// [`Error`]; the keys in use stay as they are.
    pub async fn refresh(&self) -> Result<(), Error> {
        let _changing = self.changing.lock().await;
        let mut records = self.records.settled().await?;
        if self.records.is_rotation_due(&records) {
            records = self.records.rotated(records).await?;
        }
        self.adopt(&records)
    }

    /// Refreshes for ever. Belongs on the control runtime.
    pub async fn run(self: Arc<Self>) {
        loop {
            tokio::time::sleep(REFRESH).await;
            if let Err(error) = self.refresh().await {
                tracing::error!(purpose = P::NAME, %error, "the signing keys could not be refreshed; those in use stay");
            }
        }
    }

    fn adopt(&self, records: &[KeyRecord]) -> Result<(), Error> {
        self.state.store(Arc::new(self.records.open(records)?));
        Ok(())
    }
}

impl<P: Purpose> fmt::Debug for KeyRing<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyRing").field("purpose", &P::NAME).field("current", &self.current().id()).finish_non_exhaustive()
    }
}

/// What requests read: swapped as one, so that nobody signs with a key that is not published.
struct State<P> {
    current: Arc<SigningKey<P>>,
    published: Arc<Published>,
}

/// The stored records of one purpose, and the rules they follow.
struct Records<P> {
    store: Arc<dyn DurableStore>,
    sealing: Arc<KeyEncryptionKey>,
    settings: Settings,
    clock: Arc<dyn Clock>,
    sink: Arc<dyn Sink>,
    purpose: PhantomData<fn() -> P>,
}

impl<P: Purpose> Records<P> {
    /// The live records, after whatever a crash, another node or a first start left undone is done: revocations
    /// hold, exactly one key is current, a next one of the configured algorithm waits.
    ///
    /// Nodes that do this at the same time write the same thing, or one key too many: the newest current one
    /// signs, and a spare next one serves the rotation after.
    async fn settled(&self) -> Result<Vec<KeyRecord>, Error> {
        let now = self.clock.now();
        let mut records = Vec::new();
        for mut record in self.store.keys(P::NAME).await? {
            if !self.is_live(&record, now) {
                continue;
            }
            if self.store.setting(&revocation_mark::<P>(&record.id)).await?.is_some() {
                self.place(&mut record, KeyState::Revoked).await?;
                continue;
            }
            // Nothing is written on the word of a record that we did not seal.
            match record.state {
                KeyState::Next | KeyState::Current => drop(self.private(&record)?),
                KeyState::Previous => drop(self.public(&record)?),
                KeyState::Revoked => {}
            }
            records.push(record);
        }
        records.sort_by(|one, other| (one.changed, &one.id).cmp(&(other.changed, &other.id)));
        let newest = records.iter().rposition(|record| record.state == KeyState::Current);
        for (index, record) in records.iter_mut().enumerate() {
            if record.state == KeyState::Current && Some(index) != newest {
                self.place(record, KeyState::Previous).await?;
            }
        }
        if newest.is_none() {
            match self.next(&mut records) {
                Some(next) => self.place(next, KeyState::Current).await?,
                None => records.push(self.create(KeyState::Current).await?),
            }
        }
        let wanted = self.settings.algorithm.as_str();
        if !records.iter().any(|record| record.state == KeyState::Next && record.algorithm == wanted) {
            records.push(self.create(KeyState::Next).await?);
        }
        Ok(records)
    }

    async fn rotated(&self, mut records: Vec<KeyRecord>) -> Result<Vec<KeyRecord>, Error> {
        let old = records.iter().position(|record| record.state == KeyState::Current);
        if let Some(next) = self.next(&mut records) {
            self.place(next, KeyState::Current).await?;
        }
        if let Some(old) = old.and_then(|index| records.get_mut(index)) {
            self.place(old, KeyState::Previous).await?;
        }
        self.settled().await
    }

    /// The key that is to be current next: of the configured algorithm, the oldest.
    fn next<'a>(&self, records: &'a mut [KeyRecord]) -> Option<&'a mut KeyRecord> {
        let wanted = self.settings.algorithm.as_str();
        let waiting = records.iter_mut().filter(|record| record.state == KeyState::Next);
        waiting.min_by(|one, other| {
            let rank = |record: &KeyRecord| (record.algorithm != wanted, record.created);
            rank(one).cmp(&rank(other)).then_with(|| one.id.cmp(&other.id))
        })
    }

    fn is_rotation_due(&self, records: &[KeyRecord]) -> bool {
        let now = self.clock.now();
        records.iter().any(|record| record.state == KeyState::Current && age(record.changed, now) >= self.settings.max_age)
    }

    /// A previous key is retired when the last token it signed has expired.
    fn is_live(&self, record: &KeyRecord, now: Timestamp) -> bool {
        match record.state {
            KeyState::Next | KeyState::Current => true,
            KeyState::Previous => age(record.changed, now) < self.settings.token_life.saturating_add(LAG),
            KeyState::Revoked => false,
        }
    }

    async fn create(&self, state: KeyState) -> Result<KeyRecord, Error> {
        let algorithm = self.settings.algorithm;
        // An RSA key takes up to a second.
        let key = tokio::task::spawn_blocking(move || SigningKey::<P>::generate(algorithm)).await;
        let key = key.map_err(|_| Error::Cryptography)?.map_err(|_| Error::Cryptography)?;
        let now = self.clock.now();
        let mut record = KeyRecord {
            id: key.id().to_owned(),
            purpose: P::NAME.to_owned(),
            algorithm: algorithm.to_string(),
            state,
            public: key.public().to_jwk().to_string(),
            sealed: Secret::new(Vec::new()),
            created: now,
            changed: now,
        };
        let pkcs8 = key.to_pkcs8().map_err(|_| Error::Cryptography)?;
        record.sealed = Secret::new(self.sealing.seal(&context(&record, Part::Private), &pkcs8)?);
        self.put(&record).await?;
        Ok(record)
    }

    /// Moves a key. One that no longer signs loses its private part.
    async fn place(&self, record: &mut KeyRecord, state: KeyState) -> Result<(), Error> {
        let mut moved = KeyRecord { state, changed: self.clock.now(), ..record.clone() };
        match state {
            KeyState::Next | KeyState::Current => {}
            KeyState::Previous => {
                moved.sealed = Secret::new(self.sealing.seal(&context(record, Part::Public), b"")?);
            }
            KeyState::Revoked => moved.sealed = Secret::new(Vec::new()),
        }
        self.put(&moved).await?;
        *record = moved;
        Ok(())
    }

    async fn put(&self, record: &KeyRecord) -> Result<(), Error> {
        self.store.put_key(record).await?;
        self.sink.record(&Recorded {
            v: VERSION,
            time: self.clock.now(),
            request_id: None,
            client: None,
            tenant: None,
            event: Event::KeyRotated {
                purpose: record.purpose.clone(),
                key: record.id.clone(),
                state: match record.state {
                    KeyState::Next => "next",
                    KeyState::Current => "current",
                    KeyState::Previous => "previous",
                    KeyState::Revoked => "revoked",
                }
                .to_owned(),
            },
        });
        Ok(())
    }

    fn open(&self, records: &[KeyRecord]) -> Result<State<P>, Error> {
        let mut current = None;
        let mut keys = Vec::new();
        for record in records {
            match record.state {
                KeyState::Current => {
                    let key = self.private(record)?;
                    keys.push((0, record.created, key.public().clone()));
                    current = Some(Arc::new(key));
                }
                KeyState::Next => keys.push((1, record.created, self.private(record)?.public().clone())),
                KeyState::Previous => keys.push((2, record.created, self.public(record)?)),
                KeyState::Revoked => {}
            }
        }
        let current = current.ok_or_else(|| Error::Unknown("current".to_owned()))?;
        // One order on all nodes, or the entity tag would change with the node that answers.
        keys.sort_by(|(rank, created, key), (other_rank, other_created, other)| {
            (rank, created, key.id()).cmp(&(other_rank, other_created, other.id()))
        });
        let keys: Vec<PublicKey> = keys.into_iter().map(|(_, _, key)| key).collect();
        let body = Bytes::from(Jwks::write(&keys));
        let etag = format!("\"{}\"", URL_SAFE_NO_PAD.encode(digest(&[&body])));
        Ok(State { current, published: Arc::new(Published { body, etag }) })
    }

    /// The private key of a record. The public part comes from it too, not from the record.
    fn private(&self, record: &KeyRecord) -> Result<SigningKey<P>, Error> {
        let unusable = |error: jose::Error| Error::Record { id: record.id.clone(), why: error.to_string() };
        let algorithm = algorithm(record)?;
        let pkcs8 = self.unseal(record, Part::Private)?;
        let key = SigningKey::<P>::from_pkcs8(&record.purpose, algorithm, pkcs8.reveal()).map_err(unusable)?;
        if key.id() == record.id { Ok(key) } else { Err(Error::Sealed(record.id.clone())) }
    }

    /// The public key of a record that has no private part any more. Its id is its thumbprint, and the id is sealed.
    fn public(&self, record: &KeyRecord) -> Result<PublicKey, Error> {
        let unusable = |error: jose::Error| Error::Record { id: record.id.clone(), why: error.to_string() };
        if record.purpose != P::NAME {
            return Err(unusable(jose::Error::Purpose));
        }
        self.unseal(record, Part::Public)?;
        let key = PublicKey::from_jwk(&record.public).map_err(unusable)?;
        let same = key.thumbprint() == record.id && key.id() == record.id && key.algorithm() == algorithm(record)?;
        if same { Ok(key) } else { Err(Error::Sealed(record.id.clone())) }
    }

    fn unseal(&self, record: &KeyRecord, part: Part) -> Result<Secret<Vec<u8>>, Error> {
        self.sealing.open(&context(record, part), record.sealed.reveal()).map_err(|_| Error::Sealed(record.id.clone()))
    }
}

fn algorithm(record: &KeyRecord) -> Result<Algorithm, Error> {
    let unknown = || Error::Record { id: record.id.clone(), why: "its algorithm is unknown".to_owned() };
    Algorithm::from_name(&record.algorithm).ok_or_else(unknown)
}

fn age(since: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(since)).unwrap_or(Duration::ZERO)
}

/// The setting that says a key is revoked; written at most once, never removed.
fn revocation_mark<P: Purpose>(id: &str) -> String {
    format!("key-revoked:{}:{id}", P::NAME)
}

/// What a seal covers.
#[derive(Debug, Clone, Copy)]
enum Part {
    /// The private part.
    Private,
    /// Nothing but the record's identity.
    Public,
}

/// What a seal is bound to: it opens in no other record.
fn context(record: &KeyRecord, part: Part) -> [&[u8]; 5] {
    let part: &[u8] = match part {
        Part::Private => b"private",
        Part::Public => b"public",
    };
    [b"signing key", record.purpose.as_bytes(), record.id.as_bytes(), record.algorithm.as_bytes(), part]
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;
    use std::sync::Mutex;

    use async_trait::async_trait;
    use aws_lc_rs::aead::NONCE_LEN;
    use vestibule_engine::clock::ManualClock;
    use vestibule_engine::identity::{ExternalId, GroupName, TenantId, User, UserId, Username};
    use vestibule_engine::request::RequestId;
    use vestibule_engine::store::{ChangeStream, Changes};
    use vestibule_oidc::claims::{Claims, Expected};
    use vestibule_oidc::jose::{InjectedJwt, SsoToken, TrustedKeys};

    use super::*;

    /// A store of keys and settings that can be switched off.
    #[derive(Debug, Default)]
    pub(crate) struct Shelf {
        keys: Mutex<BTreeMap<String, KeyRecord>>,
        settings: Mutex<BTreeMap<String, Vec<u8>>>,
        down: Mutex<bool>,
        changes: Changes,
    }

    impl Shelf {
        fn up(&self) -> Result<(), Unavailable> {
            if *self.down.lock().unwrap() { Err(Unavailable::new("store", "switched off")) } else { Ok(()) }
        }

        fn edit(&self, id: &str, edit: impl FnOnce(&mut KeyRecord)) {
            edit(self.keys.lock().unwrap().get_mut(id).unwrap());
        }

        fn record(&self, id: &str) -> KeyRecord {
            self.keys.lock().unwrap()[id].clone()
        }
    }

    #[async_trait]
    impl DurableStore for Shelf {
        async fn put_key(&self, key: &KeyRecord) -> Result<(), Unavailable> {
            self.up()?;
            self.keys.lock().unwrap().insert(key.id.clone(), key.clone());
            Ok(())
        }

        async fn keys(&self, purpose: &str) -> Result<Vec<KeyRecord>, Unavailable> {
            self.up()?;
            let mut keys: Vec<_> = self.keys.lock().unwrap().values().filter(|key| key.purpose == purpose).cloned().collect();
            keys.sort_by_key(|key| key.created);
            Ok(keys)
        }

        async fn setting(&self, name: &str) -> Result<Option<Vec<u8>>, Unavailable> {
            self.up()?;
            Ok(self.settings.lock().unwrap().get(name).cloned())
        }

        async fn setting_or_insert(&self, name: &str, value: &[u8]) -> Result<Vec<u8>, Unavailable> {
            self.up()?;
            Ok(self.settings.lock().unwrap().entry(name.to_owned()).or_insert_with(|| value.to_vec()).clone())
        }

        fn changes(&self) -> ChangeStream {
            self.changes.subscribe()
        }

        async fn user(&self, _: UserId) -> Result<Option<User>, Unavailable> {
            unreachable!()
        }
        async fn user_by_name(&self, _: &TenantId, _: &Username) -> Result<Option<User>, Unavailable> {
            unreachable!()
        }
        async fn user_by_external_id(&self, _: &TenantId, _: &ExternalId) -> Result<Option<User>, Unavailable> {
            unreachable!()
        }
        async fn insert_user(&self, _: &User) -> Result<bool, Unavailable> {
            unreachable!()
        }
        async fn update_user(&self, _: &User, _: u64) -> Result<bool, Unavailable> {
            unreachable!()
        }
        async fn remove_user(&self, _: UserId) -> Result<bool, Unavailable> {
            unreachable!()
        }
        async fn users(&self, _: &TenantId, _: Option<&GroupName>, _: Option<&Username>, _: usize) -> Result<Vec<User>, Unavailable> {
            unreachable!()
        }
        async fn record(&self, _: &[Recorded]) -> Result<(), Unavailable> {
            unreachable!()
        }
        async fn recorded(&self, _: RequestId) -> Result<Option<Recorded>, Unavailable> {
            unreachable!()
        }
        async fn epoch(&self) -> Result<u64, Unavailable> {
            unreachable!()
        }
    }

    #[derive(Debug, Default)]
    struct Log(Mutex<Vec<(String, String)>>);

    impl Sink for Log {
        fn record(&self, event: &Recorded) {
            let Event::KeyRotated { purpose, key, state } = &event.event else { panic!("{event:?}") };
            assert_eq!(purpose, "jwt");
            self.0.lock().unwrap().push((state.clone(), key.clone()));
        }
    }

    /// One node and what it stands on.
    pub(crate) struct Node {
        pub(crate) ring: Arc<KeyRing<InjectedJwt>>,
        pub(crate) clock: Arc<ManualClock>,
        shelf: Arc<Shelf>,
        log: Arc<Log>,
    }

    const KEK: [u8; 32] = [7; 32];
    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn kek(octets: [u8; 32]) -> Arc<KeyEncryptionKey> {
        Arc::new(KeyEncryptionKey::new(&Secret::new(octets)).unwrap())
    }

    pub(crate) async fn node() -> Node {
        let clock = Arc::new(ManualClock::at("2027-01-01T00:00:00Z".parse().unwrap()));
        join(Arc::default(), clock, Settings::default()).await.unwrap()
    }

    async fn join(shelf: Arc<Shelf>, clock: Arc<ManualClock>, settings: Settings) -> Result<Node, Error> {
        let log = Arc::new(Log::default());
        let ring = KeyRing::load_or_create(shelf.clone(), kek(KEK), settings, clock.clone(), log.clone()).await?;
        Ok(Node { ring, clock, shelf, log })
    }

    impl<P: Purpose> KeyRing<P> {
        /// What a verifier trusts who has fetched the published set.
        pub(crate) fn trusted(&self) -> TrustedKeys<P> {
            let set = Jwks::parse(std::str::from_utf8(&self.published().body).unwrap()).unwrap();
            TrustedKeys::new(set.keys).unwrap()
        }
    }

    impl Node {
        /// The same store seen by another node.
        async fn peer(&self) -> Node {
            join(self.shelf.clone(), self.clock.clone(), Settings::default()).await.unwrap()
        }

        fn ids(&self) -> Vec<String> {
            Jwks::parse(std::str::from_utf8(&self.ring.published().body).unwrap())
                .unwrap()
                .keys
                .iter()
                .map(|key| key.id().to_owned())
                .collect()
        }

        async fn of(&self, state: KeyState) -> Vec<String> {
            self.shelf.keys(InjectedJwt::NAME).await.unwrap().into_iter().filter(|key| key.state == state).map(|key| key.id).collect()
        }

        fn token(&self) -> String {
            let expires = self.clock.now().as_second() + 300;
            self.ring.current().sign(&Claims::new("iss", "aud", "sub", expires)).unwrap()
        }

        fn accepts(&self, token: &str) -> bool {
            let expected = Expected { issuer: "iss", audience: "aud", skew: 0 };
            self.ring.trusted().verify(token, &expected, self.clock.now().as_second()).is_ok()
        }
    }

    #[tokio::test]
    async fn a_first_start_makes_a_current_and_a_next_key_and_a_second_reads_them() {
        let first = node().await;
        let ids = first.ids();
        assert_eq!(ids.len(), 2);
        assert_eq!(ids[0], first.ring.current().id());
        assert_eq!(first.log.0.lock().unwrap().len(), 2);
        let second = first.peer().await;
        assert_eq!(second.ring.current().id(), first.ring.current().id());
        assert_eq!(second.ring.published(), first.ring.published());
        assert!(second.log.0.lock().unwrap().is_empty());
        assert!(second.accepts(&first.token()));
    }

    #[tokio::test]
    async fn rotation_moves_every_key_one_place_on() {
        let node = node().await;
        let (ids, old, etag) = (node.ids(), node.token(), node.ring.published().etag.clone());
        node.log.0.lock().unwrap().clear();
        node.ring.rotate().await.unwrap();
        assert_eq!(node.ring.current().id(), ids[1]);
        assert_eq!(node.of(KeyState::Previous).await, [ids[0].clone()]);
        assert_eq!(node.ids().len(), 3);
        assert_ne!(node.ring.published().etag, etag);
        assert!(node.accepts(&old) && node.accepts(&node.token()));
        let states: Vec<String> = node.log.0.lock().unwrap().iter().map(|(state, _)| state.clone()).collect();
        assert_eq!(states, ["current", "previous", "next"]);
    }

    #[tokio::test]
    async fn a_key_that_no_longer_signs_has_no_private_part_left() {
        let node = node().await;
        let id = node.ring.current().id().to_owned();
        let while_current = node.shelf.record(&id).sealed.reveal().len();
        node.ring.rotate().await.unwrap();
        assert!(while_current > 100);
        assert_eq!(node.shelf.record(&id).sealed.reveal().len(), 1 + NONCE_LEN + 16);
        node.ring.revoke(&id).await.unwrap();
        assert!(node.shelf.record(&id).sealed.reveal().is_empty());
    }

    #[tokio::test]
    async fn a_current_key_is_replaced_at_its_age_and_the_previous_dropped_after_the_longest_token() {
        let node = node().await;
        let ids = node.ids();
        node.clock.advance(30 * DAY - Duration::from_secs(1));
        node.ring.refresh().await.unwrap();
        assert_eq!(node.ids(), ids);
        node.clock.advance(Duration::from_secs(1));
        node.ring.refresh().await.unwrap();
        assert_eq!(node.ring.current().id(), ids[1]);
        node.clock.advance(Duration::from_secs(359));
        node.ring.refresh().await.unwrap();
        assert!(node.ids().contains(&ids[0]));
        node.clock.advance(Duration::from_secs(1));
        node.ring.refresh().await.unwrap();
        assert_eq!(node.ids().len(), 2);
        assert!(!node.ids().contains(&ids[0]));
    }

    #[tokio::test]
    async fn a_revoked_current_key_is_replaced_at_once_and_its_tokens_are_void() {
        let node = node().await;
        let (ids, token) = (node.ids(), node.token());
        node.ring.revoke(&ids[0]).await.unwrap();
        assert_eq!(node.ring.current().id(), ids[1]);
        assert!(!node.ids().contains(&ids[0]) && node.ids().len() == 2);
        assert!(!node.accepts(&token));
        assert_eq!(node.of(KeyState::Revoked).await, [ids[0].clone()]);
        node.ring.revoke(&ids[0]).await.unwrap();
        assert_eq!(node.ring.revoke("nobody").await, Err(Error::Unknown("nobody".into())));
    }

    #[tokio::test]
    async fn next_and_previous_keys_can_be_revoked_too() {
        let node = node().await;
        node.ring.rotate().await.unwrap();
        let (current, next, previous) = (
            node.of(KeyState::Current).await[0].clone(),
            node.of(KeyState::Next).await[0].clone(),
            node.of(KeyState::Previous).await[0].clone(),
        );
        node.ring.revoke(&next).await.unwrap();
        node.ring.revoke(&previous).await.unwrap();
        assert_eq!(node.ring.current().id(), current);
        assert!(!node.ids().contains(&next) && !node.ids().contains(&previous));
        assert_eq!(node.of(KeyState::Next).await.len(), 1);
    }

    #[tokio::test]
    async fn a_revocation_cannot_be_undone_by_a_stale_writer() {
        let node = node().await;
        let id = node.ring.current().id().to_owned();
        let stale = node.shelf.record(&id);
        node.ring.revoke(&id).await.unwrap();
        // Another node, or a thief with write access, puts the old record back.
        node.clock.advance(Duration::from_secs(5));
        node.shelf.put_key(&KeyRecord { changed: node.clock.now(), ..stale }).await.unwrap();
        node.ring.refresh().await.unwrap();
        assert_ne!(node.ring.current().id(), id);
        assert_eq!(node.shelf.record(&id).state, KeyState::Revoked);
        assert_ne!(node.peer().await.ring.current().id(), id);
    }

    #[tokio::test]
    async fn nodes_follow_each_other_and_rotate_once() {
        let one = node().await;
        let two = one.peer().await;
        one.clock.advance(30 * DAY);
        one.ring.refresh().await.unwrap();
        assert_ne!(two.ring.current().id(), one.ring.current().id());
        // Still published, so what the slower node signs is accepted.
        assert!(one.accepts(&two.token()));
        two.ring.refresh().await.unwrap();
        assert_eq!(two.ring.current().id(), one.ring.current().id());
        assert_eq!(two.ring.published(), one.ring.published());
        assert!(two.log.0.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn an_interrupted_rotation_is_finished() {
        let node = node().await;
        let ids = node.ids();
        node.clock.advance(Duration::from_secs(5));
        // The crash came after the first of the three writes.
        node.shelf.edit(&ids[1], |record| {
            record.state = KeyState::Current;
            record.changed = "2027-01-01T00:00:05Z".parse().unwrap();
        });
        let after = node.peer().await;
        assert_eq!(after.ring.current().id(), ids[1]);
        assert_eq!(after.of(KeyState::Previous).await, [ids[0].clone()]);
        assert_eq!(after.of(KeyState::Next).await.len(), 1);
        // Two nodes that started first at the same time.
        let second = SigningKey::<InjectedJwt>::generate(Algorithm::Es256).unwrap();
        let mut record = after.shelf.record(&ids[1]);
        record.id = second.id().to_owned();
        record.public = second.public().to_jwk().to_string();
        record.changed = "2027-01-01T00:00:06Z".parse().unwrap();
        let sealed = kek(KEK).seal(&context(&record, Part::Private), &second.to_pkcs8().unwrap()).unwrap();
        record.sealed = Secret::new(sealed);
        after.shelf.put_key(&record).await.unwrap();
        node.ring.refresh().await.unwrap();
        after.ring.refresh().await.unwrap();
        assert_eq!(node.ring.current().id(), second.id());
        assert_eq!(after.ring.published(), node.ring.published());
    }

    #[tokio::test]
    async fn an_outage_leaves_the_keys_in_use() {
        let node = node().await;
        let id = node.ring.current().id().to_owned();
        *node.shelf.down.lock().unwrap() = true;
        assert!(matches!(node.ring.refresh().await, Err(Error::Store(_))));
        assert!(matches!(node.ring.rotate().await, Err(Error::Store(_))));
        assert!(matches!(node.ring.revoke(&id).await, Err(Error::Store(_))));
        assert_eq!(node.ring.current().id(), id);
        assert!(join(node.shelf.clone(), node.clock.clone(), Settings::default()).await.is_err());
    }

    #[tokio::test]
    async fn another_key_encryption_key_opens_nothing_and_replaces_nothing() {
        let node = node().await;
        let other = KeyRing::<InjectedJwt>::load_or_create(
            node.shelf.clone(),
            kek([8; 32]),
            Settings::default(),
            node.clock.clone(),
            node.log.clone(),
        );
        assert!(matches!(other.await, Err(Error::Sealed(_))));
        assert_eq!(node.peer().await.ids(), node.ids());
    }

    #[tokio::test]
    async fn records_cannot_be_swapped_or_forged() {
        let node = node().await;
        node.ring.rotate().await.unwrap();
        let (current, next, previous) = (
            node.of(KeyState::Current).await[0].clone(),
            node.of(KeyState::Next).await[0].clone(),
            node.of(KeyState::Previous).await[0].clone(),
        );
        let mallory = SigningKey::<InjectedJwt>::generate(Algorithm::Es256).unwrap();
        let public = mallory.public().to_jwk().to_string();
        let foreign = node.shelf.record(&next).sealed;
        type Edit = Box<dyn FnOnce(&mut KeyRecord)>;
        let edits: Vec<(&str, Edit)> = vec![
            (&current, Box::new(move |record| record.sealed = foreign)),
            (&current, Box::new(|record| record.algorithm = "ES384".into())),
            (&current, Box::new(|record| record.algorithm = "HS256".into())),
            (&current, Box::new(|record| record.state = KeyState::Previous)),
            (&previous, Box::new(|record| record.state = KeyState::Current)),
            (&previous, Box::new(move |record| record.public = public)),
            (&previous, Box::new(|record| record.sealed = Secret::new(Vec::new()))),
        ];
        for (id, edit) in edits {
            let (before, kept) = (node.shelf.record(id), node.ring.published());
            node.clock.advance(Duration::from_millis(1));
            let now = node.clock.now();
            node.shelf.edit(id, |record| {
                edit(record);
                record.changed = now;
            });
            let seen = format!("{:?}", node.shelf.record(id));
            assert!(node.ring.refresh().await.is_err(), "{seen}");
            assert_eq!(node.ring.published(), kept);
            node.shelf.put_key(&before).await.unwrap();
            node.ring.refresh().await.unwrap();
        }
        // The public part of a signing key is not taken from the record.
        let public = mallory.public().to_jwk().to_string();
        node.shelf.edit(&current, |record| record.public = public);
        node.ring.refresh().await.unwrap();
        assert!(!node.ids().contains(&mallory.id().to_owned()));
    }

    #[tokio::test]
    async fn keys_of_one_purpose_are_none_of_another() {
        let node = node().await;
        let id = node.ring.current().id().to_owned();
        let sso = async || {
            let none = Arc::new(Quiet);
            KeyRing::<SsoToken>::load_or_create(node.shelf.clone(), kek(KEK), Settings::default(), node.clock.clone(), none).await
        };
        assert_ne!(sso().await.unwrap().current().id(), id);
        node.shelf.edit(&id, |record| record.purpose = "sso".into());
        assert!(matches!(sso().await, Err(Error::Sealed(_))));
    }

    #[derive(Debug)]
    struct Quiet;

    impl Sink for Quiet {
        fn record(&self, _: &Recorded) {}
    }

    #[tokio::test]
    async fn another_algorithm_comes_with_a_rotation() {
        let es256 = node().await;
        let settings = Settings { algorithm: Algorithm::EdDsa, ..Settings::default() };
        let eddsa = join(es256.shelf.clone(), es256.clock.clone(), settings).await.unwrap();
        assert_eq!(eddsa.ring.current().algorithm(), Algorithm::Es256);
        eddsa.ring.rotate().await.unwrap();
        assert_eq!(eddsa.ring.current().algorithm(), Algorithm::EdDsa);
        es256.ring.refresh().await.unwrap();
        assert_eq!(es256.ring.current().id(), eddsa.ring.current().id());
    }
}

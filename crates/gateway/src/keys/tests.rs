//! One ring, two nodes over one store, and what an attacker does to the records.

use std::collections::BTreeMap;
use std::sync::Mutex;

use async_trait::async_trait;
use aws_lc_rs::aead::NONCE_LEN;
use vestibule_engine::audit::{Event, Recorded};
use vestibule_engine::clock::ManualClock;
use vestibule_engine::identity::{ExternalId, GroupName, TenantId, User, UserId, Username};
use vestibule_engine::request::RequestId;
use vestibule_engine::secret::Secret;
use vestibule_engine::store::{ChangeStream, Changes};
use vestibule_oidc::claims::{Claims, Expected};
use vestibule_oidc::jose::{InjectedJwt, SsoToken, TrustedKeys};
use vestibule_oidc::jwks::Jwks;

use super::records::{Part, context};
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
        self.changes.send(Change::Keys);
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
    async fn users_with_sealed_hash(&self, _: usize) -> Result<Vec<User>, Unavailable> {
        Ok(Vec::new())
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
        Jwks::parse(std::str::from_utf8(&self.ring.published().body).unwrap()).unwrap().keys.iter().map(|key| key.id().to_owned()).collect()
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
async fn another_node_stops_signing_with_a_revoked_key_at_once() {
    let node = node().await;
    let peer = node.peer().await;
    let running = tokio::spawn(peer.ring.clone().run());
    tokio::task::yield_now().await;
    let revoked = node.ring.current().id().to_owned();
    node.ring.revoke(&revoked).await.unwrap();
    let followed = async {
        while peer.ring.current().id() == revoked {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(REFRESH / 3, followed).await.expect("long before the next look");
    assert!(!peer.ids().contains(&revoked));
    running.abort();
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
    let other =
        KeyRing::<InjectedJwt>::load_or_create(node.shelf.clone(), kek([8; 32]), Settings::default(), node.clock.clone(), node.log.clone());
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

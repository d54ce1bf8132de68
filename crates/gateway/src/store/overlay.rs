//! A read-through layer over an expiring store whose writes are forgotten: what `explain` judges over.
//!
//! Explaining a request must not open a session, spend a one-shot code or end anybody's login. It must
//! count failures all the same, or it would be a guessing oracle without a limit: throttle entries
//! (`{…}:t:`) are read and written through.
//!
//! A layer lives for one judgement. The engine over it must be built for it, so that no cache outlives it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Mutex;

use vestibule_engine::clock::Clock;
use vestibule_engine::scheme::Unavailable;
use vestibule_engine::store::{Change, ChangeStream, Changes, ExpiringStore, Group, Insert, Key, Kind, Version};

/// Keys asked of the store beneath at a time.
const PAGE: usize = 256;
/// Versions of our own begin here, far above what a store beneath counts to.
const FIRST_VERSION: u64 = 1 << 62;

/// A store that reads from another and forgets what is written.
#[derive(Debug)]
pub struct Overlay {
    beneath: Arc<dyn ExpiringStore>,
    clock: Arc<dyn Clock>,
    layer: Mutex<Layer>,
    changes: Changes,
}

#[derive(Debug)]
struct Layer {
    entries: BTreeMap<Key, Entry>,
    counters: HashMap<Key, u64>,
    next: u64,
}

#[derive(Debug)]
enum Entry {
    /// Written here.
    Written { value: Vec<u8>, version: Version, until: Until, groups: Vec<Group> },
    /// Removed here, whatever is beneath.
    Gone,
}

#[derive(Debug, Clone, Copy)]
enum Until {
    /// On [`Clock::monotonic`].
    Here(Duration),
    /// As the entry beneath that was rewritten, whose groups it keeps, too.
    AsBeneath,
}

impl Overlay {
    /// A fresh layer over `beneath`.
    pub fn new(beneath: Arc<dyn ExpiringStore>, clock: Arc<dyn Clock>) -> Self {
        let layer = Layer { entries: BTreeMap::new(), counters: HashMap::new(), next: FIRST_VERSION };
        let changes = Changes::default();
        // Changes beneath do not arrive here, and a cache must know that.
        changes.set_live(false);
        Self { beneath, clock, layer: Mutex::new(layer), changes }
    }

    /// The live entry as seen through the layer.
    async fn look(&self, layer: &Layer, key: &Key) -> Result<Option<(Vec<u8>, Version)>, Unavailable> {
        match layer.entries.get(key) {
            Some(Entry::Gone) => Ok(None),
            Some(Entry::Written { until: Until::Here(until), .. }) if self.clock.monotonic() >= *until => Ok(None),
            Some(Entry::Written { value, version, .. }) => Ok(Some((value.clone(), *version))),
            None => self.beneath.get(key).await,
        }
    }

    /// The members of a group as seen through the layer, in key order, at most `most`.
    async fn members(&self, layer: &Layer, group: &Group, after: Option<&Key>, most: usize) -> Result<BTreeSet<Key>, Unavailable> {
        let now = self.clock.monotonic();
        let mut members: BTreeSet<Key> = layer
            .entries
            .iter()
            .filter(|(key, entry)| after.is_none_or(|after| *key > after) && entry.is_member(group, now))
            .map(|(key, _)| key.clone())
            .collect();
        let mut taken = 0;
        let mut last = after.cloned();
        while taken < most {
            let page = self.beneath.list(group, last.as_ref(), PAGE).await?;
            let whole = page.len() == PAGE;
            last = page.last().cloned();
            for key in page {
                let hidden = match layer.entries.get(&key) {
                    None | Some(Entry::Written { until: Until::AsBeneath, .. }) => false,
                    Some(Entry::Gone | Entry::Written { until: Until::Here(_), .. }) => true,
                };
                if !hidden {
                    taken += 1;
                    members.insert(key);
                }
            }
            if !whole {
                break;
            }
        }
        while members.len() > most {
            members.pop_last();
        }
        Ok(members)
    }
}

impl Entry {
    fn is_member(&self, group: &Group, now: Duration) -> bool {
        match self {
            Self::Written { until: Until::Here(until), groups, .. } => now < *until && groups.contains(group),
            Self::Written { until: Until::AsBeneath, .. } | Self::Gone => false,
        }
    }
}

impl Layer {
    fn version(&mut self) -> Version {
        self.next += 1;
        Version(self.next)
    }
}

/// Whether this key or group is written through.
fn is_throttle(text: &str) -> bool {
    super::is_of(text, Kind::Throttle)
}

#[async_trait]
impl ExpiringStore for Overlay {
    async fn insert(
        &self,
        key: &Key,
        value: &[u8],
        ttl: Duration,
        groups: &[Group],
        limit: Option<(&Group, u32)>,
    ) -> Result<Insert, Unavailable> {
        if is_throttle(key.as_str()) {
            return self.beneath.insert(key, value, ttl, groups, limit).await;
        }
        let mut layer = self.layer.lock().await;
        if self.look(&layer, key).await?.is_some() {
            return Ok(Insert::Exists);
        }
        if let Some((group, most)) = limit {
            let most = usize::try_from(most).unwrap_or(usize::MAX);
            if self.members(&layer, group, None, most).await?.len() >= most {
                return Ok(Insert::Full);
            }
        }
        let version = layer.version();
        let until = Until::Here(self.clock.monotonic().saturating_add(ttl));
        layer.entries.insert(key.clone(), Entry::Written { value: value.to_vec(), version, until, groups: groups.to_vec() });
        Ok(Insert::Inserted)
    }

    async fn get(&self, key: &Key) -> Result<Option<(Vec<u8>, Version)>, Unavailable> {
        if is_throttle(key.as_str()) {
            return self.beneath.get(key).await;
        }
        self.look(&*self.layer.lock().await, key).await
    }

    async fn replace(&self, key: &Key, expected: Version, value: &[u8]) -> Result<bool, Unavailable> {
        if is_throttle(key.as_str()) {
            return self.beneath.replace(key, expected, value).await;
        }
        let mut layer = self.layer.lock().await;
        if self.look(&layer, key).await?.is_none_or(|(_, version)| version != expected) {
            return Ok(false);
        }
        let version = layer.version();
        let (until, groups) = match layer.entries.remove(key) {
            Some(Entry::Written { until, groups, .. }) => (until, groups),
            Some(Entry::Gone) | None => (Until::AsBeneath, Vec::new()),
        };
        layer.entries.insert(key.clone(), Entry::Written { value: value.to_vec(), version, until, groups });
        self.changes.send(Change::Key(key.clone()));
        Ok(true)
    }

    async fn take(&self, key: &Key) -> Result<Option<Vec<u8>>, Unavailable> {
        if is_throttle(key.as_str()) {
            return self.beneath.take(key).await;
        }
        let mut layer = self.layer.lock().await;
        let Some((value, _)) = self.look(&layer, key).await? else { return Ok(None) };
        layer.entries.insert(key.clone(), Entry::Gone);
        self.changes.send(Change::Key(key.clone()));
        Ok(Some(value))
    }

    async fn extend(&self, key: &Key, ttl: Duration) -> Result<bool, Unavailable> {
        if is_throttle(key.as_str()) {
            return self.beneath.extend(key, ttl).await;
        }
        let mut layer = self.layer.lock().await;
        if self.look(&layer, key).await?.is_none() {
            return Ok(false);
        }
        // What rests beneath outlives this layer, extended or not.
        if let Some(Entry::Written { until: until @ Until::Here(_), .. }) = layer.entries.get_mut(key) {
            *until = Until::Here(self.clock.monotonic().saturating_add(ttl));
        }
        Ok(true)
    }

    /// Counters other than the throttle's begin at nothing: a store offers no way to read one without adding to it.
    async fn increment(&self, key: &Key, ttl: Duration) -> Result<u64, Unavailable> {
        if is_throttle(key.as_str()) {
            return self.beneath.increment(key, ttl).await;
        }
        let mut layer = self.layer.lock().await;
        let count = layer.counters.entry(key.clone()).or_default();
        *count += 1;
        Ok(*count)
    }

    async fn list(&self, group: &Group, after: Option<&Key>, most: usize) -> Result<Vec<Key>, Unavailable> {
        if is_throttle(group.as_str()) {
            return self.beneath.list(group, after, most).await;
        }
        let layer = self.layer.lock().await;
        Ok(self.members(&layer, group, after, most).await?.into_iter().collect())
    }

    async fn remove_group(&self, group: &Group) -> Result<u64, Unavailable> {
        if is_throttle(group.as_str()) {
            return self.beneath.remove_group(group).await;
        }
        let mut layer = self.layer.lock().await;
        let mut removed = 0;
        loop {
            let page = self.members(&layer, group, None, PAGE).await?;
            if page.is_empty() {
                return Ok(removed);
            }
            for key in page {
                removed += 1;
                layer.entries.insert(key.clone(), Entry::Gone);
                self.changes.send(Change::Key(key));
            }
        }
    }

    fn changes(&self) -> ChangeStream {
        self.changes.subscribe()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use vestibule_engine::clock::{ManualClock, Timestamp};
    use vestibule_engine::identity::TenantId;

    use super::*;

    /// A store that forgets nothing by itself.
    #[derive(Debug, Default)]
    pub(crate) struct Plain {
        state: std::sync::Mutex<PlainState>,
        changes: Changes,
    }

    #[derive(Debug, Default)]
    struct PlainState {
        entries: BTreeMap<Key, (Vec<u8>, u64, Vec<Group>)>,
        counters: HashMap<Key, u64>,
        writes: u64,
    }

    #[async_trait]
    impl ExpiringStore for Plain {
        async fn insert(
            &self,
            key: &Key,
            value: &[u8],
            _: Duration,
            groups: &[Group],
            _: Option<(&Group, u32)>,
        ) -> Result<Insert, Unavailable> {
            let mut state = self.state.lock().unwrap();
            state.writes += 1;
            if state.entries.contains_key(key) {
                return Ok(Insert::Exists);
            }
            state.entries.insert(key.clone(), (value.to_vec(), 1, groups.to_vec()));
            Ok(Insert::Inserted)
        }
        async fn get(&self, key: &Key) -> Result<Option<(Vec<u8>, Version)>, Unavailable> {
            Ok(self.state.lock().unwrap().entries.get(key).map(|(value, version, _)| (value.clone(), Version(*version))))
        }
        async fn replace(&self, key: &Key, expected: Version, value: &[u8]) -> Result<bool, Unavailable> {
            let mut state = self.state.lock().unwrap();
            state.writes += 1;
            match state.entries.get_mut(key) {
                Some(entry) if entry.1 == expected.0 => {
                    entry.0 = value.to_vec();
                    entry.1 += 1;
                    Ok(true)
                }
                _ => Ok(false),
            }
        }
        async fn take(&self, key: &Key) -> Result<Option<Vec<u8>>, Unavailable> {
            let mut state = self.state.lock().unwrap();
            state.writes += 1;
            Ok(state.entries.remove(key).map(|(value, ..)| value))
        }
        async fn extend(&self, key: &Key, _: Duration) -> Result<bool, Unavailable> {
            let mut state = self.state.lock().unwrap();
            state.writes += 1;
            Ok(state.entries.contains_key(key))
        }
        async fn increment(&self, key: &Key, _: Duration) -> Result<u64, Unavailable> {
            let mut state = self.state.lock().unwrap();
            state.writes += 1;
            let count = state.counters.entry(key.clone()).or_default();
            *count += 1;
            Ok(*count)
        }
        async fn list(&self, group: &Group, after: Option<&Key>, most: usize) -> Result<Vec<Key>, Unavailable> {
            let state = self.state.lock().unwrap();
            let members = state.entries.iter().filter(|(key, (_, _, groups))| after.is_none_or(|a| *key > a) && groups.contains(group));
            Ok(members.map(|(key, _)| key.clone()).take(most).collect())
        }
        async fn remove_group(&self, group: &Group) -> Result<u64, Unavailable> {
            let mut state = self.state.lock().unwrap();
            state.writes += 1;
            let before = state.entries.len();
            state.entries.retain(|_, (_, _, groups)| !groups.contains(group));
            Ok((before - state.entries.len()) as u64)
        }
        fn changes(&self) -> ChangeStream {
            self.changes.subscribe()
        }
    }

    fn tenant() -> TenantId {
        TenantId::from("north")
    }

    fn key(kind: Kind, n: u32) -> Key {
        Key::of(&tenant(), kind, &[&n.to_be_bytes()])
    }

    fn overlay() -> (Arc<Plain>, Arc<ManualClock>, Overlay) {
        let beneath = Arc::new(Plain::default());
        let clock = Arc::new(ManualClock::at(Timestamp::UNIX_EPOCH));
        let overlay = Overlay::new(beneath.clone(), clock.clone());
        (beneath, clock, overlay)
    }

    const HOUR: Duration = Duration::from_secs(3600);

    #[tokio::test]
    async fn writes_are_seen_above_and_never_beneath() {
        let (beneath, clock, overlay) = overlay();
        let (session, held, code) = (key(Kind::Session, 1), key(Kind::Session, 2), key(Kind::Handoff, 3));
        beneath.insert(&held, b"old", HOUR, &[], None).await.unwrap();
        beneath.insert(&code, b"code", HOUR, &[], None).await.unwrap();
        let writes = beneath.state.lock().unwrap().writes;

        assert_eq!(overlay.insert(&session, b"new", HOUR, &[], None).await.unwrap(), Insert::Inserted);
        assert_eq!(overlay.insert(&session, b"new", HOUR, &[], None).await.unwrap(), Insert::Exists);
        assert_eq!(overlay.insert(&held, b"new", HOUR, &[], None).await.unwrap(), Insert::Exists);
        assert_eq!(overlay.take(&code).await.unwrap().as_deref(), Some(&b"code"[..]));
        assert_eq!(overlay.take(&code).await.unwrap(), None, "taken once");
        assert_eq!(overlay.insert(&code, b"again", HOUR, &[], None).await.unwrap(), Insert::Inserted);

        let (_, version) = overlay.get(&held).await.unwrap().unwrap();
        assert!(overlay.replace(&held, version, b"newer").await.unwrap());
        assert!(!overlay.replace(&held, version, b"newest").await.unwrap(), "a version is good for one write");
        assert_eq!(overlay.get(&held).await.unwrap().unwrap().0, b"newer");
        assert!(overlay.extend(&held, HOUR).await.unwrap());
        assert_eq!(overlay.increment(&key(Kind::Quota, 9), HOUR).await.unwrap(), 1);
        assert_eq!(overlay.increment(&key(Kind::Quota, 9), HOUR).await.unwrap(), 2);

        clock.advance(HOUR);
        assert_eq!(overlay.get(&session).await.unwrap(), None, "its time is over");
        assert_eq!(beneath.state.lock().unwrap().writes, writes);
        assert_eq!(beneath.get(&held).await.unwrap().unwrap().0, b"old");
        assert!(beneath.get(&code).await.unwrap().is_some());
    }

    #[tokio::test]
    async fn groups_are_merged_limited_and_removed_above_only() {
        let (beneath, _, overlay) = overlay();
        let group = Group::of(&tenant(), Kind::Session, "ada");
        for n in 0..600 {
            beneath.insert(&key(Kind::Session, n), b"", HOUR, std::slice::from_ref(&group), None).await.unwrap();
        }
        let mine = key(Kind::Session, 1000);
        let full = overlay.insert(&mine, b"", HOUR, std::slice::from_ref(&group), Some((&group, 600))).await.unwrap();
        assert_eq!(full, Insert::Full);
        let fits = overlay.insert(&mine, b"", HOUR, std::slice::from_ref(&group), Some((&group, 601))).await.unwrap();
        assert_eq!(fits, Insert::Inserted);

        let mut seen = Vec::new();
        while let Some(last) = overlay.list(&group, seen.last(), 100).await.unwrap().last().cloned() {
            seen.extend(overlay.list(&group, seen.last(), 100).await.unwrap());
            assert_eq!(seen.last(), Some(&last));
        }
        assert_eq!(seen.len(), 601);
        assert!(seen.is_sorted() && seen.contains(&mine));

        overlay.take(&key(Kind::Session, 5)).await.unwrap();
        assert_eq!(overlay.remove_group(&group).await.unwrap(), 600);
        assert!(overlay.list(&group, None, 10).await.unwrap().is_empty());
        assert_eq!(beneath.list(&group, None, 1000).await.unwrap().len(), 600);
    }

    #[tokio::test]
    async fn throttle_entries_are_written_through() {
        let (beneath, _, overlay) = overlay();
        let (counter, gate) = (key(Kind::Throttle, 1), key(Kind::Throttle, 2));
        beneath.increment(&counter, HOUR).await.unwrap();
        assert_eq!(overlay.increment(&counter, HOUR).await.unwrap(), 2);
        assert_eq!(beneath.increment(&counter, HOUR).await.unwrap(), 3);
        overlay.insert(&gate, b"closed", HOUR, &[], None).await.unwrap();
        assert!(beneath.get(&gate).await.unwrap().is_some());
        overlay.take(&gate).await.unwrap();
        assert!(beneath.get(&gate).await.unwrap().is_none());
    }

    #[test]
    fn only_the_kind_decides_what_is_written_through() {
        assert!(is_throttle(Key::of(&TenantId::from("s"), Kind::Throttle, &[]).as_str()));
        assert!(!is_throttle(Key::of(&TenantId::from("t"), Kind::Session, &[]).as_str()));
        assert!(is_throttle(Group::of(&tenant(), Kind::Throttle, "ada").as_str()));
    }
}

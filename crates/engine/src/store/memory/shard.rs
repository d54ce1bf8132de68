//! Entries packed for size: one allocation per entry, four-octet references everywhere else.
//!
//! A million sessions should cost less than 400 octets each with key, value, groups and indexes
//! (`examples/session_memory.rs` measures it). Hence slabs with small indexes instead of maps of strings.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hashbrown::HashTable;

use crate::scheme::Unavailable;
use crate::store::{Group, Insert, Key, Version, digest};

/// Dead entries reclaimed by one write: more than one write can add.
const RECLAIMED_PER_WRITE: usize = 8;
/// Members up to which a group is a plain list; beyond it members are kept in key order.
const FEW: usize = 32;
/// Key prefixes (tenant and kind) remembered by number; keys of further ones are kept whole.
const MAX_PREFIXES: usize = 4096;
/// No slot.
const NONE: u32 = u32::MAX;

#[derive(Debug, Default)]
pub(super) struct Shard {
    hasher: RandomState,
    prefixes: Vec<Box<str>>,
    prefix_numbers: HashMap<Box<str>, u16>,
    entries: Slab<Entry>,
    keys: HashTable<u32>,
    groups: Slab<Members>,
    group_names: HashTable<u32>,
    /// The first entry of each second in which entries expire; the rest are linked to it.
    ticks: BTreeMap<u64, u32>,
    versions: u64,
}

#[derive(Debug)]
struct Entry {
    /// The packed key, the numbers of its groups, the value.
    data: Box<[u8]>,
    /// Microseconds of the monotonic clock.
    expires: u64,
    version: u64,
    /// Neighbours in the list of those that expire in the same second.
    earlier: u32,
    later: u32,
    key_length: u16,
    group_count: u16,
}

impl Entry {
    fn key(&self) -> &[u8] {
        self.data.get(..self.key_length.into()).unwrap_or_default()
    }

    fn groups(&self) -> impl Iterator<Item = u32> {
        let start = usize::from(self.key_length);
        let octets = self.data.get(start..self.value_start()).unwrap_or_default();
        octets.as_chunks::<4>().0.iter().map(|number| u32::from_le_bytes(*number))
    }

    fn value(&self) -> &[u8] {
        self.data.get(self.value_start()..).unwrap_or_default()
    }

    fn set_value(&mut self, value: &[u8]) {
        let head = self.data.get(..self.value_start()).unwrap_or_default();
        self.data = [head, value].concat().into();
    }

    fn value_start(&self) -> usize {
        usize::from(self.key_length) + 4 * usize::from(self.group_count)
    }
}

#[derive(Debug)]
struct Members {
    /// The first half of the SHA-256 of the group's name.
    name: [u8; 16],
    set: MemberSet,
}

#[derive(Debug)]
enum MemberSet {
    Few(Few),
    #[expect(clippy::box_collection, reason = "large groups are rare; unboxed they would widen every small one")]
    Many(Box<BTreeMap<Key, u32>>),
}

/// Most groups have one member, which then needs no allocation.
#[derive(Debug)]
enum Few {
    One(u32),
    Several(Box<[u32]>),
}

impl Few {
    fn as_slice(&self) -> &[u32] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Several(several) => several,
        }
    }

    fn from_vec(slots: &[u32]) -> Self {
        match slots {
            [one] => Self::One(*one),
            several => Self::Several(several.into()),
        }
    }
}

impl Members {
    fn len(&self) -> usize {
        match &self.set {
            MemberSet::Few(few) => few.as_slice().len(),
            MemberSet::Many(many) => many.len(),
        }
    }

    fn slots(&self) -> Vec<u32> {
        match &self.set {
            MemberSet::Few(few) => few.as_slice().to_vec(),
            MemberSet::Many(many) => many.values().copied().collect(),
        }
    }
}

impl Shard {
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    pub(super) fn insert(
        &mut self,
        key: &Key,
        value: &[u8],
        now: u64,
        expires: u64,
        groups: &[Group],
        limit: Option<(&Group, u32)>,
    ) -> Insert {
        self.reclaim(now);
        if let Some(slot) = self.find(key) {
            if self.is_live(slot, now) {
                return Insert::Exists;
            }
            self.remove(slot);
        }
        if let Some((group, most)) = limit
            && self.is_full(group, most, now)
        {
            return Insert::Full;
        }
        let mut data = self.pack_new(key);
        let key_length = u16::try_from(data.len()).unwrap_or(u16::MAX);
        let mut numbers: Vec<u32> = groups.iter().map(|group| self.group_or_insert(group)).collect();
        numbers.sort_unstable();
        numbers.dedup();
        data.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
        data.extend_from_slice(value);
        let group_count = u16::try_from(numbers.len()).unwrap_or(u16::MAX);
        let version = self.next_version();
        let entry = Entry { data: data.into(), expires, version, earlier: NONE, later: NONE, key_length, group_count };
        let hash = self.hasher.hash_one(entry.key());
        let slot = self.entries.insert(entry);
        let (hasher, entries) = (&self.hasher, &self.entries);
        self.keys.insert_unique(hash, slot, |slot| hasher.hash_one(entries.get(*slot).map(Entry::key).unwrap_or_default()));
        self.link(slot);
        for number in numbers {
            self.join(number, slot, key);
        }
        Insert::Inserted
    }

    pub(super) fn get(&self, key: &Key, now: u64) -> Option<(&[u8], Version)> {
        let entry = self.entries.get(self.find(key)?).filter(|entry| now < entry.expires)?;
        Some((entry.value(), Version(entry.version)))
    }

    pub(super) fn replace(&mut self, key: &Key, expected: Version, value: &[u8], now: u64) -> bool {
        let version = self.next_version();
        let Some(entry) = self.live(key, now).filter(|entry| Version(entry.version) == expected) else { return false };
        entry.set_value(value);
        entry.version = version;
        true
    }

    pub(super) fn take(&mut self, key: &Key, now: u64) -> Option<Vec<u8>> {
        let entry = self.remove(self.find(key)?)?;
        (now < entry.expires).then(|| entry.value().to_vec())
    }

    pub(super) fn extend(&mut self, key: &Key, now: u64, expires: u64) -> bool {
        let Some(slot) = self.find(key).filter(|slot| self.is_live(*slot, now)) else { return false };
        self.unlink(slot);
        if let Some(entry) = self.entries.get_mut(slot) {
            entry.expires = expires;
        }
        self.link(slot);
        true
    }

    pub(super) fn increment(&mut self, key: &Key, now: u64, expires: u64) -> Result<u64, Unavailable> {
        let version = self.next_version();
        let Some(entry) = self.live(key, now) else {
            self.insert(key, &1u64.to_be_bytes(), now, expires, &[], None);
            return Ok(1);
        };
        let octets = <[u8; 8]>::try_from(entry.value()).map_err(|_| Unavailable::new("store", "the entry is no counter"))?;
        let count = u64::from_be_bytes(octets).saturating_add(1);
        entry.set_value(&count.to_be_bytes());
        entry.version = version;
        Ok(count)
    }

    pub(super) fn list(&self, group: &Group, after: Option<&Key>, most: usize, now: u64) -> Vec<Key> {
        let Some(members) = self.group(group).and_then(|number| self.groups.get(number)) else { return Vec::new() };
        match &members.set {
            MemberSet::Few(few) => {
                let live = few.as_slice().iter().filter(|slot| self.is_live(**slot, now));
                let mut keys: Vec<Key> = live.filter_map(|slot| self.unpack(*slot)).filter(|key| Some(key) > after).collect();
                keys.sort_unstable();
                keys.truncate(most);
                keys
            }
            MemberSet::Many(many) => {
                let start = after.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
                let live = many.range((start, std::ops::Bound::Unbounded)).filter(|(_, slot)| self.is_live(**slot, now));
                live.map(|(key, _)| key.clone()).take(most).collect()
            }
        }
    }

    /// The keys of the live members that were removed.
    pub(super) fn remove_group(&mut self, group: &Group, now: u64) -> Vec<Key> {
        let Some(members) = self.group(group).and_then(|number| self.groups.get(number)) else { return Vec::new() };
        let mut removed = Vec::new();
        for slot in members.slots() {
            if self.is_live(slot, now) {
                removed.extend(self.unpack(slot));
            }
            self.remove(slot);
        }
        removed
    }

    fn is_live(&self, slot: u32, now: u64) -> bool {
        self.entries.get(slot).is_some_and(|entry| now < entry.expires)
    }

    fn live(&mut self, key: &Key, now: u64) -> Option<&mut Entry> {
        let slot = self.find(key)?;
        self.entries.get_mut(slot).filter(|entry| now < entry.expires)
    }

    fn find(&self, key: &Key) -> Option<u32> {
        let packed = pack(key, |prefix| self.prefix_numbers.get(prefix).copied());
        let hash = self.hasher.hash_one(&*packed);
        self.keys.find(hash, |slot| self.entries.get(*slot).is_some_and(|entry| entry.key() == packed)).copied()
    }

    fn is_full(&mut self, group: &Group, most: u32, now: u64) -> bool {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let Some(members) = self.group(group).and_then(|number| self.groups.get(number)) else { return most == 0 };
        if members.len() < most {
            return false;
        }
        let slots = members.slots();
        let dead = slots.iter().filter(|slot| !self.is_live(**slot, now)).copied().collect::<Vec<_>>();
        for slot in &dead {
            self.remove(*slot);
        }
        slots.len() - dead.len() >= most
    }

    /// Removes an entry and whatever points to it.
    fn remove(&mut self, slot: u32) -> Option<Entry> {
        self.unlink(slot);
        let entry = self.entries.get(slot)?;
        let hash = self.hasher.hash_one(entry.key());
        if let Ok(found) = self.keys.find_entry(hash, |other| *other == slot) {
            found.remove();
        }
        let numbers: Vec<u32> = entry.groups().collect();
        for number in numbers {
            self.leave(number, slot);
        }
        self.entries.remove(slot)
    }

    fn reclaim(&mut self, now: u64) {
        for _ in 0..RECLAIMED_PER_WRITE {
            let Some((tick, slot)) = self.ticks.first_key_value().map(|(tick, slot)| (*tick, *slot)) else { return };
            if tick > now / 1_000_000 {
                return;
            }
            self.remove(slot);
        }
    }

    fn link(&mut self, slot: u32) {
        let Some(tick) = self.entries.get(slot).map(tick) else { return };
        let first = self.ticks.insert(tick, slot);
        if let Some(first) = first {
            if let Some(entry) = self.entries.get_mut(slot) {
                entry.later = first;
            }
            if let Some(first) = self.entries.get_mut(first) {
                first.earlier = slot;
            }
        }
    }

    fn unlink(&mut self, slot: u32) {
        let Some(entry) = self.entries.get_mut(slot) else { return };
        let tick = tick(entry);
        let (earlier, later) = (std::mem::replace(&mut entry.earlier, NONE), std::mem::replace(&mut entry.later, NONE));
        if let Some(later) = self.entries.get_mut(later) {
            later.earlier = earlier;
        }
        match self.entries.get_mut(earlier) {
            Some(earlier) => earlier.later = later,
            None if later == NONE => drop(self.ticks.remove(&tick)),
            None => drop(self.ticks.insert(tick, later)),
        }
    }

    fn group(&self, group: &Group) -> Option<u32> {
        self.named(group_name(group))
    }

    fn named(&self, name: [u8; 16]) -> Option<u32> {
        let hash = self.hasher.hash_one(name);
        self.group_names.find(hash, |number| self.groups.get(*number).is_some_and(|members| members.name == name)).copied()
    }

    /// The number of a group that is about to get a member.
    fn group_or_insert(&mut self, group: &Group) -> u32 {
        let name = group_name(group);
        if let Some(number) = self.named(name) {
            return number;
        }
        let number = self.groups.insert(Members { name, set: MemberSet::Few(Few::Several([].into())) });
        let (hasher, groups) = (&self.hasher, &self.groups);
        let rehash = |number: &u32| hasher.hash_one(groups.get(*number).map(|members| members.name).unwrap_or_default());
        self.group_names.insert_unique(hasher.hash_one(name), number, rehash);
        number
    }

    fn join(&mut self, number: u32, slot: u32, key: &Key) {
        let many: Option<BTreeMap<Key, u32>> = match self.groups.get(number).map(|members| &members.set) {
            Some(MemberSet::Few(few)) if few.as_slice().len() >= FEW => {
                Some(few.as_slice().iter().filter_map(|slot| Some((self.unpack(*slot)?, *slot))).collect())
            }
            Some(MemberSet::Few(_) | MemberSet::Many(_)) | None => None,
        };
        let Some(members) = self.groups.get_mut(number) else { return };
        if let Some(many) = many {
            members.set = MemberSet::Many(Box::new(many));
        }
        match &mut members.set {
            MemberSet::Few(few) => *few = Few::from_vec(&[few.as_slice(), &[slot]].concat()),
            MemberSet::Many(many) => drop(many.insert(key.clone(), slot)),
        }
    }

    fn leave(&mut self, number: u32, slot: u32) {
        let key = self.unpack(slot);
        let Some(members) = self.groups.get_mut(number) else { return };
        match &mut members.set {
            MemberSet::Few(few) => {
                let left: Vec<u32> = few.as_slice().iter().filter(|other| **other != slot).copied().collect();
                *few = Few::from_vec(&left);
            }
            MemberSet::Many(many) => drop(key.and_then(|key| many.remove(&key))),
        }
        if members.len() == 0 {
            let hash = self.hasher.hash_one(members.name);
            if let Ok(found) = self.group_names.find_entry(hash, |other| *other == number) {
                found.remove();
            }
            self.groups.remove(number);
        }
    }

    fn next_version(&mut self) -> u64 {
        self.versions += 1;
        self.versions
    }

    /// A key as it will be kept, its prefix being learnt.
    fn pack_new(&mut self, key: &Key) -> Vec<u8> {
        let (prefixes, numbers) = (&mut self.prefixes, &mut self.prefix_numbers);
        pack(key, |prefix| {
            if let Some(number) = numbers.get(prefix) {
                return Some(*number);
            }
            let number = u16::try_from(prefixes.len()).ok().filter(|_| prefixes.len() < MAX_PREFIXES)?;
            prefixes.push(prefix.into());
            numbers.insert(prefix.into(), number);
            Some(number)
        })
    }

    fn unpack(&self, slot: u32) -> Option<Key> {
        let (form, rest) = self.entries.get(slot)?.key().split_first()?;
        if *form == WHOLE {
            return std::str::from_utf8(rest).ok().map(Key::from_stored);
        }
        let (number, digest) = rest.split_first_chunk::<2>()?;
        let prefix = self.prefixes.get(usize::from(u16::from_le_bytes(*number)))?;
        Some(Key::from_stored(&format!("{prefix}{}", URL_SAFE_NO_PAD.encode(digest))))
    }
}

/// Marks a key that is kept as its text.
const WHOLE: u8 = 0;
/// Marks a key that is kept as the number of its prefix and its digest.
const SHORT: u8 = 1;

fn pack(key: &Key, number: impl FnOnce(&str) -> Option<u16>) -> Vec<u8> {
    let text = key.as_str();
    let prefix = text.rsplit_once(':').map(|(prefix, _)| text.split_at(prefix.len() + 1).0);
    // The decoder admits one spelling of a digest only, so that this can be undone.
    match key.digest().and_then(|digest| Some((number(prefix?)?, digest))) {
        Some((number, digest)) => [[SHORT].as_slice(), &number.to_le_bytes(), &digest].concat(),
        None => [[WHOLE].as_slice(), text.as_bytes()].concat(),
    }
}

fn group_name(group: &Group) -> [u8; 16] {
    let [name @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] = digest(&[group.as_str().as_bytes()]);
    name
}

/// The first second at whose beginning the entry is dead.
fn tick(entry: &Entry) -> u64 {
    entry.expires.div_ceil(1_000_000)
}

/// A growing table whose places are numbered and reused.
#[derive(Debug)]
struct Slab<T> {
    slots: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slab<T> {
    fn insert(&mut self, value: T) -> u32 {
        if let Some(number) = self.free.pop() {
            if let Some(slot) = self.slots.get_mut(number as usize) {
                *slot = Some(value);
            }
            return number;
        }
        self.slots.push(Some(value));
        // INVARIANT: memory ends long before four thousand million entries.
        u32::try_from(self.slots.len() - 1).unwrap_or(NONE)
    }

    fn get(&self, number: u32) -> Option<&T> {
        self.slots.get(number as usize)?.as_ref()
    }

    fn get_mut(&mut self, number: u32) -> Option<&mut T> {
        self.slots.get_mut(number as usize)?.as_mut()
    }

    fn remove(&mut self, number: u32) -> Option<T> {
        let value = self.slots.get_mut(number as usize)?.take()?;
        self.free.push(number);
        Some(value)
    }
}

//! One suite that every store backend runs: what the traits promise, races included.
//!
//! Attacks 43 and 114: of any number of callers exactly one may spend a token, whichever backend holds it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use uuid::Uuid;

use crate::audit::{Decided, Event, Reason, Recorded, Ruling, VERSION};
use crate::clock::{Clock, ManualClock, Timestamp};
use crate::identity::{AccountState, ExternalId, GroupName, Issuer, PasswordHash, ProfileName, TenantId, User, UserId, Username};
use crate::request::RequestId;
use crate::scheme::Unavailable;
use crate::secret::Secret;
use crate::store::{
    Change, ChangeStream, DECISIONS_KEPT, DurableStore, ExpiringStore, Group, HISTORY_KEPT, History, Insert, Key, KeyRecord, KeyState,
    Kind, Version,
};

const CALLERS: u32 = 100;
const MINUTE: Duration = Duration::from_secs(60);

/// Runs the suite over an expiring store. `make` returns an empty store that takes its time from the clock it is given.
///
/// # Panics
/// When the store breaks a promise. Wants a runtime of several threads, or the races are none.
pub async fn expiring<S: ExpiringStore + 'static>(make: impl Fn(Arc<dyn Clock>) -> Arc<S>) {
    let clock = Arc::new(ManualClock::at(Timestamp::UNIX_EPOCH + Duration::from_secs(1_800_000_000)));
    let store: Arc<dyn ExpiringStore> = make(clock.clone());
    let outcome = async {
        an_entry_lives_until_its_time(&*store, &clock).await?;
        a_value_is_replaced_only_at_its_version(&*store, &clock).await?;
        an_entry_is_taken_once(&store, &clock).await?;
        one_replacement_wins(&store).await?;
        one_insert_wins(&store).await?;
        a_limit_holds(&store, &clock).await?;
        a_live_entry_can_be_extended(&*store, &clock).await?;
        a_counter_lives_from_its_first_increment(&store, &clock).await?;
        a_group_is_listed_in_key_order(&*store, &clock).await?;
        a_group_is_removed_together(&*store, &clock).await?;
        entry_changes_are_heard(&*store).await
    };
    assert_eq!(outcome.await, Ok(()), "the store must answer throughout");
}

/// Runs the suite over a durable store. `make` returns an empty store.
///
/// # Panics
/// When the store breaks a promise.
pub async fn durable<S: DurableStore + 'static>(make: impl Fn() -> Arc<S>) {
    let store: Arc<dyn DurableStore> = make();
    let outcome = async {
        users_are_found_by_each_of_their_names(&*store).await?;
        names_and_external_ids_have_one_holder(&*store).await?;
        a_user_is_written_only_at_its_epoch(&store).await?;
        a_removed_user_leaves_its_names(&*store).await?;
        many_users_are_added_at_once(&*store).await?;
        a_hash_is_replaced_where_it_is_the_one_expected(&store).await?;
        users_are_listed_in_name_order(&*store).await?;
        keys_are_listed_oldest_first(&*store).await?;
        decisions_are_found_and_bounded(&*store).await?;
        histories_are_kept_per_tenant_and_bounded(&*store).await?;
        a_setting_is_made_once(&store).await?;
        user_changes_are_heard(&*store).await
    };
    assert_eq!(outcome.await, Ok(()), "the store must answer throughout");
}

fn tenant() -> TenantId {
    TenantId::from("north")
}

fn key(name: &str) -> Key {
    Key::of(&tenant(), Kind::Session, &[name.as_bytes()])
}

fn group(name: &str) -> Group {
    Group::of(&tenant(), Kind::Session, name)
}

/// What so many parallel callers of `call` get.
async fn race<T: Send + 'static, F: Future<Output = Result<T, Unavailable>> + Send + 'static>(
    store: &Arc<dyn ExpiringStore>,
    call: impl Fn(Arc<dyn ExpiringStore>, u32) -> F,
) -> Result<Vec<T>, Unavailable> {
    let tasks: Vec<_> = (0..CALLERS).map(|n| tokio::spawn(call(store.clone(), n))).collect();
    join_all(tasks).await.into_iter().map(|joined| joined.unwrap_or_else(|died| Err(Unavailable::new("task", died)))).collect()
}

async fn an_entry_lives_until_its_time(store: &dyn ExpiringStore, clock: &ManualClock) -> Result<(), Unavailable> {
    let key = key("lives");
    assert_eq!(store.get(&key).await?, None);
    assert_eq!(store.insert(&key, b"one", MINUTE, &[], None).await?, Insert::Inserted);
    assert_eq!(store.insert(&key, b"two", MINUTE, &[], None).await?, Insert::Exists);
    assert_eq!(value(store, &key).await?.as_deref(), Some(b"one".as_slice()));
    clock.advance(MINUTE - Duration::from_millis(1));
    assert!(value(store, &key).await?.is_some(), "dead before its time");
    clock.advance(Duration::from_millis(1));
    assert_eq!(store.get(&key).await?, None, "alive after its time");
    assert_eq!(store.insert(&key, b"two", MINUTE, &[], None).await?, Insert::Inserted, "a dead entry must not bar a new one");
    assert_eq!(value(store, &key).await?.as_deref(), Some(b"two".as_slice()));
    // Another tenant's or kind's entry of the same parts is another entry.
    assert_eq!(store.get(&Key::of(&TenantId::from("south"), Kind::Session, &[b"lives"])).await?, None);
    assert_eq!(store.get(&Key::of(&tenant(), Kind::Replay, &[b"lives"])).await?, None);
    // Keys need not have been made from a digest, values may be empty.
    let odd = Key::from_stored("{north}:s:odd");
    assert_eq!(store.insert(&odd, b"", MINUTE, &[group("odd")], None).await?, Insert::Inserted);
    assert_eq!(store.list(&group("odd"), None, 10).await?, std::slice::from_ref(&odd));
    assert_eq!(store.take(&odd).await?, Some(Vec::new()));
    Ok(())
}

async fn value(store: &dyn ExpiringStore, key: &Key) -> Result<Option<Vec<u8>>, Unavailable> {
    Ok(store.get(key).await?.map(|(value, _)| value))
}

async fn a_value_is_replaced_only_at_its_version(store: &dyn ExpiringStore, clock: &ManualClock) -> Result<(), Unavailable> {
    let (key, group) = (key("replaced"), group("replaced"));
    store.insert(&key, b"one", MINUTE, std::slice::from_ref(&group), None).await?;
    let Some((_, first)) = store.get(&key).await? else { return Err(Unavailable::new("entry", "missing")) };
    assert!(store.replace(&key, first, b"longer than before").await?);
    assert!(!store.replace(&key, first, b"three").await?, "a version must not stand twice");
    assert_eq!(value(store, &key).await?.as_deref(), Some(b"longer than before".as_slice()));
    assert_eq!(store.list(&group, None, 10).await?, std::slice::from_ref(&key), "a replaced entry stays in its groups");
    // An entry that was removed and made again is not the one that was read.
    let Some((_, second)) = store.get(&key).await? else { return Err(Unavailable::new("entry", "missing")) };
    store.take(&key).await?;
    store.insert(&key, b"new", MINUTE, &[], None).await?;
    assert!(!store.replace(&key, second, b"old").await?, "a version must not stand for two entries");
    assert!(!store.replace(&key, first, b"old").await?);
    let Some((_, third)) = store.get(&key).await? else { return Err(Unavailable::new("entry", "missing")) };
    clock.advance(MINUTE);
    assert!(!store.replace(&key, third, b"late").await?, "a dead entry was replaced");
    assert!(!store.replace(&self::key("never"), Version(1), b"x").await?);
    Ok(())
}

async fn an_entry_is_taken_once(store: &Arc<dyn ExpiringStore>, clock: &ManualClock) -> Result<(), Unavailable> {
    let key = key("taken");
    store.insert(&key, b"token", MINUTE, &[group("taken")], None).await?;
    let shared = key.clone();
    let taken = race(store, move |store, _| {
        let key = shared.clone();
        async move { store.take(&key).await }
    });
    let winners: Vec<_> = taken.await?.into_iter().flatten().collect();
    assert_eq!(winners, [b"token"], "exactly one caller gets the value");
    assert_eq!(store.get(&key).await?, None);
    assert!(store.list(&group("taken"), None, 10).await?.is_empty());
    store.insert(&key, b"token", MINUTE, &[], None).await?;
    clock.advance(MINUTE);
    assert_eq!(store.take(&key).await?, None, "a dead entry was taken");
    Ok(())
}

async fn one_replacement_wins(store: &Arc<dyn ExpiringStore>) -> Result<(), Unavailable> {
    let key = key("contended");
    store.insert(&key, b"start", MINUTE, &[], None).await?;
    let Some((_, version)) = store.get(&key).await? else { return Err(Unavailable::new("entry", "missing")) };
    let shared = key.clone();
    let replaced = race(store, move |store, n| {
        let key = shared.clone();
        async move { store.replace(&key, version, &n.to_be_bytes()).await.map(|won| won.then_some(n)) }
    });
    let winners: Vec<u32> = replaced.await?.into_iter().flatten().collect();
    assert_eq!(winners.len(), 1, "exactly one writer wins");
    assert_eq!(value(&**store, &key).await?, winners.first().map(|n| n.to_be_bytes().to_vec()));
    Ok(())
}

async fn one_insert_wins(store: &Arc<dyn ExpiringStore>) -> Result<(), Unavailable> {
    let key = Key::of(&tenant(), Kind::Replay, &[b"once"]);
    let inserted = race(store, move |store, _| {
        let key = key.clone();
        async move { store.insert(&key, b"", MINUTE, &[], None).await }
    });
    let winners = inserted.await?.into_iter().filter(|outcome| *outcome == Insert::Inserted).count();
    assert_eq!(winners, 1, "a replay id is new exactly once");
    Ok(())
}

async fn a_limit_holds(store: &Arc<dyn ExpiringStore>, clock: &ManualClock) -> Result<(), Unavailable> {
    const MOST: u32 = 10;
    let insert = |store: Arc<dyn ExpiringStore>, name: String| async move {
        let limit = group("limited");
        store.insert(&key(&name), b"", MINUTE, std::slice::from_ref(&limit), Some((&limit, MOST))).await
    };
    let outcomes = race(store, move |store, n| insert(store, format!("limited {n}"))).await?;
    let count = |wanted: Insert| outcomes.iter().filter(|outcome| **outcome == wanted).count();
    assert_eq!((count(Insert::Inserted), count(Insert::Full)), (10, 90));
    assert_eq!(store.list(&group("limited"), None, 100).await?.len(), 10);
    // A place that becomes free may be taken again.
    let first = store.list(&group("limited"), None, 1).await?;
    for key in &first {
        store.take(key).await?;
    }
    assert_eq!(insert(store.clone(), "limited again".into()).await?, Insert::Inserted);
    assert_eq!(insert(store.clone(), "limited more".into()).await?, Insert::Full);
    clock.advance(MINUTE);
    assert_eq!(insert(store.clone(), "limited later".into()).await?, Insert::Inserted, "dead members must not count");
    Ok(())
}

async fn a_live_entry_can_be_extended(store: &dyn ExpiringStore, clock: &ManualClock) -> Result<(), Unavailable> {
    let key = key("extended");
    store.insert(&key, b"v", MINUTE, &[], None).await?;
    clock.advance(MINUTE / 2);
    assert!(store.extend(&key, MINUTE).await?);
    clock.advance(MINUTE - Duration::from_millis(1));
    assert_eq!(value(store, &key).await?.as_deref(), Some(b"v".as_slice()), "extended from now");
    assert!(store.extend(&key, Duration::from_secs(1)).await?, "a life may be shortened");
    clock.advance(Duration::from_secs(1));
    assert!(!store.extend(&key, MINUTE).await?, "a dead entry was revived");
    assert_eq!(store.get(&key).await?, None);
    Ok(())
}

async fn a_counter_lives_from_its_first_increment(store: &Arc<dyn ExpiringStore>, clock: &ManualClock) -> Result<(), Unavailable> {
    let key = Key::of(&tenant(), Kind::Throttle, &[b"counter"]);
    assert_eq!(store.increment(&key, MINUTE).await?, 1);
    clock.advance(MINUTE / 2);
    assert_eq!(store.increment(&key, MINUTE).await?, 2);
    assert_eq!(value(&**store, &key).await?, Some(2u64.to_be_bytes().to_vec()));
    clock.advance(MINUTE / 2);
    assert_eq!(value(&**store, &key).await?, None, "its time counts from the first increment");
    let shared = key.clone();
    let counts = race(store, move |store, _| {
        let key = shared.clone();
        async move { store.increment(&key, MINUTE).await }
    });
    let counts: BTreeSet<u64> = counts.await?.into_iter().collect();
    assert_eq!(counts, (1..=u64::from(CALLERS)).collect(), "no increment is lost or doubled");
    Ok(())
}

async fn a_group_is_listed_in_key_order(store: &dyn ExpiringStore, clock: &ManualClock) -> Result<(), Unavailable> {
    let (all, other) = (group("listed"), group("listed other"));
    let mut expected = BTreeSet::new();
    for n in 0..75 {
        let key = key(&format!("listed {n}"));
        let ttl = if n < 25 { MINUTE / 2 } else { MINUTE };
        let groups = if n % 2 == 0 { vec![all.clone(), other.clone()] } else { vec![all.clone()] };
        store.insert(&key, b"", ttl, &groups, None).await?;
        if n >= 25 {
            expected.insert(key);
        }
    }
    clock.advance(MINUTE / 2);
    let mut listed = Vec::new();
    loop {
        let page = store.list(&all, listed.last(), 7).await?;
        if page.is_empty() {
            break;
        }
        assert!(page.len() <= 7);
        listed.extend(page);
    }
    assert_eq!(listed, expected.into_iter().collect::<Vec<_>>());
    assert_eq!(store.list(&other, None, 100).await?.len(), 25);
    assert!(store.list(&group("never"), None, 10).await?.is_empty());
    assert!(store.list(&all, None, 0).await?.is_empty());
    Ok(())
}

async fn a_group_is_removed_together(store: &dyn ExpiringStore, clock: &ManualClock) -> Result<(), Unavailable> {
    let (user, login) = (group("removed user"), group("removed login"));
    for n in 0..50 {
        let ttl = if n < 10 { MINUTE / 2 } else { MINUTE };
        let groups = if n % 2 == 0 { vec![user.clone(), login.clone()] } else { vec![user.clone()] };
        store.insert(&key(&format!("removed {n}")), b"", ttl, &groups, None).await?;
    }
    clock.advance(MINUTE / 2);
    assert_eq!(store.remove_group(&login).await?, 20, "dead members are not counted");
    assert_eq!(store.list(&user, None, 100).await?.len(), 20, "members of both groups are gone from both");
    assert_eq!(store.remove_group(&user).await?, 20);
    assert_eq!(store.remove_group(&user).await?, 0);
    assert_eq!(store.get(&key("removed 11")).await?, None);
    assert_eq!(store.insert(&key("removed 11"), b"", MINUTE, std::slice::from_ref(&user), None).await?, Insert::Inserted);
    assert_eq!(store.list(&user, None, 100).await?.len(), 1);
    Ok(())
}

async fn entry_changes_are_heard(store: &dyn ExpiringStore) -> Result<(), Unavailable> {
    let mut changes = store.changes();
    assert!(changes.pulse.is_live());
    let before = changes.pulse.sent();
    let names = ["heard replace", "heard take", "heard group"];
    for name in names {
        store.insert(&key(name), b"", MINUTE, &[group(name)], None).await?;
    }
    let Some((_, version)) = store.get(&key("heard replace")).await? else { return Err(Unavailable::new("entry", "missing")) };
    store.replace(&key("heard replace"), version, b"x").await?;
    store.take(&key("heard take")).await?;
    store.remove_group(&group("heard group")).await?;
    for name in names {
        assert_eq!(next(&mut changes).await?, Change::Key(key(name)));
    }
    assert!(changes.pulse.sent() >= before + 3);
    Ok(())
}

async fn next(changes: &mut ChangeStream) -> Result<Change, Unavailable> {
    let heard = tokio::time::timeout(Duration::from_secs(10), changes.events.recv()).await;
    heard.map_err(|late| Unavailable::new("changes", late))?.map_err(|lost| Unavailable::new("changes", lost))
}

/// A user for tests, called `name`, with an external id of the same name.
pub fn user(tenant: &TenantId, name: &str) -> Result<User, Unavailable> {
    let id = UserId(uuid::Builder::from_random_bytes(crate::clock::random()?).into_uuid());
    Ok(User {
        id,
        tenant: tenant.clone(),
        name: Username::parse(name).ok_or_else(|| Unavailable::new("test", "no user name"))?,
        display_name: Some(name.to_owned()),
        email: None,
        groups: vec![GroupName::from("staff")],
        profile: ProfileName::from("user"),
        state: AccountState::Active,
        must_change_password: false,
        break_glass: false,
        epoch: 0,
        password: Some(PasswordHash("$hash".into())),
        external_ids: vec![external(name)],
        created: Timestamp::UNIX_EPOCH,
    })
}

fn external(id: &str) -> ExternalId {
    ExternalId { issuer: Issuer::from("https://idp.example"), id: id.to_owned() }
}

async fn users_are_found_by_each_of_their_names(store: &dyn DurableStore) -> Result<(), Unavailable> {
    let (north, south) = (tenant(), TenantId::from("south"));
    let mut ada = user(&north, "ada")?;
    assert!(store.insert_user(&ada).await?);
    assert_eq!(store.user(ada.id).await?.as_ref(), Some(&ada), "the password hash is kept with the rest");
    assert_eq!(store.user_by_name(&north, &ada.name).await?.as_ref(), Some(&ada));
    assert_eq!(store.user_by_external_id(&north, &external("ada")).await?.as_ref(), Some(&ada));
    assert_eq!(store.user_by_name(&south, &ada.name).await?, None, "names belong to a tenant");
    assert_eq!(store.user_by_external_id(&south, &external("ada")).await?, None);
    assert_eq!(store.user_by_external_id(&north, &external("ADA")).await?, None, "external ids are compared octet by octet");
    assert_eq!(store.user(UserId(Uuid::nil())).await?, None);
    // The names of a renamed user are free.
    let old = ada.name.clone();
    ada.name = user(&north, "countess")?.name;
    ada.external_ids = vec![external("countess")];
    ada.password = None;
    assert!(store.update_user(&ada, 0).await?);
    assert_eq!(store.user_by_name(&north, &old).await?, None);
    assert_eq!(store.user_by_external_id(&north, &external("ada")).await?, None);
    assert_eq!(store.user_by_external_id(&north, &external("countess")).await?.as_ref(), Some(&ada));
    Ok(())
}

async fn names_and_external_ids_have_one_holder(store: &dyn DurableStore) -> Result<(), Unavailable> {
    let (north, south) = (tenant(), TenantId::from("south"));
    let bob = user(&north, "bob")?;
    assert!(store.insert_user(&bob).await?);
    assert!(!store.insert_user(&bob).await?, "the id is taken");
    let same_name = User { external_ids: Vec::new(), ..user(&north, "bob")? };
    assert!(!store.insert_user(&same_name).await?, "the name is taken");
    let same_external = User { external_ids: vec![external("other"), external("bob")], ..user(&north, "robert")? };
    assert!(!store.insert_user(&same_external).await?, "an external id is taken");
    assert_eq!(store.user_by_external_id(&north, &external("other")).await?, None, "a refused insert leaves nothing behind");
    assert!(store.insert_user(&user(&south, "bob")?).await?, "another tenant has names of its own");
    let eve = user(&north, "eve")?;
    assert!(store.insert_user(&eve).await?);
    assert!(!store.update_user(&User { name: bob.name.clone(), ..eve.clone() }, 0).await?, "the name is another user's");
    assert!(!store.update_user(&User { external_ids: bob.external_ids.clone(), ..eve.clone() }, 0).await?);
    assert!(!store.update_user(&User { tenant: south, ..eve.clone() }, 0).await?, "a user stays in its tenant");
    assert_eq!(store.user(eve.id).await?, Some(eve));
    Ok(())
}

async fn a_user_is_written_only_at_its_epoch(store: &Arc<dyn DurableStore>) -> Result<(), Unavailable> {
    let cleo = user(&tenant(), "cleo")?;
    assert!(!store.update_user(&cleo, 0).await?, "who is not there is not updated");
    store.insert_user(&cleo).await?;
    let tasks = (0..CALLERS).map(|n| {
        let (store, raised) = (store.clone(), User { epoch: 1, display_name: Some(n.to_string()), ..cleo.clone() });
        tokio::spawn(async move { store.update_user(&raised, 0).await })
    });
    let won = join_all(tasks).await.into_iter().filter(|joined| matches!(joined, Ok(Ok(true)))).count();
    assert_eq!(won, 1, "exactly one writer raises the epoch");
    let stored = store.user(cleo.id).await?;
    assert_eq!(stored.as_ref().map(|user| user.epoch), Some(1));
    assert!(!store.update_user(&cleo, 1).await?, "an epoch does not fall");
    assert!(store.update_user(&User { epoch: 1, ..cleo.clone() }, 1).await?, "not every change ends sessions");
    Ok(())
}

async fn a_removed_user_leaves_its_names(store: &dyn DurableStore) -> Result<(), Unavailable> {
    let gail = user(&tenant(), "gail")?;
    assert!(!store.remove_user(gail.id).await?, "who is not there is not removed");
    store.insert_user(&gail).await?;
    let mut changes = store.changes();
    assert!(store.remove_user(gail.id).await?);
    assert_eq!(next(&mut changes).await?, Change::User(gail.id), "caches hear of it");
    assert!(!store.remove_user(gail.id).await?, "once");
    assert_eq!(store.user(gail.id).await?, None);
    assert_eq!(store.user_by_name(&tenant(), &gail.name).await?, None);
    assert_eq!(store.user_by_external_id(&tenant(), &external("gail")).await?, None);
    let staff = store.users(&tenant(), Some(&GroupName::from("staff")), None, 100).await?;
    assert!(staff.iter().all(|user| user.id != gail.id), "its groups do not list it");
    assert!(!store.update_user(&User { epoch: 1, ..gail.clone() }, 0).await?, "an update does not bring it back");
    let another = user(&tenant(), "gail")?;
    assert!(store.insert_user(&another).await?, "name and external id are free");
    assert_eq!(store.user_by_external_id(&tenant(), &external("gail")).await?, Some(another));
    Ok(())
}

async fn many_users_are_added_at_once(store: &dyn DurableStore) -> Result<(), Unavailable> {
    let west = TenantId::from("west");
    let mut many = Vec::new();
    for n in 0..300 {
        many.push(user(&west, &format!("many{n}"))?);
    }
    assert_eq!(store.insert_users(&many).await?, vec![true; 300]);
    let names: Vec<Username> = many.iter().map(|user| user.name.clone()).chain([user(&west, "nobody")?.name]).collect();
    let by_name = |mut users: Vec<User>| {
        users.sort_by(|one, other| one.name.cmp(&other.name));
        users
    };
    assert_eq!(by_name(store.users_by_name(&west, &names).await?), by_name(many.clone()), "with all they are");
    assert_eq!(store.users_by_name(&tenant(), &names).await?, Vec::new(), "names belong to a tenant");
    let staff = store.users(&west, Some(&GroupName::from("staff")), None, 1000).await?;
    assert_eq!(staff.len(), 300);
    // Of some that cannot be added, the others are.
    let again = user(&west, "many7")?;
    let stolen = User { external_ids: vec![external("many8")], ..user(&west, "thief")? };
    let (new, twice) = (user(&west, "new")?, User { external_ids: Vec::new(), ..user(&west, "new")? });
    assert_eq!(store.insert_users(&[again, stolen.clone(), new.clone(), twice]).await?, [false, false, true, false]);
    assert_eq!(store.user_by_name(&west, &stolen.name).await?, None);
    assert_eq!(store.user_by_name(&west, &new.name).await?, Some(new));
    assert_eq!(store.insert_users(&[]).await?, Vec::<bool>::new());
    Ok(())
}

async fn a_hash_is_replaced_where_it_is_the_one_expected(store: &Arc<dyn DurableStore>) -> Result<(), Unavailable> {
    let hash = |text: &str| PasswordHash(format!("{}{text}", PasswordHash::SEALED));
    let (iris, jane) = (User { password: Some(hash("iris")), ..user(&tenant(), "iris")? }, user(&tenant(), "jane")?);
    assert_eq!(store.insert_users(&[iris.clone(), jane.clone()]).await?, [true, true]);
    assert_eq!(store.users_with_sealed_hash(10).await?, std::slice::from_ref(&iris));
    assert!(store.users_with_sealed_hash(0).await?.is_empty());
    let wrapped = PasswordHash("$wrapped".to_owned());
    assert!(!store.replace_password(iris.id, &hash("jane"), &wrapped).await?, "it was another one");
    assert!(!store.replace_password(UserId(Uuid::nil()), &hash("iris"), &wrapped).await?, "there is nobody");
    let mut changes = store.changes();
    assert!(store.replace_password(iris.id, &hash("iris"), &wrapped).await?);
    assert_eq!(next(&mut changes).await?, Change::User(iris.id));
    assert!(!store.replace_password(iris.id, &hash("iris"), &wrapped).await?, "once");
    assert_eq!(store.user(iris.id).await?, Some(User { password: Some(wrapped), ..iris }), "all else is as it was");
    assert!(store.users_with_sealed_hash(10).await?.is_empty());
    assert_eq!(store.user(jane.id).await?, Some(jane));
    Ok(())
}

async fn users_are_listed_in_name_order(store: &dyn DurableStore) -> Result<(), Unavailable> {
    let east = TenantId::from("east");
    for n in (0..25).rev() {
        let groups = if n % 5 == 0 { vec![GroupName::from("staff"), GroupName::from("fifth")] } else { Vec::new() };
        assert!(store.insert_user(&User { groups, ..user(&east, &format!("user{n:02}"))? }).await?);
    }
    let mut listed: Vec<Username> = Vec::new();
    loop {
        let page = store.users(&east, None, listed.last(), 7).await?;
        if page.is_empty() {
            break;
        }
        assert!(page.len() <= 7);
        listed.extend(page.into_iter().map(|user| user.name));
    }
    assert_eq!(listed.iter().map(Username::as_str).collect::<Vec<_>>(), (0..25).map(|n| format!("user{n:02}")).collect::<Vec<_>>());
    let fifth = store.users(&east, Some(&GroupName::from("fifth")), None, 100).await?;
    assert_eq!(fifth.iter().map(|user| user.name.as_str()).collect::<Vec<_>>(), ["user00", "user05", "user10", "user15", "user20"]);
    let page = store.users(&east, Some(&GroupName::from("fifth")), fifth.get(1).map(|user| &user.name), 2).await?;
    assert_eq!(page.iter().map(|user| user.name.as_str()).collect::<Vec<_>>(), ["user10", "user15"]);
    Ok(())
}

async fn keys_are_listed_oldest_first(store: &dyn DurableStore) -> Result<(), Unavailable> {
    let record = |id: &str, purpose: &str, at: i64| KeyRecord {
        id: id.into(),
        purpose: purpose.into(),
        algorithm: "ES256".into(),
        state: KeyState::Next,
        public: "{}".into(),
        sealed: Secret::new(vec![0, 1, 255]),
        created: Timestamp::UNIX_EPOCH + Duration::from_secs(at.unsigned_abs()),
        changed: Timestamp::UNIX_EPOCH,
    };
    let mut changes = store.changes();
    let (young, old, other) = (record("a", "jwt", 30), record("b", "jwt", 10), record("c", "idp", 20));
    for key in [&young, &old, &other] {
        store.put_key(key).await?;
        assert_eq!(next(&mut changes).await?, Change::Keys, "other nodes hear of it");
    }
    assert_eq!(store.keys("jwt").await?, [old.clone(), young.clone()]);
    let rotated = KeyRecord { state: KeyState::Revoked, changed: Timestamp::UNIX_EPOCH + MINUTE, ..old };
    store.put_key(&rotated).await?;
    assert_eq!(store.keys("jwt").await?, [rotated, young], "a key of the same id is replaced");
    assert_eq!(store.keys("idp").await?, [other]);
    assert!(store.keys("none").await?.is_empty());
    Ok(())
}

async fn decisions_are_found_and_bounded(store: &dyn DurableStore) -> Result<(), Unavailable> {
    let id = |n: usize| RequestId(Uuid::from_u128(n as u128 + 1));
    let decision = |n: usize| Recorded {
        v: VERSION,
        time: Timestamp::UNIX_EPOCH,
        request_id: Some(id(n)),
        client: None,
        tenant: Some(tenant()),
        event: Event::RequestDecided(Decided {
            method: "GET".into(),
            host: "app.example".into(),
            path: format!("/{n}"),
            route: None,
            decision: Ruling::Allow,
            scheme: None,
            subject: None,
            reason: None,
            detail: None,
            policy: Vec::new(),
            responses: Vec::new(),
            steps: Vec::new(),
            ms: 0.5,
        }),
    };
    let other = Event::AdminChanged { by: "ada".into(), action: "user.disable".into(), subject: "bob".into() };
    store.record(&[decision(0), Recorded { event: other, ..decision(0) }]).await?;
    assert_eq!(store.recorded(id(0)).await?, Some(decision(0)), "other events of the request are not its decision");
    assert_eq!(store.recorded(id(1)).await?, None);
    let many: Vec<Recorded> = (1..=DECISIONS_KEPT).map(decision).collect();
    store.record(&many).await?;
    assert_eq!(store.recorded(id(0)).await?, None, "the oldest makes room");
    assert_eq!(store.recorded(id(1)).await?, Some(decision(1)));
    assert_eq!(store.recorded(id(DECISIONS_KEPT)).await?, Some(decision(DECISIONS_KEPT)));
    Ok(())
}

async fn histories_are_kept_per_tenant_and_bounded(store: &dyn DurableStore) -> Result<(), Unavailable> {
    let entry = |n: usize, tenant: &str, subject: &str| Recorded {
        v: VERSION,
        time: Timestamp::UNIX_EPOCH,
        request_id: Some(RequestId(Uuid::from_u128(n as u128 + 1))),
        client: None,
        tenant: Some(tenant.into()),
        event: Event::LoginRejected { scheme: "form".into(), subject: Some(subject.into()), reason: Reason::WrongPassword },
    };
    let (old, bobs, elsewhere) = (entry(0, "north", "ada"), entry(1, "north", "bob"), entry(2, "south", "ada"));
    store.record(&[old.clone(), bobs.clone(), elsewhere.clone()]).await?;
    let (north, south) = (tenant(), TenantId::from("south"));
    assert_eq!(north.as_str(), "north");
    assert_eq!(store.history(History::Logins, &north, None, 9).await?, [bobs.clone(), old.clone()], "the newest first");
    assert_eq!(store.history(History::Logins, &north, None, 1).await?, std::slice::from_ref(&bobs));
    assert_eq!(store.history(History::Logins, &north, Some("ada"), 9).await?, [old]);
    assert_eq!(store.history(History::Logins, &south, None, 9).await?, std::slice::from_ref(&elsewhere));
    assert_eq!(store.history(History::Callouts, &north, None, 9).await?, []);
    let many: Vec<Recorded> = (0..HISTORY_KEPT).map(|n| entry(n + 10, "north", "eve")).collect();
    store.record(&many).await?;
    assert_eq!(store.history(History::Logins, &north, Some("bob"), 9).await?, [], "the oldest makes room");
    assert_eq!(store.history(History::Logins, &north, None, usize::MAX).await?.len(), HISTORY_KEPT);
    assert_eq!(store.history(History::Logins, &south, None, 9).await?, [elsewhere], "in its own tenant only");
    Ok(())
}

async fn a_setting_is_made_once(store: &Arc<dyn DurableStore>) -> Result<(), Unavailable> {
    assert_eq!(store.epoch().await?, store.epoch().await?);
    assert_eq!(store.setting("mark").await?, None);
    let tasks = (0..CALLERS).map(|n| {
        let store = store.clone();
        tokio::spawn(async move { store.setting_or_insert("mark", &n.to_be_bytes()).await })
    });
    let values: BTreeSet<Option<Vec<u8>>> = join_all(tasks).await.into_iter().map(|joined| joined.ok()?.ok()).collect();
    assert_eq!(values.len(), 1, "all see the one value that stands");
    assert_eq!(values.into_iter().next().flatten(), store.setting("mark").await?);
    Ok(())
}

async fn user_changes_are_heard(store: &dyn DurableStore) -> Result<(), Unavailable> {
    let dora = user(&tenant(), "dora")?;
    store.insert_user(&dora).await?;
    let mut changes = store.changes();
    assert!(store.update_user(&User { epoch: 1, ..dora.clone() }, 0).await?);
    assert_eq!(next(&mut changes).await?, Change::User(dora.id));
    Ok(())
}

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::*;
use crate::clock::{ManualClock, SystemClock};
use crate::fixtures::now;
use crate::identity::UserId;
use crate::scheme::Reach;
use crate::store::{ChangeStream, Changes, Group, Insert, Version};

/// As little of a store as the gates need. The gates keep the time themselves, so entries never expire here.
#[derive(Debug, Default)]
struct Shelf {
    entries: Mutex<HashMap<Key, (Vec<u8>, u64)>>,
    writes: AtomicUsize,
    down: AtomicBool,
}

impl Shelf {
    fn up(&self) -> Result<(), Unavailable> {
        if self.down.load(Ordering::SeqCst) { Err(Unavailable::new("store", "test")) } else { Ok(()) }
    }
}

#[async_trait]
impl ExpiringStore for Shelf {
    async fn insert(&self, key: &Key, value: &[u8], _: Duration, _: &[Group], _: Option<(&Group, u32)>) -> Result<Insert, Unavailable> {
        self.up()?;
        tokio::task::yield_now().await;
        self.writes.fetch_add(1, Ordering::SeqCst);
        let mut entries = self.entries.lock().unwrap();
        if entries.contains_key(key) {
            return Ok(Insert::Exists);
        }
        entries.insert(key.clone(), (value.to_vec(), 0));
        Ok(Insert::Inserted)
    }

    async fn get(&self, key: &Key) -> Result<Option<(Vec<u8>, Version)>, Unavailable> {
        self.up()?;
        tokio::task::yield_now().await;
        Ok(self.entries.lock().unwrap().get(key).map(|(value, version)| (value.clone(), Version(*version))))
    }

    async fn replace(&self, key: &Key, expected: Version, value: &[u8]) -> Result<bool, Unavailable> {
        self.up()?;
        tokio::task::yield_now().await;
        self.writes.fetch_add(1, Ordering::SeqCst);
        match self.entries.lock().unwrap().get_mut(key) {
            Some((held, version)) if *version == expected.0 => {
                *held = value.to_vec();
                *version += 1;
                Ok(true)
            }
            Some(_) | None => Ok(false),
        }
    }

    async fn take(&self, key: &Key) -> Result<Option<Vec<u8>>, Unavailable> {
        self.up()?;
        Ok(self.entries.lock().unwrap().remove(key).map(|(value, _)| value))
    }

    async fn extend(&self, key: &Key, _: Duration) -> Result<bool, Unavailable> {
        self.up()?;
        Ok(self.entries.lock().unwrap().contains_key(key))
    }

    async fn increment(&self, _: &Key, _: Duration) -> Result<u64, Unavailable> {
        unreachable!("gates count by compare and swap")
    }

    async fn list(&self, _: &Group, _: Option<&Key>, _: usize) -> Result<Vec<Key>, Unavailable> {
        unreachable!()
    }

    async fn remove_group(&self, _: &Group) -> Result<u64, Unavailable> {
        unreachable!()
    }

    fn changes(&self) -> ChangeStream {
        Changes::default().subscribe()
    }
}

/// A realm that knows one password for everybody it knows, and counts how often it is asked.
#[derive(Debug)]
struct Scripted {
    name: RealmName,
    right: &'static str,
    wrong: Reason,
    down: AtomicBool,
    slow: Duration,
    dearest: Duration,
    asked: AtomicUsize,
    pretended: AtomicUsize,
    last: Mutex<Option<Accounts>>,
}

#[async_trait]
impl Realm for Scripted {
    fn name(&self) -> &RealmName {
        &self.name
    }

    async fn verify(&self, attempt: &Attempt<'_>, _: &mut Trail) -> Result<Check, Unavailable> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        *self.last.lock().unwrap() = Some(attempt.accounts);
        tokio::time::sleep(self.slow).await;
        if self.down.load(Ordering::SeqCst) {
            return Err(Unavailable::new(self.name.as_str(), "test"));
        }
        let Offered::Password(password) = attempt.secret else { return Ok(Check::Rejected(Reason::NoPassword)) };
        if password.reveal() == self.right && attempt.accounts == Accounts::All {
            let who = Who::User(UserId(uuid::Uuid::nil()));
            return Ok(Check::Accepted(Account { who, attributes: Attributes::new(), epoch: Some(0) }));
        }
        Ok(Check::Rejected(self.wrong))
    }

    async fn pretend(&self, _: &Attempt<'_>) {
        self.pretended.fetch_add(1, Ordering::SeqCst);
    }

    fn dearest(&self) -> Duration {
        self.dearest
    }
}

fn realm(name: &str, right: &'static str, wrong: Reason) -> Arc<Scripted> {
    Arc::new(Scripted {
        name: name.into(),
        right,
        wrong,
        down: AtomicBool::new(false),
        slow: Duration::ZERO,
        dearest: Duration::ZERO,
        asked: AtomicUsize::new(0),
        pretended: AtomicUsize::new(0),
        last: Mutex::new(None),
    })
}

fn steps(realms: &[&Arc<Scripted>]) -> Vec<RealmStep> {
    let step = |realm: &&Arc<Scripted>| RealmStep {
        scheme: SchemeName::from(format!("basic-{}", realm.name).as_str()),
        realm: Arc::clone(*realm) as Arc<dyn Realm>,
        then: Then::Next,
    };
    realms.iter().map(step).collect()
}

struct House {
    shelf: Arc<Shelf>,
    clock: Arc<ManualClock>,
    passwords: Passwords,
    tenant: TenantId,
}

/// What a test needs to know of an answer, with the trail it left.
struct Said {
    answer: Result<Answer, Unavailable>,
    trail: Trail,
}

impl Said {
    fn accepted_by(&self) -> Option<&str> {
        match &self.answer {
            Ok(Answer::Accepted { realm, .. }) => Some(realm.as_str()),
            Ok(Answer::Rejected(_)) | Err(_) => None,
        }
    }

    fn reason(&self) -> Option<Reason> {
        match &self.answer {
            Ok(Answer::Rejected(rejection)) => Some(rejection.reason),
            Ok(Answer::Accepted { .. }) | Err(_) => None,
        }
    }

    fn lines(&self) -> Vec<(&str, Verdict, Option<Reason>)> {
        self.trail.steps.iter().map(|step| (step.scheme.as_str(), step.verdict, step.reason)).collect()
    }
}

impl House {
    fn new(limits: Limits) -> Self {
        let shelf = Arc::new(Shelf::default());
        let clock = Arc::new(ManualClock::at(Timestamp::from_second(1_800_000_000).unwrap()));
        let passwords = Passwords::new(shelf.clone(), clock.clone(), limits);
        Self { shelf, clock, passwords, tenant: TenantId::from("north") }
    }

    async fn from(&self, steps: &[RealmStep], name: &str, password: &str, address: &str, known_device: bool) -> Said {
        self.of(steps, name, password, address, known_device, Accounts::All).await
    }

    async fn of(&self, steps: &[RealmStep], name: &str, password: &str, address: &str, known_device: bool, accounts: Accounts) -> Said {
        let mut trail = Trail::new(self.clock.clone());
        let client = Client { address: address.parse().unwrap(), channel: Channel::Tls, sni: None, certificate: Default::default() };
        let password = Secret::from(password);
        let username = Username::parse(name).unwrap();
        let attempt = Attempt {
            tenant: &self.tenant,
            username: &username,
            secret: Offered::Password(&password),
            client: &client,
            channel: Channel::Tls,
            deadline: Duration::MAX,
            known_device,
            accounts,
            source: Some(client.address),
            level: PASSWORD,
            floor: Duration::ZERO,
            now: self.clock.now(),
        };
        let answer = self.passwords.verify(steps, &attempt, &mut trail).await;
        Said { answer, trail }
    }

    async fn ask(&self, steps: &[RealmStep], name: &str, password: &str) -> Said {
        self.from(steps, name, password, "192.0.2.1", false).await
    }
}

#[tokio::test]
async fn what_is_wrong_at_one_door_may_be_right_at_another() {
    let house = House::new(at_once());
    let (corp, local) = (realm("corp", "D", Reason::WrongPassword), realm("local", "I", Reason::WrongPassword));
    let door = async |family: &[RealmStep], accounts| house.of(family, "ada", "I", "192.0.2.1", false, accounts).await;
    // The emergency door does not know her, and another service is not told of her: both remember so, each for itself.
    let own = steps(&[&local]);
    for accounts in [Accounts::BreakGlass, Accounts::Elsewhere] {
        assert_eq!(door(&own, accounts).await.reason(), Some(Reason::WrongPassword));
        assert_eq!(door(&own, accounts).await.reason(), Some(Reason::RepeatedWrongPassword));
    }
    assert_eq!(door(&own, Accounts::All).await.accepted_by(), Some("local"));
    // One that asks the same realms, but where the first has the last word.
    let (mut exclusive, both) = (steps(&[&corp, &local]), steps(&[&corp, &local]));
    exclusive[0].then = Then::NextIfUnknown;
    assert_eq!(door(&exclusive, Accounts::All).await.reason(), Some(Reason::WrongPassword));
    assert_eq!(door(&both, Accounts::All).await.accepted_by(), Some("local"));
}

#[tokio::test]
async fn who_is_refused_with_the_right_password_waits_like_the_others() {
    let floor = Duration::from_millis(40);
    let clock = Arc::new(SystemClock::default());
    let limits = Limits { floor, waiters: 1, ..Limits::default() };
    let passwords = Passwords::new(Arc::new(Shelf::default()), clock.clone(), limits);
    let slow =
        Arc::new(Scripted { dearest: Duration::from_millis(80), ..Arc::into_inner(realm("slow", "D", Reason::WrongPassword)).unwrap() });
    let client = Client { address: "192.0.2.1".parse().unwrap(), channel: Channel::Tls, sni: None, certificate: Default::default() };
    for (family, least) in [(steps(&[]), 40), (steps(&[&slow]), 80)] {
        let since = clock.monotonic();
        let (first, second) = tokio::join!(passwords.withhold(&family, &client, since), passwords.withhold(&family, &client, since));
        assert!(clock.monotonic().saturating_sub(since) >= Duration::from_millis(least), "{least}");
        assert_eq!((first, second), (Ok(()), Err(Reason::TooManyWaiting)));
    }
}

/// No floor: these tests are about counting.
fn at_once() -> Limits {
    Limits { floor: Duration::ZERO, address_failures: 1000, waiters: 1000, ..Limits::default() }
}

fn count(realm: &Scripted) -> usize {
    realm.asked.load(Ordering::SeqCst)
}

#[tokio::test]
async fn chain_09_what_the_directory_rejects_our_users_may_accept_and_the_event_says_so() {
    let house = House::new(at_once());
    let (corp, local) = (realm("corp", "D", Reason::WrongPassword), realm("local", "I", Reason::WrongPassword));
    let mut family = steps(&[&corp, &local]);
    let said = house.ask(&family, "ada", "I").await;
    assert_eq!(said.accepted_by(), Some("local"));
    let lines = [("basic-corp", Verdict::Rejected, Some(Reason::WrongPassword)), ("basic-local", Verdict::Authenticated, None)];
    assert_eq!(said.lines(), lines);
    assert!(matches!(&said.trail.events[..], [Event::LoginFellThrough { refused_by, .. }] if refused_by.as_str() == "corp"));

    // Exclusive: whom the directory knows, nobody else is asked about.
    family[0].then = Then::NextIfUnknown;
    let said = house.ask(&family, "ada", "I").await;
    assert_eq!(said.reason(), Some(Reason::WrongPassword));
    assert_eq!(count(&local), 1);
    assert_eq!(said.lines()[1], ("basic-local", Verdict::Skipped, None));
    // Whether a name is known there does not show by what is not done here: each failure costs each realm once.
    assert_eq!(local.pretended.load(Ordering::SeqCst), 1);
    assert_eq!(house.ask(&family, "ada", "D").await.accepted_by(), Some("corp"));
    assert_eq!(local.pretended.load(Ordering::SeqCst), 1, "who is let in need not wait");
}

#[tokio::test]
async fn chain_09_an_exclusive_directory_passes_on_names_it_does_not_know() {
    let house = House::new(at_once());
    let (corp, local) = (realm("corp", "D", Reason::UnknownUser), realm("local", "I", Reason::WrongPassword));
    let mut family = steps(&[&corp, &local]);
    family[0].then = Then::NextIfUnknown;
    let said = house.ask(&family, "ada", "I").await;
    assert_eq!(said.accepted_by(), Some("local"));
    assert!(said.trail.events.is_empty(), "nothing fell through: the directory refused nobody's password");
}

#[tokio::test]
async fn chain_10_an_outage_of_the_directory_leaves_our_users_in_and_locks_nobody_out() {
    let house = House::new(at_once());
    let (corp, local) = (realm("corp", "D", Reason::WrongPassword), realm("local", "I", Reason::UnknownUser));
    corp.down.store(true, Ordering::SeqCst);
    let mut family = steps(&[&corp, &local]);
    assert_eq!(house.ask(&family, "ada", "I").await.accepted_by(), Some("local"));
    for guess in 0..20 {
        let said = house.ask(&family, "ada", &format!("guess {guess}")).await;
        assert!(said.answer.is_err(), "503, not 401");
    }
    corp.down.store(false, Ordering::SeqCst);
    assert_eq!(house.ask(&family, "ada", "D").await.accepted_by(), Some("corp"), "the account was not counted");

    // Exclusive and down: nobody can say whose names are whose.
    corp.down.store(true, Ordering::SeqCst);
    family[0].then = Then::NextIfUnknown;
    assert!(house.ask(&family, "ada", "I").await.answer.is_err());
    assert_eq!(*local.last.lock().unwrap(), Some(Accounts::BreakGlass));
}

#[tokio::test]
async fn chain_10_an_outage_still_counts_the_address_and_a_compared_hash() {
    let house = House::new(Limits { address_failures: 3, ..at_once() });
    let corp = realm("corp", "D", Reason::WrongPassword);
    corp.down.store(true, Ordering::SeqCst);
    let family = steps(&[&corp]);
    for name in ["a", "b", "c"] {
        assert!(house.ask(&family, name, "x").await.answer.is_err());
    }
    assert_eq!(house.ask(&family, "d", "x").await.reason(), Some(Reason::AddressGateClosed));

    let house = House::new(at_once());
    let local = realm("local", "I", Reason::WrongPassword);
    let family = steps(&[&corp, &local]);
    for guess in 0..5 {
        assert!(house.ask(&family, "ada", &guess.to_string()).await.answer.is_err());
    }
    assert_eq!(house.ask(&family, "ada", "I").await.reason(), Some(Reason::AccountGateClosed));
}

#[tokio::test]
async fn chain_11_locked_in_the_directory_ends_the_family_and_not_the_chain() {
    let house = House::new(at_once());
    for reason in [Reason::Locked, Reason::Disabled, Reason::Expired, Reason::WeakProof, Reason::AddressNotListed] {
        let (corp, local) = (realm("corp", "D", reason), realm("local", "I", Reason::WrongPassword));
        let said = house.ask(&steps(&[&corp, &local]), reason_name(reason), "I").await;
        assert!(matches!(said.answer, Ok(Answer::Rejected(Rejection { reach: Reach::Family, reason: why })) if why == reason));
        assert_eq!(count(&local), 0);
    }
}

fn reason_name(reason: Reason) -> &'static str {
    match reason {
        Reason::Locked => "locked",
        Reason::Disabled => "disabled",
        Reason::WeakProof => "weak",
        Reason::AddressNotListed => "elsewhere",
        _ => "expired",
    }
}

#[tokio::test]
async fn chain_12_five_wrong_guesses_are_five_whatever_the_number_of_realms_and_the_sixth_asks_nobody() {
    let house = House::new(at_once());
    let (corp, local) = (realm("corp", "D", Reason::WrongPassword), realm("local", "I", Reason::WrongPassword));
    let family = steps(&[&corp, &local]);
    let mut closings = Vec::new();
    for guess in 0..5 {
        let said = house.ask(&family, "ada", &format!("guess {guess}")).await;
        assert_eq!(said.reason(), Some(Reason::WrongPassword));
        closings.push(said.trail.events.len());
    }
    assert_eq!(closings, [0, 0, 0, 0, 1]);
    let said = house.ask(&family, "ada", "D").await;
    assert_eq!(said.reason(), Some(Reason::AccountGateClosed));
    assert_eq!((count(&corp), count(&local)), (5, 5));
    assert_eq!(said.lines()[0], ("basic-corp", Verdict::Rejected, Some(Reason::AccountGateClosed)));
    assert_eq!(house.ask(&family, "grace", "D").await.accepted_by(), Some("corp"), "others are not locked out");
}

#[tokio::test]
async fn chain_13_unknown_names_close_in_the_same_way() {
    let house = House::new(at_once());
    let local = realm("local", "I", Reason::UnknownUser);
    let family = steps(&[&local]);
    for guess in 0..5 {
        house.ask(&family, "nobody", &guess.to_string()).await;
    }
    assert_eq!(house.ask(&family, "nobody", "I").await.reason(), Some(Reason::AccountGateClosed));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_parallel_guesses_reach_the_realm_no_more_often_than_the_threshold() {
    let house = Arc::new(House::new(at_once()));
    let mut slow = realm("local", "I", Reason::WrongPassword);
    Arc::get_mut(&mut slow).unwrap().slow = Duration::from_millis(20);
    let family = steps(&[&slow]);
    let guesses = (0..100).map(|guess| {
        let (house, family) = (house.clone(), family.clone());
        // Attack 99: other spellings are the same account.
        let name = ["ada", "ADA", "\u{ff21}da", "Ada"][guess % 4];
        tokio::spawn(async move { house.from(&family, name, &format!("guess {guess}"), &format!("192.0.2.{guess}"), false).await.reason() })
    });
    let mut refused = 0;
    for guess in guesses.collect::<Vec<_>>() {
        refused += usize::from(guess.await.unwrap() == Some(Reason::AccountGateClosed));
    }
    assert_eq!((count(&slow), refused), (5, 95));
}

#[tokio::test]
async fn many_programs_with_the_right_password_all_get_in_at_once() {
    let house = Arc::new(House::new(at_once()));
    let mut slow = realm("local", "I", Reason::WrongPassword);
    Arc::get_mut(&mut slow).unwrap().slow = Duration::from_millis(5);
    let family = steps(&[&slow]);
    let programs = (0..40).map(|host| {
        let (house, family) = (house.clone(), family.clone());
        tokio::spawn(async move { house.from(&family, "service", "I", &format!("192.0.2.{host}"), false).await.accepted_by().is_some() })
    });
    for program in programs.collect::<Vec<_>>() {
        assert!(program.await.unwrap());
    }
}

#[tokio::test]
async fn a_guess_that_is_abandoned_stays_counted() {
    let house = House::new(at_once());
    let mut slow = realm("local", "I", Reason::WrongPassword);
    Arc::get_mut(&mut slow).unwrap().slow = Duration::from_secs(3600);
    let family = steps(&[&slow]);
    for guess in 0..10 {
        let guess = guess.to_string();
        let asked = house.ask(&family, "ada", &guess);
        let _ = tokio::time::timeout(Duration::from_millis(5), asked).await;
    }
    assert_eq!(count(&slow), 5);
}

#[tokio::test]
async fn success_resets_the_account_and_not_the_address() {
    let house = House::new(Limits { address_failures: 6, ..at_once() });
    let local = realm("local", "I", Reason::WrongPassword);
    let family = steps(&[&local]);
    for round in 0..6 {
        let said = house.ask(&family, "ada", &format!("guess {round}")).await;
        assert_eq!(said.reason(), Some(Reason::WrongPassword));
        if round < 5 {
            assert_eq!(house.ask(&family, "ada", "I").await.accepted_by(), Some("local"));
        }
    }
    assert_eq!(house.ask(&family, "grace", "I").await.reason(), Some(Reason::AddressGateClosed));
    assert_eq!(house.from(&family, "grace", "I", "192.0.2.2", false).await.accepted_by(), Some("local"));
}

#[tokio::test]
async fn many_successes_never_close_the_address() {
    let house = House::new(Limits { address_failures: 3, ..at_once() });
    let local = realm("local", "I", Reason::WrongPassword);
    let family = steps(&[&local]);
    for _ in 0..20 {
        assert_eq!(house.ask(&family, "ada", "I").await.accepted_by(), Some("local"));
    }
}

#[tokio::test]
async fn closing_again_doubles_up_to_the_longest() {
    let house = House::new(at_once());
    let local = realm("local", "I", Reason::WrongPassword);
    let family = steps(&[&local]);
    let mut guess = 0;
    let mut seconds = Vec::new();
    for _ in 0..7 {
        let closed = loop {
            guess += 1;
            let said = house.ask(&family, "ada", &guess.to_string()).await;
            if let [Event::GateClosed { gate: Gate::Account, seconds, subject }] = &said.trail.events[..] {
                assert!(!subject.contains("ada"));
                break *seconds;
            }
        };
        house.clock.advance(Duration::from_secs(closed - 1));
        assert_eq!(house.ask(&family, "ada", "I").await.reason(), Some(Reason::AccountGateClosed));
        house.clock.advance(Duration::from_secs(1));
        seconds.push(closed);
    }
    assert_eq!(seconds, [900, 1800, 3600, 7200, 14400, 14400, 14400]);
    assert_eq!(house.ask(&family, "ada", "I").await.accepted_by(), Some("local"));
}

#[tokio::test]
async fn failures_are_forgotten_after_the_window() {
    let house = House::new(at_once());
    let local = realm("local", "I", Reason::WrongPassword);
    let family = steps(&[&local]);
    for guess in 0..12 {
        assert_eq!(house.ask(&family, "ada", &guess.to_string()).await.reason(), Some(Reason::WrongPassword));
        house.clock.advance(Duration::from_secs(4 * 60));
    }
}

#[tokio::test]
async fn ipv6_is_counted_by_its_64() {
    let house = House::new(Limits { address_failures: 3, ..at_once() });
    let local = realm("local", "I", Reason::WrongPassword);
    let family = steps(&[&local]);
    for host in 0..3 {
        house.from(&family, &format!("user{host}"), "x", &format!("2001:db8:1:2::{host}"), false).await;
    }
    let gate = house.from(&family, "ada", "I", "2001:db8:1:2:ffff::1", false).await;
    assert_eq!(gate.reason(), Some(Reason::AddressGateClosed));
    assert_eq!(house.from(&family, "ada", "I", "2001:db8:1:3::1", false).await.accepted_by(), Some("local"));
    assert_eq!(address_range("::ffff:192.0.2.1".parse().unwrap()), "192.0.2.1".parse::<IpAddr>().unwrap());
}

#[tokio::test]
async fn the_same_wrong_password_counts_once_and_is_not_asked_again_for_ten_minutes() {
    let house = House::new(at_once());
    let corp = realm("corp", "D", Reason::WrongPassword);
    let family = steps(&[&corp]);
    house.ask(&family, "ada", "stale").await;
    for _ in 0..50 {
        assert_eq!(house.ask(&family, "ada", "stale").await.reason(), Some(Reason::RepeatedWrongPassword));
    }
    assert_eq!(count(&corp), 1);
    assert_eq!(house.ask(&family, "ada", "D").await.accepted_by(), Some("corp"), "its owner is not locked out");

    house.ask(&family, "ada", "stale").await;
    house.clock.advance(Duration::from_secs(10 * 60));
    assert_eq!(house.ask(&family, "ada", "stale").await.reason(), Some(Reason::WrongPassword));
    assert_eq!(count(&corp), 4);
    house.passwords.forget(&house.tenant, &Username::parse("ada").unwrap());
    assert_eq!(house.ask(&family, "ada", "stale").await.reason(), Some(Reason::WrongPassword));
}

#[tokio::test]
async fn a_password_wrong_for_one_family_is_still_asked_of_another() {
    let house = House::new(at_once());
    let (corp, local) = (realm("corp", "D", Reason::WrongPassword), realm("local", "I", Reason::WrongPassword));
    assert_eq!(house.ask(&steps(&[&corp]), "ada", "I").await.reason(), Some(Reason::WrongPassword));
    assert_eq!(house.ask(&steps(&[&local]), "ada", "I").await.accepted_by(), Some("local"));
}

#[tokio::test]
async fn a_known_device_passes_a_closed_account_gate_ten_times_a_day_and_leaves_it_closed() {
    let house = House::new(Limits { account_closed: Duration::from_secs(3 * DAY.as_secs()), account_longest: Duration::MAX, ..at_once() });
    let local = realm("local", "I", Reason::WrongPassword);
    let family = steps(&[&local]);
    for guess in 0..5 {
        house.ask(&family, "ada", &guess.to_string()).await;
    }
    for _ in 0..10 {
        assert_eq!(house.from(&family, "ada", "I", "192.0.2.9", true).await.accepted_by(), Some("local"));
        assert_eq!(house.ask(&family, "ada", "I").await.reason(), Some(Reason::AccountGateClosed));
    }
    assert_eq!(house.from(&family, "ada", "I", "192.0.2.9", true).await.reason(), Some(Reason::AccountGateClosed));
    house.clock.advance(DAY);
    assert_eq!(house.from(&family, "ada", "I", "192.0.2.9", true).await.accepted_by(), Some("local"));
}

#[tokio::test]
async fn guessing_from_elsewhere_locks_no_operator_out() {
    let house = House::new(Limits { operators_from: vec!["10.0.0.0/8".parse().unwrap()], ..at_once() });
    let local = realm("local", "I", Reason::WrongPassword);
    let family = steps(&[&local]);
    for guess in 0..9 {
        house.ask(&family, "root", &guess.to_string()).await;
    }
    assert_eq!(house.ask(&family, "root", "I").await.reason(), Some(Reason::AccountGateClosed));
    assert_eq!(house.from(&family, "root", "I", "10.1.2.3", false).await.accepted_by(), Some("local"));
    for guess in 0..5 {
        house.from(&family, "root", &format!("inside {guess}"), "10.1.2.3", false).await;
    }
    assert_eq!(
        house.from(&family, "root", "I", "10.1.2.3", false).await.reason(),
        Some(Reason::AccountGateClosed),
        "throttled like others"
    );
}

#[tokio::test]
async fn an_administrator_opens_a_gate() {
    let house = House::new(at_once());
    let local = realm("local", "I", Reason::WrongPassword);
    let family = steps(&[&local]);
    for guess in 0..5 {
        house.ask(&family, "ada", &guess.to_string()).await;
    }
    let mut trail = Trail::new(house.clock.clone());
    house.passwords.open(&house.tenant, &Username::parse("ada").unwrap(), &mut trail).await;
    assert!(matches!(&trail.events[..], [Event::GateOpened { gate: Gate::Account, .. }]));
    assert_eq!(house.ask(&family, "ada", "I").await.accepted_by(), Some("local"));
}

#[tokio::test]
async fn with_the_store_down_passwords_are_checked_and_this_process_counts() {
    let house = House::new(Limits { address_failures: 4, ..at_once() });
    house.shelf.down.store(true, Ordering::SeqCst);
    let local = realm("local", "I", Reason::WrongPassword);
    let family = steps(&[&local]);
    assert_eq!(house.ask(&family, "ada", "I").await.accepted_by(), Some("local"));
    for name in ["a", "b", "c", "d"] {
        assert_eq!(house.ask(&family, name, "x").await.reason(), Some(Reason::WrongPassword));
    }
    assert_eq!(house.ask(&family, "ada", "I").await.reason(), Some(Reason::AddressGateClosed));
}

#[tokio::test]
async fn an_empty_password_is_refused_without_asking_anybody() {
    let house = House::new(at_once());
    let local = realm("local", "", Reason::WrongPassword);
    let said = house.ask(&steps(&[&local]), "ada", "").await;
    assert_eq!(said.reason(), Some(Reason::EmptyPassword));
    assert_eq!(count(&local), 0);
}

#[tokio::test]
async fn every_failure_waits_for_the_floor_or_the_dearest_hash_and_success_does_not() {
    // The installation's floor, the realm's dearest hash, what the attempt asks for.
    for (floor, dearest, asked) in [(60, 0, 0), (1, 60, 0), (1, 0, 60)] {
        let limits = Limits { floor: Duration::from_millis(floor), ..at_once() };
        let shelf = Arc::new(Shelf::default());
        let clock = Arc::new(SystemClock::default());
        let passwords = Passwords::new(shelf, clock.clone(), limits);
        let mut local = realm("local", "I", Reason::WrongPassword);
        Arc::get_mut(&mut local).unwrap().dearest = Duration::from_millis(dearest);
        let family = steps(&[&local]);
        let tenant = TenantId::from("north");
        let client = Client { address: "192.0.2.1".parse().unwrap(), channel: Channel::Tls, sni: None, certificate: Default::default() };
        let username = Username::parse("ada").unwrap();
        for password in ["wrong", "wrong", "", "I"] {
            let secret = Secret::from(password);
            let attempt = Attempt {
                tenant: &tenant,
                username: &username,
                secret: Offered::Password(&secret),
                client: &client,
                channel: Channel::Tls,
                deadline: Duration::MAX,
                known_device: false,
                accounts: Accounts::All,
                source: Some(client.address),
                level: PASSWORD,
                floor: Duration::from_millis(asked),
                now: clock.now(),
            };
            let started = clock.monotonic();
            let answer = passwords.verify(&family, &attempt, &mut Trail::new(clock.clone())).await.unwrap();
            let waited = clock.monotonic() - started >= Duration::from_millis(60);
            assert_eq!(waited, matches!(answer, Answer::Rejected(_)), "{password:?}");
        }
    }
}

#[tokio::test]
async fn more_attempts_of_one_address_than_may_wait_are_refused_unasked() {
    let house = House::new(Limits { waiters: 2, ..at_once() });
    let mut slow = realm("local", "I", Reason::WrongPassword);
    Arc::get_mut(&mut slow).unwrap().slow = Duration::from_millis(30);
    let family = steps(&[&slow]);
    let (first, second, third, other) = tokio::join!(
        house.ask(&family, "a", "I"),
        house.ask(&family, "b", "I"),
        house.ask(&family, "c", "I"),
        house.from(&family, "d", "I", "192.0.2.2", false),
    );
    assert_eq!(third.reason(), Some(Reason::TooManyWaiting));
    assert!([first, second, other].iter().all(|said| said.accepted_by().is_some()));
    assert_eq!(house.ask(&family, "c", "I").await.accepted_by(), Some("local"), "a seat is given back");
}

#[tokio::test]
async fn guesses_at_one_gate_share_its_writes_and_each_is_counted_once() {
    let shelf = Arc::new(Shelf::default());
    let gates = Gates::new(shelf.clone());
    let rule = Rule { failures: 20, window: DAY, closed: DAY, longest: DAY };
    let key = address_key([192, 0, 2, 1].into());
    let entries = futures_util::future::join_all((0..24).map(|_| gates.enter(&key, &rule, now()))).await;
    let open = entries.iter().filter(|entry| matches!(entry, Entry::Open(_))).count();
    assert_eq!((open, entries.len() - open), (20, 4));
    assert_eq!(shelf.writes.load(Ordering::SeqCst), 1);
    // Nobody is at work there any more, and what was counted stands.
    assert_eq!(gates.enter(&key, &rule, now()).await, Entry::Full);
    gates.clear(&key, &rule, now()).await;
    assert!(shelf.entries.lock().unwrap().is_empty());
}

#[tokio::test]
async fn whoever_hangs_up_stays_counted_and_stops_nobody() {
    let gates = Gates::new(Arc::new(Shelf::default()));
    let rule = Rule { failures: 2, window: DAY, closed: DAY, longest: DAY };
    let key = address_key([192, 0, 2, 1].into());
    let gone = futures_util::FutureExt::now_or_never(gates.enter(&key, &rule, now()));
    assert_eq!(gone, None);
    assert!(matches!(gates.enter(&key, &rule, now()).await, Entry::Open(_)));
    assert_eq!(gates.enter(&key, &rule, now()).await, Entry::Full);
}

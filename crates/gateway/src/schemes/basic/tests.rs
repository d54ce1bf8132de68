use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use vestibule_engine::identity::{AccountState, User};
use vestibule_engine::profile::Profile;
use vestibule_engine::request::{Channel, Host};
use vestibule_engine::scheme::{Proof, Who};
use vestibule_engine::secret::Secret;

use super::super::house::{House, request};
use super::*;

fn basic(house: &House) -> Basic {
    basic_of(house, PlainHttp::Refused)
}

fn basic_of(house: &House, plain: PlainHttp) -> Basic {
    let settings = BasicSettings {
        name: "basic".into(),
        realm_text: "North".to_owned(),
        plain,
        browsers: Browsers::OwnPages,
        generation: 1,
        remembered: Duration::from_secs(3600),
    };
    Basic::new(settings, house.family.clone()).unwrap()
}

fn header(name: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{name}:{password}")))
}

async fn ask(house: &House, basic: &Basic, request: &CheckRequest) -> (Result<Outcome, Unavailable>, Trail) {
    let mut trail = house.trail();
    let now = house.family.clock.now();
    let asked = Asked { request, found: &house.found, now };
    let outcome = basic.authenticate(&asked, &mut trail).await;
    (outcome, trail)
}

async fn with(house: &House, basic: &Basic, name: &str, password: &str) -> Result<Box<Proof>, Reason> {
    verdict(ask(house, basic, &request(&[("authorization", &header(name, password))])).await.0)
}

fn verdict(outcome: Result<Outcome, Unavailable>) -> Result<Box<Proof>, Reason> {
    match outcome.unwrap() {
        Outcome::Authenticated(proof) => Ok(proof),
        Outcome::Rejected(rejection) => Err(rejection.reason),
        Outcome::NotApplicable => Err(Reason::Nobody),
        Outcome::Resumed(_) | Outcome::Opening(..) => unreachable!(),
    }
}

#[tokio::test]
async fn the_right_password_proves_a_user_of_the_realm() {
    let house = House::new();
    let ada = house.shelf.add("ada", None, |_| {});
    let basic = basic(&house);
    let (outcome, trail) = ask(&house, &basic, &request(&[("authorization", &header("ADA@north", "right:ada"))])).await;
    let proof = verdict(outcome).unwrap();
    assert_eq!(proof.who, Who::User(ada));
    assert_eq!((proof.scheme.as_str(), proof.issuer.as_str(), proof.level.0), ("basic", "local", 10));
    assert!(!proof.ambient);
    assert_eq!(trail.steps.len(), 1);
    assert_eq!((trail.steps[0].scheme.as_str(), trail.steps[0].verdict), ("basic-local", Verdict::Authenticated));
}

#[tokio::test]
async fn what_is_wrong_is_named_and_asks_nobody_in_vain() {
    let house = House::new();
    house.shelf.add("ada", None, |_| {});
    let basic = basic(&house);
    assert_eq!(with(&house, &basic, "ada", "wrong").await.unwrap_err(), Reason::WrongPassword);
    assert_eq!(with(&house, &basic, "ada", "wrong").await.unwrap_err(), Reason::RepeatedWrongPassword);
    assert_eq!(with(&house, &basic, "ada@south", "right:ada").await.unwrap_err(), Reason::UnknownUser);
    assert_eq!(with(&house, &basic, "ada", "").await.unwrap_err(), Reason::EmptyPassword);
    assert_eq!(with(&house, &basic, "anonymous", "x").await.unwrap_err(), Reason::MalformedCredential);
    assert_eq!(house.asked(), 2);
    let right = header("ada", "right:ada");
    for (fields, reason) in [
        (vec![("authorization", "Basic !!!")], Reason::MalformedCredential),
        (vec![("authorization", right.as_str()), ("authorization", right.as_str())], Reason::DuplicateCredential),
        (vec![("authorization", right.as_str()), ("authorization", "Bearer x")], Reason::DuplicateCredential),
    ] {
        let request = request(&fields);
        assert!(basic.presents(&request));
        assert_eq!(verdict(ask(&house, &basic, &request).await.0).unwrap_err(), reason);
    }
    assert_eq!(house.asked(), 2);
    assert!(!basic.presents(&request(&[("authorization", "Bearer x")])));
    assert!(!basic.presents(&request(&[])));
}

#[tokio::test]
async fn a_success_is_remembered_for_a_minute_at_most_and_a_failure_never() {
    let house = House::new();
    house.shelf.add("ada", None, |_| {});
    let basic = basic(&house);
    let first = with(&house, &basic, "ada", "right:ada").await.unwrap();
    for _ in 0..10 {
        house.clock.advance(Duration::from_secs(5));
        let again = with(&house, &basic, "ada", "right:ada").await.unwrap();
        assert_eq!(again.authenticated_at, first.authenticated_at);
    }
    assert_eq!(house.asked(), 1);
    house.clock.advance(Duration::from_secs(10));
    assert!(with(&house, &basic, "ada", "right:ada").await.is_ok());
    assert_eq!(house.asked(), 2);
}

#[tokio::test]
async fn a_remembered_success_ends_with_the_epoch_and_with_the_account() {
    let house = House::new();
    let ada = house.shelf.add("ada", None, |_| {});
    let basic = basic(&house);
    assert!(with(&house, &basic, "ada", "right:ada").await.is_ok());
    house.shelf.change(ada, |user| user.epoch += 1);
    assert!(with(&house, &basic, "ada", "right:ada").await.is_ok());
    assert_eq!(house.asked(), 2, "asked anew");
    house.shelf.change(ada, |user| user.state = AccountState::Disabled);
    let _ = with(&house, &basic, "ada", "right:ada").await;
    assert_eq!(house.asked(), 3, "the realm says what it thinks of the account");
}

#[tokio::test]
async fn operators_are_asked_each_time() {
    let house = House::new();
    house.shelf.add("root", None, |user| user.profile = User::ADMINISTRATOR.into());
    let basic = basic(&house);
    for _ in 0..3 {
        assert!(with(&house, &basic, "root", "right:root").await.is_ok());
    }
    assert_eq!(house.asked(), 3);
}

/// Attack 102: credentials that collide when they are merely joined must not share an answer.
#[tokio::test]
async fn a_burst_of_one_credential_costs_one_hash_and_other_splits_get_nothing() {
    let house = House::new();
    let ada = house.shelf.add("ada", None, |_| {});
    house.shelf.add("ad", None, |_| {});
    let basic = basic(&house);
    let right = header("ada", "right:ada");
    let same = futures_util::future::join_all((0..200).map(async |host| {
        let mut request = request(&[("authorization", &right)]);
        request.client.address = [192, 0, 2, host].into();
        verdict(ask(&house, &basic, &request).await.0)
    }));
    // The header splits at the first colon, so the names differ by one letter moved into the password.
    let other = with(&house, &basic, "ad", "aright:ada");
    let (same, other) = tokio::join!(same, other);
    assert!(same.iter().all(|proof| proof.as_ref().unwrap().who == Who::User(ada)));
    assert_eq!(other.unwrap_err(), Reason::WrongPassword);
    assert_eq!(house.asked(), 2);
}

#[tokio::test]
async fn fingerprints_of_other_splits_tenants_and_realms_differ() {
    let house = House::new();
    let verified = Verified::new(1, Duration::from_secs(60)).unwrap();
    let of = |tenant: &str, name: &str, password: &str| {
        let username = Username::parse(name).unwrap();
        verified.fingerprint(&tenant.into(), &house.family.steps, &username, &Secret::from(password))
    };
    let one = of("north", "a", "b:c");
    assert!(one == of("north", "A", "b:c"), "the name is normalised");
    for other in [of("north", "a:b", "c"), of("northa", "b", ":c"), of("south", "a", "b:c"), of("north", "a", "b:C")] {
        assert!(one != other);
    }
    let username = Username::parse("a").unwrap();
    assert!(one != verified.fingerprint(&"north".into(), &[], &username, &Secret::from("b:c")));
}

#[tokio::test]
async fn a_burst_of_one_wrong_credential_counts_once() {
    let house = House::new();
    house.shelf.add("ada", None, |_| {});
    let basic = basic(&house);
    let burst = futures_util::future::join_all((0..20).map(|_| with(&house, &basic, "ada", "stale"))).await;
    assert!(burst.iter().all(Result::is_err));
    assert_eq!(house.asked(), 1);
    assert!(with(&house, &basic, "ada", "right:ada").await.is_ok());
}

#[tokio::test]
async fn a_refusal_of_one_address_is_not_anothers() {
    let house = House::new();
    house.shelf.add("root", None, |user| user.break_glass = true);
    let basic = basic(&house);
    let from = async |host: u8| {
        let mut request = request(&[("authorization", &header("root", "right:root"))]);
        request.client.address = [192, 0, 2, host].into();
        verdict(ask(&house, &basic, &request).await.0).is_ok()
    };
    assert_eq!(tokio::join!(from(1), from(1), from(2)), (true, true, true));
    assert_eq!(house.asked(), 2, "once per address: where an operator comes from is part of the answer");
}

#[tokio::test]
async fn what_is_known_of_a_password_tells_nothing_to_those_who_may_not_come() {
    let office = Profile { addresses: vec!["10.0.0.0/8".parse().unwrap()], ..Profile::default() };
    let house = House::with_profiles([("office".into(), office)].into_iter().collect());
    house.shelf.add("ada", None, |user| user.profile = "office".into());
    let basic = basic(&house);
    let from = async |address: &str| {
        let mut request = request(&[("authorization", &header("ada", "right:ada"))]);
        request.client.address = address.parse().unwrap();
        verdict(ask(&house, &basic, &request).await.0).unwrap();
    };
    // The realm is asked: an answer from memory would come at once, and admission's refusal with it.
    tokio::join!(from("10.0.0.1"), from("10.0.0.2"), from("192.0.2.1"));
    assert_eq!(house.asked(), 2, "beside one who asks");
    from("192.0.2.1").await;
    assert_eq!(house.asked(), 3, "after one who asked");
    from("10.0.0.3").await;
    assert_eq!(house.asked(), 3, "and others need not ask");
}

#[tokio::test]
async fn an_unprotected_channel_carries_no_password_unless_conceded() {
    let house = House::new();
    house.shelf.add("ada", None, |_| {});
    let basic = basic(&house);
    let right = header("ada", "right:ada");
    let mut plain = request(&[("authorization", &right)]);
    plain.client.channel = Channel::Plain;
    let (outcome, trail) = ask(&house, &basic, &plain).await;
    assert!(matches!(outcome, Ok(Outcome::NotApplicable)));
    assert_eq!(trail.steps[0].reason, Some(Reason::InsecureChannel));
    assert_eq!(basic.challenge(&plain), None);
    plain.host = Host::parse("app.localhost").unwrap();
    assert!(matches!(ask(&house, &basic, &plain).await.0, Ok(Outcome::NotApplicable)), "anybody may write that");
    assert_eq!(house.asked(), 0);
    plain.client.address = "127.0.0.1".parse().unwrap();
    assert!(verdict(ask(&house, &basic, &plain).await.0).is_ok());
    plain.host = Host::parse("app.example.com").unwrap();
    assert!(verdict(ask(&house, &basic_of(&house, PlainHttp::Conceded), &plain).await.0).is_ok());
}

#[tokio::test]
async fn what_a_page_sends_is_ambient_even_when_remembered() {
    let house = House::new();
    house.shelf.add("ada", None, |_| {});
    let basic = basic(&house);
    let right = header("ada", "right:ada");
    for (field, value) in [("origin", "https://evil.example"), ("sec-fetch-site", "cross-site")] {
        for _ in 0..2 {
            let request = request(&[("authorization", &right), (field, value)]);
            assert!(verdict(ask(&house, &basic, &request).await.0).unwrap().ambient);
        }
    }
    assert!(!with(&house, &basic, "ada", "right:ada").await.unwrap().ambient);
    assert_eq!(house.asked(), 1);
}

#[tokio::test]
async fn chain_15_challenges_by_kind_of_client() {
    let house = House::new();
    let basic = basic(&house);
    let challenge = |fields: &[(&'static str, &str)]| basic.challenge(&request(fields)).map(|challenge| challenge.scheme);
    assert_eq!(challenge(&[]), Some("Basic"));
    assert_eq!(challenge(&[("soapaction", "x")]), Some("Basic"));
    assert_eq!(challenge(&[("x-requested-with", "XMLHttpRequest")]), Some("XBasic"));
    assert_eq!(challenge(&[("origin", "https://app.example.com")]), Some("XBasic"));
    assert_eq!(challenge(&[("sec-fetch-site", "same-origin")]), Some("XBasic"));
    assert_eq!(challenge(&[("sec-fetch-mode", "cors"), ("sec-fetch-dest", "empty")]), Some("XBasic"));
    assert_eq!(challenge(&[("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")]), None);
}

#[tokio::test]
async fn a_signed_cookie_makes_a_known_device_of_its_owner_only() {
    let house = House::new();
    let ada = house.shelf.add("ada", None, |_| {});
    house.shelf.add("grace", None, |_| {});
    let basic = basic(&house);
    let now = house.family.clock.now();
    let cookie = house.family.devices.issue(&"north".into(), ada, now).unwrap();
    let cookie = format!("a=b; {}={}", known_device::COOKIE, cookie.reveal());
    for (name, known) in [("ada", true), ("grace", false)] {
        let request = request(&[("authorization", &header(name, &format!("right:{name}"))), ("cookie", &cookie)]);
        assert!(verdict(ask(&house, &basic, &request).await.0).is_ok());
        assert_eq!(house.known_device(), known, "{name}");
    }
    // The gate of ada is closed by somebody else; ada gets in.
    for guess in 0..6 {
        let _ = with(&house, &basic, "ada", &format!("guess {guess}")).await;
    }
    house.clock.advance(Duration::from_secs(61));
    assert_eq!(with(&house, &basic, "ada", "right:ada").await.unwrap_err(), Reason::AccountGateClosed);
    let request = request(&[("authorization", &header("ada", "right:ada")), ("cookie", &cookie)]);
    assert!(verdict(ask(&house, &basic, &request).await.0).is_ok());
}

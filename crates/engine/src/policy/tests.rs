//! What policies decide, and what they are told when they are wrong.

use super::reads::Reads;
use super::words::Words;
use super::*;
use crate::fixtures::{self, ada, found, from, identity, request};
use crate::identity::{GroupName, Level};

fn files(texts: &[&str]) -> Vec<(String, String)> {
    texts.iter().enumerate().map(|(number, text)| (format!("{number}.cedar"), (*text).to_owned())).collect()
}

fn try_compile(texts: &[&str]) -> Result<Policy, Vec<PolicyProblem>> {
    let responses = ["a", "b", "c"].map(ResponseName::from);
    Policy::compile(&files(texts), &responses, &Decisions::new(64))
}

fn compile(texts: &[&str]) -> Policy {
    try_compile(texts).unwrap()
}

fn complaints(texts: &[&str]) -> Vec<(String, usize, usize, String)> {
    let problems = try_compile(texts).err().unwrap_or_default();
    problems.into_iter().map(|problem| (problem.file, problem.line, problem.column, problem.message)).collect()
}

fn ask(policy: &Policy, identity: &Identity, request: &CheckRequest) -> Verdict {
    policy.check(identity, request, &found(), None, fixtures::now())
}

fn get() -> CheckRequest {
    request("GET", "north.example.com/orders/7", &[])
}

fn allows(policy: &Policy, identity: &Identity, request: &CheckRequest) -> bool {
    matches!(ask(policy, identity, request), Verdict::Allow(_))
}

fn allow(policies: &[&str], responses: &[&str]) -> Verdict {
    Verdict::Allow(Permits {
        policies: policies.iter().map(|id| PolicyId::from(*id)).collect(),
        responses: responses.iter().map(|name| ResponseName::from(*name)).collect(),
    })
}

fn deny(policies: &[&str]) -> Verdict {
    Verdict::Deny(policies.iter().map(|id| PolicyId::from(*id)).collect())
}

fn cached(policy: &Policy) -> usize {
    match &policy.0 {
        Guard::Slice(slice) => slice.decisions.0.len(),
        Guard::Nobody | Guard::AnyUser(_) => 0,
    }
}

#[test]
fn the_schema_is_well_formed() {
    assert!(Words::read().is_ok());
}

#[test]
fn without_a_policy_nobody_passes_and_any_user_must_be_said() {
    let ada = identity(ada());
    assert_eq!(ask(&Policy::default(), &ada, &get()), deny(&[]));
    assert_eq!(ask(&compile(&[]), &ada, &get()), deny(&[]));
    assert_eq!(ask(&Policy::any_user(), &ada, &get()), allow(&["any-user"], &[]));
}

#[test]
fn a_catch_all_permits_every_identity_of_the_tenant_and_of_no_other() {
    let policy = compile(&[r#"@id("all") permit(principal, action, resource);"#]);
    assert_eq!(ask(&policy, &identity(ada()), &get()), allow(&["all"], &[]));
    let foreigner = identity(crate::identity::User { tenant: "south".into(), ..ada() });
    assert_eq!(ask(&policy, &foreigner, &get()), deny(&[]));
    assert_eq!(ask(&Policy::any_user(), &foreigner, &get()), deny(&[]));
}

#[test]
fn every_satisfied_permit_contributes_in_file_order() {
    let policy = compile(&[
        r#"
        @id("z") @response("b a") permit(principal, action, resource);
        @id("no") @response("c") permit(principal, action == Action::"POST", resource);
        @id("y") permit(principal, action in Action::"read", resource);
        "#,
        r#"@id("a") @response("a  c") permit(principal, action, resource);"#,
    ]);
    for _ in 0..2 {
        assert_eq!(ask(&policy, &identity(ada()), &get()), allow(&["z", "y", "a"], &["b", "a", "c"]));
    }
}

#[test]
fn eleven_policies_keep_their_order() {
    let text: String = (0..11).map(|n| format!("@id(\"p{n}\") permit(principal, action, resource);\n")).collect();
    let ids: Vec<String> = (0..11).map(|n| format!("p{n}")).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    assert_eq!(ask(&compile(&[&text]), &identity(ada()), &get()), allow(&ids, &[]));
}

#[test]
fn a_forbid_wins_and_is_named() {
    let policy = compile(&[r#"
        @id("all") permit(principal, action, resource);
        @id("read-only") forbid(principal, action in Action::"write", resource);
    "#]);
    assert!(allows(&policy, &identity(ada()), &get()));
    for method in ["POST", "PUT", "PATCH", "DELETE", "CONNECT", "PROPFIND"] {
        assert_eq!(ask(&policy, &identity(ada()), &request(method, "north.example.com/", &[])), deny(&["read-only"]), "{method}");
    }
}

#[test]
fn a_policy_reads_what_the_schema_says() {
    let policy = compile(&[r#"
        @id("all") permit(principal in Group::"staff", action == Action::"POST", resource) when {
            principal.name == "ada" && principal.tenant == "north" && principal.profile == "person" &&
            principal.scheme == "session" && principal.method == "basic" && principal.level >= 10 &&
            principal has email && principal.email == "ada@example.com" &&
            resource.tenant == "north" && resource.route == "app" && resource.host == "north.example.com" &&
            resource.method == "POST" && resource.path like "/orders/*" &&
            resource has operation && resource.operation == "Order"
        };
    "#]);
    let mut ada = identity(crate::identity::User { email: Some("ada@example.com".into()), ..ada() });
    ada.scheme = "session".into();
    let post = request("POST", "north.example.com:8443/orders/7", &[]);
    let ask = |identity: &Identity, operation| policy.check(identity, &post, &found(), operation, fixtures::now());
    assert_eq!(ask(&ada, Some("Order")), allow(&["all"], &[]));
    assert_eq!(ask(&ada, Some("Refund")), deny(&[]));
    assert_eq!(ask(&ada, None), deny(&[]));
    ada.level = Level(9);
    assert_eq!(ask(&ada, Some("Order")), deny(&[]));
}

#[test]
fn a_user_may_be_named_by_number_only() {
    let number = fixtures::user("x", 1).id.to_string();
    let policy = compile(&[&format!(r#"@id("ada") permit(principal == User::"{number}", action, resource);"#)]);
    assert!(allows(&policy, &identity(ada()), &get()));
    assert!(!allows(&policy, &identity(fixtures::user("bob", 2)), &get()));
    let found = complaints(&[r#"@id("ada") forbid(principal == User::"ada", action, resource);"#]);
    assert_eq!(found, [("0.cedar".into(), 1, 1, "users are not named `ada` here but by their number".into())]);
}

#[test]
fn problems_are_reported_with_file_line_and_column() {
    let good = "@id(\"x\")\npermit(principal, action, resource);\n";
    let all = "permit(principal, action, resource);";
    let cases: [(&[&str], &str, usize, usize, &str); 12] = [
        (&[good, "\n\npermit(principal, action);"], "1.cedar", 3, 25, "missing the `resource`"),
        (
            &["@id(\"a\") permit(principal, action, resource)\nwhen { principal.nmae == \"x\" };"],
            "0.cedar",
            2,
            8,
            "attribute `nmae` on entity type `User` not found",
        ),
        (
            &["@id(\"a\") permit(principal, action, resource)\nwhen {\n  principal.level == \"x\" };"],
            "0.cedar",
            3,
            3,
            "the types Long and String are not compatible",
        ),
        (&["@id(\"a\")\n permit(principal, action == Action::\"FETCH\", resource);"], "0.cedar", 2, 30, "FETCH"),
        (&["@id(\"a\") permit(principal, action, resource) when { false };"], "0.cedar", 1, 1, "policy is impossible"),
        (&["@id(\"a\") permit(principal, action, resource) when { ip(\"1.2.3\").isIpv4() };"], "0.cedar", 1, 53, "extension"),
        (&["\n  permit(principal, action, resource);"], "0.cedar", 2, 3, "this policy has no `@id`"),
        (&["@id(\"a b\") permit(principal, action, resource);"], "0.cedar", 1, 1, "an `@id` is at most"),
        (
            &[good, "\n\n@id(\"x\") forbid(principal, action, resource);"],
            "1.cedar",
            3,
            1,
            "the id `x` is already that of the policy at 0.cedar:1",
        ),
        (&["@id(\"a\")\n@response(\"a d\") permit(principal, action, resource);"], "0.cedar", 1, 1, "there is no response `d`"),
        (&["@id(\"a\") @respons(\"a\") permit(principal, action, resource);"], "0.cedar", 1, 1, "nobody reads the annotation `@respons`"),
        (&["@id(\"a\") permit(principal == ?principal, action, resource);"], "0.cedar", 1, 1, "slot"),
    ];
    for (texts, file, line, column, message) in cases {
        let found = complaints(texts);
        let hit = found.iter().any(|at| at.0 == file && at.1 == line && at.2 == column && at.3.contains(message) && !at.3.contains("`0`"));
        assert!(hit, "{texts:?} gave {found:?}");
    }
    assert_eq!(complaints(&[&format!("@id(\"a\") @response(\"\") {all}")]).len(), 1);
    assert_eq!(complaints(&["@id(\"a\") @response(\"a\") forbid(principal, action, resource);"]).len(), 1);
}

#[test]
fn all_problems_are_reported_at_once_in_file_order() {
    let found = complaints(&[
        "permit(principal, action, resource);\npermit(principal, action, resource);",
        "permit(;",
        "@id(\"\") permit(principal, action, resource);",
    ]);
    let places: Vec<_> = found.iter().map(|(file, line, ..)| (file.as_str(), *line)).collect();
    assert_eq!(places, [("0.cedar", 1), ("0.cedar", 2), ("1.cedar", 1), ("2.cedar", 1)]);
}

#[test]
fn time_is_in_the_context_and_never_cached() {
    let policy = compile(&[r#"
        @id("night") permit(principal, action, resource)
        when { context.hour == 23 && context.weekday == 5 && context.time < 1234567891 };
    "#]);
    let ask = |second| policy.check(&identity(ada()), &get(), &found(), None, Timestamp::from_second(second).unwrap());
    assert_eq!(ask(fixtures::NOW), allow(&["night"], &[]));
    assert_eq!(ask(fixtures::NOW + 1), deny(&[]));
    assert_eq!(ask(fixtures::NOW - 3600), deny(&[]));
    assert_eq!(cached(&policy), 0);
}

#[test]
fn the_client_address_is_in_the_context_in_its_plain_form() {
    let policy = compile(&[r#"
        @id("all") permit(principal, action, resource);
        @id("lab") forbid(principal, action, resource) when { context.client.isInRange(ip("10.0.0.0/8")) };
    "#]);
    for (address, verdict) in [
        ("192.0.2.1", allow(&["all"], &[])),
        ("10.1.2.3", deny(&["lab"])),
        ("::ffff:10.1.2.3", deny(&["lab"])),
        ("2001:db8::1", allow(&["all"], &[])),
    ] {
        assert_eq!(ask(&policy, &identity(ada()), &from(address, get())), verdict, "{address}");
    }
    assert_eq!(cached(&policy), 0);
}

#[test]
fn a_policy_that_cannot_be_evaluated_denies_whatever_the_others_say() {
    let policy = compile(&[r#"
        @id("all") permit(principal, action, resource);
        @id("overflow") forbid(principal, action, resource) when { principal.level + 9223372036854775807 == 0 };
    "#]);
    for _ in 0..2 {
        assert_eq!(ask(&policy, &identity(ada()), &get()), Verdict::Error(vec!["overflow".into()]));
    }
    assert_eq!(cached(&policy), 0);
    // A level of 0 does not overflow.
    let mut zero = identity(ada());
    zero.level = Level(0);
    assert!(allows(&policy, &zero, &get()));
}

#[test]
fn a_decision_is_remembered_for_exactly_this_identity_and_request() {
    let policy = compile(&[r#"@id("all") permit(principal, action, resource) when { resource.path like "/*" };"#]);
    let ada = identity(fixtures::ada());
    assert!(allows(&policy, &ada, &get()));
    assert!(allows(&policy, &ada, &get()));
    assert_eq!(cached(&policy), 1);
    let changed = |change: &dyn Fn(&mut crate::identity::User)| {
        let mut user = fixtures::ada();
        change(&mut user);
        identity(user)
    };
    let mut others = vec![
        changed(&|user| user.epoch += 1),
        changed(&|user| user.groups.push(GroupName::from("x"))),
        changed(&|user| user.groups.clear()),
        changed(&|user| user.email = Some(String::new())),
        changed(&|user| user.email = Some("-".into())),
        changed(&|user| user.profile = "clerk".into()),
        changed(&|user| user.name = fixtures::user("bob", 1).name),
        changed(&|user| user.id = fixtures::user("ada", 2).id),
    ];
    others.extend([ada.clone(), ada.clone(), ada.clone()]);
    let last = others.len();
    others[last - 1].level = Level(11);
    others[last - 2].scheme = "session".into();
    others[last - 3].method = "saml".into();
    for (number, other) in others.iter().enumerate() {
        assert!(allows(&policy, other, &get()));
        assert_eq!(cached(&policy), 2 + number);
    }
    let before = cached(&policy);
    for other in [request("HEAD", "north.example.com/orders/7", &[]), request("GET", "north.example.com/orders/8", &[])] {
        assert!(allows(&policy, &ada, &other));
    }
    assert_eq!(cached(&policy), before + 2);
    // Nothing in this slice reads the host.
    assert!(allows(&policy, &ada, &request("GET", "other.example.com/orders/7", &[])));
    assert_eq!(cached(&policy), before + 2);
}

#[test]
fn a_change_of_epoch_or_groups_is_seen_at_once() {
    let policy = compile(&[r#"@id("staff") permit(principal in Group::"staff", action, resource);"#]);
    assert!(allows(&policy, &identity(ada()), &get()));
    assert!(!allows(&policy, &identity(crate::identity::User { groups: Vec::new(), ..ada() }), &get()));
    assert!(!allows(&policy, &identity(crate::identity::User { groups: Vec::new(), epoch: 2, ..ada() }), &get()));
    assert!(allows(&policy, &identity(ada()), &get()));
}

#[test]
fn slices_share_the_memory_and_never_a_decision() {
    let decisions = Decisions::new(64);
    let slice = |effect: &str| {
        let text = format!("@id(\"it\") {effect}(principal, action, resource);");
        Policy::compile(&files(&[&text]), &[], &decisions).unwrap()
    };
    let (permit, forbid) = (slice("permit"), slice("forbid"));
    for _ in 0..2 {
        assert!(allows(&permit, &identity(ada()), &get()));
        assert_eq!(ask(&forbid, &identity(ada()), &get()), deny(&["it"]));
    }
    assert_eq!(decisions.0.len(), 2);
}

#[test]
fn what_a_slice_reads_is_found_wherever_it_stands() {
    let reads = |condition: &str| {
        let policy = compile(&[&format!("@id(\"x\") permit(principal, action, resource) unless {{ {condition} }};")]);
        match policy.0 {
            Guard::Slice(slice) => slice.reads,
            Guard::Nobody | Guard::AnyUser(_) => panic!("a slice"),
        }
    };
    assert_eq!(reads(r#"principal.name == "context""#), Reads::default());
    assert_eq!(
        reads(r#"if principal.level > 3 then [1, context.time].contains(2) else false"#),
        Reads { context: true, ..Reads::default() }
    );
    assert_eq!(reads(r#"["a"].contains(resource["path"])"#), Reads { path: true, ..Reads::default() });
    assert_eq!(reads("resource has operation"), Reads { operation: true, ..Reads::default() });
    assert_eq!(reads(r#"{ a: resource.host }.a like "x*""#), Reads { host: true, ..Reads::default() });
}

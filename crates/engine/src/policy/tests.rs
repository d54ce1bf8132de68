//! What policies decide, and what they are told when they are wrong.

use proptest::prelude::*;

use super::reads::{Part, Reads};
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
fn a_decision_is_remembered_for_all_that_the_policy_cannot_tell_apart() {
    let all = compile(&[r#"@id("all") permit(principal, action, resource);"#]);
    let staff = compile(&[r#"@id("staff") permit(principal in Group::"staff", action in Action::"read", resource);"#]);
    for policy in [&all, &staff] {
        for user in [ada(), crate::identity::User { epoch: 7, groups: ada().groups, ..fixtures::user("bob", 2) }] {
            for url in ["north.example.com/orders/7", "other.example.com/else"] {
                for name in ["app", "other"] {
                    let found = Found { route: fixtures::route(name).into(), ..found() };
                    let verdict = policy.check(&identity(user.clone()), &request("GET", url, &[]), &found, None, fixtures::now());
                    assert!(matches!(verdict, Verdict::Allow(_)));
                }
            }
        }
        assert_eq!(cached(policy), 1);
    }
    assert!(!allows(&staff, &identity(ada()), &request("POST", "north.example.com/orders/7", &[])));
    assert_eq!(cached(&staff), 2);
}

#[test]
fn a_decision_is_remembered_apart_for_whatever_the_policy_reads() {
    let text = r#"principal.name != "" || principal.profile == "x" || principal has email || principal in Group::"x" ||
        principal.scheme == "x" || principal.method == "x" || principal.level > 3 || principal == User::"00000000-0000-0000-0000-000000000001" ||
        resource.path like "/*""#;
    let policy = compile(&[&format!("@id(\"all\") permit(principal, action, resource) when {{ {text} }};")]);
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
    assert!(allows(&policy, &ada, &request("GET", "north.example.com/orders/8", &[])));
    assert_eq!(cached(&policy), before + 1);
    // Nothing in this slice reads the host or the method.
    assert!(allows(&policy, &ada, &request("HEAD", "other.example.com/orders/7", &[])));
    assert_eq!(cached(&policy), before + 1);
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
    use Part::{Action, Context, Email, Groups, Host, Level, Method, Name, Operation, Path, Profile, Route, Scheme, Tenant, User};
    let principal: &[Part] = &[User, Name, Profile, Email, Groups, Scheme, Method, Level, Tenant];
    let resource: &[Part] = &[Tenant, Route, Host, Path, Operation, Action];
    let reads = |scope: &str, condition: &str| {
        let policy = compile(&[&format!("@id(\"x\") permit({scope}) unless {{ {condition} }};")]);
        match policy.0 {
            Guard::Slice(slice) => slice.reads,
            Guard::Nobody | Guard::AnyUser(_) => panic!("a slice"),
        }
    };
    let anything = "principal, action, resource";
    let user = r#"User::"00000000-0000-0000-0000-000000000001""#;
    for (condition, parts) in [
        (r#"principal.name == "context""#, &[Name][..]),
        (r#"principal.tenant == resource.tenant"#, &[Tenant]),
        (r#"if principal.level > 3 then [1, context.time].contains(2) else false"#, &[Level, Context]),
        (r#"["a"].contains(resource["path"])"#, &[Path]),
        ("resource has operation", &[Operation]),
        (r#"{ a: resource.host }.a like "x*""#, &[Host]),
        (r#"resource.method == "GET""#, &[Action]),
        (r#"action in [Action::"read"]"#, &[Action]),
        (r#"principal in [Group::"a", Group::"b"]"#, &[Groups]),
        (r#"resource == Resource::"app""#, &[Route]),
        (&format!("principal == {user}"), &[User]),
        (&format!("{user} == principal"), &[User]),
        // Whatever takes hold of the whole entity may reach all of it.
        (r#"{ a: principal }.a.name == "x""#, principal),
        (r#"{ "==": principal }["=="].name == "x""#, principal),
        (r#"{ "Var": principal }["Var"].name == "x""#, principal),
        (&format!("[principal].contains({user})"), principal),
        (&format!("{user}.name == \"x\""), principal),
        (&format!("{user} in Group::\"a\""), principal),
        (r#"Resource::"app".path == "/""#, resource),
        (r#"(if resource.host == "x" then resource else Resource::"app").path == "/""#, resource),
    ] {
        assert_eq!(reads(anything, condition), Reads::of(parts), "{condition}");
    }
    let never = r#"principal.name == "x""#;
    for (scope, part) in [
        (r#"principal in Group::"a", action, resource"#, Groups),
        (&format!("principal == {user}, action, resource"), User),
        (r#"principal, action in Action::"read", resource"#, Action),
        (r#"principal, action == Action::"GET", resource"#, Action),
        (r#"principal, action, resource == Resource::"app""#, Route),
    ] {
        assert_eq!(reads(scope, never), Reads::of(&[Name, part]), "{scope}");
    }
}

/// Conditions over everything that can be read, in several shapes; some cannot be evaluated for everybody.
const CONDITIONS: [&str; 32] = [
    r#"principal.name == "ada""#,
    r#"principal.profile like "p*""#,
    r#"principal.scheme == "session""#,
    r#"principal.method == principal.scheme"#,
    r#"principal.level > 10"#,
    r#"principal.level + 9223372036854775800 > 0"#,
    r#"principal has email"#,
    r#"principal has email && principal.email == """#,
    r#"principal in Group::"a""#,
    r#"principal in [Group::"a", Group::"b"]"#,
    r#"principal == User::"00000000-0000-0000-0000-000000000001""#,
    r#"User::"00000000-0000-0000-0000-000000000001" != principal"#,
    r#"User::"00000000-0000-0000-0000-000000000001" in Group::"a""#,
    r#"User::"00000000-0000-0000-0000-000000000001".level > 10"#,
    r#"[principal].contains(User::"00000000-0000-0000-0000-000000000002")"#,
    r#"{ a: principal }.a.name == "bob""#,
    r#"{ "==": principal }["=="].name == "bob""#,
    r#"(if principal.level > 10 then principal else User::"00000000-0000-0000-0000-000000000001").name == "ada""#,
    r#"principal is User in Group::"b""#,
    r#"principal.tenant == "north""#,
    r#"resource.tenant == "north""#,
    r#"resource.route == "app""#,
    r#"resource == Resource::"app""#,
    r#"Resource::"app".path like "/a*""#,
    r#"{ a: resource }.a.host == "a.example""#,
    r#"resource.host like "a*""#,
    r#"resource.path == "/b""#,
    r#"resource has operation && resource.operation != """#,
    r#"resource.method == "GET""#,
    r#"action == Action::"POST""#,
    r#"[action].contains(Action::"GET") || Action::"GET" in Action::"read""#,
    r#"context.hour > 12"#,
];

fn any_policy() -> impl Strategy<Value = String> {
    let principal = proptest::sample::select(vec![
        "principal",
        "principal is User",
        r#"principal in Group::"a""#,
        r#"principal == User::"00000000-0000-0000-0000-000000000001""#,
    ]);
    let action = proptest::sample::select(vec!["action", r#"action in Action::"read""#, r#"action == Action::"POST""#]);
    let resource = proptest::sample::select(vec!["resource", r#"resource == Resource::"app""#]);
    let effect = proptest::sample::select(vec!["permit", "permit", "forbid"]);
    let condition = (0..CONDITIONS.len(), 0..CONDITIONS.len(), proptest::sample::select(vec!["when", "unless"]), 0..4_u8);
    (effect, principal, action, resource, proptest::collection::vec(condition, 0..3)).prop_map(
        |(effect, principal, action, resource, conditions)| {
            let mut text = format!("{effect}({principal}, {action}, {resource})");
            for (one, other, word, join) in conditions {
                let (one, other) = (CONDITIONS[one], CONDITIONS[other]);
                text.push_str(&match join {
                    0 => format!(" {word} {{ {one} }}"),
                    1 => format!(" {word} {{ ({one}) && ({other}) }}"),
                    2 => format!(" {word} {{ ({one}) || !({other}) }}"),
                    _ => format!(" {word} {{ if ({one}) then ({other}) else true }}"),
                });
            }
            text + ";"
        },
    )
}

/// An identity, a request, where it landed, and the operation; each of few kinds, so that many agree in most things.
fn any_question() -> impl Strategy<Value = (Identity, CheckRequest, Found, Option<&'static str>)> {
    proptest::array::uniform13(0..3_usize).prop_map(|choice| {
        let tenant: &'static str = ["north", "north", "south"][choice[0]];
        let mut user = fixtures::user(["ada", "bob", "ada"][choice[1]], [1, 2, 3][choice[2]]);
        user.tenant = tenant.into();
        user.profile = ["person", "clerk", "p"][choice[3]].into();
        user.email = [None, Some(String::new()), Some("a".into())][choice[4]].clone();
        user.groups = [&[][..], &["a"], &["a", "b"]][choice[5]].iter().map(|group| GroupName::from(*group)).collect();
        user.epoch = choice[6] as u64;
        let identity =
            Identity { scheme: ["session", "basic", "saml"][choice[7]].into(), level: Level([0, 10, 11][choice[8]]), ..identity(user) };
        let url = format!("{}{}", ["a.example", "b.example", "ab.example"][choice[9]], ["/a", "/b", "/a/b"][choice[10]]);
        let found = Found {
            tenant: fixtures::tenant(tenant, crate::chain::Chain::default()).into(),
            route: fixtures::route(["app", "other", "app"][choice[11]]).into(),
        };
        let method = ["GET", "POST", "PROPFIND"][choice[12]];
        (identity, request(method, &url, &[]), found, [None, Some(""), Some("Order")][(choice[12] + choice[10]) % 3])
    })
}

proptest! {
    #[test]
    fn a_remembered_decision_is_the_one_that_would_be_made(
        texts in proptest::collection::vec(any_policy(), 1..4),
        questions in proptest::collection::vec(any_question(), 40),
    ) {
        let text: String = texts.iter().enumerate().map(|(number, text)| format!("@id(\"p{number}\") {text}\n")).collect();
        // Some can never apply, which the validator refuses.
        let compiled = Policy::compile(&files(&[&text]), &[], &Decisions::new(1024));
        prop_assume!(compiled.is_ok());
        let policy = compiled.unwrap();
        let Guard::Slice(slice) = &policy.0 else { panic!("a slice") };
        for (identity, request, found, operation) in &questions {
            let now = fixtures::now();
            let remembered = policy.check(identity, request, found, *operation, now);
            let question = Question { identity, request, found, operation: *operation, now };
            prop_assert_eq!(remembered, slice.evaluate(&question), "{}", text);
        }
    }
}

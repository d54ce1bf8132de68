use uuid::Uuid;

use super::*;
use crate::clock::ManualClock;
use crate::fixtures::now;

fn json(event: Event) -> String {
    let recorded = Recorded {
        v: VERSION,
        time: now(),
        request_id: Some(RequestId(Uuid::from_u128(7))),
        client: Some("192.0.2.1".parse().unwrap()),
        tenant: Some("north".into()),
        event,
    };
    let json = serde_json::to_string(&recorded).unwrap();
    assert_eq!(serde_json::from_str::<Recorded>(&json).unwrap(), recorded, "what is written can be read back");
    let head = concat!(
        r#"{"v":1,"time":"2009-02-13T23:31:30Z","request_id":"00000000-0000-0000-0000-000000000007","#,
        r#""client":"192.0.2.1","tenant":"north","event":""#
    );
    json.strip_prefix(head).unwrap_or_else(|| panic!("{json}")).to_owned()
}

fn decided() -> Decided {
    Decided {
        method: "GET".into(),
        host: "north.example.com".into(),
        path: "/orders".into(),
        route: None,
        decision: Ruling::Deny,
        scheme: None,
        subject: None,
        reason: None,
        detail: None,
        policy: Vec::new(),
        responses: Vec::new(),
        steps: Vec::new(),
        ms: 0.25,
    }
}

/// One of each. The `match` is there to break when a variant is added.
fn every_event() -> Vec<(Event, &'static str)> {
    let known = |event: &Event| match event {
        Event::RequestDecided(_)
        | Event::RequestUnreadable { .. }
        | Event::LoginSucceeded { .. }
        | Event::LoginRejected { .. }
        | Event::LoginFellThrough { .. }
        | Event::EmergencyAttempted { .. }
        | Event::DelegatedCalled(_)
        | Event::GateClosed { .. }
        | Event::GateOpened { .. }
        | Event::SessionOpened { .. }
        | Event::SessionEnded { .. }
        | Event::MessageRefused { .. }
        | Event::AnswerRefused { .. }
        | Event::AssertionIssued { .. }
        | Event::TokenIssued { .. }
        | Event::KeyRotated { .. }
        | Event::ConfigReloaded { .. }
        | Event::AuditOpened { .. }
        | Event::AuditSealed { .. }
        | Event::AdminChanged { .. } => (),
    };
    let full = Decided {
        route: Some("app".into()),
        decision: Ruling::Allow,
        scheme: Some("basic".into()),
        subject: Some("ada".into()),
        reason: Some(Reason::Malformed(Malformed::TenantsDisagree)),
        detail: Some("corp: audience: expected a, found b".into()),
        policy: vec!["all".into()],
        responses: vec!["r".into()],
        steps: vec![
            Step { scheme: "session".into(), verdict: Verdict::NotApplicable, reason: None, took: Duration::from_micros(1) },
            Step {
                scheme: "basic".into(),
                verdict: Verdict::Rejected,
                reason: Some(Reason::WrongPassword),
                took: Duration::from_millis(400),
            },
        ],
        ..decided()
    };
    let events = vec![
        (
            Event::RequestDecided(decided()),
            r#"request.decided","method":"GET","host":"north.example.com","path":"/orders","decision":"deny","steps":[],"ms":0.25}"#,
        ),
        (
            Event::RequestDecided(full),
            concat!(
                r#"request.decided","method":"GET","host":"north.example.com","path":"/orders","route":"app","decision":"allow","#,
                r#""scheme":"basic","subject":"ada","reason":{"malformed":"tenants_disagree"},"#,
                r#""detail":"corp: audience: expected a, found b","policy":["all"],"responses":["r"],"#,
                r#""steps":[{"scheme":"session","verdict":"not_applicable","ms":0.001},"#,
                r#"{"scheme":"basic","verdict":"rejected","reason":"wrong_password","ms":400.0}],"ms":0.25}"#
            ),
        ),
        (
            Event::LoginSucceeded { scheme: "form".into(), realm: "corp".into(), subject: "ada".into() },
            r#"login.succeeded","scheme":"form","realm":"corp","subject":"ada"}"#,
        ),
        (
            Event::LoginRejected { scheme: "form".into(), subject: Some("ada".into()), reason: Reason::Locked },
            r#"login.rejected","scheme":"form","subject":"ada","reason":"locked"}"#,
        ),
        (
            Event::LoginRejected { scheme: "form".into(), subject: None, reason: Reason::UnknownUser },
            r#"login.rejected","scheme":"form","reason":"unknown_user"}"#,
        ),
        (
            Event::LoginFellThrough { scheme: "basic".into(), refused_by: "corp".into(), realm: "local".into(), subject: "ada".into() },
            r#"login.fell_through","scheme":"basic","refused_by":"corp","realm":"local","subject":"ada"}"#,
        ),
        (
            Event::DelegatedCalled(Box::new(callout::Callout {
                realm: "corp".into(),
                subject: "ada".into(),
                user: crate::identity::UserId(Uuid::from_u128(9)),
                endpoint: "sso.example.net:443".into(),
                resolved: Some("192.0.2.7".parse().unwrap()),
                phase: callout::Phase::Parse,
                outcome: callout::Outcome::SoapFault,
                status: Some(500),
                ms: 12.5,
                tls: Some("TLSv1_3".into()),
                certificate_until: Some(now()),
                fault: Some("Server: down".into()),
            })),
            concat!(
                r#"delegated.called","realm":"corp","subject":"ada","user":"00000000-0000-0000-0000-000000000009","#,
                r#""endpoint":"sso.example.net:443","resolved":"192.0.2.7","phase":"parse","outcome":"soap_fault","status":500,"#,
                r#""ms":12.5,"tls":"TLSv1_3","certificate_until":"2009-02-13T23:31:30Z","fault":"Server: down"}"#
            ),
        ),
        (
            Event::GateClosed { gate: Gate::Account, subject: "h".into(), seconds: 900 },
            r#"gate.closed","gate":"account","subject":"h","seconds":900}"#,
        ),
        (Event::RequestUnreadable { reason: Malformed::Framing }, r#"request.unreadable","reason":"framing"}"#),
        (Event::GateOpened { gate: Gate::Address, subject: "h".into() }, r#"gate.opened","gate":"address","subject":"h"}"#),
        (
            Event::SessionOpened { session: "h".into(), subject: "ada".into(), scheme: "basic".into() },
            r#"session.opened","session":"h","subject":"ada","scheme":"basic"}"#,
        ),
        (
            Event::SessionEnded { session: Some("h".into()), subject: "ada".into(), reason: Ending::Logout },
            r#"session.ended","session":"h","subject":"ada","reason":"logout"}"#,
        ),
        (
            Event::SessionEnded { session: None, subject: "ada".into(), reason: Ending::LogoutEverywhere },
            r#"session.ended","subject":"ada","reason":"logout_everywhere"}"#,
        ),
        (
            Event::AnswerRefused {
                scheme: "oidc".into(),
                partner: Some("corp".into()),
                check: "nonce".into(),
                reason: OidcFault::WrongNonce,
                detail: "it is not for this login".into(),
            },
            concat!(
                r#"answer.refused","scheme":"oidc","partner":"corp","check":"nonce","reason":"wrong_nonce","#,
                r#""detail":"it is not for this login"}"#
            ),
        ),
        (
            Event::AssertionIssued { subject: "ada".into(), audience: "wiki".into(), assertion: "_a".into() },
            r#"assertion.issued","subject":"ada","audience":"wiki","assertion":"_a"}"#,
        ),
        (Event::TokenIssued { scheme: "crm".into(), subject: "ada".into() }, r#"token.issued","scheme":"crm","subject":"ada"}"#),
        (
            Event::KeyRotated { purpose: "jwt".into(), key: "k1".into(), state: "current".into() },
            r#"key.rotated","purpose":"jwt","key":"k1","state":"current"}"#,
        ),
        (
            Event::MessageRefused {
                scheme: "saml".into(),
                partner: Some("corp".into()),
                check: "audience".into(),
                reason: SamlFault::WrongAudience,
                detail: "expected a, found b".into(),
            },
            concat!(
                r#"message.refused","scheme":"saml","partner":"corp","check":"audience","reason":"wrong_audience","#,
                r#""detail":"expected a, found b"}"#
            ),
        ),
        (Event::ConfigReloaded { accepted: true, problem: None }, r#"config.reloaded","accepted":true}"#),
        (
            Event::ConfigReloaded { accepted: false, problem: Some("line 3".into()) },
            r#"config.reloaded","accepted":false,"problem":"line 3"}"#,
        ),
        (
            Event::AuditOpened { previous: 4, previous_hash: "h".into(), key: "k".into(), torn: 0, missing: 0 },
            r#"audit.opened","previous":4,"previous_hash":"h","key":"k"}"#,
        ),
        (
            Event::AuditOpened { previous: 4, previous_hash: "h".into(), key: "k".into(), torn: 7, missing: 2 },
            r#"audit.opened","previous":4,"previous_hash":"h","key":"k","torn":7,"missing":2}"#,
        ),
        (
            Event::AuditSealed { sealed: 5, sealed_hash: "h".into(), signature: "s".into() },
            r#"audit.sealed","sealed":5,"sealed_hash":"h","signature":"s"}"#,
        ),
        (
            Event::AdminChanged { by: "root".into(), action: "user.disable".into(), subject: "ada".into() },
            r#"admin.changed","by":"root","action":"user.disable","subject":"ada"}"#,
        ),
    ];
    events.iter().for_each(|(event, _)| known(event));
    events
}

#[test]
fn the_words_of_the_log_are_pinned() {
    for (event, expected) in every_event() {
        assert_eq!(json(event), expected);
    }
}

#[test]
fn what_the_gateway_does_by_itself_has_no_request() {
    let event = Event::ConfigReloaded { accepted: true, problem: None };
    let recorded = Recorded { v: VERSION, time: now(), request_id: None, client: None, tenant: None, event };
    let json = r#"{"v":1,"time":"2009-02-13T23:31:30Z","event":"config.reloaded","accepted":true}"#;
    assert_eq!(serde_json::to_string(&recorded).unwrap(), json);
    assert_eq!(serde_json::from_str::<Recorded>(json).unwrap(), recorded);
}

#[test]
fn a_closed_word_has_one_spelling() {
    let words = |value: serde_json::Value| value.as_str().unwrap().to_owned();
    for (ruling, word) in [(Ruling::Allow, "allow"), (Ruling::Challenge, "challenge"), (Ruling::Deny, "deny"), (Ruling::Fail, "fail")] {
        assert_eq!(words(serde_json::to_value(ruling).unwrap()), word);
    }
    for (verdict, word) in [
        (Verdict::NotApplicable, "not_applicable"),
        (Verdict::Authenticated, "authenticated"),
        (Verdict::Rejected, "rejected"),
        (Verdict::Unavailable, "unavailable"),
        (Verdict::Skipped, "skipped"),
    ] {
        assert_eq!(words(serde_json::to_value(verdict).unwrap()), word);
    }
    for (reason, word) in [
        (Reason::MustChangePassword, "must_change_password"),
        (Reason::OutsideHours, "outside_hours"),
        (Reason::PasswordExpired, "password_expired"),
        (Reason::AmbiguousUser, "ambiguous_user"),
        (Reason::NoAccount, "no_account"),
        (Reason::DirectoryRefused, "directory_refused"),
        (Reason::CertificateUntrusted, "certificate_untrusted"),
        (Reason::CertificateExpired, "certificate_expired"),
        (Reason::CertificateRevoked, "certificate_revoked"),
        (Reason::RevocationUnknown, "revocation_unknown"),
        (Reason::UnknownCertificate, "unknown_certificate"),
    ] {
        assert_eq!(words(serde_json::to_value(reason).unwrap()), word);
    }
    for (ending, word) in [
        (Ending::Switched, "switched"),
        (Ending::Renewed, "renewed"),
        (Ending::Withdrawn, "withdrawn"),
        (Ending::Administrator, "administrator"),
        (Ending::PasswordChanged, "password_changed"),
    ] {
        assert_eq!(words(serde_json::to_value(ending).unwrap()), word);
    }
}

#[test]
fn a_trail_measures_its_steps_from_their_marks() {
    let clock = Arc::new(ManualClock::at(now()));
    let mut trail = Trail::new(clock.clone());
    clock.advance(Duration::from_millis(3));
    let since = trail.mark();
    clock.advance(Duration::from_millis(4));
    trail.step(&"basic".into(), Verdict::Rejected, Some(Reason::Locked), since);
    assert_eq!(trail.steps[0].took, Duration::from_millis(4));
    assert_eq!(trail.elapsed(), Duration::from_millis(7));
}

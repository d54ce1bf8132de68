//! Metrics count events. Labels come from closed sets and the configuration only: no user names, no paths,
//! no addresses, or a stranger could make as many series as he likes.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use metrics::{Counter, Histogram, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::runtime::Handle;

use vestibule_engine::audit::{Ending, Event, Gate, Recorded, Ruling, Sink};
use vestibule_engine::identity::TenantId;

use crate::config::checked::Dated;

/// Upper bounds of the decision histogram, seconds.
const BUCKETS: [f64; 14] = [5e-6, 2e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 1e-2, 5e-2, 0.1, 0.5, 1.0, 5.0];
/// How often samples are folded into buckets.
const UPKEEP: Duration = Duration::from_secs(5);
/// The label of what belongs to no tenant.
const NO_TENANT: &str = "-";

/// Makes the process count, and returns what renders the counts in Prometheus' text format.
///
/// # Errors
/// When something else counts already.
pub fn install(control: &Handle) -> Result<PrometheusHandle, BuildError> {
    let handle = PrometheusBuilder::new().set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &BUCKETS)?.install_recorder()?;
    let folding = handle.clone();
    control.spawn(async move {
        loop {
            tokio::time::sleep(UPKEEP).await;
            folding.run_upkeep();
        }
    });
    describe_counter!("vestibule_decisions_total", "Decisions by outcome and tenant");
    describe_histogram!("vestibule_decision_duration_seconds", "Time from the complete head to the decision");
    describe_counter!("vestibule_logins_total", "Logins by outcome and tenant");
    describe_counter!("vestibule_gates_closed_total", "Gates closed after too many failures");
    describe_counter!("vestibule_gates_opened_total", "Gates opened before their time");
    describe_counter!("vestibule_sessions_opened_total", "Sessions opened");
    describe_counter!("vestibule_sessions_ended_total", "Sessions ended on purpose, by reason");
    describe_counter!("vestibule_key_changes_total", "Signing keys that changed their place");
    describe_counter!("vestibule_config_reloads_total", "Configurations offered, by whether they were accepted");
    describe_counter!("vestibule_admin_changes_total", "Changes by administrators");
    describe_counter!("vestibule_audit_lost_total", "Audit records lost, by where they should have gone");
    describe_gauge!("vestibule_audit_failing", "1 while audit records cannot be written there, and nothing is judged");
    describe_gauge!("vestibule_audit_waiting_octets", "Audit records that wait to be written there");
    describe_counter!("vestibule_audit_syslog_connections_total", "Connections made to the syslog collector");
    describe_counter!("vestibule_requests_shed_total", "Requests turned away before they were judged, by what there was too much of");
    describe_gauge!("vestibule_requests_in_flight", "Requests that have a place");
    describe_counter!("vestibule_audit_refusals_total", "Times something was not done because it could not be recorded");
    describe_counter!("vestibule_audit_sync_failures_total", "Failures to synchronise the audit file");
    describe_gauge!("vestibule_certificate_not_after_seconds", "When a certificate of the configuration ends, in seconds since 1970");
    describe_counter!("vestibule_decision_log_dropped_total", "Decisions that explain cannot find");
    Ok(handle)
}

/// Tells when the certificates of the configuration end. Files and subjects are the configuration's own words.
pub fn certificates(certificates: &[Dated]) {
    for Dated { file, subject, until } in certificates {
        let gauge = gauge!("vestibule_certificate_not_after_seconds", "file" => file.display().to_string(), "subject" => subject.clone());
        gauge.set(until.as_second() as f64);
    }
}

/// A sink that counts.
#[derive(Debug, Default)]
pub struct Meter {
    /// Looking a counter up by its labels costs more than a decision's share, so each tenant's are kept.
    tenants: RwLock<HashMap<TenantId, Arc<Series>>>,
}

/// The series of one tenant.
struct Series {
    decisions: [(Counter, Histogram); 4],
    logins: [Counter; 3],
}

impl std::fmt::Debug for Series {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Series")
    }
}

impl Series {
    fn new(tenant: &TenantId) -> Self {
        let decisions = ["allow", "challenge", "deny", "fail"].map(|decision| {
            let count = counter!("vestibule_decisions_total", "decision" => decision, "tenant" => tenant.to_string());
            (count, histogram!("vestibule_decision_duration_seconds", "decision" => decision))
        });
        let logins = ["succeeded", "rejected", "fell_through"]
            .map(|outcome| counter!("vestibule_logins_total", "outcome" => outcome, "tenant" => tenant.to_string()));
        Self { decisions, logins }
    }
}

impl Meter {
    fn series(&self, tenant: Option<&TenantId>) -> Arc<Series> {
        let none;
        let tenant = match tenant {
            Some(tenant) => tenant,
            None => {
                none = TenantId::from(NO_TENANT);
                &none
            }
        };
        let held = self.tenants.read().unwrap_or_else(|poisoned| poisoned.into_inner()).get(tenant).cloned();
        held.unwrap_or_else(|| {
            let mut tenants = self.tenants.write().unwrap_or_else(|poisoned| poisoned.into_inner());
            tenants.entry(tenant.clone()).or_insert_with(|| Arc::new(Series::new(tenant))).clone()
        })
    }
}

impl Sink for Meter {
    fn record(&self, record: &Recorded) {
        let series = || self.series(record.tenant.as_ref());
        match &record.event {
            Event::RequestDecided(decided) => {
                let series = series();
                let [allow, challenge, deny, fail] = &series.decisions;
                let (count, duration) = match decided.decision {
                    Ruling::Allow => allow,
                    Ruling::Challenge => challenge,
                    Ruling::Deny => deny,
                    Ruling::Fail => fail,
                };
                count.increment(1);
                duration.record(decided.ms / 1e3);
            }
            Event::RequestUnreadable { .. } => counter!("vestibule_unreadable_requests_total").increment(1),
            Event::LoginSucceeded { .. } => series().logins[0].increment(1),
            Event::LoginRejected { .. } => series().logins[1].increment(1),
            Event::LoginFellThrough { .. } => series().logins[2].increment(1),
            Event::EmergencyAttempted { .. } => counter!("vestibule_emergency_attempts_total").increment(1),
            Event::DelegatedCalled(callout) => {
                let labels = [("realm", callout.realm.to_string()), ("outcome", callout.outcome.as_str().to_owned())];
                counter!("vestibule_delegated_calls_total", &labels).increment(1);
            }
            Event::GateClosed { gate, .. } => counter!("vestibule_gates_closed_total", "gate" => gate_label(*gate)).increment(1),
            Event::GateOpened { gate, .. } => counter!("vestibule_gates_opened_total", "gate" => gate_label(*gate)).increment(1),
            Event::SessionOpened { .. } => counter!("vestibule_sessions_opened_total").increment(1),
            Event::SessionEnded { reason, .. } => {
                counter!("vestibule_sessions_ended_total", "reason" => ending_label(*reason)).increment(1);
            }
            Event::MessageRefused { .. } | Event::AnswerRefused { .. } => counter!("vestibule_messages_refused_total").increment(1),
            Event::TokenIssued { .. } => counter!("vestibule_tokens_issued_total").increment(1),
            Event::AssertionIssued { .. } => counter!("vestibule_assertions_issued_total").increment(1),
            Event::KeyRotated { .. } => counter!("vestibule_key_changes_total").increment(1),
            Event::ConfigReloaded { accepted, .. } => {
                let accepted = if *accepted { "yes" } else { "no" };
                counter!("vestibule_config_reloads_total", "accepted" => accepted).increment(1);
            }
            // Files tell the other places of these, and nobody else.
            Event::AuditOpened { .. } | Event::AuditSealed { .. } => {}
            Event::AdminChanged { .. } => counter!("vestibule_admin_changes_total").increment(1),
        }
    }
}

fn gate_label(gate: Gate) -> &'static str {
    match gate {
        Gate::Account => "account",
        Gate::Address => "address",
    }
}

fn ending_label(ending: Ending) -> &'static str {
    match ending {
        Ending::Logout => "logout",
        Ending::LogoutEverywhere => "logout_everywhere",
        Ending::Switched => "switched",
        Ending::Renewed => "renewed",
        Ending::SingleLogout => "single_logout",
        Ending::Withdrawn => "withdrawn",
        Ending::Administrator => "administrator",
        Ending::PasswordChanged => "password_changed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::tests::decided;

    #[test]
    fn events_are_counted_without_names_or_paths() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        metrics::with_local_recorder(&recorder, || {
            let meter = Meter::default();
            for n in 0..100 {
                meter.record(&decided(&format!("/secret/{n}")));
            }
            let login = Event::LoginRejected {
                scheme: "basic".into(),
                subject: Some("ada".into()),
                reason: vestibule_engine::audit::Reason::Locked,
            };
            meter.record(&Recorded { event: login, ..decided("/") });
            let gate = Event::GateClosed { gate: Gate::Account, subject: "ada".into(), seconds: 900 };
            meter.record(&Recorded { event: gate, tenant: None, ..decided("/") });
        });
        let text = handle.render();
        assert!(text.contains(r#"vestibule_decisions_total{decision="allow",tenant="north"} 100"#), "{text}");
        assert!(text.contains(r#"vestibule_logins_total{outcome="rejected",tenant="north"} 1"#), "{text}");
        assert!(text.contains(r#"vestibule_gates_closed_total{gate="account"} 1"#), "{text}");
        assert!(!text.contains("ada") && !text.contains("secret"), "{text}");
    }
}

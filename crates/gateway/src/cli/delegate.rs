//! `vestibule delegate test`: whether a service that checks passwords can be trusted with them.
//!
//! The worst endpoint is one that says yes to everything: everybody signs in, and nobody complains. So it is asked about a password
//! that nobody has.

use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::{Args, Subcommand};
use serde_json::json;
use tokio::time::Instant;
use zeroize::Zeroizing;

use vestibule_engine::audit::callout::Outcome;
use vestibule_engine::clock::{Clock, SystemClock, random};
use vestibule_engine::identity::RealmName;
use vestibule_soap::delegated::{Question, missing_from};

use super::output::{Cell, Output, Tone};
use super::{Answer, Common, Failure, ask};
use crate::config::{self, Purpose, build, checked};
use crate::realms::delegated::call::{self, Progress};

/// For each question.
const PATIENCE: Duration = Duration::from_secs(10);
/// The name that is asked about if nobody says otherwise.
const NOBODY: &str = "vestibule-test@example.com";

/// Services that check passwords
#[derive(Debug, Subcommand)]
pub enum DelegateCommand {
    /// Try the service of a realm: its certificate, its description, and that it refuses a password that nobody has
    Test(Test),
}

/// Try the service of a realm
#[derive(Debug, Args)]
pub struct Test {
    /// The realm, of type `delegated`
    #[arg(value_name = "REALM")]
    realm: String,
    /// The name to ask about; with --password-file its password must be accepted, too
    #[arg(long, value_name = "NAME", default_value = NOBODY)]
    user: String,
    /// Read that user's password from a file (- for standard input)
    #[arg(long, value_name = "FILE", requires = "user")]
    password_file: Option<PathBuf>,
}

/// One finding.
struct Finding {
    what: &'static str,
    good: bool,
    detail: String,
}

impl DelegateCommand {
    /// Runs it. No server need be running.
    pub fn run(self, common: &Common, output: &mut Output) -> Result<Answer, Failure> {
        match self {
            Self::Test(test) => test.run(common, output),
        }
    }
}

impl Test {
    fn run(self, common: &Common, output: &mut Output) -> Result<Answer, Failure> {
        let path = common.config_path();
        let (checked, _) = config::load(&path, Purpose::Serve, SystemClock::default().now(), build::policy_problems)
            .map_err(|problems| Failure { problems, ..Failure::not_tried(format!("{} is not valid", path.display())) })?;
        let Some(checked::Realm::Delegated(asked)) = checked.realms.get(&RealmName::from(self.realm.as_str())) else {
            return Err(Failure::not_tried(format!("no realm of type `delegated` is called `{}`", self.realm)));
        };
        let endpoint = build::endpoint(asked).map_err(Failure::not_tried)?;
        let password = match &self.password_file {
            Some(file) => Some(ask::new_password("Password: ", Some(file))?),
            None => None,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Failure::not_tried(format!("no runtime could be started: {error}")))?;
        let findings = runtime.block_on(self.examine(&endpoint, asked, password.as_ref().map(|password| password.reveal().as_str())))?;
        let good = findings.iter().all(|finding| finding.good);
        if output.is_json() {
            let list: Vec<_> = findings.iter().map(|one| json!({ "what": one.what, "good": one.good, "detail": one.detail })).collect();
            output.json(&json!({ "good": good, "findings": list }));
        } else {
            for Finding { what, good, detail } in &findings {
                let (mark, tone) = if *good { ("ok  ", Tone::Good) } else { ("BAD ", Tone::Bad) };
                output.line(Cell::new(format!("{mark}{what}: {detail}"), tone));
            }
        }
        Ok(if good { Answer::Yes } else { Answer::No })
    }

    async fn examine(
        &self,
        endpoint: &call::Endpoint,
        asked: &checked::Delegated,
        password: Option<&str>,
    ) -> Result<Vec<Finding>, Failure> {
        let mut findings = Vec::new();
        let nonsense = random::<24>().map_err(|down| Failure::not_tried(down.to_string()))?;
        let ask = async |password: &str| {
            let question =
                Question { username: self.user.clone(), password: Zeroizing::new(password.to_owned()), source_ip: "127.0.0.1".to_owned() };
            let mut progress = Progress::default();
            let outcome = call::ask(endpoint, &question, asked.tolerance, Instant::now() + PATIENCE, &mut progress).await;
            (outcome, progress)
        };
        let (outcome, progress) = ask(&URL_SAFE_NO_PAD.encode(nonsense)).await;
        let about = |progress: &Progress| progress.fault.clone().map_or_else(String::new, |fault| format!(" ({fault})"));
        let reached = !matches!(outcome, Outcome::Unreachable | Outcome::TlsUntrusted | Outcome::TlsExpired | Outcome::Timeout);
        let address = progress.resolved.map_or_else(|| "no address".to_owned(), |address| address.to_string());
        findings.push(Finding { what: "address", good: reached, detail: format!("{}, {address}", endpoint.authority()) });
        if asked.tls {
            let until = progress.certificate_until.map_or_else(|| "unknown".to_owned(), |until| until.to_string());
            let detail = match &progress.tls {
                Some(version) => format!("{version}, the certificate holds until {until}"),
                None => format!("{}{}", outcome.as_str(), about(&progress)),
            };
            findings.push(Finding { what: "tls", good: progress.tls.is_some(), detail });
        } else {
            findings.push(Finding { what: "tls", good: true, detail: "none: passwords go there in the clear".to_owned() });
        }
        let detail = match outcome {
            Outcome::Denied => "refused, as it must be".to_owned(),
            Outcome::Ok => "ACCEPTED: this service would let anybody in".to_owned(),
            other => format!("{} in {:?}{}", other.as_str(), progress.phase, about(&progress)),
        };
        findings.push(Finding { what: "a password that nobody has", good: outcome == Outcome::Denied, detail });
        if reached {
            findings.push(described(endpoint).await);
        }
        if let Some(password) = password {
            let (outcome, progress) = ask(password).await;
            let detail = format!("{}{}", outcome.as_str(), about(&progress));
            findings.push(Finding { what: "the password that was given", good: outcome == Outcome::Ok, detail });
        }
        Ok(findings)
    }
}

/// Many services serve no description, which is no fault; one that describes something else is none of ours.
async fn described(endpoint: &call::Endpoint) -> Finding {
    let what = "description";
    match call::description(endpoint, Instant::now() + PATIENCE).await {
        None => Finding { what, good: true, detail: "the service serves none".to_owned() },
        Some(octets) => match missing_from(&octets) {
            Ok(missing) if missing.is_empty() => Finding { what, good: true, detail: "as it should be".to_owned() },
            Ok(missing) => Finding { what, good: false, detail: format!("it lacks {}", missing.join(", ")) },
            Err(error) => Finding { what, good: false, detail: format!("it cannot be read: {error}") },
        },
    }
}

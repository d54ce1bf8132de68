//! What would become of a response, check by check: for operators, at a terminal or on a page. A client never learns it.

use std::collections::BTreeMap;

use serde::Serialize;
use vestibule_engine::Timestamp;
use vestibule_saml::binding::Post;
use vestibule_saml::sp::{Expectations, Received, Requests};
use vestibule_saml::{Accepted, Check, Outcome, Reason, Rejection, Version};

use super::ServiceProvider;

impl ServiceProvider {
    /// What the consumer would make of a message, whoever brought it: which request it answers is not checked, and nothing is spent.
    pub fn inspect(&self, text: &[u8], now: Timestamp) -> Said {
        match self.inspected(text, now) {
            Ok(said) => said,
            Err(rejection) => Said::rejected(&rejection),
        }
    }

    fn inspected(&self, text: &[u8], now: Timestamp) -> Result<Said, Rejection> {
        let received = Received::read(&message(text)?)?;
        let issuer = received.claimed_issuer();
        let named = self.providers.iter().find(|provider| Some(provider.entity_id()) == issuer);
        // A failure of SAML 1.1 says nowhere whose it is.
        let only = || self.only_source_site().filter(|_| issuer.is_none() && received.version() == Version::Saml11);
        let Some(provider) = named.or_else(|| only().and_then(|place| self.providers.get(place))) else {
            let detail = format!("no identity provider here is called {:?}", issuer.unwrap_or_default());
            return Err(failed("issuer", Reason::WrongIssuer, detail));
        };
        if provider.settings().saml11.is_some() && received.version() == Version::Saml20 {
            return Err(failed("version", Reason::WrongVersion, "expected SAML 1.1, found SAML 2.0".to_owned()));
        }
        let idp = provider.trusted(now).map_err(|detail| failed("metadata", Reason::Expired, detail))?;
        let expected = Expectations { idp, requests: Requests::Unknown, resolved: None };
        let accepted = self.sp.judge(&received, &expected, now)?;
        match provider.check_context(&accepted) {
            Ok(()) => Ok(Said::accepted(&accepted)),
            Err((check, reason, detail)) => {
                let mut rejection = failed(check, reason, detail);
                rejection.checks.splice(0..0, accepted.checks);
                Err(rejection)
            }
        }
    }
}

fn failed(name: &'static str, reason: Reason, detail: String) -> Rejection {
    let checks = vec![Check { name, outcome: Outcome::Failed(reason), detail: detail.clone() }];
    Rejection { reason, detail, checks, status: None }
}

/// The message in whatever was brought: XML, its base64, or the form that carried it.
///
/// # Errors
/// [`Rejection`]: what cannot be read is refused as the door refuses it.
pub fn message(octets: &[u8]) -> Result<Vec<u8>, Rejection> {
    let text = std::str::from_utf8(octets).map(str::trim).unwrap_or_default();
    let begins = text.trim_start_matches('\u{feff}');
    if text.is_empty() || begins.starts_with('<') {
        return Ok(octets.to_vec());
    }
    let read = if text.contains("SAMLResponse=") { Post::read(text).map(|post| post.message) } else { Post::decode(text) };
    read.map_err(|why| failed("binding", why.reason(), why.to_string()))
}

/// What was found.
#[derive(Debug, Serialize)]
pub struct Said {
    /// `accepted` or `rejected`.
    pub verdict: &'static str,
    /// Why it is rejected.
    pub reason: Option<&'static str>,
    /// Every check, in order.
    pub checks: Vec<SaidCheck>,
    /// What usually helps.
    pub fix: Option<&'static str>,
    /// Whom it is about.
    pub subject: Option<String>,
    /// The format of that name.
    pub name_id_format: Option<String>,
    /// How it calls the session.
    pub session_index: Option<String>,
    /// What it states of the subject.
    pub attributes: BTreeMap<String, Vec<String>>,
}

/// One check.
#[derive(Debug, Serialize)]
pub struct SaidCheck {
    /// Its name.
    pub name: &'static str,
    /// Whether it does not speak against the message.
    pub ok: bool,
    /// What was expected and found.
    pub detail: String,
}

impl Said {
    /// Of a message that may be believed.
    pub fn accepted(accepted: &Accepted) -> Self {
        let assertion = accepted.assertion.value();
        let name = assertion.name_id();
        let mut attributes: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for attribute in &assertion.attributes {
            attributes.entry(attribute.name.clone()).or_default().extend(attribute.texts().map(str::to_owned));
        }
        Self {
            verdict: "accepted",
            reason: None,
            checks: checks(&accepted.checks),
            fix: None,
            subject: name.map(|name| name.value.clone()),
            name_id_format: name.and_then(|name| name.format.clone()),
            session_index: assertion.authn.iter().find_map(|statement| statement.session_index.clone()),
            attributes,
        }
    }

    /// Of one that may not.
    pub fn rejected(rejection: &Rejection) -> Self {
        Self {
            verdict: "rejected",
            reason: Some(rejection.reason.word()),
            checks: checks(&rejection.checks),
            fix: Some(rejection.reason.advice()),
            subject: None,
            name_id_format: None,
            session_index: None,
            attributes: BTreeMap::new(),
        }
    }
}

fn checks(checks: &[Check]) -> Vec<SaidCheck> {
    let said = |check: &Check| {
        let detail = match check.outcome {
            Outcome::Passed => check.detail.clone(),
            Outcome::Failed(reason) => format!("{}: {}", reason.word(), check.detail),
            Outcome::Skipped => format!("skipped: {}", check.detail),
        };
        SaidCheck { name: check.name, ok: check.ok(), detail }
    };
    checks.iter().map(said).collect()
}

//! The ordered schemes of a tenant, and the loop over them.
//!
//! The chain goes on after absence and after failure, as the documented chain does
//! (`authentication-chain.md` §1); what an outage was is remembered, and never lets anyone in.

use std::sync::Arc;

use crate::admission::Admission;
use crate::audit::Trail;
use crate::decision::Challenges;
use crate::identity::{Identity, SchemeName};
use crate::request::CheckRequest;
use crate::scheme::{Asked, Outcome, Place, Reach, Rejection, Scheme, Unavailable, Verdict};

/// The ordered schemes of a tenant. Steps over the same material have been folded into one scheme.
#[derive(Debug, Default)]
pub struct Chain {
    links: Vec<Link>,
}

/// One link of a chain.
#[derive(Debug, Clone)]
pub struct Link {
    /// The scheme.
    pub scheme: Arc<dyn Scheme>,
    /// What a rejection does.
    pub on_reject: OnReject,
    /// Whether success opens a session once the policy has allowed.
    pub remember: bool,
}

/// What a rejection does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OnReject {
    /// The next scheme is asked.
    Continue,
    /// The chain ends.
    Stop,
}

/// Where somebody stands after the chain.
#[derive(Debug)]
pub enum Standing {
    /// Somebody we know.
    Known {
        /// Who.
        identity: Arc<Identity>,
        /// Whether to open a session once the policy has allowed.
        remember: bool,
        /// Whoever's session stepped aside for the credential.
        aside: Option<Box<Identity>>,
    },
    /// Nobody proved who is asking.
    Nobody {
        /// Whether a credential was presented and refused.
        attempted: bool,
    },
    /// Nobody proved who is asking, and a step that had material could not be asked.
    Undecided(Unavailable),
    /// The chain was ended by forged or replayed material.
    Refused(Rejection),
}

impl Chain {
    /// A chain of these links.
    pub fn new(links: Vec<Link>) -> Self {
        Self { links }
    }

    /// The links in order.
    pub fn links(&self) -> &[Link] {
        &self.links
    }

    /// Whether the chain has this scheme.
    pub fn has(&self, name: &SchemeName) -> bool {
        self.links.iter().any(|link| link.scheme.name() == name)
    }

    /// Every place a scheme of this chain reads.
    pub fn consumes(&self) -> impl Iterator<Item = &Place> {
        self.links.iter().flat_map(|link| link.scheme.consumes())
    }

    /// The scheme that begins a login through the browser.
    pub fn login_scheme(&self) -> Option<&Arc<dyn Scheme>> {
        self.links.iter().map(|link| &link.scheme).find(|scheme| scheme.login_flow().is_some())
    }

    /// Asks the schemes in order. The first success wins; later steps are not run, not verified, not counted.
    pub async fn run(&self, asked: &Asked<'_>, admission: &Admission, trail: &mut Trail) -> Standing {
        let request = asked.request;
        let explicit = self.links.iter().any(|link| link.scheme.explicit() && link.scheme.presents(request));
        let mut attempted = false;
        let mut unavailable = None;
        let mut stepped_aside = None;

        for link in &self.links {
            let scheme = &link.scheme;
            let since = trail.mark();
            if !scheme.presents(request) {
                trail.step(scheme.name(), Verdict::NotApplicable, None, since);
                continue;
            }
            // Architecture §4: a planted cookie must not take over a client that sends its own password.
            if explicit && !scheme.explicit() {
                stepped_aside = stepped_aside.or(Some(scheme));
                trail.step(scheme.name(), Verdict::Skipped, None, since);
                continue;
            }
            let lines = trail.steps.len();
            let outcome = match scheme.authenticate(asked, trail).await {
                Ok(Outcome::Authenticated(proof)) => match admission.admit(*proof, asked, trail).await {
                    Ok(Ok(identity)) => Ok(Outcome::Resumed(Box::new(identity))),
                    Ok(Err(rejection)) => Ok(Outcome::Rejected(rejection)),
                    Err(down) => Err(down),
                },
                other => other,
            };
            let family_wrote = trail.steps.len() > lines;
            let mut line = |verdict, reason| {
                if !family_wrote {
                    trail.step(scheme.name(), verdict, reason, since);
                }
            };
            match outcome {
                Ok(Outcome::NotApplicable) => line(Verdict::NotApplicable, None),
                Ok(Outcome::Resumed(identity)) => {
                    line(Verdict::Authenticated, None);
                    let aside = match stepped_aside {
                        Some(session) => resumed(session.as_ref(), asked, trail).await,
                        None => None,
                    };
                    return Standing::Known { identity: Arc::new(*identity), remember: link.remember, aside };
                }
                // INVARIANT: admission turned every proof into a resumed identity or a rejection above.
                Ok(Outcome::Authenticated(_)) => {}
                Ok(Outcome::Rejected(rejection)) => {
                    line(Verdict::Rejected, Some(rejection.reason));
                    attempted |= scheme.explicit();
                    if rejection.reach == Reach::Chain || link.on_reject == OnReject::Stop {
                        return Standing::Refused(rejection);
                    }
                }
                Err(down) => {
                    line(Verdict::Unavailable, Some(crate::audit::Reason::Unavailable));
                    tracing::warn!(scheme = %scheme.name(), error = %down, "a step could not be asked");
                    unavailable = unavailable.or(Some(down));
                }
            }
        }
        match unavailable {
            Some(down) => Standing::Undecided(down),
            None => Standing::Nobody { attempted },
        }
    }

    /// How a client nobody knows may present itself.
    pub fn challenges(&self, request: &CheckRequest, attempted: bool) -> Challenges {
        let http = self.links.iter().filter_map(|link| link.scheme.challenge(request)).collect();
        Challenges { http, login: self.login_scheme().is_some(), attempted }
    }
}

/// Whose session stepped aside, if it is live.
async fn resumed(scheme: &dyn Scheme, asked: &Asked<'_>, trail: &mut Trail) -> Option<Box<Identity>> {
    match scheme.authenticate(asked, trail).await {
        Ok(Outcome::Resumed(identity)) => Some(identity),
        Ok(Outcome::NotApplicable | Outcome::Authenticated(_) | Outcome::Rejected(_)) | Err(_) => None,
    }
}

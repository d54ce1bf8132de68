//! Who elsewhere may sign visitors in, by whatever protocol, and to whom of them a visitor is led.

use std::collections::BTreeMap;

use vestibule_engine::identity::{Level, SchemeName};

/// Somebody who may sign visitors in.
#[derive(Debug, Clone, Copy)]
pub struct Partner<'a> {
    /// Its name here.
    pub name: &'a str,
    /// The name to show.
    pub title: &'a str,
    /// Hosts whose visitors are led to it, lower case.
    pub hosts: &'a [String],
    /// Domains of mail addresses whose owners are led to it, lower case.
    pub domains: &'a [String],
    /// The strongest proof that it can be asked for.
    pub strongest: Level,
    /// The scheme that speaks its protocol.
    pub scheme: &'a SchemeName,
}

/// How strong a proof is of which nothing is known; as strong as a password.
pub const USUAL: Level = Level(10);

/// Authentication contexts of a partner (SAML core §3.3.2.2.1, OpenID Connect Core §2 `acr`).
#[derive(Debug, Clone, Copy)]
pub struct Contexts<'a> {
    /// Those of which one is demanded whatever is asked for; empty for any.
    pub demanded: &'a [String],
    /// What they are worth; others are [`USUAL`].
    pub levels: &'a BTreeMap<String, Level>,
}

impl<'a> Contexts<'a> {
    /// What a login in one of these contexts is worth.
    pub fn level<'c>(&self, found: impl IntoIterator<Item = &'c str>) -> Level {
        found.into_iter().filter_map(|context| self.levels.get(context)).max().copied().unwrap_or(USUAL)
    }

    /// The strongest that may be asked for.
    pub fn strongest(&self) -> Level {
        self.worth().map(|(_, level)| level).max().unwrap_or(USUAL).max(USUAL)
    }

    /// What to ask for, so that the proof is as strong as `least`.
    pub fn wanted(&self, least: Level) -> Vec<String> {
        match least > USUAL {
            true => self.worth().filter(|(_, level)| *level >= least).map(|(context, _)| context.to_owned()).collect(),
            false => self.demanded.to_vec(),
        }
    }

    fn worth(&self) -> impl Iterator<Item = (&'a str, Level)> {
        let demanded = self.demanded;
        let levels = self.levels.iter().map(|(context, level)| (context.as_str(), *level));
        levels.filter(move |(context, _)| demanded.is_empty() || demanded.iter().any(|one| one == context))
    }
}

/// What there is to tell whose users a visitor belongs to.
#[derive(Debug, Default)]
pub struct Clues<'a> {
    /// The partner that an address names.
    pub named: Option<&'a str>,
    /// The mail address or name that was typed.
    pub hint: Option<&'a str>,
    /// The host of the application that waits.
    pub host: Option<&'a str>,
    /// The partner that signed somebody in here before by itself.
    pub remembered: Option<&'a str>,
}

/// The partner that a visitor is led to; `None` where they have to choose.
pub fn choose<'p, 'a>(partners: &'p [Partner<'a>], clues: &Clues<'_>) -> Option<&'p Partner<'a>> {
    if let [only] = partners {
        return Some(only);
    }
    let called = |name: Option<&str>| partners.iter().find(|partner| name == Some(partner.name));
    let domain = clues.hint.and_then(|hint| hint.rsplit_once('@')).map(|(_, domain)| domain.to_lowercase());
    called(clues.named)
        .or_else(|| partners.iter().find(|partner| domain.as_ref().is_some_and(|domain| partner.domains.contains(domain))))
        .or_else(|| partners.iter().find(|partner| clues.host.is_some_and(|host| partner.hosts.iter().any(|own| own == host))))
        .or_else(|| called(clues.remembered))
}

//! Who elsewhere may sign visitors in, by whatever protocol, and to whom of them a visitor is led.

use vestibule_engine::identity::SchemeName;

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
    /// The scheme that speaks its protocol.
    pub scheme: &'a SchemeName,
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

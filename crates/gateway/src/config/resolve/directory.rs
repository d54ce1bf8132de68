//! Realms of type `ldap`.

use std::collections::HashMap;
use std::net::IpAddr;

use url::Url;

use super::Resolve;
use crate::config::checked::{Conceded, Ldap, LdapProtection, LdapServer};
use crate::config::file::{self, LdapDialect, LdapScope};
use crate::config::values::{At, Period};
use crate::realms::ldap::entry::Name;
use crate::realms::ldap::filter::Template;
use crate::realms::ldap::{Dialect, Groups, Mapping, Newcomers, Reach};

use vestibule_engine::identity::{ProfileName, RealmName, User};

/// Attempts at one time, at most: each takes two connections of the directory.
const MOST_CONNECTIONS: u16 = 256;
/// Longest time for one attempt: the schemes give up after ten seconds.
const LONGEST: Period = Period::seconds(9);

impl Resolve<'_> {
    pub(super) fn directory(&mut self, name: &At<String>, written: &file::LdapRealm) -> Option<Ldap> {
        let before = self.problems.len();
        let servers = self.directory_servers(name, written);
        let ca = written.ca.as_ref().and_then(|at| {
            if servers.iter().all(|server| server.protection == LdapProtection::Plain) {
                self.error(at, "certificates mean nothing without TLS").help =
                    Some("write the url with ldaps://, or add start_tls = true".to_owned());
            }
            self.certificates_of(at)
        });
        let bind_password = self.secret(&written.bind_password);
        for at in [&written.bind_dn, &written.base] {
            if Name::parse(&at.value).is_none() {
                self.error(at, format!("`{}` is not a distinguished name (RFC 4514)", at.value)).help =
                    Some("write it as \"ou=people,dc=example,dc=com\"".to_owned());
            }
        }
        let dialect = match written.dialect {
            LdapDialect::OpenLdap => Dialect::OpenLdap,
            LdapDialect::ActiveDirectory => Dialect::ActiveDirectory,
            LdapDialect::Ds389 => Dialect::Ds389,
        };
        let usual = usual(dialect);
        let filter = match &written.filter {
            Some(at) => self.or_error(at, Template::parse(&at.value)),
            None => self.or_error(name, Template::parse(usual.filter)),
        };
        let mapping = Mapping {
            id: self.attribute(written.id.as_ref(), usual.id),
            name: self.attribute(written.name.as_ref(), usual.name),
            display_name: self.attribute(written.display_name.as_ref(), "displayName"),
            email: self.attribute(written.email.as_ref(), "mail"),
        };
        let groups = self.directory_groups(written);
        if written.profile.value == User::ADMINISTRATOR {
            self.error(&written.profile, "administrators are the gateway's own users").help =
                Some("they are made by `vestibule user add`".to_owned());
        }
        if !(1..=MOST_CONNECTIONS).contains(&written.connections.value) {
            self.error(&written.connections, format!("this is between 1 and {MOST_CONNECTIONS}"));
        }
        let time_limit = self.positive(&written.timeout);
        if written.timeout.value > LONGEST {
            self.error(&written.timeout, format!("one attempt may take {LONGEST} at most"));
        }
        let refresh = self.positive(&written.refresh);
        let ours = self.file.passwords.account_failures.value;
        if let Some(limit) = written.locks_after.as_ref().filter(|limit| limit.value <= ours) {
            let warning = format!("with account_failures = {ours} here, outsiders can lock an account in the directory");
            self.warn(limit, warning).help = Some("make account_failures in [passwords] fewer than this".to_owned());
        }
        let newcomers = match written.provision {
            true => Newcomers::Provisioned(ProfileName::from(written.profile.value.as_str())),
            false => Newcomers::Refused,
        };
        let ldap = Ldap {
            servers,
            ca: ca.unwrap_or_default(),
            bind_dn: written.bind_dn.value.clone(),
            bind_password: bind_password?,
            base: written.base.value.clone(),
            reach: match written.scope {
                LdapScope::Subtree => Reach::Subtree,
                LdapScope::OneLevel => Reach::OneLevel,
            },
            filter: filter?,
            dialect,
            mapping,
            groups: groups?,
            newcomers,
            exclusive: written.exclusive,
            connections: usize::from(written.connections.value),
            time_limit,
            refresh,
        };
        // What was refused is not to be used, whatever it became.
        let refused = self.problems.iter().skip(before).any(|problem| problem.severity == crate::config::problem::Severity::Error);
        (!refused).then_some(ldap)
    }

    fn directory_servers(&mut self, name: &At<String>, written: &file::LdapRealm) -> Vec<LdapServer> {
        if written.url.value.0.is_empty() {
            self.error(&written.url, format!("the realm `{}` has no url", name.value));
        }
        let mut servers = Vec::new();
        for at in &written.url.value.0 {
            if at.value.contains('@') {
                let problem = self.source.problem_with_secret(&at.span, "the address of a directory has no name and no password in it");
                self.note(problem).help = Some("write bind_dn and bind_password".to_owned());
                continue;
            }
            let parsed = Url::parse(&at.value).ok().filter(|url| {
                let bare = matches!(url.path(), "" | "/") && url.query().is_none() && url.fragment().is_none();
                matches!(url.scheme(), "ldap" | "ldaps") && bare && url.username().is_empty() && url.password().is_none()
            });
            let host = parsed.as_ref().and_then(Url::host_str).filter(|host| !host.is_empty());
            let (Some(url), Some(host)) = (&parsed, host) else {
                self.error(at, format!("`{}` is not the address of a directory", at.value)).help =
                    Some("write it as \"ldaps://ldap.example.com\"".to_owned());
                continue;
            };
            let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
            let (protection, usual) = match (url.scheme(), written.start_tls.value) {
                ("ldaps", false) => (LdapProtection::Ldaps, 636),
                ("ldaps", true) => {
                    self.error(&written.start_tls, "what begins with TLS cannot turn into it").help =
                        Some("write the url with ldap://".to_owned());
                    continue;
                }
                (_, true) => (LdapProtection::StartTls, 389),
                (_, false) => (LdapProtection::Plain, 389),
            };
            let realm = RealmName::from(name.value.as_str());
            if protection == LdapProtection::Plain && !is_loopback(&host) && !self.is_conceded(&Conceded::PlainLdap(realm)) {
                self.error(at, "passwords would go to the directory in the clear").help =
                    Some("write ldaps://, add start_tls = true, or concede `plain-ldap`".to_owned());
            }
            servers.push(LdapServer { host, port: url.port().unwrap_or(usual), protection });
        }
        servers
    }

    fn directory_groups(&mut self, written: &file::LdapRealm) -> Option<Groups> {
        let Some(attribute) = &written.group_attribute else {
            let lonely = written.groups.as_ref().map(At::place).or_else(|| written.group_base.as_ref().map(At::place));
            if let Some(at) = lonely {
                self.error(&at, "nobody's groups are read").help = Some("add group_attribute = \"memberOf\"".to_owned());
            }
            return Some(Groups::Ours);
        };
        let name = self.attribute(Some(attribute), "memberOf");
        match (&written.groups, &written.group_base) {
            (Some(table), None) => {
                let mut names = HashMap::new();
                for (dn, group) in &table.value.0 {
                    match Name::parse(&dn.value) {
                        _ if group.value.trim().is_empty() => drop(self.error(group, "a group has a name")),
                        Some(dn) => drop(names.insert(dn, group.value.clone())),
                        None => drop(self.error(dn, format!("`{}` is not a distinguished name (RFC 4514)", dn.value))),
                    }
                }
                Some(Groups::Table { attribute: name, names })
            }
            (None, Some(base)) => match Name::parse(&base.value) {
                Some(parsed) => Some(Groups::Below { attribute: name, base: parsed }),
                None => {
                    self.error(base, format!("`{}` is not a distinguished name (RFC 4514)", base.value));
                    None
                }
            },
            (None, None) => {
                self.error(attribute, "any group of the directory would count, whoever may make one there").help =
                    Some("list them in `groups`, or name the entry they stand below in `group_base`".to_owned());
                None
            }
            (Some(_), Some(base)) => {
                self.error(base, "groups are either listed or taken from below an entry").help =
                    Some("remove `groups` or `group_base`".to_owned());
                None
            }
        }
    }

    fn attribute(&mut self, written: Option<&At<String>>, usual: &str) -> String {
        let Some(at) = written else { return usual.to_owned() };
        let fits = !at.value.is_empty() && at.value.bytes().all(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'.'));
        if !fits {
            self.error(at, format!("`{}` is not the name of an attribute", at.value));
        }
        at.value.clone()
    }
}

impl<T> At<T> {
    fn place(&self) -> At<()> {
        At { value: (), span: self.span.clone() }
    }
}

struct Usual {
    filter: &'static str,
    id: &'static str,
    name: &'static str,
}

fn usual(dialect: Dialect) -> Usual {
    match dialect {
        Dialect::OpenLdap => Usual { filter: "(uid={user})", id: "entryUUID", name: "uid" },
        Dialect::ActiveDirectory => {
            Usual { filter: "(&(objectCategory=person)(sAMAccountName={user}))", id: "objectGUID", name: "sAMAccountName" }
        }
        Dialect::Ds389 => Usual { filter: "(uid={user})", id: "nsUniqueId", name: "uid" },
    }
}

pub(super) fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

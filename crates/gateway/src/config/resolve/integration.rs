//! Old clients of integration services: addresses that are apart from each other and from all else, a route for the data, third
//! parties that are handed tokens over TLS.

use std::time::Duration;

use vestibule_engine::identity::{GroupName, SchemeName, TenantId};
use vestibule_engine::request::Target;
use vestibule_engine::route::BodyNeed;
use vestibule_engine::session::Programs;

use super::Resolve;
use crate::config::checked::{Conceded, Integration, Route, Scheme, Tenant};
use crate::config::file;
use crate::config::values::{At, Period};
use crate::schemes::integration::{Link, Passwords, Settings, UrlSessions, is_at_or_below, token};

/// The longest idle time of these services (`oracle-stateful-sessions.md` §3.2).
const LONGEST_IDLE: Duration = Duration::from_secs(600);
/// The longest duration of a session in hours (§3.2).
const LONGEST_DURATION: u64 = 9999;
/// How long a token may be good for (§6.2).
const TOKEN_LIFETIME: std::ops::RangeInclusive<u64> = 10..=300;
/// What a template of an address has in place of what is put there.
const TARGET: &str = "${TARGET}";
const TOKEN: &str = "${TOKEN}";

impl Resolve<'_> {
    /// What a tenant's old clients see, if its chain knows them.
    pub(super) fn integration(&mut self, name: &At<String>, written: &file::Tenant, chain: &[SchemeName]) -> Option<Integration> {
        let known = chain.iter().any(|name| matches!(self.schemes.get(name), Some(Scheme::Integration { .. })));
        let default = file::Integration::default();
        let written = match &written.integration {
            Some(at) if !known => {
                self.error(at, "no client of these services would be recognised").help =
                    Some("add a scheme of type `integration` to the chain".to_owned());
                return None;
            }
            Some(at) => &at.value,
            None if known => &default,
            None => return None,
        };
        let id = TenantId::from(name.value.as_str());
        for at in [&written.path, &written.validate_path, &written.token_path].into_iter().chain(&written.administrative) {
            self.service_path(at);
        }
        for at in [&written.validate_path, &written.token_path] {
            if is_at_or_below(&at.value, &written.path.value) || written.validate_path.value == written.token_path.value {
                self.error(at, "this is an address of the data already");
            }
        }
        for at in written.administrative.iter().filter(|at| !is_at_or_below(&at.value, &written.path.value)) {
            self.error(at, format!("these services are below `{}`", written.path.value));
        }
        if let Some(at) = written.company.as_ref().filter(|at| at.value.is_empty() || at.value.contains(['/', '\\'])) {
            self.error(at, format!("`{}` cannot be a company's sign-in id", at.value));
        }
        if let Some(at) = &written.its_url {
            self.its_url(at, written.ssoid.is_some());
        }
        if written.quota.value == 0 {
            self.error(&written.quota, "nobody could log in");
        }
        if let Some(at) = written.allotment.as_ref().filter(|at| at.value == 0) {
            self.error(at, "nobody could ask for anything");
        }
        if written.spacing.value > Period::seconds(60) {
            self.error(&written.spacing, "nobody waits longer than a minute for the next request");
        }
        let hour = Duration::from_secs(3600);
        let duration = written.duration.value.0;
        if duration.as_secs() % hour.as_secs() != 0
            || duration.subsec_nanos() != 0
            || duration.as_secs() / hour.as_secs() > LONGEST_DURATION
        {
            self.error(&written.duration, format!("this is in whole hours, {LONGEST_DURATION} at most"));
        }
        if !TOKEN_LIFETIME.contains(&written.token_lifetime.value.0.as_secs()) {
            self.error(&written.token_lifetime, "a token is good for 10s to 5m");
        }
        let conceded = self.is_conceded(&Conceded::SessionIdInUrl(id));
        let links = written.links.0.iter().filter_map(|(name, at)| Some((name.value.clone(), self.link(name, at)?))).collect();
        Some(Integration {
            settings: Settings {
                path: written.path.value.clone(),
                validate_path: written.validate_path.value.clone(),
                token_path: written.token_path.value.clone(),
                company: written.company.as_ref().map(|at| at.value.clone()),
                ssoid: written.ssoid.as_ref().map(|at| at.value.clone()),
                its_url: written.its_url.as_ref().map(|at| at.value.clone()),
                passwords: match written.authentication {
                    file::IntegrationAuthentication::PasswordOrSso => Passwords::Count,
                    file::IntegrationAuthentication::SsoOnly => Passwords::DoNot,
                },
                groups: written.groups.iter().map(|name| GroupName::from(name.as_str())).collect(),
                compatibility: written.compatibility,
                plus_is_space: written.plus_is_space,
                administrative: written.administrative.iter().map(|at| at.value.clone()).collect(),
                url_sessions: if conceded { UrlSessions::Conceded } else { UrlSessions::Refused },
                validators: written.validators.iter().map(|net| net.0).collect(),
                links,
            },
            idle: self.positive(&written.idle).min(LONGEST_IDLE),
            absolute: if duration.is_zero() { Duration::MAX } else { duration },
            programs: Programs { quota: written.quota.value, spacing: written.spacing.value.0 },
            allotment: written.allotment.as_ref().map(|at| at.value),
            tokens: token::Settings { lifetime: written.token_lifetime.value.0, strict: written.strict_single_use },
        })
    }

    fn service_path(&mut self, at: &At<String>) {
        let canonical = Target::parse(&at.value).is_ok_and(|target| target.is_canonical() && target.path() == at.value);
        if !canonical || at.value == "/" || at.value.ends_with('/') || at.value.contains('*') || at.value.starts_with("/.vestibule") {
            self.error(at, format!("`{}` cannot be the address of a service", at.value)).help =
                Some("write a path, as in \"/Services/Integration\"".to_owned());
        }
    }

    /// Clients cut the address from the word `TARGET` to its end (§8).
    fn its_url(&mut self, at: &At<String>, ssoid: bool) {
        if !ssoid {
            self.error(at, "nobody could ask for this address").help = Some("add the company's ssoid".to_owned());
        }
        let ends = at.value.ends_with(&format!("TARGET={TARGET}"));
        let once = at.value.matches("TARGET").count() == 2;
        if !ends || !once || url::Url::parse(&at.value).is_err() || !at.value.is_ascii() {
            self.error(at, "clients cut this address at the word TARGET, which has to be its last parameter").help =
                Some("write it as in \"https://idp.example.com/its?TARGET=${TARGET}\"".to_owned());
        }
    }

    fn link(&mut self, name: &At<String>, at: &At<String>) -> Option<Link> {
        if !super::is_name(&name.value) {
            self.error(name, format!("`{}` cannot be a name", name.value)).help =
                Some("a name has letters, digits, `-` and `_`, and at most 64 of them".to_owned());
            return None;
        }
        let Ok(mut url) = url::Url::parse(&at.value) else {
            self.error(at, format!("`{}` is not a URL", at.value));
            return None;
        };
        let local = url.host_str().is_some_and(|host| host == "localhost" || host.ends_with(".localhost"));
        if url.scheme() != "https" && !(url.scheme() == "http" && local) {
            self.error(at, "whoever sees this token may be its user").help = Some("write the address with https://".to_owned());
        }
        let pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
        let (tokens, rest): (Vec<_>, Vec<_>) = pairs.into_iter().partition(|(_, value)| value == TOKEN);
        let [(parameter, _)] = tokens.as_slice() else {
            self.error(at, "one parameter of the address is the token").help =
                Some("write it as in \"https://reports.example.com/enter?odSsoToken=${TOKEN}\"".to_owned());
            return None;
        };
        url.set_query(None);
        for (name, value) in &rest {
            url.query_pairs_mut().append_pair(name, value);
        }
        Some(Link { url, parameter: parameter.clone() })
    }

    /// What is sent to these services has to be led somewhere, and its head be read.
    pub(super) fn integration_routes(&mut self, tenants: &[Tenant], routes: &[Route]) {
        let file = self.file;
        for tenant in tenants {
            let Some(integration) = &tenant.integration else { continue };
            let path = &integration.settings.path;
            let takes = |route: &&Route| tenant.is_in(&route.scope) && route.pattern_text == format!("{path}/**");
            let reads = |route: &&Route| match &route.body {
                BodyNeed::Whole { types, .. } => types.iter().any(|known| known == "text/xml"),
                BodyNeed::Never => false,
            };
            let found = routes.iter().find(takes);
            let Some(at) = file.tenant.0.iter().find(|(name, _)| name.value == tenant.id.as_str()).map(|(name, _)| name) else { continue };
            match found {
                None => {
                    self.error(at, format!("no route takes what old clients send to `{path}`")).help = Some(format!(
                        "add [[route]] with match = \"{path}/**\", policies, forward and body = {{ limit = \"1MiB\", types = [\"text/xml\"] }}"
                    ));
                }
                Some(route) if !reads(&route) => {
                    self.error(at, format!("the route `{path}/**` reads no messages, and who sends one is in its head")).help =
                        Some("add body = { limit = \"1MiB\", types = [\"text/xml\"] } to the route".to_owned());
                }
                Some(_) => {}
            }
        }
    }
}

//! Reads a configuration section by section, so that what is wrong with several is said at once, and says it in
//! our own words with a place.

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use crate::config::file::{File, Inject, Realm, Response, Scheme};
use crate::config::problem::{Problem, Source, list, suggest};
use crate::config::secrets;
use crate::config::values::{At, Named};

impl File {
    /// Reads a configuration. Problems of several sections are found at once.
    ///
    /// # Errors
    /// Every section that could not be read.
    pub fn read(source: &Source) -> Result<Self, Vec<Problem>> {
        let (root, errors) = DeTable::parse_recoverable(&source.text);
        if !errors.is_empty() {
            return Err(errors.iter().map(|error| translate(source, error, &(0..0))).collect());
        }
        let mut reader = Reader { source, problems: Vec::new() };
        let mut file = Self::default();
        for (key, value) in in_order(root.into_inner()) {
            match key.value.as_str() {
                "listen" => file.listen = reader.list(&key, value),
                "server" => file.server = reader.section(value),
                "limits" => file.limits = reader.section(value),
                "tenant" => file.tenant = reader.named(&key, value, Reader::plain),
                "front_door" => file.front_door = reader.section(value),
                "route" => file.route = reader.list(&key, value),
                "upstream" => file.upstream = reader.named(&key, value, Reader::plain),
                "scheme" => file.scheme = reader.named(&key, value, Reader::scheme),
                "identity_provider" => file.identity_provider = reader.named(&key, value, Reader::plain),
                "openid_provider" => file.openid_provider = reader.named(&key, value, Reader::plain),
                "realm" => file.realm = reader.named(&key, value, Reader::realm),
                "profile" => file.profile = reader.named(&key, value, Reader::plain),
                "delegate" => file.delegate = reader.named(&key, value, Reader::plain),
                "inject" => file.inject = reader.named(&key, value, Reader::inject),
                "response" => file.response = reader.named(&key, value, Reader::response),
                "service_provider" => file.service_provider = reader.named(&key, value, Reader::plain),
                "session" => file.session = reader.section(value),
                "passwords" => file.passwords = reader.section(value),
                "store" => file.store = reader.section(value),
                "keys" => file.keys = reader.section(value),
                "audit" => file.audit = reader.section(value),
                "administrators" => file.administrators = reader.section(value),
                "concession" => file.concession = reader.list(&key, value),
                unknown => {
                    let problem = source.problem_with_key(&key.span, format!("there is no section `{unknown}`"));
                    reader.problems.push(with_help(problem, suggest(unknown, SECTIONS)));
                }
            }
        }
        if reader.problems.is_empty() { Ok(file) } else { Err(reader.problems) }
    }
}

/// All sections, in the order of a request.
pub const SECTIONS: [&str; 23] = [
    "listen",
    "server",
    "limits",
    "tenant",
    "front_door",
    "route",
    "upstream",
    "scheme",
    "identity_provider",
    "openid_provider",
    "realm",
    "profile",
    "delegate",
    "inject",
    "response",
    "service_provider",
    "session",
    "passwords",
    "store",
    "keys",
    "audit",
    "administrators",
    "concession",
];

/// Words that later versions will know, so that the refusal can say so.
const LATER_SCHEMES: [&str; 1] = ["sso-token"];
const LATER_INJECTORS: [&str; 0] = [];

struct Reader<'s> {
    source: &'s Source,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    fn section<T: DeserializeOwned + Default>(&mut self, value: Spanned<DeValue<'_>>) -> T {
        self.plain(value).map(|at| at.value).unwrap_or_default()
    }

    fn plain<T: DeserializeOwned>(&mut self, value: Spanned<DeValue<'_>>) -> Option<At<T>> {
        let span = value.span();
        match T::deserialize(ValueDeserializer::from(value)) {
            Ok(value) => Some(At { value, span }),
            Err(error) => {
                self.problems.push(translate(self.source, &error, &span));
                None
            }
        }
    }

    fn list<T: DeserializeOwned>(&mut self, key: &At<String>, value: Spanned<DeValue<'_>>) -> Vec<At<T>> {
        match value.into_inner() {
            DeValue::Array(items) => items.into_iter().filter_map(|item| self.plain(item)).collect(),
            _ => {
                let problem = self.source.problem(&key.span, format!("`{}` is a list of tables", key.value));
                self.problems.push(problem.help(format!("write its heading as [[{}]]", key.value)));
                Vec::new()
            }
        }
    }

    fn named<T>(
        &mut self,
        key: &At<String>,
        value: Spanned<DeValue<'_>>,
        read: fn(&mut Self, Spanned<DeValue<'_>>) -> Option<At<T>>,
    ) -> Named<At<T>> {
        let DeValue::Table(table) = value.into_inner() else {
            let problem = self.source.problem(&key.span, format!("each {} has a name", key.value));
            self.problems.push(problem.help(format!("write its heading as [{}.NAME]", key.value)));
            return Named::default();
        };
        let mut found = Vec::new();
        for (name, value) in in_order(table) {
            if !value.get_ref().is_table() {
                let problem = self.source.problem_with_key(&name.span, format!("`{}` stands outside of a named {}", name.value, key.value));
                self.problems.push(problem.help(format!("write the heading as [{}.NAME]", key.value)));
                continue;
            }
            if let Some(at) = read(self, value) {
                found.push((name, at));
            }
        }
        Named(found)
    }

    fn scheme(&mut self, value: Spanned<DeValue<'_>>) -> Option<At<Scheme>> {
        let (kind, value) = self.kind(
            value,
            "scheme",
            &[
                "session",
                "basic",
                "login-form",
                "client-certificate",
                "identity-url",
                "integration",
                "introspection",
                "saml",
                "oidc",
                "session-ticket",
                "ws-security",
            ],
            &LATER_SCHEMES,
        )?;
        match kind.as_str() {
            "session" => self.plain(value).map(|at| at.map(Scheme::Session)),
            "basic" => self.plain(value).map(|at| at.map(Scheme::Basic)),
            "login-form" => self.plain(value).map(|at| at.map(Scheme::LoginForm)),
            "identity-url" => self.plain(value).map(|at| at.map(Scheme::IdentityUrl)),
            "client-certificate" => self.plain(value).map(|at| at.map(Scheme::ClientCertificate)),
            "introspection" => self.plain(value).map(|at| at.map(|scheme| Scheme::Introspection(Box::new(scheme)))),
            "oidc" => self.plain(value).map(|at| at.map(Scheme::Oidc)),
            "integration" => self.plain(value).map(|at| at.map(Scheme::Integration)),
            "saml" => self.plain(value).map(|at| at.map(|saml| Scheme::Saml(Box::new(saml)))),
            "session-ticket" => self.plain(value).map(|at| at.map(Scheme::SessionTicket)),
            _ => self.plain(value).map(|at| at.map(|scheme| Scheme::WsSecurity(Box::new(scheme)))),
        }
    }

    fn realm(&mut self, value: Spanned<DeValue<'_>>) -> Option<At<Realm>> {
        let (kind, value) = self.kind(value, "realm", &["local", "ldap", "delegated", "shared-secrets"], &[])?;
        match kind.as_str() {
            "local" => self.plain(value).map(|at| at.map(Realm::Local)),
            "shared-secrets" => self.plain(value).map(|at| at.map(Realm::SharedSecrets)),
            "ldap" => self.plain(value).map(|at| at.map(|ldap| Realm::Ldap(Box::new(ldap)))),
            _ => self.plain(value).map(|at| at.map(|delegated| Realm::Delegated(Box::new(delegated)))),
        }
    }

    fn inject(&mut self, value: Spanned<DeValue<'_>>) -> Option<At<Inject>> {
        let (kind, value) = self.kind(value, "injector", &["headers", "jwt"], &LATER_INJECTORS)?;
        match kind.as_str() {
            "headers" => self.plain(value).map(|at| at.map(Inject::Headers)),
            _ => self.plain(value).map(|at| at.map(Inject::Jwt)),
        }
    }

    fn response(&mut self, value: Spanned<DeValue<'_>>) -> Option<At<Response>> {
        let (kind, value) = self.kind(value, "response", &["headers", "session-ticket", "ws-security"], &[])?;
        match kind.as_str() {
            "headers" => self.plain(value).map(|at| at.map(Response::Headers)),
            "session-ticket" => self.plain(value).map(|at| at.map(Response::SessionTicket)),
            _ => self.plain(value).map(|at| at.map(|response| Response::WsSecurity(Box::new(response)))),
        }
    }

    /// Takes `type` out of a table. Done here and not by serde, which would lose every place below.
    fn kind<'i>(
        &mut self,
        value: Spanned<DeValue<'i>>,
        what: &str,
        known: &[&str],
        later: &[&str],
    ) -> Option<(String, Spanned<DeValue<'i>>)> {
        let span = value.span();
        let DeValue::Table(mut table) = value.into_inner() else { return None };
        let Some(kind) = table.remove("type") else {
            let problem = self.source.problem(&span, format!("the {what} has no `type`"));
            self.problems.push(problem.help(format!("there is {}", list(known))));
            return None;
        };
        let kind_span = kind.span();
        let text = kind.get_ref().as_str().unwrap_or_default().to_owned();
        if known.contains(&text.as_str()) {
            return Some((text, Spanned::new(span, DeValue::Table(table))));
        }
        let problem = if later.contains(&text.as_str()) {
            self.source
                .problem(&kind_span, format!("this version has no {what} of type `{text}` yet"))
                .help(format!("there is {}", list(known)))
        } else {
            with_help(self.source.problem(&kind_span, format!("no {what} is of type `{text}`")), suggest(&text, known.iter().copied()))
        };
        self.problems.push(problem);
        None
    }
}

impl<T> At<T> {
    fn map<U>(self, make: impl FnOnce(T) -> U) -> At<U> {
        At { value: make(self.value), span: self.span }
    }
}

fn in_order<'i>(table: DeTable<'i>) -> Vec<(At<String>, Spanned<DeValue<'i>>)> {
    let place = |key: Spanned<std::borrow::Cow<'i, str>>| At { span: key.span(), value: key.into_inner().into_owned() };
    let mut entries: Vec<_> = table.into_iter().map(|(key, value)| (place(key), value)).collect();
    entries.sort_by_key(|(key, _)| key.span.start);
    entries
}

fn with_help(problem: Problem, help: Option<String>) -> Problem {
    match help {
        Some(help) => problem.help(help),
        None => problem,
    }
}

/// Says in our words what the TOML reader said in its own. Our own errors carry help after a line break.
fn translate(source: &Source, error: &toml::de::Error, section: &std::ops::Range<usize>) -> Problem {
    let span = error.span().unwrap_or_else(|| section.clone());
    let message = error.message();
    if message.contains(secrets::INLINE) {
        let (what, help) = secrets::INLINE.split_once('\n').unwrap_or((secrets::INLINE, ""));
        return source.problem_with_secret(&span, what).help(help);
    }
    let mut quoted = message.split('`').skip(1).step_by(2);
    if let Some(rest) = message.strip_prefix("unknown field ") {
        let key = quoted.next().unwrap_or_default();
        let problem = source.problem_with_key(&span, format!("`{key}` is not a key of this section"));
        return match rest.contains("there are no fields") {
            true => problem.help("it has no keys"),
            false => with_help(problem, suggest(key, quoted)),
        };
    }
    if message.starts_with("unknown variant ") {
        let word = quoted.next().unwrap_or_default();
        return with_help(source.problem(&span, format!("`{word}` is not possible here")), suggest(word, quoted));
    }
    if let Some(key) = message.strip_prefix("missing field ") {
        return source.problem(&span, format!("{key} is missing"));
    }
    let (what, help) = message.split_once('\n').map_or((message, None), |(what, help)| (what, Some(help.to_owned())));
    let what = match what.strip_prefix("invalid type: ").and_then(|what| what.split_once(", expected ")) {
        Some((found, expected)) => format!("expected {expected}, found {found}"),
        None => what.to_owned(),
    };
    with_help(source.problem(&span, what), help)
}

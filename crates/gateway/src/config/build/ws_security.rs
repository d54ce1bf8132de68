//! Security headers as running: schemes, what routes do to headers, and which response a chain can never feed.

use std::collections::HashMap;
use std::sync::Arc;

use vestibule_engine::identity::{ResponseName, SchemeName, TenantId};
use vestibule_engine::inject::Injector;
use vestibule_engine::policy::Policy;
use vestibule_engine::route::BodyNeed;
use vestibule_engine::scheme::{Reach, Scheme};
use vestibule_soap::Target;
use vestibule_wss::{CertificateStore, TokenKind, TrustedIssuer};
use vestibule_xmlsec::{DecryptionKeys, TrustedKeys};

use super::Schemes;
use crate::config::DECRYPTION;
use crate::config::checked::{self, Checked};
use crate::config::problem::Problem;
use crate::inject::ws_security::{Need, PasswordCame, WsSecurityInjector, needs, needs_key};
use crate::schemes::integration;
use crate::schemes::owners::Owners;
use crate::schemes::ws_security::verifier::Verifier;
use crate::schemes::ws_security::{Credential, WsSecurity};
use crate::serve::proxy::Speaks;
use crate::ticket::SessionTickets;

impl Schemes<'_> {
    /// A scheme over security headers. `behind` are those after it: one of them for the same token may know another sender, so
    /// that only the last one's refusal ends the chain.
    pub(super) fn ws_security(
        &self,
        name: &SchemeName,
        security: &checked::WsSecurity,
        behind: &[&SchemeName],
    ) -> Result<Arc<dyn Scheme>, String> {
        let said = |error: vestibule_wss::Error| error.to_string();
        let alike = |other: &&SchemeName| match self.checked.schemes.get(*other) {
            Some(checked::Scheme::WsSecurity(other)) => other.token == security.token && other.role == security.role,
            Some(
                checked::Scheme::Session
                | checked::Scheme::Basic { .. }
                | checked::Scheme::ClientCertificate(_)
                | checked::Scheme::IdentityUrl(_)
                | checked::Scheme::Saml(_)
                | checked::Scheme::Oidc(_)
                | checked::Scheme::Introspection(_)
                | checked::Scheme::Integration { .. }
                | checked::Scheme::SessionTicket(_)
                | checked::Scheme::LoginForm { .. },
            )
            | None => false,
        };
        let reach = if behind.iter().any(alike) { Reach::Step } else { Reach::Chain };
        let mut issuers = Vec::new();
        for issuer in &security.issuers {
            let (mut keys, mut attesters) = (TrustedKeys::new(), CertificateStore::new());
            for der in &issuer.certificates {
                keys.add_certificate(der).map_err(|error| error.to_string())?;
            }
            issuer.attesters.iter().try_for_each(|der| attesters.know(der)).map_err(said)?;
            issuers.push(TrustedIssuer { entity_id: issuer.entity_id.clone(), keys, attesters });
        }
        let mut decryption = DecryptionKeys::new();
        for key in &security.decryption {
            decryption.add_pkcs8(DECRYPTION, key.reveal()).map_err(|error| error.to_string())?;
        }
        let verifier = Verifier {
            role: security.role.clone(),
            tokens: vec![security.token],
            parts: security.parts.clone(),
            window: security.window,
            concessions: security.concessions,
            certificates: security.trust.store().map_err(said)?,
            issuers,
            audience: security.audience.clone(),
            recipients: security.recipients.clone(),
            decryption: (!security.decryption.is_empty()).then_some(decryption),
        };
        let users = self.house.users.clone();
        let credential = match security.token {
            TokenKind::Username => Credential::Username(self.family(self.steps(name, &security.realms)?)),
            TokenKind::X509 => Credential::X509(Owners::new(security.mapping.clone(), security.suffix.clone(), users)),
            TokenKind::Saml => Credential::Saml { subject: security.subject.clone(), users, tickets: Box::new(self.house.tickets.clone()) },
        };
        let knows_since = self.house.knows_since;
        Ok(Arc::new(WsSecurity::new(name.clone(), verifier, credential, self.plain(), reach).knowing_since(knows_since)))
    }
}

/// What becomes of security headers on a route, where it reads bodies.
pub(super) fn injector(checked: &Checked, route: &checked::Route, tickets: SessionTickets) -> Result<Option<Arc<dyn Injector>>, String> {
    let mut roles: HashMap<TenantId, Vec<Target>> = HashMap::new();
    let mut passwords = HashMap::new();
    for tenant in &checked.tenants {
        for name in &tenant.chain {
            match checked.schemes.get(name) {
                Some(checked::Scheme::WsSecurity(security)) => {
                    let read = roles.entry(tenant.id.clone()).or_default();
                    if !read.contains(&security.role) {
                        read.push(security.role.clone());
                    }
                    if security.token == TokenKind::Username {
                        passwords.insert(name.clone(), PasswordCame::Token(security.role.clone()));
                    }
                }
                // What stands there is read on the way to these services only, and is theirs to read elsewhere.
                Some(checked::Scheme::Integration { .. }) => {
                    let below = |path: &str| integration::is_at_or_below(&route.pattern_text, path);
                    if tenant.integration.as_ref().is_some_and(|written| below(&written.settings.path)) {
                        let read = roles.entry(tenant.id.clone()).or_default();
                        if !read.contains(&Target::Ultimate) {
                            read.push(Target::Ultimate);
                        }
                    }
                    passwords.insert(name.clone(), PasswordCame::Token(Target::Ultimate));
                }
                // The header whose signature shows who holds the ticket goes no further, either.
                Some(checked::Scheme::SessionTicket(ticket)) => {
                    let read = roles.entry(tenant.id.clone()).or_default();
                    read.extend(
                        ticket.settings.signed.iter().map(|(role, _)| role.clone()).filter(|role| !read.contains(role)).collect::<Vec<_>>(),
                    );
                }
                Some(checked::Scheme::Basic { .. }) => drop(passwords.insert(name.clone(), PasswordCame::Basic)),
                Some(
                    checked::Scheme::Session
                    | checked::Scheme::ClientCertificate(_)
                    | checked::Scheme::IdentityUrl(_)
                    | checked::Scheme::Saml(_)
                    | checked::Scheme::Oidc(_)
                    | checked::Scheme::Introspection(_)
                    | checked::Scheme::LoginForm { .. },
                )
                | None => {}
            }
        }
    }
    let responses: Vec<(ResponseName, checked::WsSecurityResponse)> = checked
        .responses
        .iter()
        .filter_map(|(name, response)| match response {
            checked::Response::WsSecurity(response) => Some((name.clone(), (**response).clone())),
            checked::Response::Headers(_) | checked::Response::SessionTicket(_) => None,
        })
        .collect();
    if route.body == BodyNeed::Never || (roles.is_empty() && responses.is_empty()) {
        return Ok(None);
    }
    let injector = WsSecurityInjector::new(route.security_header, roles, responses, passwords, tickets)?;
    Ok(Some(Arc::new(injector)))
}

/// What could never work of the responses that a route's policies name: a header without a body to write it into, through a
/// door that cannot, or for a chain that brings none of what it needs (`policy-server-and-ws-security.md` §3.6, §14).
pub(super) fn problems(checked: &Checked, route: &checked::Route, policy: &Policy) -> Vec<Problem> {
    let Some(file) = route.policies.first() else { return Vec::new() };
    let mut named: Vec<(&ResponseName, Need, bool)> = Vec::new();
    for name in policy.responses() {
        let (need, writes) = match checked.responses.get(name) {
            Some(checked::Response::WsSecurity(response)) => (needs(response), true),
            Some(checked::Response::SessionTicket(ticket)) => (ticket.holder.as_ref().map_or(Need::Name, needs_key), false),
            Some(checked::Response::Headers(_)) | None => continue,
        };
        if !named.iter().any(|(other, ..)| *other == name) {
            named.push((name, need, writes));
        }
    }
    let mut found = Vec::new();
    for (name, need, writes) in named {
        if writes && route.body == BodyNeed::Never {
            let what = format!("the response `{name}` writes into the message, but the body of route `{}` is not read", route.pattern_text);
            let help = "add body = { limit = \"1MiB\", types = [\"text/xml\", \"application/soap+xml\"] } to the route";
            found.push(Problem::of_file(&file.path, what).help(help));
        }
        let carries = |listener: &checked::Listener| match listener.speaks {
            Speaks::Questions(dialect) => dialect.carries().new_body,
            Speaks::Proxy => false,
        };
        if writes && route.upstream.is_none() && !checked.listeners.iter().any(carries) {
            let what = format!("no proxy that asks can put the message of response `{name}` in place of the one it has");
            let help = "forward the route through a listener that speaks `proxy`, or let Envoy ask one that speaks `envoy-ext-proc`";
            found.push(Problem::of_file(&file.path, what).help(help));
        }
        for tenant in checked.tenants.iter().filter(|tenant| tenant.is_in(&route.scope)) {
            let brings = |scheme: &&SchemeName| checked.schemes.get(*scheme).is_some_and(|scheme| brings(checked, scheme, need));
            if !tenant.chain.is_empty() && !tenant.chain.iter().any(|scheme| brings(&scheme)) {
                let what = format!("no scheme in the chain of `{}` brings what the response `{name}` needs: {}", tenant.id, word(need));
                found.push(Problem::of_file(&file.path, what).help(matrix(checked, tenant)));
            }
        }
    }
    found
}

/// Whether a scheme brings it (§3.6).
fn brings(checked: &Checked, scheme: &checked::Scheme, need: Need) -> bool {
    let certificates = || checked.listeners.iter().any(|listener| listener.clients.is_some() || listener.forwarded.is_some());
    match (need, scheme) {
        (Need::Name, _) => true,
        // A session has none; a message of its own may.
        (Need::ReceivedPassword, checked::Scheme::Basic { .. } | checked::Scheme::Integration { .. }) => true,
        (Need::ReceivedPassword, checked::Scheme::WsSecurity(security)) => security.token == TokenKind::Username,
        (Need::MessageKey, checked::Scheme::WsSecurity(security)) => security.token != TokenKind::Username || !security.parts.is_empty(),
        (Need::MessageKey, checked::Scheme::SessionTicket(ticket)) => ticket.settings.signed.is_some(),
        (Need::TlsKey, _) => certificates(),
        (
            Need::ReceivedPassword | Need::MessageKey,
            checked::Scheme::Session
            | checked::Scheme::ClientCertificate(_)
            | checked::Scheme::IdentityUrl(_)
            | checked::Scheme::Saml(_)
            | checked::Scheme::Oidc(_)
            | checked::Scheme::Introspection(_)
            | checked::Scheme::LoginForm { .. },
        )
        | (Need::ReceivedPassword, checked::Scheme::SessionTicket(_))
        | (Need::MessageKey, checked::Scheme::Basic { .. } | checked::Scheme::Integration { .. }) => false,
    }
}

/// The table, for who has to choose.
fn matrix(checked: &Checked, tenant: &checked::Tenant) -> String {
    let needs = [Need::Name, Need::ReceivedPassword, Need::MessageKey, Need::TlsKey];
    let mut lines = vec![format!("what each scheme brings ({}):", needs.map(word).join(", "))];
    for name in &tenant.chain {
        let Some(scheme) = checked.schemes.get(name) else { continue };
        let cells = needs.map(|need| if brings(checked, scheme, need) { "yes" } else { "no" });
        lines.push(format!("  {name}: {}", cells.join(", ")));
    }
    lines.join("\n")
}

fn word(need: Need) -> &'static str {
    match need {
        Need::Name => "a name",
        Need::ReceivedPassword => "the caller's password",
        Need::MessageKey => "the key that signed the caller's message",
        Need::TlsKey => "the key of the caller's TLS",
    }
}

//! The response `session-ticket`: a ticket for the service in a header, or for the caller in a cookie
//! (`policy-server-and-ws-security.md` §3.5).
//!
//! What cannot be made is never left out: a ticket that is too long for a cookie, or that should name a key nobody showed,
//! keeps the request from being forwarded.

use std::collections::BTreeMap;

use async_trait::async_trait;
use http::header::SET_COOKIE;
use http::{HeaderName, HeaderValue};
use vestibule_engine::identity::ResponseName;
use vestibule_engine::inject::{Granted, Injection, Injector, Uninjected};

use super::ws_security::holder_of;
use crate::config::checked::{Response, SessionTicketResponse, TicketPlace};
use crate::ticket::SessionTickets;

/// Octets of a cookie with its name and attributes (RFC 6265 §6.1).
const COOKIE: usize = 4096;
const ATTRIBUTES: &str = "Path=/; Secure; HttpOnly; SameSite=Lax";

/// Tells whom the deciding permits said to tell.
#[derive(Debug)]
pub struct SessionTicketInjector {
    responses: BTreeMap<ResponseName, SessionTicketResponse>,
    headers: Vec<HeaderName>,
    tickets: SessionTickets,
}

impl SessionTicketInjector {
    /// An injector of the tickets among the responses of a configuration; `None` where there are none.
    pub fn new(responses: &BTreeMap<ResponseName, Response>, tickets: SessionTickets) -> Option<Self> {
        let ticket = |(name, response): (&ResponseName, &Response)| match response {
            Response::SessionTicket(ticket) => Some((name.clone(), ticket.clone())),
            Response::Headers(_) | Response::WsSecurity(_) => None,
        };
        let responses: BTreeMap<_, _> = responses.iter().filter_map(ticket).collect();
        let header = |response: &SessionTicketResponse| match &response.to {
            TicketPlace::Header(name) => Some(name.clone()),
            TicketPlace::Cookie(_) => None,
        };
        let headers = responses.values().filter_map(header).collect();
        (!responses.is_empty()).then_some(Self { responses, headers, tickets })
    }
}

#[async_trait]
impl Injector for SessionTicketInjector {
    fn name(&self) -> &str {
        "session-tickets"
    }

    fn headers(&self) -> &[HeaderName] {
        &self.headers
    }

    async fn inject(&self, asked: &Granted<'_>) -> Result<Injection, Uninjected> {
        let mut injection = Injection::default();
        for response in asked.permits.responses.iter().filter_map(|name| self.responses.get(name)) {
            let identity = asked.principal.identity().ok_or("nobody is known, so no ticket can name them")?;
            let holder = response.holder.as_ref().map(|holder| holder_of(holder, identity, asked)).transpose()?;
            let ticket = self.tickets.seal(identity, holder.as_deref(), response.lifetime, asked.now).await?;
            let sensitive = |text: &str| {
                let mut value = HeaderValue::from_str(text).map_err(|error| error.to_string())?;
                value.set_sensitive(true);
                Ok::<_, String>(value)
            };
            match &response.to {
                TicketPlace::Header(name) if injection.set.iter().any(|(taken, _)| taken == name) => {
                    return Err(format!("the header {name} is written by two responses of the same decision").into());
                }
                TicketPlace::Header(name) => injection.set.push((name.clone(), sensitive(ticket.reveal())?)),
                TicketPlace::Cookie(name) => {
                    let cookie = format!("{name}={}; {ATTRIBUTES}", ticket.reveal());
                    if cookie.len() > COOKIE {
                        return Err(format!("the ticket is too long for the cookie {name}").into());
                    }
                    injection.response.push((SET_COOKIE, sensitive(&cookie)?));
                }
            }
        }
        Ok(injection)
    }
}

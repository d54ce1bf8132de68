//! What permits add: the headers of the responses they name (architecture §7).
//!
//! Two responses of one decision that write the same header fail closed: nobody could say which one was meant.

use std::collections::BTreeMap;

use async_trait::async_trait;
use http::{HeaderName, HeaderValue};
use vestibule_engine::identity::ResponseName;
use vestibule_engine::inject::{Granted, Injection, Injector, Uninjected};

use crate::config::checked::Response;

/// Tells what the deciding permits named.
#[derive(Debug)]
pub struct ResponseInjector {
    responses: BTreeMap<ResponseName, Vec<(HeaderName, HeaderValue)>>,
    headers: Vec<HeaderName>,
}

impl ResponseInjector {
    /// An injector of all responses of a configuration.
    pub fn new(responses: &BTreeMap<ResponseName, Response>) -> Self {
        let headers_of = |response: &Response| match response {
            Response::Headers(headers) => headers.clone(),
            // Written by injectors of their own.
            Response::WsSecurity(_) | Response::SessionTicket(_) => Vec::new(),
        };
        let responses: BTreeMap<_, _> = responses.iter().map(|(name, response)| (name.clone(), headers_of(response))).collect();
        let headers = responses.values().flatten().map(|(name, _)| name.clone()).collect();
        Self { responses, headers }
    }
}

#[async_trait]
impl Injector for ResponseInjector {
    fn name(&self) -> &str {
        "responses"
    }

    fn headers(&self) -> &[HeaderName] {
        &self.headers
    }

    async fn inject(&self, asked: &Granted<'_>) -> Result<Injection, Uninjected> {
        let mut set: Vec<(HeaderName, HeaderValue)> = Vec::new();
        for name in asked.permits.responses.iter() {
            let headers = self.responses.get(name).ok_or_else(|| format!("there is no response {name}"))?;
            for (header, value) in headers {
                if set.iter().any(|(taken, _)| taken == header) {
                    return Err(format!("the header {header} is written by {name} and by another response of the same decision").into());
                }
                set.push((header.clone(), value.clone()));
            }
        }
        Ok(Injection { set, ..Injection::default() })
    }
}

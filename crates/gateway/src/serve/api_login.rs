//! Login by programs: as JSON, and as the `login()` of older web service interfaces (`login-saml-delegated.md` §8.5).
//!
//! The same flow as the login form, so the same gates, realms and delegated checks. No cookie is read here: an attacker's page that
//! makes a browser send something gets nothing that the browser's session could do. All reasons that concern the account are
//! told alike; only an outage is told apart, because whoever sees it must not think that their password is wrong.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Method, Response, StatusCode};
use http_body_util::Full;
use serde::Deserialize;
use vestibule_engine::audit::{Event, Reason, Ruling, Trail};
use vestibule_engine::engine::{Ended, Engine};
use vestibule_engine::identity::{Identity, SchemeName, Username};
use vestibule_engine::realm::hashed_name;
use vestibule_engine::request::{Body, CheckRequest};
use vestibule_engine::route::Found;
use vestibule_engine::scheme::{Callback, Login, Unavailable};
use vestibule_engine::secret::Secret;
use vestibule_engine::session::Opened;
use vestibule_soap::partner_login::{Interface, LoginResult, PartnerLogin, write_login_fault};
use zeroize::Zeroizing;

use crate::schemes::login_form::{PASSWORD, USERNAME};
use crate::serve::pages::{WaysIn, is_cross_site};

/// Where JSON is spoken.
pub const JSON_PATH: &str = "/.vestibule/login";
/// Where the partner interface is spoken; a version follows.
pub const PARTNER_PATH: &str = "/services/Soap/u/";
/// Where the enterprise interface is spoken; a version follows.
pub const ENTERPRISE_PATH: &str = "/services/Soap/c/";

/// Whether the route that was found is one of these: where a tenant switched none on, a portal's other pages take the path.
pub fn is_mounted(found: &Found) -> bool {
    let name = found.route.name.as_str().strip_prefix("own:").unwrap_or_default();
    name == JSON_PATH || name.starts_with(PARTNER_PATH) || name.starts_with(ENTERPRISE_PATH)
}

/// Logs programs in.
#[derive(Debug)]
pub struct ApiLogin {
    engine: Arc<Engine>,
    ways_in: Arc<WaysIn>,
}

/// How it is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dialect {
    Json,
    Soap(Interface),
}

/// A name and a password, however they came.
struct Credentials {
    username: Secret<String>,
    password: Secret<String>,
}

/// Why nobody was logged in.
enum Refused {
    /// The message is no login.
    Unreadable(StatusCode),
    /// For this reason.
    Reason(Reason),
    /// Something does not answer; that it is the service which checks the password, if it is.
    Down { delegated: bool },
}

impl ApiLogin {
    /// Over this engine. Where a tenant's own form is for emergencies, so is this.
    pub fn new(engine: Arc<Engine>, ways_in: Arc<WaysIn>) -> Self {
        Self { engine, ways_in }
    }

    /// Answers a request for one of the paths above.
    pub async fn handle(&self, request: CheckRequest, found: Found) -> Response<Full<Bytes>> {
        let path = request.target.path();
        let dialect = if path.starts_with(PARTNER_PATH) {
            Dialect::Soap(Interface::Partner)
        } else if path.starts_with(ENTERPRISE_PATH) {
            Dialect::Soap(Interface::Enterprise)
        } else {
            Dialect::Json
        };
        let mut trail = Trail::new(self.engine.clock.clone());
        let done = match self.engine.sink.ready() {
            Ok(()) => self.log_in(&request, &found, dialect, &mut trail).await,
            Err(_) => Err(Refused::Down { delegated: false }),
        };
        let (response, ended) = match done {
            Ok((identity, opened)) => {
                let caller = Some((identity.scheme.clone(), identity.user.name.to_string()));
                (self.welcome(&request, &found, dialect, &identity, &opened), Ended { ruling: Ruling::Allow, reason: None, caller })
            }
            Err(refused) => {
                let (ruling, reason) = match &refused {
                    Refused::Unreadable(_) => (Ruling::Deny, Reason::MalformedCredential),
                    Refused::Reason(reason) => (Ruling::Deny, *reason),
                    Refused::Down { .. } => (Ruling::Fail, Reason::Unavailable),
                };
                (refuse(dialect, &refused), Ended { ruling, reason: Some(reason), caller: None })
            }
        };
        self.engine.record_page(&request, &found, ended, trail);
        response
    }

    async fn log_in(
        &self,
        request: &CheckRequest,
        found: &Found,
        dialect: Dialect,
        trail: &mut Trail,
    ) -> Result<(Identity, Opened), Refused> {
        if request.method != Method::POST {
            return Err(Refused::Unreadable(StatusCode::METHOD_NOT_ALLOWED));
        }
        // No page has a reason to log a browser in here.
        if is_cross_site(request, &request.origin()) {
            return Err(Refused::Reason(Reason::Csrf));
        }
        let credentials = read(request, dialect)?;
        let flow = found.tenant.chain.form_scheme().and_then(|scheme| Some((scheme.name().clone(), scheme.login_flow()?)));
        let Some((scheme, flow)) = flow else { return Err(Refused::Reason(Reason::SchemeNotConfigured)) };
        let name = Username::parse(found.tenant.local_name(credentials.username.reveal()));
        let tried = match self.ways_in.opens(&found.tenant.id, request.client.address) {
            true => self.try_flow(request, found, flow, credentials, trail).await,
            false => Ok(Err(Reason::AddressNotListed)),
        };
        let alarm = |reason: Option<Reason>, trail: &mut Trail| {
            let known = reason.is_none_or(Reason::names_a_user);
            let subject = name.as_ref().map(|name| if known { name.to_string() } else { hashed_name(name) });
            self.ways_in.alarm(request, &found.tenant.id, subject, reason, trail);
        };
        match tried {
            Ok(Ok((identity, opened, realm))) => {
                alarm(None, trail);
                let subject = identity.user.name.to_string();
                trail.events.push(Event::LoginSucceeded { scheme: SchemeName::from(channel(dialect)), realm, subject });
                Ok((identity, opened))
            }
            Ok(Err(reason)) => {
                alarm(Some(reason), trail);
                trail.refused(&scheme, name.as_ref(), reason);
                Err(Refused::Reason(reason))
            }
            Err(down) => {
                tracing::warn!(request_id = %request.id, error = %down, "a program could not be logged in");
                alarm(Some(Reason::Unavailable), trail);
                let delegated = trail.events.iter().any(|event| matches!(event, Event::DelegatedCalled(_)));
                trail.refused(&scheme, name.as_ref(), Reason::Unavailable);
                Err(Refused::Down { delegated })
            }
        }
    }

    async fn try_flow(
        &self,
        request: &CheckRequest,
        found: &Found,
        flow: &dyn vestibule_engine::scheme::LoginFlow,
        credentials: Credentials,
        trail: &mut Trail,
    ) -> Result<Result<(Identity, Opened, String), Reason>, Unavailable> {
        let now = self.engine.clock.now();
        let Credentials { username, password } = credentials;
        let form = [(USERNAME.to_owned(), username), (PASSWORD.to_owned(), password)];
        let (tenant, accounts) = (&found.tenant.id, self.ways_in.accounts(&found.tenant.id));
        let callback = Callback { request, tenant, form: &form, accounts, floor: Duration::ZERO, now };
        let proof = match flow.finish(&callback, trail).await? {
            Login::Accepted { proof, return_to: _ } => proof,
            Login::Rejected(rejection) => return Ok(Err(rejection.reason)),
            Login::Continue(_) => return Ok(Err(Reason::SchemeNotConfigured)),
        };
        let realm = proof.issuer.to_string();
        let admitted = self.engine.admission.admit_from(*proof, &found.tenant, request.client.address, now, trail).await?;
        let identity = match admitted {
            Ok(identity) => identity,
            Err(rejection) => return Ok(Err(rejection.reason)),
        };
        let opened = self.engine.sessions.open(&identity, request.host.name(), now, trail).await?;
        Ok(Ok((identity, opened, realm)))
    }

    fn welcome(
        &self,
        request: &CheckRequest,
        found: &Found,
        dialect: Dialect,
        identity: &Identity,
        opened: &Opened,
    ) -> Response<Full<Bytes>> {
        let user = &identity.user;
        let user_id = user.id.to_string();
        let must_change = self.engine.admission.must_change_password(user);
        match dialect {
            Dialect::Json => {
                let body = serde_json::json!({
                    "session": opened.token.reveal(),
                    "user": user.name.as_str(),
                    "user_id": user_id,
                    "tenant": found.tenant.id.as_str(),
                    "must_change_password": must_change,
                });
                message(StatusCode::OK, "application/json", Zeroizing::new(body.to_string()))
            }
            Dialect::Soap(interface) => {
                let server_url = format!("{}{}", request.origin(), request.target.path());
                let result = LoginResult {
                    server_url: &server_url,
                    session: opened.token.reveal(),
                    user_id: &user_id,
                    username: user.name.as_str(),
                    full_name: user.display_name.as_deref().unwrap_or(user.name.as_str()),
                    email: user.email.as_deref().unwrap_or_default(),
                    organization: found.tenant.id.as_str(),
                    password_expired: must_change,
                    valid_seconds: self.engine.sessions.settings().idle.as_secs(),
                };
                message(StatusCode::OK, SOAP, result.write(interface))
            }
        }
    }
}

const SOAP: &str = "text/xml; charset=UTF-8";

/// What records call this way in.
fn channel(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Json => "json-login",
        Dialect::Soap(_) => "soap-login",
    }
}

fn read(request: &CheckRequest, dialect: Dialect) -> Result<Credentials, Refused> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Written {
        username: String,
        password: String,
    }
    let unreadable = Refused::Unreadable(StatusCode::BAD_REQUEST);
    let Body::Whole(octets) = &request.body else { return Err(unreadable) };
    let (username, password) = match dialect {
        Dialect::Json => {
            // serde_json refuses a field that is there twice.
            let Ok(Written { username, password }) = serde_json::from_slice(octets) else { return Err(unreadable) };
            (username, Zeroizing::new(password))
        }
        Dialect::Soap(_) => {
            let Ok(login) = PartnerLogin::read(octets) else { return Err(unreadable) };
            (login.username, login.password)
        }
    };
    Ok(Credentials { username: Secret::new(username), password: Secret::from(password.as_str()) })
}

fn refuse(dialect: Dialect, refused: &Refused) -> Response<Full<Bytes>> {
    let (status, code, text) = match refused {
        Refused::Unreadable(status) => (*status, "INVALID_LOGIN", "The message is no login."),
        Refused::Reason(Reason::TooManyWaiting) => (StatusCode::TOO_MANY_REQUESTS, "SERVER_UNAVAILABLE", "Too many logins are waiting."),
        Refused::Reason(_) => {
            (StatusCode::UNAUTHORIZED, "INVALID_LOGIN", "Invalid username, password, security token; or user locked out.")
        }
        Refused::Down { delegated: true } => {
            (StatusCode::SERVICE_UNAVAILABLE, "SSO_SERVICE_DOWN", "Your company's authentication service is down.")
        }
        Refused::Down { delegated: false } => {
            (StatusCode::SERVICE_UNAVAILABLE, "SERVER_UNAVAILABLE", "Logging in is not possible right now.")
        }
    };
    let mut response = match dialect {
        Dialect::Json => {
            let body = serde_json::json!({ "error": code.to_ascii_lowercase(), "message": text }).to_string();
            message(status, "application/json", Zeroizing::new(body))
        }
        Dialect::Soap(interface) => {
            let status = if status == StatusCode::METHOD_NOT_ALLOWED { status } else { StatusCode::INTERNAL_SERVER_ERROR };
            message(status, SOAP, Zeroizing::new(write_login_fault(interface, code, text)))
        }
    };
    if matches!(refused, Refused::Down { .. }) {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("30"));
    }
    response
}

fn message(status: StatusCode, media_type: &'static str, text: Zeroizing<String>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_owner(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

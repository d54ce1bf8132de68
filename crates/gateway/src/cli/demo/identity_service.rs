//! A stand-in for the identity service of Salesforce, for the demo and the tests.
//!
//! A session id is `ORGANISATION!BEHAVIOUR.OWNER` and whatever follows a further period; the behaviour is one that the service
//! shows, or one with which an attacker would deceive us.

use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, LOCATION};
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::json;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// The organisation whose users it knows.
pub const ORGANIZATION: &str = "00D8k00000QwErTEAV";
/// Its users: id, user name, mail address, whether that was verified.
pub const PEOPLE: [(&str, &str, &str, bool); 3] = [
    ("0058k00000ZxCvBAAV", "ada", "ada@north.example", true),
    ("0058k00000BoBbBAAV", "bob", "bob@north.example", true),
    ("0058k00000EvEvEAAV", "eve", "ada@north.example", false),
];
/// Far longer than anybody waits.
const NEVER: Duration = Duration::from_secs(3600);

/// The paths it was asked for, in order.
pub type Asked = Arc<Mutex<Vec<String>>>;

/// A running service.
#[derive(Debug)]
pub struct IdentityService {
    /// Where it listens.
    pub address: SocketAddr,
    /// The certificate that vouches for it, in PEM form.
    pub authority: String,
    asked: Asked,
    onward: Arc<Mutex<HashSet<String>>>,
    host: String,
}

impl IdentityService {
    /// Starts one that is called `host`, on loopback, and writes down what it is asked.
    ///
    /// # Errors
    /// A sentence.
    pub async fn start(host: &str, asked: Asked) -> Result<Arc<Self>, String> {
        let made = rcgen::generate_simple_self_signed([host.to_owned()]).map_err(|error| error.to_string())?;
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config =
            ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(|error| error.to_string())?;
        let config =
            config.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).map_err(|error| error.to_string())?;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(|error| error.to_string())?;
        let address = listener.local_addr().map_err(|error| error.to_string())?;
        let service = Arc::new(Self {
            address,
            authority: made.cert.pem(),
            asked,
            onward: Arc::default(),
            host: format!("{host}:{}", address.port()),
        });
        let served = service.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, service) = (acceptor.clone(), served.clone());
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let answer = service_fn(|request| service.answer(request));
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
                });
            }
        });
        Ok(service)
    }

    /// The identity URL of one of its people.
    pub fn url(&self, user: &str) -> String {
        format!("https://{}/id/{ORGANIZATION}/{user}", self.host)
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, hyper::Error> {
        let path = request.uri().path().to_owned();
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).push(path.clone());
        let session =
            request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer ")).unwrap_or_default();
        let mut parts = session.split_once('!').map_or("", |(_, rest)| rest).split('.');
        let (behaviour, owner) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let known = |id: &str| PEOPLE.iter().find(|(known, ..)| known.get(..15) == id.get(..15));
        let Some((owner, ..)) = known(owner) else { return Ok(refused()) };
        match behaviour {
            "slow" => tokio::time::sleep(NEVER).await,
            "down" => return Ok(status(StatusCode::SERVICE_UNAVAILABLE, "text/plain", "try later".to_owned())),
            "html" => return Ok(status(StatusCode::OK, "text/html", "<p>{\"asserted_user\":true}</p>".to_owned())),
            "huge" => return Ok(status(StatusCode::OK, "application/json", " ".repeat(1 << 20))),
            "away" => return Ok(led_to(&format!("https://attacker.test{path}"))),
            "onward" if self.onward.lock().unwrap_or_else(PoisonError::into_inner).insert(session.to_owned()) => {
                return Ok(led_to(&format!("https://{}{path}?from=login", self.host)));
            }
            "own" | "liar" | "former" | "elsewhere" | "narrow" | "onward" => {}
            _ => return Ok(refused()),
        }
        if path == "/services/oauth2/userinfo" {
            if behaviour == "narrow" {
                return Ok(status(StatusCode::FORBIDDEN, "text/plain", "Invalid_Scope".to_owned()));
            }
            return Ok(document(&json!({ "user_id": owner, "organization_id": ORGANIZATION })));
        }
        let named = path.rsplit('/').next().and_then(known);
        let Some((id, username, email, verified)) = named else {
            return Ok(status(StatusCode::NOT_FOUND, "text/plain", "Bad_Id".to_owned()));
        };
        Ok(document(&json!({
            "id": format!("https://{}/id/{ORGANIZATION}/{id}", self.host),
            "asserted_user": id == owner || behaviour == "liar",
            "user_id": id,
            "organization_id": if behaviour == "elsewhere" { "00D000000000000EAA" } else { ORGANIZATION },
            "username": username,
            "display_name": username,
            "email": email,
            "email_verified": verified,
            "active": behaviour != "former",
            "user_type": "STANDARD",
        })))
    }
}

/// A session id of this behaviour.
pub fn session(behaviour: &str, owner: &str) -> String {
    format!("{}!{behaviour}.{owner}.demo", ORGANIZATION.get(..15).unwrap_or_default())
}

fn refused() -> Response<Full<Bytes>> {
    status(StatusCode::FORBIDDEN, "text/plain", "Bad_OAuth_Token".to_owned())
}

fn led_to(location: &str) -> Response<Full<Bytes>> {
    let mut response = status(StatusCode::FOUND, "text/plain", String::new());
    if let Ok(location) = location.parse() {
        response.headers_mut().insert(LOCATION, location);
    }
    response
}

fn document(value: &serde_json::Value) -> Response<Full<Bytes>> {
    status(StatusCode::OK, "application/json", value.to_string())
}

fn status(status: StatusCode, media_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static(media_type));
    response
}

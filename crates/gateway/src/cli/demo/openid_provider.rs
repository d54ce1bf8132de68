//! A stand-in for an OpenID provider and its introspection endpoint, for the demo and the tests.
//!
//! Who signs in is told by `login_hint`, as `BEHAVIOUR.PERSON`; without it a page asks. The behaviour is one that a provider shows, or
//! one with which an attacker would deceive us. The same holds of access tokens. What is wrong with the metadata is told by the
//! path of the issuer. How refresh tokens of somebody are answered from now on is told by `/stands?person=PERSON&how=HOW`.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, LOCATION};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use url::form_urlencoded;

/// Its client.
pub const CLIENT: &str = "vestibule";
/// The client's secret: what stands in a demo is known to everybody.
pub const CLIENT_SECRET: &str = "the demo's own OpenID provider knows this secret";
/// Its users: subject, user name, mail address, groups.
pub const SUBJECTS: [(&str, &str, &str, &str); 3] = [
    ("248289761001", "ada", "ada@north.example", "crew"),
    ("248289761002", "bob", "bob@north.example", "crew"),
    ("248289761003", "zoe", "zoe@north.example", "guests"),
];
/// Authentication contexts that it knows: a password, and a second factor beside.
pub const FIRST_FACTOR: &str = "urn:demo:password";
/// See [`FIRST_FACTOR`].
pub const SECOND_FACTOR: &str = "urn:demo:second-factor";
/// Far longer than anybody waits.
const NEVER: Duration = Duration::from_secs(3600);

/// A running provider.
#[derive(Debug)]
pub struct OpenidProvider {
    /// Where it listens.
    pub address: SocketAddr,
    host: String,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    key: EcdsaKeyPair,
    codes: HashMap<String, Grant>,
    /// By access token: whose it is.
    tokens: HashMap<String, String>,
    /// By refresh token: what it was given for, and whether it was spent.
    refreshes: HashMap<String, (Grant, bool)>,
    /// By user name: how refresh tokens are answered.
    stands: HashMap<String, String>,
    /// By user name: the last session.
    sessions: HashMap<String, String>,
    /// By path: the last request, as far as it says anything.
    received: HashMap<String, String>,
    /// How often each endpoint was asked.
    asked: HashMap<String, u32>,
    count: u32,
}

#[derive(Debug, Clone)]
struct Grant {
    behaviour: String,
    person: String,
    redirect_uri: String,
    nonce: String,
    challenge: String,
    issuer: String,
    scope: String,
    /// How the user signed in.
    context: String,
}

impl OpenidProvider {
    /// Starts one that is called `host`, which is a name of loopback.
    ///
    /// # Errors
    /// A sentence.
    pub async fn start(host: &str) -> Result<Arc<Self>, String> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(|error| error.to_string())?;
        let address = listener.local_addr().map_err(|error| error.to_string())?;
        let state = State {
            key: fresh_key()?,
            codes: HashMap::new(),
            tokens: HashMap::new(),
            refreshes: HashMap::new(),
            stands: HashMap::new(),
            sessions: HashMap::new(),
            received: HashMap::new(),
            asked: HashMap::new(),
            count: 0,
        };
        let provider = Arc::new(Self { address, host: host.to_owned(), state: Mutex::new(state) });
        let served = provider.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let provider = served.clone();
                tokio::spawn(async move {
                    let answer = service_fn(|request| provider.answer(request));
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
                });
            }
        });
        Ok(provider)
    }

    /// Its issuer.
    pub fn issuer(&self) -> String {
        format!("http://{}:{}", self.host, self.address.port())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, hyper::Error> {
        let (head, body) = request.into_parts();
        let body = Limited::new(body, 64 * 1024).collect().await.map(|whole| whole.to_bytes()).unwrap_or_default();
        let query: HashMap<String, String> = form_urlencoded::parse(head.uri.query().unwrap_or_default().as_bytes()).into_owned().collect();
        let form: HashMap<String, String> = form_urlencoded::parse(&body).into_owned().collect();
        let authorization = head.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let path = head.uri.path();
        *self.state().asked.entry(path.to_owned()).or_default() += 1;
        let said = String::from_utf8_lossy(&body);
        let received = format!("{} {path} HTTP/1.1\nauthorization: {authorization}\n\n{said}", head.method);
        self.state().received.insert(path.to_owned(), received);
        if let Some(fault) = path.strip_suffix("/.well-known/openid-configuration") {
            return Ok(self.metadata(fault.trim_start_matches('/')).await);
        }
        Ok(match path {
            "/keys" => self.keys(),
            "/keys/none" => document(&json!({ "keys": [] })),
            "/keys/slow" => {
                tokio::time::sleep(NEVER).await;
                self.keys()
            }
            "/authorize" => self.authorize(&query, head.uri.query().unwrap_or_default()),
            "/token" => self.token(authorization, &form).await,
            "/userinfo" => self.userinfo(authorization.strip_prefix("Bearer ").unwrap_or_default()),
            "/revoke" => self.revoke(authorization, &form),
            "/introspect" => self.introspect(authorization, &form).await,
            "/end" => led_to(query.get("post_logout_redirect_uri").map_or("/", String::as_str)),
            "/logout-token" => self.logout_token(&query),
            "/stands" => {
                let of = |name: &str| query.get(name).cloned().unwrap_or_default();
                self.state().stands.insert(of("person"), of("how"));
                document(&json!({}))
            }
            "/received" => {
                let of = query.get("path").and_then(|path| self.state().received.get(path).cloned());
                status(StatusCode::OK, "text/plain", of.unwrap_or_default())
            }
            "/asked" => document(&json!(self.state().asked)),
            _ => status(StatusCode::NOT_FOUND, "text/plain", "no such page".to_owned()),
        })
    }

    async fn metadata(&self, fault: &str) -> Response<Full<Bytes>> {
        let base = self.issuer();
        let own = if fault.is_empty() { base.clone() } else { format!("{base}/{fault}") };
        let mut metadata = json!({
            "issuer": own,
            "authorization_endpoint": format!("{base}/authorize?issuer={own}"),
            "token_endpoint": format!("{base}/token"),
            "userinfo_endpoint": format!("{base}/userinfo"),
            "jwks_uri": format!("{base}/keys"),
            "end_session_endpoint": format!("{base}/end"),
            "introspection_endpoint": format!("{base}/introspect"),
            "revocation_endpoint": format!("{base}/revoke"),
            "authorization_response_iss_parameter_supported": true,
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
            "code_challenge_methods_supported": ["S256"],
        });
        match fault {
            "liar" => set(&mut metadata, "issuer", base),
            "plain" => set(&mut metadata, "token_endpoint", "http://tokens.example/token"),
            "inward" => set(&mut metadata, "jwks_uri", "https://169.254.169.254/keys"),
            "keyless" => set(&mut metadata, "jwks_uri", format!("{base}/keys/none")),
            "slow" => set(&mut metadata, "jwks_uri", format!("{base}/keys/slow")),
            "huge" => return status(StatusCode::OK, "application/json", " ".repeat(1 << 20)),
            "away" => return led_to(&format!("{base}/.well-known/openid-configuration")),
            "down" => return status(StatusCode::SERVICE_UNAVAILABLE, "text/plain", "try later".to_owned()),
            "unpkced" => set(&mut metadata, "code_challenge_methods_supported", json!(["plain"])),
            _ => {}
        }
        document(&metadata)
    }

    fn keys(&self) -> Response<Full<Bytes>> {
        document(&json!({ "keys": [jwk(&self.state().key)] }))
    }

    fn authorize(&self, query: &HashMap<String, String>, raw: &str) -> Response<Full<Bytes>> {
        let of = |name: &str| query.get(name).cloned().unwrap_or_default();
        let hint = of("login_hint");
        let (behaviour, person) = hint.split_once('.').unwrap_or(("own", &hint));
        let well_formed = of("response_type") == "code" && of("client_id") == CLIENT && of("code_challenge_method") == "S256";
        if !well_formed || of("redirect_uri").is_empty() {
            return status(StatusCode::BAD_REQUEST, "text/plain", "this is no request of a client".to_owned());
        }
        if find(person).is_none() && behaviour != "denied" {
            let one = |(_, name, ..): &(&str, &str, &str, &str)| {
                format!("<li><a href=\"/authorize?{}&amp;login_hint=own.{name}\">{name}</a></li>", raw.replace('&', "&amp;"))
            };
            let people: String = SUBJECTS.iter().map(one).collect();
            let page = format!(
                "<!doctype html><html lang=\"en\"><title>Demo provider</title><h1>Who are you?</h1><p>An OpenID provider would ask for \
                 more than a name.</p><ul>{people}</ul>"
            );
            return status(StatusCode::OK, "text/html; charset=utf-8", page);
        }
        let issuer = match behaviour {
            "mixed-up" => "https://other.example".to_owned(),
            _ => of("issuer"),
        };
        let mut answer = vec![("state", of("state"))];
        if behaviour == "denied" {
            answer.extend([("error", "access_denied".to_owned()), ("error_description", "they\nsaid no".to_owned())]);
        } else {
            let mut state = self.state();
            state.count += 1;
            let code = format!("code-{}", state.count);
            let grant = Grant {
                behaviour: behaviour.to_owned(),
                person: person.to_owned(),
                redirect_uri: of("redirect_uri"),
                nonce: of("nonce"),
                challenge: of("code_challenge"),
                issuer: of("issuer"),
                scope: of("scope"),
                context: match behaviour {
                    // Asked for a second factor, and content with the first.
                    "weak" => FIRST_FACTOR,
                    _ if of("acr_values").split(' ').any(|wanted| wanted == SECOND_FACTOR) => SECOND_FACTOR,
                    _ => FIRST_FACTOR,
                }
                .to_owned(),
            };
            state.codes.insert(code.clone(), grant);
            answer.push(("code", code));
        }
        if behaviour != "silent" {
            answer.push(("iss", issuer));
        }
        if behaviour == "twice" {
            answer.push(("code", "another".to_owned()));
        }
        let answer = form_urlencoded::Serializer::new(String::new()).extend_pairs(answer).finish();
        led_to(&format!("{}?{answer}", of("redirect_uri")))
    }

    async fn token(&self, authorization: &str, form: &HashMap<String, String>) -> Response<Full<Bytes>> {
        let of = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
        let refuse = |code: &str| status(StatusCode::BAD_REQUEST, "application/json", json!({ "error": code }).to_string());
        let by_assertion = !of("client_assertion").is_empty();
        let by_form = of("client_id") == CLIENT && of("client_secret") == CLIENT_SECRET;
        if !(knows(authorization) || by_form || by_assertion) {
            return status(StatusCode::UNAUTHORIZED, "application/json", json!({ "error": "invalid_client" }).to_string());
        }
        if of("grant_type") == "refresh_token" {
            return self.refresh(of("refresh_token")).await;
        }
        // Once; but a provider that forgets to look is one of the things to be told apart.
        let grant = self.state().codes.get(of("code")).cloned();
        let Some(grant) = grant else { return refuse("invalid_grant") };
        if grant.behaviour != "forgetful" {
            self.state().codes.remove(of("code"));
        }
        let challenge = URL_SAFE_NO_PAD.encode(digest(&SHA256, of("code_verifier").as_bytes()));
        if challenge != grant.challenge || of("redirect_uri") != grant.redirect_uri || of("grant_type") != "authorization_code" {
            return refuse("invalid_grant");
        }
        match grant.behaviour.as_str() {
            "slow" => tokio::time::sleep(NEVER).await,
            "down" => return status(StatusCode::SERVICE_UNAVAILABLE, "text/plain", "try later".to_owned()),
            "huge" => return status(StatusCode::OK, "application/json", " ".repeat(1 << 20)),
            "html" => return status(StatusCode::OK, "text/html", "<p>{}</p>".to_owned()),
            "away" => return led_to("https://attacker.test/token"),
            _ => {}
        }
        document(&self.tokens(&grant))
    }

    /// Each refresh token is good once, and whoever brings one again ends all that came of its login (RFC 9700 §4.14.2).
    async fn refresh(&self, token: &str) -> Response<Full<Bytes>> {
        let refuse = |code: &str| status(StatusCode::BAD_REQUEST, "application/json", json!({ "error": code }).to_string());
        let (grant, how) = {
            let mut state = self.state();
            *state.asked.entry("refresh".to_owned()).or_default() += 1;
            let Some((grant, spent)) = state.refreshes.get(token).cloned() else { return refuse("invalid_grant") };
            if spent {
                *state.asked.entry("theft".to_owned()).or_default() += 1;
                state.refreshes.retain(|_, (other, _)| other.nonce != grant.nonce);
                return refuse("invalid_grant");
            }
            let how = state.stands.get(&grant.person).cloned().unwrap_or_default();
            (grant, how)
        };
        match how.as_str() {
            "over" => return refuse("invalid_grant"),
            "stranger" => return status(StatusCode::UNAUTHORIZED, "application/json", json!({ "error": "invalid_client" }).to_string()),
            "down" => return status(StatusCode::SERVICE_UNAVAILABLE, "text/plain", "try later".to_owned()),
            "html" => return status(StatusCode::OK, "text/html", "<p>{}</p>".to_owned()),
            "late" => tokio::time::sleep(Duration::from_secs(2)).await,
            _ => {}
        }
        if let Some((_, spent)) = self.state().refreshes.get_mut(token) {
            *spent = true;
        }
        let grant = match how.as_str() {
            "somebody-else" => Grant { person: "zoe".to_owned(), ..grant },
            "other-nonce" => Grant { nonce: "of another login".to_owned(), ..grant },
            "forged" => Grant { behaviour: "confused".to_owned(), ..grant },
            _ => grant,
        };
        let mut answer = self.tokens(&grant);
        if how == "wordless" {
            set(&mut answer, "id_token", Value::Null);
        }
        document(&answer)
    }

    /// RFC 7009: a refresh token is taken back with all that came of its login.
    fn revoke(&self, authorization: &str, form: &HashMap<String, String>) -> Response<Full<Bytes>> {
        if !knows(authorization) {
            return status(StatusCode::UNAUTHORIZED, "application/json", json!({ "error": "invalid_client" }).to_string());
        }
        let mut state = self.state();
        let token = form.get("token").map(String::as_str).unwrap_or_default();
        let person = state.refreshes.get(token).map(|(grant, _)| grant.person.clone()).unwrap_or_default();
        if state.stands.get(&person).is_some_and(|how| how == "down") {
            return status(StatusCode::SERVICE_UNAVAILABLE, "text/plain", "try later".to_owned());
        }
        if let Some((grant, _)) = state.refreshes.remove(token) {
            *state.asked.entry("revoked".to_owned()).or_default() += 1;
            state.refreshes.retain(|_, (other, _)| other.nonce != grant.nonce);
        }
        document(&json!({}))
    }

    /// Access token and ID token, with whatever is wrong with them.
    fn tokens(&self, grant: &Grant) -> Value {
        let mut state = self.state();
        state.count += 1;
        let (access, session) = (format!("access-{}", state.count), format!("session-{}", state.count));
        state.tokens.insert(access.clone(), if grant.behaviour == "swapped" { "zoe".to_owned() } else { grant.person.clone() });
        state.sessions.insert(grant.person.clone(), session.clone());
        if grant.behaviour == "rotated"
            && let Ok(key) = fresh_key()
        {
            state.key = key;
        }
        let now = now();
        let (subject, name, email, groups) = find(&grant.person).copied().unwrap_or_default();
        let groups = if state.stands.get(name).is_some_and(|how| how == "moved") { "guests" } else { groups };
        let hash = digest(&SHA256, access.as_bytes());
        let mut claims = json!({
            "iss": grant.issuer, "sub": subject, "aud": CLIENT, "exp": now + 300, "iat": now, "auth_time": now, "nonce": grant.nonce,
            "sid": session, "acr": grant.context, "preferred_username": name, "email": email, "email_verified": true,
            "groups": [groups], "at_hash": URL_SAFE_NO_PAD.encode(hash.as_ref().get(..16).unwrap_or_default()),
        });
        match grant.behaviour.as_str() {
            "other-audience" => set(&mut claims, "aud", "somebody-else"),
            "other-party" => set(&mut claims, "azp", "somebody-else"),
            "other-issuer" => set(&mut claims, "iss", "https://other.example"),
            "other-nonce" => set(&mut claims, "nonce", "of another login"),
            "no-nonce" => set(&mut claims, "nonce", Value::Null),
            "expired" => set(&mut claims, "exp", now - 120),
            "ahead" => set(&mut claims, "iat", now + 600),
            "stale" => set(&mut claims, "auth_time", now - 86_400),
            "other-access" => set(&mut claims, "at_hash", "AAAAAAAAAAAAAAAAAAAAAA"),
            _ => {}
        }
        let id_token = match grant.behaviour.as_str() {
            "unsigned" => format!("{}.{}.", encoded(&json!({ "alg": "none" })), encoded(&claims)),
            "hmac" => {
                let header = json!({ "alg": "HS256", "kid": kid(&state.key) });
                let input = format!("{}.{}", encoded(&header), encoded(&claims));
                let secret = hmac::Key::new(hmac::HMAC_SHA256, jwk(&state.key).to_string().as_bytes());
                format!("{input}.{}", URL_SAFE_NO_PAD.encode(hmac::sign(&secret, input.as_bytes())))
            }
            "two-kids" => {
                let kid = kid(&state.key);
                sign(&state.key, &format!(r#"{{"alg":"ES256","kid":"x","kid":"{kid}"}}"#), &claims)
            }
            "unpublished" => fresh_key().map(|key| sign(&key, &header(&key, "JWT"), &claims)).unwrap_or_default(),
            "confused" => {
                // Another's signature under the name of a key that is published.
                fresh_key().map(|key| sign(&key, &header(&state.key, "JWT"), &claims)).unwrap_or_default()
            }
            "access-token" => sign(&state.key, &header(&state.key, "at+jwt"), &claims),
            _ => sign(&state.key, &header(&state.key, "JWT"), &claims),
        };
        let mut given = json!({ "access_token": access, "token_type": "Bearer", "expires_in": 300, "id_token": id_token });
        if grant.scope.split(' ').any(|scope| scope == "offline_access") {
            let refresh = format!("refresh-{}", state.count);
            state.refreshes.insert(refresh.clone(), (grant.clone(), false));
            set(&mut given, "refresh_token", refresh);
        }
        given
    }

    fn userinfo(&self, token: &str) -> Response<Full<Bytes>> {
        let person = self.state().tokens.get(token).cloned();
        let Some((subject, name, email, groups)) = person.and_then(|person| find(&person)) else {
            return status(StatusCode::UNAUTHORIZED, "application/json", json!({ "error": "invalid_token" }).to_string());
        };
        let promoted = self.state().stands.get(*name).is_some_and(|how| how == "promoted");
        let department = if promoted { "bridge" } else { groups };
        document(&json!({ "sub": subject, "name": format!("{name} of the demo"), "email": email, "department": department }))
    }

    /// RFC 7662. A token is `BEHAVIOUR.PERSON` or `BEHAVIOUR.PERSON.NUMBER`, or one that was issued.
    async fn introspect(&self, authorization: &str, form: &HashMap<String, String>) -> Response<Full<Bytes>> {
        if !knows(authorization) {
            return status(StatusCode::UNAUTHORIZED, "application/json", json!({ "error": "invalid_client" }).to_string());
        }
        let token = form.get("token").map(String::as_str).unwrap_or_default();
        let issued = self.state().tokens.get(token).cloned();
        let (behaviour, person) = match &issued {
            Some(person) => ("own", person.as_str()),
            None => token.split_once('.').unwrap_or_default(),
        };
        let inactive = || document(&json!({ "active": false }));
        let person = person.split('.').next().unwrap_or_default();
        let Some((subject, name, email, _)) = find(person) else { return inactive() };
        let mut answer = json!({
            "active": true, "iss": self.issuer(), "sub": subject, "username": name, "aud": "https://app.north.localhost/api",
            "scope": "openid orders.read", "client_id": "a-script", "exp": now() + 300, "token_type": "Bearer",
            "email": email, "email_verified": true,
        });
        match behaviour {
            "own" => {}
            "short" => set(&mut answer, "exp", now() + 2),
            "elsewhere" => set(&mut answer, "aud", "https://other.example"),
            "narrow" => set(&mut answer, "scope", "openid"),
            "foreign" => set(&mut answer, "iss", "https://other.example"),
            "over" => set(&mut answer, "exp", now() - 1),
            "wordy" => set(&mut answer, "active", "true"),
            "bound" => set(&mut answer, "cnf", json!({ "jkt": "x" })),
            "nobody" => set(&mut answer, "sub", Value::Null),
            "unverified" => set(&mut answer, "email_verified", json!(false)),
            "unsaid" => set(&mut answer, "email_verified", Value::Null),
            "worded" => set(&mut answer, "email_verified", json!("true")),
            "slow" => tokio::time::sleep(NEVER).await,
            "down" => return status(StatusCode::SERVICE_UNAVAILABLE, "text/plain", "try later".to_owned()),
            "huge" => return status(StatusCode::OK, "application/json", " ".repeat(1 << 20)),
            "html" => return status(StatusCode::OK, "text/html", answer.to_string()),
            "away" => return led_to("https://attacker.test/introspect"),
            _ => return inactive(),
        }
        document(&answer)
    }

    /// What it would send to say that the last session of somebody is over.
    fn logout_token(&self, query: &HashMap<String, String>) -> Response<Full<Bytes>> {
        let of = |name: &str| query.get(name).map(String::as_str).unwrap_or_default();
        let mut state = self.state();
        state.count += 1;
        let (subject, ..) = find(of("person")).copied().unwrap_or_default();
        let session = state.sessions.get(of("person")).cloned();
        let mut claims = json!({
            "iss": self.issuer(), "aud": CLIENT, "iat": now(), "exp": now() + 120, "jti": format!("logout-{}", state.count),
            "events": { "http://schemas.openid.net/event/backchannel-logout": {} }, "sub": subject, "sid": session,
        });
        match of("how") {
            "by-subject" => set(&mut claims, "sid", Value::Null),
            "by-session" => set(&mut claims, "sub", Value::Null),
            "nonce" => set(&mut claims, "nonce", "n"),
            "no-event" => set(&mut claims, "events", json!({})),
            "elsewhere" => set(&mut claims, "aud", "somebody-else"),
            "old" => set(&mut claims, "iat", now() - 3600),
            _ => {}
        }
        status(StatusCode::OK, "text/plain", sign(&state.key, &header(&state.key, "logout+jwt"), &claims))
    }
}

fn find(person: &str) -> Option<&'static (&'static str, &'static str, &'static str, &'static str)> {
    SUBJECTS.iter().find(|(_, name, ..)| *name == person)
}

/// Whether a client proves itself in the header.
fn knows(authorization: &str) -> bool {
    let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    authorization == format!("Basic {}", STANDARD.encode(format!("{}:{}", encoded(CLIENT), encoded(CLIENT_SECRET))))
}

fn fresh_key() -> Result<EcdsaKeyPair, String> {
    EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(|_| "no key could be made".to_owned())
}

fn jwk(key: &EcdsaKeyPair) -> Value {
    let point = key.public_key().as_ref();
    let part = |range: std::ops::Range<usize>| URL_SAFE_NO_PAD.encode(point.get(range).unwrap_or_default());
    json!({ "kty": "EC", "crv": "P-256", "x": part(1..33), "y": part(33..65), "kid": kid(key), "alg": "ES256", "use": "sig" })
}

fn kid(key: &EcdsaKeyPair) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, key.public_key().as_ref()).as_ref().get(..8).unwrap_or_default())
}

fn set(object: &mut Value, name: &str, value: impl Into<Value>) {
    if let Some(object) = object.as_object_mut() {
        object.insert(name.to_owned(), value.into());
    }
}

fn header(key: &EcdsaKeyPair, typ: &str) -> String {
    json!({ "alg": "ES256", "kid": kid(key), "typ": typ }).to_string()
}

fn encoded(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

fn sign(key: &EcdsaKeyPair, header: &str, claims: &Value) -> String {
    let input = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), encoded(claims));
    let signature = key.sign(&SystemRandom::new(), input.as_bytes());
    let signature = signature.map(|signature| URL_SAFE_NO_PAD.encode(signature.as_ref())).unwrap_or_default();
    format!("{input}.{signature}")
}

#[expect(clippy::disallowed_methods, reason = "a stand-in has a clock of its own")]
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or_default()
}

fn led_to(location: &str) -> Response<Full<Bytes>> {
    let mut response = status(StatusCode::SEE_OTHER, "text/plain", String::new());
    if let Ok(location) = location.parse() {
        response.headers_mut().insert(LOCATION, location);
    }
    response
}

fn document(value: &Value) -> Response<Full<Bytes>> {
    status(StatusCode::OK, "application/json", value.to_string())
}

fn status(status: StatusCode, media_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static(media_type));
    response
}

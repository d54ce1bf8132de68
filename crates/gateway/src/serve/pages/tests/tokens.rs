//! The hostile tokens of the corpus (`corpus/attacks/jose`) at the doors through which they come: the answer of an OpenID provider's
//! token endpoint, and its word that a session is over.

use std::convert::Infallible;
use std::path::{Path, PathBuf};

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};

use super::super::journey::{Journey, Journeys};
use super::*;
use crate::config::checked::{OpenidProvider, Scheme as CheckedScheme};
use crate::config::problem::Source;
use crate::config::{self, Purpose};
use crate::schemes::oidc::OpSessions;

const ISSUER: &str = "https://op.example.com";

const CONFIG: &str = r#"
[[listen]]
address = "127.0.0.1:8080"

[tenant.north]
hosts = ["app.north.localhost:8080"]
portal = "login.north.localhost:8080"
chain = ["session", "oidc", "form"]

[[route]]
match = "/**"
access = "open"
forward = "http://127.0.0.1:8081"

[scheme.form]
type = "login-form"
realm = "local"

[scheme.oidc]
type = "oidc"
openid_provider = "op"

[openid_provider.op]
issuer = "https://op.example.com"
client_id = "vestibule"
client_secret = { file = "good-es256.jwt" }
userinfo = false

[store]
path = "data"
"#;

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../corpus/attacks/jose")
}

/// A provider that answers every code with the token of this name.
async fn provider() -> u16 {
    async fn answer(port: u16, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        let at = |path: &str| format!("http://127.0.0.1:{port}/{path}");
        let read = |name: &str| std::fs::read_to_string(corpus().join(name)).unwrap();
        let text = match request.uri().path() {
            "/metadata" => json!({
                "issuer": ISSUER, "authorization_endpoint": at("authorize"), "token_endpoint": at("token"), "jwks_uri": at("keys"),
            })
            .to_string(),
            "/keys" => read("keys.json"),
            "/token" => {
                let form = request.into_body().collect().await.unwrap().to_bytes();
                let code = url::form_urlencoded::parse(&form).find(|(name, _)| name == "code").unwrap().1.into_owned();
                let token = read(&code);
                json!({ "access_token": "opaque", "token_type": "Bearer", "id_token": token.trim_end() }).to_string()
            }
            other => panic!("{other}"),
        };
        let mut response = Response::new(Full::new(Bytes::from(text)));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Ok(response)
    }
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let served = http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(move |request| answer(port, request)));
            tokio::spawn(served);
        }
    });
    port
}

/// The relying party as a configuration makes it, with a provider whose addresses are on this machine.
fn relying_party(port: u16, world: &World) -> Arc<RelyingParty> {
    let source = Source::new(corpus().join("v.toml"), CONFIG.to_owned());
    let (checked, _) =
        config::check(source, Purpose::Demo, Timestamp::UNIX_EPOCH, |_| Vec::new(), None).unwrap_or_else(|all| panic!("{all:#?}"));
    let CheckedScheme::Oidc(oidc) = &checked.schemes[&SchemeName::from("oidc")] else { panic!("no relying party") };
    let metadata = url::Url::parse(&format!("http://127.0.0.1:{port}/metadata")).unwrap();
    let near = vec!["127.0.0.1".to_owned()];
    let near_by = |op: &Arc<OpenidProvider>| Arc::new(OpenidProvider { metadata: metadata.clone(), near: near.clone(), ..(**op).clone() });
    let oidc = config::checked::Oidc { providers: oidc.providers.iter().map(near_by).collect() };
    let users = Arc::new(Users::new(Arc::new(MemoryDurableStore::default()), Duration::ZERO));
    let clock: Arc<dyn Clock> = world.clock.clone();
    let sessions = OpSessions::new(world.portal.key.clone(), world.portal.store.clone());
    Arc::new(RelyingParty::new("oidc".into(), &oidc, &format!("http://{LOGIN}:{PORT}"), users, sessions, &clock).unwrap())
}

#[tokio::test]
async fn every_token_of_the_corpus_is_judged_at_its_door_as_its_line_says() {
    let mut world = World::new().await;
    let rp = relying_party(provider().await, &world);
    world.portal = world.portal.with_relying_parties([("north".into(), rp)].into());
    let manifest: Vec<Value> = serde_json::from_str(&std::fs::read_to_string(corpus().join("manifest.json")).unwrap()).unwrap();
    let mut doors = HashMap::new();
    for line in &manifest {
        let (file, kind) = (line["file"].as_str().unwrap(), line["kind"].as_str().unwrap());
        assert_eq!(line["clock"], world.clock.now().as_second(), "{file}");
        *doors.entry(kind).or_insert(0) += 1;
        world.events();
        let mut browser = Browser::default();
        let (seen, said) = match kind {
            "id-token" => {
                let begun = request("GET", &format!("{LOGIN}:{PORT}"), "/login");
                let journeys = Journeys::of(&begun, &world.portal.key, world.clock.now());
                let (journey, cookies) = journeys
                    .begin(&begun, &world.portal.key, |id| Journey {
                        id,
                        started: world.clock.now().as_second(),
                        provider: "op".to_owned(),
                        return_to: None,
                        bind: None,
                        anew: false,
                        passive: false,
                        level: Default::default(),
                        arrived: None,
                    })
                    .unwrap();
                let headers = cookies.iter().map(|cookie| (SET_COOKIE, HeaderValue::from_str(cookie).unwrap())).collect();
                browser.keep(LOGIN, &headers);
                let seen = browser.get(&world, LOGIN, &format!("/oidc/rp/callback/op?code={file}&state={}", journey.id)).await;
                // All are of another login. What would be looked at after that: whether the access token is another one's.
                let said = line["reason"].as_str().filter(|reason| *reason != "wrong_hash").unwrap_or("wrong_nonce");
                (seen, Some(said))
            }
            "logout-token" => {
                let token = std::fs::read_to_string(corpus().join(file)).unwrap();
                (browser.post(&world, LOGIN, "/oidc/rp/logout/op", &[("logout_token", token.trim_end())]).await, line["reason"].as_str())
            }
            other => panic!("{file}: there is no kind {other}"),
        };
        let status = match (kind, said) {
            (_, None) => 200,
            ("id-token", Some(_)) => 403,
            (_, Some(_)) => 400,
        };
        let reasons: Vec<Value> = world
            .events()
            .iter()
            .filter_map(|event| match event {
                Event::LoginRejected { reason, .. } => Some(serde_json::to_value(reason).unwrap()),
                _ => None,
            })
            .collect();
        assert_eq!((seen.status, reasons), (status, said.map(|said| json!({ "oidc": said })).into_iter().collect()), "{file}");
        assert_eq!(browser.cookie(LOGIN, "vestibule"), None, "{file}");
    }
    assert!(doors["id-token"] > 40 && doors["logout-token"] > 6, "{doors:?}");
}

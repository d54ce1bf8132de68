//! The corpora of hostile messages at doors that are not theirs: what is wrong with a message is wrong wherever it arrives.

use serde_json::Value;
use vestibule_soap::Target;
use vestibule_wss::Message;
use vestibule_xmlsec::Limits;

use crate::delegate;
use crate::doors::{Front, House};
use crate::integration;
use crate::introspection;
use crate::session_tickets::{self, TICKETS, order, ticketed};
use crate::support::{Answer, Ask, CONFIG, FAKETIME, Gateway, USERS, ask, get};
use crate::ws_security::{CLIENT, HOUSE, ORDER, add, corpus, envelope, files, reason, skipped};

/// A message, and what its manifest says of it.
struct Hostile {
    file: String,
    octets: Vec<u8>,
    entry: Value,
}

impl Hostile {
    fn all(folder: &str) -> Vec<Self> {
        let folder = corpus().join("attacks").join(folder);
        let manifest: Value = serde_json::from_slice(&std::fs::read(folder.join("manifest.json")).unwrap()).unwrap();
        let read = |entry: &Value| {
            let file = entry["file"].as_str().unwrap().to_owned();
            Self { octets: std::fs::read(folder.join(&file)).unwrap(), file, entry: entry.clone() }
        };
        manifest.as_array().unwrap().iter().map(read).collect()
    }

    fn reason(&self) -> &str {
        self.entry["reason"].as_str().unwrap()
    }

    fn media_type(&self) -> &str {
        let twelve = || memchr::memmem::find(&self.octets, b"http://www.w3.org/2003/05/soap-envelope").is_some();
        self.entry["content_type"].as_str().unwrap_or_else(|| if twelve() { "application/soap+xml" } else { "text/xml" })
    }

    fn post(&self, path: &str) -> Ask {
        let ask = ask("POST", path).header("Content-Type", self.media_type()).body(self.octets.clone());
        match self.entry["soap_action"].as_str() {
            Some(action) => ask.header("SOAPAction", action),
            None => ask,
        }
    }
}

const TYPES: &str = "[\"text/xml\", \"application/soap+xml\", \"application/xml\", \"application/json\", \"multipart/related\"]";
/// Permits all but one operation, so that each has to be known.
const LEDGER: &str = r#"
@id("ledger") permit(principal, action, resource);
@id("no-delete") forbid(principal, action, resource) when { resource has operation && resource.operation == "Delete" };"#;

/// Every message that names no one operation is refused, and reaches nobody.
fn operations(what: &str, send: impl Fn(&Ask) -> Answer, application: &crate::support::Application) {
    let (mut wrong, all) = (Vec::new(), Hostile::all("soap"));
    for message in &all {
        application.forget();
        let answer = send(&message.post("/ledger").basic(USERS[0].0, USERS[0].1));
        let forwarded = application.received().len();
        // Which parts are referred to, and how often, is the service's to look at: the operation is in the root.
        let elsewhere = message.media_type().starts_with("multipart/")
            && (matches!(message.reason(), "reference_refused" | "limits") || message.file == "part-that-nothing-refers-to.txt");
        let fine = match message.reason() {
            "accept" => answer.status == 200 && forwarded == 1,
            _ => (400..500).contains(&answer.status) || answer.status == 500 && answer.body.contains("Fault") || elsewhere,
        };
        if !fine || (answer.status != 200 && forwarded != 0) {
            wrong.push(format!("{}: {} {forwarded}, expected {}", message.file, answer.status, message.reason()));
        }
    }
    assert!(all.len() > 40 && wrong.is_empty(), "{what}\n{}", wrong.join("\n"));
}

#[test]
fn soap_corpus_where_policies_ask_for_the_operation() {
    let route = format!(
        "\n[[route]]\nmatch = \"/ledger\"\npolicies = [\"ledger.cedar\"]\nbody = {{ limit = \"1MiB\", types = {TYPES} }}\nforward = \"http://{{{{app}}}}\"\n\n[scheme.basic]"
    );
    let gateway = Gateway::with_files(&CONFIG.replacen("\n[scheme.basic]", &route, 1), &[("ledger.cedar", LEDGER)]).with_users();
    operations("the proxy", |ask| gateway.send(ask), &gateway.application);
    let ours = format!("\n[[route]]\nmatch = \"/ledger\"\npolicies = [\"ledger.cedar\"]\nbody = {{ limit = \"1MiB\", types = {TYPES} }}\n");
    let files = [("ledger.cedar", LEDGER)];
    let chain = "chain  = [\"session\", \"basic\", \"form\"]";
    let Some(house) = House::open_chained(Front::EnvoyExtProc, ("", ""), chain, &ours, &files) else { return };
    operations("ext_proc", |ask| house.send(ask), &house.gateway.application);
}

/// Who is signed in as bob, where integration clients are.
fn bob(gateway: &Gateway) -> String {
    let login = ask("GET", "/Services/Integration?command=login").header("UserName", "bob").header("Password", USERS[1].1);
    gateway.send(&login).cookies()["JSESSIONID"].clone()
}

/// Whether a service that reads the header for the last receiver finds one.
fn presents(octets: &[u8]) -> bool {
    Message::read(octets, &Limits::SOAP).is_ok_and(|message| message.presents(&Target::Ultimate))
}

#[test]
fn both_corpora_beside_an_integration_session_and_where_tokens_are_issued() {
    let gateway = integration::gateway();
    let session = bob(&gateway);
    let mut refused = 0;
    let messages: Vec<Hostile> = ["wss", "soap"].into_iter().flat_map(Hostile::all).collect();
    for message in &messages {
        // Nobody of the corpus is anybody here.
        let answer = gateway.send(&message.post("/Services/Integration/Contact"));
        assert!(answer.status >= 400 && gateway.application.received().is_empty(), "{}: {answer:?}", message.file);
        let answer = gateway.send(&message.post("/Services/Integration/Contact").cookie("JSESSIONID", &session));
        for seen in gateway.application.received() {
            assert_eq!(seen.header("x-vestibule-user"), Some("bob"), "{}", message.file);
            assert!(!presents(&seen.body), "{}: a header that nobody checked", message.file);
        }
        refused += usize::from(answer.status != 200);
        gateway.application.forget();
        let answer = gateway.send(&message.post("/Services/SSOToken").basic(USERS[1].0, USERS[1].1));
        assert!(answer.status >= 400 && !answer.body.contains("SSOTokenData"), "{}: {answer:?}", message.file);
    }
    assert!(messages.len() > 200 && refused * 2 > messages.len(), "{refused} of {} are refused", messages.len());
    // Through all of it the session was bob's.
    let works = ask("POST", "/Services/Integration/Contact").header("Content-Type", "text/xml").cookie("JSESSIONID", &session);
    let body = "<s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\"><s:Body><Q xmlns=\"urn:q\"/></s:Body></s:Envelope>";
    assert_eq!(gateway.send(&works.body(body)).status, 200);
    assert!(!gateway.log().contains("panicked"));
}

#[test]
fn soap_corpus_where_others_ask_about_passwords() {
    let gateway = delegate::gateway("url = \"ldap://127.0.0.1:1\"");
    for message in Hostile::all("soap") {
        let answer = gateway.send_to("localhost", &message.post(&format!("/.vestibule/delegate/{}", delegate::OWN)));
        assert!(answer.status >= 400 && !answer.body.contains("true"), "{}: {answer:?}", message.file);
    }
    assert!(!gateway.log().contains("panicked"));
}

#[test]
fn wss_corpus_beside_a_ticket_of_the_signer() {
    if !std::path::Path::new(FAKETIME).exists() {
        return skipped("faketime");
    }
    let mut config = ticketed(HOUSE);
    let cases: Vec<Hostile> = Hostile::all("wss")
        .into_iter()
        .filter(|case| {
            let of = |name: &str| case.entry[name].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect::<Vec<_>>();
            of("tokens") == ["x509"] && of("settings").is_empty() && of("require").is_empty() && case.entry["decrypt_key"].is_null()
        })
        .collect();
    // At a service of its own each, at which nothing was seen before.
    for number in 0..cases.len() {
        config += &format!(
            "\n[upstream.u{number}]\nurl = \"http://{{{{app}}}}\"\n\n[[route]]\nmatch = \"/case/{number}\"\npolicies = [\"policy.cedar\"]\n\
             inject = [\"headers\"]\nbody = {{ limit = \"8MiB\", types = [\"text/xml\", \"application/soap+xml\"] }}\nforward = \"u{number}\"\n"
        );
    }
    let told = "@id(\"bound\") @response(\"bound\") permit(principal, action, resource) when { resource.path == \"/told/bound\" };";
    let mut files = files(told);
    files.push(("clock".to_owned(), "2026-03-01 12:01:00 x0.1".to_owned()));
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let gateway = Gateway::with_files(&format!("{config}{TICKETS}"), &files);
    add(&gateway, "north", CLIENT, "never typed by anybody");
    let good = cases.iter().find(|case| case.file == "good-signed.xml").unwrap();
    let answer = gateway.send(&good.post("/told/bound"));
    assert_eq!(answer.status, 200, "{answer:?} {}", gateway.log());
    let ticket = gateway.application.last().header("bound-ticket").unwrap().to_owned();
    let mut wrong = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        gateway.application.forget();
        let answer = gateway.send(&case.post(&format!("/case/{number}")).header("Bound-Ticket", &ticket));
        let forwarded = gateway.application.received();
        let fine = match case.reason() {
            "accept" => answer.status == 200 && forwarded.iter().all(|seen| seen.header("x-vestibule-scheme") == Some("bound")),
            _ => answer.status >= 400 && forwarded.is_empty(),
        };
        if !fine {
            wrong.push(format!("{}: {} {}, expected {}", case.file, answer.status, reason(&gateway, &answer), case.reason()));
        }
    }
    assert!(cases.len() > 40 && wrong.is_empty(), "{} of {}\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

/// Where tokens are taken that are no JWTs, what a JWT says of itself is nothing: a ticket is opened by its key, a token of old clients
/// is looked up, and about a bearer token its server is asked. OpenID Connect's doors are `serve::pages::tests::tokens`.
#[test]
fn jose_corpus_where_other_tokens_are_taken() {
    let (tickets, old, bearer) = (session_tickets::house(), integration::gateway(), introspection::House::start());
    let tokens: Vec<(String, String)> = std::fs::read_dir(corpus().join("attacks/jose"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "jwt"))
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), std::fs::read_to_string(&path).unwrap().trim_end().to_owned()))
        .collect();
    let mut asked = 0;
    for (file, token) in &tokens {
        let message = envelope(ORDER);
        let order = || order(message.as_bytes());
        for ask in [
            order().header("tmsamlsessionticket", token),
            order().header("tmsamlsessionticket", &format!("v1.{token}")),
            order().header("Bound-Ticket", token),
            order().cookie("tmsamlsession", token),
            order().cookie("vestibule", token),
        ] {
            let answer = tickets.send(&ask);
            assert!(answer.status >= 400, "{file}: {answer:?}");
        }
        let word: String = url::form_urlencoded::byte_serialize(token.as_bytes()).collect();
        for ask in [
            get(&format!("/Services/Integration?command=ssologin&odSsoToken={word}")),
            get(&format!("/Services/SSOTokenValidate?odSsoToken={word}")),
            ask("POST", "/Services/Integration/Contact")
                .header("Content-Type", "text/xml")
                .cookie("JSESSIONID", token)
                .body(message.as_str()),
        ] {
            let answer = old.send(&ask);
            assert!(
                answer.status >= 400 && answer.header("set-cookie").is_none_or(|cookie| cookie.contains("Max-Age=0")),
                "{file}: {answer:?}"
            );
        }
        let answer = bearer.come(token);
        let reason = bearer.reason(&answer);
        asked += usize::from(reason == serde_json::json!({ "oidc": "inactive" }));
        // Whoever sends so many that nobody knows is not asked about after a while.
        assert!(answer.status == 401 && (reason["oidc"] == "inactive" || reason == "address_gate_closed"), "{file}: {reason} {answer:?}");
    }
    for gateway in [&tickets, &old, &bearer.gateway] {
        assert!(gateway.application.received().is_empty() && !gateway.log().contains("panicked"));
    }
    assert!(tokens.len() > 40 && asked > 2, "{} {asked}", tokens.len());
}

//! `vestibule demo`: everything embedded, fresh keys and passwords, loopback only.
//!
//! It writes a configuration into a fresh directory and runs the very code of `serve` over it. Its store is
//! marked, and `serve` refuses a store with that mark.

mod application;
mod federation;
pub mod identity_service;
mod neighbour;
mod old_clients;
pub mod openid_provider;

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokio::net::TcpListener;
use vestibule_engine::clock::{SystemClock, random};
use vestibule_engine::identity::User;
use vestibule_engine::secret::Secret;

use crate::audit::trace::{self, Format};
use crate::cli::output::{Output, no_color};
use crate::cli::serve::refused;
use crate::cli::{Answer, Failure, finish};
use crate::config::Purpose;
use crate::serve::admin::protocol::{AdminReply, AdminRequest, Confidential, NewPassword, NewUser, Whom};
use crate::serve::admin::socket::Peer;
use crate::serve::hand_over::Inherited;
use crate::serve::house;

use identity_service::{Asked, IdentityService, ORGANIZATION, PEOPLE, session};
use neighbour::{Kind, Plan};
use openid_provider::{CLIENT, CLIENT_SECRET, OpenidProvider};

/// Show everything at once: tenants, users and an application, all in one process
#[derive(Debug, clap::Args)]
pub struct Demo {
    /// The port to listen on; on loopback only
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// The proxy that asks beside it [default: nginx, else Caddy, if one is installed]
    #[arg(long, value_name = "PROXY")]
    beside: Option<Kind>,
}

/// Who the demo knows: tenant, name, groups, whether the password must be changed first.
const USERS: [(&str, &str, &[&str], bool); 7] = [
    ("north", "ada", &["staff", "admins"], false),
    ("north", "bob", &["staff"], false),
    ("north", "new", &["staff"], true),
    ("south", "sol", &["staff"], false),
    // The north asks the south whether her password is right.
    ("north", DELEGATED, &["staff"], false),
    ("south", DELEGATED, &["staff"], false),
    ("north", OPERATOR, &[], false),
];

/// Who looks up who signed in. Operators use no applications by that.
const OPERATOR: &str = "ola";

/// Whose password in the north the south checks.
const DELEGATED: &str = "dee";

const POLICY: &str = r#"// Whoever is on the staff may read and call SOAP; administrators may also write.
@id("staff-may-read")
permit(principal in Group::"staff", action in Action::"read", resource);

@id("staff-may-call-soap")
permit(principal in Group::"staff", action == Action::"POST", resource)
when { resource.path like "/soap/*" || resource.path like "/Services/Integration*" };

@id("admins-may-write")
permit(principal in Group::"admins", action in Action::"write", resource);
"#;

/// Who comes to the demo's authentication service gets a header that vouches for them.
const SOAP_POLICY: &str = r#"@id("staff-is-vouched-for") @response("vouched")
permit(principal in Group::"staff", action == Action::"POST", resource);
"#;

impl Demo {
    /// Runs until SIGTERM or SIGINT.
    pub fn run(&self, output: Output) -> ExitCode {
        finish(self.play(), output)
    }

    fn play(&self) -> Result<Answer, Failure> {
        trace::init(Format::Text, Some("warn")).map_err(Failure::not_tried)?;
        let runtime = house::control_runtime().map_err(|error| Failure::not_tried(format!("no threads: {error}")))?;
        runtime.block_on(play(self.port, self.beside))
    }
}

async fn play(port: u16, beside: Option<Kind>) -> Result<Answer, Failure> {
    let folder = Folder::make().map_err(Failure::not_tried)?;
    let mut applications = Vec::new();
    for title in [
        "The north's application",
        "The north's shop",
        "The south's application",
        "The east's application",
        "The old company's application",
    ] {
        applications.push(open_application(title).await.map_err(Failure::not_tried)?);
    }
    let &[north, shop, south, east, old] = applications.as_slice() else { return Err(Failure::not_tried("an application is missing")) };
    folder.write("policy.cedar", POLICY).map_err(Failure::not_tried)?;
    folder.write("soap.cedar", SOAP_POLICY).map_err(Failure::not_tried)?;
    let plan = Plan::make(beside);
    if let (Some(kind), None) = (beside, &plan) {
        return Err(Failure::not_tried(format!("{} is not installed", kind.name())).fix("leave --beside out"));
    }
    let secret = fresh_password().map_err(Failure::not_tried)? + &fresh_password().map_err(Failure::not_tried)?;
    folder.write("path", &secret).map_err(Failure::not_tried)?;
    let service = IdentityService::start("id.localhost", Asked::default()).await.map_err(Failure::not_tried)?;
    folder.write("identity-service.pem", &service.authority).map_err(Failure::not_tried)?;
    federation::introduce(&folder, port).map_err(Failure::not_tried)?;
    certificate(&folder).map_err(Failure::not_tried)?;
    let provider = OpenidProvider::start("op.localhost").await.map_err(Failure::not_tried)?;
    folder.write("openid-provider", CLIENT_SECRET).map_err(Failure::not_tried)?;
    let text = configuration(port, folder.path(), [north, shop, south], service.address, &provider.issuer(), plan.as_ref());
    let text = text + &federation::configuration(port, east) + &old_clients::configuration(port, old);
    let file = folder.write("vestibule.toml", &text).map_err(Failure::not_tried)?;
    let mut open = house::open(file, Purpose::Demo, Arc::new(SystemClock::default()), Inherited::default()).await.map_err(refused)?;
    let admin = open.admin();
    let mut passwords = Vec::new();
    for (tenant, name, groups, must_change_password) in USERS {
        let password = fresh_password().map_err(Failure::not_tried)?;
        let user = NewUser {
            user: Whom { tenant: Some(tenant.to_owned()), name: name.to_owned() },
            display_name: None,
            email: None,
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
            profile: match (tenant, name) {
                ("north", DELEGATED) => "partner",
                (_, OPERATOR) => User::ADMINISTRATOR,
                _ => "employee",
            }
            .to_owned(),
            must_change_password,
            break_glass: false,
            password: NewPassword::Given(Confidential(Secret::new(password.clone()))),
        };
        let demo = Peer { uid: 0, name: Some("demo".to_owned()) };
        if let AdminReply::Refused(refusal) = admin.answer(AdminRequest::UserAdd(user), &demo).await {
            return Err(Failure::not_tried(format!("the user {name} could not be made: {refusal}")));
        }
        passwords.push(password);
    }
    let [ada, bob, new, sol, _, dee, ola] = passwords.as_slice() else { return Err(Failure::not_tried("a user is missing")) };
    // It shows one thing more; the demo goes on without it.
    let neighbour =
        plan.as_ref().map(|plan| plan.start(folder.path(), port, north).inspect_err(|why| tracing::warn!(%why, "no proxy asks")));
    let behind = plan.as_ref().filter(|_| matches!(neighbour, Some(Ok(_))));
    let style = Style { colour: io::stdout().is_terminal() && !no_color() };
    let screen = screen(port, folder.path(), [ada, bob, new, sol, dee, ola, &secret], &service, behind, style);
    let printed = io::stdout().write_all(screen.as_bytes()).and_then(|()| io::stdout().flush());
    printed.map_err(|error| Failure::not_tried(error.to_string()))?;
    open.until_told_to_stop().await;
    open.close().await;
    Ok(Answer::Yes)
}

/// How the screen is dressed.
#[derive(Debug, Clone, Copy)]
struct Style {
    colour: bool,
}

impl Style {
    fn strong(self, text: &str) -> String {
        if self.colour { format!("\u{1b}[1m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    fn quiet(self, text: &str) -> String {
        if self.colour { format!("\u{1b}[2m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

/// A fresh directory that goes with the demo.
struct Folder(PathBuf);

impl Folder {
    fn make() -> Result<Self, String> {
        let octets = random::<8>().map_err(|error| error.to_string())?;
        let path = std::env::temp_dir().join(format!("vestibule-demo-{}", URL_SAFE_NO_PAD.encode(octets)));
        let mut builder = std::fs::DirBuilder::new();
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self(path))
    }

    fn path(&self) -> &Path {
        &self.0
    }

    fn write(&self, name: &str, text: &str) -> Result<PathBuf, String> {
        let path = self.0.join(name);
        let mut options = std::fs::OpenOptions::new();
        std::os::unix::fs::OpenOptionsExt::mode(options.write(true).create_new(true), 0o600);
        let written = options.open(&path).and_then(|mut file| file.write_all(text.as_bytes()));
        written.map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A fresh key that signs SOAP messages, and the certificate that services know it by.
fn certificate(folder: &Folder) -> Result<(), String> {
    let made = rcgen::generate_simple_self_signed(["soap.north.localhost".to_owned()]).map_err(|error| error.to_string())?;
    folder.write("soap.crt", &made.cert.pem())?;
    folder.write("soap.key", &made.signing_key.serialize_pem()).map(drop)
}

async fn open_application(title: &'static str) -> Result<SocketAddr, String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(|error| error.to_string())?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    tokio::spawn(async move { axum::serve(listener, application::application(title)).await });
    Ok(address)
}

/// 96 random bits, easy to copy.
fn fresh_password() -> Result<String, String> {
    Ok(URL_SAFE_NO_PAD.encode(random::<12>().map_err(|error| error.to_string())?).replace(['-', '_'], "x"))
}

fn configuration(
    port: u16,
    folder: &Path,
    [north, shop, south]: [SocketAddr; 3],
    service: SocketAddr,
    issuer: &str,
    plan: Option<&Plan>,
) -> String {
    let (dir, id_port) = (folder.display(), service.port());
    let (mut more_hosts, mut more) = (String::new(), String::new());
    if let Some(plan) = plan {
        more_hosts = format!(", \"{}\"", plan.host());
        more = format!(
            r#"
[[listen]]
address = "127.0.0.1:{}"
speaks = "{}"
trusted_proxies = ["127.0.0.1/32"]

[[route]]
host = "{}.north.localhost"
match = "/**"
policies = ["policy.cedar"]
inject = ["headers"]
"#,
            plan.question,
            plan.kind.dialect(),
            plan.kind.name(),
        );
    }
    format!(
        r##"[[listen]]
address = "127.0.0.1:{port}"

[server]
health = "127.0.0.1:0"
control_socket = "{dir}/control.sock"
drain = "2s"

[front_door]
host = "login.localhost:{port}"

[tenant.north]
title = "North Ltd"
domain = "north"
hosts = ["app.north.localhost:{port}", "shop.north.localhost:{port}"{more_hosts}]
portal = "login.north.localhost:{port}"
chain = ["session", "salesforce", "crm", "bearer", "vouched", "basic", "form"]
api_login = ["json", "soap"]

[tenant.north.host_brand."shop.north.localhost"]
name = "North's shop"
accent = "#8a1c4a"

[tenant.north.idp]
certificate = "idp.crt"
key = {{ file = "idp.key" }}

[tenant.north.integration]
company = "NORTH"
ssoid = "north"
its_url = "https://idp.example.com/its?TARGET=${{TARGET}}"
quota = 1000

[tenant.south]
title = "South & Sons"
hosts = ["app.south.localhost:{port}"]
portal = "login.south.localhost:{port}"
chain = ["session", "vouched", "basic", "form"]
domain = "south"
brand = {{ accent = "#1f5f8b", heading = "Welcome to South & Sons", aside = "On Sunday from 6 to 8 we are not here." }}

[tenant.west]
title = "West"
hosts = ["app.west.localhost:{port}"]
portal = "login.west.localhost:{port}"
chain = ["session", "oidc"]

[[route]]
tenant = "west"
match = "/**"
policies = ["policy.cedar"]
inject = ["headers", "token"]
forward = "http://{north}"

[[route]]
tenant = "north"
match = "/**"
policies = ["policy.cedar"]
inject = ["headers", "token"]
forward = "http://{north}"

# The multistep model: an authentication service whose callers are vouched for, and two services that believe it.
[[route]]
tenant = "north"
match = "/soap/authenticate"
policies = ["soap.cedar"]
body = {{ limit = "64KiB", types = ["text/xml"] }}
forward = "http://{north}"

[[route]]
host = "shop.north.localhost"
match = "/soap/orders"
policies = ["policy.cedar"]
body = {{ limit = "64KiB", types = ["text/xml"] }}
inject = ["headers"]
forward = "http://{shop}"

[[route]]
tenant = "south"
match = "/soap/orders"
policies = ["policy.cedar"]
body = {{ limit = "64KiB", types = ["text/xml"] }}
inject = ["headers"]
forward = "http://{south}"

[response.vouched]
type = "ws-security"
token = "saml"
certificate = "soap.crt"
key = {{ file = "soap.key" }}
must_understand = false
assertion = {{ issuer = "urn:north", audience = "urn:demo:orders", confirm = "sender-vouches" }}

[scheme.vouched]
type = "ws-security"
token = "saml"
audience = "urn:demo:orders"
issuers = [{{ entity_id = "urn:north", certificates = ["soap.crt"] }}]

[[concession]]
what = "wss_sender_vouches"
partner = "vouched"
reason = "the demo shows it with curl, which signs nothing"
expires = "9999-12-31"

[[route]]
tenant = "north"
match = "/Services/Integration/**"
policies = ["policy.cedar"]
inject = ["headers", "token"]
body = {{ limit = "1MiB", types = ["text/xml"] }}
forward = "http://{north}"

[[route]]
host = "shop.north.localhost"
match = "/**"
policies = ["policy.cedar"]
inject = ["headers", "token"]
forward = "http://{shop}"

[[route]]
tenant = "south"
match = "/**"
policies = ["policy.cedar"]
inject = ["headers", "token"]
forward = "http://{south}"

[[route]]
match = "/public/**"
access = "open"
inject = ["headers"]
forward = "http://{north}"

[scheme.basic]
type = "basic"
realm = ["partner", "local"]

[scheme.crm]
type = "integration"
realm = ["partner", "local"]

[scheme.form]
type = "login-form"
realm = ["partner", "local"]

[realm.partner]
type = "delegated"
url = "http://login.south.localhost:{port}/.vestibule/delegate"
secret_path = {{ file = "path" }}

[profile.partner]
delegated = "partner"

[profile.employee]
idle = "15m"
lock = "network"

[delegate.south]
tenant = "south"
realm = "local"
path = {{ file = "path" }}
callers = ["127.0.0.0/8"]

[administrators]
from = ["127.0.0.0/8"]

[scheme.salesforce]
type = "identity-url"
organizations = ["{ORGANIZATION}"]
hosts = ["id.localhost:{id_port}"]
ca = "identity-service.pem"
link_by = "username"

[scheme.bearer]
type = "introspection"
url = "{issuer}/introspect"
client_id = "{CLIENT}"
client_secret = {{ file = "openid-provider" }}
audience = "https://app.north.localhost/api"
subject = "username"
users = "name"

[scheme.oidc]
type = "oidc"
openid_provider = "demo"

[openid_provider.demo]
issuer = "{issuer}"
client_id = "{CLIENT}"
client_secret = {{ file = "openid-provider" }}
provision = true
name = "preferred_username"
display_name = "name"
email = "email"
group_claim = "groups"
groups = {{ crew = "staff" }}

[[concession]]
what = "private-addresses"
partner = "salesforce"
reason = "the demo's own identity service"
expires = "9999-12-31"

[inject.token]
type = "jwt"
audience = "demo"

[store]
path = "{dir}/data"

[audit]
to = "file"
path = "{dir}/audit.jsonl"
{more}"##
    )
}

/// A command to copy, the status it will print, and why.
type Try<'a> = (String, u16, &'a str);

/// What is running where, then what to try: copyable lines, each with the status it will print.
fn screen(
    port: u16,
    folder: &Path,
    [ada, bob, new, sol, dee, ola, secret]: [&String; 7],
    service: &IdentityService,
    behind: Option<&Plan>,
    style: Style,
) -> String {
    let app = format!("http://app.north.localhost:{port}");
    let south = format!("http://app.south.localhost:{port}");
    let shop = format!("http://shop.north.localhost:{port}");
    let east = format!("http://app.east.localhost:{port}");
    let soap = "-H 'Content-Type: text/xml' -H 'SOAPAction: \"ListOrders\"' -d '<s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\"><s:Body/></s:Envelope>'";
    let socket = folder.join("control.sock");
    let [(ada_there, ..), (bob_there, ..), _] = PEOPLE;
    let foreign = |owner: &str| format!("-H 'ssid: {}' -H 'surl: {}'", session("own", owner), service.url(ada_there));
    let mut groups: Vec<(&str, Vec<Try<'_>>)> = vec![
        (
            "1  An ordered chain of schemes",
            vec![
                (format!("curl -i {app}/public/status"), 200, "an open route: anonymous may pass"),
                (format!("curl -i {app}/api/orders"), 401, "a protected one: who are you?"),
                (format!("curl -i -u ada:{ada} {app}/api/orders"), 200, "Basic, against our own users"),
                (format!("curl -i -u ada:wrong {app}/api/orders"), 401, "the same answer for a wrong name"),
                (format!("curl -i -u ada:wrong {app}/public/status"), 200, "still open; X-Vestibule-Auth says anonymous"),
                (format!("curl -i -X DELETE -u bob:{bob} {app}/api/orders/1"), 403, "known, but no policy permits it"),
                (format!("curl -i -X DELETE -u ada:{ada} {app}/api/orders/1"), 200, "permitted to administrators"),
                (format!("curl -i {} {app}/api/me", foreign(ada_there)), 200, "a Salesforce session, before any password"),
                (format!("curl -i {} {app}/api/me", foreign(bob_there)), 401, "bob's session reads ada's identity, and is not hers"),
                (
                    format!("curl -i -H 'Authorization: Bearer own.ada' {app}/api/me"),
                    200,
                    "a bearer token: its server is asked what it is worth",
                ),
                (format!("curl -i -H 'Authorization: Bearer elsewhere.ada' {app}/api/me"), 401, "one that was made for somebody else"),
                (format!("curl -i -u sol:{sol} {app}/api/orders"), 401, "the south's user is nobody in the north"),
                (format!("curl -i -u sol:{sol} {south}/api/orders"), 200, "and somebody in the south"),
            ],
        ),
        (
            "2  Browser single sign-on by tenant",
            vec![
                (format!("curl -i -H 'Accept: text/html' {app}/"), 303, "a browser is led to the portal"),
                (
                    format!("curl -i http://login.north.localhost:{port}/saml/idp/metadata"),
                    200,
                    "the tenant as an identity provider of SAML 2.0, for partners",
                ),
                (
                    format!("curl -i -H 'Accept: text/html' http://app.west.localhost:{port}/"),
                    303,
                    "the west has no passwords: its portal leads to an OpenID provider",
                ),
                (format!("curl -i http://login.east.localhost:{port}/saml/sp/metadata"), 200, "a tenant whose users come from there"),
                (format!("curl -i -H 'Accept: text/html' {east}/"), 303, "whoever asks for its pages signs in at the north"),
                (
                    format!("curl -i -H 'Accept-Language: de' 'http://login.south.localhost:{port}/login?display=touch'"),
                    200,
                    "its page: three layouts, two languages, each tenant's brand",
                ),
                (
                    format!("curl -i 'http://login.north.localhost:{port}/login?return_to={shop}/'"),
                    200,
                    "on the way to the shop it wears the shop's",
                ),
                (format!("curl -i http://login.localhost:{port}/login"), 200, "a host of no tenant, for those who do not know theirs"),
                (format!("curl -i -u new:{new} {app}/api/me"), 403, "must change the password first"),
            ],
        ),
        (
            "3  What the application is told",
            vec![
                (format!("curl -i -u ada:{ada} {app}/api/me"), 200, "identity headers and a signed token"),
                (format!("curl -i -H 'X_Vestibule_User: root' {app}/public/headers"), 200, "a forged identity is stripped"),
                (format!("curl -i http://login.north.localhost:{port}/.well-known/jwks.json"), 200, "the keys to verify it with"),
                (format!("curl -i --path-as-is {app}/public/../api/orders"), 400, "ambiguous paths are refused"),
            ],
        ),
        (
            "4  SOAP",
            vec![
                (format!("curl -i {soap} {app}/soap/orders"), 401, "a SOAP client gets a fault"),
                (format!("curl -i -u bob:{bob} {soap} {app}/soap/orders"), 200, "and is let in with Basic"),
            ],
        ),
    ];
    let question = format!(
        "-H 'Content-Type: text/xml' -d '<e:Envelope xmlns:e=\"http://schemas.xmlsoap.org/soap/envelope/\"><e:Body><Authenticate xmlns=\"urn:authentication.soap.sforce.com\"><username>dee</username><password>{dee}</password><sourceIp>127.0.0.1</sourceIp></Authenticate></e:Body></e:Envelope>'"
    );
    let endpoint = format!("http://login.south.localhost:{port}/.vestibule/delegate/{secret}");
    let json = |name: &str, password: &str| {
        format!("-H 'Content-Type: application/json' -d '{{\"username\":\"{name}\",\"password\":\"{password}\"}}'")
    };
    groups.push((
        "5  Delegated authentication",
        vec![
            (format!("curl -i -u dee:{dee} {app}/api/me"), 200, "the north asks the south by SOAP whether dee's password is right"),
            (format!("curl -i -u dee:wrong {app}/api/me"), 401, "and believes it"),
            (format!("curl -i {question} {endpoint}"), 200, "this is what it asks"),
            (format!("curl -i '{endpoint}?wsdl'"), 200, "the service describes itself"),
            (format!("curl -i {} {app}/.vestibule/login", json("dee", dee)), 200, "programs log in the same way"),
            (format!("curl -i {} {app}/.vestibule/login", json("dee", "wrong")), 401, "or not"),
        ],
    ));
    groups.push(("6  An old integration client", old_clients::commands(port, folder, ada, bob)));
    let document = folder.join("vouched.xml");
    let (document, soap_type) = (document.display(), "-H 'Content-Type: text/xml'");
    let order = "<s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\"><s:Body><ListOrders xmlns=\"urn:vestibule:demo\"/></s:Body></s:Envelope>";
    groups.push((
        "7  A SOAP header from an authentication service, used at others (WS-Security, SAML sender-vouches)",
        vec![
            (
                format!("curl -s -D - -o {document} -u dee:{dee} {soap_type} -d '{order}' {app}/soap/authenticate"),
                200,
                "the service gives the document back, with the header that vouches for dee",
            ),
            (format!("curl -i {soap_type} --data-binary @{document} {shop}/soap/orders"), 200, "no password: another service believes it"),
            (format!("curl -i {soap_type} --data-binary @{document} {shop}/soap/orders"), 500, "once: this is a replay, and a fault"),
            (
                format!("curl -i {soap_type} --data-binary \"$(sed s/ListOrders/DropOrders/ {document})\" {south}/soap/orders"),
                500,
                "tampered with, a fault",
            ),
            (
                format!("curl -i {soap_type} --data-binary @{document} {south}/soap/orders"),
                200,
                "the south is federated: it knows the north's certificate, and a dee of its own",
            ),
        ],
    ));
    let mut doctor = None;
    if let Some(plan) = behind {
        let front = format!("http://{}", plan.host());
        groups.push((
            match plan.kind {
                Kind::Nginx => "8  Behind nginx, which asks (auth_request) and forwards by itself",
                Kind::Caddy => "8  Behind Caddy, which asks (forward_auth) and forwards by itself",
            },
            vec![
                (format!("curl -i {front}/api/orders"), 401, "nobody, so nothing is forwarded"),
                (format!("curl -i -u ada:{ada} {front}/api/me"), 200, "the application is told who it is"),
                (format!("curl -i -X DELETE -u bob:{bob} {front}/api/orders/1"), 403, "the same policies"),
                (format!("curl -i -H 'Accept: text/html' {front}/"), 303, "the same portal"),
            ],
        ));
        doctor = Some(format!("vestibule doctor --from {front}/api/orders --socket {}", socket.display()));
    }
    let mut text = String::new();
    // INVARIANT: writing to a text cannot fail.
    let _ = writeln!(text, "{}", style.strong("Vestibule is open. Everything runs in this process, on loopback, with fresh passwords."));
    for (title, lines) in groups {
        let _ = writeln!(text, "\n{}", style.strong(title));
        for (command, status, meaning) in lines {
            let _ = writeln!(text, "  {command}   {}", style.quiet(&format!("# {status} {meaning}")));
        }
    }
    if let Some(doctor) = doctor {
        let _ = writeln!(text, "  {doctor}   {}", style.quiet("# whether it asks as it should"));
    }
    let _ = writeln!(text, "\n{}", style.strong("In a browser"));
    for (url, what) in [
        (format!("{app}/"), "sign in as ada or bob; you come back to this page"),
        (format!("{shop}/"), "the same login, another application"),
        (format!("{south}/"), "another tenant, another portal, another brand: sol"),
        (format!("http://app.west.localhost:{port}/"), "sign in by OpenID Connect; your account is made as you come"),
        (format!("http://login.localhost:{port}/"), "no tenant's host: ada@north, sol@south, or a name that only one tenant has"),
        (format!("{east}/"), "a tenant whose users sign in at the north, by SAML: ada or bob"),
        (format!("http://login.north.localhost:{port}/saml/idp/start/east"), "the same, begun at the identity provider"),
        (format!("http://app.old.localhost:{port}/"), "a company whose users sign in there by SAML 1.1, by an artifact"),
        (format!("http://login.north.localhost:{port}/"), "who you are; sign out everywhere, the east included"),
        (
            format!("http://login.north.localhost:{port}/history"),
            "who signed in and who was refused: ola, an operator; others find no such page",
        ),
    ] {
        let _ = writeln!(text, "  {url}   {}", style.quiet(&format!("# {what}")));
    }
    let _ = writeln!(text, "\n  {:<7} {}", "ada", ada);
    for (name, password) in [("bob", bob), ("new", new), ("sol", sol), (DELEGATED, dee), (OPERATOR, ola)] {
        let _ = writeln!(text, "  {name:<7} {password}");
    }
    let _ = writeln!(
        text,
        "\nDoes it hold?\n  vestibule attack --target {app}/api/orders --open /public/status\n\nWhy was it decided so? Copy the X-Vestibule-Id of any answer:\n  vestibule explain ID --socket {}\n\n{}",
        socket.display(),
        style.quiet("Ctrl-C stops it; nothing is kept.")
    );
    text
}

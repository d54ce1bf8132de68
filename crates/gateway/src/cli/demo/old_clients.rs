//! Old clients of integration services, and a company of that time: its users sign in at the north by SAML 1.1, browsers by an
//! artifact, programs by POST.

use std::net::SocketAddr;
use std::path::Path;

use super::Try;

/// Where SAML 1.1 comes to.
const CONSUMER: &str = "/fed/sp/samlv11sso";
/// What a program brings its answer for.
const TARGET: &str = "/Services/Integration?command=ssologin&ssoid=old";

/// How the north knows the company.
fn entity_id(port: u16) -> String {
    format!("http://login.old.localhost:{port}/saml11")
}

/// The north's inter-site transfer service, for answers to this host of the company.
fn transfer(port: u16, host: &str, target: &str) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.append_pair("providerId", &entity_id(port)).append_pair("shire", &format!("http://{host}.old.localhost:{port}{CONSUMER}"));
    format!("http://login.north.localhost:{port}/saml/idp/transfer?{}&TARGET={target}", query.finish())
}

/// The company's metadata, with a certificate in base64.
pub(super) fn metadata(port: u16, certificate: &str) -> String {
    let consumers = [(0, "login", "artifact-01"), (1, "app", "browser-post")].map(|(index, host, profile)| {
        format!(
            "<AssertionConsumerService Binding=\"urn:oasis:names:tc:SAML:1.0:profiles:{profile}\" \
             Location=\"http://{host}.old.localhost:{port}{CONSUMER}\" index=\"{index}\"/>"
        )
    });
    format!(
        "<EntityDescriptor xmlns=\"urn:oasis:names:tc:SAML:2.0:metadata\" entityID=\"{}\">\
         <SPSSODescriptor protocolSupportEnumeration=\"urn:oasis:names:tc:SAML:1.1:protocol\"><KeyDescriptor use=\"signing\">\
         <KeyInfo xmlns=\"http://www.w3.org/2000/09/xmldsig#\"><X509Data><X509Certificate>{certificate}</X509Certificate></X509Data></KeyInfo>\
         </KeyDescriptor>{}</SPSSODescriptor></EntityDescriptor>",
        entity_id(port),
        consumers.concat()
    )
}

/// What the configuration says of it.
pub(super) fn configuration(port: u16, application: SocketAddr) -> String {
    let (entity_id, its, transfer) = (entity_id(port), transfer(port, "app", "${TARGET}"), transfer(port, "login", "${TARGET}"));
    format!(
        r##"
[tenant.old]
title = "The old company"
hosts = ["app.old.localhost:{port}"]
portal = "login.old.localhost:{port}"
chain = ["session", "old-client", "old-sso"]
brand = {{ accent = "#5b5b2f" }}

[tenant.old.integration]
authentication = "sso-only"
ssoid = "old"
its_url = "{its}"
quota = 1000

[[route]]
tenant = "old"
match = "/**"
policies = ["policy.cedar"]
inject = ["headers", "token"]
forward = "http://{application}"

[[route]]
tenant = "old"
match = "/Services/Integration/**"
policies = ["policy.cedar"]
inject = ["headers", "token"]
body = {{ limit = "1MiB", types = ["text/xml"] }}
forward = "http://{application}"

[scheme.old-client]
type = "integration"
realm = "local"

[scheme.old-sso]
type = "saml"
entity_id = "{entity_id}"
identity_provider = "north-saml11"

[scheme.old-sso.signing]
certificate = "old.crt"
key = {{ file = "old.key" }}

[identity_provider.north-saml11]
metadata = "north-saml11.xml"
provision = true
name = "user"
group_attribute = "groups"
groups = {{ staff = "staff", admins = "admins" }}

[identity_provider.north-saml11.saml11]
transfer = "{transfer}"

[[concession]]
what = "saml11"
partner = "north-saml11"
reason = "the demo shows what the old company knows"
expires = "9999-12-31"

[service_provider.old]
tenant = "north"
metadata = "old.xml"
title = "The old company"
name_id = ["username"]
release = {{ user = "user", groups = "groups" }}

[[concession]]
what = "saml11-issued"
partner = "old"
reason = "the demo shows what the old company knows"
expires = "9999-12-31"
"##
    )
}

/// What a client of 2009 does, which nobody can change: it keeps `JSESSIONID`, or sends a name and a password in a draft's namespace.
pub(super) fn commands<'t>(port: u16, folder: &Path, ada: &str, bob: &str) -> Vec<Try<'t>> {
    let app = format!("http://app.north.localhost:{port}");
    let services = format!("{app}/Services/Integration");
    let credentials = format!("-H 'UserName: NORTH/bob' -H 'Password: {bob}'");
    let message = |header: &str, body: &str| {
        format!(
            "-H 'Content-Type: text/xml' -d '<s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\"><s:Header>{header}</s:Header><s:Body>{body}</s:Body></s:Envelope>'"
        )
    };
    let token = |namespace: &str| {
        format!(
            "<w:Security xmlns:w=\"{namespace}\"><w:UsernameToken><w:Username>NORTH/bob</w:Username><w:Password>{bob}</w:Password></w:UsernameToken></w:Security>"
        )
    };
    let oasis = token(vestibule_wss::Era::Standard.extension());
    let query = message("", "<ContactQueryPage_Input/>");
    let session = format!("$(curl -si {credentials} '{services}?command=login' | grep -io 'JSESSIONID=[^;]*' | head -n 1)");
    let sso = format!(
        "$(curl -s {} '{app}/Services/SSOToken' | sed 's/.*<SSOTokenData>//; s/<.*//')",
        message(&oasis, "<SSOTokenRead xmlns=\"urn:vestibule:integration\"/>")
    );
    let mut commands = vec![
        (format!("curl -i {credentials} '{services}?command=login'"), 200, "log in by address: the first cookie is the session"),
        (
            format!("curl -i -H 'UserName: NORTH/bob' -H 'Password: wrong' '{services}?command=login'"),
            401,
            "a message that such clients search for \"unknown user\"",
        ),
        (format!("curl -i {query} {services}/Contact"), 500, "nobody: a fault in the words of their framework"),
        (format!("curl -i -b \"{session}\" {query} {services}/Contact"), 200, "with the session; the service is told who it is"),
        (format!("curl -i -b JSESSIONID=gone {query} {services}/Contact"), 500, "a session that is over, by the code they log in again on"),
        (
            format!(
                "curl -i {} {services}/Contact",
                message(&token(vestibule_wss::Era::Draft200204.extension()), "<ContactQueryPage_Input/>")
            ),
            200,
            "a name and a password in the draft of April 2002: the answer, and a session with it",
        ),
        (format!("curl -i \"{app}/Services/SSOTokenValidate?odSsoToken={sso}\""), 200, "a token for single sign-on: whose is it?"),
        (format!("curl -i \"{services}?command=ssologin&odSsoToken={sso}\""), 200, "and a session for who holds it, once"),
        (format!("curl -i '{services}?command=logoff;'"), 200, "log off, whatever there was"),
    ];
    commands.extend(elsewhere(port, folder, ada));
    commands
}

/// A client of the old company signs in where its users do: it is told where, gives a name and a password to the form there, brings
/// what comes of it, and ends with its session.
fn elsewhere<'t>(port: u16, folder: &Path, ada: &str) -> Vec<Try<'t>> {
    let origin = format!("http://app.old.localhost:{port}");
    let target: String = url::form_urlencoded::byte_serialize(format!("{origin}{TARGET}").as_bytes()).collect();
    let its = transfer(port, "app", &target);
    let [jar, form, answer] = ["jar", "form.html", "answer.html"].map(|name| folder.join(name).display().to_string());
    let value = |name: &str, page: &str| {
        format!("--data-urlencode \"{name}=$(sed -n 's/.*name=\"{name}\" value=\"\\([^\"]*\\)\".*/\\1/p' {page})\"")
    };
    vec![
        (
            format!("curl -i '{origin}/Services/Integration?command=ssoitsurl&ssoid=old'"),
            200,
            "a company whose users sign in elsewhere: X-SsoItsUrl says where (SAML 1.1)",
        ),
        (format!("curl -s -L -D - -o {form} -c {jar} '{its}'"), 200, "there, at the north: a form"),
        (
            format!(
                "curl -s -L -D - -o {answer} -b {jar} -c {jar} {} {} -d username=ada -d password={ada} http://login.north.localhost:{port}/login",
                value("state", &form),
                value("return_to", &form)
            ),
            200,
            "name and password: a signed answer, to be posted",
        ),
        (
            format!("curl -i -L {} --data-urlencode 'TARGET={origin}{TARGET}' {origin}{CONSUMER}", value("SAMLResponse", &answer)),
            200,
            "posted, and led on: the last of it is JSESSIONID",
        ),
    ]
}

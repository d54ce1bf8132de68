//! `vestibule wss import`: the variables of SiteMinder's response attributes `WebAgent-WS-Security-Token` and
//! `WebAgent-SAML-Session-Ticket-Variable`, taken verbatim, as a response of ours (`policy-server-and-ws-security.md` §3.2, §3.5).
//!
//! A variable that is not understood is refused, never left out: what it restricted would be open.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args;

use super::super::output::Output;
use super::super::xml::read;
use super::super::{Answer, Failure};

/// Octets of a file with variables.
const MAX_FILE: u64 = 64 << 10;
/// What the product cannot say, for who edits the result.
const ISSUER: &str = "urn:replace:our-issuer";
const AUDIENCE: &str = "urn:replace:our-services";

/// Turn TXM_… variables into a response
#[derive(Debug, Args)]
pub struct Import {
    /// The variables, in lines of the form NAME=value (- for standard input)
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The name of the response
    #[arg(long, value_name = "NAME", default_value = "imported")]
    name: String,
}

impl Import {
    pub(super) fn run(self, output: &mut Output) -> Result<Answer, Failure> {
        let octets = read(&self.file, MAX_FILE)?;
        let text = std::str::from_utf8(&octets).map_err(|_| Failure::not_tried(format!("{}: not UTF-8", self.file.display())))?;
        let response = imported(text, &self.name).map_err(Failure::refused)?;
        if output.is_json() {
            output.json(&serde_json::json!({ "response": response }));
        } else {
            output.verbatim(&response);
        }
        Ok(Answer::Yes)
    }
}

/// The variables by name. Names and values are compared without their case, as the product does.
struct Variables(BTreeMap<String, String>);

impl Variables {
    fn read(text: &str) -> Result<Self, String> {
        let mut variables = BTreeMap::new();
        for (number, line) in text.lines().enumerate().map(|(number, line)| (number + 1, line.trim())) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (name, value) = line.split_once('=').ok_or_else(|| format!("line {number} is not NAME=value"))?;
            let name = name.trim().to_ascii_uppercase();
            let value = value.trim().trim_matches('"');
            if variables.insert(name.clone(), value.to_owned()).is_some() {
                return Err(format!("{name} is there twice"));
            }
        }
        Ok(Self(variables))
    }

    fn take(&mut self, name: &str) -> Option<String> {
        self.0.remove(name)
    }

    fn yes(&mut self, name: &str) -> Result<Option<bool>, String> {
        self.take(name).map(|value| is_yes(name, &value)).transpose()
    }

    fn seconds(&mut self, name: &str) -> Result<Option<u64>, String> {
        self.take(name).map(|value| value.parse().map_err(|_| format!("{name}={value} is no number of seconds"))).transpose()
    }
}

impl Variables {
    /// Whether nothing is left that nobody understood.
    fn all_taken(&self) -> Result<(), String> {
        match self.0.keys().next() {
            None => Ok(()),
            Some(left) => Err(format!("{left} is not known; say by hand what it means, and remove it")),
        }
    }
}

fn is_yes(name: &str, value: &str) -> Result<bool, String> {
    match value.to_ascii_lowercase().as_str() {
        "true" | "yes" => Ok(true),
        "false" | "no" => Ok(false),
        _ => Err(format!("{name}={value} is neither yes nor no")),
    }
}

/// The response as it stands in a configuration.
fn imported(text: &str, name: &str) -> Result<String, String> {
    let mut variables = Variables::read(text)?;
    if let Some(location) = variables.take("TXM_SAML_LOCATION") {
        return ticket(variables, &location, name);
    }
    let kind = variables.take("TXM_WSSEC_TOKEN_TYPE").ok_or("TXM_WSSEC_TOKEN_TYPE is missing")?;
    let token = match kind.to_ascii_lowercase().as_str() {
        "password" => "password-digest",
        "password_nodigest" => "password-text",
        "x509" | "x509v3" => "x509",
        "saml" => "saml",
        _ => return Err(format!("TXM_WSSEC_TOKEN_TYPE={kind} is no kind of token")),
    };
    let mut out = format!("[response.{name}]\ntype = \"ws-security\"\ntoken = \"{token}\"\n");
    let mut line = |key: &str, value: &str| {
        // INVARIANT: writing to a string cannot fail.
        let _ = writeln!(out, "{key} = {value}");
    };
    if let Some(source) = variables.take("TXM_WSSEC_USER_PASSWORD") {
        line("password", &quoted(&format!("attribute:{source}")));
    }
    let prefix = if token == "saml" { "TXM_WSSEC_SAML_" } else { "TXM_WSSEC_" };
    if let Some(role) = variables.take(&format!("{prefix}ROLE")) {
        line("role", &quoted(&role));
    }
    let timestamp = variables.yes(&format!("{prefix}TIMESTAMP"))?;
    let expiry = variables.seconds(&format!("{prefix}TIMESTAMP_EXPIRY"))?;
    let confirm = match variables.take("TXM_WSSEC_SAML_SIG_REQUIRED") {
        Some(value) if token == "saml" => Some(match value.to_ascii_uppercase().as_str() {
            "HK" => "holder-of-key",
            "SV" => "sender-vouches",
            "SVS" => "sender-vouches-signed",
            _ => return Err(format!("TXM_WSSEC_SAML_SIG_REQUIRED={value} would let anybody write such an assertion")),
        }),
        Some(value) => return Err(format!("TXM_WSSEC_SAML_SIG_REQUIRED={value} means nothing without an assertion")),
        None if token == "saml" => return Err("without TXM_WSSEC_SAML_SIG_REQUIRED anybody could write such an assertion".to_owned()),
        None => None,
    };
    let signature = variables.take("TXM_WSSEC_SIGNATURE");
    let parts = signature.as_deref().map(|value| match value.to_ascii_lowercase().as_str() {
        "all" => Ok("[\"envelope\"]"),
        "body_ts" => Ok("[\"body\", \"timestamp\"]"),
        "body" => Ok("[\"body\"]"),
        "headers" => Ok("[\"headers\", \"timestamp\", \"token\"]"),
        _ => Err(format!("TXM_WSSEC_SIGNATURE={value} is no extent of a signature")),
    });
    let parts = parts.transpose()?;
    // What is signed with a time has one, whether the product was told so or not.
    let signs_time = matches!(signature.as_deref().map(str::to_ascii_lowercase).as_deref(), Some("body_ts" | "headers"))
        || matches!(confirm, Some("sender-vouches" | "sender-vouches-signed"));
    if timestamp != Some(true) && !signs_time {
        line("timestamp", "false");
    }
    if let Some(seconds) = expiry {
        line("lifetime", &quoted(&format!("{seconds}s")));
    }
    if let Some(parts) = parts {
        line("sign", parts);
    }
    if let Some(algorithm) = variables.take("TXM_WSSEC_SIGNATURE_ALG") {
        let known = algorithm.to_ascii_lowercase().replace('_', "-");
        if known.contains("sha1") || known.ends_with("sha-1") {
            return Err(format!("TXM_WSSEC_SIGNATURE_ALG={algorithm} is not written any more; remove it, and RSA-SHA256 is"));
        }
    }
    if parts.is_some() || matches!(token, "x509" | "saml") {
        line("certificate", "\"tls/soap.pem\"");
        line("key", "{ file = \"tls/soap.key\" }");
    }
    if let Some(must) = variables.yes("TXM_WSSEC_MUST_UNDERSTAND")? {
        line("must_understand", if must { "true" } else { "false" });
    }
    if variables.yes("TXM_WSSEC_REMOVE")? == Some(true) {
        line("remove", "true");
    }
    if let Some(confirm) = confirm {
        let version = if variables.yes("TXM_WSSEC_SAML20_ASSERTION")? == Some(true) { "2.0" } else { "1.1" };
        let affiliate = variables.take("TXM_WSSEC_SAML_AFFILIATE").ok_or("TXM_WSSEC_SAML_AFFILIATE is missing")?;
        let audience = variables.take("TXM_WSSEC_SAML20_SPID").unwrap_or(affiliate);
        let _ = write!(out, "\n[response.{name}.assertion]\nversion = \"{version}\"\nissuer = \"{ISSUER}\"\n");
        let _ = write!(out, "audience = {}\nconfirm = \"{confirm}\"\n", quoted(&audience));
        let source = variables.take("TXM_WSSEC_SAML_USER_CERT_SRC");
        let attribute = variables.take("TXM_WSSEC_SAML_USER_CERT");
        if confirm == "holder-of-key" {
            let source = source.ok_or("TXM_WSSEC_SAML_USER_CERT_SRC is missing")?;
            let _ = writeln!(out, "holder = {}", quoted(&holder(&source, attribute)?));
        }
    }
    variables.all_taken().map(|()| out)
}

/// Whose key is named.
fn holder(source: &str, attribute: Option<String>) -> Result<String, String> {
    match (source.to_ascii_lowercase().as_str(), attribute) {
        ("xmldsig", _) => Ok("message".to_owned()),
        ("client_cert", _) => Ok("client-certificate".to_owned()),
        ("user_store", Some(attribute)) => Ok(format!("attribute:{attribute}")),
        ("user_store", None) => Err("the attribute with the user's certificate is missing".to_owned()),
        _ => Err(format!("{source} is no source of a key")),
    }
}

/// A session ticket.
fn ticket(mut variables: Variables, location: &str, name: &str) -> Result<String, String> {
    let source = variables.take("TXM_PUBLIC_KEY");
    let attribute = variables.take("TXM_USER_CERT");
    let holder = source.map(|source| holder(&source, attribute)).transpose()?.map(|holder| quoted(&holder));
    // What is signed and what proves who is asking is not switched off here.
    for switch in ["TXM_SIGN_ASSERTION", "TXM_FORCE_LOGON"] {
        variables.yes(switch)?;
    }
    variables.all_taken()?;
    let to = match location.to_ascii_lowercase().as_str() {
        "http_header" => "header",
        "cookie_header" => "cookie",
        "envelope_header" => {
            let holder = holder.ok_or("in a message a ticket needs a key to be bound to: TXM_Public_Key is missing")?;
            return Ok(format!(
                "[response.{name}]\ntype = \"ws-security\"\ntoken = \"saml\"\ncertificate = \"tls/soap.pem\"\nkey = {{ file = \"tls/soap.key\" }}\n\n\
                 [response.{name}.assertion]\nissuer = \"{ISSUER}\"\naudience = \"{AUDIENCE}\"\nconfirm = \"holder-of-key\"\nholder = {holder}\nticket = true\n"
            ));
        }
        _ => return Err(format!("TXM_SAML_Location={location} is no place for a ticket")),
    };
    let holder = holder.map(|holder| format!("holder = {holder}\n")).unwrap_or_default();
    Ok(format!("[response.{name}]\ntype = \"session-ticket\"\nto = \"{to}\"\n{holder}"))
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vendors_own_examples_are_taken() {
        let holder = "TXM_WSSEC_TOKEN_TYPE=SAML\ntxm_wssec_saml_affiliate=partner-b\nTXM_WSSEC_SAML20_ASSERTION=Yes\n\
                      TXM_WSSEC_SAML20_SPID=urn:partner:b\nTXM_WSSEC_SAML_SIG_REQUIRED=hk\nTXM_WSSEC_SAML_USER_CERT_SRC=User_Store\n\
                      TXM_WSSEC_SAML_USER_CERT=usercertificate\nTXM_WSSEC_REMOVE=True\n";
        let taken = imported(holder, "b").unwrap();
        for wanted in
            ["[response.b]", "token = \"saml\"", "confirm = \"holder-of-key\"", "holder = \"attribute:usercertificate\"", "remove = true"]
        {
            assert!(taken.contains(wanted), "{wanted}: {taken}");
        }
        let password = "TXM_WSSEC_TOKEN_TYPE=password\nTXM_WSSEC_USER_PASSWORD=userpassword\nTXM_WSSEC_SIGNATURE=all\n\
                        TXM_WSSEC_TIMESTAMP=True\nTXM_WSSEC_TIMESTAMP_EXPIRY=60\n";
        let taken = imported(password, "p").unwrap();
        for wanted in ["password-digest", "password = \"attribute:userpassword\"", "sign = [\"envelope\"]", "lifetime = \"60s\""] {
            assert!(taken.contains(wanted), "{wanted}: {taken}");
        }
        for taken in [&taken, &imported(holder, "b").unwrap(), &imported("TXM_WSSEC_TOKEN_TYPE=X509", "x").unwrap()] {
            assert!(taken.parse::<toml::Table>().is_ok(), "{taken}");
        }
    }

    #[test]
    fn tickets_are_taken_to_where_they_were() {
        let header = imported("TXM_SAML_Location=HTTP_Header\nTXM_Public_Key=XMLDSIG\nTXM_Sign_Assertion=Yes\n", "t").unwrap();
        assert_eq!(header, "[response.t]\ntype = \"session-ticket\"\nto = \"header\"\nholder = \"message\"\n");
        let cookie = imported("TXM_SAML_Location=Cookie_Header", "t").unwrap();
        assert_eq!(cookie, "[response.t]\ntype = \"session-ticket\"\nto = \"cookie\"\n");
        let envelope = "txm_saml_location=Envelope_Header\nTXM_Public_Key=User_Store\nTXM_User_Cert=usercertificate";
        let envelope = imported(envelope, "t").unwrap();
        assert!(envelope.contains("ticket = true") && envelope.contains("holder = \"attribute:usercertificate\""), "{envelope}");
        for taken in [header, cookie, envelope] {
            assert!(taken.parse::<toml::Table>().is_ok(), "{taken}");
        }
        for wrong in
            ["TXM_SAML_Location=Envelope_Header", "TXM_SAML_Location=Nowhere", "TXM_SAML_Location=HTTP_Header\nTXM_Public_Key=User_Store"]
        {
            assert!(imported(wrong, "t").is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for wrong in [
            "",
            "TXM_WSSEC_TOKEN_TYPE=Kerberos",
            "TXM_WSSEC_TOKEN_TYPE=X509\nTXM_WSSEC_TOKEN_TYPE=X509",
            "TXM_WSSEC_TOKEN_TYPE=X509\nTXM_WSSEC_ENCRYPT_PUB_KEY_ROLE=urn:x",
            "TXM_WSSEC_TOKEN_TYPE=X509\nTXM_WSSEC_SIGNATURE_ALG=RSA-SHA1",
            "TXM_WSSEC_TOKEN_TYPE=SAML\nTXM_WSSEC_SAML_AFFILIATE=b",
            "TXM_WSSEC_TOKEN_TYPE=SAML\nTXM_WSSEC_SAML_AFFILIATE=b\nTXM_WSSEC_SAML_SIG_REQUIRED=none",
            "TXM_WSSEC_TOKEN_TYPE=X509\nTXM_WSSEC_REMOVE=perhaps",
            "TXM_WSSEC_TOKEN_TYPE",
        ] {
            assert!(imported(wrong, "x").is_err(), "{wrong}");
        }
    }
}

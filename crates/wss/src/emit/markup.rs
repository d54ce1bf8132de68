//! Elements as text, each with the namespaces it uses. Every value is escaped, or refused where XML has no way to write it
//! (attack 50).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use vestibule_saml::Version as SamlVersion;
use vestibule_soap::{Target, Version};

use super::{MustUnderstand, Password};
use crate::certificates::Certificate;
use crate::error::Error;
use crate::namespaces::{
    BASE64, DS, PASSWORD_DIGEST, PASSWORD_TEXT, SAML11_KEY_IDENTIFIER, SAML11_TOKEN, SAML20_KEY_IDENTIFIER, SAML20_TOKEN, WSSE, WSSE11,
    WSU, X509_V3,
};
use crate::time::written;
use crate::tokens::password_digest;

/// `wsse:Security` with what stands in it.
pub(super) fn security(version: Version, role: &Target, must: MustUnderstand, inside: &str) -> Result<String, Error> {
    let soap = version.namespace();
    let name = match version {
        Version::Soap11 => "actor",
        Version::Soap12 => "role",
    };
    let role = match (role, version) {
        (Target::Ultimate, _) => None,
        (Target::Next, Version::Soap11) => Some("http://schemas.xmlsoap.org/soap/actor/next".to_owned()),
        (Target::Next, Version::Soap12) => Some("http://www.w3.org/2003/05/soap-envelope/role/next".to_owned()),
        (Target::Role(role), _) => Some(role.clone()),
        (Target::Nobody, _) => return Err(Error::Unwritable("a header for nobody")),
    };
    let role = role.map(|role| escaped(&role).map(|role| format!(r#" env:{name}="{role}""#))).transpose()?.unwrap_or_default();
    let must = match must {
        MustUnderstand::Written => r#" env:mustUnderstand="1""#,
        MustUnderstand::Omitted => "",
    };
    let declared = if must.is_empty() && role.is_empty() { String::new() } else { format!(r#" xmlns:env="{soap}""#) };
    Ok(format!(r#"<wsse:Security xmlns:wsse="{WSSE}"{declared}{must}{role}>{inside}</wsse:Security>"#))
}

/// A SOAP header around it.
pub(super) fn soap_header(version: Version, inside: &str) -> String {
    format!(r#"<env:Header xmlns:env="{}">{inside}</env:Header>"#, version.namespace())
}

pub(super) fn timestamp(id: &str, created: jiff::Timestamp, expires: Option<jiff::Timestamp>) -> String {
    let expires = expires.map(|expires| format!("<wsu:Expires>{}</wsu:Expires>", written(expires))).unwrap_or_default();
    format!(r#"<wsu:Timestamp xmlns:wsu="{WSU}" wsu:Id="{id}"><wsu:Created>{}</wsu:Created>{expires}</wsu:Timestamp>"#, written(created))
}

pub(super) fn username_token(id: &str, name: &str, password: Password<'_>, nonce: &[u8], now: jiff::Timestamp) -> Result<String, Error> {
    if name.is_empty() {
        return Err(Error::Unwritable("an empty user name"));
    }
    let proof = match password {
        Password::Text("") | Password::Digest("") => return Err(Error::Unwritable("an empty password")),
        Password::Text(text) => format!(r#"<wsse:Password Type="{PASSWORD_TEXT}">{}</wsse:Password>"#, escaped(text)?),
        Password::Digest(text) => {
            let created = written(now);
            let digest = STANDARD.encode(password_digest(nonce, &created, text.as_bytes()));
            let nonce = STANDARD.encode(nonce);
            format!(
                concat!(
                    r#"<wsse:Password Type="{kind}">{digest}</wsse:Password><wsse:Nonce EncodingType="{base64}">{nonce}</wsse:Nonce>"#,
                    r#"<wsu:Created>{created}</wsu:Created>"#
                ),
                kind = PASSWORD_DIGEST,
                digest = digest,
                base64 = BASE64,
                nonce = nonce,
                created = created,
            )
        }
        Password::Nothing => String::new(),
    };
    Ok(format!(
        concat!(
            r#"<wsse:UsernameToken xmlns:wsse="{wsse}" xmlns:wsu="{wsu}" wsu:Id="{id}">"#,
            "<wsse:Username>{name}</wsse:Username>{proof}</wsse:UsernameToken>"
        ),
        wsse = WSSE,
        wsu = WSU,
        id = id,
        name = escaped(name)?,
        proof = proof,
    ))
}

pub(super) fn binary_token(id: &str, der: &[u8]) -> String {
    format!(
        concat!(
            r#"<wsse:BinarySecurityToken xmlns:wsse="{wsse}" xmlns:wsu="{wsu}" EncodingType="{base64}" ValueType="{kind}" wsu:Id="{id}">"#,
            "{der}</wsse:BinarySecurityToken>"
        ),
        wsse = WSSE,
        wsu = WSU,
        base64 = BASE64,
        kind = X509_V3,
        id = id,
        der = STANDARD.encode(der),
    )
}

fn token_reference(attributes: &str, inside: &str) -> String {
    format!(r#"<wsse:SecurityTokenReference xmlns:wsse="{WSSE}"{attributes}>{inside}</wsse:SecurityTokenReference>"#)
}

pub(super) fn direct_reference(id: &str) -> String {
    token_reference("", &format!(r##"<wsse:Reference URI="#{id}" ValueType="{X509_V3}"></wsse:Reference>"##))
}

pub(super) fn key_identifier(kind: &str, octets: &[u8]) -> String {
    let octets = STANDARD.encode(octets);
    let inside = format!(r#"<wsse:KeyIdentifier EncodingType="{BASE64}" ValueType="{kind}">{octets}</wsse:KeyIdentifier>"#);
    token_reference("", &inside)
}

pub(super) fn issuer_serial(certificate: &Certificate) -> Result<String, Error> {
    let (issuer, serial) = (escaped(&certificate.issuer_written())?, certificate.serial());
    let inside = format!(
        concat!(
            r#"<ds:X509Data xmlns:ds="{ds}"><ds:X509IssuerSerial><ds:X509IssuerName>{issuer}</ds:X509IssuerName>"#,
            "<ds:X509SerialNumber>{serial}</ds:X509SerialNumber></ds:X509IssuerSerial></ds:X509Data>"
        ),
        ds = DS,
        issuer = issuer,
        serial = serial,
    );
    Ok(token_reference("", &inside))
}

/// BSP R6603 to R6617: by identifier, of the version's type, without an encoding.
pub(super) fn assertion_reference(id: Option<&str>, assertion: &str, version: SamlVersion) -> Result<String, Error> {
    let (token, kind) = match version {
        SamlVersion::Saml11 => (SAML11_TOKEN, SAML11_KEY_IDENTIFIER),
        SamlVersion::Saml20 => (SAML20_TOKEN, SAML20_KEY_IDENTIFIER),
    };
    let own = id.map(|id| format!(r#" xmlns:wsu="{WSU}" wsu:Id="{id}""#)).unwrap_or_default();
    let attributes = format!(r#" xmlns:wsse11="{WSSE11}"{own} wsse11:TokenType="{token}""#);
    let inside = format!(r#"<wsse:KeyIdentifier ValueType="{kind}">{}</wsse:KeyIdentifier>"#, escaped(assertion)?);
    Ok(token_reference(&attributes, &inside))
}

/// A text, or a value for an attribute in quotation marks.
fn escaped(value: &str) -> Result<String, Error> {
    let mut out = String::with_capacity(value.len());
    for character in value.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\t' | '\n' | '\r' => out.push_str(&format!("&#{};", u32::from(character))),
            '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => return Err(Error::Unwritable("a character that XML does not allow")),
            other => out.push(other),
        }
    }
    Ok(out)
}

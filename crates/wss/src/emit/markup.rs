//! Elements as text, each with the namespaces it uses. Every value is escaped, or refused where XML has no way to write it
//! (attack 50).

use vestibule_saml::Version as SamlVersion;
use vestibule_soap::{Target, Version};
use vestibule_xmlsec::{Error as XmlError, Fragment, Malformed, Writer};

use super::{MustUnderstand, Password};
use crate::certificates::Certificate;
use crate::error::Error;
use crate::namespaces::{
    BASE64, DS, PASSWORD_DIGEST, PASSWORD_TEXT, SAML11_KEY_IDENTIFIER, SAML11_TOKEN, SAML20_KEY_IDENTIFIER, SAML20_TOKEN, WSSE, WSSE11,
    WSU, X509_V3,
};
use crate::time::written;
use crate::tokens::password_digest;

fn fragment(name: &'static str, content: impl FnOnce(&mut Writer)) -> Result<Fragment, Error> {
    Writer::fragment(name, content).map_err(|error| match error {
        XmlError::Malformed { why: Malformed::Character, .. } => Error::Unwritable("a character that XML does not allow"),
        other => Error::Xml(other),
    })
}

/// `wsse:Security` with what stands in it.
pub(super) fn security(version: Version, role: &Target, must: MustUnderstand, inside: &[Fragment]) -> Result<Fragment, Error> {
    let name = match version {
        Version::Soap11 => "env:actor",
        Version::Soap12 => "env:role",
    };
    let role = match (role, version) {
        (Target::Ultimate, _) => None,
        (Target::Next, Version::Soap11) => Some("http://schemas.xmlsoap.org/soap/actor/next"),
        (Target::Next, Version::Soap12) => Some("http://www.w3.org/2003/05/soap-envelope/role/next"),
        (Target::Role(role), _) => Some(role.as_str()),
        (Target::Nobody, _) => return Err(Error::Unwritable("a header for nobody")),
    };
    fragment("wsse:Security", |w| {
        if role.is_some() || must == MustUnderstand::Written {
            w.declare("env", version.namespace());
        }
        w.declare("wsse", WSSE);
        w.optional(name, role);
        if must == MustUnderstand::Written {
            w.attribute("env:mustUnderstand", "1");
        }
        inside.iter().for_each(|item| w.insert(item));
    })
}

/// A SOAP header around it.
pub(super) fn soap_header(version: Version, inside: &Fragment) -> Result<Fragment, Error> {
    fragment("env:Header", |w| {
        w.declare("env", version.namespace());
        w.insert(inside);
    })
}

pub(super) fn timestamp(id: &str, created: jiff::Timestamp, expires: Option<jiff::Timestamp>) -> Result<Fragment, Error> {
    fragment("wsu:Timestamp", |w| {
        w.declare("wsu", WSU);
        w.attribute("wsu:Id", id);
        w.leaf("wsu:Created", &written(created));
        if let Some(expires) = expires {
            w.leaf("wsu:Expires", &written(expires));
        }
    })
}

pub(super) fn username_token(id: &str, name: &str, password: Password<'_>, nonce: &[u8], now: jiff::Timestamp) -> Result<Fragment, Error> {
    if name.is_empty() {
        return Err(Error::Unwritable("an empty user name"));
    }
    if matches!(password, Password::Text("") | Password::Digest("")) {
        return Err(Error::Unwritable("an empty password"));
    }
    fragment("wsse:UsernameToken", |w| {
        w.declare("wsse", WSSE);
        w.declare("wsu", WSU);
        w.attribute("wsu:Id", id);
        w.leaf("wsse:Username", name);
        match password {
            Password::Text(text) => w.element("wsse:Password", |w| {
                w.attribute("Type", PASSWORD_TEXT);
                w.text(text);
            }),
            Password::Digest(text) => {
                let created = written(now);
                w.element("wsse:Password", |w| {
                    w.attribute("Type", PASSWORD_DIGEST);
                    w.base64(&password_digest(nonce, &created, text.as_bytes()));
                });
                w.element("wsse:Nonce", |w| {
                    w.attribute("EncodingType", BASE64);
                    w.base64(nonce);
                });
                w.leaf("wsu:Created", &created);
            }
            Password::Nothing => {}
        }
    })
}

pub(super) fn binary_token(id: &str, der: &[u8]) -> Result<Fragment, Error> {
    fragment("wsse:BinarySecurityToken", |w| {
        w.declare("wsse", WSSE);
        w.declare("wsu", WSU);
        w.attribute("EncodingType", BASE64);
        w.attribute("ValueType", X509_V3);
        w.attribute("wsu:Id", id);
        w.base64(der);
    })
}

fn token_reference(content: impl FnOnce(&mut Writer)) -> Result<Fragment, Error> {
    fragment("wsse:SecurityTokenReference", |w| {
        w.declare("wsse", WSSE);
        content(w);
    })
}

pub(super) fn direct_reference(id: &str) -> Result<Fragment, Error> {
    token_reference(|w| {
        w.element("wsse:Reference", |w| {
            w.attribute("URI", &format!("#{id}"));
            w.attribute("ValueType", X509_V3);
        });
    })
}

pub(super) fn key_identifier(kind: &str, octets: &[u8]) -> Result<Fragment, Error> {
    token_reference(|w| {
        w.element("wsse:KeyIdentifier", |w| {
            w.attribute("EncodingType", BASE64);
            w.attribute("ValueType", kind);
            w.base64(octets);
        });
    })
}

pub(super) fn issuer_serial(certificate: &Certificate) -> Result<Fragment, Error> {
    token_reference(|w| {
        w.element("ds:X509Data", |w| {
            w.declare("ds", DS);
            w.element("ds:X509IssuerSerial", |w| {
                w.leaf("ds:X509IssuerName", &certificate.issuer_written());
                w.leaf("ds:X509SerialNumber", certificate.serial());
            });
        });
    })
}

/// BSP R6603 to R6617: by identifier, of the version's type, without an encoding.
pub(super) fn assertion_reference(id: Option<&str>, assertion: &str, version: SamlVersion) -> Result<Fragment, Error> {
    let (token, kind) = match version {
        SamlVersion::Saml11 => (SAML11_TOKEN, SAML11_KEY_IDENTIFIER),
        SamlVersion::Saml20 => (SAML20_TOKEN, SAML20_KEY_IDENTIFIER),
    };
    token_reference(|w| {
        w.declare("wsse11", WSSE11);
        w.attribute("wsse11:TokenType", token);
        if let Some(id) = id {
            w.declare("wsu", WSU);
            w.attribute("wsu:Id", id);
        }
        w.element("wsse:KeyIdentifier", |w| {
            w.attribute("ValueType", kind);
            w.text(assertion);
        });
    })
}

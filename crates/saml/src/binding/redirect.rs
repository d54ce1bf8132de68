//! Redirect (SAML bindings §3.4): deflated, base64, in the query, the signature beside it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use miniz_oxide::inflate::decompress_to_vec_with_limit;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use vestibule_xmlsec::{
    Claimed, Document, Element, FromClaimed, FromSigned, Profile, Purpose, SigningKey, TrustedKeys, Verified, verify_detached,
};

use super::{Kind, LONGEST_MESSAGE, MESSAGE_LIMITS, Parameters, RelayState, base64_of_query, decode};
use crate::error::{BindingFault, Error};

/// A message that came in a query.
#[derive(Debug, Clone)]
pub struct Redirect {
    /// Which it is.
    pub kind: Kind,
    /// What came beside it. Covered by the query's signature.
    pub relay_state: Option<RelayState>,
    message: Vec<u8>,
    signature: Option<QuerySignature>,
}

/// A signature over a query.
#[derive(Debug, Clone)]
struct QuerySignature {
    algorithm: String,
    value: Vec<u8>,
    /// What is signed: the parameters in the order that the binding names, spelled as they came.
    octets: String,
}

impl Redirect {
    /// Reads a query, without its `?`, exactly as it was received. Other parameters are not looked at.
    ///
    /// # Errors
    /// [`Error::Binding`].
    pub fn read(query: &str) -> Result<Self, Error> {
        let parameters = Parameters::read(query)?;
        let (kind, spelled) = parameters.message()?;
        if let Some(encoding) = parameters.one("SAMLEncoding")?
            && decode(encoding)? != "urn:oasis:names:tc:SAML:2.0:bindings:URL-Encoding:DEFLATE"
        {
            return Err(Error::Binding(BindingFault::Encoding));
        }
        let signature = match (parameters.one("SigAlg")?, parameters.one("Signature")?) {
            (None, None) => None,
            (None, Some(_)) => return Err(Error::Binding(BindingFault::AlgorithmRefused)),
            (Some(_), None) => return Err(Error::Binding(BindingFault::SignatureMissing)),
            (Some(algorithm), Some(value)) => {
                let relay = parameters.one("RelayState")?.map(|relay| format!("&RelayState={relay}")).unwrap_or_default();
                Some(QuerySignature {
                    algorithm: decode(algorithm)?.into_owned(),
                    value: base64_of_query(value)?,
                    octets: format!("{}={spelled}{relay}&SigAlg={algorithm}", kind.parameter()),
                })
            }
        };
        Ok(Self { kind, relay_state: parameters.relay_state("RelayState")?, message: inflate(spelled)?, signature })
    }

    /// Whether a signature came with it. Says nothing about whose.
    pub fn is_signed(&self) -> bool {
        self.signature.is_some()
    }

    /// What the sender says.
    ///
    /// # Errors
    /// [`Error::Xml`].
    pub fn claim<M: FromClaimed>(&self) -> Result<Claimed<M>, Error> {
        Ok(Document::parse(&self.message, &MESSAGE_LIMITS)?.claim()?)
    }

    /// The message, if the query's signature is by one of these keys. It is decoded from the signed octets.
    ///
    /// # Errors
    /// [`BindingFault::SignatureMissing`] if there is none, [`Error::Xml`] if it is not good.
    pub fn verify<M: FromSigned>(&self, keys: &TrustedKeys, profile: &Profile) -> Result<Verified<M>, Error> {
        Ok(self.verified(keys, profile)?.read()?)
    }

    pub(crate) fn verified(&self, keys: &TrustedKeys, profile: &Profile) -> Result<Verified<Element>, Error> {
        let signature = self.signature.as_ref().ok_or(Error::Binding(BindingFault::SignatureMissing))?;
        let octets = verify_detached(signature.octets.as_bytes(), &signature.algorithm, &signature.value, keys, profile)?;
        Ok(octets.document(message_of, &MESSAGE_LIMITS)?)
    }
}

/// The message inside the octets that a signature covers.
fn message_of(octets: &[u8]) -> Option<Vec<u8>> {
    let (_, spelled) = Parameters::read(std::str::from_utf8(octets).ok()?).ok()?.message().ok()?;
    inflate(spelled).ok()
}

fn inflate(spelled: &str) -> Result<Vec<u8>, Error> {
    let fault = |failed: miniz_oxide::inflate::DecompressError| match failed.status {
        miniz_oxide::inflate::TINFLStatus::HasMoreOutput => Error::Binding(BindingFault::TooLong),
        _ => Error::Binding(BindingFault::Deflate),
    };
    decompress_to_vec_with_limit(&base64_of_query(spelled)?, LONGEST_MESSAGE).map_err(fault)
}

/// The address that carries a message of this crate.
///
/// # Errors
/// [`BindingFault::Location`] if the endpoint is no plain address.
pub fn redirect_url(location: &str, kind: Kind, message: &crate::Issued, relay_state: Option<&RelayState>) -> Result<String, Error> {
    address(location, &query(kind, message, relay_state))
}

/// The same with a signature over the query. The message itself is left unsigned (bindings §3.4.4.1).
///
/// # Errors
/// As [`redirect_url`], and [`Error::Xml`] if the key cannot sign.
pub fn signed_redirect_url<P: Purpose>(
    location: &str,
    kind: Kind,
    message: &crate::Issued,
    relay_state: Option<&RelayState>,
    key: &SigningKey<P>,
) -> Result<String, Error> {
    let mut query = format!("{}&SigAlg={}", query(kind, message, relay_state), encoded(key.algorithm().uri()));
    let signature = key.sign_detached(query.as_bytes())?;
    query.push_str("&Signature=");
    query.push_str(&encoded(&STANDARD.encode(signature)));
    address(location, &query)
}

fn address(location: &str, query: &str) -> Result<String, Error> {
    if !super::is_endpoint(location) {
        return Err(Error::Binding(BindingFault::Location));
    }
    let joint = if location.contains('?') { '&' } else { '?' };
    Ok(format!("{location}{joint}{query}"))
}

fn query(kind: Kind, message: &crate::Issued, relay_state: Option<&RelayState>) -> String {
    let deflated = STANDARD.encode(miniz_oxide::deflate::compress_to_vec(message.as_str().as_bytes(), LEVEL));
    let relay = relay_state.map(|relay| format!("&RelayState={}", encoded(relay.as_str()))).unwrap_or_default();
    format!("{}={}{relay}", kind.parameter(), encoded(&deflated))
}

fn encoded(value: &str) -> String {
    utf8_percent_encode(value, ESCAPED).to_string()
}

/// RFC 3986 §2.3.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Requests are a few hundred octets; the last one is not worth the time.
const LEVEL: u8 = 6;

#[cfg(test)]
mod tests {
    use vestibule_xmlsec::ServiceProvider;

    use super::*;
    use crate::protocol::{Header, LogoutRequest, SessionIndex};
    use crate::{Issued, NameId, Sendable as _};

    fn key() -> SigningKey<ServiceProvider> {
        let pem = include_str!("../../../../corpus/recorded/keys/sp-rsa2048.key");
        let body: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
        SigningKey::from_pkcs8("sp", &STANDARD.decode(body).unwrap(), None).unwrap()
    }

    fn trusted() -> TrustedKeys {
        let mut keys = TrustedKeys::new();
        keys.add_pem(include_str!("../../../../corpus/recorded/keys/sp-rsa2048.crt")).unwrap();
        keys
    }

    fn request() -> LogoutRequest {
        LogoutRequest {
            header: Header {
                id: "_1".to_owned(),
                issue_instant: "2026-03-01T12:00:00Z".parse().unwrap(),
                destination: None,
                issuer: "https://gw.example.com".to_owned(),
            },
            name_id: NameId { value: "alice+<&>".to_owned(), ..NameId::default() },
            session_indexes: vec![SessionIndex("s1".to_owned())],
            not_on_or_after: None,
            reason: None,
        }
    }

    fn signed() -> String {
        let relay = RelayState::sent("/a?b=c&d=+").unwrap();
        let message = request().unsigned().unwrap();
        let url = signed_redirect_url("https://idp.example.org/slo?x=1", Kind::Request, &message, Some(&relay), &key()).unwrap();
        url.strip_prefix("https://idp.example.org/slo?x=1&").unwrap().to_owned()
    }

    #[test]
    fn a_signed_query_is_read_from_its_signed_octets() {
        let query = Redirect::read(&signed()).unwrap();
        assert_eq!(query.relay_state.as_ref().map(RelayState::as_str), Some("/a?b=c&d=+"));
        assert_eq!(query.verify::<LogoutRequest>(&trusted(), &Profile::SAML).unwrap().value(), &request());
        // In another order, with other parameters between, the same octets are signed.
        let mut parts: Vec<_> = signed().split('&').map(str::to_owned).collect();
        parts.reverse();
        let shuffled = Redirect::read(&format!("utm=1&{}", parts.join("&&"))).unwrap();
        assert_eq!(shuffled.verify::<LogoutRequest>(&trusted(), &Profile::SAML).unwrap().value(), &request());
    }

    #[test]
    fn another_spelling_is_not_what_was_signed() {
        let good = signed();
        for (from, to) in [("%2B", "%2b"), ("RelayState=", "RelayState=x"), ("%26d%3D", "%26e%3D"), ("SAMLRequest", "SAMLResponse")] {
            let query = good.replacen(from, to, 1);
            assert_ne!(query, good);
            let verdict = Redirect::read(&query).unwrap().verify::<LogoutRequest>(&trusted(), &Profile::SAML);
            assert!(matches!(verdict, Err(Error::Xml(vestibule_xmlsec::Error::SignatureInvalid { .. }))), "{from}");
        }
        let unsigned = good.split("&SigAlg").next().unwrap();
        let verdict = Redirect::read(unsigned).unwrap().verify::<LogoutRequest>(&trusted(), &Profile::SAML);
        assert_eq!(verdict.unwrap_err(), Error::Binding(BindingFault::SignatureMissing));
    }

    #[test]
    fn what_two_readers_could_read_twice_is_refused() {
        let good = signed();
        for (more, fault) in [
            ("&SAMLRequest=x", BindingFault::Twice("SAMLRequest")),
            ("&SAMLResponse=x", BindingFault::RequestAndResponse),
            ("&SAML%52equest=x", BindingFault::Twice("SAMLRequest")),
            ("&RelayState=x", BindingFault::Twice("RelayState")),
            ("&Relay%53tate=x", BindingFault::Twice("RelayState")),
            ("&SigAlg=x", BindingFault::Twice("SigAlg")),
            ("&Signature=x", BindingFault::Twice("Signature")),
            ("&SAMLEncoding=urn:x", BindingFault::Encoding),
            ("&%ff=x", BindingFault::Encoding),
        ] {
            assert_eq!(Redirect::read(&format!("{good}{more}")).unwrap_err(), Error::Binding(fault), "{more}");
        }
        assert_eq!(Redirect::read("a=b").unwrap_err(), Error::Binding(BindingFault::MessageMissing));
        assert_eq!(Redirect::read(&format!("a={}", "b".repeat(600_000))).unwrap_err(), Error::Binding(BindingFault::TooLong));
    }

    #[test]
    fn a_bomb_is_not_inflated() {
        let bomb = miniz_oxide::deflate::compress_to_vec(&vec![b' '; 64 << 20], 9);
        assert!(bomb.len() < 100_000);
        let query = format!("SAMLRequest={}", encoded(&STANDARD.encode(&bomb)));
        assert_eq!(Redirect::read(&query).unwrap_err(), Error::Binding(BindingFault::TooLong));
        for garbage in ["AAAA", "////", ""] {
            assert_eq!(Redirect::read(&format!("SAMLRequest={garbage}")).unwrap_err(), Error::Binding(BindingFault::Deflate), "{garbage}");
        }
    }

    #[test]
    fn messages_go_to_plain_addresses_only() {
        let message = Issued::unsigned("<a/>".to_owned());
        for location in ["javascript:alert(1)", "/relative", "https://a/#fragment"] {
            assert_eq!(redirect_url(location, Kind::Request, &message, None), Err(Error::Binding(BindingFault::Location)));
        }
    }
}

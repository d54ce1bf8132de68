//! Redirect (SAML bindings §3.4): deflated, base64, in the query, the signature beside it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use miniz_oxide::inflate::decompress_to_vec_with_limit;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use vestibule_xmlsec::{Claimed, Document, FromClaimed};

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
                    algorithm: decode(algorithm)?,
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
    let query = query(kind, message, relay_state);
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

//! POST (SAML bindings §3.5): base64 in a form; the signature is inside the message.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{Kind, LONGEST_MESSAGE, Parameters, RelayState, base64_of, octets};
use crate::error::{BindingFault, Error};

/// A message that came in a form.
#[derive(Debug, Clone)]
pub struct Post {
    /// Which it is.
    pub kind: Kind,
    /// The document, nothing proven.
    pub message: Vec<u8>,
    /// `RelayState`, or in SAML 1.1 `TARGET`.
    pub relay_state: Option<RelayState>,
}

impl Post {
    /// Reads a body of `application/x-www-form-urlencoded`. Other fields are not looked at.
    ///
    /// # Errors
    /// [`Error::Binding`].
    pub fn read(body: &str) -> Result<Self, Error> {
        let parameters = Parameters::read(body)?;
        let (kind, value) = parameters.message()?;
        let relay_state = match (parameters.relay_state("RelayState")?, parameters.relay_state("TARGET")?) {
            (Some(_), Some(_)) => return Err(Error::Binding(BindingFault::Twice("RelayState"))),
            (one, other) => one.or(other),
        };
        Ok(Self { kind, message: message_in(&octets(value))?, relay_state })
    }

    /// Reads the form of SAML 1.1 Browser/POST (bindings 1.1 §4.1.2.4): one `SAMLResponse`, one `TARGET`.
    ///
    /// # Errors
    /// [`Error::Binding`].
    pub fn read_saml11(body: &str) -> Result<Self, Error> {
        let post = Self::read(body)?;
        if post.kind == Kind::Request {
            return Err(Error::Binding(BindingFault::MessageMissing));
        }
        match Parameters::read(body)?.one("TARGET")? {
            Some(_) => Ok(post),
            None => Err(Error::Binding(BindingFault::TargetMissing)),
        }
    }

    /// Reads the value of the field `SAMLResponse` or `SAMLRequest`: base64, broken into lines or not.
    ///
    /// # Errors
    /// [`Error::Binding`].
    pub fn decode(value: &str) -> Result<Vec<u8>, Error> {
        message_in(value.as_bytes())
    }
}

fn message_in(base64: &[u8]) -> Result<Vec<u8>, Error> {
    let message = base64_of(base64)?;
    if message.len() > LONGEST_MESSAGE { Err(Error::Binding(BindingFault::TooLong)) } else { Ok(message) }
}

/// A form to be sent by a browser. Its values go through the page's escaping like any others (attack 117).
#[derive(Clone, PartialEq, Eq)]
pub struct PostForm {
    /// Where to.
    pub action: String,
    /// `SAMLRequest` or `SAMLResponse`.
    pub field: &'static str,
    /// Its value.
    pub value: String,
    /// `RelayState`, or `TARGET`.
    pub relay_field: &'static str,
    /// Its value.
    pub relay_state: Option<RelayState>,
}

impl std::fmt::Debug for PostForm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The value is a credential.
        write!(f, "PostForm({} to {})", self.field, self.action)
    }
}

impl PostForm {
    /// A message of this crate for an endpoint.
    ///
    /// # Errors
    /// [`BindingFault::Location`] if the endpoint is no plain address.
    pub fn new(action: &str, kind: Kind, message: &crate::Issued, relay_state: Option<RelayState>) -> Result<Self, Error> {
        if !super::is_endpoint(action) {
            return Err(Error::Binding(BindingFault::Location));
        }
        let value = STANDARD.encode(message.as_str());
        Ok(Self { action: action.to_owned(), field: kind.parameter(), value, relay_field: "RelayState", relay_state })
    }

    /// The same for SAML 1.1, whose relay state is called `TARGET` and must be there.
    ///
    /// # Errors
    /// As [`PostForm::new`].
    pub fn saml11(action: &str, message: &crate::Issued, target: RelayState) -> Result<Self, Error> {
        Ok(Self { relay_field: "TARGET", ..Self::new(action, Kind::Response, message, Some(target))? })
    }
}

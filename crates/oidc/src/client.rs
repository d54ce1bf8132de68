//! How we say who we are at an OP's own endpoints (RFC 6749 §2.3.1, RFC 7523, OpenID Connect Core §9).

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use url::form_urlencoded;
use zeroize::Zeroizing;

use crate::claims::Claims;
use crate::jose::{ClientAssertion, Error, SigningKey};

/// For how many seconds an assertion may be presented.
const ASSERTION_LIFE: i64 = 60;

/// A registered client.
#[derive(Debug)]
pub struct Client {
    /// Its id.
    pub id: String,
    /// How it proves who it is.
    pub authentication: Authentication,
}

/// How a client proves who it is.
pub enum Authentication {
    /// `client_secret_basic`.
    Basic(Zeroizing<String>),
    /// `client_secret_post`.
    Post(Zeroizing<String>),
    /// `private_key_jwt`.
    PrivateKeyJwt(Box<SigningKey<ClientAssertion>>),
}

impl fmt::Debug for Authentication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Basic(_) => "client_secret_basic",
            Self::Post(_) => "client_secret_post",
            Self::PrivateKeyJwt(_) => "private_key_jwt",
        })
    }
}

/// A form to post, and what goes into the header beside it.
pub struct Posted {
    /// The value of `Authorization`, if the client proves itself there.
    pub authorization: Option<Zeroizing<String>>,
    /// The body, `application/x-www-form-urlencoded`.
    pub body: Zeroizing<String>,
}

impl fmt::Debug for Posted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Posted").finish_non_exhaustive()
    }
}

impl Client {
    /// A form for an endpoint of the OP. `audience` is who an assertion is for: the issuer, which is what
    /// RFC 7523 bis asks for, since an assertion for a mere address is one that another OP could use (RFC 9700 §4.4).
    /// `id` is a random name of this assertion.
    ///
    /// # Errors
    /// [`Error::Cryptography`].
    pub fn post(&self, fields: &[(&str, &str)], audience: &str, id: &str, now: i64) -> Result<Posted, Error> {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.extend_pairs(fields);
        let mut authorization = None;
        match &self.authentication {
            Authentication::Basic(secret) => {
                // Both halves are encoded as in a form first, so that a colon in the id divides nothing.
                let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
                let pair = Zeroizing::new(format!("{}:{}", encoded(&self.id), encoded(secret)));
                authorization = Some(Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes()))));
            }
            Authentication::Post(secret) => {
                form.append_pair("client_id", &self.id).append_pair("client_secret", secret);
            }
            Authentication::PrivateKeyJwt(key) => {
                let claims = Claims {
                    issued_at: Some(now),
                    id: Some(id.to_owned()),
                    ..Claims::new(&self.id, audience, &self.id, now.saturating_add(ASSERTION_LIFE))
                };
                form.append_pair("client_id", &self.id)
                    .append_pair("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
                    .append_pair("client_assertion", &key.sign(&claims)?);
            }
        }
        Ok(Posted { authorization, body: Zeroizing::new(form.finish()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claims::Expected;
    use crate::jose::{Algorithm, TrustedKeys};

    fn post(authentication: Authentication) -> Posted {
        let client = Client { id: "a:b".to_owned(), authentication };
        client.post(&[("code", "c d")], "https://op.example.com", "j1", 1000).unwrap()
    }

    #[test]
    fn a_secret_stands_in_the_header_or_in_the_form_and_nowhere_else() {
        let basic = post(Authentication::Basic(Zeroizing::new("s:%".to_owned())));
        assert_eq!(basic.body.as_str(), "code=c+d");
        let encoded = basic.authorization.unwrap();
        assert_eq!(STANDARD.decode(encoded.strip_prefix("Basic ").unwrap()).unwrap(), b"a%3Ab:s%3A%25");
        let form = post(Authentication::Post(Zeroizing::new("s&".to_owned())));
        assert_eq!((form.authorization, form.body.as_str()), (None, "code=c+d&client_id=a%3Ab&client_secret=s%26"));
    }

    #[test]
    fn an_assertion_is_for_the_issuer_short_lived_and_named() {
        let key = SigningKey::<ClientAssertion>::generate(Algorithm::Es256).unwrap();
        let trusted = TrustedKeys::<ClientAssertion>::new(vec![key.public().clone()]).unwrap();
        let posted = post(Authentication::PrivateKeyJwt(Box::new(key)));
        let assertion = form_urlencoded::parse(posted.body.as_bytes()).find(|(name, _)| name == "client_assertion").unwrap().1;
        let expected = Expected { issuer: "a:b", audience: "https://op.example.com", skew: 0 };
        let claims = trusted.verify(&assertion, &expected, 1000).unwrap().into_claims();
        assert_eq!((claims.subject.as_str(), claims.id.as_deref(), claims.expires), ("a:b", Some("j1"), 1060));
    }

    #[test]
    fn no_secret_is_shown() {
        let authentication = Authentication::Basic(Zeroizing::new("hidden".to_owned()));
        assert!(!format!("{authentication:?}{:?}", post(Authentication::Post(Zeroizing::new("hidden".to_owned())))).contains("hidden"));
    }
}

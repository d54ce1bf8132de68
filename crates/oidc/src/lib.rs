//! OpenID Connect as a relying party (OpenID Connect Core 1.0, Discovery 1.0, RP-Initiated Logout 1.0, Back-Channel Logout 1.0),
//! token introspection as a resource server (RFC 7662), and the JOSE subset that they, SSO tokens and injected tokens need:
//! JSON Web Signature in compact form (RFC 7515), JSON Web Keys (RFC 7517, 7518, 8037), their thumbprints (RFC 7638) and
//! claims (RFC 7519).
//!
//! No I/O and no clock: bytes come in, values go out, `now` is an argument, in seconds since 1970. Encryption (JWE) and shared
//! secrets (HMAC) are not written. What a token claims is reached only through [`jose::Verified`].
#![forbid(unsafe_code)]

pub mod claims;
pub mod client;
pub mod discovery;
pub mod id_token;
pub mod introspection;
pub mod jose;
mod json;
pub mod jwks;
pub mod logout;
pub mod reason;
pub mod rp;
pub mod userinfo;

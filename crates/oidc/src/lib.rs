//! The JOSE subset that OIDC, SSO tokens and injected tokens need: JSON Web Signature in compact form
//! (RFC 7515), JSON Web Keys (RFC 7517, 7518, 8037), their thumbprints (RFC 7638) and claims (RFC 7519).
//!
//! No I/O and no clock: `now` is an argument, in seconds since 1970. Encryption (JWE) and shared secrets
//! (HMAC) are not written. Claims are reached only through [`jose::Verified`].
#![forbid(unsafe_code)]

pub mod claims;
pub mod jose;
mod json;
pub mod jwks;

//! The WS-Security header (SOAP Message Security 1.0 and 1.1, and the drafts before them): tokens read, required parts
//! checked, headers written.
//!
//! [`Message::read`] reads a SOAP message; [`Message::verify`] holds its one header for us against [`Rules`] and gives what was
//! proven ([`Accepted`]), or a [`Rejection`] with every check that was made. A password is not checked here: a [`UsernameToken`]
//! says whether a given one fits. [`Header::write`] writes a header into a message and changes no other octet.
//!
//! No sockets, no clock, no randomness, no configuration. Whoever calls keeps what needs memory: the replay conditions that
//! [`Accepted::replay`] lists are spent by the caller after the credentials held.
//!
//! ```
//! use jiff::{SignedDuration, Timestamp};
//! use vestibule_soap::Target;
//! use vestibule_wss::{
//!     CertificateStore, Channel, Concessions, Consumed, Demand, Error, Header, Lifetime, Message, MustUnderstand, Password, Randomness,
//!     Rules, Token, TokenKind, Window,
//! };
//! use vestibule_xmlsec::Limits;
//!
//! # fn main() -> Result<(), Error> {
//! let received = br#"<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope"><s:Body/></s:Envelope>"#;
//! let now: Timestamp = "2026-03-01T12:00:00Z".parse().expect("an instant");
//! let header = Header {
//!     role: &Target::Ultimate,
//!     must_understand: MustUnderstand::Written,
//!     consumed: Consumed::Removed(&Target::Ultimate),
//!     lifetime: Lifetime::For(SignedDuration::from_secs(300)),
//!     token: Token::Username { name: "alice", password: Password::Digest("wonderland") },
//!     sign: None,
//!     encrypt: None,
//! };
//! let message = Message::read(received, &Limits::SOAP)?;
//! let sent = header.write(&message, &Limits::SOAP, now, &Randomness([7; 32]))?;
//!
//! let rules = Rules {
//!     role: &Target::Ultimate,
//!     demand: Demand { tokens: &[TokenKind::Username], parts: &[] },
//!     window: Window::default(),
//!     concessions: Concessions::NONE,
//!     channel: Channel::Protected { client: None, certificate: None },
//!     certificates: &CertificateStore::new(),
//!     issuers: &[],
//!     audience: "",
//!     recipients: &[],
//!     decryption: None,
//! };
//! let accepted = Message::read(&sent, &Limits::SOAP)?.verify(&rules, now).expect("a good header");
//! let token = accepted.username.expect("the token that was demanded");
//! // Whether alice has this password, and has not sent this nonce before, is the caller's to know.
//! assert!(token.username() == "alice" && token.matches(b"wonderland") && accepted.replay.len() == 1);
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod certificates;
mod emit;

mod error;
mod header;
pub mod integration;
mod namespaces;
mod reason;
mod replay;
mod rules;
mod time;
mod timestamp;
mod tokens;
mod verify;

pub use certificates::{Certificate, CertificateFault, CertificateStore, Revocation};
pub use emit::{
    Assertion, AssertionReference, Consumed, EncryptFor, EncryptedPart, Header, KeyReference, Lifetime, MustUnderstand, Password,
    Randomness, SignWith, Token,
};
pub use error::{Conflict, Error};
pub use namespaces::{Era, is_security};
pub use reason::{Check, FaultCode, Outcome, Reason, Rejection};
pub use replay::Replay;
pub use rules::{Channel, Concession, Concessions, Demand, Part, Rules, TokenKind, TrustedIssuer, Window};
pub use timestamp::Timestamp;
pub use tokens::{Secret, UsernameToken};
pub use verify::{Accepted, AcceptedAssertion, Confirmed, Message, SignedParts};

//! The WS-Security header (SOAP Message Security 1.0 and 1.1, and the drafts before them): tokens read, required parts
//! checked, headers written.
//!
//! [`Message::read`] reads a SOAP message; [`Message::verify`] holds its one header for us against [`Rules`] and gives what was
//! proven ([`Accepted`]), or a [`Rejection`] with every check that was made. A password is not checked here: a [`UsernameToken`]
//! says whether a given one fits. [`Header::write`] writes a header into a message and changes no other octet.
//!
//! No sockets, no clock, no randomness, no configuration. Whoever calls keeps what needs memory: the replay conditions that
//! [`Accepted::replay`] lists are spent by the caller after the credentials held.
#![forbid(unsafe_code)]

mod certificates;
mod emit;

mod error;
mod header;
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
pub use namespaces::Era;
pub use reason::{Check, FaultCode, Outcome, Reason, Rejection};
pub use replay::Replay;
pub use rules::{Channel, Concession, Concessions, Demand, Part, Rules, TokenKind, TrustedIssuer, Window};
pub use timestamp::Timestamp;
pub use tokens::{Secret, UsernameToken};
pub use verify::{Accepted, AcceptedAssertion, Confirmed, Message, SignedParts};

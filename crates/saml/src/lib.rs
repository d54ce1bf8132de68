//! SAML 2.0 and 1.1: messages, bindings, metadata, and both roles as functions from octets and a time to values.
//!
//! No sockets, no clock, no randomness, no configuration. A service provider reads what came with [`Sp::consume`]
//! and gets an [`Accepted`] whose [`Assertion`] was made from signed content only, or a [`Rejection`] that names the first check
//! that failed and lists them all. An identity provider validates a request and issues with [`Idp`].
//!
//! Whoever calls keeps what needs memory: open requests, the replay cache, sessions, and which subjects an issuer may name.
#![forbid(unsafe_code)]

mod assertion;
pub mod binding;
mod error;
pub mod idp;
mod issued;
pub mod metadata;
pub mod names;
mod partner;
pub mod protocol;
mod read;
mod reason;
mod responder;
pub mod sp;
mod time;
mod write;

pub use assertion::{
    Assertion, AssertionContent, Attribute, AttributeValue, AuthnStatement, Conditions, Confirmation, ConfirmationMethod, NameId,
    ProxyRestriction, Subject, Version,
};
pub use error::{BindingFault, Error, MetadataFault};
pub use idp::Idp;
pub use issued::{Issued, Sendable};
pub use partner::{Admitted, Incoming, Partner, Signature};
pub use reason::{Check, Outcome, Reason, Rejection};
pub use sp::{Accepted, Sp};

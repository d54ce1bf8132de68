//! SOAP 1.1 and 1.2, read over `vestibule-xmlsec`.
//!
//! Everything here is what a sender claims: which operation, for whom a header is, what went wrong. Whether a signature
//! covers it is asked of the core, by the places that an [`Envelope`] holds. No I/O, no clock.
#![forbid(unsafe_code)]

mod action;
pub mod delegated;
mod envelope;
mod error;
mod fault;
mod media_type;
mod multipart;
pub mod partner_login;
pub mod sso_token;

pub use action::{Declared, soap_action};
pub use envelope::{Envelope, HeaderBlock, Operation, Target, Version};
pub use error::{Error, MultipartFault};
pub use fault::{Code, Detail, Fault, QualifiedName, ReceivedFault};
pub use media_type::MediaType;
pub use multipart::{Multipart, Part};

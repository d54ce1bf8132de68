//! XML security in which only signed content can be consumed.
//!
//! Wrapping attacks live in the gap between the tree that was verified and the tree that is read. Here there is
//! one parser, one owned tree that nobody outside can walk, and types that only a verification can make.
#![forbid(unsafe_code)]

mod c14n;
mod document;
mod element;
mod error;
mod keys;
mod limits;
mod parse;
mod profile;
mod sign;
mod signature;
mod tree;
mod verify;

pub use c14n::{Canonicalization, canonicalize};
pub use document::{Claimed, Document, FromClaimed, SignedElement};
pub use element::{Authority, ElementView, Place, Signed, Unsigned};
pub use error::{Error, KeyFault, Malformed, ReferenceFault, Role, SignatureFault};
pub use keys::{KeyId, TrustedKeys};
pub use limits::Limits;
pub use profile::{Concession, Hash, Profile, SignatureAlgorithm};
pub use sign::{IdentityProvider, Placement, Purpose, ServiceProvider, SigningKey, TokenService, WebServices};
pub use verify::{Element, FromSigned, Signer, Verified};

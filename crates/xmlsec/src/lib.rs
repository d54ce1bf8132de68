//! XML security in which only signed content can be consumed.
//!
//! Wrapping attacks live in the gap between the tree that was verified and the tree that is read. Here there is
//! one parser, one owned tree that nobody outside can walk, and types that only a verification can make.
#![deny(unsafe_code)]

mod base64;
mod c14n;
mod channel;
mod cipher;
mod decrypt;
mod detached;
mod diagnose;
mod document;
mod edit;
mod element;
mod encrypt;
mod encrypted;
mod error;
mod fragment;
mod ids;
mod keys;
mod limits;
mod literal;
mod parse;
mod profile;
#[expect(unsafe_code, reason = "RSA-OAEP with unequal hashes exists in AWS-LC, but not in its safe interface (architecture §5.8)")]
mod rsa;
mod scan;
mod shared;
mod sign;
mod signature;
mod signing_key;
mod tokens;
mod tree;
mod verified;
mod verify;
mod write;
mod writer;

pub use base64::decode as decode_base64;
pub use c14n::{Canonicalization, canonicalize};
pub use channel::PinnedPeer;
pub use cipher::{AesSize, OaepHash};
pub use decrypt::{Assertions, DecryptionKeys, DecryptionPurpose, EncryptedPart, Messages};
pub use detached::{Octets, verify_detached};
pub use diagnose::{Check, Checked, Covered, Demand, Question, Report, diagnose};
pub use document::{Claimed, Document, FromClaimed, SignedElement};
pub use edit::{Edit, Insertion, NewAttribute};
pub use element::{Authority, ElementView, Place, Signed, Unsigned};
pub use encrypt::{ContentKey, EncryptedForm, EncryptedKeyInfo, Encryption, Recipient};
pub use error::{EncryptionFault, Error, KeyFault, Malformed, ReferenceFault, Role, SignatureFault};
pub use fragment::Fragment;
pub use keys::{KeyId, Keys, TrustedKeys};
pub use limits::Limits;
pub use literal::is_literal;
pub use profile::{Concession, Hash, Profile, SignatureAlgorithm};
pub use shared::SharedKey;
pub use sign::{KeyInfo, Part, Placement, Signing};
pub use signing_key::{IdentityProvider, Purpose, ServiceProvider, SigningKey, Signs, TokenService, WebServices};
pub use tokens::{Resolver, Token};
pub use verified::{Element, FromSigned, Signer, Verified};
pub use writer::Writer;

//! `xenc:EncryptedData` to plaintext (XML Encryption 1.1 §4.4), put back where the ciphertext stood.
//!
//! Anybody can encrypt to us: plaintext proves nothing, and is a [`Document`] to be verified, unless a signature covered
//! the ciphertext ([`Verified::decrypt`]). What an attacker tries: to make our answers tell a padding, to have a reference
//! fetched, to break out of the place with unbalanced plaintext, to nest ciphertext without end, to swap the key under a
//! signed ciphertext. What can be seen in the message is refused by name before any key is used; from then on there is one
//! error ([`Error::DecryptionFailed`]), and a key that cannot be unwrapped is a random one.

use std::fmt::Write as _;
use std::marker::PhantomData;
use std::sync::Arc;

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rand;
use aws_lc_rs::signature::{KeyPair as _, RsaKeyPair};
use zeroize::Zeroizing;

use crate::cipher::{self, AesSize, ContentCipher};
use crate::document::{Document, SignedElement};
use crate::element::Place;
use crate::encrypted::{
    Encrypted, EncryptedKey, Transport, View, algorithm, attributes, base64, elements, fault, not_admitted, unexpected, value_of,
};
use crate::error::{EncryptionFault, Error, KeyFault, ReferenceFault, Role};
use crate::ids::{Ids, XENC};
use crate::keys::KeyId;
use crate::profile::Profile;
use crate::rsa::PrivateKey;
use crate::signature::{DS, shortened};
use crate::tree::{Kind, NodeId, Plaintext};
use crate::verified::{Element, Verified};
use crate::write::declare;

/// What a key decrypts. A key that signs must not decrypt: each is another type, and another record.
pub trait DecryptionPurpose {
    /// The word in the stored record.
    const NAME: &'static str;
}

/// Assertions, names and attributes that are encrypted to the service provider.
#[derive(Debug, Clone, Copy)]
pub enum Assertions {}
/// Parts of SOAP messages.
#[derive(Debug, Clone, Copy)]
pub enum Messages {}

impl DecryptionPurpose for Assertions {
    const NAME: &'static str = "sp-decryption";
}
impl DecryptionPurpose for Messages {
    const NAME: &'static str = "ws-security-decryption";
}

/// The private keys that may decrypt, for one purpose: several while one follows another.
pub struct DecryptionKeys<P> {
    pairs: Vec<(KeyId, PrivateKey)>,
    shared: Vec<(String, Zeroizing<Vec<u8>>)>,
    recipient: Option<String>,
    purpose: PhantomData<P>,
}

impl<P: DecryptionPurpose> std::fmt::Debug for DecryptionKeys<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DecryptionKeys<{}>({:?}, {} shared)", P::NAME, self.ids(), self.shared.len())
    }
}

impl<P: DecryptionPurpose> Default for DecryptionKeys<P> {
    fn default() -> Self {
        Self { pairs: Vec::new(), shared: Vec::new(), recipient: None, purpose: PhantomData }
    }
}

impl<P: DecryptionPurpose> DecryptionKeys<P> {
    /// How many keys there may be at once: each costs a private operation when a message is wrong.
    pub const LIMIT: usize = 4;

    /// No keys: nothing decrypts.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an RSA key from PKCS#8 in DER. `purpose` is what its record says.
    ///
    /// # Errors
    /// [`Error::Key`] if the record names another purpose, or the key is unreadable or outside 2048 to 8192 bits.
    pub fn add_pkcs8(&mut self, purpose: &str, pkcs8: &[u8]) -> Result<KeyId, Error> {
        let unreadable = || Error::Key(KeyFault::Encoding);
        if purpose != P::NAME {
            return Err(Error::Key(KeyFault::Purpose));
        }
        // Checks the numbers against each other, which the parser of the encrypting side does not promise.
        let pair = RsaKeyPair::from_pkcs8(pkcs8).map_err(|_| unreadable())?;
        let bits = pair.public_modulus_len() * 8;
        if !(2048..=8192).contains(&bits) {
            return Err(Error::Key(KeyFault::Size { bits }));
        }
        if self.pairs.len() >= Self::LIMIT {
            return Err(Error::Key(KeyFault::TooMany));
        }
        let id = KeyId::of(pair.public_key().as_der().map_err(|_| unreadable())?.as_ref());
        self.pairs.push((id, PrivateKey::from_pkcs8(pkcs8).ok_or_else(unreadable)?));
        Ok(id)
    }

    /// Adds an AES key that wraps content keys, known to both sides under this `KeyName`.
    ///
    /// # Errors
    /// [`Error::Key`] if the record names another purpose or the key has no AES length.
    pub fn add_shared(&mut self, purpose: &str, name: &str, key: &[u8]) -> Result<(), Error> {
        if purpose != P::NAME {
            return Err(Error::Key(KeyFault::Purpose));
        }
        if AesSize::of(key).is_none() {
            return Err(Error::Key(KeyFault::Size { bits: key.len() * 8 }));
        }
        if self.shared.len() >= Self::LIMIT {
            return Err(Error::Key(KeyFault::TooMany));
        }
        self.shared.push((name.to_owned(), Zeroizing::new(key.to_vec())));
        Ok(())
    }

    /// The name by which senders address us: an `EncryptedKey` for another `Recipient` is passed over.
    #[must_use]
    pub fn addressed_as(mut self, recipient: &str) -> Self {
        self.recipient = Some(recipient.to_owned());
        self
    }

    /// Their names.
    pub fn ids(&self) -> Vec<KeyId> {
        self.pairs.iter().map(|(id, _)| *id).collect()
    }

    /// Adds the content keys that one `EncryptedKey` may hold, each of the wanted length, and random where it could not be read.
    fn unlock(&self, key: &EncryptedKey<'_>, wanted: usize, found: &mut Vec<Zeroizing<Vec<u8>>>) -> Result<(), Error> {
        let random = || {
            let mut octets = Zeroizing::new(vec![0; wanted]);
            rand::fill(&mut octets).map_err(|_| Error::Key(KeyFault::Unusable))?;
            Ok::<_, Error>(octets)
        };
        let take = |into: &mut Zeroizing<Vec<u8>>, from: &[u8]| {
            if from.len() == wanted {
                into.copy_from_slice(from);
            }
        };
        if let Transport::Wrap(size) = key.transport {
            for (name, kek) in &self.shared {
                if kek.len() == size.octets() && key.name.as_ref().is_none_or(|wanted| wanted == name) {
                    let mut content = random()?;
                    if let Some(plain) = cipher::unwrap(kek, &key.value) {
                        take(&mut content, &plain);
                    }
                    found.push(content);
                }
            }
            return Ok(());
        }
        for (id, private) in &self.pairs {
            if found.len() >= MOST_ATTEMPTS {
                break;
            }
            // A certificate of somebody else is not a hint but an address.
            if private.size() != key.value.len() || !(key.hints.is_empty() || key.hints.contains(id)) {
                continue;
            }
            let mut content = random()?;
            let mut block = Zeroizing::new(vec![0; private.size()]);
            match &key.transport {
                Transport::Oaep(oaep) => {
                    if let Some(plain) = private.decrypt_oaep(&key.value, oaep, &mut block) {
                        take(&mut content, plain);
                    }
                }
                Transport::Rsa15 => {
                    if let Some(padded) = private.decrypt_raw(&key.value, &mut block) {
                        cipher::read_rsa15(padded, &mut content);
                    }
                }
                Transport::Wrap(_) => {}
            }
            found.push(content);
        }
        Ok(())
    }
}

/// Which ciphertext.
#[derive(Debug, Clone, Copy)]
pub struct EncryptedPart<'a> {
    data: &'a Place,
    key: Option<&'a Place>,
}

impl<'a> EncryptedPart<'a> {
    /// An `xenc:EncryptedData`. Its key is an `EncryptedKey` inside its `KeyInfo`, beside it, or named there by a
    /// `RetrievalMethod` of the same document.
    pub fn at(data: &'a Place) -> Self {
        Self { data, key: None }
    }

    /// With the `EncryptedKey` that the caller found for it: in WS-Security the key lists the ciphertext, or a token
    /// reference names the key.
    #[must_use]
    pub fn with_key(self, key: &'a Place) -> Self {
        Self { key: Some(key), ..self }
    }
}

impl Document {
    /// The document with one ciphertext replaced by its plaintext, where it stood. Nothing of it is more than what the sender
    /// says.
    ///
    /// # Errors
    /// What is wrong with the message by name; for everything that depends on a key, [`Error::DecryptionFailed`].
    pub fn decrypt<P: DecryptionPurpose>(
        &self,
        what: &EncryptedPart<'_>,
        keys: &DecryptionKeys<P>,
        profile: &Profile,
    ) -> Result<Self, Error> {
        self.decrypted(what, keys, profile, None)
    }

    fn decrypted<P: DecryptionPurpose>(
        &self,
        what: &EncryptedPart<'_>,
        keys: &DecryptionKeys<P>,
        profile: &Profile,
        covered: Option<&dyn Fn(NodeId) -> bool>,
    ) -> Result<Self, Error> {
        let data = self.locate(SignedElement::At(what.data))?;
        if !data.is(XENC, "EncryptedData") {
            return Err(Error::ElementMissing("EncryptedData".to_owned()));
        }
        let depth = self.admit(data)?;
        let read = Encrypted::read(data)?;
        let uri = algorithm(read.method)?;
        let cipher = ContentCipher::from_uri(uri).filter(|cipher| profile.admits_cipher(*cipher, covered.is_some()));
        let cipher = cipher.ok_or_else(|| not_admitted(Role::Encryption, uri))?;
        elements(read.method)?.iter().try_for_each(|child| if child.is(XENC, "KeySize") { Ok(()) } else { unexpected(*child) })?;
        let form = match data.attribute("", "Type") {
            // SAML core §2.3.4: an element where nothing else is said.
            None | Some("http://www.w3.org/2001/04/xmlenc#Element") => Form::Element,
            Some("http://www.w3.org/2001/04/xmlenc#Content") => Form::Content,
            Some(other) => return Err(not_admitted(Role::EncryptedType, other)),
        };
        let value = base64(read.value)?;
        if !cipher.could_be(value.len()) {
            return Err(fault(read.value, EncryptionFault::Value));
        }

        let mut content_keys = Vec::new();
        for key in self.keys_of(data, read.key_info, what.key, keys.recipient.as_deref(), profile)? {
            // A signature over the ciphertext fixes its plaintext only together with the key. AES-GCM finds another key
            // out; under CBC every key gives some plaintext.
            match (covered, cipher) {
                (Some(covered), ContentCipher::Cbc(_) | ContentCipher::TripleDes) if !covered(key.id()) => {
                    return Err(Error::ReferenceRefused { uri: None, why: ReferenceFault::NotCovered });
                }
                (Some(_) | None, ContentCipher::Gcm(_) | ContentCipher::Cbc(_) | ContentCipher::TripleDes) => {}
            }
            let key = EncryptedKey::read(key, profile)?;
            keys.unlock(&key, cipher.key_octets(), &mut content_keys)?;
        }
        let plaintext = content_keys.iter().find_map(|key| {
            let plaintext = cipher.decrypt(key, value.clone())?;
            self.fragment(data, form, plaintext)
        });
        self.with_plaintext(data, &plaintext.ok_or(Error::DecryptionFailed)?, depth)
    }

    /// How deep the plaintext of this ciphertext will stand in others.
    fn admit(&self, data: View<'_>) -> Result<usize, Error> {
        let before = &self.tree.plaintexts;
        let at = data.at();
        if before.len() >= self.limits.decryptions {
            return Err(fault(data, EncryptionFault::TooMany));
        }
        let around = before.iter().filter(|plaintext| plaintext.start <= at && at < plaintext.end);
        let depth = 1 + around.map(|plaintext| plaintext.depth).max().unwrap_or(0);
        if depth > self.limits.encryption_depth { Err(fault(data, EncryptionFault::TooDeep)) } else { Ok(depth) }
    }

    /// The `EncryptedKey`s that belong to a ciphertext.
    fn keys_of<'t>(
        &'t self,
        data: View<'t>,
        key_info: Option<View<'t>>,
        named: Option<&Place>,
        recipient: Option<&str>,
        profile: &Profile,
    ) -> Result<Vec<View<'t>>, Error> {
        let mut found = Vec::new();
        let mut wanted = None;
        if let Some(place) = named {
            found.push(self.locate(SignedElement::At(place))?);
        } else {
            for child in key_info.iter().flat_map(View::children) {
                if child.is(XENC, "EncryptedKey") {
                    found.push(child);
                } else if child.is(DS, "RetrievalMethod") {
                    found.push(self.retrieve(child, profile)?);
                } else if child.is(DS, "KeyName") {
                    wanted = Some(value_of(child)?);
                }
            }
            if found.is_empty()
                && let Some(parent) = self.tree.node(data.id()).and_then(|node| node.parent())
            {
                // SAML core §2.3.4: beside the data. The name, if there is one, has to be the same.
                for sibling in self.view(parent)?.children().filter(|child| child.is(XENC, "EncryptedKey")) {
                    let carried = sibling.child(XENC, "CarriedKeyName")?.map(value_of).transpose()?;
                    if carried.is_none() || carried == wanted {
                        found.push(sibling);
                    }
                }
            }
        }
        found.retain(|key| match (key.attribute("", "Recipient"), recipient) {
            (Some(theirs), Some(ours)) => theirs == ours,
            (None, _) | (_, None) => true,
        });
        match found.as_slice() {
            [] => Err(Error::ReferenceRefused { uri: None, why: ReferenceFault::NoKey }),
            [.., last] if found.len() > MOST_KEYS => Err(fault(*last, EncryptionFault::TooManyKeys)),
            keys if keys.iter().all(|key| key.is(XENC, "EncryptedKey")) => Ok(found),
            [..] => Err(Error::ReferenceRefused { uri: None, why: ReferenceFault::OtherElement }),
        }
    }

    /// A `RetrievalMethod` of the same document, without transforms (attacks 31, 46).
    fn retrieve<'t>(&'t self, method: View<'t>, profile: &Profile) -> Result<View<'t>, Error> {
        attributes(method, &["URI", "Type"])?;
        let uri = method.attribute("", "URI");
        let refused = |why| Error::ReferenceRefused { uri: uri.map(shortened), why };
        if let Some(transforms) = elements(method)?.first() {
            return Err(not_admitted(Role::Transform, &format!("{} of a RetrievalMethod", transforms.local())));
        }
        let id = uri.ok_or_else(|| refused(ReferenceFault::NoUri))?.strip_prefix('#');
        let id = id.filter(|id| !id.is_empty() && !id.contains(['(', '#', '%'])).ok_or_else(|| refused(ReferenceFault::External))?;
        let target = Ids::of(&self.tree, profile)?.find(id).ok_or_else(|| refused(ReferenceFault::Nothing))?;
        let target = self.view(target)?;
        let kind = method.attribute("", "Type").is_none_or(|kind| kind == "http://www.w3.org/2001/04/xmlenc#EncryptedKey");
        if kind && target.is(XENC, "EncryptedKey") { Ok(target) } else { Err(refused(ReferenceFault::OtherElement)) }
    }

    /// The plaintext, if it is what it has to be: one element, or balanced content. Read inside an element of its own with
    /// the namespaces of the place, so that nothing of it can end the element it will stand in.
    fn fragment(&self, data: View<'_>, form: Form, plaintext: Vec<u8>) -> Option<String> {
        let text = String::from_utf8(plaintext).ok()?;
        let blank = [' ', '\t', '\r', '\n'];
        let text = match form {
            Form::Element if text.starts_with(blank) || text.ends_with(blank) => text.trim_matches(blank).to_owned(),
            Form::Element | Form::Content => text,
        };
        let mut whole = String::with_capacity(text.len() + 256);
        whole.push_str("<x");
        // A ciphertext that is the root has nothing around it.
        let parent = self.tree.node(data.id())?.parent().and_then(|parent| self.tree.node(parent));
        if let Some(Kind::Element(parent)) = parent.map(|parent| parent.kind) {
            declare(&self.tree, &parent, None, &mut whole);
        }
        let (start, end) = (whole.len() + 1, whole.len() + 1 + text.len());
        write!(whole, ">{text}</x>").ok()?;
        let tree = crate::parse::parse(whole.as_bytes(), &self.limits).ok()?;
        let root = tree.node(tree.root)?;
        if (tree.root, root.span) != (NodeId(0), (0, u32::try_from(whole.len()).ok()?)) {
            return None;
        }
        let inside = (u32::try_from(start).ok()?, u32::try_from(end).ok()?);
        let one = tree.node(NodeId(1)).is_some_and(|node| matches!(node.kind, Kind::Element(_)) && node.span == inside);
        match form {
            Form::Element if !one => None,
            Form::Element | Form::Content => Some(text),
        }
    }

    fn with_plaintext(&self, data: View<'_>, text: &str, depth: usize) -> Result<Self, Error> {
        let (start, end) = data.span();
        let before = &self.tree.plaintexts;
        let total: usize = before.iter().filter(|old| old.depth == 1).map(|old| old.end - old.start).sum();
        if total + text.len() > self.limits.plaintext {
            return Err(Error::DecryptionFailed);
        }
        let source = &self.tree.source;
        let around = source.get(..start).zip(source.get(end..));
        let (head, tail) = around.ok_or(Error::DecryptionFailed)?;
        // The limits hold for the whole; that they are exceeded depends on the plaintext, and is not told.
        let whole = [head, text, tail].concat().into_bytes();
        let mut tree = crate::parse::parse_owned(whole, &self.limits).map_err(|_| Error::DecryptionFailed)?;
        let moved = |place: usize| if place >= end { place - end + start + text.len() } else { place };
        tree.plaintexts = before.iter().map(|old| Plaintext { start: moved(old.start), end: moved(old.end), depth: old.depth }).collect();
        tree.plaintexts.push(Plaintext { start, end: start + text.len(), depth });
        Ok(Self { tree: Arc::new(tree), limits: self.limits })
    }
}

impl Verified<Element> {
    /// The element with one ciphertext inside it replaced by its plaintext. The signature covers the ciphertext, and so what
    /// follows from it: it stays verified. A ciphertext in CBC mode needs its `EncryptedKey` covered, too.
    ///
    /// # Errors
    /// As [`Document::decrypt`]; [`Error::ElementMissing`] if the ciphertext is not covered.
    pub fn decrypt<P: DecryptionPurpose>(
        &self,
        what: &EncryptedPart<'_>,
        keys: &DecryptionKeys<P>,
        profile: &Profile,
    ) -> Result<Self, Error> {
        let (document, covered) = self.standing();
        let data = document.locate(SignedElement::At(what.data))?;
        if !covered(data.id()) {
            return Err(Error::ElementMissing("EncryptedData in what is signed".to_owned()));
        }
        let plain = document.decrypted(what, keys, profile, Some(&covered))?;
        // Two readers of one id would see two elements: the plaintext may not repeat one.
        Ids::of(&plain.tree, profile)?;
        self.decrypted(plain, data.id())
    }
}

/// `EncryptedKey`s that are looked at.
const MOST_KEYS: usize = 4;
/// Private operations for one ciphertext: a stranger can have all of them done.
const MOST_ATTEMPTS: usize = 4;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Element,
    Content,
}

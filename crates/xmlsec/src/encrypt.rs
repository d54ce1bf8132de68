//! Content to `xenc:EncryptedData` (XML Encryption 1.1 §4.3): AES-GCM under a fresh key, RSA-OAEP or AES key wrap for the key.
//!
//! Nothing weaker can be written. The received octets outside the encrypted part stay as they are; an encrypted element
//! takes the namespaces in scope with it, so that the recipient may read it by itself.

use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use x509_parser::prelude::{FromDer, X509Certificate};
use zeroize::Zeroizing;

use crate::cipher::{self, AesSize, ContentCipher, OaepHash};
use crate::document::{Document, SignedElement};
use crate::error::{Error, KeyFault};
use crate::ids::{XENC, XENC11};
use crate::keys::{KeyId, TrustedKeys};
use crate::rsa::{Oaep, PublicKey};
use crate::sign::Placement;
use crate::signature::DS;
use crate::signing_key::{Purpose, SigningKey};
use crate::tree::Kind;
use crate::write::{declare, escape};

/// A fresh AES-GCM key for one message.
pub struct ContentKey {
    size: AesSize,
    octets: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for ContentKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ContentKey({:?})", self.size)
    }
}

impl ContentKey {
    /// A new key.
    ///
    /// # Errors
    /// [`Error::Key`] if the system gives no randomness.
    pub fn generate(size: AesSize) -> Result<Self, Error> {
        let mut octets = Zeroizing::new(vec![0; size.octets()]);
        rand::fill(&mut octets).map_err(unusable)?;
        Ok(Self { size, octets })
    }

    /// Nonce, ciphertext and tag.
    fn seal(&self, plaintext: &[&[u8]]) -> Result<Vec<u8>, Error> {
        let mut nonce = [0; 12];
        rand::fill(&mut nonce).map_err(unusable)?;
        cipher::seal(self.size, &self.octets, nonce, plaintext).ok_or(Error::Key(KeyFault::Unusable))
    }
}

/// Who shall be able to read.
pub struct Recipient {
    lock: Lock,
    name: Option<String>,
    certificate: Option<Vec<u8>>,
}

enum Lock {
    Rsa { key: PublicKey, oaep: Oaep },
    Shared { name: String, key: Zeroizing<Vec<u8>> },
}

impl std::fmt::Debug for Recipient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let lock = match &self.lock {
            Lock::Rsa { oaep, .. } => format!("RSA-OAEP {:?}/{:?}", oaep.digest, oaep.mask),
            Lock::Shared { name, .. } => format!("shared key {name:?}"),
        };
        write!(f, "Recipient({lock}, {:?})", self.name)
    }
}

impl Recipient {
    /// The holder of a certificate's key (DER), which goes along in `KeyInfo`. OAEP with SHA-1, as everybody reads it, until
    /// [`Recipient::hashes`] says otherwise.
    ///
    /// # Errors
    /// [`Error::Key`] if it is no certificate, or not of an RSA key of 2048 to 8192 bits with an odd exponent from 65537.
    pub fn from_certificate(der: &[u8]) -> Result<Self, Error> {
        let Ok(([], certificate)) = X509Certificate::from_der(der) else { return Err(Error::Key(KeyFault::Encoding)) };
        let mut recipient = Self::from_spki(certificate.tbs_certificate.subject_pki.raw)?;
        recipient.certificate = Some(der.to_vec());
        Ok(recipient)
    }

    /// The holder of an RSA key, given as SubjectPublicKeyInfo in DER.
    ///
    /// # Errors
    /// As [`Recipient::from_certificate`].
    pub fn from_spki(der: &[u8]) -> Result<Self, Error> {
        // The same demands on the exponent as on a key that verifies.
        TrustedKeys::new().add_spki(der)?;
        let key = PublicKey::from_spki(der).ok_or(Error::Key(KeyFault::Kind))?;
        if key.size() < 256 {
            return Err(Error::Key(KeyFault::Size { bits: key.size() * 8 }));
        }
        let oaep = Oaep { digest: OaepHash::Sha1, mask: OaepHash::Sha1, label: Vec::new() };
        Ok(Self { lock: Lock::Rsa { key, oaep }, name: None, certificate: None })
    }

    /// The other holder of a shared AES key, by its `KeyName`.
    ///
    /// # Errors
    /// [`Error::Key`] if the key has no AES length.
    pub fn from_shared(name: &str, key: &[u8]) -> Result<Self, Error> {
        AesSize::of(key).ok_or(Error::Key(KeyFault::Size { bits: key.len() * 8 }))?;
        let lock = Lock::Shared { name: name.to_owned(), key: Zeroizing::new(key.to_vec()) };
        Ok(Self { lock, name: None, certificate: None })
    }

    /// The hashes of OAEP and of its mask. Without effect on a shared key.
    #[must_use]
    pub fn hashes(mut self, digest: OaepHash, mask: OaepHash) -> Self {
        if let Lock::Rsa { oaep, .. } = &mut self.lock {
            (oaep.digest, oaep.mask) = (digest, mask);
        }
        self
    }

    /// Writes the name into the `Recipient` attribute, for a message with several.
    #[must_use]
    pub fn addressed_as(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    /// The name of the certificate's key, where there is one.
    pub fn id(&self) -> Option<KeyId> {
        self.certificate.as_deref().and_then(|der| KeyId::of_certificate(der).ok())
    }

    /// An `xenc:EncryptedKey` that stands by itself. `key_info` is the inside of its `KeyInfo`, instead of the certificate;
    /// `data` are the ids of the ciphertexts it opens.
    ///
    /// # Errors
    /// [`Error::Key`] if the key is too short for the hashes.
    pub fn encrypted_key(&self, key: &ContentKey, id: Option<&str>, key_info: Option<&str>, data: &[&str]) -> Result<String, Error> {
        let (method, value, own) = match &self.lock {
            Lock::Rsa { key: public, oaep } => {
                let value = public.encrypt_oaep(&key.octets, oaep);
                let certificate = self.certificate.as_deref().map(|der| {
                    let der = STANDARD.encode(der);
                    format!("<ds:X509Data><ds:X509Certificate>{der}</ds:X509Certificate></ds:X509Data>")
                });
                (oaep_method(oaep), value, certificate)
            }
            Lock::Shared { name, key: kek } => {
                let method = format!(r#"<xenc:EncryptionMethod Algorithm="{XENC}kw-aes{}"/>"#, kek.len() * 8);
                let mut own = "<ds:KeyName>".to_owned();
                escape(name, &mut own);
                (method, cipher::wrap(kek, &key.octets), Some(own + "</ds:KeyName>"))
            }
        };
        let value = STANDARD.encode(value.ok_or(Error::Key(KeyFault::Unusable))?);
        let mut out = format!(r#"<xenc:EncryptedKey xmlns:xenc="{XENC}""#);
        for (attribute, value) in [("Id", id), ("Recipient", self.name.as_deref())] {
            if let Some(value) = value {
                out.push_str(&format!(" {attribute}=\""));
                escape(value, &mut out);
                out.push('"');
            }
        }
        out.push('>');
        out.push_str(&method);
        if let Some(info) = key_info.or(own.as_deref()) {
            out.push_str(&format!(r#"<ds:KeyInfo xmlns:ds="{DS}">{info}</ds:KeyInfo>"#));
        }
        out.push_str(&format!("<xenc:CipherData><xenc:CipherValue>{value}</xenc:CipherValue></xenc:CipherData>"));
        if !data.is_empty() {
            out.push_str("<xenc:ReferenceList>");
            for id in data {
                out.push_str("<xenc:DataReference URI=\"#");
                escape(id, &mut out);
                out.push_str("\"/>");
            }
            out.push_str("</xenc:ReferenceList>");
        }
        out.push_str("</xenc:EncryptedKey>");
        Ok(out)
    }
}

/// What of an element is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EncryptedForm<'a> {
    /// The element itself.
    Element,
    /// The element itself, and the ciphertext stands in a new element of this namespace and name (SAML's `EncryptedAssertion`).
    ElementIn(&'a str, &'a str),
    /// What is in it.
    Content,
}

/// What the ciphertext's `KeyInfo` says.
#[derive(Debug, Clone, Copy)]
pub enum EncryptedKeyInfo<'a> {
    /// An `EncryptedKey` for each of them.
    Recipients(&'a [Recipient]),
    /// What the caller wrote: the key stands elsewhere.
    Written(&'a str),
    /// Nothing: the key lists the ciphertext.
    Absent,
}

/// What is encrypted how.
#[derive(Debug, Clone, Copy)]
pub struct Encryption<'a> {
    /// What of the element.
    pub part: EncryptedForm<'a>,
    /// The key of this message.
    pub key: &'a ContentKey,
    /// Where its recipients find the key.
    pub key_info: EncryptedKeyInfo<'a>,
    /// The `Id` of the `xenc:EncryptedData`.
    pub id: Option<&'a str>,
}

impl Document {
    /// The document's octets with one element or its content encrypted.
    ///
    /// # Errors
    /// [`Error::ElementMissing`] if the element is not there, [`Error::Unreadable`] for the content of an empty tag,
    /// [`Error::Key`] if a recipient's key cannot be used.
    pub fn encrypt(&self, what: SignedElement<'_>, encryption: &Encryption<'_>) -> Result<Vec<u8>, Error> {
        self.encrypted(what, None, encryption)
    }

    /// As [`Document::sign_enveloped`] and then [`Document::encrypt`] of the same element, without reading the signed
    /// document in between.
    ///
    /// # Errors
    /// As both.
    pub fn sign_and_encrypt<P: Purpose>(
        &self,
        what: SignedElement<'_>,
        placement: Placement<'_>,
        prefixes: &[&str],
        signing: &SigningKey<P>,
        encryption: &Encryption<'_>,
    ) -> Result<Vec<u8>, Error> {
        let (at, signature) = self.enveloped(what, placement, prefixes, signing)?;
        self.encrypted(what, Some((at, &signature)), encryption)
    }

    /// `signature` is what belongs into the element's content before that is encrypted, and at which octet.
    fn encrypted(&self, what: SignedElement<'_>, signature: Option<(usize, &str)>, encryption: &Encryption<'_>) -> Result<Vec<u8>, Error> {
        let Encryption { part, key, key_info, id } = *encryption;
        let target = self.locate(what)?;
        let nothing = || target.unreadable("an element without content");
        let (Some(node), (start, end)) = (self.tree.node(target.id()), target.span()) else { return Err(nothing()) };
        let Kind::Element(data) = node.kind else { return Err(nothing()) };
        let source = self.tree.source.as_str();
        let octets = |from: usize, to: usize| source.get(from..to).ok_or_else(nothing);
        let signed = |from: usize, to: usize| match signature {
            Some((at, signature)) => Ok([octets(from, at)?.as_bytes(), signature.as_bytes(), octets(at, to)?.as_bytes()]),
            None => Ok([octets(from, to)?.as_bytes(), b"", b""]),
        };
        let (from, to, sealed, kind) = match part {
            EncryptedForm::Element | EncryptedForm::ElementIn(..) => {
                let name = data.name.end() as usize;
                let mut scope = String::new();
                declare(&self.tree, &data, Some(&data), &mut scope);
                let [before, between, after] = signed(name, end)?;
                let sealed = key.seal(&[octets(start, name)?.as_bytes(), scope.as_bytes(), before, between, after])?;
                (start, end, sealed, "Element")
            }
            EncryptedForm::Content => {
                let inside = data.content as usize;
                // The end tag is the last thing that begins with `<`; an empty tag has none.
                let close = octets(inside, end)?.rfind('<').ok_or_else(nothing)?;
                (inside, inside + close, key.seal(&signed(inside, inside + close)?)?, "Content")
            }
        };
        let mut head = String::new();
        if let EncryptedForm::ElementIn(namespace, local) = part {
            head.push_str(&format!("<{local} xmlns=\""));
            escape(namespace, &mut head);
            head.push_str("\">");
        }
        head.push_str(&format!(r#"<xenc:EncryptedData xmlns:xenc="{XENC}""#));
        if let Some(id) = id {
            head.push_str(" Id=\"");
            escape(id, &mut head);
            head.push('"');
        }
        let uri = ContentCipher::Gcm(key.size).uri();
        head.push_str(&format!(r#" Type="{XENC}{kind}"><xenc:EncryptionMethod Algorithm="{uri}"/>"#));
        let info = match key_info {
            EncryptedKeyInfo::Recipients(all) => {
                let keys: Result<Vec<String>, Error> = all.iter().map(|one| one.encrypted_key(key, None, None, &[])).collect();
                Some(keys?.concat())
            }
            EncryptedKeyInfo::Written(info) => Some(info.to_owned()),
            EncryptedKeyInfo::Absent => None,
        };
        if let Some(info) = info {
            head.push_str(&format!(r#"<ds:KeyInfo xmlns:ds="{DS}">{info}</ds:KeyInfo>"#));
        }
        head.push_str("<xenc:CipherData><xenc:CipherValue>");
        let mut tail = "</xenc:CipherValue></xenc:CipherData></xenc:EncryptedData>".to_owned();
        if let EncryptedForm::ElementIn(_, local) = part {
            tail.push_str(&format!("</{local}>"));
        }
        let (before, after) = ([octets(0, from)?, &head], [&tail, octets(to, source.len())?]);
        encoded_between(&before, &sealed, &after).ok_or_else(nothing)
    }
}

/// These texts and between them these octets in base64, written once where they belong.
fn encoded_between(before: &[&str; 2], octets: &[u8], after: &[&str; 2]) -> Option<Vec<u8>> {
    let length: usize = before.iter().chain(after).map(|text| text.len()).sum();
    let mut whole = vec![0; length + octets.len().div_ceil(3) * 4];
    let mut rest = whole.as_mut_slice();
    let put = |texts: &[&str; 2], mut rest| {
        for text in texts {
            let (here, behind) = <[u8]>::split_at_mut_checked(rest, text.len())?;
            here.copy_from_slice(text.as_bytes());
            rest = behind;
        }
        Some(rest)
    };
    rest = put(before, rest)?;
    let written = STANDARD.encode_slice(octets, rest).ok()?;
    put(after, rest.get_mut(written..)?)?;
    Some(whole)
}

/// The older identifier where its fixed mask is meant, as more recipients know it.
fn oaep_method(oaep: &Oaep) -> String {
    let digest = match oaep.digest {
        OaepHash::Sha1 => String::new(),
        OaepHash::Sha224 | OaepHash::Sha256 | OaepHash::Sha384 | OaepHash::Sha512 => {
            format!(r#"<ds:DigestMethod xmlns:ds="{DS}" Algorithm="{}"/>"#, oaep.digest.digest_uri())
        }
    };
    match oaep.mask {
        OaepHash::Sha1 => format!(r#"<xenc:EncryptionMethod Algorithm="{XENC}rsa-oaep-mgf1p">{digest}</xenc:EncryptionMethod>"#),
        OaepHash::Sha224 | OaepHash::Sha256 | OaepHash::Sha384 | OaepHash::Sha512 => format!(
            r#"<xenc:EncryptionMethod Algorithm="{XENC11}rsa-oaep">{digest}<xenc11:MGF xmlns:xenc11="{XENC11}" Algorithm="{}"/></xenc:EncryptionMethod>"#,
            oaep.mask.mask_uri()
        ),
    }
}

fn unusable(_: aws_lc_rs::error::Unspecified) -> Error {
    Error::Key(KeyFault::Unusable)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::c14n::{Canonicalization, canonicalize};
    use crate::decrypt::{Assertions, DecryptionKeys, EncryptedPart};
    use crate::element::{ElementView, Place, Unsigned};
    use crate::limits::Limits;
    use crate::profile::Profile;

    fn pem(text: &str) -> Vec<u8> {
        STANDARD.decode(text.lines().filter(|line| !line.starts_with("-----")).collect::<String>()).unwrap()
    }

    #[test]
    fn a_recipient_has_a_strong_rsa_key() {
        // Made with openssl for these tests.
        let short = "MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQCxisFeKXTriZm4i6CnfK5RXRsFVciFtbtqnMHPWKxmBQaOHfT9WLXd4OyoNldjG0Nyt3t3W+5C1qfWj0J8oEvTAPY1B/b0v/kYECU4y+CgEggQdmyG2sPKkUZsuPu/C7aQS/TkTXdekQvlKrl3/KN6qb7jeMs7idcq0w38G0z/xwIDAQAB";
        let found = Recipient::from_spki(&STANDARD.decode(short).unwrap()).map(drop);
        assert_eq!(found, Err(Error::Key(KeyFault::Size { bits: 1024 })));
        let curve = Recipient::from_certificate(&pem(include_str!("../../../corpus/recorded/keys/idp-ec256.crt"))).map(drop);
        assert_eq!(curve, Err(Error::Key(KeyFault::Kind)));
        assert_eq!(Recipient::from_certificate(b"none").map(drop), Err(Error::Key(KeyFault::Encoding)));
        assert!(Recipient::from_shared("n", &[0; 15]).is_err());
    }

    fn places(element: ElementView<'_, Unsigned>, out: &mut Vec<Place>) {
        out.push(element.place());
        element.children().for_each(|child| places(child, out));
    }

    fn content() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            "[a-z é\\n\r\\t]{0,6}",
            Just("<!-- </a> -->".to_owned()),
            Just("<![CDATA[</a>]]>".to_owned()),
            Just("&#13;&gt;".to_owned()),
            Just("<p:e b='>' />".to_owned()),
        ];
        leaf.prop_recursive(4, 30, 5, |inner| {
            let names = prop_oneof![Just("e"), Just("p:f"), Just("p:g xmlns:p='urn:&amp;'"), Just("h xmlns=''"), Just("q:i p:a='1'")];
            (names, proptest::collection::vec(inner, 0..5)).prop_map(|(open, inside)| {
                let name = open.split(' ').next().unwrap_or_default();
                format!("<{open}>{}</{name} >", inside.concat())
            })
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

        #[test]
        fn what_is_encrypted_anywhere_comes_back(inside in content(), place: prop::sample::Index, whole: bool) {
            let text = format!("<a xmlns='urn:a' xmlns:p='urn:p' xmlns:q='urn:\"q'>{inside}<p:z/></a>");
            let document = Document::parse(text.as_bytes(), &Limits::MESSAGE).unwrap();
            let mut all = Vec::new();
            places(document.root().unwrap(), &mut all);
            let what = &all[place.index(all.len())];
            let key = ContentKey::generate(AesSize::Aes128).unwrap();
            let recipient = [Recipient::from_shared("kek", &[1; 16]).unwrap()];
            let part = if whole { EncryptedForm::Element } else { EncryptedForm::Content };
            let encryption = Encryption { part, key: &key, key_info: EncryptedKeyInfo::Recipients(&recipient), id: None };
            let Ok(sealed) = document.encrypt(SignedElement::At(what), &encryption) else {
                // An empty tag has no content.
                prop_assert!(!whole);
                return Ok(());
            };
            let sealed = Document::parse(&sealed, &Limits::MESSAGE).unwrap();
            let mut now = Vec::new();
            places(sealed.root().unwrap(), &mut now);
            let data = now.iter().find(|place| sealed.view(place.id).unwrap().is(XENC, "EncryptedData")).unwrap();
            let mut keys = DecryptionKeys::<Assertions>::new();
            keys.add_shared("sp-decryption", "kek", &[1; 16]).unwrap();
            let plain = sealed.decrypt(&EncryptedPart::at(data), &keys, &Profile::SAML).unwrap();
            if whole {
                let canonical = |text: &str| canonicalize(text.as_bytes(), &Limits::MESSAGE, &Canonicalization::EXCLUSIVE).unwrap();
                prop_assert_eq!(canonical(&plain.tree.source), canonical(&text));
            } else {
                prop_assert_eq!(&plain.tree.source, &text);
            }
        }
    }
}

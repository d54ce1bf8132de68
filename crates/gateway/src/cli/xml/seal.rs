//! `vestibule xml sign`.

use std::path::PathBuf;

use clap::Args;

use vestibule_xmlsec::{Document, KeyInfo, Limits, Part, Placement, Profile, Purpose, SignedElement, Signing, SigningKey};

use super::super::output::Output;
use super::super::{Answer, Failure};
use super::{Ids, certificate, document, name, print_document, private_key, refused, unusable};

/// Sign a document; the signed one goes to standard output
#[derive(Debug, Args)]
pub struct Sign {
    /// The document (- for standard input)
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The private key: PKCS#8 in PEM form, RSA from 2048 bits or P-256, P-384, P-521
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The key's certificate, which goes along
    #[arg(long, value_name = "FILE")]
    cert: Option<PathBuf>,
    /// What is signed, as {NAMESPACE}NAME for each step from the root on, with > between [default: the root element]
    #[arg(long, value_name = "PATH")]
    element: Option<String>,
    /// Put the signature behind the child of this name, as SAML has it behind {…}Issuer [default: last]
    #[arg(long, value_name = "NAME")]
    after: Option<String>,
    /// Prefixes that are used in values only, with spaces between
    #[arg(long, value_name = "PREFIXES")]
    prefix_list: Option<String>,
    #[command(flatten)]
    ids: Ids,
}

/// What an operator signs by hand is no message of ours: a key of another purpose cannot be used here by its record.
enum Hand {}

impl Purpose for Hand {
    const NAME: &'static str = "hand";
}

impl Sign {
    pub(super) fn run(self, output: &mut Output) -> Result<Answer, Failure> {
        let certificate = self.cert.as_deref().map(certificate).transpose()?;
        let key = SigningKey::<Hand>::from_pkcs8(Hand::NAME, &private_key(&self.key)?, certificate.as_deref());
        let key = key.map_err(|error| unusable(&self.key, &error))?;
        let profile = self.ids.admitted(Profile::ANY_FORM)?;
        let wrong = |text: &str| Failure::not_tried(format!("{text} is no name")).fix("write names as {urn:orders}Order");
        let path = match &self.element {
            Some(text) => Some(text.split('>').map(|step| name(step.trim()).ok_or_else(|| wrong(step))).collect::<Result<Vec<_>, _>>()?),
            None => None,
        };
        let placement = match &self.after {
            Some(text) => name(text).map(|(namespace, local)| Placement::After(namespace, local)).ok_or_else(|| wrong(text))?,
            None => Placement::Last,
        };
        let prefixes: Vec<&str> = self.prefix_list.iter().flat_map(|list| list.split_ascii_whitespace()).collect();
        let document = Document::parse_owned(document(&self.file)?, &Limits::SOAP).map_err(|error| refused(&error))?;
        let root = document.claim::<Root>().map_err(|error| refused(&error))?;
        let root = &root.sender_says().0;
        let (into, part) = match &path {
            Some(path) => (SignedElement::Path(path), Part::Element(SignedElement::Path(path), &prefixes)),
            // The root without an id is the document.
            None => (SignedElement::At(root), Part::Document(&prefixes)),
        };
        let key_info = if certificate.is_some() { KeyInfo::Certificate } else { KeyInfo::Nothing };
        let sign = |part: Part<'_>| document.sign(&Signing { parts: &[part], into, placement, key_info, profile: &profile }, &key);
        let signed = match path {
            Some(_) => sign(part),
            None => sign(Part::Element(into, &prefixes)).or_else(|_| sign(part)),
        };
        print_document(signed.map_err(|error| refused(&error))?, output)
    }
}

use root::Root;

mod root {
    use vestibule_xmlsec::{ElementView, Error, FromClaimed, Place, Unsigned};

    /// Where the root element stands.
    pub(super) struct Root(pub(super) Place);

    impl FromClaimed for Root {
        fn from_claimed(root: ElementView<'_, Unsigned>) -> Result<Self, Error> {
            Ok(Self(root.place()))
        }
    }
}

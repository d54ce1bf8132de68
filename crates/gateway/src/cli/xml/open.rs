//! `vestibule xml decrypt`.

use std::path::PathBuf;

use clap::Args;

use vestibule_xmlsec::{
    Concession, DecryptionKeys, DecryptionPurpose, Document, ElementView, EncryptedPart, Error, FromClaimed, Limits, Place, Profile,
    Unsigned,
};

use super::super::output::Output;
use super::super::{Answer, Failure};
use super::{document, print_document, private_key, refused, unusable};

const XENC: &str = "http://www.w3.org/2001/04/xmlenc#";

/// Decrypt what is encrypted in a document; nothing of it is verified. The result goes to standard output
#[derive(Debug, Args)]
pub struct Decrypt {
    /// The document (- for standard input)
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// A private key: RSA, PKCS#8 in PEM form
    #[arg(long, value_name = "FILE", required = true)]
    key: Vec<PathBuf>,
    /// Admit AES and Triple-DES in CBC mode, and PKCS#1 v1.5
    #[arg(long)]
    legacy: bool,
}

/// What an operator opens by hand.
enum Hand {}

impl DecryptionPurpose for Hand {
    const NAME: &'static str = "hand";
}

impl Decrypt {
    pub(super) fn run(self, output: &mut Output) -> Result<Answer, Failure> {
        let mut keys = DecryptionKeys::<Hand>::new();
        for file in &self.key {
            keys.add_pkcs8(Hand::NAME, &private_key(file)?).map_err(|error| unusable(file, &error))?;
        }
        let weaker = [Concession::Cbc, Concession::TripleDes, Concession::Rsa15, Concession::UnsignedCbc];
        let profile = if self.legacy { weaker.into_iter().fold(Profile::ANY_FORM, Profile::admit) } else { Profile::ANY_FORM };
        let mut document = Document::parse_owned(document(&self.file)?, &Limits::SOAP).map_err(|error| refused(&error))?;
        let mut opened = 0;
        // The limits of the core end this: how many ciphertexts there are in a document, and how deep.
        loop {
            let sealed = document.claim::<Sealed>().map_err(|error| refused(&error))?;
            let sealed = sealed.sender_says();
            let Some((data, id)) = &sealed.data else { break };
            let part = EncryptedPart::at(data);
            // WS-Security: a key elsewhere lists what it opens.
            let listed = |(_, opens): &&(Place, Vec<String>)| id.as_ref().is_some_and(|id| opens.contains(id));
            let part = match sealed.keys.iter().find(listed) {
                Some((key, _)) => part.with_key(key),
                None => part,
            };
            document = document.decrypt(&part, &keys, &profile).map_err(|error| refused(&error))?;
            opened += 1;
        }
        if opened == 0 {
            return Err(Failure::refused("nothing in the document is encrypted"));
        }
        print_document(document.edit(&[]).map_err(|error| refused(&error))?, output)
    }
}

/// The first ciphertext of a document, and the keys that stand apart from theirs.
struct Sealed {
    data: Option<(Place, Option<String>)>,
    keys: Vec<(Place, Vec<String>)>,
}

impl FromClaimed for Sealed {
    fn from_claimed(root: ElementView<'_, Unsigned>) -> Result<Self, Error> {
        let mut sealed = Self { data: None, keys: Vec::new() };
        sealed.look(root);
        Ok(sealed)
    }
}

impl Sealed {
    /// Recursion is bounded by the parser's limit on depth.
    fn look(&mut self, element: ElementView<'_, Unsigned>) {
        if element.is(XENC, "EncryptedData") {
            if self.data.is_none() {
                self.data = Some((element.place(), element.attribute("", "Id").map(str::to_owned)));
            }
            return;
        }
        if element.is(XENC, "EncryptedKey") {
            let lists = element.children().filter(|child| child.is(XENC, "ReferenceList"));
            let uris = lists.flat_map(|list| list.children().filter_map(|item| item.attribute("", "URI")).collect::<Vec<_>>());
            let opens: Vec<String> = uris.filter_map(|uri| uri.strip_prefix('#')).map(str::to_owned).collect();
            if !opens.is_empty() {
                self.keys.push((element.place(), opens));
            }
            return;
        }
        element.children().for_each(|child| self.look(child));
    }
}

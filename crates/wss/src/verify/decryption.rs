//! What is encrypted to us, decrypted in the order of the header (SOAP Message Security §9.4).
//!
//! Only ciphertext that the header for us lists is touched, and only in the Body or in a header (attack 19 of the reference:
//! ciphertext that is moved puts its plaintext elsewhere). What stands before the first signature was encrypted last, so it is
//! decrypted first; what follows a signature was encrypted before it was signed. Plaintext is a message like any other: it
//! is read again, within the same limits.

use vestibule_xmlsec::{DecryptionKeys, EncryptedPart, Messages, Place, Profile};

use super::Message;
use crate::header::{Item, SecurityHeader};
use crate::reason::{Reason, Refused, Trace};
use crate::rules::Rules;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    BeforeSignatures,
    AfterSignatures,
}

pub(super) struct Decryption<'a> {
    rules: &'a Rules<'a>,
    profile: Profile,
    /// Ids of what was decrypted.
    done: Vec<String>,
}

impl<'a> Decryption<'a> {
    pub(super) fn new(rules: &'a Rules<'a>) -> Self {
        Self { rules, profile: rules.concessions.applied_to(Profile::WS_SECURITY), done: Vec::new() }
    }

    pub(super) fn run(&mut self, mut message: Message, stage: Stage, trace: &mut Trace) -> Result<Message, Refused> {
        let name = "decryption";
        loop {
            let header = message.header(self.rules, &mut Trace::default())?;
            let items = header.items.as_ref().map_err(|error| trace.refuse_xml(name, error))?;
            let found = next(header, items, &message, stage, &self.done).map_err(|why| trace.refuse(name, why.0, why.1))?;
            let Some(found) = found else { return Ok(message) };
            let Some(keys) = self.rules.decryption else {
                trace.skipped(name, "there is ciphertext, and no key to decrypt it");
                return Ok(message);
            };
            message = self.decrypt(&message, &found, keys).map_err(|error| trace.refuse(name, error.reason(), error.to_string()))?;
            trace.passed(name, format!("{:?} decrypted", found.id));
            self.done.push(found.id);
        }
    }

    fn decrypt(&self, message: &Message, found: &Found, keys: &DecryptionKeys<Messages>) -> Result<Message, crate::error::Error> {
        let part = EncryptedPart::at(&found.data).with_key(&found.key);
        Message::of(message.document().decrypt(&part, keys, &self.profile)?)
    }
}

struct Found {
    id: String,
    data: Place,
    key: Place,
}

type Why = (Reason, String);

/// The next ciphertext to decrypt.
fn next(header: &SecurityHeader, items: &[Item], message: &Message, stage: Stage, done: &[String]) -> Result<Option<Found>, Why> {
    let keys = |wanted: &str| {
        items.iter().find_map(|item| match item {
            Item::EncryptedKey { id: Some(id), place, .. } if id == wanted => Some(place.clone()),
            _ => None,
        })
    };
    for item in items {
        let (data, own) = match item {
            Item::Signature(_) if stage == Stage::BeforeSignatures => return Ok(None),
            Item::EncryptedKey { place, data, .. } => (data, Some(place)),
            Item::ReferenceList { data } => (data, None),
            _ => continue,
        };
        if let Some(id) = data.iter().find(|id| !done.contains(id)) {
            let mut meant = message.outline().ciphertexts.iter().filter(|ciphertext| ciphertext.id == *id);
            let (Some(ciphertext), None) = (meant.next(), meant.next()) else {
                return Err((
                    Reason::ReferenceRefused,
                    format!("the header at {:?} lists {id:?}, which is not one ciphertext", header.place),
                ));
            };
            let key = own.cloned().or_else(|| ciphertext.key.as_deref().and_then(keys));
            let key = key.ok_or_else(|| (Reason::ReferenceRefused, format!("no EncryptedKey belongs to {id:?}")))?;
            return Ok(Some(Found { id: id.clone(), data: ciphertext.place.clone(), key }));
        }
    }
    Ok(None)
}

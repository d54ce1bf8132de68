//! `wsse:UsernameToken` (Username Token Profile 1.0 and 1.1 §3).
//!
//! What an attacker tries: no password at all (attack 59), a password whose type says something else, a digest without the
//! nonce and time that keep it from being sent again (attack 65), a second value in a comment (attack 13). A bare name
//! proves nothing.

use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};
use vestibule_xmlsec::{Error as XmlError, Place};
use zeroize::Zeroizing;

use super::{View, base64};
use crate::namespaces::{BASE64, Era, PASSWORD_DIGEST, PASSWORD_TEXT, WSSE11};
use crate::replay::{self, Replay};
use crate::rules::Window;
use crate::time;

/// A user name and what is offered to prove it. The password is the caller's to check.
#[derive(Clone)]
pub struct UsernameToken {
    pub(crate) place: Place,
    username: String,
    offered: Offered,
    nonce: Option<Vec<u8>>,
    created: Option<(String, jiff::Timestamp)>,
}

/// What is offered to prove a name. Its `Debug` does not show it.
#[derive(Clone)]
pub enum Secret {
    /// The password.
    Text(Zeroizing<String>),
    /// Base64(SHA-1(nonce ‖ created ‖ password)).
    Digest {
        /// The nonce, decoded.
        nonce: Vec<u8>,
        /// The time as written.
        created: String,
        /// The hash.
        digest: [u8; 20],
    },
}

#[derive(Clone)]
pub(crate) enum Offered {
    Secret(Secret),
    /// No password, or an empty one.
    Nothing,
    /// A salt: the password makes a key (1.1 §4), which lets anybody who sees a message guess at leisure.
    DerivedKey,
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text(_) => "Text",
            Self::Digest { .. } => "Digest",
        })
    }
}

impl Secret {
    /// Whether this is the password, or the equivalent of it that both sides keep. The comparison takes the same time
    /// wherever they differ; whoever does not know the user compares with something all the same.
    pub fn matches(&self, password: &[u8]) -> bool {
        match self {
            Self::Text(text) => {
                let of = |octets: &[u8]| replay::hash("password", [octets]);
                // Hashes, so that not even the length shows.
                verify_slices_are_equal(&of(text.as_bytes()), &of(password)).is_ok()
            }
            Self::Digest { nonce, created, digest } => verify_slices_are_equal(&password_digest(nonce, created, password), digest).is_ok(),
        }
    }
}

/// SHA-1(nonce ‖ created ‖ password), Username Token Profile §3.1: the nonce decoded, the time as written.
pub(crate) fn password_digest(nonce: &[u8], created: &str, password: &[u8]) -> [u8; 20] {
    let mut context = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    context.update(nonce);
    context.update(created.as_bytes());
    context.update(password);
    let mut out = [0; 20];
    out.iter_mut().zip(context.finish().as_ref()).for_each(|(to, from)| *to = *from);
    out
}

impl fmt::Debug for UsernameToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UsernameToken({})", self.kind())
    }
}

impl UsernameToken {
    /// The name that is claimed.
    pub fn username(&self) -> &str {
        &self.username
    }

    /// What is offered to prove it. Always there in a token that was accepted.
    pub fn secret(&self) -> Option<&Secret> {
        match &self.offered {
            Offered::Secret(secret) => Some(secret),
            Offered::Nothing | Offered::DerivedKey => None,
        }
    }

    /// Whether this is the password; see [`Secret::matches`].
    pub fn matches(&self, password: &[u8]) -> bool {
        self.secret().is_some_and(|secret| secret.matches(password))
    }

    pub(crate) fn offered(&self) -> &Offered {
        &self.offered
    }

    pub(crate) fn created(&self) -> Option<jiff::Timestamp> {
        self.created.as_ref().map(|(_, instant)| *instant)
    }

    pub(crate) fn kind(&self) -> &'static str {
        match &self.offered {
            Offered::Secret(Secret::Text(_)) => "PasswordText",
            Offered::Secret(Secret::Digest { .. }) => "PasswordDigest",
            Offered::Nothing => "no password",
            Offered::DerivedKey => "derived key",
        }
    }

    /// What has to be spent once the password held, if there is a nonce: before, anybody could spend the nonces of others.
    pub(crate) fn replay(&self, role: &str, window: &Window) -> Option<Replay> {
        let (nonce, (created, instant)) = (self.nonce.as_ref()?, self.created.as_ref()?);
        let key = replay::hash("wss username", [role.as_bytes(), self.username.as_bytes(), nonce, created.as_bytes()]);
        Some(Replay::Once { key, until: window.end_of(*instant) })
    }

    pub(crate) fn read(element: View<'_>, era: Era) -> Result<Self, XmlError> {
        let extension = era.extension();
        for child in element.children() {
            let known = match child.namespace() {
                namespace if namespace == extension => matches!(child.local(), "Username" | "Password" | "Nonce"),
                namespace if Some(namespace) == era.utility() => child.local() == "Created",
                namespace if namespace == WSSE11 => matches!(child.local(), "Salt" | "Iteration"),
                // The schema lets others add their own; nothing is read from it.
                namespace => !Era::knows(namespace),
            };
            if !known {
                return Err(child.unreadable("an element that a UsernameToken does not have"));
            }
        }
        let username = element.child(extension, "Username")?.ok_or_else(|| element.unreadable("a UsernameToken without Username"))?;
        let name = username.text()?;
        if name.is_empty() || name.len() > LONGEST_NAME || name.chars().any(char::is_control) {
            return Err(username.unreadable("a name that is empty, too long or not printable"));
        }
        let nonce = element.child(extension, "Nonce")?.map(|nonce| read_nonce(nonce, era)).transpose()?;
        let created = era.utility().map(|utility| element.child(utility, "Created")).transpose()?.flatten();
        let created = created.map(read_created).transpose()?;
        let salted = element.child(WSSE11, "Salt")?.is_some() || element.child(WSSE11, "Iteration")?.is_some();
        let offered = match element.child(extension, "Password")? {
            Some(password) if salted => return Err(password.unreadable("a Password beside a Salt")),
            None if salted => Offered::DerivedKey,
            None => Offered::Nothing,
            Some(password) => read_password(password, era, nonce.as_deref(), created.as_ref())?,
        };
        Ok(Self { place: element.place(), username: name.into_owned(), offered, nonce, created })
    }
}

/// Octets of a user name.
const LONGEST_NAME: usize = 1024;
/// Octets of a password.
const LONGEST_PASSWORD: usize = 4096;
/// Octets of a nonce: fewer repeat, more are a load (attack 65).
const NONCE: std::ops::RangeInclusive<usize> = 8..=64;

fn read_nonce(element: View<'_>, era: Era) -> Result<Vec<u8>, XmlError> {
    if let Some(encoding) = element.attribute("", "EncodingType")
        && !is_named(encoding, BASE64, "Base64Binary", era)
    {
        return Err(element.unreadable("a Nonce of another encoding"));
    }
    let nonce = base64(element, *NONCE.end())?;
    if NONCE.contains(&nonce.len()) { Ok(nonce) } else { Err(element.unreadable("a Nonce that is too short")) }
}

fn read_created(element: View<'_>) -> Result<(String, jiff::Timestamp), XmlError> {
    let text = element.text()?.into_owned();
    let instant = time::parse(&text).ok_or_else(|| element.unreadable("a time that is no instant in UTC"))?;
    Ok((text, instant))
}

fn read_password(
    element: View<'_>,
    era: Era,
    nonce: Option<&[u8]>,
    created: Option<&(String, jiff::Timestamp)>,
) -> Result<Offered, XmlError> {
    // §3.1: without a type it is text.
    let kind = element.attribute("", "Type").unwrap_or(PASSWORD_TEXT);
    if element.attributes().any(|(namespace, local, _)| local == "Type" && !namespace.is_empty()) {
        return Err(element.unreadable("a Type in a namespace"));
    }
    if is_named(kind, PASSWORD_TEXT, "PasswordText", era) {
        let text = element.text()?;
        if text.len() > LONGEST_PASSWORD {
            return Err(element.unreadable("a password longer than the limit"));
        }
        if text.is_empty() {
            return Ok(Offered::Nothing);
        }
        return Ok(Offered::Secret(Secret::Text(Zeroizing::new(text.into_owned()))));
    }
    if !is_named(kind, PASSWORD_DIGEST, "PasswordDigest", era) {
        return Err(element.unreadable("a password of an unknown type"));
    }
    let (Some(nonce), Some((created, _))) = (nonce, created) else {
        return Err(element.unreadable("a digest without Nonce or Created"));
    };
    let digest = base64(element, 20)?.try_into().map_err(|_| element.unreadable("a digest of another length"))?;
    Ok(Offered::Secret(Secret::Digest { nonce: nonce.to_vec(), created: created.clone(), digest }))
}

/// The standard has a URI; the drafts a qualified name, whose prefix nothing is made of.
fn is_named(value: &str, uri: &str, local: &str, era: Era) -> bool {
    match era {
        Era::Standard => value == uri,
        Era::Draft200204 | Era::Draft200207 | Era::Draft200212 | Era::Draft200306 => {
            value.split_once(':').is_some_and(|(prefix, name)| name == local && !prefix.is_empty()) || value == local || value == uri
        }
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use vestibule_xmlsec::{Document, FromClaimed, Limits};

    use super::*;
    use crate::namespaces::{WSSE, WSU};

    struct Claim(UsernameToken);

    impl FromClaimed for Claim {
        fn from_claimed(root: View<'_>) -> Result<Self, XmlError> {
            UsernameToken::read(root, Era::of_extension(root.namespace()).unwrap()).map(Self)
        }
    }

    fn read_of(era: Era, inside: &str) -> Result<UsernameToken, XmlError> {
        let utility = era.utility().unwrap_or(WSU);
        let text = format!("<w:UsernameToken xmlns:w='{}' xmlns:u='{utility}'>{inside}</w:UsernameToken>", era.extension());
        Ok(Document::parse(text.as_bytes(), &Limits::MESSAGE)?.claim::<Claim>()?.sender_says().0.clone())
    }

    fn read(inside: &str) -> Result<UsernameToken, XmlError> {
        read_of(Era::Standard, inside)
    }

    const NAME: &str = "<w:Username>orders-bot</w:Username>";
    const NONCE: &str = "<w:Nonce>AAECAwQFBgcICQoLDA0ODw==</w:Nonce>";
    const CREATED: &str = "<u:Created>2026-01-02T03:04:05Z</u:Created>";

    fn digest(value: &str) -> String {
        format!("<w:Password Type='{PASSWORD_DIGEST}'>{value}</w:Password>")
    }

    fn text(value: &str) -> String {
        format!("<w:Password Type='{PASSWORD_TEXT}'>{value}</w:Password>")
    }

    #[test]
    fn digests_are_those_of_the_reference() {
        // §6.4 of the reference.
        for (password, expected) in [
            ("verifyMe-7".as_bytes().to_vec(), "AeEM6zuq/Ng5SpVLzURFJqvTnsk="),
            ("pässwörd".as_bytes().to_vec(), "E39PJWjG8ZiTrvKk/6LcbAi4tEs="),
            (STANDARD.decode("qqzNNNv2tcYNjJ/jI4j9Ae+Azzw=").unwrap(), "qX0UdlGPnEe30t78q5V30Jkhug0="),
            ("qqzNNNv2tcYNjJ/jI4j9Ae+Azzw=".as_bytes().to_vec(), "WU/uImQ/Qe3O0qdqdw8YOsdtG9g="),
        ] {
            let token = read(&format!("{NAME}{}{NONCE}{CREATED}", digest(expected))).unwrap();
            assert!(token.matches(&password) && !token.matches(b"another"));
        }
        let undecoded = read(&format!("{NAME}{}{NONCE}{CREATED}", digest("wFqSROWvS+klSwARKL13EoWyfLc="))).unwrap();
        assert!(!undecoded.matches(b"verifyMe-7"));
    }

    #[test]
    fn text_is_compared_whole() {
        let token = read(&format!("{NAME}{}", text("p&#228;ss &amp; &lt;w>"))).unwrap();
        assert!(token.matches("päss & <w>".as_bytes()));
        for wrong in ["", "p", "päss & <w> ", "päss & <w>\0"] {
            assert!(!token.matches(wrong.as_bytes()));
        }
        assert!(read(&format!("{NAME}<w:Password>x</w:Password>")).unwrap().matches(b"x"));
    }

    #[test]
    fn a_name_alone_offers_nothing() {
        for nothing in [String::new(), text(""), "<w:Password/>".to_owned()] {
            let token = read(&format!("{NAME}{nothing}")).unwrap();
            assert!(token.secret().is_none() && !token.matches(b""), "{nothing}");
        }
        let salt = format!("<y:Salt xmlns:y='{WSSE11}'>AQ==</y:Salt>");
        assert_eq!(read(&format!("{NAME}{salt}")).unwrap().kind(), "derived key");
        assert!(read(&format!("{NAME}{salt}{}", text("x"))).is_err());
    }

    #[test]
    fn what_is_malformed_is_refused() {
        let good = digest("AeEM6zuq/Ng5SpVLzURFJqvTnsk=");
        for wrong in [
            text("x"),
            format!("<w:Username/>{}", text("x")),
            format!("{NAME}{NAME}{}", text("x")),
            format!("{NAME}{}{}", text("x"), text("x")),
            format!("{NAME}{good}{NONCE}"),
            format!("{NAME}{good}{CREATED}"),
            format!("{NAME}{good}{CREATED}{NONCE}{NONCE}"),
            format!("{NAME}{good}{CREATED}<w:Nonce>!</w:Nonce>"),
            format!("{NAME}{good}{CREATED}<w:Nonce>AAAA</w:Nonce>"),
            format!("{NAME}{good}{CREATED}<w:Nonce>{}</w:Nonce>", "AAAA".repeat(22)),
            format!("{NAME}{good}{CREATED}<w:Nonce EncodingType='x'>AAECAwQFBgcICQoLDA0ODw==</w:Nonce>"),
            format!("{NAME}{}{NONCE}{CREATED}", digest("AAAA")),
            format!("{NAME}{}{NONCE}<u:Created>yesterday</u:Created>", digest("AeEM6zuq/Ng5SpVLzURFJqvTnsk=")),
            format!("{NAME}<w:Password Type='w:PasswordText'>x</w:Password>"),
            format!("{NAME}<w:Password w:Type='{PASSWORD_TEXT}'>x</w:Password>"),
            format!("{NAME}<w:Password Type='urn:x'>x</w:Password>"),
            format!("{NAME}{}<w:Hint/>", text("x")),
            format!("<w:Username>a<!-- -->b</w:Username>{}", text("x")),
            format!("{NAME}{}", text("a<![CDATA[b]]>")),
            format!("{NAME}{}", text(&"x".repeat(LONGEST_PASSWORD + 1))),
            format!("{NAME}<d:Password xmlns:d='{}'>x</d:Password>", Era::Draft200306.extension()),
        ] {
            assert!(read(&wrong).is_err(), "{wrong}");
        }
        assert!(read(&format!("{NAME}{}<x:Note xmlns:x='urn:x'/>", text("x"))).is_ok());
    }

    #[test]
    fn drafts_name_types_by_qualified_names() {
        let plain = format!("{NAME}<w:Password Type='w:PasswordText'>x</w:Password>");
        for era in Era::ALL {
            assert_eq!(read_of(era, &plain).is_ok(), era != Era::Standard, "{era:?}");
        }
        let digest = format!("{NAME}<w:Password Type='w:PasswordDigest'>AeEM6zuq/Ng5SpVLzURFJqvTnsk=</w:Password>{NONCE}{CREATED}");
        assert!(read_of(Era::Draft200212, &digest).unwrap().matches(b"verifyMe-7"));
        // Without a utility namespace there is no time, so no digest.
        assert!(read_of(Era::Draft200204, &digest).is_err());
    }

    #[test]
    fn a_nonce_is_spent_for_its_user_role_and_time() {
        let key = |role: &str, inside: &str| {
            let token = read(&format!("{inside}{}", digest("AeEM6zuq/Ng5SpVLzURFJqvTnsk="))).unwrap();
            match token.replay(role, &Window::default()).unwrap() {
                Replay::Once { key, until } => (key, until),
                Replay::Bound { .. } => unreachable!(),
            }
        };
        let first = key("", &format!("{NAME}{NONCE}{CREATED}"));
        assert_eq!(first.1, "2026-01-02T03:09:06Z".parse().unwrap());
        // Written otherwise, the same nonce is the same.
        assert_eq!(first, key("", &format!("{CREATED}{}{NAME}", NONCE.replace("AAEC", "AA\nEC"))));
        assert_ne!(first.0, key("r", &format!("{NAME}{NONCE}{CREATED}")).0);
        assert_ne!(first.0, key("", &format!("{}{NONCE}{CREATED}", NAME.replace("bot", "bob"))).0);
        assert!(read(&format!("{NAME}{}", text("x"))).unwrap().replay("", &Window::default()).is_none());
        let shown = format!("{:?}", read(&format!("{NAME}{}", text("wonderland"))).unwrap());
        assert!(!shown.contains("wonder") && !shown.contains("orders"), "{shown}");
        assert!(WSSE.starts_with("http"));
    }
}

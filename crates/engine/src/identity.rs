//! Who somebody is: names, users, and the identity a request carries after admission.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization;
use uuid::Uuid;

use crate::clock::Timestamp;
use crate::secret::Secret;
use crate::session::SessionRef;

/// Longest user name we accept, in octets.
pub const MAX_USERNAME: usize = 256;
/// Longest password we accept, in octets.
pub const MAX_PASSWORD: usize = 1024;

/// Declares a short, cheap-to-clone name that cannot be mixed up with another kind of name.
macro_rules! names {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        // Hash and order are those of the text, so that a look-up by text needs no name of its own.
        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(name: &str) -> Self {
                Self(name.into())
            }
        }

        impl From<Arc<str>> for $name {
            fn from(name: Arc<str>) -> Self {
                Self(name)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }
    )+};
}

names! {
    /// A tenant, as the configuration calls it.
    TenantId,
    /// A scheme of a chain, as the configuration calls it.
    SchemeName,
    /// A store that checks passwords, as the configuration calls it.
    RealmName,
    /// Whoever vouches for a subject: a realm, an identity provider, a foreign session service.
    Issuer,
    /// A policy's `@id`.
    PolicyId,
    /// A response a permit may name.
    ResponseName,
    /// A route, as the configuration calls it, or `route-N` by its place.
    RouteName,
    /// A group of users.
    GroupName,
    /// A profile: the kind of user that decides which rules apply.
    ProfileName,
}

/// A user name, normalised (RFC 8265 §3.3, UsernameCaseMapped in spirit): NFKC and lower case.
///
/// Look-up and failure counters use this one form, or an attacker gets a fresh counter per spelling (attack 99).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Username(Arc<str>);

impl Username {
    /// Normalises what somebody typed. `None` if it is empty, too long, contains control characters,
    /// or is the reserved name `anonymous`.
    pub fn parse(typed: &str) -> Option<Self> {
        if typed.len() > MAX_USERNAME {
            return None;
        }
        let name: String = typed.nfkc().flat_map(char::to_lowercase).nfkc().collect();
        let name = name.trim();
        let fits = !name.is_empty() && name.len() <= MAX_USERNAME && !name.chars().any(char::is_control);
        (fits && name != "anonymous").then(|| Self(name.into()))
    }

    /// The normalised name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Username {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Username {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

/// A password as offered, in NFC (RFC 8265 §4.2, OpaqueString), never case-mapped.
///
/// `None` if it is too long. An empty one is kept; whoever checks it must refuse it.
pub fn password(typed: &str) -> Option<Secret<String>> {
    (typed.len() <= MAX_PASSWORD).then(|| Secret::new(typed.nfc().collect()))
}

/// A user's number, stable through renames.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UserId(pub Uuid);

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A user as the durable store keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// Its number.
    pub id: UserId,
    /// The tenant it belongs to.
    pub tenant: TenantId,
    /// Its login name.
    pub name: Username,
    /// The name to show.
    pub display_name: Option<String>,
    /// Its address for mail; never used to find a user across issuers.
    pub email: Option<String>,
    /// The groups it is in.
    pub groups: Vec<GroupName>,
    /// The profile that decides which rules apply.
    pub profile: ProfileName,
    /// Whether it may enter.
    pub state: AccountState,
    /// The password must be changed before anything else.
    pub must_change_password: bool,
    /// An emergency account: local realm only, from listed addresses, never federated.
    pub break_glass: bool,
    /// Raised by everything that must end this user's sessions.
    pub epoch: u64,
    /// The password's hash in PHC form; none for users who sign in elsewhere.
    #[serde(skip)]
    pub password: Option<PasswordHash>,
    /// What others call this user.
    pub external_ids: Vec<ExternalId>,
    /// When it was made.
    pub created: Timestamp,
}

impl User {
    /// The profile of those who administer the installation.
    pub const ADMINISTRATOR: &'static str = "administrator";

    /// Whether this is a break-glass or administrator account: local realm only, from listed addresses.
    pub fn is_operator(&self) -> bool {
        self.break_glass || self.profile.as_str() == Self::ADMINISTRATOR
    }
}

/// Whether an account may enter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccountState {
    /// It may.
    Active,
    /// An administrator closed it.
    Disabled,
    /// Closed until an administrator opens it.
    Locked,
    /// Its time is over.
    Expired,
}

/// What an issuer calls a user: federation id, directory id, foreign user id, certificate.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ExternalId {
    /// Who calls it so.
    pub issuer: Issuer,
    /// The name; compared octet by octet.
    pub id: String,
}

/// A password hash in PHC string form. Its `Debug` is redacted: a hash is a licence to guess offline.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(pub String);

impl PasswordHash {
    /// How the hash of another system begins while it rests sealed, waiting to be wrapped in one of ours.
    pub const SEALED: &str = "$vestibule-sealed$";
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<hash>")
    }
}

/// How strongly somebody proved who they are; higher is stronger. A password is 10.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Level(pub u8);

/// What is known of a subject beside its user record: the values an issuer stated at this login.
pub type Attributes = BTreeMap<String, Vec<String>>;

/// Somebody whose proof was admitted. Made only by [`crate::admission::Admission`] and by a live session.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The user as it stands now.
    pub user: Arc<User>,
    /// The scheme that recognised them in this request.
    pub scheme: SchemeName,
    /// The method by which they first proved themselves: for a session, the scheme of its login.
    pub method: SchemeName,
    /// Who vouched.
    pub issuer: Issuer,
    /// How strongly.
    pub level: Level,
    /// When.
    pub authenticated_at: Timestamp,
    /// What the issuer stated.
    pub attributes: Arc<Attributes>,
    /// The session that carries this identity, if one does.
    pub session: Option<SessionRef>,
    /// The credential is one that a browser sends by itself, so that foreign pages can make it send.
    pub ambient: bool,
    /// The address of the client who proved it; of a session, that of its login.
    pub from: Option<IpAddr>,
}

impl Identity {
    /// The tenant this identity is valid in.
    pub fn tenant(&self) -> &TenantId {
        &self.user.tenant
    }
}

/// Who a grant is for.
#[derive(Debug, Clone)]
pub enum Principal {
    /// Somebody we know.
    Known(Arc<Identity>),
    /// Nobody we know, on an open route.
    Anonymous,
}

impl Principal {
    /// The identity, if there is one.
    pub fn identity(&self) -> Option<&Arc<Identity>> {
        match self {
            Self::Known(identity) => Some(identity),
            Self::Anonymous => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_names_have_one_spelling() {
        let ada = Username::parse("ada").unwrap();
        for typed in ["ADA", " Ada ", "\u{ff21}da", "\u{1d552}da"] {
            assert_eq!(Username::parse(typed).unwrap(), ada, "{typed}");
        }
        for typed in ["", "  ", "a\0b", "a\nb", "anonymous", "Anonymous", &"x".repeat(257)] {
            assert_eq!(Username::parse(typed), None, "{typed}");
        }
    }
}

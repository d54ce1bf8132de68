//! What the command line and a running server say to each other: one JSON object per line, one reply per
//! request, over the admin socket.
//!
//! Requests and replies may carry a password: lines are zeroed after use and never logged. The enums are
//! externally tagged so that serde reads them without copying values into a buffer of its own.

use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncWrite, AsyncWriteExt};
use zeroize::Zeroizing;

use vestibule_engine::Timestamp;
use vestibule_engine::audit::{Decided, Recorded};
use vestibule_engine::identity::{AccountState, ExternalId, User};
use vestibule_engine::request::{ClientKind, RequestId};
use vestibule_engine::secret::Secret;
use vestibule_engine::store::{KeyRecord, KeyState};

/// The version of the protocol. Both sides are one binary; a mismatch means that one of them is older.
pub const VERSION: u8 = 1;
/// Longest request, in octets.
pub const MAX_REQUEST: usize = 1024 * 1024;
/// Longest reply, in octets.
pub const MAX_REPLY: usize = 16 * 1024 * 1024;
/// Users, sessions or keys in one reply.
pub const PAGE: usize = 500;
/// Users in one request of an import.
pub const BATCH: usize = 1000;

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum AdminRequest {
    /// How the server is.
    Status,
    /// Read the configuration again.
    Reload,
    /// Add a user.
    UserAdd(NewUser),
    /// Users in name order, a page at a time.
    UserList {
        /// Of which tenant.
        tenant: Option<String>,
        /// Of which group.
        group: Option<String>,
        /// After which name.
        after: Option<String>,
    },
    /// One user.
    UserShow(Whom),
    /// Let a user in again.
    UserEnable(Whom),
    /// Keep a user out, and end all their sessions.
    UserDisable(Whom),
    /// Remove a user, and end all their sessions.
    UserDelete(Whom),
    /// Give a user another password, and end all their sessions.
    UserPasswd {
        /// Whose.
        user: Whom,
        /// Which.
        password: NewPassword,
        /// Whether they must change it first thing.
        must_change: bool,
    },
    /// Let an issuer's subject be a user.
    UserLink {
        /// Who.
        user: Whom,
        /// How the issuer calls them.
        id: ExternalId,
    },
    /// Let it be the user no longer, and end all their sessions.
    UserUnlink {
        /// Who.
        user: Whom,
        /// How the issuer calls them.
        id: ExternalId,
    },
    /// Add many users, or see what would become of them.
    UserImport {
        /// To which tenant.
        tenant: Option<String>,
        /// At most [`BATCH`].
        users: Vec<ImportedUser>,
        /// Write nothing.
        dry_run: bool,
    },
    /// Users with all they are, in name order, a page at a time.
    UserExport {
        /// Of which tenant.
        tenant: Option<String>,
        /// Of which group.
        group: Option<String>,
        /// After which name.
        after: Option<String>,
        /// Whether with their password hashes.
        hashes: bool,
    },
    /// Copy the store into a file beside it, which the asker takes away.
    Backup,
    /// All signing keys.
    KeyList,
    /// Move every key of a purpose on by one place.
    KeyRotate {
        /// What the keys are for.
        purpose: String,
    },
    /// Take a private key of another system as the next one of a purpose.
    KeyImport {
        /// What it is for.
        purpose: String,
        /// The key in PKCS#8 form, in base64.
        pkcs8: Confidential,
    },
    /// Void a key and what it signed.
    KeyRevoke {
        /// Which.
        id: String,
    },
    /// The live sessions of a user.
    SessionList(Whom),
    /// End one session of a user, or all.
    SessionEnd {
        /// Whose.
        user: Whom,
        /// Which; all if none.
        session: Option<String>,
    },
    /// How a request was decided.
    ExplainId {
        /// Which request.
        id: RequestId,
    },
    /// How a request would be decided.
    Explain(Synthetic),
}

/// A user by name. The tenant may be left out where there is only one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Whom {
    /// The tenant.
    pub tenant: Option<String>,
    /// The name, as typed.
    pub name: String,
}

/// A user to add.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewUser {
    /// Tenant and name.
    pub user: Whom,
    /// The name to show.
    pub display_name: Option<String>,
    /// The address for mail.
    pub email: Option<String>,
    /// The groups.
    pub groups: Vec<String>,
    /// The profile.
    pub profile: String,
    /// Whether the password must be changed first thing.
    pub must_change_password: bool,
    /// Whether it is an emergency account.
    pub break_glass: bool,
    /// The first password.
    pub password: NewPassword,
}

/// A user of another system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImportedUser {
    /// The login name, as that system writes it.
    pub name: String,
    /// The name to show.
    pub display_name: Option<String>,
    /// The address for mail.
    pub email: Option<String>,
    /// The groups.
    pub groups: Vec<String>,
    /// The profile.
    pub profile: String,
    /// Whether the account may enter.
    pub state: AccountState,
    /// Whether the password must be changed first thing.
    pub must_change_password: bool,
    /// Whether it is an emergency account.
    pub break_glass: bool,
    /// What others call the user.
    pub external_ids: Vec<ExternalId>,
    /// When the account was made, if that is known.
    pub created: Option<Timestamp>,
    /// The hash of the password, as that system writes it.
    pub password_hash: Option<Confidential>,
}

/// What became, or would become, of a user of another system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// It was added.
    Added,
    /// It is there already, as it would be added.
    Present,
    /// It was not added, and this is why.
    Refused(String),
}

/// A user as it leaves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportedUser {
    /// The user.
    pub user: User,
    /// The hash of the password, if it was asked for.
    pub password_hash: Option<Confidential>,
}

/// Where a password comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NewPassword {
    /// It was typed.
    Given(Confidential),
    /// Its hash, as another system made it.
    Hash(Confidential),
    /// The server makes one and says it once.
    Generate,
    /// There is none: the user signs in elsewhere.
    None,
}

/// A request that nobody sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Synthetic {
    /// The method.
    pub method: String,
    /// The URL with scheme and host.
    pub url: String,
    /// Header fields in order.
    pub headers: Vec<(String, Confidential)>,
    /// The address it seems to come from; loopback if none.
    pub from: Option<std::net::IpAddr>,
}

/// Text that is shown to nobody on the way.
#[derive(Clone, PartialEq, Eq)]
pub struct Confidential(pub Secret<String>);

impl fmt::Debug for Confidential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Confidential {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.reveal())
    }
}

impl<'de> Deserialize<'de> for Confidential {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(Secret::new(text)))
    }
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AdminReply {
    /// How the server is.
    Status(Status),
    /// The configuration was read again and is in force.
    Reloaded,
    /// A user as it stands now; with the password, if one was made.
    User {
        /// The user.
        user: User,
        /// Said this once.
        password: Option<Confidential>,
    },
    /// Users, and whether there are more.
    Users {
        /// A page of them.
        users: Vec<User>,
        /// Whether there are more after the last.
        more: bool,
    },
    /// What became of each user, in the order of the request.
    Imported(Vec<Fate>),
    /// Users with all they are, and whether there are more.
    Exported {
        /// A page of them.
        users: Vec<ExportedUser>,
        /// Whether there are more after the last.
        more: bool,
    },
    /// The store was copied.
    Copied {
        /// Into this file.
        file: std::path::PathBuf,
    },
    /// Signing keys.
    Keys(Vec<KeyView>),
    /// Live sessions.
    Sessions(Vec<SessionView>),
    /// So many sessions were ended.
    Ended {
        /// How many.
        sessions: u64,
    },
    /// A logged decision.
    Decision(Box<Recorded>),
    /// What would be decided.
    Explanation(Box<Explanation>),
    /// It was not done.
    Refused(Refusal),
}

/// How a server is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Its version.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// When its admin socket was opened.
    pub started: Timestamp,
    /// Its tenants, in name order.
    pub tenants: Vec<String>,
    /// How many routes it has.
    pub routes: usize,
    /// Why it judges nothing at the moment, if it does not.
    pub stopped: Option<String>,
    /// How many audit records it lost since it began.
    pub audit_lost: u64,
}

/// A signing key without its private part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyView {
    /// Its id.
    pub id: String,
    /// What it is for.
    pub purpose: String,
    /// Its algorithm.
    pub algorithm: String,
    /// Its place in the rotation.
    pub state: KeyState,
    /// When it was made.
    pub created: Timestamp,
    /// When it last changed its place.
    pub changed: Timestamp,
}

impl From<KeyRecord> for KeyView {
    fn from(key: KeyRecord) -> Self {
        let KeyRecord { id, purpose, algorithm, state, created, changed, public: _, sealed: _ } = key;
        Self { id, purpose, algorithm, state, created, changed }
    }
}

/// A live session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionView {
    /// Its hash: enough to end it.
    pub id: String,
    /// The login it descends from.
    pub login: String,
    /// When it was opened.
    pub opened: Timestamp,
    /// When it ends at the latest.
    pub until: Timestamp,
}

/// What would be decided, and what would come of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// Whose request it is.
    pub tenant: Option<String>,
    /// What would be recorded.
    pub decided: Decided,
    /// Whether anonymous may pass the route.
    pub open: Option<bool>,
    /// What went wrong, in words for the operator.
    pub detail: Option<String>,
    /// Where it would go.
    pub destination: Option<String>,
    /// What the application would be told.
    pub injected: Vec<Told>,
    /// What would never reach the application: of this request's own parts.
    pub stripped: Vec<String>,
    /// Whether a session would be opened.
    pub opens_session: bool,
    /// The answer for each kind of client; the kind this request looks like comes first.
    pub answers: Vec<(ClientKind, String)>,
}

/// A header the application would be told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Told {
    /// The header.
    pub header: String,
    /// Its value.
    pub value: Value,
}

/// A value as far as it may be shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Value {
    /// As it is.
    Text(String),
    /// The claims of a signed token. The token itself would be a credential.
    Claims(serde_json::Value),
    /// A secret.
    Withheld,
}

/// Why it was not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// There is no such thing.
    #[error("{0}")]
    NotFound(String),
    /// It cannot be done so.
    #[error("{0}")]
    Invalid(String),
    /// Something the server depends on did not answer.
    #[error("{0}")]
    Unavailable(String),
}

impl From<vestibule_engine::scheme::Unavailable> for Refusal {
    fn from(down: vestibule_engine::scheme::Unavailable) -> Self {
        Self::Unavailable(down.to_string())
    }
}

/// Why a line could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The socket failed.
    #[error("the connection failed: {0}")]
    Io(#[from] std::io::Error),
    /// The line is too long.
    #[error("the message is longer than {0} octets")]
    TooLong(usize),
    /// The line is not of this protocol. The parser's own words could quote a password.
    #[error("the message cannot be read (line {line}, column {column})")]
    Unreadable {
        /// Where in the message.
        line: usize,
        /// Where in the line.
        column: usize,
    },
    /// The other side is of another version.
    #[error("the other side speaks version {0} of the admin protocol, this one version {VERSION}")]
    Version(u8),
}

#[derive(Serialize, Deserialize)]
struct Line<T> {
    v: u8,
    body: T,
}

#[derive(Deserialize)]
struct Head {
    v: u8,
}

/// Writes one line.
///
/// # Errors
/// [`Error::Io`].
pub async fn send<T: Serialize>(to: &mut (impl AsyncWrite + Unpin), body: T) -> Result<(), Error> {
    let mut line = Zeroizing::new(Vec::new());
    serde_json::to_writer(&mut *line, &Line { v: VERSION, body }).map_err(std::io::Error::from)?;
    line.push(b'\n');
    to.write_all(&line).await?;
    to.flush().await?;
    Ok(())
}

/// Reads one line of at most `most` octets; `None` at the end.
///
/// # Errors
/// An [`Error`] of any kind; the connection is of no use any more.
pub async fn receive<T: DeserializeOwned>(from: &mut (impl AsyncBufRead + Unpin), most: usize) -> Result<Option<T>, Error> {
    let mut line = Zeroizing::new(Vec::new());
    loop {
        let available = from.fill_buf().await?;
        if available.is_empty() {
            if line.is_empty() {
                return Ok(None);
            }
            return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
        }
        let newline = available.iter().position(|octet| *octet == b'\n');
        let taken = newline.map_or(available.len(), |at| at + 1);
        if line.len() + taken > most {
            return Err(Error::TooLong(most));
        }
        line.extend(available.iter().take(taken));
        from.consume(taken);
        if newline.is_some() {
            return parse(&line).map(Some);
        }
    }
}

fn parse<T: DeserializeOwned>(line: &[u8]) -> Result<T, Error> {
    match serde_json::from_slice::<Line<T>>(line) {
        Ok(Line { v: VERSION, body }) => Ok(body),
        Ok(Line { v, .. }) => Err(Error::Version(v)),
        Err(error) => match serde_json::from_slice::<Head>(line) {
            Ok(Head { v }) if v != VERSION => Err(Error::Version(v)),
            Ok(Head { .. }) | Err(_) => Err(Error::Unreadable { line: error.line(), column: error.column() }),
        },
    }
}

/// Whether an account may enter, in words.
pub const fn state_label(state: AccountState) -> &'static str {
    match state {
        AccountState::Active => "active",
        AccountState::Disabled => "disabled",
        AccountState::Locked => "locked",
        AccountState::Expired => "expired",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn round_trip<T: Serialize + DeserializeOwned>(value: &T) -> Result<Option<T>, Error> {
        let mut line = Vec::new();
        send(&mut line, value).await.unwrap();
        assert_eq!(line.iter().filter(|octet| **octet == b'\n').count(), 1);
        receive(&mut line.as_slice(), MAX_REQUEST).await
    }

    #[tokio::test]
    async fn requests_and_replies_survive_the_way() {
        let user = Whom { tenant: Some("north".into()), name: "ada\nlovelace".into() };
        let password = NewPassword::Given(Confidential(Secret::from("hunter2")));
        let request = AdminRequest::UserPasswd { user, password, must_change: true };
        assert!(!format!("{request:?}").contains("hunter2"));
        assert_eq!(round_trip(&request).await.unwrap(), Some(request));
        let reply = AdminReply::Refused(Refusal::NotFound("no such user".into()));
        assert_eq!(round_trip(&reply).await.unwrap(), Some(reply));
        assert_eq!(round_trip(&AdminRequest::Status).await.unwrap(), Some(AdminRequest::Status));
    }

    #[tokio::test]
    async fn what_is_not_of_this_protocol_is_refused_without_quoting_it() {
        let read = async |line: &str| receive::<AdminRequest>(&mut line.as_bytes(), 200).await;
        assert!(matches!(read("").await, Ok(None)));
        assert!(matches!(read("{\"v\":2,\"body\":{\"new\":{}}}\n").await, Err(Error::Version(2))));
        assert!(matches!(read("{\"v\":2,\"body\":\"status\"}\n").await, Err(Error::Version(2))));
        assert!(matches!(read(&format!("{}\n", "x".repeat(300))).await, Err(Error::TooLong(200))));
        assert!(matches!(read("{\"v\":1").await, Err(Error::Io(_))));
        let error = read("{\"v\":1,\"body\":{\"hunter2\":{}}}\n").await.unwrap_err();
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}

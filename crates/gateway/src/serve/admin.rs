//! What administrators do to a running server, over a Unix socket.
//!
//! Whoever reaches this socket owns the installation: it makes administrators and sets passwords. So the
//! socket has mode 0600, and the kernel's word on the peer's user (`SO_PEERCRED`) must be our own user or root,
//! whatever has happened to the file's mode since. Every change is recorded with that user.

use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

use vestibule_engine::audit::{Ending, Event, Recorded, Trail, VERSION};
use vestibule_engine::clock::{Timestamp, random};
use vestibule_engine::engine::{Engine, Judgement};
use vestibule_engine::identity::{
    AccountState, ExternalId, GroupName, Identity, Level, PasswordHash, ProfileName, TenantId, User, UserId, Username, password,
};
use vestibule_engine::request::{CheckRequest, ClientKind, RequestId};
use vestibule_engine::secret::Secret;
use vestibule_engine::session::SessionRef;
use vestibule_engine::store::{ExpiringStore, HISTORY_KEPT, KeyRecord};
use vestibule_engine::users::Users;

use crate::realms::operators::{Operators, operators};

use protocol::{AdminReply, AdminRequest, Confidential, KeyView, NewPassword, NewUser, PAGE, Refusal, SessionView, Status, Whom};
use socket::Peer;

pub mod explain;
mod migration;
pub mod protocol;
pub mod socket;

/// Longest display name, mail address, group or profile, in octets.
const MAX_TEXT: usize = 256;
/// Most groups a user is added to at once.
const MAX_GROUPS: usize = 256;
/// Longest name of a user at an issuer, in octets: an issuer's distinguished name and a number.
const MAX_ID: usize = 2048;
/// Most such names of one user.
const MAX_IDS: usize = 64;
/// How often a change is tried when somebody else changes the same user.
const TRIES: usize = 3;
/// Characters of a password we make: 120 bits, unless the realm demands more characters.
const GENERATED: usize = 20;
/// The word for us where a scheme or an issuer is wanted.
const ADMIN: &str = "admin";

/// What the commands act on.
#[derive(Debug)]
pub struct Admin {
    /// The server itself.
    pub running: Arc<dyn Running>,
    /// Its users.
    pub users: Arc<Users>,
    /// What expires: `explain` reads it through a layer.
    pub expiring: Arc<dyn ExpiringStore>,
    /// Its signing keys.
    pub keys: Arc<dyn KeyAdmin>,
    /// What hashes passwords.
    pub passwords: Arc<dyn HashPassword>,
    /// When it began.
    pub started: Timestamp,
}

/// The running server.
#[async_trait]
pub trait Running: Debug + Send + Sync {
    /// The engine in force.
    fn engine(&self) -> Arc<Engine>;

    /// Opens the gates that guesses closed for a name, and forgets which passwords of it were wrong.
    async fn forgive(&self, tenant: &TenantId, name: &Username, trail: &mut Trail);

    /// An engine built from the configuration in force over another expiring store, for one judgement.
    /// What it learns must reach neither the caches nor the gates of the one in force, save through the store.
    ///
    /// # Errors
    /// A sentence that says why it could not be built.
    fn rehearse(&self, expiring: Arc<dyn ExpiringStore>) -> Result<Engine, String>;

    /// The answer this kind of client would see, in a line, e.g. `401, WWW-Authenticate: Basic`.
    fn preview(&self, request: &CheckRequest, judgement: &Judgement, kind: ClientKind) -> String;

    /// How many audit records were lost since it began.
    fn audit_lost(&self) -> u64;
    /// The key that seals the audit's file, if there is one.
    fn audit_key(&self) -> Option<String>;

    /// Copies the store into a new file beside it.
    ///
    /// # Errors
    /// [`Refusal::Invalid`] if that is not ours to do, [`Refusal::Unavailable`] if it failed.
    async fn copy(&self) -> Result<PathBuf, Refusal>;

    /// Reads the configuration again, and records `config.reloaded`.
    ///
    /// # Errors
    /// What is wrong with it; nothing has changed then.
    async fn reload(&self) -> Result<(), String>;
}

/// The signing keys, for those who administer them. Implementations record `key.rotated` themselves.
#[async_trait]
pub trait KeyAdmin: Debug + Send + Sync {
    /// All keys, oldest first.
    ///
    /// # Errors
    /// A [`Refusal`]; likewise for every other call.
    async fn list(&self) -> Result<Vec<KeyRecord>, Refusal>;
    /// Moves every key of a purpose on by one place. Returns the purpose's keys as they stand then.
    async fn rotate(&self, purpose: &str) -> Result<Vec<KeyRecord>, Refusal>;
    /// Takes a private key, in PKCS#8 form, as the next one of a purpose. Returns the purpose's keys as they stand then.
    async fn import(&self, purpose: &str, pkcs8: &Secret<Vec<u8>>) -> Result<Vec<KeyRecord>, Refusal>;
    /// Voids a key. Returns the keys of its purpose as they stand then.
    async fn revoke(&self, id: &str) -> Result<Vec<KeyRecord>, Refusal>;
}

/// Makes hashes of new passwords.
#[async_trait]
pub trait HashPassword: Debug + Send + Sync {
    /// Least characters of a new password of this tenant's users.
    fn minimum_length(&self, tenant: &TenantId) -> usize;

    /// The hash of a user's new password, in NFC, or why it will not do.
    ///
    /// # Errors
    /// [`Refusal::Invalid`] if it is too weak, [`Refusal::Unavailable`] if too much waits to be hashed.
    async fn hash(&self, tenant: &TenantId, name: &Username, password: &Secret<String>) -> Result<PasswordHash, Refusal>;

    /// A hash of another system as we store it, or why it will not do. How long its password is nobody knows.
    ///
    /// # Errors
    /// [`Refusal::Invalid`] if it is no hash we know, [`Refusal::Unavailable`] if too much waits to be hashed.
    async fn import(&self, text: &Secret<String>) -> Result<PasswordHash, Refusal>;

    /// The same at once: what takes time is done later, and nothing lies bare until then.
    ///
    /// # Errors
    /// [`Refusal::Invalid`] if it is no hash we know.
    fn seal(&self, text: &Secret<String>) -> Result<PasswordHash, Refusal>;

    /// A stored hash as another system reads it, or `None` if it cannot be opened.
    fn reveal(&self, stored: &PasswordHash) -> Option<Secret<String>>;
}

impl Admin {
    /// Does what is asked.
    pub async fn answer(&self, request: AdminRequest, peer: &Peer) -> AdminReply {
        self.act(request, peer).await.unwrap_or_else(AdminReply::Refused)
    }

    async fn act(&self, request: AdminRequest, peer: &Peer) -> Result<AdminReply, Refusal> {
        let engine = self.running.engine();
        let desk = Desk { admin: self, engine: &engine, peer };
        match request {
            AdminRequest::Status => Ok(AdminReply::Status(self.status(&engine))),
            AdminRequest::Reload => {
                desk.may_change()?;
                self.running.reload().await.map_err(Refusal::Invalid)?;
                desk.changed(None, "config.reload", "configuration".to_owned());
                Ok(AdminReply::Reloaded)
            }
            AdminRequest::UserAdd(new) => desk.add(new).await,
            AdminRequest::UserList { tenant, group, after } => desk.list(tenant.as_deref(), group.as_deref(), after.as_deref()).await,
            AdminRequest::UserShow(whom) => Ok(AdminReply::User { user: desk.user(&whom).await?, password: None }),
            AdminRequest::UserEnable(whom) => desk.enable(&whom).await,
            AdminRequest::UserDisable(whom) => desk.disable(&whom).await,
            AdminRequest::UserDelete(whom) => desk.delete(&whom).await,
            AdminRequest::UserPasswd { user, password, must_change } => desk.passwd(&user, password, must_change).await,
            AdminRequest::UserLink { user, id } => desk.link(&user, id).await,
            AdminRequest::UserUnlink { user, id } => desk.unlink(&user, &id).await,
            AdminRequest::UserImport { tenant, users, dry_run } => desk.import(tenant.as_deref(), users, dry_run).await,
            AdminRequest::UserExport { tenant, group, after, hashes } => {
                desk.export(tenant.as_deref(), group.as_deref(), after.as_deref(), hashes).await
            }
            AdminRequest::Backup => {
                desk.may_change()?;
                let file = self.running.copy().await?;
                desk.changed(None, "store.backup", "store".to_owned());
                Ok(AdminReply::Copied { file })
            }
            AdminRequest::KeyList => Ok(keys(self.keys.list().await?)),
            AdminRequest::KeyRotate { purpose } => {
                desk.may_change()?;
                let standing = self.keys.rotate(&purpose).await?;
                desk.changed(None, "key.rotate", purpose);
                Ok(keys(standing))
            }
            AdminRequest::KeyImport { purpose, pkcs8: Confidential(pkcs8) } => {
                desk.may_change()?;
                let octets = STANDARD.decode(pkcs8.reveal()).map_err(|_| Refusal::Invalid("the key is not in base64".to_owned()))?;
                let standing = self.keys.import(&purpose, &Secret::new(octets)).await?;
                desk.changed(None, "key.import", purpose);
                Ok(keys(standing))
            }
            AdminRequest::KeyRevoke { id } => {
                desk.may_change()?;
                let standing = self.keys.revoke(&id).await?;
                desk.changed(None, "key.revoke", id);
                Ok(keys(standing))
            }
            AdminRequest::SessionList(whom) => {
                let user = desk.user(&whom).await?;
                let sessions = engine.sessions.list(&user.tenant, user.id).await?;
                Ok(AdminReply::Sessions(sessions.iter().map(view).collect()))
            }
            AdminRequest::SessionEnd { user, session } => desk.end(&user, session.as_deref()).await,
            AdminRequest::History { of, tenant, user, most } => {
                let tenant = desk.tenant(tenant.as_deref())?;
                // Names are recorded as they are stored; what is no name is looked for as it stands.
                let user = user.map(|user| Username::parse(&user).map_or(user, |name| name.to_string()));
                let entries = self.users.store().history(of, &tenant, user.as_deref(), most.min(HISTORY_KEPT)).await?;
                Ok(AdminReply::History(entries))
            }
            AdminRequest::ExplainId { id } => match self.users.store().recorded(id).await? {
                Some(recorded) => Ok(AdminReply::Decision(Box::new(recorded))),
                None => Err(Refusal::NotFound(format!("no decision {id} is in the log: it is older than the log keeps, or not from here"))),
            },
            AdminRequest::Explain(synthetic) => desk.explain(&synthetic).await,
        }
    }

    fn status(&self, engine: &Engine) -> Status {
        let mut tenants: Vec<String> = engine.routes.tenants().map(|tenant| tenant.id.to_string()).collect();
        tenants.sort();
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            started: self.started,
            tenants,
            routes: engine.routes.len(),
            stopped: engine.sink.ready().err().map(|down| down.to_string()),
            audit_lost: self.running.audit_lost(),
            audit_key: self.running.audit_key(),
        }
    }
}

/// One command of one administrator.
struct Desk<'a> {
    admin: &'a Admin,
    engine: &'a Arc<Engine>,
    peer: &'a Peer,
}

impl Desk<'_> {
    /// What cannot be recorded is not done.
    fn may_change(&self) -> Result<(), Refusal> {
        Ok(self.engine.sink.ready()?)
    }

    fn changed(&self, tenant: Option<&TenantId>, action: &str, subject: String) {
        self.record(tenant, Event::AdminChanged { by: self.peer.to_string(), action: action.to_owned(), subject });
    }

    fn record(&self, tenant: Option<&TenantId>, event: Event) {
        let time = self.engine.clock.now();
        self.engine.sink.record(&Recorded { v: VERSION, time, request_id: None, client: None, tenant: tenant.cloned(), event });
    }

    fn tenant(&self, name: Option<&str>) -> Result<TenantId, Refusal> {
        let routes = &self.engine.routes;
        let listed = || {
            let mut names: Vec<&str> = routes.tenants().map(|tenant| tenant.id.as_str()).collect();
            names.sort_unstable();
            names.join(", ")
        };
        match name {
            Some(name) => match routes.tenant(&TenantId::from(name)) {
                Some(tenant) => Ok(tenant.id.clone()),
                None => Err(Refusal::NotFound(format!("there is no tenant `{name}`; there are: {}", listed()))),
            },
            None => {
                let mut tenants = routes.tenants();
                match (tenants.next(), tenants.next()) {
                    (Some(only), None) => Ok(only.id.clone()),
                    (_, _) => Err(Refusal::Invalid(format!("say which tenant with --tenant; there are: {}", listed()))),
                }
            }
        }
    }

    fn name(&self, whom: &Whom) -> Result<(TenantId, Username), Refusal> {
        let tenant = self.tenant(whom.tenant.as_deref())?;
        Ok((tenant, self.username(&whom.name)?))
    }

    fn username(&self, typed: &str) -> Result<Username, Refusal> {
        Username::parse(typed).ok_or_else(|| {
            Refusal::Invalid("that is no user name: it is empty, too long, has control characters, or is reserved".to_owned())
        })
    }

    async fn user(&self, whom: &Whom) -> Result<User, Refusal> {
        let (tenant, name) = self.name(whom)?;
        let found = self.admin.users.store().user_by_name(&tenant, &name).await?;
        found.ok_or_else(|| Refusal::NotFound(format!("there is no user `{name}` in tenant `{tenant}`")))
    }

    /// The hash of a new password, and the password if we made it.
    async fn hash(
        &self,
        tenant: &TenantId,
        name: &Username,
        new: NewPassword,
    ) -> Result<(Option<PasswordHash>, Option<Confidential>), Refusal> {
        let passwords = &self.admin.passwords;
        match new {
            NewPassword::None => Ok((None, None)),
            NewPassword::Generate => {
                let length = passwords.minimum_length(tenant).max(GENERATED);
                let mut made = Zeroizing::new(String::new());
                while made.len() < length {
                    made.push_str(&URL_SAFE_NO_PAD.encode(random::<15>()?));
                }
                // Base64 is ASCII.
                made.truncate(length);
                let made = Secret::new(made.to_string());
                Ok((Some(passwords.hash(tenant, name, &made).await?), Some(Confidential(made))))
            }
            NewPassword::Given(Confidential(typed)) => {
                let password = password(typed.reveal()).filter(|password| !password.reveal().is_empty());
                let password = password.ok_or_else(|| Refusal::Invalid("that password is empty or too long".to_owned()))?;
                Ok((Some(passwords.hash(tenant, name, &password).await?), None))
            }
            NewPassword::Hash(Confidential(text)) => Ok((Some(passwords.import(&text).await?), None)),
        }
    }

    async fn add(&self, new: NewUser) -> Result<AdminReply, Refusal> {
        self.may_change()?;
        let (tenant, name) = self.name(&new.user)?;
        fitting(new.groups.iter().chain([&new.profile]).chain(&new.display_name).chain(&new.email))?;
        let groups = groups(&new.groups)?;
        let now = self.engine.clock.now();
        let (hash, made) = self.hash(&tenant, &name, new.password).await?;
        let user = User {
            id: UserId(RequestId::new(now)?.0),
            tenant,
            name,
            display_name: new.display_name,
            email: new.email,
            groups,
            profile: ProfileName::from(new.profile.as_str()),
            state: AccountState::Active,
            must_change_password: new.must_change_password,
            break_glass: new.break_glass,
            epoch: 0,
            password: hash,
            external_ids: Vec::new(),
            created: now,
        };
        if !self.admin.users.store().insert_user(&user).await? {
            return Err(Refusal::Invalid(format!("there is a user `{}` in tenant `{}` already", user.name, user.tenant)));
        }
        self.changed(Some(&user.tenant), "user.add", label(&user));
        self.forgive(&user).await;
        Ok(AdminReply::User { user, password: made })
    }

    async fn list(&self, tenant: Option<&str>, group: Option<&str>, after: Option<&str>) -> Result<AdminReply, Refusal> {
        let tenant = self.tenant(tenant)?;
        let group = group.map(GroupName::from);
        let after = after.and_then(Username::parse);
        let mut users = self.admin.users.store().users(&tenant, group.as_ref(), after.as_ref(), PAGE + 1).await?;
        let more = users.len() > PAGE;
        users.truncate(PAGE);
        Ok(AdminReply::Users { users, more })
    }

    async fn enable(&self, whom: &Whom) -> Result<AdminReply, Refusal> {
        let user = self.update(whom, |user| user.state = AccountState::Active).await?;
        self.changed(Some(&user.tenant), "user.enable", label(&user));
        self.forgive(&user).await;
        Ok(AdminReply::User { user, password: None })
    }

    async fn disable(&self, whom: &Whom) -> Result<AdminReply, Refusal> {
        let user = self.shut_out(whom, "user.disable").await?;
        Ok(AdminReply::User { user, password: None })
    }

    /// Shut out first: if the removal fails, nobody is let in meanwhile.
    async fn delete(&self, whom: &Whom) -> Result<AdminReply, Refusal> {
        let user = self.shut_out(whom, "user.delete").await?;
        if !self.admin.users.store().remove_user(user.id).await? {
            return Err(Refusal::NotFound(format!("somebody else deleted {} just now", label(&user))));
        }
        Ok(AdminReply::User { user, password: None })
    }

    async fn shut_out(&self, whom: &Whom, action: &str) -> Result<User, Refusal> {
        self.keep_an_operator(&self.user(whom).await?).await?;
        let disable = |user: &mut User| {
            user.state = AccountState::Disabled;
            user.epoch += 1;
        };
        let user = self.update(whom, disable).await?;
        self.changed(Some(&user.tenant), action, label(&user));
        self.end_all(&user, Ending::Administrator).await?;
        Ok(user)
    }

    /// While passwords are checked elsewhere, the last account that is not is kept.
    async fn keep_an_operator(&self, user: &User) -> Result<(), Refusal> {
        if !user.is_operator() || !self.engine.admission.delegates() {
            return Ok(());
        }
        let tenants: Vec<TenantId> = self.engine.routes.tenants().map(|tenant| tenant.id.clone()).collect();
        match operators(&**self.admin.users.store(), &tenants, Some(user.id)).await? {
            Operators::Present => Ok(()),
            Operators::Missing | Operators::NobodyYet => Err(Refusal::Invalid(format!(
                "{} is the last account that could sign in while the service that checks passwords is down; add another one first",
                label(user)
            ))),
        }
    }

    async fn passwd(&self, whom: &Whom, new: NewPassword, must_change: bool) -> Result<AdminReply, Refusal> {
        self.may_change()?;
        let user = self.user(whom).await?;
        if self.engine.admission.is_delegated(&user) {
            let why = format!("the password of {} is checked by another service, and is changed there", label(&user));
            return Err(Refusal::Invalid(why));
        }
        let User { tenant, name, .. } = user;
        let (hash, made) = self.hash(&tenant, &name, new).await?;
        let set = |user: &mut User| {
            user.password.clone_from(&hash);
            user.must_change_password = must_change;
            user.epoch += 1;
        };
        let user = self.update(whom, set).await?;
        self.changed(Some(&user.tenant), "user.passwd", label(&user));
        self.forgive(&user).await;
        self.end_all(&user, Ending::PasswordChanged).await?;
        Ok(AdminReply::User { user, password: made })
    }

    async fn link(&self, whom: &Whom, id: ExternalId) -> Result<AdminReply, Refusal> {
        fits(&id)?;
        let user = self.user(whom).await?;
        if let Some(other) = self.admin.users.store().user_by_external_id(&user.tenant, &id).await?.filter(|other| other.id != user.id) {
            return Err(Refusal::Invalid(format!("that is `{}` already; unlink it there first", other.name)));
        }
        if user.external_ids.len() >= MAX_IDS {
            return Err(Refusal::Invalid(format!("a user is known by at most {MAX_IDS} names of issuers")));
        }
        let link = |user: &mut User| {
            if !user.external_ids.contains(&id) {
                user.external_ids.push(id.clone());
            }
        };
        let user = self.update(whom, link).await?;
        self.changed(Some(&user.tenant), "user.link", format!("{} is {} at {}", label(&user), id.id, id.issuer));
        Ok(AdminReply::User { user, password: None })
    }

    async fn unlink(&self, whom: &Whom, id: &ExternalId) -> Result<AdminReply, Refusal> {
        if !self.user(whom).await?.external_ids.contains(id) {
            return Err(Refusal::NotFound(format!("`{}` is not known by that name", whom.name)));
        }
        let unlink = |user: &mut User| {
            user.external_ids.retain(|known| known != id);
            user.epoch += 1;
        };
        let user = self.update(whom, unlink).await?;
        self.changed(Some(&user.tenant), "user.unlink", format!("{} is not {} at {}", label(&user), id.id, id.issuer));
        self.end_all(&user, Ending::Administrator).await?;
        Ok(AdminReply::User { user, password: None })
    }

    /// Changes a user, whoever else is changing it.
    async fn update(&self, whom: &Whom, change: impl Fn(&mut User)) -> Result<User, Refusal> {
        self.may_change()?;
        for _ in 0..TRIES {
            let user = self.user(whom).await?;
            let mut changed = user.clone();
            change(&mut changed);
            if self.admin.users.store().update_user(&changed, user.epoch).await? {
                return Ok(changed);
            }
        }
        Err(Refusal::Unavailable("somebody else keeps changing this user; try again".to_owned()))
    }

    async fn end_all(&self, user: &User, ending: Ending) -> Result<u64, Refusal> {
        let mut trail = Trail::new(self.engine.clock.clone());
        let ended = self.engine.sessions.end_all(&user.tenant, user.id, ending, &mut trail).await;
        self.record_all(user, trail);
        Ok(ended?)
    }

    /// What was guessed before does not count against somebody whom an administrator lets in.
    async fn forgive(&self, user: &User) {
        let mut trail = Trail::new(self.engine.clock.clone());
        self.admin.running.forgive(&user.tenant, &user.name, &mut trail).await;
        self.record_all(user, trail);
    }

    fn record_all(&self, user: &User, trail: Trail) {
        for event in trail.events {
            self.record(Some(&user.tenant), event);
        }
    }

    async fn end(&self, whom: &Whom, session: Option<&str>) -> Result<AdminReply, Refusal> {
        self.may_change()?;
        let user = self.user(whom).await?;
        let Some(wanted) = session else {
            let sessions = self.end_all(&user, Ending::Administrator).await?;
            self.changed(Some(&user.tenant), "session.end", format!("all of {}", label(&user)));
            return Ok(AdminReply::Ended { sessions });
        };
        let mut matching = self.engine.sessions.list(&user.tenant, user.id).await?;
        matching.retain(|session| hash_of(session).starts_with(wanted));
        let (Some(session), None) = (matching.pop(), matching.pop()) else {
            return Err(Refusal::NotFound(format!("`{wanted}` does not begin exactly one live session of `{}`", user.name)));
        };
        let subject = format!("{} of {}", hash_of(&session), label(&user));
        let tenant = user.tenant.clone();
        let mut trail = Trail::new(self.engine.clock.clone());
        let holder = holder(user.clone(), session);
        let ended = self.engine.sessions.end(&holder, Ending::Administrator, &mut trail).await;
        self.record_all(&user, trail);
        ended?;
        self.changed(Some(&tenant), "session.end", subject);
        Ok(AdminReply::Ended { sessions: 1 })
    }
}

/// Whether these may be names to show, addresses, groups and profiles.
fn fitting<'a>(texts: impl IntoIterator<Item = &'a String>) -> Result<(), Refusal> {
    let fits = |text: &String| !text.is_empty() && text.len() <= MAX_TEXT && !text.chars().any(char::is_control);
    match texts.into_iter().all(fits) {
        true => Ok(()),
        false => {
            Err(Refusal::Invalid(format!("names, addresses, groups and profiles have 1 to {MAX_TEXT} octets and no control characters")))
        }
    }
}

/// Groups in order, each once.
fn groups(names: &[String]) -> Result<Vec<GroupName>, Refusal> {
    if names.len() > MAX_GROUPS {
        return Err(Refusal::Invalid(format!("a user is added to at most {MAX_GROUPS} groups at once")));
    }
    let mut groups: Vec<GroupName> = names.iter().map(|group| GroupName::from(group.as_str())).collect();
    groups.sort();
    groups.dedup();
    Ok(groups)
}

/// Whether this may be what an issuer calls somebody.
fn fits(id: &ExternalId) -> Result<(), Refusal> {
    let texts = [id.id.as_str(), id.issuer.as_str()];
    match texts.iter().any(|text| text.is_empty() || text.len() > MAX_ID || text.chars().any(char::is_control)) {
        false => Ok(()),
        true => Err(Refusal::Invalid(format!("an issuer's name for somebody has 1 to {MAX_ID} octets and no control characters"))),
    }
}

/// Whoever holds a live session, as far as ending it needs to know them.
fn holder(user: User, session: SessionRef) -> Identity {
    Identity {
        user: Arc::new(user),
        scheme: ADMIN.into(),
        method: ADMIN.into(),
        issuer: ADMIN.into(),
        level: Level(0),
        authenticated_at: session.opened,
        attributes: Arc::default(),
        session: Some(session),
        ambient: false,
        from: None,
    }
}

fn label(user: &User) -> String {
    format!("{}/{}", user.tenant, user.name)
}

/// The part of a session's key that tells it from others.
fn hash_of(session: &SessionRef) -> &str {
    session.key.as_str().rsplit(':').next().unwrap_or_default()
}

fn view(session: &SessionRef) -> SessionView {
    SessionView { id: hash_of(session).to_owned(), login: session.login.to_string(), opened: session.opened, until: session.until }
}

fn keys(records: Vec<KeyRecord>) -> AdminReply {
    AdminReply::Keys(records.into_iter().map(KeyView::from).collect())
}

#[cfg(test)]
pub(crate) mod tests;

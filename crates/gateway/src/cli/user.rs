//! `vestibule user`: users of the gateway's own realm.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use vestibule_engine::identity::{AccountState, ExternalId, User};

use super::ask::PasswordSource;
use super::client::{Connection, ask, unexpected};
use super::output::{Cell, Output, Tone};
use super::{Answer, Common, Failure, Who};
use crate::certificate;
use crate::config::pem;
use crate::serve::admin::protocol::{AdminReply, AdminRequest, Confidential, NewUser, Whom, state_label};

/// The profile of a user of whom nobody says otherwise.
const PROFILE: &str = "user";

mod export;
mod import;
mod records;

/// Users of the gateway's own realm
#[derive(Debug, Subcommand)]
pub enum UserCommand {
    /// Add a user
    Add(Box<Add>),
    /// Add the users of another system, with their password hashes; begun again, it goes on where it was broken off
    Import(Box<import::Import>),
    /// Write all users, in a form that `user import` reads
    Export(export::Export),
    /// List users
    List {
        /// Of this tenant; may be left out where there is only one
        #[arg(long)]
        tenant: Option<String>,
        /// In this group
        #[arg(long)]
        group: Option<String>,
    },
    /// Show a user
    Show {
        /// Which.
        #[command(flatten)]
        who: Who,
    },
    /// Keep a user out, and end all their sessions
    Disable {
        /// Which.
        #[command(flatten)]
        who: Who,
    },
    /// Remove a user, and end all their sessions; their name is free then, and what was recorded of them stays
    Delete {
        /// Which.
        #[command(flatten)]
        who: Who,
    },
    /// Let a disabled or locked user in again
    Enable {
        /// Which.
        #[command(flatten)]
        who: Who,
    },
    /// Let whoever shows a certificate, or is called so by another issuer, be a user
    Link(Link),
    /// Let whoever is known so be a user no longer, and end all the user's sessions
    Unlink(Link),
    /// Give a user another password, and end all their sessions
    Passwd {
        /// Which.
        #[command(flatten)]
        who: Who,
        /// Where the password comes from.
        #[command(flatten)]
        password: PasswordSource,
        /// They must change it first thing
        #[arg(long)]
        must_change: bool,
    },
}

/// A certificate and its user
#[derive(Debug, Args)]
pub struct Link {
    #[command(flatten)]
    who: Who,
    /// A file with the certificate in PEM form
    #[arg(long, value_name = "FILE", required_unless_present = "id")]
    certificate: Option<PathBuf>,
    /// By what the certificate is known: its renewal has another thumbprint and another number
    #[arg(long, value_enum, default_value_t = By::Thumbprint)]
    by: By,
    /// What another issuer calls the user, in place of a certificate
    #[arg(long, value_name = "NAME", requires = "issuer", conflicts_with_all = ["certificate", "by"])]
    id: Option<String>,
    /// That issuer: an identity provider, or `urn:vestibule:salesforce` whose ids are `ORGANISATION/USER`
    #[arg(long, value_name = "ISSUER", requires = "id")]
    issuer: Option<String>,
}

/// By what a certificate is known
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum By {
    /// Its SHA-256
    Thumbprint,
    /// Its issuer and serial number
    IssuerSerial,
}

impl Link {
    /// The name by which a scheme knows the user.
    fn id(&self) -> Result<ExternalId, Failure> {
        if let (Some(id), Some(issuer)) = (&self.id, &self.issuer) {
            return Ok(ExternalId { issuer: issuer.as_str().into(), id: id.clone() });
        }
        // INVARIANT: clap demands one of the two.
        let Some(file) = &self.certificate else { return Err(Failure::not_tried("name a certificate, or an id and its issuer")) };
        let chain = pem::certificates(file).map_err(Failure::not_tried)?;
        let shown = file.display();
        let [only] = chain.as_slice() else { return Err(Failure::not_tried(format!("`{shown}` holds more than one certificate"))) };
        let about = certificate::read(only).map_err(|why| Failure::not_tried(format!("`{shown}`: {why}")))?;
        Ok(match self.by {
            By::Thumbprint => certificate::by_thumbprint(&about),
            By::IssuerSerial => certificate::by_serial(&about),
        })
    }
}

/// Add a user
#[derive(Debug, Args)]
pub struct Add {
    #[command(flatten)]
    who: Who,
    /// The name to show
    #[arg(long, value_name = "NAME")]
    display_name: Option<String>,
    /// The address for mail
    #[arg(long, value_name = "ADDRESS")]
    email: Option<String>,
    /// A group; may be repeated
    #[arg(long = "group", value_name = "GROUP")]
    groups: Vec<String>,
    /// The kind of user, which decides which rules apply; `administrator` administers the installation
    #[arg(long, default_value = PROFILE)]
    profile: String,
    /// They must change the password first thing
    #[arg(long)]
    must_change: bool,
    /// An emergency account: local password only, from listed addresses only
    #[arg(long)]
    break_glass: bool,
    #[command(flatten)]
    password: PasswordSource,
}

impl UserCommand {
    /// Asks the running server.
    pub fn run(self, common: &Common, output: &mut Output) -> Result<Answer, Failure> {
        match self {
            Self::Add(add) => add.run(common, output),
            Self::Import(import) => import.run(common, output),
            Self::Export(export) => export.run(common, output),
            Self::List { tenant, group } => list(tenant, group, common, output),
            Self::Show { who } => one(AdminRequest::UserShow(whom(who)), "", common, output),
            Self::Disable { who } => one(AdminRequest::UserDisable(whom(who)), "Disabled, and all sessions ended.", common, output),
            Self::Delete { who } => delete(who, common, output),
            Self::Enable { who } => one(AdminRequest::UserEnable(whom(who)), "Enabled.", common, output),
            Self::Link(link) => {
                let id = link.id()?;
                one(AdminRequest::UserLink { user: whom(link.who), id }, "Linked.", common, output)
            }
            Self::Unlink(link) => {
                let id = link.id()?;
                one(AdminRequest::UserUnlink { user: whom(link.who), id }, "Unlinked, and all sessions ended.", common, output)
            }
            Self::Passwd { who, password, must_change } => {
                let mut connection = Connection::open(common)?;
                let password = password.read(&who.name)?;
                let request = AdminRequest::UserPasswd { user: whom(who), password, must_change };
                show(connection.ask(request)?, "Password changed, and all sessions ended.", output)
            }
        }
    }
}

impl Add {
    fn run(self, common: &Common, output: &mut Output) -> Result<Answer, Failure> {
        // Connected first: nobody should think up a password for a server that does not run.
        let mut connection = Connection::open(common)?;
        let password = self.password.read(&self.who.name)?;
        let request = AdminRequest::UserAdd(NewUser {
            user: whom(self.who),
            display_name: self.display_name,
            email: self.email,
            groups: self.groups,
            profile: self.profile,
            must_change_password: self.must_change,
            break_glass: self.break_glass,
            password,
        });
        show(connection.ask(request)?, "Added.", output)
    }
}

/// A user as the protocol names it.
pub fn whom(who: Who) -> Whom {
    Whom { tenant: who.tenant, name: who.name }
}

fn one(request: AdminRequest, done: &str, common: &Common, output: &mut Output) -> Result<Answer, Failure> {
    show(ask(common, request)?, done, output)
}

fn delete(who: Who, common: &Common, output: &mut Output) -> Result<Answer, Failure> {
    let AdminReply::User { user, .. } = ask(common, AdminRequest::UserDelete(whom(who)))? else { return Err(unexpected()) };
    if output.is_json() {
        output.json(&serde_json::json!({ "user": user }));
    } else {
        output.line(format!("Deleted {} of tenant {}, and all sessions ended.", user.name, user.tenant));
    }
    Ok(Answer::Yes)
}

fn show(reply: AdminReply, done: &str, output: &mut Output) -> Result<Answer, Failure> {
    let AdminReply::User { user, password } = reply else { return Err(unexpected()) };
    if output.is_json() {
        output.json(&serde_json::json!({ "user": user, "password": password }));
        return Ok(Answer::Yes);
    }
    if !done.is_empty() {
        output.line(done);
    }
    details(&user, password.as_ref(), output);
    Ok(Answer::Yes)
}

fn details(user: &User, password: Option<&Confidential>, output: &mut Output) {
    let mut rows: Vec<(&str, Cell)> = vec![
        ("user", Cell::new(user.name.as_str(), Tone::Strong)),
        ("tenant", user.tenant.as_str().into()),
        ("state", state(user.state)),
        ("profile", user.profile.as_str().into()),
    ];
    if !user.groups.is_empty() {
        rows.push(("groups", groups(user).into()));
    }
    rows.extend(user.display_name.iter().map(|name| ("name", name.into())));
    rows.extend(user.email.iter().map(|email| ("email", email.into())));
    rows.extend(user.external_ids.iter().map(|id| ("known as", format!("{} at {}", id.id, id.issuer).into())));
    let marks = marks(user);
    if !marks.is_empty() {
        rows.push(("marks", Cell::new(marks, Tone::Warn)));
    }
    rows.push(("id", user.id.to_string().into()));
    rows.push(("since", user.created.to_string().into()));
    rows.extend(password.map(|Confidential(text)| ("password", Cell::new(text.reveal(), Tone::Strong))));
    output.table(&[], rows.into_iter().map(|(name, cell)| vec![Cell::new(name, Tone::Quiet), cell]).collect());
    if password.is_some() {
        output.line(Cell::new("The password is shown this once.", Tone::Quiet));
    }
}

fn list(tenant: Option<String>, group: Option<String>, common: &Common, output: &mut Output) -> Result<Answer, Failure> {
    let mut connection = Connection::open(common)?;
    let mut all: Vec<User> = Vec::new();
    loop {
        let after = all.last().map(|user| user.name.to_string());
        let request = AdminRequest::UserList { tenant: tenant.clone(), group: group.clone(), after };
        let AdminReply::Users { users, more } = connection.ask(request)? else { return Err(unexpected()) };
        let none = users.is_empty();
        all.extend(users);
        if !more || none {
            break;
        }
    }
    if output.is_json() {
        output.json(&serde_json::json!({ "users": all }));
    } else if all.is_empty() {
        output.line("No users yet: add one with `vestibule user add NAME`.");
    } else {
        let row = |user: &User| {
            let name = user.display_name.clone().unwrap_or_default();
            vec![
                user.name.as_str().into(),
                state(user.state),
                user.profile.as_str().into(),
                groups(user).into(),
                name.into(),
                Cell::new(marks(user), Tone::Warn),
            ]
        };
        output.table(&["user", "state", "profile", "groups", "name", "marks"], all.iter().map(row).collect());
    }
    Ok(Answer::Yes)
}

fn state(state: AccountState) -> Cell {
    let tone = match state {
        AccountState::Active => Tone::Good,
        AccountState::Disabled | AccountState::Locked | AccountState::Expired => Tone::Bad,
    };
    Cell::new(state_label(state), tone)
}

fn groups(user: &User) -> String {
    user.groups.iter().map(|group| group.as_str()).collect::<Vec<_>>().join(", ")
}

fn marks(user: &User) -> String {
    let marks = [(user.must_change_password, "must change password"), (user.break_glass, "emergency account")];
    marks.iter().filter(|(set, _)| *set).map(|(_, mark)| *mark).collect::<Vec<_>>().join(", ")
}

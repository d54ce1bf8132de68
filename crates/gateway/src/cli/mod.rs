//! The command line: one file per command (architecture §13).
//!
//! Every command prints for people, or with `--json` for programs. Exit 0 is yes (done, accepted, valid), 1 is
//! no (refused, invalid), 2 is "could not try". No command takes a secret as an argument, where every other user
//! of the machine could read it: it asks on the terminal, or reads a file or standard input.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::problem::Problem;
use output::Output;

pub mod ask;
pub mod attack;
pub mod audit;
pub mod backup;
pub mod check;
pub mod client;
pub mod delegate;
pub mod demo;
pub mod doctor;
pub mod explain;
pub mod hash;
pub mod history;
pub mod key;
pub mod metadata;
pub mod output;
pub mod saml;
pub mod serve;
pub mod server;
pub mod session;
pub mod store;
pub mod user;
pub mod wss;
pub mod xml;

/// The heading of the options that every command has.
const EVERYWHERE: &str = "Everywhere";
/// Where the configuration is if nobody says otherwise.
const CONFIG: &str = "vestibule.toml";
/// Largest configuration file looked into for the socket, in octets.
const MAX_CONFIG: u64 = 16 << 20;

/// An authentication gateway for web applications and web services.
#[derive(Debug, Parser)]
#[command(name = "vestibule", version, propagate_version = true, subcommand_required = true, arg_required_else_help = true)]
pub struct Cli {
    /// What every command understands.
    #[command(flatten)]
    pub common: Common,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What every command understands.
#[derive(Debug, Clone, Args)]
pub struct Common {
    /// The configuration file [default: $VESTIBULE_CONFIG, else ./vestibule.toml]
    #[arg(long, global = true, value_name = "FILE", help_heading = EVERYWHERE)]
    pub config: Option<PathBuf>,
    /// The running server's socket [default: the one the configuration names]
    #[arg(long, global = true, value_name = "PATH", help_heading = EVERYWHERE)]
    pub socket: Option<PathBuf>,
    /// Print JSON
    #[arg(long, global = true, help_heading = EVERYWHERE)]
    pub json: bool,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show everything at once: tenants, users and an application, all in one process
    Demo(demo::Demo),
    Serve(serve::Serve),
    /// Say whether a configuration is valid, and what is wrong with it where
    Check(check::Arguments),
    /// Show how a request would be decided, or was
    Explain(explain::Explain),
    Doctor(doctor::Doctor),
    Attack(attack::Attacking),
    /// Users of the gateway's own realm
    #[command(subcommand)]
    User(user::UserCommand),
    /// Make a password hash for an import or a configuration
    Hash(hash::Hash),
    /// Signing keys
    #[command(subcommand)]
    Key(key::KeyCommand),
    /// Sessions of a user
    #[command(subcommand)]
    Session(session::SessionCommand),
    /// Audit files
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    History(history::Shown),
    /// Services that check passwords
    #[command(subcommand)]
    Delegate(delegate::DelegateCommand),
    Backup(backup::Backup),
    Restore(backup::Restore),
    /// The store of stopped gateways
    #[command(subcommand)]
    Store(store::StoreCommand),
    /// Metadata for partners
    #[command(subcommand)]
    Metadata(metadata::MetadataCommand),
    /// Messages of SAML partners
    #[command(subcommand)]
    Saml(saml::SamlCommand),
    /// Signed and encrypted XML documents
    #[command(subcommand)]
    Xml(xml::XmlCommand),
    /// SOAP messages with a security header
    #[command(subcommand)]
    Wss(wss::WssCommand),
    /// Show how the running server is
    Status,
    /// Make the running server read its configuration again
    Reload,
}

/// Which user.
#[derive(Debug, Clone, Args)]
pub struct Who {
    /// The user's name
    #[arg(value_name = "USER")]
    pub name: String,
    /// The tenant; may be left out where there is only one
    #[arg(long, value_name = "TENANT")]
    pub tenant: Option<String>,
}

/// A question answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Done, accepted, valid.
    Yes,
    /// Refused, invalid.
    No,
}

/// Why a command did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Whether it was refused or could not be tried.
    pub kind: FailureKind,
    /// What happened.
    pub message: String,
    /// What to do next.
    pub fix: Option<String>,
    /// What is wrong with the configuration, if that is what happened.
    pub problems: Vec<Problem>,
}

/// How a command failed; decides the exit status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// The answer is no. Exit 1.
    Refused,
    /// It could not be tried. Exit 2.
    NotTried,
}

impl Failure {
    /// The answer is no.
    pub fn refused(message: impl Into<String>) -> Self {
        Self { kind: FailureKind::Refused, message: message.into(), fix: None, problems: Vec::new() }
    }

    /// It could not be tried.
    pub fn not_tried(message: impl Into<String>) -> Self {
        Self { kind: FailureKind::NotTried, message: message.into(), fix: None, problems: Vec::new() }
    }

    /// What to do next.
    #[must_use]
    pub fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }
}

impl Common {
    /// The configuration file.
    pub fn config_path(&self) -> PathBuf {
        let named = self.config.clone().or_else(|| std::env::var_os("VESTIBULE_CONFIG").map(PathBuf::from));
        named.unwrap_or_else(|| PathBuf::from(CONFIG))
    }

    /// The running server's socket. The configuration need not be valid for that: a user must be disabled today,
    /// whatever is being edited.
    ///
    /// # Errors
    /// When there is no configuration to look into.
    pub fn socket_path(&self) -> Result<PathBuf, Failure> {
        match &self.socket {
            Some(socket) => Ok(socket.clone()),
            None => socket_of(&self.config_path()),
        }
    }
}

/// `[server] control_socket`, else `control.sock` in the store's directory; relative to the file's directory.
fn socket_of(config: &Path) -> Result<PathBuf, Failure> {
    let unread = |why: String| {
        Failure::not_tried(format!("{}: {why}", config.display()))
            .fix("name the configuration with --config FILE, or the server's socket with --socket PATH")
    };
    let about = std::fs::metadata(config).map_err(|error| unread(error.to_string()))?;
    if about.len() > MAX_CONFIG {
        return Err(unread("too long for a configuration".to_owned()));
    }
    let text = std::fs::read_to_string(config).map_err(|error| unread(error.to_string()))?;
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| unread(error.message().to_owned()))?;
    let text = |section: &str, name: &str| table.get(section).and_then(|section| section.get(name)).and_then(toml::Value::as_str);
    let relative = match text("server", "control_socket") {
        Some(socket) => PathBuf::from(socket),
        None => Path::new(text("store", "path").unwrap_or("data")).join("control.sock"),
    };
    Ok(config.parent().unwrap_or(Path::new("")).join(relative))
}

/// Runs one command.
pub fn run(cli: Cli) -> ExitCode {
    let Cli { common, command } = cli;
    let mut output = Output::for_stdout(common.json);
    let outcome = match command {
        Command::Demo(demo) => return demo.run(output),
        Command::Serve(serve) => return serve.run(common.config_path(), output),
        Command::Check(check) => return check.print(&common),
        Command::Explain(explain) => explain.run(&common, &mut output),
        Command::Doctor(doctor) => doctor.run(&common, &mut output),
        Command::Attack(attack) => attack.run(&mut output),
        Command::User(user) => user.run(&common, &mut output),
        Command::Hash(hash) => hash.run(&mut output),
        Command::Key(key) => key.run(&common, &mut output),
        Command::Session(session) => session.run(&common, &mut output),
        Command::Audit(audit) => audit.run(&common, &mut output),
        Command::History(history) => history.run(&common, &mut output),
        Command::Delegate(delegate) => delegate.run(&common, &mut output),
        Command::Backup(backup) => backup.run(&common, &mut output),
        Command::Restore(restore) => restore.run(&common, &mut output),
        Command::Store(store) => store.run(&common, &mut output),
        Command::Metadata(metadata) => metadata.run(&common, &mut output),
        Command::Saml(saml) => saml.run(&mut output),
        Command::Xml(xml) => xml.run(&mut output),
        Command::Wss(wss) => wss.run(&mut output),
        Command::Status => server::status(&common, &mut output),
        Command::Reload => server::reload(&common, &mut output),
    };
    finish(outcome, output)
}

/// Prints what a command found, and turns its answer into an exit status.
pub fn finish(outcome: Result<Answer, Failure>, mut output: Output) -> ExitCode {
    let code = match &outcome {
        Ok(Answer::Yes) => 0,
        Ok(Answer::No) => 1,
        Err(failure) => {
            output.failure(failure);
            match failure.kind {
                FailureKind::Refused => 1,
                FailureKind::NotTried => 2,
            }
        }
    };
    match output.print() {
        Ok(()) => ExitCode::from(code),
        // Whoever read us has read enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::from(code),
        Err(_) => ExitCode::from(2),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use clap::CommandFactory;

    use super::*;

    /// A directory that is removed when dropped.
    pub(crate) struct TempDir(PathBuf);

    impl TempDir {
        pub(crate) fn new() -> Self {
            let nonce = u64::from_be_bytes(vestibule_engine::clock::random().unwrap());
            let path = std::env::temp_dir().join(format!("vestibule-test-{nonce:016x}"));
            std::fs::create_dir(&path).unwrap();
            Self(path)
        }

        pub(crate) fn path(&self) -> &Path {
            &self.0
        }
    }

    impl Drop for TempDir {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn the_commands_are_well_formed() {
        Cli::command().debug_assert();
    }

    /// The Markdown files below a folder.
    fn pages(folder: &Path) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let below = |path: PathBuf| if path.is_dir() { pages(&path) } else { vec![path] };
        entries.flat_map(below).filter(|path| path.extension().is_some_and(|extension| extension == "md")).collect()
    }

    #[test]
    fn every_command_of_the_documents_is_understood() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let mut understood = 0;
        for page in [pages(&root.join("docs")), pages(&root.join("examples")), vec![root.join("README.md")]].concat() {
            let text = std::fs::read_to_string(&page).unwrap().replace("\\\n", " ").replace("$(date +%F)", "2026-11-28");
            for line in text.lines().map(str::trim_start).filter(|line| line.starts_with("vestibule ")) {
                let words = line.split_whitespace().take_while(|word| !matches!(*word, ">" | "<" | "&" | "|" | "#"));
                let parsed = Cli::try_parse_from(words);
                assert!(parsed.is_ok(), "{}: {line}: {}", page.display(), parsed.unwrap_err());
                understood += 1;
            }
        }
        assert!(understood >= 20, "{understood}");
    }

    #[test]
    fn common_options_stand_anywhere() {
        for line in [
            "vestibule --json --socket s user list --tenant north",
            "vestibule user list --tenant north --json --socket s",
            "vestibule user --json list --socket s",
            "vestibule --socket s key rotate jwt --json",
            "vestibule --socket s session end ada 4f2a --json",
            "vestibule --socket s session end ada --all --json",
            "vestibule --socket s --json explain GET https://app.localhost/ -u ada",
            "vestibule --socket s --json explain 01890a5d-ac96-774b-bcce-b302099a8057",
        ] {
            let cli = Cli::try_parse_from(line.split(' ')).unwrap_or_else(|error| panic!("{line}: {error}"));
            assert!(cli.common.json, "{line}");
            assert_eq!(cli.common.socket_path().unwrap(), Path::new("s"), "{line}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_status_two() {
        for line in [
            "vestibule",
            "vestibule user add",
            "vestibule session end ada",
            "vestibule session end ada 4f2a --all",
            "vestibule user add ada --generate --password-file f",
            "vestibule user add ada --password hunter2",
            "vestibule user add ada --no-password --generate",
            "vestibule key rotate",
            "vestibule xml verify",
            "vestibule xml canonicalize f --prefix-list p",
            "vestibule xml sign f",
            "vestibule xml decrypt f",
        ] {
            let error = Cli::try_parse_from(line.split(' ')).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn the_socket_is_where_the_configuration_says_even_if_it_is_broken_elsewhere() {
        let dir = TempDir::new();
        let config = dir.path().join("vestibule.toml");
        assert!(socket_of(&config).unwrap_err().fix.is_some());
        std::fs::write(&config, "[no]\nsuch = 'section'").unwrap();
        assert_eq!(socket_of(&config).unwrap(), dir.path().join("data/control.sock"));
        std::fs::write(&config, "[store]\npath = 'var'").unwrap();
        assert_eq!(socket_of(&config).unwrap(), dir.path().join("var/control.sock"));
        std::fs::write(&config, "[server]\ncontrol_socket = '/run/v.sock'").unwrap();
        assert_eq!(socket_of(&config).unwrap(), Path::new("/run/v.sock"));
    }
}

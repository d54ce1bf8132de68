//! Asking a running server over its admin socket.

use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use tokio::io::BufReader;
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::{Common, Failure};
use crate::serve::admin::protocol::{AdminReply, AdminRequest, MAX_REPLY, Refusal, receive, send};

/// How long an answer may take: hashing waits its turn, and a directory may be slow.
const PATIENCE: Duration = Duration::from_secs(60);

/// A connection to a running server.
#[derive(Debug)]
pub struct Connection {
    runtime: tokio::runtime::Runtime,
    stream: BufReader<UnixStream>,
}

impl Connection {
    /// Connects to the server that these options mean.
    ///
    /// # Errors
    /// When none answers, or not to us.
    pub fn open(common: &Common) -> Result<Self, Failure> {
        let socket = common.socket_path()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::not_tried(format!("no runtime could be started: {error}")))?;
        let stream = runtime.block_on(UnixStream::connect(&socket)).map_err(|error| unreachable(&socket, &error, common))?;
        Ok(Self { runtime, stream: BufReader::new(stream) })
    }

    /// Asks once.
    ///
    /// # Errors
    /// When the server refuses, or does not answer.
    pub fn ask(&mut self, request: AdminRequest) -> Result<AdminReply, Failure> {
        self.ask_within(request, PATIENCE)
    }

    /// Asks once, for something that may take so long.
    ///
    /// # Errors
    /// As [`Connection::ask`].
    pub fn ask_within(&mut self, request: AdminRequest, patience: Duration) -> Result<AdminReply, Failure> {
        let stream = &mut self.stream;
        let exchange = async {
            send(stream, request).await?;
            receive::<AdminReply>(stream, MAX_REPLY).await
        };
        let outcome = self.runtime.block_on(async { timeout(patience, exchange).await });
        match outcome {
            Ok(Ok(Some(AdminReply::Refused(refusal)))) => Err(match &refusal {
                Refusal::NotFound(_) | Refusal::Invalid(_) => Failure::refused(refusal.to_string()),
                Refusal::Unavailable(_) => Failure::not_tried(refusal.to_string()),
            }),
            Ok(Ok(Some(reply))) => Ok(reply),
            Ok(Ok(None)) => Err(Failure::not_tried("the server closed the connection without an answer")
                .fix("it serves only its own user and root; run this command as one of them, and see its log")),
            Ok(Err(error)) => Err(Failure::not_tried(error.to_string())),
            Err(_) => Err(Failure::not_tried(format!("the server gave no answer in {} seconds", patience.as_secs()))),
        }
    }
}

/// Connects and asks once.
///
/// # Errors
/// When no server answers, or it refuses.
pub fn ask(common: &Common, request: AdminRequest) -> Result<AdminReply, Failure> {
    Connection::open(common)?.ask(request)
}

/// An answer to another question than the one that was asked.
pub fn unexpected() -> Failure {
    Failure::not_tried("the server gave an answer this command does not know").fix("use the `vestibule` the server was started from")
}

fn unreachable(socket: &Path, error: &std::io::Error, common: &Common) -> Failure {
    let failure = Failure::not_tried(format!("no server answers at {}: {error}", socket.display()));
    match error.kind() {
        ErrorKind::PermissionDenied => failure.fix("run this command as the server's user or as root"),
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => failure.fix(format!(
            "start it with `vestibule serve --config {}`, or name another server's socket with --socket PATH",
            common.config_path().display()
        )),
        _ => failure,
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::output::{Form, Output};
    use crate::cli::{Answer, Cli, Command, FailureKind};
    use crate::serve::admin::tests::Server;

    /// Runs a command line as the binary does, against this socket.
    fn vestibule(socket: &Path, line: &str, form: Form) -> (Result<Answer, Failure>, String) {
        let words = ["vestibule", "--socket", socket.to_str().unwrap()].into_iter().chain(line.split(' '));
        let Cli { common, command } = Cli::try_parse_from(words).unwrap();
        let mut output = Output::new(form);
        let outcome = match command {
            Command::Demo(_)
            | Command::Serve(_)
            | Command::Check(_)
            | Command::Store(_)
            | Command::Restore(_)
            | Command::Attack(_)
            | Command::Metadata(_)
            | Command::Xml(_)
            | Command::Wss(_) => {
                panic!("this command asks no server")
            }
            Command::Explain(explain) => explain.run(&common, &mut output),
            Command::Doctor(doctor) => doctor.run(&common, &mut output),
            Command::User(user) => user.run(&common, &mut output),
            Command::Backup(backup) => backup.run(&common, &mut output),
            Command::Hash(hash) => hash.run(&mut output),
            Command::Key(key) => key.run(&common, &mut output),
            Command::Session(session) => session.run(&common, &mut output),
            Command::Status => crate::cli::server::status(&common, &mut output),
            Command::Reload => crate::cli::server::reload(&common, &mut output),
        };
        (outcome, output.text().to_owned())
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn commands_reach_the_server_and_print_what_it_says_once() {
        let server = Server::start();
        let file = server.dir.path().join("password");
        std::fs::write(&file, "correct horse\n").unwrap();
        let socket = server.path.clone();
        tokio::task::spawn_blocking(move || {
            let plain = |line: &str| vestibule(&socket, line, Form::Plain);
            let add = format!("user add Ada --tenant north --group staff --must-change --password-file {}", file.display());
            let (outcome, text) = plain(&add);
            assert_eq!(outcome, Ok(Answer::Yes));
            assert!(text.starts_with("Added.\nuser     ada\ntenant   north\nstate    active\n"), "{text}");
            assert!(!text.contains("correct horse"));
            let (outcome, _) = plain(&add);
            assert_eq!(outcome.unwrap_err().kind, FailureKind::Refused, "she is there already");

            let (_, text) = plain("user add bob --tenant north --generate");
            assert_eq!(text.matches("password").count(), 2, "the label and the note: {text}");
            let (_, text) = plain("user list --tenant north");
            assert_eq!(
                text,
                "user  state   profile  groups  name  marks\n\
                 ada   active  user     staff         must change password\n\
                 bob   active  user\n"
            );
            let (_, json) = vestibule(&socket, "user list --tenant north --group staff", Form::Json);
            let json: serde_json::Value = serde_json::from_str(&json).unwrap();
            assert_eq!(json["users"][0]["name"], "ada");
            assert!(json["users"][0].get("password").is_none(), "no hash leaves the server");

            let (outcome, text) = plain("explain get http://north.localhost/x");
            assert_eq!(outcome, Ok(Answer::No));
            assert!(text.contains("decision  asked to sign in: nobody"), "{text}");
            let (outcome, _) = plain("explain GET http://north.localhost/open/x");
            assert_eq!(outcome, Ok(Answer::Yes));
            assert_eq!(plain("status").0, Ok(Answer::Yes));
            assert_eq!(plain("key list").1.lines().count(), 2);
            let reload = plain("reload").0.unwrap_err();
            assert_eq!((reload.kind, reload.message.as_str()), (FailureKind::Refused, "line 3: no"));
        })
        .await
        .unwrap();
    }

    #[test]
    fn without_a_server_it_was_not_tried_and_the_error_says_what_to_do() {
        let failure = vestibule(Path::new("/nowhere/admin.sock"), "user list", Form::Plain).0.unwrap_err();
        assert_eq!(failure.kind, FailureKind::NotTried);
        assert!(failure.fix.unwrap().contains("vestibule serve --config"));
    }
}

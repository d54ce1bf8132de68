//! `vestibule serve`: opens the house and keeps it open until it is told to stop.

use std::path::PathBuf;
use std::process::ExitCode;

use vestibule_engine::clock::SystemClock;

use crate::audit::trace::{self, Format};
use crate::cli::output::Output;
use crate::cli::{Answer, Failure, finish};
use crate::config::Purpose;
use crate::serve::hand_over::{Inherited, Successor};
use crate::serve::house::{self, Refused, Told};
use crate::serve::notify::{self, State};

/// Serve requests until SIGTERM; SIGUSR2 makes room for an upgraded program
#[derive(Debug, clap::Args)]
pub struct Serve {
    /// How log lines look: `text` or `json`
    #[arg(long, value_name = "FORMAT", default_value = "text", value_parser = ["text", "json"])]
    log: String,
}

impl Serve {
    /// Runs until SIGTERM or SIGINT.
    pub fn run(&self, config: PathBuf, output: Output) -> ExitCode {
        finish(self.serve(config), output)
    }

    fn serve(&self, config: PathBuf) -> Result<Answer, Failure> {
        let format = if self.log == "json" { Format::Json } else { Format::Text };
        trace::init(format, std::env::var("VESTIBULE_LOG").ok().as_deref()).map_err(Failure::not_tried)?;
        // Before there are threads: it changes the environment.
        let inherited =
            Inherited::take().map_err(|error| Failure::not_tried(format!("what was handed over is no listening socket: {error}")))?;
        // Asked now: after an upgrade the path leads to the other program.
        let successor = Successor::new().map_err(|error| Failure::not_tried(format!("this program has no path: {error}")))?;
        let runtime = house::control_runtime().map_err(|error| Failure::not_tried(format!("no threads: {error}")))?;
        runtime.block_on(async {
            let mut open =
                house::open(config, Purpose::Serve, std::sync::Arc::new(SystemClock::default()), inherited).await.map_err(refused)?;
            open.announce();
            match open.until_told(&successor).await {
                Told::Stop => {
                    notify::tell(State::Stopping);
                    open.close().await;
                }
                Told::HandOver => {
                    notify::tell(State::Reloading);
                    let error = successor.take_over(open.hand_over().await);
                    return Err(Failure::not_tried(format!("the successor cannot be started: {error}")));
                }
            }
            Ok(Answer::Yes)
        })
    }
}

/// What is wrong: with the configuration as `check` says it, with anything else in a sentence.
pub fn refused(refused: Refused) -> Failure {
    match refused {
        Refused::Configuration(problems) => {
            let fix = "mend it; `vestibule check` says the same without starting anything";
            Failure { problems, ..Failure::refused("the configuration is not valid").fix(fix) }
        }
        Refused::System(why) => Failure::not_tried(why),
    }
}

//! `vestibule store`: what only a stopped gateway can have done to its store.

use clap::Subcommand;

use vestibule_engine::clock::{Clock, SystemClock};

use super::output::Output;
use super::serve::refused;
use super::{Answer, Common, Failure};
use crate::config::checked::{Checked, Durable};
use crate::config::{self, Purpose, build};
use crate::serve::house::{Refused, control_runtime};
use crate::store::postgres;

/// The store of stopped gateways
#[derive(Debug, Subcommand)]
pub enum StoreCommand {
    /// Take the schema in PostgreSQL back by one version, for the program before this one; all gateways must be stopped
    Back,
}

impl StoreCommand {
    /// Speaks to the database of the configuration.
    pub fn run(self, common: &Common, output: &mut Output) -> Result<Answer, Failure> {
        let Self::Back = self;
        let checked = configuration(common)?;
        let Durable::Postgres(settings) = &checked.store.durable else {
            return Err(Failure::refused("only the schema in PostgreSQL goes back; restore a backup of an embedded store"));
        };
        let runtime = control_runtime().map_err(|error| Failure::not_tried(format!("no threads: {error}")))?;
        let version = runtime.block_on(postgres::step_back(settings)).map_err(|error| Failure::refused(error.to_string()))?;
        if output.is_json() {
            output.json(&serde_json::json!({ "schema": version }));
        } else {
            output.line(format!("The store has schema {version} now. Start the program that knows no newer one."));
        }
        Ok(Answer::Yes)
    }
}

/// The configuration, for what is done while no gateway runs.
///
/// # Errors
/// What is wrong with it.
pub fn configuration(common: &Common) -> Result<Checked, Failure> {
    let loaded = config::load(&common.config_path(), Purpose::Serve, SystemClock::default().now(), build::policy_problems);
    loaded.map(|(checked, _)| checked).map_err(|problems| refused(Refused::Configuration(problems)))
}

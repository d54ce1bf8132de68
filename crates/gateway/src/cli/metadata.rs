//! `vestibule metadata`: what a partner of SAML 2.0 needs to know of us, from the configuration; no server has to run.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Subcommand;
use vestibule_engine::clock::{Clock as _, SystemClock};

use crate::cli::output::Output;
use crate::cli::{Answer, Common, Failure, finish};
use crate::config::{self, Purpose, build};
use crate::serve::pages;

/// Metadata of SAML 2.0, to be given to a partner.
#[derive(Debug, Subcommand)]
pub enum MetadataCommand {
    /// Those of a tenant as an identity provider
    Idp {
        /// The tenant
        #[arg(value_name = "TENANT")]
        tenant: String,
    },
}

impl MetadataCommand {
    /// Prints them.
    pub fn run(&self, common: &Common, output: Output) -> ExitCode {
        let xml = match self {
            Self::Idp { tenant } => idp(common, tenant),
        };
        match xml {
            Ok(xml) => match std::io::stdout().write_all(format!("{xml}\n").as_bytes()) {
                Ok(()) => ExitCode::SUCCESS,
                // Whoever read us has read enough.
                Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
                Err(_) => ExitCode::from(2),
            },
            Err(failure) => finish(Err::<Answer, Failure>(failure), output),
        }
    }
}

fn idp(common: &Common, tenant: &str) -> Result<String, Failure> {
    let path = common.config_path();
    let loaded = config::load(&path, Purpose::Serve, SystemClock::default().now(), build::policy_problems);
    let (checked, _) = loaded.map_err(|problems| {
        let kind = crate::cli::FailureKind::NotTried;
        Failure { kind, message: format!("{} is not valid", path.display()), fix: None, problems }
    })?;
    let Some(found) = checked.tenants.iter().find(|known| known.id.as_str() == tenant) else {
        return Err(Failure::not_tried(format!("there is no tenant `{tenant}`")));
    };
    let (Some(role), Some(portal)) = (&found.idp, &found.portal_origin) else {
        let fix = format!("add [tenant.{tenant}.idp] with its certificate and key");
        return Err(Failure::refused(format!("the tenant `{tenant}` is no identity provider")).fix(fix));
    };
    pages::idp_metadata(role, portal, &found.title).map_err(|why| Failure::not_tried(why.to_string()))
}

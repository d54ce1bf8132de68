//! `vestibule metadata`: what partners of a tenant are to be given, from the configuration alone.

use clap::{Args, Subcommand};
use vestibule_engine::clock::{Clock as _, SystemClock};

use super::output::Output;
use super::{Answer, Common, Failure};
use crate::config::checked::Scheme;
use crate::config::{self, Purpose};
use crate::schemes::saml;

/// Metadata for partners
#[derive(Debug, Subcommand)]
pub enum MetadataCommand {
    /// Print a tenant's metadata as a service provider
    Sp(Whose),
}

/// Whose metadata.
#[derive(Debug, Args)]
pub struct Whose {
    /// The tenant
    #[arg(value_name = "TENANT")]
    tenant: String,
}

impl MetadataCommand {
    /// Runs it.
    ///
    /// # Errors
    /// When the configuration cannot be used, or the tenant is none.
    pub fn run(self, common: &Common, output: &mut Output) -> Result<Answer, Failure> {
        match self {
            Self::Sp(whose) => {
                let text = service_provider(&whose.tenant, common)?;
                if output.is_json() {
                    output.json(&serde_json::json!({ "metadata": text }));
                } else {
                    output.verbatim(&text);
                    output.verbatim("\n");
                }
                Ok(Answer::Yes)
            }
        }
    }
}

fn service_provider(name: &str, common: &Common) -> Result<String, Failure> {
    let path = common.config_path();
    let (checked, _) = config::load(&path, Purpose::Serve, SystemClock::default().now(), |_| Vec::new()).map_err(|problems| {
        let mut failure = Failure::not_tried(format!("{} cannot be used", path.display()));
        failure.problems = problems;
        failure
    })?;
    let tenant = checked.tenants.iter().find(|tenant| tenant.id.as_str() == name);
    let tenant = tenant.ok_or_else(|| Failure::not_tried(format!("there is no tenant {name}")))?;
    let scheme = tenant.chain.iter().find_map(|name| match checked.schemes.get(name)? {
        Scheme::Saml(saml) => Some(saml),
        Scheme::Session | Scheme::Basic { .. } | Scheme::ClientCertificate(_) | Scheme::IdentityUrl(_) | Scheme::LoginForm { .. } => None,
    });
    let no_scheme =
        || Failure::not_tried(format!("the tenant {name} is no service provider")).fix("put a scheme of type saml into its chain");
    let metadata = saml::metadata(scheme.ok_or_else(no_scheme)?, tenant.portal_origin.as_deref().unwrap_or_default());
    let written = metadata.unsigned().map_err(|why| Failure::not_tried(format!("the metadata cannot be written: {why}")))?;
    Ok(written.as_str().to_owned())
}

//! `vestibule metadata`: what partners of a tenant are to be given, from the configuration alone.

use clap::{Args, Subcommand};
use vestibule_engine::clock::{Clock as _, SystemClock};

use super::output::Output;
use super::{Answer, Common, Failure};
use crate::config::checked::{Checked, Scheme, Tenant};
use crate::config::{self, Purpose};
use crate::schemes::saml;
use crate::serve::pages;

/// Metadata for partners
#[derive(Debug, Subcommand)]
pub enum MetadataCommand {
    /// Print a tenant's metadata as an identity provider
    Idp(Whose),
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
        let path = common.config_path();
        let loaded = config::load(&path, Purpose::Serve, SystemClock::default().now(), |_| Vec::new());
        let (checked, _) = loaded.map_err(|problems| {
            let mut failure = Failure::not_tried(format!("{} cannot be used", path.display()));
            failure.problems = problems;
            failure
        })?;
        let text = match self {
            Self::Idp(whose) => identity_provider(whose.of(&checked)?, &checked)?,
            Self::Sp(whose) => service_provider(whose.of(&checked)?, &checked)?,
        };
        if output.is_json() {
            output.json(&serde_json::json!({ "metadata": text }));
        } else {
            output.verbatim(&text);
            output.verbatim("\n");
        }
        Ok(Answer::Yes)
    }
}

impl Whose {
    fn of<'c>(&self, checked: &'c Checked) -> Result<&'c Tenant, Failure> {
        let found = checked.tenants.iter().find(|tenant| tenant.id.as_str() == self.tenant);
        found.ok_or_else(|| Failure::not_tried(format!("there is no tenant {}", self.tenant)))
    }
}

fn identity_provider(tenant: &Tenant, checked: &Checked) -> Result<String, Failure> {
    let (Some(role), Some(portal)) = (&tenant.idp, &tenant.portal_origin) else {
        return Err(Failure::not_tried(format!("the tenant {} is no identity provider", tenant.id))
            .fix(format!("add [tenant.{}.idp] with its certificate and key", tenant.id)));
    };
    let saml11 = checked.service_providers.iter().any(|provider| provider.tenant == tenant.id && provider.saml11.is_some());
    let written = pages::idp_metadata(role, portal, &tenant.title, saml11);
    written.map_err(|why| Failure::not_tried(format!("the metadata cannot be written: {why}")))
}

fn service_provider(tenant: &Tenant, checked: &Checked) -> Result<String, Failure> {
    let scheme = tenant.chain.iter().find_map(|name| match checked.schemes.get(name)? {
        Scheme::Saml(saml) => Some(saml),
        Scheme::Session
        | Scheme::Basic { .. }
        | Scheme::ClientCertificate(_)
        | Scheme::IdentityUrl(_)
        | Scheme::SessionTicket(_)
        | Scheme::WsSecurity(_)
        | Scheme::Oidc(_)
        | Scheme::Introspection(_)
        | Scheme::Integration { .. }
        | Scheme::LoginForm { .. } => None,
    });
    let no_scheme =
        || Failure::not_tried(format!("the tenant {} is no service provider", tenant.id)).fix("put a scheme of type saml into its chain");
    let metadata = saml::metadata(scheme.ok_or_else(no_scheme)?, tenant.portal_origin.as_deref().unwrap_or_default());
    let written = metadata.unsigned().map_err(|why| Failure::not_tried(format!("the metadata cannot be written: {why}")))?;
    Ok(written.as_str().to_owned())
}

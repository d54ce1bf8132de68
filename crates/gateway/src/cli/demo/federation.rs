//! The east signs its users in at the north, by SAML 2.0, and an old company by SAML 1.1: tenants of one process that meet as strangers
//! do, by metadata.

use std::net::SocketAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustls::pki_types::CertificateDer;
use vestibule_engine::secret::Secret;
use vestibule_saml::Idp;
use vestibule_xmlsec::{IdentityProvider, Purpose as _, SigningKey};

use super::{Folder, old_clients};
use crate::config::checked::{IdentityProviderRole, Pair, Saml};
use crate::schemes::saml;
use crate::serve::pages::idp_metadata;

/// Fresh keys for all, and their metadata where the configuration looks for them.
pub(super) fn introduce(folder: &Folder, port: u16) -> Result<(), String> {
    let [north, east] = ["north", "east"].map(|tenant| format!("http://login.{tenant}.localhost:{port}"));
    let idp = key(folder, "idp", "login.north.localhost")?;
    let sp = key(folder, "east", "login.east.localhost")?;

    let signing = SigningKey::<IdentityProvider>::from_pkcs8(IdentityProvider::NAME, idp.key.reveal(), Some(&idp.certificate));
    let entity_id = format!("{north}/saml/idp/metadata");
    let role = IdentityProviderRole {
        idp: Arc::new(Idp { entity_id, sso_urls: Vec::new(), key: signing.map_err(|why| why.to_string())? }),
        certificates: vec![CertificateDer::from(idp.certificate)],
        signed_requests: false,
    };
    for (file, saml11) in [("north.xml", false), ("north-saml11.xml", true)] {
        folder.write(file, &idp_metadata(&role, &north, "North Ltd", saml11).map_err(|why| why.to_string())?)?;
    }
    let old = key(folder, "old", "login.old.localhost")?;
    folder.write("old.xml", &old_clients::metadata(port, &BASE64.encode(old.certificate)))?;
    let sp = Saml {
        entity_id: None,
        aliases: Vec::new(),
        saml11_consumer: None,
        signing: Some(sp),
        decryption: Vec::new(),
        providers: Vec::new(),
    };
    let metadata = saml::metadata(&sp, &east).unsigned().map_err(|why| why.to_string())?;
    folder.write("east.xml", metadata.as_str()).map(drop)
}

fn key(folder: &Folder, name: &str, host: &str) -> Result<Pair, String> {
    let made = rcgen::generate_simple_self_signed([host.to_owned()]).map_err(|error| error.to_string())?;
    folder.write(&format!("{name}.crt"), &made.cert.pem())?;
    folder.write(&format!("{name}.key"), &made.signing_key.serialize_pem())?;
    Ok(Pair { certificate: made.cert.der().to_vec(), key: Secret::new(made.signing_key.serialize_der()) })
}

/// What the configuration says of it.
pub(super) fn configuration(port: u16, application: SocketAddr) -> String {
    format!(
        r##"
[tenant.east]
title = "East & Co"
hosts = ["app.east.localhost:{port}"]
portal = "login.east.localhost:{port}"
chain = ["session", "sso"]
brand = {{ accent = "#7a4a1f" }}

[[route]]
tenant = "east"
match = "/**"
policies = ["policy.cedar"]
inject = ["headers", "token"]
forward = "http://{application}"

[scheme.sso]
type = "saml"
identity_provider = "north"

[scheme.sso.signing]
certificate = "east.crt"
key = {{ file = "east.key" }}

[identity_provider.north]
metadata = "north.xml"
provision = true
name = "user"
group_attribute = "groups"
groups = {{ staff = "staff", admins = "admins" }}
unsolicited = true
origins = ["http://login.north.localhost:{port}"]

[service_provider.east]
tenant = "north"
metadata = "east.xml"
title = "East & Co"
release = {{ user = "user", groups = "groups" }}
relay_state = "http://app.east.localhost:{port}/"
"##
    )
}

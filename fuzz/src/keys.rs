//! Whom the targets believe.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use vestibule_xmlsec::TrustedKeys;

/// The key of the recorded identity provider.
pub fn trusted() -> TrustedKeys {
    let pem = include_str!("../../corpus/recorded/keys/idp-rsa2048.crt");
    let body: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    let mut keys = TrustedKeys::new();
    keys.add_certificate(&STANDARD.decode(body).expect("a certificate")).expect("a key");
    keys
}

//! A tenant: whose request this is. It brings the chain, the portal, the brand.

use std::sync::Arc;

use crate::chain::Chain;
use crate::cors::Cors;
use crate::identity::TenantId;
use crate::request::Host;

/// One organisation behind the gateway.
#[derive(Debug)]
pub struct Tenant {
    /// Its name.
    pub id: TenantId,
    /// The name to show.
    pub title: String,
    /// The hosts of its applications.
    pub hosts: Vec<Host>,
    /// The host of its own pages, on which no route forwards.
    pub portal: Option<Host>,
    /// The origin of the portal as browsers see it, e.g. `https://login.example.com`.
    pub portal_origin: Option<String>,
    /// The suffix of user names that means this tenant: `ada@north` is `ada` here. Without a period (§3.2).
    pub domain: Option<String>,
    /// The origins a browser may be sent back to after login.
    pub origins: Vec<String>,
    /// What pages of other origins may do with its applications.
    pub cors: Cors,
    /// The ordered schemes.
    pub chain: Arc<Chain>,
    /// The protection space in challenges; constant, says nothing of users.
    pub realm_text: String,
    /// The brand its pages wear.
    pub brand: Option<String>,
}

impl Tenant {
    /// The user name somebody typed, without this tenant's own suffix.
    pub fn local_name<'a>(&self, typed: &'a str) -> &'a str {
        local_name(typed, self.domain.as_deref())
    }
}

/// The user name somebody typed, without the suffix `@domain`. Any other suffix is part of the name, so that an
/// unknown domain behaves as an unknown user (`authentication-chain.md` §10).
pub fn local_name<'a>(typed: &'a str, domain: Option<&str>) -> &'a str {
    match (typed.rsplit_once('@'), domain) {
        (Some((name, suffix)), Some(domain)) if !name.is_empty() && suffix.trim_end().to_lowercase() == domain.to_lowercase() => name,
        _ => typed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_tenants_own_suffix_is_taken_off() {
        for (typed, name) in [("ada@north", "ada"), ("ada@NORTH", "ada"), ("ada", "ada"), ("a@b@north", "a@b")] {
            assert_eq!(local_name(typed, Some("north")), name);
        }
        for typed in ["ada@south", "ada@north.example", "@north", "ada@"] {
            assert_eq!(local_name(typed, Some("north")), typed);
        }
        assert_eq!(local_name("ada@north", None), "ada@north");
    }
}

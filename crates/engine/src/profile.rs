//! Profiles: what holds for a kind of user, whichever tenant they belong to.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::identity::{ProfileName, RealmName, User};

/// What holds for the users of a profile.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Profile {
    /// Another service checks their passwords: this realm asks it. Then nobody else does, and nobody here changes them.
    pub delegated: Option<RealmName>,
    /// From where they may come; empty for anywhere.
    pub addresses: Vec<ipnet::IpNet>,
}

/// The profiles of which the configuration says something.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Profiles(HashMap<ProfileName, Profile>);

impl FromIterator<(ProfileName, Profile)> for Profiles {
    fn from_iter<I: IntoIterator<Item = (ProfileName, Profile)>>(profiles: I) -> Self {
        Self(profiles.into_iter().collect())
    }
}

impl Profiles {
    /// The realm through which another service checks this user's password, if one does. Operators' passwords are checked
    /// here whatever their profile says, or an outage elsewhere would lock out those who could help.
    pub fn delegate(&self, user: &User) -> Option<&RealmName> {
        if user.is_operator() {
            return None;
        }
        self.0.get(&user.profile)?.delegated.as_ref()
    }

    /// Whether any profile's passwords are checked elsewhere.
    pub fn delegates(&self) -> bool {
        self.0.values().any(|profile| profile.delegated.is_some())
    }

    /// Whether this user may come from there.
    pub fn admits(&self, user: &User, client: IpAddr) -> bool {
        let client = client.to_canonical();
        let Some(profile) = self.0.get(&user.profile) else { return true };
        profile.addresses.is_empty() || profile.addresses.iter().any(|net| net.contains(&client))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::ada;

    #[test]
    fn a_profile_delegates_everybody_but_operators() {
        let profile = || Profile { delegated: Some("corp".into()), addresses: Vec::new() };
        let profiles: Profiles = [(ada().profile, profile()), (User::ADMINISTRATOR.into(), profile())].into_iter().collect();
        assert_eq!(profiles.delegate(&ada()).map(RealmName::as_str), Some("corp"));
        assert_eq!(profiles.delegate(&User { profile: "other".into(), ..ada() }), None);
        assert_eq!(profiles.delegate(&User { break_glass: true, ..ada() }), None);
        assert_eq!(profiles.delegate(&User { profile: User::ADMINISTRATOR.into(), ..ada() }), None);
        assert!(profiles.delegates() && !Profiles::default().delegates());
    }

    #[test]
    fn a_profile_may_be_held_to_addresses() {
        let profile = Profile { delegated: None, addresses: vec!["10.0.0.0/8".parse().unwrap()] };
        let profiles: Profiles = [(ada().profile, profile)].into_iter().collect();
        for (address, admitted) in [("10.1.2.3", true), ("::ffff:10.1.2.3", true), ("192.0.2.1", false), ("::1", false)] {
            assert_eq!(profiles.admits(&ada(), address.parse().unwrap()), admitted, "{address}");
            assert!(Profiles::default().admits(&ada(), address.parse().unwrap()));
        }
    }
}

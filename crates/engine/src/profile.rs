//! Profiles: what holds for a kind of user, whichever tenant they belong to.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::audit::Reason;
use crate::clock::Timestamp;
use crate::identity::{Level, ProfileName, RealmName, User};

mod hours;

pub use hours::Hours;

/// What holds for the users of a profile.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Profile {
    /// Another service checks their passwords: this realm asks it. Then nobody else does, and nobody here changes them.
    pub delegated: Option<RealmName>,
    /// From where they may come; empty for anywhere.
    pub addresses: Vec<ipnet::IpNet>,
    /// When they may come, and stay; without it, always.
    pub hours: Option<Hours>,
    /// A session of theirs unused for so long is over, in place of everybody's limit.
    pub idle: Option<Duration>,
    /// How far a session may move from the address of its login.
    pub lock: Lock,
    /// The least strength of their proof.
    pub level: Option<Level>,
}

/// How far a session may move from the address of its login.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Lock {
    /// Anywhere: people travel, and mobile networks change addresses.
    #[default]
    Off,
    /// Within its network: /24 of IPv4, /64 of IPv6.
    Network,
    /// Nowhere.
    Exact,
}

impl Lock {
    /// Whether a session that was opened from `home` may be used from `client`. One of which nobody knows where it was opened may not.
    fn admits(self, home: Option<IpAddr>, client: IpAddr) -> bool {
        let Some(home) = home.map(|home| home.to_canonical()) else { return self == Self::Off };
        let client = client.to_canonical();
        match self {
            Self::Off => true,
            Self::Exact => home == client,
            Self::Network => {
                let prefix = if home.is_ipv4() { 24 } else { 64 };
                ipnet::IpNet::new(home, prefix).is_ok_and(|net| net.contains(&client))
            }
        }
    }
}

impl Profile {
    /// Whether its users may come from there.
    fn admits(&self, client: Option<IpAddr>) -> bool {
        let lists = |client: IpAddr| self.addresses.iter().any(|net| net.contains(&client.to_canonical()));
        self.addresses.is_empty() || client.is_some_and(lists)
    }
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
        if user.is_operator() { None } else { self.delegate_of(&user.profile) }
    }

    /// The realm through which another service checks the passwords of a profile's users, if one does.
    pub fn delegate_of(&self, profile: &ProfileName) -> Option<&RealmName> {
        self.0.get(profile)?.delegated.as_ref()
    }

    /// Whether any profile's passwords are checked elsewhere.
    pub fn delegates(&self) -> bool {
        self.0.values().any(|profile| profile.delegated.is_some())
    }

    /// Why nobody of this profile may come, with a proof of this strength, from there, now. A place that nobody knows is none that is
    /// listed.
    ///
    /// # Errors
    /// The first restriction that forbids it.
    pub fn restricts(&self, profile: &ProfileName, client: Option<IpAddr>, level: Level, now: Timestamp) -> Result<(), Reason> {
        let Some(profile) = self.0.get(profile) else { return Ok(()) };
        // Salesforce's order (`login-saml-delegated.md` §8.2): hours before addresses.
        if profile.hours.as_ref().is_some_and(|hours| !hours.admit(now)) {
            return Err(Reason::OutsideHours);
        }
        if !profile.admits(client) {
            return Err(Reason::AddressNotListed);
        }
        match profile.level {
            Some(least) if level < least => Err(Reason::WeakProof),
            Some(_) | None => Ok(()),
        }
    }

    /// Whether a session of this user that was opened from `home` may be used from `client`.
    pub fn follows(&self, user: &User, home: Option<IpAddr>, client: IpAddr) -> bool {
        self.0.get(&user.profile).is_none_or(|profile| profile.lock.admits(home, client))
    }

    /// After how long unused a session of this user is over, if their profile says so.
    pub fn idle(&self, user: &User) -> Option<Duration> {
        self.0.get(&user.profile)?.idle
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::ada;

    #[test]
    fn a_profile_delegates_everybody_but_operators() {
        let profile = || Profile { delegated: Some("corp".into()), ..Profile::default() };
        let profiles: Profiles = [(ada().profile, profile()), (User::ADMINISTRATOR.into(), profile())].into_iter().collect();
        assert_eq!(profiles.delegate(&ada()).map(RealmName::as_str), Some("corp"));
        assert_eq!(profiles.delegate(&User { profile: "other".into(), ..ada() }), None);
        assert_eq!(profiles.delegate(&User { break_glass: true, ..ada() }), None);
        assert_eq!(profiles.delegate(&User { profile: User::ADMINISTRATOR.into(), ..ada() }), None);
        assert!(profiles.delegates() && !Profiles::default().delegates());
    }

    #[test]
    fn a_session_may_be_held_to_the_address_of_its_login() {
        let home = |text: &str| Some(text.parse().unwrap());
        for (lock, from, to, follows) in [
            (Lock::Off, home("192.0.2.1"), "198.51.100.1", true),
            (Lock::Off, None, "198.51.100.1", true),
            (Lock::Exact, home("192.0.2.1"), "192.0.2.1", true),
            (Lock::Exact, home("::ffff:192.0.2.1"), "192.0.2.1", true),
            (Lock::Exact, home("192.0.2.1"), "192.0.2.2", false),
            (Lock::Exact, None, "192.0.2.2", false),
            (Lock::Network, home("192.0.2.1"), "192.0.2.200", true),
            (Lock::Network, home("192.0.2.1"), "192.0.3.1", false),
            (Lock::Network, home("2001:db8:0:1::1"), "2001:db8:0:1:ffff::2", true),
            (Lock::Network, home("2001:db8:0:1::1"), "2001:db8:0:2::1", false),
            (Lock::Network, home("192.0.2.1"), "2001:db8::1", false),
            (Lock::Network, None, "192.0.2.2", false),
        ] {
            let profiles: Profiles = [(ada().profile, Profile { lock, ..Profile::default() })].into_iter().collect();
            assert_eq!(profiles.follows(&ada(), from, to.parse().unwrap()), follows, "{lock:?} {from:?} {to}");
        }
        assert!(Profiles::default().follows(&ada(), None, "192.0.2.2".parse().unwrap()));
    }

    #[test]
    fn a_profile_restricts_hours_addresses_and_strength_in_this_order() {
        let hours = Hours::parse(&["mon 08:00-18:00"], "UTC").unwrap();
        let profile =
            Profile { hours: Some(hours), addresses: vec!["10.0.0.0/8".parse().unwrap()], level: Some(Level(20)), ..Profile::default() };
        let profiles: Profiles = [(ada().profile, profile)].into_iter().collect();
        let (inside, outside): (Timestamp, Timestamp) = ("2026-01-05T09:00:00Z".parse().unwrap(), "2026-01-05T19:00:00Z".parse().unwrap());
        for (address, level, now, reason) in [
            ("10.0.0.1", 20, inside, None),
            ("192.0.2.1", 10, outside, Some(Reason::OutsideHours)),
            ("192.0.2.1", 10, inside, Some(Reason::AddressNotListed)),
            ("10.0.0.1", 10, inside, Some(Reason::WeakProof)),
        ] {
            assert_eq!(profiles.restricts(&ada().profile, address.parse().ok(), Level(level), now).err(), reason);
        }
        assert_eq!(Profiles::default().restricts(&ada().profile, None, Level(0), outside), Ok(()));
    }

    #[test]
    fn a_profile_may_be_held_to_addresses() {
        let profile = Profile { addresses: vec!["10.0.0.0/8".parse().unwrap()], ..Profile::default() };
        for (address, admitted) in [("10.1.2.3", true), ("::ffff:10.1.2.3", true), ("192.0.2.1", false), ("::1", false), ("nowhere", false)]
        {
            assert_eq!(profile.admits(address.parse().ok()), admitted, "{address}");
            assert!(Profile::default().admits(address.parse().ok()));
        }
    }
}

//! How a partner's users become ours, whatever it speaks.

use std::collections::BTreeMap;

use vestibule_engine::identity::{GroupName, ProfileName, User};

use super::Resolve;
use crate::config::checked::FoundBy;
use crate::config::file;
use crate::config::values::{At, Pairs};

impl Resolve<'_> {
    /// How users are found by what a partner calls them. One of several must not be able to name users of another.
    pub(super) fn found_by(
        &mut self,
        users: &At<file::FoundBy>,
        suffix: &At<String>,
        one_of_many: bool,
        provision: Option<&At<bool>>,
    ) -> FoundBy {
        match users.value {
            file::FoundBy::Link => FoundBy::Link,
            file::FoundBy::Name => {
                if one_of_many && suffix.value.is_empty() {
                    self.error(users, "this provider could name the users of the others").help =
                        Some("give it a suffix, as in suffix = \"@example.com\", or find users by link".to_owned());
                }
                if let Some(provision) = provision.filter(|provision| provision.value) {
                    self.error(provision, "accounts that are made are found by link").help =
                        Some("leave out users, or provision".to_owned());
                }
                FoundBy::Name { suffix: suffix.value.to_lowercase() }
            }
        }
    }

    /// A profile of accounts that a partner's word makes.
    pub(super) fn profile_of_made(&mut self, profile: &At<String>) {
        if profile.value == User::ADMINISTRATOR {
            self.error(profile, "administrators are the gateway's own users").help =
                Some("they are made by `vestibule user add`".to_owned());
        }
    }

    /// Where a partner chooses the profile of an account that is made, and among which.
    pub(super) fn profiles_there(
        &mut self,
        place: Option<&At<String>>,
        names: Option<&At<Pairs>>,
        provision: &At<bool>,
    ) -> Option<(String, BTreeMap<String, ProfileName>)> {
        for (_, here) in names.into_iter().flat_map(|names| &names.value.0) {
            self.profile_of_made(here);
        }
        if let Some(at) = place.filter(|_| !provision.value) {
            self.error(at, "no account is made whose profile could be chosen").help = Some("add provision = true".to_owned());
        }
        self.names_there(place, names, ("attribute", "profile_attribute", "profile"))
    }

    /// Where a partner says groups, and what they mean here. `what` is the kind of place, `setting` what names it.
    pub(super) fn groups_there(
        &mut self,
        place: Option<&At<String>>,
        names: Option<&At<Pairs>>,
        (what, setting): (&str, &str),
    ) -> Option<(String, BTreeMap<String, GroupName>)> {
        self.names_there(place, names, (what, setting, "group"))
    }

    fn names_there<N: for<'n> From<&'n str>>(
        &mut self,
        place: Option<&At<String>>,
        names: Option<&At<Pairs>>,
        (what, setting, thing): (&str, &str, &str),
    ) -> Option<(String, BTreeMap<String, N>)> {
        match (place, names) {
            (Some(place), Some(names)) => {
                let names = names.value.0.iter().map(|(there, here)| (there.value.clone(), N::from(here.value.as_str())));
                Some((place.value.clone(), names.collect()))
            }
            (Some(place), None) => {
                self.error(place, format!("no {thing} there has a name here")).help =
                    Some(format!("add {thing}s = {{ \"there\" = \"here\" }}"));
                None
            }
            (None, Some(names)) => {
                self.error(names, format!("nothing says which {what} holds {thing}s")).help = Some(format!("add {setting}"));
                None
            }
            (None, None) => None,
        }
    }
}

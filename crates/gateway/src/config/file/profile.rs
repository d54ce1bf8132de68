//! Profiles.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::values::{At, Net, Period};

/// How far a session may move from the address of its login.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Lock {
    /// Anywhere.
    #[default]
    Off,
    /// Within its network.
    Network,
    /// Nowhere.
    Exact,
}

/// What holds for a kind of user. Every user has a profile; one of which nothing is written here changes nothing.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Profile {
    /// Another service checks the passwords of these users: the realm of type `delegated` that asks it. Then no other realm
    /// accepts them, and nobody changes or resets their passwords here. Administrators and emergency accounts are not delegated.
    #[schemars(with = "Option<String>", example = &"corporate")]
    pub delegated: Option<At<String>>,
    /// From where they may come, by whatever scheme. Without it, from anywhere.
    #[schemars(with = "Vec<String>", example = ["10.0.0.0/8"])]
    pub from: Vec<At<Net>>,
    /// When they may sign in and stay, as spans of the week; what is not written is closed. Without it, always.
    #[schemars(with = "Vec<String>", example = ["mon-fri 07:00-19:00", "sat 08:00-12:00"])]
    pub hours: Option<At<Vec<At<String>>>>,
    /// The time zone of these hours (IANA).
    #[schemars(with = "Option<String>", example = &"Europe/Berlin")]
    pub time_zone: Option<At<String>>,
    /// After how long unused a session of theirs is over, in place of `[session] idle`.
    #[schemars(with = "Option<String>", example = &"15m")]
    pub idle: Option<At<Period>>,
    /// How far a session may move from the address of its login: `off` anywhere, `network` within its /24 (IPv4) or /64 (IPv6),
    /// `exact` nowhere.
    pub lock: Lock,
    /// The least strength of their proof: 10 is a password, 20 a key; what an identity provider's contexts are worth its `levels`
    /// say. Weaker proofs and sessions do not count.
    pub level: Option<u8>,
    /// What the page for changing the password says to users whose password another service checks.
    #[schemars(with = "Option<String>", example = "Your password is the one of your computer at work.")]
    pub password_help: Option<At<String>>,
    /// Where they change it: an `https` address.
    #[schemars(with = "Option<String>", example = "https://password.example.com/")]
    pub password_url: Option<At<String>>,
}

//! Profiles.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::values::{At, Net};

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
    /// What the page for changing the password says to users whose password another service checks.
    #[schemars(with = "Option<String>", example = "Your password is the one of your computer at work.")]
    pub password_help: Option<At<String>>,
    /// Where they change it: an `https` address.
    #[schemars(with = "Option<String>", example = "https://password.example.com/")]
    pub password_url: Option<At<String>>,
}

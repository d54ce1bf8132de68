//! How much may be under way.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::values::{At, Net};

/// How much may be under way. What is more is refused at once, with `Retry-After`: 429 where one address asks too much, 503 where all
/// together do.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Load {
    /// Requests at one time, over all listeners.
    #[schemars(with = "u32")]
    pub requests: At<u32>,
    /// How many per cent of the places, and of a route's places, are for clients whose session was verified here lately. They are
    /// served while others are turned away.
    #[schemars(with = "u8")]
    pub reserved: At<u8>,
    /// Requests at one time from one address; of IPv6, from one network of 64 bits. 0 is no limit. The address is the client's own
    /// where `trusted_proxies` name the proxies in front.
    pub address_requests: u32,
    /// Requests a second from one address. Without it, there is no limit.
    pub address_rate: Option<Rate>,
    /// How many addresses are remembered. With more, those that have been quiet for longest are forgotten.
    #[schemars(with = "u32")]
    pub addresses: At<u32>,
    /// Addresses of which nothing is counted: an office behind one address, a probe.
    #[schemars(example = ["192.0.2.0/24"])]
    pub exempt: Vec<Net>,
}

impl Default for Load {
    fn default() -> Self {
        Self {
            requests: 10_000.into(),
            reserved: 25.into(),
            address_requests: 1000,
            address_rate: None,
            addresses: 65_536.into(),
            exempt: Vec::new(),
        }
    }
}

/// So many a second on average.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// On average.
    #[schemars(with = "u32", example = 20)]
    pub per_second: At<u32>,
    /// At once, after a pause. Without it, twice as many as a second.
    #[serde(default)]
    #[schemars(with = "Option<u32>", example = 100)]
    pub burst: Option<At<u32>>,
}

/// How much of a route may be under way.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RouteLimits {
    /// Requests at one time: as many as the application answers well.
    #[schemars(with = "Option<u32>", example = 200)]
    pub requests: Option<At<u32>>,
    /// Requests a second.
    pub rate: Option<Rate>,
}

//! What a tenant's old clients of integration services see, as meant.

use std::time::Duration;

use vestibule_engine::session::Programs;

use crate::schemes::integration::{Settings, token};

/// What they see.
#[derive(Debug, Clone)]
pub struct Integration {
    /// Addresses, names and rules. Its own paths are apart from each other, and a route takes the data.
    pub settings: Settings,
    /// A session unused for so long is over.
    pub idle: Duration,
    /// A session so old is over; [`Duration::MAX`] is no limit.
    pub absolute: Duration,
    /// How many sessions there may be, and how far apart requests are.
    pub programs: Programs,
    /// The most requests in 24 hours.
    pub allotment: Option<u32>,
    /// How tokens are used.
    pub tokens: token::Settings,
}

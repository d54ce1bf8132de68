//! HTTP Basic over a family of realms.

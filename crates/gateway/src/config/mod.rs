//! One TOML file in three stages: as written, as meant, as running (architecture §7).

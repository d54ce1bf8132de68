//! Signing keys: sealed at rest, rotated, revoked, published.

//! Identity headers.

//! Our own pages on the portal host.

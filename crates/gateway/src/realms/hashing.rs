//! Password hashes and the bounded pool that computes them.

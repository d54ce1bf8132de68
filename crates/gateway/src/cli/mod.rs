//! One file per command (architecture §13).

pub mod check;

//! One file per command (architecture §13).

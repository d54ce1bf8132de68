//! The signed identity document.

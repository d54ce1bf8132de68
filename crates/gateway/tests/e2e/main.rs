//! The real binary, real sockets, a real application behind it.

mod admin;
mod bad_input;
mod chain;
mod demo;
mod ldap;
mod lifecycle;
mod login;
mod nginx;
mod support;

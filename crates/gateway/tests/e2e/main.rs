//! The real binary, real sockets, a real application behind it.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test says what it expects")]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a test says why it was skipped, and shows the gateway's log when it fails")]

mod admin;
mod attacks;
mod audit;
mod bad_input;
mod balanced;
mod balancer;
mod browser;
mod chain;
mod client_certificates;
mod cluster;
mod corpora;
mod delegate;
mod delegated;
mod demo;
mod doors;
mod examples;
mod faults;
mod foreign;
mod front_door;
mod hand_over;
#[path = "../../src/cli/demo/identity_service.rs"]
mod identity_service;
mod integration;
mod integration_clients;
mod interop;
mod introspection;
mod kept;
#[path = "../peers/keycloak.rs"]
mod keycloak;
mod keystores;
mod ldap;
mod leaks;
mod lifecycle;
mod limits;
mod load;
mod login;
mod migration;
mod nginx;
mod oidc;
#[path = "../../src/cli/demo/openid_provider.rs"]
mod openid_provider;
mod outages;
mod packaging;
mod passwords;
#[path = "../peers/mod.rs"]
#[expect(dead_code, reason = "the stores' own tests need more of it")]
mod peers;
mod policy_server;
mod proxy_protocol;
mod saml11;
mod saml11_peers;
mod saml_idp;
mod saml_idp_peers;
mod saml_sp;
mod saml_sp_peers;
mod session_tickets;
mod shown;
#[path = "../peers/simplesamlphp.rs"]
mod simplesamlphp;
mod soap;
mod support;
mod transport;
mod tunnels;
mod wire_examples;
mod ws_security;
mod ws_security_assertions;
mod ws_security_cluster;
mod ws_security_corpus;
mod ws_security_limits;
mod ws_security_matrix;
mod ws_security_packages;
mod ws_security_peers;
mod ws_security_spellings;
mod ws_security_trust;
mod xml;

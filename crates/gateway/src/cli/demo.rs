//! `vestibule demo`: everything embedded, fresh keys and passwords, loopback only.
//!
//! It writes a configuration into a fresh directory and runs the very code of `serve` over it. Its store is
//! marked, and `serve` refuses a store with that mark.

mod application;

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use vestibule_engine::clock::random;
use vestibule_engine::secret::Secret;

/// Who the demo knows: tenant, name, groups, what the screen says of them.
const USERS: [(&str, &str, &[&str]); 4] = [
    ("north", "ada", &["staff", "admins"]),
    ("north", "bob", &["staff"]),
    ("south", "sol", &["staff"]),
    ("south", "new", &["staff"]),
];

const POLICY: &str = r#"// Whoever is on the staff may read; administrators may also write.
@id("staff-may-read")
permit(principal in Group::"staff", action in Action::"read", resource);

@id("admins-may-write")
permit(principal in Group::"admins", action in Action::"write", resource);

@id("staff-may-call-soap")
permit(principal in Group::"staff", action == Action::"POST", resource) when { resource.path like "/soap/*" };
"#;

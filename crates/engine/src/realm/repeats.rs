//! The last wrong passwords of an account, so that a desktop with a stale saved password locks nobody out
//! and does not hammer the directory (`authentication-chain.md` §9.7).
//!
//! Only a keyed digest is kept, in memory, under a key that dies with the process: whoever reads the store
//! learns nothing of passwords that are one letter away from the right one.

use std::fmt;
use std::time::Duration;

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use quick_cache::sync::Cache;
use subtle::ConstantTimeEq;

use crate::realm::{Accounts, Attempt, Offered, RealmStep, Then};
use crate::store::digest;

/// Wrong passwords remembered per account.
const PER_ACCOUNT: usize = 3;
/// Accounts remembered; the least recently used are forgotten.
const ACCOUNTS: usize = 16_384;
/// For how long a wrong password is not asked about again.
const LASTS: Duration = Duration::from_secs(10 * 60);

pub(super) struct Repeats {
    /// None if the system gave no random numbers: then nothing is remembered and everything is asked.
    key: Option<hmac::Key>,
    accounts: Cache<[u8; 32], Vec<Wrong>>,
}

/// The keyed digest of one offered password.
#[derive(Clone, Copy)]
pub(super) struct Fingerprint {
    account: [u8; 32],
    password: [u8; 32],
}

#[derive(Clone, Copy)]
struct Wrong {
    password: [u8; 32],
    since: Duration,
}

impl Repeats {
    pub(super) fn new() -> Self {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).ok();
        Self { key, accounts: Cache::new(ACCOUNTS) }
    }

    /// The fingerprint of an attempt at these realms; none for a digest, which never repeats.
    pub(super) fn fingerprint(&self, steps: &[RealmStep], attempt: &Attempt<'_>) -> Option<Fingerprint> {
        let (key, Offered::Password(password)) = (self.key.as_ref()?, attempt.secret) else { return None };
        let account = account(attempt.tenant.as_str(), attempt.username.as_str());
        let mut context = hmac::Context::with_key(key);
        let mut add = |part: &[u8]| {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        };
        add(&account);
        // What is wrong at one door may be right at another, which asks other realms, or lets other accounts in.
        add(match attempt.accounts {
            Accounts::All => b"all",
            Accounts::Elsewhere => b"elsewhere",
            Accounts::BreakGlass => b"break glass",
        });
        for step in steps {
            add(step.realm.name().as_str().as_bytes());
            add(match step.then {
                Then::Next => b"next",
                Then::NextIfUnknown => b"next if unknown",
            });
        }
        add(password.reveal().as_bytes());
        let mut octets = [0; 32];
        octets.copy_from_slice(context.sign().as_ref());
        Some(Fingerprint { account, password: octets })
    }

    /// Whether this password was found wrong a short while ago.
    pub(super) fn contains(&self, fingerprint: &Fingerprint, now: Duration) -> bool {
        let known = self.accounts.get(&fingerprint.account).unwrap_or_default();
        known.iter().any(|wrong| now.saturating_sub(wrong.since) < LASTS && bool::from(wrong.password.ct_eq(&fingerprint.password)))
    }

    /// Remembers a password that was found wrong.
    pub(super) fn remember(&self, fingerprint: &Fingerprint, now: Duration) {
        let mut known = self.accounts.get(&fingerprint.account).unwrap_or_default();
        known.retain(|wrong| now.saturating_sub(wrong.since) < LASTS);
        if known.len() >= PER_ACCOUNT {
            known.remove(0);
        }
        known.push(Wrong { password: fingerprint.password, since: now });
        self.accounts.insert(fingerprint.account, known);
    }

    /// Forgets an account: its password has changed, or the right one was given.
    pub(super) fn forget(&self, tenant: &str, username: &str) {
        self.accounts.remove(&account(tenant, username));
    }
}

impl fmt::Debug for Repeats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Repeats").finish_non_exhaustive()
    }
}

fn account(tenant: &str, username: &str) -> [u8; 32] {
    digest(&[tenant.as_bytes(), username.as_bytes()])
}

//! Opens sessions of as many users in the memory store and prints the resident octets each costs, and the time that
//! recognising one of them takes.
//!
//! `cargo run --release -p vestibule-engine --example session_memory [COUNT]`
#![expect(clippy::print_stdout, reason = "its output is its purpose")]

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;
use vestibule_engine::audit::Trail;
use vestibule_engine::clock::{Clock, SystemClock};
use vestibule_engine::identity::{AccountState, Identity, Issuer, Level, ProfileName, TenantId, User, UserId, Username};
use vestibule_engine::session::{Sessions, Settings};
use vestibule_engine::store::DurableStore;
use vestibule_engine::store::memory::{MemoryDurableStore, MemoryStore};
use vestibule_engine::users::Users;

/// Octets in a page of memory, as `/proc/self/statm` counts them on Linux.
const PAGE: u64 = 4096;
/// How often one session is looked for.
const FOUND: u32 = 200_000;

fn main() -> Result<(), Box<dyn Error>> {
    let count: u64 = std::env::args().nth(1).map_or(Ok(1_000_000), |count| count.parse())?;
    tokio::runtime::Builder::new_current_thread().build()?.block_on(measure(count))
}

async fn measure(count: u64) -> Result<(), Box<dyn Error>> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let store = Arc::new(MemoryStore::new(clock.clone()));
    let durable = Arc::new(MemoryDurableStore::default());
    let users = Arc::new(Users::new(durable.clone(), Duration::from_secs(1)));
    let sessions = Sessions::new(store, users, Settings::default());
    let mut identity = identity(clock.now())?;

    let (before, began) = (resident()?, clock.monotonic());
    for n in 0..count {
        let user = Arc::make_mut(&mut identity.user);
        user.id = UserId(Uuid::from_u128(u128::from(n) + 1));
        sessions.open(&identity, "app.north.example.com", clock.now(), &mut Trail::new(clock.clone())).await?;
    }
    let (after, took) = (resident()?, clock.monotonic() - began);
    let each = after.saturating_sub(before) / count.max(1);
    println!("{count} sessions, {each} octets each, opened in {took:.1?}");

    durable.insert_user(&identity.user).await?;
    let host = "app.north.example.com";
    let opened = sessions.open(&identity, host, clock.now(), &mut Trail::new(clock.clone())).await?;
    let began = clock.monotonic();
    for _ in 0..FOUND {
        sessions.find(identity.tenant(), host, opened.token.reveal(), clock.now()).await?.map_err(|reason| format!("{reason:?}"))?;
    }
    println!("found in {:?}", (clock.monotonic() - began) / FOUND);
    Ok(())
}

fn identity(now: vestibule_engine::Timestamp) -> Result<Identity, Box<dyn Error>> {
    let user = User {
        id: UserId(Uuid::nil()),
        tenant: TenantId::from("north"),
        name: Username::parse("ada").ok_or("no user name")?,
        display_name: None,
        email: None,
        groups: Vec::new(),
        profile: ProfileName::from("user"),
        state: AccountState::Active,
        must_change_password: false,
        break_glass: false,
        epoch: 3,
        password: None,
        external_ids: Vec::new(),
        created: now,
    };
    Ok(Identity {
        user: Arc::new(user),
        scheme: "login-form".into(),
        method: "login-form".into(),
        issuer: Issuer::from("local"),
        level: Level(10),
        authenticated_at: now,
        attributes: Arc::default(),
        session: None,
        ambient: false,
        from: None,
    })
}

/// The octets this process has in memory.
fn resident() -> Result<u64, Box<dyn Error>> {
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    let pages: u64 = statm.split_whitespace().nth(1).ok_or("statm has no second field")?.parse()?;
    Ok(pages * PAGE)
}

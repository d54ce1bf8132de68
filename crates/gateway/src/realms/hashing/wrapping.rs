//! Wraps the imported hashes that rest sealed, one after the other, when nobody waits to sign in.
//!
//! A thief who takes both the store and the key-encryption key could open what is still sealed; so none stays so for longer
//! than it takes. Several nodes work off the same users: each takes them in an order of its own and looks again first.

use std::sync::Arc;
use std::time::Duration;

use vestibule_engine::clock::random;
use vestibule_engine::scheme::Unavailable;
use vestibule_engine::store::DurableStore;

use super::HashingPool;

/// Users read at a time.
const PAGE: usize = 64;
/// How long to wait when there is nothing to do, or the store is down.
const PAUSE: Duration = Duration::from_secs(10);

/// Wraps for ever. Belongs on the control runtime.
pub async fn run(store: Arc<dyn DurableStore>, pool: Arc<HashingPool>) {
    let mut wrapped: u64 = 0;
    loop {
        match page(&store, &pool).await {
            Ok(Page { left: 0, .. }) => {
                if wrapped > 0 {
                    tracing::info!(wrapped, "all imported password hashes are wrapped");
                    wrapped = 0;
                }
                tokio::time::sleep(PAUSE).await;
            }
            Ok(done) => {
                if wrapped == 0 {
                    tracing::info!("imported password hashes wait to be wrapped; that is done while nobody signs in");
                }
                wrapped += done.wrapped;
                // Hashes that cannot be opened would be met again at once.
                if done.wrapped == 0 {
                    tokio::time::sleep(PAUSE).await;
                }
            }
            Err(down) => {
                tracing::debug!(error = %down, "imported password hashes are wrapped another time");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// What became of a page of users.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Page {
    /// How many it had.
    pub(super) left: usize,
    /// How many of them were wrapped.
    pub(super) wrapped: u64,
}

pub(super) async fn page(store: &Arc<dyn DurableStore>, pool: &HashingPool) -> Result<Page, Unavailable> {
    let mut users = store.users_with_sealed_hash(PAGE).await?;
    let mut page = Page { left: users.len(), wrapped: 0 };
    while !users.is_empty() {
        let chance = u64::from_be_bytes(random()?);
        let user = users.swap_remove(usize::try_from(chance % u64::try_from(users.len()).unwrap_or(1)).unwrap_or(0));
        let Some(sealed) = user.password else { continue };
        // Another node, or a login, may have been faster.
        if store.user(user.id).await?.is_none_or(|now| now.password.as_ref() != Some(&sealed)) {
            continue;
        }
        match pool.wrap(&sealed).await? {
            Ok(wrapped) => page.wrapped += u64::from(store.replace_password(user.id, &sealed, &wrapped).await?),
            Err(why) => tracing::error!(user = %user.id, error = %why, "an imported password hash cannot be wrapped"),
        }
    }
    Ok(page)
}

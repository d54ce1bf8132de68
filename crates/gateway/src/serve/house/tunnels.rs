//! The watch over tunnels, which outlive the decision that opened them.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use vestibule_engine::identity::Identity;

use crate::serve::proxy::{self, Shared};

/// How often a tunnel's identity is asked whether it still holds.
const TUNNEL_CHECK: Duration = Duration::from_secs(1);

/// Ends when an identity no longer holds, which is asked every second.
pub(super) fn until_over(shared: &Arc<OnceLock<Arc<Shared>>>) -> proxy::UntilOver {
    // It is part of what is shared, and must not keep that alive.
    let shared = Arc::downgrade(shared);
    Arc::new(move |identity: Arc<Identity>, client: IpAddr| {
        let shared = shared.clone();
        Box::pin(async move {
            loop {
                tokio::time::sleep(TUNNEL_CHECK).await;
                // Under the configuration in force, not the one under which the tunnel was opened.
                let Some(engine) = shared.upgrade().and_then(|shared| Some(shared.get()?.running().engine.clone())) else { return };
                // An outage is no logout; the store is asked again in a second.
                if let Ok(false) = engine.holds(&identity, client).await {
                    return;
                }
            }
        })
    })
}

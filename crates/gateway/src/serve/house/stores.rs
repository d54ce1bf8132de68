//! The stores that a configuration names, opened.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::runtime::Handle;
use vestibule_engine::Timestamp;
use vestibule_engine::clock::Clock;
use vestibule_engine::store::memory::{MemoryDurableStore, MemoryStore};
use vestibule_engine::store::{DurableStore, ExpiringStore};

use crate::config::Purpose;
use crate::config::checked::{Checked, Durable, Expiring};
use crate::store::embedded::EmbeddedStore;
use crate::store::postgres::PostgresStore;
use crate::store::redis::RedisStore;
use crate::store::split::Split;

/// The file of the embedded store, in the store's directory.
const DATABASE: &str = "vestibule.db";
/// What marks a store that was made for a demonstration.
const DEMO: &str = "demo";
/// The setting that says from when on a restored store may serve.
pub const NOT_BEFORE: &str = "serve-not-before";

/// The stores of the configuration, open.
pub(super) struct Stores {
    pub durable: Arc<dyn DurableStore>,
    pub expiring: Arc<dyn ExpiringStore>,
    /// The store in a file, if that is where users are: of others copies are made with their own tools.
    pub embedded: Option<Arc<EmbeddedStore>>,
    /// See [`crate::config::build::House::knows_since`].
    pub knows_since: Option<Timestamp>,
}

impl Stores {
    /// Opens them, and refuses a store that may not serve for this purpose.
    pub async fn open(checked: &Checked, purpose: Purpose, clock: &Arc<dyn Clock>) -> Result<Self, String> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&checked.store.path)
            .map_err(|error| format!("the store's directory {} cannot be made: {error}", checked.store.path.display()))?;
        let control = Handle::current();
        let memory = || Arc::new(MemoryStore::new(clock.clone()));
        let embedded = || {
            let store = EmbeddedStore::open(&database(checked), clock.clone());
            store.map(Arc::new).map_err(|error| error.to_string())
        };
        let mut file = None;
        let (durable, expiring): (Arc<dyn DurableStore>, Arc<dyn ExpiringStore>) = match (&checked.store.durable, &checked.store.expiring) {
            (Durable::Embedded, expiring) => {
                let store = embedded()?;
                file = Some(store.clone());
                match expiring {
                    Expiring::Memory => (store, memory()),
                    Expiring::Embedded | Expiring::Postgres | Expiring::Redis(_) => (store.clone(), store),
                }
            }
            (Durable::Memory, Expiring::Embedded) => (Arc::new(MemoryDurableStore::default()), embedded()?),
            (Durable::Memory, _) => (Arc::new(MemoryDurableStore::default()), memory()),
            (Durable::Postgres(settings), expiring) => {
                let store = PostgresStore::open(settings, clock.clone(), &control).await.map_err(|error| error.to_string())?;
                let store = Arc::new(store);
                match expiring {
                    Expiring::Redis(settings) => {
                        let fleeting = RedisStore::open(settings, clock.clone(), &control).await.map_err(|down| down.to_string())?;
                        let split = Split { lasting: store.clone(), fleeting: Arc::new(fleeting) };
                        (store, Arc::new(split))
                    }
                    Expiring::Postgres | Expiring::Embedded | Expiring::Memory => (store.clone(), store),
                }
            }
        };
        let knows_since = may_serve(&durable, clock.now()).await?;
        let marked = durable.setting(DEMO).await.map_err(|down| down.to_string())?.is_some();
        match purpose {
            Purpose::Serve | Purpose::Check if marked => Err("this store was made by `vestibule demo`; serve another one".to_owned()),
            Purpose::Demo if !marked => {
                durable.setting_or_insert(DEMO, b"1").await.map_err(|down| down.to_string())?;
                Ok(Self { durable, expiring, embedded: file, knows_since })
            }
            Purpose::Serve | Purpose::Check | Purpose::Demo => Ok(Self { durable, expiring, embedded: file, knows_since }),
        }
    }
}

/// The file of an embedded store.
pub fn database(checked: &Checked) -> PathBuf {
    checked.store.path.join(DATABASE)
}

/// Refuses while tokens may be alive of which a restored store does not know that they were used; says since when it knows.
async fn may_serve(durable: &Arc<dyn DurableStore>, now: Timestamp) -> Result<Option<Timestamp>, String> {
    let noted = durable.setting(NOT_BEFORE).await.map_err(|down| down.to_string())?;
    let Some(noted) = noted else { return Ok(None) };
    let until: Timestamp = std::str::from_utf8(&noted)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or("the store says since when it may serve again, but not in words that can be read; restore it again")?;
    match now < until {
        true => Err(format!("the store was restored, and tokens may be alive that were used before: no gateway serves before {until}")),
        false => Ok(Some(until)),
    }
}

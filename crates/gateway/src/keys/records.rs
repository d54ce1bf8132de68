//! The stored records of one purpose, and the rules they follow: what each place of a key may hold, and what a seal covers.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use vestibule_engine::Timestamp;
use vestibule_engine::audit::{Event, Recorded, Sink, VERSION};
use vestibule_engine::clock::Clock;
use vestibule_engine::secret::Secret;
use vestibule_engine::store::{DurableStore, KeyRecord, KeyState, digest};
use vestibule_oidc::jose::{self, Algorithm, Purpose, SigningKey};
use vestibule_oidc::jwks::{Jwks, PublicKey};

use super::{Error, KeyEncryptionKey, LAG, Published, Settings, State};

/// The stored records of one purpose, and the rules they follow.
pub(super) struct Records<P> {
    pub(super) store: Arc<dyn DurableStore>,
    pub(super) sealing: Arc<KeyEncryptionKey>,
    pub(super) settings: Settings,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) sink: Arc<dyn Sink>,
    pub(super) purpose: PhantomData<fn() -> P>,
}

impl<P: Purpose> Records<P> {
    /// The live records, after whatever a crash, another node or a first start left undone is done: revocations
    /// hold, exactly one key is current, a next one of the configured algorithm waits.
    ///
    /// Nodes that do this at the same time write the same thing, or one key too many: the newest current one
    /// signs, and a spare next one serves the rotation after.
    pub(super) async fn settled(&self) -> Result<Vec<KeyRecord>, Error> {
        let now = self.clock.now();
        let mut records = Vec::new();
        for mut record in self.store.keys(P::NAME).await? {
            if !self.is_live(&record, now) {
                continue;
            }
            if self.store.setting(&revocation_mark::<P>(&record.id)).await?.is_some() {
                self.place(&mut record, KeyState::Revoked).await?;
                continue;
            }
            // Nothing is written on the word of a record that we did not seal.
            match record.state {
                KeyState::Next | KeyState::Current => drop(self.private(&record)?),
                KeyState::Previous => drop(self.public(&record)?),
                KeyState::Revoked => {}
            }
            records.push(record);
        }
        records.sort_by(|one, other| (one.changed, &one.id).cmp(&(other.changed, &other.id)));
        let newest = records.iter().rposition(|record| record.state == KeyState::Current);
        for (index, record) in records.iter_mut().enumerate() {
            if record.state == KeyState::Current && Some(index) != newest {
                self.place(record, KeyState::Previous).await?;
            }
        }
        if newest.is_none() {
            match self.next(&mut records) {
                Some(next) => self.place(next, KeyState::Current).await?,
                None => records.push(self.create(KeyState::Current).await?),
            }
        }
        let wanted = self.settings.algorithm.as_str();
        if !records.iter().any(|record| record.state == KeyState::Next && record.algorithm == wanted) {
            records.push(self.create(KeyState::Next).await?);
        }
        Ok(records)
    }

    pub(super) async fn rotated(&self, mut records: Vec<KeyRecord>) -> Result<Vec<KeyRecord>, Error> {
        let old = records.iter().position(|record| record.state == KeyState::Current);
        if let Some(next) = self.next(&mut records) {
            self.place(next, KeyState::Current).await?;
        }
        if let Some(old) = old.and_then(|index| records.get_mut(index)) {
            self.place(old, KeyState::Previous).await?;
        }
        self.settled().await
    }

    /// The key that is to be current next: of the configured algorithm, the oldest.
    fn next<'a>(&self, records: &'a mut [KeyRecord]) -> Option<&'a mut KeyRecord> {
        let wanted = self.settings.algorithm.as_str();
        let waiting = records.iter_mut().filter(|record| record.state == KeyState::Next);
        waiting.min_by(|one, other| {
            let rank = |record: &KeyRecord| (record.algorithm != wanted, record.created);
            rank(one).cmp(&rank(other)).then_with(|| one.id.cmp(&other.id))
        })
    }

    pub(super) fn is_rotation_due(&self, records: &[KeyRecord]) -> bool {
        let now = self.clock.now();
        records.iter().any(|record| record.state == KeyState::Current && age(record.changed, now) >= self.settings.max_age)
    }

    /// A previous key is retired when the last token it signed has expired.
    fn is_live(&self, record: &KeyRecord, now: Timestamp) -> bool {
        match record.state {
            KeyState::Next | KeyState::Current => true,
            KeyState::Previous => age(record.changed, now) < self.settings.token_life.saturating_add(LAG),
            KeyState::Revoked => false,
        }
    }

    async fn create(&self, state: KeyState) -> Result<KeyRecord, Error> {
        let algorithm = self.settings.algorithm;
        // An RSA key takes up to a second.
        let key = tokio::task::spawn_blocking(move || SigningKey::<P>::generate(algorithm)).await;
        let key = key.map_err(|_| Error::Cryptography)?.map_err(|_| Error::Cryptography)?;
        self.add(&key, algorithm, state).await
    }

    /// Seals and writes a key that is not there yet.
    pub(super) async fn add(&self, key: &SigningKey<P>, algorithm: Algorithm, state: KeyState) -> Result<KeyRecord, Error> {
        let now = self.clock.now();
        let mut record = KeyRecord {
            id: key.id().to_owned(),
            purpose: P::NAME.to_owned(),
            algorithm: algorithm.to_string(),
            state,
            public: key.public().to_jwk().to_string(),
            sealed: Secret::new(Vec::new()),
            created: now,
            changed: now,
        };
        let pkcs8 = key.to_pkcs8().map_err(|_| Error::Cryptography)?;
        record.sealed = Secret::new(self.sealing.seal(&context(&record, Part::Private), &pkcs8)?);
        self.put(&record).await?;
        Ok(record)
    }

    /// Moves a key. One that no longer signs loses its private part.
    pub(super) async fn place(&self, record: &mut KeyRecord, state: KeyState) -> Result<(), Error> {
        let mut moved = KeyRecord { state, changed: self.clock.now(), ..record.clone() };
        match state {
            KeyState::Next | KeyState::Current => {}
            KeyState::Previous => {
                moved.sealed = Secret::new(self.sealing.seal(&context(record, Part::Public), b"")?);
            }
            KeyState::Revoked => moved.sealed = Secret::new(Vec::new()),
        }
        self.put(&moved).await?;
        *record = moved;
        Ok(())
    }

    async fn put(&self, record: &KeyRecord) -> Result<(), Error> {
        self.store.put_key(record).await?;
        self.sink.record(&Recorded {
            v: VERSION,
            time: self.clock.now(),
            request_id: None,
            client: None,
            tenant: None,
            event: Event::KeyRotated {
                purpose: record.purpose.clone(),
                key: record.id.clone(),
                state: match record.state {
                    KeyState::Next => "next",
                    KeyState::Current => "current",
                    KeyState::Previous => "previous",
                    KeyState::Revoked => "revoked",
                }
                .to_owned(),
            },
        });
        Ok(())
    }

    pub(super) fn open(&self, records: &[KeyRecord]) -> Result<State<P>, Error> {
        let mut current = None;
        let mut keys = Vec::new();
        for record in records {
            match record.state {
                KeyState::Current => {
                    let key = self.private(record)?;
                    keys.push((0, record.created, key.public().clone()));
                    current = Some(Arc::new(key));
                }
                KeyState::Next => keys.push((1, record.created, self.private(record)?.public().clone())),
                KeyState::Previous => keys.push((2, record.created, self.public(record)?)),
                KeyState::Revoked => {}
            }
        }
        let current = current.ok_or_else(|| Error::Unknown("current".to_owned()))?;
        // One order on all nodes, or the entity tag would change with the node that answers.
        keys.sort_by(|(rank, created, key), (other_rank, other_created, other)| {
            (rank, created, key.id()).cmp(&(other_rank, other_created, other.id()))
        });
        let keys: Vec<PublicKey> = keys.into_iter().map(|(_, _, key)| key).collect();
        let body = Bytes::from(Jwks::write(&keys));
        let etag = format!("\"{}\"", URL_SAFE_NO_PAD.encode(digest(&[&body])));
        Ok(State { current, published: Arc::new(Published { body, etag }) })
    }

    /// The private key of a record. The public part comes from it too, not from the record.
    fn private(&self, record: &KeyRecord) -> Result<SigningKey<P>, Error> {
        let unusable = |error: jose::Error| Error::Record { id: record.id.clone(), why: error.to_string() };
        let algorithm = algorithm(record)?;
        let pkcs8 = self.unseal(record, Part::Private)?;
        let key = SigningKey::<P>::from_pkcs8(&record.purpose, algorithm, pkcs8.reveal()).map_err(unusable)?;
        if key.id() == record.id { Ok(key) } else { Err(Error::Sealed(record.id.clone())) }
    }

    /// The public key of a record that has no private part any more. Its id is its thumbprint, and the id is sealed.
    fn public(&self, record: &KeyRecord) -> Result<PublicKey, Error> {
        let unusable = |error: jose::Error| Error::Record { id: record.id.clone(), why: error.to_string() };
        if record.purpose != P::NAME {
            return Err(unusable(jose::Error::Purpose));
        }
        self.unseal(record, Part::Public)?;
        let key = PublicKey::from_jwk(&record.public).map_err(unusable)?;
        let same = key.thumbprint() == record.id && key.id() == record.id && key.algorithm() == algorithm(record)?;
        if same { Ok(key) } else { Err(Error::Sealed(record.id.clone())) }
    }

    fn unseal(&self, record: &KeyRecord, part: Part) -> Result<Secret<Vec<u8>>, Error> {
        self.sealing.open(&context(record, part), record.sealed.reveal()).map_err(|_| Error::Sealed(record.id.clone()))
    }
}

fn algorithm(record: &KeyRecord) -> Result<Algorithm, Error> {
    let unknown = || Error::Record { id: record.id.clone(), why: "its algorithm is unknown".to_owned() };
    Algorithm::from_name(&record.algorithm).ok_or_else(unknown)
}

fn age(since: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(since)).unwrap_or(Duration::ZERO)
}

/// The setting that says a key is revoked; written at most once, never removed.
pub(super) fn revocation_mark<P: Purpose>(id: &str) -> String {
    format!("key-revoked:{}:{id}", P::NAME)
}

/// What a seal covers.
#[derive(Debug, Clone, Copy)]
pub(super) enum Part {
    /// The private part.
    Private,
    /// Nothing but the record's identity.
    Public,
}

/// What a seal is bound to: it opens in no other record.
pub(super) fn context(record: &KeyRecord, part: Part) -> [&[u8]; 5] {
    let part: &[u8] = match part {
        Part::Private => b"private",
        Part::Public => b"public",
    };
    [b"signing key", record.purpose.as_bytes(), record.id.as_bytes(), record.algorithm.as_bytes(), part]
}

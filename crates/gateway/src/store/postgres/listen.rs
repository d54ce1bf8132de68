//! The connection on which changes are heard, made anew whenever it breaks.
//!
//! A silent partition looks like a quiet day. So the connection is asked something cheap several times a second, and while
//! it does not answer caches are not believed: a revoked session must not live on behind a dead wire.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tokio_postgres::{AsyncMessage, Client, Config, Connection, Error, Socket};

use super::connect::{Encrypted, Tls};
use super::why;
use crate::store::telling::Telling;

/// Between two questions.
const BEAT: Duration = Duration::from_millis(300);
/// An answer later than this makes caches unbelievable. With the beat it stays below the usual `revocation_lag`.
const LATE: Duration = Duration::from_millis(500);
/// An answer later than this gives the connection up.
const LOST: Duration = Duration::from_secs(5);
/// Between two attempts to connect.
const RETRY: Duration = Duration::from_millis(500);

type Wire = Connection<Socket, Encrypted>;

/// Hears what changes.
pub(super) struct Listener {
    pub config: Config,
    pub tls: Tls,
    pub entries: Arc<Telling>,
    pub users: Arc<Telling>,
}

impl Listener {
    /// A connection on which changes arrive from now on.
    pub async fn connect(&self) -> Result<(Client, Wire), Error> {
        let (client, mut wire) = self.config.connect(self.tls.clone()).await?;
        {
            let mut listening = pin!(client.batch_execute("LISTEN vestibule_entries; LISTEN vestibule_users"));
            loop {
                tokio::select! {
                    done = &mut listening => break done?,
                    message = poll_fn(|context| wire.poll_message(context)) => match message {
                        Some(message) => drop(message?),
                        None => break listening.await?,
                    },
                }
            }
        }
        for telling in [&self.entries, &self.users] {
            telling.hears();
        }
        Ok((client, wire))
    }

    /// Hears until the task is ended.
    pub async fn run(self, first: (Client, Wire)) {
        let mut current = Some(first);
        loop {
            if let Some((client, wire)) = current.take() {
                let why = self.hear(&client, wire).await;
                self.set_live(false);
                tracing::warn!(why, "changes in PostgreSQL are no longer heard; caches are not used");
            }
            sleep(RETRY).await;
            match timeout(LOST, self.connect()).await {
                Ok(Ok(connected)) => {
                    tracing::info!("changes in PostgreSQL are heard again");
                    current = Some(connected);
                }
                Ok(Err(error)) => tracing::debug!(error = why(&error), "PostgreSQL cannot be listened to"),
                Err(_) => tracing::debug!("PostgreSQL cannot be listened to: no answer"),
            }
        }
    }

    /// Hears until the connection is gone, and says why it is.
    async fn hear(&self, client: &Client, mut wire: Wire) -> String {
        let messages = async {
            loop {
                match poll_fn(|context| wire.poll_message(context)).await {
                    Some(Ok(AsyncMessage::Notification(note))) => match note.channel() {
                        "vestibule_users" => self.users.heard(note.payload()),
                        _ => self.entries.heard(note.payload()),
                    },
                    Some(Ok(_)) => {}
                    Some(Err(error)) => break why(&error),
                    None => break "the connection was closed".to_owned(),
                }
            }
        };
        let beats = async {
            loop {
                sleep(BEAT).await;
                let mut answer = pin!(client.simple_query("SELECT 1"));
                let in_time = timeout(LATE, &mut answer).await;
                let late = in_time.is_err();
                let answered = match in_time {
                    Ok(answered) => answered,
                    Err(_) => {
                        self.set_live(false);
                        let Ok(answered) = timeout(LOST, answer).await else { break "it does not answer".to_owned() };
                        answered
                    }
                };
                if let Err(error) = answered {
                    break why(&error);
                }
                // What was told before this answer has arrived before it; but a late one speaks of what was long ago.
                if !late {
                    self.set_live(true);
                }
            }
        };
        tokio::select! {
            why = messages => why,
            why = beats => why,
        }
    }

    fn set_live(&self, live: bool) {
        self.entries.set_live(live);
        self.users.set_live(live);
    }
}

//! Tunnels: WebSocket and whatever else both sides agreed to speak (RFC 9110 §7.8).
//!
//! A tunnel outlives the decision that opened it, so it is watched: it ends when the identity it was opened
//! for no longer holds, and when we stop.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use vestibule_engine::request::RequestId;

use crate::serve::listen::Peer;

/// Carries octets between the two sides until one of them hangs up, `over` ends, or we stop.
pub async fn carry(client: OnUpgrade, upstream: OnUpgrade, over: Option<BoxFuture<'static, ()>>, peer: Arc<Peer>, id: RequestId) {
    let (client, upstream) = match tokio::try_join!(client, upstream) {
        Ok(both) => both,
        Err(error) => {
            tracing::debug!(request_id = %id, %error, "the switch of protocols failed");
            return;
        }
    };
    let (mut client, mut upstream) = (TokioIo::new(client), TokioIo::new(upstream));
    let over = async {
        match over {
            Some(over) => over.await,
            None => std::future::pending().await,
        }
    };
    let why = tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut client, &mut upstream) => "closed",
        () = over => "identity over",
        () = peer.stopping() => "stopping",
    };
    tracing::debug!(request_id = %id, why, "tunnel ended");
}

//! PING of HTTP/2 (RFC 9113 section 6.7): an idle connection is kept open, a silent peer is noticed.

use h2::{Ping, PingPong};

use super::Ended;
use crate::limits;

/// Pings now and then; completes when the peer has been silent for [`limits::LINK_DEAD_AFTER`] or the connection is gone.
pub(super) async fn watch(mut pings: PingPong) -> Ended {
    let answer = limits::LINK_DEAD_AFTER.saturating_sub(limits::LINK_KEEPALIVE_INTERVAL);
    loop {
        tokio::time::sleep(limits::LINK_KEEPALIVE_INTERVAL).await;
        match tokio::time::timeout(answer, pings.ping(Ping::opaque())).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Ended::Failed(error),
            Err(_) => return Ended::Silent,
        }
    }
}

//! What becomes of a link connection that was let in, by its purpose.

use std::sync::Arc;

use anyhow::anyhow;
use common::limits;
use common::link::greeting::{Hello, Purpose};
use common::runtime::{greeting, listen};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::sync::{oneshot, watch};

use super::{LinkServer, Stream, refusal};
use crate::cores::Core;

impl LinkServer {
    pub(super) async fn welcome(
        &self,
        core: &Arc<Core>,
        hello: &Hello,
        mut stream: Stream,
    ) -> Result<(), greeting::Error> {
        let mut losses = core.losses();
        match hello.purpose {
            Purpose::Control => self.control(core, hello, stream).await,
            Purpose::HttpsPool => {
                listen::let_stand_still(stream.io().tcp()?)?;
                greeting::send(&mut stream, &self.answer(None)).await?;
                let mut builder = http1::Builder::new();
                builder.max_buf_size(limits::LINK_READ_BUFFER_BYTES);
                match builder.handshake(TokioIo::new(stream)).await {
                    Ok((sender, connection)) => {
                        core.pool().add(sender);
                        until_lost(&mut losses, connection).await;
                    }
                    Err(error) => tell_ended(error),
                }
                Ok(())
            }
            Purpose::HttpsShared => {
                greeting::send(&mut stream, &self.answer(None)).await?;
                match shared_builder().handshake(TokioIo::new(stream)).await {
                    Ok((sender, connection)) => {
                        core.pool().add_shared(sender, limits::LINK_STREAMS_MAX);
                        until_lost(&mut losses, connection).await;
                    }
                    Err(error) => tell_ended(error),
                }
                Ok(())
            }
            Purpose::Media => self.media(core, stream, losses).await,
            Purpose::HttpsExchange => {
                greeting::send(&mut stream, &self.answer(None)).await?;
                let ended = tokio::select! {
                    ended = core.exchanges().drive(stream) => ended,
                    _ = losses.changed() => Ok(()),
                };
                if let Err(error) = ended {
                    tell_ended(error);
                }
                Ok(())
            }
            Purpose::Streams => {
                greeting::send(&mut stream, &self.answer(None)).await?;
                let ended = self.streams(core, stream, losses).await?;
                tracing::debug!(side = "link", core = %core.name(), reason = ended, "stream connection ended");
                Ok(())
            }
        }
    }

    /// Media frames over TCP, because the core can't reach the trunk.
    async fn media(
        &self,
        core: &Arc<Core>,
        mut stream: Stream,
        mut losses: watch::Receiver<u64>,
    ) -> Result<(), greeting::Error> {
        let Some(media) = self.cores.media() else {
            let refused = refusal(
                "this edge is not configured for media",
                "add [media] to edge-e's configuration, or take it out of edge-c's",
            );
            return greeting::send(&mut stream, &refused).await;
        };
        greeting::send(&mut stream, &self.answer(None)).await?;
        let reason = "UDP from edge-c does not arrive";
        let remedy = "let edge-c send UDP to the addresses of link.listen, and the answers go back";
        tracing::warn!(side = "link", core = %core.name(), reason, remedy, "media of this core goes over TCP");
        let ended = tokio::select! {
            ended = media.pipe(core.id()).drive(stream) => ended,
            _ = losses.changed() => Ok(()),
        };
        if let Err(error) = ended {
            tracing::debug!(side = "link", core = %core.name(), reason = %error, "media connection ended");
        }
        Ok(())
    }

    /// Lets streams be opened on a connection until that ends; why it did. It lives on the worker with the fewest of this
    /// core, so that clients on every worker find one at hand.
    async fn streams(
        &self,
        core: &Arc<Core>,
        mut stream: Stream,
        mut losses: watch::Receiver<u64>,
    ) -> std::io::Result<String> {
        let seat = self.seats.take(core.id());
        stream.io_mut().leave()?;
        let (done, ended) = oneshot::channel();
        let core = Arc::clone(core);
        self.workers.spawn_on(seat.worker(), async move {
            let reason = match stream.io_mut().arrive() {
                Err(error) => error.to_string(),
                Ok(()) => tokio::select! {
                    ended = core.streams().drive(stream) => ended.to_string(),
                    _ = losses.changed() => "the core fell silent".to_owned(),
                },
            };
            // Nobody waits for it any more only if the process goes down.
            drop(done.send(reason));
        });
        Ok(ended.await.unwrap_or_else(|_| "given up".to_owned()))
    }
}

fn shared_builder() -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .initial_max_send_streams(limits::LINK_STREAMS_MAX)
        .initial_stream_window_size(limits::LINK_STREAM_WINDOW_BYTES)
        .initial_connection_window_size(limits::LINK_CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(limits::LINK_SEND_BUFFER_BYTES)
        .max_header_list_size(limits::HTTP2_HEADER_LIST_BYTES_MAX)
        .max_concurrent_reset_streams(limits::LINK_RESETS_KEPT)
        .max_pending_accept_reset_streams(limits::LINK_STREAMS_MAX)
        .max_local_error_reset_streams(None)
        .keep_alive_interval(limits::LINK_KEEPALIVE_INTERVAL)
        .keep_alive_timeout(limits::LINK_DEAD_AFTER)
        .keep_alive_while_idle(true);
    builder
}

async fn until_lost(
    losses: &mut watch::Receiver<u64>,
    connection: impl Future<Output = Result<(), hyper::Error>>,
) {
    let result = tokio::select! {
        result = connection => result,
        // The core lives as long as this connection counts for it, so this is a loss and not the end of the sender.
        _ = losses.changed() => Ok(()),
    };
    if let Err(error) = result {
        tell_ended(error);
    }
}

fn tell_ended(error: impl std::error::Error + Send + Sync + 'static) {
    let error = anyhow!(error);
    tracing::debug!(side = "link", reason = %format_args!("{error:#}"), "link connection ended");
}

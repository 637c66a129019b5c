//! edge-c's side: takes the streams of one connection, each with what edge-e says of its client.

use std::future::{Future, poll_fn};

use bytes::Bytes;
use h2::RecvStream;
use h2::ext::Protocol;
use h2::server::{self, SendResponse};
use http::{Method, Request, Response, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite};

use super::gather::Gathered;
use super::stream::StreamLost;
use super::{Ended, LinkStream, keep_alive};
use crate::limits;
use crate::link::stream_preface::{StreamPreface, StreamPrefaceError};

/// A stream that edge-e has opened. Dropped without an answer, it is reset.
#[derive(Debug)]
pub struct Arrived {
    preface: StreamPreface,
    respond: SendResponse<Bytes>,
    body: RecvStream,
}

/// Why a stream is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The request makes no sense.
    Malformed,
    /// Nobody here speaks the protocol.
    NotServed,
    /// There is no room, or the core goes away: another one may take it.
    Unavailable,
}

impl Refusal {
    const fn status(self) -> StatusCode {
        match self {
            Self::Malformed => StatusCode::BAD_REQUEST,
            Self::NotServed => StatusCode::NOT_FOUND,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

impl Arrived {
    /// What edge-e says of the client.
    #[must_use]
    pub const fn preface(&self) -> &StreamPreface {
        &self.preface
    }

    /// Takes the stream.
    ///
    /// # Errors
    /// [`StreamLost`] if edge-e has given it up.
    pub fn accept(mut self) -> Result<LinkStream, StreamLost> {
        let sending = self.respond.send_response(Response::new(()), false);
        let sending = sending.map_err(|_| StreamLost)?;
        Ok(LinkStream::new(sending, self.body, None))
    }

    /// Tells edge-e that the stream is not taken.
    pub fn refuse(mut self, refusal: Refusal) {
        refuse(&mut self.respond, refusal);
    }
}

/// Serves a dialled connection until it ends; `handler` gets every stream, and must not wait.
///
/// When `retire` completes no new stream is taken and those that are open go on. The same happens by itself before
/// stream ids end; `is_retired` is called then, so that another connection can be dialled.
pub async fn serve<T>(
    io: T,
    retire: impl Future<Output = ()>,
    mut is_retired: impl FnMut(),
    mut handler: impl FnMut(Arrived),
) -> Ended
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let mut connection = match builder().handshake::<_, Bytes>(Gathered::new(io)).await {
        Ok(connection) => connection,
        Err(error) => return Ended::Failed(error),
    };
    let Some(pings) = connection.ping_pong() else {
        return Ended::Closed;
    };
    let mut watch = std::pin::pin!(keep_alive::watch(pings));
    let mut retire = std::pin::pin!(retire);
    let mut taken = 0_u32;
    let mut is_retiring = false;
    loop {
        let accepted = tokio::select! {
            accepted = poll_fn(|cx| connection.poll_accept(cx)) => accepted,
            ended = &mut watch => return ended,
            () = &mut retire, if !is_retiring => {
                is_retiring = true;
                connection.graceful_shutdown();
                is_retired();
                continue;
            }
        };
        let (request, respond) = match accepted {
            None => return Ended::Closed,
            Some(Err(error)) => return Ended::Failed(error),
            Some(Ok(stream)) => stream,
        };
        taken = taken.saturating_add(1);
        if taken >= limits::LINK_STREAM_IDS_MAX && !is_retiring {
            is_retiring = true;
            connection.graceful_shutdown();
            is_retired();
        }
        if let Some(arrived) = arrived(request, respond) {
            handler(arrived);
        }
    }
}

fn arrived(request: Request<RecvStream>, mut respond: SendResponse<Bytes>) -> Option<Arrived> {
    let (head, body) = request.into_parts();
    let protocol = head.extensions.get::<Protocol>().map(Protocol::as_str);
    let (Method::CONNECT, Some(protocol)) = (head.method, protocol) else {
        told(
            &mut respond,
            Refusal::Malformed,
            "it is not an extended CONNECT",
        );
        return None;
    };
    match StreamPreface::read(protocol, head.headers) {
        Ok(preface) => Some(Arrived {
            preface,
            respond,
            body,
        }),
        Err(error) => {
            let refusal = match error {
                StreamPrefaceError::Field(_) => Refusal::Malformed,
                StreamPrefaceError::Protocol => Refusal::NotServed,
            };
            told(&mut respond, refusal, &error.to_string());
            None
        }
    }
}

fn told(respond: &mut SendResponse<Bytes>, refusal: Refusal, reason: &str) {
    tracing::warn!(
        side = "link",
        reason,
        remedy = "upgrade the older of the two edges",
        "stream refused"
    );
    refuse(respond, refusal);
}

fn refuse(respond: &mut SendResponse<Bytes>, refusal: Refusal) {
    let mut response = Response::new(());
    *response.status_mut() = refusal.status();
    if respond.send_response(response, true).is_err() {
        tracing::trace!("the stream was gone before it was refused");
    }
}

fn builder() -> server::Builder {
    let mut builder = server::Builder::new();
    builder
        .enable_connect_protocol()
        .max_concurrent_streams(limits::LINK_STREAMS_TAKEN_MAX)
        .initial_window_size(limits::FLOW_WINDOW_BYTES)
        .initial_connection_window_size(limits::FLOW_CONNECTION_WINDOW_BYTES)
        .max_send_buffer_size(limits::FLOW_SEND_BUFFER_BYTES)
        .max_header_list_size(limits::STREAM_PREFACE_BYTES_MAX)
        .max_concurrent_reset_streams(limits::LINK_STREAM_RESETS_KEPT)
        .max_pending_accept_reset_streams(limits::LINK_STREAMS_PER_CONNECTION_MAX)
        .max_local_error_reset_streams(None);
    builder
}

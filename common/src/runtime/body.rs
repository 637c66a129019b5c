//! The one body type that both edges send: nothing, a few bytes, or what arrives on another connection.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use prometheus_client::metrics::counter::Counter;
use tokio::sync::oneshot;

use crate::runtime::http_pool::Lease;
use crate::runtime::progress::InFlight;

/// A body, and what must live as long as it is being sent.
#[derive(Debug)]
pub struct Body {
    // Dropped in this order: the lease goes back to its pool after the body it belongs to is done with.
    content: Content,
    lease: Option<Lease>,
    in_flight: [Option<InFlight>; 2],
    end: Option<oneshot::Sender<Infallible>>,
    meter: Option<Meter>,
}

/// Adds up what passes, and counts it once at the end: a long body costs the metric one addition.
#[derive(Debug)]
struct Meter {
    bytes: u64,
    total: Counter,
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.total.inc_by(self.bytes);
    }
}

#[derive(Debug)]
enum Content {
    Bytes(Bytes),
    Stream(Incoming),
}

impl Body {
    /// No body.
    #[must_use]
    pub const fn empty() -> Self {
        Self::bytes(Bytes::new())
    }

    /// A body that is known whole.
    #[must_use]
    pub const fn bytes(bytes: Bytes) -> Self {
        Self {
            content: Content::Bytes(bytes),
            lease: None,
            in_flight: [None, None],
            end: None,
            meter: None,
        }
    }

    /// What arrives on another connection, passed on as it comes.
    #[must_use]
    pub const fn stream(incoming: Incoming) -> Self {
        Self {
            content: Content::Stream(incoming),
            lease: None,
            in_flight: [None, None],
            end: None,
            meter: None,
        }
    }

    /// Keeps the connection that the body arrives on leased until the body is done with.
    #[must_use]
    pub fn with_lease(mut self, lease: Lease) -> Self {
        self.lease = Some(lease);
        self
    }

    /// Counts the request as under way until the body is done with; twice at most.
    #[must_use]
    pub fn with_in_flight(mut self, in_flight: InFlight) -> Self {
        if let Some(free) = self.in_flight.iter_mut().find(|slot| slot.is_none()) {
            *free = Some(in_flight);
        }
        self
    }

    /// Counts the bytes that pass, once the body is done with.
    #[must_use]
    pub fn with_meter(mut self, total: &Counter) -> Self {
        self.meter = Some(Meter {
            bytes: 0,
            total: total.clone(),
        });
        self
    }

    /// The body, and a future that completes when it is done with: sent to its end, or given up.
    pub fn watched(mut self) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let (end, ended) = oneshot::channel();
        self.end = Some(end);
        (self, async move { drop(ended.await) })
    }
}

impl From<&'static str> for Body {
    fn from(text: &'static str) -> Self {
        Self::bytes(Bytes::from_static(text.as_bytes()))
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Self::bytes(text.into())
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = match &mut self.content {
            Content::Bytes(bytes) if bytes.is_empty() => Poll::Ready(None),
            Content::Bytes(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Content::Stream(incoming) => Pin::new(incoming).poll_frame(cx),
        };
        if let (Some(meter), Poll::Ready(Some(Ok(frame)))) = (&mut self.meter, &polled) {
            let passed = frame.data_ref().map_or(0, Bytes::len);
            meter.bytes = meter.bytes.saturating_add(passed as u64);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Bytes(bytes) => bytes.is_empty(),
            Content::Stream(incoming) => incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Bytes(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Content::Stream(incoming) => incoming.size_hint(),
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn bytes_are_counted_when_the_body_is_done_with() {
        let total = Counter::default();

        let body = Body::from("twelve bytes").with_meter(&total);
        body.collect().await.unwrap();
        assert_eq!(total.get(), 12);

        drop(Body::from("never sent").with_meter(&total));
        assert_eq!(total.get(), 12);
    }
}

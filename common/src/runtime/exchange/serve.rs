//! edge-c's end: a task for each request, and its answer when it is there.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{Request, Response, Uri};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::{Kept, Outgoing, carry};
use crate::limits;
use crate::link::exchange::{self, Frame, Message};
use crate::runtime::body::Body;
use crate::runtime::clock;

/// Answers what arrives on `io` until it ends. When `drain` completes, no new request is taken, and the connection is
/// closed once those under way are answered.
///
/// # Errors
/// What made it end, but for an orderly close.
pub async fn serve<H, F>(
    io: impl AsyncRead + AsyncWrite + Unpin,
    handler: H,
    kept: Arc<Kept>,
    drain: impl Future<Output = ()> + Send,
) -> io::Result<()>
where
    H: Fn(Request<Body>) -> F,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let shared = Arc::new(Shared {
        kept,
        ..Shared::default()
    });
    let _abort = AbortAll(&shared);
    let take = |frame: Frame| match frame.message {
        Message::Request {
            method,
            target,
            fields,
        } => {
            let mut request = Request::new(Body::empty());
            *request.method_mut() = method;
            *request.uri_mut() = origin_form(target)?;
            *request.headers_mut() = fields;
            shared.begin(frame.number, handler(request))
        }
        Message::Cancel => {
            shared.cancel(frame.number);
            Ok(())
        }
        Message::Answer { .. } | Message::Elsewhere(_) => Err(io::ErrorKind::InvalidData.into()),
    };
    carry(io, &shared.outgoing, take, drain, shared.finish()).await
}

fn origin_form(target: Bytes) -> io::Result<Uri> {
    let path = PathAndQuery::from_maybe_shared(target).map_err(io::Error::other)?;
    let mut parts = http::uri::Parts::default();
    parts.path_and_query = Some(path);
    Uri::from_parts(parts).map_err(io::Error::other)
}

/// What the tasks of one connection share.
#[derive(Debug, Default)]
struct Shared {
    kept: Arc<Kept>,
    outgoing: Outgoing,
    tasks: Mutex<BTreeMap<u32, AbortHandle>>,
    none_left: Notify,
}

impl Shared {
    fn tasks(&self) -> MutexGuard<'_, BTreeMap<u32, AbortHandle>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(
        self: &Arc<Self>,
        number: u32,
        answer: impl Future<Output = Response<Body>> + Send + 'static,
    ) -> io::Result<()> {
        let shared = Arc::clone(self);
        let mut tasks = self.tasks();
        if tasks.len() >= limits::EXCHANGES_MAX {
            return Err(io::Error::other("more exchanges than agreed"));
        }
        let task = tokio::spawn(async move {
            let answer = answer.await;
            shared.answer(number, answer).await;
            shared.end(number);
        });
        if let Some(doubled) = tasks.insert(number, task.abort_handle()) {
            doubled.abort();
            return Err(io::Error::other("an exchange was begun twice"));
        }
        Ok(())
    }

    async fn answer(&self, number: u32, answer: Response<Body>) {
        let length = answer.body().size_hint().exact();
        let is_short = length.is_some_and(|bytes| bytes <= limits::EXCHANGE_BODY_BYTES_MAX as u64);
        if !is_short {
            let token = self.kept.keep(answer, clock::now());
            return self.elsewhere(number, token);
        }
        let (head, body) = answer.into_parts();
        // What breaks off is asked for again, over a connection on which it can break off.
        let Ok(body) = body.collect().await else {
            return self.elsewhere(number, None);
        };
        let body = body.to_bytes();
        let written = self
            .outgoing
            .write(|out| exchange::write_answer(number, head.status, &head.headers, &body, out));
        if written.is_err() {
            self.elsewhere(number, None);
        }
    }

    fn elsewhere(&self, number: u32, token: Option<u64>) {
        self.outgoing
            .write(|out| exchange::write_elsewhere(number, token, out));
    }

    fn cancel(&self, number: u32) {
        if let Some(task) = self.tasks().remove(&number) {
            task.abort();
        }
        self.tell_if_none_left();
    }

    fn end(&self, number: u32) {
        self.tasks().remove(&number);
        self.tell_if_none_left();
    }

    fn tell_if_none_left(&self) {
        if self.tasks().is_empty() {
            self.none_left.notify_one();
        }
    }

    /// Waits for the answers that are under way, then lets the connection end.
    async fn finish(&self) {
        while !self.tasks().is_empty() {
            self.none_left.notified().await;
        }
        self.outgoing.close();
    }
}

/// Nobody takes the answers of a connection that has ended.
struct AbortAll<'a>(&'a Shared);

impl Drop for AbortAll<'_> {
    fn drop(&mut self) {
        for task in std::mem::take(&mut *self.0.tasks()).into_values() {
            task.abort();
        }
    }
}

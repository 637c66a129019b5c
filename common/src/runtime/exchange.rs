//! Short exchanges, many at a time on one link connection: what the workers have to say in one turn goes out together.
//!
//! On a pooled connection each request costs both edges a read and a write of their own; here a batch does.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use bytes::{Bytes, BytesMut};
use http::{Response, request};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{Notify, oneshot};

use crate::limits;
use crate::link::exchange::{self, Frame, Message};
use crate::runtime::aside::Aside;
use crate::runtime::workers;

pub use kept::Kept;
pub use serve::serve;

mod kept;
mod serve;

/// edge-e's connections to one edge-c.
#[derive(Debug, Default)]
pub struct Lines {
    lines: RwLock<Vec<(usize, Arc<Line>)>>,
    busy: AtomicUsize,
}

/// One connection.
#[derive(Debug, Default)]
pub struct Line {
    state: Mutex<State>,
    outgoing: Outgoing,
}

#[derive(Debug, Default)]
struct State {
    waiting: HashMap<u32, oneshot::Sender<Answer>>,
    last: u32,
    is_closed: bool,
}

/// What came of an exchange.
#[derive(Debug)]
pub enum Answer {
    /// All of it.
    Whole(Response<Bytes>),
    /// It is long: to be fetched over a pooled connection by this token, or asked for again.
    Elsewhere(Option<u64>),
}

/// The request was not answered; it may be sent another way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the exchange did not take place")]
pub struct NoAnswer;

impl Lines {
    /// Exchanges under way.
    pub fn busy(&self) -> usize {
        self.busy.load(Ordering::Relaxed)
    }

    /// Drops every connection, and the exchanges on it.
    pub fn clear(&self) {
        let lines = std::mem::take(&mut *self.write());
        for (_, line) in lines {
            line.close();
        }
    }

    /// Sends a request without a body and waits for its answer.
    ///
    /// # Errors
    /// [`NoAnswer`] if there is no connection, too much is under way, or the connection breaks.
    pub async fn ask(&self, head: &request::Parts) -> Result<Answer, NoAnswer> {
        let line = self.pick().ok_or(NoAnswer)?;
        self.busy.fetch_add(1, Ordering::Relaxed);
        let _busy = Busy(&self.busy);
        line.ask(head).await
    }

    /// Carries exchanges over `io` until it ends.
    ///
    /// # Errors
    /// What made it end, but for the peer's orderly close.
    pub async fn drive(&self, io: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
        let line = Arc::<Line>::default();
        self.write().push((workers::current(), Arc::clone(&line)));
        let _open = Open {
            lines: self,
            line: &line,
        };
        let take = |frame: Frame| line.take(frame);
        let never = std::future::pending;
        carry(io, &line.outgoing, take, never(), never()).await
    }

    /// One that this worker drives if there is any: no other thread has to wake for it then.
    fn pick(&self) -> Option<Arc<Line>> {
        let lines = self.lines.read().unwrap_or_else(PoisonError::into_inner);
        let own = workers::current();
        let near = lines.iter().find(|(worker, _)| *worker == own);
        near.or_else(|| lines.first())
            .map(|(_, line)| Arc::clone(line))
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Vec<(usize, Arc<Line>)>> {
        self.lines.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ask(&self, head: &request::Parts) -> Result<Answer, NoAnswer> {
        let (sender, answer) = oneshot::channel();
        let number = self.begin(sender)?;
        let _asked = Asked { line: self, number };
        let target = head.uri.path_and_query();
        let target = target.map_or("/", http::uri::PathAndQuery::as_str);
        let written = self
            .outgoing
            .write(|out| exchange::write_request(number, &head.method, target, &head.headers, out));
        written.map_err(|_| NoAnswer)?;
        answer.await.map_err(|_| NoAnswer)
    }

    fn begin(&self, sender: oneshot::Sender<Answer>) -> Result<u32, NoAnswer> {
        let mut state = self.state();
        if state.is_closed || state.waiting.len() >= limits::EXCHANGES_MAX {
            return Err(NoAnswer);
        }
        state.last = state.last.wrapping_add(1);
        let number = state.last;
        // Far more numbers than exchanges: one that is still waiting from a round before does not occur.
        state.waiting.insert(number, sender);
        Ok(number)
    }

    fn take(&self, frame: Frame) -> io::Result<()> {
        let answer = match frame.message {
            Message::Answer {
                status,
                fields,
                body,
            } => {
                let mut response = Response::new(body);
                *response.status_mut() = status;
                *response.headers_mut() = fields;
                Answer::Whole(response)
            }
            Message::Elsewhere(token) => Answer::Elsewhere(token),
            Message::Request { .. } | Message::Cancel => {
                return Err(io::ErrorKind::InvalidData.into());
            }
        };
        // Nobody waits for what was cancelled while it was on its way.
        if let Some(sender) = self.state().waiting.remove(&frame.number) {
            drop(sender.send(answer));
        }
        Ok(())
    }

    fn close(&self) {
        let mut state = self.state();
        state.is_closed = true;
        state.waiting.clear();
        drop(state);
        self.outgoing.close();
    }
}

/// A request that waits for its answer; cancelled if it is given up.
struct Asked<'a> {
    line: &'a Line,
    number: u32,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        let was_waiting = self.line.state().waiting.remove(&self.number).is_some();
        if was_waiting {
            let cancel = |out: &mut BytesMut| exchange::write_cancel(self.number, out);
            self.line.outgoing.write(cancel);
        }
    }
}

struct Busy<'a>(&'a AtomicUsize);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A connection that may be asked on, until this is dropped.
struct Open<'a> {
    lines: &'a Lines,
    line: &'a Arc<Line>,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        let mut lines = self.lines.write();
        lines.retain(|(_, line)| !Arc::ptr_eq(line, self.line));
        drop(lines);
        self.line.close();
    }
}

/// What waits to be sent. Bounded by the exchanges that may be under way.
#[derive(Debug, Default)]
struct Outgoing {
    waiting: Mutex<Waiting>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    bytes: BytesMut,
    is_closed: bool,
}

impl Outgoing {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write<T>(&self, write: impl FnOnce(&mut BytesMut) -> T) -> T {
        let mut waiting = self.waiting();
        let was_empty = waiting.bytes.is_empty();
        let written = write(&mut waiting.bytes);
        let is_first = was_empty && !waiting.bytes.is_empty();
        drop(waiting);
        if is_first {
            self.changed.notify_one();
        }
        written
    }

    fn close(&self) {
        self.waiting().is_closed = true;
        self.changed.notify_one();
    }

    /// Everything that waits, once something does; `None` when no more will come.
    async fn batch(&self) -> Option<BytesMut> {
        loop {
            {
                let mut waiting = self.waiting();
                if !waiting.bytes.is_empty() {
                    return Some(std::mem::take(&mut waiting.bytes));
                }
                if waiting.is_closed {
                    return None;
                }
            }
            self.changed.notified().await;
        }
    }
}

/// Reads frames and writes what waits, until the peer closes or nothing more is to be written. When `stop` completes,
/// nothing more is read and `finish` runs.
async fn carry(
    io: impl AsyncRead + AsyncWrite + Unpin,
    outgoing: &Outgoing,
    take: impl Fn(Frame) -> io::Result<()>,
    stop: impl Future<Output = ()> + Send,
    finish: impl Future<Output = ()>,
) -> io::Result<()> {
    let (mut reader, mut writer) = tokio::io::split(io);
    let receiving = async {
        let mut arrived = BytesMut::new();
        loop {
            while let Some(frame) = exchange::read(&mut arrived).map_err(io::Error::other)? {
                take(frame)?;
            }
            arrived.reserve(READ_BYTES);
            if reader.read_buf(&mut arrived).await? == 0 {
                return Ok(());
            }
        }
    };
    let reading = async {
        tokio::select! {
            received = receiving => return received,
            // Looked at only when it happens, not for every batch.
            () = Aside::new(stop) => {}
        }
        finish.await;
        std::future::pending().await
    };
    let writing = async {
        while let Some(batch) = outgoing.batch().await {
            writer.write_all(&batch).await?;
            writer.flush().await?;
        }
        writer.shutdown().await
    };
    tokio::select! {
        ended = reading => ended,
        ended = writing => ended,
    }
}

/// One TLS record at a time.
const READ_BYTES: usize = 17 * 1024;

#[cfg(test)]
mod tests;

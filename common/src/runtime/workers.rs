//! Threads that each drive their own connections, from the first byte to the last.
//!
//! A runtime that moves tasks between threads wakes a thread for every hop of a request. Here a connection stays on the
//! thread it was given to, and so do the connections its requests go on with: see `http_pool`.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use tokio::net::TcpStream;
use tokio::runtime::{Builder, Handle};
use tokio::sync::watch;

pub mod seats;

thread_local! {
    static CURRENT: Cell<usize> = const { Cell::new(0) };
}

/// The number of the worker whose thread this is, from 0; 0 as well on any other thread.
#[must_use]
pub fn current() -> usize {
    CURRENT.get()
}

/// Some threads with a runtime each. Clones are the same workers; they end with the last of them.
#[derive(Clone, Debug)]
pub struct Workers {
    handles: Arc<[Handle]>,
    next: Arc<AtomicUsize>,
    /// Dropped with the last clone: that ends the threads.
    _alive: watch::Sender<()>,
}

impl Workers {
    /// Starts `count` threads, one for each processor if it is not given.
    ///
    /// # Errors
    /// The system's error if a thread or its runtime can't be had.
    pub fn start(name: &str, count: Option<NonZeroUsize>) -> io::Result<Self> {
        let processors = thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        let (alive, ended) = watch::channel(());
        let handles = (0..count.unwrap_or(processors).get())
            .map(|number| start_one(format!("{name}-{number}"), number, ended.clone()))
            .collect::<io::Result<Vec<_>>>()?;
        Ok(Self {
            handles: handles.into(),
            next: Arc::default(),
            _alive: alive,
        })
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.handles.len()
    }

    /// Runs `task` on the next worker in turn.
    pub fn spawn<F>(&self, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.spawn_on(self.next.fetch_add(1, Ordering::Relaxed), task);
    }

    /// Runs `task` on the worker of that number; beyond the last they are counted from the first on again.
    pub fn spawn_on<F>(&self, number: usize, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let chosen = number
            .checked_rem(self.handles.len())
            .and_then(|at| self.handles.get(at));
        if let Some(handle) = chosen {
            drop(handle.spawn(task));
        }
    }

    /// Hands an accepted connection to the next worker in turn, which makes `task` of it.
    ///
    /// # Errors
    /// The system's error; the connection is closed then.
    pub fn spawn_with<F, T>(&self, stream: TcpStream, task: F) -> io::Result<()>
    where
        F: FnOnce(TcpStream) -> T + Send + 'static,
        T: Future<Output = ()> + Send + 'static,
    {
        // A socket belongs to the runtime that it was made in, so it is made anew in the worker's.
        let stream = stream.into_std()?;
        self.spawn(async move {
            match TcpStream::from_std(stream) {
                Ok(stream) => task(stream).await,
                Err(error) => tracing::warn!(side = "local", reason = %error,
                    remedy = "raise LimitNOFILE", "a connection was dropped"),
            }
        });
        Ok(())
    }
}

/// Starts one thread with a runtime of its own, which ends when the sender of `ended` is dropped.
///
/// # Errors
/// The system's error if the thread or its runtime can't be had.
pub fn start_thread(name: &str, ended: watch::Receiver<()>) -> io::Result<Handle> {
    start_one(name.to_owned(), 0, ended)
}

fn start_one(name: String, number: usize, mut ended: watch::Receiver<()>) -> io::Result<Handle> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .thread_name(&name)
        .build()?;
    let handle = runtime.handle().clone();
    let work = move || {
        CURRENT.set(number);
        runtime.block_on(async {
            // The sender never sends: this ends when it is dropped.
            drop(ended.changed().await);
        });
        runtime.shutdown_background();
    };
    thread::Builder::new().name(name).spawn(work)?;
    Ok(handle)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use tokio::io::AsyncReadExt as _;
    use tokio::net::TcpListener;
    use tokio::sync::mpsc;

    #[tokio::test]
    async fn tasks_take_turns_on_numbered_threads() {
        let workers = Workers::start("test", NonZeroUsize::new(3)).unwrap();
        let (sender, mut numbers) = mpsc::channel(6);

        for _ in 0..6 {
            let sender = sender.clone();
            workers.spawn(async move { sender.send(current()).await.unwrap() });
        }

        let mut seen = BTreeSet::new();
        for _ in 0..6 {
            seen.insert(numbers.recv().await.unwrap());
        }
        assert_eq!(seen, BTreeSet::from([0, 1, 2]));
    }

    #[tokio::test]
    async fn an_accepted_connection_goes_on_in_a_worker() {
        let workers = Workers::start("test", NonZeroUsize::new(1)).unwrap();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let (stream, _) = listener.accept().await.unwrap();

        let serve = |mut stream: TcpStream| async move {
            tokio::io::AsyncWriteExt::write_all(&mut stream, b"hello")
                .await
                .unwrap();
        };
        workers.spawn_with(stream, serve).unwrap();

        let mut text = String::new();
        client.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "hello");
    }
}

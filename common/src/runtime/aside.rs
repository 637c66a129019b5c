//! A future beside the one that matters, polled only when it has been woken itself.
//!
//! A connection task wakes for every request. A timer and a drain signal beside it would be looked at each time, and
//! each look takes a lock; here it takes one load of a flag.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// A boxed future that is polled only when it was woken.
pub struct Aside<'a, T> {
    future: Pin<Box<dyn Future<Output = T> + Send + 'a>>,
    flag: Arc<Flag>,
    waker: Waker,
}

impl<T> std::fmt::Debug for Aside<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Aside").finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Flag {
    is_woken: AtomicBool,
    task: Waker,
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.is_woken.store(true, Ordering::Release);
        self.task.wake_by_ref();
    }
}

impl<'a, T> Aside<'a, T> {
    /// Wraps `future`; it is polled for the first time when this is.
    pub fn new(future: impl Future<Output = T> + Send + 'a) -> Self {
        let flag = Arc::new(Flag {
            is_woken: AtomicBool::new(true),
            task: Waker::noop().clone(),
        });
        Self {
            future: Box::pin(future),
            waker: Arc::clone(&flag).into(),
            flag,
        }
    }
}

impl<T> Future for Aside<'_, T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        if !self.flag.task.will_wake(cx.waker()) {
            // Another task, or the first poll: what the future knows of wakers is out of date.
            self.flag = Arc::new(Flag {
                is_woken: AtomicBool::new(true),
                task: cx.waker().clone(),
            });
            self.waker = Arc::clone(&self.flag).into();
        }
        if !self.flag.is_woken.swap(false, Ordering::Acquire) {
            return Poll::Pending;
        }
        let this = &mut *self;
        this.future
            .as_mut()
            .poll(&mut Context::from_waker(&this.waker))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::sync::atomic::AtomicUsize;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn it_is_polled_only_when_woken_however_often_its_task_is() {
        let polls = AtomicUsize::new(0);
        let timer = tokio::time::sleep(Duration::from_secs(5));
        let mut timer = std::pin::pin!(timer);
        let counted = poll_fn(|cx| {
            polls.fetch_add(1, Ordering::Relaxed);
            timer.as_mut().poll(cx)
        });
        let mut aside = Aside::new(counted);
        let mut busy = 0;

        poll_fn(|cx| {
            busy += 1;
            if busy < 100 {
                cx.waker().wake_by_ref();
            }
            Pin::new(&mut aside).poll(cx)
        })
        .await;

        assert!(busy >= 100);
        assert_eq!(polls.load(Ordering::Relaxed), 2);
    }
}

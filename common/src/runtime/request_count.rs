//! Counts one request from its head to the head of its answer, whatever becomes of it.

use std::time::{Duration, Instant};

use http::StatusCode;

use crate::runtime::clock;
use crate::telemetry::{Requests, Route, Status};

/// A request being answered; dropped without [`Self::end`], it counts as one whose client went away.
#[derive(Debug)]
pub struct Counted<'a> {
    requests: &'a Requests,
    began: Instant,
    is_ended: bool,
}

impl<'a> Counted<'a> {
    /// A head has arrived.
    #[must_use]
    pub fn begin(requests: &'a Requests) -> Self {
        requests.in_flight.inc();
        Self {
            requests,
            began: clock::now(),
            is_ended: false,
        }
    }

    /// How long ago the head arrived.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        clock::elapsed(self.began)
    }

    /// The head of the answer is known.
    pub fn end(mut self, route: Route, status: StatusCode) {
        self.is_ended = true;
        self.requests
            .answered
            .of(route, Status::of(status.as_u16()))
            .inc();
        self.requests
            .seconds
            .of(route)
            .observe(clock::elapsed(self.began).as_secs_f64());
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.requests.in_flight.dec();
        if !self.is_ended {
            self.requests.answered.of(Route::Other, Status::None).inc();
        }
    }
}

//! INVITE server transaction (RFC 3261 section 17.2.1, RFC 6026 section 7.1). Keeps no message.

use std::time::Duration;

use super::timer::{GIVE_UP, T1, T2, T4, TRYING_INVITE, Timer};
use super::{Resend, Step, is_provisional, is_success};

/// Where the transaction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// A 2xx was sent; more may follow.
    Accepted,
    /// A final error was sent and not acknowledged.
    Completed,
    /// The ACK came.
    Confirmed,
    /// No final response yet.
    Proceeding,
    /// Over.
    Terminated,
}

/// One INVITE from the previous hop.
#[derive(Clone, Copy, Debug)]
pub struct InviteServer {
    state: State,
    is_reliable: bool,
    has_answered: bool,
    interval: Duration,
}

impl InviteServer {
    /// The INVITE just came.
    #[must_use]
    pub const fn new(is_reliable: bool) -> (Self, Step) {
        let new = Self {
            state: State::Proceeding,
            is_reliable,
            has_answered: false,
            interval: T1,
        };
        (new, Step::NOTHING.starting(Timer::Trying, TRYING_INVITE))
    }

    /// Where it is.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// Whether nothing was answered yet, not even 100.
    #[must_use]
    pub const fn is_unanswered(&self) -> bool {
        matches!(self.state, State::Proceeding) && !self.has_answered
    }

    /// The INVITE came again.
    pub const fn handle_request(&mut self) -> Step {
        match self.state {
            State::Proceeding if self.has_answered => Step::NOTHING.sending(Resend::Last),
            State::Proceeding => {
                self.has_answered = true;
                Step::NOTHING.sending(Resend::Trying)
            }
            State::Completed => Step::NOTHING.sending(Resend::Last),
            State::Accepted | State::Confirmed | State::Terminated => Step::NOTHING,
        }
    }

    /// The owner has a response to send: `deliver` says whether it may.
    pub const fn handle_answer(&mut self, code: u16) -> Step {
        match self.state {
            State::Proceeding if is_provisional(code) => {
                self.has_answered = true;
                Step::DELIVER
            }
            State::Proceeding if is_success(code) => {
                self.state = State::Accepted;
                Step::DELIVER.starting(Timer::L, GIVE_UP)
            }
            State::Proceeding => {
                self.state = State::Completed;
                let step = Step::DELIVER.starting(Timer::H, GIVE_UP);
                if self.is_reliable {
                    step
                } else {
                    step.starting(Timer::G, T1)
                }
            }
            State::Accepted if is_success(code) => Step::DELIVER,
            State::Accepted | State::Completed | State::Confirmed | State::Terminated => {
                Step::NOTHING
            }
        }
    }

    /// An ACK of this transaction came, that is one to a final error.
    pub const fn handle_acknowledgement(&mut self) -> Step {
        match self.state {
            State::Completed if self.is_reliable => {
                self.state = State::Terminated; // Timer I is zero
                Step::NOTHING
            }
            State::Completed => {
                self.state = State::Confirmed;
                Step::NOTHING.starting(Timer::I, T4)
            }
            State::Accepted | State::Confirmed | State::Proceeding | State::Terminated => {
                Step::NOTHING
            }
        }
    }

    /// A timer fired.
    pub fn handle_timer(&mut self, timer: Timer) -> Step {
        match (self.state, timer) {
            (State::Proceeding, Timer::Trying) if !self.has_answered => {
                self.has_answered = true;
                Step::NOTHING.sending(Resend::Trying)
            }
            (State::Completed, Timer::G) => {
                self.interval = self.interval.saturating_mul(2).min(T2);
                let again = Step::NOTHING.sending(Resend::Last);
                again.starting(Timer::G, self.interval)
            }
            (State::Completed, Timer::H) => {
                self.state = State::Terminated;
                Step::TIMED_OUT
            }
            (State::Confirmed, Timer::I) | (State::Accepted, Timer::L) => {
                self.state = State::Terminated;
                Step::NOTHING
            }
            _ => Step::NOTHING,
        }
    }
}

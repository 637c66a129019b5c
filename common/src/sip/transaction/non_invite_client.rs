//! Client transaction of every method but INVITE and ACK (RFC 3261 section 17.1.2). Keeps no message.

use std::time::Duration;

use super::timer::{GIVE_UP, T1, T2, T4, Timer};
use super::{Resend, Step, is_provisional};

/// Where the transaction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// A final response came.
    Completed,
    /// A provisional response came.
    Proceeding,
    /// Over.
    Terminated,
    /// Sent, nothing came back.
    Trying,
}

/// One request towards the next hop.
#[derive(Clone, Copy, Debug)]
pub struct NonInviteClient {
    state: State,
    is_reliable: bool,
    interval: Duration,
}

impl NonInviteClient {
    /// The request was just sent.
    #[must_use]
    pub const fn new(is_reliable: bool) -> (Self, Step) {
        let new = Self {
            state: State::Trying,
            is_reliable,
            interval: T1,
        };
        let step = Step::NOTHING.starting(Timer::F, GIVE_UP);
        if is_reliable {
            (new, step)
        } else {
            (new, step.starting(Timer::E, T1))
        }
    }

    /// Where it is.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// A response came.
    pub const fn handle_response(&mut self, code: u16) -> Step {
        match self.state {
            State::Trying | State::Proceeding if is_provisional(code) => {
                self.state = State::Proceeding;
                Step::DELIVER
            }
            State::Trying | State::Proceeding if self.is_reliable => {
                self.state = State::Terminated; // Timer K is zero
                Step::DELIVER
            }
            State::Trying | State::Proceeding => {
                self.state = State::Completed;
                Step::DELIVER.starting(Timer::K, T4)
            }
            State::Completed | State::Terminated => Step::NOTHING,
        }
    }

    /// A timer fired.
    pub fn handle_timer(&mut self, timer: Timer) -> Step {
        match (self.state, timer) {
            (State::Trying, Timer::E) => {
                self.interval = self.interval.saturating_mul(2).min(T2);
                let again = Step::NOTHING.sending(Resend::Last);
                again.starting(Timer::E, self.interval)
            }
            (State::Proceeding, Timer::E) => {
                self.interval = T2;
                let again = Step::NOTHING.sending(Resend::Last);
                again.starting(Timer::E, T2)
            }
            (State::Trying | State::Proceeding, Timer::F) => {
                self.state = State::Terminated;
                Step::TIMED_OUT
            }
            (State::Completed, Timer::K) => {
                self.state = State::Terminated;
                Step::NOTHING
            }
            _ => Step::NOTHING,
        }
    }
}

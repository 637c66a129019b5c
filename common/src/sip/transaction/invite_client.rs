//! INVITE client transaction (RFC 3261 section 17.1.1, RFC 6026 section 7.2). Keeps no message.

use std::time::Duration;

use super::timer::{GIVE_UP, T1, Timer, WAIT_RETRANSMITS};
use super::{Resend, Step, is_provisional, is_success};

/// Where the transaction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// A 2xx came; more may follow.
    Accepted,
    /// Sent, nothing came back.
    Calling,
    /// A final error came and was acknowledged.
    Completed,
    /// Nothing came in time and the owner was told so; what comes all the same is not lost.
    Late,
    /// A provisional response came.
    Proceeding,
    /// Over.
    Terminated,
}

/// One INVITE towards the next hop.
#[derive(Clone, Copy, Debug)]
pub struct InviteClient {
    state: State,
    is_reliable: bool,
    interval: Duration,
}

impl InviteClient {
    /// The INVITE was just sent.
    #[must_use]
    pub const fn new(is_reliable: bool) -> (Self, Step) {
        let new = Self {
            state: State::Calling,
            is_reliable,
            interval: T1,
        };
        let step = Step::NOTHING.starting(Timer::B, GIVE_UP);
        if is_reliable {
            (new, step)
        } else {
            (new, step.starting(Timer::A, T1))
        }
    }

    /// Where it is.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// A response to this INVITE came.
    pub const fn handle_response(&mut self, code: u16) -> Step {
        match self.state {
            State::Calling | State::Proceeding | State::Late if is_provisional(code) => {
                self.state = State::Proceeding;
                Step::DELIVER
            }
            State::Calling | State::Proceeding | State::Late if is_success(code) => {
                self.state = State::Accepted;
                Step::DELIVER.starting(Timer::M, GIVE_UP)
            }
            State::Calling | State::Proceeding => {
                let step = Step::DELIVER.sending(Resend::Acknowledgement);
                if self.is_reliable {
                    self.state = State::Terminated; // Timer D is zero
                    return step;
                }
                self.state = State::Completed;
                step.starting(Timer::D, WAIT_RETRANSMITS)
            }
            State::Completed | State::Late if code >= 300 => {
                Step::NOTHING.sending(Resend::Acknowledgement)
            }
            State::Accepted if is_success(code) => Step::DELIVER,
            State::Accepted | State::Completed | State::Late | State::Terminated => Step::NOTHING,
        }
    }

    /// A timer fired.
    pub fn handle_timer(&mut self, timer: Timer) -> Step {
        match (self.state, timer) {
            (State::Calling, Timer::A) => {
                self.interval = self.interval.saturating_mul(2);
                let again = Step::NOTHING.sending(Resend::Last);
                again.starting(Timer::A, self.interval)
            }
            (State::Calling, Timer::B) => {
                self.state = State::Late;
                Step::TIMED_OUT.starting(Timer::M, GIVE_UP)
            }
            (State::Completed, Timer::D) | (State::Accepted | State::Late, Timer::M) => {
                self.state = State::Terminated;
                Step::NOTHING
            }
            _ => Step::NOTHING,
        }
    }
}

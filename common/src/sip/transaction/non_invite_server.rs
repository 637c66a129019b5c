//! Server transaction of every method but INVITE and ACK (RFC 3261 section 17.2.2, RFC 4320). Keeps no message.

use super::timer::{GIVE_UP, TRYING_NON_INVITE, Timer};
use super::{Resend, Step, is_provisional};

/// Where the transaction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// A final response was sent.
    Completed,
    /// 100 was sent.
    Proceeding,
    /// Over.
    Terminated,
    /// Nothing was sent.
    Trying,
}

/// One request from the previous hop.
#[derive(Clone, Copy, Debug)]
pub struct NonInviteServer {
    state: State,
    is_reliable: bool,
}

impl NonInviteServer {
    /// The request just came.
    #[must_use]
    pub const fn new(is_reliable: bool) -> (Self, Step) {
        let new = Self {
            state: State::Trying,
            is_reliable,
        };
        (
            new,
            Step::NOTHING.starting(Timer::Trying, TRYING_NON_INVITE),
        )
    }

    /// Where it is.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// The request came again.
    pub const fn handle_request(&mut self) -> Step {
        match self.state {
            State::Proceeding | State::Completed => Step::NOTHING.sending(Resend::Last),
            State::Trying | State::Terminated => Step::NOTHING,
        }
    }

    /// The owner has a response to send: `deliver` says whether it may.
    pub const fn handle_answer(&mut self, code: u16) -> Step {
        match self.state {
            // RFC 4320 section 4.1: no provisional response but the 100 that comes from the timer.
            State::Trying | State::Proceeding if is_provisional(code) => Step::NOTHING,
            State::Trying | State::Proceeding if self.is_reliable => {
                self.state = State::Terminated; // Timer J is zero
                Step::DELIVER
            }
            State::Trying | State::Proceeding => {
                self.state = State::Completed;
                Step::DELIVER.starting(Timer::J, GIVE_UP)
            }
            State::Completed | State::Terminated => Step::NOTHING,
        }
    }

    /// A timer fired.
    pub fn handle_timer(&mut self, timer: Timer) -> Step {
        match (self.state, timer) {
            (State::Trying, Timer::Trying) => {
                self.state = State::Proceeding;
                Step::NOTHING.sending(Resend::Trying)
            }
            (State::Completed, Timer::J) => {
                self.state = State::Terminated;
                Step::NOTHING
            }
            _ => Step::NOTHING,
        }
    }
}

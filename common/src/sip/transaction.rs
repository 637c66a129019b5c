//! The four transactions of RFC 3261 section 17 with the corrections of RFC 6026 and RFC 4320. Each is a state and nothing
//! else: the owner keeps the messages, sends, and starts the timers it is told to.

pub mod invite_client;
pub mod invite_server;
pub mod non_invite_client;
pub mod non_invite_server;
pub mod timer;

use std::time::Duration;

pub use invite_client::InviteClient;
pub use invite_server::InviteServer;
pub use non_invite_client::NonInviteClient;
pub use non_invite_server::NonInviteServer;
pub use timer::{Timer, TimerQueue};

/// What a transaction asks of its owner after an input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// Whether the message goes on: a response up from a client transaction, out of a server transaction.
    pub deliver: bool,
    /// What to send.
    pub send: Option<Resend>,
    /// Timers to start, each after this much time.
    pub timers: [Option<(Timer, Duration)>; 2],
    /// The other side was silent for too long.
    pub is_timed_out: bool,
}

/// What a transaction wants to be sent by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resend {
    /// The ACK to a final response that is not a 2xx.
    Acknowledgement,
    /// The last message once more.
    Last,
    /// 100 Trying.
    Trying,
}

impl Step {
    const NOTHING: Self = Self {
        deliver: false,
        send: None,
        timers: [None; 2],
        is_timed_out: false,
    };
    const DELIVER: Self = Self {
        deliver: true,
        ..Self::NOTHING
    };
    const TIMED_OUT: Self = Self {
        is_timed_out: true,
        ..Self::NOTHING
    };

    const fn sending(self, send: Resend) -> Self {
        Self {
            send: Some(send),
            ..self
        }
    }

    const fn starting(self, timer: Timer, after: Duration) -> Self {
        let [first, _] = self.timers;
        let timers = match first {
            None => [Some((timer, after)), None],
            Some(_) => [first, Some((timer, after))],
        };
        Self { timers, ..self }
    }
}

const fn is_provisional(code: u16) -> bool {
    code < 200
}

const fn is_success(code: u16) -> bool {
    code >= 200 && code < 300
}

#[cfg(test)]
mod tests;

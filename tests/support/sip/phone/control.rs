//! The control socket of baresip: JSON objects in netstrings (`5:hello,`), commands there, answers and events back.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;
use serde_json::json;

/// A connection to a phone's control socket. Events that nobody has waited for are kept.
#[derive(Debug)]
pub struct Control {
    stream: TcpStream,
    buffer: Vec<u8>,
    events: Vec<Event>,
    commands: u32,
}

/// Something that happened at a phone.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Event {
    /// `register`, `call` and others.
    #[serde(default)]
    pub class: String,
    /// `CALL_ESTABLISHED` and others.
    #[serde(rename = "type")]
    pub kind: String,
    /// What it says besides: the reason of an end, the digit of a tone.
    #[serde(default, rename = "param")]
    pub parameter: String,
    /// The other party of a call.
    #[serde(default, rename = "peeruri")]
    pub peer: String,
}

#[derive(Debug, Deserialize)]
struct Response {
    #[serde(default)]
    data: String,
    #[serde(default)]
    token: String,
}

enum Message {
    Event(Event),
    Response(Response),
}

impl Control {
    pub(super) const fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
            events: Vec::new(),
            commands: 0,
        }
    }

    /// Runs a command of the menu and returns what it prints.
    pub fn command(&mut self, name: &str, parameters: &str) -> Result<String> {
        self.commands += 1;
        let token = self.commands.to_string();
        let command = json!({"command": name, "params": parameters, "token": token}).to_string();
        write!(self.stream, "{}:{command},", command.len())?;
        let deadline = Instant::now() + COMMAND_LIMIT;
        loop {
            match self.next(deadline)? {
                None => bail!("no answer to {name}"),
                Some(Message::Event(event)) => self.events.push(event),
                Some(Message::Response(response)) if response.token == token => {
                    return Ok(response.data);
                }
                Some(Message::Response(_)) => {}
            }
        }
    }

    /// Waits for an event, among those that have come already first; it and no other is forgotten then.
    pub fn wait(&mut self, limit: Duration, is_wanted: impl Fn(&Event) -> bool) -> Result<Event> {
        if let Some(at) = self.events.iter().position(&is_wanted) {
            return Ok(self.events.remove(at));
        }
        let deadline = Instant::now() + limit;
        loop {
            match self.next(deadline)? {
                Some(Message::Event(event)) if is_wanted(&event) => return Ok(event),
                Some(Message::Event(event)) => self.events.push(event),
                Some(Message::Response(_)) => {}
                None => bail!("not within {limit:?}; there were {:?}", self.events),
            }
        }
    }

    /// Forgets the events that have come.
    pub fn forget(&mut self) {
        // What lies in the socket has come, too.
        while let Ok(Some(_)) = self.next(Instant::now() + BRIEF) {}
        self.events.clear();
    }

    /// The next message; `None` at the deadline.
    fn next(&mut self, deadline: Instant) -> Result<Option<Message>> {
        loop {
            if let Some(message) = self.take()? {
                return Ok(Some(message));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.stream.set_read_timeout(Some(left))?;
            let mut bytes = [0; 4096];
            match self.stream.read(&mut bytes) {
                Ok(0) => bail!("the phone has gone"),
                Ok(count) => self.buffer.extend(bytes.iter().take(count)),
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) => return Err(error).context("Failed to hear of a phone"),
            }
        }
    }

    /// The next message that is there as a whole.
    fn take(&mut self) -> Result<Option<Message>> {
        let Some(colon) = self.buffer.iter().position(|byte| *byte == b':') else {
            return Ok(None);
        };
        let (digits, rest) = self.buffer.split_at(colon);
        let length: usize = std::str::from_utf8(digits)?.parse()?;
        let Some(text) = rest.get(1..=length) else {
            return Ok(None);
        };
        let Some(end) = rest.get(length + 1) else {
            return Ok(None);
        };
        ensure!(*end == b',', "no netstring");
        let value: serde_json::Value = serde_json::from_slice(text)?;
        let is_event = value.get("event").is_some();
        let message = if is_event {
            Message::Event(serde_json::from_value(value)?)
        } else {
            Message::Response(serde_json::from_value(value)?)
        };
        self.buffer.drain(..colon + length + 2);
        Ok(Some(message))
    }
}

const COMMAND_LIMIT: Duration = Duration::from_secs(10);
/// A read timeout of zero would mean none.
const BRIEF: Duration = Duration::from_millis(1);

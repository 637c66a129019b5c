//! A user agent that says what it is told: for what no decent phone does, and for what baresip can't.
//!
//! Blocking; one connection or one UDP socket a value. It answers challenges if it is asked to, and keeps dialogs, but
//! nothing happens behind the back of a test: no retransmission, no answer that wasn't asked for.

mod dialog;
mod digest;
mod message;

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::place::Place;
use crate::tls_client::{Connection, Dialer};

pub use dialog::Dialog;
pub use digest::Challenge;
pub use message::Message;

/// A user agent on one connection.
#[derive(Debug)]
pub struct Agent {
    wire: Wire,
    buffer: Vec<u8>,
    inbox: VecDeque<Message>,
    user: String,
    domain: String,
    password: String,
    sent: u32,
}

#[derive(Debug)]
enum Wire {
    Tls(Box<Connection>, SocketAddr),
    Udp(UdpSocket, SocketAddr),
}

impl Agent {
    /// Dials TLS.
    pub fn over_tls(dialer: &Dialer, user: &str, domain: &str) -> Result<Self> {
        let connection = dialer.dial()?;
        let local = connection.tcp().local_addr()?;
        Ok(Self::new(
            Wire::Tls(Box::new(connection), local),
            user,
            domain,
        ))
    }

    /// Binds UDP, and says everything to one server.
    pub fn over_udp(
        place: &Place,
        local: SocketAddr,
        server: SocketAddr,
        user: &str,
        domain: &str,
    ) -> Result<Self> {
        let socket = place.udp(local)?;
        Ok(Self::new(Wire::Udp(socket, server), user, domain))
    }

    fn new(wire: Wire, user: &str, domain: &str) -> Self {
        Self {
            wire,
            buffer: Vec::new(),
            inbox: VecDeque::new(),
            user: user.to_owned(),
            domain: domain.to_owned(),
            password: super::registrar::PASSWORD.to_owned(),
            sent: 0,
        }
    }

    /// Answers challenges with another password.
    #[must_use]
    pub fn password(mut self, password: &str) -> Self {
        password.clone_into(&mut self.password);
        self
    }

    /// Its address of record.
    #[must_use]
    pub fn aor(&self) -> String {
        format!("sip:{}@{}", self.user, self.domain)
    }

    /// Where it is, in Via and Contact.
    pub fn local(&self) -> Result<SocketAddr> {
        Ok(match &self.wire {
            Wire::Tls(_, local) => *local,
            Wire::Udp(socket, _) => socket.local_addr()?,
        })
    }

    /// `TLS` or `UDP`.
    #[must_use]
    pub const fn transport(&self) -> &'static str {
        match &self.wire {
            Wire::Tls(..) => "TLS",
            Wire::Udp(..) => "UDP",
        }
    }

    /// Its Contact.
    pub fn contact(&self) -> Result<String> {
        let (user, local) = (&self.user, self.local()?);
        let transport = self.transport().to_lowercase();
        Ok(format!("<sip:{user}@{local};transport={transport}>"))
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.wire {
            Wire::Tls(connection, _) => connection.send(bytes),
            Wire::Udp(socket, server) => socket.send_to(bytes, *server).map(drop),
        }
    }

    /// The next message that `is_wanted`, of those that came before first; others are kept.
    pub fn wait(&mut self, what: &str, is_wanted: impl Fn(&Message) -> bool) -> Result<Message> {
        let found = self.wait_for(PATIENCE, is_wanted)?;
        found.with_context(|| format!("Failed to see {what}; there were {:#?}", self.inbox))
    }

    /// The same with a limit of its own; `None` when it has passed.
    pub fn wait_for(
        &mut self,
        limit: Duration,
        is_wanted: impl Fn(&Message) -> bool,
    ) -> Result<Option<Message>> {
        if let Some(at) = self.inbox.iter().position(&is_wanted) {
            return Ok(self.inbox.remove(at));
        }
        let deadline = Instant::now() + limit;
        loop {
            while let Some(message) = self.take()? {
                if is_wanted(&message) {
                    return Ok(Some(message));
                }
                self.inbox.push_back(message);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            match self.fill(left) {
                Ok(()) => {}
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) => return Err(error).context(format!("there were {:#?}", self.inbox)),
            }
        }
    }

    /// The next request of a method.
    pub fn wait_request(&mut self, method: &str) -> Result<Message> {
        self.wait(method, |message| message.method() == Some(method))
    }

    /// Answers a request. A tag is added to To where it has none; Contact and Record-Route where a dialog needs them.
    pub fn respond(
        &mut self,
        request: &Message,
        status: &str,
        headers: &str,
        body: &str,
    ) -> Result<()> {
        let contact = self.contact()?;
        let text = request.answered(status, &contact, headers, body);
        self.send(text.as_bytes())?;
        Ok(())
    }

    /// Whether the peer closes the connection within its patience, after messages of whatever kind.
    pub fn is_closed(&mut self) -> Result<bool> {
        match self.wait_for(PATIENCE, |_| false) {
            Ok(_) => Ok(false),
            Err(error) => match error.downcast_ref::<io::Error>() {
                Some(error) => Ok(crate::tls_client::is_gone(error)),
                None => Err(error),
            },
        }
    }

    /// A number that no other message of this agent has.
    fn next(&mut self) -> u32 {
        self.sent += 1;
        self.sent
    }

    fn take(&mut self) -> Result<Option<Message>> {
        // Answers to keep-alives.
        while self.buffer.starts_with(b"\r\n") {
            self.buffer.drain(..2);
        }
        let Some((message, length)) = Message::read(&self.buffer)? else {
            return Ok(None);
        };
        self.buffer.drain(..length);
        Ok(Some(message))
    }

    fn fill(&mut self, limit: Duration) -> io::Result<()> {
        match &mut self.wire {
            Wire::Tls(connection, _) => {
                let bytes = connection.read_some(limit)?;
                if bytes.is_empty() {
                    return Err(ErrorKind::UnexpectedEof.into());
                }
                self.buffer.extend(bytes);
            }
            Wire::Udp(socket, _) => {
                socket.set_read_timeout(Some(limit))?;
                let mut bytes = [0; 65_536];
                let (count, _) = socket.recv_from(&mut bytes)?;
                self.buffer.extend(bytes.iter().take(count));
            }
        }
        Ok(())
    }
}

/// Sends a request and its answer to the challenge, until there is a final response that is none.
impl Agent {
    /// Registers for a while and returns the final response.
    pub fn register(&mut self, seconds: u32) -> Result<Message> {
        self.register_with(seconds, "")
    }

    /// The same, with further headers.
    pub fn register_with(&mut self, seconds: u32, more: &str) -> Result<Message> {
        let (contact, number) = (self.contact()?, self.next());
        let instance = format!(
            "<urn:uuid:00000000-0000-4000-8000-{:012}>",
            self.user.parse::<u64>().unwrap_or(0)
        );
        let headers = format!(
            "Contact: {contact};reg-id=1;+sip.instance=\"{instance}\";expires={seconds}\r\n\
             Supported: path, outbound, gruu\r\n{more}"
        );
        let mut dialog = Dialog::new(self, &self.aor(), number)?;
        dialog.target = format!("sip:{}", self.domain);
        self.exchange(&mut dialog, "REGISTER", &headers, "")
    }

    /// Opens a dialog in which nothing was said yet.
    pub fn dialog(&mut self, target: &str) -> Result<Dialog> {
        let number = self.next();
        Dialog::new(self, target, number)
    }

    /// Sends a request and waits for its final response; answers one challenge on the way, and acknowledges what has
    /// to be.
    pub fn exchange(
        &mut self,
        dialog: &mut Dialog,
        method: &str,
        headers: &str,
        body: &str,
    ) -> Result<Message> {
        self.request(dialog, method, headers, body)?;
        let response = self.wait_final(dialog, method)?;
        let Some(proof) = digest::answer(
            &response,
            (&self.user, &self.password),
            method,
            &dialog.target,
        ) else {
            return Ok(response);
        };
        self.request(dialog, method, &format!("{headers}{proof}"), body)?;
        self.wait_final(dialog, method)
    }

    /// Sends a request within a dialog, and waits for nothing.
    pub fn request(
        &mut self,
        dialog: &mut Dialog,
        method: &str,
        headers: &str,
        body: &str,
    ) -> Result<()> {
        let number = self.next();
        let text = dialog.request(self, method, headers, body, number)?;
        self.send(text.as_bytes())?;
        Ok(())
    }

    /// Waits for the final response to the latest request of a dialog, and acknowledges it if that was an INVITE.
    pub fn wait_final(&mut self, dialog: &mut Dialog, method: &str) -> Result<Message> {
        let response = self.wait_response(dialog, method, 200..700)?;
        if method == "INVITE" {
            let number = self.next();
            let text = dialog.acknowledge(self, &response, number)?;
            self.send(text.as_bytes())?;
        }
        Ok(response)
    }

    /// Waits for a response to the latest request of a dialog.
    pub fn wait_response(
        &mut self,
        dialog: &mut Dialog,
        method: &str,
        range: std::ops::Range<u16>,
    ) -> Result<Message> {
        let sequence = format!("{} {method}", dialog.sequence);
        let call = dialog.call_id.clone();
        let response = self.wait(&format!("an answer to {method}"), |message| {
            message
                .status()
                .is_some_and(|status| range.contains(&status))
                && message.header("cseq") == Some(sequence.as_str())
                && message.header("call-id") == Some(call.as_str())
        })?;
        if response
            .status()
            .is_some_and(|status| status < 300 && status > 100)
            && method == "INVITE"
        {
            dialog.learn(&response)?;
        }
        Ok(response)
    }

    /// Calls somebody; returns the dialog and the final response.
    pub fn invite(&mut self, target: &str, headers: &str, sdp: &str) -> Result<(Dialog, Message)> {
        let mut dialog = self.dialog(target)?;
        let response = self.exchange(&mut dialog, "INVITE", &format!("{headers}{SDP}"), sdp)?;
        Ok((dialog, response))
    }

    /// The same, for one who must be accepted.
    pub fn call(&mut self, target: &str, sdp: &str) -> Result<(Dialog, Message)> {
        let (dialog, response) = self.invite(target, "", sdp)?;
        if response.status() != Some(200) {
            bail!("not accepted: {response:#?}");
        }
        Ok((dialog, response))
    }
}

/// The header of a session description.
pub const SDP: &str = "Content-Type: application/sdp\r\n";

/// No peer in these tests needs longer.
const PATIENCE: Duration = Duration::from_secs(10);

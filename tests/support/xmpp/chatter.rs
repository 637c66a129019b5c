//! slixmpp as a chat client outside, which does what it is told and says what happens.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::installed;
use crate::place::Place;
use crate::wait;

/// Whose client it is, and how it signs in.
#[derive(Clone, Debug)]
pub struct Plan {
    /// `alice@example.com/desk`; the resource may be left out.
    pub jid: String,
    /// The password.
    pub password: String,
    /// PEM file of the authorities it trusts.
    pub authorities: PathBuf,
    /// The only SASL mechanism that it may use; else it takes the best.
    pub mechanism: Option<&'static str>,
    /// `1.2` or `1.3`; else what both sides like best.
    pub tls: Option<&'static str>,
}

/// How TLS begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// From the first byte (XEP-0368).
    Direct,
    /// Never.
    Plain,
    /// RFC 6120 section 5.
    StartTls,
}

/// A running client. Ends when dropped.
#[derive(Debug)]
pub struct Chatter {
    jid: String,
    child: Child,
    orders: ChildStdin,
    events: Receiver<Event>,
    seen: Vec<Event>,
    /// How many of those that were seen nobody will be told of again.
    told: usize,
    log: PathBuf,
}

/// Something that happened at a client.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Event {
    /// `session`, `message`, `presence`, `joined`, `room`, `resumed`, `failed_auth`, `stream_error`, `disconnected` ..
    #[serde(rename = "event")]
    pub kind: String,
    /// Who caused it, or who one is.
    #[serde(default)]
    pub who: String,
    /// A body, a condition, the SASL mechanism of a session.
    #[serde(default)]
    pub text: String,
    /// The version of TLS of a session.
    #[serde(default)]
    pub tls: String,
    /// The protocol that was agreed on in TLS, if any.
    #[serde(default)]
    pub alpn: String,
}

impl Chatter {
    /// Starts it; it connects when it is told to.
    pub fn start(place: &Place, dir: &Path, plan: &Plan) -> Result<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("support/xmpp/chatter.py");
        let mut command = place.command(&python()?.to_string_lossy());
        command.arg("-u").arg(script);
        command
            .args([&plan.jid, &plan.password])
            .arg(&plan.authorities);
        let options = [("sasl", plan.mechanism), ("tls", plan.tls)];
        for (name, value) in options {
            command.args(value.map(|value| format!("{name}={value}")));
        }
        let log = dir.join(format!("chatter-{}.log", plan.jid.replace('/', "-")));
        let errors = File::options().create(true).append(true).open(&log)?;
        command
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors);
        let mut child = command.spawn().context("Failed to start slixmpp")?;
        let orders = child.stdin.take().context("no standard input")?;
        let lines = BufReader::new(child.stdout.take().context("no standard output")?).lines();
        let (sender, events) = mpsc::channel();
        thread::spawn(move || {
            // Ends with the process, or when nobody listens any more.
            lines
                .map_while(Result::ok)
                .filter_map(|line| serde_json::from_str(&line).ok())
                .try_for_each(|event| sender.send(event))
        });
        let mut chatter = Self {
            jid: plan.jid.clone(),
            child,
            orders,
            events,
            seen: Vec::new(),
            told: 0,
            log,
        };
        chatter.wait("ready")?;
        Ok(chatter)
    }

    /// The bare JID.
    #[must_use]
    pub fn bare(&self) -> &str {
        self.jid.split('/').next().unwrap_or_default()
    }

    /// Connects and signs in; tells of it by `session`, `resumed` or what goes wrong.
    pub fn connect(&mut self, edge: SocketAddr, mode: Mode) -> Result<()> {
        let mode = match mode {
            Mode::Direct => "direct",
            Mode::Plain => "plain",
            Mode::StartTls => "starttls",
        };
        let (host, port) = (edge.ip().to_string(), edge.port());
        self.order(&json!({"do": "connect", "host": host, "port": port, "mode": mode}))
    }

    /// Connects, and waits for the session.
    pub fn sign_in(&mut self, edge: SocketAddr, mode: Mode) -> Result<Event> {
        self.connect(edge, mode)?;
        self.wait("session")
    }

    /// Sends a message.
    pub fn message(&mut self, to: &str, body: &str) -> Result<()> {
        self.order(&json!({"do": "message", "to": to, "body": body}))
    }

    /// Tells everybody who may know that one is `away`, `dnd` ..
    pub fn presence(&mut self, show: &str) -> Result<()> {
        self.order(&json!({"do": "presence", "show": show}))
    }

    /// Asks to see somebody's presence.
    pub fn subscribe(&mut self, to: &str) -> Result<()> {
        self.order(&json!({"do": "subscribe", "to": to}))
    }

    /// Enters a chat room, and waits for that.
    pub fn join(&mut self, room: &str, nick: &str) -> Result<()> {
        self.order(&json!({"do": "join", "room": room, "nick": nick}))?;
        self.wait("joined").map(drop)
    }

    /// Says something in a chat room.
    pub fn say(&mut self, room: &str, body: &str) -> Result<()> {
        self.order(&json!({"do": "say", "room": room, "body": body}))
    }

    /// Asks the server for a sign of life (XEP-0199), and waits for it.
    pub fn ping(&mut self) -> Result<()> {
        self.order(&json!({"do": "ping"}))?;
        self.wait("pong").map(drop)
    }

    /// Sends these characters as they are.
    pub fn raw(&mut self, text: &str) -> Result<()> {
        self.order(&json!({"do": "raw", "text": text}))
    }

    /// Gives up the TCP connection without a word on the stream, and remembers the stream.
    pub fn abort(&mut self) -> Result<()> {
        self.order(&json!({"do": "abort"}))
    }

    /// Closes the stream in order.
    pub fn leave(&mut self) -> Result<()> {
        self.order(&json!({"do": "leave"}))?;
        self.wait("left").map(drop)
    }

    /// Waits for the next event of a kind; those before it are passed over.
    pub fn wait(&mut self, kind: &str) -> Result<Event> {
        self.wait_for(kind, wait::START_LIMIT, |event| event.kind == kind)
    }

    /// Waits for a message with that body.
    pub fn hear(&mut self, kind: &str, body: &str) -> Result<Event> {
        self.wait_for(body, wait::START_LIMIT, |event| {
            event.kind == kind && event.text == body
        })
    }

    /// Waits for the next event that is wanted; those before it are passed over.
    pub fn wait_for(
        &mut self,
        what: &str,
        limit: Duration,
        wanted: impl Fn(&Event) -> bool,
    ) -> Result<Event> {
        let deadline = Instant::now() + limit;
        loop {
            while let Some(event) = self.seen.get(self.told).cloned() {
                self.told += 1;
                if wanted(&event) {
                    return Ok(event);
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.events.recv_timeout(left) {
                Ok(event) => self.seen.push(event),
                Err(error) => bail!(
                    "{} did not see {what} within {limit:?} ({error}); it saw {:#?} and wrote:\n{}",
                    self.jid,
                    self.seen,
                    self.log()?
                ),
            }
        }
    }

    /// Everything that has happened so far.
    pub fn seen(&mut self) -> &[Event] {
        self.seen.extend(self.events.try_iter());
        &self.seen
    }

    /// Every byte it has sent and received, as slixmpp logs them.
    pub fn log(&self) -> Result<String> {
        Ok(std::fs::read_to_string(&self.log)?)
    }

    fn order(&mut self, order: &Value) -> Result<()> {
        let status = self.child.try_wait()?;
        ensure!(status.is_none(), "slixmpp ended: {}", self.log()?);
        writeln!(self.orders, "{order}").context("Failed to give an order to slixmpp")
    }
}

impl Drop for Chatter {
    fn drop(&mut self) {
        // Either fails only if the child has ended already, which is what is wanted.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn python() -> Result<PathBuf> {
    let remedy = "python3 -m venv target/slixmpp, and \
                  target/slixmpp/bin/pip install -r tests/support/xmpp/requirements.txt";
    Ok(installed::folder("slixmpp", PYTHON, remedy)?.join(PYTHON))
}

const PYTHON: &str = "bin/python";

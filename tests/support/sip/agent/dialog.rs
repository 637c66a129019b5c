//! The state of one dialog, from the caller's side or the called one's.

use anyhow::{Context as _, Result};

use super::message::uri_of;
use super::{Agent, Message};

/// Who talks with whom, and by which way. Everything may be changed before the next request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dialog {
    /// Call-ID.
    pub call_id: String,
    /// From of own requests.
    pub local: String,
    /// To of own requests.
    pub remote: String,
    /// The request-URI of the next request.
    pub target: String,
    /// Route, in order.
    pub routes: Vec<String>,
    /// `CSeq` of the latest own request.
    pub sequence: u32,
    /// The branch of the latest own request.
    pub branch: String,
}

impl Dialog {
    pub(super) fn new(agent: &Agent, target: &str, number: u32) -> Result<Self> {
        let (aor, local) = (agent.aor(), agent.local()?);
        Ok(Self {
            call_id: format!("{number}-{}-{local}", agent.transport()),
            local: format!("<{aor}>;tag=calling{number}"),
            remote: format!("<{target}>"),
            target: target.to_owned(),
            routes: Vec::new(),
            sequence: 0,
            branch: String::new(),
        })
    }

    /// The dialog of a request that came in, with the tag that [`Agent::respond`] gives.
    pub fn of_request(request: &Message) -> Result<Self> {
        let header = |name| request.header(name).with_context(|| format!("no {name}"));
        let to = header("to")?;
        let local = if to.contains(";tag=") {
            to.to_owned()
        } else {
            format!("{to};tag=answering")
        };
        Ok(Self {
            call_id: header("call-id")?.to_owned(),
            local,
            remote: header("from")?.to_owned(),
            target: uri_of(header("contact")?).to_owned(),
            routes: request.all("record-route").map(str::to_owned).collect(),
            sequence: 0,
            branch: String::new(),
        })
    }

    /// Takes target, tag and route from a response to INVITE.
    pub(super) fn learn(&mut self, response: &Message) -> Result<()> {
        if let Some(contact) = response.header("contact") {
            uri_of(contact).clone_into(&mut self.target);
        }
        response
            .header("to")
            .context("no To")?
            .clone_into(&mut self.remote);
        let routes = response.all("record-route").rev();
        self.routes = routes.map(str::to_owned).collect();
        Ok(())
    }

    pub(super) fn request(
        &mut self,
        agent: &Agent,
        method: &str,
        headers: &str,
        body: &str,
        number: u32,
    ) -> Result<String> {
        if method != "CANCEL" && method != "ACK" {
            self.sequence += 1;
            self.branch = format!(
                "z9hG4bK{number}.{}",
                self.call_id.replace([':', '[', ']'], ".")
            );
        }
        let (transport, local, contact) = (agent.transport(), agent.local()?, agent.contact()?);
        let Self {
            target,
            branch,
            call_id,
            sequence,
            ..
        } = self;
        let (from, to, length) = (&self.local, &self.remote, body.len());
        let routes: String = self
            .routes
            .iter()
            .map(|route| format!("Route: {route}\r\n"))
            .collect();
        // A header that the test gives stands in place of the usual one.
        let contact = match headers.contains("Contact:") {
            true => String::new(),
            false => format!("Contact: {contact}\r\n"),
        };
        Ok(format!(
            "{method} {target} SIP/2.0\r\nVia: SIP/2.0/{transport} {local};branch={branch};rport\r\n\
             Max-Forwards: 70\r\n{routes}From: {from}\r\nTo: {to}\r\nCall-ID: {call_id}\r\n\
             CSeq: {sequence} {method}\r\n{contact}{headers}Content-Length: {length}\r\n\r\n{body}"
        ))
    }

    /// ACK: end to end for 2xx, hop by hop for the rest.
    pub(super) fn acknowledge(
        &mut self,
        agent: &Agent,
        response: &Message,
        number: u32,
    ) -> Result<String> {
        let is_success = response.status().is_some_and(|status| status < 300);
        let (remote, branch) = (self.remote.clone(), self.branch.clone());
        if is_success {
            self.branch = format!("z9hG4bKack{number}");
        } else {
            response
                .header("to")
                .context("no To")?
                .clone_into(&mut self.remote);
        }
        let text = self.request(agent, "ACK", "", "", number);
        self.branch = branch;
        self.remote = remote;
        text
    }
}

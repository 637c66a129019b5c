//! One phone outside.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rustls_pki_types::ServerName;
use support::sip::agent::{Challenge, Message};
use support::sip::registrar::PASSWORD;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::answerer::CALLEE;
use crate::stage::DOMAIN;

/// A registered phone on its connection.
#[derive(Debug)]
pub(super) struct Phone {
    stream: TlsStream<TcpStream>,
    buffer: Vec<u8>,
    user: String,
    contact: String,
    challenge: Option<Challenge>,
    sequence: u32,
    messages: u64,
}

impl Phone {
    pub(super) async fn register(
        connector: &TlsConnector,
        name: ServerName<'static>,
        address: SocketAddr,
        user: String,
    ) -> Result<Self> {
        let tcp = TcpStream::connect(address).await?;
        tcp.set_nodelay(true)?;
        let local = tcp.local_addr()?;
        let stream = connector.connect(name, tcp).await?;
        let mut phone = Self {
            contact: format!("<sip:{user}@{local};transport=tls>"),
            stream,
            buffer: Vec::with_capacity(4096),
            user,
            challenge: None,
            sequence: 0,
            messages: 0,
        };
        phone.renew().await?;
        Ok(phone)
    }

    /// Messages that were sent and received so far.
    pub(super) const fn messages(&self) -> u64 {
        self.messages
    }

    /// Registers anew.
    pub(super) async fn renew(&mut self) -> Result<()> {
        let user = self.user.clone();
        let headers = format!(
            "Contact: {};reg-id=1;+sip.instance=\"<urn:uuid:00000000-0000-4000-8000-{user:0>12}>\"\r\nExpires: 600\r\n\
             Supported: path, outbound, gruu\r\n",
            self.contact
        );
        let (call, own) = (format!("reg-{user}"), format!("<sip:{user}@{DOMAIN}>"));
        let request = Request {
            method: "REGISTER",
            uri: &format!("sip:{DOMAIN}"),
            call: &call,
            to: &own,
            headers: &headers,
            body: "",
        };
        self.prove(&request).await.map(drop)
    }

    /// Calls the one inside, and hangs up when it has answered.
    pub(super) async fn call(&mut self) -> Result<()> {
        let call = format!("call-{}-{}", self.user, self.sequence);
        let headers = format!(
            "Contact: {}\r\nSupported: path, outbound, gruu\r\nContent-Type: application/sdp\r\n",
            self.contact
        );
        let uri = format!("sip:{CALLEE}@{DOMAIN}");
        let request = Request {
            method: "INVITE",
            uri: &uri,
            call: &call,
            to: &format!("<{uri}>"),
            headers: &headers,
            body: OFFER,
        };
        let answer = self.prove(&request).await?;
        let target = answer.header("contact").context("no Contact")?;
        let target = target
            .trim_start_matches('<')
            .split('>')
            .next()
            .unwrap_or_default()
            .to_owned();
        let routes: String = answer
            .all("record-route")
            .rev()
            .map(|route| format!("Route: {route}\r\n"))
            .collect();
        let to = answer.header("to").context("no To")?.to_owned();
        let within = |method| Request {
            method,
            uri: &target,
            call: &call,
            to: &to,
            headers: &routes,
            body: "",
        };
        self.send(&within("ACK"), self.sequence).await?;
        self.sequence += 1;
        self.send(&within("BYE"), self.sequence).await?;
        let end = self.answer("BYE").await?;
        ensure!(end.status() == Some(200), "{end:#?}");
        Ok(())
    }

    /// Sends a request with the answer to the latest challenge, and answers another if there is one.
    async fn prove(&mut self, request: &Request<'_>) -> Result<Message> {
        for _ in 0..2 {
            self.sequence += 1;
            let name = if request.method == "REGISTER" {
                "Authorization"
            } else {
                "Proxy-Authorization"
            };
            let proof = self.challenge.as_ref().map(|challenge| {
                let value = challenge.answer((&self.user, PASSWORD), request.method, request.uri);
                format!("{name}: {value}\r\n")
            });
            let headers = format!("{}{}", request.headers, proof.unwrap_or_default());
            let proven = Request {
                headers: &headers,
                ..*request
            };
            self.send(&proven, self.sequence).await?;
            let answer = self.answer(request.method).await?;
            match answer.status() {
                Some(200) => return Ok(answer),
                Some(401 | 407) => {
                    let asks = answer
                        .header("www-authenticate")
                        .or_else(|| answer.header("proxy-authenticate"));
                    self.challenge = Challenge::read(asks.context("no challenge")?);
                    if request.method == "INVITE" {
                        let to = answer.header("to").context("no To")?;
                        let acknowledgement = Request {
                            method: "ACK",
                            to,
                            headers: "",
                            body: "",
                            ..*request
                        };
                        self.send(&acknowledgement, self.sequence).await?;
                    }
                }
                _ => bail!("{answer:#?}"),
            }
        }
        bail!("challenged again and again")
    }

    async fn send(&mut self, request: &Request<'_>, sequence: u32) -> Result<()> {
        let Request {
            method,
            uri,
            call,
            to,
            headers,
            body,
        } = request;
        let user = &self.user;
        // ACK of a failure belongs to the transaction of its INVITE; no other has the same number and method.
        let kind = if *method == "ACK" && !headers.is_empty() {
            "ACK"
        } else {
            ""
        };
        let text = format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/TLS 127.0.0.1:5061;branch=z9hG4bK{call}.{sequence}{kind};rport\r\n\
             Max-Forwards: 70\r\nFrom: <sip:{user}@{DOMAIN}>;tag={user}\r\nTo: {to}\r\nCall-ID: {call}\r\n\
             CSeq: {sequence} {method}\r\n{headers}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        self.stream.write_all(text.as_bytes()).await?;
        self.stream.flush().await?;
        self.messages += 1;
        Ok(())
    }

    /// The final response to the latest request.
    async fn answer(&mut self, method: &str) -> Result<Message> {
        let wanted = format!("{} {method}", self.sequence);
        loop {
            while let Some((message, length)) = Message::read(&self.buffer)? {
                self.buffer.drain(..length);
                self.messages += 1;
                let is_final = message.status().is_some_and(|status| status >= 200);
                if is_final && message.header("cseq") == Some(wanted.as_str()) {
                    return Ok(message);
                }
            }
            let read = timeout(PATIENCE, self.stream.read_buf(&mut self.buffer)).await;
            ensure!(read.context("no answer")?? > 0, "{}: closed", self.user);
        }
    }
}

/// What is said besides the usual.
#[derive(Clone, Copy)]
struct Request<'a> {
    method: &'a str,
    uri: &'a str,
    call: &'a str,
    to: &'a str,
    headers: &'a str,
    body: &'a str,
}

const OFFER: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 20000 RTP/SAVP 8 0 101\r\n\
    a=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=sendrecv\r\n\
    a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:MTIzNDU2Nzg5MGFiY2RlZmdoaWprbG1ub3BxcnN0\r\n";
const PATIENCE: Duration = Duration::from_secs(10);

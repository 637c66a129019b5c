//! The phone inside: rings and answers at once, over UDP, for as many calls as there are.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Result, ensure};
use support::place::Place;
use support::sip::agent::{Agent, Message};
use tokio::net::UdpSocket;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use crate::stage::DOMAIN;

/// Its user.
pub(super) const CALLEE: &str = "3001";

/// A task that answers until it is dropped.
#[derive(Debug)]
pub(crate) struct Answerer {
    task: JoinHandle<()>,
}

impl Answerer {
    /// Registers the address and answers there.
    pub(crate) fn start(
        runtime: &Runtime,
        local: SocketAddr,
        registrar: SocketAddr,
    ) -> Result<Self> {
        let mut agent = Agent::over_udp(&Place::Host, local, registrar, CALLEE, DOMAIN)?;
        let answer = agent.register(3600)?;
        ensure!(answer.status() == Some(200), "{answer:#?}");
        drop(agent);
        let socket = runtime.block_on(UdpSocket::bind(local))?;
        let socket = Arc::new(socket);
        let task = runtime.spawn(async move { serve(&socket, local).await });
        Ok(Self { task })
    }
}

impl Drop for Answerer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(socket: &UdpSocket, local: SocketAddr) {
    let contact = format!("<sip:{CALLEE}@{local}>");
    let mut bytes = vec![0; 65_536];
    loop {
        let Ok((count, from)) = socket.recv_from(&mut bytes).await else {
            continue;
        };
        let Ok(Some((request, _))) = Message::read(bytes.get(..count).unwrap_or_default()) else {
            continue;
        };
        for response in responses(&request, &contact) {
            // The one who asked asks again if this is lost.
            drop(socket.send_to(response.as_bytes(), from).await);
        }
    }
}

fn responses(request: &Message, contact: &str) -> Vec<String> {
    let sdp = "Content-Type: application/sdp\r\n";
    match request.method() {
        Some("INVITE") => vec![
            request.answered("180 Ringing", contact, "", ""),
            request.answered("200 OK", contact, sdp, ANSWER),
        ],
        Some("ACK") | None => Vec::new(),
        Some(_) => vec![request.answered("200 OK", contact, "", "")],
    }
}

const ANSWER: &str = "v=0\r\no=- 1 1 IN IP4 127.7.7.72\r\ns=-\r\nc=IN IP4 127.7.7.72\r\nt=0 0\r\nm=audio 20000 RTP/AVP 8 101\r\n\
    a=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=sendrecv\r\n";

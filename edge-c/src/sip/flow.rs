//! One client connection as a stream of the link: frames in, frames out, until either side ends it.

use bytes::Bytes;
use common::limits;
use common::link::flow::{Decoder, Frame};
use common::runtime::link_streams::{LinkStream, ReceiveHalf, SendHalf};
use common::sip::proxy::FlowId;

use super::shell::Shell;
use crate::upstream::sip::outbox::Outbox;

/// Runs the stream. The flow is gone from the shell when this ends, however it ends.
pub(super) async fn run(closing: CloseOnDrop<'_>, stream: LinkStream, outbox: &Outbox<()>) {
    let CloseOnDrop { shell, flow } = &closing;
    let (mut sending, mut receiving) = stream.split();
    let reason = relay(shell, *flow, &mut sending, &mut receiving, outbox).await;
    if reason == Ended::Told {
        sending.finish();
        // edge-e writes what came before to the client, closes it, and then ends the stream.
        let ending = async { while receiving.receive().await.is_some() {} };
        if tokio::time::timeout(limits::SIP_FLOW_CLOSE_TIMEOUT, ending)
            .await
            .is_ok()
        {
            return;
        }
    }
    sending.reset();
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// The stream ended or broke.
    Gone,
    /// What came is not what edge-e may send.
    Malformed,
    /// The client does not read, not even until it is closed.
    Stuck,
    /// edge-e was told to close the client.
    Told,
}

async fn relay(
    shell: &Shell,
    flow: FlowId,
    sending: &mut SendHalf,
    receiving: &mut ReceiveHalf,
    outbox: &Outbox<()>,
) -> Ended {
    let mut decoder = Decoder::new();
    let mut rest = Bytes::new();
    let mut stuck = std::pin::pin!(async {
        if !outbox.closed().await {
            tokio::time::sleep(limits::SIP_FLOW_CLOSE_TIMEOUT).await;
        }
    });
    loop {
        // Cancel safe, all of them: `receive` and `take` lose nothing, `send_rest` keeps what is left in `rest`.
        tokio::select! {
            biased;
            () = &mut stuck => return Ended::Stuck,
            received = receiving.receive() => {
                let Some(bytes) = received else { return Ended::Gone };
                decoder.push(&bytes);
                if let Err(ended) = take_frames(shell, flow, &mut decoder) {
                    return ended;
                }
            }
            sent = sending.send_rest(&mut rest), if !rest.is_empty() => {
                if sent.is_err() {
                    return Ended::Gone;
                }
            }
            taken = outbox.take(), if rest.is_empty() => match taken {
                Some((bytes, ())) => rest = outbox.with_next(bytes, limits::SIP_FLOW_WRITE_BYTES),
                None => return Ended::Told,
            },
        }
    }
}

fn take_frames(shell: &Shell, flow: FlowId, decoder: &mut Decoder) -> Result<(), Ended> {
    loop {
        match decoder.next() {
            Ok(None) => return Ok(()),
            Ok(Some(Frame::Message(message))) => shell.flow_message(flow, message),
            Ok(Some(Frame::AuthFailed(_) | Frame::Close(_) | Frame::Gate(_))) => {
                tell_malformed("edge-e sent a command that only edge-c may send");
                return Err(Ended::Malformed);
            }
            Err(error) => {
                tell_malformed(&error.to_string());
                return Err(Ended::Malformed);
            }
        }
    }
}

fn tell_malformed(reason: &str) {
    tracing::warn!(
        side = "link",
        reason,
        remedy = "upgrade the older of the two edges",
        "SIP stream closed"
    );
}

/// The flow is gone from the shell when this is dropped.
pub(super) struct CloseOnDrop<'a> {
    pub(super) shell: &'a Shell,
    pub(super) flow: FlowId,
}

impl Drop for CloseOnDrop<'_> {
    fn drop(&mut self) {
        self.shell.leave(self.flow);
    }
}

//! The media of an edge-e beside its control stream: commands and reports, the trunk's introduction, and its TCP
//! connection where UDP does not get through.

use std::net::SocketAddr;
use std::sync::Arc;

use common::limits;
use common::link::control::message::{Command, MediaReport};
use common::link::greeting::Purpose;
use common::redact::Secret;
use common::runtime::trunk::client::{Linked, TrunkHandle};
use tokio::sync::watch;

use super::{LinkClient, back_off};
use crate::media::MediaLink;

/// What a link must know of its media.
#[derive(Debug)]
pub struct MediaEnd {
    link: Arc<MediaLink>,
    trunk: TrunkHandle,
    /// What edge-e said last to prove that the trunk belongs to this link.
    nonce: watch::Sender<Option<Secret<String>>>,
}

impl MediaEnd {
    /// Of an edge-e whose commands are in `link` and whose trunk is told by `trunk`.
    #[must_use]
    pub fn new(link: Arc<MediaLink>, trunk: TrunkHandle) -> Self {
        Self {
            link,
            trunk,
            nonce: watch::Sender::new(None),
        }
    }

    pub(super) fn nonce(&self) -> Option<Secret<String>> {
        self.nonce.borrow().clone()
    }

    /// The next command for edge-e.
    pub(super) async fn next_command(&self) -> Command {
        Command::Media(self.link.next_command().await)
    }

    /// What edge-e must hear first if it knows nothing.
    pub(super) fn whole_state(&self) -> Command {
        Command::Media(self.link.whole_state())
    }
}

impl LinkClient {
    /// edge-e says something about media. `peer` is where its link is and which process it is.
    pub(super) fn on_media(&self, report: &MediaReport, peer: (SocketAddr, u64)) {
        let Some(media) = &self.media else {
            return;
        };
        let MediaReport::Nonce { nonce } = report else {
            return media.link.report(report.clone());
        };
        media.nonce.send_replace(Some(nonce.clone()));
        let (address, instance) = peer;
        media.trunk.linked(Linked {
            address,
            instance,
            certificate_name: self.config.certificate_name.clone(),
            tls: self.tls.load_full(),
            hello: self.hello(Purpose::Media, None),
        });
    }

    /// Brings the trunk TCP connections while it asks for them. Ends never.
    pub(super) async fn keep_media(&self) {
        let Some(media) = &self.media else {
            return std::future::pending().await;
        };
        let mut wanted = media.trunk.wants_tcp();
        let mut failures = 0_u32;
        // The trunk lives as long as the process: an error can't be.
        while wanted.wait_for(|is_wanted| *is_wanted).await.is_ok() {
            match self.dial(Purpose::Media, None).await {
                Ok((stream, _)) => {
                    failures = 0;
                    tracing::info!("media goes over a TCP connection");
                    let carried = tokio::select! {
                        ended = media.trunk.pipe().drive(stream) => ended,
                        _ = wanted.wait_for(|is_wanted| !*is_wanted) => Ok(()),
                    };
                    if let Err(error) = carried {
                        tracing::warn!(side = "link", reason = %error, remedy = "none: dialling again", "the TCP connection of media is lost");
                    }
                }
                Err(failed) => {
                    let reason = format!("{:#}", failed.error);
                    tracing::debug!(
                        side = "link",
                        reason,
                        failures,
                        "no TCP connection for media"
                    );
                }
            }
            tokio::time::sleep(back_off(failures).max(limits::LINK_BACK_OFF_MIN)).await;
            failures = failures.saturating_add(1);
        }
    }
}

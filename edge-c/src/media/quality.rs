//! The log line of a stream that ended: how both of its legs were.

use common::id::{EdgeIndex, TrackingId};
use common::media::class::MediaClass;
use common::media::plan::{StopReason, StreamId};
use common::media::session::Summary;
use common::media::stats::Quality;
use common::redact::Redacted;
use common::sip::proxy::CallKey;

/// What a stream is called in the log and in metrics.
#[derive(Clone, Debug)]
pub(super) struct StreamLabel {
    /// Of which call leg.
    pub(super) call: CallKey,
    /// Its Call-ID.
    pub(super) call_id: Redacted<Box<[u8]>>,
    /// What the client's connection is called in the logs of both edges.
    pub(super) tracking: TrackingId,
    /// What it carries.
    pub(super) class: MediaClass,
    /// Through which edge-e.
    pub(super) edge: EdgeIndex,
}

/// Logs how a stream was.
pub(super) fn note(label: &StreamLabel, stream: StreamId, reason: StopReason, summary: &Summary) {
    tracing::info!(
        call = %label.call_id,
        tracking_id = %label.tracking,
        %stream,
        class = ?label.class,
        edge = %label.edge,
        reason = reason.as_str(),
        client = %Leg(&summary.outer),
        inside = %Leg(&summary.inner),
        latches = summary.latches,
        rejects = summary.rejects,
        dropped = summary.drops.total(),
        "media ended"
    );
}

/// A leg in a few words: what came in, what went out, and how it was.
struct Leg<'a>(&'a Quality);

impl std::fmt::Display for Leg<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let quality = self.0;
        write!(
            f,
            "received {} sent {} lost {} ({:.2} %) reordered {} jitter {} ms (max {}) longest gap {} ms",
            quality.received,
            quality.sent,
            quality.lost,
            quality.loss() * 100.0,
            quality.reordered,
            quality.jitter.as_millis(),
            quality.jitter_max.as_millis(),
            quality.longest_gap.as_millis(),
        )?;
        if let Some(round_trip) = quality.round_trip {
            write!(f, " round trip {} ms", round_trip.as_millis())?;
        }
        if quality.reported_loss_max > 0.0 {
            write!(
                f,
                " reported loss {:.2} %",
                quality.reported_loss_max * 100.0
            )?;
        }
        if let Some(mos) = quality.mos {
            write!(f, " MOS {:.2}", mos.value())?;
        }
        Ok(())
    }
}

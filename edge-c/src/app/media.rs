//! Media in edge-c: from its configuration to the engine, and what links and SIP need of it.

use std::sync::{Arc, Mutex, PoisonError};

use common::id::EdgeIndex;
use common::runtime::admin::Condition;
use common::runtime::clock;
use common::runtime::exit::RunError;
use common::runtime::trunk::client::{TrunkClient, TrunkHandle};
use common::sip::proxy::{BodyAnchor, CallKey, PassBodies};
use ipnet::IpNet;

use tokio::sync::{mpsc, watch};

use super::unusable;
use crate::config::Config;
use crate::link_client::MediaEnd;
use crate::media::{EdgeMedia, Media, Networks};
use crate::metrics::Metrics;

/// Media that runs, and what its task needs.
#[derive(Clone)]
pub(super) struct MediaApp {
    networks: Networks,
    trunks: Arc<Vec<TrunkHandle>>,
    stocked: watch::Receiver<bool>,
    /// Until its task takes it.
    media: Arc<Mutex<Option<Media>>>,
}

impl MediaApp {
    /// Starts the engine; `None` without `[media]`.
    pub(super) fn start(config: &Config, metrics: &Metrics) -> Result<Option<Self>, RunError> {
        let Some(settings) = &config.media else {
            return Ok(None);
        };
        let mut trunks = Vec::new();
        let mut edges = Vec::new();
        for edge in &config.edges {
            let trunk = TrunkClient::new(config.link.bind_address, clock::now());
            let trunk = trunk.map_err(unusable)?;
            trunks.push(trunk.handle());
            edges.push(EdgeMedia {
                name: edge.name.as_str().into(),
                trunk: Box::new(trunk),
            });
        }
        let media = Media::start(settings, edges, metrics.media.clone()).map_err(unusable)?;
        Ok(Some(Self {
            networks: media.networks(),
            trunks: Arc::new(trunks),
            stocked: media.stocked(),
            media: Arc::new(Mutex::new(Some(media))),
        }))
    }

    /// What rewrites bodies; without media they pass as they are.
    pub(super) fn bodies(this: Option<&Self>) -> Box<dyn BodyAnchor + Send> {
        let bodies = this.and_then(|media| media.with(Media::bodies));
        bodies.unwrap_or_else(|| Box::new(PassBodies))
    }

    /// Calls that fell silent.
    pub(super) fn dead_calls(&self) -> Option<mpsc::Receiver<CallKey>> {
        self.with(Media::dead_calls).flatten()
    }

    /// What the link to an edge-e must know.
    pub(super) fn end(&self, edge: EdgeIndex) -> Option<MediaEnd> {
        let link = self.with(|media| media.link(edge)).flatten()?;
        let trunk = self.trunks.get(usize::from(edge.0))?.clone();
        Some(MediaEnd::new(link, trunk))
    }

    /// Where phones inside may be, from now on.
    pub(super) fn set_networks(&self, networks: Vec<IpNet>) {
        self.networks.replace(networks);
    }

    /// Meets `ready` once there are ports for a first call.
    pub(super) async fn until_stocked(mut self, ready: Condition) {
        if self
            .stocked
            .wait_for(|is_stocked| *is_stocked)
            .await
            .is_ok()
        {
            ready.met();
        }
    }

    /// Keeps ports ready and notes how calls were.
    pub(super) async fn run(self) {
        let media = self.take();
        if let Some(media) = media {
            media.run().await;
        }
    }

    fn with<T>(&self, ask: impl FnOnce(&Media) -> T) -> Option<T> {
        let media = self.media.lock().unwrap_or_else(PoisonError::into_inner);
        media.as_ref().map(ask)
    }

    fn take(&self) -> Option<Media> {
        let mut media = self.media.lock().unwrap_or_else(PoisonError::into_inner);
        media.take()
    }
}

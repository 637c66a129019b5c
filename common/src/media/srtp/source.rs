//! The sources (SSRCs) of a stream, each with its packet indices. A source that others displaced is not forgotten: were
//! it to begin anew, its old packets could be replayed, or its key stream be used twice.

use super::SrtpError;
use super::window::Window;
use crate::limits;

/// One source under one key.
#[derive(Clone, Debug)]
pub(super) struct Source {
    ssrc: u32,
    pub(super) rtp: Window,
    pub(super) rtcp: Window,
    /// When it was last used, in steps of the table's clock.
    used: u64,
}

/// A source that was displaced, and where its indices ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Displaced {
    ssrc: u32,
    pub(super) rtp: Option<u64>,
    pub(super) rtcp: Option<u64>,
}

/// All sources under one key.
#[derive(Debug, Default)]
pub(super) struct Sources {
    active: Vec<Source>,
    displaced: Vec<Displaced>,
    clock: u64,
}

impl Sources {
    /// Whether this source was admitted and is active.
    pub(super) fn knows(&self, ssrc: u32) -> bool {
        self.active.iter().any(|source| source.ssrc == ssrc)
    }

    /// The state of a source: the remembered one, or that of a new one, which is not admitted yet.
    pub(super) fn peek(&self, ssrc: u32) -> Peek<'_> {
        if let Some(source) = self.active.iter().find(|source| source.ssrc == ssrc) {
            return Peek::Active(source);
        }
        match self.displaced.iter().find(|other| other.ssrc == ssrc) {
            Some(displaced) => Peek::Displaced(*displaced),
            None => Peek::New,
        }
    }

    /// The state of a source, to be changed; admits it if it is new. For packets that are authentic, or our own.
    pub(super) fn admit(&mut self, ssrc: u32) -> Result<&mut Source, SrtpError> {
        self.clock = self.clock.saturating_add(1);
        let clock = self.clock;
        let at = match self.active.iter().position(|source| source.ssrc == ssrc) {
            Some(at) => at,
            None => self.make_active(ssrc)?,
        };
        let source = self.active.get_mut(at).ok_or(SrtpError::Sources)?;
        source.used = clock;
        Ok(source)
    }

    fn make_active(&mut self, ssrc: u32) -> Result<usize, SrtpError> {
        let back = self.displaced.iter().position(|other| other.ssrc == ssrc);
        let is_full = self.active.len() >= limits::MEDIA_SOURCES_MAX;
        if back.is_none() && is_full && self.displaced.len() >= limits::MEDIA_SOURCES_DISPLACED_MAX
        {
            return Err(SrtpError::Sources);
        }
        let source = match back {
            Some(at) => Source::after(self.displaced.swap_remove(at)),
            None => Source::new(ssrc),
        };
        if is_full && let Some(at) = self.longest_unused() {
            let old = self.active.swap_remove(at);
            self.displaced.push(Displaced {
                ssrc: old.ssrc,
                rtp: old.rtp.highest(),
                rtcp: old.rtcp.highest(),
            });
        }
        self.active.push(source);
        Ok(self.active.len().saturating_sub(1))
    }

    fn longest_unused(&self) -> Option<usize> {
        let sources = self.active.iter().enumerate();
        sources
            .min_by_key(|(_, source)| source.used)
            .map(|(at, _)| at)
    }
}

/// What is known of a source.
pub(super) enum Peek<'a> {
    Active(&'a Source),
    Displaced(Displaced),
    New,
}

impl Source {
    const fn new(ssrc: u32) -> Self {
        Self {
            ssrc,
            rtp: Window::new(),
            rtcp: Window::new(),
            used: 0,
        }
    }

    const fn after(displaced: Displaced) -> Self {
        Self {
            ssrc: displaced.ssrc,
            rtp: Window::after(displaced.rtp),
            rtcp: Window::after(displaced.rtcp),
            used: 0,
        }
    }
}

//! What one run costs: the processor time of a chain, and what others used meanwhile.

use std::time::Duration;

use anyhow::Result;

use super::usage::{self, Machine};

/// Runs from before a load until after it.
#[derive(Debug)]
pub struct Meter {
    chain: Vec<u32>,
    helpers: Vec<u32>,
    busy_before: f64,
    load_before: f64,
    machine: Machine,
    chain_before: f64,
    helpers_before: f64,
    own_before: f64,
}

/// What it has seen.
#[derive(Clone, Copy, Debug)]
pub struct Used {
    /// Processor seconds of the chain.
    pub cpu: f64,
    /// Processor seconds of this program, which is the load.
    pub own: f64,
    /// Share of the processors, from 0 to 1, that others used meanwhile.
    pub foreign: f64,
    /// Share of the processors in use just before.
    pub busy_before: f64,
    /// Load average when it began.
    pub load_before: f64,
    /// Load average when it was over.
    pub load_after: f64,
}

impl Meter {
    /// Waits until the machine is nearly idle, at most for `calm`, and begins. Both the chain and its helpers, such as the
    /// server behind it, are given by their first processes; helpers are not what is measured, and no strangers either.
    pub fn start(calm: Duration, chain: Vec<u32>, helpers: Vec<u32>) -> Result<Self> {
        Ok(Self {
            busy_before: usage::wait_calm(calm)?,
            load_before: usage::load_average()?,
            machine: Machine::now()?,
            helpers_before: usage::cpu_seconds(&helpers)?,
            own_before: usage::own_cpu_seconds()?,
            chain_before: usage::cpu_seconds(&chain)?,
            chain,
            helpers,
        })
    }

    /// Ends with the load.
    pub fn stop(self) -> Result<Used> {
        let cpu = usage::cpu_seconds(&self.chain)? - self.chain_before;
        let helpers = usage::cpu_seconds(&self.helpers)? - self.helpers_before;
        let own = usage::own_cpu_seconds()? - self.own_before;
        Ok(Used {
            cpu,
            own,
            foreign: Machine::now()?.foreign_share(&self.machine, cpu + helpers + own),
            busy_before: self.busy_before,
            load_before: self.load_before,
            load_after: usage::load_average()?,
        })
    }
}

impl Used {
    /// Whether somebody else had a noticeable part of the machine meanwhile.
    #[must_use]
    pub fn is_disturbed(&self) -> bool {
        self.foreign > DISTURBED_SHARE
    }

    /// Whether that was so just before.
    #[must_use]
    pub fn was_busy(&self) -> bool {
        self.busy_before > DISTURBED_SHARE
    }
}

const DISTURBED_SHARE: f64 = 0.1;

//! What processes have used, read from /proc: processor time and memory.

use std::collections::BTreeMap;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

/// Processor seconds (user and system) of these processes and all their living descendants.
pub(super) fn cpu_seconds(roots: &[u32]) -> Result<f64> {
    let all = Processes::read()?;
    let ticks: u64 = all.with_descendants(roots).map(|p| p.own_ticks).sum();
    Ok(seconds(ticks))
}

/// Processor seconds of this process and of its children that have ended.
pub(super) fn own_cpu_seconds() -> Result<f64> {
    let own = Process::read("self").context("no /proc/self/stat")?;
    Ok(seconds(own.own_ticks + own.ended_children_ticks))
}

/// Proportional set size of these processes and their descendants, in bytes: shared pages are split between their users.
pub fn memory(roots: &[u32]) -> Result<u64> {
    let all = Processes::read()?;
    let pids = all.with_descendants(roots).map(|p| p.pid);
    pids.map(|pid| {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
        let number = line.and_then(|rest| rest.split_whitespace().next());
        let kib: u64 = number.context("no Pss")?.parse()?;
        Ok(kib * 1024)
    })
    .sum()
}

/// The processors of the whole machine.
#[derive(Clone, Copy, Debug)]
pub(super) struct Machine {
    busy: u64,
    at: Instant,
}

impl Machine {
    pub(super) fn now() -> Result<Self> {
        let text = fs::read_to_string("/proc/stat")?;
        let line = text.lines().next().context("no /proc/stat")?;
        let ticks: Vec<u64> = line
            .split_whitespace()
            .skip(1)
            .map_while(|n| n.parse().ok())
            .collect();
        // user nice system idle iowait irq softirq steal; guests are within user.
        let busy = [0, 1, 2, 5, 6, 7];
        let busy = busy.iter().filter_map(|index| ticks.get(*index)).sum();
        Ok(Self {
            busy,
            at: Instant::now(),
        })
    }

    /// The share of all processors, from 0 to 1, that somebody used since then beside `ours` seconds.
    pub(super) fn foreign_share(&self, since: &Self, ours: f64) -> f64 {
        let busy = seconds(self.busy.saturating_sub(since.busy));
        let wall = self.at.duration_since(since.at).as_secs_f64();
        let capacity = wall * processors() as f64;
        ((busy - ours) / capacity).max(0.0)
    }
}

/// Waits until the machine is nearly idle, at most that long. Returns the share that was used when it gave up waiting.
pub(super) fn wait_calm(limit: Duration) -> Result<f64> {
    let deadline = Instant::now() + limit;
    loop {
        let before = Machine::now()?;
        thread::sleep(CALM_WINDOW);
        let share = Machine::now()?.foreign_share(&before, 0.0);
        if share <= CALM_SHARE || Instant::now() >= deadline {
            return Ok(share);
        }
    }
}

/// The one-minute load average.
pub(super) fn load_average() -> Result<f64> {
    let text = fs::read_to_string("/proc/loadavg")?;
    let first = text.split(' ').next().context("no load average")?;
    Ok(first.parse()?)
}

/// How many processors this program may use.
#[must_use]
pub fn processors() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

struct Process {
    pid: u32,
    parent: u32,
    own_ticks: u64,
    ended_children_ticks: u64,
}

impl Process {
    /// `None` if it has ended meanwhile.
    fn read(pid: &str) -> Option<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (number, rest) = text.split_once(' ')?;
        // The name in parentheses may hold anything; after it comes field 3.
        let (_, rest) = rest.rsplit_once(") ")?;
        let fields: Vec<&str> = rest.split(' ').collect();
        let field = |number: usize| -> Option<u64> { fields.get(number - 3)?.parse().ok() };
        Some(Self {
            pid: number.parse().ok()?,
            parent: u32::try_from(field(4)?).ok()?,
            own_ticks: field(14)? + field(15)?,
            ended_children_ticks: field(16)? + field(17)?,
        })
    }
}

struct Processes(BTreeMap<u32, Process>);

impl Processes {
    fn read() -> Result<Self> {
        let names =
            fs::read_dir("/proc")?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let pids = names.filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
        let all = pids.filter_map(|pid| Process::read(&pid));
        Ok(Self(all.map(|process| (process.pid, process)).collect()))
    }

    fn with_descendants<'a>(&'a self, roots: &'a [u32]) -> impl Iterator<Item = &'a Process> {
        self.0.values().filter(|process| {
            let mut pid = process.pid;
            // As deep as any chain of processes here; a loop can't arise.
            for _ in 0..DEPTH_MAX {
                if roots.contains(&pid) {
                    return true;
                }
                match self.0.get(&pid) {
                    Some(process) => pid = process.parent,
                    None => return false,
                }
            }
            false
        })
    }
}

fn seconds(ticks: u64) -> f64 {
    ticks as f64 / TICKS_PER_SECOND
}

/// `USER_HZ`: 100 on every architecture that Linux exports it on.
const TICKS_PER_SECOND: f64 = 100.0;
const DEPTH_MAX: usize = 8;
const CALM_WINDOW: Duration = Duration::from_millis(250);
const CALM_SHARE: f64 = 0.05;

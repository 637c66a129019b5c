//! Clients: wrk for requests, curl for downloads, and a small one of our own for connections.

pub(crate) mod connections;

use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;

use crate::stage::{EDGE, Stage};

/// What wrk saw.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct Requests {
    pub(crate) requests: f64,
    microseconds: f64,
    p50: f64,
    p99: f64,
    errors: u64,
}

impl Requests {
    pub(crate) fn per_second(&self) -> f64 {
        self.requests / (self.microseconds / 1e6)
    }

    pub(crate) fn p50_ms(&self) -> f64 {
        self.p50 / 1e3
    }

    pub(crate) fn p99_ms(&self) -> f64 {
        self.p99 / 1e3
    }
}

/// Small requests on keep-alive connections, as many as the chain answers.
pub(crate) fn requests(stage: &Stage, index: usize, length: Duration) -> Result<Requests> {
    let chain = stage.chains.get(index).context("no such chain")?;
    let scratch = tempfile::tempdir()?;
    let script = scratch.path().join("report.lua");
    std::fs::write(&script, REPORT)?;
    let mut command = wrk(&script, length);
    command
        .args(["-H", &format!("Host: {EDGE}")])
        .args(["-H", &format!("Cookie: {}", stage.cookie(index))])
        .arg(format!(
            "https://{}{}",
            chain.address,
            stage.target("small")
        ));
    let output = command.output().context("Failed to run wrk")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let Some(line) = text.lines().find(|line| line.starts_with('{')) else {
        bail!("wrk: {text}{}", String::from_utf8_lossy(&output.stderr));
    };
    let seen: Requests = serde_json::from_str(line)?;
    ensure!(
        seen.errors == 0 && seen.requests > 0.0,
        "{}: {line}",
        chain.name.label()
    );
    Ok(seen)
}

fn wrk(script: &Path, length: Duration) -> Command {
    let mut command = Command::new("wrk");
    command.args(["-t2", "-c64", "--timeout", "10s", "-d"]);
    command
        .arg(format!("{}s", length.as_secs()))
        .arg("-s")
        .arg(script);
    command
}

/// Downloads `file` that many times at once; returns the bytes and how long it took.
pub(crate) fn downloads(
    stage: &Stage,
    index: usize,
    file: &str,
    streams: usize,
) -> Result<(u64, Duration)> {
    let (curl, base) = stage.client(index)?;
    let curl = curl.output(Path::new("/dev/null"));
    let url = format!("{base}{}", stage.target(file));
    let started = Instant::now();
    let answers = thread::scope(|scope| {
        let all: Vec<_> = (0..streams)
            .map(|_| scope.spawn(|| curl.get(&url)))
            .collect();
        all.into_iter()
            .map(|one| {
                one.join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
            .collect::<Result<Vec<_>>>()
    })?;
    let took = started.elapsed();
    for answer in &answers {
        ensure!(answer.status == 200, "{url}: {}", answer.status);
    }
    Ok((answers.iter().map(|answer| answer.downloaded).sum(), took))
}

/// Runs once at the end, so that requests cost no Lua.
const REPORT: &str = r#"
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format('\n{"requests":%d,"microseconds":%d,"p50":%d,"p99":%d,"errors":%d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    e.connect + e.read + e.write + e.status + e.timeout))
end
"#;

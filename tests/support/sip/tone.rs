//! What a phone has heard: recordings in WAV form, and how much of one is a certain tone (Goertzel's algorithm).

use std::f64::consts::TAU;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

/// Sound, one channel of 16 bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recording {
    samples: Vec<i16>,
    rate: u32,
}

impl Recording {
    /// The newest file in a folder whose name ends in `<suffix>.wav`; it may still be growing.
    pub fn latest(dir: &Path, suffix: &str) -> Result<Self> {
        let ending = format!("{suffix}.wav");
        let mut files: Vec<PathBuf> = fs::read_dir(dir)?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<_, _>>()?;
        files.retain(|path| path.to_string_lossy().ends_with(&ending));
        // The name has the time to the second; the file system knows better.
        files.sort_by_key(|path| fs::metadata(path).and_then(|data| data.created()).ok());
        let newest = files.last().context("nothing is recorded")?;
        Self::read(&fs::read(newest)?)
    }

    /// Reads WAV; a file that is still being written has lengths in its head that are not true yet.
    pub fn read(file: &[u8]) -> Result<Self> {
        ensure!(file.get(..4) == Some(b"RIFF"), "no RIFF");
        ensure!(file.get(8..12) == Some(b"WAVE"), "no WAVE");
        let mut at = 12;
        let (mut channels, mut rate) = (0, 0);
        loop {
            let head = file.get(at..at + 8).context("no samples yet")?;
            let (name, length) = head.split_at(4);
            let length = u32::from_le_bytes(length.try_into()?) as usize;
            let body = file.get(at + 8..).unwrap_or_default();
            if name == b"data" {
                ensure!(channels > 0 && rate > 0, "samples before the format");
                let samples = body.chunks_exact(2 * channels);
                let first = samples
                    .filter_map(|frame| frame.first_chunk())
                    .map(|two| i16::from_le_bytes(*two));
                return Ok(Self {
                    samples: first.collect(),
                    rate,
                });
            }
            if name == b"fmt " {
                let field = |range| body.get(range).context("short format");
                ensure!(
                    field(0..2)? == [1, 0] && field(14..16)? == [16, 0],
                    "not PCM of 16 bits"
                );
                channels = usize::from(u16::from_le_bytes(field(2..4)?.try_into()?));
                rate = u32::from_le_bytes(field(4..8)?.try_into()?);
            }
            at += 8 + length + length % 2;
        }
    }

    /// Samples at so many a second.
    #[must_use]
    pub const fn new(samples: Vec<i16>, rate: u32) -> Self {
        Self { samples, rate }
    }

    /// How long it is.
    #[must_use]
    pub fn length(&self) -> Duration {
        Duration::from_secs_f64(self.samples.len() as f64 / f64::from(self.rate))
    }

    /// What comes after that time.
    #[must_use]
    pub fn after(&self, time: Duration) -> Self {
        let skip = time.as_micros() * u128::from(self.rate) / 1_000_000;
        let skip = usize::try_from(skip).unwrap_or(usize::MAX);
        Self {
            samples: self.samples.get(skip..).unwrap_or_default().to_vec(),
            rate: self.rate,
        }
    }

    /// The last so and so long of it.
    #[must_use]
    pub fn last(&self, time: Duration) -> Self {
        self.after(self.length().saturating_sub(time))
    }

    /// The share of all energy that is at a frequency, from 0 to 1.
    ///
    /// Measured a tenth of a second at a time: where a busy machine makes a phone leave something out, the tone goes on
    /// with another phase, which over the whole length would cancel itself.
    #[must_use]
    pub fn share_of(&self, hertz: u32) -> f64 {
        let all: f64 = self
            .samples
            .iter()
            .map(|sample| f64::from(*sample).powi(2))
            .sum();
        if all == 0.0 {
            return 0.0;
        }
        let window = (self.rate / 10).max(1) as usize;
        let windows = self.samples.chunks(window);
        let at: f64 = windows
            .map(|samples| energy_at(samples, self.rate, f64::from(hertz)))
            .sum();
        at / all
    }

    /// The highest level of any sample, from 0 to 1.
    #[must_use]
    pub fn peak(&self) -> f64 {
        let highest = self
            .samples
            .iter()
            .map(|sample| sample.unsigned_abs())
            .max();
        f64::from(highest.unwrap_or_default()) / f64::from(i16::MAX)
    }
}

fn energy_at(samples: &[i16], rate: u32, hertz: f64) -> f64 {
    let factor = 2.0 * (TAU * hertz / f64::from(rate)).cos();
    let (mut last, mut before) = (0.0, 0.0);
    for sample in samples {
        (last, before) = (f64::from(*sample) + factor * last - before, last);
    }
    let power = last * last + before * before - factor * last * before;
    2.0 * power / samples.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::cast_possible_truncation, reason = "levels are at most 1")]
    fn tone(hertz: f64, level: f64) -> Recording {
        let samples = (0..8000).map(|n| {
            let angle = TAU * hertz * f64::from(n) / 8000.0;
            (angle.sin() * level * f64::from(i16::MAX)) as i16
        });
        Recording {
            samples: samples.collect(),
            rate: 8000,
        }
    }

    #[test]
    fn a_tone_is_told_from_another_and_from_silence() {
        assert!(tone(440.0, 0.5).share_of(440) > 0.99);
        assert!(tone(440.3, 0.1).share_of(440) > 0.8);
        assert!(tone(660.0, 0.5).share_of(440) < 0.01);
        assert_eq!(tone(440.0, 0.0).share_of(440), 0.0);
    }

    #[test]
    fn a_tone_with_gaps_is_still_that_tone() {
        let mut samples = tone(440.0, 0.5).samples;
        // Half a period.
        for at in [4000, 2400, 800] {
            samples.drain(at..at + 9);
        }
        let torn = Recording::new(samples, 8000);

        assert!(torn.share_of(440) > 0.9);
        assert!(torn.share_of(660) < 0.01);
    }

    #[test]
    fn a_file_that_is_still_written_is_read_to_its_end() {
        let mut file = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x02\0\x40\x1f\0\0\0\x7d\0\0\x04\0\x10\0data\0\0\0\0".to_vec();
        file.extend([1, 0, 9, 9, 2, 0, 9, 9, 3]);

        let recording = Recording::read(&file).unwrap();

        assert_eq!((recording.samples, recording.rate), (vec![1, 2], 8000));
    }
}

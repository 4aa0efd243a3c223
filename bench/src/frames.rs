// SPDX-License-Identifier: GPL-3.0-or-later
//! Frames from one netbench guest to another.

use std::fs::File;

use anyhow::{Context, Result, ensure};
use chaos::guests::{self, CreateOptions, Host};
use chaos::timings::Timings;

use crate::guest::config;
use crate::words;

/// What a receiver has counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// The frames that it received.
    pub frames: u64,
    /// Those that were sent meanwhile and that it did not receive.
    pub lost: u64,
    /// The time that passed.
    pub nanoseconds: u64,
}

impl Counted {
    /// Parses the line of a receiver: `frames=N lost=N nanoseconds=N`, with other words.
    ///
    /// # Errors
    /// The line does not have these numbers.
    pub fn parse(line: &str) -> Result<Self> {
        let number = |key: &str| {
            let mut values = line.split_whitespace().filter_map(|word| word.strip_prefix(key));
            let value = values.next().and_then(|digits| digits.parse().ok());
            value.with_context(|| format!("no {key}NUMBER in {line:?}"))
        };
        let counted = Self {
            frames: number("frames=")?,
            lost: number("lost=")?,
            nanoseconds: number("nanoseconds=")?,
        };
        ensure!(counted.frames > 0 && counted.nanoseconds > 0, "nothing is counted in {line:?}");
        Ok(counted)
    }

    /// Returns the nanoseconds of a received frame.
    #[must_use]
    #[allow(clippy::cast_precision_loss)]
    pub fn each_ns(&self) -> f64 {
        self.nanoseconds as f64 / self.frames as f64
    }

    /// Returns how many frames in a hundred were lost.
    #[must_use]
    #[allow(clippy::cast_precision_loss)]
    pub fn lost_percent(&self) -> f64 {
        self.lost as f64 / (self.frames + self.lost) as f64 * 100.0
    }
}

/// Frames to skip before the measured ones: both guests have started.
const SKIP: u64 = 2000;

/// Creates two guests, lets one send frames of `size` bytes to the other, and returns what that one
/// has counted when it has received `count` frames. `begin` and `end` are called around it.
///
/// # Errors
/// A guest cannot be created, or prints something else.
pub fn from_guest_to_guest(
    host: &Host,
    size: usize,
    count: u64,
    begin: impl FnOnce() -> Result<()>,
    end: impl FnOnce() -> Result<()>,
) -> Result<Counted> {
    let options = || CreateOptions { console: true, ..CreateOptions::default() };
    let receive = format!("cmdline='receive skip={SKIP} count={count}'");
    let receiver = config("netbench.cfg", &["name='receiver'", &receive])?;
    let mut created = guests::create(host, &receiver, options(), &mut Timings::start())?;
    let mut console = File::from(created.console.take().context("the guest has a console")?);
    words::wait_for(&mut console, "ready\n")?;
    let send = format!("cmdline='send size={size} mac=00:16:3e:00:00:08 address=10.0.0.8'");
    let vif = "vif=['bridge=xenbr0,mac=00:16:3e:00:00:07,ip=10.0.0.7/24']";
    let sender = config("netbench.cfg", &["name='sender'", &send, vif])?;
    guests::create(host, &sender, CreateOptions::default(), &mut Timings::start())?;
    begin()?;
    let said = words::wait_for(&mut console, "nanoseconds=")?;
    let said = match said.ends_with('\n') {
        true => said,
        false => said + &words::wait_for(&mut console, "\n")?,
    };
    end()?;
    guests::destroy(host, &sender.name)?;
    guests::destroy(host, &receiver.name)?;
    Counted::parse(&said)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_a_receiver_is_parsed() {
        let line = "netbench: frames=300 lost=100 nanoseconds=600000\r\n";
        let counted = Counted::parse(line).unwrap();
        assert_eq!(counted, Counted { frames: 300, lost: 100, nanoseconds: 600_000 });
        assert_eq!((counted.each_ns(), counted.lost_percent()), (2000.0, 25.0));
        for line in ["", "frames=1 lost=0", "frames=0 lost=0 nanoseconds=1", "error: no eth0"] {
            assert!(Counted::parse(line).is_err(), "{line}");
        }
    }
}

// SPDX-License-Identifier: GPL-3.0-or-later
//! `frames`: frames from guest to guest, through noxsd, and through netback and a bridge.

use crate::figure::{Figure, Panel};
use crate::goal::Goal;
use crate::samples::Samples;

pub(crate) const FIGURE: Figure = Figure {
    name: "frames",
    title: "Frames from guest to guest: through noxsd, and of Linux guests through netback and a bridge",
    unit: "frames per million instructions; %",
    panels: &[
        Panel {
            title: "64 bytes",
            y_label: "received frames per million instructions",
            drawn: |name| name.ends_with(": 64 bytes"),
            ..Panel::BARS
        },
        Panel {
            title: "1500 bytes",
            y_label: "received frames per million instructions",
            drawn: |name| name.ends_with(": 1500 bytes"),
            ..Panel::BARS
        },
    ],
    goals,
};

/// The sizes, and how many times as many frames are wanted.
const SIZES: [(&str, f64); 2] = [("64 bytes", 3.0), ("1500 bytes", 1.0)];

/// The kinds of sockets of the Linux guests, of which the faster one counts.
const LINUX: [&str; 2] = ["udp", "packet"];

fn goals(samples: &Samples) -> Vec<Goal> {
    let rate = |name: &str| samples.series(name).map(|series| series.first(usize::MAX));
    let goals = SIZES.into_iter().filter_map(|(size, times)| {
        let ours = rate(&format!("netbench, noxsd: {size}"))?;
        let linux = LINUX
            .into_iter()
            .filter_map(|socket| rate(&format!("Linux, {socket} sockets, netback: {size}")));
        let linux = linux.reduce(f64::max)?;
        let what = format!("{size}: noxsd against netback and a bridge, the faster socket");
        Some(Goal::at_least(what, ours / linux, times))
    });
    goals.collect()
}

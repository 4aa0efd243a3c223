// SPDX-License-Identifier: GPL-3.0-or-later
//! The command line: which figure is measured, and with how many guests.

use clap::{Parser, ValueEnum};

/// Measures one figure, and writes its samples to stdout.
#[derive(Debug, Parser)]
pub(crate) struct Args {
    /// The figure.
    pub(crate) figure: Figure,
    /// Takes only a few samples.
    #[arg(long)]
    pub(crate) quick: bool,
    /// How many guests run side by side in the end; the default depends on the figure.
    #[arg(long)]
    pub(crate) guests: Option<usize>,
    /// How many guests xl creates; the default depends on the figure.
    #[arg(long)]
    pub(crate) xl_guests: Option<usize>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Figure {
    Block,
    Boot,
    Create,
    Density,
    Frames,
    Idle,
    Image,
    Parts,
    Restart,
    Traffic,
}

impl Args {
    /// Returns how many guests to create: the argument if there is one, else the figure's default,
    /// which is `whole`, or `quick` with `--quick`.
    pub(crate) fn guests(&self, whole: usize, quick: usize) -> usize {
        self.guests.unwrap_or(if self.quick { quick } else { whole })
    }

    /// Returns how many guests xl creates, as [`Args::guests`] does for chaos.
    pub(crate) fn xl_guests(&self, whole: usize, quick: usize) -> usize {
        self.xl_guests.unwrap_or(if self.quick { quick } else { whole })
    }
}

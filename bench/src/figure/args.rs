//! What is measured, and how much of it.

use clap::{Parser, ValueEnum};

/// Measures one figure; its samples go to stdout.
#[derive(Debug, Parser)]
pub(crate) struct Args {
    /// What is measured.
    pub(crate) figure: Figure,
    /// Few samples, for a look.
    #[arg(long)]
    pub(crate) quick: bool,
    /// How many guests there are side by side in the end; each figure has its own number.
    #[arg(long)]
    pub(crate) guests: Option<usize>,
    /// How many guests xl makes; each figure has its own number.
    #[arg(long)]
    pub(crate) xl_guests: Option<usize>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Figure {
    Boot,
    Create,
    Density,
    Idle,
    Image,
    Parts,
    Traffic,
}

impl Args {
    /// Returns how many guests to create: as asked for, else one of the figure's own two numbers.
    pub(crate) fn guests(&self, whole: usize, quick: usize) -> usize {
        self.guests.unwrap_or(if self.quick { quick } else { whole })
    }

    /// As [`Args::guests`], for xl.
    pub(crate) fn xl_guests(&self, whole: usize, quick: usize) -> usize {
        self.xl_guests.unwrap_or(if self.quick { quick } else { whole })
    }
}

//! `figure`: measures one figure in dom0, where `scripts/bench` runs it.
//!
//! It writes each sample to stdout as soon as it is taken, as a line `series,x,y`. Lines that begin
//! with `#` describe the system that was measured, and the expected number of samples
//! (`# total: N`).
//!
//! Each figure has a module here, which measures it, and one in `report`, which says how to draw
//! it.

mod boot;
mod containers;
mod create;
mod density;
mod idle;
mod image;
mod krata;
mod linux;
mod parts;
mod samples;
mod side_by_side;
mod trace;
mod traffic;
mod used;

use anyhow::Result;
use chaos::guests::Host;
use clap::{Parser, ValueEnum};

use samples::Samples;

/// Measures one figure and writes its samples to stdout.
#[derive(Debug, Parser)]
struct Args {
    /// The figure to measure.
    figure: Figure,
    /// Takes only a few samples, for a quick look.
    #[arg(long)]
    quick: bool,
    /// How many guests run side by side in the end; the default depends on the figure.
    #[arg(long)]
    guests: Option<usize>,
    /// How many guests xl creates; the default depends on the figure.
    #[arg(long)]
    xl_guests: Option<usize>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Figure {
    Boot,
    Create,
    Density,
    Idle,
    Image,
    Parts,
    Traffic,
}

impl Args {
    /// Returns the number of guests: the option's, or else one of the figure's two defaults.
    fn guests(&self, whole: usize, quick: usize) -> usize {
        self.guests.unwrap_or(if self.quick { quick } else { whole })
    }

    /// Returns the number of guests that xl creates, likewise.
    fn xl_guests(&self, whole: usize, quick: usize) -> usize {
        self.xl_guests.unwrap_or(if self.quick { quick } else { whole })
    }
}

fn main() -> Result<()> {
    let args = Args::parse();
    let host = Host::open_caching()?;
    let mut samples = Samples::new(&host)?;
    match args.figure {
        Figure::Boot => boot::measure(&host, &args, &mut samples),
        Figure::Create => create::measure(&host, &args, &mut samples),
        Figure::Density => density::measure(&host, &args, &mut samples),
        Figure::Idle => idle::measure(&host, &args, &mut samples),
        Figure::Image => image::measure(&host, &args, &mut samples),
        Figure::Parts => parts::measure(&host, &args, &mut samples),
        Figure::Traffic => traffic::measure(&host, &args, &mut samples),
    }
}

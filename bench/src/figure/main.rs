//! `figure`: measures one figure in dom0. `scripts/bench` takes it there.
//!
//! It writes each sample to stdout as soon as it has it, as a line `series,x,y`. Lines that begin
//! with `#` say what was measured on, and how many samples come (`# total: N`).
//!
//! A figure is one module here, which measures, and one in `report`, which says how it is drawn.

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

/// Measures one figure; its samples go to stdout.
#[derive(Debug, Parser)]
struct Args {
    /// What is measured.
    figure: Figure,
    /// Few samples, for a look.
    #[arg(long)]
    quick: bool,
    /// How many guests there are side by side in the end; each figure has its own number.
    #[arg(long)]
    guests: Option<usize>,
    /// How many guests xl makes; each figure has its own number.
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
    /// How many guests: as asked for, else one of the figure's own two numbers.
    fn guests(&self, whole: usize, quick: usize) -> usize {
        self.guests.unwrap_or(if self.quick { quick } else { whole })
    }

    /// As [`Args::guests`], for xl.
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

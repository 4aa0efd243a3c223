// SPDX-License-Identifier: GPL-3.0-or-later
//! `figure`: measures one figure in dom0, where `scripts/bench` runs it.
//!
//! It writes each sample to stdout as soon as it is taken, as a line `series,x,y`. Lines that begin
//! with `#` describe the system that was measured, and the expected number of samples
//! (`# total: N`).
//!
//! Each figure has a module here, which measures it, and one in `report`, which describes its plot.

mod args;
mod block;
mod boot;
mod containers;
mod create;
mod density;
mod first_words;
mod frames;
mod idle;
mod image;
mod krata;
mod linux;
mod linux_guest;
mod parts;
mod restart;
mod restart_load;
mod samples;
mod side_by_side;
mod trace;
mod traffic;
mod used;

use anyhow::Result;
use chaos::guests::Host;
use clap::Parser;

use args::{Args, Figure};
use samples::Samples;

fn main() -> Result<()> {
    let args = Args::parse();
    let host = Host::open_caching()?;
    let mut samples = Samples::new(&host)?;
    match args.figure {
        Figure::Block => block::measure(&host, &args, &mut samples),
        Figure::Boot => boot::measure(&host, &args, &mut samples),
        Figure::Create => create::measure(&host, &args, &mut samples),
        Figure::Density => density::measure(&host, &args, &mut samples),
        Figure::Frames => frames::measure(&host, &args, &mut samples),
        Figure::Idle => idle::measure(&host, &args, &mut samples),
        Figure::Image => image::measure(&host, &args, &mut samples),
        Figure::Parts => parts::measure(&host, &args, &mut samples),
        Figure::Restart => restart::measure(&host, &args, &mut samples),
        Figure::Traffic => traffic::measure(&host, &args, &mut samples),
    }
}

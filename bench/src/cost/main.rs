// SPDX-License-Identifier: GPL-3.0-or-later
//! `cost`: measures in dom0 what one guest costs, and checks the limits of docs/performance.md.
//! `scripts/bench cost` runs it there.
//!
//! All times come from dom0's monotonic clock. On the test bed's deterministic clock one
//! nanosecond is one executed instruction, so figures are counts of instructions, not times of
//! any hardware.

mod attacks;
mod commands;
mod frames;
mod growth;
mod in_process;
mod limits;
mod many;
mod memory;
mod pong;
mod pool;
mod report;
mod scrape;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use chaos::guests::Host;
use clap::{Parser, ValueEnum};

use report::Report;

/// Measures what a guest costs. Prints a table to stdout, and writes all samples to the JSON file.
///
/// Exits with status 3 if a limit of docs/performance.md is exceeded.
#[derive(Debug, Parser)]
struct Args {
    /// The file to which the JSON is written.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// How often each single guest is created.
    #[arg(long, default_value_t = 30)]
    rounds: usize,
    /// How many guests are created side by side to see what grows; twice as many through chaosd.
    #[arg(long, default_value_t = 500)]
    guests: usize,
    /// How often xl creates each guest; 0 leaves its rows out.
    #[arg(long, default_value_t = 5)]
    xl_rounds: usize,
    /// Measures only these parts of the table.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Part>,
}

/// The parts of the table, in its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    InProcess,
    Commands,
    Pong,
    Pool,
    Growth,
    PoolGrowth,
    Bursts,
    Scrape,
    Memory,
    Attacks,
    Frames,
    Xl,
}

impl Part {
    fn measure(self, host: &Host, args: &Args, report: &mut Report) -> Result<()> {
        match self {
            Self::InProcess => in_process::measure(host, args.rounds, report),
            Self::Commands => commands::measure(host, args.rounds, report),
            Self::Pong => pong::measure(host, args.rounds.min(10), report),
            Self::Pool => pool::measure(host, args.rounds, report),
            Self::Growth => growth::measure(host, args.guests, report),
            Self::PoolGrowth => many::growth(host, args.guests.saturating_mul(2), report),
            Self::Bursts => many::bursts(host, report),
            Self::Scrape => {
                scrape::measure(host, args.guests.saturating_mul(2), args.rounds.min(10), report)
            }
            Self::Memory => memory::measure(host, args.guests.min(200), report),
            Self::Attacks => attacks::measure(args.rounds.saturating_mul(10), report),
            Self::Frames => frames::measure(host, args.rounds.min(3), report),
            Self::Xl if args.xl_rounds == 0 => Ok(()),
            Self::Xl => commands::measure_xl(args.xl_rounds, report),
        }
    }
}

/// The exit status if everything was measured and a limit is exceeded.
const OVER_A_LIMIT: u8 = 3;

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    let Args { rounds, guests, .. } = args;
    ensure!(rounds > 0, "--rounds={rounds}: must be at least 1");
    ensure!(guests >= 20, "--guests={guests}: must be at least 20");
    let host = Host::open_caching()?;
    let mut report = Report::new(&host);
    for part in Part::value_variants() {
        if args.only.contains(part) || args.only.is_empty() {
            part.measure(&host, &args, &mut report)?;
        }
    }
    std::io::stdout().lock().write_all(report.table().as_bytes())?;
    if let Some(path) = args.json {
        std::fs::write(&path, serde_json::to_vec_pretty(&report)?)
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(if report.is_over_a_limit() { ExitCode::from(OVER_A_LIMIT) } else { ExitCode::SUCCESS })
}

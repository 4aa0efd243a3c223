// SPDX-License-Identifier: GPL-3.0-or-later
//! `chaos-top`: a live table of what guests use. `chaos top` starts it.
//!
//! ```text
//! rates    what guests use in a second, from two samples
//! table    the columns, and their text
//! signals  restores the terminal before a signal ends the program
//! screen   draws the table on a terminal
//! ```

mod rates;
mod screen;
mod signals;
mod table;

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use chaos::failure::FailureClass;
use chaos::guests::{self, Host, LifecycleError};
use chaos::records::NameTable;
use clap::Parser;
use daemon::chain::chain;

use rates::Rates;
use table::Order;

/// Show what guests use, as xentop does
///
/// Keys: q quits; c, m, n, d sort by CPU, memory, network, disk.
#[derive(Debug, Parser)]
#[command(
    name = "chaos top",
    bin_name = "chaos top",
    version,
    after_help = "Examples:
  chaos top              a live table
  chaos top -b -n 2      print two tables, such as into a file

Exit codes: 0 success, 1 failed, 2 wrong arguments, 4 Xen or dom0 is missing"
)]
struct Options {
    /// Print tables one below the other; so it does if standard output is not a terminal
    #[arg(short, long)]
    batch: bool,

    /// Exit after this many tables
    #[arg(short = 'n', long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    iterations: Option<u64>,

    /// Seconds from one table to the next
    #[arg(short, long, value_name = "SECONDS", default_value_t = 3,
          value_parser = clap::value_parser!(u64).range(1..=86_400))]
    delay: u64,
}

/// Why there is no table.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Lifecycle(#[from] LifecycleError),
    #[error("cannot use the terminal")]
    Terminal(#[source] io::Error),
    #[error("cannot print to standard output")]
    Output(#[source] io::Error),
}

/// Takes samples.
struct Sampler {
    host: Host,
    names: NameTable,
    rates: Rates,
}

impl Sampler {
    fn sample(&mut self) -> Result<(), LifecycleError> {
        let figures = guests::figures(&self.host, &mut self.names)?;
        self.rates.add(figures, Instant::now());
        Ok(())
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        // The reader has seen enough.
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(failure) => {
            // If stderr is closed, this cannot be reported anywhere.
            let _ = writeln!(io::stderr(), "chaos top: {}", chain(&failure));
            match failure {
                Failure::Lifecycle(error) if error.class() == FailureClass::NoDom0 => {
                    ExitCode::from(4)
                }
                _ => ExitCode::FAILURE,
            }
        }
    }
}

fn run(options: &Options) -> Result<(), Failure> {
    let delay = Duration::from_secs(options.delay);
    let iterations = options.iterations.unwrap_or(u64::MAX);
    let (names, rates) = (NameTable::default(), Rates::default());
    let mut sampler = Sampler { host: Host::open()?, names, rates };
    if options.batch || !io::stdout().is_terminal() {
        for iteration in 0..iterations {
            if iteration > 0 {
                thread::sleep(delay);
            }
            sampler.sample()?;
            let text = table::text(&sampler.rates, Order::Cpu);
            let mut stdout = io::stdout().lock();
            stdout
                .write_all(text.as_bytes())
                .and_then(|()| stdout.flush())
                .map_err(Failure::Output)?;
        }
        return Ok(());
    }
    // Before the terminal changes, so that an error is printed as usual.
    sampler.sample()?;
    let signals = signals::Terminal::watch().map_err(Failure::Terminal)?;
    let drawing = signals.drawing();
    let mut terminal = ratatui::try_init().map_err(Failure::Terminal)?;
    drop(drawing);
    let result = screen::run(&mut terminal, &signals, &mut sampler, delay, iterations);
    let _drawing = signals.drawing();
    ratatui::restore();
    result
}

// SPDX-License-Identifier: GPL-3.0-or-later
//! `report`: reads a figure's samples from stdin as they arrive, and writes its files:
//! `samples.csv`, `summary.json`, `plot.svg`, `plot.png` and `table.txt`. `scripts/bench` runs it
//! on the host. With `--again` it reads samples and facts from the first two of these files
//! instead.

mod figure;
mod figures;
mod goal;
mod plot;
mod samples;
mod stream;
mod summary;

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::Parser;

use samples::Samples;
use summary::Summary;

/// Writes a figure's plots and tables from its samples.
#[derive(Debug, Parser)]
struct Args {
    /// The figure.
    figure: String,
    /// The folder to which the files are written.
    #[arg(long)]
    out: PathBuf,
    /// Rewrites the plots and the table from the samples and facts in that folder.
    #[arg(long, conflicts_with = "with")]
    again: bool,
    /// A fact to record with the result.
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    with: Vec<(String, String)>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("must be KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

fn main() -> Result<()> {
    let args = Args::parse();
    let figure = figures::find(&args.figure)
        .with_context(|| format!("there is no figure {}", args.figure))?;
    let mut samples = if args.again {
        earlier(&args.out)
            .with_context(|| format!("there is no earlier result in {}", args.out.display()))?
    } else {
        stream::read(std::io::stdin().lock())?
    };
    ensure!(!samples.is_empty(), "received no samples: the measurement has failed");
    samples.facts.extend(args.with);
    fs::create_dir_all(&args.out)?;
    let mut csv = BufWriter::new(File::create(args.out.join("samples.csv"))?);
    samples.write_csv(&mut csv)?;
    csv.flush()?;
    let summary = Summary::new(figure, &samples);
    fs::write(args.out.join("summary.json"), serde_json::to_vec_pretty(&summary)?)?;
    plot::draw(figure, &samples, &args.out)?;
    let table = summary.table();
    fs::write(args.out.join("table.txt"), &table)?;
    std::io::stdout().lock().write_all(table.as_bytes())?;
    Ok(())
}

/// Reads the samples and facts of an earlier run.
fn earlier(folder: &Path) -> Result<Samples> {
    let facts = fs::read(folder.join("summary.json"))?;
    let mut samples = Samples { facts: summary::facts(&facts)?, ..Samples::default() };
    samples.read_csv(&fs::read_to_string(folder.join("samples.csv"))?)?;
    Ok(samples)
}

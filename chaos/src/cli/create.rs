// SPDX-License-Identifier: GPL-3.0-or-later
//! `chaos create`: through `chaosd` if it is running, in this process otherwise.

use std::borrow::Cow;
use std::path::Path;
use std::{io, mem};

use chaos::config::{self, ConfigErrors, DomainConfig, ParsedConfig};
use chaos::guests::CreateOptions;
use chaos::request::{
    CreatedGuest, Executor, HeldFiles, RequestError, Usage, expand, settle_kernel,
};
use chaos::timings::Timings;

use super::args::CreateArgs;
use super::config::ConfigRow;
use super::console;
use super::failure::Failure;
use super::output::Output;
use super::table::{ConfigErrorRows, CreatedRow, StageRow};

/// Name of standard input in messages.
const STDIN: &str = "<standard input>";

pub(super) fn run(
    args: &CreateArgs,
    mut timings: Timings,
    output: &mut Output,
) -> Result<(), Failure> {
    let mut overrides = Cow::Borrowed(&args.overrides);
    if let Some(store) = &args.store {
        overrides.to_mut().push(format!("store='{store}'"));
    }
    let mut parsed = load(&args.config, &overrides, args.strict).inspect_err(|errors| {
        if args.json {
            output.json(&ConfigErrorRows::new(errors));
        }
    })?;
    for warning in &parsed.warnings {
        output.warning(warning);
    }
    // The files that a bootloader has found, until the guests are created.
    let _held = if args.dry_run {
        HeldFiles::default()
    } else {
        let is_kind_undecided = parsed.config.undecided.kind;
        let held = settle_kernel(&mut parsed.config)?;
        if is_kind_undecided && parsed.config.extras().shim.is_some() && !args.quiet {
            output.note(
                "the kernel has no PVH entry, so it starts in the PV shim and finds its devices in XenStore",
            );
        }
        held
    };
    let configs = expand(parsed.config, args.count)?;
    timings.stage("config");
    if args.dry_run {
        print(args, &configs, output);
        return Ok(());
    }
    let mut rows = Vec::new();
    let result = create_all(args, &configs, timings, output, &mut rows);
    // After a failure, report the guests that were created before it.
    if args.json {
        match args.count {
            Some(_) => output.json(&rows),
            None => rows.iter().for_each(|row| output.json(row)),
        }
    }
    result
}

/// Parses a config file, or standard input.
#[inline]
pub(super) fn load(
    path: &Path,
    overrides: &[String],
    strict: bool,
) -> Result<ParsedConfig, ConfigErrors> {
    match path.as_os_str() == "-" {
        true => config::parse_input(STDIN.as_ref(), io::stdin(), overrides, strict),
        false => config::parse_file(path, overrides, strict),
    }
}

/// Prints what would be created.
#[cold]
fn print(args: &CreateArgs, configs: &[DomainConfig], output: &mut Output) {
    if args.quiet {
        return;
    }
    let rows = configs.iter().map(ConfigRow::new);
    match args.count {
        Some(_) => output.json(&rows.collect::<Vec<_>>()),
        None => rows.for_each(|row| output.json(&row)),
    }
}

fn create_all(
    args: &CreateArgs,
    configs: &[DomainConfig],
    mut timings: Timings,
    output: &mut Output,
    rows: &mut Vec<CreatedRow>,
) -> Result<(), Failure> {
    let usage = if configs.len() == 1 { Usage::OneGuest } else { Usage::ManyGuests };
    let executor = if args.no_daemon || args.console {
        Executor::this_process(usage, &mut timings)?
    } else {
        Executor::choose(usage, &mut timings)?
    };
    let options =
        CreateOptions { paused: args.paused, console: args.console, ..CreateOptions::default() };
    for (number, config) in configs.iter().enumerate() {
        let created = executor
            .create(config, options, &mut timings)
            .map_err(|error| failure_after(&configs[..number], configs.len(), error))?;
        let CreatedGuest {
            name,
            domid,
            handle,
            origin,
            is_kernels_store,
            daemon_stages,
            console,
            mapped,
        } = created;
        // Once for all guests of one config.
        if is_kernels_store && number == 0 && !args.quiet {
            output.note(&format!(
                "{name} finds its devices in XenStore, because its kernel does not read the device page"
            ));
        }
        if config.is_store_of_script() && number == 0 && !args.quiet {
            output.note(&format!(
                "{name} finds its devices in XenStore, because a vif has script=, which needs dom0's kernel"
            ));
        }
        let row = CreatedRow {
            name,
            domid: domid.0,
            handle,
            shell: origin.as_str(),
            total_ns: timings.total_ns(),
            stages: stages(args, &timings, daemon_stages),
        };
        report(args, row, output, rows);
        if let Some(connection) = console {
            drop(mapped);
            output.flush();
            return console::run(&connection);
        }
        if usage == Usage::OneGuest {
            // This process is about to exit, and the exit unmaps faster.
            mem::forget(mapped);
        }
        timings = Timings::start();
    }
    executor.leave_to_exit();
    Ok(())
}

/// Returns why a create failed after those of other configs.
#[cold]
fn failure_after(created: &[DomainConfig], wanted: usize, source: RequestError) -> Failure {
    match created {
        [] => source.into(),
        [first, ..] => Failure::Partial {
            created: created.len(),
            wanted,
            first: first.name.clone(),
            last: created.last().unwrap_or(first).name.clone(),
            source: Box::new(source),
        },
    }
}

/// Returns the stages of this process and of `chaosd`; none if they are not printed.
fn stages(args: &CreateArgs, timings: &Timings, of_daemon: Vec<(String, u64)>) -> Vec<StageRow> {
    if !args.json && !args.timings {
        return Vec::new();
    }
    let own = timings.stages().iter();
    let own = own.map(|stage| StageRow { name: stage.name.to_owned(), ns: stage.ns });
    let of_daemon = of_daemon.into_iter();
    let of_daemon =
        of_daemon.map(|(name, ns)| StageRow { name: format!("  of it in chaosd: {name}"), ns });
    own.chain(of_daemon).collect()
}

fn report(args: &CreateArgs, row: CreatedRow, output: &mut Output, rows: &mut Vec<CreatedRow>) {
    if args.json {
        rows.push(row);
        return;
    }
    if !args.quiet {
        output.text(&format!("{} is domain {}\n", row.name, row.domid));
    }
    if args.timings {
        output.text(&row.table());
    }
}

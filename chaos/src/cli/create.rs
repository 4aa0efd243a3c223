//! `chaos create`: through `chaosd` where one runs, in this process otherwise.

use std::borrow::Cow;
use std::os::fd::AsFd;
use std::path::Path;

use chaos::clients::chaosd;
use chaos::clients::chaosd::client::{CHAOSD, Chaosd, DaemonError};
use chaos::clients::chaosd::protocol::{Origin, Reply, Request};
use chaos::config::EncodedConfig;
use chaos::config::{self, DomainConfig};
use chaos::guests::{self, CreateOptions, Host, LifecycleError};
use chaos::image::{self, ImageError};
use chaos::timings::Timings;

use super::args::CreateArgs;
use super::console;
use super::exit::Failure;
use super::output::Output;
use super::table::{Made, MadeStage};

pub(super) fn run(
    args: &CreateArgs,
    mut timings: Timings,
    output: &mut Output,
) -> Result<(), Failure> {
    let mut overrides = Cow::Borrowed(&args.overrides);
    if let Some(store) = &args.store {
        overrides.to_mut().push(format!("store='{store}'"));
    }
    let parsed = config::parse_file(&args.config, &overrides, args.strict)?;
    for warning in &parsed.warnings {
        output.warning(warning);
    }
    let config = absolute(parsed.config)?;
    let configs = match args.count {
        None => vec![config],
        Some(count) => config::numbered(&config, count)
            .map_err(|error| Failure::Arguments(format!("-n {count}: {error}")))?,
    };
    timings.stage("config");
    let mut made = Vec::new();
    let result = match connect(args)? {
        Some(daemon) => through(&daemon, args, &configs, timings, output, &mut made),
        None => here(args, &configs, timings, output, &mut made),
    };
    // What was made before something failed is there.
    if args.json {
        match args.count {
            Some(_) => output.json(&made),
            None => made.iter().for_each(|made| output.json(made)),
        }
    }
    result
}

/// The config with paths that mean the same to whoever makes the guest again.
fn absolute(mut config: DomainConfig) -> Result<DomainConfig, Failure> {
    let real = |path: &Path| std::path::absolute(path).map_err(ImageError::Open);
    config.kernel = real(&config.kernel)
        .map_err(|source| LifecycleError::Kernel { path: config.kernel.clone(), source })?;
    if let Some(ramdisk) = &mut config.ramdisk {
        *ramdisk = real(ramdisk)
            .map_err(|source| LifecycleError::Ramdisk { path: ramdisk.clone(), source })?;
    }
    Ok(config)
}

fn connect(args: &CreateArgs) -> Result<Option<Chaosd>, Failure> {
    if args.no_daemon || args.console {
        return Ok(None);
    }
    let socket = Path::new(chaosd::SOCKET);
    // Cheaper than a socket that leads nowhere.
    if !socket.exists() {
        return Ok(None);
    }
    match Chaosd::connect(socket) {
        Ok(daemon) => Ok(Some(daemon)),
        Err(DaemonError::NotRunning { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn through(
    daemon: &Chaosd,
    args: &CreateArgs,
    configs: &[DomainConfig],
    mut timings: Timings,
    output: &mut Output,
    all: &mut Vec<Made>,
) -> Result<(), Failure> {
    for config in configs {
        let kernel = image::open(&config.kernel)
            .map_err(|source| LifecycleError::Kernel { path: config.kernel.clone(), source })?;
        let ramdisk = config.ramdisk.as_ref().map(|path| {
            image::open(path)
                .map_err(|source| LifecycleError::Ramdisk { path: path.clone(), source })
        });
        let ramdisk = ramdisk.transpose()?;
        let files: Vec<_> =
            std::iter::once(&kernel).chain(&ramdisk).map(|file| file.as_fd()).collect();
        let request = Request::Create { config: EncodedConfig::from(config), paused: args.paused };
        let Reply::Created(created) = daemon.ask(&request, &files)? else {
            return Err(DaemonError::Unexpected(&CHAOSD).into());
        };
        timings.stage("request");
        let of_daemon = created
            .stages
            .into_iter()
            .map(|(name, ns)| MadeStage { name: format!("  of it in chaosd: {name}"), ns });
        let made = Made {
            name: config.name.clone(),
            domid: created.domid,
            handle: created.handle,
            shell: created.shell.as_str(),
            total_ns: timings.total_ns(),
            stages: stages(args, &timings, of_daemon),
        };
        tell(args, made, output, all);
        timings = Timings::start();
    }
    Ok(())
}

fn here(
    args: &CreateArgs,
    configs: &[DomainConfig],
    mut timings: Timings,
    output: &mut Output,
    all: &mut Vec<Made>,
) -> Result<(), Failure> {
    let host = match configs.len() {
        1 => Host::open()?,
        _ => Host::open_caching()?,
    };
    timings.stage("open Xen");
    let options = CreateOptions { paused: args.paused, console: args.console };
    for config in configs {
        let created = guests::create(&host, config, options, &mut timings)?;
        let made = Made {
            name: created.record.config.name,
            domid: created.domid.0,
            handle: created.record.handle.to_string(),
            shell: Origin::Cold.as_str(),
            total_ns: timings.total_ns(),
            stages: stages(args, &timings, []),
        };
        tell(args, made, output, all);
        if let Some(connection) = created.console {
            drop(created.mapped);
            output.flush();
            return console::run(&connection);
        }
        if configs.len() == 1 {
            // This process is about to end, which unmaps in less time.
            std::mem::forget(created.mapped);
        }
        timings = Timings::start();
    }
    // Likewise.
    std::mem::forget(host);
    Ok(())
}

/// The stages, where somebody wants to see them.
fn stages(
    args: &CreateArgs,
    timings: &Timings,
    more: impl IntoIterator<Item = MadeStage>,
) -> Vec<MadeStage> {
    if !args.json && !args.timings {
        return Vec::new();
    }
    let own = timings.stages().iter();
    own.map(|stage| MadeStage { name: stage.name.to_owned(), ns: stage.ns }).chain(more).collect()
}

fn tell(args: &CreateArgs, made: Made, output: &mut Output, all: &mut Vec<Made>) {
    if args.json {
        all.push(made);
        return;
    }
    if !args.quiet {
        output.text(&format!("{} is domain {}\n", made.name, made.domid));
    }
    if args.timings {
        output.text(&made.table());
    }
}

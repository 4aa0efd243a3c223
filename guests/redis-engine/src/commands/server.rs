// SPDX-License-Identifier: MIT OR Apache-2.0
//! The commands about the server itself.

use alloc::string::String;
use core::fmt::Write;

use super::context::{Command, Context, Outcome, find};
use super::persistence;
use crate::error::{Refused, other};
use crate::glob;
use crate::version::REDIS_VERSION;

/// Refuses a subcommand, either because of its number of arguments or because it is unknown.
pub(crate) fn unknown_subcommand(c: &Context<'_>, command: &str, known: &[&str]) -> Outcome {
    if let Some(name) = known.iter().find(|name| c.args.is(1, name)) {
        return Err(Refused::Arity(alloc::format!("{}|{name}", command.to_ascii_lowercase())));
    }
    let argument = c.shown(1);
    other(alloc::format!("ERR unknown subcommand '{argument}'. Try {command} HELP."))
}

/// The settings that `CONFIG GET` returns. None of them can be changed.
static SETTINGS: [(&str, &str); 8] = [
    ("appendonly", "no"),
    ("databases", "1"),
    ("maxmemory-policy", "noeviction"),
    ("port", "6379"),
    ("proto-max-bulk-len", "536870912"),
    ("requirepass", ""),
    ("save", ""),
    ("timeout", "0"),
];

pub(crate) fn config(c: &mut Context<'_>) -> Outcome {
    match () {
        () if c.args.is(1, "get") && c.args.len() > 2 => {
            let memory = alloc::format!("{}", c.store.memory().total());
            let settings = SETTINGS.iter().copied().chain([("maxmemory", memory.as_str())]);
            let wanted = |name: &str| {
                let name = name.as_bytes();
                c.args.from(2).any(|argument| glob::matches_in_any_case(argument, name))
            };
            c.out.map(settings.clone().filter(|(name, _)| wanted(name)).count());
            for (name, value) in settings.filter(|(name, _)| wanted(name)) {
                // If an argument is the name itself, reply with its spelling, as Redis does.
                let same =
                    c.args.from(2).find(|argument| argument.eq_ignore_ascii_case(name.as_bytes()));
                c.out.bulk(same.unwrap_or(name.as_bytes()));
                c.out.bulk(value.as_bytes());
            }
        }
        () if c.args.is(1, "resetstat") && c.args.len() == 2 => {
            let stats = &mut c.store.stats;
            (stats.commands, stats.connections, stats.expired) = (0, 0, 0);
            (stats.hits, stats.misses) = (0, 0);
            c.out.ok();
        }
        () if c.args.is(1, "set") && c.args.len() > 3 => {
            let name = c.shown(2);
            return other(alloc::format!(
                "ERR CONFIG SET failed (possibly related to argument '{name}') - can't set \
                 immutable config"
            ));
        }
        () => return unknown_subcommand(c, "CONFIG", &["get", "resetstat", "set"]),
    }
    Ok(())
}

pub(crate) fn dbsize(c: &mut Context<'_>) -> Outcome {
    c.store.expire(c.now, usize::MAX);
    c.out.count(c.store.len());
    Ok(())
}

pub(crate) fn debug(_: &mut Context<'_>) -> Outcome {
    other(
        "ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", \
         you can run it from a local connection, otherwise you need to set this option in the \
         configuration file, and then restart the server.",
    )
}

pub(crate) fn flushall(c: &mut Context<'_>) -> Outcome {
    if c.args.len() > 2 || (c.args.len() == 2 && !c.args.is(1, "async") && !c.args.is(1, "sync")) {
        return Err(Refused::Syntax);
    }
    c.store.clear();
    c.out.ok();
    Ok(())
}

pub(crate) fn time(c: &mut Context<'_>) -> Outcome {
    c.out.array(2);
    c.out.bulk(alloc::format!("{}", c.now / 1000).as_bytes());
    c.out.bulk(alloc::format!("{}", c.now % 1000 * 1000).as_bytes());
    Ok(())
}

pub(crate) fn info(c: &mut Context<'_>) -> Outcome {
    let wanted = |section: &str| {
        let named = |index| c.args.is(index, section) || c.args.is(index, "all");
        c.args.len() == 1
            || (1..c.args.len())
                .any(|i| named(i) || c.args.is(i, "everything") || c.args.is(i, "default"))
    };
    let (stats, memory) = (c.store.stats, c.store.memory());
    let uptime = c.now.saturating_sub(stats.started_ms) / 1000;
    let mut text = String::new();
    // Writing to a string does not fail.
    if wanted("server") {
        let _ = write!(
            text,
            "# Server\r\nredis_version:{REDIS_VERSION}\r\nredis_mode:standalone\r\n\
             os:unikernel on Xen\r\narch_bits:64\r\ntcp_port:6379\r\nuptime_in_seconds:{uptime}\r\n\r\n"
        );
    }
    if wanted("clients") {
        let _ = write!(text, "# Clients\r\nconnected_clients:{}\r\n\r\n", c.store.clients.count());
    }
    if wanted("memory") {
        let _ = write!(
            text,
            "# Memory\r\nused_memory:{}\r\nmaxmemory:{}\r\nmaxmemory_policy:noeviction\r\n\r\n",
            memory.used(),
            memory.total()
        );
    }
    if wanted("persistence") {
        persistence::info(c, &mut text);
    }
    if wanted("stats") {
        let _ = write!(
            text,
            "# Stats\r\ntotal_connections_received:{}\r\ntotal_commands_processed:{}\r\n\
             expired_keys:{}\r\nkeyspace_hits:{}\r\nkeyspace_misses:{}\r\n\r\n",
            stats.connections, stats.commands, stats.expired, stats.hits, stats.misses
        );
    }
    if wanted("replication") {
        text.push_str("# Replication\r\nrole:master\r\nconnected_slaves:0\r\n\r\n");
    }
    if wanted("keyspace") {
        text.push_str("# Keyspace\r\n");
        if c.store.len() > 0 {
            let (keys, expires) = (c.store.len(), c.store.expiring());
            let _ = write!(text, "db0:keys={keys},expires={expires},avg_ttl=0\r\n");
        }
    }
    let text = text.trim_end_matches("\r\n\r\n");
    c.reserve_reply(text.len(), 2)?;
    c.out.verbatim(text);
    Ok(())
}

/// The most bytes of one command's description.
const DESCRIPTION: usize = 160;

pub(crate) fn command(c: &mut Context<'_>) -> Outcome {
    match () {
        () if c.args.len() == 1 => {
            c.reserve_reply(c.commands.len() * DESCRIPTION, 0)?;
            c.out.array(c.commands.len());
            c.commands.iter().for_each(|command| describe(c, command));
        }
        () if c.args.is(1, "count") && c.args.len() == 2 => c.out.count(c.commands.len()),
        () if c.args.is(1, "info") => {
            c.out.array(c.args.len() - 2);
            for name in c.args.from(2) {
                c.reserve_reply(DESCRIPTION, 0)?;
                match find(c.commands, name) {
                    Some(command) => describe(c, command),
                    None => c.out.null_array(),
                }
            }
        }
        // The documentation of commands is optional; clients ask for it and work without it.
        () if c.args.is(1, "docs") => c.out.map(0),
        () if c.args.is(1, "list") && c.args.len() == 2 => {
            let names = c.commands.iter().map(|command| command.name.len()).sum();
            c.reserve_reply(names, c.commands.len() + 1)?;
            c.out.array(c.commands.len());
            c.commands.iter().for_each(|command| c.out.bulk(command.name.as_bytes()));
        }
        () => return unknown_subcommand(c, "COMMAND", &["count", "list"]),
    }
    Ok(())
}

/// Writes one command as `COMMAND` describes it: name, arity, flags, keys, and four parts that are
/// empty here.
fn describe(c: &mut Context<'_>, command: &Command) {
    c.out.array(10);
    c.out.bulk(command.name.as_bytes());
    c.out.integer(i64::from(command.arity));
    let flags = [
        (command.grows, "denyoom"),
        (command.reads && command.keys.0 > 0, "readonly"),
        (!command.reads, "write"),
    ];
    c.out.set(flags.iter().filter(|(has, _)| *has).count());
    for (_, flag) in flags.iter().filter(|(has, _)| *has) {
        c.out.simple(flag);
    }
    for number in [command.keys.0, command.keys.1, command.keys.2] {
        c.out.integer(i64::from(number));
    }
    for _ in 0..4 {
        c.out.array(0);
    }
}

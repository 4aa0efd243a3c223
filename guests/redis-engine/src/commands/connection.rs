// SPDX-License-Identifier: MIT OR Apache-2.0
//! The commands about the connection itself.

use alloc::vec::Vec;
use core::fmt::{self, Write};
use core::str;

use super::context::{Context, Outcome};
use super::server::unknown_subcommand;
use crate::client::ClientInfo;
use crate::error::{Refused, other};
use crate::number;
use crate::version::REDIS_VERSION;

pub(crate) fn ping(c: &mut Context<'_>) -> Outcome {
    match c.args.len() {
        1 => c.out.simple("PONG"),
        2 => return echo(c),
        _ => return c.arity(),
    }
    Ok(())
}

pub(crate) fn echo(c: &mut Context<'_>) -> Outcome {
    let argument = c.arg(1);
    c.reserve_reply(argument.len(), 1)?;
    c.out.bulk(argument);
    Ok(())
}

pub(crate) fn quit(c: &mut Context<'_>) -> Outcome {
    c.client.close = true;
    c.out.ok();
    Ok(())
}

pub(crate) fn reset(c: &mut Context<'_>) -> Outcome {
    c.client.info.borrow_mut().name = Vec::new();
    set_protocol(c, false);
    c.out.simple("RESET");
    Ok(())
}

pub(crate) fn select(c: &mut Context<'_>) -> Outcome {
    match c.integer(1)? {
        0 => c.out.ok(),
        _ => return other("ERR DB index is out of range"),
    }
    Ok(())
}

/// Accepts only the default user, which has no password.
fn check_user(name: &[u8]) -> Outcome {
    if name == b"default" {
        return Ok(());
    }
    other("WRONGPASS invalid username-password pair or user is disabled.")
}

pub(crate) fn auth(c: &mut Context<'_>) -> Outcome {
    match c.args.len() {
        2 => other(
            "ERR AUTH <password> called without any password configured for the default user. Are \
             you sure your configuration is correct?",
        ),
        3 => check_user(c.arg(1)).map(|()| c.out.ok()),
        _ => Err(Refused::Syntax),
    }
}

fn set_protocol(c: &mut Context<'_>, resp3: bool) {
    c.out.set_resp3(resp3);
    c.client.info.borrow_mut().resp3 = resp3;
}

fn id(c: &Context<'_>) -> i64 {
    number::saturating_i64(c.client.info.borrow().id)
}

pub(crate) fn hello(c: &mut Context<'_>) -> Outcome {
    let version = match c.args.len() {
        1 => None,
        _ => match number::integer(c.arg(1)) {
            Ok(version @ (2 | 3)) => Some(version),
            Ok(_) => return other("NOPROTO unsupported protocol version"),
            Err(_) => return other("ERR Protocol version is not an integer or out of range"),
        },
    };
    let mut at = 2;
    while at < c.args.len() {
        if c.args.is(at, "setname") && at + 1 < c.args.len() {
            let name = copy(c, at + 1, NAME)?;
            c.client.info.borrow_mut().name = name;
            at += 2;
        } else if c.args.is(at, "auth") && at + 2 < c.args.len() {
            check_user(c.arg(at + 1))?;
            at += 3;
        } else {
            let argument = c.shown(at);
            return other(alloc::format!("ERR Syntax error in HELLO option '{argument}'"));
        }
    }
    if let Some(version) = version {
        set_protocol(c, version == 3);
    }
    c.out.map(7);
    c.out.bulk(b"server");
    c.out.bulk(b"redis");
    c.out.bulk(b"version");
    c.out.bulk(REDIS_VERSION.as_bytes());
    c.out.bulk(b"proto");
    c.out.integer(if c.out.is_resp3() { 3 } else { 2 });
    c.out.bulk(b"id");
    c.out.integer(id(c));
    c.out.bulk(b"mode");
    c.out.bulk(b"standalone");
    c.out.bulk(b"role");
    c.out.bulk(b"master");
    c.out.bulk(b"modules");
    c.out.array(0);
    Ok(())
}

const NAME: &str = "ERR Client names cannot contain spaces, newlines or special characters.";

/// Copies an argument that is shown in `CLIENT LIST`. Refuses with `otherwise` if the argument
/// contains characters that would break its format.
fn copy(c: &Context<'_>, index: usize, otherwise: &'static str) -> Result<Vec<u8>, Refused> {
    let argument = c.arg(index);
    if !argument.iter().all(u8::is_ascii_graphic) {
        return other(otherwise);
    }
    // Check memory: there can be many connections, and their names may have any length.
    c.store.need(argument.len(), 1)?;
    let mut copy = Vec::new();
    copy.try_reserve_exact(argument.len()).map_err(|_| Refused::OutOfMemory)?;
    copy.extend_from_slice(argument);
    Ok(copy)
}

pub(crate) fn client(c: &mut Context<'_>) -> Outcome {
    let count = c.args.len();
    match () {
        () if c.args.is(1, "id") && count == 2 => c.out.integer(id(c)),
        () if c.args.is(1, "getname") && count == 2 => {
            let info = c.client.info.borrow();
            c.out.reserve(c.store.memory(), info.name.len(), 1)?;
            c.out.maybe_bulk(Some(&*info.name).filter(|name| !name.is_empty()));
        }
        () if c.args.is(1, "setname") && count == 3 => {
            let name = copy(c, 2, NAME)?;
            c.client.info.borrow_mut().name = name;
            c.out.ok();
        }
        () if c.args.is(1, "setinfo") && count == 4 => return set_info(c),
        () if c.args.is(1, "info") && count == 2 => {
            let info = c.client.info.clone();
            return list(c, || core::iter::once(info.clone()));
        }
        () if c.args.is(1, "list") && count == 2 => {
            // Take the list out of the store, because `list` borrows the whole context.
            let clients = core::mem::take(&mut c.store.clients);
            let outcome = list(c, || clients.iter());
            c.store.clients = clients;
            return outcome;
        }
        () if c.args.is(1, "list") => return Err(Refused::Syntax),
        // Accepted without effect, because clients are never evicted.
        () if c.args.is(1, "no-evict") && count == 3 => match () {
            () if c.args.is(2, "on") || c.args.is(2, "off") => c.out.ok(),
            () => return Err(Refused::Syntax),
        },
        () => {
            let known = ["id", "getname", "setname", "setinfo", "info", "no-evict"];
            return unknown_subcommand(c, "CLIENT", &known);
        }
    }
    Ok(())
}

fn set_info(c: &mut Context<'_>) -> Outcome {
    if c.args.is(2, "lib-name") {
        let otherwise = "ERR lib-name cannot contain spaces, newlines or special characters.";
        let name = copy(c, 3, otherwise)?;
        c.client.info.borrow_mut().library = name;
    } else if c.args.is(2, "lib-ver") {
        let otherwise = "ERR lib-ver cannot contain spaces, newlines or special characters.";
        let version = copy(c, 3, otherwise)?;
        c.client.info.borrow_mut().library_version = version;
    } else {
        return other(alloc::format!("ERR Unrecognized option '{}'", c.shown(2)));
    }
    c.out.ok();
    Ok(())
}

/// Counts the bytes that are written.
struct Length(usize);

impl Write for Length {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 += text.len();
        Ok(())
    }
}

/// Writes one line about a connection.
fn describe(info: &ClientInfo, to: &mut impl Write) {
    let text = |bytes| str::from_utf8(bytes).unwrap_or_default();
    // Neither `Output` nor `Length` returns an error.
    let _ = writeln!(
        to,
        "id={} name={} db=0 resp={} lib-name={} lib-ver={}",
        info.id,
        text(&info.name),
        if info.resp3 { 3 } else { 2 },
        text(&info.library),
        text(&info.library_version),
    );
}

/// Replies with a line about each of the connections.
fn list<A, I>(c: &mut Context<'_>, clients: A) -> Outcome
where
    A: Fn() -> I,
    I: Iterator<Item = alloc::rc::Rc<core::cell::RefCell<ClientInfo>>>,
{
    let mut length = Length(0);
    clients().for_each(|info| describe(&info.borrow(), &mut length));
    c.reserve_reply(length.0, 2)?;
    c.out.verbatim_of(length.0, |out| clients().for_each(|info| describe(&info.borrow(), out)));
    Ok(())
}

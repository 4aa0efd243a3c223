// SPDX-License-Identifier: GPL-3.0-or-later
//! The memory that a guest may have and is to have.

use std::time::Duration;

use noxs::{AnswerStatus, RequestId, shared};
use xen::domain::DomainInfo;
use xen::units::{DomId, KiB, Pages};

use super::{TuningError, paths_of, record_of};
use crate::announce::xenstore::{MEMORY_LIMIT, MEMORY_LIMIT_BEFORE, MEMORY_TARGET};
use crate::config::Discovery;
use crate::guests::error::LifecycleError;
use crate::guests::host::Host;
use crate::guests::hot_plug::MOST_SPECIAL_PAGES;
use crate::guests::sysctl::{Channel, Reaction};
use crate::guests::watch::{DomainWatch, deadline};
use crate::hypervisor::Hypervisor;
use crate::records::Record;

/// What libxl adds to the limit of a guest.
const LIBXL_EXTRA: KiB = KiB(1024);

/// What became of a request to change a guest's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryOutcome {
    /// The guest changes it later, as with xl.
    Requested,
    /// The guest has so much memory now.
    Reached(KiB),
}

/// Limits the memory that a guest may have.
///
/// # Errors
/// There is no such guest, it has more, or Xen or XenStore refuses.
pub fn set_memory_limit(host: &Host, target: &str, limit: KiB) -> Result<(), LifecycleError> {
    let record = record_of(host, target)?;
    let too_low = |has| {
        let name = record.name().to_owned();
        LifecycleError::from(TuningError::LimitTooLow { name, limit, has })
    };
    match record.config.store.discovery() {
        Discovery::DevicePage => {
            let has = info(host, record.domid)?.tot_pages.to_kib();
            if with_specials(limit) < has {
                return Err(too_low(has));
            }
            Ok(host.xen.set_max_mem(record.domid, with_specials(limit))?)
        }
        Discovery::XenStore => {
            let paths = paths_of(record.domid, &record);
            let node = |node| host.xenstored.call(|connection| paths.kib(connection, node));
            let has = node(MEMORY_TARGET)?.ok_or_else(|| wrong_node(&record, MEMORY_TARGET))?;
            if limit < has {
                return Err(too_low(has));
            }
            host.xen.set_max_mem(record.domid, KiB(limit.0 + LIBXL_EXTRA.0))?;
            let set = |connection: &mut _| paths.set_kib(connection, MEMORY_LIMIT, limit);
            Ok(host.xenstored.call(set)?)
        }
    }
}

/// Asks a guest to have so much memory. One with a device page answers within `timeout`, and may have
/// reached a part of it.
///
/// # Errors
/// There is no such guest, it may not have so much, it does not support the request or answer in time,
/// or Xen or XenStore refuses.
pub fn set_memory(
    host: &Host,
    target: &str,
    wanted: KiB,
    timeout: Duration,
) -> Result<MemoryOutcome, LifecycleError> {
    let record = record_of(host, target)?;
    let above = |limit, remedy| {
        let name = record.name().to_owned();
        LifecycleError::from(TuningError::AboveLimit { name, wanted, limit, remedy })
    };
    match record.config.store.discovery() {
        Discovery::DevicePage => {
            let limit = record.config.memory;
            if wanted > limit {
                let remedy =
                    "it cannot have more than it was created with: set memory= in its config";
                return Err(above(limit, remedy));
            }
            ask(host, &record, wanted, timeout).map(MemoryOutcome::Reached)
        }
        Discovery::XenStore => {
            let paths = paths_of(record.domid, &record);
            let node = |node| host.xenstored.call(|connection| paths.kib(connection, node));
            let limit = match node(MEMORY_LIMIT)? {
                Some(limit) => limit,
                None => node(MEMORY_LIMIT_BEFORE)?
                    .ok_or_else(|| wrong_node(&record, MEMORY_LIMIT_BEFORE))?,
            };
            if wanted > limit {
                return Err(above(limit, "raise it first: chaos mem-max"));
            }
            // As in xl: the guest cannot have more than the target.
            host.xen.set_max_mem(record.domid, KiB(wanted.0 + LIBXL_EXTRA.0))?;
            let set = |connection: &mut _| paths.set_kib(connection, MEMORY_TARGET, wanted);
            host.xenstored.call(set)?;
            Ok(MemoryOutcome::Requested)
        }
    }
}

/// Writes the request into the device page, and waits for the answer. Returns the memory that the
/// guest has then.
fn ask(
    host: &Host,
    record: &Record,
    wanted: KiB,
    timeout: Duration,
) -> Result<KiB, LifecycleError> {
    let domid = record.domid;
    let no_record = || LifecycleError::NoRecord { target: record.name().to_owned() };
    let deadline = deadline(timeout);
    let mut watch = DomainWatch::start(host).ok();
    // The devices, too: a change of them is another request, and both numbers are the record's.
    let _locks = (host.records.lock_devices(domid)?, host.records.lock_until(domid, deadline)?);
    let mut numbered = host.records.read(domid)?.ok_or_else(no_record)?;
    let page_record = numbered.device_page.as_mut().ok_or_else(no_record)?;
    let mut page = Hypervisor::map_page(&*host.xen, domid, page_record.gfn)?;
    let channel = Channel::open(host, domid, page_record)?;
    let id = RequestId(page_record.requests).next();
    page_record.requests = id.0;
    host.records.replace(&numbered)?;
    // Let it grow to the target.
    let before = info(host, domid)?;
    host.xen.set_max_mem(domid, before.tot_pages.to_kib().max(with_specials(wanted)))?;
    let without = record.config.memory.0.saturating_sub(wanted.0) / 4;
    let balloon = u32::try_from(without).unwrap_or(u32::MAX);
    shared::post_memory_request(&mut page, id, balloon);
    channel.notify()?;
    let reaction = channel.wait(host, id, deadline, watch.as_mut());
    let after = info(host, domid)?;
    // What the guest says about itself is only believed as far as Xen confirms it.
    let at_least = after.tot_pages.0.saturating_sub(MOST_SPECIAL_PAGES.0);
    let says = (record.config.memory.0 / 4).saturating_sub(channel.balloon().0);
    let reached = Pages(says.max(at_least)).to_kib();
    let limit = match &reaction {
        // What the guest has not given back stays its own; it cannot take more than it was asked to.
        Ok(Reaction::Answered(Some(AnswerStatus::Accepted | AnswerStatus::NoRoom))) => {
            with_specials(reached.max(wanted))
        }
        _ => before.max_pages.to_kib(),
    };
    host.xen.set_max_mem(domid, limit)?;
    match reaction? {
        Reaction::Answered(Some(AnswerStatus::Accepted | AnswerStatus::NoRoom)) => Ok(reached),
        Reaction::Answered(_) => Err(LifecycleError::Unsupported {
            name: record.name().to_owned(),
            request: "changes of its memory",
        }),
        Reaction::Ended => Err(LifecycleError::NoSuchGuest { target: record.name().to_owned() }),
        Reaction::Silent => Err(LifecycleError::TimedOut {
            name: record.name().to_owned(),
            what: "changed its memory",
            after: timeout,
        }),
    }
}

fn info(host: &Host, domid: DomId) -> Result<DomainInfo, LifecycleError> {
    let gone = || LifecycleError::NoSuchGuest { target: domid.to_string() };
    host.xen.domain_info(domid)?.ok_or_else(gone)
}

/// Returns the limit for a guest with so much memory, which allows for the pages of all devices that it
/// may get.
fn with_specials(memory: KiB) -> KiB {
    KiB(memory.0 + MOST_SPECIAL_PAGES.to_kib().0)
}

fn wrong_node(record: &Record, node: &'static str) -> TuningError {
    TuningError::Node { name: record.name().to_owned(), node }
}

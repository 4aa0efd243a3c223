//! Asking a guest to end, through the sysctl block of its device page.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use noxs::shared::{self, SharedPage};
use noxs::{AnswerStatus, Request, RequestId};
use serde::Serialize;
use xen::evtchn::EventChannels;
use xen::foreign::ForeignMapping;
use xen::units::{Gfn, Pages, Port};

use super::announced::place_of;
use super::resolve::{Condition, Guest, GuestState, examine};
use super::watch::wait_any_readable;
use super::{DomainWatch, Host, LifecycleError, destroy, resolve};
use crate::announce::xenstore::{Control, Place};
use crate::records::Record;

/// How a guest is to be shut down.
#[derive(Clone, Copy, Debug)]
pub struct ShutdownOptions {
    /// What it is asked to do.
    pub request: Request,
    /// Wait for its end and destroy it.
    pub wait: bool,
    /// How long it may take to answer, and to end.
    pub timeout: Duration,
}

/// What came of it.
#[derive(Clone, Debug, Serialize)]
pub struct ShutdownOutcome {
    /// The guest's name.
    pub name: String,
    /// Its number.
    pub domid: u16,
    /// How it was when this was written.
    pub state: GuestState,
    /// Whether it was destroyed.
    pub destroyed: bool,
}

/// Asks a guest to end.
///
/// # Errors
/// There is no such guest, it cannot do what is asked, or it takes too long.
pub fn shutdown(
    host: &Host,
    target: &str,
    options: ShutdownOptions,
) -> Result<ShutdownOutcome, LifecycleError> {
    let guest = resolve(host, target)?;
    let Condition::Guest(record) = &guest.condition else {
        return Err(match guest.condition {
            Condition::BeingMade => LifecycleError::BeingMade { domid: guest.domid },
            Condition::Shell => LifecycleError::Shell { domid: guest.domid },
            Condition::Gone => LifecycleError::NoSuchGuest { target: target.to_owned() },
            _ => LifecycleError::NoRecord { target: target.to_owned() },
        });
    };
    let deadline = Instant::now() + options.timeout;
    // The watch comes before the request, so that no end is missed. Where nobody waits for the end,
    // it only helps to notice one that comes instead of an answer.
    let mut watch = match DomainWatch::start(host) {
        Err(error) if options.wait => return Err(error),
        watch => watch.ok(),
    };
    let pages = match guest.state().has_ended() {
        true => None,
        // As long as they are mapped, Xen remembers how the guest has ended, even if chaosd is
        // faster and destroys it.
        false => Some(match place_of(record) {
            None => ask(host, &guest, record, options, deadline, watch.as_mut())?.into(),
            Some(place) => {
                let page = map(host, &guest, 0)?;
                ask_in_xenstore(host, &guest, record, place, options, deadline)?;
                vec![page]
            }
        }),
    };
    let mut now = examine(host, guest.domid)?;
    if let Some(watch) = watch.as_mut().filter(|_| options.wait) {
        while !now.state().has_ended() {
            if !watch.wait(deadline)? {
                return Err(timed_out(record, "ended", options));
            }
            now = examine(host, guest.domid)?;
        }
    }
    drop(pages);
    if options.wait && now.info.as_ref().is_some_and(|info| record.handle == info.handle) {
        destroy::remove(host, &guest)?;
    }
    Ok(ShutdownOutcome {
        name: record.name().to_owned(),
        domid: record.domid.0,
        // One that had ended before may be gone by now.
        state: now.end().or_else(|| guest.end()).unwrap_or_else(|| now.state()),
        destroyed: options.wait,
    })
}

fn timed_out(record: &Record, what: &'static str, options: ShutdownOptions) -> LifecycleError {
    LifecycleError::TimedOut { name: record.name().to_owned(), what, after: options.timeout }
}

/// Writes the request, rings, and waits for the answer. Gives the guest's pages that were mapped for
/// that.
fn ask(
    host: &Host,
    guest: &Guest,
    record: &Record,
    options: ShutdownOptions,
    deadline: Instant,
    mut watch: Option<&mut DomainWatch>,
) -> Result<[MappedPage; 2], LifecycleError> {
    let mut page = map(host, guest, record.device_page_gfn)?;
    let answer = map(host, guest, record.answer_page_gfn)?;

    let _lock = host.records.lock(guest.domid)?;
    let mut counted = host
        .records
        .read(guest.domid)?
        .ok_or_else(|| LifecycleError::NoRecord { target: record.name().to_owned() })?;
    let id = RequestId(counted.requests).next();
    counted.requests = id.0;
    host.records.replace(&counted)?;
    shared::post_request(&mut page, id, options.request);

    let channels = EventChannels::open()?;
    let port = channels.bind_interdomain(guest.domid, Port(record.sysctl_port))?;
    channels.notify(port)?;
    loop {
        let told = shared::read_answer(&answer);
        if told.request_id == id {
            return match told.status {
                Some(AnswerStatus::Accepted) => Ok([page, answer]),
                _ => Err(unsupported(record, options)),
            };
        }
        if examine(host, guest.domid)?.state().has_ended() {
            return Ok([page, answer]);
        }
        let fds = [channels.as_fd()].into_iter().chain(watch.as_deref().map(AsFd::as_fd));
        let told = wait_any_readable(&fds.collect::<Vec<_>>(), deadline)
            .map_err(|errno| LifecycleError::Watch { reason: errno.to_string() })?;
        if !told {
            return Err(timed_out(record, "answered", options));
        }
        channels.acknowledge_pending()?;
        // One that is lost is missed by nobody but who waits for the end, later.
        if watch.as_deref_mut().is_some_and(|watch| watch.take().is_err()) {
            watch = None;
        }
    }
}

/// Asks through the guest's `control` folder in XenStore, and waits until it has taken note.
fn ask_in_xenstore(
    host: &Host,
    guest: &Guest,
    record: &Record,
    place: Place,
    options: ShutdownOptions,
    deadline: Instant,
) -> Result<(), LifecycleError> {
    let request = match options.request {
        Request::Poweroff => "poweroff",
        Request::Reboot => "reboot",
        Request::Suspend => "suspend",
    };
    if !Control::has_feature(place, request)? {
        return Err(unsupported(record, options));
    }
    let mut control = Control::ask(place, request)?;
    while !control.is_taken()? {
        if examine(host, guest.domid)?.state().has_ended() {
            return Ok(());
        }
        let told = control.is_told()
            || wait_any_readable(&[control.as_fd()], deadline)
                .map_err(|errno| LifecycleError::Watch { reason: errno.to_string() })?;
        if !told {
            return Err(timed_out(record, "answered", options));
        }
        control.take()?;
    }
    Ok(())
}

fn unsupported(record: &Record, options: ShutdownOptions) -> LifecycleError {
    LifecycleError::Unsupported {
        name: record.name().to_owned(),
        request: match options.request {
            Request::Poweroff => "power-off",
            Request::Reboot => "reboot",
            Request::Suspend => "suspend",
        },
    }
}

fn map(host: &Host, guest: &Guest, gfn: u64) -> Result<MappedPage, LifecycleError> {
    let range = ForeignMapping::map_range(&host.xen, guest.domid, Gfn(gfn), Pages(1));
    Ok(range.map(MappedPage)?)
}

/// A mapped page of a guest, as `noxs` wants to see it.
struct MappedPage(ForeignMapping);

impl SharedPage for MappedPage {
    fn read_u32(&self, offset: usize) -> u32 {
        u32::from_le(self.0.read_u32(offset))
    }

    fn write_u32(&mut self, offset: usize, value: u32) {
        self.0.write_u32(offset, value.to_le());
    }
}

//! The sysctl block of the device page: dom0 asks the guest to power off or to reboot.

use noxs::shared::write_answer;
use noxs::{AnswerStatus, DevicePage, Request, RequestId};
use xen_abi::sched::{SHUTDOWN_POWEROFF, SHUTDOWN_REBOOT};

use crate::cpu::Local;
use crate::device_page::{self, page_at};
use crate::hypercall;
use crate::layout::PAGE_SIZE_U64;

/// What is needed to serve requests; set once, while booting.
static POWER: Local<Option<Power>> = Local::new(None);

#[derive(Debug)]
struct Power {
    /// Where the device page is.
    page: u64,
    /// The port dom0 rings.
    port: u32,
    /// The request that was answered last.
    answered: RequestId,
}

/// Starts serving requests, with one that came before the guest ran.
pub(crate) fn initialise(page_address: u64, page: &DevicePage) {
    if page.sysctl.port != 0 {
        let power =
            Power { page: page_address, port: page.sysctl.port, answered: RequestId::default() };
        *POWER.borrow() = Some(power);
        // Most guests start before anything is asked of them.
        if page.sysctl.request_id != RequestId::default() {
            serve();
        }
    }
}

/// The port dom0 rings, if it can.
pub(crate) fn port() -> Option<u32> {
    POWER.borrow().as_ref().map(|power| power.port)
}

/// Looks for a new request in the device page and does what it asks.
pub(crate) fn serve() {
    let mut slot = POWER.borrow();
    let Some(power) = slot.as_mut() else { return };
    // A page that is being written is left alone: dom0 rings again when it has written it.
    let Ok(page) = device_page::read(power.page) else { return };
    let sysctl = page.sysctl;
    if sysctl.request_id == power.answered || sysctl.request_id == RequestId::default() {
        return;
    }
    power.answered = sysctl.request_id;
    let reason = match sysctl.request {
        Some(Request::Poweroff) => Some(SHUTDOWN_POWEROFF),
        Some(Request::Reboot) => Some(SHUTDOWN_REBOOT),
        Some(Request::Suspend) | None => None,
    };
    let status = reason.map_or(AnswerStatus::Unsupported, |_| AnswerStatus::Accepted);
    if sysctl.answer_gfn != 0 {
        let mut answer = page_at(sysctl.answer_gfn.wrapping_mul(PAGE_SIZE_U64));
        write_answer(&mut answer, sysctl.request_id, status);
        // Whoever asked may have gone meanwhile: then there is nobody to tell.
        let _ = hypercall::send_event(power.port);
    }
    drop(slot);
    if let Some(reason) = reason {
        hypercall::shutdown(reason);
    }
}

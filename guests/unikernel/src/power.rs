// SPDX-License-Identifier: MIT OR Apache-2.0
//! Power requests: dom0 asks the guest to power off or to reboot, in the device page's sysctl
//! block.

use noxs::shared::write_answer;
use noxs::{AnswerStatus, DevicePage, Request, RequestId, Sysctl};
use xen_abi::sched::{SHUTDOWN_POWEROFF, SHUTDOWN_REBOOT};

use crate::cpu::Local;
use crate::device_page::{self, page_at};
use crate::hypercall;
use crate::layout::PAGE_SIZE_U64;

/// What serving requests needs; set once, at boot.
static POWER: Local<Option<Power>> = Local::new(None);

#[derive(Debug)]
struct Power {
    /// The address of the device page.
    page: u64,
    /// The port that dom0 notifies.
    port: u32,
    /// The last request that was answered.
    answered: RequestId,
}

/// Starts to serve requests, including one that was made before the guest ran.
pub(crate) fn initialise(page_address: u64, page: &DevicePage) {
    if page.sysctl.port != 0 {
        let power =
            Power { page: page_address, port: page.sysctl.port, answered: RequestId::default() };
        *POWER.borrow() = Some(power);
        // Usually there is no request yet. The check saves a second copy of the page.
        if page.sysctl.request_id != RequestId::default() {
            serve();
        }
    }
}

/// Returns the port that dom0 notifies, if there is one.
pub(crate) fn port() -> Option<u32> {
    POWER.borrow().as_ref().map(|power| power.port)
}

/// Answers a request.
pub(crate) fn answer(sysctl: &Sysctl, status: AnswerStatus) {
    if sysctl.answer_gfn != 0 {
        let mut answer = page_at(sysctl.answer_gfn.wrapping_mul(PAGE_SIZE_U64));
        write_answer(&mut answer, sysctl.request_id, status);
        // An error means that the requester is gone: then the answer does not matter.
        let _ = hypercall::send_event(sysctl.port);
    }
}

/// Carries out the request in the device page, if it is new.
pub(crate) fn serve() {
    let mut slot = POWER.borrow();
    let Some(power) = slot.as_mut() else { return };
    // If dom0 is writing the page, do nothing: dom0 notifies the port again afterwards.
    let Ok(page) = device_page::read(power.page) else { return };
    let sysctl = page.sysctl;
    if sysctl.request_id == power.answered || sysctl.request_id == RequestId::default() {
        return;
    }
    power.answered = sysctl.request_id;
    #[cfg(feature = "hot-plug")]
    match sysctl.request {
        Some(Request::Devices) => return crate::hot_plug::put(page),
        Some(Request::Memory) => return crate::balloon::serve(&sysctl),
        _ => {}
    }
    let reason = match sysctl.request {
        Some(Request::Poweroff) => Some(SHUTDOWN_POWEROFF),
        Some(Request::Reboot) => Some(SHUTDOWN_REBOOT),
        Some(Request::Suspend | Request::Devices | Request::Memory) | None => None,
    };
    let status = reason.map_or(AnswerStatus::Unsupported, |_| AnswerStatus::Accepted);
    answer(&sysctl, status);
    drop(slot);
    if let Some(reason) = reason {
        hypercall::shutdown(reason);
    }
}

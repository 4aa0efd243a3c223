// SPDX-License-Identifier: MIT OR Apache-2.0
//! The attacks of the crate `attacks`, each by its name.
//!
//! A guest first uses its devices as a good one does, then attacks, and, unless that costs it a
//! device, uses them again. It prints what came of that in one line, for the test.

mod ends;
mod grants;
mod machine;
mod races;
mod ring;

use core::time::Duration;

use attacks::{Attack, Case, Channel, Device, Grant, Outcome, Page, Value};
use unikernel::{Guest, Instant, Port, println, wait};
use xen_abi::PAGE_SIZE;
use xen_abi::io::netif::{NETIF_RSP_NULL, RxRequest};
use xen_abi::sched::{SHUTDOWN_CRASH, SHUTDOWN_POWEROFF};
use xen_ring::{RawPage, SharedPage};
use zerocopy::IntoBytes;

use self::machine::Machine;
use self::ring::wait_until;
use crate::raw;

/// How long a backend may take to see what has changed.
const SETTLED: Duration = Duration::from_millis(200);

/// What is on the disks if a request that must be refused is not.
const MARK: u8 = 0xee;

/// How many requests were refused, and of how many.
#[derive(Clone, Copy, Default)]
struct Refused {
    refused: usize,
    count: usize,
}

/// Carries out the case of this name.
pub(crate) fn carry_out(guest: &Guest, name: &str) -> ! {
    let Some(case) = attacks::find(name) else { panic!("hostile: there is no attack {name}") };
    println!("attack: {name} begins");
    let mut machine = Machine::new(guest);
    if let Some(broken) = machine.broken(None) {
        panic!("hostile: {broken} does not work before the attack");
    }
    machine.data.page.write(0, &[MARK; PAGE_SIZE]);
    machine.wait_for_console();
    let refused = match case.attack {
        Attack::Word(page, offset, value) => word(&mut machine, case, page, offset, value),
        Attack::Frames(slots) => frames(&mut machine, case, slots),
        Attack::Receive(grants) => receive(&mut machine, case, grants),
        Attack::Disk(requests) => disk(&mut machine, case, requests),
        Attack::Race(race) => races::run(guest, &mut machine, race),
        Attack::Storm(channel, count) => storm(&machine, guest, channel, count),
        Attack::Balloon(page) => balloon(&machine, guest, page),
        Attack::Cover(page) => returned(raw::cover(gfn(&machine, guest, page))),
        Attack::Revoke(page) => {
            machine.grants.revoke(machine.grants.of_ring(page));
            Refused::default()
        }
        Attack::Close(channel) => returned(raw::close(machine.port(guest, channel))),
        Attack::Die(work, death) => ends::die(&mut machine, work, death),
        Attack::Busy(work) => ends::busy(&mut machine, work),
        Attack::Answer(answer) => ends::answer(guest, &machine, answer),
    };
    finish(&mut machine, case, refused)
}

/// Checks what is left, and says so.
fn finish(machine: &mut Machine, case: &Case, Refused { refused, count }: Refused) -> ! {
    if let Outcome::Loses(..) = case.outcome {
        // A print would set the console's index right again.
        machine.notify();
        idle();
    }
    let gone = match (case.outcome, case.attack) {
        (Outcome::MayLose(device), _) => Some(device),
        (_, Attack::Balloon(page) | Attack::Cover(page)) => page.device(),
        _ => None,
    };
    // The runtime waits for no event while a channel is closed.
    let broken = match case.attack {
        Attack::Close(_) => None,
        _ => machine.broken(gone),
    };
    if let Outcome::Ends(_) = case.outcome {
        // There is no console to say it.
        raw::shutdown(if broken.is_none() { SHUTDOWN_POWEROFF } else { SHUTDOWN_CRASH });
    }
    match broken {
        None => println!("attack: done, {refused} of {count} refused, all works"),
        Some(broken) => println!("attack: done, {refused} of {count} refused, {broken} fails"),
    }
    if let Attack::Close(_) = case.attack {
        loop {
            raw::sleep(Instant::now() + SETTLED);
        }
    }
    idle()
}

fn idle() -> ! {
    loop {
        wait(&[], None);
    }
}

/// Sets a word of a shared page.
fn word(machine: &mut Machine, case: &Case, page: Page, offset: usize, value: Value) -> Refused {
    let memory = machine.page(page);
    let before = memory.load(offset);
    memory.store(
        offset,
        match value {
            Value::Set(value) => value,
            Value::Add(more) => before.wrapping_add(more),
        },
    );
    machine.notify();
    if page == Page::Receive {
        // An answer comes, and noxsd looks for a page.
        machine.send(&[attacks::ARP]);
    }
    settle(machine.transmit.port);
    if page == Page::Console && case.outcome == Outcome::Works {
        // This guest's own console would stop otherwise.
        machine.page(page).store(offset, before);
    }
    Refused::default()
}

/// Lets the backends look at what has changed.
fn settle(port: Port) {
    wait_until(port, SETTLED, || false);
}

/// Sends frames. Counts those slots that are answered with an error.
fn frames(machine: &mut Machine, case: &Case, slots: &[attacks::Slot]) -> Refused {
    machine.send(slots);
    if let Outcome::Loses(..) = case.outcome {
        return Refused::default();
    }
    if !machine.transmit.wait() {
        return Refused { refused: 0, count: slots.len() };
    }
    let count = u32::try_from(slots.len()).unwrap_or(0);
    let statuses = machine.transmit.answers(count).map(|answer| answer.status);
    count_refused(statuses.filter(|status| *status != NETIF_RSP_NULL))
}

fn count_refused(statuses: impl Iterator<Item = i16>) -> Refused {
    statuses.fold(Refused::default(), |Refused { refused, count }, status| Refused {
        refused: refused + usize::from(status < 0),
        count: count + 1,
    })
}

/// Posts pages for frames, and makes dom0 send one for each.
fn receive(machine: &mut Machine, case: &Case, grants: &[Grant]) -> Refused {
    for (id, grant) in (0..).zip(grants) {
        let (good, gfn) = (machine.data.grant, machine.data.gfn);
        let gref = machine.grants.reference(*grant, good, gfn);
        machine.receive.put(RxRequest { id, pad: 0, gref }.as_bytes());
    }
    machine.receive.publish();
    for _ in grants {
        machine.send(&[attacks::ARP]);
    }
    if let Outcome::Loses(..) = case.outcome {
        machine.receive.wait_for(SETTLED);
        return Refused::default();
    }
    if !machine.receive.wait() {
        return Refused { refused: 0, count: grants.len() };
    }
    let count = u32::try_from(grants.len()).unwrap_or(0);
    count_refused(machine.receive.answers(count).map(|answer| answer.status))
}

/// Makes requests to disks. Counts those that are answered with an error.
fn disk(machine: &mut Machine, case: &Case, requests: &[attacks::DiskRequest]) -> Refused {
    let mut all = Refused::default();
    for request in requests {
        machine.request(request);
        let ring = &machine.disks[request.disk];
        ring.publish();
        if let Outcome::Loses(..) = case.outcome {
            // What it has read is where it should not be.
            ring.wait_for(SETTLED);
            continue;
        }
        all.count += 1;
        let is_answered = ring.wait();
        all.refused += usize::from(is_answered && ring.answers(1).all(|answer| answer.status < 0));
    }
    all
}

/// Notifies a backend for nothing.
fn storm(machine: &Machine, guest: &Guest, channel: Channel, count: u32) -> Refused {
    let port = Port::new(machine.port(guest, channel));
    for _ in 0..count {
        port.notify();
    }
    Refused::default()
}

/// Returns the frame of a special page.
fn gfn(machine: &Machine, guest: &Guest, page: Page) -> u32 {
    let ring = |device: Option<Device>, number: usize| {
        guest.devices().find_map(|found| match (device, found) {
            (Some(Device::Console), noxs::Device::Console(found)) => {
                Some(found.backend.rings[0].gfn)
            }
            (Some(Device::Vif), noxs::Device::Vif(found)) => Some(found.backend.rings[number].gfn),
            (Some(Device::Disk), noxs::Device::Vbd(found)) => Some(found.backend.rings[0].gfn),
            _ => None,
        })
    };
    let found = match page {
        Page::Devices => Some(guest.device_page_address() / PAGE_SIZE as u64),
        Page::Answers => {
            Some(machine.device_page.load(noxs::layout::header::SYSCTL_ANSWER_GFN).into())
        }
        Page::Grants => Some(machine.grants.gfn().into()),
        _ => ring(page.device(), usize::from(page == Page::Receive)),
    };
    let found = found.and_then(|gfn| u32::try_from(gfn).ok());
    found.unwrap_or_else(|| panic!("hostile: {page:?} has no frame"))
}

/// Returns a page to Xen. Not all of them can be returned, and that is as well.
fn balloon(machine: &Machine, guest: &Guest, page: Page) -> Refused {
    let result = raw::balloon(gfn(machine, guest, page));
    Refused { refused: usize::from(result != 1), count: 1 }
}

/// Counts a hypercall that Xen has refused.
fn returned(result: i64) -> Refused {
    Refused { refused: usize::from(result < 0), count: 1 }
}

/// Stores a word and returns what was there.
fn swap(page: &RawPage, offset: usize, value: u32) -> u32 {
    let before = page.load(offset);
    page.store(offset, value);
    before
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Work that is not finished, and power requests that are not obeyed.

use core::time::Duration;

use attacks::{Answer, Channel, Death, Page, SCRATCH, Work};
use noxs::layout::header;
use unikernel::{Guest, Instant, Port, println};
use xen_abi::io::blkif::{BLKIF_OP_FLUSH_DISKCACHE, BLKIF_OP_READ, BLKIF_OP_WRITE, Request};
use xen_abi::sched::{SHUTDOWN_CRASH, SHUTDOWN_POWEROFF};
use xen_ring::SharedPage;
use zerocopy::IntoBytes;

use super::machine::Machine;
use super::{gfn, ring};
use crate::raw;

/// How often a guest works before it dies.
const ROUNDS: u32 = 20;

/// How long a busy guest lets others run.
const PAUSE: Duration = Duration::from_millis(1);

/// Offsets in the page of answers (`docs/noxs-abi.md`): the number of the request, and the status.
const NUMBER: usize = 0;
const STATUS: usize = 4;
/// It will power off.
const ACCEPTED: u32 = 1;

/// Works for a while, and dies in the middle of it.
pub(super) fn die(machine: &mut Machine, work: Work, death: Death) -> ! {
    for round in 0..ROUNDS {
        once(machine, work, round);
    }
    match death {
        Death::Crash => raw::shutdown(SHUTDOWN_CRASH),
        Death::PowerOff => raw::shutdown(SHUTDOWN_POWEROFF),
        Death::Fault => raw::fault(),
    }
}

/// Works for ever.
pub(super) fn busy(machine: &mut Machine, work: Work) -> ! {
    println!("attack: busy");
    for round in 0.. {
        once(machine, work, round);
        ring::wait_until(machine.transmit.port, PAUSE, || false);
    }
    unreachable!("the range has no end")
}

fn once(machine: &mut Machine, work: Work, round: u32) {
    match work {
        Work::Print => println!("attack: round {round} of something that is never finished"),
        Work::Send => send(machine),
        Work::Read => disk(machine, BLKIF_OP_READ, round),
        Work::Write => disk(machine, BLKIF_OP_WRITE, round),
        Work::Flush => disk(machine, BLKIF_OP_FLUSH_DISKCACHE, round),
        Work::Notify => (0..50).for_each(|_| machine.notify()),
        Work::All => {
            for work in [Work::Print, Work::Send, Work::Read, Work::Write, Work::Flush] {
                once(machine, work, round);
            }
            once(machine, Work::Notify, round);
        }
    }
}

/// Fills the transmit ring.
fn send(machine: &mut Machine) {
    let room = machine.transmit.room();
    for _ in 0..room {
        machine.send(&[attacks::ARP]);
    }
}

/// Fills the ring of the first disk with requests.
fn disk(machine: &mut Machine, operation: u8, round: u32) {
    let first = if operation == BLKIF_OP_READ { 0 } else { SCRATCH };
    let request = machine.good_request(operation, first + u64::from(round % 8) * 8);
    let request = match operation {
        BLKIF_OP_FLUSH_DISKCACHE => Request { operation, ..Request::default() },
        _ => request,
    };
    let ring = &mut machine.disks[0];
    for _ in 0..ring.room() {
        ring.put(request.as_bytes());
    }
    ring.publish();
}

/// Does something else than what a power request asks for.
pub(super) fn answer(guest: &Guest, machine: &Machine, answer: Answer) -> ! {
    let power = Port::new(machine.port(guest, Channel::Power));
    println!("attack: done, 0 of 0 refused, all works");
    machine.wait_for_console();
    match answer {
        Answer::BalloonAnswers => _ = raw::balloon(gfn(machine, guest, Page::Answers)),
        Answer::BalloonDevices => _ = raw::balloon(gfn(machine, guest, Page::Devices)),
        Answer::Generation => {
            let gfn = gfn(machine, guest, Page::Devices);
            let results = (raw::balloon(gfn), raw::populate(gfn));
            assert_eq!(results, (1, 1), "hostile: the device page cannot be replaced");
        }
        Answer::Close => _ = raw::close(machine.port(guest, Channel::Power)),
        _ => {}
    }
    println!("attack: no answer");
    for round in 1u32.. {
        let number = || machine.device_page.load(header::SYSCTL_REQUEST_ID);
        let reply = match answer {
            Answer::WrongNumber => Some((number().wrapping_add(1), ACCEPTED)),
            Answer::WrongStatus => Some((number(), u32::MAX)),
            Answer::Garbage => Some((round.wrapping_mul(0x9e37_79b9), round)),
            Answer::Lie => Some((number(), ACCEPTED)),
            _ => None,
        };
        if let Some((number, status)) = reply {
            machine.answers.store(STATUS, status);
            machine.answers.store(NUMBER, number);
            power.notify();
        }
        if answer == Answer::Generation {
            machine.device_page.store(header::GENERATION, round.wrapping_mul(0x9e37_79b9));
        }
        if answer == Answer::Notify {
            (0..50).for_each(|_| power.notify());
        }
        // Not the runtime's `wait`, which serves power requests.
        raw::sleep(Instant::now() + PAUSE);
    }
    unreachable!("the range has no end")
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Requests that change while the backend reads them.
//!
//! Each round publishes a request and then changes it to and fro, until it is answered or often
//! enough. What a backend sees is the one or the other, or a mixture of words.

use attacks::{FRAME_AT, Race, SCRATCH};
use unikernel::{Guest, println};
use xen_abi::io::blkif::{
    BLKIF_OP_INDIRECT, BLKIF_OP_READ, BLKIF_OP_WRITE, Request, RequestIndirect, Segment,
};
use xen_abi::io::console::{OUT, OUT_PROD, OUT_SIZE};
use xen_abi::io::netif::{NETTXF_MORE_DATA, TxRequest};
use xen_abi::io::ring::{REQ_PROD, RSP_PROD};
use xen_ring::{Protocol, SharedPage};
use zerocopy::IntoBytes;

use super::machine::Machine;
use super::ring::Ring;
use super::{Refused, swap};
use crate::frames;

const ROUNDS: u32 = 40;
/// Changes in a round.
const CHANGES: u32 = 60;

/// A number that no index of a ring has.
const FAR: u32 = 0x4000_0000;

/// Carries out a race. Counts the rounds in which nothing was answered in time as refused.
pub(super) fn run(guest: &Guest, machine: &mut Machine, race: Race) -> Refused {
    let good = TxRequest {
        gref: machine.frame.grant,
        offset: FRAME_AT,
        flags: 0,
        id: 0,
        size: attacks::FRAME_LENGTH,
    };
    let write = machine.good_request(BLKIF_OP_WRITE, SCRATCH);
    let unanswered = match race {
        Race::FrameSlot => {
            let bad = TxRequest { gref: 500, offset: 4090, size: u16::MAX, ..good };
            slot(&mut machine.transmit, good.as_bytes(), bad.as_bytes())
        }
        Race::FrameFlags => {
            let bad = TxRequest { flags: NETTXF_MORE_DATA, ..good };
            slot(&mut machine.transmit, good.as_bytes(), bad.as_bytes())
        }
        Race::FrameBytes => {
            let [spoofed, ..] = frames::spoofed(guest);
            let (own, page) = (frames::arp_request(guest), &machine.frame.page);
            around(&mut machine.transmit, good.as_bytes(), |change| {
                let frame = if change % 2 == 0 { &spoofed } else { &own };
                for (at, word) in (usize::from(FRAME_AT)..).step_by(4).zip(frame.words()) {
                    page.store(at, word);
                }
            })
        }
        Race::FrameGrant => {
            let (grants, frame) = (&machine.grants, &machine.frame);
            around(&mut machine.transmit, good.as_bytes(), |change| {
                if change % 2 == 0 {
                    grants.revoke(frame.grant);
                } else {
                    grants.permit(frame.grant, frame.gfn);
                }
            })
        }
        Race::FrameIndex => index(&mut machine.transmit, good),
        Race::DiskSector => {
            let bad = Request { sector_number: SCRATCH | 1 << 32, ..write };
            slot(&mut machine.disks[0], write.as_bytes(), bad.as_bytes())
        }
        Race::DiskOperation => {
            let bad = Request { operation: BLKIF_OP_READ, ..write };
            slot(&mut machine.disks[0], write.as_bytes(), bad.as_bytes())
        }
        Race::DiskSegments => {
            let mut bad = Request { nr_segments: 255, ..write };
            bad.seg[0] = Segment { gref: 500, first_sect: 7, last_sect: 255, pad: [0; 2] };
            slot(&mut machine.disks[0], write.as_bytes(), bad.as_bytes())
        }
        Race::DiskList => list(machine, write),
        Race::DiskData => {
            let page = &machine.data.page;
            around(&mut machine.disks[0], write.as_bytes(), |change| {
                for at in (0..4096).step_by(512) {
                    page.store(at, change);
                }
            })
        }
        Race::DiskGrant => {
            let (grants, data) = (&machine.grants, &machine.data);
            around(&mut machine.disks[0], write.as_bytes(), |change| {
                if change % 2 == 0 {
                    grants.revoke(data.grant);
                } else {
                    grants.permit(data.grant, data.gfn);
                }
            })
        }
        Race::DiskAnswers => answers(&mut machine.disks[0], &write),
        Race::ConsoleBytes => {
            console_bytes(machine);
            0
        }
        Race::ConsoleIndex => {
            console_index(machine);
            0
        }
    };
    Refused { refused: unanswered, count: ROUNDS as usize }
}

/// Publishes a request and calls `change` while it is carried out. Returns how many rounds were not
/// answered.
fn around<P: Protocol>(ring: &mut Ring<P>, request: &[u8], mut change: impl FnMut(u32)) -> usize {
    let mut unanswered = 0;
    for round in 0..ROUNDS {
        // Half of the rounds begin with what is wrong.
        change(round + 1);
        ring.put(request);
        ring.publish();
        for number in 0..CHANGES {
            change(round + number);
            if ring.is_answered() {
                break;
            }
        }
        unanswered += usize::from(!ring.wait());
    }
    // Leave what is right.
    change(1);
    unanswered
}

/// Changes the slot of a request between the two.
fn slot<P: Protocol>(ring: &mut Ring<P>, good: &[u8], bad: &[u8]) -> usize {
    let mut unanswered = 0;
    for round in 0..ROUNDS {
        let index = ring.produced;
        ring.put(if round % 2 == 0 { good } else { bad });
        ring.publish();
        for number in round..round + CHANGES {
            if ring.is_answered() {
                break;
            }
            ring.write(index, if number % 2 == 0 { bad } else { good });
        }
        // A frame with a part missing has cost the device, and then nothing is answered.
        if !ring.wait_for(super::SETTLED) && !ring.wait_for(super::SETTLED) {
            unanswered += 1;
            break;
        }
    }
    unanswered
}

/// Moves the index of requests to and fro.
fn index<P: Protocol>(ring: &mut Ring<P>, good: TxRequest) -> usize {
    ring.put(good.as_bytes());
    ring.publish();
    for number in 0..ROUNDS * CHANGES {
        let far = if number % 2 == 0 { FAR } else { 0 };
        ring.page.store(REQ_PROD, ring.produced.wrapping_add(far));
        if number % CHANGES == 0 {
            ring.port.notify();
        }
    }
    ring.publish();
    usize::from(!ring.wait_for(super::SETTLED))
}

/// Changes the list of an indirect request.
fn list(machine: &mut Machine, write: Request) -> usize {
    let good = write.seg[0];
    let bad = Segment { gref: 500, first_sect: 7, last_sect: 255, pad: [0; 2] };
    let request = RequestIndirect {
        operation: BLKIF_OP_INDIRECT,
        indirect_op: BLKIF_OP_WRITE,
        nr_segments: 1,
        sector_number: SCRATCH,
        indirect_grefs: [machine.list.grant, 0, 0, 0, 0, 0, 0, 0],
        ..RequestIndirect::default()
    };
    let page = &machine.list.page;
    around(&mut machine.disks[0], request.as_bytes(), |change| {
        page.write(0, if change % 2 == 0 { bad.as_bytes() } else { good.as_bytes() });
    })
}

/// Overwrites answers, and their index.
fn answers<P: Protocol>(ring: &mut Ring<P>, request: &Request) -> usize {
    let mut unanswered = 0;
    for _ in 0..ROUNDS {
        ring.put(request.as_bytes());
        ring.publish();
        for number in 0..CHANGES {
            ring.page.store(RSP_PROD, ring.produced.wrapping_add(number));
            ring.write(ring.produced.wrapping_sub(1), &[0xff; 16]);
        }
        // Whatever the index is now, the answer of another request sets it right.
        ring.put(request.as_bytes());
        ring.publish();
        unanswered += usize::from(!ring.wait());
    }
    unanswered
}

/// Overwrites what was printed while it is read.
fn console_bytes(machine: &Machine) {
    for round in 0..ROUNDS {
        println!("attack: round {round} of a text that changes while it is read");
        for number in 0..CHANGES {
            for at in (0..OUT_SIZE).step_by(256) {
                machine.console.store(OUT + at, 0x2020_2020 + (number & 0xf));
            }
        }
        machine.wait_for_console();
    }
    // The last line must not be overwritten.
    machine.wait_for_console();
}

/// Moves the index of output to and fro.
fn console_index(machine: &Machine) {
    let produced = machine.console.load(OUT_PROD);
    for number in 0..ROUNDS * CHANGES {
        let far = if number % 2 == 0 { FAR } else { 0 };
        let before = swap(&machine.console, OUT_PROD, produced.wrapping_add(far));
        if before == produced && number % CHANGES == 0 {
            machine.console_port.notify();
        }
    }
    machine.console.store(OUT_PROD, produced);
    machine.console_port.notify();
}

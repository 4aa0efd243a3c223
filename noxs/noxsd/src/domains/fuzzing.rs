// SPDX-License-Identifier: GPL-3.0-or-later
//! For the fuzz target `rings`: a hostile guest on a fake Xen.

use std::io::Write;
use std::time::Duration;

use noxs::{Discard, Geometry};
use noxs_control::{DiskIdentity, DiskImage, VbdDevice};
use tap::VNET_HEADER;
use xen_abi::io::netif::{ExtraInfo, NETTXF_EXTRA_INFO};
use xen_ring::testing::frontend::{producer, set_producer};
use xen_ring::{Block, Protocol, SharedPage};

use super::bed::{Bed, CONSOLE_REF, DATA_REF, FakePage, RX_REF, TX_REF, attach, frame_to, log};
use super::{AttachFiles, AttachedAs, DiskFile};
use crate::host::fake::DISK_REF;
use crate::net::BridgeId;
use crate::net::frontend::{post, responses, send, send_extra};

/// Sectors of the hostile guest's disk.
const SECTORS: u64 = 64;

/// Pages that the hostile guest grants beside its rings.
const PAGES: u32 = 24;

/// Pages that the other one posts for frames.
const POSTED: u16 = 8;

/// The hostile guest, and one that only receives.
const HOSTILE: u16 = 1;
const NEIGHBOUR: u16 = 2;

/// Takes numbers from the input; zeros when it is used up.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        let length = N.min(self.0.len());
        let (taken, rest) = self.0.split_at(length);
        bytes[..length].copy_from_slice(taken);
        self.0 = rest;
        bytes
    }

    fn u8(&mut self) -> u8 {
        u8::from_le_bytes(self.bytes())
    }

    fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.bytes())
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.bytes())
    }

    /// Takes up to 255 bytes, as the next one says.
    fn some(&mut self) -> Vec<u8> {
        let length = usize::from(self.u8()).min(self.0.len());
        let (taken, rest) = self.0.split_at(length);
        self.0 = rest;
        taken.to_vec()
    }
}

/// Plays a guest with a console, a vif and a disk that does what the input says, and checks that
/// its neighbour is served as before.
///
/// # Panics
/// The guest has harmed `noxsd` or its neighbour: what the fuzzer looks for.
pub fn hostile_guest(input: &[u8]) {
    let mut input = Input(input);
    let mut bed = Bed::new();
    bed.domains.host.guest_rings(NEIGHBOUR);
    for gref in DATA_REF..DATA_REF + u32::from(POSTED) {
        bed.domains.host.pages.insert((NEIGHBOUR, gref), FakePage::new(1));
    }
    let neighbour = attach(NEIGHBOUR);
    bed.attach(&neighbour).expect("the guest can be attached");
    bed.domains.host.guest_rings(HOSTILE);
    for gref in DATA_REF..DATA_REF + PAGES {
        bed.domains.host.pages.insert((HOSTILE, gref), FakePage::new(1));
    }
    let disk = tempfile::tempfile().expect("a temporary file can be created");
    disk.set_len(SECTORS * 512).expect("the file can be extended");
    let mut hostile = attach(HOSTILE);
    hostile.vbds.push(VbdDevice { index: 0, port: 3, ring: DISK_REF, image: Some(image()) });
    let files = AttachFiles { log: Some(log()), disks: vec![DiskFile::Open(disk.into())] };
    bed.domains
        .attach(&hostile, files, AttachedAs::New, bed.now, &mut bed.clients)
        .expect("the guest can be attached");
    while !input.0.is_empty() {
        act(&mut bed, &mut input);
    }
    // It is served to the end, and later.
    for _ in 0..100 {
        bed.domains.turn(bed.now, &mut bed.clients);
        bed.now += Duration::from_millis(5);
    }
    assert_eq!(bed.broken(&neighbour), [None, None], "the neighbour has lost a device");
    bed.domains.detach(hostile.id, &mut bed.clients).expect("the guest is attached");
    while bed.frame_out().is_some() {}
    let before = responses(&bed.page(NEIGHBOUR, RX_REF));
    bed.post(NEIGHBOUR, POSTED);
    let port = bed.vif_port(NEIGHBOUR);
    bed.domains.event(port);
    bed.frame_in(&frame_to(NEIGHBOUR, 9));
    assert!(responses(&bed.page(NEIGHBOUR, RX_REF)) > before, "the neighbour receives nothing");
}

/// Does one thing that a guest or the network may do.
fn act(bed: &mut Bed, input: &mut Input<'_>) {
    const RINGS: [u32; 4] = [CONSOLE_REF, TX_REF, RX_REF, DISK_REF];
    match input.u8() % 12 {
        // Any word of a ring's page.
        0 => {
            let page = bed.page(HOSTILE, RINGS[usize::from(input.u8()) % RINGS.len()]);
            page.store(usize::from(input.u16() % 1024) * 4, input.u32());
        }
        // An index that is near the right one.
        1 => {
            let page = bed.page(HOSTILE, RINGS[1 + usize::from(input.u8()) % 3]);
            set_producer(&page, producer(&page).wrapping_add(input.u8().into()));
        }
        2 => {
            let (gref, flags) = (data(input), input.u16());
            let (offset, id, size) = (input.u16(), input.u16(), input.u16());
            send(&bed.page(HOSTILE, TX_REF), gref, offset, flags, id, size);
        }
        3 => {
            let (flags, size) = (input.u8(), input.u16());
            let extra =
                ExtraInfo { kind: 1, flags, size, gso_type: input.u8(), ..ExtraInfo::default() };
            let page = bed.page(HOSTILE, TX_REF);
            send(&page, data(input), 0, NETTXF_EXTRA_INFO, 0, input.u16());
            send_extra(&page, extra);
        }
        4 => post(&bed.page(HOSTILE, RX_REF), input.u16(), data(input)),
        // A request to the disk, of any bytes.
        5 => {
            let page = bed.page(HOSTILE, DISK_REF);
            let produced = producer(&page);
            page.write(Block::slot(produced), &input.bytes::<112>());
            set_producer(&page, produced.wrapping_add(1));
        }
        6 => {
            let bytes = input.some();
            let offset = usize::from(input.u16()) % (4096 - bytes.len());
            bed.page(HOSTILE, DATA_REF + u32::from(input.u8()) % PAGES).write(offset, &bytes);
        }
        // A frame with its own or the neighbour's address.
        7 => {
            let mut frame = frame_to(NEIGHBOUR, u16::from(input.u8() % 3));
            frame.extend(input.some());
            bed.page(HOSTILE, DATA_REF).write(0, &frame);
            let size = u16::try_from(frame.len()).expect("it is short");
            send(&bed.page(HOSTILE, TX_REF), DATA_REF, 0, input.u16(), 0, size);
        }
        8 => {
            let ports: Vec<_> = bed.devices(HOSTILE).iter().filter_map(|one| one.port).collect();
            if let Some(port) = ports.get(usize::from(input.u8()) % ports.len().max(1)) {
                bed.domains.event(*port);
            }
        }
        9 => {
            for _ in 0..input.u8() % 16 {
                bed.domains.turn(bed.now, &mut bed.clients);
            }
        }
        10 => bed.now += Duration::from_millis(input.u8().into()),
        // The network sends, with any header.
        _ => {
            let mut header = [0; VNET_HEADER];
            let given = input.bytes::<10>();
            let length = given.len().min(header.len());
            header[..length].copy_from_slice(&given[..length]);
            let mut frame = frame_to(HOSTILE, 9);
            frame.extend(input.some());
            // A full tap loses it.
            let _ = bed.bridge.write_all(&[&header[..], &frame].concat());
            bed.domains.tap_ready(BridgeId(0));
        }
    }
}

/// Takes a grant reference: mostly of a page that the guest has granted.
fn data(input: &mut Input<'_>) -> u32 {
    match input.u16() {
        number if u32::from(number) < 0xf000 => DATA_REF + u32::from(number) % PAGES,
        number => u32::from(number),
    }
}

/// Returns what a disk of [`SECTORS`] sectors is like.
fn image() -> DiskImage {
    DiskImage {
        path: "/fuzz".into(),
        identity: DiskIdentity::File { device: 0, inode: 0 },
        geometry: Geometry {
            sectors: SECTORS,
            sector_size: 512,
            physical_sector_size: 512,
            read_only: false,
        },
        discard: Some(Discard { granularity: 4096, alignment: 0, secure: false }),
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The guest's devices, and whether they work.

use alloc::vec::Vec;

use attacks::{Channel, Device, Page, Segment, Slot, content};
use noxs::layout::header;
use unikernel::{Guest, Port, wait};
use xen_abi::PAGE_SIZE;
use xen_abi::io::blkif::{
    self, BLKIF_OP_READ, BLKIF_RSP_OKAY, Request, RequestDiscard, RequestIndirect,
};
use xen_abi::io::console::{OUT_CONS, OUT_PROD};
use xen_abi::io::netif::{NETIF_RSP_OKAY, TxRequest};
use xen_ring::{Block, NetRx, NetTx, RawPage, SharedPage};
use zerocopy::{FromZeros, IntoBytes};

use super::grants::Grants;
use super::ring::Ring;
use crate::{frames, raw};

/// A page of this guest that dom0 may use.
pub(super) struct GrantedPage {
    pub(super) page: RawPage,
    pub(super) gfn: u32,
    pub(super) grant: u32,
}

/// All devices, and pages for their data.
pub(super) struct Machine {
    pub(super) console: RawPage,
    pub(super) console_port: Port,
    pub(super) transmit: Ring<NetTx>,
    pub(super) receive: Ring<NetRx>,
    pub(super) disks: [Ring<Block>; 2],
    pub(super) device_page: RawPage,
    pub(super) answers: RawPage,
    pub(super) grants: Grants,
    /// Has a good frame.
    pub(super) frame: GrantedPage,
    /// Has the data of requests to disks.
    pub(super) data: GrantedPage,
    /// Has the segments of indirect requests.
    pub(super) list: GrantedPage,
}

impl Machine {
    /// Takes all devices.
    pub(super) fn new(guest: &Guest) -> Self {
        let (console, console_port) = raw::console(guest);
        let vif = raw::vif(guest);
        let mut grants = Grants::new(guest);
        let [frame, data, list] = [(); 3].map(|()| {
            let (page, gfn) = raw::page();
            GrantedPage { page, gfn, grant: grants.good(gfn) }
        });
        for (at, word) in
            (usize::from(attacks::FRAME_AT)..).step_by(4).zip(frames::arp_request(guest).words())
        {
            frame.page.store(at, word);
        }
        let disks = [0, 1].map(|number| {
            let disk = raw::disk(guest, number);
            Ring::new(disk.ring, disk.port)
        });
        Self {
            console,
            console_port,
            transmit: Ring::new(vif.transmit_ring, vif.port),
            receive: Ring::new(vif.receive_ring, vif.port),
            disks,
            device_page: raw::device_page(guest),
            answers: raw::answer_page(guest),
            grants,
            frame,
            data,
            list,
        }
    }

    /// Returns a shared page of a device.
    pub(super) fn page(&self, page: Page) -> &RawPage {
        match page {
            Page::Console => &self.console,
            Page::Transmit => &self.transmit.page,
            Page::Receive => &self.receive.page,
            Page::Disk => &self.disks[0].page,
            Page::Devices => &self.device_page,
            Page::Answers => &self.answers,
            Page::Grants => panic!("hostile: the grant table has entries, not words"),
        }
    }

    /// Returns the number of an event channel.
    pub(super) fn port(&self, guest: &Guest, channel: Channel) -> u32 {
        match channel {
            Channel::Devices => guest.vif().map_or(0, |vif| vif.backend.port),
            Channel::Power => self.device_page.load(header::SYSCTL_PORT),
        }
    }

    /// Notifies the backends of all devices, which share one event channel.
    pub(super) fn notify(&self) {
        self.console_port.notify();
    }

    /// Waits until all output is read.
    pub(super) fn wait_for_console(&self) {
        while self.console.load(OUT_CONS) != self.console.load(OUT_PROD) {
            wait(&[self.console_port], None);
        }
    }

    /// Puts slots into the transmit ring and publishes them.
    pub(super) fn send(&mut self, slots: &[Slot]) {
        for slot in slots {
            let gref = self.grants.reference(slot.grant, self.frame.grant, self.frame.gfn);
            let Slot { offset, size, flags, .. } = *slot;
            let request = match slot.extra {
                Some(extra) => TxRequest::from(extra),
                None => TxRequest { gref, offset, flags, id: 0, size },
            };
            self.transmit.put(request.as_bytes());
        }
        self.transmit.publish();
    }

    /// Puts a request into a disk's ring.
    pub(super) fn request(&mut self, request: &attacks::DiskRequest) {
        let segments = self.segments(request.segments);
        let claimed = request.count.unwrap_or_else(|| small(segments.len()));
        let [low, _] = claimed.to_le_bytes();
        let (operation, sector_number) = (request.operation, request.sector);
        let ring = &mut self.disks[request.disk];
        if let Some(list) = request.list {
            for (number, segment) in segments.iter().enumerate() {
                self.list.page.write(number * size_of_val(segment), segment.as_bytes());
            }
            let page = self.grants.reference(list.grant, self.list.grant, self.list.gfn);
            let indirect = RequestIndirect {
                operation,
                indirect_op: list.operation,
                nr_segments: claimed,
                sector_number,
                indirect_grefs: [page, 0, 0, 0, 0, 0, 0, 0],
                ..RequestIndirect::default()
            };
            ring.put(indirect.as_bytes());
        } else if let Some((flag, nr_sectors)) = request.discard {
            let discard =
                RequestDiscard { operation, flag, sector_number, nr_sectors, ..Default::default() };
            ring.put(discard.as_bytes());
        } else {
            let mut direct =
                Request { operation, nr_segments: low, sector_number, ..Request::default() };
            for (slot, segment) in direct.seg.iter_mut().zip(&segments) {
                *slot = *segment;
            }
            ring.put(direct.as_bytes());
        }
    }

    fn segments(&mut self, segments: &[Segment]) -> Vec<blkif::Segment> {
        let segment = |Segment { grant, first, last }: &Segment| blkif::Segment {
            gref: self.grants.reference(*grant, self.data.grant, self.data.gfn),
            first_sect: *first,
            last_sect: *last,
            pad: [0; 2],
        };
        segments.iter().map(segment).collect()
    }

    /// Returns a good request for a page of the first disk.
    pub(super) fn good_request(&self, operation: u8, sector_number: u64) -> Request {
        let segment =
            blkif::Segment { gref: self.data.grant, first_sect: 0, last_sect: 7, pad: [0; 2] };
        let mut request =
            Request { operation, nr_segments: 1, sector_number, ..Request::new_zeroed() };
        request.seg[0] = segment;
        request
    }

    /// Uses all devices but one as a good guest would. Returns the first that does not work.
    pub(super) fn broken(&mut self, but: Option<Device>) -> Option<&'static str> {
        if but != Some(Device::Vif) {
            self.send(&[attacks::ARP]);
            let works = self.transmit.wait()
                && self.transmit.answers(1).all(|answer| answer.status == NETIF_RSP_OKAY);
            if !works {
                return Some("vif0");
            }
        }
        let first = usize::from(but == Some(Device::Disk));
        (first..2).find(|disk| !self.reads(*disk)).map(|disk| ["vbd0", "vbd1"][disk])
    }

    /// Returns whether the beginning of a disk can be read and is as it was.
    fn reads(&mut self, disk: usize) -> bool {
        let request = self.good_request(BLKIF_OP_READ, 0);
        self.data.page.write(0, &[0; PAGE_SIZE]);
        let ring = &mut self.disks[disk];
        ring.put(request.as_bytes());
        ring.publish();
        let mut bytes = [0; PAGE_SIZE];
        let is_read = ring.wait() && ring.answers(1).all(|answer| answer.status == BLKIF_RSP_OKAY);
        self.data.page.read(0, &mut bytes);
        is_read && (0..).zip(bytes).all(|(offset, byte)| byte == content(offset))
    }
}

fn small(number: usize) -> u16 {
    u16::try_from(number).unwrap_or(u16::MAX)
}

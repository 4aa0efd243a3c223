// SPDX-License-Identifier: GPL-3.0-or-later
//! Tests of requests that wait for a disk.

use std::os::unix::fs::MetadataExt;

use noxs::Geometry;
use noxs_control::{Attach, DiskIdentity, DiskImage, VbdDevice};
use tempfile::NamedTempFile;
use xen_abi::io::blkif::BLKIF_OP_READ;

use super::*;
use crate::block::DRAIN;
use crate::block::frontend::{request, segment, submit};
use crate::host::fake::{DATA_REF, DISK_REF};

/// Returns a request to attach a guest with this disk alone.
fn with_disk(domid: u16, file: &NamedTempFile) -> Request {
    let metadata = file.as_file().metadata().unwrap();
    let image = DiskImage {
        path: file.path().to_str().unwrap().to_owned(),
        identity: DiskIdentity::File { device: metadata.dev(), inode: metadata.ino() },
        geometry: Geometry {
            sectors: 8,
            sector_size: 512,
            physical_sector_size: 512,
            read_only: false,
        },
        discard: None,
    };
    let vbd = VbdDevice { index: 0, port: 3, ring: DISK_REF, image: Some(image) };
    let attach = attach(domid);
    Request::Attach(Attach { console: None, vifs: Vec::new(), vbds: vec![vbd], ..attach })
}

#[test]
fn a_disk_that_a_guest_has_left_busy_is_waited_for_while_others_are_served() {
    let file = NamedTempFile::new().unwrap();
    file.as_file().set_len(4096).unwrap();
    let open = || File::options().read(true).write(true).open(file.path()).unwrap();
    for answers in [true, false] {
        let mut bed = Bed::new();
        bed.domains.host.holds_io = true;
        for domid in 1..=3 {
            bed.domains.host.guest(domid);
        }
        let (toolstack, other) = (bed.client(), bed.client());
        let done = Some(Reply::Done);
        assert_eq!(bed.ask(&toolstack, &with_disk(1, &file), &[open().as_raw_fd()]), done);
        let ring = bed.domains.host.pages[&(1, DISK_REF)].clone();
        submit(&ring, &request(BLKIF_OP_READ, 1, 0, &[segment(DATA_REF, 0, 7)]));
        let port = *bed.domains.host.bound.first().unwrap();
        bed.domains.event(port);
        bed.run();
        assert_eq!(bed.domains.host.begun.len(), 1);
        assert_eq!(bed.ask(&toolstack, &Request::Detach(attach(1).id), &[]), done);

        // Nothing is refused, and nothing stands still.
        assert_eq!(bed.ask(&toolstack, &with_disk(2, &file), &[open().as_raw_fd()]), None);
        assert!(bed.server.deadline().is_some() && !bed.server.has_work(&bed.domains));
        let log = bed.log();
        let third = Request::Attach(attach(3));
        assert_eq!(bed.ask(&other, &third, &[log.as_raw_fd()]), done);
        // The next request of the same client waits behind the first.
        assert_eq!(bed.ask(&toolstack, &Request::Detach(attach(3).id), &[]), None);
        let replies = |client: &OwnedFd| -> Vec<Reply> {
            let packets = std::iter::from_fn(|| receive(client));
            packets.map(|packet| noxs_control::decode(&packet).unwrap()).collect()
        };
        if answers {
            bed.domains.host.finish_io(0);
            bed.run_turn(Instant::now());
            bed.run();
            assert_eq!(replies(&toolstack), [Reply::Done, Reply::Done]);
        } else {
            bed.run_turn(Instant::now() + DRAIN);
            bed.run();
            let [Reply::Refused(Refusal::DiskInUse(in_use)), Reply::Done] =
                &replies(&toolstack)[..]
            else {
                panic!("it is refused")
            };
            assert_eq!(in_use.domid, None);
        }
        assert_eq!(bed.server.deadline(), None);
    }
}

#[test]
fn a_client_that_leaves_while_it_waits_gets_no_reply_of_its_successor() {
    let file = NamedTempFile::new().unwrap();
    file.as_file().set_len(4096).unwrap();
    let open = || File::options().read(true).write(true).open(file.path()).unwrap();
    let mut bed = Bed::new();
    bed.domains.host.holds_io = true;
    bed.domains.host.guest(1);
    bed.domains.host.guest(2);
    let toolstack = bed.client();
    bed.ask(&toolstack, &with_disk(1, &file), &[open().as_raw_fd()]).unwrap();
    let ring = bed.domains.host.pages[&(1, DISK_REF)].clone();
    submit(&ring, &request(BLKIF_OP_READ, 1, 0, &[segment(DATA_REF, 0, 7)]));
    let port = *bed.domains.host.bound.first().unwrap();
    bed.domains.event(port);
    bed.run();
    bed.ask(&toolstack, &Request::Detach(attach(1).id), &[]).unwrap();
    assert_eq!(bed.ask(&toolstack, &with_disk(2, &file), &[open().as_raw_fd()]), None);
    // So many clients come that the silent ones are disconnected.
    let others: Vec<OwnedFd> = (0..=MAX_CLIENTS).map(|_| bed.client()).collect();
    assert!(is_closed(&toolstack));
    bed.domains.host.finish_io(0);
    bed.run_turn(Instant::now());
    bed.run();
    assert!(others.iter().all(|other| receive(other).is_none()));
    assert_eq!(bed.server.deadline(), None);
}

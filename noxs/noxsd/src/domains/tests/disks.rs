// SPDX-License-Identifier: GPL-3.0-or-later
//! Tests of disks, with real files behind them.

mod durability;
mod hostile;
mod mapped;

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use noxs::{Discard, Geometry};
use noxs_control::{DiskIdentity, DiskImage, VbdDevice, VbdStatus};
use xen_abi::io::blkif::{
    BLKIF_OP_DISCARD, BLKIF_OP_FLUSH_DISKCACHE, BLKIF_OP_READ, BLKIF_OP_WRITE,
    BLKIF_OP_WRITE_BARRIER, BLKIF_RSP_EOPNOTSUPP, BLKIF_RSP_ERROR, BLKIF_RSP_OKAY, Segment,
};
use xen_ring::Block;
use zerocopy::IntoBytes;

use super::*;
use crate::block::frontend::{self, answers, discard, indirect, request, segment, submit};
use crate::block::request::MAX_INDIRECT_SEGMENTS;
use crate::host::fake::DISK_REF;
use crate::host::file_io::IoKind;

/// Sectors of the tests' disks, of 512 bytes.
const SECTORS: u64 = 2048;

/// An image of a disk, removed when dropped.
struct TestImage(tempfile::NamedTempFile);

impl TestImage {
    fn new() -> Self {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(SECTORS * 512).unwrap();
        Self(file)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn open(&self) -> DiskFile {
        DiskFile::Open(File::options().read(true).write(true).open(self.path()).unwrap().into())
    }

    fn image(&self) -> DiskImage {
        let metadata = self.0.as_file().metadata().unwrap();
        DiskImage {
            path: self.path().to_str().unwrap().to_owned(),
            identity: DiskIdentity::File { device: metadata.dev(), inode: metadata.ino() },
            geometry: Geometry {
                sectors: SECTORS,
                sector_size: 512,
                physical_sector_size: 4096,
                read_only: false,
            },
            discard: Some(Discard { granularity: 4096, alignment: 0, secure: false }),
        }
    }

    /// Reads from the file, past the guest.
    fn read(&self, sector: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.0.as_file().read_exact_at(&mut bytes, sector * 512).unwrap();
        bytes
    }

    fn write(&self, sector: u64, bytes: &[u8]) {
        self.0.as_file().write_all_at(bytes, sector * 512).unwrap();
    }
}

/// Returns a request for a guest with a console and disks.
fn with_disks(domid: u16, images: &[DiskImage]) -> Attach {
    let vbd = |(index, image): (u16, &DiskImage)| VbdDevice {
        index,
        port: 3,
        ring: DISK_REF + u32::from(index),
        image: Some(image.clone()),
    };
    let vbds = (0..).zip(images).map(vbd).collect();
    Attach { vifs: Vec::new(), vbds, ..attach(domid) }
}

impl Bed {
    fn attach_disks(
        &mut self,
        attach: &Attach,
        disks: Vec<DiskFile>,
        guest: AttachedAs,
    ) -> Result<(), Refusal> {
        let files = AttachFiles { log: attach.console.map(|_| log()), disks };
        self.domains.attach(attach, files, guest, self.now, &mut self.clients)
    }

    /// Attaches a guest with a console and a disk, and returns the disk's ring.
    fn with_disk(&mut self, domid: u16, image: &TestImage) -> (Attach, FakePage) {
        self.guest(domid);
        let attach = with_disks(domid, &[image.image()]);
        self.attach_disks(&attach, vec![image.open()], AttachedAs::New).unwrap();
        (attach, self.page(domid, DISK_REF))
    }

    fn disk_port(&self, domid: u16) -> LocalPort {
        self.devices(domid).last().unwrap().port.unwrap()
    }

    /// Raises the event of the guest's last disk and serves until no device is ready.
    fn run_disk(&mut self, domid: u16) {
        let port = self.disk_port(domid);
        self.domains.event(port);
        self.settle();
    }

    /// Finishes an operation on a file that was begun, and serves what follows.
    fn finish_io(&mut self, index: usize) {
        self.domains.host.finish_io(index);
        self.domains.turn(self.now, &mut self.clients);
        self.settle();
    }

    fn disk_status(&self, attach: &Attach) -> VbdStatus {
        match self.domains.status(attach.id).unwrap().devices.pop().unwrap().counters {
            DeviceCounters::Vbd(status) => status,
            other => panic!("the last device is not a disk: {other:?}"),
        }
    }

    /// Fills a data page of the guest.
    fn fill(&self, domid: u16, slot: u32, byte: u8) -> u32 {
        self.page(domid, DATA_REF + slot).write(0, &[byte; 4096]);
        DATA_REF + slot
    }

    fn data(&self, domid: u16, slot: u32) -> Vec<u8> {
        let mut bytes = vec![0; 4096];
        self.page(domid, DATA_REF + slot).read(0, &mut bytes);
        bytes
    }
}

#[test]
fn a_disk_that_is_added_is_served_and_its_file_is_free_when_it_is_detached() {
    let mut bed = Bed::new();
    let image = TestImage::new();
    let guest = bed.running(1);
    let mut request = with_disks(1, &[image.image()]);
    request.console = None;
    let now = bed.now;
    bed.domains.attach_devices(&request, vec![image.open()], now, &mut bed.clients).unwrap();
    let ring = bed.page(1, DISK_REF);
    let page = bed.fill(1, 0, 0x5a);
    submit(&ring, &frontend::request(BLKIF_OP_WRITE, 1, 0, &[segment(page, 0, 0)]));
    bed.run_disk(1);
    assert_eq!(image.read(0, 512), [0x5a; 512]);
    bed.guest(2);
    let rival = with_disks(2, &[image.image()]);
    let refused = bed.attach_disks(&rival, vec![image.open()], AttachedAs::New);
    assert!(matches!(refused, Err(Refusal::DiskInUse(_))), "{refused:?}");
    let disk = noxs_control::DeviceNumber::Vbd(0);
    bed.domains.detach_device(guest.id, disk, &mut bed.clients).unwrap();
    bed.attach_disks(&rival, vec![image.open()], AttachedAs::New).unwrap();
}

#[test]
fn data_is_written_and_read_sector_by_sector() {
    let image = TestImage::new();
    let mut bed = Bed::new();
    let (attach, ring) = bed.with_disk(1, &image);
    let [a, b] = [bed.fill(1, 0, 0xaa), bed.fill(1, 1, 0xbb)];
    submit(&ring, &request(BLKIF_OP_WRITE, 70, 16, &[segment(a, 0, 7), segment(b, 2, 3)]));
    submit(&ring, &request(BLKIF_OP_FLUSH_DISKCACHE, 71, 0, &[]));
    bed.run_disk(1);
    let ok = BLKIF_RSP_OKAY;
    assert_eq!(answers(&ring), [(70, BLKIF_OP_WRITE, ok), (71, BLKIF_OP_FLUSH_DISKCACHE, ok)]);
    assert_eq!(image.read(16, 4096), [0xaa; 4096]);
    assert_eq!(image.read(24, 1024), [0xbb; 1024]);
    assert_eq!((image.read(15, 512), image.read(26, 512)), (vec![0; 512], vec![0; 512]));

    image.write(100, &[7; 512]);
    let segments = [segment(DATA_REF + 2, 1, 1), segment(DATA_REF + 3, 0, 7)];
    submit(&ring, &request(BLKIF_OP_READ, 72, 100, &segments));
    bed.run_disk(1);
    assert_eq!(answers(&ring)[2], (72, BLKIF_OP_READ, ok));
    let read = bed.data(1, 2);
    assert_eq!(
        (&read[..512], &read[512..1024], &read[1024..]),
        (&[0; 512][..], &[7; 512][..], &[0; 3072][..])
    );
    let status = VbdStatus {
        read_bytes: 4608,
        read_requests: 1,
        written_bytes: 5120,
        write_requests: 1,
        flush_requests: 1,
        ..VbdStatus::default()
    };
    assert_eq!(bed.disk_status(&attach), status);
}

#[test]
fn an_indirect_request_moves_as_much_as_its_list_says() {
    let image = TestImage::new();
    let mut bed = Bed::new();
    let (_, ring) = bed.with_disk(1, &image);
    let list = DATA_REF + 200;
    let count = u32::from(MAX_INDIRECT_SEGMENTS);
    let segments: Vec<Segment> =
        (0..count).map(|slot| segment(bed.fill(1, slot, slot.to_le_bytes()[0]), 0, 7)).collect();
    bed.page(1, list).write(0, segments.as_bytes());
    submit(&ring, &indirect(BLKIF_OP_WRITE, 5, 8, MAX_INDIRECT_SEGMENTS, list));
    bed.run_disk(1);
    assert_eq!(answers(&ring), [(5, BLKIF_OP_WRITE, BLKIF_RSP_OKAY)]);
    for slot in 0..u64::from(count) {
        assert_eq!(image.read(8 + 8 * slot, 4096), [slot.to_le_bytes()[0]; 4096], "{slot}");
    }
    submit(&ring, &indirect(BLKIF_OP_READ, 6, 16, 2, list));
    // The list is fetched anew with each request; a wrong one refuses the request alone.
    bed.run_disk(1);
    assert_eq!(answers(&ring)[1], (6, BLKIF_OP_READ, BLKIF_RSP_OKAY));
    assert_eq!((bed.data(1, 0), bed.data(1, 1)), (vec![1; 4096], vec![2; 4096]));
    submit(&ring, &indirect(BLKIF_OP_READ, 7, 16, 2, 9999));
    bed.run_disk(1);
    assert_eq!(answers(&ring)[2], (7, BLKIF_OP_READ, BLKIF_RSP_ERROR));
}

#[test]
fn a_discard_leaves_zeroes_and_the_size() {
    let image = TestImage::new();
    let mut bed = Bed::new();
    let (_, ring) = bed.with_disk(1, &image);
    image.write(8, &[9; 4096]);
    submit(&ring, &discard(0, 1, 8, 8));
    bed.run_disk(1);
    assert_eq!(answers(&ring), [(1, BLKIF_OP_DISCARD, BLKIF_RSP_OKAY)]);
    assert_eq!(image.read(8, 4096), [0; 4096]);
}

#[test]
fn a_domain_has_several_disks_on_one_port() {
    let images = [TestImage::new(), TestImage::new()];
    let mut bed = Bed::new();
    bed.guest(1);
    let attach = with_disks(1, &images.each_ref().map(TestImage::image));
    let files = images.iter().map(TestImage::open).collect();
    bed.attach_disks(&attach, files, AttachedAs::New).unwrap();
    let names: Vec<_> =
        bed.domains.status(attach.id).unwrap().devices.into_iter().map(|d| d.name).collect();
    assert_eq!(names, ["console", "vbd0", "vbd1"]);
    for (disk, ring) in [(0, DISK_REF), (1, DISK_REF + 1)] {
        let page = bed.fill(1, disk, 0x10 + disk.to_le_bytes()[0]);
        submit(&bed.page(1, ring), &request(BLKIF_OP_WRITE, 1, 0, &[segment(page, 0, 0)]));
    }
    bed.run_disk(1);
    assert_eq!((images[0].read(0, 1), images[1].read(0, 1)), (vec![0x10], vec![0x11]));
}

#[test]
fn a_block_device_has_one_writer_by_whatever_node() {
    let images = [TestImage::new(), TestImage::new()];
    for (first, second, is_refused) in
        [(true, true, false), (true, false, true), (false, true, true), (false, false, true)]
    {
        let mut bed = Bed::new();
        // Two nodes of one device, whose locks are apart as those of two files are.
        let attach = |domid, number: usize, read_only| {
            let mut image = images[number].image();
            image.identity = DiskIdentity::BlockDevice { number: 0x700 };
            image.geometry.read_only = read_only;
            with_disks(domid, &[image])
        };
        let (one, two) = (attach(1, 0, first), attach(2, 1, second));
        bed.guest(1);
        bed.guest(2);
        bed.attach_disks(&one, vec![images[0].open()], AttachedAs::New).unwrap();
        let result = bed.attach_disks(&two, vec![images[1].open()], AttachedAs::New);
        match result {
            Err(Refusal::DiskInUse(in_use)) if is_refused => assert_eq!(in_use.domid, Some(1)),
            result => assert_eq!((result, is_refused), (Ok(()), false)),
        }
    }
}

#[test]
fn an_image_has_one_writer_and_the_refusal_names_it() {
    let image = TestImage::new();
    let mut bed = Bed::new();
    let (one, _) = bed.with_disk(1, &image);
    bed.guest(2);
    let two = with_disks(2, &[image.image()]);
    let bound = bed.domains.host.bound.len();
    let refusal = bed.attach_disks(&two, vec![image.open()], AttachedAs::New).unwrap_err();
    let path = image.path().to_str().unwrap().to_owned();
    assert_eq!(refusal, Refusal::DiskInUse(noxs_control::DiskInUse { path, domid: Some(1) }));
    assert_eq!(bed.domains.host.bound.len(), bound, "nothing is left");
    // Nor may another guest read what this one writes.
    let mut reads = two.clone();
    reads.vbds[0].image.as_mut().unwrap().geometry.read_only = true;
    assert!(bed.attach_disks(&reads, vec![image.open()], AttachedAs::New).is_err());
    bed.domains.detach(one.id, &mut bed.clients).unwrap();
    bed.attach_disks(&two, vec![image.open()], AttachedAs::New).unwrap();
}

#[test]
fn an_image_that_another_program_has_locked_is_refused() {
    let image = TestImage::new();
    let program = File::options().read(true).write(true).open(image.path()).unwrap();
    assert!(disk::lock(&program, true).unwrap());
    let mut bed = Bed::new();
    bed.guest(1);
    let one = with_disks(1, &[image.image()]);
    let refusal = bed.attach_disks(&one, vec![image.open()], AttachedAs::New).unwrap_err();
    assert!(refusal.to_string().contains("another program"), "{refusal}");
    drop(program);
    bed.attach_disks(&one, vec![image.open()], AttachedAs::New).unwrap();
}

#[test]
fn readers_share_an_image() {
    let image = TestImage::new();
    image.write(0, &[5; 512]);
    let mut bed = Bed::new();
    for domid in [1, 2] {
        bed.guest(domid);
        let mut read_only = image.image();
        read_only.geometry.read_only = true;
        let file = DiskFile::Open(File::open(image.path()).unwrap().into());
        bed.attach_disks(&with_disks(domid, &[read_only]), vec![file], AttachedAs::New).unwrap();
        let ring = bed.page(domid, DISK_REF);
        submit(&ring, &request(BLKIF_OP_READ, 1, 0, &[segment(DATA_REF, 0, 0)]));
        submit(&ring, &request(BLKIF_OP_WRITE, 2, 0, &[segment(DATA_REF, 0, 0)]));
        bed.run_disk(domid);
        let statuses: Vec<i16> = answers(&ring).iter().map(|answer| answer.2).collect();
        assert_eq!(statuses, [BLKIF_RSP_OKAY, BLKIF_RSP_ERROR]);
        assert_eq!(bed.data(domid, 0)[..512], [5; 512]);
    }
}

#[test]
fn a_file_that_does_not_suit_the_request_is_refused() {
    let image = TestImage::new();
    let mut bed = Bed::new();
    bed.guest(1);
    let mut refused = |change: &dyn Fn(&mut DiskImage), files: Vec<DiskFile>| {
        let mut image = image.image();
        change(&mut image);
        let attach = with_disks(1, &[image]);
        let refusal = bed.attach_disks(&attach, files, AttachedAs::New).unwrap_err();
        assert!(matches!(refusal, Refusal::Invalid(_) | Refusal::System { .. }), "{refusal}");
        assert!(bed.domains.host.bound.is_empty() && bed.domains.slots.is_empty());
        refusal.to_string()
    };
    let same: &dyn Fn(&mut DiskImage) = &|_| {};
    assert!(
        refused(same, Vec::new()).contains("0 files of disks came with the request: must be 1")
    );
    assert!(refused(same, vec![image.open(), image.open()]).contains("2 files"));
    let read_only = || vec![DiskFile::Open(File::open(image.path()).unwrap().into())];
    assert!(refused(same, read_only()).contains("is not open as the guest may use it"));
    let appends = File::options().read(true).append(true).open(image.path()).unwrap();
    assert!(refused(same, vec![DiskFile::Open(appends.into())]).contains("is not open as"));
    for change in [
        (|image| image.geometry.sectors = 0) as fn(&mut DiskImage),
        |image| image.geometry.sectors = u64::MAX,
        |image| image.geometry.sector_size = 0,
        |image| image.geometry.sector_size = 8192,
        |image| image.discard = Some(Discard { granularity: 0, alignment: 0, secure: false }),
    ] {
        assert!(refused(&change, vec![image.open()]).contains("impossible"));
    }
    let pipe = File::from(nix::unistd::pipe().unwrap().1);
    let _ = refused(same, vec![DiskFile::Open(pipe.into())]);
}

#[test]
fn a_prepared_disk_waits_for_its_file() {
    let image = TestImage::new();
    let mut bed = Bed::new();
    bed.guest(1);
    let mut one = with_disks(1, &[image.image()]);
    one.vbds[0].image = None;
    bed.attach_disks(&one, Vec::new(), AttachedAs::New).unwrap();
    let ring = bed.page(1, DISK_REF);
    let page = bed.fill(1, 0, 3);
    submit(&ring, &request(BLKIF_OP_WRITE, 1, 0, &[segment(page, 0, 7)]));
    bed.run_disk(1);
    assert!(answers(&ring).is_empty());
    let Bed { domains, clients, now, .. } = &mut bed;
    let mut configure = |images: &[DiskImage], files: Vec<DiskFile>| {
        domains.configure(one.id, &[], (images, files), *now, clients)
    };
    for (images, files) in [
        (vec![], vec![]),
        (vec![image.image()], vec![]),
        (vec![image.image(); 2], vec![image.open(), image.open()]),
    ] {
        assert!(matches!(configure(&images, files), Err(Refusal::Invalid(_))));
    }
    configure(&[image.image()], vec![image.open()]).unwrap();
    assert!(configure(&[image.image()], vec![image.open()]).is_err(), "only once");
    bed.settle();
    assert_eq!(answers(&ring), [(1, BLKIF_OP_WRITE, BLKIF_RSP_OKAY)]);
    assert_eq!(image.read(0, 4096), [3; 4096]);
    // Events come in from now on.
    submit(&ring, &request(BLKIF_OP_READ, 2, 0, &[segment(page, 0, 0)]));
    bed.run_disk(1);
    assert_eq!(answers(&ring).len(), 2);
}

#[test]
fn an_error_of_the_storage_reaches_the_guest_and_nothing_else() {
    let [full, good] = [TestImage::new(), TestImage::new()];
    let mut bed = Bed::new();
    let (one, ring) = bed.with_disk(1, &full);
    let (_, other) = bed.with_disk(2, &good);
    bed.domains.host.fail_io = Some(libc::ENOSPC);
    let page = bed.fill(1, 0, 1);
    for id in 0..3 {
        submit(&ring, &request(BLKIF_OP_WRITE, id, 0, &[segment(page, 0, 7)]));
    }
    submit(&ring, &request(BLKIF_OP_FLUSH_DISKCACHE, 3, 0, &[]));
    bed.run_disk(1);
    assert!(answers(&ring).iter().all(|answer| answer.2 == BLKIF_RSP_ERROR));
    assert_eq!(bed.disk_status(&one).failed_requests, 4);
    bed.domains.host.fail_io = Some(libc::EOPNOTSUPP);
    submit(&ring, &discard(0, 4, 0, 8));
    bed.run_disk(1);
    assert_eq!(answers(&ring)[4].2, BLKIF_RSP_EOPNOTSUPP);
    bed.domains.host.fail_io = None;
    for (domid, ring) in [(1, &ring), (2, &other)] {
        let page = bed.fill(domid, 0, 1);
        submit(ring, &request(BLKIF_OP_WRITE, 9, 0, &[segment(page, 0, 7)]));
        bed.run_disk(domid);
        assert_eq!(answers(ring).last(), Some(&(9, BLKIF_OP_WRITE, BLKIF_RSP_OKAY)));
    }
    assert_eq!(bed.broken(&one), [None, None]);
}

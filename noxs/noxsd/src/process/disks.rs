// SPDX-License-Identifier: GPL-3.0-or-later
//! Opens and locks the files behind the disks of domains that an earlier noxsd served, which needs
//! root. All of this is done before a client is served, so no other guest gets such a disk.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use daemon::chain::chain;
use disk::{DiskError, OpenDisk};
use noxs_control::{DiskIdentity, DiskImage};

use crate::control::records::Recorded;
use crate::domains::DiskFile;

/// How long an earlier noxsd that was killed may hold its locks. The kernel releases them when the
/// last of its reads and writes has ended.
const DYING: Duration = Duration::from_secs(10);

/// Returns the files behind each domain's disks, in the order of the records. A file that cannot be
/// opened, that is another one than the guest had, or that another program has locked, is lost.
pub(super) fn open(recorded: &[Recorded]) -> Vec<Vec<DiskFile>> {
    let deadline = Instant::now() + DYING;
    let images = |record: &Recorded| {
        let vbds = record.attach.vbds.iter();
        vbds.filter_map(|vbd| vbd.image.clone()).collect::<Vec<_>>()
    };
    let images: Vec<Vec<DiskImage>> = recorded.iter().map(images).collect();
    let open = |image: &DiskImage| open_again(image, deadline);
    let mut opened: Vec<Result<File, String>> = images.iter().flatten().map(open).collect();
    lock(&images, &mut opened, deadline);
    let mut opened = opened.into_iter().map(|file| match file {
        Ok(file) => DiskFile::Locked(file.into()),
        Err(why) => DiskFile::Lost(why),
    });
    images.iter().map(|images| opened.by_ref().take(images.len()).collect()).collect()
}

/// Returns whether a guest may write a file behind a disk.
pub(super) fn writes_files(recorded: &[Recorded]) -> bool {
    let vbds = recorded.iter().flat_map(|record| &record.attach.vbds);
    vbds.filter_map(|vbd| vbd.image.as_ref()).any(|image| {
        matches!(image.identity, DiskIdentity::File { .. }) && !image.geometry.read_only
    })
}

/// Opens a file behind a disk again.
fn open_again(image: &DiskImage, deadline: Instant) -> Result<File, String> {
    let (path, read_only) = (Path::new(&image.path), image.geometry.read_only);
    let opened = match OpenDisk::open(path, read_only) {
        // The earlier noxsd may still have the device. It holds a lock as long.
        Err(DiskError::Claimed { .. }) => {
            if let Ok(device) = File::open(path) {
                // If this fails, the next attempt does, too.
                let _ = disk::lock_all_before(&[(&device, true)], deadline);
            }
            OpenDisk::open(path, read_only)
        }
        opened => opened,
    };
    let opened = opened.map_err(|error| chain(&error))?;
    if DiskIdentity::from(opened.identity) != image.identity {
        return Err(format!("disk {} is not the file that the guest had", path.display()));
    }
    if opened.sectors < image.geometry.sectors || opened.sector_size > image.geometry.sector_size {
        return Err(format!("disk {} has changed its size or its sector size", path.display()));
    }
    Ok(opened.file)
}

/// Locks the files that were opened.
fn lock(images: &[Vec<DiskImage>], opened: &mut [Result<File, String>], deadline: Instant) {
    let files: Vec<(usize, &DiskImage, &File)> = images
        .iter()
        .flatten()
        .zip(&*opened)
        .enumerate()
        .filter_map(|(number, (image, file))| Some((number, image, file.as_ref().ok()?)))
        .collect();
    let disks: Vec<(&File, bool)> =
        files.iter().map(|(_, image, file)| (*file, image.geometry.read_only)).collect();
    let lost: Vec<(usize, String)> = match disk::lock_all_before(&disks, deadline) {
        Ok(locked) => files
            .iter()
            .zip(locked)
            .filter(|(_, is_locked)| !is_locked)
            .map(|((number, image, _), _)| {
                (*number, format!("disk {} is in use by another program", image.path))
            })
            .collect(),
        Err(error) => files
            .iter()
            .map(|(number, image, _)| {
                (*number, format!("cannot lock disk {}: {error}", image.path))
            })
            .collect(),
    };
    for (number, why) in lost {
        opened[number] = Err(why);
    }
}

#[cfg(test)]
mod tests {
    use noxs::Geometry;
    use noxs_control::{Attach, DomainId, VbdDevice};

    use super::*;

    fn image(path: &Path) -> DiskImage {
        let found = OpenDisk::open(path, false).unwrap();
        DiskImage {
            path: path.to_str().unwrap().to_owned(),
            identity: found.identity.into(),
            geometry: Geometry {
                sectors: found.sectors,
                sector_size: found.sector_size,
                physical_sector_size: found.physical_sector_size,
                read_only: false,
            },
            discard: None,
        }
    }

    fn record(images: &[DiskImage]) -> Recorded {
        let vbd = |image: &DiskImage| VbdDevice {
            index: 0,
            port: 1,
            ring: 8,
            image: Some(image.clone()),
        };
        let id = DomainId { domid: 1, handle: [1; 16] };
        let vbds = images.iter().map(vbd).collect();
        Recorded::of(Attach { id, console: None, vifs: Vec::new(), vbds })
    }

    fn lost(files: &[DiskFile]) -> Vec<Option<&str>> {
        let why = |file: &DiskFile| match file {
            DiskFile::Open(_) | DiskFile::Locked(_) => None,
            DiskFile::Lost(why) => Some(why.clone()),
        };
        files.iter().map(why).map(|why| why.map(|why| &*why.leak())).collect()
    }

    #[test]
    fn only_the_same_files_are_opened_again_and_each_is_locked() {
        let folder = tempfile::tempdir().unwrap();
        let create = |name: &str, size| {
            let path = folder.path().join(name);
            File::create(&path).unwrap().set_len(size).unwrap();
            path
        };
        let paths = ["kept", "replaced", "cut", "removed"].map(|name| create(name, 8192));
        let images = paths.each_ref().map(|path| image(path));
        std::fs::rename(create("other", 8192), &paths[1]).unwrap();
        create("cut", 512);
        std::fs::remove_file(&paths[3]).unwrap();
        let recorded = [record(&[]), record(&images)];
        assert!(writes_files(&recorded) && !writes_files(&recorded[..1]));
        let opened = open(&recorded);
        assert_eq!(opened.iter().map(Vec::len).collect::<Vec<_>>(), [0, 4]);
        let lost = lost(&opened[1]);
        assert_eq!(lost[0], None);
        for (why, part) in
            lost[1..].iter().zip(["not the file", "changed its size", "does not exist"])
        {
            assert!(why.is_some_and(|why| why.contains(part)), "{why:?}");
        }
        let again = File::options().write(true).open(&paths[0]).unwrap();
        assert!(!disk::lock(&again, false).unwrap());
        drop(opened);
        assert!(disk::lock(&again, false).unwrap());
    }

    /// A noxsd that was killed has its locks until the kernel has torn it down.
    #[test]
    fn the_lock_of_a_process_that_ends_is_waited_for() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(4096).unwrap();
        let image = image(file.path());
        let earlier = File::options().read(true).write(true).open(file.path()).unwrap();
        assert!(disk::lock(&earlier, false).unwrap());
        let recorded = [record(&[image])];
        let closer = std::thread::spawn(move || drop(earlier));
        assert_eq!(lost(&open(&recorded)[0]), [None]);
        closer.join().unwrap();
    }
}

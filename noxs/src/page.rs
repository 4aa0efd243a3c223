// SPDX-License-Identifier: MIT OR Apache-2.0
//! The device page as a whole: its header and its list of devices.

use crate::codec::{self, PageBytes};
use crate::device::{Backend, Console, DeviceKind, Vbd, Vif};
use crate::layout::{self, MAX_VIFS, PAGE_SIZE, entry, header};
use crate::sysctl::{Request, RequestId, Sysctl};

/// The largest number of devices that one page can list.
pub const MAX_DEVICES: usize = layout::MAX_ENTRIES;

/// Largest number of ring pages of a guest: one for each device, and one more for each vif.
pub const MAX_RING_PAGES: usize = MAX_DEVICES + MAX_VIFS;

/// One device of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    /// A console.
    Console(Console),
    /// A network interface.
    Vif(Vif),
    /// A disk.
    Vbd(Vbd),
}

/// A decoded device page.
///
/// The default page has no devices, generation 0 and an all-zero handle.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DevicePage {
    /// Always even; increases by two with every change.
    pub generation: u32,
    /// The guest's own domid.
    pub domid: u16,
    /// The domain's handle (UUID) as Xen knows it.
    pub handle: [u8; 16],
    /// The block for power requests.
    pub sysctl: Sysctl,
    /// Where the guest may map the pages that Xen shares with it.
    pub overlay: Overlay,
    devices: [Option<Device>; MAX_DEVICES],
}

/// Guest frames that have no memory behind them. The guest maps its `shared_info` page and its
/// grant table there (`XENMEM_add_to_physmap`). Because the frames lie outside the guest's memory,
/// it loses no memory to them, and Xen need not split any of its large mappings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Overlay {
    /// The first frame.
    pub gfn: u64,
    /// The number of frames; 0 if the guest has to choose frames itself.
    pub frames: u32,
}

/// Why bytes are not a valid device page, or why a device could not be added to one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PageError {
    /// The page does not begin with the magic number.
    #[error("not a device page: magic is {found:#010x}, expected {:#010x}", layout::MAGIC)]
    Magic {
        /// The first four bytes.
        found: u32,
    },
    /// The page has a layout that this reader does not know.
    #[error("device page has major version {found}, supported is {}", layout::VERSION_MAJOR)]
    Version {
        /// The page's major version.
        found: u16,
    },
    /// dom0 was writing while the page was copied.
    #[error("device page was being written while it was read (generation {generation})")]
    Torn {
        /// The generation found in the page.
        generation: u32,
    },
    /// The header claims more entries than fit in a page.
    #[error("device page claims {found} entries, but at most {MAX_DEVICES} fit")]
    EntryCount {
        /// The claimed number of entries.
        found: u16,
    },
    /// An entry of a known kind has a value that is not allowed.
    #[error("device page entry {slot} is malformed")]
    Entry {
        /// Which entry, from 0.
        slot: usize,
    },
    /// All entry slots are in use.
    #[error("device page is full: it holds at most {MAX_DEVICES} devices")]
    Full,
    /// There are as many network interfaces as a guest can have.
    #[error("device page has {MAX_VIFS} vifs, and a guest has at most so many")]
    Vifs,
}

impl DevicePage {
    /// Returns a page without devices for a domain.
    #[must_use]
    pub fn new(domid: u16, handle: [u8; 16]) -> Self {
        Self { domid, handle, ..Self::default() }
    }

    /// Adds a device in the first free slot.
    ///
    /// # Errors
    /// [`PageError::Full`] if no slot is free, [`PageError::Vifs`] if it is a vif and there are
    /// [`MAX_VIFS`] already.
    pub fn add(&mut self, device: Device) -> Result<(), PageError> {
        if matches!(device, Device::Vif(_)) && self.vifs().count() == MAX_VIFS {
            return Err(PageError::Vifs);
        }
        let slot = self.devices.iter_mut().find(|slot| slot.is_none()).ok_or(PageError::Full)?;
        *slot = Some(device);
        Ok(())
    }

    /// Returns the devices in slot order.
    pub fn devices(&self) -> impl Iterator<Item = &Device> {
        self.devices.iter().flatten()
    }

    /// Returns the first console.
    #[must_use]
    pub fn console(&self) -> Option<&Console> {
        self.devices().find_map(|device| match device {
            Device::Console(console) => Some(console),
            _ => None,
        })
    }

    /// Returns the network interfaces in slot order.
    pub fn vifs(&self) -> impl Iterator<Item = &Vif> {
        self.devices().filter_map(|device| match device {
            Device::Vif(vif) => Some(vif),
            _ => None,
        })
    }

    /// Returns the disks in slot order.
    pub fn disks(&self) -> impl Iterator<Item = &Vbd> {
        self.devices().filter_map(|device| match device {
            Device::Vbd(vbd) => Some(vbd),
            _ => None,
        })
    }

    /// Puts a new request into the page, advances the generation, and returns the request's number.
    pub fn request(&mut self, request: Request) -> RequestId {
        self.sysctl.request = Some(request);
        self.sysctl.request_id = self.sysctl.request_id.next();
        self.generation = (self.generation & !1).wrapping_add(2);
        self.sysctl.request_id
    }

    /// Returns the page's bytes, with an even generation. To replace a page that the guest may be
    /// reading, pass them to [`crate::shared::publish`].
    #[must_use]
    pub fn encode(&self) -> [u8; PAGE_SIZE] {
        let mut page = [0; PAGE_SIZE];
        self.encode_into(&mut page);
        page
    }

    /// Writes the page's bytes into a buffer of zeros, which needs to have only
    /// [`Self::encoded_len`] bytes.
    ///
    /// # Panics
    /// The buffer is shorter.
    pub fn encode_into(&self, page: &mut [u8]) {
        let used = u16::try_from(self.used()).unwrap_or(u16::MAX);
        codec::put_u32(page, header::MAGIC, layout::MAGIC);
        codec::put_u16(page, header::VERSION_MAJOR, layout::VERSION_MAJOR);
        codec::put_u16(page, header::VERSION_MINOR, layout::VERSION_MINOR);
        codec::put_u32(page, header::GENERATION, self.generation & !1);
        codec::put_u16(page, header::ENTRY_COUNT, used);
        codec::put_u16(page, header::DOMID, self.domid);
        codec::put_u32(page, header::SYSCTL_PORT, self.sysctl.port);
        let request = self.sysctl.request.map_or(0, |request| request as u32);
        codec::put_u32(page, header::SYSCTL_REQUEST, request);
        codec::put_u32(page, header::SYSCTL_REQUEST_ID, self.sysctl.request_id.0);
        codec::put_u64(page, header::SYSCTL_ANSWER_GFN, self.sysctl.answer_gfn);
        codec::put_u32(page, header::SYSCTL_BALLOON_PAGES, self.sysctl.balloon_pages);
        codec::put_u64(page, header::OVERLAY_GFN, self.overlay.gfn);
        codec::put_u32(page, header::OVERLAY_FRAMES, self.overlay.frames);
        codec::put(page, header::HANDLE, &self.handle);
        for (slot, device) in self.devices.iter().enumerate() {
            let at = header::SIZE + slot * entry::SIZE;
            match device {
                Some(Device::Console(console)) => {
                    console.backend.encode(DeviceKind::Console, page, at);
                }
                Some(Device::Vif(vif)) => vif.encode(page, at),
                Some(Device::Vbd(vbd)) => vbd.encode(page, at),
                None => {}
            }
        }
    }

    /// Returns the number of slots up to and including the last device.
    fn used(&self) -> usize {
        self.devices.iter().rposition(Option::is_some).map_or(0, |last| last + 1)
    }

    /// Returns the length of the header and the used entries in bytes; all bytes after them are
    /// zero.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        header::SIZE + self.used() * entry::SIZE
    }

    /// Decodes a page that has been copied to private memory, checking every value once.
    ///
    /// Skips entries of unknown kinds, and ignores what a newer minor version adds.
    ///
    /// # Errors
    /// The magic number or the major version is wrong, the generation is odd, there are too many
    /// entries, or an entry of a known kind has a value that is not allowed.
    pub fn decode(page: &[u8; PAGE_SIZE]) -> Result<Self, PageError> {
        let magic = codec::get_u32(page, header::MAGIC);
        if magic != layout::MAGIC {
            return Err(PageError::Magic { found: magic });
        }
        let major = codec::get_u16(page, header::VERSION_MAJOR);
        if major != layout::VERSION_MAJOR {
            return Err(PageError::Version { found: major });
        }
        let generation = codec::get_u32(page, header::GENERATION);
        if generation & 1 != 0 {
            return Err(PageError::Torn { generation });
        }
        let count = codec::get_u16(page, header::ENTRY_COUNT);
        if usize::from(count) > MAX_DEVICES {
            return Err(PageError::EntryCount { found: count });
        }
        let mut devices = [None; MAX_DEVICES];
        for (slot, device) in devices.iter_mut().enumerate().take(usize::from(count)) {
            *device = decode_entry(page, slot)?;
        }
        Ok(Self {
            generation,
            domid: codec::get_u16(page, header::DOMID),
            handle: codec::bytes(page, header::HANDLE),
            sysctl: Sysctl {
                port: codec::get_u32(page, header::SYSCTL_PORT),
                answer_gfn: codec::get_u64(page, header::SYSCTL_ANSWER_GFN),
                request_id: RequestId(codec::get_u32(page, header::SYSCTL_REQUEST_ID)),
                request: Request::from_raw(codec::get_u32(page, header::SYSCTL_REQUEST)),
                balloon_pages: codec::get_u32(page, header::SYSCTL_BALLOON_PAGES),
            },
            overlay: Overlay {
                gfn: codec::get_u64(page, header::OVERLAY_GFN),
                frames: codec::get_u32(page, header::OVERLAY_FRAMES),
            },
            devices,
        })
    }
}

fn decode_entry(page: &PageBytes, slot: usize) -> Result<Option<Device>, PageError> {
    let at = header::SIZE + slot * entry::SIZE;
    let Some(kind) = DeviceKind::from_raw(codec::get_u16(page, at + entry::KIND)) else {
        return Ok(None);
    };
    let device = match kind {
        DeviceKind::Console => {
            Backend::decode(page, at).map(|backend| Device::Console(Console { backend }))
        }
        DeviceKind::Vif => Vif::decode(page, at).map(Device::Vif),
        DeviceKind::Vbd => Vbd::decode(page, at).map(Device::Vbd),
    };
    device.map(Some).ok_or(PageError::Entry { slot })
}

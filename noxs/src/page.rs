//! The page as a whole.

use crate::codec::{self, PageBytes};
use crate::device::{Backend, Console, DeviceKind, Vbd, Vif};
use crate::layout::{self, PAGE_SIZE, entry, header};
use crate::sysctl::{Request, RequestId, Sysctl};

/// Most devices one page can name.
pub const MAX_DEVICES: usize = layout::MAX_ENTRIES;

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

/// The page's meaning.
///
/// The default page has no devices, generation 0 and an all-zero handle.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DevicePage {
    /// Goes up by two with every change; even.
    pub generation: u32,
    /// The guest's own domid.
    pub domid: u16,
    /// The domain's handle (UUID) as Xen knows it.
    pub handle: [u8; 16],
    /// Power requests.
    pub sysctl: Sysctl,
    /// Where the guest may map what Xen shares with it.
    pub overlay: Overlay,
    devices: [Option<Device>; MAX_DEVICES],
}

/// Frames without memory, beside the guest's own, over which the guest maps its `shared_info` page
/// and its grant table (`XENMEM_add_to_physmap`). It gives up no memory for them, and none of its
/// large mappings is split up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Overlay {
    /// The first frame.
    pub gfn: u64,
    /// How many frames there are; 0 if the guest has to find a place itself.
    pub frames: u32,
}

/// Why bytes are no device page, or a device found no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PageError {
    /// The page begins with something else.
    #[error("no device page: it begins with {found:#010x}, not {:#010x}", layout::MAGIC)]
    Magic {
        /// The first four bytes.
        found: u32,
    },
    /// The page has a layout this reader does not know.
    #[error("device page version {found}, this reader knows {}", layout::VERSION_MAJOR)]
    Version {
        /// The page's major version.
        found: u16,
    },
    /// dom0 was writing while the page was copied.
    #[error("device page is being written (generation {generation})")]
    Torn {
        /// The generation that was found.
        generation: u32,
    },
    /// The header names more entries than a page holds.
    #[error("device page claims {found} entries, at most {MAX_DEVICES} fit")]
    EntryCount {
        /// The claimed number.
        found: u16,
    },
    /// An entry of a known kind contradicts itself.
    #[error("device page entry {slot} is malformed")]
    Entry {
        /// Which entry, from 0.
        slot: usize,
    },
    /// All entries are taken.
    #[error("a device page holds at most {MAX_DEVICES} devices")]
    Full,
}

impl DevicePage {
    /// A page without devices for a domain.
    #[must_use]
    pub fn new(domid: u16, handle: [u8; 16]) -> Self {
        Self { domid, handle, ..Self::default() }
    }

    /// Adds a device in the first free slot.
    ///
    /// # Errors
    /// [`PageError::Full`] if no slot is free.
    pub fn add(&mut self, device: Device) -> Result<(), PageError> {
        let slot = self.devices.iter_mut().find(|slot| slot.is_none()).ok_or(PageError::Full)?;
        *slot = Some(device);
        Ok(())
    }

    /// The devices in the order of their slots.
    pub fn devices(&self) -> impl Iterator<Item = &Device> {
        self.devices.iter().flatten()
    }

    /// The first console.
    #[must_use]
    pub fn console(&self) -> Option<&Console> {
        self.devices().find_map(|device| match device {
            Device::Console(console) => Some(console),
            _ => None,
        })
    }

    /// The network interfaces.
    pub fn vifs(&self) -> impl Iterator<Item = &Vif> {
        self.devices().filter_map(|device| match device {
            Device::Vif(vif) => Some(vif),
            _ => None,
        })
    }

    /// Puts a new request into the page and moves on to the next generation.
    pub fn request(&mut self, request: Request) -> RequestId {
        self.sysctl.request = Some(request);
        self.sysctl.request_id = self.sysctl.request_id.next();
        self.generation = (self.generation & !1).wrapping_add(2);
        self.sysctl.request_id
    }

    /// The page's bytes. The generation is written even: to replace a page that the guest may be
    /// reading, use [`crate::shared::publish`].
    #[must_use]
    pub fn encode(&self) -> [u8; PAGE_SIZE] {
        let mut page = [0; PAGE_SIZE];
        let used = u16::try_from(self.used()).unwrap_or(u16::MAX);
        codec::put_u32(&mut page, header::MAGIC, layout::MAGIC);
        codec::put_u16(&mut page, header::VERSION_MAJOR, layout::VERSION_MAJOR);
        codec::put_u16(&mut page, header::VERSION_MINOR, layout::VERSION_MINOR);
        codec::put_u32(&mut page, header::GENERATION, self.generation & !1);
        codec::put_u16(&mut page, header::ENTRY_COUNT, used);
        codec::put_u16(&mut page, header::DOMID, self.domid);
        codec::put_u32(&mut page, header::SYSCTL_PORT, self.sysctl.port);
        let request = self.sysctl.request.map_or(0, |request| request as u32);
        codec::put_u32(&mut page, header::SYSCTL_REQUEST, request);
        codec::put_u32(&mut page, header::SYSCTL_REQUEST_ID, self.sysctl.request_id.0);
        codec::put_u64(&mut page, header::SYSCTL_ANSWER_GFN, self.sysctl.answer_gfn);
        codec::put_u64(&mut page, header::OVERLAY_GFN, self.overlay.gfn);
        codec::put_u32(&mut page, header::OVERLAY_FRAMES, self.overlay.frames);
        codec::put(&mut page, header::HANDLE, &self.handle);
        for (slot, device) in self.devices.iter().enumerate() {
            let at = header::SIZE + slot * entry::SIZE;
            match device {
                Some(Device::Console(console)) => {
                    console.backend.encode(DeviceKind::Console, &mut page, at);
                }
                Some(Device::Vif(vif)) => vif.encode(&mut page, at),
                Some(Device::Vbd(vbd)) => vbd.encode(&mut page, at),
                None => {}
            }
        }
        page
    }

    /// Number of slots up to the last device.
    fn used(&self) -> usize {
        self.devices.iter().rposition(Option::is_some).map_or(0, |last| last + 1)
    }

    /// How many bytes the header and the used entries have; all that follow are zero.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        header::SIZE + self.used() * entry::SIZE
    }

    /// Reads a page that has been copied to private memory, and checks all of it once.
    ///
    /// An entry of an unknown kind is skipped, and so is any newer minor version's extra meaning.
    ///
    /// # Errors
    /// Another magic or major version, an odd generation, too many entries, or an entry of a known
    /// kind with an impossible value.
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

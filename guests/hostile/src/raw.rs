//! Shared pages, without the checks and the order of a driver: any word can be read and written.
//!
//! `unsafe`, because dom0 and Xen read and write the pages while the guest does.
#![allow(unsafe_code)]

use core::sync::atomic::{AtomicU32, Ordering};

use noxs::{Device, PAGE_SIZE};
use unikernel::{Guest, Port};

/// Offsets in `struct xencons_interface` of `public/io/console.h`.
pub(crate) const CONSOLE_OUT_CONS: usize = 3072 + 8;
pub(crate) const CONSOLE_OUT_PROD: usize = 3072 + 12;

/// A page that dom0 shares with this guest.
pub(crate) struct Page {
    start: *mut u8,
}

/// What belongs to the first network interface.
pub(crate) struct Vif {
    pub(crate) transmit_ring: Page,
    pub(crate) receive_ring: Page,
    /// Grant under which the backend has the receive ring.
    pub(crate) receive_grant: u32,
    pub(crate) port: Port,
}

impl Page {
    /// # Safety
    /// `address` is that of a page that dom0 shares with this guest: aligned, mapped for good, and
    /// no Rust object lies there.
    unsafe fn at(address: u64) -> Self {
        // Addresses of a guest are those of a 64-bit program.
        let address = usize::try_from(address).unwrap_or(0);
        assert!(address != 0 && address.is_multiple_of(PAGE_SIZE), "hostile: no page");
        Self { start: core::ptr::with_exposed_provenance_mut(address) }
    }

    /// The device page.
    pub(crate) fn device_page(guest: &Guest) -> Self {
        // SAFETY: the runtime has read the device page at this address, after its own checks. dom0
        // made it beside the guest's memory.
        unsafe { Self::at(guest.device_page_address()) }
    }

    /// The console's ring and its port.
    pub(crate) fn console(guest: &Guest) -> (Self, Port) {
        let found = guest.devices().find_map(|device| match device {
            Device::Console(console) => Some(console.backend),
            _ => None,
        });
        let Some(backend) = found else { panic!("hostile: this needs a console") };
        // SAFETY: a `Guest`'s devices are those of the device page, and nobody can change them:
        // dom0 made the ring beside the guest's memory. The runtime has checked that it is mapped;
        // it, too, touches it only by its address.
        let ring = unsafe { Self::at(backend.rings[0].gfn * PAGE_SIZE as u64) };
        (ring, Port::new(backend.port))
    }

    /// The rings of the first network interface, and its port.
    pub(crate) fn vif(guest: &Guest) -> Vif {
        let Some(vif) = guest.vif() else { panic!("hostile: this needs a vif") };
        let [transmit, receive] = vif.backend.rings;
        // SAFETY: as for the console's; the runtime maps all memory below 4 GiB, where dom0 puts
        // all pages that it shares. Nobody else uses the interface: no `Net` is made.
        let [transmit_ring, receive_ring] =
            [transmit, receive].map(|ring| unsafe { Self::at(ring.gfn * PAGE_SIZE as u64) });
        Vif {
            transmit_ring,
            receive_ring,
            receive_grant: receive.grant,
            port: Port::new(vif.backend.port),
        }
    }

    fn word(&self, offset: usize) -> &AtomicU32 {
        assert!(offset.is_multiple_of(4) && offset < PAGE_SIZE, "hostile: no word at {offset}");
        // SAFETY: the word lies in the page and is aligned, as just checked; the page is there for
        // good, as `at`'s caller promised. Both ends only touch it atomically or by its address.
        unsafe { AtomicU32::from_ptr(self.start.add(offset).cast()) }
    }

    /// Reads a word. Reads that follow see what the other end wrote before it wrote the word.
    pub(crate) fn load(&self, offset: usize) -> u32 {
        self.word(offset).load(Ordering::Acquire)
    }

    /// Writes a word, which on this CPU is a plain store. Who sees it sees what was written before.
    pub(crate) fn store(&self, offset: usize, value: u32) {
        self.word(offset).store(value, Ordering::Release);
    }
}

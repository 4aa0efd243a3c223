//! The boot page: what a PVH guest is handed in `ebx`.
//!
//! Source: Xen's `public/arch-x86/hvm/start_info.h`, version 1.

use noxs::PAGE_SIZE;

use super::BuildError;
use super::layout::{HOLE_END, Layout};
use crate::config::MAX_COMMAND_LINE;

const MAGIC: u32 = 0x336e_c578;
const VERSION: u32 = 1;
const START_INFO_SIZE: usize = 56;
const MODULE_SIZE: usize = 32;
const MEMMAP_SIZE: usize = 24;
const TYPE_RAM: u32 = 1;
const TYPE_RESERVED: u32 = 2;

/// Most modules and memory map entries there ever are: ramdisk and device page; low, specials and
/// high memory.
const MAX_MODULES: usize = 2;
const MAX_MEMMAP: usize = 3;

/// Where the guest's first instructions are, and how many bytes they have.
pub(super) const TRAMPOLINE: usize = START_INFO_SIZE;
const TRAMPOLINE_SIZE: usize = 8;

const MODULES: usize = TRAMPOLINE + TRAMPOLINE_SIZE;
const MEMMAP: usize = MODULES + MAX_MODULES * MODULE_SIZE;
const MODULE_NAME: usize = MEMMAP + MAX_MEMMAP * MEMMAP_SIZE;
const COMMAND_LINE: usize = MODULE_NAME + noxs::MODULE_NAME.len() + 1;

// The longest command line and its terminating zero end where the page does.
const _: () = assert!(COMMAND_LINE + MAX_COMMAND_LINE + 1 == PAGE_SIZE);

/// Where the ramdisk is in the guest's memory, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ramdisk {
    /// First byte; a multiple of the page size.
    pub(super) address: u64,
    /// Length in bytes.
    pub(super) size: u64,
}

/// `mov eax, entry; jmp eax`: what the guest executes first.
///
/// So its vCPU starts at the same place whatever the image is, and is set up before the image is
/// known. PVH promises nothing about `eax` (Xen's `docs/misc/pvh.pandoc`).
fn trampoline(entry: u32) -> [u8; TRAMPOLINE_SIZE] {
    let [a, b, c, d] = entry.to_le_bytes();
    [0xb8, a, b, c, d, 0xff, 0xe0, 0xf4]
}

/// Makes the boot page of a guest that is entered at `entry`. What is not given is zero.
///
/// # Errors
/// The command line is too long or contains a zero byte.
pub(super) fn boot_page(
    layout: &Layout,
    entry: u32,
    command_line: &str,
    ramdisk: Option<Ramdisk>,
) -> Result<Vec<u8>, BuildError> {
    if command_line.len() > MAX_COMMAND_LINE {
        return Err(BuildError::CommandLineTooLong { length: command_line.len() });
    }
    if command_line.contains('\0') {
        return Err(BuildError::CommandLineZero);
    }
    let base = layout.boot_page.0 << 12;
    let mut page = Page { bytes: vec![0; COMMAND_LINE + command_line.len() + 1] };

    // Linux takes the first module as its ramdisk, so the device page comes after it.
    let ramdisk = ramdisk.map(|ramdisk| (ramdisk.address, ramdisk.size, 0));
    let device_page = layout
        .noxs
        .map(|noxs| (noxs.device_page.0 << 12, PAGE_SIZE as u64, base + MODULE_NAME as u64));
    let mut modules = 0;
    for (address, size, name) in ramdisk.into_iter().chain(device_page) {
        let at = MODULES + modules * MODULE_SIZE;
        page.u64(at, address);
        page.u64(at + 8, size);
        page.u64(at + 16, name);
        modules += 1;
    }

    let usable = layout.usable_end();
    let low_end = layout.low_end.0 << 12;
    let low = (0, usable, TYPE_RAM);
    let specials = (low_end, layout.specials_end() - low_end, TYPE_RESERVED);
    let high = (HOLE_END.0 << 12, (layout.memory.0 << 12) - low_end, TYPE_RAM);
    let mut regions = 0;
    for (address, size, kind) in [low, specials, high].into_iter().filter(|(_, size, _)| *size > 0)
    {
        let at = MEMMAP + regions * MEMMAP_SIZE;
        page.u64(at, address);
        page.u64(at + 8, size);
        page.u32(at + 16, kind);
        regions += 1;
    }

    page.u32(0, MAGIC);
    page.u32(4, VERSION);
    page.u32(12, u32::try_from(modules).unwrap_or(u32::MAX));
    page.u64(16, base + MODULES as u64);
    page.u64(24, base + COMMAND_LINE as u64);
    page.u64(32, layout.acpi.map_or(0, |tables| tables.0 << 12));
    page.u64(40, base + MEMMAP as u64);
    page.u32(48, u32::try_from(regions).unwrap_or(u32::MAX));
    page.put(TRAMPOLINE, &trampoline(entry));
    page.put(MODULE_NAME, noxs::MODULE_NAME.as_bytes());
    page.put(COMMAND_LINE, command_line.as_bytes());
    Ok(page.bytes)
}

struct Page {
    bytes: Vec<u8>,
}

impl Page {
    fn put(&mut self, at: usize, value: &[u8]) {
        self.bytes[at..at + value.len()].copy_from_slice(value);
    }

    fn u32(&mut self, at: usize, value: u32) {
        self.put(at, &value.to_le_bytes());
    }

    fn u64(&mut self, at: usize, value: u64) {
        self.put(at, &value.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use xen::units::KiB;

    use super::super::flavour::Flavour;
    use super::*;
    use crate::config::Store;

    fn layout() -> Layout {
        layout_of(Store::Noxs)
    }

    fn layout_of(store: Store) -> Layout {
        Layout::new(&Flavour { memory: KiB(8192), vcpus: 1, console: true, vifs: 1, store })
    }

    fn u64_at(page: &[u8], at: usize) -> u64 {
        u64::from_le_bytes(page[at..at + 8].try_into().unwrap())
    }

    #[test]
    fn pointers_lead_to_what_they_name() {
        let layout = layout();
        let page = boot_page(&layout, 0x10_0000, "console=hvc0", None).unwrap();
        let base = layout.boot_page.0 << 12;
        let text = |at: u64| {
            let at = usize::try_from(at - base).unwrap();
            let end = page[at..].iter().position(|byte| *byte == 0).unwrap();
            std::str::from_utf8(&page[at..at + end]).unwrap()
        };
        assert_eq!(text(u64_at(&page, 24)), "console=hvc0");
        let module = usize::try_from(u64_at(&page, 16) - base).unwrap();
        assert_eq!(u64_at(&page, module), layout.noxs.unwrap().device_page.0 << 12);
        assert_eq!(text(u64_at(&page, module + 16)), "noxs");
    }

    #[test]
    fn the_first_instructions_jump_to_the_entry() {
        let page = boot_page(&layout(), 0x1234_5678, "", None).unwrap();
        let code = [0xb8, 0x78, 0x56, 0x34, 0x12, 0xff, 0xe0];
        assert_eq!(page[TRAMPOLINE..TRAMPOLINE + code.len()], code);
    }

    #[test]
    fn the_ramdisk_is_the_first_module() {
        let ramdisk = Ramdisk { address: 0x10_0000, size: 5000 };
        let page = boot_page(&layout(), 0, "", Some(ramdisk)).unwrap();
        assert_eq!(page[12], 2);
        assert_eq!(u64_at(&page, MODULES), 0x10_0000);
        assert_eq!(u64_at(&page, MODULES + 8), 5000);
    }

    #[test]
    fn in_xenstore_mode_there_is_no_device_page() {
        let page = boot_page(&layout_of(Store::XenStore), 0, "", None).unwrap();
        assert_eq!(page[12], 0);
        let acpi = layout_of(Store::XenStore).acpi.unwrap();
        assert_eq!(u64_at(&page, 32), acpi.0 << 12);
        let ramdisk = Ramdisk { address: 0x10_0000, size: 5000 };
        let page = boot_page(&layout_of(Store::XenStore), 0, "", Some(ramdisk)).unwrap();
        assert_eq!(page[12], 1);
    }

    #[test]
    fn a_command_line_that_does_not_fit_is_refused() {
        let fits = "x".repeat(MAX_COMMAND_LINE);
        assert!(boot_page(&layout(), 0, &fits, None).is_ok());
        let error = boot_page(&layout(), 0, &(fits + "x"), None).unwrap_err();
        assert!(
            matches!(error, BuildError::CommandLineTooLong { length } if length == MAX_COMMAND_LINE + 1)
        );
        assert!(matches!(boot_page(&layout(), 0, "a\0b", None), Err(BuildError::CommandLineZero)));
    }
}

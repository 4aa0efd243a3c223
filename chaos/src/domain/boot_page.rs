// SPDX-License-Identifier: GPL-3.0-or-later
//! The boot page, whose address a PVH guest finds in `ebx`.
//!
//! The guests of this project read it through [`xen_abi::start_info::View`].

use noxs::PAGE_SIZE;
use xen::memory::MemoryKind;
use xen_abi::start_info::{
    MemmapEntry, ModlistEntry, StartInfo, VERSION, XEN_HVM_MEMMAP_TYPE_RAM,
    XEN_HVM_MEMMAP_TYPE_RESERVED, XEN_HVM_START_MAGIC_VALUE,
};
use zerocopy::IntoBytes;

use super::error::BuildError;
use super::layout::Layout;
use super::page::Page;
use crate::config::MAX_COMMAND_LINE;

/// The largest numbers of modules (ramdisk and device page, or PV kernel and ramdisk) and of memory map
/// entries (low memory, specials, high memory).
const MAX_MODULES: usize = 2;
const MAX_MEMMAP: usize = 3;

/// Offset and size of the guest's first instructions.
pub(super) const TRAMPOLINE: usize = size_of::<StartInfo>();
const TRAMPOLINE_SIZE: usize = 8;

const MODULES: usize = TRAMPOLINE + TRAMPOLINE_SIZE;
const MEMMAP: usize = MODULES + MAX_MODULES * size_of::<ModlistEntry>();
const MODULE_NAME: usize = MEMMAP + MAX_MEMMAP * size_of::<MemmapEntry>();
const COMMAND_LINE: usize = MODULE_NAME + noxs::MODULE_NAME.len() + 1;

// The longest command line, with its terminating zero, fills the page.
const _: () = assert!(COMMAND_LINE + MAX_COMMAND_LINE + 1 == PAGE_SIZE);

/// The place of a file in the guest's memory: of the ramdisk, or of the kernel of the PV shim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Module {
    /// Address of the first byte; a multiple of the page size.
    pub(super) address: u64,
    /// Length in bytes.
    pub(super) size: u64,
}

/// What the boot page lists.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Modules<'a> {
    /// The kernel that the PV shim starts, with its command line.
    pub(super) pv_kernel: Option<(Module, &'a str)>,
    /// The ramdisk.
    pub(super) ramdisk: Option<Module>,
}

/// Returns the code `mov eax, entry; jmp eax`, which the guest executes first.
///
/// With it, the vCPU starts at the same address for each image, and can be set up before the image
/// is known. PVH does not define the content of `eax` (Xen's `docs/misc/pvh.pandoc`).
fn trampoline(entry: u32) -> [u8; TRAMPOLINE_SIZE] {
    let [a, b, c, d] = entry.to_le_bytes();
    [0xb8, a, b, c, d, 0xff, 0xe0, 0xf4]
}

/// Returns the boot page of a guest whose image has its entry at `entry`. Bytes that are not set
/// are zero.
///
/// # Errors
/// The command line is too long or contains a zero byte.
pub(super) fn boot_page(
    layout: &Layout,
    entry: u32,
    command_line: &str,
    modules: Modules<'_>,
) -> Result<Vec<u8>, BuildError> {
    let pv_command_line = modules.pv_kernel.map(|(_, command_line)| command_line);
    // Behind the other one and its zero.
    let pv_length = pv_command_line.map_or(0, |text| text.len() + 1);
    let length = command_line.len() + pv_length;
    if length > MAX_COMMAND_LINE {
        return Err(BuildError::CommandLineTooLong { length });
    }
    if command_line.contains('\0') || pv_command_line.is_some_and(|text| text.contains('\0')) {
        return Err(BuildError::CommandLineZero);
    }
    let base = layout.boot_page.0 << 12;
    let mut page = Page::new(COMMAND_LINE + length + 1);

    // The PV shim takes the first module as its kernel and the second as the ramdisk. Linux uses the
    // first as its ramdisk, so the device page comes second.
    let pv_place = COMMAND_LINE + command_line.len() + 1;
    let pv_kernel =
        modules.pv_kernel.map(|(kernel, _)| (kernel.address, kernel.size, base + pv_place as u64));
    let ramdisk = modules.ramdisk.map(|ramdisk| (ramdisk.address, ramdisk.size, 0));
    let device_page = layout
        .noxs
        .map(|noxs| (noxs.device_page.0 << 12, PAGE_SIZE as u64, base + MODULE_NAME as u64));
    let mut nr_modules = 0;
    let offsets = (MODULES..).step_by(size_of::<ModlistEntry>());
    let listed = pv_kernel.into_iter().chain(ramdisk).chain(device_page);
    for (at, (paddr, size, cmdline_paddr)) in offsets.zip(listed) {
        let module = ModlistEntry { paddr, size, cmdline_paddr, reserved: 0 };
        page.put(at, module.as_bytes());
        nr_modules += 1;
    }

    let mut memmap_entries = 0;
    let offsets = (MEMMAP..).step_by(size_of::<MemmapEntry>());
    for (at, range) in offsets.zip(layout.memory_map()) {
        let kind = match range.kind {
            MemoryKind::Ram => XEN_HVM_MEMMAP_TYPE_RAM,
            MemoryKind::Reserved => XEN_HVM_MEMMAP_TYPE_RESERVED,
        };
        let (addr, size) = (range.start, range.size.0);
        page.put(at, MemmapEntry { addr, size, kind, reserved: 0 }.as_bytes());
        memmap_entries += 1;
    }

    let info = StartInfo {
        magic: XEN_HVM_START_MAGIC_VALUE,
        version: VERSION,
        flags: 0,
        nr_modules,
        modlist_paddr: base + MODULES as u64,
        cmdline_paddr: base + COMMAND_LINE as u64,
        rsdp_paddr: layout.acpi.map_or(0, |tables| tables.0 << 12),
        memmap_paddr: base + MEMMAP as u64,
        memmap_entries,
        reserved: 0,
    };
    page.put(0, info.as_bytes());
    page.put(TRAMPOLINE, &trampoline(entry));
    page.put(MODULE_NAME, noxs::MODULE_NAME.as_bytes());
    page.put(COMMAND_LINE, command_line.as_bytes());
    if let Some(text) = pv_command_line {
        page.put(pv_place, text.as_bytes());
    }
    Ok(page.into_bytes())
}

#[cfg(test)]
mod tests {
    use xen::units::KiB;
    use xen_abi::start_info::{Physical, View};

    use super::super::flavour::Flavour;
    use super::*;
    use crate::config::{Limits, Store};

    fn layout() -> Layout {
        layout_of(Store::Noxs)
    }

    fn layout_of(store: Store) -> Layout {
        Layout::new(&Flavour {
            memory: KiB(8192),
            vcpus: 1,
            console: true,
            vifs: 1,
            disks: 0,
            limits: Limits::default(),
            store,
        })
    }

    /// A guest's memory that consists of the boot page only.
    struct Memory {
        base: u64,
        page: Vec<u8>,
    }

    impl Memory {
        fn new(layout: &Layout, page: Vec<u8>) -> Self {
            Self { base: layout.boot_page.0 << 12, page }
        }

        /// Returns what the guest reads.
        fn view(&self) -> View<'_, Self> {
            View::open(self, self.base).unwrap()
        }

        fn text(&self, address: u64) -> String {
            let range = self.view().text(address, 4096).unwrap();
            let mut bytes = vec![0; usize::try_from(range.end - range.start).unwrap()];
            self.view().bytes(range.start, &mut bytes).unwrap();
            String::from_utf8(bytes).unwrap()
        }
    }

    impl Physical for Memory {
        fn read(&self, address: u64, to: &mut [u8]) -> Option<()> {
            self.page[..].read(address.checked_sub(self.base)?, to)
        }
    }

    #[test]
    fn the_guest_reads_what_dom0_wrote() {
        let layout = layout();
        let ramdisk = Module { address: 0x10_0000, size: 5000 };
        let page = boot_page(
            &layout,
            0x10_0000,
            "console=hvc0",
            Modules { ramdisk: Some(ramdisk), ..Modules::default() },
        )
        .unwrap();
        let memory = Memory::new(&layout, page);
        let view = memory.view();
        assert_eq!(memory.text(view.info.cmdline_paddr), "console=hvc0");
        let modules: Vec<_> = view.modules(16).map(Result::unwrap).collect();
        // Linux uses the first module as its ramdisk.
        let [first, second] = modules[..] else { panic!("{modules:?}") };
        assert_eq!((first.paddr, first.size, first.cmdline_paddr), (0x10_0000, 5000, 0));
        assert_eq!(second.paddr, layout.noxs.unwrap().device_page.0 << 12);
        assert_eq!((second.size, memory.text(second.cmdline_paddr)), (4096, "noxs".to_owned()));
        let map: Vec<_> = view.memory_map().map(Result::unwrap).collect();
        let [low, specials] = map[..] else { panic!("{map:?}") };
        assert_eq!((low.addr, low.size, low.kind), (0, 8 << 20, XEN_HVM_MEMMAP_TYPE_RAM));
        assert_eq!((specials.addr, specials.kind), (8 << 20, XEN_HVM_MEMMAP_TYPE_RESERVED));
        assert_eq!(specials.addr + specials.size, layout.specials_end());
    }

    #[test]
    fn memory_above_the_hole_is_listed_too() {
        let memory = KiB(5 << 20);
        let flavour = Flavour {
            memory,
            vcpus: 1,
            console: true,
            vifs: 1,
            disks: 0,
            limits: Limits::default(),
            store: Store::Noxs,
        };
        let layout = Layout::new(&flavour);
        let memory = Memory::new(&layout, boot_page(&layout, 0, "", Modules::default()).unwrap());
        let view = memory.view();
        let map = view.memory_map().map(Result::unwrap);
        let ram: Vec<_> = map.filter(|entry| entry.kind == XEN_HVM_MEMMAP_TYPE_RAM).collect();
        assert_eq!(ram.iter().map(|entry| entry.size).sum::<u64>(), 5 << 30);
        assert_eq!(ram.last().unwrap().addr, 4 << 30);
    }

    #[test]
    fn the_first_instructions_jump_to_the_entry() {
        let page = boot_page(&layout(), 0x1234_5678, "", Modules::default()).unwrap();
        let code = [0xb8, 0x78, 0x56, 0x34, 0x12, 0xff, 0xe0];
        assert_eq!(page[TRAMPOLINE..TRAMPOLINE + code.len()], code);
    }

    #[test]
    fn in_xenstore_mode_there_is_no_device_page() {
        let layout = layout_of(Store::XenStore);
        let ramdisk = Module { address: 0x10_0000, size: 5000 };
        for (ramdisk, modules) in [(None, 0), (Some(ramdisk), 1)] {
            let page = boot_page(&layout, 0, "", Modules { ramdisk, pv_kernel: None }).unwrap();
            let memory = Memory::new(&layout, page);
            assert_eq!(memory.view().info.nr_modules, modules);
            assert_eq!(memory.view().info.rsdp_paddr, layout.acpi.unwrap().0 << 12);
        }
    }

    #[test]
    fn the_pv_shim_finds_its_kernel_before_the_ramdisk_and_each_command_line() {
        let layout = layout_of(Store::XenStore);
        let kernel = Module { address: 0x10_0000, size: 9000 };
        let ramdisk = Some(Module { address: 0x20_0000, size: 5000 });
        let modules = Modules { pv_kernel: Some((kernel, "root=/dev/xvda")), ramdisk };
        let memory = Memory::new(&layout, boot_page(&layout, 0, "pv-shim", modules).unwrap());
        let view = memory.view();
        assert_eq!(memory.text(view.info.cmdline_paddr), "pv-shim");
        let listed: Vec<_> = view.modules(16).map(Result::unwrap).collect();
        let [first, second] = listed[..] else { panic!("{listed:?}") };
        assert_eq!((first.paddr, first.size), (kernel.address, kernel.size));
        assert_eq!(memory.text(first.cmdline_paddr), "root=/dev/xvda");
        assert_eq!((second.paddr, second.size, second.cmdline_paddr), (0x20_0000, 5000, 0));
        // Both command lines must fit.
        let text = "x".repeat(MAX_COMMAND_LINE - "pv-shim".len());
        let modules = Modules { pv_kernel: Some((kernel, &text)), ramdisk: None };
        assert!(boot_page(&layout, 0, "pv-shim", modules).is_err());
        let modules = Modules { pv_kernel: Some((kernel, &text[1..])), ramdisk: None };
        assert!(boot_page(&layout, 0, "pv-shim", modules).is_ok());
    }

    #[test]
    fn a_command_line_that_does_not_fit_is_refused() {
        let fits = "x".repeat(MAX_COMMAND_LINE);
        assert!(boot_page(&layout(), 0, &fits, Modules::default()).is_ok());
        let error = boot_page(&layout(), 0, &(fits + "x"), Modules::default()).unwrap_err();
        assert!(
            matches!(error, BuildError::CommandLineTooLong { length } if length == MAX_COMMAND_LINE + 1)
        );
        assert!(matches!(
            boot_page(&layout(), 0, "a\0b", Modules::default()),
            Err(BuildError::CommandLineZero)
        ));
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! From the PVH entry point to the guest's `main`.
//!
//! `unsafe`: the entry is assembly, and start_info is read by its address.
#![allow(unsafe_code)]

use alloc::boxed::Box;
use core::arch::global_asm;
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, Ordering};

use noxs::Device;
use noxs::layout::{VERSION_MAJOR, VERSION_MINOR, note};
use xen_abi::sched::{SHUTDOWN_CRASH, SHUTDOWN_POWEROFF};
use xen_abi::start_info::{Physical, StartInfoError};

use crate::guest::Guest;
use crate::layout::{LARGE_PAGE, STACK_SIZE, pointer, to_usize};
use crate::start_info::{self, StartInfo};
use crate::{
    console, cpu, device_page, exceptions, heap, hypercall, paging, params, power, shared_info,
};

global_asm!(
    include_str!("boot.s"),
    stack_size = const STACK_SIZE,
    start = sym start,
    note_version = const note::VERSION,
    page_major = const VERSION_MAJOR,
    page_minor = const PAGE_MINOR,
    options(att_syntax),
);

/// The minor version of the device page in the note of boot.s: without the feature, chaos refuses IPv6
/// addresses.
const PAGE_MINOR: u16 = if cfg!(feature = "ipv6") { VERSION_MINOR } else { note::IPV6_SINCE - 1 };

// The owner of the note in boot.s.
const _: () = assert!(matches!(note::OWNER.as_bytes(), b"chaos"));

/// Whether the guest is printing a panic's message.
static PANICKING: AtomicBool = AtomicBool::new(false);

unsafe extern "C" {
    // Symbols of the linker script.
    static image_start: u8;
    static image_end: u8;
}

unsafe extern "Rust" {
    /// Defined by [`guest!`](crate::guest!), which checks its type.
    fn unikernel_main(guest: Guest);
}

/// The memory that boot.s has mapped, from address 0 to `end`.
struct Mapped {
    end: u64,
}

impl Physical for Mapped {
    // Not inlined: each caller's copy would make the image larger.
    #[inline(never)]
    fn read(&self, address: u64, to: &mut [u8]) -> Option<()> {
        let end = address.checked_add(to.len() as u64)?;
        if address == 0 || end > self.end {
            return None;
        }
        let from = pointer(address).cast_const();
        // SAFETY: the source must be readable and must not overlap `to`. It lies in memory that
        // boot.s has mapped, and dom0, which wrote it, does not write it while the guest runs. `to`
        // is the runtime's own memory, and what dom0 wrote lies outside of that. The copy is done
        // in assembly (`memcpy` of memory.s), so the source need not be a Rust object.
        unsafe { core::ptr::copy_nonoverlapping(from, to.as_mut_ptr(), to.len()) };
        Some(())
    }
}

/// Panics with the reason why `start_info` cannot be used. Not by its `Debug`, whose code would be in
/// each image.
#[cold]
fn refuse(at: u64, error: StartInfoError) -> ! {
    let (what, value) = match error {
        StartInfoError::Magic(found) => ("wrong magic number", u64::from(found)),
        StartInfoError::NoMemoryMap => ("empty memory map", 0),
        StartInfoError::Address(address) => ("address outside of memory", address),
    };
    panic!("start_info at {at:#x}: {what}: {value:#x}");
}

/// Starts the runtime: boot.s calls this at its end.
extern "sysv64" fn start(start_info_address: u64) -> ! {
    exceptions::install();
    hypercall::initialise();
    let mapped = Mapped { end: (start_info_address / LARGE_PAGE + 1) * LARGE_PAGE };
    let mut info = match start_info::parse(&mapped, start_info_address) {
        Ok(info) => info,
        Err(error) => refuse(start_info_address, error),
    };
    paging::protect(info.memory_end);
    info.memory
        .remove((&raw const image_start).addr() as u64..(&raw const image_end).addr() as u64);
    for piece in info.memory.iter() {
        // SAFETY: the heap needs memory that is mapped, writable and otherwise unused. The piece is
        // memory that the map lists as usable and `paging::protect` has mapped; the image, and what
        // start_info points to, were removed from it.
        unsafe { heap::add(piece) };
    }
    let guest = connect(&info);
    // SAFETY: the function must exist with this type. `guest!` defines it so, and a guest without
    // it does not link.
    unsafe { unikernel_main(guest) };
    hypercall::shutdown(SHUTDOWN_POWEROFF)
}

/// Finds the devices, and sets up those of the runtime: time and events, the console, power
/// requests.
#[inline(never)]
fn connect(info: &StartInfo) -> Guest {
    let address = info.device_page.unwrap_or_default();
    let page = match info.device_page.map(device_page::read) {
        Some(Ok(page)) => Box::new(page),
        Some(Err(error)) => panic!("device page at {address:#x}: {error}"),
        None => Box::new(params::device_page()),
    };
    let mut overlay = page.overlay.gfn..page.overlay.gfn + u64::from(page.overlay.frames);
    let frame = overlay.next().or_else(heap::take_frame);
    match frame.map(shared_info::map) {
        Some(Ok(())) => {}
        Some(Err(error)) => panic!("cannot map shared_info: {error}"),
        None => panic!("no memory for shared_info"),
    }
    for device in page.devices() {
        if let Device::Console(console) = device {
            console::initialise(console);
        }
    }
    power::initialise(address, &page);
    let (start, end) = (info.command_line.start, info.command_line.end);
    let bytes = match end - start {
        0 => &[][..],
        // SAFETY: the bytes must be mapped and not change. `start_info::parse` has read the range,
        // so it is mapped, and has removed it from the heap's memory; dom0 does not write it while
        // the guest runs.
        length => unsafe { core::slice::from_raw_parts(pointer(start), to_usize(length)) },
    };
    Guest::new(page, address, overlay, core::str::from_utf8(bytes).unwrap_or_default())
}

/// Prints the message to Xen's console and the guest's, and shuts the domain down as crashed.
#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    use core::fmt::Write;

    struct Xen;

    impl Write for Xen {
        fn write_str(&mut self, text: &str) -> core::fmt::Result {
            cpu::xen_debug_print(text);
            Ok(())
        }
    }

    // A panic in the code below must not start over.
    if PANICKING.swap(true, Ordering::Relaxed) {
        cpu::halt()
    }
    // Xen's console first: it needs no device.
    let _ = writeln!(Xen, "{info}");
    console::print(format_args!("{info}\n"));
    hypercall::shutdown(SHUTDOWN_CRASH)
}

// The precompiled core library refers to these for unwinding, which never happens: a panic shuts
// the domain down.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}

#[unsafe(no_mangle)]
extern "C" fn _Unwind_Resume() -> ! {
    cpu::halt()
}

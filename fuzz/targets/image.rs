// SPDX-License-Identifier: GPL-3.0-or-later
//! Kernels: ELF, bzImage, and each format in which they may be packed.
#![no_main]

use chaos::image::{Image, SizeLimit};
use libfuzzer_sys::fuzz_target;
use xen::units::KiB;

fuzz_target!(|bytes: &[u8]| {
    let limit = SizeLimit::of_guest(KiB(1 << 10));
    if let Ok(image) = Image::parse(bytes.to_vec(), limit) {
        for segment in image.segments() {
            let _ = image.content(segment);
        }
        assert!(image.end() > 0);
    }
});

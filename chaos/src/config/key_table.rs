// SPDX-License-Identifier: GPL-3.0-or-later
//! The table of all keys: those of `xl_parse.c` and of the manual page xl.cfg(5) in Xen 4.21, and
//! those of chaos. What xl does with a key for PVH guests is read from `xl_parse.c`, and from
//! `libxl_create.c` and `libxl_x86.c` in `tools/libs/light`.

use super::keys::Accepted::{Host, Nothing, One};
use super::keys::KeySupport::{Granted, Ignored, Limited, Own, Supported};
use super::keys::WhyNot::{
    Arm, CpuFeature, Device, Firmware, GrantVersion, HostAccess, Label, Numa, Passthrough, Shadow,
    XenStore,
};
use super::keys::{ConfigKey, KeySupport};
use super::spelling::nearest;

const fn key(name: &'static str, support: KeySupport) -> ConfigKey {
    ConfigKey { name, support }
}

/// All known keys, sorted by name.
pub const KEYS: &[ConfigKey] = &[
    key("acpi", Ignored),
    key("acpi_firmware", Ignored),
    key("acpi_laptop_slate", Ignored),
    key("acpi_s3", Ignored),
    key("acpi_s4", Ignored),
    key("altp2m", Limited(Nothing, CpuFeature)),
    key("altp2m_count", Limited(Nothing, CpuFeature)),
    key("altp2mhvm", Ignored),
    key("apic", Ignored),
    key("arm_sci", Ignored),
    key("bios", Ignored),
    key("bios_path_override", Ignored),
    key("boot", Ignored),
    key("bootloader", Supported),
    key("bootloader_args", Supported),
    key("bootloader_restrict", Supported),
    key("bootloader_user", Supported),
    key("builder", Supported),
    key("cap", Supported),
    key("channel", Limited(Nothing, Device)),
    key("cmdline", Supported),
    key("console", Own),
    key("cpu_weight", Supported),
    key("cpuid", Limited(Host, CpuFeature)),
    key("cpus", Supported),
    key("cpus_soft", Supported),
    key("device_model", Ignored),
    key("device_model_args", Ignored),
    key("device_model_args_hvm", Ignored),
    key("device_model_args_pv", Ignored),
    key("device_model_override", Ignored),
    key("device_model_stubdomain_override", Ignored),
    key("device_model_stubdomain_seclabel", Ignored),
    key("device_model_user", Ignored),
    key("device_model_version", Ignored),
    key("device_tree", Ignored),
    key("disk", Supported),
    key("display", Ignored),
    key("dm_restrict", Ignored),
    key("driver_domain", Supported),
    key("dtdev", Limited(Nothing, Passthrough)),
    key("e820_host", Ignored),
    key("extra", Supported),
    // Of the scheduler RTDS only, as `period`.
    key("extratime", Ignored),
    key("firmware", Limited(Nothing, Firmware)),
    key("firmware_override", Ignored),
    key("gfx_passthru", Ignored),
    key("gic_version", Ignored),
    key("hap", Limited(One, Shadow)),
    key("hdtype", Ignored),
    key("hpet", Ignored),
    key("hvm_pirq", Ignored),
    key("init_seclabel", Limited(Nothing, Label)),
    key("iomem", Limited(Nothing, HostAccess)),
    key("ioports", Limited(Nothing, HostAccess)),
    key("irqs", Limited(Nothing, HostAccess)),
    key("kernel", Supported),
    key("keymap", Ignored),
    key("latency", Ignored),
    key("llc_colors", Limited(Nothing, Arm)),
    key("localtime", Supported),
    key("max_event_channels", Supported),
    key("max_grant_frames", Supported),
    key("max_grant_version", Limited(One, GrantVersion)),
    key("max_maptrack_frames", Supported),
    key("maxmem", Supported),
    key("maxvcpus", Supported),
    key("mca_caps", Ignored),
    key("memory", Supported),
    key("mmio_hole", Ignored),
    key("ms_vm_genid", Ignored),
    key("msr_relaxed", Limited(Nothing, CpuFeature)),
    key("name", Supported),
    key("nestedhvm", Limited(Nothing, CpuFeature)),
    key("nographic", Ignored),
    key("nomigrate", Granted),
    key("nr_spis", Ignored),
    key("nx", Ignored),
    key("on_crash", Supported),
    key("on_poweroff", Supported),
    key("on_reboot", Supported),
    key("on_soft_reset", Supported),
    key("on_watchdog", Supported),
    key("oos", Granted),
    key("opengl", Ignored),
    key("p9", Limited(Nothing, Device)),
    key("pae", Ignored),
    key("passthrough", Limited(Nothing, Passthrough)),
    key("pci", Limited(Nothing, Passthrough)),
    key("pci_msitranslate", Ignored),
    key("pci_permissive", Ignored),
    key("pci_power_mgmt", Ignored),
    key("pci_seize", Ignored),
    key("period", Ignored),
    key("pool", Supported),
    key("pvcalls", Limited(Nothing, Device)),
    key("pvshim", Supported),
    key("pvshim_cmdline", Supported),
    key("pvshim_extra", Supported),
    key("pvshim_path", Supported),
    key("ramdisk", Supported),
    key("rdm", Ignored),
    key("rdm_mem_boundary", Ignored),
    key("root", Supported),
    key("rtc_timeoffset", Supported),
    key("sdl", Ignored),
    key("seclabel", Limited(Nothing, Label)),
    key("serial", Ignored),
    key("shadow_memory", Granted),
    key("slice", Ignored),
    key("smbios", Ignored),
    key("smbios_firmware", Ignored),
    key("soundhw", Ignored),
    key("spice", Ignored),
    key("spice_clipboard_sharing", Ignored),
    key("spice_image_compression", Ignored),
    key("spice_streaming_video", Ignored),
    key("spiceagent_mouse", Ignored),
    key("spicedisable_ticketing", Ignored),
    key("spicehost", Ignored),
    key("spicepasswd", Ignored),
    key("spiceport", Ignored),
    key("spicetls_port", Ignored),
    key("spiceusbredirection", Ignored),
    key("spicevdagent", Ignored),
    key("stdvga", Ignored),
    key("store", Own),
    key("stubdomain_cmdline", Ignored),
    key("stubdomain_kernel", Ignored),
    key("stubdomain_memory", Ignored),
    key("stubdomain_ramdisk", Ignored),
    key("sve", Ignored),
    key("tee", Ignored),
    key("timer_mode", Supported),
    key("trap_unmapped_accesses", Limited(Nothing, Arm)),
    key("tsc_mode", Supported),
    key("type", Supported),
    key("usb", Ignored),
    key("usbctrl", Limited(Nothing, Device)),
    key("usbdev", Limited(Nothing, Device)),
    key("usbdevice", Ignored),
    key("usbversion", Ignored),
    key("uuid", Supported),
    key("vcpus", Supported),
    key("vdispl", Limited(Nothing, Device)),
    key("vendor_device", Ignored),
    // A paravirtual screen in xl. Guests without one use their console.
    key("vfb", Ignored),
    key("vga", Ignored),
    // xl takes this much of the guest's memory for a screen that the guest does not have.
    key("videoram", Ignored),
    key("vif", Supported),
    key("vif2", Ignored),
    key("viridian", Ignored),
    key("virtio", Limited(Nothing, Device)),
    // The keyboard of a vfb.
    key("vkb", Ignored),
    key("vkb_device", Ignored),
    key("vmtrace_buf_kb", Limited(Nothing, CpuFeature)),
    key("vnc", Ignored),
    key("vncdisplay", Ignored),
    key("vnclisten", Ignored),
    key("vncpasswd", Ignored),
    key("vncunused", Ignored),
    key("vncviewer", Ignored),
    key("vnuma", Limited(Nothing, Numa)),
    key("vpmu", Limited(Nothing, CpuFeature)),
    key("vpt_align", Ignored),
    key("vsnd", Limited(Nothing, Device)),
    key("vtpm", Limited(Nothing, Device)),
    key("vuart", Ignored),
    key("xauthority", Ignored),
    key("xen_platform_pci", Ignored),
    key("xen_platform_pci_bar_uc", Ignored),
    key("xend_suspend_evtchn_compat", Granted),
    key("xenstore_feature_mask", Limited(Nothing, XenStore)),
    key("xenstore_quota", Limited(Nothing, XenStore)),
];

/// Returns the key with this name.
pub(super) fn find(name: &str) -> Option<ConfigKey> {
    KEYS.binary_search_by(|key| key.name.cmp(name)).ok().and_then(|at| KEYS.get(at)).copied()
}

/// Returns the known key that a misspelt one most likely means.
pub(super) fn nearest_key(name: &str) -> Option<&'static str> {
    nearest(name, KEYS.iter().map(|key| key.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_so_that_every_key_is_found() {
        assert!(KEYS.is_sorted_by(|a, b| a.name < b.name));
        for key in KEYS {
            assert_eq!(find(key.name), Some(*key));
        }
        assert_eq!(find("memroy"), None);
    }

    #[test]
    fn a_misspelt_key_has_a_suggestion() {
        assert_eq!(nearest_key("memroy"), Some("memory"));
        assert_eq!(nearest_key("vcpu"), Some("vcpus"));
        assert_eq!(nearest_key("on_power_off"), Some("on_poweroff"));
        assert_eq!(nearest_key("skip_cloning"), None);
        assert_eq!(nearest_key("zzz"), None);
    }
}

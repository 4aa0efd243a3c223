// SPDX-License-Identifier: GPL-3.0-or-later
//! The table of all keys: those of `xl_parse.c` and of the manual page xl.cfg(5) in Xen 4.21, and
//! those of chaos.

use super::keys::KeySupport::{DeviceList, NotSupported, Own, Supported};
use super::keys::WhyNot::{Arm, Bootloader, DeviceModel, NotYet, Pv, XenStore};
use super::keys::{ConfigKey, KeySupport};
use super::spelling::nearest;

const fn key(name: &'static str, support: KeySupport) -> ConfigKey {
    ConfigKey { name, support }
}

/// All known keys, sorted by name.
pub const KEYS: &[ConfigKey] = &[
    key("acpi", NotSupported(DeviceModel)),
    key("acpi_firmware", NotSupported(DeviceModel)),
    key("acpi_laptop_slate", NotSupported(DeviceModel)),
    key("acpi_s3", NotSupported(DeviceModel)),
    key("acpi_s4", NotSupported(DeviceModel)),
    key("altp2m", NotSupported(NotYet)),
    key("altp2m_count", NotSupported(NotYet)),
    key("altp2mhvm", NotSupported(DeviceModel)),
    key("apic", NotSupported(DeviceModel)),
    key("arm_sci", NotSupported(Arm)),
    key("bios", NotSupported(DeviceModel)),
    key("bios_path_override", NotSupported(DeviceModel)),
    key("boot", NotSupported(DeviceModel)),
    key("bootloader", NotSupported(Bootloader)),
    key("bootloader_args", NotSupported(Bootloader)),
    key("bootloader_restrict", NotSupported(Bootloader)),
    key("bootloader_user", NotSupported(Bootloader)),
    key("builder", Supported),
    key("cap", NotSupported(NotYet)),
    key("channel", DeviceList),
    key("cmdline", Supported),
    key("console", Own),
    key("cpu_weight", NotSupported(NotYet)),
    key("cpuid", NotSupported(NotYet)),
    key("cpus", NotSupported(NotYet)),
    key("cpus_soft", NotSupported(NotYet)),
    key("device_model", NotSupported(DeviceModel)),
    key("device_model_args", NotSupported(DeviceModel)),
    key("device_model_args_hvm", NotSupported(DeviceModel)),
    key("device_model_args_pv", NotSupported(DeviceModel)),
    key("device_model_override", NotSupported(DeviceModel)),
    key("device_model_stubdomain_override", NotSupported(DeviceModel)),
    key("device_model_stubdomain_seclabel", NotSupported(DeviceModel)),
    key("device_model_user", NotSupported(DeviceModel)),
    key("device_model_version", NotSupported(DeviceModel)),
    key("device_tree", NotSupported(Arm)),
    key("disk", Supported),
    key("display", NotSupported(DeviceModel)),
    key("dm_restrict", NotSupported(DeviceModel)),
    key("driver_domain", NotSupported(NotYet)),
    key("dtdev", DeviceList),
    key("e820_host", NotSupported(Pv)),
    key("extra", Supported),
    key("extratime", NotSupported(NotYet)),
    key("firmware", NotSupported(DeviceModel)),
    key("firmware_override", NotSupported(DeviceModel)),
    key("gfx_passthru", NotSupported(DeviceModel)),
    key("gic_version", NotSupported(Arm)),
    key("hap", NotSupported(NotYet)),
    key("hdtype", NotSupported(DeviceModel)),
    key("hpet", NotSupported(DeviceModel)),
    key("hvm_pirq", NotSupported(DeviceModel)),
    key("init_seclabel", NotSupported(NotYet)),
    key("iomem", DeviceList),
    key("ioports", DeviceList),
    key("irqs", DeviceList),
    key("kernel", Supported),
    key("keymap", NotSupported(DeviceModel)),
    key("latency", NotSupported(NotYet)),
    key("llc_colors", NotSupported(Arm)),
    key("localtime", NotSupported(NotYet)),
    key("max_event_channels", NotSupported(NotYet)),
    key("max_grant_frames", NotSupported(NotYet)),
    key("max_grant_version", NotSupported(NotYet)),
    key("max_maptrack_frames", NotSupported(NotYet)),
    key("maxmem", Supported),
    key("maxvcpus", Supported),
    key("mca_caps", NotSupported(DeviceModel)),
    key("memory", Supported),
    key("mmio_hole", NotSupported(DeviceModel)),
    key("ms_vm_genid", NotSupported(DeviceModel)),
    key("msr_relaxed", NotSupported(NotYet)),
    key("name", Supported),
    key("nestedhvm", NotSupported(NotYet)),
    key("nographic", NotSupported(DeviceModel)),
    key("nomigrate", NotSupported(NotYet)),
    key("nr_spis", NotSupported(Arm)),
    key("nx", NotSupported(DeviceModel)),
    key("on_crash", Supported),
    key("on_poweroff", Supported),
    key("on_reboot", Supported),
    key("on_soft_reset", NotSupported(NotYet)),
    key("on_watchdog", NotSupported(NotYet)),
    key("oos", NotSupported(NotYet)),
    key("opengl", NotSupported(DeviceModel)),
    key("p9", DeviceList),
    key("pae", NotSupported(DeviceModel)),
    key("passthrough", NotSupported(NotYet)),
    key("pci", DeviceList),
    key("pci_msitranslate", NotSupported(NotYet)),
    key("pci_permissive", NotSupported(NotYet)),
    key("pci_power_mgmt", NotSupported(NotYet)),
    key("pci_seize", NotSupported(NotYet)),
    key("period", NotSupported(NotYet)),
    key("pool", NotSupported(NotYet)),
    key("pvcalls", DeviceList),
    key("pvshim", NotSupported(Pv)),
    key("pvshim_cmdline", NotSupported(Pv)),
    key("pvshim_extra", NotSupported(Pv)),
    key("pvshim_path", NotSupported(Pv)),
    key("ramdisk", Supported),
    key("rdm", NotSupported(DeviceModel)),
    key("rdm_mem_boundary", NotSupported(DeviceModel)),
    key("root", Supported),
    key("rtc_timeoffset", NotSupported(NotYet)),
    key("sdl", NotSupported(DeviceModel)),
    key("seclabel", NotSupported(NotYet)),
    key("serial", NotSupported(DeviceModel)),
    key("shadow_memory", NotSupported(NotYet)),
    key("slice", NotSupported(NotYet)),
    key("smbios", NotSupported(DeviceModel)),
    key("smbios_firmware", NotSupported(DeviceModel)),
    key("soundhw", NotSupported(DeviceModel)),
    key("spice", NotSupported(DeviceModel)),
    key("spice_clipboard_sharing", NotSupported(DeviceModel)),
    key("spice_image_compression", NotSupported(DeviceModel)),
    key("spice_streaming_video", NotSupported(DeviceModel)),
    key("spiceagent_mouse", NotSupported(DeviceModel)),
    key("spicedisable_ticketing", NotSupported(DeviceModel)),
    key("spicehost", NotSupported(DeviceModel)),
    key("spicepasswd", NotSupported(DeviceModel)),
    key("spiceport", NotSupported(DeviceModel)),
    key("spicetls_port", NotSupported(DeviceModel)),
    key("spiceusbredirection", NotSupported(DeviceModel)),
    key("spicevdagent", NotSupported(DeviceModel)),
    key("stdvga", NotSupported(DeviceModel)),
    key("store", Own),
    key("stubdomain_cmdline", NotSupported(DeviceModel)),
    key("stubdomain_kernel", NotSupported(DeviceModel)),
    key("stubdomain_memory", NotSupported(DeviceModel)),
    key("stubdomain_ramdisk", NotSupported(DeviceModel)),
    key("sve", NotSupported(Arm)),
    key("tee", NotSupported(Arm)),
    key("timer_mode", NotSupported(NotYet)),
    key("trap_unmapped_accesses", NotSupported(Arm)),
    key("tsc_mode", NotSupported(NotYet)),
    key("type", Supported),
    key("usb", NotSupported(DeviceModel)),
    key("usbctrl", DeviceList),
    key("usbdev", DeviceList),
    key("usbdevice", NotSupported(DeviceModel)),
    key("usbversion", NotSupported(DeviceModel)),
    key("uuid", NotSupported(NotYet)),
    key("vcpus", Supported),
    key("vdispl", DeviceList),
    key("vendor_device", NotSupported(DeviceModel)),
    key("vfb", DeviceList),
    key("vga", NotSupported(DeviceModel)),
    key("videoram", NotSupported(DeviceModel)),
    key("vif", Supported),
    key("vif2", DeviceList),
    key("viridian", NotSupported(DeviceModel)),
    key("virtio", DeviceList),
    key("vkb", DeviceList),
    key("vkb_device", NotSupported(DeviceModel)),
    key("vmtrace_buf_kb", NotSupported(NotYet)),
    key("vnc", NotSupported(DeviceModel)),
    key("vncdisplay", NotSupported(DeviceModel)),
    key("vnclisten", NotSupported(DeviceModel)),
    key("vncpasswd", NotSupported(DeviceModel)),
    key("vncunused", NotSupported(DeviceModel)),
    key("vncviewer", NotSupported(DeviceModel)),
    key("vnuma", DeviceList),
    key("vpmu", NotSupported(NotYet)),
    key("vpt_align", NotSupported(DeviceModel)),
    key("vsnd", DeviceList),
    key("vtpm", DeviceList),
    key("vuart", NotSupported(Arm)),
    key("xauthority", NotSupported(DeviceModel)),
    key("xen_platform_pci", NotSupported(DeviceModel)),
    key("xen_platform_pci_bar_uc", NotSupported(DeviceModel)),
    key("xend_suspend_evtchn_compat", NotSupported(NotYet)),
    key("xenstore_feature_mask", NotSupported(XenStore)),
    key("xenstore_quota", NotSupported(XenStore)),
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

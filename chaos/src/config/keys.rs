//! All keys: those of xl, and ours.
//!
//! The list is that of `xl_parse.c` and the manual page xl.cfg(5) of Xen 4.21.

use std::fmt;

use Service::{DeviceList, NotServed, Own, Served};
use WhyNot::{Arm, DeviceModel, NotYet, Pv, XenStore};

/// A known key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// How it is written.
    pub name: &'static str,
    /// Whether it has an effect.
    pub service: Service,
}

/// Whether a key has an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// As in xl.
    Served,
    /// A key that xl does not know and ignores.
    Own,
    /// A list of devices that are not served yet. An empty list asks for nothing and is accepted.
    DeviceList,
    /// Known to xl, refused here.
    NotServed(WhyNot),
}

/// Why a key of xl is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhyNot {
    /// It may be one day.
    NotYet,
    /// It is about devices that an emulator gives to HVM guests.
    DeviceModel,
    /// It is about PV guests.
    Pv,
    /// It is about Arm machines.
    Arm,
    /// It is about the guest's part of XenStore.
    XenStore,
}

impl fmt::Display for WhyNot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NotYet => "xl knows it, chaos does not yet",
            DeviceModel => "it is about emulated hardware, and a PVH guest has no device model",
            Pv => "it is about PV guests, and chaos makes PVH guests",
            Arm => "it is about Arm, and chaos makes guests for x86",
            XenStore => "chaos sets no quotas in XenStore",
        })
    }
}

const fn key(name: &'static str, service: Service) -> Key {
    Key { name, service }
}

/// All known keys, sorted by name.
pub const KEYS: &[Key] = &[
    key("acpi", NotServed(DeviceModel)),
    key("acpi_firmware", NotServed(DeviceModel)),
    key("acpi_laptop_slate", NotServed(DeviceModel)),
    key("acpi_s3", NotServed(DeviceModel)),
    key("acpi_s4", NotServed(DeviceModel)),
    key("altp2m", NotServed(NotYet)),
    key("altp2m_count", NotServed(NotYet)),
    key("altp2mhvm", NotServed(DeviceModel)),
    key("apic", NotServed(DeviceModel)),
    key("arm_sci", NotServed(Arm)),
    key("bios", NotServed(DeviceModel)),
    key("bios_path_override", NotServed(DeviceModel)),
    key("boot", NotServed(DeviceModel)),
    key("bootloader", NotServed(Pv)),
    key("bootloader_args", NotServed(Pv)),
    key("bootloader_restrict", NotServed(Pv)),
    key("bootloader_user", NotServed(Pv)),
    key("builder", Served),
    key("cap", NotServed(NotYet)),
    key("channel", DeviceList),
    key("cmdline", Served),
    key("console", Own),
    key("cpu_weight", NotServed(NotYet)),
    key("cpuid", NotServed(NotYet)),
    key("cpus", NotServed(NotYet)),
    key("cpus_soft", NotServed(NotYet)),
    key("device_model", NotServed(DeviceModel)),
    key("device_model_args", NotServed(DeviceModel)),
    key("device_model_args_hvm", NotServed(DeviceModel)),
    key("device_model_args_pv", NotServed(DeviceModel)),
    key("device_model_override", NotServed(DeviceModel)),
    key("device_model_stubdomain_override", NotServed(DeviceModel)),
    key("device_model_stubdomain_seclabel", NotServed(DeviceModel)),
    key("device_model_user", NotServed(DeviceModel)),
    key("device_model_version", NotServed(DeviceModel)),
    key("device_tree", NotServed(Arm)),
    key("disk", Served),
    key("display", NotServed(DeviceModel)),
    key("dm_restrict", NotServed(DeviceModel)),
    key("driver_domain", NotServed(NotYet)),
    key("dtdev", DeviceList),
    key("e820_host", NotServed(Pv)),
    key("extra", Served),
    key("extratime", NotServed(NotYet)),
    key("firmware", NotServed(DeviceModel)),
    key("firmware_override", NotServed(DeviceModel)),
    key("gfx_passthru", NotServed(DeviceModel)),
    key("gic_version", NotServed(Arm)),
    key("hap", NotServed(NotYet)),
    key("hdtype", NotServed(DeviceModel)),
    key("hpet", NotServed(DeviceModel)),
    key("hvm_pirq", NotServed(DeviceModel)),
    key("init_seclabel", NotServed(NotYet)),
    key("iomem", DeviceList),
    key("ioports", DeviceList),
    key("irqs", DeviceList),
    key("kernel", Served),
    key("keymap", NotServed(DeviceModel)),
    key("latency", NotServed(NotYet)),
    key("llc_colors", NotServed(Arm)),
    key("localtime", NotServed(NotYet)),
    key("max_event_channels", NotServed(NotYet)),
    key("max_grant_frames", NotServed(NotYet)),
    key("max_grant_version", NotServed(NotYet)),
    key("max_maptrack_frames", NotServed(NotYet)),
    key("maxmem", Served),
    key("maxvcpus", Served),
    key("mca_caps", NotServed(DeviceModel)),
    key("memory", Served),
    key("mmio_hole", NotServed(DeviceModel)),
    key("ms_vm_genid", NotServed(DeviceModel)),
    key("msr_relaxed", NotServed(NotYet)),
    key("name", Served),
    key("nestedhvm", NotServed(NotYet)),
    key("nographic", NotServed(DeviceModel)),
    key("nomigrate", NotServed(NotYet)),
    key("nr_spis", NotServed(Arm)),
    key("nx", NotServed(DeviceModel)),
    key("on_crash", Served),
    key("on_poweroff", Served),
    key("on_reboot", Served),
    key("on_soft_reset", NotServed(NotYet)),
    key("on_watchdog", NotServed(NotYet)),
    key("oos", NotServed(NotYet)),
    key("opengl", NotServed(DeviceModel)),
    key("p9", DeviceList),
    key("pae", NotServed(DeviceModel)),
    key("passthrough", NotServed(NotYet)),
    key("pci", DeviceList),
    key("pci_msitranslate", NotServed(NotYet)),
    key("pci_permissive", NotServed(NotYet)),
    key("pci_power_mgmt", NotServed(NotYet)),
    key("pci_seize", NotServed(NotYet)),
    key("period", NotServed(NotYet)),
    key("pool", NotServed(NotYet)),
    key("pvcalls", DeviceList),
    key("pvshim", NotServed(Pv)),
    key("pvshim_cmdline", NotServed(Pv)),
    key("pvshim_extra", NotServed(Pv)),
    key("pvshim_path", NotServed(Pv)),
    key("ramdisk", Served),
    key("rdm", NotServed(DeviceModel)),
    key("rdm_mem_boundary", NotServed(DeviceModel)),
    key("root", Served),
    key("rtc_timeoffset", NotServed(NotYet)),
    key("sdl", NotServed(DeviceModel)),
    key("seclabel", NotServed(NotYet)),
    key("serial", NotServed(DeviceModel)),
    key("shadow_memory", NotServed(NotYet)),
    key("slice", NotServed(NotYet)),
    key("smbios", NotServed(DeviceModel)),
    key("smbios_firmware", NotServed(DeviceModel)),
    key("soundhw", NotServed(DeviceModel)),
    key("spice", NotServed(DeviceModel)),
    key("spice_clipboard_sharing", NotServed(DeviceModel)),
    key("spice_image_compression", NotServed(DeviceModel)),
    key("spice_streaming_video", NotServed(DeviceModel)),
    key("spiceagent_mouse", NotServed(DeviceModel)),
    key("spicedisable_ticketing", NotServed(DeviceModel)),
    key("spicehost", NotServed(DeviceModel)),
    key("spicepasswd", NotServed(DeviceModel)),
    key("spiceport", NotServed(DeviceModel)),
    key("spicetls_port", NotServed(DeviceModel)),
    key("spiceusbredirection", NotServed(DeviceModel)),
    key("spicevdagent", NotServed(DeviceModel)),
    key("stdvga", NotServed(DeviceModel)),
    key("store", Own),
    key("stubdomain_cmdline", NotServed(DeviceModel)),
    key("stubdomain_kernel", NotServed(DeviceModel)),
    key("stubdomain_memory", NotServed(DeviceModel)),
    key("stubdomain_ramdisk", NotServed(DeviceModel)),
    key("sve", NotServed(Arm)),
    key("tee", NotServed(Arm)),
    key("timer_mode", NotServed(NotYet)),
    key("trap_unmapped_accesses", NotServed(Arm)),
    key("tsc_mode", NotServed(NotYet)),
    key("type", Served),
    key("usb", NotServed(DeviceModel)),
    key("usbctrl", DeviceList),
    key("usbdev", DeviceList),
    key("usbdevice", NotServed(DeviceModel)),
    key("usbversion", NotServed(DeviceModel)),
    key("uuid", NotServed(NotYet)),
    key("vcpus", Served),
    key("vdispl", DeviceList),
    key("vendor_device", NotServed(DeviceModel)),
    key("vfb", DeviceList),
    key("vga", NotServed(DeviceModel)),
    key("videoram", NotServed(DeviceModel)),
    key("vif", Served),
    key("vif2", DeviceList),
    key("viridian", NotServed(DeviceModel)),
    key("virtio", DeviceList),
    key("vkb", DeviceList),
    key("vkb_device", NotServed(DeviceModel)),
    key("vmtrace_buf_kb", NotServed(NotYet)),
    key("vnc", NotServed(DeviceModel)),
    key("vncdisplay", NotServed(DeviceModel)),
    key("vnclisten", NotServed(DeviceModel)),
    key("vncpasswd", NotServed(DeviceModel)),
    key("vncunused", NotServed(DeviceModel)),
    key("vncviewer", NotServed(DeviceModel)),
    key("vnuma", DeviceList),
    key("vpmu", NotServed(NotYet)),
    key("vpt_align", NotServed(DeviceModel)),
    key("vsnd", DeviceList),
    key("vtpm", DeviceList),
    key("vuart", NotServed(Arm)),
    key("xauthority", NotServed(DeviceModel)),
    key("xen_platform_pci", NotServed(DeviceModel)),
    key("xen_platform_pci_bar_uc", NotServed(DeviceModel)),
    key("xend_suspend_evtchn_compat", NotServed(NotYet)),
    key("xenstore_feature_mask", NotServed(XenStore)),
    key("xenstore_quota", NotServed(XenStore)),
];

/// The key with this name.
pub(super) fn find(name: &str) -> Option<Key> {
    KEYS.binary_search_by(|key| key.name.cmp(name)).ok().and_then(|at| KEYS.get(at)).copied()
}

/// The known key that a misspelt one most likely stands for.
pub(super) fn nearest_key(name: &str) -> Option<&'static str> {
    nearest(name, KEYS.iter().map(|key| key.name))
}

/// The candidate that takes the fewest changes of letters, if these are few for its length.
pub(super) fn nearest<'a>(
    name: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    // The cost grows with both lengths; what is far longer than any key resembles none.
    if name.len() > 64 {
        return None;
    }
    candidates
        .map(|candidate| (strsim::osa_distance(name, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.len() / 3).max(1))
        .min()
        .map(|(_, candidate)| candidate)
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
    fn a_misspelt_key_is_recognized() {
        assert_eq!(nearest_key("memroy"), Some("memory"));
        assert_eq!(nearest_key("vcpu"), Some("vcpus"));
        assert_eq!(nearest_key("on_power_off"), Some("on_poweroff"));
        assert_eq!(nearest_key("skip_cloning"), None);
        assert_eq!(nearest_key("zzz"), None);
    }
}

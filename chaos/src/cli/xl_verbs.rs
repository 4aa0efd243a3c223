// SPDX-License-Identifier: GPL-3.0-or-later
//! Commands of xl that chaos does not have, and why. `xl help --long` lists all of them.

/// Why chaos does not have a command, and what to do instead.
const REASONS: &[(&[&str], &str)] = &[
    (
        &["save", "restore"],
        "chaos does not save guests yet; shut the guest down, and create it again: chaos shutdown -w",
    ),
    (
        &["migrate", "migrate-receive"],
        "chaos does not save guests yet, so it moves none to another host; shut the guest down, and \
         create it there",
    ),
    (
        &["suspend", "resume"],
        "chaos does not save guests yet, so it suspends none; stop its vCPUs: chaos pause, chaos unpause",
    ),
    (&["cd-insert", "cd-eject"], "a PVH guest has no CD drive; add a disk: chaos block-attach"),
    (
        &["vncviewer", "screenshot"],
        "a PVH guest has no display; attach to its console: chaos console",
    ),
    (&["qemu-monitor-command"], "chaos starts no QEMU for a guest, so there is no monitor"),
    (
        &[
            "usbctrl-attach",
            "usbctrl-detach",
            "usb-list",
            "usbdev-attach",
            "usbdev-detach",
            "pci-attach",
            "pci-detach",
            "pci-list",
            "vtpm-attach",
            "vtpm-detach",
            "vtpm-list",
            "vdispl-attach",
            "vdispl-detach",
            "vdispl-list",
            "vsnd-attach",
            "vsnd-detach",
            "vsnd-list",
            "vkb-attach",
            "vkb-detach",
            "vkb-list",
            "channel-list",
            "dt-overlay",
        ],
        "chaos has no devices of this kind; a guest has consoles, vifs and disks",
    ),
    (
        &["pci-assignable-add", "pci-assignable-remove", "pci-assignable-list"],
        "a guest of chaos has no PCI device of the host; use xl",
    ),
    (
        &["getenforce", "setenforce", "loadpolicy"],
        "it concerns the whole host, not the guests of chaos; use xl",
    ),
    (
        &[
            "psr-hwinfo",
            "psr-cmt-attach",
            "psr-cmt-detach",
            "psr-cmt-show",
            "psr-cat-cbm-set",
            "psr-cat-set",
            "psr-cat-show",
            "psr-mba-set",
            "psr-mba-show",
            "set-parameters",
            "get-parameters",
            "claims",
            "xenstore-quota-get",
            "xenstore-quota-set",
            "tmem-list",
            "tmem-freeable",
            "tmem-freeze",
            "tmem-thaw",
            "tmem-set",
            "tmem-shared-auth",
        ],
        "it concerns the whole host, not the guests of chaos; use xl",
    ),
    (&["button-press"], "a PVH guest has no ACPI buttons; use chaos shutdown"),
    (&["sched-rtds"], "chaos supports the schedulers credit and credit2; use xl"),
    (&["sharing"], "guests of chaos share no memory; see chaos info sharing_used_memory"),
    (&["devd"], "noxsd serves the devices; in XenStore mode, dom0's kernel does"),
    (
        &["remus", "colo"],
        "it copies a running guest to another host all the time, which chaos does not do",
    ),
];

/// Returns why chaos does not have a command of xl; `None` if it has it, or xl has none.
pub(super) fn why_not(name: &str) -> Option<String> {
    let (_, why) = REASONS.iter().find(|(names, _)| names.contains(&name))?;
    Some(format!("chaos {name}: {why}"))
}

// SPDX-License-Identifier: GPL-3.0-or-later
//! Keys of xl that chaos ignores or refuses.

use super::*;

/// Returns the warnings of some lines after [`BASE`]. The first of them is line 4.
fn warnings(more: &str) -> Vec<String> {
    let parsed = parse(&format!("{BASE}{more}")).unwrap_or_else(|error| panic!("{more}: {error}"));
    parsed.warnings.iter().map(ToString::to_string).collect()
}

#[test]
fn each_known_key_is_supported_ignored_or_refused_by_name() {
    for key in KEYS {
        let text = format!("{}=['x']", key.name);
        let result = parse(&format!("{BASE}{text}"));
        match key.support {
            // Another value of these is ignored, as in xl.
            _ if ["console", "vif"].contains(&key.name) => {
                let kind = &result.unwrap().warnings[0].kind;
                let is_ignored =
                    matches!(kind, WarningKind::Console | WarningKind::UnknownVifField { .. });
                assert!(is_ignored, "{text}: {kind:?}");
            }
            // A list of strings is what it is.
            KeySupport::Supported if key.name == "bootloader_args" => {
                let kind = &result.unwrap().warnings[0].kind;
                assert_eq!(kind, &WarningKind::NoBootloader { key: "bootloader_args" }, "{text}");
            }
            KeySupport::Supported | KeySupport::Own => {
                for error in result.unwrap_err().iter() {
                    let ConfigError::Wrong { problem, .. } = error else { panic!("{error:?}") };
                    let of_value = matches!(
                        **problem,
                        ConfigProblem::Type { key: name, .. } if name == key.name
                    ) || matches!(
                        **problem,
                        ConfigProblem::CpuList { key: name, .. } if name == key.name
                    ) || matches!(**problem, ConfigProblem::Disk { .. });
                    assert!(of_value, "{text}: {problem:?}");
                }
            }
            KeySupport::Granted => assert_eq!(result.unwrap().warnings, [], "{text}"),
            KeySupport::Ignored => {
                let message = format!("{} has no effect on a PVH guest; remove it", key.name);
                assert_eq!(result.unwrap().warnings[0].kind.to_string(), message);
            }
            KeySupport::Limited(..) => {
                let (position, problem) = wrong(result, &text);
                assert_eq!(position.to_string(), "x.cfg:4:1", "{text}");
                assert!(
                    matches!(problem, ConfigProblem::KeyNotSupported { key: name, .. } if name == key.name),
                    "{text}: {problem:?}"
                );
            }
        }
    }
}

#[test]
fn one_warning_names_all_keys_of_emulated_hardware_that_ask_for_something() {
    let text = "vnc=1\nmemory=16\nsdl=0; serial='pty'\nspice='none'\nboot=''\nusbdevice=['', '']\n\
                acpi=1\nviridian=['all']\n";
    assert_eq!(
        warnings(text),
        ["x.cfg:4:1: vnc, serial, acpi and viridian have no effect on a PVH guest; remove them"]
    );
    assert_eq!(
        warnings("memory=8\nnx=1"),
        ["x.cfg:5:1: nx has no effect on a PVH guest; remove it"]
    );
    // Its position is where the first of them has its last value.
    assert_eq!(
        warnings("vnc=0\nserial='pty'\nvnc=1"),
        ["x.cfg:5:1: serial and vnc have no effect on a PVH guest; remove them"]
    );
    assert!(warnings("vnc=0x0\nvncpasswd=\"\"\nsoundhw='none'\nnographic=00\nvif2=[]").is_empty());
}

#[test]
fn a_key_that_changes_a_guest_is_refused_unless_it_asks_for_what_there_is() {
    for text in [
        "pci=[]",
        "vfb=['']",
        "usbctrl=[ ]",
        "nestedhvm=0",
        "passthrough='disabled'",
        "passthrough=\"0\"",
        "altp2m='disabled'",
        "cpuid='host'",
        "hap=1",
        "localtime=0",
        "rtc_timeoffset='0'",
        "seclabel=''",
        "init_seclabel=''",
        "driver_domain=0",
        "bootloader=''",
        "max_grant_version=1",
        "msr_relaxed=0",
        "xenstore_quota=[]",
        // Whatever they say.
        "nomigrate=1",
        "nomigrate=0",
        "oos=1",
        "shadow_memory=8",
        "xend_suspend_evtchn_compat=1",
    ] {
        guest(text);
    }
    for (text, words) in [
        (
            "pci=['01:00.0']",
            "chaos assigns no device of the host to a guest, which xl does for PV and",
        ),
        ("passthrough='enabled'", "assigns no device of the host"),
        ("dtdev=['/soc/x']", "for PV and HVM guests only; remove the line"),
        ("usbctrl=['type=pv']", "chaos serves only"),
        ("vtpm=['backend=x']", "chaos serves only"),
        ("p9=['type=qemu,tag=t,path=/p']", "chaos serves only"),
        ("channel=['connection=pty']", "chaos serves only"),
        ("ioports=['2f8-2ff']", "no I/O ports, interrupts or I/O memory of the host; remove"),
        ("nestedhvm=1", "has Xen's default CPU features; remove the line"),
        ("cpuid='host,tm=0'", "has Xen's default CPU features"),
        ("hap=0", "needs hardware-assisted paging; write hap = 1"),
        ("seclabel='system_u:system_r:domU_t'", "does not label guests for XSM; remove"),
        ("firmware='pvgrub64'", "name that file with kernel= instead"),
        ("max_grant_version=2", "write 1, or remove the line"),
        ("llc_colors=['1-2']", "applies to Arm"),
        ("xenstore_quota=['nodes=5']", "quotas or features of XenStore"),
        ("vnuma=[['pnode=0','size=10','vcpus=0']]", "one NUMA node"),
    ] {
        let (position, problem) = problem(text);
        assert_eq!(position.to_string(), "x.cfg:4:1", "{text}");
        assert!(matches!(problem, ConfigProblem::KeyNotSupported { .. }), "{text}: {problem:?}");
        assert!(problem.to_string().contains(words), "{text}: {problem}");
    }
}

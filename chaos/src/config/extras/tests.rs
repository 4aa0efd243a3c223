// SPDX-License-Identifier: GPL-3.0-or-later
use xen::units::{DomainHandle, KiB};

use super::*;
use crate::config::{EncodedConfig, ParsedConfig, Store, parse_str};

const BASE: &str = "name='a'\ntype='pvh'\nkernel='k'\nmemory=8\nvcpus=2\n";

fn parse(more: &str) -> Result<ParsedConfig, crate::config::ConfigErrors> {
    parse_str("x.cfg", &format!("{BASE}{more}"), &[], true)
}

fn config(more: &str) -> DomainConfig {
    let parsed = parse(more).unwrap_or_else(|error| panic!("{more}: {error}"));
    assert_eq!(parsed.warnings, [], "{more}");
    parsed.config
}

fn extras(more: &str) -> Extras {
    config(more).extras().clone()
}

fn error(more: &str) -> String {
    parse(more).unwrap_err().to_string().lines().next().unwrap().to_owned()
}

/// One line for each key, with a value that is not the default.
const ALL: &str = "uuid='01234567-89ab-cdef-0123-456789ABCDEF'\nmaxmem=16\nmaxvcpus=3\n\
    max_grant_frames=64\nmax_maptrack_frames=128\nmax_event_channels=2047\ncpus='0-3,^1'\n\
    cpus_soft=['1', 'node:0']\ncpu_weight=512\ncap=50\npool='batch'\ntsc_mode='native'\n\
    timer_mode='one_missed_tick_pending'\nrtc_timeoffset='-3600'\nlocaltime=1\ndriver_domain=1\n\
    on_watchdog='preserve'\non_soft_reset='coredump-restart'\npvshim=1\npvshim_path='/shim'\n\
    pvshim_extra='loglvl=all'\n";

#[test]
fn a_config_that_says_nothing_of_the_kind_has_no_extras() {
    for more in [
        "",
        "maxmem=8\nmaxvcpus=2",
        "cpus=''\ncpus_soft=['']\npool=''\ncap=''\ncpu_weight=''",
        "tsc_mode='default'\ntimer_mode=1\nrtc_timeoffset=0\nlocaltime=0",
        "driver_domain=0\npvshim=0\nmax_event_channels=0",
    ] {
        assert_eq!(config(more).extras, None, "{more}");
    }
    assert_eq!(NONE, Extras::default());
}

#[test]
fn each_key_has_its_value() {
    let config = config(ALL);
    let list = |text: &str| text.parse::<CpuList>().unwrap();
    let expected = Extras {
        uuid: Some(DomainHandle(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef_u128.to_be_bytes())),
        limits: Limits {
            memory: Some(KiB(16 << 10)),
            vcpus: Some(3),
            grant_frames: Some(64),
            maptrack_frames: Some(128),
            event_channels: Some(2047),
        },
        cpus: Affinity::All(list("0-3,^1")),
        cpus_soft: Affinity::Each(vec![list("1"), list("node:0")]),
        weight: Some(512),
        cap: Some(50),
        pool: Some("batch".to_owned()),
        tsc_mode: TscMode::Native,
        timer_mode: TimerMode::OneMissedTickPending,
        time_offset: -3600,
        localtime: true,
        driver_domain: true,
        on_watchdog: Some(Action::Preserve),
        on_soft_reset: Some(Action::CoredumpRestart),
        shim: Some(Shim {
            path: Some("/shim".into()),
            cmdline: "pv-shim console=xen,pv loglvl=all".to_owned(),
        }),
        bootloader: None,
    };
    assert_eq!(*config.extras(), expected);
    assert_eq!((config.max_memory(), config.max_vcpus()), (KiB(16 << 10), 3));
    assert_eq!(config.store, Store::XenStore);
}

#[test]
fn extras_arrive_as_they_were_sent() {
    for config in [config(ALL), booted(&format!("{ALL}{BOOT}"))] {
        assert_eq!(DomainConfig::try_from(EncodedConfig::from(&config)), Ok(config));
    }
}

/// One line for each key of a bootloader.
const BOOT: &str = "bootloader='pygrub'\nbootloader_args=['--entry=1', '-q']\n\
    bootloader_restrict=0\nbootloader_user='boot'\ndisk=['/a.img,raw,xvda,w']\n";

/// A config with a bootloader and without a kernel.
fn booted(more: &str) -> DomainConfig {
    let text = format!("{}{more}", BASE.replace("kernel='k'\n", ""));
    parse_str("x.cfg", &text, &[], true).unwrap_or_else(|error| panic!("{error}")).config
}

#[test]
fn a_bootloader_finds_the_kernel_with_what_the_config_says_of_it() {
    let config = booted(BOOT);
    assert_eq!((config.kernel.as_os_str().len(), &config.ramdisk), (0, &None));
    let expected = Bootloader {
        program: "pygrub".into(),
        args: vec!["--entry=1".into(), "-q".into()],
        restrict: false,
        user: Some("boot".into()),
        kernel: None,
        ramdisk: None,
        cmdline: String::new(),
    };
    assert_eq!(config.extras().bootloader.as_deref(), Some(&expected));
    // Unlike in xl, the program is restricted by default.
    let more = "bootloader=\"/usr/bin/pygrub\"\nbootloader_args=' --entry=1\t-q '\n\
        kernel='/boot/k'\nramdisk='/boot/r'\nroot='/dev/xvda'\nextra='ro'\ndisk=['/a,raw,xvda,w']";
    let config = booted(more);
    let expected = Bootloader {
        program: "/usr/bin/pygrub".into(),
        restrict: true,
        user: None,
        kernel: Some("/boot/k".into()),
        ramdisk: Some("/boot/r".into()),
        cmdline: "root=/dev/xvda ro".into(),
        ..expected
    };
    assert_eq!(config.extras().bootloader.as_deref(), Some(&expected));
    assert_eq!(config.extras().key_of_root(), Some("bootloader"));
    // Without a bootloader, its keys mean nothing, and neither does an empty one.
    for more in
        ["bootloader=''", "bootloader_args=['a']\nbootloader_restrict=1\nbootloader_user='x'"]
    {
        assert_eq!(config_of(more).extras, None, "{more}");
    }
    let more = "bootloader_args=['a']\nbootloader_restrict=0\nbootloader_user='x'\nbootloader=''";
    let warnings = parse_str("x.cfg", &format!("{BASE}{more}"), &[], true).unwrap().warnings;
    let kinds: Vec<_> = warnings.iter().map(|warning| warning.kind.to_string()).collect();
    assert!(kinds[0].contains("bootloader_args has no effect without bootloader"), "{kinds:?}");
    assert_eq!(kinds.len(), 2, "{kinds:?}");
}

#[test]
fn what_a_bootloader_has_found_is_named_after_it_for_other_processes() {
    let mut config = booted(BOOT);
    config.kernel = "/proc/self/fd/7".into();
    config.ramdisk = Some("/proc/self/fd/8".into());
    let arrived = DomainConfig::try_from(EncodedConfig::from(&config)).unwrap();
    let name = Path::new("pygrub:/a.img");
    assert_eq!((arrived.kernel.as_path(), arrived.ramdisk.as_deref()), (name, Some(name)));
    // A file of the config is named by its path.
    let plain = config_of("ramdisk='/proc/self/fd/8'");
    let arrived = DomainConfig::try_from(EncodedConfig::from(&plain)).unwrap();
    assert_eq!(arrived, plain);
}

#[test]
fn extras_that_no_config_can_set_are_refused() {
    type Change = fn(&mut Extras);
    let changes: [Change; 5] = [
        |extras| extras.limits.memory = Some(KiB(4 << 10)),
        |extras| extras.limits.memory = Some(KiB((8 << 10) + 1)),
        |extras| extras.limits.vcpus = Some(129),
        |extras| extras.weight = Some(0),
        |extras| extras.shim.as_mut().unwrap().cmdline = "x".repeat(5000),
    ];
    for (number, change) in changes.iter().enumerate() {
        let mut config = config(ALL);
        change(config.extras.as_mut().unwrap());
        assert!(DomainConfig::try_from(EncodedConfig::from(&config)).is_err(), "change {number}");
    }
}

#[test]
fn cpus_are_lists_for_all_vcpus_or_for_each() {
    let of = |more: &str, vcpu| extras(more).cpus.of(vcpu).map(ToString::to_string);
    for (more, first, third) in [
        ("cpus='2-3'", Some("2-3"), Some("2-3")),
        ("cpus=3", Some("3"), Some("3")),
        ("cpus='all, ^node:0'", Some("all,^node:0"), Some("all,^node:0")),
        ("cpus=['3']", Some("3"), None),
        ("cpus=[3, 4,\t5]", Some("3"), Some("5")),
        ("cpus=['', '4']", Some(""), None),
    ] {
        assert_eq!(of(more, 0).as_deref(), first, "{more}");
        assert_eq!(of(more, 2).as_deref(), third, "{more}");
    }
}

#[test]
fn without_memory_maxmem_is_what_the_guest_starts_with() {
    let text = "name='a'\ntype='pvh'\nkernel='k'\nmaxmem=64\n";
    let config = parse_str("x.cfg", text, &[], true).unwrap().config;
    assert_eq!((config.memory, config.extras), (KiB(64 << 10), None));
}

#[test]
fn names_have_the_numbers_that_xl_accepts() {
    assert_eq!(extras("tsc_mode=1").tsc_mode, TscMode::AlwaysEmulate);
    assert_eq!(extras("tsc_mode='always_emulate'").tsc_mode, TscMode::AlwaysEmulate);
    assert_eq!(extras("timer_mode=0").timer_mode, TimerMode::DelayForMissedTicks);
    assert_eq!(extras("timer_mode='2'").timer_mode, TimerMode::NoMissedTicksPending);
}

#[test]
fn an_action_that_is_not_set_has_its_default() {
    let config = config("on_crash='preserve'\non_reboot='destroy'\non_soft_reset='soft-reset'");
    // As in xl.
    assert_eq!(config.on_watchdog(), Action::Destroy);
    assert_eq!(config.on_soft_reset(), Action::Destroy);
    assert_eq!(
        super::super::parse_str("x", BASE, &[], true).unwrap().config.on_soft_reset(),
        Action::Restart
    );
}

#[test]
fn a_pv_kernel_has_a_shim_and_xenstore() {
    let pv = "name='a'\ntype='pv'\nkernel='k'\n";
    let config = parse_str("x.cfg", pv, &[], true).unwrap().config;
    assert_eq!((config.store, config.undecided.store), (Store::XenStore, false));
    let shim = config.extras().shim.clone().unwrap();
    assert_eq!(shim, Shim { path: None, cmdline: SHIM_CMDLINE.to_owned() });
    // Any number but 0 is true, as in xl.
    let shim = extras("pvshim=2\npvshim_cmdline='pv-shim'").shim.unwrap();
    assert_eq!(shim.cmdline, "pv-shim");
    // Without a shim, its keys mean nothing.
    assert_eq!(config_of("pvshim_extra='x'").extras, None);
    let text = format!("{pv}store='noxs'");
    let error = parse_str("x.cfg", &text, &[], true).unwrap_err().to_string();
    assert!(error.contains("a PV kernel finds its devices in XenStore"), "{error}");
}

fn config_of(more: &str) -> DomainConfig {
    parse(more).unwrap().config
}

#[test]
fn what_is_wrong_is_named() {
    for (more, wanted) in [
        ("uuid='x'", "uuid = \"x\": must be a UUID"),
        ("uuid='00000000-0000-0000-0000-000000000000'", "not all zeros"),
        ("maxmem=4", "maxmem: must be at least memory"),
        ("maxvcpus=1", "maxvcpus: must be at least vcpus"),
        ("cpus='3-1'", "cpus: \"3-1\" in the list of CPUs: must be CPUs such as 3"),
        ("cpus=['0', '^all']", "cpus: \"^all\" in the list of CPUs: \"all\" cannot be excluded"),
        ("cpus=[['0']]", "cpus: must be a list of CPUs for each vCPU"),
        ("cpu_weight=0", "cpu_weight = 0: must be 1 to 65535"),
        ("cpu_weight=65536", "cpu_weight = 65536: must be 1 to 65535"),
        ("cap=201", "cap = 201: must be 0 to 200"),
        ("max_grant_frames=0", "max_grant_frames = 0: must be 1 to 2147483647"),
        ("max_event_channels=131072", "must be 0 to 131071"),
        ("tsc_mode='fast'", "tsc_mode = \"fast\": must be one of default, always_emulate, native"),
        ("timer_mode=4", "timer_mode = \"4\": must be one of delay_for_missed_ticks"),
        ("rtc_timeoffset='1h'", "rtc_timeoffset = \"1h\": must be a number of seconds"),
        ("rtc_timeoffset='-2147483649'", "must be a number of seconds"),
        ("on_watchdog='reset'", "on_watchdog = \"reset\": must be \"destroy\""),
        ("driver_domain=1\nstore='noxs'", "a driver domain finds its devices in XenStore"),
        ("pvshim=4294967296", "pvshim = 4294967296: must be 0 to 4294967295"),
        ("localtime='yes'", "localtime = \"yes\": must be a number"),
        ("bootloader='pygrub'", "on the guest's first disk, and there is none; add one with disk="),
        ("bootloader=['pygrub']", "bootloader: must be a number or a string, not a list"),
        (
            "bootloader_args=[['a']]",
            "bootloader_args: must be a list of arguments, not a list in it",
        ),
        ("bootloader_restrict='x'", "bootloader_restrict = \"x\": must be a number"),
    ] {
        assert!(error(more).contains(wanted), "{more}: {}", error(more));
    }
}

#[test]
fn what_is_wrong_is_named_once() {
    for (more, key) in [("cap=['x']", "cap"), ("on_soft_reset=['x']", "on_soft_reset")] {
        let errors = parse(more).unwrap_err();
        assert_eq!(errors.iter().count(), 1, "{key}: {errors}");
    }
    let text = "name='a'\ntype='pvh'\nkernel='k'\nmaxmem='x'\n";
    assert_eq!(parse_str("x.cfg", text, &[], true).unwrap_err().iter().count(), 1);
}

#[test]
fn only_root_may_use_what_takes_from_the_host() {
    assert_eq!(extras(ALL).key_of_root(), Some("uuid"));
    for (more, key) in [("cpus='0'", Some("cpus")), ("cap=5", Some("cap")), ("localtime=1", None)] {
        assert_eq!(extras(more).key_of_root(), key, "{more}");
    }
}

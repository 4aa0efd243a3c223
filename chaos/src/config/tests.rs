//! Configs that are understood, and all that are not.

mod grammar;
mod vif;

use xen::units::KiB;

use super::*;

/// What each config needs.
const BASE: &str = "name=\"a\"\ntype=\"pvh\"\nkernel=\"k\"\n";

fn parse(text: &str) -> Result<ParsedConfig, ConfigError> {
    parse_str("x.cfg", text, &[], false)
}

/// The guest of [`BASE`] and some more lines, without a warning.
fn guest(more: &str) -> DomainConfig {
    let parsed = parse(&format!("{BASE}{more}")).unwrap_or_else(|error| panic!("{more}: {error}"));
    assert_eq!(parsed.warnings, [], "{more}");
    parsed.config
}

/// What is wrong with some lines after [`BASE`], whose line numbers they follow.
fn problem(more: &str) -> (SourcePosition, ConfigProblem) {
    wrong(parse(&format!("{BASE}{more}")), more)
}

fn wrong(result: Result<ParsedConfig, ConfigError>, text: &str) -> (SourcePosition, ConfigProblem) {
    match result {
        Err(ConfigError::Wrong { place, problem }) => (*place, *problem),
        result => panic!("{text}: {result:?}"),
    }
}

#[test]
fn a_config_has_the_defaults_of_xl() {
    let parsed = parse("name='web 1'; type=\"pvh\"; kernel='boot/k'").unwrap();
    assert_eq!(parsed.warnings, []);
    assert_eq!(
        parsed.config,
        DomainConfig {
            name: "web 1".to_owned(),
            kernel: "boot/k".into(),
            ramdisk: None,
            memory: KiB(32768),
            vcpus: 1,
            cmdline: String::new(),
            console: true,
            vifs: Vec::new(),
            disks: Vec::new(),
            store: Store::Noxs,
            on_poweroff: Action::Destroy,
            on_reboot: Action::Restart,
            on_crash: Action::Destroy,
        }
    );
}

#[test]
fn every_served_key_has_its_effect() {
    let config = guest(
        "ramdisk='r'\nmemory=\"1536K\"\nmaxmem=\"1536K\"\nvcpus=0x10\nmaxvcpus='16'\n\
         console=0\ncmdline='a b'\nvif=['']\non_poweroff='preserve'\non_reboot='destroy'\n\
         on_crash='rename-restart'\n",
    );
    assert_eq!(
        config,
        DomainConfig {
            name: "a".to_owned(),
            kernel: "k".into(),
            ramdisk: Some("r".into()),
            memory: KiB(1536),
            vcpus: 16,
            cmdline: "a b".to_owned(),
            console: false,
            vifs: vec![VifConfig::default()],
            disks: Vec::new(),
            store: Store::Noxs,
            on_poweroff: Action::Preserve,
            on_reboot: Action::Destroy,
            on_crash: Action::RenameRestart,
        }
    );
}

#[test]
fn what_is_missing_is_named() {
    for (text, missing) in [("type='pvh'\nkernel='k'", "name"), ("type='pvh'\nname='a'", "kernel")]
    {
        match parse(text) {
            Err(ConfigError::Missing { key, .. }) => assert_eq!(key, missing),
            result => panic!("{result:?}"),
        }
    }
}

#[test]
fn overrides_come_last_and_have_places_of_their_own() {
    let overrides = |overrides: &[&str], strict| {
        let overrides: Vec<String> = overrides.iter().map(|text| (*text).to_owned()).collect();
        parse_str("x.cfg", BASE, &overrides, strict)
    };
    let config = overrides(&["memory=4", "name='b'; memory=8"], false).unwrap().config;
    assert_eq!((config.memory, config.name.as_str()), (KiB(8192), "b"));
    let (place, problem) = wrong(overrides(&["memory=4", "name=b"], false), "name=b");
    assert_eq!(place.to_string(), "<command line>:1:6");
    assert!(matches!(problem, ConfigProblem::Syntax { unquoted: true, .. }), "{problem:?}");
    let (place, _) = wrong(overrides(&["memory"], false), "memory");
    assert_eq!(place.to_string(), "<command line>:1:7");
}

#[test]
fn unknown_keys_are_warned_about_or_refused() {
    let text = format!("{BASE}memroy=4\nmax_clones=3");
    let warnings = parse(&text).unwrap().warnings;
    let shown: Vec<String> = warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        [
            "x.cfg:4:1: unknown key 'memroy' is ignored; did you mean 'memory'?",
            "x.cfg:5:1: unknown key 'max_clones' is ignored",
        ]
    );
    let (place, problem) = wrong(parse_str("x.cfg", &text, &[], true), &text);
    assert_eq!(place.to_string(), "x.cfg:4:1");
    assert_eq!(
        problem,
        ConfigProblem::UnknownKey { key: "memroy".to_owned(), nearest: Some("memory") }
    );
}

#[test]
fn each_key_of_xl_is_served_or_refused_by_name() {
    for key in KEYS {
        let text = format!("{}=['x']", key.name);
        match (key.support, parse(&format!("{BASE}{text}"))) {
            (KeySupport::Supported | KeySupport::Own, result) => {
                let (_, problem) = wrong(result, &text);
                let of_value = matches!(
                    problem,
                    ConfigProblem::Type { key: name, .. } if name == key.name
                ) || matches!(
                    problem,
                    ConfigProblem::Vif(VifProblem::NoValue { .. })
                        | ConfigProblem::XenStoreOnly { .. }
                );
                assert!(of_value, "{text}: {problem:?}");
            }
            (KeySupport::DeviceList | KeySupport::NotSupported(_), result) => {
                let (place, problem) = wrong(result, &text);
                assert_eq!(place.to_string(), "x.cfg:4:1", "{text}");
                assert!(
                    matches!(problem, ConfigProblem::KeyNotSupported { key: name, .. } if name == key.name),
                    "{text}: {problem:?}"
                );
            }
        }
    }
}

#[test]
fn only_pvh_guests_are_made() {
    let with = |text: &str| parse(&format!("name='a'; kernel='k'\n{text}"));
    let warning = |text: &str| match with(text).unwrap().warnings.as_slice() {
        [warning] => warning.kind.clone(),
        warnings => panic!("{text}: {warnings:?}"),
    };
    assert_eq!(warning(""), WarningKind::NoType);
    assert_eq!(warning("builder='generic'"), WarningKind::NoType);
    assert_eq!(warning("builder='linux'\ntype='pvh'"), WarningKind::Builder);
    for (text, key) in [
        ("type='pv'", "type"),
        ("type='hvm'", "type"),
        ("builder='hvm'", "builder"),
        ("type='pvh'\nbuilder='hvm'", "builder"),
    ] {
        let (_, problem) = wrong(with(text), text);
        assert!(
            matches!(problem, ConfigProblem::ValueNotSupported { key: name, .. } if name == key),
            "{text}: {problem:?}"
        );
    }
    for text in ["type='PVH'", "type=''", "builder='x'", "type=1"] {
        let (_, problem) = wrong(with(text), text);
        assert!(matches!(problem, ConfigProblem::GuestType { .. }), "{text}: {problem:?}");
    }
}

#[test]
fn there_are_two_stores() {
    assert_eq!(guest("store='noxs'"), guest(""));
    assert_eq!(guest("store='xenstore'").store, Store::XenStore);
    let (place, refused) = problem("store='x'");
    assert_eq!((place.line, place.column), (4, 7));
    assert_eq!(refused, ConfigProblem::Store { text: "x".to_owned() });
}

#[test]
fn disks_are_served_in_xenstore_mode() {
    let with = |disks: &str| format!("store='xenstore'\ndisk=[{disks}]");
    let config = guest(&with("'/a.img,raw,xvda,r', 'phy:/dev/vg/b,xvdb,w'"));
    let expected = |target: &str, vdev: &str, id, read_only| DiskConfig {
        target: target.into(),
        vdev: vdev.to_owned(),
        id,
        read_only,
    };
    assert_eq!(
        config.disks,
        [expected("/a.img", "xvda", 51712, true), expected("/dev/vg/b", "xvdb", 51728, false)]
    );
    let (place, refused) = problem("disk=['/a.img,raw,xvda']");
    assert_eq!((place.line, place.column), (4, 1));
    assert_eq!(refused, ConfigProblem::XenStoreOnly { key: "disk" });
    let (_, refused) = problem(&with("'/a.img,raw,xvda','/b.img,raw,xvda'"));
    assert_eq!(refused, ConfigProblem::DiskTwice { vdev: "xvda".to_owned() });
    let (_, refused) = problem(&with("'/a.img,qcow2,xvda'"));
    assert!(matches!(refused, ConfigProblem::Disk { .. }), "{refused:?}");
    let (_, refused) = problem(&with(&"'/a.img,raw,xvda',".repeat(17)));
    assert_eq!(refused, ConfigProblem::TooManyDisks { most: MAX_DISKS });
}

#[test]
fn the_command_line_is_made_as_xl_makes_it() {
    for (text, cmdline) in [
        ("cmdline='c'", "c"),
        ("root='/dev/xvda'", "root=/dev/xvda"),
        ("extra='quiet'", "quiet"),
        ("root='/dev/xvda'\nextra='quiet'", "root=/dev/xvda quiet"),
        ("", ""),
    ] {
        assert_eq!(guest(text).cmdline, cmdline, "{text}");
    }
    let parsed = parse(&format!("{BASE}extra='e'\nroot='r'\ncmdline='c'")).unwrap();
    assert_eq!(parsed.config.cmdline, "c");
    let kinds: Vec<_> = parsed.warnings.iter().map(|warning| warning.kind.clone()).collect();
    let overridden = |key| WarningKind::Overridden { key };
    assert_eq!(kinds, [overridden("root"), overridden("extra")]);
}

#[test]
fn wrong_values_are_refused_where_they_stand() {
    let range = |key, text: &str, least, most| ConfigProblem::OutOfRange {
        key,
        text: text.to_owned(),
        least,
        most,
    };
    for (text, column, wanted) in [
        ("vcpus=0", 7, range("vcpus", "0", 1, 128)),
        ("vcpus=129", 7, range("vcpus", "129", 1, 128)),
        ("vcpus=99999999999999999999", 7, range("vcpus", "99999999999999999999", 1, 128)),
        ("vcpus='x'", 7, ConfigProblem::NotANumber { key: "vcpus", text: "x".to_owned() }),
        ("vcpus=08", 7, ConfigProblem::NotANumber { key: "vcpus", text: "08".to_owned() }),
        ("console=2", 9, range("console", "2", 0, 1)),
        ("vcpus=2;maxvcpus=4", 18, ConfigProblem::Differs { key: "maxvcpus", of: "vcpus" }),
        ("memory=4;maxmem=8", 17, ConfigProblem::Differs { key: "maxmem", of: "memory" }),
        ("maxmem=8", 8, ConfigProblem::Differs { key: "maxmem", of: "memory" }),
        (
            "memory=\"1030K\"",
            8,
            ConfigProblem::Memory {
                key: "memory",
                text: "1030K".to_owned(),
                error: MemoryError::NotWholePages(KiB(1030)),
            },
        ),
        ("name='1'", 6, ConfigProblem::Name { name: "1".to_owned(), error: NameError::Number }),
        ("name=1", 6, ConfigProblem::Name { name: "1".to_owned(), error: NameError::Number }),
        ("kernel=''", 8, ConfigProblem::Empty { key: "kernel" }),
        ("ramdisk=''", 9, ConfigProblem::Empty { key: "ramdisk" }),
        (
            "name=['a']",
            6,
            ConfigProblem::Type { key: "name", wanted: "a number or a string", found: "a list" },
        ),
        (
            "vif='bridge=x'",
            5,
            ConfigProblem::Type {
                key: "vif",
                wanted: "a list of strings, such as ['bridge=xenbr0']",
                found: "a string",
            },
        ),
        (
            "vif=[['']]",
            6,
            ConfigProblem::Type {
                key: "vif",
                wanted: "a list of strings, such as ['bridge=xenbr0']",
                found: "a list in a list",
            },
        ),
        ("vif=['', '']", 10, VifProblem::TooMany { most: 1 }.into()),
        (
            "on_crash='coredump-destroy'",
            10,
            ConfigProblem::Action {
                key: "on_crash",
                error: UnknownAction::Coredump("coredump-destroy".to_owned()),
            },
        ),
        (
            "on_reboot='reboot'",
            11,
            ConfigProblem::Action {
                key: "on_reboot",
                error: UnknownAction::Unknown("reboot".to_owned()),
            },
        ),
        (
            "on_reboot='soft-reset'",
            11,
            ConfigProblem::Action {
                key: "on_reboot",
                error: UnknownAction::Unknown("soft-reset".to_owned()),
            },
        ),
    ] {
        let (place, problem) = problem(text);
        assert_eq!((place.line, place.column, problem), (4, column, wanted), "{text}");
    }
}

#[test]
fn a_message_says_the_value_the_limit_and_the_remedy() {
    for (text, message) in [
        ("vcpus=0", "vcpus = 0: must be 1 to 128"),
        ("memory='0'", "memory = \"0\": must be at least 1 MiB"),
        ("memory='4X'", "memory = \"4X\": must be a number of MiB, or a string such as"),
        ("vcpus='x'", "vcpus = \"x\": must be a number"),
        ("name='a/b'", "name = \"a/b\": must not contain '/'"),
        ("on_crash='x'", "on_crash = \"x\": must be \"destroy\", \"restart\","),
        ("on_crash='coredump-destroy'", "on_crash = \"coredump-destroy\" is not supported: chaos"),
        ("kernel=''", "kernel = \"\": must not be empty"),
        (
            "maxmem=8",
            "maxmem: must equal memory, since a guest cannot grow or shrink; remove maxmem",
        ),
        ("vif='x'", "vif: must be a list of strings, such as ['bridge=xenbr0'], not a string"),
        ("store='x'", "store = \"x\": must be \"noxs\" or \"xenstore\""),
        ("disk=['/a,raw,xvda']", "disk needs store = \"xenstore\"; add that line, or remove disk"),
        ("type='hvm'", "type = \"hvm\" is not supported: it needs a device model;"),
        ("pci=['x']", "pci is not supported: xl knows it, chaos does not yet; remove the line"),
    ] {
        let (_, problem) = problem(text);
        assert!(problem.to_string().starts_with(message), "{text}: {problem}");
    }
    let missing = parse("type='pvh'\nkernel='k'").unwrap_err().to_string();
    assert_eq!(missing, "x.cfg: name is missing; add a line such as name = \"web\"");
}

/// The channels and so on that xl takes: read as values, refused by name.
#[test]
fn devices_that_are_not_served_are_refused_by_name() {
    for text in ["p9=['type=qemu,tag=t,path=/p']", "channel=['connection=pty']", "cpus='0-3,^1'"] {
        let (_, problem) = problem(text);
        assert!(matches!(problem, ConfigProblem::KeyNotSupported { .. }), "{text}: {problem:?}");
    }
}

#[test]
fn files_are_read_and_checked() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.cfg");
    assert!(matches!(parse_file(&path, &[], false), Err(ConfigError::Read { .. })));
    std::fs::write(&path, BASE).unwrap();
    assert_eq!(parse_file(&path, &[], true).unwrap().config, guest(""));
    std::fs::write(&path, b"name='a'\xff").unwrap();
    let error = parse_file(&path, &[], false).unwrap_err();
    assert!(matches!(error, ConfigError::NotText { line: 1, .. }), "{error:?}");
    std::fs::write(&path, "#".repeat((1 << 20) + 1)).unwrap();
    let error = parse_file(&path, &[], false).unwrap_err();
    assert!(matches!(error, ConfigError::TooLarge { .. }), "{error:?}");
}

#[test]
fn actions_are_written_in_records_as_in_configs() {
    for (action, text) in [
        (Action::Destroy, "destroy"),
        (Action::Restart, "restart"),
        (Action::RenameRestart, "rename-restart"),
        (Action::Preserve, "preserve"),
    ] {
        assert_eq!(text.parse(), Ok(action));
        assert_eq!(serde_json::to_string(&action).unwrap(), format!("{text:?}"));
    }
}

// SPDX-License-Identifier: GPL-3.0-or-later
//! Keys and values.

mod errors;
mod grammar;
mod keys;
mod vif;

use xen::units::KiB;

use super::*;

/// The keys that every config needs.
const BASE: &str = "name=\"a\"\ntype=\"pvh\"\nkernel=\"k\"\n";

fn parse(text: &str) -> Result<ParsedConfig, ConfigErrors> {
    parse_str("x.cfg", text, &[], false)
}

/// Returns the guest of [`BASE`] and some more lines, which must not cause warnings.
fn guest(more: &str) -> DomainConfig {
    let parsed = parse(&format!("{BASE}{more}")).unwrap_or_else(|error| panic!("{more}: {error}"));
    assert_eq!(parsed.warnings, [], "{more}");
    parsed.config
}

/// Returns what is wrong with some lines after [`BASE`], and where. The first of them is line 4.
fn problem(more: &str) -> (SourcePosition, ConfigProblem) {
    wrong(parse(&format!("{BASE}{more}")), more)
}

/// Returns the only error.
fn wrong(
    result: Result<ParsedConfig, ConfigErrors>,
    text: &str,
) -> (SourcePosition, ConfigProblem) {
    let errors = result.unwrap_err();
    match errors.iter().collect::<Vec<_>>()[..] {
        [ConfigError::Wrong { position, problem }] => ((**position).clone(), (**problem).clone()),
        _ => panic!("{text}: {errors:?}"),
    }
}

/// Returns the only error of a config that is not at a position.
fn only(result: Result<ParsedConfig, ConfigErrors>) -> ConfigError {
    result.unwrap_err().into_first()
}

/// Returns the first lines of all errors of some lines after [`BASE`].
fn all(more: &str) -> Vec<String> {
    let errors = parse(&format!("{BASE}{more}")).unwrap_err();
    let first_line = |error: &ConfigError| error.to_string().lines().next().unwrap().to_owned();
    errors.iter().map(first_line).collect()
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
            undecided: Undecided { store: true, console: true, kind: false },
            on_poweroff: Action::Destroy,
            on_reboot: Action::Restart,
            on_crash: Action::Destroy,
            extras: None,
        }
    );
}

#[test]
fn every_supported_key_has_its_effect() {
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
            undecided: Undecided { store: true, console: false, kind: false },
            on_poweroff: Action::Preserve,
            on_reboot: Action::Destroy,
            on_crash: Action::RenameRestart,
            extras: Some(Box::new(Extras {
                on_watchdog: Some(Action::Destroy),
                ..Extras::default()
            })),
        }
    );
}

#[test]
fn overrides_come_last_and_have_positions_of_their_own() {
    let overrides = |overrides: &[&str], strict| {
        let overrides: Vec<String> = overrides.iter().map(|text| (*text).to_owned()).collect();
        parse_str("x.cfg", BASE, &overrides, strict)
    };
    let config = overrides(&["memory=4", "name='b'; memory=8"], false).unwrap().config;
    assert_eq!((config.memory, config.name.as_str()), (KiB(8192), "b"));
    let (position, _) = wrong(overrides(&["memory"], false), "memory");
    assert_eq!(position.to_string(), "<command line>:1:7");
}

#[test]
fn a_string_on_the_command_line_needs_no_quotes() {
    let with = |argument: &str| parse_str("x.cfg", BASE, &[argument.to_owned()], true);
    let config = |argument: &str| match with(argument) {
        Ok(parsed) => parsed.config,
        Err(errors) => panic!("{argument}: {errors}"),
    };
    for name in ["name=r2", "name='r2'", "name=\"r2\"", "name = r2 ", "name=r2\nmemory=8"] {
        assert_eq!(config(name).name, "r2", "{name}");
    }
    assert_eq!(config("name=r2\nmemory=8").memory, KiB(8 << 10));
    assert_eq!(config("name=1a").name, "1a");
    assert_eq!(config("name=web 1").name, "web 1");
    assert_eq!(config("kernel=/srv/k").kernel, Path::new("/srv/k"));
    for memory in ["memory=16", "memory=0x10", "memory=16M", "memory=16 # MiB", "vcpus=2;memory=16"]
    {
        assert_eq!(config(memory).memory, KiB(16 << 10), "{memory}");
    }
    for (argument, cmdline) in [
        ("cmdline=a b", "a b"),
        ("cmdline=", ""),
        ("cmdline=1 2", "1 2"),
        ("cmdline=16", "16"),
        (
            "cmdline=root=/dev/xvda console=hvc0,115200 # \"x\"; y='z'",
            "root=/dev/xvda console=hvc0,115200 # \"x\"; y='z'",
        ),
        ("extra=\\n", "\\n"),
        ("cmdline='a'; cmdline+='b'", "ab"),
        ("cmdline=ä", "ä"),
    ] {
        assert_eq!(config(argument).cmdline, cmdline, "{argument}");
    }
    let added = ["cmdline=a".to_owned(), "cmdline+=b".to_owned(), "cmdline+='c'".to_owned()];
    assert_eq!(parse_str("x.cfg", BASE, &added, true).unwrap().config.cmdline, "abc");
    assert_eq!(config("vif=['ip=10.0.0.2/24']").vifs.len(), 1);
    for (argument, position, words) in [
        ("name='r2", "<command line>:1:6", "unterminated string"),
        ("name=", "<command line>:1:6", "name = \"\": must not be empty"),
        ("name= a/b", "<command line>:1:7", "name = \"a/b\": must not contain '/'"),
        (
            "vif=ip=10.0.0.2",
            "<command line>:1:5",
            "vif: must be a list of strings, such as ['bridge=",
        ),
        ("type=hvm", "<command line>:1:6", "type = \"hvm\" is not supported"),
        ("memory=1x", "<command line>:1:8", "memory = \"1x\": must be a number of MiB"),
        ("vif=['']x", "<command line>:1:9", "unexpected 'x'"),
        ("memory 16", "<command line>:1:8", "unexpected number 16; expected '='"),
    ] {
        let (found, problem) = wrong(with(argument), argument);
        assert_eq!(found.to_string(), position, "{argument}");
        assert!(problem.to_string().starts_with(words), "{argument}: {problem}");
    }
    // A file has the grammar of xl.
    assert!(matches!(problem("ramdisk=/r").1, ConfigProblem::Character('/')));
    assert!(matches!(problem("ramdisk=r").1, ConfigProblem::Syntax { unquoted: true, .. }));
}

#[test]
fn guests_with_a_device_model_are_refused() {
    let with = |text: &str| parse(&format!("name='a'; kernel='k'\n{text}"));
    let warning = |text: &str| match with(text).unwrap().warnings.as_slice() {
        [warning] => warning.kind.clone(),
        warnings => panic!("{text}: {warnings:?}"),
    };
    assert_eq!(warning(""), WarningKind::NoType);
    assert_eq!(warning("builder='generic'"), WarningKind::NoType);
    assert_eq!(warning("builder='linux'\ntype='pvh'"), WarningKind::Builder);
    for (text, key) in [
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
    let left_open = guest("");
    assert_eq!((left_open.store, left_open.undecided.store), (Store::Noxs, true));
    let decided = guest("store='noxs'");
    assert_eq!((decided.store, decided.undecided.store), (Store::Noxs, false));
    assert_eq!(guest("store='xenstore'").store, Store::XenStore);
    let (position, refused) = problem("store='x'");
    assert_eq!((position.line, position.column), (4, 7));
    assert_eq!(refused, ConfigProblem::Store { text: "x".to_owned() });
}

#[test]
fn disks_have_names_of_their_own_and_room_beside_the_other_devices() {
    let with = |disks: &str| format!("disk=[{disks}]");
    let config = guest(&with("'/a.img,raw,xvda,r', 'phy:/dev/vg/b,xvdb,w'"));
    let expected = |target: &str, vdev: &str, id, read_only| DiskConfig {
        target: target.into(),
        format: DiskFormat::Raw,
        vdev: vdev.to_owned(),
        id,
        read_only,
    };
    assert_eq!(
        config.disks,
        [expected("/a.img", "xvda", 51712, true), expected("/dev/vg/b", "xvdb", 51728, false)]
    );
    let in_xenstore = format!("store='xenstore'\n{}", with("'/a.img,raw,xvda,r'"));
    assert_eq!(guest(&in_xenstore).disks, [expected("/a.img", "xvda", 51712, true)]);
    let (_, refused) = problem(&with("'/a.img,raw,xvda','/b.img,raw,xvda'"));
    assert_eq!(refused, ConfigProblem::DiskTwice { vdev: "xvda".to_owned() });
    let errors = all("disk=['/a.img,vmdk,xvda']");
    assert!(
        errors[0].contains("format = vmdk: must be raw, qcow2, qcow, vhd or qed"),
        "{errors:?}"
    );
    let (_, refused) = problem(&with("'/a.img,vmdk,xvda'"));
    assert!(matches!(refused, ConfigProblem::Disk { .. }), "{refused:?}");
    // A CD in a drive is a disk. A drive without one is left out, with a warning.
    let text = with("'/a.iso,raw,hdc:cdrom,r', ',hdd:cdrom,r', '/b.img,raw,xvdb,w'");
    let parsed = parse(&format!("{BASE}{text}")).unwrap();
    let disks: Vec<_> = parsed.config.disks.iter().map(|disk| (disk.id, disk.read_only)).collect();
    assert_eq!(disks, [(22 << 8, true), (51728, false)]);
    let shown: Vec<_> = parsed.warnings.iter().map(ToString::to_string).collect();
    let warning = "x.cfg:4:33: a CD drive without a medium has no effect: a PVH guest has no CD drive, \
                   into which a CD could be inserted later; remove it, or name an image, which the \
                   guest has as a disk";
    assert_eq!(shown, [warning]);
    let drive = parse_disk_arguments(&[",hdc:cdrom,r".to_owned()]).unwrap_err().to_string();
    assert!(drive.contains("the target is missing"), "{drive}");
    assert_eq!(guest("disk=''\nvif=\"\"").device_count(), 1);
    let many = |count: usize| -> String {
        (0..count).map(|part| format!("'/a,raw,xvda{part}',").replace("xvda0", "xvdb")).collect()
    };
    let vif = "vif=['bridge=br1']\n";
    assert_eq!(guest(&format!("{vif}{}", with(&many(29)))).disks.len(), 29);
    let (_, refused) = problem(&format!("{vif}{}", with(&many(30))));
    assert_eq!(refused, ConfigProblem::TooManyDisks { room: 29, others: 2, most: 31 });
    assert_eq!(guest(&format!("console=0\n{}", with(&many(31)))).disks.len(), 31);
}

#[test]
fn the_command_line_is_formed_as_in_xl() {
    for (text, cmdline) in [
        ("cmdline='c'", "c"),
        ("root='/dev/xvda'", "root=/dev/xvda"),
        ("extra='quiet'", "quiet"),
        ("root='/dev/xvda'\nextra='quiet'", "root=/dev/xvda quiet"),
        ("", ""),
    ] {
        assert_eq!(guest(text).cmdline, cmdline, "{text}");
    }
    let long = |length: usize| "x".repeat(length);
    assert_eq!(guest(&format!("cmdline='{}'", long(MAX_COMMAND_LINE))).cmdline.len(), 3890);
    let (position, refused) = problem(&format!("root='r'\nextra='{}'", long(3890 - 6)));
    assert_eq!((position.line, position.column), (5, 7));
    let (key, length, most) = ("extra", 3891, MAX_COMMAND_LINE);
    assert_eq!(refused, ConfigProblem::CommandLine { key, length, most });
    let parsed = parse(&format!("{BASE}extra='e'\nroot='r'\ncmdline='c'")).unwrap();
    assert_eq!(parsed.config.cmdline, "c");
    let kinds: Vec<_> = parsed.warnings.iter().map(|warning| warning.kind.clone()).collect();
    let overridden = |key| WarningKind::Overridden { key };
    assert_eq!(kinds, [overridden("root"), overridden("extra")]);
}

#[test]
fn a_file_must_be_readable_text_of_limited_size() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.cfg");
    assert!(matches!(only(parse_file(&path, &[], false)), ConfigError::Read { .. }));
    let tty = only(parse_file("/dev/tty".as_ref(), &[], false));
    assert!(matches!(tty, ConfigError::Device { .. }), "{tty:?}");
    let overrides = BASE.lines().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(parse_file("/dev/null".as_ref(), &overrides, true).unwrap().config, guest(""));
    std::fs::write(&path, BASE).unwrap();
    assert_eq!(parse_file(&path, &[], true).unwrap().config, guest(""));
    std::fs::write(&path, b"name='a'\xff").unwrap();
    let error = only(parse_file(&path, &[], false));
    assert!(matches!(error, ConfigError::NotText { line: 1, .. }), "{error:?}");
    assert!(
        error.to_string().ends_with("convert it, such as with iconv -f latin1 -t utf8"),
        "{error}"
    );
    // A comment may be in another encoding.
    std::fs::write(&path, [b"# Gr\xf6\xdfe\n", BASE.as_bytes()].concat()).unwrap();
    assert_eq!(parse_file(&path, &[], true).unwrap().config, guest(""));
    std::fs::write(&path, "#".repeat((1 << 20) + 1)).unwrap();
    let error = only(parse_file(&path, &[], false));
    assert!(matches!(error, ConfigError::TooLarge { .. }), "{error:?}");
}

#[test]
fn actions_have_the_same_names_in_json_as_in_configs() {
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

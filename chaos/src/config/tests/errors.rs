// SPDX-License-Identifier: GPL-3.0-or-later
//! Keys and values that are refused, and the messages.

use super::*;

/// What is ignored otherwise may be the cause of what is missing.
#[test]
fn unknown_keys_are_among_the_errors_if_there_are_others() {
    let errors = parse_str("x.cfg", "nmae='a'\nkernel='/k'\ntype='pvh'\n", &[], false);
    let errors = errors.unwrap_err().to_string();
    assert!(errors.starts_with("x.cfg:1:1: unknown key 'nmae'; did you mean 'name'?"), "{errors}");
    assert!(errors.contains("x.cfg: name is missing"), "{errors}");
}

#[test]
fn a_missing_key_is_named() {
    for (text, missing) in [("type='pvh'\nkernel='k'", "name"), ("type='pvh'\nname='a'", "kernel")]
    {
        match only(parse(text)) {
            ConfigError::Missing { key, .. } => assert_eq!(key, missing),
            error => panic!("{error:?}"),
        }
    }
}

#[test]
fn an_unknown_key_is_a_warning_or_strictly_an_error() {
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
    let errors = parse_str("x.cfg", &text, &[], true).unwrap_err().to_string();
    let first_lines: Vec<&str> = errors.lines().step_by(3).collect();
    assert_eq!(
        first_lines,
        [
            "x.cfg:4:1: unknown key 'memroy'; did you mean 'memory'?",
            "x.cfg:5:1: unknown key 'max_clones'",
        ]
    );
}

#[test]
fn an_invalid_value_is_refused_at_its_position() {
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
        ("vcpus=2;maxvcpus=1", 18, ConfigProblem::Less { key: "maxvcpus", of: "vcpus" }),
        ("memory=8;maxmem=4", 17, ConfigProblem::Less { key: "maxmem", of: "memory" }),
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
        (
            "name='+5'",
            6,
            ConfigProblem::Name { name: "+5".to_owned(), error: NameError::Begin('+') },
        ),
        ("vif=['','','','','','','','','']", 30, VifProblem::TooMany { most: 8 }.into()),
        (
            "on_reboot='reboot'",
            11,
            ConfigProblem::Action { key: "on_reboot", error: UnknownAction("reboot".to_owned()) },
        ),
        (
            "on_reboot='soft-reset'",
            11,
            ConfigProblem::Action {
                key: "on_reboot",
                error: UnknownAction("soft-reset".to_owned()),
            },
        ),
    ] {
        let (position, problem) = problem(text);
        assert_eq!((position.line, position.column, problem), (4, column, wanted), "{text}");
    }
}

#[test]
fn a_message_has_the_value_the_limit_and_the_remedy() {
    for (text, message) in [
        ("vcpus=0", "vcpus = 0: must be 1 to 128"),
        ("memory='0'", "memory = \"0\": must be at least 1 MiB"),
        ("memory='4X'", "memory = \"4X\": must be a number of MiB, or a string such as"),
        ("vcpus='x'", "vcpus = \"x\": must be a number"),
        ("name='a/b'", "name = \"a/b\": must not contain '/'"),
        ("on_crash='x'", "on_crash = \"x\": must be \"destroy\", \"restart\","),
        ("kernel=''", "kernel = \"\": must not be empty"),
        ("maxmem=8\nmemory=9", "maxmem: must be at least memory; raise it, or remove maxmem"),
        ("vif='x'", "vif: must be a list of strings, such as ['bridge=xenbr0'], not a string"),
        ("store='x'", "store = \"x\": must be \"noxs\" or \"xenstore\""),
        ("type='hvm'", "type = \"hvm\" is not supported: it needs a device model;"),
        ("builder='pv'", "builder = \"pv\": must be \"generic\"; write type = \"pv\" instead"),
        ("builder='x'", "builder = \"x\": must be \"generic\"; write type = \"pvh\" instead"),
        ("type='x'", "type = \"x\": must be \"pvh\" or \"pv\"; write type = \"pvh\""),
        (
            "pci=['01:00.0']",
            "pci is not supported: chaos assigns no device of the host to a guest,",
        ),
        ("nestedhvm=1", "nestedhvm is not supported: a guest of chaos has Xen's default CPU"),
    ] {
        let (_, problem) = problem(text);
        assert!(problem.to_string().starts_with(message), "{text}: {problem}");
    }
    let (_, bootloader) = problem("bootloader='/usr/bin/pygrub'");
    let message = bootloader.to_string();
    assert!(message.contains("on the guest's first disk, and there is none; add one"), "{message}");
    let missing = parse("type='pvh'\nkernel='k'").unwrap_err().to_string();
    assert_eq!(missing, "x.cfg: name is missing; add a line such as name = \"web\"");
}

#[test]
fn all_errors_are_reported_at_once_in_the_order_of_the_text() {
    let text = "name = 'Domain-0'
memory = 4X
vcpus = 0
maxvcpus = 4
maxmem = 64
vif = ['mtu=1,mac=x,vlan=3',
  'a'
on_crash = 'x'; on_reboot = 'y'
Key = 1
pci = ['0:1']
console = 2
cmdline = 'a
type = hvm
disk = ['/a,qcow2,xvda'] ]
extra = ['b']
";
    let errors = parse(text).unwrap_err();
    assert!(!errors.are_more());
    let shown: Vec<String> =
        errors.iter().map(|error| error.to_string().lines().next().unwrap().to_owned()).collect();
    let begin = [
        "x.cfg:1:8: name = \"Domain-0\": must not be \"Domain-0\"",
        "x.cfg:2:11: unexpected 'X'",
        "x.cfg:3:9: vcpus = 0: must be 1 to 128",
        "x.cfg:8:1: unexpected 'on_crash'",
        "x.cfg:8:12: on_crash = \"x\": must be",
        "x.cfg:8:29: on_reboot = \"y\": must be",
        "x.cfg:9:1: unexpected 'K'; expected a key",
        "x.cfg:10:1: pci is not supported",
        "x.cfg:11:11: console = 2: must be 0 to 1",
        "x.cfg:12:11: unterminated string",
        "x.cfg:13:8: unexpected 'hvm'",
        "x.cfg:14:26: unexpected ']'",
        "x.cfg:15:9: extra: must be a number or a string, not a list",
        "x.cfg: kernel is missing",
    ];
    assert_eq!(shown.len(), begin.len(), "{shown:#?}");
    for (shown, begin) in shown.iter().zip(begin) {
        assert!(shown.starts_with(begin), "{shown}, not {begin}");
    }
    // What is wrong in one vif.
    let shown = all("vif = ['mtu=1,mac=x,vlan=3']\nmemory=8;maxmem=4\nvcpus=2;maxvcpus=1");
    assert_eq!(shown.len(), 5, "{shown:#?}");
}

#[test]
fn no_more_errors_are_reported_than_anybody_reads() {
    let errors = parse(&"A = 1\n".repeat(10_000)).unwrap_err();
    assert_eq!((errors.iter().count(), errors.are_more()), (100 + 2, true));
    let unknown: String = (0..1000).map(|n| format!("a{n}=1\n")).collect();
    let errors = parse_str("x", &unknown, &[], true).unwrap_err();
    assert_eq!((errors.iter().count(), errors.are_more()), (100 + 2, true));
}

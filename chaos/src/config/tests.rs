use std::fmt::Write as _;

use noxs::control::Rate;
use noxs::{Ipv4Config, MacAddr};
use proptest::prelude::*;
use xen::units::KiB;

use super::source::{Source, Span};
use super::value::{Atom, Kind, Value};
use super::*;

/// What each config needs.
const BASE: &str = "name=\"a\"\ntype=\"pvh\"\nkernel=\"k\"\n";

fn parse(text: &str) -> Result<Parsed, ConfigError> {
    parse_str("x.cfg", text, &[], false)
}

/// The guest of [`BASE`] and some more lines, without a warning.
fn guest(more: &str) -> DomainConfig {
    let parsed = parse(&format!("{BASE}{more}")).unwrap_or_else(|error| panic!("{more}: {error}"));
    assert_eq!(parsed.warnings, [], "{more}");
    parsed.config
}

/// What is wrong with some lines after [`BASE`], whose line numbers they follow.
fn problem(more: &str) -> (Place, Problem) {
    wrong(parse(&format!("{BASE}{more}")), more)
}

fn wrong(result: Result<Parsed, ConfigError>, text: &str) -> (Place, Problem) {
    match result {
        Err(ConfigError::Wrong { place, problem }) => (*place, *problem),
        result => panic!("{text}: {result:?}"),
    }
}

fn vif(text: &str) -> VifConfig {
    match guest(&format!("vif=['{text}']")).vifs.as_slice() {
        [vif] => vif.clone(),
        vifs => panic!("{text}: {vifs:?}"),
    }
}

fn vif_problem(text: &str) -> (Place, Problem) {
    problem(&format!("vif=['{text}']"))
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
            on_poweroff: Action::Destroy,
            on_reboot: Action::Restart,
            on_crash: Action::Destroy,
            on_watchdog: Action::Destroy,
            on_soft_reset: Action::SoftReset,
        }
    );
}

#[test]
fn every_served_key_has_its_effect() {
    let config = guest(
        "ramdisk='r'\nmemory=\"1536K\"\nmaxmem=\"1536K\"\nvcpus=0x10\nmaxvcpus='16'\n\
         console=0\ncmdline='a b'\nvif=['']\non_poweroff='preserve'\non_reboot='destroy'\n\
         on_crash='rename-restart'\non_watchdog='restart'\non_soft_reset='destroy'\n",
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
            on_poweroff: Action::Preserve,
            on_reboot: Action::Destroy,
            on_crash: Action::RenameRestart,
            on_watchdog: Action::Restart,
            on_soft_reset: Action::Destroy,
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
fn the_grammar_is_that_of_xl() {
    for text in [
        "\n\n# comment\n;;",
        "memory = 16 # comment\n",
        "memory=16;vcpus=2",
        "memory\t=\t16\r\nvcpus=1\r\n",
        "memory=16\r",
        "vif=[]",
        "vif=[\n\n]",
        "vif=[ # comment\n '' , # another\n\n ]",
        "disk=[]",
        "vif\t= ['',]",
        "on_crash=\"de\"; on_crash+='stroy'",
        "vif=[]; vif+=['']",
        "vif+=['']",
        "memory=8; memory='16'",
    ] {
        guest(text);
    }
    assert_eq!(guest("cmdline='a'; cmdline+=\"b\"; cmdline+='c'").cmdline, "abc");
    assert_eq!(guest("cmdline='a'; cmdline='b'").cmdline, "b");
    assert_eq!(guest("memory=16\nmemory=0x20").memory, KiB(32 << 10));
    assert_eq!(
        guest(r#"cmdline="\\\"\'\a\b\f\n\r\t\v\x41\x7a\101\7""#).cmdline,
        "\\\"'\x07\x08\x0c\n\r\t\x0bAzA\x07"
    );
    assert_eq!(guest(r#"cmdline='"ä\xc3\xa4'"#).cmdline, "\"ää");
}

#[test]
fn a_syntax_error_has_a_line_a_column_and_what_was_expected() {
    let syntax = |found: &str, expected| Problem::Syntax {
        found: found.to_owned(),
        expected,
        unquoted: false,
    };
    let value = "a value: a number, a string in quotes or a list";
    let end = "a new line or ';' after the value";
    for (text, place, wanted) in [
        ("memory", (4, 7), syntax("the end of the config", "'=' or '+=' after the key")),
        ("memory 16", (4, 8), syntax("the number 16", "'=' or '+=' after the key")),
        ("memory =\n16", (4, 9), syntax("the end of the line", value)),
        ("memory = ;", (4, 10), syntax("';'", value)),
        ("memory = 16 vcpus = 2", (4, 13), syntax("'vcpus'", end)),
        ("memory = 16]", (4, 12), syntax("']'", end)),
        ("\n\n  = 3", (6, 3), syntax("'='", "a key")),
        ("'memory' = 16", (4, 1), syntax("a string", "a key")),
        ("vif = ['' '']", (4, 11), syntax("a string", "',' or ']'")),
        ("vif = [,]", (4, 8), syntax("','", "a value or ']'")),
        ("vif = ['',,'']", (4, 11), syntax("','", "a value or ']'")),
        ("vif = [ '',\n '", (5, 2), Problem::OpenString { quote: '\'' }),
        ("vif = ['',\n'',\n\n", (4, 7), Problem::OpenList),
        ("cmdline = \"a\nb\"", (4, 11), Problem::OpenString { quote: '"' }),
        ("cmdline = 'a\\'", (4, 11), Problem::OpenString { quote: '\'' }),
        ("cmdline = 'ab\\q'", (4, 14), Problem::Escape),
        ("cmdline = '\\x4'", (4, 12), Problem::Escape),
        ("cmdline = '\\x+4'", (4, 12), Problem::Escape),
        ("cmdline = '\\400'", (4, 12), Problem::Escape),
        ("cmdline = '\\8'", (4, 12), Problem::Escape),
        ("cmdline = '\\0'", (4, 12), Problem::ZeroByte),
        ("cmdline = '\\xff'", (4, 11), Problem::StringNotUtf8),
        ("memory = -1", (4, 10), Problem::Character('-')),
        ("Memory = 1", (4, 1), Problem::Character('M')),
        ("ä = 1", (4, 1), Problem::Character('ä')),
        ("a\r= 1", (4, 2), Problem::Character('\r')),
        ("a+1", (4, 2), Problem::Character('+')),
        ("cmdline='a'\ncmdline+=1", (5, 10), Problem::Add { what: "a number", to: "a string" }),
        ("memory=1; memory+=6", (4, 19), Problem::Add { what: "a number", to: "a number" }),
        ("vif=[]\nvif+=''", (5, 6), Problem::Add { what: "a string", to: "a list" }),
    ] {
        let (found, problem) = problem(text);
        assert_eq!(((found.line, found.column), problem), (place, wanted), "{text}");
    }
    let (_, problem) = problem("type = pvh");
    assert!(problem.to_string().ends_with("a string needs quotes"), "{problem}");
}

#[test]
fn lists_nest_but_not_without_end() {
    let nested = |depth| format!("foo={}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(parse(&format!("{BASE}{}", nested(16))).is_ok());
    assert_eq!(problem(&nested(17)).1, Problem::TooDeep { most: 16 });
    assert_eq!(
        problem(&"[".repeat(100_000).replacen('[', "a=[", 1)).1,
        Problem::TooDeep { most: 16 }
    );
}

#[test]
fn an_error_shows_its_line() {
    let error = parse("name = 'a'\n  memory = 4X # all\n").unwrap_err();
    assert_eq!(
        error.to_string(),
        "x.cfg:2:13: found 'X', which begins no word, number, string or sign of this language; \
         keys are written in lower case, and a string needs quotes\n 2 |   memory = 4X # all\n   \
         |             ^"
    );
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
    assert!(matches!(problem, Problem::Syntax { unquoted: true, .. }), "{problem:?}");
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
    assert_eq!(problem, Problem::UnknownKey { key: "memroy".to_owned(), nearest: Some("memory") });
}

#[test]
fn each_key_of_xl_is_served_or_refused_by_name() {
    for key in KEYS {
        let text = format!("{}=['x']", key.name);
        match (key.service, parse(&format!("{BASE}{text}"))) {
            (Service::Served | Service::Own, result) => {
                let (_, problem) = wrong(result, &text);
                let of_value = matches!(
                    problem,
                    Problem::Type { key: name, .. } if name == key.name
                ) || matches!(problem, Problem::VifNoValue { .. });
                assert!(of_value, "{text}: {problem:?}");
            }
            (Service::DeviceList | Service::NotServed(_), result) => {
                let (place, problem) = wrong(result, &text);
                assert_eq!(place.to_string(), "x.cfg:4:1", "{text}");
                assert!(
                    matches!(problem, Problem::KeyNotServed { key: name, .. } if name == key.name),
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
            matches!(problem, Problem::ValueNotServed { key: name, .. } if name == key),
            "{text}: {problem:?}"
        );
    }
    for text in ["type='PVH'", "type=''", "builder='x'", "type=1"] {
        let (_, problem) = wrong(with(text), text);
        assert!(matches!(problem, Problem::GuestType { .. }), "{text}: {problem:?}");
    }
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
    let range = |key, value, least, most| Problem::OutOfRange { key, value, least, most };
    for (text, column, wanted) in [
        ("vcpus=0", 7, range("vcpus", 0, 1, 128)),
        ("vcpus=129", 7, range("vcpus", 129, 1, 128)),
        ("vcpus=99999999999999999999", 7, range("vcpus", u64::MAX, 1, 128)),
        ("vcpus='x'", 7, Problem::NotANumber { key: "vcpus", text: "x".to_owned() }),
        ("vcpus=08", 7, Problem::NotANumber { key: "vcpus", text: "08".to_owned() }),
        ("console=2", 9, range("console", 2, 0, 1)),
        ("vcpus=2;maxvcpus=4", 18, Problem::Differs { key: "maxvcpus", of: "vcpus" }),
        ("memory=4;maxmem=8", 17, Problem::Differs { key: "maxmem", of: "memory" }),
        ("maxmem=8", 8, Problem::Differs { key: "maxmem", of: "memory" }),
        (
            "memory=\"1030K\"",
            8,
            Problem::Memory {
                key: "memory",
                text: "1030K".to_owned(),
                error: MemoryError::NotWholePages(KiB(1030)),
            },
        ),
        ("name='1'", 6, Problem::Name { name: "1".to_owned(), error: NameError::Number }),
        ("name=1", 6, Problem::Name { name: "1".to_owned(), error: NameError::Number }),
        ("kernel=''", 8, Problem::Empty { key: "kernel" }),
        ("ramdisk=''", 9, Problem::Empty { key: "ramdisk" }),
        (
            "name=['a']",
            6,
            Problem::Type { key: "name", wanted: "one number or string", found: "a list" },
        ),
        (
            "vif='bridge=x'",
            5,
            Problem::Type {
                key: "vif",
                wanted: "a list of strings, such as ['bridge=xenbr0']",
                found: "a string",
            },
        ),
        (
            "vif=[['']]",
            6,
            Problem::Type {
                key: "vif",
                wanted: "strings in its list, such as ['bridge=xenbr0']",
                found: "a list",
            },
        ),
        ("vif=['', '']", 10, Problem::TooManyVifs { most: 1 }),
        (
            "on_crash='coredump-destroy'",
            10,
            Problem::Action {
                key: "on_crash",
                error: UnknownAction::Coredump("coredump-destroy".to_owned()),
            },
        ),
        (
            "on_reboot='reboot'",
            11,
            Problem::Action {
                key: "on_reboot",
                error: UnknownAction::Unknown("reboot".to_owned()),
            },
        ),
        (
            "on_reboot='soft-reset'",
            11,
            Problem::Action { key: "on_reboot", error: UnknownAction::OnlySoftReset },
        ),
    ] {
        let (place, problem) = problem(text);
        assert_eq!((place.line, place.column, problem), (4, column, wanted), "{text}");
    }
}

#[test]
fn vifs_of_the_manual_page() {
    let default = VifConfig::default();
    assert_eq!(vif(""), default);
    assert_eq!(vif(" , ,"), default);
    assert_eq!(vif("bridge=br0"), VifConfig { bridge: "br0".to_owned(), ..default.clone() });
    assert_eq!(
        vif("mac=00:16:3E:00:00:01,bridge=xenbr,rate=10Mb/s@20ms"),
        VifConfig {
            mac: Some(MacAddr([0, 0x16, 0x3e, 0, 0, 1])),
            bridge: "xenbr".to_owned(),
            rate: Some(Rate { bytes: 25_000, interval_us: 20_000 }),
            ..default.clone()
        }
    );
    assert_eq!(
        vif("ip=10.8.0.2 255.255.255.0 10.8.0.1, mtu=1400, devid=0, type=vif, script=vif-bridge"),
        VifConfig {
            ip: Some(Ipv4Config {
                address: [10, 8, 0, 2].into(),
                prefix: 24,
                gateway: Some([10, 8, 0, 1].into()),
            }),
            mtu: 1400,
            ..default.clone()
        }
    );
    assert_eq!(vif("trusted,backend=0,script="), default);
    assert_eq!(vif("bridge=a,bridge=b").bridge, "b");
    let parsed = parse(&format!("{BASE}vif=['accel=1']")).unwrap();
    assert_eq!(
        parsed.warnings[0].to_string(),
        "x.cfg:4:7: the field accel= of a vif has no effect, in xl neither"
    );
}

#[test]
fn a_vif_that_cannot_be_served_is_refused_where_it_says_so() {
    for (text, column, words) in [
        ("bridge=br0,vlan=10", 18, "vlan= of a vif is not served"),
        ("vifname=eth", 7, "vifname= of a vif is not served"),
        ("gatewaydev=eth0", 7, "gatewaydev= of a vif is not served"),
        ("netdev=eth0", 7, "netdev= of a vif is not served"),
        ("model=e1000", 7, "model= of a vif is not served"),
        ("backend=driver", 7, "backend= of a vif is not served"),
        ("forwarddev=x", 7, "forwarddev= of a vif is not served"),
        ("colo_compare_out=x", 7, "colo_…= of a vif is not served"),
        ("untrusted", 7, "untrusted= of a vif is not served"),
        ("type=ioemu", 12, "type=\"ioemu\" is not served"),
        ("script=vif-route", 14, "script=\"vif-route\" is not served"),
        ("bridge", 7, "is name=value"),
        (" bridg=x", 8, "no field 'bridg'; did you mean 'bridge'?"),
        ("a=b", 7, "no field 'a'"),
        ("mtu=1501", 11, "mtu=1501 is not possible; 68 to 1500 are"),
        ("mtu=67", 11, "68 to 1500 are"),
        ("mtu=", 11, "wants a number"),
        ("devid=1", 13, "devid=1 is not possible"),
        ("mac=01:00:5e:00:00:01", 11, "multicast"),
        ("mac=00:00:00:00:00:00", 11, "address of zeroes"),
        ("mac=0:1:2:3:4:5", 11, "six pairs"),
        ("bridge=", 14, "is no name of a bridge"),
        ("bridge=a123456789012345", 14, "is no name of a bridge"),
        ("bridge=a b", 14, "is no name of a bridge"),
        ("bridge=..", 14, "is no name of a bridge"),
        ("ip=10.0.0.1/40", 10, "is no prefix length"),
        ("ip=10.0.0.2,  rate=1", 26, "rate=1: wanted is a rate"),
    ] {
        let (place, problem) = vif_problem(text);
        assert_eq!((place.line, place.column), (4, column), "{text}");
        assert!(problem.to_string().contains(words), "{text}: {problem}");
    }
    // Where escapes have moved the text, the whole string is meant.
    let (place, _) = problem(r"vif=['bridge=\x61,vlan=1']");
    assert_eq!(place.column, 6);
}

/// The disks, channels and so on that xl takes: read as values, refused by name.
#[test]
fn devices_that_are_not_served_are_refused_by_name() {
    for disk in [
        "phy:/dev/vg/x,xvda,w",
        "file:/a.img,xvda1,r",
        "format=raw, vdev=xvda, access=rw, target=/a,b.img",
        "/a.img,raw,xvda,rw",
        "/a.iso,,hdc,cdrom",
        ",,hdc:cdrom,r",
        "devtype=cdrom,,,hdc",
        "iscsi:iqn.2001-05.com.example:0,xvda,w",
        "drbd:app01,hda,w",
    ] {
        let (place, problem) = problem(&format!("disk = [ '{disk}' ]"));
        assert_eq!(place.to_string(), "x.cfg:4:1");
        assert_eq!(problem, Problem::KeyNotServed { key: "disk", why: WhyNot::NotYet });
    }
    for text in ["p9=['type=qemu,tag=t,path=/p']", "channel=['connection=pty']", "cpus='0-3,^1'"] {
        let (_, problem) = problem(text);
        assert!(matches!(problem, Problem::KeyNotServed { .. }), "{text}: {problem:?}");
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
        (Action::SoftReset, "soft-reset"),
    ] {
        assert_eq!(text.parse(), Ok(action));
        assert_eq!(serde_json::to_string(&action).unwrap(), format!("{text:?}"));
    }
}

fn value(text: &str) -> Result<Value, String> {
    let text = format!("key={text}");
    match parser::parse(&[Source { name: "x", text: &text }]) {
        Ok(settings) => match <[_; 1]>::try_from(settings) {
            Ok([setting]) => Ok(setting.value),
            Err(settings) => Err(format!("{settings:?}")),
        },
        Err(fault) => Err(format!("{fault:?}")),
    }
}

fn any_value() -> impl Strategy<Value = Value> {
    let span = Span { source: 0, start: 0, end: 0 };
    let atom =
        move |text, bare| Value { kind: Kind::Atom(Atom { text, bare, verbatim: bare }), span };
    let leaf = prop_oneof![
        "[^\0]{0,12}".prop_map(move |text| atom(text, false)),
        "\\PC{0,12}".prop_map(move |text| atom(text, false)),
        "[0-9][0-9a-fx]{0,6}".prop_map(move |text| atom(text, true)),
    ];
    leaf.prop_recursive(4, 24, 4, move |inner| {
        prop::collection::vec(inner, 0..4)
            .prop_map(move |values| Value { kind: Kind::List(values), span })
    })
}

/// Text that is more like a config than arbitrary characters are.
fn config_like() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "name",
        "memory",
        "vif",
        "kernel",
        "type",
        "on_crash",
        "=",
        "+=",
        "[",
        "]",
        ",",
        ";",
        "\n",
        "\r\n",
        " ",
        "'a'",
        "\"pvh\"",
        "'k'",
        "16",
        "0x10",
        "'",
        "\"",
        "\\",
        "\\x41",
        "#",
        "ä",
        "'bridge=x,mac=00:16:3e:00:00:01'",
        "'ip=10.0.0.2 10.0.0.1'",
        "'rate=1'",
        "\u{feff}",
    ]);
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn printing_a_value_and_reading_it_gives_it_back(value_in in any_value()) {
        prop_assert_eq!(value(&value_in.to_string()), Ok(value_in));
    }

    #[test]
    fn arbitrary_text_is_read_or_refused(text in "(?s).{0,200}", strict: bool) {
        if let Err(error) = parse_str("x", &text, &[], strict) {
            let mut shown = String::new();
            write!(shown, "{error}").unwrap();
            prop_assert!(!shown.is_empty());
        }
    }

    #[test]
    fn text_like_a_config_is_read_or_refused_at_a_place_in_it(
        text in config_like(),
        more in config_like(),
    ) {
        match parse_str("x", &text, std::slice::from_ref(&more), false) {
            Ok(parsed) => prop_assert!(parsed.config.memory.to_pages().is_some()),
            Err(ConfigError::Wrong { place, problem }) => {
                let source = if place.file == "x" { &text } else { &more };
                prop_assert!(place.line <= source.matches('\n').count() + 1);
                prop_assert!(place.line >= 1 && place.column >= 1);
                let error = ConfigError::Wrong { place, problem }.to_string();
                prop_assert_eq!(error.lines().count(), 3, "{}", error);
            }
            Err(ConfigError::Missing { .. }) => {}
            Err(error) => prop_assert!(false, "{error:?}"),
        }
    }

    #[test]
    fn any_string_for_a_vif_is_read_or_refused(text in "[a-z0-9=,.:/ @KMb_-]{0,60}") {
        let _ = parse(&format!("{BASE}vif=['{text}']"));
    }
}

// SPDX-License-Identifier: GPL-3.0-or-later
//! The syntax of configs.

use proptest::prelude::*;

use super::*;
use crate::config::error::Faults;
use crate::config::source::{Source, SourceSpan};
use crate::config::value::{Atom, Kind, Value};

#[test]
fn the_syntax_is_that_of_xl() {
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
fn the_forms_of_real_files_are_accepted() {
    let text = "\u{feff}# a guest\r\n\r\nname\t=\t'web' ; type = \"pvh\"\r\nkernel = '/k'\r\n\
                memory = '512'\r\nmemory = \" 256\"\r\nvcpus=\"1\"\r\n\
                vif = [\r\n\t'bridge=xenbr0.20',\r\n\t\t'' ,\t# the second\r\n\r\n\t' mtu=1400 , bridge=br0',\r\n\t]\r\n\
                disk = [ \"/dev/x,,xvda\",\r\n\t'format=raw, vdev=xvdb, access=rw, target=/a,b',\r\n\
                \t'file:images/c.img,xvdc,r' ]\r\nvcpus = 2 # all";
    let parsed = parse(text).unwrap();
    assert_eq!(parsed.warnings, []);
    let config = parsed.config;
    assert_eq!((config.name.as_str(), config.memory, config.vcpus), ("web", KiB(256 << 10), 2));
    let vifs: Vec<_> = config.vifs.iter().map(|vif| (vif.bridge.as_str(), vif.mtu)).collect();
    assert_eq!(vifs, [("xenbr0.20", 1500), ("xenbr0", 1500), ("br0", 1400)]);
    let disks: Vec<_> = config
        .disks
        .iter()
        .map(|disk| (disk.target.to_str().unwrap(), disk.vdev.as_str()))
        .collect();
    assert_eq!(disks, [("/dev/x", "xvda"), ("/a,b", "xvdb"), ("images/c.img", "xvdc")]);
    assert_eq!(guest("vif=['']").vifs.len(), 1);
    assert_eq!(guest("vif=['','','']").vifs.len(), 3);
    // The later one counts, whatever the first one is.
    assert_eq!(guest("memory='x'\nmemory=16").memory, KiB(16 << 10));
    assert_eq!(guest("vif='x'\nvif=['']").vifs.len(), 1);
}

#[test]
fn a_syntax_error_has_the_position_and_what_was_expected() {
    let syntax = |found: &str, expected| ConfigProblem::Syntax {
        found: found.to_owned(),
        expected,
        unquoted: false,
    };
    let value = "a value: a number, a string in quotes or a list";
    let key_end = "'=' or '+=' after the key, as in memory = 16";
    let end = "a new line or ';' after the value";
    for (text, position, wanted) in [
        ("memory", (4, 7), syntax("end of the text", key_end)),
        ("memory 16", (4, 8), syntax("number 16", key_end)),
        ("memory =\n16", (4, 9), syntax("end of the line", value)),
        ("memory = ;", (4, 10), syntax("';'", value)),
        ("memory = 16 vcpus = 2", (4, 13), syntax("'vcpus'", end)),
        ("memory = 16]", (4, 12), syntax("']'", end)),
        ("\n\n  = 3", (6, 3), syntax("'='", "a key")),
        ("'memory' = 16", (4, 1), syntax("string", "a key")),
        ("vif = ['' '']", (4, 11), syntax("string", "',' or ']'")),
        ("vif = [,]", (4, 8), syntax("','", "a value or ']'")),
        ("vif = ['',,'']", (4, 11), syntax("','", "a value or ']'")),
        ("vif = [ '',\n '", (5, 2), ConfigProblem::OpenString { quote: '\'' }),
        ("vif = ['',\n'',\n\n", (4, 7), ConfigProblem::OpenList),
        ("cmdline = \"a\nb\"", (4, 11), ConfigProblem::OpenString { quote: '"' }),
        ("cmdline = 'a\\'", (4, 11), ConfigProblem::OpenString { quote: '\'' }),
        ("cmdline = 'ab\\q'", (4, 14), ConfigProblem::Escape),
        ("cmdline = '\\x4'", (4, 12), ConfigProblem::Escape),
        ("cmdline = '\\x+4'", (4, 12), ConfigProblem::Escape),
        ("cmdline = '\\400'", (4, 12), ConfigProblem::Escape),
        ("cmdline = '\\8'", (4, 12), ConfigProblem::Escape),
        ("cmdline = '\\0'", (4, 12), ConfigProblem::ZeroByte),
        ("cmdline = '\\xff'", (4, 11), ConfigProblem::StringNotUtf8),
        ("memory = -1", (4, 10), ConfigProblem::Character('-')),
        ("Memory = 1", (4, 1), ConfigProblem::Character('M')),
        ("ä = 1", (4, 1), ConfigProblem::Character('ä')),
        ("a\r= 1", (4, 2), ConfigProblem::Character('\r')),
        ("a+1", (4, 2), ConfigProblem::Character('+')),
        (
            "cmdline='a'\ncmdline+=1",
            (5, 10),
            ConfigProblem::Add { what: "a number", to: "a string" },
        ),
        ("memory=1; memory+=6", (4, 19), ConfigProblem::Add { what: "a number", to: "a number" }),
        ("vif=[]\nvif+=''", (5, 6), ConfigProblem::Add { what: "a string", to: "a list" }),
    ] {
        let (found, problem) = problem(text);
        assert_eq!(((found.line, found.column), problem), (position, wanted), "{text}");
    }
    let (_, problem) = problem("type = pvh");
    assert!(problem.to_string().ends_with("a string needs quotes"), "{problem}");
}

#[test]
fn lists_nest_up_to_a_limit() {
    let nested = |depth| format!("foo={}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(parse(&format!("{BASE}{}", nested(16))).is_ok());
    assert_eq!(problem(&nested(17)).1, ConfigProblem::TooDeep { most: 16 });
    assert_eq!(
        problem(&"[".repeat(100_000).replacen('[', "a=[", 1)).1,
        ConfigProblem::TooDeep { most: 16 }
    );
}

#[test]
fn an_error_shows_its_line_with_a_mark() {
    let error = parse("name = 'a'; kernel = 'k'\n  memory = 4X # all\n").unwrap_err();
    assert_eq!(
        error.to_string(),
        "x.cfg:2:13: unexpected 'X'; expected a key, a number, a string or a list; keys are lower \
         case, and a string needs quotes\n 2 |   memory = 4X # all\n   |             ^"
    );
}

fn value(text: &str) -> Result<Value, String> {
    let text = format!("key={text}");
    let mut faults = Faults::default();
    let settings =
        parser::parse(&[Source { name: "x", text: &text, is_argument: false }], &mut faults);
    match <[_; 1]>::try_from(settings) {
        Ok([setting]) if !faults.are_some() => Ok(setting.value),
        settings => Err(format!("{settings:?} {faults:?}")),
    }
}

fn any_value() -> impl Strategy<Value = Value> {
    let span = SourceSpan { source: 0, start: 0, end: 0 };
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

/// Returns text that is closer to a config than arbitrary characters.
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
    fn parsing_a_printed_value_returns_it(value_in in any_value()) {
        prop_assert_eq!(value(&value_in.to_string()), Ok(value_in));
    }

    #[test]
    fn arbitrary_text_is_accepted_or_refused(text in "(?s).{0,200}", strict: bool) {
        if let Err(error) = parse_str("x", &text, &[], strict) {
            prop_assert!(error.to_string().starts_with("x:"), "{error}");
        }
    }

    #[test]
    fn text_like_a_config_is_accepted_or_refused_at_a_position(
        text in config_like(),
        more in config_like(),
    ) {
        match parse_str("x", &text, std::slice::from_ref(&more), false) {
            Ok(parsed) => prop_assert!(parsed.config.memory.to_pages().is_some()),
            Err(errors) => for error in errors.iter() {
                match error {
                    ConfigError::Wrong { position, .. } => {
                        let source = if position.file == "x" { &text } else { &more };
                        prop_assert!(position.line <= source.matches('\n').count() + 1);
                        prop_assert!(position.line >= 1 && position.column >= 1);
                        let error = error.to_string();
                        prop_assert_eq!(error.lines().count(), 3, "{}", error);
                    }
                    ConfigError::Missing { .. } => {}
                    error => prop_assert!(false, "{error:?}"),
                }
            }
        }
    }
}

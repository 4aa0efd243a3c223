// SPDX-License-Identifier: MIT OR Apache-2.0
//! Compares our values with C expressions: compiles and runs a program that prints the expressions.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

/// Pairs to compare: a C expression and our value for it.
#[derive(Default)]
pub(crate) struct Table(Vec<(String, i128)>);

impl Table {
    pub(crate) fn value(&mut self, c: &str, ours: impl TryInto<i128>) {
        let ours = ours.try_into().ok().expect("all values fit in 128 bits");
        self.0.push((format!("(long long)({c})"), ours));
    }

    pub(crate) fn size(&mut self, c: &str, ours: usize) {
        self.value(&format!("sizeof({c})"), ours);
    }

    pub(crate) fn offset(&mut self, c: &str, field: &str, ours: usize) {
        self.value(&format!("offsetof({c}, {field})"), ours);
    }

    /// Compiles a program that prints the values of the C expressions, and compares.
    pub(crate) fn compare(&self, prologue: &str, include: Option<&Path>) {
        assert!(!self.0.is_empty());
        let theirs = evaluate(prologue, include, self.0.iter().map(|(c, _)| c.as_str()));
        let wrong: BTreeMap<_, _> = self
            .0
            .iter()
            .zip(theirs)
            .filter(|((_, ours), theirs)| ours != theirs)
            .map(|((c, ours), theirs)| (c, (ours, theirs)))
            .collect();
        assert!(wrong.is_empty(), "expression: (ours, the header's)\n{wrong:#?}");
    }
}

pub(crate) fn evaluate<'a>(
    prologue: &str,
    include: Option<&Path>,
    expressions: impl Iterator<Item = &'a str>,
) -> Vec<i128> {
    let folder = tempfile::tempdir().expect("a temporary folder can be created");
    let (source, program) = (folder.path().join("probe.c"), folder.path().join("probe"));
    let mut text = format!("{prologue}\nint main(void) {{\n");
    for c in expressions {
        writeln!(text, "  printf(\"%lld\\n\", {c});").expect("writing to a string does not fail");
    }
    text.push_str("  return 0;\n}\n");
    std::fs::write(&source, text).expect("the program can be written");
    // Linux's headers include an internal one, which is not installed; the prologue defines the few
    // types that they need from it.
    let interface = folder.path().join("xen/interface");
    std::fs::create_dir_all(&interface).expect("a folder can be created");
    std::fs::write(interface.join("xen.h"), "").expect("a header can be written");
    let mut cc = Command::new("cc");
    cc.arg("-idirafter").arg(folder.path());
    if let Some(include) = include {
        cc.arg("-I").arg(include);
    }
    let compiled = cc.arg("-o").arg(&program).arg(&source).output();
    let compiled = compiled.expect("a C compiler is needed: apt-get install gcc libc6-dev");
    assert!(
        compiled.status.success(),
        "the headers are needed: apt-get install libxen-dev linux-libc-dev\n{}",
        String::from_utf8_lossy(&compiled.stderr)
    );
    let ran = Command::new(&program).output().expect("the program runs");
    let numbers = String::from_utf8(ran.stdout).expect("the program prints numbers");
    numbers.lines().map(|line| line.parse().expect("the program prints numbers")).collect()
}

/// Adds the size of a structure and the offsets of the named fields.
macro_rules! structure {
    ($table:ident, $c:literal = $ours:ty { $($field:ident: $c_field:literal),* $(,)? }) => {{
        $table.size($c, ::std::mem::size_of::<$ours>());
        $($table.offset($c, $c_field, ::std::mem::offset_of!($ours, $field));)*
    }};
}
pub(crate) use structure;

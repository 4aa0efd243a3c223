// SPDX-License-Identifier: GPL-3.0-or-later
//! `cargo metadata --format-version 1 | licences PACKAGE...`: prints the licences of the crates from
//! elsewhere that are linked into the programs of these packages.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    authors: Vec<String>,
    repository: Option<String>,
    /// Where it comes from; none for a crate of this project.
    source: Option<String>,
    manifest_path: PathBuf,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<DependencyKind>,
}

#[derive(Deserialize)]
struct DependencyKind {
    /// None for one that is linked; `dev` or `build`.
    kind: Option<String>,
}

const HEAD: &str =
    "The programs contain these crates, and the standard library of Rust (MIT OR Apache-2.0,
https://github.com/rust-lang/rust). Of the licences that a crate offers, this package uses
Apache-2.0 if it is one of them; its text is in /usr/share/common-licenses/Apache-2.0.
";

fn main() -> Result<()> {
    let metadata: Metadata = serde_json::from_reader(io::stdin().lock())
        .context("standard input is not what cargo metadata --format-version 1 prints")?;
    let programs: Vec<String> = std::env::args().skip(1).collect();
    let mut out = io::stdout().lock();
    writeln!(out, "{HEAD}")?;
    for package in linked(&metadata, &programs)? {
        write!(out, "{}", entry(package)?)?;
    }
    Ok(())
}

/// Returns the crates from elsewhere that are linked into programs, sorted by name.
fn linked<'a>(metadata: &'a Metadata, programs: &[String]) -> Result<Vec<&'a Package>> {
    let packages: BTreeMap<&str, &Package> =
        metadata.packages.iter().map(|package| (package.id.as_str(), package)).collect();
    let nodes: BTreeMap<&str, &Node> =
        metadata.resolve.nodes.iter().map(|node| (node.id.as_str(), node)).collect();
    let mut left = Vec::new();
    for program in programs {
        let own = |package: &&Package| package.source.is_none() && package.name == *program;
        let package = metadata.packages.iter().find(own);
        left.push(package.with_context(|| format!("no package {program}"))?.id.as_str());
    }
    let mut seen = BTreeSet::new();
    while let Some(id) = left.pop() {
        if seen.insert(id) {
            let is_linked = |dependency: &&Dependency| {
                dependency.dep_kinds.iter().any(|kind| kind.kind.is_none())
            };
            let node = nodes.get(id).with_context(|| format!("{id} is not resolved"))?;
            left.extend(node.deps.iter().filter(is_linked).map(|dependency| &*dependency.pkg));
        }
    }
    let mut found: Vec<_> = seen.into_iter().filter_map(|id| packages.get(id).copied()).collect();
    found.retain(|package| package.source.is_some());
    found.sort_by_key(|package| (&package.name, &package.version));
    Ok(found)
}

/// Returns the licence of a crate, and the texts that come with it, but for that of Apache-2.0.
fn entry(package: &Package) -> Result<String> {
    let folder = package.manifest_path.parent().unwrap_or(Path::new("."));
    let mut text = format!(
        "{0}\n{1} {2}\nLicence: {3}\nAuthors: {4}\nFrom: {5}\n\n",
        "-".repeat(72),
        package.name,
        package.version,
        package.license.as_deref().unwrap_or("see below"),
        package.authors.join(", "),
        package.repository.as_deref().unwrap_or("crates.io"),
    );
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {folder:?}"))?;
    let mut files: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    files.sort();
    for file in files.iter().filter(|file| file.is_file() && is_licence(file)) {
        let bytes = fs::read(file).with_context(|| format!("cannot read {file:?}"))?;
        text.push_str(&String::from_utf8_lossy(&bytes));
        text.push('\n');
    }
    Ok(text)
}

fn is_licence(file: &Path) -> bool {
    let name = file.file_name().unwrap_or_default().to_string_lossy().to_uppercase();
    let begins = ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE"];
    begins.iter().any(|begin| name.starts_with(begin)) && !name.contains("APACHE")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_linked_is_listed() {
        let package = |name: &str, source: &str| {
            format!(
                r#"{{"id":"{name}","name":"{name}","version":"1.0.0","license":"MIT","authors":[],
                "repository":null,"source":{source},"manifest_path":"/{name}/Cargo.toml"}}"#
            )
        };
        let text = format!(
            r#"{{"packages":[{},{},{},{},{}],"resolve":{{"nodes":[
                {{"id":"program","deps":[{{"pkg":"own","dep_kinds":[{{"kind":null}}]}},
                    {{"pkg":"tests","dep_kinds":[{{"kind":"dev"}}]}}]}},
                {{"id":"own","deps":[{{"pkg":"linked","dep_kinds":[{{"kind":"build"}},{{"kind":null}}]}}]}},
                {{"id":"linked","deps":[]}},{{"id":"tests","deps":[]}},{{"id":"other","deps":[]}}]}}}}"#,
            package("program", "null"),
            package("own", "null"),
            package("linked", "\"registry\""),
            package("tests", "\"registry\""),
            package("other", "\"registry\""),
        );
        let metadata: Metadata = serde_json::from_str(&text).unwrap();
        let found = linked(&metadata, &["program".to_owned()]).unwrap();
        let names: Vec<_> = found.iter().map(|package| package.name.as_str()).collect();
        assert_eq!(names, ["linked"]);
        assert!(linked(&metadata, &["missing".to_owned()]).is_err());
    }

    #[test]
    fn texts_are_found_by_their_names() {
        for (name, wanted) in [
            ("LICENSE-MIT", true),
            ("license.txt", true),
            ("COPYING", true),
            ("NOTICE", true),
            ("LICENSE-APACHE", false),
            ("README.md", false),
        ] {
            assert_eq!(is_licence(Path::new(name)), wanted, "{name}");
        }
    }
}

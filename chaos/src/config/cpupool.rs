// SPDX-License-Identifier: GPL-3.0-or-later
//! Configs of cpupools, in the syntax of xlcpupool.cfg(5).

use std::path::Path;

use xen::sched::Scheduler;

use super::error::{ConfigErrors, Fault};
use super::parser::Setting;
use super::problem::ConfigProblem;
use super::reader::Reader;
use super::value::{Atom, Kind};
use super::{OVERRIDES, open, parse_with, read};

/// The config of a cpupool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CpupoolConfig {
    /// Its name.
    pub name: Option<String>,
    /// Its scheduler; `None` means that of Xen.
    pub scheduler: Option<Scheduler>,
    /// Its CPUs, as a list in the syntax of `vcpu-pin`.
    pub cpus: Option<String>,
    /// The NUMA nodes whose free CPUs it gets.
    pub nodes: Option<Vec<u32>>,
}

const KEYS: [&str; 4] = ["name", "sched", "cpus", "nodes"];

/// Parses the config of a cpupool: a file, if there is one, followed by the overrides as lines of
/// their own, in which strings need no quotes.
///
/// # Errors
/// The file cannot be read, or something in it or in an override is wrong.
pub fn parse_cpupool(
    path: Option<&Path>,
    overrides: &[String],
) -> Result<CpupoolConfig, ConfigErrors> {
    let (name, text) = match path {
        Some(path) => (path.display().to_string(), read(path, open(path)?)?),
        None => (OVERRIDES.to_owned(), String::new()),
    };
    parse_text(&name, &text, overrides)
}

fn parse_text(name: &str, text: &str, overrides: &[String]) -> Result<CpupoolConfig, ConfigErrors> {
    parse_with(name, text, overrides, true, build).map(|(config, _)| config)
}

fn build(reader: &mut Reader<'_>) -> CpupoolConfig {
    for Setting { key, key_span, .. } in reader.settings {
        if !KEYS.contains(&key.as_str()) {
            let nearest = KEYS.into_iter().find(|known| strsim::levenshtein(known, key) == 1);
            let problem = ConfigProblem::UnknownKey { key: key.clone(), nearest };
            reader.faults.add(Fault { span: *key_span, problem });
        }
    }
    let name = reader.text("name").map(|(text, _)| text.to_owned());
    let scheduler = reader.text("sched").and_then(|(text, value)| {
        let found = scheduler(text).ok_or_else(|| ConfigProblem::ValueNotSupported {
            key: "sched",
            value: text.to_owned(),
            why: "must be credit, credit2, rtds, arinc653 or null",
        });
        reader.value("sched", value, found)
    });
    let cpus = match items(reader, "cpus") {
        Some(items) => Some(items.join(",")),
        None => reader.text("cpus").map(|(text, _)| text.to_owned()),
    };
    let nodes = match items(reader, "nodes") {
        Some(items) => Some(items.iter().filter_map(|node| number(reader, node)).collect()),
        None => reader.text("nodes").and_then(|(text, _)| Some(vec![number(reader, text)?])),
    };
    CpupoolConfig { name, scheduler, cpus, nodes }
}

/// Returns the texts of a key whose value is a list.
fn items(reader: &mut Reader<'_>, key: &'static str) -> Option<Vec<String>> {
    let Kind::List(values) = &reader.find(key)?.value.kind else { return None };
    let mut texts = Vec::new();
    for value in values {
        match &value.kind {
            Kind::Atom(Atom { text, .. }) => texts.push(text.clone()),
            Kind::List(_) => {
                let wanted = "a list of numbers";
                let problem = ConfigProblem::Type { key, wanted, found: "a list in it" };
                reader.refuse(key, value.span, problem);
            }
        }
    }
    Some(texts)
}

/// Returns the number of a node.
fn number(reader: &mut Reader<'_>, text: &str) -> Option<u32> {
    let key = "nodes";
    let value = &reader.find(key)?.value;
    let number = text.parse().map_err(|_| ConfigProblem::NotANumber { key, text: text.to_owned() });
    reader.value(key, value, number)
}

fn scheduler(name: &str) -> Option<Scheduler> {
    use Scheduler::{Arinc653, Credit, Credit2, Null, Rtds};
    [Credit, Credit2, Rtds, Arinc653, Null].into_iter().find(|known| known.name() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str, overrides: &[&str]) -> CpupoolConfig {
        let overrides: Vec<String> = overrides.iter().map(|&text| text.to_owned()).collect();
        parse_text("pool.cfg", text, &overrides).unwrap()
    }

    #[test]
    fn the_keys_of_xlcpupool_cfg_are_read() {
        let config = parsed("name = \"batch\"\nsched = \"credit\"\ncpus = [\"1\", 2]\n", &[]);
        let scheduler = Some(Scheduler::Credit);
        let (name, cpus) = (Some("batch".to_owned()), Some("1,2".to_owned()));
        assert_eq!(config, CpupoolConfig { name, scheduler, cpus, nodes: None });
        assert_eq!(parsed("nodes = [0, \"1\"]", &[]).nodes, Some(vec![0, 1]));
        assert_eq!(parsed("nodes = 1", &[]).nodes, Some(vec![1]));
        assert_eq!(parsed("cpus = \"0-3,^1\"", &[]).cpus.as_deref(), Some("0-3,^1"));
        assert_eq!(parsed("", &[]), CpupoolConfig::default());
    }

    #[test]
    fn arguments_replace_what_the_file_says_and_need_no_quotes() {
        let config = parsed("name='a'\ncpus='1'\n", &["name=b", "cpus=2-3", "sched=credit2"]);
        assert_eq!(config.name.as_deref(), Some("b"));
        assert_eq!(config.cpus.as_deref(), Some("2-3"));
        assert_eq!(config.scheduler, Some(Scheduler::Credit2));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_position() {
        for (text, wanted) in [
            ("sched='fair'", "sched = \"fair\" is not supported: must be credit, credit2"),
            ("shed='credit'", "unknown key 'shed'"),
            ("nodes=['a']", "nodes = \"a\": must be a number"),
            ("cpus=[[1]]", "cpus: must be a list of numbers"),
            ("name=['a']", "name: must be a number or a string"),
        ] {
            let error = parse_text("pool.cfg", text, &[]).unwrap_err().to_string();
            assert!(error.contains(wanted) && error.contains("pool.cfg:1:"), "{error}");
        }
    }
}

// SPDX-License-Identifier: GPL-3.0-or-later
//! Lists of CPUs in xl's syntax, such as `0-3,^1`, `all`, `node:0` and `nodes:0-1,^nodes:1`.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;
use xen::Xen;
use xen::cpu_map::CpuMap;
use xen::topology::CpuPlace;

/// The CPUs and NUMA nodes that lists can name.
#[derive(Clone, Debug)]
pub struct Machine {
    /// The highest number that a CPU can have.
    last: u32,
    places: Vec<CpuPlace>,
}

/// A list of CPUs as it was written. Whether they exist is known only on a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpuList(Vec<Item>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Item {
    /// As it was written.
    text: String,
    what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    /// `all`.
    All,
    /// A range of CPUs or nodes, which is excluded unless it is added.
    Range { kind: Kind, first: u32, last: u32, is_added: bool },
}

/// What a number in a list names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Cpu,
    Node,
}

/// Why a text is not a list of CPUs, or not one of this machine.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CpuListError {
    /// A part of it is neither a CPU, nor a node, nor a range.
    #[error(
        "{item:?} in the list of CPUs: must be CPUs such as 3 or 0-3, NUMA nodes such as node:0, or all"
    )]
    Syntax {
        /// The part.
        item: String,
    },
    /// It has `^all`.
    #[error("{item:?} in the list of CPUs: \"all\" cannot be excluded")]
    NotAll {
        /// The part.
        item: String,
    },
    /// A CPU does not exist.
    #[error("{item:?} in the list of CPUs: there is no CPU {number}; must be at most {last}")]
    NoCpu {
        /// The part.
        item: String,
        /// The CPU.
        number: u32,
        /// The highest number of a CPU.
        last: u32,
    },
    /// A NUMA node does not exist, or has no CPUs.
    #[error("{item:?} in the list of CPUs: NUMA node {number} has no CPUs; must be at most {last}")]
    NoNode {
        /// The part.
        item: String,
        /// The node.
        number: u32,
        /// The highest number of a node with CPUs.
        last: u32,
    },
}

/// Parses a list. Whether the CPUs exist is not checked.
impl FromStr for CpuList {
    type Err = CpuListError;

    fn from_str(list: &str) -> Result<Self, CpuListError> {
        let items = list.split(',').map(str::trim).filter(|item| !item.is_empty());
        items.map(Item::parse).collect::<Result<_, _>>().map(Self)
    }
}

/// Writes the list as it was written, without blanks.
impl fmt::Display for CpuList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Item { text, .. }) in self.0.iter().enumerate() {
            write!(f, "{}{text}", if index == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl CpuList {
    /// Returns whether it has no parts, so that it asks for nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Item {
    fn parse(text: &str) -> Result<Self, CpuListError> {
        let item = || text.to_owned();
        let (rest, is_added) = match text.strip_prefix('^') {
            Some(rest) => (rest, false),
            None => (text, true),
        };
        let of_nodes = rest.strip_prefix("node:").or_else(|| rest.strip_prefix("nodes:"));
        let (kind, range) = of_nodes.map_or((Kind::Cpu, rest), |range| (Kind::Node, range));
        let what = match (range, is_added) {
            ("all", true) => What::All,
            ("all", false) => return Err(CpuListError::NotAll { item: item() }),
            _ => {
                let (first, last) =
                    parse_range(range).ok_or_else(|| CpuListError::Syntax { item: item() })?;
                What::Range { kind, first, last, is_added }
            }
        };
        Ok(Self { text: item(), what })
    }
}

impl Machine {
    /// Returns this machine.
    ///
    /// # Errors
    /// Xen refuses.
    pub fn of(xen: &Xen) -> Result<Self, xen::Error> {
        Ok(Self::new(xen.physinfo()?.max_cpu_id, xen.cpu_topology()?))
    }

    /// Returns a machine whose highest number of a CPU is `last`.
    #[must_use]
    pub const fn new(last: u32, places: Vec<CpuPlace>) -> Self {
        Self { last, places }
    }

    /// Returns the highest number that a CPU can have.
    #[must_use]
    pub const fn last(&self) -> u32 {
        self.last
    }

    /// Returns all CPUs, also those that are offline.
    #[must_use]
    pub fn all(&self) -> CpuMap {
        (0..=self.last).collect()
    }

    /// Returns the CPUs of a NUMA node.
    #[must_use]
    pub fn node(&self, node: u32) -> CpuMap {
        let places = self.places.iter().filter(|place| place.node == Some(node));
        places.map(|place| place.cpu).collect()
    }

    /// Returns the CPUs of a list that was typed for this machine. Its items are carried out in their
    /// order; the result may be empty.
    ///
    /// # Errors
    /// The list is wrong, or names what this machine does not have. xl ignores the latter.
    pub fn parse(&self, list: &str) -> Result<CpuMap, CpuListError> {
        let list: CpuList = list.parse()?;
        for Item { text, what } in &list.0 {
            let What::Range { kind, last: number, .. } = *what else { continue };
            let limit = match kind {
                Kind::Cpu => self.last,
                Kind::Node => self.last_node(),
            };
            if number > limit {
                let (item, last) = (text.clone(), limit);
                return Err(match kind {
                    Kind::Cpu => CpuListError::NoCpu { item, number, last },
                    Kind::Node => CpuListError::NoNode { item, number, last },
                });
            }
        }
        Ok(self.present(&list))
    }

    /// Returns the CPUs of a list that this machine has; none if it has none of them. The list of a
    /// config is for any machine, so what this one does not have is left out, as xl does.
    #[must_use]
    pub fn present(&self, list: &CpuList) -> CpuMap {
        let mut cpus = CpuMap::new();
        for Item { what, .. } in &list.0 {
            let What::Range { kind, first, last, is_added } = *what else {
                cpus = self.all();
                continue;
            };
            let limit = match kind {
                Kind::Cpu => self.last,
                Kind::Node => self.last_node(),
            };
            for number in first..=last.min(limit) {
                let named = match kind {
                    Kind::Cpu => std::iter::once(number).collect(),
                    Kind::Node => self.node(number),
                };
                for cpu in named {
                    match is_added {
                        true => cpus.insert(cpu),
                        false => cpus.remove(cpu),
                    };
                }
            }
        }
        cpus
    }

    fn last_node(&self) -> u32 {
        self.places.iter().filter_map(|place| place.node).max().unwrap_or(0)
    }
}

/// Parses `3` or `0-3`.
fn parse_range(text: &str) -> Option<(u32, u32)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (parse_number(first)?, parse_number(last)?);
    (first <= last).then_some((first, last))
}

/// Parses digits only, without a sign.
fn parse_number(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// Returns a set of CPUs as xl shows it: `all`, `none`, or ranges. `last` is the highest number that
/// a CPU can have.
#[must_use]
pub fn shown(cpus: &CpuMap, last: u32) -> String {
    let all: CpuMap = (0..=last).collect();
    let cpus = cpus.intersection(&all);
    match cpus.len() {
        0 => "none".to_owned(),
        count if count == all.len() => "all".to_owned(),
        _ => cpus.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Returns a machine with 8 CPUs, those with odd numbers in node 1.
    fn machine() -> Machine {
        let place = |cpu| CpuPlace { cpu, core: None, socket: None, node: Some(cpu % 2) };
        Machine { last: 7, places: (0..8).map(place).collect() }
    }

    fn parsed(list: &str) -> String {
        machine().parse(list).unwrap().to_string()
    }

    #[test]
    fn lists_have_xls_syntax() {
        for (list, cpus) in [
            ("3", "3"),
            ("0-3", "0-3"),
            ("0-3,^1", "0,2-3"),
            ("0-3, 6 ,^1-2", "0,3,6"),
            ("all", "0-7"),
            ("all,^0", "1-7"),
            ("^0", ""),
            ("", ""),
            (",,", ""),
            ("node:0", "0,2,4,6"),
            ("nodes:1", "1,3,5,7"),
            ("nodes:0-1", "0-7"),
            ("nodes:all", "0-7"),
            ("all,^nodes:0", "1,3,5,7"),
            ("all,^nodes:0,all", "0-7"),
            ("node:1,^3,0", "0-1,5,7"),
            ("^2,2", "2"),
            ("5-5", "5"),
        ] {
            assert_eq!(parsed(list), cpus, "{list}");
        }
    }

    #[test]
    fn wrong_lists_are_refused() {
        for list in
            ["foo", "3-1", "1-", "-1", "+1", "1-2-3", "^", "node:", "0x1", "1 2", "al", "^^1"]
        {
            let error = machine().parse(list).unwrap_err();
            assert!(matches!(error, CpuListError::Syntax { .. }), "{list}: {error}");
        }
        for list in ["^all", "^nodes:all"] {
            let error = machine().parse(list).unwrap_err();
            assert_eq!(error, CpuListError::NotAll { item: list.to_owned() });
        }
    }

    #[test]
    fn cpus_and_nodes_that_do_not_exist_are_refused() {
        let text = |list: &str| machine().parse(list).unwrap_err().to_string();
        assert_eq!(
            text("0,6-8"),
            "\"6-8\" in the list of CPUs: there is no CPU 8; must be at most 7"
        );
        assert_eq!(
            text("node:2"),
            "\"node:2\" in the list of CPUs: NUMA node 2 has no CPUs; must be at most 1"
        );
        assert!(text("0-4294967295").contains("there is no CPU 4294967295"));
        assert!(text("4294967296").contains("must be CPUs such as"));
    }

    #[test]
    fn what_a_machine_does_not_have_is_left_out_of_the_list_of_a_config() {
        for (list, cpus) in [
            ("0-3", "0-3"),
            ("6-4294967295", "6-7"),
            ("9", ""),
            ("all,^node:7,^0", "1-7"),
            ("node:1-9", "1,3,5,7"),
        ] {
            assert_eq!(machine().present(&list.parse().unwrap()).to_string(), cpus, "{list}");
        }
    }

    #[test]
    fn a_list_is_written_as_it_was_read() {
        for (list, written) in [(" 0-3, ^1 ,node:0", "0-3,^1,node:0"), ("", ""), (",all,", "all")] {
            let parsed: CpuList = list.parse().unwrap();
            assert_eq!(parsed.to_string(), written);
            assert_eq!(written.parse(), Ok(parsed));
        }
    }

    #[test]
    fn sets_are_shown_as_by_xl() {
        let shown = |list: &str| shown(&machine().parse(list).unwrap(), 7);
        assert_eq!(shown("all"), "all");
        assert_eq!(shown(""), "none");
        assert_eq!(shown("1-7"), "1-7");
        assert_eq!(shown("0-2,4"), "0-2,4");
        let more: CpuMap = (0..64).collect();
        assert_eq!(super::shown(&more, 7), "all");
    }

    proptest! {
        #[test]
        fn a_set_is_parsed_from_what_it_is_shown_as(cpus in proptest::collection::btree_set(0u32..8, 1..9)) {
            let cpus: CpuMap = cpus.into_iter().collect();
            prop_assert_eq!(machine().parse(&shown(&cpus, 7)).unwrap(), cpus);
        }

        #[test]
        fn no_text_is_a_panic_and_no_result_has_other_cpus(
            list in proptest::collection::vec(
                proptest::sample::select(vec!["^", "node:", "nodes:", "all", "-", ",", "0", "3", "7", "99", " "]),
                0..10,
            ),
        ) {
            if let Ok(cpus) = machine().parse(&list.concat()) {
                prop_assert!(cpus.iter().all(|cpu| cpu < 8));
            }
        }
    }
}

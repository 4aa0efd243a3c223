// SPDX-License-Identifier: GPL-3.0-or-later
//! Lists of CPUs in xl's syntax, such as `0-3,^1`, `all`, `node:0` and `nodes:0-1,^nodes:1`.

use thiserror::Error;
use xen::Xen;
use xen::cpu_map::CpuMap;
use xen::topology::CpuPlace;

/// The CPUs and NUMA nodes that lists can name.
#[derive(Clone, Debug)]
pub(super) struct Machine {
    /// The highest number that a CPU can have.
    last: u32,
    places: Vec<CpuPlace>,
}

/// Why a text is not a list of CPUs of this machine.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(super) enum CpuListError {
    #[error(
        "{item:?} in the list of CPUs: must be CPUs such as 3 or 0-3, NUMA nodes such as node:0, or all"
    )]
    Syntax { item: String },
    #[error("{item:?} in the list of CPUs: \"all\" cannot be excluded")]
    NotAll { item: String },
    #[error("{item:?} in the list of CPUs: there is no CPU {number}; must be at most {last}")]
    NoCpu { item: String, number: u32, last: u32 },
    #[error("{item:?} in the list of CPUs: NUMA node {number} has no CPUs; must be at most {last}")]
    NoNode { item: String, number: u32, last: u32 },
}

/// What a number in a list names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Cpu,
    Node,
}

impl Machine {
    /// Returns this machine.
    ///
    /// # Errors
    /// Xen refuses.
    pub(super) fn of(xen: &Xen) -> Result<Self, xen::Error> {
        Ok(Self::new(xen.physinfo()?.max_cpu_id, xen.cpu_topology()?))
    }

    /// Returns a machine whose highest number of a CPU is `last`.
    pub(super) const fn new(last: u32, places: Vec<CpuPlace>) -> Self {
        Self { last, places }
    }

    /// Returns all CPUs, also those that are offline.
    pub(super) fn all(&self) -> CpuMap {
        (0..=self.last).collect()
    }

    /// Returns the CPUs of a NUMA node.
    pub(super) fn node(&self, node: u32) -> CpuMap {
        let places = self.places.iter().filter(|place| place.node == Some(node));
        places.map(|place| place.cpu).collect()
    }

    /// Returns the CPUs of a list. Its items are carried out in their order; the result may be empty.
    ///
    /// # Errors
    /// The list is wrong, or names what this machine does not have. xl ignores the latter.
    pub(super) fn parse(&self, list: &str) -> Result<CpuMap, CpuListError> {
        let mut cpus = CpuMap::new();
        for item in list.split(',').map(str::trim).filter(|item| !item.is_empty()) {
            let syntax = || CpuListError::Syntax { item: item.to_owned() };
            let (rest, is_added) = match item.strip_prefix('^') {
                Some(rest) => (rest, false),
                None => (item, true),
            };
            let of_nodes = rest.strip_prefix("node:").or_else(|| rest.strip_prefix("nodes:"));
            let (kind, range) = of_nodes.map_or((Kind::Cpu, rest), |range| (Kind::Node, range));
            if range == "all" {
                if !is_added {
                    return Err(CpuListError::NotAll { item: item.to_owned() });
                }
                cpus = self.all();
                continue;
            }
            let (first, last) = parse_range(range).ok_or_else(syntax)?;
            let limit = match kind {
                Kind::Cpu => self.last,
                Kind::Node => self.places.iter().filter_map(|place| place.node).max().unwrap_or(0),
            };
            if last > limit {
                let (item, number, last) = (item.to_owned(), last, limit);
                return Err(match kind {
                    Kind::Cpu => CpuListError::NoCpu { item, number, last },
                    Kind::Node => CpuListError::NoNode { item, number, last },
                });
            }
            for number in first..=last {
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
        Ok(cpus)
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
pub(super) fn shown(cpus: &CpuMap, last: u32) -> String {
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

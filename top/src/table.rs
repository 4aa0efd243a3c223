// SPDX-License-Identifier: GPL-3.0-or-later
//! The columns of the table, and their text.

use std::cmp::Ordering;
use std::fmt::Write as _;

use super::rates::{Domain, Rates, Use};

/// What the table is sorted by, the largest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Cpu,
    Memory,
    Network,
    Disk,
}

/// The titles of the columns, and their widths. The first is as wide as the longest name.
pub(crate) const COLUMNS: [(&str, usize); 11] = [
    ("NAME", 0),
    ("DOMID", 5),
    ("STATE", 11),
    ("VCPUS", 5),
    ("MEMORY", 8),
    ("CPU%", 6),
    ("CPU", super::rates::HISTORY),
    ("RECEIVED/s", 10),
    ("SENT/s", 10),
    ("READ/s", 10),
    ("WRITTEN/s", 10),
];

/// Returns the domains in an order.
pub(crate) fn sorted(rates: &Rates, order: Order) -> Vec<&Domain> {
    let mut domains: Vec<_> = rates.domains.iter().collect();
    let key = |domain: &Domain| {
        let used = domain.used.unwrap_or_default();
        match order {
            Order::Cpu => used.cpu_percent,
            #[expect(clippy::cast_precision_loss, reason = "memory is far below 2^53 KiB")]
            Order::Memory => domain.memory_kib as f64,
            Order::Network => used.received + used.sent,
            Order::Disk => used.read + used.written,
        }
    };
    domains.sort_by(|a, b| key(b).partial_cmp(&key(a)).unwrap_or(Ordering::Equal));
    domains
}

/// Returns the cells of a domain.
pub(crate) fn cells(domain: &Domain) -> [String; 11] {
    let rate =
        |of: fn(&Use) -> f64| domain.used.as_ref().map_or("-".to_owned(), |used| size(of(used)));
    let mut state = domain.state.name().to_owned();
    if domain.broken_devices > 0 {
        state.push_str(" !");
    }
    #[expect(clippy::cast_precision_loss, reason = "memory is far below 2^53 KiB")]
    let memory = size(domain.memory_kib as f64 * 1024.0);
    [
        domain.name.clone(),
        domain.domid.to_string(),
        state,
        domain.vcpus.to_string(),
        memory,
        domain.used.map_or("-".to_owned(), |used| format!("{:.1}", used.cpu_percent)),
        sparkline(domain),
        rate(|used| used.received),
        rate(|used| used.sent),
        rate(|used| used.read),
        rate(|used| used.written),
    ]
}

/// Returns the line below the table.
pub(crate) fn summary(rates: &Rates) -> String {
    let (unnamed, foreign) = rates.others;
    let mut text = format!(
        "{} domains; also {unnamed} shells or guests that are being created, {foreign} domains of other \
         toolstacks",
        rates.domains.len()
    );
    if let Some(why) = &rates.unserved {
        let _ = write!(text, "; no figures of networks and disks: {why}");
    }
    text
}

/// Returns the whole table as text.
pub(crate) fn text(rates: &Rates, order: Order) -> String {
    let rows: Vec<_> = sorted(rates, order).into_iter().map(cells).collect();
    let name = rows.iter().map(|row| row[0].chars().count()).max().unwrap_or(0).max(4);
    let mut text = String::new();
    let mut line = |row: [&str; 11]| {
        for ((cell, (_, width)), column) in row.iter().zip(COLUMNS).zip(0..) {
            // Names and states are aligned at the left.
            let _ = match column {
                0 => write!(text, "{cell:name$}"),
                2 | 6 => write!(text, " {cell:width$}"),
                _ => write!(text, " {cell:>width$}"),
            };
        }
        text.truncate(text.trim_end_matches(' ').len());
        text.push('\n');
    };
    line(COLUMNS.map(|(title, _)| title));
    for row in &rows {
        line(row.each_ref().map(String::as_str));
    }
    text + &summary(rates) + "\n\n"
}

/// Returns a number of bytes with at most four digits and a binary unit.
fn size(mut bytes: f64) -> String {
    for unit in ["B", "K", "M", "G"] {
        if bytes < 1024.0 {
            let digits = usize::from(unit != "B" && bytes < 100.0);
            return format!("{bytes:.digits$}{unit}");
        }
        bytes /= 1024.0;
    }
    format!("{bytes:.1}T")
}

/// Returns the last values of the CPU as bars; a full bar is all vCPUs.
fn sparkline(domain: &Domain) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let full = u64::from(domain.vcpus.max(1)) * 100;
    let bar = |percent: &u64| {
        let index = usize::try_from(percent * 8 / full).map_or(7, |index| index.min(7));
        BARS[index]
    };
    domain.history.iter().map(bar).collect()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::rates::tests::figures;

    #[test]
    fn the_table_has_a_line_for_each_domain_with_its_rates() {
        let (mut rates, start) = (Rates::default(), Instant::now());
        rates.add(figures(1, 0), start);
        let first = text(&rates, Order::Cpu);
        assert!(
            first.lines().nth(2).unwrap().split_whitespace().any(|cell| cell == "-"),
            "{first}"
        );
        rates.add(figures(1, 2_000_000_000), start + Duration::from_secs(2));
        let second = text(&rates, Order::Network);
        let lines: Vec<Vec<_>> =
            second.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[0][..3], ["NAME", "DOMID", "STATE"]);
        let web =
            ["web", "5", "blocked", "1", "8.0M", "100.0", "█", "954M", "1.9G", "2.8G", "3.7G"];
        assert_eq!(lines[1], web);
        assert_eq!(lines[2][..3], ["Domain-0", "0", "running"]);
        assert!(second.contains("2 shells or guests that are being created"));
    }

    #[test]
    fn sizes_have_few_digits() {
        for (bytes, expected) in [
            (0.0, "0B"),
            (1023.0, "1023B"),
            (1024.0, "1.0K"),
            (100.0 * 1024.0, "100K"),
            (5e9, "4.7G"),
            (5e12, "4.5T"),
        ] {
            assert_eq!(size(bytes), expected);
        }
    }
}

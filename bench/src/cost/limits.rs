// SPDX-License-Identifier: GPL-3.0-or-later
//! The limits of docs/performance.md: the largest median that a row may have. The unit is ms unless
//! stated otherwise.

pub(crate) const NOOP: f64 = 1.0;
pub(crate) const REDIS: f64 = 1.6;
pub(crate) const CREATE: f64 = 4.0;
/// How many times as long the last guest takes as the first.
pub(crate) const GROWTH: f64 = 1.05;
/// The memory of Xen and dom0 beside the guest's own, in MiB.
pub(crate) const MEMORY: f64 = 0.35;
/// The memory of noxsd for an idle guest, in KiB.
pub(crate) const NOXSD_MEMORY: f64 = 12.0;
pub(crate) const SHELL: f64 = 0.15;
pub(crate) const WARM_SHELL: f64 = 0.06;
/// With a console, two vifs and a disk, from a shell that holds the image.
pub(crate) const DEVICES: f64 = 0.09;
/// What the command may take beyond `exits`, measured in the same run.
pub(crate) const CREATE_FROM_SHELL: f64 = 1.5;
/// How many times as long all creates take as they do without chaosd.
pub(crate) const EMPTIED_POOL: f64 = 1.11;
/// How many times as long the last guest takes as the first.
pub(crate) const POOL_GROWTH: f64 = 1.05;
/// How many times as long a round trip to a guest takes while another one attacks.
pub(crate) const ATTACK: f64 = 2.0;
/// What a frame of 64 bytes from guest to guest takes, in us, and one of 1500 bytes.
pub(crate) const FRAME: f64 = 4.0;
pub(crate) const LONG_FRAME: f64 = 6.0;
/// A scrape of 1000 guests. Of this, half a millisecond belongs to no guest.
pub(crate) const SCRAPE: f64 = 5.0;

/// What a scrape of a number of guests may take.
#[expect(clippy::cast_precision_loss, reason = "there are few guests")]
pub(crate) fn scrape(guests: usize) -> f64 {
    const FIXED: f64 = 0.5;
    FIXED + (SCRAPE - FIXED) * guests as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOC: &str = include_str!("../../../docs/performance.md");

    /// The first cell of each row that has a limit, in the document's order, and the limit.
    const ALL: [(&str, f64); 16] = [
        ("noop, 4 MiB, no device, prepare + execute", NOOP),
        ("redis, 8 MiB, console and vif, everything until it runs", REDIS),
        ("`chaos create redis.cfg`, `execve` to exit", CREATE),
        ("the 500th guest with a console against the first", GROWTH),
        ("memory of Xen and dom0 beside a 2 MiB noop's own", MEMORY),
        ("memory of noxsd for an idle guest with console, vif and disk", NOXSD_MEMORY),
        ("in chaosd, from a shell", SHELL),
        ("in chaosd, from a shell that holds the image", WARM_SHELL),
        ("the same for a redis guest with two vifs and a disk", DEVICES),
        ("`chaos create` through chaosd, `execve` to exit, above `exits`", CREATE_FROM_SHELL),
        (
            "100 creates back to back on an emptied pool, against the same without chaosd",
            EMPTIED_POOL,
        ),
        ("the 1000th guest from a shell against the first", POOL_GROWTH),
        (
            "a scrape of the metrics of 1000 guests with a vif, until the client has read all",
            SCRAPE,
        ),
        ("a round trip while another guest attacks, against a quiet one", ATTACK),
        ("a frame of 64 bytes from guest to guest", FRAME),
        ("a frame of 1500 bytes from guest to guest", LONG_FRAME),
    ];

    /// Returns the first cell and the limit of each row that has a limit, from all tables with a
    /// column `limit`.
    fn limits(doc: &str) -> Vec<(&str, f64)> {
        let mut rows = Vec::new();
        let mut has_limits = false;
        for line in doc.lines() {
            let mut cells = line.split('|').map(str::trim).skip(1);
            let (Some(first), Some(second)) = (cells.next(), cells.next()) else {
                has_limits = false;
                continue;
            };
            has_limits |= second == "limit";
            let number = second.split(' ').next().and_then(|word| word.parse().ok());
            if let Some(number) = number.filter(|_| has_limits) {
                rows.push((first, number));
            }
        }
        rows
    }

    #[test]
    fn the_document_has_the_limits_that_are_checked() {
        assert_eq!(limits(DOC), ALL, "docs/performance.md (left) and this module (right) differ");
    }

    #[test]
    fn rows_without_a_number_and_other_tables_are_skipped() {
        let doc = "| what | limit |\n|---|---|\n| a | 1.5 MiB |\n| b | reported |\n\n| c | ms |\n| d | 2 |\n";
        assert_eq!(limits(doc), [("a", 1.5)]);
    }
}

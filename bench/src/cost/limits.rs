//! What docs/performance.md promises, as numbers.

/// A promise: how much a row of the report may be at most.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit {
    /// The first cell of its row in docs/performance.md.
    pub(crate) promise: &'static str,
    /// The first number of the second cell, in the row's unit.
    pub(crate) most: f64,
}

const fn limit(promise: &'static str, most: f64) -> Limit {
    Limit { promise, most }
}

/// In ms, as all below that say no other unit.
pub(crate) const NOOP: Limit = limit("noop, 4 MiB, no device, prepare + execute", 1.0);
pub(crate) const REDIS: Limit =
    limit("redis, 8 MiB, console and vif, everything until it runs", 1.6);
pub(crate) const CREATE: Limit = limit("`chaos create redis.cfg`, `execve` to exit", 4.0);
/// How many times as long the last one takes.
pub(crate) const GROWTH: Limit = limit("the 500th guest with a console against the first", 1.05);
/// In MiB.
pub(crate) const MEMORY: Limit = limit("memory of Xen and dom0 beside a 2 MiB noop's own", 0.35);
pub(crate) const SHELL: Limit = limit("in chaosd, from a shell", 0.15);
pub(crate) const WARM_SHELL: Limit = limit("in chaosd, from a shell that holds the image", 0.06);
/// Beside what `exits` takes in the same run.
pub(crate) const CREATE_FROM_SHELL: Limit =
    limit("`chaos create` through chaosd, `execve` to exit, above `exits`", 1.5);
/// How many times as long all of them take.
pub(crate) const EMPTIED_POOL: Limit =
    limit("100 creates back to back on an emptied pool, against the same without chaosd", 1.11);
/// How many times as long the last one takes.
pub(crate) const POOL_GROWTH: Limit =
    limit("the 1000th guest from a shell against the first", 1.05);

#[cfg(test)]
mod tests {
    use super::*;

    const DOC: &str = include_str!("../../../docs/performance.md");

    const ALL: [Limit; 10] = [
        NOOP,
        REDIS,
        CREATE,
        GROWTH,
        MEMORY,
        SHELL,
        WARM_SHELL,
        CREATE_FROM_SHELL,
        EMPTIED_POOL,
        POOL_GROWTH,
    ];

    /// Returns the promise and the limit of each row that has one, of all tables with a column
    /// `limit`.
    fn promises(doc: &str) -> Vec<(&str, f64)> {
        let mut rows = Vec::new();
        let mut is_promise = false;
        for line in doc.lines() {
            let mut cells = line.split('|').map(str::trim).skip(1);
            let (Some(first), Some(second)) = (cells.next(), cells.next()) else {
                is_promise = false;
                continue;
            };
            is_promise |= second == "limit";
            let number = second.split(' ').next().and_then(|word| word.parse().ok());
            if let Some(number) = number.filter(|_| is_promise) {
                rows.push((first, number));
            }
        }
        rows
    }

    #[test]
    fn the_document_promises_what_is_checked() {
        let promises = promises(DOC);
        let checked: Vec<_> = ALL.iter().map(|limit| (limit.promise, limit.most)).collect();
        assert_eq!(promises, checked, "docs/performance.md (left) and this module (right) differ");
    }

    #[test]
    fn rows_without_a_number_and_other_tables_are_no_promises() {
        let doc = "| what | limit |\n|---|---|\n| a | 1.5 MiB |\n| b | reported |\n\n| c | ms |\n| d | 2 |\n";
        assert_eq!(promises(doc), [("a", 1.5)]);
    }
}

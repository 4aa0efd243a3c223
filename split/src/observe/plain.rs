// SPDX-License-Identifier: GPL-3.0-or-later
//! Turns OpenMetrics into the older text format of Prometheus (version 0.0.4), which `promtool check
//! metrics` and older scrapers read. There the type of a counter belongs to the name with `_total`, that
//! of an information to the name with `_info`, and there are neither units nor an end.

/// Returns the text in the older format.
pub(super) fn from_openmetrics(text: &str) -> String {
    let mut plain = String::with_capacity(text.len() + 1024);
    let lines = text.lines();
    let mut help = None;
    for line in lines {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            // What is its name depends on the type, which follows.
            help = rest.split_once(' ');
        } else if let Some((name, kind)) =
            line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
        {
            let (suffix, kind) = match kind {
                "counter" => ("_total", kind),
                "info" => ("_info", "gauge"),
                _ => ("", kind),
            };
            if let Some((_, help)) = help.take() {
                plain.extend(["# HELP ", name, suffix, " ", help, "\n"]);
            }
            plain.extend(["# TYPE ", name, suffix, " ", kind, "\n"]);
        } else if !line.starts_with("# UNIT ") && line != "# EOF" {
            plain.extend([line, "\n"]);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_and_information_are_named_with_their_suffixes() {
        let text = "# HELP a_seconds Time.\n# TYPE a_seconds counter\n# UNIT a_seconds seconds\n\
                    a_seconds_total{x=\"# UNIT \"} 1\n# HELP b Number.\n# TYPE b gauge\nb 2\n\
                    # HELP c What.\n# TYPE c info\nc_info{v=\"1\"} 1\n# EOF\n";
        assert_eq!(
            from_openmetrics(text),
            "# HELP a_seconds_total Time.\n# TYPE a_seconds_total counter\n\
             a_seconds_total{x=\"# UNIT \"} 1\n# HELP b Number.\n# TYPE b gauge\nb 2\n\
             # HELP c_info What.\n# TYPE c_info gauge\nc_info{v=\"1\"} 1\n"
        );
    }
}

// SPDX-License-Identifier: GPL-3.0-or-later
//! Arguments of xl that name a config file and lines to add to it, in any order.

use std::path::{Path, PathBuf};

use super::host_error::HostError;

/// Returns the config file and the lines to add to it. `option` is the file that an option names.
pub(super) fn file_and_lines(
    arguments: &[String],
    option: Option<&Path>,
) -> Result<(Option<PathBuf>, Vec<String>), HostError> {
    let mut path = option.map(Path::to_owned);
    let mut lines = Vec::new();
    for argument in arguments {
        if argument.contains('=') {
            lines.push(argument.clone());
        } else if path.is_none() {
            path = Some(PathBuf::from(argument));
        } else {
            return Err(HostError::Arguments(format!(
                "argument {argument:?}: must be KEY=VALUE, because there is a config file already"
            )));
        }
    }
    Ok((path, lines))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_config_file_and_lines_come_in_any_order() {
        let parsed = |option: Option<&str>, arguments: &[&str]| {
            let arguments: Vec<_> = arguments.iter().map(|text| (*text).to_owned()).collect();
            file_and_lines(&arguments, option.map(Path::new))
        };
        let (path, lines) = parsed(None, &["name=a", "/etc/p.cfg", "cpus=1"]).unwrap();
        assert_eq!((path, lines.len()), (Some(PathBuf::from("/etc/p.cfg")), 2));
        assert_eq!(parsed(Some("p"), &["a=1"]).unwrap().0, Some(PathBuf::from("p")));
        assert_eq!(parsed(None, &["a=1"]).unwrap().0, None);
        assert!(parsed(None, &["a", "b"]).is_err());
        assert!(parsed(Some("a"), &["b"]).is_err());
    }
}

// SPDX-License-Identifier: GPL-3.0-or-later
//! Exit codes, and the messages that come with them.

use chaos::config::ConfigError;
use chaos::failure::FailureClass;
use clap::error::ErrorKind;
use daemon::chain::chain;

use super::failure::Failure;
use super::output;

const FAILED: u8 = 1;
const WRONG_INPUT: u8 = 2;
const NO_SUCH_GUEST: u8 = 3;
const NO_DOM0: u8 = 4;
const TIMED_OUT: u8 = 5;
const NOT_PRINTED: u8 = 6;

/// Prints a failure with its causes and returns the exit code.
pub(crate) fn report(failure: &Failure) -> u8 {
    match failure {
        Failure::Config(errors) => {
            for error in errors.iter() {
                match error {
                    ConfigError::Wrong { .. } => output::error_with_lines(&error.to_string()),
                    error => output::error(&chain(error)),
                }
            }
            if errors.are_more() {
                output::error("there are more errors in the config; correct these first");
            }
        }
        _ => output::error(&chain(failure)),
    }
    if matches!(failure, Failure::Output(_)) {
        return NOT_PRINTED;
    }
    match failure.class() {
        FailureClass::Failed => FAILED,
        FailureClass::WrongInput => WRONG_INPUT,
        FailureClass::NoSuchGuest => NO_SUCH_GUEST,
        FailureClass::NoDom0 => NO_DOM0,
        FailureClass::TimedOut => TIMED_OUT,
    }
}

/// Prints the help that was asked for, or what is wrong with the arguments, and returns the exit
/// code.
pub(crate) fn usage(error: &clap::Error) -> u8 {
    // Ignore a closed pipe: the reader has seen enough.
    let _ = error.print();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => 0,
        _ => WRONG_INPUT,
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, ErrorKind};

    use super::*;

    #[test]
    fn a_result_that_cannot_be_printed_has_a_code_of_its_own() {
        let full = Failure::Output(io::Error::from(ErrorKind::StorageFull));
        assert_eq!(report(&full), 6);
        assert!(full.to_string().starts_with("the command was carried out, but"));
    }
}

// SPDX-License-Identifier: GPL-3.0-or-later
//! Prints what chaosd shows: metrics and events.

use std::io::BufRead;

use chaos::clients::chaosd::http::{self, HttpError};
use chaos::escape;

use super::args::{EventsArgs, MetricsArgs};
use super::failure::Failure;
use super::output::Output;

/// Prints the metrics.
pub(super) fn metrics(args: &MetricsArgs, output: &mut Output) -> Result<(), Failure> {
    let text = http::metrics(if args.text { http::PLAIN } else { http::OPENMETRICS })?;
    output.text(&escape::lines(&text));
    Ok(())
}

/// Prints the events as they happen, until standard output is closed or chaosd exits.
pub(super) fn events(args: &EventsArgs, output: &mut Output) -> Result<(), Failure> {
    let mut events = http::get(if args.json { "/events" } else { "/events?text" }, "*/*")?;
    let mut line = String::new();
    while !output.has_failed() {
        line.clear();
        match events.read_line(&mut line) {
            Ok(1..) => {
                output.text(&escape::lines(&line));
                output.flush();
            }
            Ok(0) => return Err(HttpError::Closed.into()),
            Err(error) => return Err(HttpError::from(error).into()),
        }
    }
    Ok(())
}

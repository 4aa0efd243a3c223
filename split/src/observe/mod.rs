// SPDX-License-Identifier: GPL-3.0-or-later
//! Shows what goes on: metrics and events, over HTTP.
//!
//! A thread of its own serves them, so that neither a client that is slow or hostile nor `noxsd` when it
//! does not answer ever delays a request to create a guest. It asks Xen and `noxsd` itself. What only
//! the main thread knows, it asks the main thread for, which copies a few numbers. The main thread
//! reports events only while a client waits for them.
//!
//! ```text
//! tally      what the main thread counts: creates, restarts
//! report     what the main thread reports: creates, ends, restarts
//! event      an event, as clients get it
//! known      the guests that were seen, and which events their changes are
//! subscriber the events that one client has not taken yet
//! metrics    the text of the metrics
//! plain      the same text in the older format
//! http       requests and heads of answers
//! connection one client
//! source     where the figures and events come from: Xen, noxsd and the names of guests
//! server     the thread
//! observer   the main thread's handle of it
//! ```

mod connection;
mod event;
mod http;
mod known;
mod metrics;
mod observer;
mod plain;
mod report;
mod samples;
mod server;
mod source;
mod subscriber;
mod tally;
#[cfg(test)]
mod tests;

pub use observer::{Observer, ObserverError};
pub use report::{Report, Reporter};
pub use source::{HostSource, Source, SourceError};
pub use tally::{CreateTally, DaemonFigures, RestartTally};

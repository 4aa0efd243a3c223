// SPDX-License-Identifier: GPL-3.0-or-later
//! The events that one client has not taken yet. A client that is too slow loses events, and learns how
//! many.

use std::collections::VecDeque;

use super::event::{Event, What};

/// Most bytes that wait for one client: about a thousand events.
pub(super) const MAX_WAITING: usize = 256 * 1024;

/// How a client wants its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// One JSON object in each line.
    Json,
    /// Text for people.
    Text,
}

/// The events that wait for a client.
#[derive(Debug)]
pub(super) struct Subscriber {
    form: Form,
    waiting: VecDeque<u8>,
    missed: u64,
}

impl Subscriber {
    /// Returns a subscriber that gets `head` first.
    pub(super) fn new(form: Form, head: &[u8]) -> Self {
        let mut new = Self { form, waiting: head.iter().copied().collect(), missed: 0 };
        new.push(&Event::now(What::Subscribed));
        new
    }

    fn line(&self, event: &Event) -> String {
        match self.form {
            Form::Json => event.json(),
            Form::Text => event.text(),
        }
    }

    /// Adds an event, or counts it if too many wait.
    pub(super) fn push(&mut self, event: &Event) {
        // Until the client has taken all that wait, the events after a missed one are missed, too: so
        // it learns the number once, and in the right place.
        if self.missed > 0 || self.waiting.len() >= MAX_WAITING {
            self.missed += 1;
        } else {
            let line = self.line(event);
            self.waiting.extend(line.as_bytes());
        }
    }

    /// Counts events that were lost before they got here.
    pub(super) fn miss(&mut self, events: u64) {
        self.missed = self.missed.saturating_add(events);
        self.report_missed();
    }

    /// Returns bytes to send.
    pub(super) fn waiting(&self) -> &[u8] {
        self.waiting.as_slices().0
    }

    /// Notes that this many bytes were sent.
    pub(super) fn sent(&mut self, bytes: usize) {
        self.waiting.drain(..bytes);
        self.report_missed();
    }

    fn report_missed(&mut self) {
        if self.waiting.is_empty() && self.missed > 0 {
            let events = std::mem::take(&mut self.missed);
            let line = self.line(&Event::now(What::Missed { events }));
            self.waiting.extend(line.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_client_learns_how_many_events_it_has_missed_and_gets_later_ones() {
        let mut subscriber = Subscriber::new(Form::Json, b"head\n");
        let event = Event::now(What::Restarted { name: "x".repeat(1000), domid: 1 });
        for _ in 0..1000 {
            subscriber.push(&event);
        }
        assert!(subscriber.waiting.len() <= MAX_WAITING + 2000);
        let mut read = Vec::new();
        while !subscriber.waiting().is_empty() {
            read.extend_from_slice(subscriber.waiting());
            subscriber.sent(subscriber.waiting().len());
        }
        subscriber.push(&event);
        read.extend(subscriber.waiting.iter());
        let text = String::from_utf8(read).unwrap();
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some("head"));
        let events: Vec<serde_json::Value> =
            lines.map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(events[0]["event"], "subscribed");
        let got = events.iter().filter(|event| event["event"] == "restarted").count() as u64;
        let [.., missed, last] = &events[..] else { panic!("too few") };
        assert_eq!((&missed["event"], &last["event"]), (&"missed".into(), &"restarted".into()));
        assert_eq!(got + missed["events"].as_u64().unwrap(), 1001);
    }
}

// SPDX-License-Identifier: GPL-3.0-or-later
//! Requests and heads of answers. Only `GET` is served, and each connection serves one request.

use std::sync::Arc;

use super::subscriber::Form;

/// Longest head of a request, in bytes.
pub(super) const MAX_HEAD: usize = 4096;

/// Most header lines of a request.
const MAX_HEADERS: usize = 64;

/// The format of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// The text format 0.0.4 of Prometheus.
    Plain,
}

/// What a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// The metrics.
    Metrics(Format),
    /// All events from now on.
    Events(Form),
}

/// Why a request is not served: the status line's code and reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Problem(pub(super) &'static str);

const MALFORMED: Problem = Problem("400 Bad Request");
const UNKNOWN: Problem = Problem("404 Not Found");
const WRONG_METHOD: Problem = Problem("405 Method Not Allowed");
pub(super) const TOO_LONG: Problem = Problem("431 Request Header Fields Too Large");
pub(super) const TOO_MANY: Problem = Problem("503 too many clients follow the events");
pub(super) const NO_FIGURES: Problem =
    Problem("503 Xen does not list its domains; see chaosd's log");

/// Parses a request. Returns `None` if more bytes are needed.
///
/// # Errors
/// It is not a request that is served. `has_events` says whether events are.
pub(super) fn parse(head: &[u8], has_events: bool) -> Result<Option<Wanted>, Problem> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(head) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) if head.len() >= MAX_HEAD => return Err(TOO_LONG),
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(TOO_LONG),
        Err(_) => return Err(MALFORMED),
    }
    let wanted = match request.path {
        Some("/metrics") => {
            let openmetrics = request.headers.iter().any(|header| {
                let accepts = || String::from_utf8_lossy(header.value);
                header.name.eq_ignore_ascii_case("accept")
                    && accepts().contains("application/openmetrics-text")
            });
            Wanted::Metrics(if openmetrics { Format::OpenMetrics } else { Format::Plain })
        }
        Some("/events") if has_events => Wanted::Events(Form::Json),
        Some("/events?text") if has_events => Wanted::Events(Form::Text),
        _ => return Err(UNKNOWN),
    };
    if request.method == Some("GET") { Ok(Some(wanted)) } else { Err(WRONG_METHOD) }
}

/// An answer. Several may share a body, which is long among many guests.
#[derive(Debug)]
pub(super) struct Answer {
    head: Vec<u8>,
    body: Arc<String>,
}

impl Answer {
    /// Returns what follows the first `sent` bytes, in two pieces.
    pub(super) fn rest(&self, sent: usize) -> [&[u8]; 2] {
        let Self { head, body } = self;
        match head.get(sent..) {
            Some(head) => [head, body.as_bytes()],
            None => [&body.as_bytes()[sent - head.len()..], &[]],
        }
    }
}

/// Returns the answer with the metrics.
pub(super) fn metrics(format: Format, text: Arc<String>) -> Answer {
    let kind = match format {
        Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        Format::Plain => "text/plain; version=0.0.4; charset=utf-8",
    };
    answer("200 OK", kind, text)
}

/// Returns the answer to a request that is not served.
pub(super) fn refusal(Problem(status): Problem) -> Answer {
    answer(status, "text/plain; charset=utf-8", Arc::new(format!("{status}\n")))
}

fn answer(status: &str, kind: &str, body: Arc<String>) -> Answer {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n"
    );
    Answer { head: head.into_bytes(), body }
}

/// Returns the head of an answer with events, which ends with the connection.
pub(super) fn events_head(form: Form) -> &'static [u8] {
    match form {
        Form::Json => {
            b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nConnection: close\r\n\r\n"
        }
        Form::Text => {
            b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n"
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn get(rest: &str) -> Result<Option<Wanted>, Problem> {
        parse(format!("GET {rest}\r\n\r\n").as_bytes(), true)
    }

    #[test]
    fn an_answer_continues_where_the_last_part_ended() {
        let answer = refusal(UNKNOWN);
        let whole = answer.rest(0).concat();
        assert!(whole.starts_with(b"HTTP/1.1 404 ") && whole.ends_with(b"\n"));
        for sent in 0..=whole.len() {
            assert_eq!(answer.rest(sent).concat(), whole[sent..]);
        }
    }

    #[test]
    fn a_scraper_gets_the_format_that_it_accepts() {
        let plain = Ok(Some(Wanted::Metrics(Format::Plain)));
        assert_eq!(get("/metrics HTTP/1.1\r\nHost: x"), plain);
        assert_eq!(get("/metrics HTTP/1.1\r\nAccept: */*"), plain);
        assert_eq!(
            get(
                "/metrics HTTP/1.1\r\naccept: application/openmetrics-text;version=1.0.0,text/plain"
            ),
            Ok(Some(Wanted::Metrics(Format::OpenMetrics)))
        );
        assert_eq!(get("/events HTTP/1.1"), Ok(Some(Wanted::Events(Form::Json))));
        assert_eq!(get("/events?text HTTP/1.1"), Ok(Some(Wanted::Events(Form::Text))));
        assert_eq!(parse(b"GET /events HTTP/1.1\r\n\r\n", false), Err(UNKNOWN));
    }

    #[test]
    fn what_is_not_such_a_request_is_refused() {
        assert_eq!(get("/ HTTP/1.1"), Err(UNKNOWN));
        assert_eq!(parse(b"POST /metrics HTTP/1.1\r\n\r\n", true), Err(WRONG_METHOD));
        assert_eq!(parse(b"\x16\x03\x01\r\n\r\n", true), Err(MALFORMED));
        assert_eq!(parse(b"GET /metrics HT", true), Ok(None));
        let long = [&b"GET /metrics HTTP/1.1\r\nX: "[..], &[b'x'; MAX_HEAD]].concat();
        assert_eq!(parse(&long, true), Err(TOO_LONG));
        assert_eq!(get(&format!("/metrics HTTP/1.1{}", "\r\na: b".repeat(65))), Err(TOO_LONG));
    }

    proptest! {
        #[test]
        fn no_bytes_cause_a_panic(head in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&head, true);
        }
    }
}

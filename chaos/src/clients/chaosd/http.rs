// SPDX-License-Identifier: GPL-3.0-or-later
//! The client of `chaosd`'s HTTP socket: metrics and events. Only `chaosd` answers there, so this reads
//! just what it sends: a head, and a body up to the end of the connection.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::clients::chaosd;
use crate::failure::FailureClass;

/// What a client accepts: which of the two formats of metrics.
pub const OPENMETRICS: &str = "application/openmetrics-text";

/// The other one, which `promtool check metrics` reads.
pub const PLAIN: &str = "text/plain";

/// How long the head of an answer may take. `chaosd` may wait for `noxsd` for 5 s.
const DEADLINE: Duration = Duration::from_secs(15);

/// Bytes for which there is room before any are read; untouched pages cost nothing.
const TEXT: usize = 4 << 20;

/// Longest line of a head, in bytes.
const MAX_LINE: u64 = 1024;

/// Why `chaosd` has not answered.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// No process listens.
    #[error("chaosd is not running (no process listens on {path}); start it with: chaosd")]
    NotRunning {
        /// The socket.
        path: PathBuf,
    },
    /// This user may not connect.
    #[error("no permission to use chaosd's socket {path}; run chaos as root")]
    Permission {
        /// The socket.
        path: PathBuf,
    },
    /// It answers with an error.
    #[error("chaosd answers: {0}")]
    Status(String),
    /// It does not answer in time.
    #[error("chaosd has not answered within {} s; see its log", DEADLINE.as_secs())]
    Silent,
    /// It has closed the connection.
    #[error("chaosd closed the connection; see its log")]
    Closed,
    /// The connection failed.
    #[error("cannot talk to chaosd")]
    System(#[source] io::Error),
}

impl HttpError {
    /// Returns the class of the failure.
    #[must_use]
    pub fn class(&self) -> FailureClass {
        match self {
            Self::NotRunning { .. } | Self::Permission { .. } => FailureClass::NoDom0,
            _ => FailureClass::Failed,
        }
    }
}

impl From<io::Error> for HttpError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Self::Silent,
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => Self::Closed,
            _ => Self::System(error),
        }
    }
}

/// Asks the `chaosd` at its usual socket for `target`, such as `/metrics`, and returns the body of the
/// answer, which has no deadline.
///
/// # Errors
/// `chaosd` does not run, this user is not root, or it answers with an error.
pub fn get(target: &str, accept: &str) -> Result<BufReader<UnixStream>, HttpError> {
    get_from(&chaosd::http_socket(Path::new(chaosd::SOCKET)), target, accept)
}

/// Returns the metrics in a format: [`OPENMETRICS`] or [`PLAIN`].
///
/// # Errors
/// As [`get`].
pub fn metrics(accept: &str) -> Result<String, HttpError> {
    // Among many guests it is long, and growing it step by step would copy it several times.
    let mut text = String::with_capacity(TEXT);
    get("/metrics", accept)?.read_to_string(&mut text)?;
    // Both formats end with a line.
    if text.ends_with('\n') { Ok(text) } else { Err(HttpError::Closed) }
}

/// As [`get`], from the `chaosd` whose HTTP socket is `path`.
///
/// # Errors
/// As [`get`].
pub fn get_from(
    path: &Path,
    target: &str,
    accept: &str,
) -> Result<BufReader<UnixStream>, HttpError> {
    let mut stream = UnixStream::connect(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            HttpError::NotRunning { path: path.to_owned() }
        }
        io::ErrorKind::PermissionDenied => HttpError::Permission { path: path.to_owned() },
        _ => error.into(),
    })?;
    stream.set_read_timeout(Some(DEADLINE))?;
    stream.set_write_timeout(Some(DEADLINE))?;
    stream.write_all(
        format!("GET {target} HTTP/1.1\r\nHost: chaosd\r\nAccept: {accept}\r\n\r\n").as_bytes(),
    )?;
    let mut stream = BufReader::new(stream);
    let status = line(&mut stream)?;
    // No header matters: only chaosd answers here, and it says in the status what there is.
    while !line(&mut stream)?.is_empty() {}
    match status.split_once(' ') {
        Some((_, status)) if status.starts_with("200") => {}
        Some((_, status)) => return Err(HttpError::Status(status.to_owned())),
        None => return Err(HttpError::Closed),
    }
    stream.get_ref().set_read_timeout(None)?;
    Ok(stream)
}

/// Returns the next line of a head, without its end.
fn line(stream: &mut BufReader<UnixStream>) -> Result<String, HttpError> {
    let mut line = String::new();
    let length = stream.take(MAX_LINE).read_line(&mut line)?;
    match line.strip_suffix("\r\n") {
        Some(line) => Ok(line.to_owned()),
        None if length == 0 => Err(HttpError::Closed),
        None => Err(HttpError::System(io::ErrorKind::InvalidData.into())),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::thread;

    use super::*;

    fn answer(answer: &'static str) -> Result<String, HttpError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let server = thread::spawn(move || {
            let (mut client, _) = listener.accept().unwrap();
            let mut head = [0; 128];
            let length = client.read(&mut head).unwrap();
            client.write_all(answer.as_bytes()).unwrap();
            String::from_utf8_lossy(&head[..length]).into_owned()
        });
        let body = get_from(&path, "/metrics", PLAIN).and_then(|mut stream| {
            let mut body = String::new();
            stream.read_to_string(&mut body)?;
            Ok(body)
        });
        let asked = server.join().unwrap();
        assert!(asked.starts_with("GET /metrics HTTP/1.1\r\n"), "{asked}");
        body
    }

    #[test]
    fn the_body_is_what_follows_the_head() {
        let body = answer("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\na\r\nb").unwrap();
        assert_eq!(body, "a\r\nb");
    }

    #[test]
    fn an_error_names_what_chaosd_answers() {
        let error = answer("HTTP/1.1 503 the figures are missing\r\n\r\n").unwrap_err();
        assert_eq!(error.to_string(), "chaosd answers: 503 the figures are missing");
        assert!(matches!(answer("HTTP/1.1 200 O"), Err(HttpError::System(_))));
        assert!(matches!(answer(""), Err(HttpError::Closed)));
        let missing = get_from(Path::new("/nonexistent/socket"), "/metrics", PLAIN).unwrap_err();
        assert!(matches!(missing, HttpError::NotRunning { .. }), "{missing}");
        assert_eq!(missing.class(), FailureClass::NoDom0);
    }
}

// SPDX-License-Identifier: GPL-3.0-or-later
//! The file that keeps a console's newest output, and is bounded.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;

use nix::fcntl::{FcntlArg, OFlag, fcntl};

/// Size limit of a log, in bytes. When a log would grow past it, its older half is cut off, at the
/// end of a line if there is one.
pub const LIMIT: u64 = 128 * 1024;

/// Bytes that a cut keeps.
const KEPT: u64 = LIMIT / 2;

/// Why a file cannot be a console's log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The file is a pipe, a socket or a terminal. It has no end to append at, and writing could
    /// block.
    #[error("the console log is a pipe, a socket or a terminal: must be a file")]
    NotAFile,
    /// The file is not open with `O_RDWR | O_APPEND`. A cut reads the newer half back.
    #[error("the console log is not open for reading and appending (O_RDWR | O_APPEND)")]
    Mode,
    /// The file cannot be inspected.
    #[error("cannot inspect the console log")]
    System(#[from] io::Error),
}

/// A console's log.
#[derive(Debug)]
pub struct ConsoleLog {
    file: File,
    size: u64,
}

impl ConsoleLog {
    /// Creates a log from an open file, to which it appends.
    ///
    /// # Errors
    /// The file has no end, or is not open for reading and appending.
    pub fn new(file: OwnedFd) -> Result<Self, LogError> {
        let mut file = File::from(file);
        // Returns the size, and fails if the file has none. `fstat` takes six times as long in a
        // dom0.
        let size = file.seek(SeekFrom::End(0)).map_err(|error| match error.raw_os_error() {
            Some(libc::ESPIPE) => LogError::NotAFile,
            _ => LogError::System(error),
        })?;
        let flags = fcntl(file.as_fd(), FcntlArg::F_GETFL).map_err(io::Error::from)?;
        let flags = OFlag::from_bits_truncate(flags);
        if flags & OFlag::O_ACCMODE != OFlag::O_RDWR || !flags.contains(OFlag::O_APPEND) {
            return Err(LogError::Mode);
        }
        Ok(Self { file, size })
    }

    /// Appends output of at most [`LIMIT`]` / 2` bytes.
    ///
    /// # Errors
    /// The file cannot be written. It may lack some of the output.
    pub fn append(&mut self, output: &[u8]) -> io::Result<()> {
        if self.size + output.len() as u64 > LIMIT {
            self.cut()?;
        }
        self.file.write_all(output)?;
        self.size += output.len() as u64;
        Ok(())
    }

    /// Cuts off the older half. This copies half a log for each half that was written.
    fn cut(&mut self) -> io::Result<()> {
        let start = self.size.saturating_sub(KEPT);
        let mut kept = vec![0; usize::try_from(self.size - start).unwrap_or(0)];
        self.file.read_exact_at(&mut kept, start)?;
        let line = kept.iter().position(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        self.file.set_len(0)?;
        self.size = 0;
        self.file.write_all(&kept[line..])?;
        self.size = (kept.len() - line) as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, OpenOptions};
    use std::path::PathBuf;

    use super::*;

    /// A path whose file is removed when the test ends.
    struct Temporary(PathBuf);

    impl Temporary {
        fn new(name: &str) -> Self {
            let path =
                std::env::temp_dir().join(format!("noxsd-log-{name}-{}", std::process::id()));
            let _ = fs::remove_file(&path);
            Self(path)
        }

        fn open(&self) -> OwnedFd {
            let mut options = OpenOptions::new();
            options.read(true).append(true).create(true).open(&self.0).unwrap().into()
        }
    }

    impl Drop for Temporary {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
        }
    }

    #[test]
    fn the_newest_output_is_kept() {
        let file = Temporary::new("newest");
        let mut log = ConsoleLog::new(file.open()).unwrap();
        for number in 0..20_000 {
            let line = format!("line {number:06}\n");
            log.append(line.as_bytes()).unwrap();
            assert!(log.size <= LIMIT);
        }
        let text = fs::read_to_string(&file.0).unwrap();
        assert_eq!(text.len() as u64, log.size);
        assert!(text.len() as u64 >= KEPT - 12);
        let numbers: Vec<u32> = text.lines().map(|line| line[5..].parse().unwrap()).collect();
        assert!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]), "no gap");
        assert_eq!(numbers.last(), Some(&19_999));
    }

    #[test]
    fn a_restarted_noxsd_appends_to_the_log() {
        let file = Temporary::new("restart");
        ConsoleLog::new(file.open()).unwrap().append(b"before\n").unwrap();
        let mut log = ConsoleLog::new(file.open()).unwrap();
        log.append(b"after\n").unwrap();
        assert_eq!(log.size, 13);
        assert_eq!(fs::read(&file.0).unwrap(), b"before\nafter\n");
    }

    #[test]
    fn files_that_cannot_be_a_log_are_refused() {
        let (_, pipe) = nix::unistd::pipe().unwrap();
        let (socket, _) = std::os::unix::net::UnixStream::pair().unwrap();
        let mut options = OpenOptions::new();
        let terminal = options.read(true).append(true).open("/dev/ptmx").unwrap();
        for file in [pipe, socket.into(), terminal.into()] {
            assert!(matches!(ConsoleLog::new(file), Err(LogError::NotAFile)));
        }
        let file = Temporary::new("mode");
        drop(file.open());
        for file in [
            OpenOptions::new().read(true).open(&file.0).unwrap(),
            OpenOptions::new().append(true).open(&file.0).unwrap(),
            OpenOptions::new().read(true).write(true).open(&file.0).unwrap(),
        ] {
            assert!(matches!(ConsoleLog::new(file.into()), Err(LogError::Mode)));
        }
    }
}

// SPDX-License-Identifier: GPL-3.0-or-later
//! The file that keeps a console's newest output. Each file is bounded, and so are all together.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::rc::Rc;

use nix::fcntl::{FcntlArg, OFlag, fcntl};

/// Size limit of a log, in bytes. When a log would grow past it, its older half is cut off, at the
/// end of a line if there is one.
pub const LIMIT: u64 = 128 * 1024;

/// The space of all logs together, in bytes. They are in `/run`, which is memory. Once they fill
/// this, a log that grows is bounded by its share, so that all logs together stay below twice this.
pub const SPACE: u64 = 32 << 20;

/// The smallest share, in bytes: a guest's last words.
const SMALLEST_SHARE: u64 = 4 * 1024;

/// The space that all logs together take.
#[derive(Debug, Default)]
pub struct LogSpace {
    logs: Cell<u64>,
    /// The sizes of all logs, in bytes.
    used: Cell<u64>,
}

impl LogSpace {
    /// Returns the size limit of a log that grows.
    fn limit(&self) -> u64 {
        if self.used.get() < SPACE {
            return LIMIT;
        }
        (SPACE / self.logs.get().max(1)).clamp(SMALLEST_SHARE, LIMIT)
    }

    /// Counts a log of this size.
    fn enter(&self, size: u64) {
        self.logs.set(self.logs.get() + 1);
        self.resized(0, size);
    }

    /// Counts a log of this size no longer.
    fn leave(&self, size: u64) {
        self.logs.set(self.logs.get() - 1);
        self.resized(size, 0);
    }

    fn resized(&self, from: u64, to: u64) {
        self.used.set(self.used.get() + to - from);
    }
}

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
    space: Rc<LogSpace>,
}

impl Drop for ConsoleLog {
    fn drop(&mut self) {
        self.space.leave(self.size);
    }
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
        let space = Rc::<LogSpace>::default();
        space.enter(size);
        Ok(Self { file, size, space })
    }

    /// Makes this log a part of a space, instead of the one that it was a part of before.
    pub fn count_in(&mut self, space: &Rc<LogSpace>) {
        self.space.leave(self.size);
        self.space = Rc::clone(space);
        self.space.enter(self.size);
    }

    /// Appends output of at most 2 KiB. If the log would grow past its limit, the older half is cut
    /// off first.
    ///
    /// # Errors
    /// The file cannot be written. It may lack some of the output.
    pub fn append(&mut self, output: &[u8]) -> io::Result<()> {
        let limit = self.space.limit();
        if self.size + output.len() as u64 > limit {
            self.cut(limit / 2)?;
        }
        self.write(output)
    }

    /// Returns the newest `length` bytes, or all if there are fewer.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn newest(&self, length: u64) -> io::Result<Vec<u8>> {
        let start = self.size.saturating_sub(length);
        let mut output = vec![0; usize::try_from(self.size - start).unwrap_or(0)];
        self.file.read_exact_at(&mut output, start)?;
        Ok(output)
    }

    fn write(&mut self, output: &[u8]) -> io::Result<()> {
        let (written, result) = write_all(&mut self.file, output);
        self.resize(self.size + written);
        result
    }

    fn resize(&mut self, size: u64) {
        self.space.resized(self.size, size);
        self.size = size;
    }

    /// Cuts off all but the newest `keep` bytes. This copies as much as was written since the last
    /// cut.
    fn cut(&mut self, keep: u64) -> io::Result<()> {
        let kept = self.newest(keep)?;
        let line = kept.iter().position(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        self.file.set_len(0)?;
        self.resize(0);
        self.write(&kept[line..])
    }
}

/// Writes all bytes. Returns how many are in the file, also if not all could be written.
fn write_all(file: &mut impl Write, bytes: &[u8]) -> (u64, io::Result<()>) {
    let mut written = 0;
    let result = loop {
        if written == bytes.len() {
            break Ok(());
        }
        match file.write(&bytes[written..]) {
            Ok(0) => break Err(io::ErrorKind::WriteZero.into()),
            Ok(more) => written += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => break Err(error),
        }
    };
    (written as u64, result)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, OpenOptions};
    use std::path::PathBuf;

    use super::*;

    const KEPT: u64 = LIMIT / 2;

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
    fn all_logs_together_are_bounded() {
        let space = Rc::<LogSpace>::default();
        // Others have filled the space.
        space.resized(0, SPACE);
        space.logs.set(1023);
        let file = Temporary::new("share");
        let mut log = ConsoleLog::new(file.open()).unwrap();
        log.count_in(&space);
        for _ in 0..1000 {
            log.append(&[b'x'; 200]).unwrap();
            assert!(log.size <= SPACE / 1024);
        }
        assert_eq!(space.used.get(), SPACE + log.size);
        assert_eq!(fs::metadata(&file.0).unwrap().len(), log.size);
        drop(log);
        assert_eq!((space.used.get(), space.logs.get()), (SPACE, 1023));
    }

    #[test]
    fn a_write_that_fails_half_way_is_counted() {
        /// A file system with room for three more bytes.
        struct Full(usize);
        impl Write for Full {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                let written = bytes.len().min(self.0);
                self.0 -= written;
                if written == 0 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(written) }
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (written, result) = write_all(&mut Full(3), b"hello");
        assert_eq!(written, 3);
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(write_all(&mut Full(9), b"hello").0, 5);
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

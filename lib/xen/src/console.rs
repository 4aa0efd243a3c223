// SPDX-License-Identifier: MIT OR Apache-2.0
//! Xen's own console: what it has logged, and the debug keys.

use xen_abi::sysctl::{self, DebugKeys, ReadConsole};

use crate::error::Error;
use crate::hypercall::Xen;

/// Bytes in one hypercall: Xen's log is rarely longer.
const PIECE: usize = 32 << 10;

/// Where reading ends, in bytes, if Xen logs faster than it is read. Xen keeps much less, unless
/// `conring_size` on its command line says otherwise.
const LIMIT: usize = 64 << 20;

/// A part of the log.
#[derive(Debug)]
struct Piece {
    text: Vec<u8>,
    /// Where the next part begins.
    next: u32,
}

impl Xen {
    /// Returns what Xen has logged, from its start or from where the log was last cleared. `clear`
    /// clears it. The text may begin in the middle of a line, and is not always UTF-8: guests may
    /// write to it, too.
    ///
    /// # Errors
    /// Xen refuses. With `clear`, what was read before is lost then.
    pub fn console(&self, clear: bool) -> Result<Vec<u8>, Error> {
        read_all(PIECE, LIMIT, |from| {
            let data = self.data(PIECE)?;
            let mut raw = ReadConsole {
                clear: clear.into(),
                incremental: from.is_some().into(),
                index: from.unwrap_or(0),
                ..ReadConsole::default()
            };
            let cmd = sysctl::XEN_SYSCTL_READCONSOLE;
            self.sysctl_with("sysctl readconsole", cmd, &mut raw, &data)?;
            let mut text = vec![0; usize::try_from(raw.count).map_or(PIECE, |n| n.min(PIECE))];
            data.get_into(0, text.as_mut_slice());
            Ok(Piece { text, next: raw.index })
        })
    }

    /// Sends keys to Xen's console, as if they were typed there. Most of them write to the log; `h`
    /// lists all. `R` reboots the machine at once, and `C` crashes it.
    ///
    /// # Errors
    /// Xen refuses. Xen ignores keys without a meaning.
    pub fn debug_keys(&self, keys: &[u8]) -> Result<(), Error> {
        let data = self.data(keys.len())?;
        data.put(0, keys);
        let cmd = sysctl::XEN_SYSCTL_DEBUG_KEYS;
        self.sysctl_with("sysctl debug_keys", cmd, &mut DebugKeys::default(), &data)
    }
}

/// Reads pieces of up to `piece` bytes until one is shorter, or until there are `limit` bytes.
fn read_all<E>(
    piece: usize,
    limit: usize,
    mut read: impl FnMut(Option<u32>) -> Result<Piece, E>,
) -> Result<Vec<u8>, E> {
    let (mut all, mut from) = (Vec::new(), None);
    loop {
        let Piece { text, next } = read(from)?;
        all.extend_from_slice(&text);
        if text.len() < piece || all.len() >= limit {
            return Ok(all);
        }
        from = Some(next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a log that begins at index `start` in pieces of 4 bytes.
    fn read(log: &[u8], start: u32, limit: usize) -> (Vec<u8>, u32) {
        let mut calls = 0;
        let text = read_all(4, limit, |from: Option<u32>| {
            calls += 1;
            let at = from.map_or(0, |index| index.wrapping_sub(start) as usize);
            let text = log[at..].iter().copied().take(4).collect::<Vec<_>>();
            let next = start.wrapping_add(u32::try_from(at + text.len()).unwrap());
            Ok::<_, ()>(Piece { text, next })
        });
        (text.unwrap(), calls)
    }

    #[test]
    fn all_of_the_log_is_read() {
        assert_eq!(read(b"", 0, 100), (b"".to_vec(), 1));
        assert_eq!(read(b"abc", 7, 100), (b"abc".to_vec(), 1));
        // A full piece may be the last.
        assert_eq!(read(b"abcd", 7, 100), (b"abcd".to_vec(), 2));
        // Xen's index wraps.
        assert_eq!(read(b"abcdefghij", u32::MAX - 5, 100), (b"abcdefghij".to_vec(), 3));
    }

    #[test]
    fn a_log_that_grows_forever_is_cut() {
        assert_eq!(read(&[b'x'; 1000], 0, 10), (vec![b'x'; 12], 3));
    }
}

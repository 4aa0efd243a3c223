// SPDX-License-Identifier: GPL-3.0-or-later
//! The client's part of the NBD protocol until the kernel takes over the connection: the fixed newstyle
//! negotiation (`doc/proto.md` of github.com/NetworkBlockDevice/nbd).

use std::io::{self, Read, Write};

const MAGIC: [u8; 8] = *b"NBDMAGIC";
const OPTIONS: [u8; 8] = *b"IHAVEOPT";
/// Flags of both sides: the fixed newstyle, and no zeroes after the export.
const FIXED: u16 = 1;
const NO_ZEROES: u16 = 2;
/// The option that ends the negotiation.
const EXPORT_NAME: u32 = 1;

/// Transmission flag: the server refuses writes.
const READ_ONLY: u16 = 2;

/// What a server exports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Export {
    /// Size in bytes.
    pub(super) size: u64,
    /// Transmission flags: what requests the server takes.
    pub(super) flags: u16,
}

impl Export {
    /// Returns whether the server refuses writes.
    pub(super) fn is_read_only(self) -> bool {
        self.flags & READ_ONLY != 0
    }
}

/// Negotiates with a server, and returns its export without a name.
///
/// # Errors
/// The server has closed the connection, is silent for longer than the timeout of the stream, or does not
/// speak the protocol.
pub(super) fn negotiate(mut stream: impl Read + Write) -> io::Result<Export> {
    let hello: [u8; 18] = read(&mut stream)?;
    let flags = u16::from_be_bytes([hello[16], hello[17]]);
    if hello[..8] != MAGIC || hello[8..16] != OPTIONS || flags & FIXED == 0 {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is not a server of NBD"));
    }
    let flags = flags & (FIXED | NO_ZEROES);
    let mut request = u32::from(flags).to_be_bytes().to_vec();
    request.extend(OPTIONS);
    request.extend(EXPORT_NAME.to_be_bytes());
    // The length of the name.
    request.extend(0u32.to_be_bytes());
    stream.write_all(&request)?;
    let [s0, s1, s2, s3, s4, s5, s6, s7, f0, f1] = read(&mut stream)?;
    if flags & NO_ZEROES == 0 {
        let _: [u8; 124] = read(&mut stream)?;
    }
    Ok(Export {
        size: u64::from_be_bytes([s0, s1, s2, s3, s4, s5, s6, s7]),
        flags: u16::from_be_bytes([f0, f1]),
    })
}

fn read<const LENGTH: usize>(stream: &mut impl Read) -> io::Result<[u8; LENGTH]> {
    let mut bytes = [0; LENGTH];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    /// Returns what a client gets from a server that has sent this and closes the connection, and what it
    /// has asked for.
    fn with_server(sent: &[u8]) -> (io::Result<Export>, Vec<u8>) {
        let (mut server, client) = UnixStream::pair().unwrap();
        server.write_all(sent).unwrap();
        server.shutdown(std::net::Shutdown::Write).unwrap();
        let result = negotiate(&client);
        drop(client);
        let mut asked = Vec::new();
        // It fails at the end if the client has left something unread.
        let _ = server.read_to_end(&mut asked);
        (result, asked)
    }

    #[test]
    fn the_size_and_the_flags_are_those_of_the_server() {
        for (flags, zeroes) in [(3, 0), (1, 124)] {
            let export = [0, 0, 0, 0, 0, 64, 0, 0, 0, 7];
            let hello = [&b"NBDMAGICIHAVEOPT"[..], &[0, flags], &export, &vec![0; zeroes]].concat();
            let (result, asked) = with_server(&hello);
            let found = result.unwrap();
            assert_eq!(found, Export { size: 4 << 20, flags: 7 });
            assert!(found.is_read_only());
            let option = [0, 0, 0, flags, b'I', b'H', b'A', b'V', b'E', b'O', b'P', b'T'];
            assert_eq!(asked, [&option[..], &[0, 0, 0, 1, 0, 0, 0, 0]].concat());
        }
    }

    #[test]
    fn another_server_is_refused() {
        for sent in [
            &b""[..],
            b"NBDMAGIC",
            b"NBDMAGICIHAVEOPX\0\x03",
            b"SSH-2.0-OpenSSH_9.2p1 Debian-2",
            b"NBDMAGICIHAVEOPT\0\0",
            b"NBDMAGICIHAVEOPT\0\x03\0\0",
        ] {
            assert!(with_server(sent).0.is_err(), "{sent:?}");
        }
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! A guest that sends the time of day to each client that connects to TCP port 13 (RFC 867).

#![no_std]
#![no_main]

use core::fmt::Write;

use daytime::Date;
use unikernel::net::{Net, Next, Service, Stream};
use unikernel::{Guest, println, unix_time};

/// The port that RFC 867 assigns to the service.
const PORT: u16 = 13;

unikernel::guest!(main);

fn main(guest: Guest) {
    let mut net = match Net::new(guest) {
        Ok(net) => net,
        Err(error) => panic!("daytime: {error}"),
    };
    println!("daytime: ready on {}", net.socket_addresses(PORT));
    panic!("daytime: {}", net.serve(PORT, Daytime));
}

struct Daytime;

impl Service for Daytime {
    /// The answer, and how much of it is sent.
    type Session = Line;

    fn open(&mut self, _: &mut Stream<'_>) -> Line {
        let mut line = Line { text: [0; 48], length: 0, sent: 0 };
        // Cannot fail: the buffer is longer than any date.
        let _ = write!(line, "{}\r\n", Date::from_unix(unix_time().as_secs()));
        line
    }

    fn ready(&mut self, line: &mut Line, stream: &mut Stream<'_>) -> Next {
        // RFC 867: discard what the client sends.
        stream.receive(|bytes| bytes.len());
        line.sent += stream.send(&line.text[line.sent..line.length]);
        if line.sent == line.length { Next::Close } else { Next::Continue }
    }
}

/// The answer to one client.
struct Line {
    text: [u8; 48],
    length: usize,
    sent: usize,
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        let end = self.length + text.len();
        let room = self.text.get_mut(self.length..end).ok_or(core::fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

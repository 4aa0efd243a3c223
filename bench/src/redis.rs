// SPDX-License-Identifier: GPL-3.0-or-later
//! Asks a redis server whether it answers.

use std::io::{Read, Write};

use anyhow::{Result, ensure};

/// Sends a PING and waits for its PONG.
///
/// # Errors
/// As [`send_ping`] and [`receive_pong`].
pub fn ping(stream: &mut (impl Read + Write)) -> Result<()> {
    send_ping(stream)?;
    receive_pong(stream)
}

/// Sends a PING.
///
/// # Errors
/// The connection is broken.
pub fn send_ping(stream: &mut impl Write) -> Result<()> {
    Ok(stream.write_all(b"PING\r\n")?)
}

/// Waits for the PONG to a PING.
///
/// # Errors
/// The connection is broken, the answer does not come in time, or it is another one.
pub fn receive_pong(stream: &mut impl Read) -> Result<()> {
    let mut answer = [0; 7];
    stream.read_exact(&mut answer)?;
    ensure!(&answer == b"+PONG\r\n", "redis answered {answer:?}");
    Ok(())
}

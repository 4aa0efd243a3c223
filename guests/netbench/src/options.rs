// SPDX-License-Identifier: MIT OR Apache-2.0
//! The arguments of the command line.

use alloc::format;
use alloc::string::String;
use core::net::Ipv4Addr;

use noxs::MacAddr;

use crate::frame::{LEAST, Station};

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Options {
    /// Sends frames without an end.
    Send {
        /// Bytes of a frame.
        size: usize,
        /// The receiver.
        to: Station,
    },
    /// Counts the frames that come.
    Receive {
        /// Frames that are not measured.
        skip: u64,
        /// Frames that are.
        count: u64,
    },
}

/// Parses a command line.
///
/// # Errors
/// Returns what is wrong, in one line.
pub fn parse(line: &str) -> Result<Options, String> {
    let mut arguments = line.split_ascii_whitespace();
    let mode = arguments.next().unwrap_or("");
    let sends = match mode {
        "send" => true,
        "receive" => false,
        _ => return Err(format!("cmdline: {mode:?} is not a mode; must be send or receive")),
    };
    let (mut size, mut skip, mut count) = (64, 1000, 100_000);
    let (mut mac, mut address) = (None, None);
    for argument in arguments {
        let (key, text) = argument.split_once('=').unwrap_or((argument, ""));
        let number = text.parse::<u64>().ok();
        let is_valid = match (key, number) {
            ("size", Some(value)) if sends => {
                size = usize::try_from(value).unwrap_or(usize::MAX);
                size >= LEAST
            }
            ("mac", _) if sends => {
                mac = hardware_address(text);
                mac.is_some()
            }
            ("address", _) if sends => {
                address = text.parse::<Ipv4Addr>().ok();
                address.is_some()
            }
            ("skip", Some(value)) if !sends => {
                skip = value;
                true
            }
            ("count", Some(value)) if !sends => {
                count = value;
                value > 0
            }
            _ => false,
        };
        if !is_valid {
            return Err(format!(
                "cmdline: {argument:?} is not an argument of {mode}: must be {}",
                if sends {
                    "size=BYTES, mac=MAC or address=IPV4, with a size of at least 50"
                } else {
                    "skip=N or count=N, with a count of at least 1"
                }
            ));
        }
    }
    if !sends {
        return Ok(Options::Receive { skip, count });
    }
    match (mac, address) {
        (Some(mac), Some(address)) => Ok(Options::Send { size, to: Station { mac, address } }),
        _ => Err(String::from("cmdline: send needs mac=MAC and address=IPV4 of the receiver")),
    }
}

/// Parses a hardware address such as 00:16:3e:00:00:08.
fn hardware_address(text: &str) -> Option<MacAddr> {
    let mut address = [0; 6];
    let mut parts = text.split(':');
    for byte in &mut address {
        *byte = u8::from_str_radix(parts.next()?, 16).ok()?;
    }
    parts.next().is_none().then_some(MacAddr(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_have_defaults_and_any_order() {
        assert_eq!(parse("receive"), Ok(Options::Receive { skip: 1000, count: 100_000 }));
        assert_eq!(parse("receive count=1 skip=0"), Ok(Options::Receive { skip: 0, count: 1 }));
        let to =
            Station { mac: MacAddr([0, 0x16, 0x3e, 0, 0, 8]), address: Ipv4Addr::new(10, 0, 0, 8) };
        let line = "send address=10.0.0.8 mac=00:16:3e:0:0:8";
        assert_eq!(parse(line), Ok(Options::Send { size: 64, to }));
        let line = "send size=1500 mac=00:16:3e:00:00:08 address=10.0.0.8";
        assert_eq!(parse(line), Ok(Options::Send { size: 1500, to }));
    }

    #[test]
    fn wrong_arguments_are_named() {
        for (line, message) in [
            ("", "\"\" is not a mode"),
            ("flood", "\"flood\" is not a mode"),
            ("receive count=0", "\"count=0\" is not an argument of receive"),
            ("receive size=64", "\"size=64\" is not an argument of receive"),
            ("send size=49", "\"size=49\" is not an argument of send"),
            ("send count=1", "\"count=1\" is not an argument of send"),
            ("send mac=00:16:3e:00:00", "\"mac=00:16:3e:00:00\" is not"),
            ("send mac=00:16:3e:00:00:08:09", "is not an argument"),
            ("send mac=00:16:3e:00:00:08", "send needs mac=MAC and address=IPV4"),
        ] {
            let error = parse(line).unwrap_err();
            assert!(error.contains(message), "{line}: {error}");
        }
    }
}

// SPDX-License-Identifier: GPL-3.0-or-later
//! `diskload`: what the guest blkbench does, in a Linux guest. `scripts/bench block` runs it there.
//!
//! It reads and writes a block device past the page cache (`O_DIRECT`), through io_uring. A client
//! on TCP port 9 sends a line such as `randread bs=4096 qd=32 count=1000`, and receives one with the
//! time from the first request to the last response: `nanoseconds=52000000`, or `error: ...`. It
//! prints a line when it listens.

mod job;
mod queue;

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;

use anyhow::{Context, Result};

use job::Job;

fn main() -> Result<()> {
    let disk = std::env::args_os().nth(1).context("usage: diskload DISK")?;
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 9))?;
    writeln!(std::io::stdout(), "diskload: ready")?;
    for client in listener.incoming() {
        // What fails is the connection: the client sees it, too.
        let _ = serve(client?, Path::new(&disk));
    }
    Ok(())
}

/// Carries out the jobs of a client until it leaves.
fn serve(mut client: TcpStream, disk: &Path) -> Result<()> {
    let lines = BufReader::new(client.try_clone()?).lines();
    for line in lines {
        let answer = match Job::parse(&line?).and_then(|job| job.run(disk)) {
            Ok(took) => format!("nanoseconds={}\n", took.as_nanos()),
            Err(error) => format!("error: {error:#}\n"),
        };
        client.write_all(answer.as_bytes())?;
    }
    Ok(())
}

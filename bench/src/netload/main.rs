// SPDX-License-Identifier: GPL-3.0-or-later
//! `netload`: what the guest netbench does, in a Linux guest. `scripts/bench frames` runs it there.
//!
//! It sends frames, or counts those that it receives: through a socket of UDP, or a packet socket,
//! which has no protocol. Both pass 64 frames with each system call. A client on TCP port 9 sends a
//! line such as `receive socket=udp size=64 count=100000 skip=1000`, and receives one with the time
//! in which so many frames came: `frames=100000 lost=0 nanoseconds=520000000`, or `error: ...`. A
//! sender (`send socket=packet size=64 mac=00:16:3e:00:00:08 address=10.0.0.8`) sends until the
//! client closes the connection. It prints a line when it listens.

mod batch;
mod job;
mod socket;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::Result;

use job::{Job, Mode};

fn main() -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, job::PORT))?;
    writeln!(std::io::stdout(), "netload: ready")?;
    for client in listener.incoming() {
        // What fails is the connection: the client sees it, too.
        let _ = serve(client?);
    }
    Ok(())
}

/// Carries out the jobs of a client until it leaves.
fn serve(mut client: TcpStream) -> Result<()> {
    let mut input = BufReader::new(client.try_clone()?);
    loop {
        let mut line = String::new();
        if input.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let answer = match Job::parse(&line).and_then(|job| run(&job, &mut client)) {
            Ok(answer) => answer,
            Err(error) => format!("error: {error:#}\n"),
        };
        client.write_all(answer.as_bytes())?;
    }
}

fn run(job: &Job, client: &mut TcpStream) -> Result<String> {
    match job.mode {
        Mode::Receive { skip, count } => {
            let mut receiver = job.receiver()?;
            client.write_all(b"ready\n")?;
            receiver.count(skip, count)
        }
        Mode::Send { .. } => {
            let mut sender = job.sender()?;
            let is_over = AtomicBool::new(false);
            thread::scope(|scope| {
                scope.spawn(|| {
                    // The client sends nothing more: this returns when it closes the connection.
                    let _ = client.read(&mut [0]);
                    is_over.store(true, Ordering::Relaxed);
                });
                while !is_over.load(Ordering::Relaxed) {
                    sender.send()?;
                }
                Ok(String::new())
            })
        }
    }
}

// SPDX-License-Identifier: GPL-3.0-or-later
//! `chaosd`: LightVM's split toolstack. Work that does not depend on a request is done before the
//! request: a pool keeps shells, that is domains with everything but an image.
//!
//! There are six threads, and some for users other than root. The main thread answers requests: it
//! takes a shell that fits and executes the guest in it, or prepares a shell for the request. The
//! refill thread runs when no other program wants the CPU; it prepares shells and does work that can
//! wait, such as unmapping. The removal thread destroys guests with much memory, another one writes
//! the cores of guests before, and the loader thread reads kernels: all of these can take seconds. The
//! observer thread serves metrics and events. Two more loader threads read the kernels of users other
//! than root, and each connection of such a user has a thread, because the main thread must wait for
//! none of them.
//!
//! ```text
//! settings   /etc/chaos/chaosd.toml: flavours, and how many shells of each
//! pool       which shells are ready, and how many more to prepare
//! demand     which kinds of shells are asked for, without a flavour
//! refill     the refill thread
//! loader     the threads that read kernels
//! loads      the kernels that wait for them
//! stock      the pool and the refill thread together
//! files      the files that come with a create
//! uploads    the files that users other than root have uploaded
//! refused_kernels  their kernels that were refused
//! members    what users other than root may do
//! answers    what the service answers and logs
//! service    answers requests
//! server     root's socket and its clients
//! member_server  the socket of other users, and its clients
//! removal    the thread that destroys large guests
//! restart_files  opens the files of guests that are restarted
//! supervise  what happens when a guest ends
//! observe    the thread that serves metrics and events over HTTP
//! pace       how often all domains are scanned for guests that have ended
//! heap       what the allocator does with freed memory
//! event_loop requests, signals, prepared shells and guests that have ended
//! process    start
//! options    the program's options
//! ```

mod answers;
mod boots;
mod demand;
mod dumps;
mod event_loop;
mod files;
mod heap;
pub mod idle;
mod line_limit;
pub mod loader;
mod loads;
pub mod member_server;
mod members;
pub mod observe;
pub mod options;
mod pace;
pub mod pool;
pub mod process;
pub mod refill;
mod refused_kernels;
pub mod removal;
mod reserved;
mod rest;
mod restart_files;
mod restart_threads;
pub mod server;
pub mod service;
pub mod settings;
mod stock;
pub mod supervise;
pub mod uploads;

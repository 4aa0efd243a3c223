//! `chaosd`: the second of LightVM's ideas. What does not depend on a request is done before the
//! request comes: shells, domains with everything but an image, wait in a pool.
//!
//! There are two threads. The main one waits for requests and answers each at once: it takes a shell
//! that fits and puts the guest into it, or prepares one on the spot. The other one, which only runs
//! when no other program wants the CPU, prepares new shells and does what may wait, such as
//! unmapping.
//!
//! ```text
//! settings   /etc/chaos/chaosd.toml: flavours, and how many shells of each
//! pool       which shells are ready, and how many are wanted
//! refill     the other thread
//! stock      both together
//! files      the files that come with a create
//! service    what is done with a request
//! server     the socket and its clients
//! process    start, signals, the loop
//! supervise  what happens when a guest shuts down
//! pace       how often all domains are scanned for that
//! ```

mod files;
pub mod idle;
mod pace;
pub mod pool;
pub mod process;
pub mod refill;
pub mod server;
pub mod service;
pub mod settings;
mod stock;
pub mod supervise;

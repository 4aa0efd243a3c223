//! What the backends ask of Xen and of the kernel, as traits, so that all else runs in tests.

pub mod dom0;
pub mod memory;
pub mod ring;

use std::io;

use crate::host::memory::{PAGE_SIZE, SharedMemory};

/// Frames that are handled at a time.
pub const BATCH: usize = 64;

/// Private buffers for frames, each one page so that no copy crosses a page.
#[derive(Debug)]
pub struct Frames(Box<[Frame]>);

/// A private buffer for one frame.
#[derive(Clone, Debug)]
#[repr(C, align(4096))]
struct Frame([u8; PAGE_SIZE]);

impl Default for Frames {
    fn default() -> Self {
        Self(vec![Frame([0; PAGE_SIZE]); BATCH].into_boxed_slice())
    }
}

impl Frames {
    /// The buffer with the number.
    ///
    /// # Panics
    /// If the number is not below [`BATCH`].
    #[must_use]
    pub fn get(&self, frame: usize) -> &[u8; PAGE_SIZE] {
        &self.0[frame].0
    }

    /// All buffers.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut [u8; PAGE_SIZE]> {
        self.0.iter_mut().map(|frame| &mut frame.0)
    }

    /// The buffer with the number.
    ///
    /// # Panics
    /// If the number is not below [`BATCH`].
    pub fn get_mut(&mut self, frame: usize) -> &mut [u8; PAGE_SIZE] {
        &mut self.0[frame].0
    }
}

/// A copy between a guest's page and the beginning of a frame's buffer.
#[derive(Clone, Copy, Debug)]
pub struct GrantCopy {
    /// Whose page.
    pub domid: u16,
    /// Grant reference of the page.
    pub gref: u32,
    /// Where in the page; together with `length` at most a page.
    pub offset: u16,
    /// How many bytes.
    pub length: u16,
    /// Number of the buffer.
    pub frame: usize,
    /// Whether it was done; set by [`Host::fetch`] and [`Host::deliver`].
    pub done: bool,
}

/// dom0's side of Xen.
pub trait Host {
    /// Mapped ring pages; they are unmapped when it is dropped.
    type Memory: SharedMemory;

    /// Maps pages that a domain has granted, one after the other.
    ///
    /// # Errors
    /// The system's answer; nothing is mapped.
    fn map(&mut self, domid: u16, grefs: &[u32]) -> io::Result<Self::Memory>;

    /// Binds an event channel to a port that the domain holds for dom0. Gives the local port.
    ///
    /// # Errors
    /// The system's answer; nothing is bound.
    fn bind(&mut self, domid: u16, port: u32) -> io::Result<u32>;

    /// Binds the interrupt that comes when some domain ends. Gives the local port.
    ///
    /// # Errors
    /// The system's answer: `EEXIST` if another process holds it.
    fn bind_domain_exception(&mut self) -> io::Result<u32>;

    /// Gives a local port back.
    fn unbind(&mut self, port: u32);

    /// Sends an event.
    fn notify(&mut self, port: u32);

    /// Lets events of these local ports come in again. A port is masked from the moment that an
    /// event of it is read.
    fn unmask(&mut self, ports: &[u32]);

    /// Copies from guests into buffers, one frame into each: the first copy into the first buffer,
    /// and so on. Each copy says by itself whether it was done.
    fn fetch(&mut self, frames: &mut Frames, copies: &mut [GrantCopy]);

    /// Copies from buffers to guests. Each copy says by itself whether it was done.
    fn deliver(&mut self, frames: &Frames, copies: &mut [GrantCopy]);
}

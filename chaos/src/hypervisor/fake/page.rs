// SPDX-License-Identifier: GPL-3.0-or-later
//! Pages and event channels of the fake hypervisor.

use std::cell::RefCell;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::rc::Rc;

use noxs::shared::PageWords;
use xen::Error;
use xen::units::{DomId, Port};

use super::super::EventPorts;
use super::FakeXen;

/// A page that the guest and dom0 see.
#[derive(Clone, Debug)]
pub(crate) struct FakePage(Rc<RefCell<[u32; 1024]>>);

impl Default for FakePage {
    fn default() -> Self {
        Self(Rc::new(RefCell::new([0; 1024])))
    }
}

impl PageWords for FakePage {
    fn read_u32(&self, offset: usize) -> u32 {
        self.0.borrow()[offset / 4]
    }

    fn write_u32(&mut self, offset: usize, value: u32) {
        self.0.borrow_mut()[offset / 4] = value;
    }
}

/// A set of event channels; all its events are one byte in a socket.
#[derive(Debug)]
pub(crate) struct FakeEvents {
    xen: FakeXen,
    pending: UnixStream,
    bound: RefCell<Option<DomId>>,
}

impl FakeEvents {
    pub(super) fn new(xen: &FakeXen, pending: UnixStream) -> Self {
        Self { xen: xen.clone(), pending, bound: RefCell::new(None) }
    }
}

impl EventPorts for FakeEvents {
    fn bind_interdomain(&self, domid: DomId, _: Port) -> Result<Port, Error> {
        self.xen.call("bind", Some(domid))?;
        *self.bound.borrow_mut() = Some(domid);
        Ok(Port(7))
    }

    fn bind_virq(&self, _: u32) -> Result<Port, Error> {
        self.xen.call("bind_virq", None)?;
        Ok(Port(8))
    }

    fn notify(&self, _: Port) -> Result<(), Error> {
        let domid = self.bound.borrow().expect("a port is bound");
        self.xen.call("notify", Some(domid))?;
        self.xen.notified(domid);
        Ok(())
    }

    fn acknowledge_pending(&self) -> Result<(), Error> {
        let _ = (&self.pending).read(&mut [0; 64]);
        self.xen.acknowledged();
        Ok(())
    }
}

impl AsFd for FakeEvents {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pending.as_fd()
    }
}

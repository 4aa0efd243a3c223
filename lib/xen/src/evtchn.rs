// SPDX-License-Identifier: MIT OR Apache-2.0
//! dom0's ends of event channels, through `/dev/xen/evtchn`.
//!
//! An event is a hint to look for work, not a count: binding raises one at once, and several may
//! arrive as one.
//!
//! `unsafe`: ioctls on structures of this module.
#![allow(unsafe_code)]

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use nix::errno::Errno;

use crate::device;
use crate::error::Error;
use crate::linux::evtchn::{
    BindInterdomain, BindVirq, IOCTL_EVTCHN_BIND_INTERDOMAIN, IOCTL_EVTCHN_BIND_VIRQ,
    IOCTL_EVTCHN_NOTIFY, IOCTL_EVTCHN_RESET, IOCTL_EVTCHN_UNBIND, LocalPort,
};
use crate::units::{DomId, Port};

pub use xen_abi::hypercall::VIRQ_DOM_EXC;

/// The most ports that one [`EventChannels::pending`] returns.
const AT_ONCE: usize = 256;

/// A set of event channels. Reading never blocks: wait until the file descriptor is readable.
///
/// A port that [`EventChannels::pending`] returned stays masked until [`EventChannels::unmask`].
#[derive(Debug)]
pub struct EventChannels {
    device: File,
}

impl EventChannels {
    /// Opens a new, empty set.
    ///
    /// # Errors
    /// The machine does not run Xen, or the user may not open the device.
    pub fn open() -> Result<Self, Error> {
        let device = device::open("/dev/xen/evtchn", "xen-evtchn", libc::O_NONBLOCK)?;
        Ok(Self { device })
    }

    /// Binds to a port that another domain has allocated for this one. Raises an event at once.
    ///
    /// # Errors
    /// The domain or the port does not exist, or the port is bound already.
    pub fn bind_interdomain(&self, domid: DomId, remote: Port) -> Result<Port, Error> {
        let mut call = BindInterdomain { remote_domain: u32::from(domid.0), remote_port: remote.0 };
        // SAFETY: this ioctl takes a `BindInterdomain`, which `call` is; it holds no address.
        unsafe { device::ioctl(&self.device, IOCTL_EVTCHN_BIND_INTERDOMAIN, &raw mut call) }
            .map(|port| Port(port.unsigned_abs()))
            .map_err(|errno| Error::EventChannel {
                doing: "bind to",
                domid: Some(domid),
                port: remote,
                errno,
            })
    }

    /// Binds a virtual interrupt of this domain, such as [`VIRQ_DOM_EXC`].
    ///
    /// # Errors
    /// `EEXIST` if another process holds it: Xen lets only one bind a global interrupt.
    pub fn bind_virq(&self, virq: u32) -> Result<Port, Error> {
        let mut call = BindVirq { virq };
        // SAFETY: this ioctl takes a `BindVirq`, which `call` is; it holds no address.
        unsafe { device::ioctl(&self.device, IOCTL_EVTCHN_BIND_VIRQ, &raw mut call) }
            .map(|port| Port(port.unsigned_abs()))
            .map_err(|errno| Error::System { doing: "bind a virtual interrupt", errno })
    }

    /// Unbinds a port.
    ///
    /// # Errors
    /// The port is not in this set.
    pub fn unbind(&self, port: Port) -> Result<(), Error> {
        self.on_port("unbind", IOCTL_EVTCHN_UNBIND, port)
    }

    /// Sends an event.
    ///
    /// # Errors
    /// The port is not in this set, or the other domain is gone.
    pub fn notify(&self, port: Port) -> Result<(), Error> {
        self.on_port("notify", IOCTL_EVTCHN_NOTIFY, port)
    }

    fn on_port(&self, doing: &'static str, number: u64, port: Port) -> Result<(), Error> {
        let mut call = LocalPort { port: port.0 };
        // SAFETY: this is called with two ioctls, UNBIND and NOTIFY. Both take a `LocalPort`, which
        // `call` is; it holds no address.
        unsafe { device::ioctl(&self.device, number, &raw mut call) }
            .map(drop)
            .map_err(|errno| Error::EventChannel { doing, domid: None, port, errno })
    }

    /// Appends ports that have received events to `ports`, or nothing if there are none. They stay
    /// masked.
    ///
    /// # Errors
    /// `EFBIG` if the kernel's list of pending ports has overflowed. It was emptied and events were
    /// lost: look for work on all ports and unmask all of them.
    pub fn pending(&self, ports: &mut Vec<Port>) -> Result<(), Error> {
        let mut bytes = [0; AT_ONCE * 4];
        match (&self.device).read(&mut bytes) {
            Ok(length) => {
                let words = bytes[..length].chunks_exact(4);
                ports
                    .extend(words.map(|word| {
                        Port(u32::from_ne_bytes([word[0], word[1], word[2], word[3]]))
                    }));
                Ok(())
            }
            Err(error) => match error.raw_os_error().map(Errno::from_raw) {
                Some(Errno::EAGAIN) => Ok(()),
                Some(Errno::EFBIG) => {
                    self.reset()?;
                    Err(Error::System { doing: "read event channels", errno: Errno::EFBIG })
                }
                errno => Err(Error::System {
                    doing: "read event channels",
                    errno: errno.unwrap_or(Errno::UnknownErrno),
                }),
            },
        }
    }

    fn reset(&self) -> Result<(), Error> {
        // SAFETY: this ioctl ignores its argument.
        unsafe { device::ioctl(&self.device, IOCTL_EVTCHN_RESET, std::ptr::null_mut::<u8>()) }
            .map(drop)
            .map_err(|errno| Error::System { doing: "reset event channels", errno })
    }

    /// Unmasks ports: they raise events again.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn unmask(&self, ports: &[Port]) -> Result<(), Error> {
        let mut bytes = [0; AT_ONCE * 4];
        for ports in ports.chunks(AT_ONCE) {
            for (word, port) in bytes.chunks_exact_mut(4).zip(ports) {
                word.copy_from_slice(&port.0.to_ne_bytes());
            }
            (&self.device).write_all(&bytes[..ports.len() * 4]).map_err(|error| Error::System {
                doing: "unmask event channels",
                errno: error.raw_os_error().map_or(Errno::UnknownErrno, Errno::from_raw),
            })?;
        }
        Ok(())
    }

    /// Takes the pending events and unmasks their ports.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn acknowledge_pending(&self) -> Result<(), Error> {
        let mut ports = Vec::new();
        self.pending(&mut ports)?;
        self.unmask(&ports)
    }
}

impl AsFd for EventChannels {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }
}

impl AsRawFd for EventChannels {
    fn as_raw_fd(&self) -> RawFd {
        self.device.as_raw_fd()
    }
}

//! The handle through which hypercalls are made.
//!
//! `unsafe`: a hypercall takes addresses. All of them point into the handle's own arena.
#![allow(unsafe_code)]

use std::fs::File;

use nix::errno::Errno;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::arena::Arena;
use crate::device;
use crate::error::Error;
use crate::sys::domctl::{
    DOMCTL_SIZE, DOMCTL_UNION, DomctlHeader, GetDomainInfo, XEN_DOMCTL_GETDOMAININFO,
};
use crate::sys::privcmd::{IOCTL_PRIVCMD_HYPERCALL, PrivcmdHypercall};
use crate::sys::sysctl::{SYSCTL_SIZE, SYSCTL_UNION, SysctlHeader, XEN_SYSCTL_INTERFACE_VERSION};
use crate::sys::{HYPERVISOR_DOMCTL, HYPERVISOR_SYSCTL, HYPERVISOR_XEN_VERSION, XENVER_VERSION};
use crate::units::DomId;

/// dom0's handle on Xen.
///
/// It keeps the memory that hypercalls point to, so it belongs to one thread at a time.
#[derive(Debug)]
pub struct Xen {
    privcmd: File,
    pub(crate) arena: Arena,
    version: (u32, u32),
    domctl_version: u32,
}

impl Xen {
    /// Opens Xen's devices and finds out which Xen this is.
    ///
    /// # Errors
    /// There is no Xen, this is not dom0, the user is not root, or this Xen has an interface that
    /// is not known: it is refused by its number, with those that are supported.
    pub fn open() -> Result<Self, Error> {
        let privcmd = device::open("/dev/xen/privcmd", "xen-privcmd", 0)?;
        let buffers = device::open("/dev/xen/hypercall", "xen-privcmd", 0)?;
        let arena = Arena::new(&buffers)
            .map_err(|errno| Error::System { doing: "get memory for hypercalls", errno })?;
        let mut xen = Self { privcmd, arena, version: (0, 0), domctl_version: 0 };
        let packed = xen.call(HYPERVISOR_XEN_VERSION, [XENVER_VERSION, 0, 0, 0, 0]);
        let packed = packed.map_err(|errno| match errno {
            Errno::EPERM => Error::NotDom0,
            errno => Error::Hypercall { operation: "xen_version", domid: None, errno },
        })?;
        xen.version = (packed >> 16, packed & 0xffff);
        xen.domctl_version = domctl_version(xen.version)?;
        xen.probe_domctl()?;
        Ok(xen)
    }

    /// Xen's version, such as (4, 17).
    #[must_use]
    pub fn version(&self) -> (u32, u32) {
        self.version
    }

    /// The interface version that domctls bear.
    #[must_use]
    pub fn domctl_version(&self) -> u32 {
        self.domctl_version
    }

    pub(crate) fn privcmd(&self) -> &File {
        &self.privcmd
    }

    /// Asks about dom0, which changes nothing: Xen checks the interface version before all else.
    fn probe_domctl(&self) -> Result<(), Error> {
        let (major, minor) = self.version;
        match self.domctl(XEN_DOMCTL_GETDOMAININFO, DomId::DOM0, &GetDomainInfo::default()) {
            Ok(()) => Ok(()),
            Err(Errno::EACCES) => Err(Error::UnsupportedInterface {
                major,
                minor,
                interface: "domctl",
                version: self.domctl_version,
            }),
            Err(Errno::EPERM | Errno::ENOSYS) => Err(Error::NotDom0),
            Err(errno) => {
                Err(Error::Hypercall { operation: "domctl getdomaininfo", domid: None, errno })
            }
        }
    }

    /// Makes a hypercall and returns its result.
    ///
    /// Addresses among the arguments are those of the arena. It is the callers in this crate that
    /// see to that, and they only ever get addresses from [`Arena::address`].
    pub(crate) fn call(&self, op: u64, arg: [u64; 5]) -> Result<u32, Errno> {
        let mut call = PrivcmdHypercall { op, arg };
        // SAFETY: the structure is the ioctl's and lives until it returns. The hypercall's own
        // arguments are numbers or addresses in the arena, which lives as long as `self`, is
        // large enough for every structure (`EXTRA`, `EXTRA_LEN`) and is referenced by nobody.
        let result = unsafe {
            device::ioctl(&self.privcmd, IOCTL_PRIVCMD_HYPERCALL, std::ptr::from_mut(&mut call))
        }?;
        Ok(result.unsigned_abs())
    }

    /// Makes a domctl with the payload; its answer is read with [`Xen::domctl_answer`].
    pub(crate) fn domctl<P: IntoBytes + Immutable>(
        &self,
        cmd: u32,
        domid: DomId,
        payload: &P,
    ) -> Result<(), Errno> {
        const { assert!(DOMCTL_UNION + size_of::<P>() <= DOMCTL_SIZE) };
        let header = DomctlHeader {
            cmd,
            interface_version: self.domctl_version,
            domain: domid.0,
            pad: [0; 3],
        };
        self.arena.put(0, &header);
        self.arena.put(DOMCTL_UNION, payload);
        let used = DOMCTL_UNION + size_of::<P>();
        self.arena.clear(used, DOMCTL_SIZE - used);
        self.call(HYPERVISOR_DOMCTL, [self.arena.address(0), 0, 0, 0, 0]).map(drop)
    }

    /// The payload as the last domctl left it.
    pub(crate) fn domctl_answer<P: FromBytes + IntoBytes>(&self) -> P {
        self.arena.get(DOMCTL_UNION)
    }

    /// The domain that the last domctl was about, as Xen left it.
    pub(crate) fn domctl_domain(&self) -> DomId {
        DomId(self.arena.get::<DomctlHeader>(0).domain)
    }

    /// Makes a sysctl with the payload and gives its answer.
    pub(crate) fn sysctl<P: FromBytes + IntoBytes + Immutable>(
        &self,
        operation: &'static str,
        cmd: u32,
        payload: &P,
    ) -> Result<P, Error> {
        const { assert!(SYSCTL_UNION + size_of::<P>() <= SYSCTL_SIZE) };
        let header = SysctlHeader { cmd, interface_version: XEN_SYSCTL_INTERFACE_VERSION };
        self.arena.put(0, &header);
        self.arena.put(SYSCTL_UNION, payload);
        let used = SYSCTL_UNION + size_of::<P>();
        self.arena.clear(used, SYSCTL_SIZE - used);
        let (major, minor) = self.version;
        match self.call(HYPERVISOR_SYSCTL, [self.arena.address(0), 0, 0, 0, 0]) {
            Ok(_) => Ok(self.arena.get(SYSCTL_UNION)),
            Err(Errno::EACCES) => Err(Error::UnsupportedInterface {
                major,
                minor,
                interface: "sysctl",
                version: XEN_SYSCTL_INTERFACE_VERSION,
            }),
            Err(errno) => Err(Error::Hypercall { operation, domid: None, errno }),
        }
    }
}

/// The domctl interface version of a version of Xen.
fn domctl_version((major, minor): (u32, u32)) -> Result<u32, Error> {
    match (major, minor) {
        (4, 17) => Ok(0x15),
        (4, 18) => Ok(0x16),
        (4, 19 | 20) => Ok(0x17),
        _ => Err(Error::UnsupportedXen { major, minor }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_versions_are_refused_by_number() {
        assert_eq!(domctl_version((4, 17)).unwrap(), 0x15);
        assert_eq!(domctl_version((4, 20)).unwrap(), 0x17);
        let error = domctl_version((4, 21)).unwrap_err();
        assert!(error.to_string().contains("4.21"), "{error}");
        assert!(error.to_string().contains("4.17, 4.18, 4.19 and 4.20"), "{error}");
    }
}

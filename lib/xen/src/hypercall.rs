// SPDX-License-Identifier: MIT OR Apache-2.0
//! The Xen handle, and the forms that hypercalls have.
//!
//! `unsafe`: a hypercall takes addresses. The traits of `argument` say which structures hold any
//! and what Xen does with them; all addresses passed to Xen point into the handle's arena.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::fs::File;

use nix::errno::Errno;
use xen_abi::domctl::{
    DOMCTL_SIZE, DOMCTL_UNION, DomctlHeader, GetDomainInfo, XEN_DOMCTL_GET_DOMAIN_STATE,
    XEN_DOMCTL_GETDOMAININFO,
};
use xen_abi::hvm;
use xen_abi::hypercall::{
    HYPERVISOR_DM_OP, HYPERVISOR_DOMCTL, HYPERVISOR_SYSCTL, HYPERVISOR_XEN_VERSION,
};
use xen_abi::sysctl::{SYSCTL_SIZE, SYSCTL_UNION, SysctlHeader};
use xen_abi::version::{XENVER_PAGESIZE, XENVER_VERSION};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::arena::{Arena, Data};
use crate::argument::{Flat, Pointing, VersionQuery};
use crate::device;
use crate::error::Error;
use crate::linux::privcmd::{IOCTL_PRIVCMD_HYPERCALL, PrivcmdHypercall};
use crate::mapping::SharedMapping;
use crate::placement::Placement;
use crate::units::DomId;

/// The Xen handle: an open connection from dom0 to the hypervisor.
///
/// It owns the memory that hypercalls point to, so only one thread at a time can use it.
#[derive(Debug)]
pub struct Xen {
    privcmd: File,
    arena: Arena,
    version: (u32, u32),
    interfaces: Interfaces,
    /// The last domain that Xen reported to have vCPUs.
    with_vcpus: Cell<Option<DomId>>,
    /// How many numbers CPUs can have, if Xen has been asked.
    cpus: Cell<Option<usize>>,
}

/// A hypercall of the form (command, structure).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operation {
    /// The hypercall's name, for errors.
    pub(crate) name: &'static str,
    /// The hypercall's number.
    pub(crate) hypercall: u64,
    /// The command number.
    pub(crate) command: u64,
}

impl Xen {
    /// Opens Xen's devices and probes the interface version.
    ///
    /// # Errors
    /// The machine does not run Xen, this is not dom0, the user is not root, or this Xen's
    /// interface is unsupported; the error names its version and the supported ones.
    pub fn open() -> Result<Self, Error> {
        Self::open_with(Placement::anywhere())
    }

    /// Opens Xen like [`open`](Self::open), for a process that creates one guest and exits.
    ///
    /// The first mappings are placed near pages that each process has anyway, which saves dom0's
    /// kernel the creation and destruction of page tables (see `placement`). A process that runs
    /// longer gains nothing from it.
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    pub fn open_for_one_guest() -> Result<Self, Error> {
        Self::open_with(Placement::near_vdso())
    }

    fn open_with(placement: Placement) -> Result<Self, Error> {
        let privcmd = device::open("/dev/xen/privcmd", "xen-privcmd", 0)?;
        let arena = Arena::open(placement)?;
        let mut xen = Self {
            privcmd,
            arena,
            version: (0, 0),
            interfaces: Interfaces { domctl: 0, sysctl: 0 },
            with_vcpus: Cell::new(None),
            cpus: Cell::new(None),
        };
        xen.version = xen.ask_version()?;
        xen.interfaces = Interfaces::of(xen.version)?;
        xen.probe_domctl()?;
        Ok(xen)
    }

    /// Returns Xen's version, such as (4, 17).
    #[must_use]
    pub fn version(&self) -> (u32, u32) {
        self.version
    }

    /// Returns the interface version that domctls carry.
    #[must_use]
    pub fn domctl_version(&self) -> u32 {
        self.interfaces.domctl
    }

    pub(crate) fn privcmd(&self) -> &File {
        &self.privcmd
    }

    /// Maps pages of `/dev/xen/privcmd` that an ioctl then fills with a guest's.
    pub(crate) fn map_privcmd(&self, pages: usize) -> Result<SharedMapping, Errno> {
        SharedMapping::new(&self.privcmd, pages, 0, true, self.arena.placement())
    }

    /// Returns hypercall memory for `len` bytes of data that a structure points to.
    pub(crate) fn data(&self, len: usize) -> Result<Data<'_>, Error> {
        self.arena.data(len)
    }

    fn ask_version(&self) -> Result<(u32, u32), Error> {
        // SAFETY: this command takes no structure, so Xen follows no address.
        let packed = unsafe { self.call(HYPERVISOR_XEN_VERSION, [XENVER_VERSION, 0, 0, 0, 0]) };
        let packed = packed.map_err(|errno| match errno {
            Errno::EPERM => Error::NotDom0,
            errno => Error::Hypercall { operation: "xen_version", domid: None, errno },
        })?;
        Ok((packed >> 16, packed & 0xffff))
    }

    /// Returns the size of a page in bytes, as Xen reports it.
    pub(crate) fn page_size(&self) -> Result<u32, Error> {
        // SAFETY: this command takes no structure, so Xen follows no address.
        let size = unsafe { self.call(HYPERVISOR_XEN_VERSION, [XENVER_PAGESIZE, 0, 0, 0, 0]) };
        size.map_err(|errno| Error::Hypercall { operation: "xen_version", domid: None, errno })
    }

    /// Fills in a structure of `xen_version`. Returns the hypercall's result.
    pub(crate) fn xen_version<T: VersionQuery>(&self, value: &mut T) -> Result<u32, Error> {
        value.limit();
        let data = self.data(size_of::<T>())?;
        data.put(0, value);
        let arguments = [T::COMMAND, data.address(), 0, 0, 0];
        // SAFETY: the hypercall takes a command and the address of its structure, which `T` is
        // because it is `VersionQuery`. Xen accesses no more than that, as the trait says after
        // `limit`. Its copy is `data`, which lies in the arena and is borrowed, so it stays mapped
        // until the call returns.
        let result = unsafe { self.call(HYPERVISOR_XEN_VERSION, arguments) }
            .map_err(|errno| Error::Hypercall { operation: "xen_version", domid: None, errno })?;
        data.get_into(0, value);
        Ok(result)
    }

    /// Checks the domctl interface version by reading dom0's information, which has no side effect:
    /// Xen checks the version first.
    fn probe_domctl(&self) -> Result<(), Error> {
        let (major, minor) = self.version;
        let mut info = GetDomainInfo::default();
        // SAFETY: `GetDomainInfo` is `Flat`, so Xen follows no address in it.
        let probed = unsafe { self.domctl_raw(XEN_DOMCTL_GETDOMAININFO, DomId::DOM0, &mut info) };
        match probed {
            Ok(_) => Ok(()),
            Err(Errno::EACCES) => Err(Error::UnsupportedInterface {
                major,
                minor,
                interface: "domctl",
                version: self.interfaces.domctl,
            }),
            Err(Errno::EPERM | Errno::ENOSYS) => Err(Error::NotDom0),
            Err(errno) => {
                Err(Error::Hypercall { operation: "domctl getdomaininfo", domid: None, errno })
            }
        }
    }

    /// Makes a hypercall and returns its result.
    ///
    /// # Safety
    /// The arguments are those that hypercall `op` takes, and all memory that Xen reaches through
    /// them is valid for reads and writes until the call returns.
    unsafe fn call(&self, op: u64, arg: [u64; 5]) -> Result<u32, Errno> {
        let mut call = PrivcmdHypercall { op, arg };
        // SAFETY: `ioctl` needs the structure of this number, valid until it returns: `call` is one
        // and lives in this frame. What Xen reaches through the hypercall's arguments is valid by
        // this function's own contract.
        let result =
            unsafe { device::ioctl(&self.privcmd, IOCTL_PRIVCMD_HYPERCALL, &raw mut call) }?;
        Ok(result.unsigned_abs())
    }

    /// Makes a domctl and updates the payload with Xen's output. Returns the domctl's domain, which
    /// Xen sets when it creates one.
    pub(crate) fn domctl<T: Flat>(
        &self,
        operation: &'static str,
        cmd: u32,
        domid: DomId,
        payload: &mut T,
    ) -> Result<DomId, Error> {
        payload.check();
        // SAFETY: `T: Flat` and has been checked, so Xen follows no address in it.
        unsafe { self.domctl_raw(cmd, domid, payload) }.map_err(|errno| Error::Hypercall {
            operation,
            domid: Some(domid),
            errno,
        })
    }

    /// Makes a domctl whose payload points to data.
    pub(crate) fn domctl_with<T: Pointing>(
        &self,
        operation: &'static str,
        cmd: u32,
        domid: DomId,
        payload: &mut T,
        data: &Data<'_>,
    ) -> Result<(), Error> {
        payload.point_to(data.address(), data.len());
        // SAFETY: `T` is `Pointing` and points to `data`, so Xen touches only those bytes; `data`
        // is borrowed, so they stay mapped until the call returns.
        unsafe { self.domctl_raw(cmd, domid, payload) }
            .map(drop)
            .map_err(|errno| Error::Hypercall { operation, domid: Some(domid), errno })
    }

    /// # Safety
    /// All memory that Xen reaches through addresses in the payload is valid for reads and writes
    /// until the call returns.
    unsafe fn domctl_raw<T: FromBytes + IntoBytes + Immutable>(
        &self,
        cmd: u32,
        domid: DomId,
        payload: &mut T,
    ) -> Result<DomId, Errno> {
        const { assert!(DOMCTL_UNION + size_of::<T>() <= DOMCTL_SIZE) };
        let interface_version = match cmd {
            // A stable operation.
            XEN_DOMCTL_GET_DOMAIN_STATE => 0,
            _ => self.interfaces.domctl,
        };
        let header = DomctlHeader { cmd, interface_version, domain: domid.0, pad: [0; 3] };
        let mut whole = [0; DOMCTL_SIZE];
        whole[..DOMCTL_UNION].copy_from_slice(header.as_bytes());
        whole[DOMCTL_UNION..][..size_of::<T>()].copy_from_slice(payload.as_bytes());
        let argument = self.arena.argument();
        argument.put(0, &whole);
        // SAFETY: a domctl takes the address of a `struct xen_domctl`. `argument` has its size, is
        // laid out for the interface version it carries, and lies in the arena, which stays mapped
        // while `self` lives. Addresses in the payload are valid by this function's own contract.
        unsafe { self.call(HYPERVISOR_DOMCTL, [argument.address(), 0, 0, 0, 0]) }?;
        argument.get_into(DOMCTL_UNION, payload);
        Ok(DomId(argument.get::<DomctlHeader>(0).domain))
    }

    /// Makes a sysctl and updates the payload with Xen's output.
    pub(crate) fn sysctl<T: Flat>(
        &self,
        operation: &'static str,
        cmd: u32,
        payload: &mut T,
    ) -> Result<(), Error> {
        payload.check();
        // SAFETY: `T: Flat` and has been checked, so Xen follows no address in it.
        unsafe { self.sysctl_raw(operation, cmd, payload) }
    }

    /// Makes a sysctl whose payload points to data.
    pub(crate) fn sysctl_with<T: Pointing>(
        &self,
        operation: &'static str,
        cmd: u32,
        payload: &mut T,
        data: &Data<'_>,
    ) -> Result<(), Error> {
        payload.point_to(data.address(), data.len());
        // SAFETY: `T` is `Pointing` and points to `data`, so Xen touches only those bytes; `data`
        // is borrowed, so they stay mapped until the call returns.
        unsafe { self.sysctl_raw(operation, cmd, payload) }
    }

    /// # Safety
    /// All memory that Xen reaches through addresses in the payload is valid for reads and writes
    /// until the call returns.
    unsafe fn sysctl_raw<T: FromBytes + IntoBytes + Immutable>(
        &self,
        operation: &'static str,
        cmd: u32,
        payload: &mut T,
    ) -> Result<(), Error> {
        const { assert!(SYSCTL_UNION + size_of::<T>() <= SYSCTL_SIZE) };
        let interface_version = self.interfaces.sysctl;
        let header = SysctlHeader { cmd, interface_version };
        let mut whole = [0; SYSCTL_SIZE];
        whole[..SYSCTL_UNION].copy_from_slice(header.as_bytes());
        whole[SYSCTL_UNION..][..size_of::<T>()].copy_from_slice(payload.as_bytes());
        let argument = self.arena.argument();
        argument.put(0, &whole);
        let (major, minor) = self.version;
        // SAFETY: a sysctl takes the address of a `struct xen_sysctl`. `argument` has its size, is
        // laid out for the interface version it carries, and lies in the arena, which stays mapped
        // while `self` lives. Addresses in the payload are valid by this function's own contract.
        match unsafe { self.call(HYPERVISOR_SYSCTL, [argument.address(), 0, 0, 0, 0]) } {
            Ok(_) => argument.get_into(SYSCTL_UNION, payload),
            Err(Errno::EACCES) => {
                return Err(Error::UnsupportedInterface {
                    major,
                    minor,
                    interface: "sysctl",
                    version: interface_version,
                });
            }
            Err(errno) => return Err(Error::Hypercall { operation, domid: None, errno }),
        }
        Ok(())
    }

    /// Makes a hypercall of the form (command, structure) and updates the structure with Xen's
    /// output.
    pub(crate) fn operate<T: Flat>(
        &self,
        operation: Operation,
        domid: DomId,
        value: &mut T,
    ) -> Result<u32, Error> {
        value.check();
        // SAFETY: `T` is the structure that the command takes, and is `Flat` and has been checked,
        // so Xen follows no address in it.
        unsafe { self.operate_raw(operation, domid, value) }
    }

    /// Makes a hypercall of the form (command, structure) whose structure points to data.
    pub(crate) fn operate_with<T: Pointing>(
        &self,
        operation: Operation,
        domid: DomId,
        value: &mut T,
        data: &Data<'_>,
    ) -> Result<u32, Error> {
        value.point_to(data.address(), data.len());
        // SAFETY: `T` is the structure that the command takes, and is `Pointing` and points to
        // `data`, so Xen touches only those bytes; `data` is borrowed, so they stay mapped until
        // the call returns.
        unsafe { self.operate_raw(operation, domid, value) }
    }

    /// # Safety
    /// `value` is the structure that the command takes, and all memory that Xen reaches through
    /// addresses in it is valid for reads and writes until the call returns.
    unsafe fn operate_raw<T: FromBytes + IntoBytes + Immutable>(
        &self,
        Operation { name, hypercall, command }: Operation,
        domid: DomId,
        value: &mut T,
    ) -> Result<u32, Error> {
        let argument = self.arena.argument();
        argument.put(0, value);
        // SAFETY: the hypercall takes the address of the command's structure, which `value` is by
        // this function's own contract; its copy lies in the arena, which stays mapped while `self`
        // lives. Addresses in it are valid by the same contract.
        let result = unsafe { self.call(hypercall, [command, argument.address(), 0, 0, 0]) }
            .map_err(|errno| Error::Hypercall { operation: name, domid: Some(domid), errno })?;
        argument.get_into(0, value);
        Ok(result)
    }

    /// Makes a device-model operation whose structure is its only buffer.
    pub(crate) fn dm_op<T: IntoBytes + Immutable>(
        &self,
        operation: &'static str,
        domid: DomId,
        value: &T,
    ) -> Result<(), Error> {
        let data = self.arena.data(size_of::<T>())?;
        data.put(0, value);
        let mut buffer = hvm::DmOpBuf::default();
        buffer.point_to(data.address(), data.len());
        let argument = self.arena.argument();
        argument.put(0, &buffer);
        let arguments = [u64::from(domid.0), 1, argument.address(), 0, 0];
        // SAFETY: the hypercall takes a domain, a number of buffers and the address of their array.
        // The array of one and the buffer lie in the arena, which stays mapped while `self` lives.
        // A device-model operation holds no other addresses.
        unsafe { self.call(HYPERVISOR_DM_OP, arguments) }
            .map(drop)
            .map_err(|errno| Error::Hypercall { operation, domid: Some(domid), errno })
    }

    /// Returns how many numbers CPUs can have, if that is known.
    pub(crate) fn known_cpus(&self) -> Option<usize> {
        self.cpus.get()
    }

    /// Remembers how many numbers CPUs can have.
    pub(crate) fn note_cpus(&self, count: usize) {
        self.cpus.set(Some(count));
    }

    /// Remembers whether a domain has vCPUs, as Xen has just reported.
    pub(crate) fn note_vcpus(&self, domid: DomId, has_vcpus: bool) {
        if has_vcpus {
            self.with_vcpus.set(Some(domid));
        } else if self.with_vcpus.get() == Some(domid) {
            self.with_vcpus.set(None);
        }
    }

    /// Refuses a domain without vCPUs. Asks Xen, unless the last domain seen with vCPUs is this
    /// one.
    pub(crate) fn vcpus_needed(&self, operation: &'static str, domid: DomId) -> Result<(), Error> {
        guest_only(operation, domid)?;
        if self.with_vcpus.get() == Some(domid) {
            return Ok(());
        }
        let gone = Error::Hypercall { operation, domid: Some(domid), errno: Errno::ESRCH };
        let info = self.domain_info(domid)?.ok_or(gone)?;
        if info.max_vcpu_id.is_none() {
            let reason = "it has no vCPUs yet, which would crash Xen; create them first";
            return Err(Error::Refused { operation, domid, reason });
        }
        self.note_vcpus(domid, true);
        Ok(())
    }
}

/// Refuses numbers that cannot be a guest's: the operation would crash the host or change dom0.
pub(crate) fn guest_only(operation: &'static str, domid: DomId) -> Result<(), Error> {
    match domid.is_guest() {
        true => Ok(()),
        false => Err(Error::Refused { operation, domid, reason: "it is not a guest" }),
    }
}

/// The interface versions that domctls and sysctls carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Interfaces {
    domctl: u32,
    sysctl: u32,
}

impl Interfaces {
    /// Returns those of a Xen version.
    fn of((major, minor): (u32, u32)) -> Result<Self, Error> {
        match (major, minor) {
            (4, 17) => Ok(Self { domctl: 0x15, sysctl: 0x15 }),
            (4, 18) => Ok(Self { domctl: 0x16, sysctl: 0x15 }),
            (4, 19 | 20) => Ok(Self { domctl: 0x17, sysctl: 0x15 }),
            (4, 21) => Ok(Self { domctl: 0x17, sysctl: 0x16 }),
            (4, 22) => Ok(Self { domctl: 0x18, sysctl: 0x16 }),
            _ => Err(Error::UnsupportedXen { major, minor }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unsupported_version_is_refused_by_its_number() {
        assert_eq!(Interfaces::of((4, 17)).unwrap(), Interfaces { domctl: 0x15, sysctl: 0x15 });
        assert_eq!(Interfaces::of((4, 20)).unwrap(), Interfaces { domctl: 0x17, sysctl: 0x15 });
        assert_eq!(Interfaces::of((4, 22)).unwrap(), Interfaces { domctl: 0x18, sysctl: 0x16 });
        for version in [(4, 16), (4, 23), (5, 17)] {
            let error = Interfaces::of(version).unwrap_err().to_string();
            assert!(
                error.contains(&format!("{}.{} is not supported", version.0, version.1)),
                "{error}"
            );
            assert!(error.contains("must be 4.17 to 4.22"), "{error}");
        }
    }

    #[test]
    fn dom0_and_reserved_numbers_are_not_guests() {
        for domid in [DomId::DOM0, DomId::SELF, DomId(u16::MAX)] {
            assert!(matches!(guest_only("x", domid), Err(Error::Refused { .. })));
        }
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The errors of this crate, and why a device of Xen's cannot be opened.

use std::path::Path;

use nix::errno::Errno;
use thiserror::Error;

use crate::units::{DomId, Gfn, GrantRef, Port};

/// Why an operation on Xen failed.
#[derive(Debug, Error)]
pub enum Error {
    /// The machine does not run Xen.
    #[error(
        "this machine does not run Xen (/sys/hypervisor/type is not xen); boot Xen with this system \
         as dom0"
    )]
    NoXen,
    /// The machine is a guest.
    #[error("this is a Xen guest, not dom0; run chaos in dom0")]
    NotDom0,
    /// The user may not use Xen.
    #[error("no permission to open {path}; run as root")]
    NotRoot {
        /// The device.
        path: &'static str,
    },
    /// The kernel module is missing.
    #[error("{path} does not exist; load the kernel module: modprobe {module}")]
    NoModule {
        /// The device.
        path: &'static str,
        /// The module that creates it.
        module: &'static str,
    },
    /// The device cannot be opened for another reason.
    #[error("cannot open {path}: {errno}")]
    Open {
        /// The device.
        path: &'static str,
        /// The kernel's answer.
        errno: Errno,
    },
    /// Xen's version is not supported.
    #[error("Xen {major}.{minor} is not supported: must be 4.17 to 4.22")]
    UnsupportedXen {
        /// Major version.
        major: u32,
        /// Minor version.
        minor: u32,
    },
    /// Xen's version is supported, but Xen has another interface version.
    #[error(
        "Xen {major}.{minor} refuses {interface} interface version {version:#x}, which an \
         unmodified Xen of this version has; supported are domctl 0x15 to 0x18, and sysctl 0x15 \
         and 0x16"
    )]
    UnsupportedInterface {
        /// Major version.
        major: u32,
        /// Minor version.
        minor: u32,
        /// `domctl` or `sysctl`.
        interface: &'static str,
        /// The version that was refused.
        version: u32,
    },
    /// A hypercall failed.
    #[error("hypercall {operation}{} failed: {errno}", domain("for", *domid))]
    Hypercall {
        /// Its name.
        operation: &'static str,
        /// The domain it was about.
        domid: Option<DomId>,
        /// Xen's answer.
        errno: Errno,
    },
    /// Xen changed the memory of a domain only in part.
    #[error("Xen has done only {done} of {wanted} pieces of memory for domain {domid}")]
    ShortPopulate {
        /// The domain.
        domid: DomId,
        /// Pieces that were added or removed.
        done: u64,
        /// Pieces that were requested.
        wanted: u64,
    },
    /// A page of a guest cannot be mapped.
    #[error("cannot map frame {gfn} of domain {domid}: {errno}")]
    ForeignMap {
        /// The domain.
        domid: DomId,
        /// The frame.
        gfn: Gfn,
        /// The kernel's answer for this frame.
        errno: Errno,
    },
    /// A grant cannot be created on behalf of a guest.
    #[error(
        "grant {reference} of domain {domid} for frame {gfn} does not fit into the first frame of \
         its grant table, which holds 512 grants of frames below 2^32"
    )]
    GrantEntry {
        /// The domain.
        domid: DomId,
        /// The grant.
        reference: GrantRef,
        /// The granted frame.
        gfn: Gfn,
    },
    /// A granted page cannot be mapped.
    #[error("cannot map grant {reference} of domain {domid}: {errno}")]
    GrantMap {
        /// The domain.
        domid: DomId,
        /// The first of the references.
        reference: GrantRef,
        /// The kernel's answer.
        errno: Errno,
    },
    /// An event channel cannot be used.
    #[error("cannot {doing} event channel port {port}{}: {errno}", domain("of", *domid))]
    EventChannel {
        /// What was tried.
        doing: &'static str,
        /// The domain at the other end.
        domid: Option<DomId>,
        /// The port.
        port: Port,
        /// The kernel's answer.
        errno: Errno,
    },
    /// A system call on one of Xen's devices failed.
    #[error("cannot {doing}: {errno}")]
    System {
        /// What was tried.
        doing: &'static str,
        /// The kernel's answer.
        errno: Errno,
    },
    /// The call would crash the host or affect another domain than intended.
    #[error("{operation} on domain {domid} is refused: {reason}")]
    Refused {
        /// The hypercall.
        operation: &'static str,
        /// The domain.
        domid: DomId,
        /// Why.
        reason: &'static str,
    },
}

fn domain(relation: &str, domid: Option<DomId>) -> String {
    domid.map_or_else(String::new, |domid| format!(" {relation} domain {domid}"))
}

impl Error {
    /// Returns whether Xen has run out of memory.
    #[must_use]
    pub fn is_out_of_memory(&self) -> bool {
        matches!(self, Self::Hypercall { errno: Errno::ENOMEM, .. } | Self::ShortPopulate { .. })
    }

    /// Returns whether guests cannot be created on this machine or by this user.
    #[must_use]
    pub fn is_no_dom0(&self) -> bool {
        matches!(
            self,
            Self::NoXen
                | Self::NotDom0
                | Self::NotRoot { .. }
                | Self::NoModule { .. }
                | Self::Open { .. }
                | Self::UnsupportedXen { .. }
                | Self::UnsupportedInterface { .. }
        )
    }

    /// Returns the errno of the failed system call or hypercall, if there is one.
    #[must_use]
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Open { errno, .. }
            | Self::Hypercall { errno, .. }
            | Self::ForeignMap { errno, .. }
            | Self::GrantMap { errno, .. }
            | Self::EventChannel { errno, .. }
            | Self::System { errno, .. } => Some(*errno),
            _ => None,
        }
    }

    /// Removes the domain from the error of a hypercall that creates one.
    pub(crate) fn without_domain(self) -> Self {
        match self {
            Self::Hypercall { operation, errno, .. } => {
                Self::Hypercall { operation, domid: None, errno }
            }
            other => other,
        }
    }

    /// Adds the domain to the error of a hypercall that names it in its structure.
    pub(crate) fn with_domain(self, domid: DomId) -> Self {
        match self {
            Self::Hypercall { operation, errno, .. } => {
                Self::Hypercall { operation, domid: Some(domid), errno }
            }
            other => other,
        }
    }

    /// Returns the error for a device that cannot be opened, in terms of what the user can do.
    pub(crate) fn opening(path: &'static str, module: &'static str, errno: Errno) -> Self {
        let read = |path| std::fs::read_to_string(path).ok();
        let facts = HostFacts {
            hypervisor: read("/sys/hypervisor/type"),
            capabilities: read("/proc/xen/capabilities"),
            device_exists: Path::new(path).exists(),
        };
        facts.explain(path, module, errno)
    }
}

/// What the kernel reports about Xen on this machine.
#[derive(Clone, Debug)]
struct HostFacts {
    /// Contents of `/sys/hypervisor/type`: `xen` in every domain of Xen.
    hypervisor: Option<String>,
    /// Contents of `/proc/xen/capabilities`, if xenfs is mounted: `control_d` in dom0.
    capabilities: Option<String>,
    device_exists: bool,
}

impl HostFacts {
    fn explain(&self, path: &'static str, module: &'static str, errno: Errno) -> Error {
        let on_xen = self.hypervisor.as_ref().is_some_and(|kind| kind.trim() == "xen");
        let guest = self.capabilities.as_ref().is_some_and(|all| !all.contains("control_d"));
        match errno {
            _ if !on_xen && self.capabilities.is_none() => Error::NoXen,
            Errno::EACCES | Errno::EPERM => Error::NotRoot { path },
            Errno::ENOENT | Errno::ENODEV | Errno::ENXIO if guest => Error::NotDom0,
            Errno::ENOENT | Errno::ENODEV | Errno::ENXIO if !self.device_exists => {
                Error::NoModule { path, module }
            }
            errno => Error::Open { path, errno },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explain(hypervisor: Option<&str>, capabilities: Option<&str>, errno: Errno) -> String {
        let facts = HostFacts {
            hypervisor: hypervisor.map(str::to_owned),
            capabilities: capabilities.map(str::to_owned),
            device_exists: errno != Errno::ENOENT,
        };
        facts.explain("/dev/xen/privcmd", "xen-privcmd", errno).to_string()
    }

    #[test]
    fn the_error_names_what_is_missing() {
        let xen = Some("xen\n");
        let text = explain(None, None, Errno::ENOENT);
        assert!(text.contains("does not run Xen"), "{text}");
        let text = explain(xen, Some("control_d\n"), Errno::ENOENT);
        assert!(text.contains("modprobe xen-privcmd"), "{text}");
        let text = explain(xen, None, Errno::ENOENT);
        assert!(text.contains("modprobe xen-privcmd"), "{text}");
        let text = explain(xen, Some(""), Errno::ENOENT);
        assert!(text.contains("not dom0"), "{text}");
        let text = explain(xen, Some("control_d\n"), Errno::EACCES);
        assert!(text.contains("run as root"), "{text}");
        let text = explain(xen, Some("control_d\n"), Errno::EMFILE);
        assert!(text.contains("/dev/xen/privcmd") && text.contains("EMFILE"), "{text}");
        // Without sysfs, xenfs shows that this is Xen.
        let text = explain(None, Some("control_d\n"), Errno::EACCES);
        assert!(text.contains("run as root"), "{text}");
    }

    #[test]
    fn errors_are_classified() {
        let path = "/dev/xen/privcmd";
        for error in [Error::NoXen, Error::NotDom0, Error::NotRoot { path }] {
            assert!(error.is_no_dom0());
        }
        let errno = Errno::ENOMEM;
        let error = Error::Hypercall { operation: "x", domid: Some(DomId(3)), errno };
        assert!(error.is_out_of_memory() && !error.is_no_dom0());
        assert_eq!(error.errno(), Some(errno));
        assert!(
            error.to_string().starts_with("hypercall x for domain 3 failed: ENOMEM"),
            "{error}"
        );
    }
}

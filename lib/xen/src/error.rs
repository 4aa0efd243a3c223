//! What goes wrong between dom0 and Xen.

use std::path::Path;

use nix::errno::Errno;
use thiserror::Error;

use crate::units::{DomId, Gfn, GrantRef, Port};

/// What goes wrong between dom0 and Xen.
#[derive(Debug, Error)]
pub enum Error {
    /// The machine runs without Xen.
    #[error("this machine does not run Xen (there is no /sys/hypervisor/type that says xen)")]
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
        /// The module that makes it.
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
    /// Xen's version has an interface that is not known.
    #[error("Xen {major}.{minor} is not supported; supported are 4.17, 4.18, 4.19 and 4.20")]
    UnsupportedXen {
        /// Major version.
        major: u32,
        /// Minor version.
        minor: u32,
    },
    /// Xen's version is known but it speaks another interface.
    #[error(
        "Xen {major}.{minor} does not accept {interface} interface version {version:#x}, which \
         this version should have; supported are domctl 0x15, 0x16 and 0x17, sysctl 0x15"
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
    /// Xen had fewer pages than were asked for.
    #[error("Xen gave domain {domid} only {done} of {wanted} pieces of memory")]
    ShortPopulate {
        /// The domain.
        domid: DomId,
        /// Pieces it got.
        done: u64,
        /// Pieces that were asked for.
        wanted: u64,
    },
    /// A page of a guest cannot be mapped.
    #[error("frame {gfn} of domain {domid} cannot be mapped: {errno}")]
    ForeignMap {
        /// The domain.
        domid: DomId,
        /// The frame.
        gfn: Gfn,
        /// The kernel's answer for this frame.
        errno: Errno,
    },
    /// A grant cannot be made in a guest's name.
    #[error(
        "grant {reference} of domain {domid} for frame {gfn} does not fit in the first frame of \
         the grant table, which holds 512 grants of frames below 2^32"
    )]
    GrantEntry {
        /// The domain.
        domid: DomId,
        /// The grant's number.
        reference: GrantRef,
        /// The frame that was to be granted.
        gfn: Gfn,
    },
    /// A granted page cannot be mapped.
    #[error("grant {reference} of domain {domid} cannot be mapped: {errno}")]
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
    /// The call would take down the host or another domain than the one meant.
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
    /// Whether Xen has run out of memory.
    #[must_use]
    pub fn is_out_of_memory(&self) -> bool {
        matches!(self, Self::Hypercall { errno: Errno::ENOMEM, .. } | Self::ShortPopulate { .. })
    }

    /// Whether the machine or the user is not one that can make guests.
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

    /// The errno of a failed call on the kernel or Xen, if there is one.
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

    /// The same for a hypercall that is not about a domain yet.
    pub(crate) fn without_domain(self) -> Self {
        match self {
            Self::Hypercall { operation, errno, .. } => {
                Self::Hypercall { operation, domid: None, errno }
            }
            other => other,
        }
    }

    /// Says why a device cannot be opened, in terms of what the user can do about it.
    pub(crate) fn opening(path: &'static str, module: &'static str, errno: Errno) -> Self {
        let read = |path| std::fs::read_to_string(path).ok();
        let facts = Facts {
            hypervisor: read("/sys/hypervisor/type"),
            capabilities: read("/proc/xen/capabilities"),
            device_exists: Path::new(path).exists(),
        };
        facts.explain(path, module, errno)
    }
}

/// What the machine says of Xen.
#[derive(Clone, Debug)]
struct Facts {
    /// Contents of `/sys/hypervisor/type`: `xen` in every domain of Xen.
    hypervisor: Option<String>,
    /// Contents of `/proc/xen/capabilities`, if xenfs is mounted: `control_d` in dom0.
    capabilities: Option<String>,
    device_exists: bool,
}

impl Facts {
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
        let facts = Facts {
            hypervisor: hypervisor.map(str::to_owned),
            capabilities: capabilities.map(str::to_owned),
            device_exists: errno != Errno::ENOENT,
        };
        facts.explain("/dev/xen/privcmd", "xen-privcmd", errno).to_string()
    }

    #[test]
    fn what_is_missing_is_named() {
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
        // Without sysfs, xenfs tells as well.
        let text = explain(None, Some("control_d\n"), Errno::EACCES);
        assert!(text.contains("run as root"), "{text}");
    }

    #[test]
    fn all_of_these_mean_that_no_guest_can_be_made_here() {
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

//! Event channels from the toolstack's side. dom0's own ends are the kernel's: see
//! [`crate::evtchn`].

use crate::error::Error;
use crate::hypercall::Xen;
use crate::sys::HYPERVISOR_EVENT_CHANNEL_OP;
use crate::sys::event::{AllocUnbound, EVTCHNOP_ALLOC_UNBOUND};
use crate::units::{DomId, Port};

impl Xen {
    /// Makes a port in a guest that another domain may bind to.
    ///
    /// The guest's vCPUs must exist before anybody binds to the port and sends: Xen 4.17 to 4.20
    /// take the host down otherwise.
    ///
    /// # Errors
    /// Xen refuses.
    pub fn evtchn_alloc_unbound(&self, domid: DomId, remote: DomId) -> Result<Port, Error> {
        self.arena.put(0, &AllocUnbound { dom: domid.0, remote_dom: remote.0, port: 0 });
        let arguments = [EVTCHNOP_ALLOC_UNBOUND, self.arena.address(0), 0, 0, 0];
        self.call(HYPERVISOR_EVENT_CHANNEL_OP, arguments).map_err(|errno| Error::Hypercall {
            operation: "event_channel_op alloc_unbound",
            domid: Some(domid),
            errno,
        })?;
        Ok(Port(self.arena.get::<AllocUnbound>(0).port))
    }
}

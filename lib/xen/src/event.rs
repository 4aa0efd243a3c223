// SPDX-License-Identifier: MIT OR Apache-2.0
//! Event channels of guests, as the toolstack sets them up. For dom0's own ends see
//! [`crate::evtchn`].

use xen_abi::event_channel::{self, AllocUnbound, EvtchnStatus};
use xen_abi::hypercall::HYPERVISOR_EVENT_CHANNEL_OP;

use crate::error::Error;
use crate::hypercall::{Operation, Xen};
use crate::units::{DomId, Port};

/// What a port is used for (`EVTCHNSTAT_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortStatus {
    /// It is not in use.
    Closed,
    /// The domain may bind to it.
    Unbound(DomId),
    /// It is connected to the domain's port.
    Interdomain(DomId, Port),
    /// A physical interrupt.
    Pirq,
    /// A virtual interrupt.
    Virq,
    /// Events between vCPUs of the same domain.
    Ipi,
    /// An unknown use.
    Other(u32),
}

impl From<EvtchnStatus> for PortStatus {
    fn from(raw: EvtchnStatus) -> Self {
        match raw.status {
            event_channel::EVTCHNSTAT_CLOSED => Self::Closed,
            event_channel::EVTCHNSTAT_UNBOUND => Self::Unbound(DomId(raw.u_dom)),
            event_channel::EVTCHNSTAT_INTERDOMAIN => {
                Self::Interdomain(DomId(raw.u_dom), Port(raw.u_port))
            }
            event_channel::EVTCHNSTAT_PIRQ => Self::Pirq,
            event_channel::EVTCHNSTAT_VIRQ => Self::Virq,
            event_channel::EVTCHNSTAT_IPI => Self::Ipi,
            other => Self::Other(other),
        }
    }
}

impl Xen {
    /// Allocates a port in a guest that domain `remote` may bind to.
    ///
    /// An event sent to a domain without vCPUs crashes the host (Xen 4.17 to 4.20). So this refuses
    /// to allocate a port before [`Xen::max_vcpus`].
    ///
    /// # Errors
    /// The domain has no vCPUs yet, has no port left, or does not exist.
    pub fn evtchn_alloc_unbound(&self, domid: DomId, remote: DomId) -> Result<Port, Error> {
        let operation = Operation {
            name: "event_channel_op alloc_unbound",
            hypercall: HYPERVISOR_EVENT_CHANNEL_OP,
            command: event_channel::EVTCHNOP_ALLOC_UNBOUND,
        };
        self.vcpus_needed(operation.name, domid)?;
        let mut port = AllocUnbound { dom: domid.0, remote_dom: remote.0, port: 0 };
        self.operate(operation, domid, &mut port)?;
        Ok(Port(port.port))
    }

    /// Returns what a domain's port is used for.
    ///
    /// # Errors
    /// The domain or the port does not exist.
    pub fn evtchn_status(&self, domid: DomId, port: Port) -> Result<PortStatus, Error> {
        let operation = Operation {
            name: "event_channel_op status",
            hypercall: HYPERVISOR_EVENT_CHANNEL_OP,
            command: event_channel::EVTCHNOP_STATUS,
        };
        let mut status = EvtchnStatus { dom: domid.0, port: port.0, ..EvtchnStatus::default() };
        self.operate(operation, domid, &mut status)?;
        Ok(status.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_status_is_converted() {
        let raw = EvtchnStatus { u_dom: 7, u_port: 9, ..EvtchnStatus::default() };
        let with = |status| PortStatus::from(EvtchnStatus { status, ..raw });
        assert_eq!(with(event_channel::EVTCHNSTAT_CLOSED), PortStatus::Closed);
        assert_eq!(with(event_channel::EVTCHNSTAT_UNBOUND), PortStatus::Unbound(DomId(7)));
        let interdomain = PortStatus::Interdomain(DomId(7), Port(9));
        assert_eq!(with(event_channel::EVTCHNSTAT_INTERDOMAIN), interdomain);
        assert_eq!(with(77), PortStatus::Other(77));
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! `public/event_channel.h`.

use zerocopy::{FromBytes, Immutable, IntoBytes};

pub const EVTCHNOP_CLOSE: u64 = 3;
pub const EVTCHNOP_SEND: u64 = 4;
pub const EVTCHNOP_STATUS: u64 = 5;
pub const EVTCHNOP_ALLOC_UNBOUND: u64 = 6;

/// `struct evtchn_close`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable)]
pub struct EvtchnClose {
    pub port: u32,
}
const _: () = assert!(size_of::<EvtchnClose>() == 4);

/// `struct evtchn_send`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable)]
pub struct EvtchnSend {
    pub port: u32,
}
const _: () = assert!(size_of::<EvtchnSend>() == 4);

/// `struct evtchn_alloc_unbound`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable)]
pub struct AllocUnbound {
    pub dom: u16,
    pub remote_dom: u16,
    pub port: u32,
}
const _: () = assert!(size_of::<AllocUnbound>() == 8);

pub const EVTCHNSTAT_CLOSED: u32 = 0;
pub const EVTCHNSTAT_UNBOUND: u32 = 1;
pub const EVTCHNSTAT_INTERDOMAIN: u32 = 2;
pub const EVTCHNSTAT_PIRQ: u32 = 3;
pub const EVTCHNSTAT_VIRQ: u32 = 4;
pub const EVTCHNSTAT_IPI: u32 = 5;

/// `struct evtchn_status`, with the member `u.interdomain` of the union. `u.unbound.dom` has the
/// offset of `u_dom`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable)]
pub struct EvtchnStatus {
    pub dom: u16,
    pub pad: u16,
    pub port: u32,
    pub status: u32,
    pub vcpu: u32,
    pub u_dom: u16,
    pub u_pad: u16,
    pub u_port: u32,
}
const _: () = assert!(size_of::<EvtchnStatus>() == 24);

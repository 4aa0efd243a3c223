// SPDX-License-Identifier: MIT OR Apache-2.0
//! The rings of devices and of XenStore.

use std::mem::size_of;

use xen_abi::io::{blkif, console, netif, ninepfs, ring, xs_wire};
use xen_abi::{PAGE_SHIFT, PAGE_SIZE};

use crate::c::{Table, structure};
use crate::{PROLOGUE, xen_headers};

/// Returns the slots of a ring of one page whose requests and responses have these types.
const fn slots<Request, Response>() -> u32 {
    let (request, response) = (size_of::<Request>(), size_of::<Response>());
    ring::slots(if request > response { request } else { response })
}

#[test]
fn rings_of_slots() {
    let mut t = Table::default();
    for (c, slots) in [
        ("netif_tx", slots::<netif::TxRequest, netif::TxResponse>()),
        ("netif_rx", slots::<netif::RxRequest, netif::RxResponse>()),
        ("blkif", slots::<blkif::Request, blkif::Response>()),
    ] {
        let sring = format!("struct {c}_sring");
        t.offset(&sring, "req_prod", ring::REQ_PROD);
        t.offset(&sring, "req_event", ring::REQ_EVENT);
        t.offset(&sring, "rsp_prod", ring::RSP_PROD);
        t.offset(&sring, "rsp_event", ring::RSP_EVENT);
        t.offset(&sring, "__pad", ring::PADDING);
        t.offset(&sring, "ring", ring::SLOTS);
        t.value(&format!("__CONST_RING_SIZE({c}, {PAGE_SIZE})"), slots);
    }
    t.value("XEN_PAGE_SHIFT", PAGE_SHIFT);
    t.compare(PROLOGUE, xen_headers().as_deref());
}

#[test]
fn network_interfaces() {
    let mut t = Table::default();
    structure!(
        t,
        "struct netif_tx_request" = netif::TxRequest {
            gref: "gref",
            offset: "offset",
            flags: "flags",
            id: "id",
            size: "size",
        }
    );
    structure!(t, "struct netif_tx_response" = netif::TxResponse { id: "id", status: "status" });
    structure!(
        t,
        "struct netif_rx_request" = netif::RxRequest { id: "id", pad: "pad", gref: "gref" }
    );
    structure!(
        t,
        "struct netif_rx_response" =
            netif::RxResponse { id: "id", offset: "offset", flags: "flags", status: "status" }
    );
    structure!(
        t,
        "struct netif_extra_info" = netif::ExtraInfo {
            kind: "type",
            flags: "flags",
            size: "u.gso.size",
            gso_type: "u.gso.type",
            pad: "u.gso.pad",
            features: "u.gso.features",
        }
    );
    for (c, ours) in [
        ("XEN_NETIF_EXTRA_TYPE_NONE", netif::XEN_NETIF_EXTRA_TYPE_NONE),
        ("XEN_NETIF_EXTRA_TYPE_GSO", netif::XEN_NETIF_EXTRA_TYPE_GSO),
        ("XEN_NETIF_EXTRA_TYPE_MAX", netif::XEN_NETIF_EXTRA_TYPE_MAX),
        ("XEN_NETIF_EXTRA_FLAG_MORE", netif::XEN_NETIF_EXTRA_FLAG_MORE),
        ("XEN_NETIF_GSO_TYPE_TCPV4", netif::XEN_NETIF_GSO_TYPE_TCPV4),
        ("XEN_NETIF_GSO_TYPE_TCPV6", netif::XEN_NETIF_GSO_TYPE_TCPV6),
    ] {
        t.value(c, ours);
    }
    t.value("XEN_NETIF_NR_SLOTS_MIN", netif::SLOTS_OF_FRAME);
    for (c, ours) in [
        ("NETTXF_csum_blank", netif::NETTXF_CSUM_BLANK),
        ("NETTXF_data_validated", netif::NETTXF_DATA_VALIDATED),
        ("NETTXF_more_data", netif::NETTXF_MORE_DATA),
        ("NETTXF_extra_info", netif::NETTXF_EXTRA_INFO),
        ("NETRXF_data_validated", netif::NETRXF_DATA_VALIDATED),
        ("NETRXF_csum_blank", netif::NETRXF_CSUM_BLANK),
        ("NETRXF_more_data", netif::NETRXF_MORE_DATA),
        ("NETRXF_extra_info", netif::NETRXF_EXTRA_INFO),
    ] {
        t.value(c, ours);
    }
    for (c, ours) in [
        ("NETIF_RSP_OKAY", netif::NETIF_RSP_OKAY),
        ("NETIF_RSP_ERROR", netif::NETIF_RSP_ERROR),
        ("NETIF_RSP_DROPPED", netif::NETIF_RSP_DROPPED),
        ("NETIF_RSP_NULL", netif::NETIF_RSP_NULL),
    ] {
        t.value(c, ours);
    }
    t.compare(PROLOGUE, xen_headers().as_deref());
}

#[test]
fn block_devices() {
    let mut t = Table::default();
    structure!(
        t,
        "struct blkif_request_segment" =
            blkif::Segment { gref: "gref", first_sect: "first_sect", last_sect: "last_sect" }
    );
    structure!(
        t,
        "struct blkif_request" = blkif::Request {
            operation: "operation",
            nr_segments: "nr_segments",
            handle: "handle",
            id: "id",
            sector_number: "sector_number",
            seg: "seg",
        }
    );
    structure!(
        t,
        "struct blkif_request_discard" = blkif::RequestDiscard {
            operation: "operation",
            flag: "flag",
            handle: "handle",
            id: "id",
            sector_number: "sector_number",
            nr_sectors: "nr_sectors",
        }
    );
    structure!(
        t,
        "struct blkif_request_indirect" = blkif::RequestIndirect {
            operation: "operation",
            indirect_op: "indirect_op",
            nr_segments: "nr_segments",
            id: "id",
            sector_number: "sector_number",
            handle: "handle",
            indirect_grefs: "indirect_grefs",
        }
    );
    structure!(
        t,
        "struct blkif_response" =
            blkif::Response { id: "id", operation: "operation", status: "status" }
    );
    for (c, ours) in [
        ("BLKIF_OP_READ", blkif::BLKIF_OP_READ),
        ("BLKIF_OP_WRITE", blkif::BLKIF_OP_WRITE),
        ("BLKIF_OP_WRITE_BARRIER", blkif::BLKIF_OP_WRITE_BARRIER),
        ("BLKIF_OP_FLUSH_DISKCACHE", blkif::BLKIF_OP_FLUSH_DISKCACHE),
        ("BLKIF_OP_DISCARD", blkif::BLKIF_OP_DISCARD),
        ("BLKIF_OP_INDIRECT", blkif::BLKIF_OP_INDIRECT),
        ("BLKIF_DISCARD_SECURE", blkif::BLKIF_DISCARD_SECURE),
    ] {
        t.value(c, ours);
    }
    for (c, ours) in [
        ("BLKIF_MAX_SEGMENTS_PER_REQUEST", blkif::BLKIF_MAX_SEGMENTS_PER_REQUEST),
        ("BLKIF_MAX_INDIRECT_PAGES_PER_REQUEST", blkif::BLKIF_MAX_INDIRECT_PAGES_PER_REQUEST),
    ] {
        t.value(c, ours);
    }
    for (c, ours) in [
        ("BLKIF_RSP_OKAY", blkif::BLKIF_RSP_OKAY),
        ("BLKIF_RSP_ERROR", blkif::BLKIF_RSP_ERROR),
        ("BLKIF_RSP_EOPNOTSUPP", blkif::BLKIF_RSP_EOPNOTSUPP),
    ] {
        t.value(c, ours);
    }
    for (c, ours) in [
        ("VDISK_CDROM", blkif::VDISK_CDROM),
        ("VDISK_REMOVABLE", blkif::VDISK_REMOVABLE),
        ("VDISK_READONLY", blkif::VDISK_READONLY),
    ] {
        t.value(c, ours);
    }
    t.compare(PROLOGUE, xen_headers().as_deref());
}

#[test]
fn console_and_shared_folders() {
    let mut t = Table::default();
    let page = "struct xencons_interface";
    t.offset(page, "in", console::IN);
    t.value("sizeof(((struct xencons_interface *)0)->in)", console::IN_SIZE);
    t.offset(page, "out", console::OUT);
    t.value("sizeof(((struct xencons_interface *)0)->out)", console::OUT_SIZE);
    t.offset(page, "in_cons", console::IN_CONS);
    t.offset(page, "in_prod", console::IN_PROD);
    t.offset(page, "out_cons", console::OUT_CONS);
    t.offset(page, "out_prod", console::OUT_PROD);
    let page = "struct xen_9pfs_data_intf";
    t.offset(page, "in_cons", ninepfs::IN_CONS);
    t.offset(page, "in_prod", ninepfs::IN_PROD);
    t.offset(page, "out_cons", ninepfs::OUT_CONS);
    t.offset(page, "out_prod", ninepfs::OUT_PROD);
    t.offset(page, "ring_order", ninepfs::RING_ORDER);
    t.offset(page, "ref", ninepfs::REF);
    for order in 0..=ninepfs::MAX_RING_ORDER {
        t.value(&format!("XEN_FLEX_RING_SIZE({order})"), ninepfs::ring_size(order));
    }
    t.compare(PROLOGUE, xen_headers().as_deref());
}

#[test]
fn xenstore() {
    let mut t = Table::default();
    structure!(
        t,
        "struct xsd_sockmsg" =
            xs_wire::SockMsg { kind: "type", req_id: "req_id", tx_id: "tx_id", len: "len" }
    );
    let page = "struct xenstore_domain_interface";
    t.offset(page, "req", xs_wire::REQ);
    t.offset(page, "rsp", xs_wire::RSP);
    t.offset(page, "req_cons", xs_wire::REQ_CONS);
    t.offset(page, "req_prod", xs_wire::REQ_PROD);
    t.offset(page, "rsp_cons", xs_wire::RSP_CONS);
    t.offset(page, "rsp_prod", xs_wire::RSP_PROD);
    t.offset(page, "server_features", xs_wire::SERVER_FEATURES);
    t.offset(page, "connection", xs_wire::CONNECTION);
    t.offset(page, "error", xs_wire::ERROR);
    for (c, ours) in [
        ("XENSTORE_RING_SIZE", xs_wire::XENSTORE_RING_SIZE),
        ("XENSTORE_PAYLOAD_MAX", xs_wire::XENSTORE_PAYLOAD_MAX),
        ("XENSTORE_ABS_PATH_MAX", xs_wire::XENSTORE_ABS_PATH_MAX),
        ("XENSTORE_REL_PATH_MAX", xs_wire::XENSTORE_REL_PATH_MAX),
    ] {
        t.value(c, ours);
    }
    for (c, ours) in [
        ("XS_CONTROL", xs_wire::XS_CONTROL),
        ("XS_DIRECTORY", xs_wire::XS_DIRECTORY),
        ("XS_READ", xs_wire::XS_READ),
        ("XS_GET_PERMS", xs_wire::XS_GET_PERMS),
        ("XS_WATCH", xs_wire::XS_WATCH),
        ("XS_UNWATCH", xs_wire::XS_UNWATCH),
        ("XS_TRANSACTION_START", xs_wire::XS_TRANSACTION_START),
        ("XS_TRANSACTION_END", xs_wire::XS_TRANSACTION_END),
        ("XS_INTRODUCE", xs_wire::XS_INTRODUCE),
        ("XS_RELEASE", xs_wire::XS_RELEASE),
        ("XS_GET_DOMAIN_PATH", xs_wire::XS_GET_DOMAIN_PATH),
        ("XS_WRITE", xs_wire::XS_WRITE),
        ("XS_MKDIR", xs_wire::XS_MKDIR),
        ("XS_RM", xs_wire::XS_RM),
        ("XS_SET_PERMS", xs_wire::XS_SET_PERMS),
        ("XS_WATCH_EVENT", xs_wire::XS_WATCH_EVENT),
        ("XS_ERROR", xs_wire::XS_ERROR),
        ("XS_IS_DOMAIN_INTRODUCED", xs_wire::XS_IS_DOMAIN_INTRODUCED),
        ("XS_RESUME", xs_wire::XS_RESUME),
        ("XS_SET_TARGET", xs_wire::XS_SET_TARGET),
        ("XS_RESET_WATCHES", xs_wire::XS_RESET_WATCHES),
        ("XS_DIRECTORY_PART", xs_wire::XS_DIRECTORY_PART),
        ("XENSTORE_SERVER_FEATURE_RECONNECTION", xs_wire::XENSTORE_SERVER_FEATURE_RECONNECTION),
        ("XENSTORE_SERVER_FEATURE_ERROR", xs_wire::XENSTORE_SERVER_FEATURE_ERROR),
        ("XENSTORE_CONNECTED", xs_wire::XENSTORE_CONNECTED),
        ("XENSTORE_RECONNECT", xs_wire::XENSTORE_RECONNECT),
        ("XENSTORE_ERROR_NONE", xs_wire::XENSTORE_ERROR_NONE),
        ("XENSTORE_ERROR_COMM", xs_wire::XENSTORE_ERROR_COMM),
        ("XENSTORE_ERROR_RINGIDX", xs_wire::XENSTORE_ERROR_RINGIDX),
        ("XENSTORE_ERROR_PROTO", xs_wire::XENSTORE_ERROR_PROTO),
    ] {
        t.value(c, ours);
    }
    t.compare(PROLOGUE, xen_headers().as_deref());
}

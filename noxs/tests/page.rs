// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tests the writer against the reader, and the reader against arbitrary bytes.

use std::net::{Ipv4Addr, Ipv6Addr};

use noxs::{
    Backend, Console, Device, DevicePage, DeviceState, Discard, Geometry, Ipv4Config, Ipv6Config,
    MacAddr, Overlay, PAGE_SIZE, PageError, Request, Ring, Vbd, Vif, VifFeatures, layout,
};
use proptest::prelude::*;

fn backend<const N: usize>() -> impl Strategy<Value = Backend<N>> {
    let ring = (any::<u32>(), any::<u64>()).prop_map(|(grant, gfn)| Ring { grant, gfn });
    let state = prop_oneof![Just(DeviceState::Connected), Just(DeviceState::Closing)];
    let numbers = (any::<u16>(), any::<u32>(), any::<u16>());
    (numbers, state, 1u32.., prop::array::uniform::<_, N>(ring)).prop_map(
        |((index, instance, domid), state, port, rings)| Backend {
            index,
            instance,
            domid,
            state,
            port,
            rings,
        },
    )
}

fn ipv4() -> impl Strategy<Value = Ipv4Config> {
    let given = |n: u32| (n != 0).then(|| Ipv4Addr::from(n));
    (1u32.., 0u8..=32, any::<u32>()).prop_map(move |(address, prefix, gateway)| Ipv4Config {
        address: address.into(),
        prefix,
        gateway: given(gateway),
    })
}

fn ipv6() -> impl Strategy<Value = Ipv6Config> {
    let given = |n: u128| (n != 0).then(|| Ipv6Addr::from(n));
    (1u128.., 0u8..=128, any::<u128>()).prop_map(move |(address, prefix, gateway)| Ipv6Config {
        address: address.into(),
        prefix,
        gateway: given(gateway),
    })
}

fn geometry() -> impl Strategy<Value = Geometry> {
    (0..=u64::MAX / 8, 9..=12u32, 0..=8u32, any::<bool>()).prop_map(
        |(sectors, log, physical, read_only)| Geometry {
            sectors: sectors << (log - 9),
            sector_size: 1 << log,
            physical_sector_size: 1 << (log + physical),
            read_only,
        },
    )
}

/// Returns what may be discarded of a disk with sectors of any size.
fn discard() -> impl Strategy<Value = Discard> {
    (1..=u32::MAX / 4096, any::<u32>(), any::<bool>()).prop_map(|(units, alignment, secure)| {
        let granularity = units * 4096;
        Discard { granularity, alignment: alignment % granularity / 512 * 512, secure }
    })
}

fn device() -> impl Strategy<Value = Device> {
    let addresses = (prop::option::of(ipv4()), prop::option::of(ipv6()));
    let vif = (backend(), any::<[u8; 6]>(), any::<u16>(), addresses, any::<u32>());
    let discard = prop::option::of(discard());
    let vbd = (backend(), geometry(), any::<bool>(), any::<bool>(), discard, any::<u16>());
    prop_oneof![
        backend().prop_map(|backend| Device::Console(Console { backend })),
        vif.prop_map(|(backend, mac, mtu, (ipv4, ipv6), features)| {
            let features = VifFeatures(features);
            Device::Vif(Vif { backend, mac: MacAddr(mac), mtu, ipv4, ipv6, features })
        }),
        vbd.prop_map(|(backend, geometry, flush, barrier, discard, indirect_segments)| {
            Device::Vbd(Vbd { backend, geometry, flush, barrier, discard, indirect_segments })
        }),
    ]
}

fn page() -> impl Strategy<Value = DevicePage> {
    let devices = prop::collection::vec(device(), 0..=noxs::MAX_DEVICES);
    (any::<u32>(), any::<u16>(), any::<[u8; 16]>(), any::<u32>(), any::<u64>(), devices).prop_map(
        |(generation, domid, handle, port, answer_gfn, devices)| {
            let mut page = DevicePage::new(domid, handle);
            page.generation = generation & !1;
            page.sysctl.port = port;
            page.sysctl.balloon_pages = port.rotate_left(7);
            page.sysctl.answer_gfn = answer_gfn;
            page.overlay = Overlay { gfn: answer_gfn ^ 1, frames: port };
            for device in devices {
                // Some of the lists have more vifs than a guest can have.
                let vifs = page.vifs().count();
                match page.add(device) {
                    Err(PageError::Vifs) => assert_eq!(vifs, noxs::MAX_VIFS),
                    added => added.expect("no more devices than fit"),
                }
            }
            page
        },
    )
}

proptest! {
    #[test]
    fn an_encoded_page_decodes_to_itself(page in page()) {
        prop_assert_eq!(DevicePage::decode(&page.encode()), Ok(page));
    }

    #[test]
    fn a_request_is_read_and_changes_the_generation(mut page in page()) {
        let before = page.generation;
        let id = page.request(Request::Poweroff);
        let read = DevicePage::decode(&page.encode()).unwrap();
        prop_assert_eq!(read.sysctl.request, Some(Request::Poweroff));
        prop_assert_eq!(read.sysctl.request_id, id);
        prop_assert_ne!(read.generation, before);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), PAGE_SIZE)) {
        let bytes: [u8; PAGE_SIZE] = bytes.try_into().unwrap();
        prop_assert!(DevicePage::decode(&bytes).is_err());
    }

    /// Random bytes hardly ever start with the magic number, so this damages a valid page instead.
    #[test]
    fn a_damaged_page_never_panics(
        page in page(),
        damage in prop::collection::vec((8..PAGE_SIZE, any::<u8>()), 1..64),
    ) {
        let mut bytes = page.encode();
        for (at, value) in damage {
            bytes[at] = value;
        }
        if let Ok(read) = DevicePage::decode(&bytes) {
            prop_assert!(read.devices().count() <= noxs::MAX_DEVICES);
            prop_assert!(read.vifs().all(|vif| vif.ipv4.is_none_or(|ipv4| ipv4.prefix <= 32)));
            prop_assert!(read.vifs().all(|vif| vif.ipv6.is_none_or(|ipv6| ipv6.prefix <= 128)));
        }
    }
}

fn vif_page() -> [u8; PAGE_SIZE] {
    let ring = Ring { grant: 8, gfn: 0x3fc };
    let backend = Backend {
        index: 0,
        instance: 0,
        domid: 0,
        state: DeviceState::Connected,
        port: 3,
        rings: [ring; 2],
    };
    let ipv4 = Ipv4Config { address: Ipv4Addr::new(10, 0, 0, 2), prefix: 24, gateway: None };
    let vif = Vif {
        backend,
        mac: MacAddr([0; 6]),
        mtu: 1500,
        ipv4: Some(ipv4),
        ipv6: None,
        features: VifFeatures::NONE,
    };
    let mut page = DevicePage::default();
    page.add(Device::Vif(vif)).expect("an empty page has room");
    page.encode()
}

#[test]
fn each_invalid_value_has_its_own_error() {
    let first = layout::header::SIZE;
    let vif = first + layout::entry::SPECIFIC;
    let malformed = PageError::Entry { slot: 0 };
    let cases: [(usize, u8, PageError); 9] = [
        (layout::header::MAGIC, b'X', PageError::Magic { found: 0x7378_6f58 }),
        (layout::header::VERSION_MAJOR, 2, PageError::Version { found: 2 }),
        (layout::header::GENERATION, 1, PageError::Torn { generation: 1 }),
        (layout::header::ENTRY_COUNT, 32, PageError::EntryCount { found: 32 }),
        (first + layout::entry::STATE, 0, malformed),
        (first + layout::entry::STATE, 9, malformed),
        (first + layout::entry::PORT, 0, malformed),
        (first + layout::entry::RING_COUNT, 1, malformed),
        (vif + layout::entry::vif::PREFIX, 33, malformed),
    ];
    for (at, value, error) in cases {
        let mut bytes = vif_page();
        bytes[at] = value;
        assert_eq!(DevicePage::decode(&bytes), Err(error), "byte {at} = {value}");
    }
}

/// An IPv6 address is where version 1.2 had bytes of unused ring slots and a reserved one, and
/// changes no other byte: an older reader finds the vif as it was.
#[test]
fn an_ipv6_address_only_uses_bytes_that_were_reserved() {
    let plain = vif_page();
    let mut page = DevicePage::decode(&plain).unwrap();
    let Some(Device::Vif(mut vif)) = page.devices().next().copied() else { panic!("{page:?}") };
    let [address, gateway] = [1, 2].map(|last| Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last));
    vif.ipv6 = Some(Ipv6Config { address, prefix: 64, gateway: Some(gateway) });
    page = DevicePage::default();
    page.add(Device::Vif(vif)).unwrap();
    let bytes = page.encode();
    assert_eq!(DevicePage::decode(&bytes), Ok(page));
    let entry = layout::header::SIZE;
    let mut expected = plain;
    expected[entry + 48..entry + 64].copy_from_slice(&address.octets());
    expected[entry + 64..entry + 80].copy_from_slice(&gateway.octets());
    expected[entry + 97] = 64;
    assert_eq!(bytes, expected);
    expected[entry + 97] = 129;
    assert_eq!(DevicePage::decode(&expected), Err(PageError::Entry { slot: 0 }));
}

/// Returns a page with a disk of 8 MiB that can do everything.
fn vbd_page() -> [u8; PAGE_SIZE] {
    let ring = Ring { grant: 8, gfn: 0x3fc };
    let backend = Backend {
        index: 0,
        instance: 0,
        domid: 0,
        state: DeviceState::Connected,
        port: 3,
        rings: [ring],
    };
    let geometry = Geometry {
        sectors: 16384,
        sector_size: 4096,
        physical_sector_size: 4096,
        read_only: false,
    };
    let discard = Some(Discard { granularity: 4096, alignment: 512, secure: true });
    let vbd = Vbd { backend, geometry, flush: true, barrier: true, discard, indirect_segments: 64 };
    let mut page = DevicePage::default();
    page.add(Device::Vbd(vbd)).expect("an empty page has room");
    page.encode()
}

#[test]
fn each_impossible_disk_is_refused() {
    use layout::entry::vbd;
    let at = layout::header::SIZE + layout::entry::SPECIFIC;
    let decode_with = |offset: usize, value: u32| {
        let mut bytes = vbd_page();
        bytes[at + offset..at + offset + 4].copy_from_slice(&value.to_le_bytes());
        DevicePage::decode(&bytes)
    };
    for (offset, value) in [
        (vbd::SECTORS, 16383),
        (vbd::SECTOR_SIZE, 0),
        (vbd::SECTOR_SIZE, 256),
        (vbd::SECTOR_SIZE, 8192),
        (vbd::SECTOR_SIZE, 4095),
        (vbd::PHYSICAL_SECTOR_SIZE, 512),
        (vbd::PHYSICAL_SECTOR_SIZE, 12288),
        (vbd::DISCARD_GRANULARITY, 0),
        (vbd::DISCARD_GRANULARITY, 512),
        (vbd::DISCARD_ALIGNMENT, 4096),
        (vbd::DISCARD_ALIGNMENT, 100),
    ] {
        let error = Err(PageError::Entry { slot: 0 });
        assert_eq!(decode_with(offset, value), error, "at {offset}: {value}");
    }
    let page = decode_with(vbd::FLAGS, 0).unwrap();
    let Some(Device::Vbd(plain)) = page.devices().next().copied() else {
        panic!("not a disk: {page:?}")
    };
    assert_eq!((plain.flush, plain.barrier, plain.discard), (false, false, None));
    // What a writer of version 1.0 leaves out.
    let page = decode_with(vbd::PHYSICAL_SECTOR_SIZE, 0).unwrap();
    assert_eq!(page, DevicePage::decode(&vbd_page()).unwrap());
}

#[test]
fn an_unknown_kind_and_a_newer_minor_version_are_tolerated() {
    let mut bytes = vif_page();
    bytes[layout::header::VERSION_MINOR] = 77;
    assert_eq!(DevicePage::decode(&bytes).unwrap().vifs().count(), 1);
    bytes[layout::header::SIZE + layout::entry::KIND] = 200;
    assert_eq!(DevicePage::decode(&bytes).unwrap().devices().count(), 0);
}

#[test]
fn a_full_page_refuses_another_device() {
    let ring = Ring::default();
    let backend = Backend {
        index: 0,
        instance: 0,
        domid: 0,
        state: DeviceState::Connected,
        port: 1,
        rings: [ring],
    };
    let mut page = DevicePage::default();
    for _ in 0..noxs::MAX_DEVICES {
        page.add(Device::Console(Console { backend })).unwrap();
    }
    assert_eq!(page.add(Device::Console(Console { backend })), Err(PageError::Full));
}

#[test]
fn a_page_takes_as_many_vifs_as_a_guest_can_have() {
    let backend = Backend {
        index: 0,
        instance: 0,
        domid: 0,
        state: DeviceState::Connected,
        port: 1,
        rings: [Ring::default(); 2],
    };
    let (mac, features) = (MacAddr([0, 0x16, 0x3e, 0, 0, 1]), VifFeatures::NONE);
    let vif = Device::Vif(Vif { backend, mac, mtu: 1500, ipv4: None, ipv6: None, features });
    let mut page = DevicePage::new(1, [0; 16]);
    for _ in 0..noxs::MAX_VIFS {
        page.add(vif).unwrap();
    }
    assert_eq!(page.add(vif), Err(PageError::Vifs));
    assert_eq!(DevicePage::decode(&page.encode()).unwrap().vifs().count(), noxs::MAX_VIFS);
}

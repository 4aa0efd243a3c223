// SPDX-License-Identifier: GPL-3.0-or-later
//! Benchmarks single operations of this project's code that a create or a packet needs. They run on
//! the host with criterion and use the wall clock.
#![allow(missing_docs, reason = "criterion's macros generate public functions")]

use std::hint::black_box;
use std::net::Ipv4Addr;

use chaos::clients::chaosd::protocol::{Request, decode, encode};
use chaos::config::EncodedConfig;
use chaos::config::parse_str;
use chaos::image::{Image, SizeLimit};
use criterion::{Criterion, criterion_group, criterion_main};
use noxs::{Backend, Console, Device, DevicePage, DeviceState, MacAddr, Ring};
use noxsd::net::frame::{FrameFacts, Payload};
use noxsd::net::rules::GuestRules;
use noxsd::net::switch::{BridgePortId, End, PortAddresses, Switch};

const CONFIG: &str = include_str!("../../guests/redis/redis.cfg");

/// The number of guests on the switch.
const PORTS: u32 = 8000;

fn config(c: &mut Criterion) {
    let parse = || parse_str("redis.cfg", black_box(CONFIG), &[], true);
    c.bench_function("config parse", |b| b.iter(|| parse().expect("the shipped config is valid")));
}

/// Needs the built redis guest, which `scripts/bench micro` builds first.
fn image(c: &mut Criterion) {
    let file = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../guests/target/x86_64-unknown-linux-gnu/release/redis"
    );
    let bytes = std::fs::read(file).expect("the redis guest is built (scripts/bench micro)");
    c.bench_function("image parse (redis)", |b| {
        b.iter_batched(
            || bytes.clone(),
            |bytes| Image::parse(bytes, SizeLimit::MOST).expect("the guest's image is valid"),
            criterion::BatchSize::SmallInput,
        );
    });
}

fn page(c: &mut Criterion) {
    let mut page = DevicePage::new(7, [1; 16]);
    let rings = [Ring { grant: 8, gfn: 100 }];
    let state = DeviceState::Connected;
    let backend = Backend { index: 0, instance: 0, domid: 0, state, port: 3, rings };
    page.add(Device::Console(Console { backend })).expect("the page is empty");
    let bytes = page.encode();
    c.bench_function("device page write", |b| b.iter(|| black_box(&page).encode()));
    c.bench_function("device page read", |b| {
        b.iter(|| DevicePage::decode(black_box(&bytes)).expect("the page was just encoded"));
    });
}

fn switch(c: &mut Criterion) {
    let mac = |number: u32| {
        let bytes = number.to_be_bytes();
        MacAddr([0, 0x16, 0x3e, bytes[1], bytes[2], bytes[3]])
    };
    let mut switch = Switch::default();
    for number in 0..PORTS {
        let address = Ipv4Addr::from(0x0a01_0000 + number);
        let addresses = PortAddresses::new(mac(number), Some(address));
        switch.add(BridgePortId(number), addresses).expect("addresses differ");
    }
    let payload = Payload::Ipv4 { source: Ipv4Addr::from(0x0a01_0001), protocol: 6 };
    let facts = FrameFacts { destination: mac(PORTS / 2), source: mac(1), payload };
    let mut frame = [0; 1514];
    frame[..6].copy_from_slice(&facts.destination.0);
    frame[6..12].copy_from_slice(&facts.source.0);
    let header = [8, 0, 0x45, 0, 5, 220, 0, 0, 0, 0, 64, 6, 0, 0, 10, 1, 0, 1];
    frame[12..30].copy_from_slice(&header);
    let mut rules =
        GuestRules::new(PortAddresses::new(facts.source, Some(Ipv4Addr::from(0x0a01_0001))));
    c.bench_function("switch rules (IPv4)", |b| {
        b.iter(|| {
            let frame = black_box(&frame[..]);
            let facts = FrameFacts::of(frame)?;
            rules.may_send(&facts, frame, BridgePortId(1), &switch).then_some(facts)
        });
    });
    c.bench_function("switch lookup among 8000", |b| {
        b.iter(|| switch.route(black_box(&facts), End::Port(BridgePortId(1))));
    });
}

fn request(c: &mut Criterion) {
    let config =
        parse_str("redis.cfg", CONFIG, &[], true).expect("the shipped config is valid").config;
    let (config, request) = (EncodedConfig::from(&config), [7; 16]);
    let request = Request::Create { config, paused: false, request };
    let packet = encode(&request).expect("the request fits in a packet");
    c.bench_function("request encode", |b| b.iter(|| encode(black_box(&request))));
    c.bench_function("request decode", |b| {
        b.iter(|| decode::<Request>(black_box(&packet)).expect("the request was just encoded"));
    });
}

criterion_group!(micro, config, image, page, switch, request);
criterion_main!(micro);

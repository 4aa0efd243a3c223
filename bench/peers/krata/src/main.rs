// SPDX-License-Identifier: GPL-2.0-or-later
//! `krata-boot ROUNDS [BRIDGE]`: creates and destroys a guest with krata's client library, ROUNDS
//! times. The guest has 8 MiB, the least that krata accepts, a console, and a vif if a bridge is
//! named. Prints one line per create: the nanoseconds from the request until the guest may run.

use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use uuid::Uuid;
use xenclient::XenClient;
use xenclient::config::DomainConfig;
use xenclient::tx::channel::ChannelDeviceConfig;
use xenclient::tx::vif::VifDeviceConfig;
use xenplatform::RuntimePlatformType;
use xenplatform::domain::{
    KernelFormat, PlatformDomainConfig, PlatformKernelConfig, PlatformOptions,
    PlatformResourcesConfig,
};

static GUEST: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/noop"));

/// How long to wait before each create for Xen to clear free memory. The creates of chaos wait as
/// long.
const IDLE: Duration = Duration::from_millis(250);

#[tokio::main]
async fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let rounds: usize = args.next().context("how many rounds?")?.parse()?;
    let bridge = args.next();
    let kernel = Arc::new(GUEST.to_vec());
    let client = XenClient::new().await?;
    let mut out = std::io::stdout().lock();
    // The first create also pays for one-time set-up, so it is not printed.
    for round in 0..=rounds {
        tokio::time::sleep(IDLE).await;
        let config = config(round, &kernel, bridge.as_deref());
        let started = Instant::now();
        let created = client.create(config).await?;
        let elapsed = started.elapsed();
        client.destroy(created.platform.domid).await?;
        if round > 0 {
            writeln!(out, "{}", elapsed.as_nanos())?;
            out.flush()?;
        }
    }
    Ok(())
}

fn config(round: usize, kernel: &Arc<Vec<u8>>, bridge: Option<&str>) -> DomainConfig {
    let mut config = DomainConfig::new();
    config.platform(PlatformDomainConfig {
        uuid: Uuid::new_v4(),
        platform: RuntimePlatformType::supported(),
        kernel: PlatformKernelConfig {
            data: Arc::clone(kernel),
            format: KernelFormat::ElfUncompressed,
            cmdline: String::new(),
            initrd: None,
        },
        resources: PlatformResourcesConfig {
            max_vcpus: 1,
            assigned_vcpus: 1,
            max_memory_mb: 8,
            assigned_memory_mb: 8,
        },
        // As for the other toolstacks' guests.
        options: PlatformOptions { iommu: false },
    });
    config.name(format!("krata-{round}"));
    let mut console = ChannelDeviceConfig::new();
    console.default_console().backend_initialized();
    config.add_channel(console);
    if let Some(bridge) = bridge {
        let mut vif = VifDeviceConfig::new();
        vif.mac("00:16:3e:00:00:01").mtu(1500).bridge(bridge);
        config.add_vif(vif);
    }
    config
}

//! `krata-boot ROUNDS [BRIDGE]`: has krata's client library make a guest of 8 MiB, the least it
//! takes, with a console, and with a vif on the bridge if one is named; destroys it, and does so
//! again. Prints how long each took from the request until it might run, in nanoseconds, a line
//! each.

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

/// As long as chaos gets for the same: Xen clears free memory then.
const IDLE: Duration = Duration::from_millis(250);

#[tokio::main]
async fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let rounds: usize = args.next().context("how many rounds?")?.parse()?;
    let bridge = args.next();
    let kernel = Arc::new(GUEST.to_vec());
    let client = XenClient::new().await?;
    let mut out = std::io::stdout().lock();
    // The first one pays for things that stay.
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
        // The others have none either.
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

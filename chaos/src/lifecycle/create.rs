//! Making a guest.

use std::fs::{self, File};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use noxs::MacAddr;
use noxs::control::{Attach, ConsoleDevice, DomainId, Refusal, VifDevice, VifIdentity};
use xen::units::{DomId, GrantRef};

use super::resolve::{Condition, examine};
use super::{Host, LifecycleError, destroy};
use crate::backend::{BackendError, Noxsd};
use crate::builder::{self, Flavour, Payload, Shell, VifFacts};
use crate::config::{DomainConfig, VifConfig};
use crate::handle::Creator;
use crate::record::{Record, RecordError, VifRecord};
use crate::timings::Timings;

/// How a guest is to be made.
#[derive(Clone, Copy, Debug, Default)]
pub struct CreateOptions {
    /// Leave it paused.
    pub paused: bool,
    /// Connect to its console before it runs.
    pub console: bool,
}

/// A guest that was made.
#[derive(Debug)]
pub struct Created {
    /// Its number.
    pub domid: DomId,
    /// Its record.
    pub record: Record,
    /// Its console, if that was asked for.
    pub console: Option<OwnedFd>,
}

/// Makes a guest from its configuration.
///
/// # Errors
/// Anything that is missing or does not fit. Nothing of the guest is left behind.
pub fn create(
    host: &Host,
    config: &DomainConfig,
    options: CreateOptions,
    timings: &mut Timings,
) -> Result<Created, LifecycleError> {
    if options.console && !config.console {
        return Err(LifecycleError::NoConsole { name: config.name.clone() });
    }
    let image = host
        .images
        .borrow_mut()
        .open(&config.kernel)
        .map_err(|source| LifecycleError::Kernel { path: config.kernel.clone(), source })?;
    let ramdisk = config.ramdisk.as_deref().map(read_ramdisk).transpose()?;
    let vifs: Vec<Nic<'_>> = config.vifs.iter().map(Nic::new).collect::<Result<_, _>>()?;
    timings.stage("files");

    free_name(host, &config.name)?;
    let backend_error = |source| LifecycleError::Backend { name: config.name.clone(), source };
    let mut noxsd = match config.console || !vifs.is_empty() {
        true => Some(host.connect_noxsd().map_err(backend_error)?),
        false => None,
    };
    let creator = Creator::this_process().map_err(LifecycleError::Process)?;
    let handle = creator.new_handle().map_err(LifecycleError::Process)?;
    timings.stage("name and noxsd");

    let build_error = |source| LifecycleError::Build { name: config.name.clone(), source };
    let flavour = Flavour {
        memory: config.memory,
        vcpus: config.vcpus,
        console: config.console,
        vifs: u16::try_from(vifs.len()).unwrap_or(u16::MAX),
    };
    let shell = builder::prepare(&host.xen, flavour, handle, timings).map_err(build_error)?;
    let domid = shell.domid();

    // From here on the guest has files and devices too; the shell itself is destroyed by its
    // own Drop, before this one's, because it is declared later.
    let mut traces = Traces { host, config, id: domain_id(&shell), noxsd: &mut noxsd, kept: false };
    let shell = shell;
    host.records.reserve(&config.name, domid)?;
    let attachment = traces.noxsd.as_mut().map(|noxsd| -> Result<_, LifecycleError> {
        let attach = attach_request(&shell, &vifs);
        host.records.write_devices(&attach)?;
        let log = config.console.then(|| host.records.create_console_log(domid)).transpose()?;
        noxsd.begin_attach(attach.clone(), log.as_ref().map(AsFd::as_fd)).map_err(backend_error)?;
        Ok((attach, log))
    });
    let attachment = attachment.transpose()?;
    timings.stage("record and attach");

    let facts: Vec<VifFacts> = vifs.iter().map(Nic::facts).collect();
    let payload = Payload {
        image: &image,
        command_line: &config.cmdline,
        ramdisk: ramdisk.as_deref(),
        vifs: &facts,
    };
    let ports = shell.ports.clone();
    let ready = shell.execute(&payload, timings).map_err(build_error)?;

    if let (Some(noxsd), Some((attach, log))) = (traces.noxsd.as_mut(), attachment) {
        finish_attach(noxsd, attach, log.as_ref(), &config.name)?;
    }
    let console = match options.console {
        true => {
            let connection = host.connect_noxsd().map_err(backend_error)?;
            Some(connection.console(traces.id).map_err(backend_error)?)
        }
        false => None,
    };
    timings.stage("attached");

    let mut record = Record::new(domid, handle, config.name.clone(), config.kernel.clone());
    record.device_page_gfn = ready.layout.device_page.0;
    record.answer_page_gfn = ready.layout.answer_page.0;
    record.sysctl_port = ports.sysctl.0;
    record.console = config.console;
    record.vifs = vifs.iter().map(Nic::record).collect();
    record.on_poweroff = config.on_poweroff;
    record.on_reboot = config.on_reboot;
    record.on_crash = config.on_crash;
    host.records.write(&record)?;
    timings.stage("record");

    match options.paused {
        true => ready.keep_paused(),
        false => ready.unpause(timings).map_err(build_error)?,
    }
    traces.kept = true;
    Ok(Created { domid, record, console })
}

/// What a guest leaves outside of Xen, taken away unless it is kept.
struct Traces<'a> {
    host: &'a Host,
    config: &'a DomainConfig,
    id: DomainId,
    noxsd: &'a mut Option<Noxsd>,
    kept: bool,
}

impl Drop for Traces<'_> {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        // There is nobody to tell: this runs while another error is on its way. `chaos list`
        // shows what is left, if anything is, and `chaos destroy` removes it.
        if self.noxsd.is_some()
            && let Ok(mut fresh) = self.host.connect_noxsd()
        {
            let _ = fresh.detach(self.id);
        }
        let _ = self.host.records.remove(DomId(self.id.domid), Some(&self.config.name));
    }
}

/// Makes sure that nobody has the name, and clears away what a killed process has left under it.
/// Only [`crate::record::Records::reserve`] takes it for good.
fn free_name(host: &Host, name: &str) -> Result<(), LifecycleError> {
    let Some(domid) = host.records.holder(name)? else { return Ok(()) };
    let guest = examine(host, domid)?;
    match guest.condition {
        Condition::Guest(record) if record.name == name => {
            Err(RecordError::NameInUse { name: name.to_owned(), domid }.into())
        }
        Condition::BeingMade | Condition::Unrecorded => {
            Err(RecordError::NameInUse { name: name.to_owned(), domid }.into())
        }
        Condition::HalfMade => destroy::remove(host, &guest).map(drop),
        // The domid has gone to somebody else: only the name is stale.
        Condition::Guest(_) | Condition::Foreign => Ok(host.records.remove_name(name)?),
        Condition::Gone => Ok(host.records.remove(domid, Some(name))?),
    }
}

fn read_ramdisk(path: &Path) -> Result<Vec<u8>, LifecycleError> {
    fs::read(path).map_err(|source| LifecycleError::Ramdisk { path: path.to_owned(), source })
}

fn domain_id(shell: &Shell) -> DomainId {
    DomainId { domid: shell.domid().0, handle: shell.handle().0 }
}

fn attach_request(shell: &Shell, vifs: &[Nic<'_>]) -> Attach {
    let console = match (shell.ports.console, shell.console_grant()) {
        (Some(port), Some(GrantRef(ring))) => Some(ConsoleDevice { port: port.0, ring }),
        _ => None,
    };
    let vifs = (0u16..)
        .zip(vifs.iter().zip(&shell.ports.vifs))
        .map(|(index, (nic, port))| {
            let [GrantRef(tx_ring), GrantRef(rx_ring)] = shell.vif_grants(index);
            VifDevice {
                index,
                port: port.0,
                tx_ring,
                rx_ring,
                bridge: nic.config.bridge.clone(),
                identity: Some(nic.identity()),
            }
        })
        .collect();
    Attach { id: domain_id(shell), console, vifs }
}

/// Waits until the devices are attached; gives `noxsd` a bridge it does not serve yet.
fn finish_attach(
    noxsd: &mut Noxsd,
    attach: Attach,
    log: Option<&File>,
    name: &str,
) -> Result<(), LifecycleError> {
    let backend_error = |source| LifecycleError::Backend { name: name.to_owned(), source };
    match noxsd.finish_attach() {
        Err(BackendError::Refused(Refusal::NoSwitch(bridge))) => {
            let tap = noxs_tap::open_on_bridge(&bridge)
                .map_err(|source| LifecycleError::Tap { bridge: bridge.clone(), source })?;
            noxsd.add_switch(bridge, tap.as_fd()).map_err(backend_error)?;
            noxsd.begin_attach(attach, log.map(AsFd::as_fd)).map_err(backend_error)?;
            noxsd.finish_attach().map_err(backend_error)
        }
        result => result.map_err(backend_error),
    }
}

/// A vif with everything decided that its configuration leaves open.
struct Nic<'a> {
    config: &'a VifConfig,
    mac: MacAddr,
}

impl<'a> Nic<'a> {
    fn new(config: &'a VifConfig) -> Result<Self, LifecycleError> {
        if !Path::new("/sys/class/net").join(&config.bridge).join("bridge").exists() {
            return Err(LifecycleError::NoBridge { bridge: config.bridge.clone() });
        }
        let mac = match config.mac {
            Some(mac) => mac,
            None => automatic_mac(config)?,
        };
        Ok(Self { config, mac })
    }

    fn facts(&self) -> VifFacts {
        VifFacts { mac: self.mac, mtu: self.config.mtu, ipv4: self.config.ip }
    }

    fn identity(&self) -> VifIdentity {
        VifIdentity {
            mac: self.mac,
            ipv4: self.config.ip.map(|ip| ip.address),
            mtu: self.config.mtu,
            rate: self.config.rate,
        }
    }

    fn record(&self) -> VifRecord {
        VifRecord::new(self.mac, &self.config.bridge, self.config.ip)
    }
}

/// An address of Xen's range, as xl makes them.
///
/// A guest that has an IPv4 address gets one made of that: no two guests of a network have the
/// same then, and neighbours that remember the guest's predecessor of the same address, as they do
/// for some time, find its successor. Others get a random one.
fn automatic_mac(config: &VifConfig) -> Result<MacAddr, LifecycleError> {
    let mut low = [0; 3];
    match config.ip {
        Some(ip) => low.copy_from_slice(&ip.address.octets()[1..]),
        None => getrandom::fill(&mut low)
            .map_err(|error| LifecycleError::Process(std::io::Error::from(error)))?,
    }
    let [a, b, c] = low;
    Ok(MacAddr([0x00, 0x16, 0x3e, a & 0x7f, b, c]))
}

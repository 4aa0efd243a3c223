//! A domain in XenStore mode, from the shell that nobody has asked for to the guest.

use noxs_control::VifIdentity;

use super::{Host, LifecycleError};
use crate::announce::xenstore::{Disk, GuestFacts, Place, Port, ShellFacts};
use crate::clients::xenstored::StoreError;
use crate::config::Store;
use crate::config::{DEFAULT_MTU, DomainConfig};
use crate::domain::Shell;
use crate::records::Record;

/// A domain that is, or is to be, announced in XenStore.
#[derive(Debug)]
pub(super) struct Announced {
    place: Place,
    shell: ShellFacts,
    bridges: Vec<String>,
    /// The largest packet of each vif, in bytes.
    mtus: Vec<u16>,
    /// Open until dom0's kernel has them open.
    disks: Vec<Disk>,
    /// Whether xenstored has been told anything.
    told: bool,
    /// Whether the guest is known.
    identified: bool,
}

/// Who a domain is to be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known<'a> {
    pub(super) config: &'a DomainConfig,
    pub(super) vifs: &'a [VifIdentity],
}

impl Announced {
    /// What is to be announced of a shell; nothing if it was not made for XenStore mode.
    pub(super) fn of<'a>(shell: &Shell, bridges: impl Iterator<Item = &'a str>) -> Option<Self> {
        let facts = ShellFacts {
            memory: shell.flavour.memory,
            vcpus: shell.flavour.vcpus,
            vifs: shell.flavour.vifs,
            rings: shell.xenstore_rings()?,
        };
        let bridges: Vec<String> = bridges.map(str::to_owned).collect();
        Some(Self {
            place: Place { domid: shell.domid(), handle: shell.handle() },
            shell: facts,
            mtus: vec![DEFAULT_MTU; bridges.len()],
            bridges,
            disks: Vec::new(),
            told: false,
            identified: false,
        })
    }

    /// Announces all that is known.
    pub(super) fn start(
        &mut self,
        host: &Host,
        known: Option<Known<'_>>,
    ) -> Result<(), LifecycleError> {
        let facts = known.map(|known| self.know(known)).transpose()?;
        let (place, shell, disks) = (self.place, self.shell, &self.disks);
        self.told = true;
        host.xenstored.call(|connection| {
            let guest = facts.map(|(name, vifs)| GuestFacts { name, vifs, disks });
            place.announce(connection, &shell, guest.as_ref())
        })?;
        Ok(())
    }

    /// Waits until the backends are there.
    pub(super) fn settle(&self, host: &Host) -> Result<(), LifecycleError> {
        let ports = self.bridges.iter().zip(&self.mtus);
        let ports: Vec<Port<'_>> = ports.map(|(bridge, mtu)| Port { bridge, mtu: *mtu }).collect();
        let settled =
            host.xenstored.call(|connection| self.place.settle(connection, &ports, &self.disks));
        Ok(settled?)
    }

    /// Announces who it is, unless that was known from the start.
    pub(super) fn identify(&mut self, host: &Host, known: Known<'_>) -> Result<(), LifecycleError> {
        if self.identified {
            return Ok(());
        }
        let (name, vifs) = self.know(known)?;
        let (place, disks) = (self.place, &self.disks);
        host.xenstored
            .call(|connection| place.identify(connection, &GuestFacts { name, vifs, disks }))?;
        let settled = self.disks.is_empty() && self.mtus.iter().all(|mtu| *mtu == DEFAULT_MTU);
        if settled { Ok(()) } else { self.settle(host) }
    }

    fn know<'a>(
        &mut self,
        known: Known<'a>,
    ) -> Result<(&'a str, &'a [VifIdentity]), LifecycleError> {
        let disks = known.config.disks.iter().map(Disk::open);
        self.disks = disks.collect::<Result<_, _>>()?;
        self.mtus = known.vifs.iter().map(|vif| vif.mtu).collect();
        self.identified = true;
        Ok((&known.config.name, known.vifs))
    }

    /// Takes everything away again.
    pub(super) fn withdraw(&self) {
        if self.told {
            // There is nobody to tell: this runs while another error is on its way. What is left is
            // taken away by `chaos destroy`.
            let _ = self.place.withdraw();
        }
    }
}

/// Where a guest is announced, by its record.
pub(super) fn place_of(record: &Record) -> Option<Place> {
    let Record { domid, handle, .. } = *record;
    (record.config.store == Store::XenStore).then_some(Place { domid, handle })
}

/// Takes away what may be announced of a domain. A host without xenstored has nothing to take away.
pub(super) fn withdraw_announced(place: Place) -> Result<(), StoreError> {
    match place.is_announced() {
        Ok(true) => place.withdraw(),
        Ok(false) | Err(StoreError::NotRunning { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

// SPDX-License-Identifier: GPL-3.0-or-later
//! Tests of the life cycle with a fake hypervisor and a fake noxsd: what is left when a step fails.

mod addresses;
mod console;
mod create;
mod destroy;
mod ended;
mod figures;
mod hot_plug;
mod leftovers;
mod list;
mod noxsd;
mod rename;
mod shutdown;
mod update_config;

use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use tempfile::TempDir;
use xen::units::{DomId, DomainHandle};

use self::noxsd::FakeNoxsd;
use super::{CreateOptions, Created, GuestRequest, Host, LifecycleError, create_from};
use crate::clients::noxsd::Link;
use crate::config::DomainConfig;
use crate::hypervisor::fake::{FakeXen, Log};
use crate::image::{Image, SizeLimit};
use crate::records::Records;
use crate::timings::Timings;

/// A host without guests.
struct Bed {
    folder: TempDir,
    log: Log,
    host: Host<FakeXen>,
    image: Arc<Image>,
}

impl Bed {
    /// Returns a host where noxsd does not run.
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let log = Log::default();
        let host = Host {
            xen: Rc::new(FakeXen::new(&log)),
            records: Records::at(folder.path().join("records")),
            noxsd: Rc::new(Link::new(folder.path().join("noxsd.sock"))),
            xenstored: Rc::default(),
            images: None,
        };
        let image = Arc::new(Image::parse(crate::image::tests::kernel(), SizeLimit::MOST).unwrap());
        Self { folder, log, host, image }
    }

    /// Returns a host where noxsd runs.
    fn with_noxsd() -> (Self, FakeNoxsd) {
        let bed = Self::new();
        let noxsd = FakeNoxsd::start(&bed.folder.path().join("noxsd.sock"), &bed.log);
        (bed, noxsd)
    }

    fn xen(&self) -> &FakeXen {
        &self.host.xen
    }

    fn create(&self, config: &DomainConfig) -> Result<Created<FakeXen>, LifecycleError> {
        self.create_with(config, CreateOptions::default())
    }

    fn create_with(
        &self,
        config: &DomainConfig,
        options: CreateOptions,
    ) -> Result<Created<FakeXen>, LifecycleError> {
        let request = GuestRequest { options, ..self.request(config) };
        create_from(&self.host, &request, &mut Timings::start())
    }

    /// Returns a request for a guest, with the bed's kernel.
    fn request<'a>(&'a self, config: &'a DomainConfig) -> GuestRequest<'a> {
        let options = CreateOptions::default();
        GuestRequest {
            config,
            image: &self.image,
            pv_kernel: None,
            ramdisk: None,
            disks: None,
            options,
        }
    }

    /// Returns the operations since the last call.
    fn done(&self) -> Vec<String> {
        std::mem::take(&mut *self.log.lock().unwrap())
    }

    /// Leaves what a create leaves if it is killed before it writes the record.
    fn leave_incomplete(&self, domid: DomId, handle: DomainHandle, name: &str) {
        self.xen().add(domid, handle);
        self.host.records.make_folder(domid).unwrap();
        self.host.records.reserve_name(name, domid, None).unwrap();
    }

    /// Asserts that nothing of any guest is left.
    #[track_caller]
    fn assert_empty(&self, when: &str) {
        assert_eq!(self.xen().domids(), Vec::<u16>::new(), "domains {when}");
        assert_eq!(self.host.records.names().unwrap(), [], "names {when}");
        assert_eq!(self.host.records.domids().unwrap(), [], "folders {when}");
    }
}

/// Returns the error inside the one that names the operation and the guest.
fn cause(error: LifecycleError) -> LifecycleError {
    match error {
        LifecycleError::Guest { source, .. } => *source,
        other => panic!("an error that does not name its guest: {other:?}"),
    }
}

/// Returns the config of a guest with a console and a vif.
fn config(name: &str) -> DomainConfig {
    parse(&format!("name='{name}'\ntype='pvh'\nkernel='/k'\nmemory=4\nvif=['bridge=b']"))
}

/// Adds a disk to the config of a guest.
fn add_disk(config: &mut DomainConfig, path: &Path) {
    let text = format!(
        "name='a'\ntype='pvh'\nkernel='/k'\nmemory=4\ndisk=['{},raw,xvda,w']",
        path.display()
    );
    config.disks = parse(&text).disks;
}

/// Returns the config of a guest without devices, which needs no noxsd.
fn config_without_devices(name: &str) -> DomainConfig {
    parse(&format!("name='{name}'\ntype='pvh'\nkernel='/k'\nmemory=4\nconsole=0"))
}

fn parse(text: &str) -> DomainConfig {
    crate::config::parse_str("test", text, &[], true).unwrap().config
}

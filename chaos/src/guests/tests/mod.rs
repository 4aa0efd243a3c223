//! The life cycle on a fake hypervisor and a fake noxsd: what is left when a step fails.

mod create;
mod destroy;
mod list;
mod noxsd;
mod shutdown;

use std::rc::Rc;
use std::sync::Arc;

use tempfile::TempDir;
use xen::units::{DomId, DomainHandle};

use self::noxsd::FakeNoxsd;
use super::{CreateOptions, Created, GuestRequest, Host, LifecycleError, create_from};
use crate::clients::noxsd::Link;
use crate::config::DomainConfig;
use crate::hypervisor::fake::{FakeXen, Log};
use crate::image::Image;
use crate::records::Records;
use crate::timings::Timings;

/// A host that is empty at first.
struct Bed {
    folder: TempDir,
    log: Log,
    host: Host<FakeXen>,
    image: Arc<Image>,
}

impl Bed {
    /// A host where noxsd does not run.
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
        let image = Arc::new(Image::parse(crate::image::tests::kernel()).unwrap());
        Self { folder, log, host, image }
    }

    /// A host where noxsd runs.
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
        let request = GuestRequest { config, image: &self.image, ramdisk: None, options };
        create_from(&self.host, &request, &mut Timings::start())
    }

    /// What was done since the last look.
    fn done(&self) -> Vec<String> {
        std::mem::take(&mut *self.log.lock().unwrap())
    }

    /// Leaves what a create leaves that is killed before it writes the record.
    fn leave_incomplete(&self, domid: DomId, handle: DomainHandle, name: &str) {
        self.xen().add(domid, handle);
        self.host.records.make_folder(domid).unwrap();
        self.host.records.reserve_name(name, domid, None).unwrap();
    }

    /// Fails unless nothing is left of any guest.
    #[track_caller]
    fn assert_empty(&self, when: &str) {
        assert_eq!(self.xen().domids(), Vec::<u16>::new(), "domains {when}");
        assert_eq!(self.host.records.names().unwrap(), [], "names {when}");
        assert_eq!(self.host.records.domids().unwrap(), [], "folders {when}");
    }
}

/// A guest with a console and a vif.
fn config(name: &str) -> DomainConfig {
    parse(&format!("name='{name}'\ntype='pvh'\nkernel='/k'\nmemory=4\nvif=['bridge=b']"))
}

/// A guest without devices: it is created without noxsd.
fn config_without_devices(name: &str) -> DomainConfig {
    parse(&format!("name='{name}'\ntype='pvh'\nkernel='/k'\nmemory=4\nconsole=0"))
}

fn parse(text: &str) -> DomainConfig {
    crate::config::parse_str("test", text, &[], true).unwrap().config
}

// SPDX-License-Identifier: GPL-3.0-or-later
//! The machine on which a test runs. It is checked before and after each test.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use tempfile::{NamedTempFile, TempDir};
use xen::Xen;
use xen::domain::DomainInfo;
use xen::hvm::Param;
use xen::units::DomId;

use crate::run::chaos;

/// How long the machine is left idle before Xen's free memory is read. Xen needs a few of its ticks
/// to free a domain's last pages.
const RCU: Duration = Duration::from_millis(250);

/// A machine without guests, records and names.
///
/// Dropping it checks that the test has left none of them behind.
#[derive(Debug)]
pub struct Bed {
    xen: Xen,
    folder: TempDir,
}

impl Bed {
    /// Starts a test.
    ///
    /// # Panics
    /// This machine is not dom0, or an earlier test has left something behind.
    #[must_use]
    pub fn new() -> Self {
        let xen = Xen::open().unwrap_or_else(|error| {
            panic!("system tests need dom0 of a Xen host; run scripts/test: {error}")
        });
        let folder = TempDir::new().expect("a temporary folder can be created");
        let bed = Self { xen, folder };
        bed.assert_empty("before the test");
        bed
    }

    /// Writes a file into the test's folder and returns its path.
    ///
    /// # Panics
    /// The file cannot be written.
    #[must_use]
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.folder.path().join(name);
        fs::write(&path, content).expect("a temporary file can be written");
        path.to_str().expect("temporary paths are UTF-8").to_owned()
    }

    /// Returns all domains except dom0.
    ///
    /// # Panics
    /// Xen does not list its domains.
    #[must_use]
    pub fn domains(&self) -> Vec<DomId> {
        self.domains_where(|_| true)
    }

    /// As [`Bed::domains`], without those that were destroyed and whose memory a backend of the kernel
    /// still maps: Xen lists them until it lets go.
    ///
    /// # Panics
    /// Xen does not list its domains.
    #[must_use]
    pub fn living_domains(&self) -> Vec<DomId> {
        self.domains_where(|info| !info.state.dying)
    }

    fn domains_where(&self, condition: impl Fn(&DomainInfo) -> bool) -> Vec<DomId> {
        let all = self.xen.domain_list(DomId::DOM0).expect("Xen lists its domains");
        let found = all.into_iter().filter(|info| info.domid != DomId::DOM0 && condition(info));
        found.map(|info| info.domid).collect()
    }

    /// Returns a parameter of a domain.
    ///
    /// # Panics
    /// Xen does not report it.
    #[must_use]
    pub fn param(&self, domid: u64, param: Param) -> u64 {
        let domid = DomId(u16::try_from(domid).expect("a domid has 16 bits"));
        self.xen.hvm_param(domid, param).expect("Xen reports its parameters")
    }

    /// Returns Xen's free memory in pages, including that of all destroyed domains.
    ///
    /// # Panics
    /// Xen does not report its memory.
    #[must_use]
    pub fn free_pages(&self) -> u64 {
        // Xen frees a domain's last pages some time after the domain has left its list, when each
        // CPU has passed through the scheduler (RCU: `complete_domain_destroy`,
        // xen/common/domain.c). It then raises VIRQ_DOM_EXC, but this cannot wait for that: it may
        // have happened before this call. So leave the machine idle for some ticks.
        std::thread::sleep(RCU);
        self.xen.physinfo().expect("Xen reports its memory").free.0
    }

    /// Checks that there are no domains, records, names and pending restarts.
    ///
    /// # Panics
    /// There are some.
    #[track_caller]
    pub fn assert_empty(&self, when: &str) {
        assert_eq!(self.domains(), [], "domains {when}");
        assert_eq!(entries("/run/chaos/domains"), Vec::<String>::new(), "records {when}");
        assert_eq!(entries("/run/chaos/names"), Vec::<String>::new(), "names {when}");
        assert_eq!(entries("/run/chaos/restarts"), Vec::<String>::new(), "restarts {when}");
    }

    /// Writes the config of a guest without devices, and returns its path.
    #[must_use]
    pub fn bare_config(&self, name: &str) -> String {
        let text = format!("name='{name}'\ntype='pvh'\nkernel='noop'\nmemory=4\nconsole=0\n");
        self.file(&format!("{name}.cfg"), text)
    }

    /// Writes a temporary file outside the test's folder.
    ///
    /// # Panics
    /// The file cannot be written.
    #[must_use]
    pub fn loose_file(&self, content: &[u8]) -> NamedTempFile {
        let mut file = NamedTempFile::new().expect("a temporary file can be created");
        file.write_all(content).expect("a temporary file can be written");
        file
    }
}

impl Default for Bed {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        // A failed test may leave guests or records behind. Destroy them, so that the next test
        // does not fail because of them.
        if std::thread::panicking() {
            let domains = self.domains().into_iter().map(|domid| domid.0.to_string());
            let restarts = entries("/run/chaos/restarts");
            for domain in restarts.into_iter().chain(domains).chain(entries("/run/chaos/domains")) {
                let _ = chaos(&["destroy", &domain]);
            }
        }
        if !std::thread::panicking() {
            self.assert_empty("after the test");
        }
    }
}

fn entries(folder: &str) -> Vec<String> {
    let Ok(entries) = fs::read_dir(Path::new(folder)) else { return Vec::new() };
    entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect()
}

//! The machine before and after a test.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use tempfile::{NamedTempFile, TempDir};
use xen::Xen;
use xen::units::DomId;

use crate::run::chaos;

/// How long the machine is left idle before Xen's free memory is counted: Xen needs a few of its
/// ticks.
const RCU: Duration = Duration::from_millis(250);

/// A machine with nothing of ours on it.
///
/// Dropping it checks that the test has left nothing behind: no domain, no record, no name.
#[derive(Debug)]
pub struct Bed {
    xen: Xen,
    folder: TempDir,
}

impl Bed {
    /// Begins a test.
    ///
    /// # Panics
    /// This is not dom0, or the test before has left something.
    #[must_use]
    pub fn new() -> Self {
        let xen = Xen::open().unwrap_or_else(|error| {
            panic!("system tests run in dom0 of a Xen; use scripts/test (found: {error})")
        });
        let folder = TempDir::new().expect("a temporary folder can be made");
        let bed = Self { xen, folder };
        bed.assert_empty("before the test");
        bed
    }

    /// Writes a file for this test and gives its path.
    ///
    /// # Panics
    /// It cannot be written.
    #[must_use]
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.folder.path().join(name);
        fs::write(&path, content).expect("a temporary file can be written");
        path.to_str().expect("temporary paths are text").to_owned()
    }

    /// Domains other than dom0.
    ///
    /// # Panics
    /// Xen does not tell.
    #[must_use]
    pub fn domains(&self) -> Vec<DomId> {
        let all = self.xen.domain_list(DomId::DOM0).expect("Xen lists its domains");
        all.into_iter().map(|info| info.domid).filter(|domid| *domid != DomId::DOM0).collect()
    }

    /// Free memory of Xen in pages, those of all domains that are gone included.
    ///
    /// # Panics
    /// Xen does not tell.
    #[must_use]
    pub fn free_pages(&self) -> u64 {
        // A domain's last pages are freed a moment after it has left Xen's list, when each CPU has
        // come past its scheduler (RCU: `complete_domain_destroy`, xen/common/domain.c). What Xen
        // tells then, VIRQ_DOM_EXC, may have been told before this, so there is nothing to wait
        // for but that the machine is idle.
        std::thread::sleep(RCU);
        self.xen.physinfo().expect("Xen tells of its memory").free.0
    }

    /// Nothing of ours may be there.
    ///
    /// # Panics
    /// Something is.
    #[track_caller]
    pub fn assert_empty(&self, when: &str) {
        assert_eq!(self.domains(), [], "domains {when}");
        assert_eq!(entries("/run/chaos/domains"), Vec::<String>::new(), "records {when}");
        assert_eq!(entries("/run/chaos/names"), Vec::<String>::new(), "names {when}");
        assert_eq!(entries("/run/chaos/restarts"), Vec::<String>::new(), "restarts {when}");
    }

    /// A config of a guest that has no devices, in a file.
    #[must_use]
    pub fn bare_config(&self, name: &str) -> String {
        let text = format!("name='{name}'\ntype='pvh'\nkernel='noop'\nmemory=4\nconsole=0\n");
        self.file(&format!("{name}.cfg"), text)
    }

    /// A temporary file elsewhere than in the test's folder.
    ///
    /// # Panics
    /// It cannot be written.
    #[must_use]
    pub fn loose_file(&self, content: &[u8]) -> NamedTempFile {
        let mut file = NamedTempFile::new().expect("a temporary file can be made");
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
        // A test that fails may leave guests, or records of guests; the next one is to begin with
        // none all the same.
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

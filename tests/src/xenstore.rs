//! A machine on which xenstored runs.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Instant;

use crate::bed::Bed;
use crate::run::run;
use crate::watch::{PATIENCE, wait_for_file};

/// A machine with nothing of ours on it, in XenStore neither.
///
/// Dropping it checks that the test has left no node in XenStore, no interface and no loop device.
#[derive(Debug)]
pub struct XenStoreBed {
    /// The machine.
    pub bed: Bed,
    nodes: BTreeSet<String>,
}

impl XenStoreBed {
    /// Begins a test.
    ///
    /// # Panics
    /// xenstored does not run, or the test before has left something.
    #[must_use]
    pub fn new() -> Self {
        let bed = Self { bed: Bed::new(), nodes: nodes() };
        bed.assert_nothing_left("before the test");
        bed
    }

    /// Nothing of a guest may be there.
    ///
    /// # Panics
    /// Something is.
    #[track_caller]
    pub fn assert_nothing_left(&self, when: &str) {
        let deadline = Instant::now() + PATIENCE;
        // xenstored and xenconsoled have pages of a guest until they hear of its end, as with xl.
        while !self.bed.domains().is_empty() {
            assert!(Instant::now() < deadline, "domains {when}: {:?}", self.bed.domains());
        }
        self.bed.assert_empty(when);
        let now = nodes();
        let left: Vec<_> = now.difference(&self.nodes).collect();
        assert_eq!(left, Vec::<&String>::new(), "nodes in XenStore {when}");
        assert_eq!(interfaces(), Vec::<String>::new(), "interfaces {when}");
        // blkback closes its device in a work queue of the kernel's.
        loop {
            let loops = run("losetup", &["-a"]).ok();
            if loops.is_empty() {
                break;
            }
            assert!(Instant::now() < deadline, "loop devices {when}: {loops}");
        }
    }
}

impl Default for XenStoreBed {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for XenStoreBed {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.assert_nothing_left("after the test");
        }
    }
}

/// All nodes in XenStore that have a value. Folders that were made for others stay.
fn nodes() -> BTreeSet<String> {
    let all = run("xenstore-ls", &["-f"]).ok();
    all.lines().filter(|line| !line.ends_with("= \"\"")).map(str::to_owned).collect()
}

/// The backends' interfaces.
fn interfaces() -> Vec<String> {
    let all = fs::read_dir("/sys/class/net").expect("Linux lists its interfaces");
    let names = all.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter(|name| name.starts_with("vif")).collect()
}

/// What xenconsoled has logged of a guest's console.
#[derive(Debug)]
pub struct ConsoleLog(String);

impl ConsoleLog {
    /// Begins an empty log; the guest is made after that.
    ///
    /// # Panics
    /// The file cannot be made.
    #[must_use]
    pub fn of(name: &str) -> Self {
        let path = format!("/var/log/xen/console/guest-{name}.log");
        assert!(Path::new("/var/log/xen/console").is_dir(), "xenconsoled logs");
        fs::write(&path, "").expect("the log can be made");
        Self(path)
    }

    /// Waits until the log contains the text; gives the log.
    ///
    /// # Panics
    /// It does not in time.
    #[track_caller]
    pub fn wait_for(&self, text: &str) -> String {
        wait_for_file(&self.0, text, |log| log.contains(text))
    }
}

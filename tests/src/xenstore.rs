// SPDX-License-Identifier: GPL-3.0-or-later
//! The machine on which a test in XenStore mode runs. It is checked before and after each test.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::bed::Bed;
use crate::run::run;
use crate::watch::{PATIENCE, wait_for_file};

/// The pause before asking again for what no event announces. It leaves the CPU to the processes
/// that the test waits for.
const PAUSE: Duration = Duration::from_millis(10);

/// A machine on which xenstored runs, without guests and without leftovers of guests in XenStore.
///
/// Dropping it checks that the test has left no node in XenStore, no interface and no loop device.
#[derive(Debug)]
pub struct XenStoreBed {
    /// The part of the machine that all tests check.
    pub bed: Bed,
    /// The nodes before the test.
    nodes: BTreeSet<String>,
}

impl XenStoreBed {
    /// Starts a test.
    ///
    /// # Panics
    /// xenstored is not running, or an earlier test has left something behind.
    #[must_use]
    pub fn new() -> Self {
        let bed = Self { bed: Bed::new(), nodes: nodes() };
        bed.assert_nothing_left("before the test");
        bed
    }

    /// Checks that guests have left nothing behind.
    ///
    /// # Panics
    /// Something is left.
    #[track_caller]
    pub fn assert_nothing_left(&self, when: &str) {
        let deadline = Instant::now() + PATIENCE;
        // As with xl, a domain exists until xenstored and xenconsoled have learned of its end and
        // have unmapped its pages. No event says when: Xen raises VIRQ_DOM_EXC, which only one
        // process can bind, and that is xenstored; its watch @releaseDomain fires earlier, when
        // the domain starts to die. So ask again after a pause.
        while !self.bed.domains().is_empty() {
            assert!(Instant::now() < deadline, "domains {when}: {:?}", self.bed.domains());
            std::thread::sleep(PAUSE);
        }
        self.bed.assert_empty(when);
        let now = nodes();
        let left: Vec<_> = now.difference(&self.nodes).collect();
        assert_eq!(left, Vec::<&String>::new(), "nodes in XenStore {when}");
        assert_eq!(interfaces(), Vec::<String>::new(), "interfaces {when}");
        // blkback closes its device later, in a kernel work queue. Linux announces a free loop
        // device only to processes that listened for uevents before. So ask again after a pause.
        loop {
            let loops = run("losetup", &["-a"]).ok();
            if loops.is_empty() {
                break;
            }
            assert!(Instant::now() < deadline, "loop devices {when}: {loops}");
            std::thread::sleep(PAUSE);
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

/// Returns all nodes in XenStore that have a value. Nodes without a value are left out: they are
/// folders, which remain when their contents are removed.
fn nodes() -> BTreeSet<String> {
    let all = run("xenstore-ls", &["-f"]).ok();
    all.lines().filter(|line| !line.ends_with("= \"\"")).map(str::to_owned).collect()
}

/// Returns the network interfaces of backends.
fn interfaces() -> Vec<String> {
    let all = fs::read_dir("/sys/class/net").expect("Linux lists its interfaces");
    let names = all.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter(|name| name.starts_with("vif")).collect()
}

/// xenconsoled's log of a guest's console.
#[derive(Debug)]
pub struct ConsoleLog(String);

impl ConsoleLog {
    /// Empties the log of the guest of this name. Must be called before the guest is created, or while it
    /// prints nothing.
    ///
    /// # Panics
    /// xenconsoled has no log folder, or the file cannot be written.
    #[must_use]
    pub fn of(name: &str) -> Self {
        let path = format!("/var/log/xen/console/guest-{name}.log");
        assert!(
            Path::new("/var/log/xen/console").is_dir(),
            "/var/log/xen/console does not exist: start xenconsoled with --log=guest"
        );
        fs::write(&path, "").expect("the log can be created");
        Self(path)
    }

    /// Waits until the log contains the text, and returns the log.
    ///
    /// # Panics
    /// The text does not appear in time.
    #[track_caller]
    pub fn wait_for(&self, text: &str) -> String {
        wait_for_file(&self.0, text, |log| log.contains(text))
    }
}

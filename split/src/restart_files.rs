// SPDX-License-Identifier: GPL-3.0-or-later
//! Opens the files of root's guests that are restarted.
//!
//! No client opens these, and the storage that they are on may not answer. So
//! a thread opens them, and the main thread, which serves others, waits for it only a moment.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError, channel};
use std::thread;
use std::time::Duration;

use chaos::config::DomainConfig;
use chaos::guests::LifecycleError;
use chaos::image::open_for_another_process;

use crate::supervise::RestartError;

/// How long the main thread waits. Local storage answers within a fraction of it, also under load.
const PATIENCE: Duration = Duration::from_secs(1);

/// The most threads that wait for storage.
const MAX_THREADS: usize = 16;

/// The open files of a guest. Neither reading nor closing them waits for storage.
#[derive(Debug)]
pub(crate) struct OpenFiles {
    /// The kernel that Xen starts.
    pub(crate) kernel: File,
    /// The kernel that the PV shim starts, if that is the other one.
    pub(crate) pv_kernel: Option<File>,
    /// The ramdisk, if the guest has one.
    pub(crate) ramdisk: Option<File>,
}

type Opened = Result<OpenFiles, LifecycleError>;

/// The threads that still wait for storage, by the files that they open.
#[derive(Debug, Default)]
pub(crate) struct RestartFiles {
    waiting: HashMap<Paths, Receiver<Opened>>,
}

/// The paths of a guest's files.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Paths {
    kernel: PathBuf,
    pv_kernel: Option<PathBuf>,
    ramdisk: Option<PathBuf>,
}

impl RestartFiles {
    /// Opens the files of a guest.
    ///
    /// # Errors
    /// A file cannot be used, or its storage does not answer.
    pub(crate) fn open(&mut self, config: &DomainConfig) -> Result<OpenFiles, RestartError> {
        let files = Paths {
            kernel: config.boot_kernel().to_owned(),
            pv_kernel: config.pv_kernel().map(Path::to_owned),
            ramdisk: config.ramdisk.clone(),
        };
        self.open_with(files, PATIENCE, open_all)
    }

    fn open_with(
        &mut self,
        files: Paths,
        patience: Duration,
        open: impl FnOnce(&Paths) -> Opened + Send + 'static,
    ) -> Result<OpenFiles, RestartError> {
        // What was opened late may have been replaced since.
        self.waiting.retain(|_, opened| matches!(opened.try_recv(), Err(TryRecvError::Empty)));
        let silent = |path: &Path| RestartError::Silent { path: path.to_owned() };
        if self.waiting.contains_key(&files) || self.waiting.len() >= MAX_THREADS {
            return Err(silent(&files.kernel));
        }
        let (done, opened) = channel();
        let of_thread = files.clone();
        let thread = thread::Builder::new().name("restart files".into());
        // If sending fails, the main thread waits no longer.
        let spawned = thread.spawn(move || done.send(open(&of_thread)));
        spawned.map_err(LifecycleError::Process)?;
        match opened.recv_timeout(patience) {
            Ok(opened) => Ok(opened?),
            Err(RecvTimeoutError::Timeout) => {
                let path = files.kernel.clone();
                self.waiting.insert(files, opened);
                Err(silent(&path))
            }
            // The thread has panicked.
            Err(RecvTimeoutError::Disconnected) => Err(silent(&files.kernel)),
        }
    }
}

fn open_all(Paths { kernel, pv_kernel, ramdisk }: &Paths) -> Opened {
    let open_kernel = |path: &Path| {
        open_for_another_process(path)
            .map_err(|source| LifecycleError::Kernel { path: path.to_owned(), source })
    };
    let kernel = open_kernel(kernel)?;
    let pv_kernel = pv_kernel.as_deref().map(open_kernel).transpose()?;
    let ramdisk = ramdisk.as_ref().map(|path| {
        open_for_another_process(path)
            .map_err(|source| LifecycleError::Ramdisk { path: path.to_owned(), source })
    });
    Ok(OpenFiles { kernel, pv_kernel, ramdisk: ramdisk.transpose()? })
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::Sender;
    use std::time::Instant;

    use super::*;

    const MOMENT: Duration = Duration::from_millis(20);

    fn files(kernel: &str) -> Paths {
        Paths { kernel: kernel.into(), pv_kernel: None, ramdisk: None }
    }

    /// Opens files whose storage answers when something comes over the channel that is returned.
    fn hang(
        opener: &mut RestartFiles,
        kernel: &str,
    ) -> (Sender<()>, Result<OpenFiles, RestartError>) {
        let (answer, wait) = channel::<()>();
        let opened = opener.open_with(files(kernel), MOMENT, move |files| {
            let _ = wait.recv();
            open_all(files)
        });
        (answer, opened)
    }

    #[test]
    fn storage_that_does_not_answer_holds_the_restart_of_its_guest_only() {
        let mut opener = RestartFiles::default();
        let (answer, opened) = hang(&mut opener, "/dev/null");
        assert!(matches!(opened, Err(RestartError::Silent { .. })), "{opened:?}");
        // The next attempt waits no time at all.
        let began = Instant::now();
        let again =
            opener.open_with(files("/dev/null"), Duration::from_secs(60), |_| unreachable!());
        assert!(matches!(again, Err(RestartError::Silent { .. })));
        assert!(began.elapsed() < Duration::from_secs(10));
        // Others are opened meanwhile.
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kernel");
        std::fs::write(&path, "kernel").unwrap();
        let open = |opener: &mut RestartFiles| {
            let patience = Duration::from_secs(60);
            let other = Some(path.clone());
            let files = Paths { kernel: path.clone(), pv_kernel: other.clone(), ramdisk: other };
            opener.open_with(files, patience, open_all)
        };
        assert!(open(&mut opener).unwrap().ramdisk.is_some());
        // When the storage has answered, it is asked again.
        answer.send(()).unwrap();
        // The thread ends after its result.
        opener.waiting.values().for_each(|opened| while opened.recv().is_ok() {});
        let asked = opener.open_with(files("/dev/null"), Duration::from_secs(60), open_all);
        assert!(matches!(asked, Err(RestartError::Guest(LifecycleError::Kernel { .. }))));
    }

    #[test]
    fn the_threads_that_wait_for_storage_are_limited() {
        let mut opener = RestartFiles::default();
        let waiting: Vec<_> =
            (0..MAX_THREADS).map(|number| hang(&mut opener, &number.to_string())).collect();
        let refused = opener.open_with(files("/k"), Duration::from_secs(60), |_| unreachable!());
        assert!(matches!(refused, Err(RestartError::Silent { .. })));
        drop(waiting);
    }
}

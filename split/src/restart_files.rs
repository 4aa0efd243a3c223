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
    /// The kernel.
    pub(crate) kernel: File,
    /// The ramdisk, if the guest has one.
    pub(crate) ramdisk: Option<File>,
}

type Opened = Result<OpenFiles, LifecycleError>;

/// The threads that still wait for storage, by the files that they open.
#[derive(Debug, Default)]
pub(crate) struct RestartFiles {
    waiting: HashMap<(PathBuf, Option<PathBuf>), Receiver<Opened>>,
}

impl RestartFiles {
    /// Opens the files of a guest.
    ///
    /// # Errors
    /// A file cannot be used, or its storage does not answer.
    pub(crate) fn open(&mut self, config: &DomainConfig) -> Result<OpenFiles, RestartError> {
        let files = (config.kernel.clone(), config.ramdisk.clone());
        self.open_with(files, PATIENCE, |(kernel, ramdisk)| open_both(kernel, ramdisk.as_deref()))
    }

    fn open_with(
        &mut self,
        files: (PathBuf, Option<PathBuf>),
        patience: Duration,
        open: impl FnOnce(&(PathBuf, Option<PathBuf>)) -> Opened + Send + 'static,
    ) -> Result<OpenFiles, RestartError> {
        // What was opened late may have been replaced since.
        self.waiting.retain(|_, opened| matches!(opened.try_recv(), Err(TryRecvError::Empty)));
        let silent = |path: &Path| RestartError::Silent { path: path.to_owned() };
        if self.waiting.contains_key(&files) || self.waiting.len() >= MAX_THREADS {
            return Err(silent(&files.0));
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
                let path = files.0.clone();
                self.waiting.insert(files, opened);
                Err(silent(&path))
            }
            // The thread has panicked.
            Err(RecvTimeoutError::Disconnected) => Err(silent(&files.0)),
        }
    }
}

fn open_both(kernel: &Path, ramdisk: Option<&Path>) -> Opened {
    let of_kernel = |source| LifecycleError::Kernel { path: kernel.to_owned(), source };
    let kernel = open_for_another_process(kernel).map_err(of_kernel)?;
    let ramdisk = ramdisk.map(|path| {
        open_for_another_process(path)
            .map_err(|source| LifecycleError::Ramdisk { path: path.to_owned(), source })
    });
    Ok(OpenFiles { kernel, ramdisk: ramdisk.transpose()? })
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::Sender;
    use std::time::Instant;

    use super::*;

    const MOMENT: Duration = Duration::from_millis(20);

    fn files(kernel: &str) -> (PathBuf, Option<PathBuf>) {
        (kernel.into(), None)
    }

    /// Opens files whose storage answers when something comes over the channel that is returned.
    fn hang(
        opener: &mut RestartFiles,
        kernel: &str,
    ) -> (Sender<()>, Result<OpenFiles, RestartError>) {
        let (answer, wait) = channel::<()>();
        let opened = opener.open_with(files(kernel), MOMENT, move |(kernel, _)| {
            let _ = wait.recv();
            open_both(kernel, None)
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
            opener.open_with((path.clone(), Some(path.clone())), patience, |(kernel, ramdisk)| {
                open_both(kernel, ramdisk.as_deref())
            })
        };
        assert!(open(&mut opener).unwrap().ramdisk.is_some());
        // When the storage has answered, it is asked again.
        answer.send(()).unwrap();
        // The thread ends after its result.
        opener.waiting.values().for_each(|opened| while opened.recv().is_ok() {});
        let asked = opener.open_with(files("/dev/null"), Duration::from_secs(60), |(path, _)| {
            open_both(path, None)
        });
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

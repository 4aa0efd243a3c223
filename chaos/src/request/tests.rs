// SPDX-License-Identifier: GPL-3.0-or-later
//! Requests to a fake `chaosd` with a fixed reply.

use std::fs;
use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};

use nix::sys::socket::{
    AddressFamily, Backlog, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr, bind,
    listen, recvmsg, send, socket,
};
use tempfile::TempDir;
use xen::units::DomId;

use super::*;
use crate::clients::chaosd::client::DaemonError;
use crate::clients::chaosd::protocol::{self, Created, Refusal, Reply, Request};
use crate::config::{DomainConfig, EncodedConfig};
use crate::failure::FailureClass;
use crate::guests::{CreateOptions, LifecycleError};
use crate::timings::Timings;

/// A request: the message, and the contents of the files that came with it.
type Received = (Request, Vec<String>);

/// A fake `chaosd` that answers one request.
struct FakeDaemon {
    folder: TempDir,
    thread: JoinHandle<Received>,
}

impl FakeDaemon {
    /// Listens in a thread, and answers one request with `reply`.
    fn with(reply: Reply) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener =
            socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None).unwrap();
        bind(listener.as_raw_fd(), &UnixAddr::new(&folder.path().join("s")).unwrap()).unwrap();
        listen(&listener, Backlog::new(1).unwrap()).unwrap();
        let thread = thread::spawn(move || serve(&UnixListener::from(listener), &reply));
        Self { folder, thread }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("s")
    }

    fn config(&self, more: &str) -> DomainConfig {
        let folder = self.folder.path().display();
        fs::write(self.folder.path().join("kernel"), "the kernel").unwrap();
        fs::write(self.folder.path().join("ramdisk"), "the ramdisk").unwrap();
        let text = format!("name='web'\ntype='pvh'\nkernel='{folder}/kernel'\n{more}");
        let config = crate::config::parse_str("test", &text, &[], true).unwrap().config;
        expand(config, None).unwrap().remove(0)
    }
}

fn serve(listener: &UnixListener, reply: &Reply) -> Received {
    let (client, _) = listener.accept().unwrap();
    let mut packet = [0; 4096];
    let mut parts = [IoSliceMut::new(&mut packet)];
    let mut space = nix::cmsg_space!([RawFd; 4]);
    let message =
        recvmsg::<()>(client.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::empty()).unwrap();
    let files = message.cmsgs().unwrap().flat_map(|rights| match rights {
        ControlMessageOwned::ScmRights(fds) => fds,
        _ => Vec::new(),
    });
    let contents =
        files.map(|fd| fs::read_to_string(format!("/proc/self/fd/{fd}")).unwrap()).collect();
    let length = message.bytes;
    let request = protocol::decode(&packet[..length]).unwrap();
    send(client.as_raw_fd(), &protocol::encode(reply).unwrap(), MsgFlags::MSG_NOSIGNAL).unwrap();
    (request, contents)
}

fn created() -> Reply {
    Reply::Created(Created {
        domid: 7,
        handle: "a-handle".to_owned(),
        shell: Origin::Warm,
        stages: vec![("image".to_owned(), 5)],
    })
}

#[test]
fn a_create_through_chaosd_sends_its_files() {
    let chaosd = FakeDaemon::with(created());
    let ramdisk = format!("ramdisk='{}/ramdisk'", chaosd.folder.path().display());
    let config = chaosd.config(&ramdisk);
    let mut timings = Timings::start();
    let executor = Executor::daemon(&chaosd.socket()).unwrap();
    let options = CreateOptions { paused: true, console: false };
    let guest = executor.create(&config, options, &mut timings).unwrap();
    assert_eq!((guest.name.as_str(), guest.domid, guest.origin), ("web", DomId(7), Origin::Warm));
    assert_eq!((guest.handle.as_str(), guest.daemon_stages.len()), ("a-handle", 1));
    assert!(guest.console.is_none() && guest.mapped.is_none());
    let stages: Vec<_> = timings.stages().iter().map(|stage| stage.name).collect();
    assert_eq!(stages, ["request"]);
    let (request, files) = chaosd.thread.join().unwrap();
    let expected = Request::Create { config: EncodedConfig::from(&config), paused: true };
    assert_eq!((request, files), (expected, vec!["the kernel".into(), "the ramdisk".into()]));
}

#[test]
fn a_refusal_keeps_its_class_and_its_message() {
    let class = FailureClass::WrongInput;
    let chaosd = FakeDaemon::with(Reply::Refused(Refusal { class, message: "because".into() }));
    let executor = Executor::daemon(&chaosd.socket()).unwrap();
    let config = chaosd.config("");
    let error =
        executor.create(&config, CreateOptions::default(), &mut Timings::start()).unwrap_err();
    assert_eq!((error.class(), error.to_string().as_str()), (class, "because"));
    chaosd.thread.join().unwrap();
}

#[test]
fn an_answer_to_another_request_is_an_error() {
    let chaosd = FakeDaemon::with(Reply::Done);
    let executor = Executor::daemon(&chaosd.socket()).unwrap();
    let config = chaosd.config("");
    let error =
        executor.create(&config, CreateOptions::default(), &mut Timings::start()).unwrap_err();
    assert!(matches!(error, RequestError::Daemon(DaemonError::Unexpected(_))), "{error:?}");
    chaosd.thread.join().unwrap();
}

#[test]
fn what_chaosd_cannot_do_is_not_sent() {
    let chaosd = FakeDaemon::with(Reply::Done);
    let executor = Executor::daemon(&chaosd.socket()).unwrap();
    let mut config = chaosd.config("");
    let options = CreateOptions { paused: false, console: true };
    let error = executor.create(&config, options, &mut Timings::start()).unwrap_err();
    assert!(matches!(error, RequestError::ConsoleInDaemon { .. }), "{error:?}");
    config.kernel = "/does/not/exist".into();
    let error =
        executor.create(&config, CreateOptions::default(), &mut Timings::start()).unwrap_err();
    let kernel = matches!(&error, RequestError::Guest(LifecycleError::Kernel { path, .. })
        if path == &config.kernel);
    assert!(kernel, "{error:?}");
    assert_eq!(error.class(), FailureClass::WrongInput);
    // The connection can still be used.
    let Executor::Chaosd(daemon) = executor else { panic!("the executor is not chaosd") };
    daemon.ask(&Request::Drain, &[]).unwrap();
    assert_eq!(chaosd.thread.join().unwrap(), (Request::Drain, Vec::new()));
}

#[test]
fn connecting_fails_if_chaosd_is_not_running() {
    let error = Executor::daemon(Path::new("/nowhere/chaosd.sock")).unwrap_err();
    assert!(matches!(error, RequestError::Daemon(DaemonError::NotRunning { .. })), "{error:?}");
}

#[test]
fn the_pool_is_queried_and_changed() {
    let chaosd = FakeDaemon::with(Reply::Pool(Vec::new()));
    assert_eq!(PoolControl::connect_to(&chaosd.socket()).unwrap().status().unwrap(), []);
    assert_eq!(chaosd.thread.join().unwrap().0, Request::Pool);
    let chaosd = FakeDaemon::with(Reply::Done);
    PoolControl::connect_to(&chaosd.socket()).unwrap().resize("small".into(), 1, 2).unwrap();
    let resize = Request::Resize { flavour: "small".into(), low: 1, high: 2 };
    assert_eq!(chaosd.thread.join().unwrap().0, resize);
    let chaosd = FakeDaemon::with(Reply::Pool(Vec::new()));
    let drained = PoolControl::connect_to(&chaosd.socket()).unwrap().drain();
    assert!(matches!(drained, Err(DaemonError::Unexpected(_))), "{drained:?}");
    assert_eq!(chaosd.thread.join().unwrap().0, Request::Drain);
}

// SPDX-License-Identifier: GPL-3.0-or-later
//! Requests to a fake `chaosd` with a fixed reply.

use std::fs;
use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::thread::{self, JoinHandle};

use nix::sys::socket::{
    AddressFamily, Backlog, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr, bind,
    listen, recvmsg, send, socket,
};
use tempfile::TempDir;
use xen::units::DomId;

use super::*;
use crate::clients::chaosd::client::{Chaosd, DaemonError};
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

/// A fake `chaosd` that is killed while it has a request, and its successor, if it has one.
struct KilledDaemon {
    daemon: FakeDaemon,
    received: Receiver<Request>,
}

impl FakeDaemon {
    /// Listens in a thread, and answers one request with `reply`.
    fn with(reply: Reply) -> Self {
        Self::serving(move |listener| serve(listener, &reply))
    }

    fn serving(serve: impl FnOnce(&UnixListener) -> Received + Send + 'static) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener =
            socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None).unwrap();
        bind(listener.as_raw_fd(), &UnixAddr::new(&folder.path().join("s")).unwrap()).unwrap();
        listen(&listener, Backlog::new(1).unwrap()).unwrap();
        let thread = thread::spawn(move || serve(&UnixListener::from(listener)));
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

impl KilledDaemon {
    /// Closes the connections of the first `kills` requests, and answers the next one.
    fn with(kills: usize, reply: Option<Reply>) -> Self {
        let (sender, received) = channel();
        let daemon = FakeDaemon::serving(move |listener| {
            for _ in 0..kills {
                let (client, _) = listener.accept().unwrap();
                sender.send(receive(&client).0).unwrap();
            }
            match reply {
                Some(reply) => serve(listener, &reply),
                None => (Request::Drain, Vec::new()),
            }
        });
        Self { daemon, received }
    }

    fn create(&self) -> Result<CreatedGuest, RequestError> {
        let executor = Executor::daemon(&self.daemon.socket()).unwrap();
        fs::write(self.daemon.folder.path().join("disk"), "the disk").unwrap();
        let disk = self.daemon.folder.path().join("disk");
        let config = self.daemon.config(&format!("disk=['{},raw,xvda,w']", disk.display()));
        executor.create(&config, CreateOptions::default(), &mut Timings::start())
    }
}

fn serve(listener: &UnixListener, reply: &Reply) -> Received {
    let (client, _) = listener.accept().unwrap();
    let received = receive(&client);
    send(client.as_raw_fd(), &protocol::encode(reply).unwrap(), MsgFlags::MSG_NOSIGNAL).unwrap();
    received
}

fn receive(client: &UnixStream) -> Received {
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
    (protocol::decode(&packet[..length]).unwrap(), contents)
}

fn created() -> Reply {
    Reply::Created(Created {
        domid: 7,
        handle: "a-handle".to_owned(),
        shell: Origin::Warm,
        is_kernels_store: false,
        stages: vec![("image".to_owned(), 5)],
    })
}

fn pool_reply() -> Reply {
    Reply::Pool { flavours: Vec::new(), more: false }
}

#[test]
fn a_create_through_chaosd_sends_its_files() {
    if !nix::unistd::geteuid().is_root() {
        return eprintln!("not tested: other users upload their files first");
    }
    let chaosd = FakeDaemon::with(created());
    let ramdisk = format!("ramdisk='{}/ramdisk'", chaosd.folder.path().display());
    let config = chaosd.config(&ramdisk);
    let mut timings = Timings::start();
    let executor = Executor::daemon(&chaosd.socket()).unwrap();
    let options = CreateOptions { paused: true, ..CreateOptions::default() };
    let guest = executor.create(&config, options, &mut timings).unwrap();
    assert_eq!((guest.name.as_str(), guest.domid, guest.origin), ("web", DomId(7), Origin::Warm));
    assert_eq!((guest.handle.as_str(), guest.daemon_stages.len()), ("a-handle", 1));
    assert!(guest.console.is_none() && guest.mapped.is_none());
    let stages: Vec<_> = timings.stages().iter().map(|stage| stage.name).collect();
    assert_eq!(stages, ["request"]);
    let (received, files) = chaosd.thread.join().unwrap();
    let Request::Create { request, .. } = received else { panic!("{received:?}") };
    assert_ne!(request, [0; 16], "it is random");
    let expected = Request::Create { config: EncodedConfig::from(&config), paused: true, request };
    assert_eq!((received, files), (expected, vec!["the kernel".into(), "the ramdisk".into()]));
}

#[test]
fn the_disks_come_after_the_other_files() {
    if !nix::unistd::geteuid().is_root() {
        return eprintln!("not tested: other users have no disks");
    }
    for ramdisk in [true, false] {
        let chaosd = FakeDaemon::with(created());
        let folder = chaosd.folder.path().display();
        for disk in ["first", "second"] {
            fs::write(chaosd.folder.path().join(disk), disk).unwrap();
        }
        let disks = format!("disk=['{folder}/first,raw,xvda,r','{folder}/second,raw,xvdb,w']\n");
        let more = if ramdisk { format!("ramdisk='{folder}/ramdisk'\n") } else { String::new() };
        let config = chaosd.config(&format!("{disks}{more}"));
        let executor = Executor::daemon(&chaosd.socket()).unwrap();
        executor.create(&config, CreateOptions::default(), &mut Timings::start()).unwrap();
        let wanted: &[&str] =
            if ramdisk { &["the kernel", "the ramdisk"] } else { &["the kernel"] };
        let wanted = [wanted, &["first", "second"]].concat();
        assert_eq!(chaosd.thread.join().unwrap().1, wanted);
    }
}

#[test]
fn a_disk_that_cannot_be_opened_is_refused_as_in_chaosd() {
    if !nix::unistd::geteuid().is_root() {
        return eprintln!("not tested: other users have no disks");
    }
    let chaosd = FakeDaemon::with(Reply::Done);
    let config = chaosd.config("disk=['/does/not/exist,raw,xvda,w']");
    let executor = Executor::daemon(&chaosd.socket()).unwrap();
    let error =
        executor.create(&config, CreateOptions::default(), &mut Timings::start()).unwrap_err();
    assert_eq!(error.class(), FailureClass::WrongInput);
    let text = daemon::chain::chain(&error);
    assert!(
        text.starts_with("cannot create guest web: disk /does/not/exist does not exist; create")
    );
    // Nothing was sent.
    let Executor::Chaosd(daemon) = executor else { panic!("the executor is not chaosd") };
    daemon.ask(&Request::Drain, &[]).unwrap();
    assert_eq!(chaosd.thread.join().unwrap(), (Request::Drain, Vec::new()));
}

#[test]
fn a_refusal_keeps_its_class_and_its_message() {
    if !nix::unistd::geteuid().is_root() {
        return eprintln!("not tested: other users upload their files first");
    }
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
    if !nix::unistd::geteuid().is_root() {
        return eprintln!("not tested: other users upload their files first");
    }
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
    let options = CreateOptions { console: true, ..CreateOptions::default() };
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
    let chaosd = FakeDaemon::with(pool_reply());
    assert_eq!(PoolControl::connect_to(&chaosd.socket()).unwrap().status().unwrap(), []);
    assert_eq!(chaosd.thread.join().unwrap().0, Request::Pool { from: 0 });
    let chaosd = FakeDaemon::with(Reply::Done);
    PoolControl::connect_to(&chaosd.socket()).unwrap().resize("small".into(), 1, 2).unwrap();
    let resize = Request::Resize { flavour: "small".into(), low: 1, high: 2 };
    assert_eq!(chaosd.thread.join().unwrap().0, resize);
    let chaosd = FakeDaemon::with(pool_reply());
    let drained = PoolControl::connect_to(&chaosd.socket()).unwrap().drain();
    assert!(matches!(drained, Err(DaemonError::Unexpected(_))), "{drained:?}");
    assert_eq!(chaosd.thread.join().unwrap().0, Request::Drain);
}

#[test]
fn a_request_that_was_lost_is_sent_again_with_its_number() {
    if !nix::unistd::geteuid().is_root() {
        return eprintln!("not tested: other users upload their files first");
    }
    let chaosd = KilledDaemon::with(2, Some(created()));
    assert_eq!(chaosd.create().unwrap().domid, DomId(7));
    let (last, files) = chaosd.daemon.thread.join().unwrap();
    assert_eq!(files, ["the kernel", "the disk"]);
    let first: Vec<_> = chaosd.received.iter().collect();
    assert_eq!(first, [last.clone(), last]);
}

#[test]
fn a_chaosd_that_closes_each_connection_is_not_asked_without_end() {
    if !nix::unistd::geteuid().is_root() {
        return eprintln!("not tested: other users wait for the next chaosd");
    }
    let chaosd = KilledDaemon::with(3, Some(created()));
    let error = chaosd.create().unwrap_err();
    assert!(matches!(error, RequestError::Daemon(DaemonError::Closed(_))), "{error:?}");
    // Let the thread end.
    let again = chaosd.create();
    assert!(again.is_ok(), "{again:?}");
}

#[test]
fn where_chaosd_is_gone_root_creates_the_guest_itself() {
    if !nix::unistd::geteuid().is_root() {
        return eprintln!("not tested: other users cannot create guests themselves");
    }
    let chaosd = KilledDaemon::with(1, None);
    // Fails: this machine may not run Xen, and if it does, the kernel is refused.
    let error = chaosd.create().unwrap_err();
    assert!(matches!(error, RequestError::Guest(_)), "{error:?}");
}

#[test]
fn a_client_waits_for_a_chaosd_that_is_restarted() {
    let chaosd = KilledDaemon::with(1, None);
    let socket = chaosd.daemon.socket();
    let client = Chaosd::connect(&socket).unwrap();
    let lost = client.ask(&Request::Drain, &[]);
    assert!(matches!(lost, Err(DaemonError::Closed(_))), "{lost:?}");
    chaosd.daemon.thread.join().unwrap();
    let gone = client.reconnect();
    assert!(matches!(gone, Err(DaemonError::NotRunning { .. })), "{gone:?}");
    let successor = FakeDaemon::with(Reply::Done);
    thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            // The client is used by one thread at a time.
            let client = Chaosd::connect_later(&socket);
            client.reconnect_when_it_returns()?;
            client.ask(&Request::Drain, &[])
        });
        fs::rename(successor.socket(), &socket).unwrap();
        assert_eq!(waiting.join().unwrap().unwrap(), Reply::Done);
    });
}

#[test]
fn all_flavours_are_read_also_if_they_take_several_replies() {
    let flavour = |name: &str| FlavourStatus {
        name: name.to_owned(),
        memory_kib: 8192,
        vcpus: 1,
        console: true,
        bridges: Vec::new(),
        disks: 0,
        kernel: None,
        is_learned: false,
        low: 1,
        high: 2,
        ready: 2,
        creating: 0,
        hits: 0,
        misses: 0,
        refill_ns: 0,
    };
    let all = [flavour("a"), flavour("b"), flavour("c")];
    let [a, b, c] = all.clone();
    let chaosd = FakeDaemon::serving(move |listener| {
        let (client, _) = listener.accept().unwrap();
        for (expected, flavours, more) in [(0, vec![a, b], true), (2, vec![c], false)] {
            assert_eq!(receive(&client).0, Request::Pool { from: expected });
            let reply = protocol::encode(&Reply::Pool { flavours, more }).unwrap();
            send(client.as_raw_fd(), &reply, MsgFlags::MSG_NOSIGNAL).unwrap();
        }
        (Request::Drain, Vec::new())
    });
    assert_eq!(PoolControl::connect_to(&chaosd.socket()).unwrap().status().unwrap(), all);
    chaosd.thread.join().unwrap();
}

//! Announcing a guest's devices, and taking them away again.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

use xen::units::DomId;
use xenstore_rs::Xs;

use super::barrier::Until;
use super::tree::{GuestFacts, Place, ShellFacts, write_guest, write_shell};
use super::{Disk, barrier, bridge};
use crate::clients::xenstored::{Answer, Connection, DEADLINE, StoreError, plain};
use xenstore::{Batch, Message};

/// `XenbusStateInitWait` (Xen's `public/io/xenbus.h`): a backend waits for its frontend.
const INIT_WAIT: &str = "2";

/// Where a vif is put.
#[derive(Clone, Copy, Debug)]
pub struct Port<'a> {
    /// The bridge.
    pub bridge: &'a str,
    /// Largest IP packet in bytes.
    pub mtu: u16,
}

impl Place {
    /// Announces a domain with its devices in one transaction, and makes it known to xenstored. What
    /// is not known of it yet comes with [`identify`](Self::identify).
    ///
    /// # Errors
    /// xenstored does not answer, or refuses.
    pub fn announce(
        self,
        connection: &mut Connection,
        shell: &ShellFacts,
        guest: Option<&GuestFacts<'_>>,
    ) -> Result<(), StoreError> {
        let mut first = Batch::new();
        first.read(&format!("{}/domid", self.home()));
        first.start_transaction();
        let mut answers = connection.ask(&first)?.into_iter();
        let (left_over, mut transaction) = (answers.next(), answers.next());
        if let Some(Ok(_)) = left_over {
            // Xen has given the number away again, and whoever had it left its nodes. The
            // transaction would fail over their removal.
            if let Some(Ok(number)) = transaction.take() {
                let mut abort = Batch::inside(number_of(&number)?);
                abort.abort();
                connection.demand(&abort)?;
            }
            self.withdraw()?;
        }
        let store = shell.rings.store;
        let mut introduced = false;
        commit(connection, transaction, |batch| {
            write_shell(batch, self, shell);
            if let Some(guest) = guest {
                write_guest(batch, self, guest);
            }
            batch.commit();
            if !introduced {
                batch.introduce(self.domid.0, store.gfn.0, store.port.0);
                introduced = true;
            }
        })
    }

    /// Announces what was not known before.
    ///
    /// # Errors
    /// xenstored does not answer, or refuses.
    pub fn identify(
        self,
        connection: &mut Connection,
        guest: &GuestFacts<'_>,
    ) -> Result<(), StoreError> {
        commit(connection, None, |batch| {
            write_guest(batch, self, guest);
            batch.commit();
        })
    }

    /// Waits until dom0's kernel has its ends of the devices, and puts the vifs on their bridges.
    ///
    /// # Errors
    /// The kernel has no driver, refuses a device, or there is no such bridge.
    pub fn settle(
        self,
        connection: &mut Connection,
        vifs: &[Port<'_>],
        disks: &[Disk],
    ) -> Result<(), StoreError> {
        if vifs.is_empty() && disks.is_empty() {
            return Ok(());
        }
        barrier::wait(if disks.is_empty() { Until::Probed } else { Until::Ready })?;
        for (id, vif) in (0..).zip(vifs) {
            let interface = format!("vif{}.{id}", self.domid.0);
            if !bridge::attach(&interface, vif.bridge, vif.mtu)? {
                return Err(self.no_device(connection, "vif", id)?);
            }
        }
        for disk in disks {
            let state = read(connection, &format!("{}/state", self.backend("vbd", disk.id)))?;
            if state.as_deref() != Some(INIT_WAIT) {
                return Err(self.no_device(connection, "vbd", disk.id)?);
            }
        }
        Ok(())
    }

    /// Why the kernel has not made its end of a device: a driver that was there has told.
    fn no_device(
        self,
        connection: &mut Connection,
        kind: &str,
        id: u32,
    ) -> Result<StoreError, StoreError> {
        let device = format!("{kind}/{}/{id}", self.domid.0);
        let told = read(connection, &format!("/local/domain/0/error/backend/{device}/error"))?;
        let reason = told.unwrap_or_else(|| {
            let module = if kind == "vif" { "xen-netback" } else { "xen-blkback" };
            format!("it has no driver for it; modprobe {module}")
        });
        Ok(StoreError::NoDevice { device, reason })
    }

    /// Whether the domain that is announced under this number is this one.
    ///
    /// # Errors
    /// xenstored does not answer.
    pub fn is_announced(self) -> Result<bool, StoreError> {
        match plain()?.read(&format!("{}/vm", self.home())) {
            Ok(vm) => Ok(*vm == *self.vm()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(StoreError::Lost(error)),
        }
    }

    /// Takes away all that stands of the domain, and waits until dom0's kernel has let go of its
    /// pages. The domain must not run: what its drivers say meanwhile would bring nodes back.
    ///
    /// # Errors
    /// xenstored does not answer.
    pub fn withdraw(self) -> Result<(), StoreError> {
        remove(&self.all())
    }

    /// Takes away the devices only of a domain that does not run.
    ///
    /// # Errors
    /// xenstored does not answer.
    pub fn withdraw_devices(self) -> Result<(), StoreError> {
        remove(&self.devices())
    }

    /// Gives the domain another name.
    ///
    /// # Errors
    /// xenstored does not answer.
    pub fn rename(self, name: &str) -> Result<(), StoreError> {
        let store = plain()?;
        for node in [self.home(), self.vm()] {
            store.write(&format!("{node}/name"), name).map_err(StoreError::Lost)?;
        }
        Ok(())
    }
}

/// The path of the terminal that xenconsoled has made for a domain's console.
///
/// xenconsoled learns of a domain from xenstored and writes the path when it is ready.
///
/// # Errors
/// xenconsoled does not do so in time.
pub fn terminal(domid: DomId) -> Result<String, StoreError> {
    let node = format!("/local/domain/{domid}/console/tty");
    let mut connection = Connection::open()?;
    let mut batch = Batch::new();
    batch.watch(&node, "chaos");
    connection.demand(&batch)?;
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(path) = read(&mut connection, &node)?.filter(|path| !path.is_empty()) {
            return Ok(path);
        }
        if !connection.wait_for_event(deadline)? {
            return Err(StoreError::Silent { who: "xenconsoled" });
        }
    }
}

fn remove(nodes: &[String]) -> Result<(), StoreError> {
    // A driver that is at work on a device writes to its nodes, and would make them again.
    barrier::wait(Until::Ready)?;
    let store = plain()?;
    for node in nodes {
        match store.rm(node) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            result => result.map_err(StoreError::Lost)?,
        }
    }
    barrier::wait(Until::Probed)
}

/// A node's value, if it is there.
fn read(connection: &mut Connection, path: &str) -> Result<Option<String>, StoreError> {
    let mut batch = Batch::new();
    batch.read(path);
    let answer = connection.ask(&batch)?.pop();
    Ok(answer.and_then(Result::ok).map(|message| message.text().to_owned()))
}

/// Carries a transaction out. It is done again if somebody else has changed what it changes.
fn commit(
    connection: &mut Connection,
    started: Option<Answer>,
    mut write: impl FnMut(&mut Batch),
) -> Result<(), StoreError> {
    let deadline = Instant::now() + DEADLINE;
    let mut started = started.and_then(Result::ok);
    loop {
        let number = match started.take() {
            Some(message) => message,
            None => {
                let mut start = Batch::new();
                start.start_transaction();
                connection.demand(&start)?.pop().ok_or(StoreError::Unexpected)?
            }
        };
        let mut batch = Batch::inside(number_of(&number)?);
        write(&mut batch);
        let answers = connection.ask(&batch)?;
        let failed = (0..).zip(answers).find_map(|(at, answer)| Some((at, answer.err()?)));
        match failed {
            None => return Ok(()),
            Some((_, reason)) if reason == "EAGAIN" && Instant::now() < deadline => {}
            Some((at, reason)) => {
                return Err(StoreError::Refused { doing: batch.describe(at), reason });
            }
        }
    }
}

fn number_of(message: &Message) -> Result<u32, StoreError> {
    message.text().parse().map_err(|_| StoreError::Unexpected)
}

/// A guest's `control` folder, through which it is asked to end (Xen's
/// `docs/misc/xenstore-paths.pandoc`).
#[derive(Debug)]
pub struct Control {
    connection: Connection,
    node: String,
}

impl Control {
    /// Whether the guest says that it does what is asked.
    ///
    /// # Errors
    /// xenstored does not answer.
    pub fn has_feature(place: Place, request: &str) -> Result<bool, StoreError> {
        match plain()?.read(&format!("{}/control/feature-{request}", place.home())) {
            Ok(value) => Ok(*value == *"1"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(StoreError::Lost(error)),
        }
    }

    /// Asks, and watches for the guest's taking note of it.
    ///
    /// # Errors
    /// xenstored does not answer.
    pub fn ask(place: Place, request: &str) -> Result<Self, StoreError> {
        let node = format!("{}/control/shutdown", place.home());
        let mut connection = Connection::open()?;
        let mut batch = Batch::new();
        batch.write(&node, request);
        batch.watch(&node, "chaos");
        connection.demand(&batch)?;
        Ok(Self { connection, node })
    }

    /// Whether the guest has taken note, which it does by clearing the node, or is gone.
    ///
    /// # Errors
    /// xenstored does not answer.
    pub fn is_taken(&mut self) -> Result<bool, StoreError> {
        while self.connection.take_event().is_some() {}
        let value = read(&mut self.connection, &self.node)?;
        Ok(value.is_none_or(|value| value.is_empty()))
    }

    /// Whether to ask [`is_taken`](Self::is_taken) before waiting.
    #[must_use]
    pub fn is_told(&self) -> bool {
        self.connection.has_buffered()
    }

    /// Takes an event that has arrived.
    ///
    /// # Errors
    /// The connection is lost.
    pub fn take(&mut self) -> Result<(), StoreError> {
        self.connection.event().map(drop)
    }
}

impl AsFd for Control {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.connection.as_fd()
    }
}

/// A watch for domains that end: xenstored holds `VIRQ_DOM_EXC` where it runs, and tells whoever
/// watches `@releaseDomain`.
#[derive(Debug)]
pub struct EndWatch(Connection);

impl EndWatch {
    /// Starts to watch.
    ///
    /// # Errors
    /// Nobody listens.
    pub fn start() -> Result<Self, StoreError> {
        let mut connection = Connection::open()?;
        let mut batch = Batch::new();
        batch.watch("@releaseDomain", "chaos");
        connection.demand(&batch)?;
        Ok(Self(connection))
    }

    /// Whether an event is there that the descriptor does not show any more.
    #[must_use]
    pub fn is_told(&self) -> bool {
        self.0.has_buffered()
    }

    /// Takes an event that has arrived.
    ///
    /// # Errors
    /// The connection is lost.
    pub fn take(&mut self) -> Result<(), StoreError> {
        self.0.event().map(drop)
    }
}

impl AsFd for EndWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

// SPDX-License-Identifier: GPL-3.0-or-later
//! The main thread's handle of the thread that serves metrics and events.

use std::io;
use std::net::{SocketAddrV4, TcpListener};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use daemon::chain::chain;
use mio::{Poll, Waker};

use super::report::{Reporter, reports};
use super::server::{Channels, Listeners, Order, Server, WAKER};
use super::source::Source;
use super::tally::DaemonFigures;

/// Why metrics and events cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ObserverError {
    /// The thread cannot be started.
    #[error("cannot serve metrics and events")]
    Start(#[source] io::Error),
    /// The address cannot be used.
    #[error("cannot serve metrics on {address} (metrics= of chaosd.toml)")]
    Listen {
        /// The address.
        address: SocketAddrV4,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

/// The main thread's handle.
#[derive(Debug)]
pub struct Observer {
    /// Each is a question for the main thread's figures.
    asked: Receiver<()>,
    orders: Sender<Order>,
    waker: Arc<Waker>,
    reporter: Reporter,
    /// The address that is listened on.
    address: Option<SocketAddrV4>,
}

impl Observer {
    /// Starts the thread. `open` opens the source in it. `main` wakes the main thread, which then calls
    /// [`answer`](Self::answer).
    ///
    /// An address on loopback that cannot be used is logged: any user of dom0 could take it while chaosd
    /// is restarted, and guests need chaosd more than their metrics.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start<S: Source>(
        root: UnixListener,
        address: Option<SocketAddrV4>,
        main: Arc<Waker>,
        open: impl FnOnce() -> Option<S> + Send + 'static,
    ) -> Result<Self, ObserverError> {
        let (loopback, address) = match address.map(listen).transpose() {
            Ok(loopback) => (loopback, address),
            Err(error) => {
                tracing::error!("{}; they are served there after a reload", chain(&error));
                (None, None)
            }
        };
        let listeners = Listeners { root, loopback };
        let poll = Poll::new().map_err(ObserverError::Start)?;
        let waker = Waker::new(poll.registry(), WAKER).map_err(ObserverError::Start)?;
        let waker = Arc::new(waker);
        let (asks, asked) = channel();
        let (orders, taken) = channel();
        let (reporter, reports) = reports(Arc::clone(&waker));
        // It ends with the process.
        let spawned = thread::Builder::new().name("observer".into()).spawn(move || {
            let Some(source) = open() else { return };
            let channels = Channels { asks, main, orders: taken, reports };
            let ended = Server::new(poll, listeners, channels, source).and_then(Server::run);
            if let Err(error) = ended {
                tracing::error!("metrics and events are not served any more: {error}");
            }
        });
        spawned.map_err(ObserverError::Start)?;
        Ok(Self { asked, orders, waker, reporter, address })
    }

    /// Returns what sends reports to the thread.
    #[must_use]
    pub fn reporter(&self) -> Reporter {
        self.reporter.clone()
    }

    /// Answers the thread's questions, if there are any.
    pub fn answer(&self, figures: impl FnOnce() -> DaemonFigures) {
        if self.asked.try_iter().count() > 0 {
            self.order(Order::Figures(Box::new(figures())));
        }
    }

    /// Listens on another address on loopback, or on none.
    ///
    /// # Errors
    /// The address cannot be used; the one before is still served.
    pub fn listen(&mut self, address: Option<SocketAddrV4>) -> Result<(), ObserverError> {
        if address != self.address {
            self.order(Order::Loopback(address.map(listen).transpose()?));
            self.address = address;
        }
        Ok(())
    }

    fn order(&self, order: Order) {
        // If that fails, the thread has ended, which the log says.
        if self.orders.send(order).is_ok() {
            let _ = self.waker.wake();
        }
    }
}

fn listen(address: SocketAddrV4) -> Result<TcpListener, ObserverError> {
    TcpListener::bind(address)
        .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
        .map_err(|source| ObserverError::Listen { address, source })
}

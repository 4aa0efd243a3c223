// SPDX-License-Identifier: GPL-3.0-or-later
//! Tests of the thread over real sockets, on a host without Xen.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use chaos::clients::chaosd::http::{self, HttpError};
use chaos::clients::chaosd::protocol::Origin;
use chaos::guests::Figures;
use chaos::handle::DomainIdentity;
use chaos::records::{NameChanges, NameTable, Records};
use daemon::listener;
use mio::{Events, Poll, Token, Waker};
use nix::sys::inotify::Inotify;
use noxs_control::{DeviceCounters, DeviceStatus, DomainId, DomainStatus, VifStatus};
use tempfile::TempDir;
use xen::units::{DomId, DomainHandle};

use super::metrics::tests::{figures, guest};
use super::observer::Observer;
use super::source::{Source, SourceError};
use super::{DaemonFigures, Report};

/// What the fake host and its test share.
#[derive(Default)]
struct Shared {
    handles: Mutex<HashMap<DomId, DomainHandle>>,
    broken: Mutex<Vec<DomainStatus>>,
    /// noxsd's end of the watch for devices.
    noxsd: Mutex<Option<UnixStream>>,
    scrapes: AtomicUsize,
}

struct FakeHost {
    shared: Arc<Shared>,
    records: Records,
    names: NameTable,
}

impl Source for FakeHost {
    fn figures(&mut self) -> Result<Figures, SourceError> {
        self.shared.scrapes.fetch_add(1, Ordering::Relaxed);
        let mut all = figures((1..2000).map(|domid| guest("web", domid)).collect());
        all.changes = self.names.refresh(&self.records)?;
        Ok(all)
    }

    fn changes(&mut self, touched: &[String]) -> Result<NameChanges, SourceError> {
        touched.iter().for_each(|name| self.names.touched(name));
        Ok(self.names.refresh(&self.records)?)
    }

    fn names(&self) -> Vec<(String, DomId)> {
        self.names.iter().map(|(name, domid)| (name.to_owned(), domid)).collect()
    }

    fn handles(&mut self) -> Result<HashMap<DomId, DomainHandle>, SourceError> {
        Ok(self.shared.handles.lock().unwrap().clone())
    }

    fn is_own(&self, domain: DomainIdentity) -> bool {
        domain.handle.0[0] == OWN
    }

    fn broken(&mut self) -> Result<Vec<DomainStatus>, SourceError> {
        Ok(self.shared.broken.lock().unwrap().clone())
    }

    fn watch_devices(&mut self) -> Result<OwnedFd, SourceError> {
        let (here, noxsd) = UnixStream::pair().unwrap();
        *self.shared.noxsd.lock().unwrap() = Some(noxsd);
        Ok(here.into())
    }

    fn watch_names(&mut self) -> Result<Inotify, SourceError> {
        Ok(self.records.watch_names()?)
    }
}

/// The first byte of the handles of this process.
const OWN: u8 = 9;

/// A thread with a main thread that answers its questions.
struct Bed {
    path: PathBuf,
    records: Records,
    shared: Arc<Shared>,
    observer: Arc<Mutex<Observer>>,
    stops: Arc<AtomicBool>,
    waker: Arc<Waker>,
    main: Option<JoinHandle<()>>,
    _folder: TempDir,
}

impl Bed {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("http.sock");
        let records = Records::at(folder.path().join("records"));
        let shared = Arc::<Shared>::default();
        let mut poll = Poll::new().unwrap();
        let waker = Arc::new(Waker::new(poll.registry(), Token(0)).unwrap());
        let host = (Arc::clone(&shared), records.clone());
        let listener = listener::listen_stream(&path).unwrap();
        let observer = Observer::start(listener, None, Arc::clone(&waker), move || {
            let (shared, records) = host;
            Some(FakeHost { shared, records, names: NameTable::default() })
        });
        let observer = Arc::new(Mutex::new(observer.unwrap()));
        let stops = Arc::new(AtomicBool::new(false));
        let (asked, stopped) = (Arc::clone(&observer), Arc::clone(&stops));
        let main = thread::spawn(move || {
            let mut events = Events::with_capacity(4);
            while !stopped.load(Ordering::Relaxed) {
                poll.poll(&mut events, None).unwrap();
                asked.lock().unwrap().answer(DaemonFigures::default);
            }
        });
        let main = Some(main);
        Self { path, records, shared, observer, stops, waker, main, _folder: folder }
    }

    fn scrape(&self) -> String {
        let mut text = String::new();
        let mut body = http::get_from(&self.path, "/metrics", http::OPENMETRICS).unwrap();
        body.read_to_string(&mut text).unwrap();
        text
    }

    fn follow(&self) -> Follower {
        let body = http::get_from(&self.path, "/events", "*/*").unwrap();
        body.get_ref().set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut follower = Follower(body);
        assert_eq!(follower.next(), ("subscribed".to_owned(), None));
        follower
    }

    /// Adds a domain.
    fn domain(&self, domid: u16, first: u8) -> DomainIdentity {
        let (domid, handle) = (DomId(domid), DomainHandle([first; 16]));
        self.shared.handles.lock().unwrap().insert(domid, handle);
        DomainIdentity { domid, handle }
    }

    fn report(&self, report: Report) {
        self.observer.lock().unwrap().reporter().send(|| report);
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        self.stops.store(true, Ordering::Relaxed);
        self.waker.wake().unwrap();
        let ended = self.main.take().unwrap().join();
        assert!(ended.is_ok() || thread::panicking());
    }
}

/// A client that follows the events.
struct Follower(BufReader<UnixStream>);

impl Follower {
    /// Returns the kind and the name of the next event.
    fn next(&mut self) -> (String, Option<String>) {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        let event: serde_json::Value = serde_json::from_str(&line).unwrap();
        let text = |key: &str| event[key].as_str().map(str::to_owned);
        (text("event").unwrap(), text("name"))
    }

    #[track_caller]
    fn expect(&mut self, kind: &str, name: &str) {
        assert_eq!(self.next(), (kind.to_owned(), Some(name.to_owned())));
    }
}

#[test]
fn a_scrape_is_answered_in_the_format_that_was_asked_for() {
    let bed = Bed::new();
    let text = bed.scrape();
    assert!(text.ends_with("# EOF\n"));
    assert!(text.len() > 1 << 20, "it takes several sends: {}", text.len());
    let mut plain = String::new();
    let mut body = http::get_from(&bed.path, "/metrics", http::PLAIN).unwrap();
    body.read_to_string(&mut plain).unwrap();
    assert!(plain.contains("# TYPE chaos_guest_cpu_seconds_total counter\n"));
    let missing = http::get_from(&bed.path, "/nothing", "*/*").unwrap_err();
    assert!(
        matches!(&missing, HttpError::Status(status) if status == "404 Not Found"),
        "{missing}"
    );
}

#[test]
fn clients_that_send_or_read_nothing_hold_up_no_other() {
    let bed = Bed::new();
    let silent: Vec<_> = (0..40).map(|_| UnixStream::connect(&bed.path).unwrap()).collect();
    let lazy: Vec<_> = (0..40)
        .map(|_| {
            let mut client = UnixStream::connect(&bed.path).unwrap();
            client.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").unwrap();
            client
        })
        .collect();
    assert!(bed.scrape().ends_with("# EOF\n"));
    // The first ones were disconnected to make room.
    let mut first = &silent[0];
    first.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    assert_eq!(first.read(&mut [0; 1]).unwrap(), 0);
    assert!(bed.scrape().ends_with("# EOF\n"));
    drop(lazy);
}

#[test]
fn everyone_in_dom0_gets_metrics_on_loopback_but_only_one_scrape_a_second_and_no_events() {
    let bed = Bed::new();
    // A port that was free a moment ago.
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let SocketAddr::V4(address) = address else { panic!("it is IPv4") };
    bed.observer.lock().unwrap().listen(Some(address)).unwrap();
    let ask = |target: &str| {
        let mut client = TcpStream::connect(address).unwrap();
        client.write_all(format!("GET {target} HTTP/1.1\r\n\r\n").as_bytes()).unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        answer
    };
    let began = std::time::Instant::now();
    let before = bed.shared.scrapes.load(Ordering::Relaxed);
    for _ in 0..20 {
        assert!(ask("/metrics").starts_with("HTTP/1.1 200 OK\r\n"));
    }
    let scrapes = bed.shared.scrapes.load(Ordering::Relaxed) - before;
    assert!(scrapes as u64 <= 1 + began.elapsed().as_secs(), "{scrapes} scrapes");
    assert!(ask("/events").starts_with("HTTP/1.1 404 "));
    bed.observer.lock().unwrap().listen(None).unwrap();
    // A scrape is answered after the order before it.
    bed.scrape();
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn events_come_from_names_reports_and_noxsd_in_order() {
    let bed = Bed::new();
    bed.domain(1, 1);
    bed.records.reserve_name("old", DomId(1), None).unwrap();
    let mut follower = bed.follow();
    bed.domain(2, 2);
    bed.records.reserve_name("other", DomId(2), None).unwrap();
    follower.expect("created", "other");

    // The main thread restarts guest `old`.
    bed.records.remove_name("old").unwrap();
    let identity = bed.domain(3, OWN);
    bed.records.reserve_name("old", DomId(3), None).unwrap();
    bed.report(Report::Created { name: "old".into(), identity, origin: Origin::Warm });
    bed.report(Report::Restarted { name: "old".into(), domid: 3 });
    follower.expect("destroyed", "old");
    follower.expect("created", "old");
    follower.expect("restarted", "old");

    let id = DomainId { domid: 2, handle: [2; 16] };
    let device = DeviceStatus {
        name: "vif0".into(),
        broken: Some("why".into()),
        counters: DeviceCounters::Vif(VifStatus::default()),
    };
    *bed.shared.broken.lock().unwrap() = vec![DomainStatus { id, devices: vec![device] }];
    let noxsd = bed.shared.noxsd.lock().unwrap().take().unwrap();
    (&noxsd).write_all(&[0]).unwrap();
    follower.expect("device-broken", "other");

    let mut second = bed.follow();
    bed.records.remove_name("other").unwrap();
    follower.expect("destroyed", "other");
    second.expect("destroyed", "other");
}

#[test]
fn a_follower_that_does_not_read_misses_events_and_learns_how_many() {
    let bed = Bed::new();
    let (mut lazy, mut follower) = (bed.follow(), bed.follow());
    let name = "x".repeat(200);
    let total = 4000u32;
    for number in 0..total {
        bed.report(Report::Restarted { name: name.clone(), domid: 7 });
        // The other one reads all.
        if number % 100 == 99 {
            (0..100).for_each(|_| follower.expect("restarted", &name));
        }
    }
    let mut got = 0;
    loop {
        let mut line = String::new();
        lazy.0.read_line(&mut line).unwrap();
        let event: serde_json::Value = serde_json::from_str(&line).unwrap();
        match event["event"].as_str().unwrap() {
            "restarted" => got += 1,
            "missed" => {
                assert_eq!(got + event["events"].as_u64().unwrap(), u64::from(total));
                return;
            }
            other => panic!("{other}"),
        }
    }
}

#[test]
fn nothing_is_watched_once_the_last_follower_has_gone() {
    let bed = Bed::new();
    let follower = bed.follow();
    let mut noxsd = bed.shared.noxsd.lock().unwrap().take().unwrap();
    noxsd.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    drop(follower);
    assert_eq!(noxsd.read(&mut [0]).unwrap(), 0, "the watch of devices is closed");
}

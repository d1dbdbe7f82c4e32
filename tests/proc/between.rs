//! A proxy that stands between two ends of a connection: it cuts, falls silent, is slow, or passes
//! every byte on its own.

#![expect(clippy::disallowed_methods, reason = "a test forwards and waits")]

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

pub(crate) const OPEN: u8 = 0;
/// Nothing passes any more, and nobody is told.
pub(crate) const SILENT: u8 = 1;
pub(crate) const CUT: u8 = 2;
/// Each byte is a segment of its own.
pub(crate) const BYTES: u8 = 3;
/// All arrives [`LATE_BY`] after it was sent.
pub(crate) const LATE: u8 = 4;

pub(crate) const LATE_BY: Duration = Duration::from_millis(200);

/// How often a quiet direction looks what it is to do.
const GLANCE: Duration = Duration::from_millis(50);

pub(crate) struct Between {
    pub(crate) port: u16,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: AtomicU8,
    passed: AtomicUsize,
    open: AtomicUsize,
}

impl Between {
    pub(crate) fn new(to: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let shared = Arc::new(Shared::default());
        let for_all = Arc::clone(&shared);
        std::thread::spawn(move || {
            for near in listener.incoming().flatten() {
                let Ok(far) = TcpStream::connect(("127.0.0.1", to)) else { continue };
                for (from, into) in [(&near, &far), (&far, &near)] {
                    let [reads, ends] = [(); 2].map(|()| from.try_clone().expect("a handle"));
                    let into = into.try_clone().expect("a handle");
                    into.set_nodelay(true).expect("no delay");
                    let (give, take) = sync_channel(64);
                    let [one, two] = [(); 2].map(|()| Arc::clone(&for_all));
                    std::thread::spawn(move || read(reads, &give, &one));
                    for_all.open.fetch_add(1, Ordering::Relaxed);
                    std::thread::spawn(move || {
                        write(&into, &take, &two);
                        two.open.fetch_sub(1, Ordering::Relaxed);
                        drop((ends.shutdown(Shutdown::Both), into.shutdown(Shutdown::Both)));
                    });
                }
            }
        });
        Self { port, shared }
    }

    pub(crate) fn is_now(&self, state: u8) {
        self.shared.state.store(state, Ordering::Relaxed);
    }

    /// How many bytes went through, both ways.
    pub(crate) fn passed(&self) -> usize {
        self.shared.passed.load(Ordering::Relaxed)
    }

    /// How many connections go through.
    pub(crate) fn open(&self) -> usize {
        self.shared.open.load(Ordering::Relaxed).div_ceil(2)
    }
}

/// Takes what comes, until the end of it or until nobody wants it.
fn read(mut from: TcpStream, give: &SyncSender<(Instant, Vec<u8>)>, shared: &Shared) {
    from.set_read_timeout(Some(GLANCE)).expect("a time-out");
    let mut buf = [0; 65_536];
    loop {
        match shared.state.load(Ordering::Relaxed) {
            CUT => break,
            SILENT => {
                std::thread::sleep(GLANCE);
                continue;
            }
            _ => {}
        }
        match from.read(&mut buf) {
            Ok(0) => break,
            Ok(n) if give.send((Instant::now(), buf[..n].to_vec())).is_err() => break,
            Err(e) if !matches!(e.raw_os_error(), Some(11)) => break,
            _ => {}
        }
    }
}

/// Gives it on, at its time and in its pieces.
fn write(mut into: &TcpStream, take: &Receiver<(Instant, Vec<u8>)>, shared: &Shared) {
    loop {
        let (came, bytes) = match take.recv_timeout(GLANCE) {
            Ok(part) => part,
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) if shared.state.load(Ordering::Relaxed) == CUT => break,
            Err(RecvTimeoutError::Timeout) => continue,
        };
        let state = shared.state.load(Ordering::Relaxed);
        if state == LATE {
            std::thread::sleep((came + LATE_BY).saturating_duration_since(Instant::now()));
        }
        let piece = if state == BYTES { 1 } else { bytes.len() };
        let mut pieces = bytes.chunks(piece);
        if state == CUT || !pieces.all(|p| into.write_all(p).is_ok()) {
            break;
        }
        shared.passed.fetch_add(bytes.len(), Ordering::Relaxed);
    }
}

//! A stretch of network in front of a server, which can be cut, slowed, silenced, and counted on.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A way to a server on this machine, by another port.
pub struct Wire {
    pub port: u16,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    delay: AtomicU64,
    cut: AtomicBool,
    silent: AtomicBool,
    exchanges: AtomicU64,
    open: Mutex<Vec<TcpStream>>,
    closed: AtomicBool,
}

/// Who spoke last on a connection.
const CLIENT: u8 = 1;
const SERVER: u8 = 2;

impl Wire {
    /// A way to the server at this port.
    pub fn to(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State::default());
        let shared = state.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if shared.closed.load(Ordering::Relaxed) {
                    return;
                }
                if shared.cut.load(Ordering::Relaxed) {
                    continue;
                }
                let Ok(server) = TcpStream::connect(("127.0.0.1", target)) else { continue };
                shared.carry(client, server);
            }
        });
        Self { port, state }
    }

    /// From now on everything takes so much longer, each way.
    pub fn delay(&self, each_way: Duration) {
        self.state.delay.store(u64::try_from(each_way.as_millis()).unwrap(), Ordering::Relaxed);
    }

    /// Breaks all connections and takes no new ones, or takes them again.
    pub fn cut(&self, cut: bool) {
        self.state.cut.store(cut, Ordering::Relaxed);
        if cut {
            for stream in self.state.open.lock().unwrap().drain(..) {
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
    }

    /// Holds everything back and tells nobody, or lets it go on.
    pub fn silence(&self, silent: bool) {
        self.state.silent.store(silent, Ordering::Relaxed);
    }

    /// How often somebody asked after having been answered: round trips.
    pub fn exchanges(&self) -> u64 {
        self.state.exchanges.load(Ordering::Relaxed)
    }
}

impl State {
    fn carry(self: &Arc<Self>, client: TcpStream, server: TcpStream) {
        let last = Arc::new(AtomicU8::new(SERVER));
        for (from, to, speaker) in [(&client, &server, CLIENT), (&server, &client, SERVER)] {
            let _ = to.set_nodelay(true);
            let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
            let (state, last) = (self.clone(), last.clone());
            std::thread::spawn(move || state.pump(from, to, speaker, &last));
        }
        self.open.lock().unwrap().extend([client, server]);
    }

    fn pump(&self, mut from: TcpStream, mut to: TcpStream, speaker: u8, last: &AtomicU8) {
        let mut octets = vec![0; 64 * 1024];
        while let Ok(read @ 1..) = from.read(&mut octets) {
            if last.swap(speaker, Ordering::Relaxed) != speaker && speaker == CLIENT {
                self.exchanges.fetch_add(1, Ordering::Relaxed);
            }
            std::thread::sleep(Duration::from_millis(self.delay.load(Ordering::Relaxed)));
            while self.silent.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(10));
            }
            if to.write_all(&octets[..read]).is_err() {
                break;
            }
        }
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.state.closed.store(true, Ordering::Relaxed);
        self.silence(false);
        self.cut(true);
        // The acceptor wakes up and sees it.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

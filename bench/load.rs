//! Load that does not wait for the server: `rustc -O bench/load.rs`, no libraries.
//!
//!   load http RATE SECONDS CONNECTIONS ADDRESS STATUS FILE...   requests of HTTP/1.1, as octets in files, in turn
//!   load shed RATE SECONDS CONNECTIONS ADDRESS STATUS FILE...   the same, telling those answered with STATUS from the rest
//!   load application PORT MILLISECONDS                          an application that takes so long for each request
//!   load bind SECONDS CONNECTIONS ADDRESS DN PASSWORD           simple binds of LDAP, each on a connection of its own
//!
//! With a rate the loop is open: each request has its time whatever became of those before it, and its latency counts from
//! that time. A closed loop asks a slow server less often and so hides what its users wait (coordinated omission). A rate
//! of 0 closes the loop: each connection asks as soon as it was answered. Prints per second, p50 and p99 in milliseconds,
//! and answers that were not `STATUS` (0: any); `shed` the same of those that were, then the others per second and their p99.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["application", port, milliseconds] => application(number(port) as u16, Duration::from_secs_f64(number(milliseconds) / 1000.0)),
        [what @ ("http" | "shed"), rate, seconds, connections, address, status, files @ ..] if !files.is_empty() => {
            let requests: Vec<Vec<u8>> = files.iter().map(|file| std::fs::read(file).expect("a file")).collect();
            let (status, address) = (number(status) as u16, (*address).to_owned());
            run(*what == "shed", number(rate), number(seconds), number(connections) as usize, move |place| {
                let mut kept = None;
                let (address, requests) = (address.clone(), requests.clone());
                Box::new(move |turn| ask(&mut kept, &address, &requests[(turn + place) % requests.len()], status))
            });
        }
        ["bind", seconds, connections, address, dn, password] => {
            let (address, message) = ((*address).to_owned(), bind_request(dn.as_bytes(), password.as_bytes()));
            run(false, 0.0, number(seconds), number(connections) as usize, move |_| {
                let (address, message) = (address.clone(), message.clone());
                Box::new(move |_| bind(&address, &message))
            });
        }
        _ => {
            eprintln!("see the head of bench/load.rs");
            std::process::exit(2);
        }
    }
}

fn number(text: &str) -> f64 {
    text.parse().expect("a number")
}

type Act = Box<dyn FnMut(usize) -> bool>;

fn run(apart: bool, rate: f64, seconds: f64, connections: usize, actor: impl Fn(usize) -> Act + Send + Sync + 'static) {
    let (next, actor) = (Arc::new(AtomicUsize::new(0)), Arc::new(actor));
    let (found, bad) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Vec::new())));
    let began = Instant::now();
    let threads: Vec<_> = (0..connections)
        .map(|place| {
            let (next, actor, found, bad) = (next.clone(), actor.clone(), found.clone(), bad.clone());
            std::thread::spawn(move || {
                let mut act = actor(place);
                let (mut own, mut others) = (Vec::new(), Vec::new());
                loop {
                    let turn = next.fetch_add(1, Ordering::Relaxed);
                    let due = if rate > 0.0 { began + Duration::from_secs_f64(turn as f64 / rate) } else { Instant::now() };
                    if due.duration_since(began).as_secs_f64() >= seconds {
                        break;
                    }
                    if let Some(early) = due.checked_duration_since(Instant::now()) {
                        std::thread::sleep(early);
                    }
                    let good = act(turn);
                    if good || !apart {
                        own.push(due.elapsed());
                    }
                    if !good {
                        others.push(due.elapsed());
                    }
                }
                found.lock().unwrap().extend(own);
                bad.lock().unwrap().extend(others);
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    let took = began.elapsed().as_secs_f64();
    let sorted = |times: Arc<Mutex<Vec<Duration>>>| {
        let mut times = Arc::try_unwrap(times).unwrap().into_inner().unwrap();
        times.sort();
        times
    };
    let (found, bad) = (sorted(found), sorted(bad));
    let at = |times: &[Duration], part: f64| {
        times.get(((times.len() as f64 * part) as usize).min(times.len().saturating_sub(1))).copied().unwrap_or_default().as_secs_f64() * 1000.0
    };
    print!("{:.1} {:.3} {:.3} ", found.len() as f64 / took, at(&found, 0.5), at(&found, 0.99));
    if apart {
        println!("{:.1} {:.3}", bad.len() as f64 / took, at(&bad, 0.99));
    } else {
        println!("{}", bad.len());
    }
}

/// Answers each request after a while, on as many connections as there are.
fn application(port: u16, takes: Duration) {
    let listener = std::net::TcpListener::bind(("127.0.0.1", port)).expect("a free port");
    for mut stream in listener.incoming().flatten() {
        std::thread::spawn(move || {
            let _ = stream.set_nodelay(true);
            let mut reader = BufReader::new(stream.try_clone().expect("a stream"));
            let mut line = String::new();
            // Requests of this bench have no body.
            while reader.read_line(&mut line).is_ok_and(|read| read > 0) {
                if line == "\r\n" {
                    std::thread::sleep(takes);
                    if stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").is_err() {
                        return;
                    }
                }
                line.clear();
            }
        });
    }
}

fn ask(kept: &mut Option<BufReader<TcpStream>>, address: &str, request: &[u8], status: u16) -> bool {
    // A kept connection may have been closed meanwhile: once more on a new one.
    for fresh in [false, true] {
        if fresh || kept.is_none() {
            *kept = TcpStream::connect(address).ok().map(|stream| {
                let _ = stream.set_nodelay(true);
                let _ = stream.set_read_timeout(Some(Duration::from_secs(30)));
                BufReader::new(stream)
            });
        }
        let Some(reader) = kept else { return false };
        if reader.get_mut().write_all(request).is_ok() {
            if let Some((found, close)) = answer(reader) {
                if close {
                    *kept = None;
                }
                return status == 0 || found == status;
            }
        }
        *kept = None;
    }
    false
}

/// Reads one answer to its end: its status, and whether the connection ends with it.
fn answer(reader: &mut BufReader<TcpStream>) -> Option<(u16, bool)> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
    let status = line.get(9..12)?.parse().ok()?;
    let (mut length, mut chunked, mut close) = (0_usize, false, false);
    loop {
        line.clear();
        reader.read_line(&mut line).ok()?;
        let field = line.trim_end().to_ascii_lowercase();
        if field.is_empty() {
            break;
        }
        if let Some(value) = field.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        chunked |= field.starts_with("transfer-encoding:") && field.ends_with("chunked");
        close |= field == "connection: close";
    }
    if status == 204 || status == 304 {
        return Some((status, close));
    }
    let mut skip = |octets: usize| std::io::copy(&mut reader.by_ref().take(octets as u64), &mut std::io::sink()).ok();
    if !chunked {
        skip(length)?;
        return Some((status, close));
    }
    loop {
        line.clear();
        reader.read_line(&mut line).ok()?;
        let size = usize::from_str_radix(line.trim().split(';').next()?, 16).ok()?;
        std::io::copy(&mut reader.by_ref().take(size as u64 + 2), &mut std::io::sink()).ok()?;
        if size == 0 {
            return Some((status, close));
        }
    }
}

/// RFC 4511 §4.2: message 1, version 3, a simple password.
fn bind_request(dn: &[u8], password: &[u8]) -> Vec<u8> {
    let piece = |tag: u8, content: &[u8]| {
        assert!(content.len() < 128, "short names only");
        [&[tag, content.len() as u8], content].concat()
    };
    let bind = [piece(0x02, &[3]), piece(0x04, dn), piece(0x80, password)].concat();
    piece(0x30, &[piece(0x02, &[1]), piece(0x60, &bind)].concat())
}

fn bind(address: &str, message: &[u8]) -> bool {
    let Ok(mut stream) = TcpStream::connect(address) else { return false };
    let _ = stream.set_nodelay(true);
    let mut answer = [0; 14];
    // resultCode stands at a fixed place of an answer without texts: 30 0c 02 01 01 61 07 0a 01 CODE 04 00 04 00.
    let bound = stream.write_all(message).is_ok() && stream.read_exact(&mut answer).is_ok() && answer[5] == 0x61 && answer[9] == 0;
    let _ = stream.write_all(&[0x30, 0x05, 0x02, 0x01, 0x02, 0x42, 0x00]);
    bound
}

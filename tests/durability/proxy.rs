//! A TCP proxy that misbehaves on demand.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::SeqCst};
use std::time::Duration;

/// Treatment of connections by the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Pass = 0,
    /// Closes connections, also new ones, at once.
    Cut = 1,
    /// Accepts and says nothing: half-open.
    Silent = 2,
    /// One byte a second.
    Trickle = 3,
    /// Half a second late.
    Delay = 4,
}

pub struct Proxy {
    pub port: u16,
    mode: Arc<AtomicU8>,
}

impl Proxy {
    /// A proxy to `target` on this host.
    pub fn start(target: u16) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let mode = Arc::new(AtomicU8::new(Mode::Pass as u8));
        let now = mode.clone();
        // The threads end with the test's process.
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let there = TcpStream::connect(("127.0.0.1", target));
                let (false, Ok(server)) = (now.load(SeqCst) == Mode::Cut as u8, there) else {
                    continue;
                };
                let back = (server.try_clone().unwrap(), client.try_clone().unwrap());
                let (forth_mode, back_mode) = (now.clone(), now.clone());
                std::thread::spawn(move || pump(client, server, &forth_mode));
                std::thread::spawn(move || pump(back.0, back.1, &back_mode));
            }
        });
        Proxy { port, mode }
    }

    pub fn set(&self, mode: Mode) {
        self.mode.store(mode as u8, SeqCst);
    }
}

fn pump(mut from: TcpStream, mut to: TcpStream, mode: &AtomicU8) {
    from.set_read_timeout(Some(Duration::from_millis(20)))
        .unwrap();
    let is = |what: Mode| mode.load(SeqCst) == what as u8;
    let mut buffer = [0; 4096];
    loop {
        if is(Mode::Cut) {
            break;
        }
        if is(Mode::Silent) {
            std::thread::sleep(Duration::from_millis(20));
            continue;
        }
        let room = if is(Mode::Trickle) { 1 } else { buffer.len() };
        let n = match from.read(&mut buffer[..room]) {
            Ok(0) => break,
            Ok(n) => n,
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => continue,
            Err(_) => break,
        };
        if is(Mode::Delay) {
            std::thread::sleep(Duration::from_millis(500));
        }
        if is(Mode::Trickle) {
            for _ in 0..50 {
                if is(Mode::Trickle) {
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
        }
        if to.write_all(&buffer[..n]).is_err() {
            break;
        }
    }
    // They may be closed already.
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

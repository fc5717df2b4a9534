//! MQTT 3.1.1 as far as a load generator needs it: encoded beforehand, written in large pieces, so
//! that publishing costs next to nothing.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Unacknowledged QoS 1 messages of one publisher.
const WINDOW: u64 = 1000;

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as u16).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn packet(out: &mut Vec<u8>, head: u8, body: &[u8]) {
    out.push(head);
    let mut n = body.len();
    loop {
        let low = (n % 128) as u8;
        n /= 128;
        out.push(if n > 0 { low | 128 } else { low });
        if n == 0 {
            break;
        }
    }
    out.extend_from_slice(body);
}

/// A connected client.
pub fn connect(port: u16, id: &str) -> TcpStream {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).expect("the broker listens");
    socket.set_nodelay(true).expect("a socket option");
    let mut body = Vec::new();
    text(&mut body, "MQTT");
    body.extend_from_slice(&[4, 2, 0, 0]);
    text(&mut body, id);
    let mut out = Vec::new();
    packet(&mut out, 0x10, &body);
    socket.write_all(&out).expect("a connection");
    socket.read_exact(&mut [0; 4]).expect("a CONNACK");
    socket
}

/// Subscribes with QoS 0 and waits until it is granted.
pub fn subscribe(socket: &mut TcpStream, filter: &str) {
    let mut body = vec![0, 1];
    text(&mut body, filter);
    body.push(0);
    let mut out = Vec::new();
    packet(&mut out, 0x82, &body);
    socket.write_all(&out).expect("a connection");
    socket.read_exact(&mut [0; 5]).expect("a SUBACK");
}

/// Appends one message; `id` 0 is QoS 0.
pub fn publish(out: &mut Vec<u8>, topic: &str, payload: &[u8], id: u16) {
    let mut body = Vec::with_capacity(topic.len() + payload.len() + 4);
    text(&mut body, topic);
    if id > 0 {
        body.extend_from_slice(&id.to_be_bytes());
    }
    body.extend_from_slice(payload);
    packet(out, if id > 0 { 0x32 } else { 0x30 }, &body);
}

/// Calls `each` with topic and payload of every message until it says stop or the socket is silent
/// for `patience`.
pub fn receive(
    socket: &mut TcpStream,
    patience: Duration,
    mut each: impl FnMut(&[u8], &[u8]) -> bool,
) {
    socket
        .set_read_timeout(Some(patience))
        .expect("a socket option");
    let mut buffer = Vec::new();
    let mut piece = vec![0; 1 << 16];
    loop {
        let Ok(n) = socket.read(&mut piece) else {
            return;
        };
        if n == 0 {
            return;
        }
        buffer.extend_from_slice(&piece[..n]);
        // A delay for want of an acknowledgement of ours is not the daemon's.
        let quick = socket2::SockRef::from(&*socket).set_tcp_quickack(true);
        quick.expect("a socket option");
        let mut at = 0;
        while let Some((head, from, to)) = frame(&buffer[at..]) {
            if head >> 4 == 3 {
                let body = &buffer[at + from..at + to];
                let topic = usize::from(u16::from_be_bytes([body[0], body[1]]));
                if !each(&body[2..2 + topic], &body[2 + topic..]) {
                    return;
                }
            }
            at += to;
        }
        buffer.drain(..at);
    }
}

/// First byte, start and end of the body of the packet that `bytes` begins with.
fn frame(bytes: &[u8]) -> Option<(u8, usize, usize)> {
    let (mut n, mut shift) = (0usize, 0);
    for (i, byte) in bytes.iter().enumerate().skip(1).take(4) {
        n |= usize::from(byte & 127) << shift;
        shift += 7;
        if byte & 128 == 0 {
            let end = i + 1 + n;
            return (bytes.len() >= end).then_some((bytes[0], i + 1, end));
        }
    }
    None
}

/// A row of a stream as eight messages `plant/s<stream>/c<channel>`.
pub fn row(out: &mut Vec<u8>, stream: usize, ts_ms: i64, row: u64, id: &mut u16, qos: u8) {
    use std::io::Write as _;
    let mut payload = Vec::with_capacity(64);
    for channel in 0..8u64 {
        payload.clear();
        let phase = row as f64 * 0.02 + channel as f64;
        let jitter = ((row * 8 + channel + stream as u64 * 31).wrapping_mul(0x9e37_79b9_7f4a_7c15)
            >> 40) as f64;
        let value = 20.0 + 3.0 * phase.sin() + jitter / 16_777_216.0;
        write!(payload, "{{\"value\":{value:.3},\"ts\":{ts_ms}}}").expect("memory");
        if qos > 0 {
            *id = *id % 60_000 + 1;
        }
        let id = if qos > 0 { *id } else { 0 };
        publish(out, &format!("plant/s{stream}/c{channel}"), &payload, id);
    }
}

/// Sends encoded messages as fast as the broker takes them: `ends` are the ends of bursts in
/// `bytes`, `per_burst` the messages in each. With QoS 1 it waits for acknowledgements.
pub fn pump(port: u16, id: &str, bytes: &[u8], ends: &[usize], per_burst: u64, qos: u8) {
    let mut socket = connect(port, id);
    if qos == 0 {
        for piece in bytes.chunks(1 << 16) {
            socket.write_all(piece).expect("a connection");
        }
        return;
    }
    let acked = Arc::new(AtomicU64::new(0));
    let (mut reader, counter) = (socket.try_clone().expect("a socket"), acked.clone());
    let total = ends.len() as u64 * per_burst;
    let reading = std::thread::spawn(move || {
        let mut piece = vec![0; 1 << 14];
        let mut n_bytes = 0u64;
        // A PUBACK has four bytes.
        while n_bytes < 4 * total {
            match reader.read(&mut piece) {
                Ok(n) if n > 0 => n_bytes += n as u64,
                _ => return,
            }
            counter.store(n_bytes / 4, Relaxed);
        }
    });
    let (mut at, mut sent) = (0, 0);
    for burst in ends.chunks(4) {
        while sent - acked.load(Relaxed) >= WINDOW {
            std::thread::sleep(Duration::from_micros(200));
        }
        let end = burst[burst.len() - 1];
        socket.write_all(&bytes[at..end]).expect("a connection");
        at = end;
        sent += burst.len() as u64 * per_burst;
    }
    reading.join().expect("the reader ends");
}

//! Connects to the broker by TCP, or TLS over it: whichever of its addresses answers first.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::{LinkError, misuse};
use crate::config::{MqttSettings, TlsSettings};

/// Bytes that the kernel takes for us while we let them gather; it may grant less. Where it cannot
/// take them the broker has to keep and send each message by itself.
const RECEIVE_BUFFER: u32 = 1 << 20;
/// Bytes read at once.
const READ: usize = 1 << 16;

/// A connected socket.
pub(super) struct Socket {
    stream: Transport,
    gather: Gather,
    /// TLS has bytes that may not be on their way yet.
    unflushed: bool,
}

enum Transport {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Lets bytes gather before they are read, while so many messages come that each read, and each wake-up
/// on the way to the learner, serves many. The broker gains as well, since what it writes meanwhile goes
/// out in one piece.
struct Gather {
    /// Messages since the rate was last looked at, and when that was.
    came: usize,
    since: Instant,
    /// Nothing is read before `until`.
    wanted: bool,
    until: Instant,
}

impl Gather {
    /// Messages a millisecond from which on it pays.
    const RATE: u128 = 16;
    /// The runtime's clock has no shorter time.
    const TIME: Duration = Duration::from_millis(1);

    /// So many messages have come, and no more are there. A burst that follows a pause counts as slow.
    fn note(&mut self, messages: usize) {
        let now = Instant::now();
        let took = now.duration_since(self.since);
        self.came += messages;
        if took >= Self::TIME {
            self.wanted = self.came as u128 * 1_000_000 >= Self::RATE * took.as_nanos();
            (self.came, self.since, self.until) = (0, now, now + Self::TIME);
        }
    }
}

impl Socket {
    /// Connects, by TLS where there is a configuration for it.
    pub(super) async fn connect(
        mqtt: &MqttSettings,
        tls: Option<Arc<ClientConfig>>,
    ) -> Result<Socket, LinkError> {
        let host = (mqtt.host.as_str(), mqtt.port);
        let addresses = tokio::net::lookup_host(host).await.map_err(lost)?;
        let tcp = tcp(addresses).await.map_err(lost)?;
        let stream = match tls {
            None => Transport::Plain(tcp),
            Some(config) => {
                let name = ServerName::try_from(mqtt.host.clone());
                let name = name.map_err(|error| LinkError::Settings(error.to_string()))?;
                let tls = TlsConnector::from(config).connect(name, tcp).await;
                Transport::Tls(Box::new(tls.map_err(not_shaken)?))
            }
        };
        let now = Instant::now();
        let gather = Gather {
            came: 0,
            since: now,
            wanted: false,
            until: now,
        };
        Ok(Socket {
            stream,
            gather,
            unflushed: false,
        })
    }

    /// Waits for bytes and appends some to `buffer`. Nothing is lost where the future is dropped.
    pub(super) async fn read(&mut self, buffer: &mut BytesMut) -> Result<(), LinkError> {
        if self.gather.wanted {
            sleep_until(self.gather.until).await;
        }
        buffer.reserve(READ);
        let n = match &mut self.stream {
            Transport::Plain(tcp) => tcp.read_buf(buffer).await,
            Transport::Tls(tls) => tls.read_buf(buffer).await,
        };
        match n.map_err(lost)? {
            0 => Err(LinkError::Lost(
                "the broker has closed the connection".to_owned(),
            )),
            _ => Ok(()),
        }
    }

    /// Appends to `buffer` what has come already; false where nothing has.
    pub(super) async fn read_on(&mut self, buffer: &mut BytesMut) -> Result<bool, LinkError> {
        self.gather.wanted = false;
        tokio::select! {
            biased;
            read = self.read(buffer) => read.map(|()| true),
            () = std::future::ready(()) => Ok(false),
        }
    }

    /// All that came has been read, so many messages. The broker is told at once: by Nagle's algorithm it
    /// sends nothing small while we owe it an acknowledgement, which TCP puts off for up to 40 ms.
    pub(super) fn drained(&mut self, messages: usize) {
        #[cfg(target_os = "linux")]
        {
            let tcp = match &self.stream {
                Transport::Plain(tcp) => tcp,
                Transport::Tls(tls) => tls.get_ref().0,
            };
            // Without it messages come later, and that is all.
            let _ = tcp.set_quickack(true);
        }
        self.gather.note(messages);
    }

    /// TLS has bytes that may not be on their way yet.
    pub(super) fn is_unflushed(&self) -> bool {
        self.unflushed
    }

    /// Writes all of `bytes`. Where the future is dropped, what is left of them is still to be written.
    pub(super) async fn write(&mut self, bytes: &mut BytesMut) -> Result<(), LinkError> {
        while !bytes.is_empty() {
            let written = match &mut self.stream {
                Transport::Plain(tcp) => tcp.write_buf(bytes).await,
                Transport::Tls(tls) => {
                    self.unflushed = true;
                    tls.write_buf(bytes).await
                }
            };
            if written.map_err(lost)? == 0 {
                return Err(lost(io::ErrorKind::WriteZero.into()));
            }
        }
        if let Transport::Tls(tls) = &mut self.stream {
            tls.flush().await.map_err(lost)?;
            self.unflushed = false;
        }
        Ok(())
    }
}

/// Time that an address has before the next one is tried beside it (RFC 8305).
const NEXT_ADDRESS: Duration = Duration::from_millis(250);

/// Connects to whichever address answers first: one that swallows packets holds nobody up.
async fn tcp(mut addresses: impl Iterator<Item = SocketAddr>) -> io::Result<TcpStream> {
    let mut attempts = JoinSet::new();
    let mut error = io::Error::other("the broker's name has no address");
    loop {
        let more = match addresses.next() {
            Some(address) => {
                attempts.spawn(connect(address));
                true
            }
            None if attempts.is_empty() => return Err(error),
            None => false,
        };
        tokio::select! {
            Some(done) = attempts.join_next() => match done.map_err(io::Error::other)? {
                Ok(tcp) => return Ok(tcp),
                Err(other) => error = other,
            },
            () = tokio::time::sleep(NEXT_ADDRESS), if more => {}
        }
    }
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    socket.set_nodelay(true)?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    socket.connect(address).await
}

/// A broker that ends the connection in the handshake may know no TLS, and may be about to end itself.
fn not_shaken(error: io::Error) -> LinkError {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof => LinkError::Lost(format!(
            "the broker ends the TLS handshake: perhaps it speaks no TLS at this port ({error})"
        )),
        _ => lost(error),
    }
}

fn lost(error: io::Error) -> LinkError {
    match misuse::BROKER.words_of(&error) {
        Some(words) => LinkError::Settings(words),
        None => LinkError::Lost(error.to_string()),
    }
}

/// Trust anchors and our certificate, from their files.
///
/// # Errors
/// If a file of them cannot be used.
pub fn tls_config(tls: &TlsSettings) -> Result<Arc<ClientConfig>, LinkError> {
    let bad = |path: &std::path::Path, error: String| {
        LinkError::Settings(format!("cannot use {}: {error}", path.display()))
    };
    let certificates = |path: &std::path::Path| -> Result<Vec<CertificateDer<'static>>, LinkError> {
        let all = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
        all.map_err(|error| bad(path, error.to_string()))
    };
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(certificates(&tls.ca_file)?);
    if added == 0 {
        return Err(bad(&tls.ca_file, "no certificate in it".to_owned()));
    }
    let config = ClientConfig::builder().with_root_certificates(roots);
    let config = match &tls.client_auth {
        None => config.with_no_client_auth(),
        Some((certificate, key)) => {
            let secret = PrivateKeyDer::from_pem_file(key);
            let secret = secret.map_err(|error| bad(key, error.to_string()))?;
            let config = config.with_client_auth_cert(certificates(certificate)?, secret);
            config.map_err(|error| bad(certificate, error.to_string()))?
        }
    };
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_that_swallows_packets_holds_nobody_up() {
        let local = "127.0.0.1:0".parse().unwrap();
        // With its queue full, and nobody who accepts, the first one answers no further SYN.
        let full = TcpSocket::new_v4().unwrap();
        full.bind(local).unwrap();
        let full = full.listen(0).unwrap();
        let swallows = full.local_addr().unwrap();
        let _first = TcpStream::connect(swallows).await.unwrap();
        let second = tokio::time::timeout(Duration::from_millis(300), TcpStream::connect(swallows));
        assert!(second.await.is_err(), "it must swallow");
        let listens = tokio::net::TcpListener::bind(local).await.unwrap();
        let answers = listens.local_addr().unwrap();
        let limit = Duration::from_secs(2);
        let both = tokio::time::timeout(limit, tcp([swallows, answers].into_iter()));
        let connected = both.await.expect("in time").unwrap();
        assert_eq!(connected.peer_addr().unwrap(), answers);
    }
}

//! Watches the demo from outside, as an MQTT client and a scraper, and shows what it sees.

use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::time::Duration;

use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, Packet, Publish, QoS};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, interval, sleep, timeout};

use super::feed::FAULTS;
use super::health;
use super::score::{Book, Ended, News};
use super::view::{Screen, summary};

/// Time between two drawings.
const REDRAW: Duration = Duration::from_millis(200);
/// Time between two status lines where no screen is drawn.
const PLAIN_EVERY_S: f64 = 5.0;
/// How long the last predictions may take after the last reading.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// A client whose connection is polled by a task of its own; what arrives comes through the
/// channel.
pub struct DemoClient {
    /// To publish and to subscribe.
    pub client: AsyncClient,
    /// Messages that arrived.
    pub inbox: mpsc::Receiver<Publish>,
    /// The task.
    pub polling: JoinHandle<()>,
}

/// Connects to the demo's broker.
pub fn connect(id: &str, broker: SocketAddr) -> DemoClient {
    let mut options = MqttOptions::new(id, broker.ip().to_string(), broker.port());
    options.set_max_packet_size(1 << 20, 1 << 20);
    let (client, events) = AsyncClient::new(options, 1000);
    let (sender, inbox) = mpsc::channel(10_000);
    DemoClient {
        client,
        inbox,
        polling: tokio::spawn(poll(events, sender)),
    }
}

async fn poll(mut events: EventLoop, sender: mpsc::Sender<Publish>) {
    loop {
        match events.poll().await {
            Ok(Event::Incoming(Packet::Publish(publish))) => {
                if sender.send(publish).await.is_err() {
                    return;
                }
            }
            Ok(_) => {}
            Err(error) => {
                tracing::debug!(%error, "the demo's own client lost its connection");
                sleep(Duration::from_millis(200)).await;
            }
        }
    }
}

/// The terminal's own screen while it lives; the one before afterwards.
struct Fullscreen;

impl Fullscreen {
    fn enter() -> io::Result<Fullscreen> {
        let mut out = io::stdout().lock();
        out.write_all(b"\x1b[?1049h\x1b[?25l\x1b[2J")?;
        out.flush()?;
        Ok(Fullscreen)
    }
}

impl Drop for Fullscreen {
    fn drop(&mut self) {
        let mut out = io::stdout().lock();
        // A terminal that is gone needs no restoring.
        let _ = out
            .write_all(b"\x1b[?25h\x1b[?1049l")
            .and_then(|()| out.flush());
    }
}

/// The watcher, and the operator who answers each incident once it has ended.
pub struct Show {
    screen: Screen,
    book: Book,
    terminal: bool,
    begun: Instant,
    drawn: Instant,
    told: Instant,
    newest_ms: i64,
}

impl Show {
    /// A watcher that has seen nothing; draws a screen if standard output is a terminal.
    pub fn new(hints: Vec<String>, speed: f64) -> Show {
        let now = Instant::now();
        Show {
            screen: Screen::new(hints, speed),
            book: Book::default(),
            terminal: io::stdout().is_terminal(),
            begun: now,
            drawn: now,
            told: now,
            newest_ms: i64::MIN,
        }
    }

    /// Watches until the feed ends and its last rows are predicted.
    ///
    /// # Errors
    /// If standard output is gone, or the feed failed.
    pub async fn watch(
        &mut self,
        watcher: &mut DemoClient,
        http: SocketAddr,
        mut feed: JoinHandle<Result<i64, rumqttc::ClientError>>,
    ) -> io::Result<()> {
        let DemoClient { client, inbox, .. } = watcher;
        let fullscreen = match self.terminal {
            true => Some(Fullscreen::enter()?),
            false => None,
        };
        let mut redraw = interval(REDRAW);
        let mut scrape = interval(Duration::from_secs(1));
        let mut scraping: Option<JoinHandle<io::Result<String>>> = None;
        let last_ms = loop {
            tokio::select! {
                ended = &mut feed => {
                    let last_ms = ended.map_err(io::Error::other)?;
                    break last_ms.map_err(io::Error::other)?;
                }
                publish = inbox.recv() => match publish {
                    Some(publish) => {
                        self.enter(&publish)?;
                        self.answer(client, &publish)?;
                    }
                    None => return Err(io::Error::other("the demo's client ended")),
                },
                _ = redraw.tick() => self.draw()?,
                _ = scrape.tick() => {
                    if let Some(scraping) = scraping.take()
                        && let Ok(Ok(text)) = scraping.await
                    {
                        self.screen.health = health::parse(&text);
                    }
                    scraping = Some(tokio::task::spawn_blocking(move || health::scrape(http)));
                }
            }
        };
        self.last_words(inbox, last_ms).await?;
        self.draw()?;
        drop(fullscreen);
        Ok(())
    }

    async fn last_words(
        &mut self,
        inbox: &mut mpsc::Receiver<Publish>,
        last_ms: i64,
    ) -> io::Result<()> {
        let end = Instant::now() + LAST_WORDS;
        while self.newest_ms < last_ms && Instant::now() < end {
            match timeout(REDRAW, inbox.recv()).await {
                Ok(Some(publish)) => self.enter(&publish)?,
                Ok(None) => break,
                Err(_) => self.draw()?,
            }
        }
        Ok(())
    }

    /// The closing account, to standard output.
    ///
    /// # Errors
    /// If standard output is gone.
    pub fn conclude(&self) -> io::Result<()> {
        let mut out = io::stdout().lock();
        for line in summary(&self.book.account()) {
            writeln!(out, "{line}")?;
        }
        out.flush()
    }

    fn enter(&mut self, publish: &Publish) -> io::Result<()> {
        let news = if publish.topic.starts_with(FAULTS) {
            match serde_json::from_slice(&publish.payload) {
                Ok(edge) => self.book.announce(edge),
                Err(_) => Vec::new(),
            }
        } else {
            match self.screen.predict(&publish.payload) {
                Some(seen) => {
                    self.newest_ms = self.newest_ms.max(seen.ts_ms);
                    self.book
                        .predict(&seen.stream, seen.ts_ms, seen.anomaly, seen.warming_up)
                }
                None => Vec::new(),
            }
        };
        self.tell(&news)
    }

    /// Answers an incident that has ended with the operator's verdict.
    fn answer(&mut self, client: &AsyncClient, publish: &Publish) -> io::Result<()> {
        let Some(topic) = publish.topic.strip_suffix("/anomaly") else {
            return Ok(());
        };
        let change: serde_json::Value = serde_json::from_slice(&publish.payload)?;
        if change["event"] != "closed" {
            return Ok(());
        }
        let ended: Ended = serde_json::from_value(change)?;
        let was_fault = self.book.was_fault(&ended);
        let verdict = if was_fault { "true" } else { "false" };
        let text = format!(
            "{{\"incident\":{},\"verdict\":\"{verdict}\"}}",
            ended.incident
        );
        let sent = client.try_publish(format!("{topic}/feedback"), QoS::AtLeastOnce, false, text);
        sent.map_err(io::Error::other)?;
        self.tell(&[News::Ruled(ended, was_fault)])
    }

    fn tell(&mut self, news: &[News]) -> io::Result<()> {
        for news in news {
            let line = self.screen.tell(news);
            if !self.terminal {
                self.say(&line)?;
            }
        }
        Ok(())
    }

    fn draw(&mut self) -> io::Result<()> {
        let now = Instant::now();
        self.screen.elapsed_s = (now - self.begun).as_secs_f64();
        let since = (now - self.drawn).as_secs_f64();
        if since >= REDRAW.as_secs_f64() / 2.0 {
            self.screen.sample(since);
            self.drawn = now;
        }
        if self.terminal {
            let (width, height) = terminal_size::terminal_size()
                .map_or((80, 24), |(w, h)| (usize::from(w.0), usize::from(h.0)));
            let text = self.screen.draw(&self.book.account(), width, height);
            let mut out = io::stdout().lock();
            out.write_all(text.as_bytes())?;
            return out.flush();
        }
        if (now - self.told).as_secs_f64() >= PLAIN_EVERY_S {
            self.told = now;
            for line in self.screen.plain() {
                self.say(&line)?;
            }
        }
        Ok(())
    }

    fn say(&self, line: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        writeln!(out, "{line}")?;
        out.flush()
    }
}

/// Subscribes to what the demo watches.
///
/// # Errors
/// If the client is gone.
pub async fn subscribe(client: &AsyncClient, daemon: &str) -> Result<(), rumqttc::ClientError> {
    for filter in [
        format!("{daemon}/status"),
        format!("{daemon}/+/prediction"),
        format!("{daemon}/+/anomaly"),
        format!("{FAULTS}/+"),
    ] {
        client.subscribe(filter, QoS::AtMostOnce).await?;
    }
    Ok(())
}

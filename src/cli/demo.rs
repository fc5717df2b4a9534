//! `spiked demo`: a simulated plant, a broker and the daemon in one process.
//!
//! The daemon is the one of `spiked run`; plant and watcher are clients of the broker like any
//! other. The watcher knows of faults only what is announced on a topic that the daemon does not
//! read, and of the daemon only what it publishes. It stands for the operator too, who answers each incident
//! once it has ended: a fault, or none.

#[cfg(feature = "embedded-broker")]
pub(crate) mod broker;
mod cooler;
mod faults;
mod feed;
mod health;
mod plant;
mod score;
mod sensors;
mod show;
#[cfg(test)]
mod trial;
mod view;

use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};

use self::cooler::Cooler;
use self::faults::FaultPlan;
use self::plant::{PUMPS, Plant};
use self::show::Show;
use crate::cli::{CliError, logging};
use crate::config::{self, Settings};
use crate::runtime::{self, Hooks};

/// Where simulated time begins: a Monday, 2024-01-01 06:00 UTC. Long past, so that it can run
/// faster than real time without ever overtaking it.
const START_MS: i64 = 1_704_088_800_000;

/// How long the daemon may take to connect and subscribe.
const START_UP: Duration = Duration::from_secs(10);

/// Name of the demo's daemon in its topics.
const INSTANCE: &str = "demo";

/// Arguments of `spiked demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Stop after so many seconds (default: until Ctrl-C). Faults begin after 15 s, one every 4 s
    /// or so, and one of the cooler every 9 s; 60 s hold fifteen
    #[arg(long, value_name = "N")]
    pub seconds: Option<f64>,
    /// Simulated seconds a second; each channel reports every 10 simulated seconds
    #[arg(long, value_name = "X", default_value_t = 1200.0)]
    pub speed: f64,
    /// Seed of the plant
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
}

impl DemoArgs {
    fn check(&self) -> Result<(), CliError> {
        let mut wrong = Vec::new();
        if !(1.0..=20_000.0).contains(&self.speed) {
            wrong.push(format!("--speed: 1 to 20000, got {}", self.speed));
        }
        if self.seconds.is_some_and(|s| !(0.1..=1e6).contains(&s)) {
            let got = self.seconds.unwrap_or_default();
            wrong.push(format!("--seconds: 0.1 to 1000000, got {got}"));
        }
        match wrong.is_empty() {
            true => Ok(()),
            false => Err(CliError::Config(wrong.join("\n"))),
        }
    }
}

/// Runs the demo.
///
/// # Errors
/// If it cannot start or fails while running.
pub fn run(args: DemoArgs) -> Result<(), CliError> {
    args.check()?;
    // On a terminal the log would tear the screen.
    let level = if io::stdout().is_terminal() {
        "off"
    } else {
        "warn"
    };
    logging::init(&format!("{level},rumqttd=off,rumqttc=off"))?;
    let broker = start_broker()?;
    let settings = settings(broker)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("edge")
        .enable_all()
        .build()?;
    let shown = runtime.block_on(stage(&args, broker, settings));
    runtime.shutdown_background();
    shown
}

#[cfg(feature = "embedded-broker")]
fn start_broker() -> Result<SocketAddr, CliError> {
    Ok(broker::start()?)
}

#[cfg(not(feature = "embedded-broker"))]
fn start_broker() -> Result<SocketAddr, CliError> {
    Err(CliError::Runtime(
        "this build has no broker in it: build it with the feature embedded-broker".to_owned(),
    ))
}

/// The defaults, except for addresses, for keeping nothing on disk, for what a sensor's value means, and for the
/// operator's verdicts.
fn settings(broker: SocketAddr) -> Result<Settings, CliError> {
    let n_streams = PUMPS.len() + 1;
    let mut text = format!(
        "[mqtt]\nurl = \"mqtt://{broker}\"\nclient_id = \"spiked-demo\"\n\
         # The embedded broker counts nothing.\nwatch_broker = false\n\
         [output]\ninstance = \"{INSTANCE}\"\nfeedback = \"on\"\n\
         [http]\nmax_labelled_streams = {n_streams}\n\
         [state]\ndurability = \"none\"\n"
    );
    let units = plant::CHANNELS.iter().zip(plant::UNITS);
    let units = units.chain(cooler::CHANNELS.iter().zip(cooler::UNITS));
    for (channel, unit) in units {
        let meaning = match unit {
            "" => "kind = \"binary\"".to_owned(),
            unit => format!("unit = \"{unit}\""),
        };
        text += &format!("[[channel]]\nname = \"{channel}\"\n{meaning}\n");
    }
    Ok(config::from_text(&text)?)
}

/// Daemon, plant and watcher, until the time is over or somebody presses Ctrl-C.
async fn stage(args: &DemoArgs, broker: SocketAddr, settings: Settings) -> Result<(), CliError> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let http = listener.local_addr()?;
    let hooks = Hooks {
        http: Some(listener),
        ..Hooks::default()
    };
    let (stop, stopped) = oneshot::channel::<()>();
    let daemon = runtime::serve(settings, hooks, async move {
        // Whether told to stop or left alone: both are the end.
        let _ = stopped.await;
    });
    let mut daemon = std::pin::pin!(daemon);
    let mut show = Show::new(hints(broker, http), args.speed);
    let played = tokio::select! {
        served = &mut daemon => {
            served?;
            Err(CliError::Runtime("the daemon ended by itself".to_owned()))
        }
        played = play(args, broker, http, &mut show) => played,
    };
    let _ = stop.send(());
    let served = daemon.await;
    show.conclude()?;
    writeln!(io::stdout().lock(), "\n{NEXT}")?;
    served?;
    played
}

async fn play(
    args: &DemoArgs,
    broker: SocketAddr,
    http: SocketAddr,
    show: &mut Show,
) -> Result<(), CliError> {
    for line in hints(broker, http) {
        writeln!(io::stdout().lock(), "{line}")?;
    }
    let gone = |error| CliError::Runtime(format!("the demo's client: {error}"));
    let mut watcher = show::connect("demo-watcher", broker);
    show::subscribe(&watcher.client, &format!("spiked/{INSTANCE}"))
        .await
        .map_err(gone)?;
    wait_online(&mut watcher.inbox).await?;
    let source = show::connect("demo-plant", broker);
    let plant = Plant::new(args.seed, START_MS, FaultPlan::scripted());
    let cooler = Cooler::new(args.seed, true);
    let end = args
        .seconds
        .map(|seconds| Instant::now() + Duration::from_secs_f64(seconds));
    let feed = tokio::spawn(feed::feed(source.client, plant, cooler, args.speed, end));
    tokio::select! {
        watched = show.watch(&mut watcher, http, feed) => watched?,
        signal = tokio::signal::ctrl_c() => signal?,
    }
    source.polling.abort();
    watcher.polling.abort();
    Ok(())
}

/// Waits for the daemon's `online`.
async fn wait_online(inbox: &mut mpsc::Receiver<rumqttc::Publish>) -> Result<(), CliError> {
    let online = async {
        while let Some(publish) = inbox.recv().await {
            if publish.topic.ends_with("/status") && &publish.payload[..] == b"online" {
                return true;
            }
        }
        false
    };
    match timeout(START_UP, online).await {
        Ok(true) => Ok(()),
        _ => Err(CliError::Runtime(format!(
            "the daemon is not online after {} s",
            START_UP.as_secs()
        ))),
    }
}

/// Where to look on; the page first.
fn hints(broker: SocketAddr, http: SocketAddr) -> Vec<String> {
    vec![
        format!("http://{http}/   open this page: what is wrong, where, since when, how bad"),
        format!(
            "mqtt://{broker}   what is published: mosquitto_sub -p {} -v -t 'spiked/#'",
            broker.port()
        ),
    ]
}

/// Lists commands to try after the demo.
const NEXT: &str = "\
try next, with your own data:
  spiked discover mqtt://BROKER --write spiked.toml           settings for the topics of your broker
  spiked run --config spiked.toml --state-dir .               the same page, of your plant
  spiked replay recording.csv --report report.html            what it would have found in a recording
  mosquitto_sub -h BROKER -t '#' -F '%j' > plant.log          records your broker,
  spiked replay --messages --config spiked.toml plant.log     to be replayed";

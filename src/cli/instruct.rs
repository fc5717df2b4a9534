//! `spiked mute`, `spiked unmute` and `spiked forget`: instructions to a daemon that runs, over the broker.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde_json::{Map, Value, json};

use crate::cli::CliError;
use crate::cli::run::Overrides;
use crate::config::{self, FeedbackMode, Protocol, Settings};
use crate::metrics::Class;
use crate::mqtt::{Delivered, LinkOptions, Message, V4, V5, ask};
use crate::payload::{InstructionTopic, MAX_MUTE_S};

/// Longest time until the daemon answers.
const LIMIT: Duration = Duration::from_secs(10);

/// Arguments that all instructions have.
#[derive(Debug, Args)]
pub struct Target {
    /// The stream
    #[arg(value_name = "STREAM")]
    pub stream: String,
    /// Settings of the daemon: broker, topics, token; without it, the defaults
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Overrides.
    #[command(flatten)]
    pub overrides: Overrides,
}

/// Arguments of `spiked mute`.
#[derive(Debug, Args)]
pub struct MuteArgs {
    /// How long: 90s, 30m, 8h or 2d
    #[arg(long = "for", value_name = "TIME", value_parser = seconds)]
    pub for_s: f64,
    /// Only this channel
    #[arg(long, value_name = "NAME")]
    pub channel: Option<String>,
    /// Where to.
    #[command(flatten)]
    pub target: Target,
}

/// Arguments of `spiked unmute`.
#[derive(Debug, Args)]
pub struct UnmuteArgs {
    /// Only this channel
    #[arg(long, value_name = "NAME")]
    pub channel: Option<String>,
    /// Where to.
    #[command(flatten)]
    pub target: Target,
}

/// Arguments of `spiked forget`.
#[derive(Debug, Args)]
pub struct ForgetArgs {
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
    /// Where to.
    #[command(flatten)]
    pub target: Target,
}

/// A time such as `90s`, `30m`, `8h` or `2d`, in seconds.
fn seconds(text: &str) -> Result<f64, String> {
    let wrong = || format!("{text:?} is no time: 90s, 30m, 8h or 2d would be one, up to 366d");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => return Err(wrong()),
    };
    let seconds = digits.parse::<f64>().map_err(|_| wrong())? * unit;
    let allowed = seconds > 0.0 && seconds <= MAX_MUTE_S;
    allowed.then_some(seconds).ok_or_else(wrong)
}

/// Raises no incidents and learns nothing of a stream, or of one channel, for a time.
///
/// # Errors
/// If the settings are wrong, the broker cannot be reached or the daemon does not answer.
pub fn mute(args: MuteArgs) -> Result<(), CliError> {
    let payload = json!({ "for_s": args.for_s, "channel": args.channel });
    instruct(&args.target, InstructionTopic::Mute, payload)
}

/// Ends a mute before its time.
///
/// # Errors
/// As [`mute`].
pub fn unmute(args: UnmuteArgs) -> Result<(), CliError> {
    let payload = json!({ "for_s": 0, "channel": args.channel });
    instruct(&args.target, InstructionTopic::Mute, payload)
}

/// Has a stream learn anew.
///
/// # Errors
/// As [`mute`]; also where nobody confirms it.
pub fn forget(args: ForgetArgs) -> Result<(), CliError> {
    let stream = &args.target.stream;
    if !args.yes {
        let mut stderr = std::io::stderr().lock();
        write!(
            stderr,
            "Everything learned of stream {stream} will be lost. Type its name to go on: "
        )?;
        stderr.flush()?;
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer)?;
        if answer.trim_end_matches(['\r', '\n']) != stream {
            return Err(CliError::Config(
                "nothing is forgotten; --yes does not ask".to_owned(),
            ));
        }
    }
    let payload = json!({ "stream": stream });
    instruct(&args.target, InstructionTopic::Forget, payload)
}

/// Publishes the instruction and waits until the daemon has published how the stream stands.
fn instruct(target: &Target, topic: InstructionTopic, payload: Value) -> Result<(), CliError> {
    let settings = config::load(target.config.as_deref(), &target.overrides.pairs()?)?;
    let output = &settings.output;
    let base = format!("{}/{}/{}", output.prefix, output.instance, target.stream);
    let message = Message {
        topic: format!("{base}/{}", topic.as_str()).into(),
        payload: signed(&settings, payload)?.into_bytes(),
        qos: 1,
        retain: false,
        class: Class::Status,
        arrived: None,
        kept: None,
    };
    let mut answer = None;
    let answered = publish(&settings, &format!("{base}/anomaly"), message, &mut |m| {
        // A retained message is how the stream stood before.
        answer = (!m.retain).then(|| serde_json::from_slice::<Value>(&m.payload).ok());
        answer.is_some()
    })?;
    let answer = answer.flatten().filter(|_| answered);
    let answer = answer.ok_or_else(|| CliError::Runtime(no_answer(target, &settings)))?;
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{}", state_in_words(&target.stream, &answer))?;
    Ok(())
}

/// The payload with the token that the daemon asks for.
fn signed(settings: &Settings, payload: Value) -> Result<String, CliError> {
    let mut members: Map<String, Value> = payload.as_object().cloned().unwrap_or_default();
    members.retain(|_, value| !value.is_null());
    match settings.output.feedback {
        FeedbackMode::Off => {
            return Err(CliError::Config(
                "output.feedback is \"off\": the daemon takes no instructions; \"on\" or \"token\" \
                 would have it listen (a restart is needed)"
                    .to_owned(),
            ));
        }
        FeedbackMode::On => {}
        FeedbackMode::Token => {
            let token = settings.output.feedback_token.clone();
            members.insert("token".to_owned(), token.into());
        }
    }
    Ok(Value::Object(members).to_string())
}

fn publish(
    settings: &Settings,
    answers: &str,
    message: Message,
    is_answer: &mut dyn FnMut(&Delivered) -> bool,
) -> Result<bool, CliError> {
    let mqtt = &settings.mqtt;
    let mut options = LinkOptions {
        mqtt: mqtt.clone(),
        status_topic: None,
        clean_session: true,
    };
    options.mqtt.client_id = format!("{}-instruct-{}", mqtt.client_id, std::process::id());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let asked = runtime.block_on(async {
        match mqtt.protocol {
            Protocol::V3 => ask::<V4>(&options, answers, message, LIMIT, is_answer).await,
            Protocol::V5 => ask::<V5>(&options, answers, message, LIMIT, is_answer).await,
        }
    });
    let broker = format!("{}:{}", mqtt.host, mqtt.port);
    asked.map_err(|error| CliError::Runtime(format!("broker {broker}: {error}")))
}

fn no_answer(target: &Target, settings: &Settings) -> String {
    let output = &settings.output;
    format!(
        "published, but no daemon has answered within {} s: either none of prefix {} and instance {} \
         runs, or it knows no stream {} or channel of that name (its log says so), or it takes no \
         instructions, or the broker lets this user not publish them",
        LIMIT.as_secs(),
        output.prefix,
        output.instance,
        target.stream
    )
}

/// How the stream stands by its anomaly message.
fn state_in_words(stream: &str, answer: &Value) -> String {
    let channels = answer["muted_channels"].as_u64().unwrap_or(0);
    let until = answer["muted_until"]
        .as_i64()
        .map(jiff::Timestamp::from_millisecond);
    let mut words = match until {
        Some(Ok(until)) => format!("muted until {until:.0}"),
        _ if channels == 1 => "one channel is muted".to_owned(),
        _ if channels > 1 => format!("{channels} channels are muted"),
        _ => "nothing is muted".to_owned(),
    };
    if answer["warming_up"] == 1 {
        words.push_str(", warms up");
    }
    format!("{stream}: {words}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_their_unit_and_nothing_else_is() {
        for (text, s) in [
            ("90s", 90.0),
            ("30m", 1800.0),
            ("1.5h", 5400.0),
            ("2d", 172_800.0),
        ] {
            assert_eq!(seconds(text), Ok(s), "{text}");
        }
        for text in ["", "90", "h", "0s", "-1h", "1e9d", "nanh", "1w"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_answer_is_put_in_words() {
        let said = |answer| state_in_words("press", &answer);
        assert_eq!(
            said(json!({"muted_until": 1_700_000_000_400_i64, "muted_channels": 2})),
            "press: muted until 2023-11-14T22:13:20Z"
        );
        assert_eq!(
            said(json!({"muted_channels": 1})),
            "press: one channel is muted"
        );
        assert_eq!(
            said(json!({"warming_up": 1})),
            "press: nothing is muted, warms up"
        );
        assert_eq!(said(json!({"warming_up": 0})), "press: nothing is muted");
    }
}

//! The command line: one file a command, and the way from an error to an exit code.

pub mod backup;
pub mod check;
#[cfg(feature = "jetstream")]
pub mod cluster;
pub mod demo;
pub mod discover;
pub mod fit;
pub mod inspect;
pub mod instruct;
mod listen;
pub mod logging;
mod needs;
mod reload;
pub mod replay;
pub mod run;

use std::io::Write;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

/// Exit code of a bad configuration or bad arguments (`EX_USAGE`).
pub const EXIT_CONFIG: u8 = 64;
/// Exit code of a failure while running.
pub const EXIT_RUNTIME: u8 = 1;

/// Why a command failed, and with which exit code.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The configuration or the arguments are wrong: exit code 64.
    #[error("{0}")]
    Config(String),
    /// Something failed while running: exit code 1.
    #[error("{0}")]
    Runtime(String),
    /// Whoever read our output has had enough (`spiked inspect … | head`): exit code 0, no words.
    #[error("")]
    Unread,
}

impl CliError {
    /// The process's exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            CliError::Config(_) => EXIT_CONFIG,
            CliError::Runtime(_) => EXIT_RUNTIME,
            CliError::Unread => 0,
        }
    }
}

impl From<crate::config::ConfigError> for CliError {
    fn from(error: crate::config::ConfigError) -> CliError {
        CliError::Config(error.to_string())
    }
}

impl From<crate::runtime::ServeError> for CliError {
    fn from(error: crate::runtime::ServeError) -> CliError {
        match error {
            crate::runtime::ServeError::Mqtt(_) | crate::runtime::ServeError::Cluster(_) => {
                CliError::Config(error.to_string())
            }
            other => CliError::Runtime(other.to_string()),
        }
    }
}

impl From<std::io::Error> for CliError {
    fn from(error: std::io::Error) -> CliError {
        match error.kind() {
            std::io::ErrorKind::BrokenPipe => CliError::Unread,
            _ => CliError::Runtime(error.to_string()),
        }
    }
}

/// Learns online, over MQTT, what a plant's sensors normally do; publishes predictions with their
/// uncertainty, and flags.
#[derive(Debug, Parser)]
#[command(
    name = "spiked",
    version,
    after_help = "Start here:\n  \
        spiked demo                                  a simulated plant, all in one process\n  \
        spiked replay --config config/minimal.toml recording.csv\n  \
        spiked check --config config/spiked.toml     what would run, and what is wrong with it\n  \
        spiked run --mqtt-url mqtt://HOST --state-dir .   a first trial, kept in this directory\n\n\
        Exit codes: 0 all went well, 64 bad configuration or arguments, 1 failed while running."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Watch it learn: a simulated plant, a broker and the daemon in one process
    Demo(demo::DemoArgs),
    /// Run the service: subscribe, learn, publish predictions and flags until told to stop
    Run(run::RunArgs),
    /// Listen to a broker, recognise what runs on it, and propose a configuration
    Discover(discover::DiscoverArgs),
    /// Say everything that is wrong with a configuration, or print the effective settings
    Check(check::CheckArgs),
    /// Try it on recordings: the daemon's engine over CSV files, faster than real time
    Replay(Box<replay::ReplayArgs>),
    /// Learn a table offline, and report test figures after every pass
    Fit(Box<fit::FitArgs>),
    /// Look into a state directory: streams, snapshots, journal, incidents
    Inspect(inspect::InspectArgs),
    /// Say which worker of a cluster has what, and what the last commits hold
    #[cfg(feature = "jetstream")]
    Cluster(cluster::ClusterArgs),
    /// Raise no incidents and learn nothing of a stream for a time, while work is done there
    Mute(instruct::MuteArgs),
    /// End a mute before its time
    Unmute(instruct::UnmuteArgs),
    /// Have a stream learn anew, after a sensor was replaced
    Forget(instruct::ForgetArgs),
    /// Copy the state to a file, also while the service runs
    Backup(backup::BackupArgs),
    /// Put such a copy in the place of the state; the service must not run
    Restore(backup::BackupArgs),
    /// Print the completion script for a shell
    #[command(hide = true)]
    Completions {
        /// Shell to print for
        shell: clap_complete::Shell,
    },
    /// Print the manual page (roff), or write those of all commands
    #[command(hide = true)]
    Manpage {
        /// Folder for spiked.1, spiked-run.1 and so on
        folder: Option<std::path::PathBuf>,
    },
}

/// Parses the process's arguments and runs the command.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors; clap prints them to standard output.
            let code = if error.use_stderr() { EXIT_CONFIG } else { 0 };
            return if error.print().is_ok() {
                ExitCode::from(code)
            } else {
                ExitCode::from(EXIT_RUNTIME)
            };
        }
    };
    match dispatch(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let message = error.to_string();
            if !message.is_empty() {
                let mut stderr = std::io::stderr().lock();
                // Nothing can be done when even standard error is closed.
                let _ = writeln!(stderr, "spiked: {message}");
            }
            ExitCode::from(error.exit_code())
        }
    }
}

fn dispatch(command: Command) -> Result<(), CliError> {
    match command {
        Command::Demo(args) => demo::run(args),
        Command::Run(args) => run::run(args),
        Command::Discover(args) => discover::run(args),
        Command::Check(args) => check::run(args),
        Command::Replay(args) => replay::run(*args),
        Command::Fit(args) => fit::run(*args),
        Command::Inspect(args) => inspect::run(args),
        #[cfg(feature = "jetstream")]
        Command::Cluster(args) => cluster::run(args),
        Command::Mute(args) => instruct::mute(args),
        Command::Unmute(args) => instruct::unmute(args),
        Command::Forget(args) => instruct::forget(args),
        Command::Backup(args) => backup::backup(args),
        Command::Restore(args) => backup::restore(args),
        Command::Completions { shell } => completions(shell),
        Command::Manpage { folder } => manpage(folder.as_deref()),
    }
}

fn completions(shell: clap_complete::Shell) -> Result<(), CliError> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "spiked", &mut script);
    std::io::stdout().write_all(&script)?;
    Ok(())
}

fn manpage(folder: Option<&std::path::Path>) -> Result<(), CliError> {
    if let Some(folder) = folder {
        std::fs::create_dir_all(folder)?;
        clap_mangen::generate_to(Cli::command(), folder)?;
        return Ok(());
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(Cli::command()).render(&mut page)?;
    std::io::stdout().write_all(&page)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn exit_codes_are_those_that_scripts_rely_on() {
        assert_eq!(CliError::Config(String::new()).exit_code(), 64);
        assert_eq!(CliError::Runtime(String::new()).exit_code(), 1);
    }
}

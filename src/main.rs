//! The binary: parses the arguments, calls the command, turns its error into an exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    spiked::cli::main()
}

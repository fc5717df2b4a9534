//! The binary: parses the arguments, calls the command, turns its error into an exit code.

use std::process::ExitCode;

/// Gives memory back to the system within seconds of a stream's eviction.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    spiked::cli::main()
}

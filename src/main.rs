//! spiked
fn main() {}

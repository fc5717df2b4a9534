//! Times as people, devices and programs write them, to unix milliseconds.
//!
//! One scanner ([`civil`]) reads dates and times of day for messages and tables alike; jiff has the
//! zones' rules, ISO 8601 with offsets, and the patterns of `strftime`.

pub(crate) mod civil;
mod moment;
mod unit;

pub(crate) use civil::DateOrder;
pub(crate) use moment::by_pattern;
pub(crate) use moment::in_order;
pub use moment::{ParsedTime, check_format, parse_moment, parse_zone};
pub use unit::TimeUnit;

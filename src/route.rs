//! Topic to stream and channel.

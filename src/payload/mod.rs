//! Payload formats, one file each: bytes to readings, outcomes to bytes.

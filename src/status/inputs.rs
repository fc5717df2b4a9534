//! Counts what came by each input, for whoever wants to see whether messages arrive and are understood.

/// Messages that came by one input.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InputCount {
    /// Its topic, as it is subscribed to.
    pub filter: String,
    /// Messages.
    pub messages: u64,
    /// Readings that were accepted from them.
    pub readings: u64,
    /// Messages that were refused, or parts of them.
    pub refused: u64,
    /// Arrival of the newest, unix milliseconds; 0 before the first.
    pub newest_ms: i64,
    /// Topic of the newest.
    pub newest_topic: String,
}

impl InputCount {
    /// Nothing came yet.
    pub fn new(filter: String) -> InputCount {
        InputCount {
            filter,
            ..InputCount::default()
        }
    }

    /// Counts a message and what it gave.
    pub fn note(&mut self, topic: &str, arrival_ms: i64, readings: usize, refused: usize) {
        self.messages += 1;
        self.readings += readings as u64;
        self.refused += refused as u64;
        self.newest_ms = arrival_ms;
        // The topic changes with nearly each message: its room is used again.
        self.newest_topic.clear();
        self.newest_topic.push_str(topic);
    }
}

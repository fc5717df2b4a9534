//! Reads the journal of a carrier into the intake queue.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{error, warn};

use crate::carrier::{Carrier, JournalMessage, JournalReader};
use crate::mqtt::{Delivered, Fate, Intake, JournalPlace};
use crate::status::Status;

/// Wait before what failed is tried again.
pub(super) const AGAIN: Duration = Duration::from_millis(200);

/// Reads the journal into the intake queue, on and on, or to its end. Returns how many readings that were
/// accepted before the start it had.
pub(super) async fn read_on<C: Carrier>(
    carrier: Arc<C>,
    intake: Intake,
    shared: Arc<Status>,
    generation: u64,
    mut after: u64,
) -> u64 {
    let mut messages = Vec::new();
    let mut waiting = VecDeque::new();
    let mut accepted = 0;
    loop {
        let mut journal = match carrier.read(after).await {
            Ok(journal) => journal,
            Err(error) => {
                if shared.note_carrier(Some(format!("the journal: {error}"))) {
                    warn!(%error, "the journal cannot be read, trying again");
                }
                tokio::time::sleep(AGAIN).await;
                continue;
            }
        };
        loop {
            let came = journal.next(&mut messages).await;
            if came.is_ok() && messages.is_empty() {
                return accepted;
            }
            let arrived = Instant::now();
            for message in messages.drain(..) {
                let delivered = match message {
                    JournalMessage::Sent {
                        sequence,
                        stored_ms,
                        topic,
                        payload,
                        pending,
                    } => {
                        // A journal of messages has no holes but where some were too old.
                        let missing = sequence.saturating_sub(after + 1);
                        if missing > 0 && after > 0 {
                            error!(
                                missing,
                                after, "the journal no longer has messages that were due"
                            );
                            shared.metrics.cluster.missing.inc_by(missing);
                        }
                        after = after.max(sequence);
                        shared.metrics.messages_received.inc();
                        let place = JournalPlace {
                            sequence,
                            stored_ms,
                            generation,
                            pending,
                        };
                        Delivered {
                            topic,
                            payload,
                            journal: Some(place),
                            ..of_journal(Fate::Whole, arrived)
                        }
                    }
                    JournalMessage::Accepted { position, readings } => {
                        accepted += readings.len() as u64;
                        after = position;
                        of_journal(Fate::Accepted(readings), arrived)
                    }
                };
                waiting.push_back(delivered);
            }
            while !waiting.is_empty() {
                // Accepted readings never make room for others: they wait until nothing else does.
                let is_accepted = matches!(waiting[0].fate, Fate::Accepted(_));
                if !is_accepted || intake.is_empty() {
                    intake.put(&mut waiting);
                }
                if !waiting.is_empty() {
                    intake.room().await;
                }
            }
            if let Err(error) = came {
                if shared.note_carrier(Some(format!("the journal: {error}"))) {
                    warn!(%error, "the journal is read anew");
                }
                tokio::time::sleep(AGAIN).await;
                break;
            }
        }
    }
}

/// A message that no broker delivered.
fn of_journal(fate: Fate, arrived: Instant) -> Delivered {
    Delivered {
        topic: String::new(),
        payload: Vec::new(),
        packet_id: 0,
        dup: false,
        retain: false,
        epoch: 0,
        arrived,
        fate,
        properties: Vec::new(),
        journal: None,
    }
}

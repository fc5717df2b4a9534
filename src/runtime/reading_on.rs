//! Reads the journal of a cluster into the intake queue.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use tracing::{error, warn};

use super::membership::AGAIN;
use crate::carrier::{Carrier, JournalReader};
use crate::mqtt::{Delivered, Fate, Intake, JournalPlace};
use crate::status::Status;

/// Reads the journal into the intake queue, on and on.
pub(super) async fn read_on<C: Carrier>(
    carrier: Arc<C>,
    intake: Intake,
    shared: Arc<Status>,
    generation: u64,
    mut after: u64,
) {
    let mut messages = Vec::new();
    let mut waiting = VecDeque::new();
    loop {
        let mut journal = match carrier.read(after).await {
            Ok(journal) => journal,
            Err(error) => {
                if shared.note_cluster(Some(format!("the journal: {error}"))) {
                    warn!(%error, "the journal cannot be read, trying again");
                }
                tokio::time::sleep(AGAIN).await;
                continue;
            }
        };
        loop {
            let came = journal.next(&mut messages).await;
            let arrived = Instant::now();
            for message in messages.drain(..) {
                // A journal has no holes but where messages were too old.
                let missing = message.sequence.saturating_sub(after + 1);
                if missing > 0 && after > 0 {
                    error!(
                        missing,
                        after, "the journal no longer has messages that were due"
                    );
                    shared.metrics.cluster.missing.inc_by(missing);
                }
                after = after.max(message.sequence);
                shared.metrics.messages_received.inc();
                waiting.push_back(Delivered {
                    topic: message.topic,
                    payload: message.payload,
                    packet_id: 0,
                    dup: false,
                    retain: false,
                    epoch: 0,
                    arrived,
                    fate: Fate::Whole,
                    properties: Vec::new(),
                    journal: Some(JournalPlace {
                        sequence: message.sequence,
                        stored_ms: message.stored_ms,
                        generation,
                        pending: message.pending,
                    }),
                });
            }
            while !waiting.is_empty() {
                intake.put(&mut waiting);
                if !waiting.is_empty() {
                    intake.room().await;
                }
            }
            if let Err(error) = came {
                warn!(%error, "the journal is read anew");
                tokio::time::sleep(AGAIN).await;
                break;
            }
        }
    }
}

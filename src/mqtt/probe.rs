//! One connection, to see whether the broker would have us: for `spiked check --connect`.

use std::time::Duration;

use super::{Event, Link, LinkError, LinkSender};

/// Connects, subscribes to `filters`, disconnects. Returns whether each filter was granted.
///
/// # Errors
/// If the broker cannot be reached or refuses us within `limit`.
pub async fn probe<L: Link>(
    options: &L::Options,
    filters: &[(String, u8)],
    limit: Duration,
) -> Result<Vec<bool>, LinkError> {
    tokio::time::timeout(limit, attempt::<L>(options, filters))
        .await
        .unwrap_or_else(|_| Err(LinkError::Lost(format!("no answer within {limit:?}"))))
}

async fn attempt<L: Link>(
    options: &L::Options,
    filters: &[(String, u8)],
) -> Result<Vec<bool>, LinkError> {
    let (sender, mut link) = L::open(options, 16 << 20)?;
    let mut delivered = Vec::new();
    loop {
        match link.next(&mut delivered, true).await? {
            Event::Connected { .. } => {
                // The request waits in the connection's own queue: one fits.
                sender.subscribe(filters).await?;
            }
            Event::Subscribed(granted) => {
                sender.disconnect().await?;
                // Until the goodbye is on its way, or the broker has closed.
                while !matches!(
                    link.next(&mut delivered, true).await,
                    Ok(Event::Goodbye) | Err(_)
                ) {}
                return Ok(granted);
            }
            Event::Delivered
            | Event::Sent(_)
            | Event::Acknowledged(_)
            | Event::Goodbye
            | Event::Other => {}
        }
    }
}

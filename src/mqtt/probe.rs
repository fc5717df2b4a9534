//! One connection, to see whether the broker would have us and what comes: for `spiked check`,
//! `spiked discover` and the instructions to a daemon that runs.

use std::time::Duration;

use super::{Delivered, Event, Link, LinkError, LinkSender, Message};

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

/// Longest time until the subscriptions are answered.
const ANSWER: Duration = Duration::from_secs(10);

/// Connects, subscribes to `filters`, and hands over what comes for `time` from then on. Returns
/// whether each filter was granted.
///
/// # Errors
/// If the broker cannot be reached, refuses us or ends the connection.
pub async fn listen<L: Link>(
    options: &L::Options,
    filters: &[(String, u8)],
    time: Duration,
    each: &mut dyn FnMut(Delivered),
) -> Result<Vec<bool>, LinkError> {
    let (sender, mut link) = L::open(options, 16 << 20)?;
    let mut delivered = Vec::new();
    let mut granted = None;
    let mut until = tokio::time::Instant::now() + ANSWER;
    loop {
        let next = tokio::time::timeout_at(until, link.next(&mut delivered, true)).await;
        let ids: Vec<u16> = delivered
            .iter()
            .map(|m| m.packet_id)
            .filter(|id| *id > 0)
            .collect();
        delivered.drain(..).for_each(&mut *each);
        if !ids.is_empty() && !link.acknowledge(ids.iter().copied()) {
            sender.ack(ids).await?;
        }
        match (next, granted.take()) {
            (Err(_), Some(granted)) => return Ok(granted),
            (Err(_), None) => {
                return Err(LinkError::Lost(format!("no answer within {ANSWER:?}")));
            }
            (Ok(event), before) => {
                granted = before;
                match event? {
                    Event::Connected { .. } => sender.subscribe(filters).await?,
                    Event::Subscribed(answer) => {
                        granted = Some(answer);
                        until = tokio::time::Instant::now() + time;
                    }
                    _ => {}
                }
            }
        }
    }
}

/// Connects, subscribes to `answers`, publishes `message` and waits until `is_answer` is given what was
/// waited for. False where that does not come within `limit`.
///
/// # Errors
/// If the broker cannot be reached, refuses us or the subscription, or ends the connection.
pub async fn ask<L: Link>(
    options: &L::Options,
    answers: &str,
    message: Message,
    limit: Duration,
    is_answer: &mut dyn FnMut(&Delivered) -> bool,
) -> Result<bool, LinkError> {
    let (sender, mut link) = L::open(options, 16 << 20)?;
    let mut delivered = Vec::new();
    let mut message = Some(message);
    let until = tokio::time::Instant::now() + limit;
    loop {
        let next = tokio::time::timeout_at(until, link.next(&mut delivered, true)).await;
        if delivered.drain(..).any(|message| is_answer(&message)) {
            return Ok(true);
        }
        match next {
            Err(_) if message.is_some() => {
                return Err(LinkError::Lost(format!("no answer within {limit:?}")));
            }
            Err(_) => return Ok(false),
            Ok(event) => match event? {
                Event::Connected { .. } => sender.subscribe(&[(answers.to_owned(), 0)]).await?,
                Event::Subscribed(granted) if granted.contains(&false) => {
                    return Err(LinkError::Lost(format!("the broker refuses {answers}")));
                }
                Event::Subscribed(_) => {
                    if let Some(message) = message.take() {
                        sender.publish(message).await?;
                    }
                }
                _ => {}
            },
        }
    }
}

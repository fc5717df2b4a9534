//! The sending task: subscriptions, acknowledgements and the outbox, over whatever connection
//! there is. It never polls, so that a full request queue cannot stop it from being emptied.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use super::client_parts::{ClientParts, Connected, OpenLink, Stop, reached};
use super::out::Ack;
use super::{Link, LinkSender, Message};
use crate::progress::BEAT_EVERY;
use crate::status::lock;

/// Runs until the goodbye is asked for or the polling task has ended.
pub(super) async fn send_all<L: Link>(
    client: Arc<ClientParts<L>>,
    mut connected: watch::Receiver<Connected<L::Sender>>,
    mut acks: mpsc::UnboundedReceiver<Vec<Ack>>,
    mut goodbye: watch::Receiver<Stop>,
) {
    let mut link: Connected<L::Sender> = None;
    let mut filters = client.subscriptions.changes();
    let pulse = client
        .shared
        .pulses
        .add(format!("{:?}-sender", client.side));
    loop {
        pulse.beat();
        tokio::select! {
            () = tokio::time::sleep(BEAT_EVERY) => continue,
            changed = connected.changed() => {
                if changed.is_err() {
                    // The polling task has ended.
                    return pulse.end();
                }
                link = connected.borrow_and_update().clone();
                if let Some(OpenLink { sender, .. }) = &link {
                    welcome(&client, sender).await;
                }
            }
            Ok(()) = filters.changed() => {
                if let Some(OpenLink { sender, .. }) = &link {
                    client.subscriptions.request(sender).await;
                }
            }
            Some(some) = acks.recv() => acknowledge(&client, link.as_ref(), some, &mut acks).await,
            () = client.out.bell.notified(), if link.is_some() => {}
            () = reached(&mut goodbye, Stop::Disconnect) => {
                if let Some(link) = &link {
                    flush(&client, link, &mut acks).await;
                    // An error means that the connection has ended already.
                    let _ = link.sender.disconnect().await;
                }
                return pulse.end();
            }
        }
        if let Some(link) = &link {
            flush(&client, link, &mut acks).await;
        }
    }
}

/// Hands over everything that may be handed over now.
async fn flush<L: Link>(
    client: &ClientParts<L>,
    link: &OpenLink<L::Sender>,
    acks: &mut mpsc::UnboundedReceiver<Vec<Ack>>,
) {
    let OpenLink { epoch, sender } = link;
    loop {
        if let Ok(some) = acks.try_recv() {
            acknowledge(client, Some(link), some, acks).await;
        }
        let message = lock(&client.out.outbox).next(*epoch);
        let Some(message) = message else { return };
        // An error means that the connection has ended: the outbox has the message.
        if sender.publish(message).await.is_err() {
            return;
        }
    }
}

/// A new connection: subscribe, and say that we are here.
async fn welcome<L: Link>(client: &ClientParts<L>, sender: &L::Sender) {
    client.subscriptions.request(sender).await;
    if let Some(topic) = &client.status_topic {
        lock(&client.out.outbox).push_first(Message::status(topic, "online"));
    }
}

/// Sends `some` acknowledgements and those that wait behind them, together.
async fn acknowledge<L: Link>(
    client: &ClientParts<L>,
    link: Option<&OpenLink<L::Sender>>,
    some: Vec<Ack>,
    acks: &mut mpsc::UnboundedReceiver<Vec<Ack>>,
) {
    let mut all = some;
    while let Ok(more) = acks.try_recv() {
        all.extend(more);
    }
    let n = all.len() as u64;
    let epoch = link.map(|link| link.epoch);
    let fresh = all.iter().filter(|ack| Some(ack.epoch) == epoch);
    let fresh: Vec<u16> = fresh.map(|ack| ack.packet_id).collect();
    let n_fresh = fresh.len() as u64;
    let metrics = &client.shared.metrics;
    metrics.stale_acks.inc_by(n - n_fresh);
    if let Some(OpenLink { sender, .. }) = link
        && n_fresh > 0
        && sender.ack(fresh).await.is_ok()
    {
        metrics.acks.inc_by(n_fresh);
    }
}

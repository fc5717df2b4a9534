//! The client against a broker that plays a script.

use std::collections::VecDeque;
use std::sync::Mutex;

use tokio::sync::Notify;

use super::*;
use crate::config::Overload;
use crate::metrics::Metrics;
use crate::mqtt::LinkSender;

/// Events that one connection yields before it waits for ever.
type Script = Vec<ScriptStep>;

/// A message, or another event.
#[derive(Clone)]
enum ScriptStep {
    Message(u16),
    Event(Result<Event, LinkError>),
}

/// Actions of the client: connection number and words.
type Log = Arc<Mutex<Vec<(usize, String)>>>;

#[derive(Clone, Default)]
struct FakeBroker {
    scripts: Arc<Mutex<VecDeque<Script>>>,
    opened: Arc<Mutex<Vec<usize>>>,
    log: Log,
    /// Ends the connection that is up.
    cut: Arc<Notify>,
}

#[derive(Clone)]
struct FakeSender {
    connection: usize,
    log: Log,
    events: mpsc::UnboundedSender<Event>,
}

struct FakeLink {
    script: VecDeque<ScriptStep>,
    events: mpsc::UnboundedReceiver<Event>,
    cut: Arc<Notify>,
}

impl Link for FakeLink {
    type Options = FakeBroker;
    type Sender = FakeSender;

    fn open(broker: &FakeBroker, limit: usize) -> Result<(FakeSender, FakeLink), LinkError> {
        lock(&broker.opened).push(limit);
        let connection = lock(&broker.opened).len();
        let script = lock(&broker.scripts).pop_front().unwrap_or_default();
        let (tx, rx) = mpsc::unbounded_channel();
        let sender = FakeSender {
            connection,
            log: broker.log.clone(),
            events: tx,
        };
        let link = FakeLink {
            script: script.into(),
            events: rx,
            cut: broker.cut.clone(),
        };
        Ok((sender, link))
    }

    async fn next(
        &mut self,
        delivered: &mut Vec<Delivered>,
        read: bool,
    ) -> Result<Event, LinkError> {
        if !read {
            return std::future::pending().await;
        }
        match self.script.pop_front() {
            Some(ScriptStep::Event(event)) => return event,
            Some(ScriptStep::Message(packet_id)) => {
                delivered.push(message(packet_id));
                return Ok(Event::Delivered);
            }
            None => {}
        }
        tokio::select! {
            event = self.events.recv() => event.ok_or(LinkError::Lost("closed".into())),
            () = self.cut.notified() => Err(LinkError::Lost("cut".into())),
        }
    }
}

impl FakeSender {
    fn note(&self, what: String) -> Result<(), LinkError> {
        lock(&self.log).push((self.connection, what));
        Ok(())
    }
}

impl LinkSender for FakeSender {
    async fn publish(&self, message: Message) -> Result<(), LinkError> {
        let text = String::from_utf8_lossy(&message.payload).into_owned();
        self.note(format!("publish {text}"))?;
        let packet_id = if message.qos == 0 { 0 } else { 1 };
        let _ = self.events.send(Event::Sent(packet_id));
        Ok(())
    }

    async fn subscribe(&self, filters: &[(String, u8)]) -> Result<(), LinkError> {
        let topics: Vec<&str> = filters.iter().map(|(topic, _)| &**topic).collect();
        self.note(format!("subscribe {}", topics.join(" ")))
    }

    async fn unsubscribe(&self, filters: &[String]) -> Result<(), LinkError> {
        self.note(format!("unsubscribe {}", filters.join(" ")))
    }

    async fn ack(&self, packet_ids: Vec<u16>) -> Result<(), LinkError> {
        self.note(format!("ack {packet_ids:?}"))
    }

    async fn disconnect(&self) -> Result<(), LinkError> {
        self.note("disconnect".to_owned())?;
        let _ = self.events.send(Event::Goodbye);
        Ok(())
    }
}

fn connected() -> ScriptStep {
    ScriptStep::Event(Ok(Event::Connected {
        session_present: false,
        receive_maximum: None,
    }))
}

fn fails(error: LinkError) -> ScriptStep {
    ScriptStep::Event(Err(error))
}

fn message(packet_id: u16) -> Delivered {
    Delivered {
        topic: "t".into(),
        payload: b"1".to_vec(),
        packet_id,
        dup: false,
        retain: false,
        epoch: 0,
        arrived: Instant::now(),
        fate: crate::mqtt::Fate::Whole,
        properties: Vec::new(),
        journal: None,
    }
}

struct Fixture {
    broker: FakeBroker,
    intake: Intake,
    shared: Arc<Status>,
    handles: ClientHandles,
}

fn fixture(scripts: Vec<Script>) -> Fixture {
    let broker = FakeBroker::default();
    *lock(&broker.scripts) = scripts.into();
    let shared = Arc::new(Status::new(Metrics::new().unwrap(), 0, 0));
    // The other connection is none of this test's business.
    shared.set_connected(ConnectionRole::Publisher, true);
    shared.end_recovery();
    let intake = Intake::new(10, Overload::Block);
    let handles = start::<FakeLink>(Client {
        side: ConnectionRole::Subscriber,
        may_connect: tokio::sync::watch::channel(true).1,
        options: broker.clone(),
        filters: Filters {
            needed: vec![("plant/+/+".to_owned(), 1)],
            optional: vec![("feedback".to_owned(), 1), (DROPPED_TOPIC.to_owned(), 0)],
            former: Vec::new(),
        },
        status_topic: Some("status".into()),
        reconnect_max: Duration::from_millis(10),
        intake: intake.clone(),
        max_payload_bytes: 1000,
        acks_at_once: false,
        outbox: Outbox::new(10, 4),
        shared: shared.clone(),
        delivered: Box::new(|_| {}),
    });
    Fixture {
        broker,
        intake,
        shared,
        handles,
    }
}

impl Fixture {
    fn log(&self) -> Vec<(usize, String)> {
        lock(&self.broker.log).clone()
    }

    async fn until(&self, what: &str, mut holds: impl FnMut(&Fixture) -> bool) {
        for _ in 0..500 {
            if holds(self) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("{what} never came; the client did {:?}", self.log());
    }
}

fn has(log: &[(usize, String)], connection: usize, what: &str) -> bool {
    log.iter().any(|(c, text)| *c == connection && text == what)
}

#[tokio::test]
async fn each_connection_subscribes_and_says_that_it_is_online() {
    let lost = fails(LinkError::Lost("x".into()));
    let fixture = fixture(vec![vec![lost], vec![connected()], vec![connected()]]);
    fixture
        .until("online", |f| has(&f.log(), 2, "publish online"))
        .await;
    fixture.broker.cut.notify_one();
    fixture
        .until("online again", |f| has(&f.log(), 3, "publish online"))
        .await;
    let all = format!("subscribe plant/+/+ feedback {DROPPED_TOPIC}");
    assert!(has(&fixture.log(), 2, &all));
    // The broker ended the second without an answer: perhaps for what it does not permit.
    let needed = "subscribe plant/+/+ feedback";
    assert!(has(&fixture.log(), 3, needed), "{:?}", fixture.log());
    assert_eq!(fixture.shared.metrics.broker_connections.get(), 2);
    assert_eq!(fixture.shared.metrics.broker_failures.get(), 2);
}

#[tokio::test]
async fn other_filters_are_subscribed_to_while_the_connection_is_up_and_after_it() {
    let refused = ScriptStep::Event(Ok(Event::Subscribed(vec![false, true, true])));
    let fixture = fixture(vec![vec![connected()], vec![connected(), refused]]);
    fixture
        .until("online", |f| has(&f.log(), 1, "publish online"))
        .await;
    let other = vec![("site/+/+".to_owned(), 1)];
    let change = |filters: &mut Filters| filters.replace_needed(other);
    fixture.handles.filters.send_modify(change);
    let wanted = format!("subscribe site/+/+ feedback {DROPPED_TOPIC}");
    let former = "unsubscribe plant/+/+";
    fixture
        .until("the change", |f| has(&f.log(), 1, former))
        .await;
    assert!(has(&fixture.log(), 1, &wanted), "{:?}", fixture.log());
    fixture.broker.cut.notify_one();
    fixture
        .until("the same again", |f| has(&f.log(), 2, former))
        .await;
    assert_eq!(fixture.shared.health().reasons, ["not subscribed"]);
}

#[tokio::test]
async fn an_acknowledgement_for_a_lost_connection_is_dropped() {
    let fixture = fixture(vec![
        vec![
            connected(),
            ScriptStep::Message(7),
            fails(LinkError::Lost("x".into())),
        ],
        vec![connected(), ScriptStep::Message(7), ScriptStep::Message(8)],
    ]);
    fixture
        .until("three deliveries", |f| f.intake.len() == 3)
        .await;
    let mut messages = VecDeque::new();
    fixture.intake.recv(&mut messages, 10, Duration::ZERO);
    let acks: Vec<Ack> = messages.iter().filter_map(Ack::of).collect();
    assert_eq!(acks.len(), 3);
    fixture.handles.acks.send(acks).unwrap();
    fixture
        .until("the acknowledgements", |f| has(&f.log(), 2, "ack [7, 8]"))
        .await;
    assert_eq!(fixture.shared.metrics.stale_acks.get(), 1);
    assert_eq!(fixture.shared.metrics.acks.get(), 2);
}

#[tokio::test]
async fn a_refused_subscription_is_not_ready_and_a_granted_one_is() {
    let fixture = fixture(vec![
        vec![
            connected(),
            ScriptStep::Event(Ok(Event::Subscribed(vec![false]))),
        ],
        vec![
            connected(),
            ScriptStep::Event(Ok(Event::Subscribed(vec![true]))),
        ],
    ]);
    fixture
        .until("the first connection", |f| {
            has(&f.log(), 1, "publish online")
        })
        .await;
    assert_eq!(fixture.shared.health().reasons, ["not subscribed"]);
    fixture.broker.cut.notify_one();
    fixture.until("ready", |f| f.shared.health().ready).await;
}

#[tokio::test]
async fn what_was_read_is_taken_though_the_connection_has_ended_and_the_queue_is_full() {
    let messages = (1..=15).map(ScriptStep::Message);
    let mut script = vec![connected()];
    script.extend(messages);
    script.push(fails(LinkError::Lost("x".into())));
    let fixture = fixture(vec![script, vec![connected()]]);
    fixture
        .until("a full queue", |f| f.intake.len() == 10)
        .await;
    let mut taken = VecDeque::new();
    for _ in 0..200 {
        fixture.intake.recv(&mut taken, 2, Duration::ZERO);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let ids: Vec<u16> = taken.iter().map(|message| message.packet_id).collect();
    assert_eq!(ids, (1..=15).collect::<Vec<u16>>());
}

#[tokio::test]
async fn what_was_sent_and_not_acknowledged_is_sent_again() {
    let fixture = fixture(vec![vec![connected()], vec![connected()]]);
    fixture.handles.out.push(Message {
        topic: "anomaly".into(),
        payload: b"flag".to_vec(),
        qos: 1,
        retain: true,
        class: Class::Anomaly,
        arrived: None,
        kept: None,
    });
    fixture
        .until("the flag", |f| has(&f.log(), 1, "publish flag"))
        .await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    fixture.broker.cut.notify_one();
    fixture
        .until("the flag again", |f| has(&f.log(), 2, "publish flag"))
        .await;
    assert_eq!(fixture.shared.metrics.resent.get(), 1);
}

#[tokio::test]
async fn the_end_says_offline_and_disconnects() {
    let fixture = fixture(vec![vec![connected()]]);
    fixture
        .until("online", |f| has(&f.log(), 1, "publish online"))
        .await;
    let deadline = tokio::time::Instant::now() + Duration::from_millis(700);
    let Fixture {
        broker,
        shared,
        handles,
        ..
    } = fixture;
    // This broker never acknowledges: the deadline ends the wait.
    assert!(!handles.finish(deadline, &shared).await);
    let log = lock(&broker.log).clone();
    assert!(has(&log, 1, "publish offline"), "{log:?}");
    assert_eq!(log.last().unwrap().1, "disconnect", "{log:?}");
}

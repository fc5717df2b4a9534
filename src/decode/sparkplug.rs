//! Sparkplug B sessions: births give metrics their names, data may use aliases alone.
//!
//! A node whose births were not heard, or that left out a sequence number, is asked for them once
//! (`NCMD` with `Node Control/Rebirth`), again only after its next birth or after a minute. Deaths
//! are silence of the node or device.

use std::borrow::Cow;
use std::collections::HashMap;

use crate::payload::node::Node;
use crate::payload::{Reject, SparkplugMetrics, SparkplugValue, rebirth_request};

/// Nodes remembered; data of further ones are read where they have names.
const MAX_NODES: usize = 10_000;
/// Aliases remembered of a node.
const MAX_ALIASES: usize = 100_000;
/// Time between two requests to one node, milliseconds.
const ASK_EVERY_MS: i64 = 60_000;

/// A message to be published: a request to a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeCommand {
    /// Topic.
    pub topic: String,
    /// Payload.
    pub payload: Vec<u8>,
}

/// State of one edge node.
#[derive(Clone, Debug, Default)]
struct EdgeNode {
    /// Name and data type by alias; aliases are unique within a node.
    aliases: HashMap<u64, (String, Option<u32>)>,
    /// Data types by device and name.
    types: HashMap<(String, String), u32>,
    seq: Option<u64>,
    born: bool,
    asked_ms: Option<i64>,
}

/// The sessions of all edge nodes.
#[derive(Clone, Debug, Default)]
pub struct Sessions {
    nodes: HashMap<(String, String), EdgeNode>,
    commands: Vec<NodeCommand>,
    gaps: u64,
    /// Texts are wanted: they may name states.
    pub wants_words: bool,
}

/// A Sparkplug topic: `spBv1.0/GROUP/TYPE/NODE[/DEVICE]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SparkplugTopic<'a> {
    /// Group.
    pub group: &'a str,
    /// Kind of message, such as `NBIRTH`.
    pub kind: &'a str,
    /// Edge node.
    pub node: &'a str,
    /// Device; empty for the node itself.
    pub device: &'a str,
}

impl<'a> SparkplugTopic<'a> {
    /// Reads a topic; `None` for one that is none of Sparkplug's.
    pub fn new(topic: &'a str) -> Option<SparkplugTopic<'a>> {
        let mut levels = topic.split('/');
        if levels.next()? != "spBv1.0" {
            return None;
        }
        let (group, kind, node) = (levels.next()?, levels.next()?, levels.next()?);
        let device = levels.next().unwrap_or_default();
        levels.next().is_none().then_some(SparkplugTopic {
            group,
            kind,
            node,
            device,
        })
    }

    /// The topic without the kind of message: the source of the readings.
    pub fn source(&self) -> String {
        format!("spBv1.0/{}/*/{}/{}", self.group, self.node, self.device)
    }
}

impl Sessions {
    /// Takes a payload; returns the records that it gives, with `name`, `value` and `ts`, and the
    /// number of metrics that are unknown or no measurements.
    ///
    /// # Errors
    /// [`Reject::UnknownMetric`] for data without any metric that is known.
    pub fn records(
        &mut self,
        topic: &SparkplugTopic<'_>,
        payload: SparkplugMetrics,
        now_ms: i64,
    ) -> Result<Node<'static>, Reject> {
        let key = (topic.group.to_owned(), topic.node.to_owned());
        if !self.nodes.contains_key(&key) && self.nodes.len() >= MAX_NODES {
            self.nodes.clear();
        }
        let node = self.nodes.entry(key).or_default();
        match topic.kind {
            "NBIRTH" => {
                *node = EdgeNode {
                    seq: payload.seq,
                    born: true,
                    ..EdgeNode::default()
                };
            }
            "NDEATH" => {
                node.seq = None;
                return Ok(Node::Array(Vec::new()));
            }
            "DBIRTH" | "DDEATH" | "NDATA" | "DDATA" => {
                let gap = follow(node, payload.seq);
                self.gaps += u64::from(gap);
                if gap || (!node.born && topic.kind != "DDEATH") {
                    ask(node, topic, now_ms, &mut self.commands);
                }
            }
            // Commands of others, and what later versions may add.
            _ => return Ok(Node::Array(Vec::new())),
        }
        let is_birth = topic.kind.ends_with("BIRTH");
        let (mut records, mut unknown) = (Vec::new(), 0);
        for metric in payload.metrics {
            let known = metric.alias.and_then(|alias| node.aliases.get(&alias));
            let name = match (&metric.name, known) {
                (Some(name), _) => name.clone(),
                (None, Some((name, _))) => name.clone(),
                (None, None) => {
                    unknown += 1;
                    continue;
                }
            };
            let by_name = (topic.device.to_owned(), name.clone());
            let datatype = metric
                .datatype
                .or(known.and_then(|(_, datatype)| *datatype))
                .or_else(|| node.types.get(&by_name).copied());
            if is_birth && node.aliases.len() < MAX_ALIASES {
                if let Some(alias) = metric.alias {
                    node.aliases.insert(alias, (name.clone(), metric.datatype));
                } else if let Some(datatype) = metric.datatype {
                    node.types.insert(by_name, datatype);
                }
            }
            // The node's own: sequence of births, and what can be asked of it.
            if name == "bdSeq" || name.starts_with("Node Control/") {
                continue;
            }
            let value = match metric.value(datatype) {
                SparkplugValue::Number(x) => Node::Number(x),
                SparkplugValue::Text(text) if self.wants_words => Node::Text(Cow::Owned(text)),
                SparkplugValue::Text(_) | SparkplugValue::None => continue,
            };
            let mut record = vec![
                (Cow::Borrowed("name"), Node::Text(Cow::Owned(name))),
                (Cow::Borrowed("value"), value),
            ];
            if let Some(ts_ms) = metric.ts_ms {
                record.push((Cow::Borrowed("ts"), Node::Whole(ts_ms)));
            }
            records.push(Node::Object(record));
        }
        if unknown > 0 {
            ask(node, topic, now_ms, &mut self.commands);
        }
        match records.is_empty() && unknown > 0 {
            true => Err(Reject::UnknownMetric),
            false => Ok(Node::Array(records)),
        }
    }

    /// Requests to be published.
    pub fn commands(&mut self) -> std::vec::Drain<'_, NodeCommand> {
        self.commands.drain(..)
    }

    /// Gaps in the sequence numbers so far.
    pub fn gaps(&self) -> u64 {
        self.gaps
    }
}

/// Follows the sequence number; true where one was left out.
fn follow(node: &mut EdgeNode, seq: Option<u64>) -> bool {
    let before = std::mem::replace(&mut node.seq, seq);
    match (before, seq) {
        (Some(before), Some(seq)) => seq != (before + 1) % 256,
        _ => false,
    }
}

/// Asks a node for its births, unless that was done a moment ago.
fn ask(
    node: &mut EdgeNode,
    topic: &SparkplugTopic<'_>,
    now_ms: i64,
    commands: &mut Vec<NodeCommand>,
) {
    if node
        .asked_ms
        .is_some_and(|at| (0..ASK_EVERY_MS).contains(&(now_ms - at)))
    {
        return;
    }
    node.asked_ms = Some(now_ms);
    commands.push(NodeCommand {
        topic: format!("spBv1.0/{}/NCMD/{}", topic.group, topic.node),
        payload: rebirth_request(now_ms),
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::{encode_sparkplug, parse_sparkplug};

    type Sent<'a> = (Option<&'a str>, Option<u64>, f64);

    fn send(
        sessions: &mut Sessions,
        topic: &str,
        seq: Option<u64>,
        metrics: &[Sent<'_>],
    ) -> Result<Vec<String>, Reject> {
        let payload = parse_sparkplug(&encode_sparkplug(5000, seq, metrics)).unwrap();
        let topic = SparkplugTopic::new(topic).unwrap();
        let Node::Array(records) = sessions.records(&topic, payload, 0)? else {
            panic!("no list");
        };
        let names = records.iter().map(|record| {
            let mut text = String::new();
            record.get("name").unwrap().write(&mut text);
            text.push('=');
            record.get("value").unwrap().write(&mut text);
            text
        });
        Ok(names.collect())
    }

    #[test]
    fn aliases_stand_for_the_names_of_the_birth_and_strangers_are_asked_for() {
        let s = &mut Sessions::default();
        let data: &[Sent<'_>] = &[(None, Some(7), 2.0)];
        assert_eq!(
            send(s, "spBv1.0/g/NDATA/n", Some(3), data),
            Err(Reject::UnknownMetric)
        );
        let asked: Vec<NodeCommand> = s.commands().collect();
        assert_eq!(asked[0].topic, "spBv1.0/g/NCMD/n");
        assert_eq!(
            send(s, "spBv1.0/g/NDATA/n", Some(4), data),
            Err(Reject::UnknownMetric)
        );
        assert_eq!(s.commands().count(), 0, "asked once");
        let birth: &[Sent<'_>] = &[(Some("bdSeq"), None, 0.0), (Some("Temp/Oil"), Some(7), 1.0)];
        let born = send(s, "spBv1.0/g/NBIRTH/n", Some(0), birth);
        assert_eq!(born, Ok(vec!["Temp/Oil=1".to_owned()]));
        let read = send(s, "spBv1.0/g/NDATA/n", Some(1), data);
        assert_eq!(read, Ok(vec!["Temp/Oil=2".to_owned()]));
        assert_eq!((s.gaps(), s.commands().count()), (0, 0));
        assert_eq!(
            send(s, "spBv1.0/g/NDATA/n", Some(3), data).unwrap().len(),
            1
        );
        assert_eq!((s.gaps(), s.commands().count()), (1, 1));
        assert_eq!(send(s, "spBv1.0/g/NDEATH/n", None, &[]), Ok(vec![]));
    }

    #[test]
    fn after_a_restart_aliases_of_a_device_are_read_once_its_node_is_born_again() {
        let data: &[Sent<'_>] = &[(None, Some(10), 2.0)];
        let birth: &[Sent<'_>] = &[(Some("Temp"), Some(10), 1.0)];
        let session = |s: &mut Sessions| {
            send(s, "spBv1.0/g/NBIRTH/n", Some(0), &[]).unwrap();
            send(s, "spBv1.0/g/DBIRTH/n/press", Some(1), birth).unwrap();
            send(s, "spBv1.0/g/DDATA/n/press", Some(2), data)
        };
        assert_eq!(
            session(&mut Sessions::default()),
            Ok(vec!["Temp=2".to_owned()])
        );
        // The daemon starts anew: what it knew of aliases is gone.
        let s = &mut Sessions::default();
        let first = send(s, "spBv1.0/g/DDATA/n/press", Some(3), data);
        assert_eq!(first, Err(Reject::UnknownMetric));
        let asked: Vec<NodeCommand> = s.commands().collect();
        assert_eq!(asked.len(), 1);
        assert_eq!(asked[0].topic, "spBv1.0/g/NCMD/n");
        let request = parse_sparkplug(&asked[0].payload).unwrap();
        assert_eq!(
            request.metrics[0].name.as_deref(),
            Some("Node Control/Rebirth")
        );
        assert_eq!(session(s), Ok(vec!["Temp=2".to_owned()]));
        assert_eq!((s.gaps(), s.commands().count()), (0, 0));
    }
}

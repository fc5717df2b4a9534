//! Learns online, over MQTT, the normal behaviour of a plant's sensors.
//!
//! The modules stand on four floors. Imports go down only, and no circle of modules exists; a test checks
//! both. In reading order:
//!
//! | floor | rooms | knows |
//! |---|---|---|
//! | 0 numbers | [`num`] | std only |
//! | 1 model | [`ep`], [`encode`] | arrays and a passed-in RNG: no I/O, no clock |
//! | 2 stream | [`row`], `glob`, [`time`], [`payload`], [`route`], [`decode`], [`assemble`], [`predict`], [`detect`], [`engine`], [`stream`], `history`, [`fit`] | bytes and timestamps as arguments: no I/O, no clock |
//! | 3 edge | `config`, `mqtt`, `carrier`, `http`, `state`, `metrics`, `progress`, `status`, `webhook`, `runtime`, `charts`, `cli` | tokio, rumqttc, axum, SQLite, Prometheus, clocks |
//!
//! # Glossary
//!
//! | term | meaning |
//! |---|---|
//! | reading | one value of one channel with its time stamp, as a message carried it |
//! | stream | channels that are predicted together, such as the sensors of one machine |
//! | row | the values of all channels of a stream at one moment, assembled from readings |
//! | prediction | predictive distribution of a channel's value, made before the value is seen |
//! | interval | the nominal 90 % interval of a prediction; its coverage is monitored |
//! | persistence | the baseline that predicts the last value again |
//! | residual | difference of value and predictive mean over the predictive standard deviation |
//! | witness | a predictor whose residuals are judged: next step, level by calendar, level given the other channels |
//! | e-value | evidence against normality with mean at most 1 under normality; its logarithm is in nats |
//! | CUSUM | cumulative sum of evidence, bounded below by zero |
//! | bar | alarm threshold of a CUSUM, from the wanted rate of false alarms |
//! | return level | height that is exceeded once in a given time, from the record of past excursions |
//! | score | evidence over its bar; an incident opens at 1 |
//! | incident | the time from the alarm to the return to normal, with the channels that carry its evidence |
//! | verdict | an operator's answer to an incident: `false`, `true` or `new_normal` |
//! | belief | mean and variance of a weight |
//! | site | contribution of one sample, or of the average sample, to a belief in expectation propagation |
//! | cavity | a belief without one site |
//! | update | the change of beliefs by one sample or mini-batch |
//! | snapshot | the serialised state of a stream; with the journal behind it, it restores the same bits |
//! | journal | accepted readings on disk in their order, kept until a snapshot contains them |
//! | outbox | messages that wait for the broker; incident messages are also kept on disk |

#[cfg(feature = "stream")]
pub mod assemble;
#[cfg(feature = "daemon")]
pub mod carrier;
#[cfg(feature = "daemon")]
pub(crate) mod charts;
#[cfg(feature = "daemon")]
pub mod cli;
#[cfg(feature = "daemon")]
pub mod config;
#[cfg(feature = "daemon")]
pub mod decode;
pub mod detect;
pub mod encode;
#[cfg(feature = "stream")]
pub mod engine;
pub mod ep;
#[cfg(feature = "fit")]
pub mod fit;
#[cfg(feature = "stream")]
pub(crate) mod glob;
#[cfg(feature = "daemon")]
pub(crate) mod history;
#[cfg(feature = "daemon")]
pub(crate) mod http;
#[cfg(feature = "daemon")]
pub(crate) mod metrics;
#[cfg(feature = "daemon")]
pub(crate) mod mqtt;
pub mod num;
#[cfg(feature = "daemon")]
pub mod payload;
#[cfg(feature = "stream")]
pub mod predict;
#[cfg(feature = "daemon")]
pub(crate) mod progress;
#[cfg(feature = "daemon")]
pub mod replay;
#[cfg(feature = "daemon")]
pub mod route;
pub mod row;
#[cfg(feature = "daemon")]
pub(crate) mod runtime;
#[cfg(feature = "daemon")]
pub mod state;
#[cfg(feature = "daemon")]
pub(crate) mod status;
#[cfg(feature = "stream")]
pub mod stream;
#[cfg(feature = "daemon")]
pub mod table;
#[cfg(feature = "daemon")]
pub mod time;
#[cfg(feature = "daemon")]
pub(crate) mod webhook;

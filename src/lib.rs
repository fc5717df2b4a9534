//! `spiked` learns online, over MQTT, what a plant's sensors normally do.
//!
//! Four floors, imports go downward only; in reading order:
//!
//! | floor | rooms | knows |
//! |---|---|---|
//! | 0 numbers | [`num`] | std only |
//! | 1 model | [`ep`], [`encode`] | arrays and a passed-in RNG: no I/O, no clock |
//! | 2 stream | [`row`], [`payload`], [`route`], [`decode`], [`assemble`], [`predict`], [`detect`], [`engine`], [`stream`], [`history`], [`fit`] | bytes and timestamps as arguments: no I/O, no clock |
//! | 3 edge | `config`, `mqtt`, `http`, `state`, `metrics`, `progress`, `status`, `runtime`, `charts`, `cli` | tokio, rumqttc, axum, SQLite, Prometheus, clocks |

pub mod assemble;
pub mod charts;
pub mod cli;
pub mod config;
pub mod decode;
pub mod detect;
pub mod encode;
pub mod engine;
pub mod ep;
pub mod fit;
pub mod history;
pub mod http;
pub mod metrics;
pub mod mqtt;
pub mod num;
pub mod payload;
pub mod predict;
pub mod progress;
pub mod replay;
pub mod route;
pub mod row;
pub mod runtime;
pub mod state;
pub mod status;
pub mod stream;
pub mod table;

//! Makes the streams and buckets of a cluster on nats-server.

use std::fmt::Display;
use std::future::Future;
use std::time::Duration;

use async_nats::jetstream::stream::{self, DiscardPolicy, Republish};
use async_nats::jetstream::{Context, kv, object_store};

use super::answers::away;
use super::{CarrierError, retained, subject_of_topic};
use crate::config::ClusterSettings;

/// Repetitions of an output are dropped for so long: outputs are repeated since the last commit.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(600);
/// Outputs are there for those who come later for so long.
const OUTPUTS_AGE: Duration = Duration::from_secs(3600);

/// Name of the bucket of leases.
pub(super) fn leases_name(settings: &ClusterSettings) -> String {
    format!("{}-leases", settings.name)
}

/// Name of the object store of states.
pub(super) fn states_name(settings: &ClusterSettings) -> String {
    format!("{}-states", settings.name)
}

/// The needs of a cluster.
pub(super) struct Provision<'a> {
    pub(super) context: &'a Context,
    pub(super) settings: &'a ClusterSettings,
    /// Subjects of the journal.
    pub(super) subjects: &'a [String],
    /// Beginning of the topics of outputs.
    pub(super) own_topic: &'a str,
}

/// Makes a bucket that was not found.
async fn found_or_made<B, E, F: Display>(
    found: Result<B, E>,
    made: impl Future<Output = Result<B, F>>,
) -> Result<(), CarrierError> {
    match found {
        Ok(_) => Ok(()),
        Err(_) => made.await.map(drop).map_err(away),
    }
}

impl Provision<'_> {
    /// Makes the journal, the outputs and the buckets.
    pub(super) async fn make(&self) -> Result<(), CarrierError> {
        let settings = self.settings;
        let (name, replicas) = (&settings.name, settings.replicas);
        let journal = stream::Config {
            name: name.clone(),
            subjects: self.subjects.to_vec(),
            max_age: settings.journal_age,
            max_bytes: i64::try_from(settings.journal_max_bytes).unwrap_or(0),
            // Messages that are not learned yet must not make room for others.
            discard: DiscardPolicy::New,
            num_replicas: replicas,
            ..stream::Config::default()
        };
        self.make_stream(journal).await?;
        let out = format!("{name}-out.>");
        self.make_stream(stream::Config {
            name: format!("{name}-outputs"),
            subjects: vec![out.clone()],
            max_age: OUTPUTS_AGE,
            duplicate_window: DUPLICATE_WINDOW,
            num_replicas: replicas,
            republish: Some(Republish {
                source: out,
                destination: format!("{}.>", subject_of_topic(self.own_topic)),
                headers_only: false,
            }),
            ..stream::Config::default()
        })
        .await?;
        if settings.retain_over_mqtt {
            self.make_stream(retained::stream_config(settings)).await?;
        }
        let leases = kv::Config {
            bucket: leases_name(settings),
            history: 1,
            num_replicas: replicas,
            ..kv::Config::default()
        };
        let found = self.context.get_key_value(&leases.bucket).await;
        found_or_made(found, self.context.create_key_value(leases)).await?;
        let states = object_store::Config {
            bucket: states_name(settings),
            num_replicas: replicas,
            ..object_store::Config::default()
        };
        let found = self.context.get_object_store(&states.bucket).await;
        found_or_made(found, self.context.create_object_store(states)).await
    }

    /// Makes a stream, or gives an existing one the subjects and limits that are wanted.
    async fn make_stream(&self, wanted: stream::Config) -> Result<(), CarrierError> {
        let existing = self.context.get_or_create_stream(wanted.clone()).await;
        let existing = existing.map_err(|error| {
            CarrierError::Away(format!(
                "stream {} ({}): {error}",
                wanted.name,
                wanted.subjects.join(" ")
            ))
        })?;
        let is = &existing.cached_info().config;
        let fits = is.subjects == wanted.subjects
            && is.max_age == wanted.max_age
            && is.max_bytes.max(0) == wanted.max_bytes
            && is.num_replicas == wanted.num_replicas;
        if !fits {
            self.context.update_stream(wanted).await.map_err(away)?;
        }
        Ok(())
    }
}

//! `[cluster]`: the NATS server over which several workers share the streams.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use config::Value;

use super::mqtt::trust_anchors;
use super::reader::{ProblemReport, Section, any};
use super::secrets::{SecretFiles, secret_file};

/// Name of the settings' table.
const SECTION: &str = "cluster";

/// How the workers of a cluster find each other, and how they share the streams.
#[derive(Clone, PartialEq)]
pub struct ClusterSettings {
    /// Servers, `nats://host:port` or `tls://host:port`.
    pub servers: Vec<String>,
    /// File with a user's JWT and key (`.creds`).
    pub credentials_file: Option<PathBuf>,
    /// User name; empty for none.
    pub username: String,
    /// Password; empty for none.
    pub password: String,
    /// Trust anchors, where a server is reached by TLS.
    pub ca_file: Option<PathBuf>,
    /// Client certificate and its key.
    pub client_auth: Option<(PathBuf, PathBuf)>,
    /// Outputs that are to be retained go to the MQTT listener of the server, which `[mqtt]` says.
    pub retain_over_mqtt: bool,
    /// Beginning of the names of streams and buckets on the server.
    pub name: String,
    /// This worker's name; empty for a new one at each start.
    pub worker: String,
    /// A worker that is not heard for so long has lost its partitions.
    pub lease: Duration,
    /// Time between two commits of a partition.
    pub commit: Duration,
    /// Parts that the streams are dealt into.
    pub partitions: u16,
    /// Copies of everything among the servers.
    pub replicas: usize,
    /// How long messages stay in the journal.
    pub journal_age: Duration,
    /// Size of the journal, bytes; 0 for no limit.
    pub journal_max_bytes: u64,
}

impl fmt::Debug for ClusterSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterSettings")
            .field("servers", &self.servers)
            .field("name", &self.name)
            .field("worker", &self.worker)
            .finish_non_exhaustive()
    }
}

/// `files` are those that hold secrets.
pub(super) fn cluster(
    value: Option<Value>,
    files: &mut SecretFiles,
    report: &mut ProblemReport,
) -> Option<ClusterSettings> {
    let mut s = Section::new(SECTION, "[cluster]", value, report);
    let url = s.discreet_text("url", "", |text| servers(text).map(|_| ()));
    let credentials = s.text("credentials_file", "", any);
    if !credentials.is_empty() {
        let path = PathBuf::from(&credentials);
        if let Err(error) = std::fs::File::open(&path) {
            let got = format!("{credentials:?}: {error}");
            s.problem("credentials_file", "a readable file", &got);
        }
        files.push(path);
    }
    let username = s.text("username", "", any);
    let password =
        secret_file(&mut s, "password_file", "cluster-password", files).unwrap_or_default();
    if !password.is_empty() && username.is_empty() {
        s.problem("username", "a name where there is a password", "none");
    }
    let ca_file = s.text("ca_file", "", any);
    let cert = s.text("client_cert_file", "", any);
    let key = s.text("client_key_file", "", any);
    if cert.is_empty() != key.is_empty() {
        let allowed = "set together with client_key_file";
        s.problem("client_cert_file", allowed, "only one of them");
    }
    if !key.is_empty() {
        files.push(PathBuf::from(&key));
    }
    let retain_over_mqtt = s.flag("retain_over_mqtt", false);
    let name = s.text("name", "spiked", plain_name);
    let worker = s.text("worker", "", |text| match text {
        "" => Ok(()),
        text => plain_name(text),
    });
    let lease = s.number("lease_s", 5.0, 1.0..=300.0);
    let commit = s.number("commit_every_s", 10.0, 0.2..=3600.0);
    let partitions = s.integer("partitions", 64, 1..=1024);
    let replicas = s.size("replicas", 1, 1..=5);
    let journal_age = s.number("journal_hours", 72.0, 0.1..=8760.0);
    let journal_max_bytes = s.integer("journal_max_bytes", 0, 0..=1 << 50);
    let servers = servers(&url).unwrap_or_default();
    if commit > journal_age * 3600.0 / 10.0 {
        let allowed =
            "less than a tenth of journal_hours: a commit says what need not be read again";
        s.problem("commit_every_s", allowed, &format!("{commit}"));
    }
    let is_tls = servers.iter().any(|server| server.starts_with("tls://"));
    let ca_file = if is_tls {
        trust_anchors(&mut s, ca_file)
    } else {
        None
    };
    s.done();
    (!servers.is_empty()).then(|| ClusterSettings {
        servers,
        credentials_file: (!credentials.is_empty()).then(|| PathBuf::from(credentials)),
        username,
        password,
        ca_file,
        client_auth: (!cert.is_empty()).then(|| (PathBuf::from(cert), PathBuf::from(key))),
        retain_over_mqtt,
        name,
        worker,
        lease: Duration::from_secs_f64(lease),
        commit: Duration::from_secs_f64(commit),
        // Within the range.
        partitions: u16::try_from(partitions).unwrap_or(64),
        replicas,
        journal_age: Duration::from_secs_f64(journal_age * 3600.0),
        journal_max_bytes,
    })
}

/// Names that are one token of a subject, and a bucket's.
fn plain_name(text: &str) -> Result<(), String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if text.is_empty() || text.len() > 60 || !text.chars().all(is_plain) {
        return Err("1 to 60 letters, digits, _ and -".to_owned());
    }
    Ok(())
}

/// The servers of a list that is separated by commas; none of an empty text.
fn servers(text: &str) -> Result<Vec<String>, String> {
    let allowed = || "nats://host:port or tls://host:port, several separated by commas".to_owned();
    let parts = text.split(',').map(str::trim);
    let parts: Vec<&str> = parts.filter(|part| !part.is_empty()).collect();
    for part in &parts {
        let rest = part.strip_prefix("nats://");
        let rest = rest.or_else(|| part.strip_prefix("tls://"));
        let rest = rest.ok_or_else(allowed)?.trim_end_matches('/');
        if rest.contains('@') {
            return Err(
                "no user in the URL (use cluster.username and cluster.password_file)".to_owned(),
            );
        }
        let port = rest.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
        let is_v6 = rest.ends_with(']');
        if rest.is_empty() || rest.contains(['/', ' ']) || (!is_v6 && matches!(port, Some(Err(_))))
        {
            return Err(allowed());
        }
    }
    Ok(parts.into_iter().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use crate::config::load_plain;

    fn problems(pairs: &[(&str, &str)]) -> String {
        let pairs = pairs.iter().map(|(key, value)| (*key, (*value).to_owned()));
        let loaded = load_plain(&pairs.collect::<Vec<_>>());
        loaded.err().map_or(String::new(), |e| e.to_string())
    }

    #[test]
    fn without_an_address_there_is_no_cluster_and_with_several_there_is_one() {
        assert!(load_plain(&[]).unwrap().cluster.is_none());
        let url = "nats://a:4222, nats://b:4222".to_owned();
        let settings = load_plain(&[("cluster.url", url)]).unwrap();
        assert_eq!(
            settings.cluster.unwrap().servers,
            ["nats://a:4222", "nats://b:4222"]
        );
    }

    #[test]
    fn nonsense_is_refused_with_what_is_allowed() {
        let said = problems(&[
            ("cluster.url", "mqtt://a:1883"),
            ("cluster.lease_s", "0.1"),
            ("cluster.partitions", "0"),
            ("cluster.name", "a.b"),
            ("cluster.replicas", "9"),
        ]);
        for part in [
            "cluster.url: nats://host:port",
            "cluster.lease_s: a number from 1 to 300",
            "cluster.partitions: a whole number from 1 to 1024",
            "cluster.name: 1 to 60 letters",
            "cluster.replicas: a whole number from 1 to 5",
        ] {
            assert!(said.contains(part), "{part} in {said}");
        }
        let said = problems(&[
            ("cluster.url", "nats://a"),
            ("cluster.journal_hours", "0.1"),
            ("cluster.commit_every_s", "60"),
        ]);
        assert!(
            said.contains("less than a tenth of journal_hours"),
            "{said}"
        );
    }
}

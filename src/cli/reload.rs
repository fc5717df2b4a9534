//! SIGHUP: reads the settings anew, takes over what a running daemon can, and names the rest.

use std::path::PathBuf;

use tokio::sync::mpsc::Sender;
use tracing::{error, info, warn};

use crate::cli::logging;
use crate::config::{self, Changes, Settings};
use crate::runtime::LiveSettings;
use crate::state::unfit_changes;

/// Where the settings came from, and how they stand.
pub struct Reload {
    /// The file.
    pub config: Option<PathBuf>,
    /// Flags, which win over it as they did at the start.
    pub overrides: Vec<(String, String)>,
    /// The effective settings of the daemon.
    pub settings: Settings,
    /// To its threads and connections.
    pub changed: Sender<LiveSettings>,
}

impl Reload {
    /// Reads the settings anew. Faulty ones change nothing.
    pub fn reload(&mut self) {
        let new = match config::load(self.config.as_deref(), &self.overrides) {
            Ok(new) => new,
            Err(error) => {
                error!("the settings are not taken over: {error}");
                return;
            }
        };
        for warning in new.warnings() {
            warn!("{warning}");
        }
        let unfit = unfit_changes(self.settings.stream_params(), new.stream_params());
        let changes = Changes::between(&self.settings, &new, unfit.is_empty());
        let is_live = |key: &str| changes.live.iter().any(|live| live == key);
        let tunes = self.settings.stream_params() != new.stream_params() && unfit.is_empty();
        let live = LiveSettings {
            params: tunes.then(|| new.stream_params().clone()),
            inputs: is_live("input").then(|| new.inputs.clone()),
        };
        let is_any = live.params.is_some() || live.inputs.is_some();
        if is_any && self.changed.try_send(live).is_err() {
            error!("the settings are not taken over: the last ones are not yet; send SIGHUP again");
            return;
        }
        if is_live("log.level") {
            logging::set_level(&new.log_level);
        }
        let restart = changes.restart.join(", ");
        if changes.live.is_empty() && changes.restart.is_empty() {
            info!("the settings are read anew: nothing has changed");
        } else {
            let live = changes.live.join(", ");
            info!(live, "the settings are read anew");
        }
        if !restart.is_empty() {
            warn!(keys = restart, "these settings need a restart");
        }
        self.settings.take_over(&new, &changes);
    }
}

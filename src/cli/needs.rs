//! Tries what `spiked run` will need: a state directory to write to, an address to listen on.

use std::net::TcpListener;
use std::path::Path;

use crate::config::{Durability, Settings};
use crate::state::{FILE_NAME, is_in_use};

/// Says line by line what was tried and is there.
///
/// # Errors
/// Lists missing needs, a line each, with the remedy.
pub fn check(settings: &Settings) -> Result<Vec<String>, String> {
    let mut found = Vec::new();
    let mut missing = Vec::new();
    let mut note = |result: Result<String, String>| match result {
        Ok(line) => found.push(line),
        Err(line) => missing.push(line),
    };
    let dir = &settings.state.dir;
    let keeps = settings.cluster.is_none() && settings.state.durability != Durability::None;
    let runs = keeps && is_in_use(&dir.join(FILE_NAME));
    if runs {
        note(Ok(format!(
            "state directory {}: in use by a spiked that runs",
            dir.display()
        )));
    } else if keeps {
        note(state_dir(dir));
    }
    // The address of one that runs is taken, and by it.
    if let Some(address) = settings.http.listen.filter(|_| !runs) {
        note(match TcpListener::bind(address) {
            Ok(_) => Ok(format!("http.listen {address}: free")),
            Err(error) => Err(format!(
                "http.listen: cannot listen on {address}: {error}; another port, or \"\" for none, \
                 would do"
            )),
        });
    }
    if missing.is_empty() {
        Ok(found)
    } else {
        Err(missing.join("\n  "))
    }
}

/// Tries to write to the directory, or to where it would be made; leaves nothing behind.
fn state_dir(dir: &Path) -> Result<String, String> {
    let shown = dir.display();
    let existing = dir.ancestors().find(|path| {
        let path = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        path.exists()
    });
    let existing = existing.filter(|path| !path.as_os_str().is_empty());
    let existing = existing.unwrap_or(Path::new("."));
    let trial = existing.join(format!(".spiked-check-{}", std::process::id()));
    let tried = std::fs::File::create_new(&trial).and_then(|_| std::fs::remove_file(&trial));
    match tried {
        Ok(()) if existing == dir => Ok(format!("state directory {shown}: can be written")),
        Ok(()) => Ok(format!("state directory {shown}: will be made")),
        Err(error) => Err(format!(
            "state.dir: cannot write to {}: {error}; run this as the user of the service \
             (sudo -u spiked spiked check ...), or give a directory of your own with --state-dir",
            existing.display()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load_plain;

    fn settings(dir: &Path, listen: &str) -> Settings {
        load_plain(&[
            ("state.dir", dir.display().to_string()),
            ("http.listen", listen.to_owned()),
        ])
        .unwrap()
    }

    #[test]
    fn a_directory_to_be_made_and_a_free_port_will_do_and_nothing_is_left_behind() {
        let dir = tempfile::tempdir().unwrap();
        let lines = check(&settings(&dir.path().join("a/b"), "127.0.0.1:0")).unwrap();
        assert!(lines[0].ends_with("will be made"), "{lines:?}");
        assert!(lines[1].ends_with("free"), "{lines:?}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_taken_port_and_a_directory_that_cannot_be_made_are_both_said() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let error = check(&settings(&file.join("state"), &address.to_string())).unwrap_err();
        assert!(error.contains("state.dir: cannot write to"), "{error}");
        assert!(
            error.contains(&format!("cannot listen on {address}")),
            "{error}"
        );
    }

    #[test]
    fn a_daemon_that_runs_with_this_state_is_no_fault() {
        let dir = tempfile::tempdir().unwrap();
        let options = crate::state::StoreOptions::new(dir.path());
        let store = crate::state::StateStore::open(options).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let lines = check(&settings(dir.path(), &address)).unwrap();
        assert!(lines[0].ends_with("in use by a spiked that runs"));
        store.close();
    }
}

//! Secrets: from a file, from a systemd credential, and a warning where everybody can read them.

use std::path::{Path, PathBuf};

use super::reader::{Section, any};

/// Files that hold secrets, as they are found while the settings are read.
pub(super) type SecretFiles = Vec<PathBuf>;

/// The secret in the file that `key` names, or else in the systemd credential `credential`
/// (`LoadCredential=`); empty for none. The last line break is ignored.
pub(super) fn secret_file(
    s: &mut Section<'_>,
    key: &str,
    credential: &str,
    files: &mut SecretFiles,
) -> Option<String> {
    let named = s.text(key, "", any);
    let folder = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    let path = if named.is_empty() {
        let path = folder?.join(credential);
        path.exists().then_some(path)?
    } else {
        PathBuf::from(named)
    };
    match std::fs::read_to_string(&path) {
        Ok(text) => {
            files.push(path);
            Some(text.trim_end_matches(['\r', '\n']).to_owned())
        }
        Err(error) => {
            let got = format!("{:?}: {error}", path.display().to_string());
            s.problem(key, "a readable file", &got);
            None
        }
    }
}

/// Says which of these files every user of the machine can read.
pub(super) fn readable_by_all(files: &[PathBuf]) -> Vec<String> {
    files
        .iter()
        .filter(|path| is_readable_by_all(path))
        .map(|path| {
            let path = path.display();
            format!("every user can read {path}, which holds a secret: chmod o-r {path}")
        })
        .collect()
}

#[cfg(unix)]
fn is_readable_by_all(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).is_ok_and(|meta| meta.mode() & 0o004 != 0)
}

#[cfg(not(unix))]
fn is_readable_by_all(_: &Path) -> bool {
    false
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_that_everybody_can_read_is_warned_of_and_one_of_its_group_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, mode| {
            let path = dir.path().join(name);
            std::fs::write(&path, "secret").unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            path
        };
        let files = [
            file("open", 0o644),
            file("group", 0o640),
            file("own", 0o600),
        ];
        let said = readable_by_all(&files);
        assert_eq!(said.len(), 1);
        assert!(said[0].contains("open, which holds a secret"), "{said:?}");
    }
}

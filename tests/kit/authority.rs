//! An authority that signs certificates, by openssl.

use std::path::{Path, PathBuf};
use std::process::Command;

/// An authority, as files made by openssl.
pub struct Authority {
    dir: PathBuf,
}

fn openssl(dir: &Path, args: &[&str]) {
    let output = Command::new("openssl")
        .args(args)
        .current_dir(dir)
        .output()
        .expect("openssl runs");
    assert!(output.status.success(), "openssl {args:?}: {output:?}");
}

impl Authority {
    pub fn new(dir: &Path, name: &str) -> Authority {
        let dir = dir.join(name);
        std::fs::create_dir(&dir).unwrap();
        let subject = format!("/CN={name}");
        let made = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -keyout ca.key \
                    -out ca.crt -addext keyUsage=critical,keyCertSign,cRLSign -subj";
        let mut args: Vec<&str> = made.split_whitespace().collect();
        args.push(&subject);
        openssl(&dir, &args);
        Authority { dir }
    }

    pub fn path(&self, file: &str) -> String {
        self.dir.join(file).display().to_string()
    }

    /// Makes NAME.crt and NAME.key for a host or a client; `days` below 0: expired.
    pub fn sign(&self, name: &str, host: &str, days: i32) {
        let subject = format!("/CN={name}");
        let (key, request, crt) = (
            format!("{name}.key"),
            format!("{name}.csr"),
            format!("{name}.crt"),
        );
        let made = "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
        let mut args: Vec<&str> = made.split_whitespace().collect();
        args.extend(["-keyout", &key, "-out", &request, "-subj", &subject]);
        openssl(&self.dir, &args);
        let extensions = format!("subjectAltName={host}\nbasicConstraints=CA:FALSE\n");
        std::fs::write(self.dir.join("ext"), extensions).unwrap();
        let days = days.to_string();
        let signed = "x509 -req -CA ca.crt -CAkey ca.key -CAcreateserial -extfile ext";
        let mut args: Vec<&str> = signed.split_whitespace().collect();
        args.extend(["-in", &request, "-out", &crt, "-days", &days]);
        openssl(&self.dir, &args);
    }
}

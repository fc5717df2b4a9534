//! Signs messages with HMAC-SHA256 (RFC 2104) in the headers of the Standard Webhooks specification.

use aws_lc_rs::{digest, hmac};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

/// Prefix of a secret that is written in base64.
const BASE64_SECRET: &str = "whsec_";
/// Bytes of the digest that name a message: 128 bits never meet by chance.
const ID_BYTES: usize = 16;

/// Makes the headers by which a receiver knows a message again, and knows that it is ours.
#[derive(Debug)]
pub struct Signer {
    key: Option<hmac::Key>,
}

impl Signer {
    /// Signs with the secret; empty for no signature.
    pub fn new(secret: &str) -> Signer {
        let decoded = secret.strip_prefix(BASE64_SECRET);
        let decoded = decoded.and_then(|text| BASE64_STANDARD.decode(text).ok());
        let bytes = decoded.unwrap_or_else(|| secret.as_bytes().to_vec());
        Signer {
            key: (!secret.is_empty()).then(|| hmac::Key::new(hmac::HMAC_SHA256, &bytes)),
        }
    }

    /// Headers of a body that is posted at `seconds`, unix time. The identifier is the same at each
    /// attempt; the signature is over `identifier.seconds.body`.
    pub fn headers(&self, body: &str, seconds: u64) -> Vec<(&'static str, String)> {
        let id = identifier(body);
        let signature = self.key.as_ref().map(|key| {
            let signed = format!("{id}.{seconds}.{body}");
            let tag = hmac::sign(key, signed.as_bytes());
            (
                "webhook-signature",
                format!("v1,{}", BASE64_STANDARD.encode(tag)),
            )
        });
        let mut headers = vec![
            ("webhook-id", id),
            ("webhook-timestamp", seconds.to_string()),
        ];
        headers.extend(signature);
        headers
    }
}

/// Names a message by its content.
fn identifier(body: &str) -> String {
    let sum = digest::digest(&digest::SHA256, body.as_bytes());
    let hex = sum.as_ref()[..ID_BYTES].iter();
    hex.fold("msg_".to_owned(), |id, byte| format!("{id}{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By openssl:
    /// `printf 'ID.1614265330.BODY' | openssl dgst -sha256 -hmac SECRET -binary | base64`.
    #[test]
    fn the_signature_is_that_of_openssl_and_plain_and_base64_secrets_are_told_apart() {
        let headers = Signer::new("a plain secret of ours").headers("{\"a\":1}", 1_614_265_330);
        let names: Vec<_> = headers.iter().map(|(name, _)| *name).collect();
        assert_eq!(
            names,
            ["webhook-id", "webhook-timestamp", "webhook-signature"]
        );
        assert_eq!(headers[0].1, "msg_015abd7f5cc57a2dd94b7590f04ad808");
        assert_eq!(headers[1].1, "1614265330");
        assert_eq!(
            headers[2].1,
            "v1,9QY8mGTz2w16O4GQe61T7zmB3u7djhB//izlrztPmHc="
        );
        let encoded = Signer::new("whsec_YSBwbGFpbiBzZWNyZXQgb2Ygb3Vycw==");
        assert_eq!(encoded.headers("{\"a\":1}", 1_614_265_330), headers);
        assert_eq!(Signer::new("").headers("{}", 1).len(), 2);
    }
}

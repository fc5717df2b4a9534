//! Says in plain words why a broker and we do not come together, where a person has to act.

use std::io;

use tokio_rustls::rustls::{AlertDescription, CertificateError, Error};

/// The other side of a connection by TLS, and the settings that say how it is spoken to.
#[derive(Clone, Copy, Debug)]
pub struct TlsPeer {
    /// Who it is.
    pub name: &'static str,
    /// The table of settings.
    pub section: &'static str,
    /// Beginning of a URL without TLS.
    pub plain: &'static str,
}

/// The broker.
pub(super) const BROKER: TlsPeer = TlsPeer {
    name: "the broker",
    section: "mqtt",
    plain: "mqtt://",
};

impl TlsPeer {
    /// The words for an error of TLS; `None` for any other, which waiting may mend.
    pub fn words_of(&self, error: &io::Error) -> Option<String> {
        let error = error.get_ref()?.downcast_ref::<Error>()?;
        let TlsPeer {
            name,
            section,
            plain,
        } = self;
        let text = match error {
            Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
                format!("{name}'s certificate is of no authority that {section}.ca_file trusts")
            }
            Error::InvalidCertificate(
                CertificateError::Expired | CertificateError::ExpiredContext { .. },
            ) => format!("{name}'s certificate has expired, or the clock of this machine is wrong"),
            Error::InvalidCertificate(
                CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
            ) => format!(
                "{name}'s certificate is not valid yet, or the clock of this machine is wrong"
            ),
            Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            ) => format!("{name}'s certificate is for another host than {section}.url names"),
            Error::InvalidCertificate(other) => {
                format!("{name}'s certificate cannot be trusted: {other}")
            }
            Error::AlertReceived(alert) => self.words_of_alert(*alert),
            Error::InvalidMessage(_) => format!(
                "{name} does not speak TLS at this port: {plain} in {section}.url, or another port"
            ),
            Error::PeerIncompatible(why) => {
                format!("{name} and we have no version or cipher of TLS in common: {why:?}")
            }
            _ => return None,
        };
        Some(text)
    }

    fn words_of_alert(&self, alert: AlertDescription) -> String {
        let TlsPeer { name, section, .. } = self;
        match alert {
            AlertDescription::CertificateRequired | AlertDescription::HandshakeFailure => format!(
                "{name} wants a client certificate: {section}.client_cert_file and client_key_file"
            ),
            AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::DecryptError
            | AlertDescription::AccessDenied => {
                format!("{name} does not take our client certificate: {alert:?}")
            }
            other => format!("{name} ends the TLS handshake: {other:?}"),
        }
    }
}

/// The words for the reason of a CONNACK that refuses.
pub(super) fn of_connack(reason: &str) -> String {
    match reason {
        "BadUserNamePassword" | "NotAuthorized" => format!(
            "{reason}: wrong user name or password (mqtt.username, mqtt.password_file), or not allowed \
             to connect"
        ),
        "BadClientId" | "ClientIdentifierNotValid" => {
            format!("{reason}: the broker does not take mqtt.client_id")
        }
        "UnsupportedProtocolVersion" | "RefusedProtocolVersion" => {
            format!("{reason}: the broker speaks another version than mqtt.protocol")
        }
        other => other.to_owned(),
    }
}

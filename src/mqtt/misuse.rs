//! Says in plain words why a broker and we do not come together, where a person has to act.

use std::io;

use tokio_rustls::rustls::{AlertDescription, CertificateError, Error};

/// The words for an error of TLS; `None` for any other, which waiting may mend.
pub(super) fn of_tls(error: &io::Error) -> Option<String> {
    let error = error.get_ref()?.downcast_ref::<Error>()?;
    let text = match error {
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "the broker's certificate is of no authority that mqtt.ca_file trusts".to_owned()
        }
        Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        ) => {
            "the broker's certificate has expired, or the clock of this machine is wrong".to_owned()
        }
        Error::InvalidCertificate(
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
        ) => "the broker's certificate is not valid yet, or the clock of this machine is wrong"
            .to_owned(),
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => "the broker's certificate is for another host than mqtt.url names".to_owned(),
        Error::InvalidCertificate(other) => {
            format!("the broker's certificate cannot be trusted: {other}")
        }
        Error::AlertReceived(alert) => of_alert(*alert),
        Error::InvalidMessage(_) => {
            "the broker does not speak TLS at this port: mqtt:// in mqtt.url, or another port"
                .to_owned()
        }
        Error::PeerIncompatible(why) => {
            format!("the broker and we have no version or cipher of TLS in common: {why:?}")
        }
        _ => return None,
    };
    Some(text)
}

fn of_alert(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::CertificateRequired | AlertDescription::HandshakeFailure => {
            "the broker wants a client certificate: mqtt.client_cert_file and client_key_file"
                .to_owned()
        }
        AlertDescription::UnknownCA
        | AlertDescription::BadCertificate
        | AlertDescription::CertificateExpired
        | AlertDescription::CertificateRevoked
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::DecryptError
        | AlertDescription::AccessDenied => {
            format!("the broker does not take our client certificate: {alert:?}")
        }
        other => format!("the broker ends the TLS handshake: {other:?}"),
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

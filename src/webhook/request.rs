//! One POST over HTTP/1.1, on a connection of its own: incidents are rare.

use std::fmt::Display;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{Method, Request, StatusCode, Uri, header};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{CertificateError, ClientConfig, Error};

use crate::config::WebhookSettings;
use crate::mqtt::tls_config;

/// Why a message was not taken.
#[derive(Debug, PartialEq, Eq)]
pub enum Failure {
    /// It makes sense to try again.
    Later(String),
    /// The receiver will never take it.
    Refused(String),
}

fn later(error: impl Display) -> Failure {
    Failure::Later(error.to_string())
}

/// The words for an error of TLS; a person may mend any.
fn of_tls(error: io::Error) -> Failure {
    let reason = error.get_ref().and_then(|error| error.downcast_ref());
    let words = match reason {
        Some(Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
            "its certificate is of no authority that webhook.ca_file trusts"
        }
        Some(Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        )) => "its certificate has expired, or the clock of this machine is wrong",
        Some(Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        )) => "its certificate is for another host than webhook.url names",
        Some(Error::InvalidMessage(_)) => "it does not speak TLS at this port",
        _ => return later(error),
    };
    later(words)
}

/// Where messages go.
pub struct Receiver {
    url: Uri,
    host: String,
    port: u16,
    tls: Option<Arc<ClientConfig>>,
    timeout: Duration,
}

impl Receiver {
    /// The receiver of the settings.
    ///
    /// # Errors
    /// If the trust anchors cannot be used.
    pub fn new(settings: &WebhookSettings) -> Result<Receiver, String> {
        let tls = settings.tls.as_ref().map(tls_config).transpose();
        let url = settings.url.clone();
        let host = url.host().unwrap_or_default();
        Ok(Receiver {
            host: host.trim_matches(['[', ']']).to_owned(),
            port: url
                .port_u16()
                .unwrap_or(if settings.tls.is_some() { 443 } else { 80 }),
            tls: tls.map_err(|error| error.to_string())?,
            timeout: settings.timeout,
            url,
        })
    }

    /// The receiver's name. The rest of the URL may be a secret.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Posts one message.
    ///
    /// # Errors
    /// If the receiver cannot be reached, does not answer in time or takes the message not.
    pub async fn post(
        &self,
        headers: &[(&'static str, String)],
        body: String,
    ) -> Result<(), Failure> {
        let status = tokio::time::timeout(self.timeout, self.exchange(headers, body));
        let status = status.await.map_err(|_| {
            Failure::Later(format!("no answer within {} s", self.timeout.as_secs_f64()))
        })??;
        judge(status)
    }

    async fn exchange(
        &self,
        headers: &[(&'static str, String)],
        body: String,
    ) -> Result<StatusCode, Failure> {
        let socket = TcpStream::connect((self.host.as_str(), self.port))
            .await
            .map_err(later)?;
        let request = self.request(headers, body)?;
        match &self.tls {
            None => send(socket, request).await,
            Some(config) => {
                let name = ServerName::try_from(self.host.clone()).map_err(later)?;
                let connector = TlsConnector::from(config.clone());
                let socket = connector.connect(name, socket).await.map_err(of_tls)?;
                send(socket, request).await
            }
        }
    }

    fn request(
        &self,
        headers: &[(&'static str, String)],
        body: String,
    ) -> Result<Request<String>, Failure> {
        let authority = self
            .url
            .authority()
            .map_or("", |authority| authority.as_str());
        let path = self.url.path_and_query().map_or("/", |path| path.as_str());
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header(header::HOST, authority)
            .header(
                header::USER_AGENT,
                concat!("spiked/", env!("CARGO_PKG_VERSION")),
            )
            .header(header::CONNECTION, "close");
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        request.body(body).map_err(later)
    }
}

/// Sends the request; returns the status of the answer, whose body nobody reads.
async fn send<S>(socket: S, request: Request<String>) -> Result<StatusCode, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket))
        .await
        .map_err(later)?;
    let answer = sender.send_request(request);
    tokio::pin!(connection, answer);
    tokio::select! {
        answer = &mut answer => answer.map(|answer| answer.status()).map_err(later),
        ended = &mut connection => match ended {
            // The connection ends first where the receiver closes it with its answer.
            Ok(()) => answer.await.map(|answer| answer.status()).map_err(later),
            Err(error) => Err(later(error)),
        },
    }
}

/// Whether the answer is one, whether to try again, or whether that is in vain.
fn judge(status: StatusCode) -> Result<(), Failure> {
    if status.is_success() {
        return Ok(());
    }
    let for_now = status.is_server_error()
        || [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS]
            .contains(&status)
        // A person can mend these, and incidents should be there then.
        || [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN, StatusCode::NOT_FOUND].contains(&status);
    let text = format!("answer {status}");
    Err(match for_now {
        true => Failure::Later(text),
        false => Failure::Refused(text),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_pass_or_be_mended_is_tried_again_and_the_rest_is_given_up() {
        let judged = |code: u16| judge(StatusCode::from_u16(code).unwrap());
        for code in [200, 202, 204] {
            assert_eq!(judged(code), Ok(()));
        }
        for code in [401, 403, 404, 408, 429, 500, 503] {
            assert!(matches!(judged(code), Err(Failure::Later(_))), "{code}");
        }
        for code in [301, 400, 405, 410, 413, 422] {
            assert!(matches!(judged(code), Err(Failure::Refused(_))), "{code}");
        }
    }
}

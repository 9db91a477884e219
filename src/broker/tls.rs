//! The TLS side of `amqps://`: three PEM files in, a connector out.
//!
//! The files are read at each connect, so that a renewed certificate is used without a restart, and checked here:
//! lapin ignores a CA file without certificates and then fails with `UnknownIssuer`, which sends people to the
//! wrong machine.

use std::path::Path;

use lapin::tcp::{RustlsConnector, RustlsConnectorConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::connect::ConnectError;
use crate::config::Amqp;

/// A connector that trusts `ca_file` alone, or the system's authorities without it, and shows the client
/// certificate where there is one.
pub(super) fn connector(amqp: &Amqp) -> Result<RustlsConnector, ConnectError> {
    let trust = match &amqp.ca_file {
        Some(path) => {
            RustlsConnectorConfig::default().with_parsable_certificates(certificates("amqp.ca_file", path)?)
        }
        None => RustlsConnectorConfig::new_with_platform_verifier(),
    };
    let anonymous = trust.clone().connector_with_no_client_auth().map_err(|error| match &amqp.ca_file {
        Some(path) => unfit("amqp.ca_file", path, &error.to_string()),
        None => ConnectError::Trust { problem: error.to_string() },
    })?;
    let (Some(cert_file), Some(key_file)) = (&amqp.cert_file, &amqp.key_file) else {
        return Ok(anonymous);
    };
    let chain = certificates("amqp.cert_file", cert_file)?;
    let key = PrivateKeyDer::from_pem_slice(&bytes("amqp.key_file", key_file)?)
        .map_err(|_| unfit("amqp.key_file", key_file, "no private key in PEM form"))?;
    trust.connector_with_single_cert(chain, key).map_err(|error| {
        let problem = format!("it does not work with amqp.key_file: {error}");
        unfit("amqp.cert_file", cert_file, &problem)
    })
}

fn certificates(setting: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, ConnectError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes(setting, path)?).collect();
    match found {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) | Err(_) => Err(unfit(setting, path, "no certificate in PEM form")),
    }
}

fn bytes(setting: &'static str, path: &Path) -> Result<Vec<u8>, ConnectError> {
    std::fs::read(path).map_err(|error| unfit(setting, path, &error.to_string()))
}

fn unfit(setting: &'static str, path: &Path, problem: &str) -> ConnectError {
    ConnectError::Pem { setting, path: path.to_owned(), problem: problem.to_owned() }
}

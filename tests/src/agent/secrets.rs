//! Secrets as the agent hands them out. Their keys are made anew each time, and are in memory alone.

use std::process::Command;

use anyhow::Context;
use weir_proto::envoy::config::core::v3::DataSource;
use weir_proto::envoy::config::core::v3::data_source::Specifier;
use weir_proto::envoy::extensions::transport_sockets::tls::v3::secret::Type;
use weir_proto::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, Secret, TlsCertificate,
};

/// Name of the proxy's own certificate.
pub const OWN: &str = "default";
/// Name of the authorities of the mesh.
pub const ROOT: &str = "ROOTCA";

const KEY_END: &str = "-----END PRIVATE KEY-----\n";

/// A certificate that vouches for itself, and its key, both as PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    /// The certificate.
    pub chain: String,
    /// The key.
    pub key: String,
}

impl Identity {
    /// Makes one. The error is a reason for a skip when there is no program `openssl`.
    pub fn make() -> anyhow::Result<Self> {
        let arguments = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=test \
            -addext subjectAltName=URI:spiffe://cluster.local/ns/default/sa/default -keyout /dev/stdout -out /dev/stdout";
        let made = Command::new("openssl").args(arguments.split_whitespace()).output();
        let made = made.context("there is no program openssl")?;
        let told = String::from_utf8_lossy(&made.stderr);
        let text = String::from_utf8(made.stdout).context("openssl's output")?;
        let (key, chain) = text.split_once(KEY_END).with_context(|| format!("openssl: {told}"))?;
        anyhow::ensure!(
            chain.starts_with("-----BEGIN CERTIFICATE-----"),
            "openssl made no certificate: {told}"
        );
        Ok(Self { key: format!("{key}{KEY_END}"), chain: chain.to_owned() })
    }

    /// The proxy's own secret.
    pub fn own(&self) -> Secret {
        let certificate = TlsCertificate {
            certificate_chain: Some(inline(&self.chain)),
            private_key: Some(inline(&self.key)),
            ..TlsCertificate::default()
        };
        Secret { name: OWN.to_owned(), r#type: Some(Type::TlsCertificate(certificate)) }
    }

    /// The authorities of the mesh: this one.
    pub fn root(&self) -> Secret {
        let context = CertificateValidationContext {
            trusted_ca: Some(inline(&self.chain)),
            ..CertificateValidationContext::default()
        };
        Secret { name: ROOT.to_owned(), r#type: Some(Type::ValidationContext(context)) }
    }

    /// Both.
    pub fn secrets(&self) -> [Secret; 2] {
        [self.own(), self.root()]
    }

    /// Is the key in some bytes, as text, as what the text says, or with the text as bytes in JSON? A key that is too short for this is in them.
    pub fn leaks(&self, bytes: &[u8]) -> bool {
        let body: String = self.key.lines().filter(|line| !line.starts_with('-')).collect();
        let raw = weir_proto::base64::decode(&body).unwrap_or_default();
        let coded = weir_proto::base64::encode(self.key.as_bytes());
        // Of each a part without the end of a line, behind what every key of the curve begins with.
        let parts = [body.as_bytes().get(48..64), raw.get(36..52), coded.as_bytes().get(112..128)];
        parts
            .into_iter()
            .any(|part| part.is_none_or(|part| bytes.windows(part.len()).any(|window| window == part)))
    }
}

fn inline(text: &str) -> DataSource {
    let specifier = Some(Specifier::InlineBytes(text.as_bytes().to_vec()));
    DataSource { specifier, ..DataSource::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_in_every_form() {
        let body = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgvU5diB+zkCvMHB3q\nwVm0/vY/2eH7fKgVMmtd8Bp4xgKhRANCAAQ8Nd25860VH2qbAHLRX5oTe8oV4FMs\n";
        let key = format!("-----BEGIN PRIVATE KEY-----\n{body}{KEY_END}");
        let identity = Identity { chain: String::new(), key };
        let raw = weir_proto::base64::decode(&body.replace('\n', "")).unwrap();
        let coded = weir_proto::base64::encode(identity.key.as_bytes());
        for shown in [identity.key.as_bytes(), &raw, coded.as_bytes()] {
            assert!(identity.leaks(shown) && !identity.leaks(&shown[..40]));
        }
    }
}

//! Gateway (`networking.istio.io`): the ports of a proxy at the edge.

use std::collections::BTreeMap;

use crate::yaml::Spanned;

fields! {
    /// `spec` of a Gateway.
    pub struct Gateway {
        /// Its ports.
        servers: Vec<Server> = "servers",
        /// Labels of the proxies it applies to; with none, all of them.
        selector: BTreeMap<String, String> = "selector",
    }

    /// One port.
    pub struct Server {
        /// Which.
        port: ServerPort = "port",
        /// Address or `unix://` path to listen on.
        bind: Option<Spanned<String>> = "bind",
        /// Hosts it serves: `host`, `*.suffix`, `*`, each with or without `namespace/`.
        hosts: Vec<Spanned<String>> = "hosts",
        /// TLS.
        tls: Option<ServerTls> = "tls",
        /// Not implemented by Istio for gateways.
        default_endpoint: Option<Spanned<String>> = "defaultEndpoint",
        /// A name for it.
        name: Option<Spanned<String>> = "name",
    }

    /// Number and protocol.
    pub struct ServerPort {
        /// 1 to 65535.
        number: Spanned<u32> = "number",
        /// HTTP, HTTPS, GRPC, HTTP2, MONGO, TCP, TLS.
        protocol: Spanned<String> = "protocol",
        /// A name for it.
        name: Option<Spanned<String>> = "name",
        /// Deprecated.
        target_port: Option<Spanned<u32>> = "targetPort",
    }

    /// TLS of a port.
    pub struct ServerTls {
        /// Answers plain HTTP with a redirect to https.
        https_redirect: Option<Spanned<bool>> = "httpsRedirect",
        /// How.
        mode: Option<Spanned<ServerTlsMode>> = "mode",
        /// File of the certificate.
        server_certificate: Option<Spanned<String>> = "serverCertificate",
        /// File of its key.
        private_key: Option<Spanned<String>> = "privateKey",
        /// File of the authorities that clients are checked by.
        ca_certificates: Option<Spanned<String>> = "caCertificates",
        /// File of a revocation list.
        ca_crl: Option<Spanned<String>> = "caCrl",
        /// Secret that holds certificate and key.
        credential_name: Option<Spanned<String>> = "credentialName",
        /// Several such secrets.
        credential_names: Vec<Spanned<String>> = "credentialNames",
        /// Secret that holds the authorities.
        ca_cert_credential_name: Option<Spanned<String>> = "caCertCredentialName",
        /// Several certificates.
        tls_certificates: Vec<TlsCertificate> = "tlsCertificates",
        /// Names of which the client's certificate must have one.
        subject_alt_names: Vec<Spanned<String>> = "subjectAltNames",
        /// Hashes of client keys.
        verify_certificate_spki: Vec<Spanned<String>> = "verifyCertificateSpki",
        /// Hashes of client certificates.
        verify_certificate_hash: Vec<Spanned<String>> = "verifyCertificateHash",
        /// Oldest version.
        min_protocol_version: Option<Spanned<TlsVersion>> = "minProtocolVersion",
        /// Newest version.
        max_protocol_version: Option<Spanned<TlsVersion>> = "maxProtocolVersion",
        /// Cipher suites.
        cipher_suites: Vec<Spanned<String>> = "cipherSuites",
    }

    /// A certificate from files.
    pub struct TlsCertificate {
        /// The certificate.
        server_certificate: Option<Spanned<String>> = "serverCertificate",
        /// Its key.
        private_key: Option<Spanned<String>> = "privateKey",
        /// The authorities.
        ca_certificates: Option<Spanned<String>> = "caCertificates",
    }
}

choices! {
    /// TLS of a port.
    pub enum ServerTlsMode {
        /// Passes through, chosen by SNI.
        Passthrough = "PASSTHROUGH",
        /// The server alone shows a certificate.
        Simple = "SIMPLE",
        /// Both do.
        Mutual = "MUTUAL",
        /// Passes through to the service that the SNI names.
        AutoPassthrough = "AUTO_PASSTHROUGH",
        /// Both do, with the mesh's own identities.
        IstioMutual = "ISTIO_MUTUAL",
        /// The client may.
        OptionalMutual = "OPTIONAL_MUTUAL",
    }

    /// A version of TLS.
    pub enum TlsVersion {
        /// The default.
        Auto = "TLS_AUTO",
        /// 1.0.
        V1_0 = "TLSV1_0",
        /// 1.1.
        V1_1 = "TLSV1_1",
        /// 1.2.
        V1_2 = "TLSV1_2",
        /// 1.3.
        V1_3 = "TLSV1_3",
    }
}

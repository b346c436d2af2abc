//! Who signs certificates, for services and carriers of the laboratory.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::{Context as _, Result};

/// An authority with a certificate of its own.
pub struct Authority {
    root: CertificateDer<'static>,
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate with its key.
pub struct Identity {
    certificate: CertificateDer<'static>,
    key: KeyPair,
    pem: String,
}

impl Authority {
    /// Makes one.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn new(name: &str) -> Result<Self> {
        let key = KeyPair::generate().context("a key")?;
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let root = params.self_signed(&key).context("a root")?;
        Ok(Self {
            root: root.der().clone(),
            pem: root.pem(),
            issuer: Issuer::new(params, key),
        })
    }

    /// Its own certificate.
    #[must_use]
    pub fn root(&self) -> &CertificateDer<'static> {
        &self.root
    }

    /// The same in PEM.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Signs a certificate for these names, for servers and clients alike.
    ///
    /// # Errors
    /// When a name is none.
    pub fn certify(&self, names: &[&str]) -> Result<Identity> {
        let key = KeyPair::generate().context("a key")?;
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        // Not the name of the issuer, by which some clients would take it for its own issuer.
        let common = names.first().cloned().unwrap_or_default();
        let mut params = CertificateParams::new(names).context("parameters")?;
        params.distinguished_name.push(DnType::CommonName, common);
        let signed = params.signed_by(&key, &self.issuer).context("a certificate")?;
        Ok(Identity {
            certificate: signed.der().clone(),
            pem: signed.pem(),
            key,
        })
    }
}

impl Identity {
    /// The certificate.
    #[must_use]
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// The same in PEM.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Its private key.
    #[must_use]
    pub fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(self.key.serialize_der().into())
    }

    /// The same in PEM.
    #[must_use]
    pub fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }
}

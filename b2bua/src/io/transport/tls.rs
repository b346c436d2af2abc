//! TLS toward phones and carriers: rustls with ring, certificates that can be changed while connections go on.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use tokio::net::TcpStream;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerifier as _};
use tokio_rustls::rustls::client::{VerifierBuilderError, WebPkiServerVerifier, verify_server_name};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use tokio_rustls::rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use tokio_rustls::rustls::{
    self, ClientConfig, DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme,
};
use tokio_rustls::server::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, client};

/// A certificate with its key, and the files that they are read from.
#[derive(Clone)]
pub struct Tls {
    files: Files,
    current: Arc<RwLock<Arc<ServerConfig>>>,
}

/// What a listener's TLS is read from.
#[derive(Clone, Debug)]
pub struct Files {
    /// The certificate and those that it needs.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// Whether clients are asked for a certificate. Any will do here: what it proves is judged by carrier ([`proved`]),
    /// and a phone that shows one of its own is a phone.
    pub ask_clients: bool,
}

/// Whose certificates are believed.
#[derive(Clone, Debug, Default)]
pub struct Roots {
    /// Files in PEM.
    pub files: Vec<PathBuf>,
    /// Whether those count as well that the machine trusts.
    pub system: bool,
}

/// The trust toward one carrier: whom we believe, and who we say to be.
#[derive(Clone)]
pub struct Trust {
    roots: Roots,
    identity: Option<(PathBuf, PathBuf)>,
    current: Arc<RwLock<Arc<Current>>>,
}

/// What the files of a trust amount to.
struct Current {
    client: Arc<ClientConfig>,
    /// The same authorities, for whoever connects to us.
    clients: Arc<dyn ClientCertVerifier>,
    servers: Arc<WebPkiServerVerifier>,
}

/// A carrier that speaks TLS.
#[derive(Clone, Debug)]
pub struct Carrier {
    /// Its trunk.
    pub trunk: String,
    /// What its certificate must hold.
    pub name: String,
    /// Who may have signed that.
    pub trust: Trust,
}

/// As what somebody has shown a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// By connecting to us.
    ByClient,
    /// By taking a connection of ours.
    ByServer,
}

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsFault {
    /// The file cannot be read, or holds nothing of the kind.
    #[error("{path}: {what}")]
    File {
        /// Which file.
        path: String,
        /// What is wrong with it.
        what: String,
    },
    /// Certificate and key do not fit, or are of a kind that is not supported.
    #[error("{certificate} with {key}: {what}")]
    Pair {
        /// The file of the certificate.
        certificate: String,
        /// The file of the key.
        key: String,
        /// What is wrong with them.
        what: rustls::Error,
    },
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// [`TlsFault`], with the file.
    pub fn load(files: Files) -> Result<Self, TlsFault> {
        let config = server_config(&files)?;
        Ok(Self {
            files,
            current: Arc::new(RwLock::new(config)),
        })
    }

    /// Reads the files again. Connections that are up go on; on a fault the old certificate stays in force.
    ///
    /// # Errors
    /// [`TlsFault`], with the file.
    pub fn reload(&self) -> Result<(), TlsFault> {
        let config = server_config(&self.files)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = config;
        Ok(())
    }

    /// Shakes hands with a client.
    ///
    /// # Errors
    /// What the client did wrong, or the system says.
    pub(super) async fn accept(&self, socket: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let config = Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner));
        TlsAcceptor::from(config).accept(socket).await
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

impl Trust {
    /// Reads the files; `identity` is our own certificate and its key.
    ///
    /// # Errors
    /// [`TlsFault`], with the file.
    pub fn load(roots: Roots, identity: Option<(PathBuf, PathBuf)>) -> Result<Self, TlsFault> {
        let current = Current::load(&roots, identity.as_ref())?;
        Ok(Self {
            roots,
            identity,
            current: Arc::new(RwLock::new(current)),
        })
    }

    /// As [`Tls::reload`].
    ///
    /// # Errors
    /// [`TlsFault`], with the file.
    pub fn reload(&self) -> Result<(), TlsFault> {
        let current = Current::load(&self.roots, self.identity.as_ref())?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = current;
        Ok(())
    }

    fn current(&self) -> Arc<Current> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Shakes hands with a server, whose certificate must hold this name.
    ///
    /// # Errors
    /// What the server did wrong, or the system says.
    pub(super) async fn connect(&self, name: &str, socket: TcpStream) -> io::Result<client::TlsStream<TcpStream>> {
        let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
        let config = Arc::clone(&self.current().client);
        TlsConnector::from(config).connect(name, socket).await
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust")
            .field("roots", &self.roots)
            .finish_non_exhaustive()
    }
}

/// The trunks of the carriers that a peer's certificate proves it to be. It must hold the carrier's name, and one of the
/// carrier's own authorities must have signed it: that of another carrier can speak for that one alone.
pub(super) fn proved(chain: Option<&[CertificateDer<'_>]>, shown: Shown, carriers: &[Carrier]) -> Vec<String> {
    let Some((certificate, others)) = chain.and_then(<[_]>::split_first) else {
        return Vec::new();
    };
    let is_proved = |carrier: &&Carrier| carrier.is_proved_by(certificate, others, shown);
    let proved = carriers.iter().filter(is_proved);
    proved.map(|carrier| carrier.trunk.clone()).collect()
}

impl Carrier {
    fn is_proved_by(&self, certificate: &CertificateDer<'_>, others: &[CertificateDer<'_>], shown: Shown) -> bool {
        let (Ok(name), Ok(parsed)) = (
            ServerName::try_from(self.name.as_str()),
            ParsedCertificate::try_from(certificate),
        ) else {
            return false;
        };
        if verify_server_name(&parsed, &name).is_err() {
            return false;
        }
        let (current, now) = (self.trust.current(), UnixTime::now());
        match shown {
            Shown::ByClient => current.clients.verify_client_cert(certificate, others, now).is_ok(),
            Shown::ByServer => {
                let verified = current.servers.verify_server_cert(certificate, others, &name, &[], now);
                verified.is_ok()
            }
        }
    }
}

fn server_config(files: &Files) -> Result<Arc<ServerConfig>, TlsFault> {
    let (chain, private) = pair(&files.certificate, &files.key)?;
    let misfit = |what| TlsFault::Pair {
        certificate: files.certificate.display().to_string(),
        key: files.key.display().to_string(),
        what,
    };
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(misfit)?;
    let builder = if files.ask_clients {
        builder.with_client_cert_verifier(Arc::new(Anybody(provider)))
    } else {
        builder.with_no_client_auth()
    };
    Ok(Arc::new(builder.with_single_cert(chain, private).map_err(misfit)?))
}

/// Takes any certificate whose key the client has, or none.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ClientCertVerifier for Anybody {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

impl Current {
    fn load(trusted: &Roots, identity: Option<&(PathBuf, PathBuf)>) -> Result<Arc<Self>, TlsFault> {
        let misfit = |what| {
            let shown = |path: Option<&PathBuf>| path.map_or_else(String::new, |path| path.display().to_string());
            TlsFault::Pair {
                certificate: shown(identity.map(|(certificate, _)| certificate)),
                key: shown(identity.map(|(_, key)| key)),
                what,
            }
        };
        let told = |error: VerifierBuilderError| misfit(rustls::Error::General(error.to_string()));
        let (provider, roots) = (Arc::new(ring::default_provider()), Arc::new(roots(trusted)?));
        let servers = WebPkiServerVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider));
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider));
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(misfit)?
            .with_root_certificates(roots);
        let client = match identity {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let (chain, private) = pair(certificate, key)?;
                builder.with_client_auth_cert(chain, private).map_err(misfit)?
            }
        };
        Ok(Arc::new(Self {
            client: Arc::new(client),
            clients: clients.build().map_err(told)?,
            servers: servers.build().map_err(told)?,
        }))
    }
}

fn roots(trusted: &Roots) -> Result<RootCertStore, TlsFault> {
    let mut store = RootCertStore::empty();
    for path in &trusted.files {
        for certificate in certificates(path)? {
            store.add(certificate).map_err(|error| fault(path, &error))?;
        }
    }
    if trusted.system {
        let system = rustls_native_certs::load_native_certs();
        let (added, _) = store.add_parsable_certificates(system.certs);
        if added == 0 {
            return Err(fault(
                Path::new("/etc/ssl/certs"),
                &"holds no certificates; install ca-certificates",
            ));
        }
    }
    Ok(store)
}

fn pair(certificate: &Path, key: &Path) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsFault> {
    let chain = certificates(certificate)?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| fault(key, &error))?;
    Ok((chain, private))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsFault> {
    let certificates: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| fault(path, &error))?;
    if certificates.is_empty() {
        return Err(fault(path, &"holds no certificate in PEM"));
    }
    Ok(certificates)
}

fn fault(path: &Path, what: &dyn fmt::Display) -> TlsFault {
    TlsFault::File {
        path: path.display().to_string(),
        what: what.to_string(),
    }
}

//! HTTP for operators: health, readiness, metrics. Whoever reaches the port may read; nothing here changes anything.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use cusax_common::io::health::Health;
use cusax_common::io::shutdown::Shutdown;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;

/// A socket that is bound and answers as soon as it is served.
#[derive(Debug)]
pub struct Console {
    listener: TcpListener,
}

impl Console {
    /// Binds the port.
    ///
    /// # Errors
    /// Those of the socket.
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        Ok(Self {
            listener: TcpListener::bind(address).await?,
        })
    }

    /// The address that was bound.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers until the end of the shutdown: while calls drain, operators still want to see.
    ///
    /// # Errors
    /// Those of the socket.
    pub async fn serve(self, registry: Arc<Registry>, health: Health, mut shutdown: Shutdown) -> io::Result<()> {
        let state = Shared {
            registry,
            health,
            shutdown: shutdown.clone(),
        };
        tokio::select! {
            served = axum::serve(self.listener, router(state)) => served,
            // Open connections are cut: a scraper that holds one must not hold up the end.
            () = shutdown.over() => Ok(()),
        }
    }
}

#[derive(Clone)]
struct Shared {
    registry: Arc<Registry>,
    health: Health,
    shutdown: Shutdown,
}

fn router(state: Shared) -> Router {
    Router::new()
        .route("/healthz", get(async || "alive\n"))
        .route("/readyz", get(readiness))
        .route("/metrics", get(metrics))
        .with_state(state)
}

/// 200 when every part does its work, 503 with the reasons otherwise.
async fn readiness(State(shared): State<Shared>) -> Response {
    let stopping = shared.shutdown.phase() != cusax_common::io::shutdown::Phase::Running;
    let ready = shared.health.is_ready() && !stopping;
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let body = serde_json::json!({ "ready": ready, "stopping": stopping, "parts": shared.health.parts() });
    (status, Json(body)).into_response()
}

async fn metrics(State(shared): State<Shared>) -> Response {
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, &shared.registry) {
        Ok(()) => ([(header::CONTENT_TYPE, OPENMETRICS)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

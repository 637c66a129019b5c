//! From a valid configuration to a running edge-c, and back down in order.

use std::future::Future;
use std::sync::Arc;

use common::config::Loaded;
use common::runtime::admin::{self, Admin, Readiness};
use common::runtime::drain::Drain;
use common::runtime::exit::RunError;
use common::runtime::supervise::Supervisor;
use common::runtime::telemetry::LogControl;
use common::runtime::{lifecycle, listen};
use serde_json::json;

use crate::config::Config;
use crate::metrics::Metrics;

/// Serves until `shutdown` resolves, then drains.
///
/// # Errors
/// [`RunError`] if a port can't be had or a vital task ends.
pub async fn run(
    loaded: Loaded<Config>,
    log: LogControl,
    shutdown: impl Future<Output = ()>,
) -> Result<(), RunError> {
    let config = loaded.config;
    let mut registry = common::telemetry::registry("edge-c");
    drop(Metrics::register(&mut registry));
    let supervisor = Supervisor::new(Drain::new());
    supervisor.register(&mut registry);
    let listener = listen::bind(config.admin.listen)
        .map_err(|error| RunError::bind("admin.listen", config.admin.listen, &error))?;
    let name = config.name.to_string();
    let admin = Admin {
        product: "edge-c",
        names: config.admin.names,
        registry: Arc::new(registry),
        readiness: Readiness::default(),
        status: Arc::new(move || json!({ "name": name })),
        log,
        drain: supervisor.drain().clone(),
    };
    let serving = admin::serve(listener, admin, supervisor.clone());
    drop(supervisor.spawn_vital("admin", serving));
    tracing::info!("serving");
    lifecycle::until_drained(&supervisor, shutdown, config.drain_grace, || async {}).await?;
    Ok(())
}

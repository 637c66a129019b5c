//! How often passwords were tried at all nodes together. Each node has its own counts first; this is asked when they have
//! room. A store that does not answer limits nobody: the node's own counts go on.

use std::sync::Arc;
use std::time::Duration;

use common::policy::rate_limit::{Quota, TooOften};

use super::Sessions;
use super::agreement::{Agreement, Holder, LoginCount};
use super::random::draw;

/// One login that was counted at all nodes, until it is excused.
#[derive(Debug)]
pub(crate) struct CountedLogin {
    agreement: Arc<dyn Agreement>,
    counts: [LoginCount; 2],
    holder: Holder,
}

impl Sessions {
    /// Counts one login of `device` and of `network`, each named by octets that no log or store will see.
    ///
    /// # Errors
    /// [`TooOften`] if other nodes have used up what is allowed.
    pub(crate) async fn count_login(
        &self,
        device: (&[u8], Quota),
        network: (&[u8], Quota),
    ) -> Result<Option<CountedLogin>, TooOften> {
        let count = |(name, quota): (&[u8], Quota)| {
            let key = self.0.state_key.tag(LABEL, name).ok()?;
            Some(LoginCount { key, quota })
        };
        let (Some(device), Some(network)) = (count(device), count(network)) else {
            return Ok(None);
        };
        let Ok(holder) = draw(self.0.random.as_ref()) else {
            return Ok(None);
        };
        let counts = [device, network];
        match self.0.agreement.count_login(counts, holder).await {
            Ok(None) => Ok(Some(CountedLogin {
                agreement: Arc::clone(&self.0.agreement),
                counts,
                holder,
            })),
            Ok(Some(retry_after)) => Err(TooOften {
                retry_after: retry_after.max(Duration::from_secs(1)),
            }),
            Err(error) => {
                tracing::debug!(side = "upstream", reason = %error, "logins are counted on this node alone");
                Ok(None)
            }
        }
    }
}

impl CountedLogin {
    /// The home cluster never got the question, or could not answer it.
    pub(crate) async fn excuse(self) {
        let excused = self.agreement.excuse_login(self.counts, self.holder).await;
        if let Err(error) = excused {
            tracing::debug!(side = "upstream", reason = %error, "a login stays counted");
        }
    }
}

const LABEL: &[u8] = b"edge-c login count 1";

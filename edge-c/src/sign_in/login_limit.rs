//! How often a password may be proved: counted per user, device and address, and for each question that UCM really got.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};

use common::limits;
use common::net::Domain;
use common::policy::rate_limit::{Quota, SlidingWindows, TooOften, network_of};
use common::session::{DeviceName, UserName};
use tokio::time::Instant;

use crate::sessions::{CountedLogin, Sessions};
use crate::uds::OnBehalf;

/// Who tries.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Attempt {
    pub(super) domain: Domain,
    pub(super) user: UserName,
    pub(super) network: IpAddr,
}

impl Attempt {
    pub(super) fn new(domain: &Domain, user: &UserName, on_behalf: &OnBehalf) -> Self {
        Self {
            domain: domain.clone(),
            user: user.clone(),
            network: network_of(on_behalf.client.0.ip()),
        }
    }

    /// One text for each attempt that is counted together.
    fn name(&self) -> String {
        let user = self.user.as_str().to_lowercase();
        format!("{}\0{user}\0{}", self.domain, self.network)
    }
}

/// The counters.
#[derive(Debug)]
pub(super) struct LoginLimit {
    counters: Mutex<Counters>,
    device_quota: Quota,
    network_quota: Quota,
}

#[derive(Debug)]
struct Counters {
    devices: SlidingWindows<(Attempt, Option<DeviceName>)>,
    /// Clients choose their device's name, so that it alone would be no limit.
    networks: SlidingWindows<Attempt>,
}

impl LoginLimit {
    pub(super) fn new(quota: Quota) -> Self {
        let factor = NonZeroU32::new(limits::LOGIN_LIMIT_DEVICES_FACTOR).unwrap_or(NonZeroU32::MIN);
        let wide = Quota {
            count: quota.count.saturating_mul(factor),
            window: quota.window,
        };
        Self {
            counters: Mutex::new(Counters {
                devices: SlidingWindows::new(quota, limits::LOGIN_LIMIT_KEYS_MAX),
                networks: SlidingWindows::new(wide, limits::LOGIN_LIMIT_KEYS_MAX),
            }),
            device_quota: quota,
            network_quota: wide,
        }
    }

    /// Whether one more question may be asked; what was asked is counted when the result is dropped, so that a client who
    /// leaves before the answer is counted too.
    pub(super) fn admit(
        &self,
        attempt: Attempt,
        device: Option<DeviceName>,
    ) -> Result<Counted<'_>, TooOften> {
        let now = Instant::now().into_std();
        let key = (attempt, device);
        let counters = self.lock();
        counters.devices.check(&key, now)?;
        counters.networks.check(&key.0, now)?;
        Ok(Counted {
            limit: self,
            key: Some(key),
        })
    }

    /// Whether one more question may be asked, as all nodes together have counted: to be asked after [`Self::admit`].
    pub(super) async fn admit_everywhere(
        &self,
        sessions: &Sessions,
        attempt: &Attempt,
        device: Option<&DeviceName>,
    ) -> Result<Option<CountedLogin>, TooOften> {
        let network = attempt.name();
        let name = device.map_or("", DeviceName::as_str);
        let device = format!("{network}\0{name}\0");
        sessions
            .count_login(
                (device.as_bytes(), self.device_quota),
                (network.as_bytes(), self.network_quota),
            )
            .await
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Counters> {
        self.counters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A question that counts unless it is excused.
#[derive(Debug)]
pub(super) struct Counted<'a> {
    limit: &'a LoginLimit,
    key: Option<(Attempt, Option<DeviceName>)>,
}

impl Counted<'_> {
    /// UCM never got the question, or could not answer it.
    pub(super) fn excuse(mut self) {
        self.key = None;
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            let now = Instant::now().into_std();
            let mut counters = self.limit.lock();
            counters.networks.record(key.0.clone(), now);
            counters.devices.record(key, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::testing::on_behalf;

    const WINDOW: Duration = Duration::from_secs(300);

    #[tokio::test(start_paused = true)]
    async fn three_questions_in_a_window_and_the_fourth_waits_for_the_first_to_leave_it() {
        let limit = limit();
        for _ in 0..3 {
            drop(limit.admit(attempt("alice"), None).unwrap());
            tokio::time::advance(Duration::from_secs(10)).await;
        }

        let refused = limit.admit(attempt("alice"), None).unwrap_err();
        assert_eq!(refused.retry_after, Duration::from_secs(270));
        assert!(limit.admit(attempt("bob"), None).is_ok());

        tokio::time::advance(refused.retry_after).await;
        assert!(limit.admit(attempt("alice"), None).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn an_excused_question_does_not_count() {
        let limit = limit();

        for _ in 0..10 {
            limit.admit(attempt("alice"), None).unwrap().excuse();
        }

        assert!(limit.admit(attempt("alice"), None).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn each_device_has_its_own_count_but_not_for_ever() {
        let limit = limit();
        let mut admitted = 0;

        for i in 0..100 {
            let device = DeviceName::parse(&format!("CSF{i}")).unwrap();
            admitted += u32::from(limit.admit(attempt("alice"), Some(device)).is_ok());
        }

        assert_eq!(admitted, 3 * limits::LOGIN_LIMIT_DEVICES_FACTOR);
    }

    fn limit() -> LoginLimit {
        LoginLimit::new(Quota {
            count: NonZeroU32::new(3).unwrap(),
            window: WINDOW,
        })
    }

    fn attempt(user: &str) -> Attempt {
        Attempt::new(
            &Domain::parse("example.com").unwrap(),
            &UserName::parse(user).unwrap(),
            &on_behalf(),
        )
    }
}

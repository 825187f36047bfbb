//! Whether the gateway is ready, and if not, why.

use super::{Gateway, workers};
use crate::admin::Check;

impl Gateway {
    /// Every condition of being ready, with its reason.
    pub(super) async fn readiness(&self) -> Vec<Check> {
        let stopping = *self.stopping.borrow();
        let mut checks = self.reloads.checks();
        let now = self.shared.clock.now();
        let check = |name: &str, fault: Option<String>| Check {
            name: name.to_owned(),
            ok: fault.is_none(),
            reason: fault,
            optional: false,
        };
        let ended = self.reloads.ended_certificate(now);
        checks.push(check(
            "certificates",
            ended.map(|name| format!("`{name}` is not valid now")),
        ));
        checks.push(check(
            "store",
            self.store
                .ready()
                .await
                .err()
                .map(|error| error.to_string()),
        ));
        checks.extend(self.others_check());
        checks.push(check(
            "directory",
            self.shared
                .directory
                .ready()
                .await
                .err()
                .map(|error| error.to_string()),
        ));
        checks.push(check(
            "running",
            stopping.then(|| "the gateway is draining".to_owned()),
        ));
        let upstreams = workers::reachable(&self.shared).await;
        let any = upstreams.iter().any(|(_, reachable)| *reachable);
        checks.push(check(
            "upstreams",
            (!any).then(|| "no upstream can be reached".to_owned()),
        ));
        checks.extend(upstreams.into_iter().map(|(name, reachable)| Check {
            name: format!("upstream:{name}"),
            ok: reachable,
            reason: (!reachable).then(|| "no endpoint takes a connection".to_owned()),
            optional: true,
        }));
        checks
    }
}

//! What of a user's budgets is spent, for ops to look at.

use super::Gateway;
use super::operations::unavailable;
use crate::admin::operations::{Budget, Challenge, Lane, OperationError, Sends};
use crate::clock::Timestamp;
use crate::config::Window;
use crate::limit::{self, Sent};
use crate::store::{self, AccountKey, LaneStanding};

impl Gateway {
    pub(super) fn lane(
        &self,
        now: Timestamp,
        standing: &LaneStanding,
        devices: &[(crate::secret::BearerHash, store::DeviceRecord)],
    ) -> Lane {
        let budget = limit::budget(&self.shared.config.login, standing.lane);
        let budgets = spent_of(budget, &standing.charges, now);
        Lane {
            device: match standing.lane {
                store::Lane::Unknown => None,
                store::Lane::Known(id) => Some(
                    devices
                        .iter()
                        .find(|(known, _)| *known == id)
                        .map_or_else(|| "forgotten".to_owned(), |(_, one)| one.handle.clone()),
                ),
            },
            spent_until: spent_until(&budgets),
            budgets: budgets.iter().map(told).collect(),
            challenges: standing
                .live
                .iter()
                .map(|challenge| Challenge {
                    created: challenge.created.rfc3339(),
                    expires: challenge.expires.rfc3339(),
                    attempts: challenge.attempts,
                })
                .collect(),
        }
    }

    /// What may still be sent to an account's user.
    pub(super) async fn sends(
        &self,
        now: Timestamp,
        account: AccountKey,
    ) -> Result<Vec<Sends>, OperationError> {
        let mut sends = Vec::new();
        for budget in limit::account_budgets(&self.shared.config.login.sends, account) {
            let drafts = self.store.drafts(budget.key).await.map_err(unavailable)?;
            let each = |(at, count): &(Timestamp, u32)| vec![*at; *count as usize];
            let drafts: Vec<Timestamp> = drafts.iter().flat_map(each).collect();
            let budgets = spent_of(&budget.windows, &drafts, now);
            sends.push(Sends {
                kind: match budget.sent {
                    Sent::Messages => "sms".to_owned(),
                    Sent::Mails => "mail".to_owned(),
                },
                known_devices: budget.known,
                spent_until: spent_until(&budgets),
                budgets: budgets.iter().map(told).collect(),
            });
        }
        Ok(sends)
    }
}

/// What of each of a budget's windows is spent.
fn spent_of(windows: &[Window], charges: &[Timestamp], now: Timestamp) -> Vec<(Window, Spent)> {
    let each = windows.iter();
    each.map(|window| (*window, spent(charges, now, *window)))
        .collect()
}

fn spent_until(budgets: &[(Window, Spent)]) -> Option<String> {
    let ends = budgets.iter().filter_map(|(_, spent)| spent.until);
    ends.max().map(Timestamp::rfc3339)
}

fn told((window, spent): &(Window, Spent)) -> Budget {
    let limit = usize::try_from(window.limit).unwrap_or(usize::MAX);
    Budget {
        limit: window.limit,
        per_seconds: window.per.as_secs(),
        used: spent.used,
        left: limit.saturating_sub(spent.used),
        frees: spent.frees.map(Timestamp::rfc3339),
    }
}

/// What of a budget is spent.
#[derive(Debug, PartialEq, Eq)]
struct Spent {
    used: usize,
    /// When the first of what is spent is free again.
    frees: Option<Timestamp>,
    /// When something is free again, if nothing is.
    until: Option<Timestamp>,
}

fn spent(charges: &[Timestamp], now: Timestamp, window: Window) -> Spent {
    let counted: Vec<Timestamp> = charges
        .iter()
        .map(|charge| charge.plus(window.per))
        .filter(|frees| *frees > now)
        .collect();
    let limit = usize::try_from(window.limit).unwrap_or(usize::MAX);
    let surplus = counted.len().checked_sub(limit);
    Spent {
        used: counted.len(),
        frees: counted.first().copied(),
        until: surplus.and_then(|surplus| counted.get(surplus).copied()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_budget_says_what_is_spent_and_when_it_frees() {
        let at = |seconds: u64| Timestamp::from_millis(seconds * 1_000);
        let window = Window {
            limit: 2,
            per: Duration::from_secs(10),
        };
        let charges = [at(1), at(4), at(5)];
        for (now, used, frees, until) in [
            (6, 3, Some(at(11)), Some(at(14))),
            (11, 2, Some(at(14)), Some(at(14))),
            (14, 1, Some(at(15)), None),
            (15, 0, None, None),
        ] {
            let expected = Spent { used, frees, until };
            assert_eq!(spent(&charges, at(now), window), expected, "at {now}");
        }
    }
}

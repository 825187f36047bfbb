//! A change between its forwarding and its answer.

use std::fmt;
use std::sync::Arc;

use tokio::runtime::Handle;

use super::PolicySet;
use super::authorise::unavailable;
use super::facts::{FactsCache, FactsError};
use super::resource::Resource;
use super::routes::RouteMatch;
use super::spelling::Spelled;
use crate::store::{FactsNews, SharedStore, Stage};

/// A change that was forwarded and has no answer yet. Let go without
/// [`Authoriser::after_answer`](super::Authoriser::after_answer), as when the client goes away, it
/// leaves what it named uncached for a minute: the application may still be at work on it.
pub struct Unsettled {
    facts: Arc<FactsCache>,
    /// `None` for what changes nothing, and once it is settled.
    matched: Option<RouteMatch>,
    /// What each of its identifiers means.
    spelled: Vec<Spelled>,
    /// What other gateways were told of it.
    told: Option<(SharedStore, FactsNews)>,
}

/// What other gateways are told once an answer is there.
pub(super) struct Told(Option<FactsNews>);

impl Unsettled {
    /// Drops what is known of what a request changes, if it changes something.
    pub(super) fn begin(
        facts: &Arc<FactsCache>,
        set: &PolicySet,
        matched: Option<RouteMatch>,
    ) -> Self {
        let named = matched.iter().flat_map(RouteMatch::named);
        let named = named.filter_map(|(resource, id)| Some((resource, id?)));
        let spelled = named.map(|(resource, id)| facts.spelled(set, resource, &id));
        let unsettled = Self {
            spelled: spelled.collect(),
            facts: Arc::clone(facts),
            matched,
            told: None,
        };
        unsettled.each(FactsCache::change);
        unsettled
    }

    /// Tells other gateways, if there may be some.
    pub(super) async fn tell_begun(&mut self, store: &SharedStore) -> Result<(), FactsError> {
        if self.matched.is_none() || !self.facts.afar.is_shared() {
            return Ok(());
        }
        let mut of = Vec::new();
        self.each(|_, resource, id, spelled| {
            let all = spelled.all(id);
            of.extend(all.map(|id| (resource.name.to_string(), id.to_owned())));
        });
        let news = self.facts.afar.begin(of);
        let outcome = store.tell_facts(&news).await;
        self.told = Some((Arc::clone(store), news));
        outcome.map_err(|error| unavailable("what a request changes".into(), &error))
    }

    /// The answer is there.
    pub(super) fn settle(mut self) -> Told {
        self.each(|facts, resource, id, spelled| facts.settle(resource, id, spelled, true));
        self.matched = None;
        Told(self.told.take().map(|(_, news)| FactsNews {
            stage: Stage::Answered,
            ..news
        }))
    }

    fn each(&self, mut act: impl FnMut(&FactsCache, &Resource, &str, &Spelled)) {
        let named = self.matched.iter().flat_map(RouteMatch::named);
        let named = named.filter_map(|(resource, id)| Some((resource, id?)));
        for ((resource, id), spelled) in named.zip(&self.spelled) {
            act(&self.facts, resource, &id, spelled);
        }
    }
}

impl Told {
    /// Something else has changed with it.
    pub(super) fn changed(&mut self, kind: &str, id: &str) {
        if let Some(news) = &mut self.0 {
            news.of.push((kind.to_owned(), id.to_owned()));
        }
    }

    /// Tells other gateways. One that is not told asks the application for a minute.
    pub(super) async fn tell_answered(self, store: &SharedStore) {
        if let Some(news) = self.0
            && let Err(error) = store.tell_facts(&news).await
        {
            tracing::warn!(%error, "other gateways were not told that a change is over");
        }
    }
}

impl Drop for Unsettled {
    fn drop(&mut self) {
        self.each(|facts, resource, id, spelled| facts.settle(resource, id, spelled, false));
        let Some((store, news)) = self.told.take() else {
            return;
        };
        let news = FactsNews {
            stage: Stage::Abandoned,
            ..news
        };
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move {
                if let Err(error) = store.tell_facts(&news).await {
                    tracing::warn!(%error, "other gateways were not told that a change was given up");
                }
            });
        }
    }
}

impl fmt::Debug for Unsettled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unsettled")
            .field("matched", &self.matched)
            .finish_non_exhaustive()
    }
}

//! Entities built once for what is judged again and again: each user of a session, each resource
//! whose facts are believed.

use std::fmt;
use std::sync::Arc;

use cedar_policy::Entity;
use cedar_policy_core::ast;
use quick_cache::sync::Cache;

/// How many entities of a kind are kept.
const CAPACITY: usize = 10_000;

/// Entities by what they were built of.
///
/// The key is an address; what stands there is kept with the entity, so that nothing else can
/// take its place, and never changes.
pub(super) struct Prepared<T>(Cache<usize, (Arc<T>, Arc<ast::Entity>)>);

impl<T> Prepared<T> {
    /// The entity of `of`, built unless it is here; `None` if it cannot be built.
    pub(super) fn get(
        &self,
        of: &Arc<T>,
        build: impl FnOnce() -> Option<Entity>,
    ) -> Option<Arc<ast::Entity>> {
        let address = Arc::as_ptr(of).addr();
        if let Some((_, entity)) = self.0.get(&address) {
            return Some(entity);
        }
        let entity = Arc::new(build()?.as_ref().clone());
        self.0
            .insert(address, (Arc::clone(of), Arc::clone(&entity)));
        Some(entity)
    }
}

impl<T> Default for Prepared<T> {
    fn default() -> Self {
        Self(Cache::new(CAPACITY))
    }
}

impl<T> fmt::Debug for Prepared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Prepared").field(&self.0.len()).finish()
    }
}

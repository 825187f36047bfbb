//! The headers that name someone, written once for each person and kept for their next request.

use std::fmt;
use std::sync::Arc;

use http::HeaderValue;
use quick_cache::sync::Cache;

use crate::config::HeaderTemplate;
use crate::principal::Principal;

/// How many values are kept, over all people and headers.
const CAPACITY: usize = 40_000;

/// Written headers by whose they are and what they were written from.
///
/// The key is two addresses. The person is kept with the value, so that nothing else can take their
/// place; templates are the configuration's, which outlives every request.
pub struct Names(Cache<(usize, usize), (Arc<Principal>, HeaderValue)>);

impl Names {
    /// The value of a template of the configuration for someone; written unless it is here. One that
    /// holds a secret is written each time: no copy of a secret is kept.
    pub(super) fn value<E>(
        &self,
        principal: &Arc<Principal>,
        template: &HeaderTemplate,
        write: impl FnOnce(&Principal) -> Result<HeaderValue, E>,
    ) -> Result<HeaderValue, E> {
        let key = (
            Arc::as_ptr(principal).addr(),
            std::ptr::from_ref(template).addr(),
        );
        if let Some((_, value)) = self.0.get(&key) {
            return Ok(value);
        }
        let value = write(principal)?;
        if !value.is_sensitive() {
            self.0.insert(key, (Arc::clone(principal), value.clone()));
        }
        Ok(value)
    }
}

impl Default for Names {
    fn default() -> Self {
        Self(Cache::new(CAPACITY))
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Names").field(&self.0.len()).finish()
    }
}

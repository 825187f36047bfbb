//! `portvakt policy explain`: how the running gateway would decide over a request.

use std::sync::Arc;

use super::Gateway;
use super::operations::{Outcome, unavailable};
use crate::admin::operations::{Asked, OperationError};
use crate::pipeline::Pipeline;
use crate::policy::Explanation;
use crate::target::Target;

impl Gateway {
    /// Asks for facts as a request would, over connections of its own.
    pub(super) async fn explained(&self, by: &str, asked: Asked) -> Outcome<Explanation> {
        let event = "admin.policy.explain";
        let (mut command, person) = self.about_user(event, by, &asked.email).await?;
        command.about = Some(asked.request.clone());
        self.begun(&command).await?;
        let target = Target::from_line(&asked.request).map_err(|error| {
            OperationError::Unknown(format!("`{}` is no request: {error}", asked.request))
        })?;
        let shared = &self.shared;
        let pipeline = Pipeline::new(Arc::clone(shared));
        let lookups = pipeline
            .map(|pipeline| pipeline.lookups())
            .ok_or_else(|| unavailable("there is no upstream to ask for facts"))?;
        let host = asked
            .host
            .unwrap_or_else(|| shared.config.public_url.host.clone());
        let (set, principal) = (
            shared.policy.load_full(),
            Arc::new(person.principal.clone()),
        );
        let about = (&target, host.as_str());
        let explaining = shared.authoriser.explain(&set, &principal, about, &lookups);
        Ok(explaining.await)
    }
}

//! Whom errors are reported to.

use std::time::Duration;

use re_dms_telemetry::reports::{Rollbar, Sentry, Service, rollbar};

use super::reader::Reader;
use super::{Secret, units};

/// Whom errors are reported to. Nobody, if nothing is said.
#[derive(Clone, Debug)]
pub struct ErrorsConfig {
    /// A Sentry project.
    pub sentry: Option<Sentry>,
    /// A Rollbar project.
    pub rollbar: Option<Rollbar>,
    /// `production`, `staging` and the like.
    pub environment: String,
    /// Failures that are tried again are errors once they last so long.
    pub lasting: Duration,
}

impl ErrorsConfig {
    pub(super) fn read(reader: &mut Reader) -> Self {
        let sentry = reader.optional("errors.sentry_dsn", |text| {
            Sentry::from_dsn(text).ok_or_else(|| "must be like https://KEY@HOST/PROJECT".into())
        });
        let token = reader.optional("errors.rollbar_token", |text| Ok(Secret::new(text.to_owned())));
        let url =
            reader.or_default("errors.rollbar_url", |text| Ok(text.to_owned()), rollbar::ROLLBAR.to_owned());
        let rollbar = token.map(|token| Rollbar::new(token.reveal(), &url));
        if matches!(rollbar, Some(None)) {
            reader.problem(
                "errors.rollbar_token",
                "can't be used, or errors.rollbar_url is no address".into(),
                "give a project's access token with the scope post_server_item",
            );
        }
        Self {
            sentry,
            rollbar: rollbar.flatten(),
            environment: reader.or_default(
                "errors.environment",
                |text| Ok(text.to_owned()),
                "production".to_owned(),
            ),
            lasting: reader.or_default("errors.lasting", units::duration, Duration::from_secs(300)),
        }
    }

    /// The services.
    #[must_use]
    pub fn services(&self) -> Vec<Service> {
        let sentry = self.sentry.clone().map(Service::Sentry);
        sentry.into_iter().chain(self.rollbar.clone().map(Service::Rollbar)).collect()
    }
}

//! Log lines on stderr.

use re_dms_capture::config::{LogConfig, LogFormat};
use tracing_subscriber::EnvFilter;

/// From now on the process logs.
pub(crate) fn start(config: &LogConfig) {
    // The filter was checked with the rest of the configuration.
    let filter = EnvFilter::try_new(&config.level).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match config.format {
        LogFormat::Json => builder.json().init(),
        LogFormat::Text => {
            let color = std::io::IsTerminal::is_terminal(&std::io::stderr())
                && std::env::var_os("NO_COLOR").is_none();
            builder.with_ansi(color).init();
        }
    }
}

//! Noticing that the configuration changed: SIGHUP, or another content of its file.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use super::gateway::Gateway;

/// How often the file is looked at. Its content counts, not its time: a swapped symlink is a change too.
const POLL: Duration = Duration::from_secs(1);

/// Reloads at each change. A configuration that is wrong leaves the one in force untouched.
pub(crate) async fn watch(gateway: Gateway) {
    let Ok(mut hang_up) = signal(SignalKind::hangup()) else {
        tracing::error!("SIGHUP cannot be received; restart the gateway to change its configuration");
        return;
    };
    let mut seen = content(&gateway);
    loop {
        let told = tokio::select! {
            _ = hang_up.recv() => true,
            () = tokio::time::sleep(POLL) => false,
        };
        let now = content(&gateway);
        if !told && now == seen {
            continue;
        }
        // An editor may be in the middle of writing: take the content that stood still.
        if !told {
            tokio::time::sleep(Duration::from_millis(100)).await;
            if content(&gateway) != now {
                continue;
            }
        }
        seen = now;
        if let Err(error) = gateway.reload(None).await {
            tracing::error!(
                error = format!("{error:#}"),
                "the new configuration is not usable; the one in force stays"
            );
        }
    }
}

/// Configurations are a few kilobytes; reading one each second costs nothing.
fn content(gateway: &Gateway) -> Option<Vec<u8>> {
    std::fs::read(gateway.file()).ok()
}

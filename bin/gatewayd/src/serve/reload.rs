//! Noticing that the configuration changed: SIGHUP, or another content of its files.

use std::time::Duration;

use tokio::signal::unix::Signal;

use super::gateway::Gateway;

/// How often the files are looked at. Their content counts, not their time: a swapped symlink is a change too.
const POLL: Duration = Duration::from_secs(1);

/// Reloads at each change, and when `hang_up` says so. A configuration that is wrong leaves the one in force untouched.
pub(crate) async fn watch(gateway: Gateway, mut hang_up: Signal) {
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
        let files = gateway.controls().config.files.clone();
        if let Err(error) = gateway.reload(None).await {
            tracing::error!(
                error = format!("{error:#}"),
                "the new configuration is not usable; the one in force stays"
            );
        }
        // What was read before the reload, so that a change during it is not missed; unless the new configuration
        // names other files.
        seen = if gateway.controls().config.files == files { now } else { content(&gateway) };
    }
}

/// Configurations are a few kilobytes; reading them each second costs nothing.
fn content(gateway: &Gateway) -> Vec<Option<Vec<u8>>> {
    gateway.controls().config.files.iter().map(|file| std::fs::read(file).ok()).collect()
}

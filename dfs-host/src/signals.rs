//! Signals: SIGTERM and SIGINT ask a daemon to end.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// A token that SIGTERM or SIGINT cancels. Whoever presses Ctrl-C once more does not want to wait:
/// a second SIGINT ends the process at once, as without a handler. To be called in a tokio runtime.
pub fn shutdown() -> CancellationToken {
    let token = CancellationToken::new();
    let cancelled = token.clone();
    // Registered before this returns, so that no signal after it is missed.
    let handlers = (
        listen(SignalKind::terminate()),
        listen(SignalKind::interrupt()),
    );
    tokio::spawn(async move {
        let (mut terminate, mut interrupt) = handlers;
        let which = tokio::select! {
            () = next(&mut terminate) => "SIGTERM",
            () = next(&mut interrupt) => "SIGINT",
        };
        tracing::info!("{which}: going down");
        cancelled.cancel();
        next(&mut interrupt).await;
        tracing::warn!("SIGINT again: ending at once");
        std::process::exit(130);
    });
    token
}

fn listen(kind: SignalKind) -> Option<Signal> {
    signal(kind)
        .inspect_err(|error| tracing::error!(%error, "signals cannot be listened for"))
        .ok()
}

async fn next(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => {
            signal.recv().await;
        }
        None => std::future::pending().await,
    }
}

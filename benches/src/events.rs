//! Reading a stream of events as it arrives: how many, how late, and whether it came to its end.

use std::time::Duration;

use crate::stats::Samples;
use crate::wire::Sink;

/// The machine's monotonic clock, the same in every process, in microseconds.
#[must_use]
pub fn now() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let (seconds, nanos) = (u64::try_from(time.tv_sec), u64::try_from(time.tv_nsec));
    seconds.unwrap_or_default() * 1_000_000 + nanos.unwrap_or_default() / 1_000
}

/// Counts the events of one stream.
#[derive(Debug, Default)]
pub struct Events {
    pending: Vec<u8>,
    /// Events seen, the closing `[DONE]` not among them.
    pub count: usize,
    /// True once `[DONE]` was seen.
    pub done: bool,
    /// How long each event was on its way.
    pub delays: Samples,
}

impl Events {
    /// Ready for the next stream on the same connection.
    pub fn restart(&mut self) {
        self.pending.clear();
        self.count = 0;
        self.done = false;
    }

    fn event(&mut self, event: &[u8]) {
        if event.starts_with(b"data: [DONE]") {
            self.done = true;
        } else if event.starts_with(b"data:") {
            self.count += 1;
            if let Some(sent) = stamp(event) {
                self.delays.add(Duration::from_micros(now().saturating_sub(sent)));
            }
        }
    }
}

/// The time at which the upstream sent this event; it stands where the API has the time of creation.
fn stamp(event: &[u8]) -> Option<u64> {
    let key = b"\"created\":";
    let at = memchr::memmem::find(event, key)?;
    let digits = event.get(at + key.len()..)?;
    let end = digits.iter().position(|b| !b.is_ascii_digit())?;
    std::str::from_utf8(digits.get(..end)?).ok()?.parse().ok()
}

impl Sink for Events {
    fn data(&mut self, bytes: &[u8]) {
        let mut pending = std::mem::take(&mut self.pending);
        pending.extend_from_slice(bytes);
        let mut rest: &[u8] = &pending;
        while let Some(end) = memchr::memmem::find(rest, b"\n\n") {
            let (event, tail) = rest.split_at(end);
            self.event(event);
            rest = tail.get(2..).unwrap_or_default();
        }
        let used = pending.len() - rest.len();
        pending.drain(..used);
        self.pending = pending;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_counted_whatever_the_cuts() {
        let sent = now();
        let wire = format!(
            "data: {{\"created\":{sent},\"a\":1}}\n\ndata: {{\"created\":{sent}}}\n\ndata: [DONE]\n\n"
        );
        for cut in 0..wire.len() {
            let mut events = Events::default();
            events.data(&wire.as_bytes()[..cut]);
            events.data(&wire.as_bytes()[cut..]);
            assert_eq!((events.count, events.done, events.delays.len()), (2, true, 2));
        }
    }
}

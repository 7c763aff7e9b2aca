//! The masker without HTTP: a filter for log files, and a writer for those who make them.
//!
//! ```console
//! $ cargo run -p gatewayd-examples --bin mask_filter -- known-secrets.txt < app.log > masked.log
//! ```
//!
//! The file has one known secret a line; without it only the built-in rules are in force.

use std::error::Error;
use std::io::{self, Read, Write};

use gatewayd_masker::format::BodyKind;
use gatewayd_masker::{BuildError, Builder, MaskEvent, MaskReader, MaskWriter, Masker, Tier};

fn main() -> Result<(), Box<dyn Error>> {
    let secrets = match std::env::args_os().nth(1) {
        Some(file) => std::fs::read_to_string(file)?,
        None => String::new(),
    };
    let masker = masker(secrets.lines())?;
    let events = filter(&masker, io::stdin().lock(), io::stdout().lock())?;
    let mut log = log_to(&masker, io::stderr());
    for event in &events {
        writeln!(log, "{} at byte {} ({} bytes)", event.rule, event.offset, event.length)?;
    }
    writeln!(log, "{} masked", events.len())?;
    log.finish()?;
    Ok(())
}

/// Compiling the rules takes a moment and a masker is cheap to clone: make one, keep it.
///
/// A secret that is so short that it would mask ordinary words is refused here, not ignored.
pub(crate) fn masker<'s>(secrets: impl Iterator<Item = &'s str>) -> Result<Masker, BuildError> {
    let builder = Masker::builder()
        // Also `password = ...` and the like: worth some false alarms in a log.
        .tiers([Tier::Default, Tier::Assignments]);
    secrets.fold(builder, Builder::known_secret).build()
}

/// Reads, masks, writes. Nothing is buffered but what could still become a secret, so it works on `tail -f` too.
pub(crate) fn filter(masker: &Masker, raw: impl Read, mut out: impl Write) -> io::Result<Vec<MaskEvent>> {
    let mut masked = MaskReader::new(raw, masker.body(BodyKind::Text));
    io::copy(&mut masked, &mut out)?;
    out.flush()?;
    Ok(masked.body().take_events())
}

/// For the other end: whatever your logger writes to this, `sink` gets masked, also where a secret is written in
/// pieces. Call `finish` at the end; what is still held back then is let go.
pub(crate) fn log_to<W: Write>(masker: &Masker, sink: W) -> MaskWriter<W> {
    MaskWriter::new(sink, masker.body(BodyKind::Text))
}

//! Three common ways to mask a stream, done plainly, beside this crate: what each lets through, and how long it
//! holds text back. All four use the same rules; only the way of streaming differs.
//!
//! ```text
//! cargo run --release -p gatewayd-masker --example peers
//! ```

use std::error::Error;
use std::io::Write as _;

use gatewayd_masker::rule::{self, Example};
use gatewayd_masker::{Masker, Stream};

/// Bytes of a model's token, more or less.
const PIECE: usize = 4;
/// The window of the second way: longer than most keys, shorter than tokens and key files.
const WINDOW: usize = 256;
/// So many bytes of a secret in a row count as a leak.
const LEAK: usize = 6;

/// A way to mask a stream.
trait Way {
    fn push(&mut self, piece: &[u8]) -> Vec<u8>;
    fn finish(&mut self) -> Vec<u8>;
}

/// Each piece alone.
struct PerPiece(Masker);

impl Way for PerPiece {
    fn push(&mut self, piece: &[u8]) -> Vec<u8> {
        self.0.mask(piece)
    }

    fn finish(&mut self) -> Vec<u8> {
        Vec::new()
    }
}

/// The last bytes are always held; what is found in them is masked when it leaves.
struct FixedWindow {
    masker: Masker,
    held: Vec<u8>,
}

impl FixedWindow {
    fn release(&mut self, window: usize) -> Vec<u8> {
        let mut cut = self.held.len().saturating_sub(window);
        for finding in self.masker.find(&self.held) {
            if finding.range.contains(&cut) {
                cut = finding.range.start;
            }
        }
        let rest = self.held.split_off(cut);
        let out = self.masker.mask(&self.held);
        self.held = rest;
        out
    }
}

impl Way for FixedWindow {
    fn push(&mut self, piece: &[u8]) -> Vec<u8> {
        self.held.extend_from_slice(piece);
        self.release(WINDOW)
    }

    fn finish(&mut self) -> Vec<u8> {
        self.release(0)
    }
}

/// Nothing leaves before the end.
struct WholeBuffer {
    masker: Masker,
    held: Vec<u8>,
}

impl Way for WholeBuffer {
    fn push(&mut self, piece: &[u8]) -> Vec<u8> {
        self.held.extend_from_slice(piece);
        Vec::new()
    }

    fn finish(&mut self) -> Vec<u8> {
        self.masker.mask(&std::mem::take(&mut self.held))
    }
}

impl Way for Stream {
    fn push(&mut self, piece: &[u8]) -> Vec<u8> {
        Self::push(self, piece)
    }

    fn finish(&mut self) -> Vec<u8> {
        Self::finish(self)
    }
}

/// Starts a way for one stream.
type Start<'a> = &'a dyn Fn() -> Box<dyn Way>;

/// What a way let through and how late it was.
#[derive(Default)]
struct Outcome {
    leaked: usize,
    secrets: usize,
    /// For each push, how many clean bytes that had come in were still waiting.
    waiting: Vec<usize>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let masker = Masker::builder().build()?;
    let streams = streams()?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "| way | secret bytes let through | clean bytes waiting, mean | p99 | most |")?;
    writeln!(out, "|---|---|---|---|---|")?;
    let ways: [(&str, Start<'_>); 4] = [
        ("each piece alone", &|| Box::new(PerPiece(masker.clone()))),
        ("fixed window", &|| Box::new(FixedWindow { masker: masker.clone(), held: Vec::new() })),
        ("whole buffer", &|| Box::new(WholeBuffer { masker: masker.clone(), held: Vec::new() })),
        ("this crate", &|| Box::new(masker.stream())),
    ];
    for (name, way) in ways {
        let mut outcome = Outcome::default();
        for stream in &streams {
            outcome.run(way().as_mut(), stream);
        }
        writeln!(out, "| {name} | {}", outcome.row())?;
    }
    Ok(())
}

/// An example of every rule of the default tier, each between two paragraphs of prose.
fn streams() -> Result<Vec<Example>, Box<dyn Error>> {
    let prose = "The quick answer is below, and the longer one follows it. Keep it to yourself, and rotate it soon.\n";
    let mut streams = Vec::new();
    for rule in rule::builtin().iter().filter(|rule| rule.tier == gatewayd_masker::Tier::Default) {
        for example in rule.positives(1)? {
            let before = prose.repeat(3).into_bytes();
            let shift = before.len();
            streams.push(Example {
                text: [before, example.text, b"\n".to_vec(), prose.repeat(6).into_bytes()].concat(),
                secrets: example
                    .secrets
                    .iter()
                    .map(|secret| secret.start + shift..secret.end + shift)
                    .collect(),
            });
        }
    }
    Ok(streams)
}

impl Outcome {
    fn run(&mut self, way: &mut dyn Way, stream: &Example) {
        let mut out = Vec::new();
        let mut came = 0;
        for piece in stream.text.chunks(PIECE) {
            came += piece.len();
            out.extend(way.push(piece));
            self.waiting.push(clean(stream, came).len().saturating_sub(visible(&out).len()));
        }
        out.extend(way.finish());
        let (out, clean) = (visible(&out), clean(stream, came));
        for secret in &stream.secrets {
            let secret = stream.text.get(secret.clone()).unwrap_or_default();
            self.secrets += secret.len();
            self.leaked += leaked(secret, &out, &clean);
        }
    }

    fn row(&mut self) -> String {
        self.waiting.sort_unstable();
        let count = self.waiting.len().max(1);
        #[expect(clippy::cast_precision_loss, reason = "counts of bytes")]
        let mean = self.waiting.iter().sum::<usize>() as f64 / count as f64;
        let p99 = self.waiting.get(count * 99 / 100).copied().unwrap_or_default();
        let most = self.waiting.last().copied().unwrap_or_default();
        format!("{} of {} | {mean:.1} | {p99} | {most} |", self.leaked, self.secrets)
    }
}

/// The first bytes of a stream without those of secrets.
fn clean(stream: &Example, came: usize) -> Vec<u8> {
    let mut clean = Vec::with_capacity(came);
    let mut from = 0;
    for secret in &stream.secrets {
        clean.extend_from_slice(stream.text.get(from..secret.start.min(came)).unwrap_or_default());
        from = secret.end;
    }
    clean.extend_from_slice(stream.text.get(from..came).unwrap_or_default());
    clean
}

/// An output without its placeholders.
fn visible(out: &[u8]) -> Vec<u8> {
    let mut visible = Vec::with_capacity(out.len());
    let mut rest = out;
    while let Some((before, placeholder)) = find(rest, b"[REDACTED:").and_then(|at| rest.split_at_checked(at))
    {
        visible.extend_from_slice(before);
        let end = find(placeholder, b"]").map_or(placeholder.len(), |end| end + 1);
        rest = placeholder.get(end..).unwrap_or_default();
    }
    visible.extend_from_slice(rest);
    visible
}

/// How many bytes of a secret stand in an output, in rows of at least [`LEAK`] that the clean text does not have.
fn leaked(secret: &[u8], out: &[u8], clean: &[u8]) -> usize {
    let mut seen = vec![false; secret.len()];
    for (at, row) in secret.windows(LEAK.min(secret.len())).enumerate() {
        if find(out, row).is_some() && find(clean, row).is_none() {
            seen.iter_mut().skip(at).take(row.len()).for_each(|seen| *seen = true);
        }
    }
    seen.into_iter().filter(|&seen| seen).count()
}

fn find(text: &[u8], word: &[u8]) -> Option<usize> {
    text.windows(word.len()).position(|window| window == word)
}

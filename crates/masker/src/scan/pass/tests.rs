//! A scan that was shown the way is in the same state as one that went on foot, behind every piece.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;
use crate::scan::{Engine, HEAD};
use crate::{Builder, Masker};

fn masker(engine: Engine) -> Masker {
    // The first six bytes of the last end with an anchor.
    let known = ["correct horse", "cc0cc0c", "monkey wrench"];
    let builder = known.iter().fold(Masker::builder(), Builder::known_secret);
    builder.engine(engine).build().unwrap()
}

static ENGINES: LazyLock<[Masker; 2]> = LazyLock::new(|| [Engine::Plain, Engine::Interleaved].map(masker));

/// The scan behind each piece.
fn states(masker: &Masker, pieces: &[&[u8]]) -> Vec<Scan> {
    let (machines, known) = (&masker.inner.machines, masker.inner.known.table());
    let text = pieces.concat();
    let mut scan = Scan::new(machines);
    let mut end = 0;
    let behind = |piece: &&[u8]| {
        end += piece.len();
        scan.advance(machines, &known, Window { bytes: &text[..end], base: 0 }, &mut Vec::new());
        scan.clone()
    };
    pieces.iter().map(behind).collect()
}

fn check(engines: &[Masker], pieces: &[&[u8]]) {
    let [plain, others @ ..] = engines else { return };
    let bytes = |scan: &Scan| scan.window & ((1 << (8 * HEAD)) - 1);
    for (number, expected) in states(plain, pieces).iter().enumerate() {
        for other in others {
            let got = &states(other, pieces)[number];
            assert_eq!((got.pos, got.anchor, bytes(got)), (expected.pos, expected.anchor, bytes(expected)));
            assert_eq!((&got.live, &got.traces), (&expected.live, &expected.traces));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn the_state_is_the_same_behind_every_piece(
        words in prop::collection::vec(
            prop::sample::select(vec![
                "key", "token", "secret", "api_key", "password", "code", "auth", "sk-", "AKIA", "://", "the", " ", "_", "=",
                "correct", "horse", "cc0", "mon", "monkey", "wrench", "cc0cc0", "eyJ", "-----BEGIN", "user", "x", "\n", "Q~",
            ]),
            200..500,
        ),
        cut in 256..400_usize,
    ) {
        let text = words.concat().into_bytes();
        let (first, second) = text.split_at(cut.min(text.len()));
        check(&*ENGINES, &[first, second]);
    }
}

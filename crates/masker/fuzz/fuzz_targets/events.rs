//! A body of this kind, cut anywhere, gives what the whole gives, and shows no known secret.

#![no_main]

use std::sync::OnceLock;

use gatewayd_masker::format::BodyKind;
use gatewayd_masker::{Masker, rule};
use libfuzzer_sys::fuzz_target;

const KNOWN: &[u8] = b"aabaabaab";
const RULE: &str = "[[rule]]\nid = \"r\"\nfamily = \"f\"\ndescription = \"d\"\nanchors = [\"AKI\"]\npattern = \"AKI[A-C]{2}\"\nleft = \"word\"";

fn masker() -> &'static Masker {
    static MASKER: OnceLock<Masker> = OnceLock::new();
    MASKER.get_or_init(|| {
        let rules = rule::parse(RULE).expect("the rule parses");
        Masker::builder().rules(rules).known_secret(KNOWN).build().expect("the rule compiles")
    })
}

fn run(pieces: &[&[u8]]) -> Option<Vec<u8>> {
    let mut body = masker().body(BodyKind::Events);
    let mut out = Vec::new();
    for piece in pieces {
        body.push_into(piece, &mut out).ok()?;
    }
    out.extend(body.finish().ok()?);
    Some(out)
}

fuzz_target!(|input: (Vec<u8>, Vec<u8>)| {
    let (text, cuts) = input;
    let mut pieces = Vec::new();
    let mut rest = text.as_slice();
    for cut in cuts {
        let (piece, more) = rest.split_at(usize::from(cut).min(rest.len()));
        pieces.push(piece);
        rest = more;
    }
    pieces.push(rest);
    let whole = run(&[&text]);
    assert_eq!(run(&pieces), whole);
    let whole = whole.unwrap_or_default();
    assert!(!whole.windows(KNOWN.len()).any(|window| window == KNOWN));
});

//! A text of any bytes, cut anywhere, gives what the whole gives, and no known secret in any case.

#![no_main]

use std::sync::OnceLock;

use gatewayd_masker::Masker;
use libfuzzer_sys::fuzz_target;

const KNOWN: &[u8] = b"aabaabaab";

fn masker() -> &'static Masker {
    static MASKER: OnceLock<Masker> = OnceLock::new();
    MASKER.get_or_init(|| {
        let all = [gatewayd_masker::Tier::Default, gatewayd_masker::Tier::Assignments];
        Masker::builder().tiers(all).known_secret(KNOWN).build().expect("the built-in rules compile")
    })
}

fuzz_target!(|input: (Vec<u8>, Vec<u8>)| {
    let (text, cuts) = input;
    let whole = masker().mask_with_events(&text);
    let mut stream = masker().stream();
    let mut out = Vec::new();
    let mut rest = text.as_slice();
    for cut in cuts {
        let (piece, more) = rest.split_at(usize::from(cut).min(rest.len()));
        out.extend(stream.push(piece));
        rest = more;
    }
    out.extend(stream.push(rest));
    out.extend(stream.finish());
    assert_eq!((&out, stream.take_events()), (&whole.0, whole.1));
    assert!(!out.windows(KNOWN.len()).any(|window| window == KNOWN));
});

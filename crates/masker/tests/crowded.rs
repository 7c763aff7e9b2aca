//! Where too much is undecided at once, everything up to the next blank is masked, and nothing is forgotten for it.

#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

use gatewayd_masker::{Masker, rule};

#[test]
fn what_is_swallowed_to_its_end_marker_survives_a_crowd() {
    let crowd = (0..20).map(|number| {
        format!(
            "[[rule]]\nid = \"crowd-{number}\"\nfamily = \"test\"\ndescription = \"One of many.\"\nanchors = [\"zzz\"]\n\
             pattern = \"zzz[a-z]{{20}}{number}\"\npositive = [\"\", \"\"]\nnegative = [\"\", \"\"]\n"
        )
    });
    let key = "[[rule]]\nid = \"key\"\nfamily = \"test\"\ndescription = \"A key.\"\nanchors = [\"BEGIN\"]\npattern = \"BEGIN\"\n\
               commit = \"BEGIN\"\nuntil = \"END\"\ncap = 4096\npositive = [\"\", \"\"]\nnegative = [\"\", \"\"]\n";
    let rules = rule::parse(&(crowd.collect::<String>() + key)).unwrap();
    let masker = Masker::builder().rules(rules).build().unwrap();
    let masked = masker.mask(b"a BEGIN zzz the key itself END b");
    assert_eq!(String::from_utf8(masked).unwrap(), "a [REDACTED:key] b");
}

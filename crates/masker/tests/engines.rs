//! Whichever engine looks ahead, what is masked is the same, and so is what each piece of a stream lets go.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test that fails may panic"
)]

mod support;

use std::sync::LazyLock;

use gatewayd_masker::rule::{self, Tier};
use gatewayd_masker::{Builder, Engine, Masker};
use proptest::prelude::*;

/// Known secrets that overlap themselves and each other, that look like ordinary text, and that have an anchor in them.
const KNOWN: [&str; 6] =
    ["monkey wrench", "aabaab", "abcabcabc", "cc0cc0c", "correct horse battery", "0f1e2d3c4b5a69788796"];

/// The reference first.
fn engines() -> Vec<Engine> {
    vec![
        Engine::Plain,
        Engine::Interleaved,
        #[cfg(feature = "vectorscan")]
        Engine::Vectorscan,
    ]
}

fn each(builder: impl Fn() -> Builder) -> Vec<Masker> {
    let with = |engine| builder().engine(engine).build().expect("the rules compile with each engine");
    engines().into_iter().map(with).collect()
}

/// All built-in rules and some known secrets.
static BUILT_IN: LazyLock<Vec<Masker>> = LazyLock::new(|| {
    each(|| {
        KNOWN.iter().fold(Masker::builder(), Builder::known_secret).tiers([Tier::Default, Tier::Assignments])
    })
});

/// The same rules without known secrets.
static UNKNOWN: LazyLock<Vec<Masker>> = LazyLock::new(|| each(Masker::builder));

/// Rules whose anchors are everywhere in their texts.
static SMALL: LazyLock<Vec<Masker>> = LazyLock::new(|| {
    each(|| KNOWN.iter().fold(Masker::builder(), Builder::known_secret).rules(support::rules()))
});

/// Text in which something looks like the beginning of a secret now and then.
fn filler(length: usize) -> Vec<u8> {
    let words = b"The key of the map is on page 12; tokens are words, passwords are not. fn sk_e(t1: u32) -> {} \
        https://example.com/a?b=c <a href='#'> correct horse, cc0cc; AKI 0f1e2d3c4b \xc3\xa9\xff secret_key \n";
    words.iter().copied().cycle().take(length).collect()
}

fn found(masker: &Masker, text: &[u8]) -> Vec<(String, std::ops::Range<usize>)> {
    masker.find(text).into_iter().map(|found| (found.rule.to_string(), found.range)).collect()
}

/// What each push lets go, and what it holds back.
fn streamed(masker: &Masker, pieces: &[&[u8]]) -> Vec<(Vec<u8>, usize)> {
    let mut stream = masker.stream();
    let mut out: Vec<_> = pieces.iter().map(|piece| (stream.push(piece), stream.held())).collect();
    out.push((stream.finish(), 0));
    out
}

fn same(maskers: &[Masker], text: &[u8], places: &[usize]) -> Result<(), String> {
    let [reference, others @ ..] = maskers else { return Ok(()) };
    let pieces = support::cut(text, places);
    let (spans, streams) = (found(reference, text), streamed(reference, &pieces));
    for (masker, engine) in others.iter().zip(engines().iter().skip(1)) {
        let shown = || String::from_utf8_lossy(text).into_owned();
        if found(masker, text) != spans {
            return Err(format!(
                "{engine:?} finds {:?}, not {spans:?} in {:?}",
                found(masker, text),
                shown()
            ));
        }
        let got = streamed(masker, &pieces);
        if let Some(piece) = (0..streams.len()).find(|piece| got[*piece] != streams[*piece]) {
            return Err(format!("{engine:?} lets go something else behind piece {piece} of {:?}", shown()));
        }
    }
    Ok(())
}

/// Every example of every rule, at changing places of a text that is large enough for each engine, whole and cut.
#[test]
fn the_examples_of_all_rules() {
    let (mut count, mut spans) = (0, 0);
    for rule in rule::builtin() {
        let mut text = filler(8_400 + count % 61);
        let mut places = Vec::new();
        let positives = rule.positives(3).expect("well written").into_iter().map(|example| example.text);
        for example in positives.chain(rule.negatives(3).expect("well written")) {
            places.push(text.len() + example.len() * (count % 7) / 6);
            text.extend(&example);
            text.extend(filler(count * 31 % 97));
            count += 1;
        }
        text.extend(filler(8_000));
        spans += found(&BUILT_IN[0], &text).len();
        same(&BUILT_IN, &text, &places).unwrap();
        same(&UNKNOWN, &text, &places[..1]).unwrap();
    }
    assert!(count > 1000 && spans > 500, "{spans} spans in {count} examples");
}

/// Each example at the beginning of a text, where it is cut off at the end of one, and known secrets in all spellings.
#[test]
fn the_ends_of_a_text() {
    for (number, rule) in rule::builtin().iter().enumerate() {
        let Some(example) = rule.positives(5).expect("well written").into_iter().next() else { continue };
        let begins = [example.text.clone(), filler(600 + number)].concat();
        same(&BUILT_IN, &begins, &[]).unwrap();
        for cut in [1, example.text.len() / 2, example.text.len() - 1, example.text.len()] {
            let ends = [filler(600 + number), example.text[..cut].to_vec()].concat();
            same(&BUILT_IN, &ends, &[600 + number + cut / 2]).unwrap();
        }
    }
}

/// Rules of which many begin at once, and whose secrets are over sooner or later.
static CROWDS: LazyLock<Vec<Masker>> = LazyLock::new(|| {
    let rule = |id: String, fields: String| {
        format!("[[rule]]\nid = \"{id}\"\nfamily = \"test\"\ndescription = \"A rule.\"\n{fields}\n")
    };
    let secret =
        |n| rule(format!("crowd-{n}"), format!("anchors = [\"zzz\"]\npattern = \"zzz[a-z]{{30}}{n}\""));
    let named = |n| {
        let fields = "anchors = [\"pw\", \"word-\"]\ncontext = \"(?:pw|word-)[a-z]*=+\"";
        rule(format!("named-{n}"), format!("{fields}\npattern = \"[a-z]{{{}}}\"", 17 + n))
    };
    let key = rule("key".into(), "anchors = [\"BEGIN\"]\npattern = \"BEGIN[a-z0-9]{6}\"".into());
    let rules = (0..20).map(secret).chain((0..9).map(named)).chain([key]).collect::<String>();
    each(|| Masker::builder().rules(rule::parse(&rules).unwrap()))
});

/// What is passed over must not be missed in a crowd, and what makes a crowd must not be passed over.
#[test]
fn crowds_that_are_over_sooner_or_later() {
    for length in 0..40 {
        let word = "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz".get(..length).unwrap();
        for case in [
            format!("zzz{word} "),
            format!("zzz{word}BEGINa1b2c3 and more"),
            format!("pw={word}zzz{word} "),
            format!("word-{word}==={word} pwzzz"),
            format!("zz{word}pw{word}=BEGINa1b2c3={word}"),
        ] {
            let text = [filler(400 + length), case.as_bytes().to_vec(), filler(300)].concat();
            same(&CROWDS, &text, &[400 + length + case.len() / 2]).unwrap();
            let large = [filler(17_000 + length), case.into_bytes(), filler(300)].concat();
            same(&CROWDS, &large, &[]).unwrap();
        }
    }
}

#[test]
fn what_is_nested_and_what_overlaps() {
    let cases: [&[u8]; 12] = [
        b"AKIAZQ3DRSTUVWXY2345AKIAZQ3DRSTUVWXY2345ghp_AKIA",
        b"AKIAZQ3DRSTUVWXY2345monkey wrenchAKIAZQ3DRSTUVWXY2345monkey",
        b"postgres://app:AKIAZQ3DRSTUVWXY2345@db/x",
        b"AKIAAKIAZQ3DRSTUVWXY2345",
        b"Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJlLXNpZ25hdHVyZQ",
        b"key key_ key-9249c23524 key=key:key a monkey wrench monkey wrenc",
        b"aabaabaab abcabcabcabc cc0cc0cc0c",
        b"password=correct horse battery staple",
        b"Y29ycmVjdCBob3JzZSBiYXR0ZXJ5 636f727265637420686f727365",
        b"-----BEGIN PRIVATE KEY-----\nAKIAZQ3DRSTUVWXY2345\n-----END PRIVATE KEY-----",
        b"secret_access_secret_access_key = AKIA",
        b"\\nghp_ %0aghp_ x_ghp_ ghp_ghp_",
    ];
    for case in cases {
        for shift in 0..70 {
            let text = [filler(450 + shift), case.to_vec(), filler(300)].concat();
            let middle = 450 + shift + case.len() / 2;
            for maskers in [&*BUILT_IN, &*SMALL] {
                same(maskers, &text, &[middle]).unwrap();
            }
        }
    }
}

/// Inputs made to keep much alive, alone and in clean text, so that limits are come near and passed.
#[test]
fn what_is_made_to_be_hard() {
    let units = [
        "eyJ-",
        "sk-",
        "AKIA",
        "key ",
        "key=",
        "token key secret ",
        "://a:",
        "pa-_",
        "-----BEGIN ",
        "password=a",
        "npm_glpat-ghp_sk-eyJ",
        "secret_key=",
        "\\u0041",
        "token: \"",
        "aabaab",
        "cc0cc0c",
        "ab",
        "Q~8Q~",
        "\0",
        "pa-phc_phc_ATBBelasticemailessu_SCW_SECRET_KEY=80c6phs_nvapi-",
        "MjQAZURE_OPENAI_API_KEY=7oXVsourcegraphSECRET_KEY",
        "psexecAPI_KEY: ion_psexecpsexec",
    ];
    for unit in units {
        for (gap, length) in [(0, 20_000), (3, 20_000), (40, 20_000), (300, 40_000)] {
            let piece = [unit.as_bytes(), &filler(gap)].concat();
            let text: Vec<u8> = piece.iter().copied().cycle().take(length).collect();
            same(&BUILT_IN, &text, &[length / 3, length / 2 + 1])
                .unwrap_or_else(|why| panic!("{unit}: {}", &why[..200]));
            same(&SMALL, &text, &[length / 3]).unwrap_or_else(|why| panic!("{unit}: {}", &why[..200]));
        }
    }
}

/// Clean words, planted secrets, and what nearly is one.
fn mixed() -> impl Strategy<Value = Vec<u8>> {
    let planted = vec![
        "AKIAZQ3DRSTUVWXY2345",
        "AKIAZQ3DRSTUVWXY234",
        "AKIAZQ3DRSTUVWXY2345AKIAZQ3DRSTUVWXY2345",
        "AKIAZQ3DRSTUVWXY2345A",
        "ASIA",
        "ghp_",
        "sk-",
        "key",
        "key:",
        "secret_access_key = ",
        "token",
        "password: ",
        "https://user:s3cretpassw0rd@host/",
        "://",
        "eyJhbGciOiJIUzI1NiJ9.",
        "eyJ",
        "-----BEGIN RSA PRIVATE KEY-----",
        "aabaab",
        "abcabcab",
        "abcabcabc",
        "cc0cc0c",
        "correct horse",
        " battery",
        "0f1e2d3c4b5a6978",
        "8796",
        "30663165",
        "xoxb-1234567890-",
        "MTA",
        "$2a$10$",
        "Authorization: Bearer ",
        "\\n",
        "%20",
        "Q~",
        "aws_secret",
        "pwd",
    ];
    let piece = prop_oneof![
        6 => "[a-zA-Z ]{1,40}",
        2 => "[a-zA-Z0-9+/_-]{1,60}",
        1 => "[ \\n\"'=:;.,{}\\[\\]<>/\\\\]{1,6}",
        4 => prop::sample::select(planted).prop_map(str::to_owned),
        1 => "[a-c0]{1,8}",
    ];
    let bytes = prop::collection::vec(piece, 1..60).prop_map(|pieces| pieces.concat().into_bytes());
    // Long enough for each engine, and only sometimes that long.
    (bytes, prop_oneof![9 => 0_usize..600, 1 => 16_000_usize..18_000]).prop_map(|(bytes, clean)| {
        let at = clean / 2;
        [filler(at), bytes, filler(clean - at)].concat()
    })
}

fn cases() -> u32 {
    std::env::var("MASKER_ENGINE_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(2_000)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases()) })]

    #[test]
    fn random_texts(text in mixed(), places in prop::collection::vec(any::<usize>(), 0..4)) {
        same(&BUILT_IN, &text, &places).map_err(TestCaseError::fail)?;
    }

    #[test]
    fn random_texts_of_small_rules(
        texts in prop::collection::vec(support::texts(), 8..24),
        places in prop::collection::vec(any::<usize>(), 0..4),
    ) {
        same(&SMALL, &texts.concat(), &places).map_err(TestCaseError::fail)?;
    }
}

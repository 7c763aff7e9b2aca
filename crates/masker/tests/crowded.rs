//! Where too much is undecided at once it is masked up to the next blank, and nothing is forgotten for it.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails may panic"
)]

use gatewayd_masker::{Masker, rule};

fn named(id: &str, anchor: &str, fields: &str) -> String {
    format!(
        "[[rule]]\nid = \"{id}\"\nfamily = \"test\"\ndescription = \"A rule.\"\nanchors = [\"{anchor}\"]\n{fields}\n"
    )
}

/// Twenty rules that begin at `zzz` together and are undecided for twenty bytes.
fn crowd() -> String {
    (0..20)
        .map(|n| named(&format!("crowd-{n}"), "zzz", &format!("pattern = \"zzz[a-z]{{20}}{n}\"")))
        .collect()
}

/// A key between markers.
fn key() -> String {
    named("key", "BEGIN", "pattern = \"BEGIN A KEY\"\ncommit = \"BEGIN A KEY\"\nuntil = \"END\"")
}

fn masker(rules: &str, known: &[&str]) -> Masker {
    let builder = Masker::builder().rules(rule::parse(rules).unwrap());
    known.iter().fold(builder, gatewayd_masker::Builder::known_secret).build().unwrap()
}

/// Masks a text as a whole, byte by byte and in pieces, which must agree.
fn masked(masker: &Masker, text: &str) -> String {
    let whole = masker.mask(text.as_bytes());
    for length in [1, 7, 64, 1000] {
        let mut stream = masker.stream();
        let mut out: Vec<u8> = text.as_bytes().chunks(length).flat_map(|piece| stream.push(piece)).collect();
        out.extend(stream.finish());
        assert_eq!(out.escape_ascii().to_string(), whole.escape_ascii().to_string(), "pieces of {length}");
    }
    String::from_utf8(whole).unwrap()
}

#[test]
fn what_is_swallowed_to_its_end_marker_survives_a_crowd() {
    let masker = masker(&(crowd() + &key()), &[]);
    assert_eq!(masked(&masker, "a BEGIN A KEY zzz the key itself END b"), "a [REDACTED:key] b");
}

#[test]
fn a_key_that_begins_in_a_crowd_is_masked_to_its_end() {
    let masker = masker(&(crowd() + &key()), &[]);
    let out = masked(&masker, "a zzzabcdefghijklmnopBEGIN A KEY the key itself END b");
    assert_eq!(out, "a [REDACTED:key] b".replace("key", "crowd-0"));
    // What is over at once is no crowd.
    let out = masked(&masker, "a zzzBEGIN A KEY the key itself END b");
    assert_eq!(out, "a zzz[REDACTED:key] b");
}

#[test]
fn a_secret_with_blanks_that_began_before_a_crowd_is_masked_whole() {
    let spaced = named("spaced", "pw:", "pattern = \"pw:[a-z ]{20}!\"");
    let masker = masker(&(crowd() + &spaced), &["a known secret with zzz and blanks"]);
    let out = masked(&masker, "see pw:abc zzz and more ofs! b");
    assert!(!out.contains("more of") && out.ends_with(" b"), "{out}");
    let out = masked(&masker, "see a known secret with zzz and blanks b");
    assert!(!out.contains("and blanks") && out.ends_with(" b"), "{out}");
}

#[test]
fn a_crowd_of_known_secrets_alone_is_masked() {
    // Each place begins the value anew, so that more than any limit are under way.
    let value = "a".repeat(60) + "b";
    let masker = masker("", &[&value]);
    let calm = "calm text ".repeat(50);
    for before in [String::new(), "a".repeat(40), "a".repeat(40) + " "] {
        let out = masked(&masker, &format!("see {before}{value} {calm}end"));
        assert!(
            out.starts_with("see [RED") && !out.contains("aab") && out.ends_with(" calm text end"),
            "{out}"
        );
    }
}

#[test]
fn a_secret_behind_a_crowd_of_names_is_masked() {
    let names: String = (0..70)
        .map(|n| {
            let fields = format!("context = \"kkk[a-z ]*{{1,40}}={n}:\"\npattern = \"[a-z]{{8}}\"");
            named(&format!("name-{n}"), "kkk", &fields.replace("]*{1,40}", "]{1,40}"))
        })
        .collect();
    let masker = masker(&names, &[]);
    for number in [0, 31, 69] {
        let out = masked(&masker, &format!("kkk of it ={number}:password end"));
        assert!(!out.contains("password"), "{out}");
    }
}

#[test]
fn what_is_behind_a_long_crowd_is_masked_and_no_more() {
    let spaced = named("spaced", "pw:", "pattern = \"pw:[a-z ]{200}!\"");
    let masker = masker(&(crowd() + &key() + &spaced), &["a known secret with some blanks"]);
    let crowd = "zzz".repeat(6_000);
    for (secret, rest) in [
        (format!("pw:{}!", "very secret ".repeat(17).get(..200).unwrap()), " and so on"),
        ("a known secret with some blanks".to_owned(), " and so on"),
        (format!("BEGIN A KEY {} END", "its lines ".repeat(500)), " and so on"),
    ] {
        let text = format!("see {crowd}{secret}{rest} {} end", "calm text ".repeat(400));
        let out = masked(&masker, &text);
        assert!(!out.contains("secret") && !out.contains("blanks") && !out.contains("lines"), "{out}");
        assert!(out.starts_with("see [REDACTED:") && out.ends_with(" calm text  end"), "{out}");
        assert!(out.len() > 2_000, "it ends: {out}");
    }
}

/// Where checks look at far more than the text has, what has begun is masked without being judged, up to a blank; what
/// begins in between is masked, too, if it goes on behind.
#[test]
fn behind_and_inside_of_what_is_no_longer_judged_secrets_are_masked() {
    let key = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\nBKcwggSjAgEAAoIBAQC7\n-----END PRIVATE KEY-----";
    let masker = Masker::builder().known_secret("a known secret with some blanks").build().unwrap();
    let judged = "pa--".repeat(2_000);
    let quiet = masked(&masker, &"pa--".repeat(20));
    assert_eq!(quiet, "pa--".repeat(20), "a little of it is judged");
    for secret in [
        "AKIAQYLPMN5HFIQR7BBB",
        " AKIAQYLPMN5HFIQR7BBB",
        "OPENAI_API_KEY=sk-proj-q7v6hT3kLmZx9Wb2RfYc",
        "\"x\": OPENAI_API_KEY=\"q7v6hT3kLmZx9Wb2RfYcq7v6hT3kLmZx9Wb2RfYc\"",
        "postgres://app:q7v6hT3kLmZx@db/x",
        "a known secret with some blanks",
        key,
    ] {
        for behind in [secret.to_owned(), format!("\n{secret}"), format!("-{secret}")] {
            let out = masked(&masker, &format!("see {judged}{behind} and so on"));
            for part in ["YLPMN5", "q7v6hT3k", "some blanks", "AASC", "AoIBAQ"] {
                assert!(!out.contains(part), "{part} of {behind}: {out}");
            }
            assert!(out.starts_with("see pa--") && out.ends_with(" and so on"), "{behind}: {out}");
            assert!(out.len() < judged.len(), "most is no longer judged: {out}");
        }
    }
}

/// What a model that repeats itself says, and tables of names.
const LOOPS: [&str; 9] = [
    "password: ",
    "password=\"",
    "\"password\",",
    "password, ",
    "api_key = ",
    "secret secret ",
    "token ",
    "\"secret\": \"token\", ",
    "- key: token\n",
];

/// Ordinary text, the beginning of a secret, the secret and ordinary text.
const BEHIND: [&str; 2] = [
    "\n\nThe answer goes on as if nothing had been, for many words and more than one line.\nIt ends with `AKIA",
    "Z7QF3NXR2WLTK9EB`, which is to be gone, and some more words.\n",
];

/// A text that begins with a loop, and what must come of it. With all tiers a name may be masked as the value of another.
struct Loop {
    text: String,
    loops: String,
    behind: String,
    all_tiers: bool,
}

impl Loop {
    fn new(loops: String, all_tiers: bool) -> Self {
        let [text, rest] = BEHIND;
        let clean = text.replace("AKIA", "[REDACTED:aws-access-key-id]");
        let behind = clean + &rest.replace("Z7QF3NXR2WLTK9EB", "");
        Self { text: format!("{loops}{text}{rest}"), loops, behind, all_tiers }
    }

    fn check(&self, out: &str) {
        let kept = out.strip_suffix(&self.behind);
        let kept = kept.unwrap_or_else(|| panic!("what stands behind {:?} is {out}", self.text));
        assert!(self.all_tiers || kept == self.loops, "{:?} is masked: {out}", self.text);
    }
}

fn both() -> [(Masker, bool); 2] {
    use gatewayd_masker::Tier::{Assignments, Default};
    [vec![Default], vec![Default, Assignments]].map(|tiers| {
        let all = tiers.len() > 1;
        (Masker::builder().tiers(tiers).build().unwrap(), all)
    })
}

#[test]
fn text_behind_a_loop_of_names_stays() {
    for (masker, all) in both() {
        for unit in LOOPS {
            for count in [1, 20, 140, 700] {
                let case = Loop::new(unit.repeat(count), all);
                case.check(&masked(&masker, &case.text));
            }
        }
    }
}

#[test]
fn text_behind_a_long_loop_of_names_stays() {
    for (masker, all) in both() {
        for unit in LOOPS {
            let case = Loop::new(unit.repeat(5_000), all);
            case.check(&String::from_utf8(masker.mask(case.text.as_bytes())).unwrap());
        }
    }
}

#[test]
fn text_behind_a_loop_of_names_in_events_stays() {
    for (masker, all) in both() {
        for unit in LOOPS {
            let case = Loop::new(unit.repeat(600), all);
            for length in [4, 50, 3_000] {
                let pieces = case.text.as_bytes().chunks(length).map(|piece| str::from_utf8(piece).unwrap());
                let events: String = pieces
                    .map(|piece| {
                        let delta = serde_json::json!({"content": piece});
                        let event = serde_json::json!({"choices": [{"index": 0, "delta": delta}]});
                        format!("data: {event}\n\n")
                    })
                    .collect();
                let mut body = masker.body(gatewayd_masker::format::BodyKind::Events);
                let mut out = body.push(events.as_bytes()).unwrap();
                out.extend(body.finish().unwrap());
                let out = String::from_utf8(out).unwrap();
                let documents = out.lines().filter_map(|line| line.strip_prefix("data: "));
                let joined: String = documents
                    .map(|document| {
                        let event: serde_json::Value = serde_json::from_str(document).unwrap();
                        event["choices"][0]["delta"]["content"].as_str().unwrap_or_default().to_owned()
                    })
                    .collect();
                case.check(&joined);
            }
        }
    }
}

/// Texts of files that name secrets all the time and hold none.
#[test]
fn ordinary_text_full_of_names_is_no_crowd() {
    use gatewayd_masker::Tier::{Assignments, Default};

    let issuers =
        ["alpha", "stripe", "mistral", "cohere", "twilio", "datadog", "vault", "github", "vercel", "okta"];
    let lines = [
        r#"{"secretKey": "projects/{a}/secrets/{b}-key/versions/latest", "token": "${TOKEN}", "password": "changeme"}"#,
        "{a}_SECRET_KEY=your_{b}_key_here\n{b}_API_TOKEN=<token>",
        "  - name: {a}_API_KEY_SECRET\n    secretKeyRef: { name: {b}-api-token-secret, key: token-secret-key }",
        "token = self.get_token(secret_key=settings.SECRET_KEY, api_key=config.api_key, access_token=access_token)",
        "api_key,secret_key,access_token,password,auth_token,private_key,{a}_key,{b}_token",
        "The `api_key` and the `secret_key` are the token, password and private key of {a}: key token secret.",
        "token:t.token,secret:t.secret,apiKey:t.apiKey,password:t.password,accessToken:n.accessToken,{a}Key:e.{a}Key,",
    ];
    for tiers in [vec![Default], vec![Default, Assignments]] {
        let masker = Masker::builder().tiers(tiers).build().unwrap();
        for line in lines {
            let line = |n: usize| {
                line.replace("{a}", issuers[n % issuers.len()]).replace("{b}", issuers[n * 3 % issuers.len()])
                    + "\n"
            };
            let text: String = (0..1_000).map(line).collect();
            let found = masker.find(text.as_bytes());
            assert!(found.is_empty(), "{} in {}", found.len(), line(0));
        }
    }
}

#[test]
fn known_secrets_that_change_in_a_crowd_are_masked_and_forgotten_with_it() {
    let masker = masker(&crowd(), &["a first known secret"]);
    let mut stream = masker.stream();
    let mut out = stream.push(("see ".to_owned() + &"zzz".repeat(6_000) + " a first kno").as_bytes());
    masker.known().insert(b"another known secret").unwrap();
    out.extend(stream.push(b"wn secret, another kn"));
    masker.known().insert(b"and one more").unwrap();
    out.extend(stream.push(b"own secret "));
    out.extend(stream.push("calm text ".repeat(400).as_bytes()));
    out.extend(stream.push(b"another known secret"));
    out.extend(stream.finish());
    let out = String::from_utf8(out).unwrap();
    let secrets = "[REDACTED:crowd-0] [REDACTED:known-secret], [REDACTED:known-secret]";
    let expected = format!("see {secrets} {}[REDACTED:known-secret]", "calm text ".repeat(400));
    assert_eq!(out, expected);
}

#[test]
fn a_change_of_known_secrets_finds_a_crowd_again() {
    let value = "a".repeat(200) + "b";
    let masker = masker("", &["something else"]);
    let mut stream = masker.stream();
    let mut out = stream.push(b"see ");
    masker.known().insert(value.as_bytes()).unwrap();
    out.extend(stream.push(&value.as_bytes()[..20]));
    masker.known().insert(b"one more value").unwrap();
    out.extend(stream.push(&value.as_bytes()[20..]));
    out.extend(stream.push(" calm text".repeat(400).as_bytes()));
    out.extend(stream.finish());
    let out = String::from_utf8(out).unwrap();
    assert!(out.starts_with("see [RED") && !out.contains("aa") && out.ends_with(" calm text"), "{out}");
}

/// A value of some kilobytes, as signed tokens have, is looked at by several rules. That is no debt: what stands behind it
/// is judged.
#[test]
fn what_stands_behind_a_long_value_is_judged() {
    let mut state = 7_u64;
    let mut letter = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"[(state >> 58) as usize],
        )
    };
    let names = ["apiKey", "client_secret", "OPENAI_API_KEY", "sessionToken", "private_key", "token"];
    let harmless = "cookie/password/sessionToken";
    for (masker, _) in both() {
        for length in [100, 1_500, 4_000] {
            for sign in ["&", ";", ",", " "] {
                let rows = names.iter().map(|name| {
                    let value: String = (0..length).map(|_| letter()).collect();
                    format!("{name}={value}{sign}{name}: {harmless} ")
                });
                let out = masked(&masker, &rows.collect::<String>());
                assert_eq!(out.matches(harmless).count(), names.len(), "{length} {sign}: {out}");
            }
        }
    }
}

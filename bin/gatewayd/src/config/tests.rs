use super::*;

const MINIMAL: &str = r#"
[listen]
address = "127.0.0.1:8080"

[[issuer]]
url = "https://id.example.com"
audiences = ["https://models.example.com"]

[[upstream]]
name = "llama"
url = "http://127.0.0.1:8000"
credential = "llama-key"

[[credential]]
name = "llama-key"
file = "secrets/llama-key"

[[policy.rule]]
name = "engineers-may-ask"
groups = ["ml-eng"]
actions = ["infer"]
effect = "allow"
"#;

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(Path::new("/etc/gatewayd/gatewayd.toml"), text, &KnownSecrets::new())
}

fn error(text: &str) -> String {
    parse(text).err().expect("this configuration is wrong").to_string()
}

fn with(line: &str, instead: &str) -> String {
    assert!(MINIMAL.contains(line), "{line} is in the minimal configuration");
    MINIMAL.replace(line, instead)
}

#[test]
fn the_minimal_configuration_holds() {
    let config = parse(MINIMAL).expect("it holds");
    assert_eq!(config.data_dir, Path::new("/etc/gatewayd/data"));
    assert_eq!(config.admin.public_url, "http://127.0.0.1:8081");
    let credential = config.credentials.credentials.first().expect("one credential");
    assert_eq!(credential.prefix, "Bearer ");
    assert_eq!(credential.upstreams, ["llama"]);
}

#[test]
fn an_error_names_file_line_key_and_remedy() {
    let text = error(&with("name = \"llama\"", "nmae = \"llama\""));
    assert!(text.starts_with("/etc/gatewayd/gatewayd.toml:10:1: upstream"), "{text}");
    assert!(text.contains("unknown field `nmae`") && text.contains("remedy:"), "{text}");

    let text = error(&with("credential = \"llama-key\"", "credential = \"lama-key\""));
    assert!(text.contains(":12:") && text.contains("no credential is named `lama-key`"), "{text}");
    assert!(text.contains("name one of [llama-key]"), "{text}");

    let text = error(&with("effect = \"allow\"", "effect = \"allow\"\nmodels = []"));
    assert!(text.contains(":18:") && text.contains("engineers-may-ask") && text.contains("models"), "{text}");

    let text = error("[listen");
    assert!(text.contains(":1:") && text.contains("not TOML"), "{text}");
}

#[test]
fn the_key_of_an_error_is_the_key_in_the_file() {
    for (more, key) in [
        ("[approval.two-people]\nhold = \"soon\"\n", "approval.two-people.hold: "),
        ("[[policy.rule]]\nname = \"x\"\neffect = \"alow\"\n", "policy.rule[1].effect: "),
        ("[masker]\ntiers = [1]\n", "masker.tiers[0]: "),
    ] {
        let text = error(&format!("{MINIMAL}\n{more}"));
        assert!(text.contains(key) && !text.contains("serde"), "{text}");
    }
}

#[test]
fn two_listeners_do_not_share_an_address() {
    for (listen, admin) in [
        ("127.0.0.1:8080", "127.0.0.1:8080"),
        ("127.0.0.1:8080", "0.0.0.0:8080"),
        ("[::]:8080", "127.0.0.1:8080"),
    ] {
        let text = with("127.0.0.1:8080", listen);
        let text = error(&format!("{text}\n[admin]\naddress = \"{admin}\""));
        assert!(text.contains(":25:11: admin.address: it is taken by listen.address"), "{text}");
    }
    let text = error(&with("127.0.0.1:8080", "0.0.0.0:8081"));
    assert!(text.contains("admin.address") && text.contains("by default"), "{text}");
    for admin in ["127.0.0.1:8082", "127.0.0.2:8080", "127.0.0.1:0"] {
        assert!(parse(&format!("{MINIMAL}\n[admin]\naddress = \"{admin}\"")).is_ok(), "{admin}");
    }
}

#[test]
fn a_folder_is_no_configuration() {
    let text = Config::load(Path::new("/")).err().expect("it is no file").to_string();
    assert!(text.contains("is a folder") && text.contains("gatewayd.toml"), "{text}");
}

#[test]
fn an_inline_secret_is_refused_and_not_repeated() {
    let text = error(&with("file = \"secrets/llama-key\"", "value = \"sk-very-secret\""));
    assert!(text.contains("must not stand in the configuration") && text.contains("file ="), "{text}");
    assert!(!text.contains("sk-very-secret"), "{text}");

    let text = error(&with("http://127.0.0.1:8000", "http://user:hunter2@127.0.0.1:8000"));
    assert!(text.contains("upstream.url") && !text.contains("hunter2"), "{text}");
}

#[test]
fn lengths_of_time_are_read_as_people_write_them() {
    let config = parse(&format!("{MINIMAL}\n[limits]\ndrain = \"2m\"\nbody = \"1MiB\"")).expect("it holds");
    assert_eq!(config.limits.drain.as_secs(), 120);
    assert_eq!(config.dialects.limits.json, 1 << 20);
    assert!(error(&format!("{MINIMAL}\n[limits]\ndrain = \"-2m\"")).contains("30s"));
    assert!(error(&format!("{MINIMAL}\n[limits]\ndrain = \"soon\"")).contains("30s"));
}

#[test]
fn bodies_have_room_for_the_largest_of_them() {
    let limits = |lines: &str| parse(&format!("{MINIMAL}\n[limits]\n{lines}")).expect("it holds").limits;
    let usual = limits("").body_memory;
    assert_eq!((usual.in_all, usual.per_caller), (512 << 20, 128 << 20));
    let small = limits("body_memory = \"16MiB\"").body_memory;
    assert_eq!((small.in_all, small.per_caller), (16 << 20, 8 << 20));
    let large = limits("upload = \"20GiB\"").upload_disk;
    assert_eq!((large.in_all, large.per_caller), (20 << 30, 20 << 30));
    let text = error(&format!("{MINIMAL}\n[limits]\nupload_disk = \"1MiB\""));
    assert!(text.contains("limits.upload_disk") && text.contains("less than limits.upload"), "{text}");
}

#[test]
fn what_fits_nowhere_is_refused() {
    assert!(error("[listen]\naddress = \"127.0.0.1:1\"").contains("no [[upstream]]"));
    let twice = with("[[credential]]", "[[credential]]\nname = \"x\"\nenv = \"X\"\n[[credential]]");
    assert!(error(&twice).contains("no upstream uses it"));
    let both = with("file = \"secrets/llama-key\"", "file = \"a\"\nenv = \"B\"");
    assert!(error(&both).contains("exactly one way"));
    assert!(error(&with("https://id", "http://id")).contains("must be https"));
    assert!(error(&format!("{MINIMAL}\n[log]\nlevel = \"gatewayd=nonsense\"")).contains("log.level"));
    assert!(error(&format!("{MINIMAL}\n[approval.x]\napprovers = []")).contains("approval.x"));
    assert!(
        error(&with("[[policy.rule]]", "[policy]\ncedar = [\"no.cedar\"]\n[[policy.rule]]"))
            .contains("no.cedar")
    );
}

//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// gatewayd stands between callers and a self-hosted model.
#[derive(Debug, Parser)]
#[command(
    name = "gatewayd",
    version,
    about = "A gateway in front of self-hosted models: who may call, with whose secret, what may come back, and the proof of it.",
    long_about = "gatewayd stands between callers and a self-hosted model.\n\n\
        It knows who calls (OpenID Connect, gateway tokens), decides by policy, sends risky operations to people for \
        approval, injects the model server's credential itself, masks secrets in answers while they stream, and \
        records every session so that a change to the record is found.",
    after_help = "First steps:\n  \
        gatewayd check  --config gatewayd.toml     is the configuration right?\n  \
        gatewayd serve  --config gatewayd.toml     run the gateway\n  \
        gatewayd policy explain --groups ml-eng POST /v1/chat/completions\n\n\
        Commands that talk to a running gateway (approvals, sessions, token) use its admin listener. On the gateway's \
        own machine they sign in with the key in its data directory; elsewhere set GATEWAYD_ADMIN to its URL and \
        GATEWAYD_TOKEN to a token of your identity provider."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the gateway.
    Serve(ConfigFile),
    /// Read the configuration and say what is wrong with it, by file, line and key.
    Check(ConfigFile),
    /// Ask what policy says, without sending anything.
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// See and decide the requests that wait for people.
    #[command(subcommand)]
    Approvals(ApprovalsCommand),
    /// Look at what was recorded.
    #[command(subcommand)]
    Sessions(SessionsCommand),
    /// Tokens for programs that have no identity provider.
    #[command(subcommand)]
    Token(TokenCommand),
    /// Mask secrets in a text: a filter from standard input to standard output.
    ///
    /// What is certain leaves at once, also from a stream that goes on. A summary goes to standard error. Exit status: 0 where
    /// nothing was found, 1 where something was masked, 2 where it did not work.
    Mask(MaskArgs),
    /// See, test and explain masking rules.
    #[command(subcommand)]
    Rules(RulesCommand),
}

/// Where the configuration is.
#[derive(Debug, Args, Clone)]
pub struct ConfigFile {
    /// The configuration file.
    #[arg(long, short, env = "GATEWAYD_CONFIG", default_value = "gatewayd.toml")]
    pub config: PathBuf,
}

/// How to reach and sign in to a running gateway's admin listener.
#[derive(Debug, Args, Clone)]
pub struct AdminAccess {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub file: ConfigFile,
    /// URL of the admin listener; by default the one in the configuration file.
    #[arg(long, env = "GATEWAYD_ADMIN")]
    pub admin: Option<String>,
    /// A file with the token to sign in with; by default `GATEWAYD_TOKEN`, else the key in the data directory.
    #[arg(long)]
    pub token_file: Option<PathBuf>,
    /// How to print.
    #[arg(long, short, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// `gatewayd policy ...`
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Say the decision on a request and the rule that makes it.
    Explain(ExplainArgs),
    /// Run a table of expectations; exit status 1 if one is not met.
    Test {
        #[command(flatten)]
        #[allow(missing_docs)]
        file: ConfigFile,
        /// The table, TOML.
        table: PathBuf,
        /// How to print.
        #[arg(long, short, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// Print the Cedar schema that `.cedar` files are checked against.
    Schema,
}

/// `gatewayd policy explain`
#[derive(Debug, Args)]
pub struct ExplainArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub file: ConfigFile,
    /// The caller's groups, separated by commas, with or without the issuer's `group_prefix`.
    #[arg(long, value_delimiter = ',')]
    pub groups: Vec<String>,
    /// The caller's subject.
    #[arg(long, default_value = "someone")]
    pub subject: String,
    /// The issuer that vouches for the caller; by default the first in the configuration.
    #[arg(long)]
    pub issuer: Option<String>,
    /// The model that the request names.
    #[arg(long)]
    pub model: Option<String>,
    /// The caller's address.
    #[arg(long)]
    pub address: Option<std::net::IpAddr>,
    /// The time of the request, RFC 3339; by default now.
    #[arg(long)]
    pub time: Option<String>,
    /// The request's method.
    pub method: String,
    /// The request's path.
    pub path: String,
    /// How to print.
    #[arg(long, short, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// `gatewayd approvals ...`
#[derive(Debug, Subcommand)]
pub enum ApprovalsCommand {
    /// What waits, and with --all what waited.
    List {
        #[command(flatten)]
        #[allow(missing_docs)]
        access: AdminAccess,
        /// Also those that are decided.
        #[arg(long)]
        all: bool,
    },
    /// Everything that is known of one: who asks, what for, the masked request, the votes.
    Show {
        #[command(flatten)]
        #[allow(missing_docs)]
        access: AdminAccess,
        /// The approval's id.
        id: String,
    },
    /// Agree to exactly this request.
    Approve(VoteArgs),
    /// Refuse it.
    Deny(VoteArgs),
    /// Take back a request of your own.
    Cancel {
        #[command(flatten)]
        #[allow(missing_docs)]
        access: AdminAccess,
        /// The approval's id.
        id: String,
    },
}

/// A vote.
#[derive(Debug, Args)]
pub struct VoteArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub access: AdminAccess,
    /// The approval's id.
    pub id: String,
    /// Why; kept with the vote.
    #[arg(long, short = 'm', default_value = "")]
    pub comment: String,
}

/// `gatewayd sessions ...`
#[derive(Debug, Subcommand)]
pub enum SessionsCommand {
    /// The newest sessions, one a line.
    List(SessionsListArgs),
    /// One session: who, what, which rule, which credential version, what was masked, how it ended.
    Show {
        #[command(flatten)]
        #[allow(missing_docs)]
        access: AdminAccess,
        /// The session's id.
        id: String,
    },
    /// Play the answer back as the caller saw it, at the speed it came.
    Replay {
        #[command(flatten)]
        #[allow(missing_docs)]
        access: AdminAccess,
        /// The session's id.
        id: String,
        /// How much faster than it happened; 0 means all at once.
        #[arg(long, default_value_t = 1.0)]
        speed: f64,
        /// Show the bytes as they were sent instead of the text in them.
        #[arg(long)]
        raw: bool,
        /// Wait for Enter before each frame.
        #[arg(long)]
        step: bool,
    },
    /// Write a session in another tool's format to standard output.
    Export {
        #[command(flatten)]
        #[allow(missing_docs)]
        access: AdminAccess,
        /// The session's id.
        id: String,
        /// Everything as JSON lines, HTTP archive 1.2, asciicast v3, or OpenTelemetry logs.
        #[arg(long, value_enum, default_value_t = ExportFormat::Jsonl)]
        format: ExportFormat,
    },
    /// Print the proofs that a session's entries are in the log; they hold offline, with the public key alone.
    Proof {
        #[command(flatten)]
        #[allow(missing_docs)]
        access: AdminAccess,
        /// The session's id.
        id: String,
    },
    /// Would this request pass today? Do today's rules find a secret in its bodies? Exit status 1 if something differs, 2 if
    /// that cannot be told of all of it.
    Recheck {
        #[command(flatten)]
        #[allow(missing_docs)]
        access: AdminAccess,
        /// The session's id.
        id: String,
    },
    /// What is on record beside requests, newest first: votes, rotations, configurations, tokens, readings.
    Events {
        #[command(flatten)]
        #[allow(missing_docs)]
        access: AdminAccess,
        /// How many at the most.
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
    /// Make words and bodies unreadable for good, in approvals too: an open one is withdrawn. The log says so, and still
    /// verifies.
    Erase(KeepingArgs),
    /// Forbid that something is erased or dropped, until the hold is released.
    Hold(KeepingArgs),
    /// The holds there are and were.
    Holds {
        #[command(flatten)]
        #[allow(missing_docs)]
        access: AdminAccess,
    },
    /// Release a hold.
    Release {
        #[command(flatten)]
        #[allow(missing_docs)]
        access: AdminAccess,
        /// The hold's number.
        hold: i64,
        /// Why; it goes into the log.
        #[arg(long, short = 'm')]
        reason: String,
    },
    /// Another root key for the recorded bodies, while the gateway is stopped. No body is written anew, and the log
    /// says so; whoever has the old key reads nothing with it.
    RotateKey(ConfigFile),
    /// Check a data directory's evidence: signatures, tree, bodies, rules. Needs no running gateway.
    ///
    /// Ends with 0 if it is intact, 2 if it cannot be read, and for damage with the lowest that applies: 10 the log
    /// itself, 11 not the pinned log, 12 a rule of requests, 13 words that are not those of the log, 14 bodies.
    Verify {
        /// The evidence directory (`evidence` below the data directory), or a copy of it.
        directory: PathBuf,
        /// The public key to check against; by default the one beside the log, which proves less.
        #[arg(long)]
        key: Option<PathBuf>,
        /// A checkpoint kept elsewhere earlier.
        #[arg(long)]
        pinned: Option<PathBuf>,
        /// How to print.
        #[arg(long, short, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
}

/// A change of what is kept, and why.
#[derive(Debug, Args)]
pub struct KeepingArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub access: AdminAccess,
    /// One session, by its id.
    #[arg(required_unless_present = "subject", conflicts_with = "subject")]
    pub id: Option<String>,
    /// Everything that this caller did.
    #[arg(long, requires = "issuer")]
    pub subject: Option<String>,
    /// Who issued the caller's identity, as `sessions show` says it.
    #[arg(long, requires = "subject")]
    pub issuer: Option<String>,
    /// Why; it goes into the log.
    #[arg(long, short = 'm')]
    pub reason: String,
}

/// The formats of `gatewayd sessions export`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// Everything, one JSON object a line.
    Jsonl,
    /// HTTP archive 1.2.
    Har,
    /// asciicast v3.
    Asciicast,
    /// OpenTelemetry logs, OTLP/JSON.
    Otel,
}

/// `gatewayd sessions list`
#[derive(Debug, Args)]
pub struct SessionsListArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub access: AdminAccess,
    /// Only of this subject, whoever issued it.
    #[arg(long)]
    pub subject: Option<String>,
    /// Only of callers of this issuer, as `sessions show` says it; `gatewayd` for the gateway's own tokens.
    #[arg(long)]
    pub issuer: Option<String>,
    /// Only of callers in this group.
    #[arg(long)]
    pub group: Option<String>,
    /// Only to this model.
    #[arg(long)]
    pub model: Option<String>,
    /// Only this action, such as infer or train.
    #[arg(long)]
    pub action: Option<String>,
    /// Only those that this policy rule decided.
    #[arg(long)]
    pub rule: Option<String>,
    /// Only with this HTTP status.
    #[arg(long)]
    pub status: Option<u16>,
    /// Only those in whose answer this masking rule struck.
    #[arg(long)]
    pub masked: Option<String>,
    /// From then on: how long ago (`90m`), a day in UTC (`2026-03-01`), or a time of RFC 3339.
    #[arg(long)]
    pub since: Option<String>,
    /// Before then; written like `--since`.
    #[arg(long)]
    pub until: Option<String>,
    /// How many at the most.
    #[arg(long, default_value_t = 50)]
    pub limit: usize,
}

/// `gatewayd token ...`
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a token. It is shown once and stored only as a hash.
    Create {
        #[command(flatten)]
        #[allow(missing_docs)]
        access: AdminAccess,
        /// What the token is for; the subject in policies and records.
        #[arg(long)]
        name: String,
        /// Its groups, separated by commas.
        #[arg(long, value_delimiter = ',')]
        groups: Vec<String>,
        /// How long it holds, such as 12h or 30d.
        #[arg(long, default_value = "24h")]
        ttl: String,
    },
    /// The tokens there are, without their secrets.
    List {
        #[command(flatten)]
        #[allow(missing_docs)]
        access: AdminAccess,
    },
    /// End a token; the next request with it is refused.
    Revoke {
        #[command(flatten)]
        #[allow(missing_docs)]
        access: AdminAccess,
        /// The token's id.
        id: String,
    },
}

/// `gatewayd mask`
#[derive(Debug, Args)]
pub struct MaskArgs {
    /// More rules, TOML.
    #[arg(long)]
    pub rules: Vec<PathBuf>,
    /// Which rules.
    #[arg(long, value_enum, default_value_t = TierChoice::Default)]
    pub tier: TierChoice,
    /// The input is JSON.
    #[arg(long, group = "format")]
    pub json: bool,
    /// The input is a stream of server-sent events.
    #[arg(long, group = "format")]
    pub sse: bool,
    /// The input is JSON, one document a line.
    #[arg(long, group = "format")]
    pub ndjson: bool,
    /// The input is plain text (the default).
    #[arg(long, group = "format")]
    pub text: bool,
}

/// Which tiers of rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TierChoice {
    /// Those of high confidence, as `tiers = ["default"]` in the configuration.
    Default,
    /// Also assignments such as `password = ...`, as `tiers = ["default", "assignments"]`.
    All,
}

/// `gatewayd rules ...`
#[derive(Debug, Subcommand)]
pub enum RulesCommand {
    /// The rules in force.
    List {
        /// More rules, TOML.
        #[arg(long)]
        rules: Vec<PathBuf>,
        /// How to print.
        #[arg(long, short, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// Check rules and run their examples; exit status 1 if one does not hold.
    Test {
        /// The rules, TOML; by default the built-in ones.
        rules: Vec<PathBuf>,
    },
    /// One rule: what it finds, how it is anchored, examples.
    Explain {
        /// The rule's id.
        id: String,
        /// More rules, TOML.
        #[arg(long)]
        rules: Vec<PathBuf>,
    },
}

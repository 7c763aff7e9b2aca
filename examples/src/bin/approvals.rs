//! Must a person agree: deleting a model waits until somebody of `operators` agrees to exactly that request.
//!
//! ```console
//! $ cargo run -p gatewayd-examples --bin approvals
//! $ curl -X DELETE -H 'Authorization: Bearer session-of-alice' http://127.0.0.1:3000/models/llama-3
//! $ curl -H 'Authorization: Bearer session-of-olga' http://127.0.0.1:3000/approvals
//! $ curl -X POST -H 'Authorization: Bearer session-of-olga' http://127.0.0.1:3000/approvals/ID/approve
//! ```

use std::error::Error;
use std::path::Path as File;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Extension, Path, Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::Response;
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use gatewayd_approvals::{
    Approvals, ApprovalsLayer, Config, Error as ApprovalError, Filter, Requirement, Seats, Verdict, View,
};
use gatewayd_core::{Action, Decision, Effect, Identity, NullJournal, SystemClock, UpstreamName};
use gatewayd_examples::{Logins, Redactor, person, sign_in, wants};
use gatewayd_masker::Masker;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let approvals = approvals(File::new("approvals.db"), Duration::from_secs(60))?;
    // Settles what a crash left open, and ends what is overdue.
    approvals.recover().await?;
    let theirs = approvals.clone();
    tokio::spawn(async move { theirs.maintain().await });
    let (alice, olga) = (person("alice", &["ml-eng"]), person("olga", &["operators"]));
    let logins = Logins::new([("session-of-alice", alice), ("session-of-olga", olga)]);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    Ok(axum::serve(listener, app(approvals, logins)).await?)
}

/// One of `operators`. The caller's connection is held for `hold`; after that the caller is told to ask again.
pub(crate) fn approvals(store: &File, hold: Duration) -> Result<Approvals, Box<dyn Error>> {
    let mut operator = Requirement::all_of(vec![Seats::new("operators", 1)]);
    operator.hold = hold;
    let config = Config {
        requirements: [("an-operator".to_owned(), operator)].into(),
        public_url: "http://127.0.0.1:3000".to_owned(),
        ..Config::default()
    };
    // People see what was asked, masked. Votes go to the journal before they count: in gatewayd that is the recorder.
    let mask = Arc::new(Redactor(Masker::builder().build()?));
    Ok(Approvals::open(store, config, Arc::new(NullJournal), mask, Arc::new(SystemClock))?)
}

pub(crate) fn app(approvals: Approvals, logins: Logins) -> Router {
    let models = Router::new()
        .route(
            "/models/{model}",
            delete(|Path(model): Path<String>| async move { format!("{model} is gone") }),
        )
        .route_layer(ApprovalsLayer::new(approvals.clone()))
        .route_layer(from_fn(describe));
    // The people's side is not behind the approvals layer, but it is behind the login: a vote is somebody's.
    let people = Router::new()
        .route("/approvals", get(list))
        .route("/approvals/{id}/{verdict}", post(vote))
        .with_state(approvals);
    models.merge(people).route_layer(from_fn_with_state(logins, sign_in))
}

/// Says what the request wants, and that it needs approval. `gatewayd-policy` would make this decision from rules.
async fn describe(Path(model): Path<String>, mut request: Request, next: Next) -> Response {
    let wanted = wants(Action::Delete, Some(model), "/models/{model}");
    request.extensions_mut().insert(wanted);
    request.extensions_mut().insert(UpstreamName("registry".into()));
    request.extensions_mut().insert(Decision {
        effect: Effect::Approve,
        rule: "deleting-needs-an-operator".into(),
        policy_version: "1".into(),
        approval: Some("an-operator".into()),
    });
    next.run(request).await
}

/// What waits, for those who are asked or who asked.
async fn list(
    State(approvals): State<Approvals>,
    Extension(who): Extension<Identity>,
) -> Result<Json<Vec<View>>, (StatusCode, String)> {
    let filter = Filter { concerning: Some(who), ..Filter::default() };
    approvals.list(&filter).await.map(Json).map_err(|error| said(&error))
}

async fn vote(
    State(approvals): State<Approvals>,
    Extension(who): Extension<Identity>,
    Path((id, verdict)): Path<(String, String)>,
) -> Result<Json<View>, (StatusCode, String)> {
    let verdict = match verdict.as_str() {
        "approve" => Verdict::Approve,
        "deny" => Verdict::Deny,
        _ => return Err((StatusCode::NOT_FOUND, "say approve or deny".to_owned())),
    };
    // The library decides whether this vote counts: nobody agrees to their own request, and nobody counts twice.
    approvals.vote(&id, &who, verdict, "").await.map(Json).map_err(|error| said(&error))
}

fn said(error: &ApprovalError) -> (StatusCode, String) {
    let status = match error {
        ApprovalError::Refused(_) => StatusCode::FORBIDDEN,
        ApprovalError::NotFound(_) => StatusCode::NOT_FOUND,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, error.to_string())
}

//! An upstream sends callers to the gateway or nowhere.

mod setup;

use bytes::Bytes;
use gatewayd_testkit::{FakeUpstream, Reply};
use http::Method;
use setup::{Setup, request};

/// What becomes of a location, where `{up}` stands for the upstream's own origin.
async fn shown(base: &str, path: &str, status: u16, location: &'static str) -> [Option<String>; 2] {
    let upstream = FakeUpstream::start_with(move |seen| {
        let host = seen.headers.get("host").and_then(|value| value.to_str().ok()).expect("a host");
        let origin = format!("http://{host}");
        let location = location.replace("{up}", &origin);
        Reply::Whole {
            status,
            headers: vec![("location", location.clone()), ("content-location", location)],
            body: Bytes::new(),
        }
    });
    let setup = Setup::at(&format!("{}{base}", upstream.url()), |_| {});
    let answer = setup.send(request(Method::GET, path)).await;
    assert_eq!(answer.status(), status);
    ["location", "content-location"]
        .map(|name| answer.headers().get(name).map(|value| value.to_str().expect("text").to_owned()))
}

#[tokio::test]
async fn a_location_stays_at_the_gateway_or_is_dropped() {
    for (base, location, wanted) in [
        ("", "{up}/v1/models?a=1", Some("/v1/models?a=1")),
        ("", "/v1/models", Some("/v1/models")),
        ("", "models/x?y", Some("/v1/models/x?y")),
        ("", "../a%20b", Some("/a%20b")),
        ("", "{up}", Some("/")),
        ("/deep", "{up}/deep/v1/x", Some("/v1/x")),
        ("/deep", "/deep/v1/x", Some("/v1/x")),
        ("/deep", "x", Some("/v1/x")),
        ("/deep", "{up}/deep", Some("/")),
        // Outside of what the gateway offers.
        ("/deep", "{up}/deeper/x", None),
        ("/deep", "/admin", None),
        // Elsewhere, in every spelling that browsers know.
        ("", "http://evil.example/v1", None),
        ("", "https://evil.example", None),
        ("", "//evil.example/v1", None),
        ("", "/\\evil.example/v1", None),
        ("", "\\\\evil.example/v1", None),
        ("", "http:\\\\evil.example", None),
        ("", " \thttp://evil.example", None),
        ("", "javascript:alert(1)", None),
        ("", "data:text/html,x", None),
        ("", "http://[bad", None),
        // A path that reads as a host once the origin is gone.
        ("", "{up}//evil.example/v1", None),
        ("", "{up}/\\evil.example/v1", None),
        ("/deep", "{up}/deep//evil.example", None),
        ("", "/.//evil.example", None),
    ] {
        for status in [201, 302, 307] {
            let wanted = wanted.map(str::to_owned);
            let found = shown(base, "/v1/y", status, location).await;
            assert_eq!(found, [wanted.clone(), wanted], "{base:?} {location:?}");
        }
    }
}

#[tokio::test]
async fn a_port_or_scheme_of_its_own_is_another_origin() {
    for location in ["http://127.0.0.1:1/v1", "https://127.0.0.1/v1", "http://user@127.0.0.1/v1"] {
        assert_eq!(shown("", "/v1/y", 302, location).await, [None, None], "{location}");
    }
}

#[tokio::test]
async fn other_ways_to_send_a_caller_away_are_closed() {
    let upstream = FakeUpstream::start(Reply::Whole {
        status: 200,
        headers: vec![("refresh", "0; url=http://evil.example".to_owned()), ("x-kept", "1".to_owned())],
        body: Bytes::new(),
    });
    let answer = Setup::new(&upstream).send(request(Method::GET, "/v1/models")).await;
    assert!(!answer.headers().contains_key("refresh"));
    assert!(answer.headers().contains_key("x-kept"));
}

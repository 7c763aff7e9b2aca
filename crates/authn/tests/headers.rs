//! Whatever stands in the headers, the answer is an identity or a refusal.

mod world;

use gatewayd_core::RefusalCode;
use http::{HeaderMap, HeaderValue};
use proptest::prelude::*;
use world::World;

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        "[ -~]{0,40}".prop_map(String::into_bytes),
        "(Bearer|bearer|Basic|)[ ,]{0,2}[A-Za-z0-9_.=-]{0,60}".prop_map(String::into_bytes),
        "(gwd_|gwa_)[A-Za-z0-9]{45,52}".prop_map(String::into_bytes),
        "Bearer [A-Za-z0-9_-]{0,20}\\.[A-Za-z0-9_-]{0,20}\\.[A-Za-z0-9_-]{0,20}".prop_map(String::into_bytes),
        prop::collection::vec(any::<u8>(), 0..40),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_headers_are_judged_without_a_panic(
        values in prop::collection::vec((0..4usize, value()), 0..4),
    ) {
        let names = ["authorization", "x-api-key", "api-key", "proxy-authorization"];
        let mut headers = HeaderMap::new();
        for (at, bytes) in &values {
            if let (Some(name), Ok(value)) = (names.get(*at), HeaderValue::from_bytes(bytes)) {
                headers.append(*name, value);
            }
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let refusal = runtime.block_on(async { World::new().authn.authenticate(&headers).await }).expect_err("forged");
        let wanted = if headers.keys().any(|name| name.as_str() != "proxy-authorization") {
            RefusalCode::InvalidToken
        } else {
            RefusalCode::MissingCredentials
        };
        prop_assert_eq!(refusal.code(), wanted);
        // What goes back holds nothing of what was sent.
        let response = refusal.response(gatewayd_core::Dialect::OpenAi);
        prop_assert!(response.headers()["www-authenticate"].to_str().expect("ASCII").starts_with("Bearer realm="));
    }
}

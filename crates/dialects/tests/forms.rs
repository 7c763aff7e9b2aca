//! Property: a form that passes is read by another parser as we read it, wherever it is cut.

mod setup;

use gatewayd_core::Body;
use http::HeaderValue;
use proptest::prelude::*;
use setup::{End, Setup, pieces, request};

/// Pieces of forms, sound and unsound.
fn form() -> impl Strategy<Value = String> {
    let sound = prop::sample::select(vec![
        "--XX\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\na\r\n",
        "--XX\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nb\r\n",
        "--XX\r\ncontent-disposition:form-data;name=model\r\n\r\nc\r\n",
        "--XX\r\nContent-Disposition: form-data; name=\"stream\"\r\n\r\ntrue\r\n",
        "--XX\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a;b.wav\"\r\nContent-Type: audio/wav\r\n\r\n\r\n--X\r\n--XX\n\r\r\n",
        "--XX\r\nContent-Disposition: form-data; name=\"file\"; filename=\"model\"\r\n\r\n--YY\r\nmodel\r\n",
        "--XX\r\nContent-Disposition: form-data; name=\"language\"\r\n\r\n\r\n",
    ]);
    let unsound = prop::sample::select(vec![
        "--XX--\r\n",
        "--XX\r\n",
        "--XX \r\n",
        "\r\n",
        "--",
        "--XX\nContent-Disposition: form-data; name=\"model\"\n\nd\n",
        "--XX\r\nContent-Disposition: form-data; name=\"model\"; name=\"x\"\r\n\r\ne\r\n",
        "--XX\r\nContent-Disposition: form-data; filename=\"a\\\"; name=\\\"model\"; name=\"x\"\r\n\r\nf\r\n",
        "--XX\r\nX: y\r\n Content-Disposition: form-data; name=\"model\"\r\n\r\ng\r\n",
        "--XX\r\n\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nh\r\n",
        "--XX\r\nContent-Disposition: form-data; name=\"Model\"\r\n\r\ni\r\n",
        "--XX\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\n\r\n",
    ]);
    let piece = prop_oneof![6 => sound, 1 => unsound];
    (prop::collection::vec(piece, 0..6), any::<bool>()).prop_map(|(pieces, ends)| {
        let end = if ends { "--XX--\r\n" } else { "" };
        pieces.concat() + end
    })
}

/// What another parser finds: every value of `model` that is not a file.
async fn models(form: Vec<u8>) -> Option<Vec<String>> {
    let stream = http_body_util::BodyStream::new(Body::full(form));
    let stream = Frames(stream);
    let mut parser = multer::Multipart::new(stream, "XX");
    let mut found = Vec::new();
    loop {
        match parser.next_field().await {
            Ok(None) => return Some(found),
            Err(_) => return None,
            Ok(Some(field)) => {
                let is_model = field.name() == Some("model");
                let Ok(text) = field.bytes().await else { return None };
                if is_model {
                    found.push(String::from_utf8_lossy(&text).into_owned());
                }
            }
        }
    }
}

/// The data of a body as the other parser wants it.
struct Frames(http_body_util::BodyStream<Body>);

impl futures_util::Stream for Frames {
    type Item = Result<bytes::Bytes, gatewayd_core::BoxError>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        let next = std::pin::Pin::new(&mut self.0).poll_next(cx);
        next.map(|frame| frame.map(|frame| frame.map(|frame| frame.into_data().unwrap_or_default())))
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn what_passes_is_read_alike(form in form(), cut in 1..40usize) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let setup = Setup::new();
            let cuts: Vec<&[u8]> = form.as_bytes().chunks(cut).collect();
            let mut sent = request("POST", "/v1/audio/transcriptions", pieces(&cuts, End::Ends));
            let content_type = HeaderValue::from_static("multipart/form-data; boundary=XX");
            sent.headers_mut().insert("content-type", content_type);
            let status = setup.send(sent).await.status();
            let passed: Vec<_> = setup.got().into_iter().filter(|got| got.body.is_ok()).collect();
            prop_assert_eq!(status.is_success(), passed.len() == 1, "{:?}", form);
            if let Some(got) = passed.first() {
                prop_assert_eq!(got.body.as_deref(), Ok(form.as_bytes()));
                let theirs = models(form.clone().into_bytes()).await;
                let ours: Vec<String> = got.operation.model.iter().map(ToString::to_string).collect();
                prop_assert_eq!(theirs, Some(ours), "{:?}", form);
            }
            Ok(())
        })?;
    }
}

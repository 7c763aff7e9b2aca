//! What an open stream costs in memory.

#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_wrap,
    clippy::print_stdout,
    reason = "a test that fails may panic"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use gatewayd_masker::Masker;
use gatewayd_masker::format::BodyKind;

thread_local! {
    /// What this thread holds. Signed: it may free what another has allocated.
    static HELD: Cell<isize> = const { Cell::new(0) };
}

/// The system's allocator, counting.
struct Counting;

fn count(change: isize) {
    // A thread that is ending has no counter any more, and nobody asks.
    let _ = HELD.try_with(|held| held.set(held.get() + change));
}

#[allow(unsafe_code, reason = "the trait demands it; all is passed on to the system's allocator as it came")]
// SAFETY: every call goes to `System` with the arguments it came with.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: `pointer` came from `System` with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What is still held of what `make` has allocated.
fn held_by<T>(make: impl FnOnce() -> T) -> (T, isize) {
    let before = HELD.get();
    let made = make();
    (made, HELD.get() - before)
}

fn chat(word: &str) -> String {
    format!(
        "data: {{\"id\":\"chatcmpl-8f2b1c\",\"object\":\"chat.completion.chunk\",\"created\":1735689600,\"model\":\"qwen2.5-0.5b\",\
         \"system_fingerprint\":\"b4321\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{word} \"}},\"finish_reason\":null}}]}}\n\n"
    )
}

fn masker() -> Masker {
    let masker = Masker::builder().known_secret("a secret everybody knows").build().unwrap();
    // What all bodies share is made with the first of them.
    drop(masker.body(BodyKind::Events));
    masker
}

#[test]
fn a_chat_that_is_open_takes_little() {
    let masker = masker();
    for kind in [BodyKind::Events, BodyKind::Unknown] {
        let (mut body, fresh) = held_by(|| masker.body(kind));
        let (_, grown) = held_by(|| {
            for word in ["The", "key", "is", "AKIAZQ3D", "not", "here", "but", "there"] {
                drop(body.push(chat(word).as_bytes()).unwrap());
            }
        });
        println!(
            "{kind:?}: {} on the stack, {fresh} bytes when new, {grown} more when in use",
            size_of_val(&body)
        );
        assert!(fresh <= 256, "{fresh}");
        assert!(fresh + grown <= 8 << 10, "{}", fresh + grown);
    }
}

#[test]
fn it_does_not_grow_with_the_length_of_the_chat() {
    let masker = masker();
    let mut body = masker.body(BodyKind::Events);
    let mut run = |events: usize| {
        held_by(|| {
            for number in 0..events {
                drop(body.push(chat(&format!("word {number}")).as_bytes()).unwrap());
            }
        })
        .1
    };
    run(1_000);
    assert!(run(10_000) <= 1 << 10);
}

#[test]
fn a_body_is_no_larger_before_it_is_known_to_be_json() {
    let masker = masker();
    let (mut body, fresh) = held_by(|| masker.body(BodyKind::Json));
    let (_, grown) =
        held_by(|| drop(body.push(br#"{"model":"m","messages":[{"role":"user","content":"hello"#).unwrap()));
    println!("Json: {fresh} bytes when new, {grown} more when in use");
    assert!(fresh <= 256 && fresh + grown <= 8 << 10, "{fresh} {grown}");
}

#[test]
fn what_is_held_back_is_held_once() {
    let rule = "[[rule]]\nid = \"long\"\nfamily = \"t\"\ndescription = \"d\"\nanchors = [\"key:\"]\npattern = \"key:[a-z]+;\"\nmax = 65536\n";
    let rules = gatewayd_masker::rule::parse(rule).unwrap();
    let masker = Masker::builder().rules(rules).build().unwrap();
    let mut stream = masker.stream();
    let (_, grown) = held_by(|| {
        drop(stream.push(b"key:"));
        for _ in 0..60_000 {
            drop(stream.push(b"x"));
        }
    });
    println!("{grown} bytes for {} that are held back", stream.held());
    assert_eq!(stream.held(), 60_004);
    // As a vector grows: at most twice.
    assert!(grown <= 2 * 65_536 + 4096, "{grown}");
    let (rest, left) = held_by(|| stream.push(b"! and more").len());
    assert!(rest > 60_000 && left < -60_000, "{rest} came out and {left} bytes were freed");
}

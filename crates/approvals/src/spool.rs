//! Taking a body whole, in memory or on disk, and giving it back.

use std::fs::File;
use std::future::Future;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use aws_lc_rs::digest;
use bytes::{Bytes, BytesMut};
use gatewayd_core::{Body, BoxError, NoRoom, Taken};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt as _;
use tokio::task::{JoinHandle, spawn_blocking};

use crate::digest::finish;
use crate::multipart::Pieces;

/// Written and read in pieces of this size.
const PIECE: usize = 64 << 10;

/// How a body is taken.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    pub(crate) body: u64,
    pub(crate) memory: usize,
    pub(crate) timeout: Duration,
    pub(crate) folder: Option<PathBuf>,
}

/// A body that has arrived whole.
pub(crate) struct Whole {
    pub(crate) sha256: [u8; 32],
    /// The hash of its pieces, where it is a multipart body that leaves no doubt about them.
    pub(crate) pieces: Option<[u8; 32]>,
    pub(crate) length: u64,
    store: Store,
}

enum Store {
    Memory(Bytes),
    /// With the room that it takes there.
    Disk(File, Taken),
}

/// Why a body was not taken.
#[derive(Debug)]
pub(crate) enum Failure {
    TooLarge,
    TooSlow,
    /// The caller broke off, or framed it wrongly.
    Broken,
    /// As many bytes as may wait on the disk do.
    NoRoom(NoRoom),
    /// The disk does not take it.
    Disk(std::io::Error),
}

/// Takes a body, within limits. Trailers are dropped: nobody could see what was agreed to in them.
///
/// With a `boundary` it is also named by its pieces. What goes to the disk takes its room on `account`.
pub(crate) async fn take(
    body: Body,
    limits: &Limits,
    boundary: Option<&str>,
    mut account: Taken,
) -> Result<Whole, Failure> {
    if let Some(bytes) = body.to_full() {
        let length = bytes.len() as u64;
        if length > limits.body {
            return Err(Failure::TooLarge);
        }
        let mut whole = in_memory(bytes.clone(), boundary);
        if bytes.len() > limits.memory {
            // It may wait for minutes, and many may wait.
            account.add(bytes.len()).map_err(Failure::NoRoom)?;
            let file = write(None, bytes, limits.folder.clone()).await.map_err(Failure::Disk)?;
            whole.store = Store::Disk(file, account);
        }
        return Ok(whole);
    }
    if body.size_hint().lower() > limits.body {
        return Err(Failure::TooLarge);
    }
    let read = read(body, limits, boundary, account);
    tokio::time::timeout(limits.timeout, read).await.unwrap_or(Err(Failure::TooSlow))
}

impl Whole {
    /// The first bytes, at most that many.
    pub(crate) async fn head(&mut self, limit: usize) -> std::io::Result<Bytes> {
        match &mut self.store {
            Store::Memory(bytes) => Ok(bytes.slice(..bytes.len().min(limit))),
            Store::Disk(file, _) => {
                let mut file = file.try_clone()?;
                let read = move || {
                    file.seek(SeekFrom::Start(0))?;
                    let mut head = Vec::new();
                    file.take(limit as u64).read_to_end(&mut head)?;
                    Ok(Bytes::from(head))
                };
                joined(spawn_blocking(read).await)
            }
        }
    }

    /// The body again, as it came.
    pub(crate) fn into_body(self) -> Body {
        match self.store {
            Store::Memory(bytes) => Body::full(bytes),
            Store::Disk(file, account) => {
                let start = Reading::Idle(Some(Cursor { file, at: 0 }));
                Body::new(FromDisk { left: self.length, reading: start, _account: account })
            }
        }
    }
}

fn in_memory(bytes: Bytes, boundary: Option<&str>) -> Whole {
    let mut names = Names::new(boundary);
    names.push(&bytes);
    let (sha256, pieces) = names.finish();
    Whole { sha256, pieces, length: bytes.len() as u64, store: Store::Memory(bytes) }
}

/// Both names of a body.
struct Names {
    whole: digest::Context,
    pieces: Option<Pieces>,
}

impl Names {
    fn new(boundary: Option<&str>) -> Self {
        Self { whole: digest::Context::new(&digest::SHA256), pieces: boundary.map(Pieces::new) }
    }

    fn push(&mut self, bytes: &[u8]) {
        self.whole.update(bytes);
        if let Some(pieces) = &mut self.pieces {
            pieces.push(bytes);
        }
    }

    fn finish(self) -> ([u8; 32], Option<[u8; 32]>) {
        (finish(self.whole), self.pieces.and_then(Pieces::finish))
    }
}

async fn read(
    mut body: Body,
    limits: &Limits,
    boundary: Option<&str>,
    mut account: Taken,
) -> Result<Whole, Failure> {
    let mut names = Names::new(boundary);
    let (mut length, mut waiting, mut file) = (0u64, BytesMut::new(), None);
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| Failure::Broken)?.into_data() else { continue };
        length += data.len() as u64;
        if length > limits.body {
            return Err(Failure::TooLarge);
        }
        names.push(&data);
        waiting.extend_from_slice(&data);
        let room = if file.is_some() { PIECE } else { limits.memory };
        if waiting.len() > room {
            file = Some(put(file, waiting.split().freeze(), limits, &mut account).await?);
        }
    }
    let store = match file {
        None => Store::Memory(waiting.freeze()),
        Some(file) => {
            let file = put(Some(file), waiting.freeze(), limits, &mut account).await?;
            Store::Disk(file, account)
        }
    };
    let (sha256, pieces) = names.finish();
    Ok(Whole { sha256, pieces, length, store })
}

async fn put(
    file: Option<File>,
    bytes: Bytes,
    limits: &Limits,
    account: &mut Taken,
) -> Result<File, Failure> {
    account.add(bytes.len()).map_err(Failure::NoRoom)?;
    write(file, bytes, limits.folder.clone()).await.map_err(Failure::Disk)
}

/// Appends to the file, which is made first if there is none yet. It has no name, so it ends with the process.
async fn write(file: Option<File>, bytes: Bytes, folder: Option<PathBuf>) -> std::io::Result<File> {
    let write = move || {
        let mut file = match (file, folder) {
            (Some(file), _) => file,
            (None, Some(folder)) => tempfile::tempfile_in(folder)?,
            (None, None) => tempfile::tempfile()?,
        };
        file.write_all(&bytes)?;
        Ok(file)
    };
    joined(spawn_blocking(write).await)
}

fn joined<T>(result: Result<std::io::Result<T>, tokio::task::JoinError>) -> std::io::Result<T> {
    result.unwrap_or_else(|error| Err(std::io::Error::other(error)))
}

/// A body read from disk piece by piece.
struct FromDisk {
    left: u64,
    reading: Reading,
    _account: Taken,
}

enum Reading {
    Idle(Option<Cursor>),
    Busy(JoinHandle<std::io::Result<(Cursor, Bytes)>>),
}

struct Cursor {
    file: File,
    at: u64,
}

impl Cursor {
    fn next(mut self, left: u64) -> std::io::Result<(Self, Bytes)> {
        let want = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
        self.file.seek(SeekFrom::Start(self.at))?;
        let mut piece = vec![0; want];
        self.file.read_exact(&mut piece)?;
        self.at += want as u64;
        Ok((self, piece.into()))
    }
}

impl HttpBody for FromDisk {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        loop {
            match &mut this.reading {
                Reading::Idle(_) if this.left == 0 => return Poll::Ready(None),
                Reading::Idle(cursor) => {
                    let Some(cursor) = cursor.take() else { return Poll::Ready(None) };
                    let left = this.left;
                    this.reading = Reading::Busy(spawn_blocking(move || cursor.next(left)));
                }
                Reading::Busy(handle) => {
                    let result = ready!(Pin::new(handle).poll(cx));
                    let (cursor, piece) = match joined(result) {
                        Ok(read) => read,
                        Err(error) => {
                            this.reading = Reading::Idle(None);
                            return Poll::Ready(Some(Err(error.into())));
                        }
                    };
                    this.left = this.left.saturating_sub(piece.len() as u64);
                    this.reading = Reading::Idle(Some(cursor));
                    return Poll::Ready(Some(Ok(Frame::data(piece))));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(body: u64) -> Limits {
        Limits { body, memory: 1000, timeout: Duration::from_secs(5), folder: None }
    }

    fn account() -> Taken {
        gatewayd_core::Room::new(u64::MAX, u64::MAX).open(None)
    }

    fn stream(bytes: Vec<u8>) -> Body {
        // `Full` wrapped as a stream: not at hand.
        Body::new(http_body_util::Full::new(Bytes::from(bytes)))
    }

    #[tokio::test]
    async fn a_body_comes_back_as_it_came_wherever_it_waited() {
        for size in [0usize, 1, 1000, 1001, PIECE, PIECE + 1, 3 * PIECE + 17] {
            let bytes: Vec<u8> = (0..size).map(|i| u8::try_from(i % 251).unwrap()).collect();
            let at_hand =
                take(Body::full(bytes.clone()), &limits(1 << 20), None, account()).await.ok().unwrap();
            assert_eq!(at_hand.sha256, in_memory(bytes.clone().into(), None).sha256);
            assert_eq!(matches!(at_hand.store, Store::Disk(..)), size > 1000);
            assert_eq!(at_hand.into_body().collect().await.unwrap().to_bytes(), bytes, "{size}");
            let mut whole =
                take(stream(bytes.clone()), &limits(1 << 20), None, account()).await.ok().unwrap();
            assert_eq!(whole.length, size as u64);
            assert_eq!(whole.sha256, in_memory(bytes.clone().into(), None).sha256);
            assert_eq!(whole.head(5).await.unwrap(), &bytes[..size.min(5)]);
            assert_eq!(matches!(whole.store, Store::Disk(..)), size > 1000);
            let body = whole.into_body();
            assert_eq!(body.size_hint().exact(), Some(size as u64));
            assert_eq!(body.collect().await.unwrap().to_bytes(), bytes, "{size}");
        }
    }

    #[tokio::test]
    async fn limits_hold() {
        assert!(matches!(
            take(stream(vec![0; 2001]), &limits(2000), None, account()).await,
            Err(Failure::TooLarge)
        ));
        assert!(matches!(
            take(Body::full(vec![0; 2001]), &limits(2000), None, account()).await,
            Err(Failure::TooLarge)
        ));
        assert!(take(stream(vec![0; 2000]), &limits(2000), None, account()).await.is_ok());
        let mut slow = limits(10);
        slow.timeout = Duration::from_millis(10);
        assert!(matches!(take(Body::new(Never), &slow, None, account()).await, Err(Failure::TooSlow)));
    }

    #[tokio::test]
    async fn what_waits_on_the_disk_is_bounded_and_given_back_when_it_has_been_read() {
        let room = gatewayd_core::Room::new(100_000, 100_000);
        let limits = limits(1 << 20);
        let bytes = vec![7; 90_000];
        let first = take(stream(bytes.clone()), &limits, None, room.open(None)).await.ok().unwrap();
        for second in [stream(bytes.clone()), Body::full(bytes.clone())] {
            let refused = take(second, &limits, None, room.open(None)).await;
            assert!(matches!(refused, Err(Failure::NoRoom(NoRoom::Caller(100_000)))));
        }
        let body = first.into_body();
        assert!(room.taken() > 70_000, "while it is being read, it is there");
        assert_eq!(body.collect().await.unwrap().to_bytes(), bytes);
        assert_eq!(room.taken(), 0);
    }

    struct Never;

    impl HttpBody for Never {
        type Data = Bytes;
        type Error = BoxError;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
            Poll::Pending
        }
    }
}

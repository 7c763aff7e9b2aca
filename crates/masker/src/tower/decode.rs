//! Content encodings, undone piece by piece, with a bound on what may come out.

use std::io::Write;

use zstd::stream::raw::Operation as _;

use super::MaskError;

/// What may come out whatever the ratio: small bodies compress well.
const FREE: u64 = 16 << 20;
/// Beyond that, how many times the encoded bytes may come out. Text is packed 3 to 20 times smaller; the most that gzip
/// can do is about 1030 times.
const RATIO: u64 = 100;

/// Undoes the encodings of a body.
pub(super) struct Decode {
    stages: Vec<Stage>,
    taken: u64,
    given: u64,
}

/// A place decoders write to, which refuses to be flooded.
struct Sink {
    bytes: Vec<u8>,
    room: u64,
    flooded: bool,
}

enum Stage {
    Gzip(Box<flate2::write::MultiGzDecoder<Sink>>),
    Zlib(Box<flate2::write::ZlibDecoder<Sink>>),
    Deflate(Box<flate2::write::DeflateDecoder<Sink>>),
    /// `deflate`, before its first byte has said which of the two it is.
    Either,
    Brotli(Box<brotli::DecompressorWriter<Sink>>),
    Zstd(Box<Zstd>),
}

impl Decode {
    /// A decoder for the codings of a `Content-Encoding`, in the order they were applied. `None` where there is
    /// nothing to undo.
    pub(super) fn new<'a>(codings: impl Iterator<Item = &'a str>) -> Result<Option<Self>, MaskError> {
        let mut stages = Vec::new();
        for coding in codings {
            let sink = Sink { bytes: Vec::new(), room: 0, flooded: false };
            let stage = match coding.trim().to_ascii_lowercase().as_str() {
                "" | "identity" => continue,
                "gzip" | "x-gzip" => Stage::Gzip(Box::new(flate2::write::MultiGzDecoder::new(sink))),
                "deflate" => Stage::Either,
                "br" => Stage::Brotli(Box::new(brotli::DecompressorWriter::new(sink, 4096))),
                "zstd" => Stage::Zstd(Box::new(Zstd::new(sink).map_err(|_| MaskError::Undecodable)?)),
                _ => return Err(MaskError::UnknownEncoding),
            };
            stages.push(stage);
        }
        if stages.len() > 3 {
            return Err(MaskError::UnknownEncoding);
        }
        // The coding applied last is undone first.
        stages.reverse();
        Ok((!stages.is_empty()).then_some(Self { stages, taken: 0, given: 0 }))
    }

    /// Decodes a piece.
    pub(super) fn push(&mut self, encoded: &[u8]) -> Result<Vec<u8>, MaskError> {
        self.taken += encoded.len() as u64;
        let mut bytes = encoded.to_vec();
        let room = self.room();
        for stage in &mut self.stages {
            bytes = stage.push(&bytes, room)?;
        }
        self.given += bytes.len() as u64;
        Ok(bytes)
    }

    /// How much may still come out.
    fn room(&self) -> u64 {
        FREE.max(self.taken.saturating_mul(RATIO)).saturating_sub(self.given)
    }

    /// The end of the encoded bytes. A body that ends too early is an error.
    pub(super) fn finish(&mut self) -> Result<Vec<u8>, MaskError> {
        let mut bytes = Vec::new();
        let room = self.room();
        for stage in &mut self.stages {
            let mut out = stage.push(&bytes, room)?;
            out.extend(stage.finish(room)?);
            bytes = out;
        }
        Ok(bytes)
    }
}

impl Stage {
    fn push(&mut self, bytes: &[u8], room: u64) -> Result<Vec<u8>, MaskError> {
        if let (Self::Either, Some(first)) = (&*self, bytes.first()) {
            let sink = Sink { bytes: Vec::new(), room, flooded: false };
            // A zlib header names method 8; raw deflate cannot begin so.
            *self = if first & 0x0F == 8 && first >> 4 <= 7 {
                Self::Zlib(Box::new(flate2::write::ZlibDecoder::new(sink)))
            } else {
                Self::Deflate(Box::new(flate2::write::DeflateDecoder::new(sink)))
            };
        }
        self.drive(room, |writer| writer.write_all(bytes))
    }

    fn finish(&mut self, room: u64) -> Result<Vec<u8>, MaskError> {
        if let Self::Brotli(decoder) = self {
            decoder.close().map_err(|_| MaskError::Undecodable)?;
            return Ok(std::mem::take(&mut decoder.get_mut().bytes));
        }
        if let Self::Zstd(decoder) = self {
            return if decoder.complete { Ok(Vec::new()) } else { Err(MaskError::Undecodable) };
        }
        let ended = match self {
            Self::Gzip(decoder) => decoder.try_finish(),
            Self::Zlib(decoder) => decoder.try_finish(),
            Self::Deflate(decoder) => decoder.try_finish(),
            Self::Either | Self::Brotli(_) | Self::Zstd(_) => Ok(()),
        };
        ended.map_err(|_| MaskError::Undecodable)?;
        self.drive(room, |_| Ok(()))
    }

    fn drive(
        &mut self,
        room: u64,
        work: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
    ) -> Result<Vec<u8>, MaskError> {
        self.with_sink(|sink| sink.room = room);
        let result = match self {
            Self::Gzip(decoder) => work(decoder).and_then(|()| decoder.flush()),
            Self::Zlib(decoder) => work(decoder).and_then(|()| decoder.flush()),
            Self::Deflate(decoder) => work(decoder).and_then(|()| decoder.flush()),
            Self::Brotli(decoder) => work(decoder).and_then(|()| decoder.flush()),
            Self::Zstd(decoder) => work(decoder).and_then(|()| decoder.flush()),
            Self::Either => Ok(()),
        };
        let mut bytes = Vec::new();
        let mut flooded = false;
        self.with_sink(|sink| {
            bytes = std::mem::take(&mut sink.bytes);
            flooded = sink.flooded;
        });
        match result {
            _ if flooded => Err(MaskError::Bomb),
            Err(_) => Err(MaskError::Undecodable),
            Ok(()) => Ok(bytes),
        }
    }

    fn with_sink(&mut self, use_it: impl FnOnce(&mut Sink)) {
        match self {
            Self::Gzip(decoder) => use_it(decoder.get_mut()),
            Self::Zlib(decoder) => use_it(decoder.get_mut()),
            Self::Deflate(decoder) => use_it(decoder.get_mut()),
            Self::Brotli(decoder) => use_it(decoder.get_mut()),
            Self::Zstd(decoder) => use_it(&mut decoder.sink),
            Self::Either => {}
        }
    }
}

/// The zstd decoder of the library, with a sign of whether the last frame is complete.
struct Zstd {
    decoder: zstd::stream::raw::Decoder<'static>,
    sink: Sink,
    complete: bool,
}

/// The largest window of zstd on the web is 8 MiB (RFC 9659).
const ZSTD_WINDOW_LOG: u32 = 23;

impl Zstd {
    fn new(sink: Sink) -> std::io::Result<Self> {
        let mut decoder = zstd::stream::raw::Decoder::new()?;
        decoder.set_parameter(zstd::stream::raw::DParameter::WindowLogMax(ZSTD_WINDOW_LOG))?;
        Ok(Self { decoder, sink, complete: true })
    }
}

impl Write for Zstd {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        loop {
            let mut out = [0; 8192];
            let status = self.decoder.run_on_buffers(bytes, &mut out)?;
            self.complete = status.remaining == 0;
            self.sink.write_all(out.get(..status.bytes_written).unwrap_or_default())?;
            if status.bytes_read > 0 || bytes.is_empty() {
                return Ok(status.bytes_read);
            }
            if status.bytes_written == 0 {
                return Err(std::io::ErrorKind::InvalidData.into());
            }
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        while !self.complete {
            let mut out = [0; 8192];
            let status = self.decoder.run_on_buffers(&[], &mut out)?;
            if status.bytes_written == 0 {
                break;
            }
            self.complete = status.remaining == 0;
            self.sink.write_all(out.get(..status.bytes_written).unwrap_or_default())?;
        }
        Ok(())
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let length = bytes.len() as u64;
        if length > self.room {
            self.flooded = true;
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        self.room -= length;
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl std::fmt::Debug for Decode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Decode({} stages)", self.stages.len())
    }
}

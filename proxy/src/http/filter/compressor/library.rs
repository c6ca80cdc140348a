//! The compressor libraries: gzip (zlib-rs), brotli and zstd behind one face. What goes in comes out at once, flushed,
//! so that a stream of small messages never waits inside; Envoy's zstd keeps it until a block is full.

use brotli::enc::BrotliEncoderParams;
use brotli::enc::backward_references::BrotliEncoderMode;
use flate2::{Compress, Compression, FlushCompress, Status};
use std::cell::Cell;
use std::io::Write;
use zstd_safe::zstd_sys::ZSTD_EndDirective;
use zstd_safe::{CCtx, CParameter, InBuffer, OutBuffer};

/// Most bytes that the encoders of a worker take up together, as estimated; responses beyond it go out as they are.
const ENCODER_BUDGET: usize = 128 << 20;

/// Least room that is made for output.
const MIN_ROOM: usize = 1024;

/// Largest window of zstd that clients must take (RFC 9659).
const MAX_ZSTD_WINDOW: u32 = 23;

/// Smallest window of brotli and of zstd.
const MIN_WINDOW: u32 = 10;

/// No part that is compressed is longer than this (a read's size, as a power of two).
const LONGEST_PART: u32 = 18;

thread_local! {
    static TAKEN: Cell<usize> = const { Cell::new(0) };
}

/// A library with its settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Library {
    /// Level (none: the library's) and window bits.
    Gzip(Option<u32>, u8),
    /// Brotli.
    Brotli(Brotli),
    /// Zstd.
    Zstd(Zstd),
}

/// Settings of brotli.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Brotli {
    /// 0 to 11.
    pub quality: u32,
    /// What the content is.
    pub mode: Mode,
    /// 10 to 24.
    pub window_bits: u32,
    /// 16 to 24.
    pub block_bits: u32,
    /// No context modeling of literals.
    pub plain_literals: bool,
}

/// What brotli is told of the content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Mode {
    Generic,
    Text,
    Font,
}

/// Settings of zstd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Zstd {
    /// 1 to 22.
    pub level: i32,
    /// A checksum at the end.
    pub checksum: bool,
    /// 1 to 9, as the library numbers them; 0: by the level.
    pub strategy: u8,
}

impl Library {
    /// Name in `accept-encoding` and `content-encoding`.
    pub const fn encoding(self) -> &'static str {
        match self {
            Library::Gzip(..) => "gzip",
            Library::Brotli(_) => "br",
            Library::Zstd(_) => "zstd",
        }
    }

    /// Name in statistics.
    pub const fn stat_name(self) -> &'static str {
        match self {
            Library::Gzip(..) => "gzip",
            Library::Brotli(_) => "brotli",
            Library::Zstd(_) => "zstd",
        }
    }

    /// An encoder for one body of so many bytes, if that is known; none when the worker's encoders take up too much.
    pub fn encoder(self, length: Option<u64>) -> Option<Encoder> {
        let memory = self.memory(length);
        let taken = TAKEN.get().saturating_add(memory);
        if taken > ENCODER_BUDGET && TAKEN.get() > 0 {
            return None;
        }
        let stream = match self {
            Library::Gzip(level, window) => {
                let level = level.map_or(Compression::default(), Compression::new);
                Stream::Gzip(Box::new(Compress::new_gzip(level, window)))
            }
            Library::Brotli(settings) => {
                let params = settings.params(length);
                Stream::Brotli(Box::new(brotli::CompressorWriter::with_params(Vec::new(), MIN_ROOM, &params)))
            }
            Library::Zstd(settings) => Stream::Zstd(settings.context(length)?),
        };
        TAKEN.set(taken);
        Some(Encoder { stream: Some(stream), memory })
    }

    /// Bytes that an encoder takes up, about.
    fn memory(self, length: Option<u64>) -> usize {
        match self {
            Library::Gzip(_, window) => (4 << window) + (256 << 10),
            Library::Brotli(settings) => {
                let window = window(settings.window_bits, length);
                let hashes = match settings.quality {
                    0..=4 => 1 << 20,
                    quality @ 5..=9 => (4 << 15) << quality.saturating_sub(1),
                    _ => 8 << window,
                };
                (2 << window.max(settings.block_bits())) + hashes
            }
            Library::Zstd(settings) => 3 << window(settings.window_bits(), length),
        }
    }
}

/// A window of so many bits, or of as many as the content needs.
fn window(bits: u32, length: Option<u64>) -> u32 {
    let needed = length.map_or(bits, |length| u64::BITS.saturating_sub(length.leading_zeros()));
    bits.min(needed.max(MIN_WINDOW))
}

impl Brotli {
    /// What the library makes of the block's size, and no block is longer than a part.
    fn block_bits(&self) -> u32 {
        if self.quality < 4 { 14 } else { self.block_bits.min(LONGEST_PART) }
    }

    fn params(&self, length: Option<u64>) -> BrotliEncoderParams {
        let number = |n: u32| i32::try_from(n).unwrap_or(i32::MAX);
        BrotliEncoderParams {
            quality: number(self.quality),
            lgwin: number(window(self.window_bits, length)),
            lgblock: number(self.block_bits.min(LONGEST_PART)),
            mode: match self.mode {
                Mode::Generic => BrotliEncoderMode::BROTLI_MODE_GENERIC,
                Mode::Text => BrotliEncoderMode::BROTLI_MODE_TEXT,
                Mode::Font => BrotliEncoderMode::BROTLI_MODE_FONT,
            },
            disable_literal_context_modeling: i32::from(self.plain_literals),
            ..BrotliEncoderParams::default()
        }
    }
}

impl Zstd {
    /// The window that the library takes for a level.
    fn window_bits(&self) -> u32 {
        match self.level {
            ..=1 => 19,
            2 => 20,
            3..=8 => 21,
            9..=16 => 22,
            _ => MAX_ZSTD_WINDOW,
        }
    }

    /// None when there is no memory for it, or the library refuses the settings.
    fn context(&self, length: Option<u64>) -> Option<CCtx<'static>> {
        let mut context = CCtx::try_create()?;
        let strategy = strategy(self.strategy).map(CParameter::Strategy);
        let all = [
            Some(CParameter::CompressionLevel(self.level)),
            Some(CParameter::ChecksumFlag(self.checksum)),
            Some(CParameter::WindowLog(window(self.window_bits(), length))),
            strategy,
        ];
        let set = all.into_iter().flatten().try_for_each(|one| context.set_parameter(one).map(|_| ()));
        set.ok().map(|()| context)
    }
}

/// The strategy of a number.
fn strategy(number: u8) -> Option<zstd_safe::Strategy> {
    use zstd_safe::Strategy as S;
    let all = [
        S::ZSTD_fast,
        S::ZSTD_dfast,
        S::ZSTD_greedy,
        S::ZSTD_lazy,
        S::ZSTD_lazy2,
        S::ZSTD_btlazy2,
        S::ZSTD_btopt,
        S::ZSTD_btultra,
        S::ZSTD_btultra2,
    ];
    all.get(usize::from(number).checked_sub(1)?).copied()
}

enum Stream {
    Gzip(Box<Compress>),
    Brotli(Box<brotli::CompressorWriter<Vec<u8>>>),
    Zstd(CCtx<'static>),
}

/// Compresses one body.
pub struct Encoder {
    /// None once it has ended.
    stream: Option<Stream>,
    memory: usize,
}

impl Encoder {
    /// Compresses a part of the body; `end`: it is the last. Everything that was given so far can be read from what
    /// came out so far. None when the library fails, which it does for want of memory alone.
    pub fn part(&mut self, bytes: &[u8], end: bool) -> Option<Vec<u8>> {
        if bytes.is_empty() && !end {
            return Some(Vec::new());
        }
        let out = match self.stream.take()? {
            Stream::Gzip(mut stream) => {
                let out = gzip(&mut stream, bytes, end)?;
                self.stream = Some(Stream::Gzip(stream));
                out
            }
            Stream::Brotli(mut stream) => {
                stream.write_all(bytes).ok()?;
                if end {
                    stream.into_inner()
                } else {
                    stream.flush().ok()?;
                    let out = std::mem::take(stream.get_mut());
                    self.stream = Some(Stream::Brotli(stream));
                    out
                }
            }
            Stream::Zstd(mut stream) => {
                let out = zstd(&mut stream, bytes, end)?;
                self.stream = Some(Stream::Zstd(stream));
                out
            }
        };
        if end {
            self.stream = None;
        }
        Some(out)
    }
}

impl Drop for Encoder {
    fn drop(&mut self) {
        TAKEN.set(TAKEN.get().saturating_sub(self.memory));
    }
}

fn gzip(stream: &mut Compress, mut bytes: &[u8], end: bool) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity((bytes.len() / 2).max(MIN_ROOM));
    let flush = if end { FlushCompress::Finish } else { FlushCompress::Sync };
    loop {
        let before = stream.total_in();
        let status = stream.compress_vec(bytes, &mut out, flush).ok()?;
        let taken = usize::try_from(stream.total_in().saturating_sub(before)).ok()?;
        bytes = bytes.get(taken..)?;
        let room = out.len() < out.capacity();
        match status {
            Status::StreamEnd => return Some(out),
            _ if room && bytes.is_empty() && !end => return Some(out),
            _ => out.reserve(MIN_ROOM),
        }
    }
}

fn zstd(stream: &mut CCtx<'_>, bytes: &[u8], end: bool) -> Option<Vec<u8>> {
    let how = if end { ZSTD_EndDirective::ZSTD_e_end } else { ZSTD_EndDirective::ZSTD_e_flush };
    let mut input = InBuffer::around(bytes);
    let mut out = Vec::with_capacity((bytes.len() / 2).max(MIN_ROOM));
    loop {
        let at = out.len();
        let left = stream.compress_stream2(&mut OutBuffer::around_pos(&mut out, at), &mut input, how).ok()?;
        if left == 0 && input.pos() >= bytes.len() {
            return Some(out);
        }
        out.reserve(left.max(MIN_ROOM));
    }
}

#[cfg(test)]
mod tests;

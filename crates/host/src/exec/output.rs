//! The command's two streams on their way: read in chunks, counted against one cap, redacted, recorded, and written to the
//! sink as fast as it takes them. Nothing is dropped: while the sink is full, the stream is not read.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use ringfence_api::RunReport;
use ringfence_sandbox::stream::{self, Interest};

use crate::exec::ending::STDERR_TAIL_MAX_BYTES;
use crate::exec::request::Exec;
use crate::exec::run::{CHUNK_BYTES, Record, Sink};
use crate::exec::{OutputCap, RedactionSet, Redactor, Stream};

/// After this much output the pipe is made larger: short commands do not pay for it.
const WIDEN_AFTER_BYTES: u64 = 256 * 1024;

/// How many chunks of one stream are read before the other, the clock and the caller have their turn: 1 MiB.
const CHUNKS_IN_A_ROW: usize = 16;

/// Both streams of a run.
#[derive(Debug)]
pub(crate) struct Output {
    cap: OutputCap,
    channels: [Channel; 2],
    buffer: Vec<u8>,
    stderr_tail: Vec<u8>,
    over_cap: bool,
}

#[derive(Debug)]
struct Channel {
    stream: Stream,
    /// `None` at the end.
    pipe: Option<OwnedFd>,
    redactor: Redactor,
    /// Redacted and recorded, not yet taken by the sink.
    waiting: Vec<u8>,
    at: usize,
    bytes: u64,
    widened: bool,
    /// Whether the writers are gone, so that an empty pipe is the end.
    last_round: bool,
}

impl Output {
    pub(crate) fn new(exec: &Exec, stdout: OwnedFd, stderr: OwnedFd) -> Self {
        let channel = |stream, pipe| Channel {
            stream,
            pipe: Some(pipe),
            redactor: Redactor::new(exec.redaction.clone()),
            waiting: Vec::new(),
            at: 0,
            bytes: 0,
            widened: false,
            last_round: false,
        };
        Self {
            cap: OutputCap::new(exec.limits.output_bytes),
            channels: [channel(Stream::Stdout, stdout), channel(Stream::Stderr, stderr)],
            buffer: Vec::new(),
            stderr_tail: Vec::new(),
            over_cap: false,
        }
    }

    /// When held-back text must be released.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.channels
            .iter()
            .filter(|channel| channel.is_empty())
            .filter_map(|channel| channel.redactor.deadline())
            .min()
    }

    /// What to wait for: the pipe of each stream that the sink has taken all of, the sink for the others.
    pub(crate) fn wanted<'a>(&'a self, sink: &'a dyn Sink, want: &mut dyn FnMut(BorrowedFd<'a>, Interest)) {
        for channel in &self.channels {
            if !channel.is_empty() {
                if let Some(fd) = sink.descriptor(channel.stream) {
                    want(fd, Interest::Write);
                }
            } else if let Some(pipe) = channel.pipe.as_ref().filter(|_| !self.over_cap) {
                want(pipe.as_fd(), Interest::Read);
            }
        }
    }

    /// Reads, redacts, records and writes what can be now.
    ///
    /// # Errors
    /// When the sink fails for a stream: nobody takes that one any more, and it is given up. The other goes on.
    pub(crate) fn step(&mut self, sink: &mut dyn Sink, record: &mut Record<'_>) -> io::Result<()> {
        let mut outcome = Ok(());
        for index in 0..self.channels.len() {
            if let Err(error) = self.step_channel(index, sink, record) {
                self.channels.get_mut(index).into_iter().for_each(Channel::abandon);
                outcome = Err(error);
            }
        }
        outcome
    }

    fn step_channel(&mut self, index: usize, sink: &mut dyn Sink, record: &mut Record<'_>) -> io::Result<()> {
        let Some(channel) = self.channels.get_mut(index) else { return Ok(()) };
        channel.offer(sink)?;
        if !channel.is_empty() {
            return Ok(());
        }
        let now = Instant::now();
        if channel.redactor.deadline().is_some_and(|at| at <= now) {
            channel.waiting.clear();
            channel.at = 0;
            channel.redactor.tick(now, &mut channel.waiting);
            return channel.publish(sink, record);
        }
        if self.over_cap {
            // Reading has stopped; what was read before the cap is still owed.
            return if channel.last_round && channel.pipe.is_some() {
                channel.end(sink, record)
            } else {
                Ok(())
            };
        }
        // A command that writes much is read several times in a row: each chunk would else cost a poll of everything.
        for _ in 0..CHUNKS_IN_A_ROW {
            if !self.read_chunk(index, sink, record)? {
                break;
            }
        }
        Ok(())
    }

    /// Reads one chunk and passes it on. Whether another one is probably there, and wanted now.
    fn read_chunk(&mut self, index: usize, sink: &mut dyn Sink, record: &mut Record<'_>) -> io::Result<bool> {
        let Some(channel) = self.channels.get_mut(index) else { return Ok(false) };
        let Some(pipe) = channel.pipe.as_ref() else { return Ok(false) };
        // One byte more than may be kept is asked for: exactly at the cap is allowed, beyond it is not.
        let room = self.cap.allowance(CHUNK_BYTES);
        self.buffer.resize(CHUNK_BYTES, 0);
        let into = self.buffer.get_mut(..room).unwrap_or_default();
        match stream::read_now(pipe.as_fd(), into) {
            Ok(None) if !channel.last_round => Ok(false),
            Ok(Some(count @ 1..)) => {
                let kept = self.cap.took(count);
                self.over_cap = self.cap.is_exceeded();
                let bytes = self.buffer.get(..kept).unwrap_or_default();
                if channel.stream == Stream::Stderr {
                    keep_tail(&mut self.stderr_tail, bytes);
                }
                channel.take(bytes, Instant::now());
                channel.widen(sink);
                channel.publish(sink, record)?;
                Ok(count == CHUNK_BYTES && channel.is_empty() && !self.over_cap)
            }
            // The end; or an empty pipe whose writers are gone; or a pipe that cannot be read, which is the same.
            _ => channel.end(sink, record).map(|()| false),
        }
    }

    /// Everything inside has ended: an empty pipe is the end, even if a copy of its descriptor went astray.
    pub(crate) fn finish_reading(&mut self) {
        for channel in &mut self.channels {
            channel.last_round = true;
        }
    }

    /// Nobody takes the output: nothing more is read or kept.
    pub(crate) fn abandon(&mut self) {
        self.channels.iter_mut().for_each(Channel::abandon);
    }

    pub(crate) fn is_over_cap(&self) -> bool {
        self.over_cap
    }

    /// Whether all that will be passed on has been.
    pub(crate) fn is_done(&self) -> bool {
        self.channels.iter().all(|channel| channel.pipe.is_none() && channel.is_empty())
    }

    pub(crate) fn stderr_tail(&self) -> &[u8] {
        &self.stderr_tail
    }

    pub(crate) fn write_to(&self, report: &mut RunReport) {
        let [stdout, stderr] = &self.channels;
        report.stdout_bytes = stdout.bytes;
        report.stderr_bytes = stderr.bytes;
        report.truncated = self.over_cap;
    }
}

/// The end of stderr, for telling how the run ended.
fn keep_tail(tail: &mut Vec<u8>, bytes: &[u8]) {
    let start = bytes.len().saturating_sub(STDERR_TAIL_MAX_BYTES);
    tail.extend_from_slice(bytes.get(start..).unwrap_or_default());
    let excess = tail.len().saturating_sub(STDERR_TAIL_MAX_BYTES);
    tail.drain(..excess);
}

impl Channel {
    /// Nobody takes it: closing the pipe tells the command so at its next write.
    fn abandon(&mut self) {
        self.pipe = None;
        self.waiting.clear();
        self.at = 0;
        // What it holds back is owed to nobody.
        self.redactor = Redactor::new(RedactionSet::none());
    }

    /// Whether the sink has taken everything.
    fn is_empty(&self) -> bool {
        self.at >= self.waiting.len()
    }

    /// Makes both pipes larger for a command that writes much: the one it writes to, and the sink's, if that is one.
    fn widen(&mut self, sink: &dyn Sink) {
        if self.widened || self.bytes <= WIDEN_AFTER_BYTES {
            return;
        }
        self.widened = true;
        self.pipe.iter().for_each(|pipe| stream::widen(pipe.as_fd()));
        sink.descriptor(self.stream).into_iter().for_each(stream::widen);
    }

    /// Redacts a chunk into what waits for the sink, which is empty before.
    fn take(&mut self, bytes: &[u8], now: Instant) {
        self.bytes += bytes.len() as u64;
        self.waiting.clear();
        self.at = 0;
        self.redactor.feed(bytes, now, &mut self.waiting);
    }

    /// The stream has ended: what was held back is passed on. The sink has taken everything before.
    fn end(&mut self, sink: &mut dyn Sink, record: &mut Record<'_>) -> io::Result<()> {
        self.pipe = None;
        self.waiting.clear();
        self.at = 0;
        self.redactor.finish(&mut self.waiting);
        self.publish(sink, record)
    }

    fn publish(&mut self, sink: &mut dyn Sink, record: &mut Record<'_>) -> io::Result<()> {
        record.append(self.stream, self.waiting.get(self.at..).unwrap_or_default());
        self.offer(sink)
    }

    fn offer(&mut self, sink: &mut dyn Sink) -> io::Result<()> {
        while !self.is_empty() {
            match sink.write(self.stream, self.waiting.get(self.at..).unwrap_or_default())? {
                0 => return Ok(()),
                count => self.at += count,
            }
        }
        Ok(())
    }
}

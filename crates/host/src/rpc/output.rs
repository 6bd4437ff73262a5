//! What is to be written to the plugin: appended by anybody, written by one at a time, as much as waits with one system
//! call.
//!
//! Whoever appends writes too, unless somebody already does, the pipe is full, or the driver has said that it will soon.
//! Nobody ever waits for the pipe here: what does not fit stays, and the driver goes on when there is room.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::net::unix::pipe::Sender;
use tokio::sync::Notify;

use super::fault::Tally;

/// What an idle buffer keeps of its memory.
const KEEP_BYTES: usize = 256 * 1024;
/// So many times a caller goes on writing what others have appended meanwhile; then the driver does.
const ROUNDS_MAX: usize = 8;

#[derive(Debug)]
pub(super) struct Output {
    queue: Mutex<Queue>,
    /// Told when what waits has become less, or will never be written.
    pub(super) drained: Notify,
    /// Appending waits while more than this waits to be written.
    max_bytes: usize,
}

#[derive(Debug)]
struct Queue {
    /// `None` once the input of the plugin is closed.
    pipe: Option<Arc<Sender>>,
    /// Being written, from `head_at` on. Empty while somebody holds it to write it.
    head: Vec<u8>,
    head_at: usize,
    /// How much the one who writes holds.
    held_bytes: usize,
    /// Waits behind the head.
    tail: Vec<u8>,
    writer: Writer,
    /// Whether the input is to be closed once all is written.
    closing: bool,
    /// Whether the driver has something to append and there was no room.
    driver_waits: bool,
}

/// Who writes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Writer {
    /// Nobody: whoever appends writes.
    Nobody,
    /// Somebody is at it, and will look again.
    Somebody,
    /// The driver, when there is room in the pipe.
    WhenThereIsRoom,
    /// The driver, at the end of its turn.
    Driver,
}

/// What became of an attempt to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    /// All, or somebody else sees to it.
    Fine,
    /// The driver has something to do: to wait for room in the pipe, or to go on because there is some.
    WakeDriver,
    /// Nobody reads any more; nothing will be written again.
    Broken,
}

/// Why nothing was appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotAppended {
    /// As much waits as may.
    NoRoom,
    /// The input of the plugin is closed.
    Closed,
}

impl Output {
    pub(super) fn new(pipe: Sender, max_bytes: usize) -> Self {
        let queue = Queue {
            pipe: Some(Arc::new(pipe)),
            head: Vec::new(),
            head_at: 0,
            held_bytes: 0,
            tail: Vec::new(),
            writer: Writer::Nobody,
            closing: false,
            driver_waits: false,
        };
        Self { queue: Mutex::new(queue), drained: Notify::new(), max_bytes }
    }

    /// A panic elsewhere must not end the connection: the queue is consistent after each statement.
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends at most `length` bytes if there is room, and writes what can be written.
    pub(super) fn send(
        &self,
        length: usize,
        tally: &Tally,
        append: impl FnOnce(&mut Vec<u8>),
    ) -> Result<Written, NotAppended> {
        let mut queue = self.lock();
        if queue.pipe.is_none() || queue.closing {
            return Err(NotAppended::Closed);
        }
        if !queue.has_room(length, self.max_bytes) {
            return Err(NotAppended::NoRoom);
        }
        append(&mut queue.tail);
        Ok(if queue.writer == Writer::Nobody { self.write(queue, tally) } else { Written::Fine })
    }

    /// Whether so much may be appended now, or never again: no need to wait.
    pub(super) fn has_room(&self, length: usize) -> bool {
        self.lock().has_room(length, self.max_bytes)
    }

    /// As [`Output::has_room`] for anything of the driver's, which is woken once there is room.
    pub(super) fn has_room_for_driver(&self) -> bool {
        let mut queue = self.lock();
        let has_room = queue.has_room(0, self.max_bytes);
        queue.driver_waits = !has_room;
        has_room
    }

    /// The driver is about to wake several callers: what they send goes out together, when it calls [`Output::flush`].
    pub(super) fn hold(&self) {
        let mut queue = self.lock();
        if queue.writer == Writer::Nobody {
            queue.writer = Writer::Driver;
        }
    }

    /// The driver writes what was held back.
    pub(super) fn end_hold(&self, tally: &Tally) -> Written {
        let queue = self.lock();
        if queue.writer == Writer::Driver { self.write(queue, tally) } else { Written::Fine }
    }

    /// The driver writes what waits, because there is room.
    pub(super) fn flush(&self, tally: &Tally) -> Written {
        let queue = self.lock();
        match queue.writer {
            Writer::Somebody => Written::Fine,
            _ if queue.pipe.is_none() => Written::Fine,
            _ => self.write(queue, tally),
        }
    }

    /// The pipe, while the driver has to wait until there is room in it.
    pub(super) fn waits_for_room(&self) -> Option<Arc<Sender>> {
        let queue = self.lock();
        if queue.writer == Writer::WhenThereIsRoom { queue.pipe.clone() } else { None }
    }

    /// Closes the input of the plugin once all that waits is written.
    pub(super) fn close_when_written(&self) {
        let mut queue = self.lock();
        queue.closing = true;
        if queue.waiting_bytes() == 0 && queue.writer != Writer::Somebody {
            queue.discard();
        }
        drop(queue);
        self.drained.notify_waiters();
    }

    /// Closes the input of the plugin; what waits is lost.
    pub(super) fn close_now(&self) {
        self.lock().discard();
        self.drained.notify_waiters();
    }

    fn write<'a>(&'a self, mut queue: MutexGuard<'a, Queue>, tally: &Tally) -> Written {
        let mut written = Written::WakeDriver;
        for _ in 0..ROUNDS_MAX {
            let Some(pipe) = queue.pipe.clone() else { return Written::Fine };
            let (head, mut at) = queue.take_head();
            drop(queue);
            let end = write_all_now(&pipe, &head, &mut at, tally);
            drop(pipe);
            queue = self.lock();
            queue.give_back(head, at);
            match end {
                Ok(End::All) if queue.tail.is_empty() => {
                    written = queue.all_is_written();
                    break;
                }
                Ok(End::All) => queue.writer = Writer::WhenThereIsRoom,
                Ok(End::Full) => {
                    queue.writer = Writer::WhenThereIsRoom;
                    break;
                }
                Err(_) => {
                    queue.discard();
                    written = Written::Broken;
                    break;
                }
            }
        }
        drop(queue);
        self.drained.notify_waiters();
        written
    }
}

impl Queue {
    fn has_room(&self, length: usize, max_bytes: usize) -> bool {
        let waiting = self.waiting_bytes();
        self.pipe.is_none() || self.closing || waiting == 0 || waiting + length <= max_bytes
    }

    fn waiting_bytes(&self) -> usize {
        self.held_bytes + self.head.len().saturating_sub(self.head_at) + self.tail.len()
    }

    /// What is to be written next, for the one who writes it.
    fn take_head(&mut self) -> (Vec<u8>, usize) {
        if self.head.is_empty() {
            std::mem::swap(&mut self.head, &mut self.tail);
            self.head_at = 0;
        }
        self.held_bytes = self.head.len().saturating_sub(self.head_at);
        self.writer = Writer::Somebody;
        // The memory of what was written before becomes that of the next tail: both buffers go round.
        (std::mem::take(&mut self.head), self.head_at)
    }

    /// What was taken, written up to `at`.
    fn give_back(&mut self, mut head: Vec<u8>, mut at: usize) {
        self.held_bytes = 0;
        self.writer = Writer::Nobody;
        if self.pipe.is_none() {
            return self.discard();
        }
        if at == head.len() {
            head.clear();
            head.shrink_to(KEEP_BYTES);
            at = 0;
        }
        (self.head, self.head_at) = (head, at);
    }

    fn all_is_written(&mut self) -> Written {
        if self.closing {
            self.discard();
        }
        if std::mem::take(&mut self.driver_waits) { Written::WakeDriver } else { Written::Fine }
    }

    fn discard(&mut self) {
        self.pipe = None;
        (self.head, self.tail) = (Vec::new(), Vec::new());
        self.head_at = 0;
        self.writer = Writer::Nobody;
    }
}

/// Where a round of writing ended.
enum End {
    All,
    Full,
}

fn write_all_now(pipe: &Sender, bytes: &[u8], at: &mut usize, tally: &Tally) -> io::Result<End> {
    while let Some(rest) = bytes.get(*at..).filter(|rest| !rest.is_empty()) {
        match pipe.try_write(rest) {
            Ok(count) => {
                *at += count;
                tally.written_bytes.add(count);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(End::Full),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(End::All)
}

//! From bytes to messages and back, without input or output of its own.
//!
//! [`Lines`] cuts bytes into lines and never holds more than one of the greatest length; [`parse`] makes a [`Message`] of a
//! line. Only the envelope is parsed: parameters, results and error data stay the text that they are, and are borrowed.
//!
//! The rules for what is no message, in the order in which they are tested:
//!
//! 1. a line ends with `\n`; one `\r` before it belongs to the line end;
//! 2. an empty line, or one of blanks and tabs only, is skipped;
//! 3. a line longer than the limit is skipped up to its end and never held;
//! 4. it is UTF-8, has no byte order mark and no NUL (so no UTF-16 or UTF-32 either);
//! 5. it is nested no deeper than [`DEPTH_MAX`](ringfence_api::rpc::DEPTH_MAX), and each surrogate in it has its pair;
//! 6. it is one JSON object (RFC 8259), so no batch, and no envelope member stands in it twice;
//! 7. it is a request, a notification or an answer as [`Wire`](ringfence_api::Wire) says. Other members are ignored.
//!
//! Inside parameters and results, members may repeat: who reads them decides, and reads them only once.
//!
//! ```
//! use ringfence::rpc::codec::{Line, Lines, Message, parse};
//! use ringfence_api::Wire;
//!
//! let mut lines = Lines::new(4096);
//! lines.extend(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"resu");
//! assert!(lines.next().is_none());
//! lines.extend(b"lt\":[1, 2]}\n");
//! let Some(Line::Whole(line)) = lines.next() else { panic!("one line is whole") };
//! let Ok(Message::Answer(answer)) = parse(line, Wire::JsonRpc) else { panic!("it is an answer") };
//! assert_eq!(answer.outcome.map(|result| result.get().to_owned()).ok().as_deref(), Some("[1, 2]"));
//! ```

mod encode;
mod envelope;
mod guess;
mod id;
mod lines;
mod message;
mod scan;
#[cfg(test)]
mod tests;

pub(crate) use encode::{Outgoing, append_answer, append_cancel, append_notification, append_request};
pub(crate) use guess::guess_answer;
pub use id::{PluginId, PluginIdError};
pub use lines::{Line, Lines};
pub(crate) use message::object;
pub use message::{Answer, BadLine, ErrorObject, Message, Notification, Request, parse};
pub(crate) use scan::check as check_nesting;

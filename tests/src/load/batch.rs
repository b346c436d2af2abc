//! A socket whose messages go out and come in many at a time, with the kernel's word for when each came.

use std::io::{IoSlice, IoSliceMut};
use std::net::UdpSocket;
use std::os::fd::AsRawFd as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, sendmmsg, setsockopt, sockopt,
};
use nix::sys::time::TimeSpec;

use crate::lab::Result;

/// The socket, and what is to be sent by it.
pub struct Batch {
    socket: UdpSocket,
    buffers: Vec<Vec<u8>>,
    incoming: MultiHeaders<SockaddrIn>,
    outgoing: MultiHeaders<SockaddrIn>,
    queue: Vec<(Bytes, Option<u32>)>,
}

/// A message that came.
#[derive(Clone, Debug)]
pub struct Heard {
    /// The message.
    pub bytes: Bytes,
    /// When it was in the socket, in nanoseconds since 1970.
    pub at: i64,
}

impl Batch {
    /// Takes a connected socket that never waits.
    ///
    /// # Errors
    /// When the system gives no times.
    pub fn new(socket: UdpSocket) -> Result<Self> {
        setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
        Ok(Self {
            socket,
            buffers: vec![vec![0; LONGEST]; MOST],
            incoming: MultiHeaders::preallocate(MOST, Some(cmsg_space!(TimeSpec))),
            outgoing: MultiHeaders::preallocate(MOST, None),
            queue: Vec::new(),
        })
    }

    /// Queues a message; `mark` is told when it goes.
    pub fn push(&mut self, bytes: Bytes, mark: Option<u32>) {
        self.queue.push((bytes, mark));
    }

    /// Sends what is queued, and tells of every mark when it went. What the system does not take is lost, as it would be on
    /// the way.
    ///
    /// # Errors
    /// When the system refuses the call itself.
    pub fn flush(&mut self, mut went: impl FnMut(u32, i64)) -> Result<()> {
        for chunk in self.queue.chunks(MOST) {
            let at = now();
            chunk
                .iter()
                .filter_map(|(_, mark)| *mark)
                .for_each(|mark| went(mark, at));
            let slices: Vec<[IoSlice<'_>; 1]> = chunk.iter().map(|(bytes, _)| [IoSlice::new(bytes)]).collect();
            let mut sent = 0;
            while sent < slices.len() {
                let rest = &slices[sent..];
                let (nowhere, nothing): (Vec<Option<SockaddrIn>>, [ControlMessage<'_>; 0]) =
                    (vec![None; rest.len()], []);
                let fd = self.socket.as_raw_fd();
                match sendmmsg(fd, &mut self.outgoing, rest, nowhere, nothing, MsgFlags::MSG_DONTWAIT) {
                    Ok(some) => sent += some.count().max(1),
                    Err(Errno::EAGAIN | Errno::ECONNREFUSED | Errno::ENOBUFS) => sent += 1,
                    Err(Errno::EINTR) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        self.queue.clear();
        Ok(())
    }

    /// Takes what has come, up to a limit; tells whether more may wait.
    ///
    /// # Errors
    /// When the system refuses the call itself.
    pub fn hear(&mut self, heard: &mut Vec<Heard>) -> Result<bool> {
        let mut slices: Vec<[IoSliceMut<'_>; 1]> = self
            .buffers
            .iter_mut()
            .map(|buffer| [IoSliceMut::new(buffer)])
            .collect();
        let fd = self.socket.as_raw_fd();
        let messages = match recvmmsg(fd, &mut self.incoming, slices.iter_mut(), MsgFlags::MSG_DONTWAIT, None) {
            Ok(messages) => messages,
            Err(Errno::EAGAIN | Errno::EINTR | Errno::ECONNREFUSED) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        let before = heard.len();
        for message in messages {
            let stamp = message.cmsgs().ok().and_then(|mut all| {
                all.find_map(|one| match one {
                    ControlMessageOwned::ScmTimestampns(time) => Some(nanoseconds(Duration::from(time))),
                    _ => None,
                })
            });
            let bytes = message.iovs().next().map(Bytes::copy_from_slice).unwrap_or_default();
            heard.push(Heard {
                bytes,
                at: stamp.unwrap_or_else(now),
            });
        }
        Ok(heard.len() - before == MOST)
    }
}

/// By the clock that the kernel stamps messages with.
#[expect(clippy::disallowed_methods, reason = "delays are those of real time")]
fn now() -> i64 {
    nanoseconds(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn nanoseconds(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}

/// Messages that one call of the system takes or gives.
const MOST: usize = 64;
/// Bytes of a message, more than any of the benchmark has.
const LONGEST: usize = 8192;

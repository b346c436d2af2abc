//! Counts the bytes of one stanza, since a server does not protect its components.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};

/// A byte stream that fails when too much was read since the last [`reset`](Self::reset).
#[derive(Debug)]
pub struct Guard<S> {
    inner: S,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    /// Read through a shared reference: the XML stream gives no other.
    counted: AtomicUsize,
    limit: usize,
}

impl<S> Guard<S> {
    /// A guard over `inner` that lets through `limit` bytes at a time.
    pub fn new(inner: S, limit: usize) -> Self {
        let buffer = vec![0; BUFFER].into_boxed_slice();
        Self {
            inner,
            buffer,
            start: 0,
            end: 0,
            counted: AtomicUsize::new(0),
            limit,
        }
    }

    /// A stanza has ended: counting begins anew.
    pub fn reset(&self) {
        self.counted.store(0, Ordering::Relaxed);
    }
}

impl<S: AsyncRead + Unpin> AsyncBufRead for Guard<S> {
    fn poll_fill_buf(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let this = self.get_mut();
        if this.counted.load(Ordering::Relaxed) > this.limit {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "a stanza is too large")));
        }
        if this.start == this.end {
            let mut read = ReadBuf::new(&mut this.buffer);
            ready!(Pin::new(&mut this.inner).poll_read(context, &mut read))?;
            (this.start, this.end) = (0, read.filled().len());
        }
        Poll::Ready(Ok(&this.buffer[this.start..this.end]))
    }

    fn consume(self: Pin<&mut Self>, amount: usize) {
        let this = self.get_mut();
        let taken = &this.buffer[this.start..(this.start + amount).min(this.end)];
        let counted = this.counted.get_mut();
        // White space between stanzas keeps a stream alive (RFC 6120 §4.6.1) and belongs to none.
        if *counted > 0 || !taken.iter().all(u8::is_ascii_whitespace) {
            *counted = counted.saturating_add(taken.len());
        }
        this.start += taken.len();
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guard<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let available = ready!(self.as_mut().poll_fill_buf(context))?;
        let amount = available.len().min(into.remaining());
        into.put_slice(&available[..amount]);
        self.consume(amount);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guard<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

const BUFFER: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt as _;

    #[tokio::test]
    async fn a_stanza_has_a_bound_and_white_space_between_stanzas_has_none() {
        let spaces = vec![b' '; 3 * BUFFER];
        let stanza = vec![b'x'; BUFFER];
        let bytes = [spaces.clone(), stanza.clone(), spaces, stanza.clone(), stanza].concat();
        let mut guard = Guard::new(bytes.as_slice(), 4 * BUFFER);
        let mut read = vec![0; 4 * BUFFER];
        guard.read_exact(&mut read).await.expect("white space and a stanza");
        guard.reset();
        guard.read_exact(&mut read).await.expect("white space and a stanza");
        let error = guard.read_to_end(&mut Vec::new()).await.map(drop);
        assert!(error.is_ok(), "the last stanza is within the bound: {error:?}");

        let endless = vec![b'<'; 10 * BUFFER];
        let mut guard = Guard::new(endless.as_slice(), 4 * BUFFER);
        let error = guard
            .read_to_end(&mut Vec::new())
            .await
            .expect_err("too much for one stanza");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}

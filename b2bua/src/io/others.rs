//! Everything that reaches the loop but datagrams: it comes from other threads, by queues.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use cusax_common::core::bridge::ToB2bua;
use cusax_common::core::user::User;
use tokio::sync::mpsc::Receiver;

use super::driver::Control;
use super::transport::Received;
use crate::core::endpoint::FetchId;
use crate::core::locate::{Answer, QueryId};
use crate::core::media::MediaEvent;

/// One thing that happened elsewhere.
pub(super) enum Event {
    /// On a connection.
    Network(Received),
    /// DNS has answered, or nothing that can be used.
    Located(Located),
    /// The store has answered, or not.
    Fetched(Fetched),
    /// In the relay.
    Media(MediaEvent),
    /// At the xmpp-module.
    Bridge(ToB2bua),
    /// The operator wants something; `None` when nobody is left who could.
    Control(Option<Control>),
}

/// What the store said of a user: nothing, if it did not answer.
pub(super) type Fetched = (FetchId, Result<Option<Arc<User>>, ()>);
/// What DNS said.
pub(super) type Located = (QueryId, Option<Answer>);

/// The queues.
pub(super) struct Others {
    pub network: Receiver<Received>,
    pub located: Receiver<Located>,
    pub fetched: Receiver<Fetched>,
    pub media: Receiver<MediaEvent>,
    pub bridge: Receiver<ToB2bua>,
    /// Until the operator has said to stop.
    pub control: Option<Receiver<Control>>,
    /// Which queue has its turn.
    pub turn: u8,
}

impl Others {
    /// The next event, each queue in turn. When there is none, `waker` is woken by the next one.
    pub(super) fn next(&mut self, waker: &Waker) -> Option<Event> {
        let cx = &mut Context::from_waker(waker);
        for _ in 0..QUEUES {
            self.turn = (self.turn + 1) % QUEUES;
            let event = match self.turn {
                0 => ready(&mut self.network, cx).map(Event::Network),
                1 => ready(&mut self.located, cx).map(Event::Located),
                2 => ready(&mut self.fetched, cx).map(Event::Fetched),
                3 => ready(&mut self.media, cx).map(Event::Media),
                4 => ready(&mut self.bridge, cx).map(Event::Bridge),
                _ => match self.control.as_mut().map(|control| control.poll_recv(cx)) {
                    Some(Poll::Ready(asked)) => Some(Event::Control(asked)),
                    Some(Poll::Pending) | None => None,
                },
            };
            if event.is_some() {
                return event;
            }
        }
        None
    }
}

/// What waits in a queue. One that nobody can write to any more is empty.
fn ready<T>(queue: &mut Receiver<T>, cx: &mut Context<'_>) -> Option<T> {
    match queue.poll_recv(cx) {
        Poll::Ready(event) => event,
        Poll::Pending => None,
    }
}

const QUEUES: u8 = 6;

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
use crate::core::neighbour::Said;

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
    /// At another endpoint of the node.
    Neighbour(Neighbour),
    /// The operator wants something; `None` when nobody is left who could.
    Control(Option<Control>),
}

/// What the store said of a user: nothing, if it did not answer.
pub(super) type Fetched = (FetchId, Result<Option<Arc<User>>, ()>);
/// Which endpoint has said what.
pub(super) type Neighbour = (u8, Said);
/// What DNS said.
pub(super) type Located = (QueryId, Option<Answer>);

/// The queues.
pub(super) struct Others {
    pub network: Receiver<Received>,
    pub located: Receiver<Located>,
    pub fetched: Receiver<Fetched>,
    pub media: Receiver<MediaEvent>,
    pub bridge: Receiver<ToB2bua>,
    pub neighbours: Receiver<Neighbour>,
    /// Until the operator has said to stop.
    pub control: Option<Receiver<Control>>,
    /// Which queue has its turn.
    pub turn: u8,
}

impl Others {
    /// The next event, each queue in turn. When there is none, `waker` is woken by the next one. Where nothing is to be heard
    /// of the network it waits in its queue.
    pub(super) fn next(&mut self, waker: &Waker, hears_network: bool) -> Option<Event> {
        let cx = &mut Context::from_waker(waker);
        for _ in 0..QUEUES {
            self.turn = (self.turn + 1) % QUEUES;
            let event = match self.turn {
                0 if !hears_network => None,
                0 => ready(&mut self.network, cx).map(Event::Network),
                1 => ready(&mut self.located, cx).map(Event::Located),
                2 => ready(&mut self.fetched, cx).map(Event::Fetched),
                3 => ready(&mut self.media, cx).map(Event::Media),
                4 => ready(&mut self.bridge, cx).map(Event::Bridge),
                5 => ready(&mut self.neighbours, cx).map(Event::Neighbour),
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

const QUEUES: u8 = 7;

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::task::Wake;

    use tokio::sync::mpsc::{Sender, channel};

    use super::*;
    use crate::core::flow::{Flow, Identity, ListenerId, Transport};

    #[derive(Default)]
    struct Rings(AtomicU32);

    impl Wake for Rings {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// The other ends of the queues that a test can say something by.
    struct Ends {
        network: Sender<Received>,
        media: Sender<MediaEvent>,
        bridge: Sender<ToB2bua>,
        control: Sender<Control>,
    }

    fn queues() -> (Others, Ends) {
        let ((network, received), (media, played)) = (channel(8), channel(8));
        let ((bridge, said), (control, asked)) = (channel(8), channel(8));
        let others = Others {
            network: received,
            located: channel(1).1,
            fetched: channel(1).1,
            media: played,
            bridge: said,
            neighbours: channel(1).1,
            control: Some(asked),
            turn: 0,
        };
        let ends = Ends {
            network,
            media,
            bridge,
            control,
        };
        (others, ends)
    }

    fn silent() -> Received {
        let remote = ([192, 0, 2, 1], 5060).into();
        let flow = Flow {
            listener: ListenerId(0),
            transport: Transport::Tcp,
            remote,
            identity: Identity::NONE,
        };
        Received::Silent { flow, serial: 1 }
    }

    fn name(event: Option<&Event>) -> &'static str {
        match event {
            Some(Event::Network(_)) => "network",
            Some(Event::Media(_)) => "media",
            Some(Event::Bridge(_)) => "bridge",
            Some(Event::Control(Some(_))) => "control",
            Some(Event::Control(None)) => "nobody",
            Some(Event::Located(_) | Event::Fetched(_) | Event::Neighbour(_)) => "another",
            None => "none",
        }
    }

    #[test]
    fn each_queue_has_its_turn_and_closed_ones_are_empty() {
        let (mut others, ends) = queues();
        for _ in 0..2 {
            ends.network.try_send(silent()).expect("room");
            ends.media.try_send(MediaEvent::Failed).expect("room");
            ends.bridge.try_send(ToB2bua::Resync).expect("room");
            ends.control.try_send(Control::UsersChanged).expect("room");
        }
        let turns: Vec<_> = (0..9)
            .map(|_| name(others.next(Waker::noop(), true).as_ref()))
            .collect();
        let round = ["media", "bridge", "control", "network"];
        assert_eq!(turns, [&round[..], &round, &["none"]].concat());
        drop(ends);
        assert_eq!(name(others.next(Waker::noop(), true).as_ref()), "nobody");
        others.control = None;
        assert_eq!(name(others.next(Waker::noop(), true).as_ref()), "none");
    }

    #[test]
    fn whoever_speaks_after_the_silence_is_heard_by_the_waker() {
        let (mut others, ends) = queues();
        let rings = Arc::new(Rings::default());
        let waker = Waker::from(Arc::clone(&rings));
        let say: [(&str, &dyn Fn()); 4] = [
            ("network", &|| ends.network.try_send(silent()).expect("room")),
            ("media", &|| ends.media.try_send(MediaEvent::Failed).expect("room")),
            ("bridge", &|| ends.bridge.try_send(ToB2bua::Resync).expect("room")),
            ("control", &|| {
                ends.control.try_send(Control::UsersChanged).expect("room")
            }),
        ];
        for (at, (who, say)) in (1..).zip(say) {
            assert_eq!(name(others.next(&waker, true).as_ref()), "none");
            say();
            assert_eq!(rings.0.load(Ordering::SeqCst), at, "{who}");
            assert_eq!(name(others.next(&waker, true).as_ref()), who);
        }
    }
}

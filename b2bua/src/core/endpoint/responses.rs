//! What is heard of requests of ours: responses go to the call that asked, and every 2xx to an INVITE gets its ACK.

use cusax_common::core::entropy::Entropy;
use cusax_common::core::sip::{Method, Request, Response};
use cusax_common::core::time::Now;

use super::{Acked, Endpoint, MAX_FORKS, Output, tag_of};
use crate::core::dialog::Dialog;
use crate::core::flow::Flow;
use crate::core::transaction::{ClientId, Failure};

impl<E: Entropy> Endpoint<E> {
    pub(super) fn response(&mut self, now: Now, client: ClientId, response: &Response) {
        self.large.settle(client);
        let invited = response.headers.cseq().is_ok_and(|cseq| cseq.method == Method::Invite);
        if invited && response.status.is_success() && tag_of(&response.headers).is_none() {
            // It names no dialog that could be acknowledged (RFC 3261 §12.1.1): there will be no other answer.
            self.counters.misplaced += 1;
            return self.fail(now, client, Failure::Unsendable);
        }
        if response.status.is_success()
            && let Some(acks) = self.acks.get(&client)
        {
            let tag = tag_of(&response.headers);
            // A copy of a 2xx: its ACK was lost.
            if let Some(ack) = acks.iter().find(|ack| ack.to_tag.as_deref() == tag) {
                return self.outputs.push_back(Output::Transmit {
                    flow: ack.flow,
                    bytes: ack.bytes.clone(),
                });
            }
            if acks.len() >= MAX_FORKS {
                return;
            }
        }
        match self.clients.get(&client) {
            Some(&(call, token)) if self.calls.contains_key(&call) => {
                self.with_call(now, call, |call, cx| call.handle_response(cx, token, response));
            }
            _ if invited && response.status.is_success() => self.dismiss_branch(now, client, response),
            _ => {}
        }
    }

    /// A request of ours came to nothing.
    pub(super) fn fail(&mut self, now: Now, client: ClientId, why: Failure) {
        if let Some(&(call, token)) = self.clients.get(&client)
            && self.calls.get(&call).is_some_and(|live| live.call.awaits(token))
        {
            self.with_call(now, call, |call, cx| call.handle_failed(cx, token, why));
        }
    }

    /// Another branch of an INVITE of ours answers when the call is over (RFC 3261 §13.2.2.4): it is acknowledged and hung up.
    fn dismiss_branch(&mut self, now: Now, client: ClientId, response: &Response) {
        let Some(flow) = self.acks.get(&client).and_then(|acks| Some(acks.first()?.flow)) else {
            return;
        };
        let Some(mut dialog) = Dialog::of_answer(&self.dialog_ids, response, flow) else {
            return;
        };
        let seq = response.headers.cseq().map_or(0, |cseq| cseq.seq);
        self.acknowledge(Some(client), flow, dialog.ack(seq, None));
        let mut bye = dialog.request(Method::Bye);
        self.add_via(flow, &mut bye);
        self.transactions.send(now.instant, flow, bye);
    }

    /// Sends an ACK for a 2xx, and keeps it for copies of that 2xx as long as the INVITE's transaction lives.
    pub(super) fn acknowledge(&mut self, client: Option<ClientId>, flow: Flow, mut request: Request) {
        let flow = self.carriers.way_back(&self.settings, &flow).unwrap_or(flow);
        self.add_via(flow, &mut request);
        let bytes = request.to_bytes();
        if let Some(client) = client {
            let to_tag = tag_of(&request.headers);
            let acks = self.acks.entry(client).or_default();
            acks.retain(|ack| ack.to_tag.as_deref() != to_tag);
            acks.push(Acked {
                to_tag: to_tag.map(Box::from),
                flow,
                bytes: bytes.clone(),
            });
        }
        self.outputs.push_back(Output::Transmit { flow, bytes });
    }
}

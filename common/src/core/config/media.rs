//! `[media]`: the RTP relay.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::core::config::section::{Check, Place, Reader, section};
use crate::core::config::setting::Seconds;

section! {
    /// The RTP relay: all audio passes through it, so that neither side learns the other's address, unless `anchor` says
    /// otherwise.
    Media {
        /// Whether audio passes through us. `false`: the parties of a call send it to one another, which costs us nothing,
        /// tells each the other's address, and works only where they reach each other. A call that begins with a warning
        /// passes through us all the same, and silence is noticed in no other.
        anchor: bool = true,
        /// Our own addresses for audio, one for each network that phones and trunks are in. Empty: those of the
        /// listeners.
        addresses: Vec<IpAddr> = Vec::new(),
        /// First UDP port of the relay, even. Each call takes two pairs of ports.
        port_min: u16 = 20_000,
        /// Last UDP port of the relay.
        port_max: u16 = 29_999,
        /// Seconds a closed port swallows late packets before it is given to another call. Less than 2 risks that a
        /// stray stream is heard in a new call.
        drain_secs: Seconds = Seconds(30),
        /// Threads that relay. 0: one for each processor.
        workers: u16 = 0,
        /// Networks to which audio is sent though they are loopback or otherwise no place for a phone. For tests.
        allow_networks: Vec<IpNet> = Vec::new(),
    }
}

impl Check for Media {
    fn check(&self, reader: &mut Reader<'_>, place: &Place) {
        if self.port_min >= self.port_max {
            let what = format!(
                "{} is not below {} ({})",
                self.port_min,
                place.inner("port_max"),
                self.port_max
            );
            reader.fault_at(place.inner("port_min"), what, "write a lower one".into());
        }
        if self.port_min < 1_024 {
            let what = format!("{} is a privileged port", self.port_min);
            reader.fault_at(place.inner("port_min"), what, "write 1024 or more".into());
        } else if !self.port_min.is_multiple_of(2) {
            // RFC 3550 §11
            let what = format!("{} is odd, and RTP takes the even port of a pair", self.port_min);
            reader.fault_at(place.inner("port_min"), what, format!("write {}", self.port_min - 1));
        }
        if self.workers > 64 {
            let what = format!("{} is out of bounds", self.workers);
            reader.fault_at(place.inner("workers"), what, "write 0 to 64".into());
        }
        for (index, address) in self.addresses.iter().enumerate() {
            if address.is_unspecified() || address.is_multicast() {
                let what = format!("{address} is no address to send from");
                let fix = "write one of this machine's own addresses".into();
                reader.fault_at(format!("{}[{index}]", place.inner("addresses")), what, fix);
            }
        }
    }
}

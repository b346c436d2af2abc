//! The PSTN trunk: SIPp answers every call, speaks, and logs what it is sent.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use super::topology::Host;
use super::wav::Wav;
use super::{Child, Namespace, Result, Spec, g711};

/// A running trunk.
#[derive(Debug)]
pub struct Trunk {
    _sipp: Child,
    address: SocketAddr,
}

impl Trunk {
    /// Starts a trunk on `host` that speaks `voice` once a call is answered.
    ///
    /// # Errors
    /// When SIPp does not come up.
    pub fn start(host: &Host, folder: &Path, voice: &Wav) -> Result<Self> {
        let folder = folder.join(host.namespace.name());
        Self::start_at(
            Some(&host.namespace),
            SocketAddr::new(host.address, PORT),
            &folder,
            voice,
        )
    }

    /// Starts a trunk at an address of a namespace, or of this machine.
    ///
    /// # Errors
    /// When SIPp does not come up.
    pub fn start_at(namespace: Option<&Namespace>, address: SocketAddr, folder: &Path, voice: &Wav) -> Result<Self> {
        std::fs::create_dir_all(folder)?;
        let sound = folder.join("voice.ul");
        std::fs::write(
            &sound,
            voice
                .samples
                .iter()
                .map(|sample| g711::to_ulaw(*sample))
                .collect::<Vec<_>>(),
        )?;
        let scenario = folder.join("answer.xml");
        std::fs::write(&scenario, ANSWER.replace("SOUND", &sound.display().to_string()))?;
        let (ip, number) = (address.ip().to_string(), address.port().to_string());
        let mut spec = Spec::new("sipp", "sipp").folder(folder).arg("-sf").arg(&scenario);
        spec = spec.args([
            "-i",
            &ip,
            "-mi",
            &ip,
            "-ci",
            &ip,
            "-p",
            &number,
            "-nostdin",
            "-trace_err",
            "-trace_msg",
        ]);
        spec = spec.args(["-message_file", "messages.log"]);
        if let Some(namespace) = namespace {
            spec = spec.inside(namespace);
        }
        // SIPp draws its screen with escape sequences for a terminal, which it need not find.
        let mut sipp = spec.env("TERM", "dumb").start(folder)?;
        let port = format!(":{:04X} ", address.port());
        let table = || Ok(std::fs::read_to_string("/proc/thread-self/net/udp")?);
        sipp.until("it listens", START, |_| {
            let table = namespace.map_or_else(table, |namespace| namespace.run(table));
            table.unwrap_or_default().contains(&port).then_some(())
        })?;
        Ok(Self { _sipp: sipp, address })
    }

    /// Where it takes and makes calls.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// The trunk's SIP port.
pub const PORT: u16 = 5060;

const START: Duration = Duration::from_secs(8);

/// 180 at once, 200 with our media a moment later, speech until the caller hangs up.
const ANSWER: &str = r#"<?xml version="1.0" encoding="UTF-8" ?>
<scenario name="trunk">
  <recv request="INVITE" rrs="true"/>
  <send><![CDATA[
      SIP/2.0 180 Ringing
      [last_Via:]
      [last_Record-Route:]
      [last_From:]
      [last_To:];tag=t[pid]-[call_number]
      [last_Call-ID:]
      [last_CSeq:]
      Contact: <sip:[local_ip]:[local_port]>
      Content-Length: 0

  ]]></send>
  <pause milliseconds="200"/>
  <send retrans="500"><![CDATA[
      SIP/2.0 200 OK
      [last_Via:]
      [last_Record-Route:]
      [last_From:]
      [last_To:];tag=t[pid]-[call_number]
      [last_Call-ID:]
      [last_CSeq:]
      Contact: <sip:[local_ip]:[local_port]>
      Content-Type: application/sdp
      Content-Length: [len]

      v=0
      o=- [call_number] 1 IN IP4 [local_ip]
      s=-
      c=IN IP4 [media_ip]
      t=0 0
      m=audio [rtpstream_audio_port] RTP/AVP 0
      a=rtpmap:0 PCMU/8000
      a=ptime:20
      a=sendrecv

  ]]></send>
  <recv request="ACK"/>
  <nop><action><exec rtp_stream="SOUND,-1,0"/></action></nop>
  <recv request="BYE"/>
  <send><![CDATA[
      SIP/2.0 200 OK
      [last_Via:]
      [last_From:]
      [last_To:]
      [last_Call-ID:]
      [last_CSeq:]
      Content-Length: 0

  ]]></send>
</scenario>
"#;

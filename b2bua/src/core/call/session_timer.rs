//! Session timers (RFC 4028): a dialog that nobody refreshes is over, so that no call outlives both of its phones.
//!
//! Each leg has one of its own. What was agreed on one leg is nothing to the other.

use std::time::{Duration, Instant};

use cusax_common::core::sip::typed::{MinSe, Refresher, Require, SessionExpires, Supported};
use cusax_common::core::sip::{HeaderError, HeaderName, Headers, Request, Response, Status, Value};

/// The shortest session that we take, in seconds (§4).
pub const MIN_SE: u32 = 90;
/// As it is written.
const SHORTEST: &str = "90";

/// When one dialog is to be refreshed, or ends.
#[derive(Clone, Copy, Debug, Default)]
pub struct SessionTimer(Option<Running>);

#[derive(Clone, Copy, Debug)]
struct Running {
    /// In seconds.
    interval: u32,
    /// Who refreshes; the peer only if it said that it would.
    ours: bool,
    refresh: Option<Instant>,
    end: Instant,
}

/// What came due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// It is ours to refresh.
    Refresh,
    /// Nobody did: BYE.
    End,
}

/// What a request says of session timers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    seconds: Option<u32>,
    refresher: Option<Refresher>,
    /// The least that the caller takes.
    least: u32,
    known: bool,
}

impl Wish {
    /// Reads it from an INVITE or UPDATE.
    ///
    /// # Errors
    /// When the time cannot be read, or is shorter than we take, the answer: 400, or 422 with `Min-SE` (§6, §9).
    pub fn read(request: &Request) -> Result<Self, Box<Response>> {
        let malformed = |_: HeaderError| Box::new(request.response(Status::BAD_REQUEST));
        let headers = &request.headers;
        let expires = headers.opt::<SessionExpires>().map_err(malformed)?;
        let known = Supported::find(headers, "timer").map_err(malformed)?;
        let known = known == Some(true);
        if let Some(expires) = &expires
            && expires.seconds < MIN_SE
        {
            let mut response = request.response(Status::SESSION_INTERVAL_TOO_SMALL);
            response.headers.put(&MinSe(MIN_SE));
            return Err(Box::new(response));
        }
        Ok(Self {
            seconds: expires.as_ref().map(|expires| expires.seconds),
            refresher: expires.and_then(|expires| expires.refresher()),
            least: headers
                .opt::<MinSe>()
                .map_err(malformed)?
                .map_or(0, |MinSe(least)| least),
            known,
        })
    }
}

impl SessionTimer {
    /// Agrees to what a request wishes, in the 2xx to it (§9), and starts. `usual` is our own interval in seconds.
    pub fn grant(&mut self, now: Instant, wish: Wish, usual: u32, headers: &mut Headers) {
        let interval = wish.seconds.unwrap_or_else(|| usual.max(wish.least)).min(MAX_INTERVAL);
        // Whoever does not know timers never refreshes; otherwise the caller may choose (§9, table 2).
        let theirs = wish.known && wish.refresher == Some(Refresher::Uac);
        self.start(now, interval, !theirs);
        if !wish.known && wish.seconds.is_none() {
            return;
        }
        let refresher = if theirs { Refresher::Uac } else { Refresher::Uas };
        headers.replace(&SessionExpires::new(interval, Some(refresher)));
        if theirs {
            headers.replace(&Require::of(&["timer"]));
        }
    }

    /// Asks for a session in a request of ours (§7.1). We offer to refresh.
    pub fn ask(&self, usual: u32, headers: &mut Headers) {
        let interval = self.0.map_or(usual, |running| running.interval);
        headers.replace(&SessionExpires::new(interval, Some(Refresher::Uac)));
        headers.set(HeaderName::MIN_SE, Value::of_static(SHORTEST));
    }

    /// Starts by the 2xx to a request that [asked](Self::ask) (§7.2).
    pub fn granted(&mut self, now: Instant, usual: u32, headers: &Headers) {
        let expires = headers.opt::<SessionExpires>().ok().flatten();
        let interval = expires.as_ref().map_or(usual, |expires| expires.seconds);
        let theirs = expires.is_some_and(|expires| expires.refresher() == Some(Refresher::Uas));
        self.start(now, interval.clamp(MIN_SE, MAX_INTERVAL), !theirs);
    }

    /// The interval that a 422 to an INVITE of `interval` demands (§7.3); none if asking again is of no use.
    #[must_use]
    pub fn demanded(interval: u32, headers: &Headers) -> Option<u32> {
        let MinSe(least) = headers.opt::<MinSe>().ok()??;
        (least > interval && least <= MAX_INTERVAL).then_some(least)
    }

    /// Raises the interval to what a 422 demands (§7.3). False if that is nothing new, so that asking again is of no use.
    pub fn raise(&mut self, now: Instant, usual: u32, headers: &Headers) -> bool {
        let interval = self.0.map_or(usual, |running| running.interval);
        let Some(least) = Self::demanded(interval, headers) else {
            return false;
        };
        match &mut self.0 {
            Some(running) => running.interval = least,
            None => self.start(now, least, true),
        }
        true
    }

    fn start(&mut self, now: Instant, interval: u32, ours: bool) {
        let whole = Duration::from_secs(interval.into());
        self.0 = Some(Running {
            interval,
            ours,
            refresh: ours.then(|| now + whole / 2),
            end: now + whole - (whole / 3).min(GRACE),
        });
    }

    /// Our refresh did not go through, though the peer is there: once more after `wait`.
    pub fn again(&mut self, now: Instant, wait: Duration) {
        if let Some(running) = &mut self.0
            && running.ours
        {
            running.refresh = Some(now + wait);
        }
    }

    /// Tells what came due at `now`. Calling early does no harm.
    pub fn handle_timeout(&mut self, now: Instant) -> Option<Due> {
        let running = self.0.as_mut()?;
        if now >= running.end {
            self.0 = None;
            return Some(Due::End);
        }
        running.refresh.take_if(|at| *at <= now).map(|_| Due::Refresh)
    }

    /// When [`handle_timeout`](Self::handle_timeout) is next wanted.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.0
            .map(|running| running.refresh.map_or(running.end, |at| at.min(running.end)))
    }
}

/// BYE is sent a third of the interval before its end, but no more than this (§10).
const GRACE: Duration = Duration::from_secs(32);
/// The longest session, in seconds: who wants more has it refreshed.
const MAX_INTERVAL: u32 = 86_400;

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "an arbitrary origin of simulated time")]

    use cusax_common::core::sip::{Method, Uri};

    use super::*;

    fn headers(expires: &'static str, supported: &'static str, min: &'static str) -> Headers {
        let mut headers = Headers::new();
        let rows = [
            (HeaderName::SESSION_EXPIRES, expires),
            (HeaderName::SUPPORTED, supported),
            (HeaderName::MIN_SE, min),
        ];
        for (name, value) in rows {
            if !value.is_empty() {
                headers.push(name, Value::of_static(value));
            }
        }
        headers
    }

    fn request(expires: &'static str, supported: &'static str) -> Request {
        let uri: Uri = "sip:bob@example.com".parse().unwrap();
        let mut request = Request::new(Method::Invite, uri);
        request.headers = headers(expires, supported, "");
        request
    }

    /// What came due in the whole life of a timer, in seconds.
    fn life(mut timer: SessionTimer, start: Instant) -> Vec<(u64, Due)> {
        let mut seen = Vec::new();
        while let Some(at) = timer.poll_timeout() {
            assert_eq!(
                timer.handle_timeout(at.checked_sub(Duration::from_millis(1)).unwrap()),
                None
            );
            seen.push(((at - start).as_secs(), timer.handle_timeout(at).expect("due")));
        }
        seen
    }

    /// RFC 4028 §9, table 2, and §10.
    #[test]
    fn what_a_caller_wishes_is_granted() {
        use Due::{End, Refresh};
        let rows = [
            (
                "nothing said: we refresh, and say nothing",
                "",
                "",
                "",
                &[(900, Refresh), (1768, End)][..],
            ),
            (
                "known, but nothing asked for",
                "",
                "timer",
                "1800;refresher=uas",
                &[(900, Refresh), (1768, End)],
            ),
            (
                "asked for, the refresher left to us",
                "600",
                "timer",
                "600;refresher=uas",
                &[(300, Refresh), (568, End)],
            ),
            (
                "the caller refreshes",
                "600;refresher=uac",
                "timer",
                "600;refresher=uac",
                &[(568, End)],
            ),
            (
                "we are to refresh",
                "600;refresher=uas",
                "timer",
                "600;refresher=uas",
                &[(300, Refresh), (568, End)],
            ),
            (
                "a proxy asked, the caller does not know",
                "600;refresher=uac",
                "",
                "600;refresher=uas",
                &[(300, Refresh), (568, End)],
            ),
            (
                "a word that is no refresher",
                "600;refresher=x",
                "timer",
                "600;refresher=uas",
                &[(300, Refresh), (568, End)],
            ),
            (
                "the shortest",
                "90;refresher=uac",
                "timer",
                "90;refresher=uac",
                &[(60, End)],
            ),
            (
                "ever so long",
                "4294967295;refresher=uac",
                "timer",
                "86400;refresher=uac",
                &[(86_368, End)],
            ),
        ];
        let start = Instant::now();
        for (name, expires, supported, granted, due) in rows {
            let wish = Wish::read(&request(expires, supported)).unwrap();
            let (mut timer, mut answer) = (SessionTimer::default(), Headers::new());
            timer.grant(start, wish, 1800, &mut answer);
            let said = answer
                .get(&HeaderName::SESSION_EXPIRES)
                .map(|value| value.to_text().into_owned());
            assert_eq!(said.unwrap_or_default(), granted, "{name}");
            let required = answer
                .opt::<Require>()
                .unwrap()
                .is_some_and(|require| require.has("timer"));
            assert_eq!(required, granted.ends_with("uac"), "{name}");
            assert_eq!(life(timer, start), due, "{name}");
        }
    }

    #[test]
    fn what_is_too_short_or_no_time_is_refused() {
        let rows = [
            ("0", 422),
            ("1", 422),
            ("89;refresher=uac", 422),
            ("x", 400),
            ("-1", 400),
            ("4294967296", 400),
        ];
        for (expires, code) in rows {
            let refused = Wish::read(&request(expires, "timer")).unwrap_err();
            assert_eq!(refused.status.code(), code, "{expires}");
            assert_eq!(
                refused.headers.opt::<MinSe>().unwrap(),
                (code == 422).then_some(MinSe(90)),
                "{expires}"
            );
        }
    }

    #[test]
    fn what_a_callee_grants_is_kept() {
        use Due::{End, Refresh};
        let rows = [
            ("it knows nothing of timers", "", &[(900, Refresh), (1768, End)][..]),
            (
                "it leaves that to us",
                "1200;refresher=uac",
                &[(600, Refresh), (1168, End)],
            ),
            ("it refreshes", "1200;refresher=uas", &[(1168, End)]),
            (
                "nonsense does not end the call at once",
                "0;refresher=uas",
                &[(60, End)],
            ),
        ];
        let start = Instant::now();
        for (name, expires, due) in rows {
            let mut timer = SessionTimer::default();
            timer.granted(start, 1800, &headers(expires, "", ""));
            assert_eq!(life(timer, start), due, "{name}");
        }
    }

    #[test]
    fn a_refused_interval_is_raised_once() {
        let start = Instant::now();
        let mut timer = SessionTimer::default();
        let mut asked = Headers::new();
        timer.ask(1800, &mut asked);
        assert_eq!(
            asked.one::<SessionExpires>().unwrap(),
            SessionExpires::new(1800, Some(Refresher::Uac))
        );
        assert_eq!(asked.one::<MinSe>().unwrap(), MinSe(MIN_SE));
        for nothing in ["", "90", "1800", "x", "4294967295"] {
            assert!(!timer.raise(start, 1800, &headers("", "", nothing)), "{nothing}");
        }
        assert!(timer.raise(start, 1800, &headers("", "", "3600")));
        assert!(!timer.raise(start, 1800, &headers("", "", "3600")), "that was tried");
        timer.ask(1800, &mut asked);
        assert_eq!(asked.one::<SessionExpires>().unwrap().seconds, 3600);
    }

    #[test]
    fn a_refresh_that_failed_is_tried_again_until_the_end() {
        let start = Instant::now();
        let mut timer = SessionTimer::default();
        timer.granted(start, 100, &Headers::new());
        let at = timer.poll_timeout().unwrap();
        assert_eq!(timer.handle_timeout(at), Some(Due::Refresh));
        timer.again(at, Duration::from_secs(3));
        assert_eq!(timer.poll_timeout(), Some(at + Duration::from_secs(3)));
        timer.again(at, Duration::from_secs(300));
        assert_eq!(timer.handle_timeout(timer.poll_timeout().unwrap()), Some(Due::End));
        assert_eq!(timer.poll_timeout(), None);
    }
}

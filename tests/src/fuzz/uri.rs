//! URIs and addresses of record.

use cusax_b2bua::core::registrar::aor_of;
use cusax_common::core::sip::{SipUri, Uri};
use cusax_common::core::user::Aor;

/// Two texts with a line end between them: what can be read is written so that it reads the same, and comparing does
/// not depend on who is compared with whom. As parts of a URI of ours they stay where they are put.
pub fn uri(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (first, second) = text.split_once('\n').unwrap_or((&text, ""));
    let read = [first, second].map(|text| text.parse::<Uri>().ok());
    for uri in read.iter().flatten() {
        let written = uri.to_string();
        assert_eq!(written.parse::<Uri>().as_ref(), Ok(uri), "written as {written:?}");
        assert!(uri.same_as(uri), "{uri} is not the same as itself");
        let aor = aor_of(uri);
        if let Some(aor) = &aor {
            assert_eq!(aor.as_str().parse::<Aor>().as_ref(), Ok(aor));
            let canonical = aor.as_str().parse::<Uri>().expect("an address of record is a URI");
            assert_eq!(aor_of(&canonical).as_ref(), Some(aor), "{uri}");
        }
    }
    if let [Some(a), Some(b)] = &read {
        assert_eq!(a.same_as(b), b.same_as(a), "{a} and {b}");
        assert!(a != b || a.same_as(b), "{a} equals and differs");
    }
    if let Some(Uri::Sip(host)) = &read[0] {
        made(host, second);
    }
}

/// A URI of ours, made of foreign text.
fn made(of: &SipUri, text: &str) {
    let uri = SipUri::new(text, of.host.clone());
    let again = written(&uri);
    assert_eq!(again.user_decoded().unwrap_or_default(), text);
    assert_eq!(again.host, of.host);

    let mut uri = of.clone();
    uri.params.set("x-made", Some(text));
    let again = written(&uri);
    assert_eq!((&again.user, &again.host, again.port), (&of.user, &of.host, of.port));
    for (name, value) in of
        .params
        .iter()
        .filter(|(name, _)| !name.eq_ignore_ascii_case("x-made"))
    {
        assert!(
            again.params.iter().any(|pair| pair == (name, value)),
            "{name} was lost in {again}"
        );
    }
    let others = |uri: &SipUri| {
        uri.params
            .iter()
            .filter(|(name, _)| !name.eq_ignore_ascii_case("x-made"))
            .count()
    };
    assert_eq!(others(&again), others(of), "a value became a parameter: {again}");
}

fn written(uri: &SipUri) -> SipUri {
    let text = uri.to_string();
    text.parse().unwrap_or_else(|error| panic!("{error}: {text:?}"))
}

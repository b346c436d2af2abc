//! "On the phone" (XEP-0108), published by the plugin on the user's behalf. Nobody is told with whom.

use cusax_common::core::bridge::PhoneActivity;
use jid::BareJid;
use minidom::Element;

use crate::core::{ns, xml};

/// What the plugin is asked to publish for `jid`. An empty activity says that the last one is over.
#[must_use]
pub fn publish(jid: &BareJid, activity: PhoneActivity) -> Element {
    let mut payload = Element::bare("activity", ns::ACTIVITY);
    let specific = match activity {
        PhoneActivity::Idle => None,
        PhoneActivity::Audio => Some("on_the_phone"),
        PhoneActivity::Video => Some("on_video_phone"),
    };
    if let Some(specific) = specific {
        let mut talking = Element::bare("talking", ns::ACTIVITY);
        talking.append_child(Element::bare(specific, ns::ACTIVITY));
        payload.append_child(talking);
    }
    let mut item = xml::element("item", ns::PUBSUB, &[("id", "current")]);
    item.append_child(payload);
    let mut publish = xml::element("publish", ns::PLUGIN, &[("user", jid.as_str()), ("node", ns::ACTIVITY)]);
    publish.append_child(item);
    publish
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn activities_are_those_of_xep_0108() {
        let cases = [
            (PhoneActivity::Idle, ""),
            (PhoneActivity::Audio, "<talking><on_the_phone/></talking>"),
            (PhoneActivity::Video, "<talking><on_video_phone/></talking>"),
        ];
        for (activity, inner) in cases {
            let wanted = format!(
                "<publish xmlns='{}' user='a@b.example' node='{activity_ns}'><item xmlns='{}' id='current'>\
                 <activity xmlns='{activity_ns}'>{inner}</activity></item></publish>",
                ns::PLUGIN,
                ns::PUBSUB,
                activity_ns = ns::ACTIVITY,
            );
            let jid = BareJid::new("a@b.example").unwrap();
            assert_eq!(
                publish(&jid, activity),
                wanted.parse::<Element>().unwrap(),
                "{activity:?}"
            );
        }
    }
}

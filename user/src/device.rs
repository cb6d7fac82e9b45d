//! What a session's device is called where nobody named it: a guess from the user agent, for a person to recognise.

use contract::{text::Device, user::Client};

/// First match wins: Chrome calls itself Safari too, Edge and Opera call themselves Chrome.
const BROWSERS: [(&str, &str); 6] = [
    ("Edg", "Edge"),
    ("OPR/", "Opera"),
    ("Firefox/", "Firefox"),
    ("Chrome/", "Chrome"),
    ("CriOS/", "Chrome"),
    ("Safari/", "Safari"),
];
/// First match wins: Android calls itself Linux too, an iPhone "like Mac OS X".
const SYSTEMS: [(&str, &str); 6] = [
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("Windows", "Windows"),
    ("Mac OS X", "macOS"),
    ("Linux", "Linux"),
];

/// What the client calls itself, else what its user agent looks like.
pub fn name(given: Option<Device>, client: &Client) -> Option<Device> {
    given.filter(|device| !device.trim().is_empty()).or_else(|| guess(client.user_agent.as_deref()?))
}

fn guess(user_agent: &str) -> Option<Device> {
    let find = |known: &[(&str, &'static str)]| {
        known.iter().find(|(sign, _)| user_agent.contains(sign)).map(|(_, name)| *name)
    };
    let name = match (find(&BROWSERS), find(&SYSTEMS)) {
        (Some(browser), Some(system)) => format!("{browser} on {system}"),
        (Some(one), None) | (None, Some(one)) => one.to_owned(),
        // `curl/8.5.0 (...)`, `okhttp/4.9`: the product's name.
        (None, None) => user_agent.split(['/', ' ']).next()?.chars().take(50).collect(),
    };
    Device::new(name).ok().filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_recognises_their_device() {
        for (user_agent, device) in [
            (
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0 Safari/537.36 Edg/142.0",
                Some("Edge on Windows"),
            ),
            ("Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0", Some("Firefox on Linux")),
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Mobile/15E148 Safari/604.1",
                Some("Safari on iPhone"),
            ),
            ("curl/8.5.0", Some("curl")),
            ("", None),
        ] {
            assert_eq!(guess(user_agent).as_deref(), device, "{user_agent}");
        }
    }

    #[test]
    fn a_given_name_goes_first() {
        let client = Client { ip: None, user_agent: Some("curl/8.5.0".to_owned()) };
        assert_eq!(name(Device::new("Anna's phone").ok(), &client).as_deref(), Some("Anna's phone"));
        assert_eq!(name(Device::new(" ").ok(), &client).as_deref(), Some("curl"));
    }
}

// SPDX-License-Identifier: GPL-3.0-or-later
//! An event, as clients get it: one line of JSON, or one line of text.

use std::time::{SystemTime, UNIX_EPOCH};

use chaos::config::Action;
use chaos::escape;
use chaos::guests::GuestState;
use chaos::local_time::time_of_day;
use serde::Serialize;
use xen::units::DomainHandle;

/// An event with its time.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Event {
    /// Milliseconds since 1970.
    time_ms: u64,
    #[serde(flatten)]
    pub(super) what: What,
}

/// A guest at the time of an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Subject {
    pub(super) name: String,
    pub(super) domid: u16,
    /// Its handle, as a UUID.
    pub(super) handle: String,
}

impl Subject {
    pub(super) fn new(name: &str, domid: u16, handle: [u8; 16]) -> Self {
        Self { name: name.to_owned(), domid, handle: DomainHandle(handle).to_string() }
    }
}

/// What has happened. The names of variants and fields are an interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub(super) enum What {
    /// From now on, no event is missed silently.
    Subscribed,
    /// A guest was created. `shell` is the origin of its shell; `None` if another process created it.
    Created {
        #[serde(flatten)]
        guest: Subject,
        shell: Option<&'static str>,
    },
    /// A guest has shut down or crashed, and what chaosd does with it.
    Ended {
        #[serde(flatten)]
        guest: Subject,
        how: GuestState,
        action: Action,
    },
    /// A guest was destroyed.
    Destroyed {
        #[serde(flatten)]
        guest: Subject,
    },
    /// A guest has another name.
    Renamed {
        #[serde(flatten)]
        guest: Subject,
        from: String,
    },
    /// A guest that had ended was created again.
    Restarted { name: String, domid: u16 },
    /// A guest has lost a device.
    DeviceBroken {
        #[serde(flatten)]
        guest: Subject,
        device: String,
        reason: String,
    },
    /// This client was too slow.
    Missed { events: u64 },
}

impl Event {
    /// Returns an event that happens now.
    pub(super) fn now(what: What) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { time_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX), what }
    }

    /// Returns a line of JSON.
    pub(super) fn json(&self) -> String {
        // Strings and numbers can always be written.
        let text = serde_json::to_string(self).unwrap_or_default();
        escape::json(&text).into_owned() + "\n"
    }

    /// Returns a line of text.
    pub(super) fn text(&self) -> String {
        let time = time_of_day().unwrap_or_else(|| "--:--:--".to_owned());
        let what = match &self.what {
            What::Subscribed => "subscribed".to_owned(),
            What::Created { guest, shell: Some(shell) } => {
                format!("{} created, shell: {shell}", show(guest))
            }
            What::Created { guest, shell: None } => format!("{} created", show(guest)),
            What::Ended { guest, how, action } => {
                format!("{} ended: {}; action: {}", show(guest), how.name(), word(*action))
            }
            What::Destroyed { guest } => format!("{} destroyed", show(guest)),
            What::Renamed { guest, from } => format!("{} renamed from {from}", show(guest)),
            What::Restarted { name, domid } => format!("{name} (domain {domid}) restarted"),
            What::DeviceBroken { guest, device, reason } => {
                format!("{} has lost its {device}: {reason}", show(guest))
            }
            What::Missed { events } => format!("{events} events missed: this reader was too slow"),
        };
        format!("{time} {}\n", escape::line(&what))
    }
}

/// Returns the word that a config has for an action.
fn word(action: Action) -> String {
    serde_json::to_value(action)
        .ok()
        .and_then(|word| Some(word.as_str()?.to_owned()))
        .unwrap_or_default()
}

fn show(guest: &Subject) -> String {
    format!("{} (domain {})", guest.name, guest.domid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_event_matches_the_schema() {
        let schema = include_str!("../../../docs/schemas/event.json");
        let schema = serde_json::from_str(schema).unwrap();
        let validator = jsonschema::validator_for(&schema).unwrap();
        let guest = || Subject::new("a", 7, [1; 16]);
        let (how, action) = (GuestState::PoweredOff, Action::RenameRestart);
        for what in [
            What::Subscribed,
            What::Created { guest: guest(), shell: None },
            What::Created { guest: guest(), shell: Some("cold") },
            What::Ended { guest: guest(), how, action },
            What::Destroyed { guest: guest() },
            What::Renamed { guest: guest(), from: "b".into() },
            What::Restarted { name: "a".into(), domid: 8 },
            What::DeviceBroken { guest: guest(), device: "vif0".into(), reason: "why".into() },
            What::Missed { events: 3 },
        ] {
            let line = Event::now(what).json();
            let event = serde_json::from_str(&line).unwrap();
            assert!(validator.is_valid(&event), "{line}");
        }
    }

    #[test]
    fn an_event_is_one_line_of_json_or_text() {
        let guest = Subject::new("a\nb", 7, [1; 16]);
        let event = Event::now(What::Created { guest, shell: Some("warm") });
        let (json, text) = (event.json(), event.text());
        assert_eq!((json.matches('\n').count(), text.matches('\n').count()), (1, 1));
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!((&value["event"], &value["name"]), (&"created".into(), &"a\nb".into()));
        assert_eq!((&value["domid"], &value["shell"]), (&7.into(), &"warm".into()));
        assert!(value["time_ms"].as_u64().unwrap() > 1_600_000_000_000);
        assert!(text.contains("(domain 7) created, shell: warm"), "{text}");
        let broken = What::DeviceBroken {
            guest: Subject::new("a", 3, [1; 16]),
            device: "vif0".into(),
            reason: "why".into(),
        };
        let text = Event::now(broken).text();
        assert!(text.ends_with(" a (domain 3) has lost its vif0: why\n"), "{text}");
    }
}

//! `traffic`: what goes through noxsd's switch.

use super::{Figure, Kind};

pub(crate) const FIGURE: Figure = Figure {
    name: "traffic",
    title: "Redis requests from dom0: to a guest through noxsd, and to a process over loopback",
    x_label: "",
    y_label: "requests per second; ms (PING to PONG)",
    kind: Kind::Bars,
    drawn: |name| !name.contains("PING to PONG"),
    goals: |_| Vec::new(),
};

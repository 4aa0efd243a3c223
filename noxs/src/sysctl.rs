// SPDX-License-Identifier: MIT OR Apache-2.0
//! The sysctl block, the paper's power device: dom0 requests a power change or has changed the list
//! of devices, the guest answers.

/// What dom0 asks of the guest. The discriminants are the values in the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Request {
    /// Power off.
    Poweroff = 1,
    /// Reboot: shut down and ask to be restarted.
    Reboot = 2,
    /// Suspend, so that the guest's state can be saved.
    Suspend = 3,
    /// Compare the list of devices with the one that was read before: start the devices that are
    /// new, and stop using those that are closing or gone.
    Devices = 4,
    /// Give [this many pages](Sysctl::balloon_pages) of its memory back to Xen, in all: more than
    /// now, or take some again.
    Memory = 5,
}

impl Request {
    pub(crate) fn from_raw(raw: u32) -> Option<Self> {
        [Self::Poweroff, Self::Reboot, Self::Suspend, Self::Devices, Self::Memory]
            .into_iter()
            .find(|request| *request as u32 == raw)
    }
}

/// The number of a request. Each request's number differs from the previous one's; 0 means that
/// there has been no request yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestId(pub u32);

impl RequestId {
    /// Returns the number of the next request. Wraps around, skipping zero.
    #[must_use]
    pub const fn next(self) -> Self {
        match self.0.wrapping_add(1) {
            0 => Self(1),
            id => Self(id),
        }
    }
}

/// The sysctl block of the page's header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sysctl {
    /// The guest's port of the event channel on which dom0 notifies it; 0 if there is none.
    pub port: u32,
    /// The frame number of the page into which the guest writes its [`Answer`]; 0 if there is none.
    pub answer_gfn: u64,
    /// The number of the latest request.
    pub request_id: RequestId,
    /// The latest request; `None` before the first one, and if this version does not know it.
    pub request: Option<Request>,
    /// The number of pages that the guest is to give back, in all, if the request is
    /// [`Request::Memory`].
    pub balloon_pages: u32,
}

/// How a guest answers a request. The discriminants are the values in the answer page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum AnswerStatus {
    /// The guest is carrying out the request. For [`Request::Devices`] and [`Request::Memory`]: it
    /// has carried it out.
    Accepted = 1,
    /// The guest does not support the request.
    Unsupported = 2,
    /// The guest has not enough memory or grants for a new device; or it uses memory that it is to give
    /// back, or Xen has none for it.
    NoRoom = 3,
    /// A new vif has an IPv6 address, and the guest was built without IPv6.
    NoIpv6 = 4,
}

/// The guest's answer as dom0 reads it from the answer page. It is only a hint: the guest is not
/// trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The number of the answered request.
    pub request_id: RequestId,
    /// The guest's answer; `None` if its value is unknown.
    pub status: Option<AnswerStatus>,
}

impl Answer {
    /// Creates an answer from the two words of the answer page.
    #[must_use]
    pub fn from_raw(request_id: u32, status: u32) -> Self {
        use AnswerStatus::{Accepted, NoIpv6, NoRoom, Unsupported};
        let status = [Accepted, Unsupported, NoRoom, NoIpv6]
            .into_iter()
            .find(|known| *known as u32 == status);
        Self { request_id: RequestId(request_id), status }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_numbers_skip_zero_when_they_wrap() {
        assert_eq!(RequestId(0).next(), RequestId(1));
        assert_eq!(RequestId(u32::MAX).next(), RequestId(1));
    }

    #[test]
    fn an_unknown_answer_status_is_none() {
        assert_eq!(Answer::from_raw(1, 2).status, Some(AnswerStatus::Unsupported));
        assert_eq!(Answer::from_raw(1, 4).status, Some(AnswerStatus::NoIpv6));
        assert_eq!(Answer::from_raw(1, 5).status, None);
    }
}

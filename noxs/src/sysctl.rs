//! The sysctl block: the paper's power device. dom0 asks, the guest answers.

/// What dom0 asks of the guest. The numbers are the page's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Request {
    /// Stop and power off.
    Poweroff = 1,
    /// Stop and ask to be started again.
    Reboot = 2,
    /// Stop so that the state can be saved.
    Suspend = 3,
}

impl Request {
    pub(crate) fn from_raw(raw: u32) -> Option<Self> {
        [Self::Poweroff, Self::Reboot, Self::Suspend]
            .into_iter()
            .find(|request| *request as u32 == raw)
    }
}

/// Number of a request. Each new request has another number than the one before; 0 stands for
/// "none yet".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestId(pub u32);

impl RequestId {
    /// The number of the request after this one; wraps past zero.
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
    /// The guest's end of the event channel that dom0 rings; 0 if there is none.
    pub port: u32,
    /// Where the guest writes its [`Answer`], in frames of 4 KiB; 0 if there is no such page.
    pub answer_gfn: u64,
    /// The newest request's number.
    pub request_id: RequestId,
    /// The newest request; `None` before the first, and for one this version does not know.
    pub request: Option<Request>,
}

/// What a guest makes of a request. The numbers are the answer page's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum AnswerStatus {
    /// The guest is doing it.
    Accepted = 1,
    /// The guest does not know how.
    Unsupported = 2,
}

/// The guest's answer, as dom0 finds it in the answer page: a hint from an untrusted side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Which request is answered.
    pub request_id: RequestId,
    /// What the guest makes of it; `None` for a number that means nothing.
    pub status: Option<AnswerStatus>,
}

impl Answer {
    /// Makes an answer of the two words of the answer page.
    #[must_use]
    pub fn from_raw(request_id: u32, status: u32) -> Self {
        let status = [AnswerStatus::Accepted, AnswerStatus::Unsupported]
            .into_iter()
            .find(|known| *known as u32 == status);
        Self { request_id: RequestId(request_id), status }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_numbers_never_come_back_to_none() {
        assert_eq!(RequestId(0).next(), RequestId(1));
        assert_eq!(RequestId(u32::MAX).next(), RequestId(1));
    }

    #[test]
    fn an_answer_that_means_nothing_is_none() {
        assert_eq!(Answer::from_raw(1, 2).status, Some(AnswerStatus::Unsupported));
        assert_eq!(Answer::from_raw(1, 3).status, None);
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Guests whose devices change and that do not play their part: they cannot be asked, never answer, or
//! use what was taken from them.

use crate::Attack::{Answer as Answers, Balloon, Busy, Close};
use crate::Outcome::{AttachBelieved, AttachFails, AttachUnanswered, DetachedByForce};
use crate::{Answer, Case, Channel, Page, Work, case};

pub(crate) const CASES: &[Case] = &[
    case("attach-channel-closed", Close(Channel::Power), AttachFails),
    case("attach-without-device-page", Balloon(Page::Devices), AttachFails),
    case("attach-without-answer-page", Balloon(Page::Answers), AttachFails),
    case("attach-answer-nothing", Answers(Answer::Nothing), AttachUnanswered),
    case("attach-answer-by-notifying", Answers(Answer::Notify), AttachUnanswered),
    case("attach-answer-garbage", Answers(Answer::Garbage), AttachUnanswered),
    case("attach-generation-garbage", Answers(Answer::Generation), AttachUnanswered),
    case("attach-answer-wrong-status", Answers(Answer::WrongStatus), AttachFails),
    case("attach-lie", Answers(Answer::Lie), AttachBelieved),
    case("detached-sending", Busy(Work::Send), DetachedByForce),
    case("detached-reading", Busy(Work::Read), DetachedByForce),
    case("detached-writing", Busy(Work::Write), DetachedByForce),
    case("detached-with-all", Busy(Work::All), DetachedByForce),
];

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Guests that die in the middle of their work, and guests that do not power off.

use crate::Attack::{Answer as Answers, Busy, Die};
use crate::Outcome::{Ends, GoesOn, ShutdownFails, Unanswered};
use crate::{Answer, Case, Death, Work, case};

const CRASHED: crate::Outcome = Ends("crashed");
const POWERED_OFF: crate::Outcome = Ends("powered-off");

pub(crate) const CASES: &[Case] = &[
    case("die-printing", Die(Work::Print, Death::Crash), CRASHED),
    case("die-sending", Die(Work::Send, Death::Crash), CRASHED),
    case("die-reading", Die(Work::Read, Death::Crash), CRASHED),
    case("die-writing", Die(Work::Write, Death::Crash), CRASHED),
    case("die-flushing", Die(Work::Flush, Death::Crash), CRASHED),
    case("die-notifying", Die(Work::Notify, Death::Crash), CRASHED),
    case("die-of-a-fault", Die(Work::All, Death::Fault), CRASHED),
    case("power-off-while-sending", Die(Work::Send, Death::PowerOff), POWERED_OFF),
    case("power-off-while-writing", Die(Work::Write, Death::PowerOff), POWERED_OFF),
    case("destroyed-printing", Busy(Work::Print), GoesOn),
    case("destroyed-sending", Busy(Work::Send), GoesOn),
    case("destroyed-reading", Busy(Work::Read), GoesOn),
    case("destroyed-writing", Busy(Work::Write), GoesOn),
    case("destroyed-notifying", Busy(Work::Notify), GoesOn),
    case("destroyed-with-all", Busy(Work::All), GoesOn),
    case("answer-nothing", Answers(Answer::Nothing), Unanswered),
    case("answer-by-notifying", Answers(Answer::Notify), Unanswered),
    case("answer-wrong-number", Answers(Answer::WrongNumber), Unanswered),
    case("answer-wrong-status", Answers(Answer::WrongStatus), ShutdownFails),
    case("answer-garbage", Answers(Answer::Garbage), Unanswered),
    case("answer-lie", Answers(Answer::Lie), Unanswered),
    case("answer-page-ballooned", Answers(Answer::BalloonAnswers), ShutdownFails),
    case("answer-without-device-page", Answers(Answer::BalloonDevices), ShutdownFails),
    case("answer-channel-closed", Answers(Answer::Close), ShutdownFails),
    case("answer-generation-garbage", Answers(Answer::Generation), Unanswered),
];

//! `chaos` killed at every point of a create: what it leaves is listed, or cleared away.

use system_tests::{Bed, Ended, Guest, chaos, run_to_syscall};

#[test]
fn a_create_that_is_killed_leaves_nothing_that_is_not_listed_and_removed() {
    let bed = Bed::new();
    let before = bed.free_pages();
    let mut point = 0;
    let mut incomplete = 0;
    loop {
        let ended = run_to_syscall("/usr/local/bin/chaos", &["create", "redis.cfg"], point);
        let listed = chaos(&["list", "--json"]).json();
        let listed = listed.as_array().expect("list prints an array");
        for domid in bed.domains() {
            let known = listed.iter().find(|guest| guest["domid"] == domid.0);
            let known = known.unwrap_or_else(|| panic!("stop {point}: {domid} is not listed"));
            incomplete += usize::from(known["state"] == "incomplete");
        }
        if let Ended::ByItself(code) = ended {
            assert_eq!(code, 0, "the create that is not killed succeeds");
            break;
        }
        if point % 2 == 0 {
            // The next command that wants the name clears the way, unless the guest was complete.
            if !listed
                .iter()
                .any(|guest| guest["name"] == "redis" && guest["state"] != "incomplete")
            {
                Guest::create("redis.cfg", &[]).destroy();
            }
        }
        for domid in bed.domains() {
            chaos(&["destroy", &domid.0.to_string()]).ok();
        }
        for guest in chaos(&["list", "--json"]).json().as_array().expect("an array") {
            chaos(&["destroy", &guest["domid"].to_string()]).ok();
        }
        bed.assert_empty(&format!("after the kill at stop {point}"));
        point += 1;
    }
    chaos(&["destroy", "redis"]).ok();
    assert!(incomplete > 10, "only {incomplete} of {point} kills met an incomplete guest");
    assert_eq!(bed.free_pages(), before, "memory is lost");
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The searches and repetitions end.

use super::*;

fn pool(id: u32) -> Cpupool {
    let (scheduler, cpus) = (Scheduler::Credit2, CpuMap::new());
    Cpupool { id: CpupoolId(id), scheduler, domains: 0, cpus }
}

fn ids(existing: &[u32]) -> Vec<u32> {
    let next =
        |first: CpupoolId| Ok(existing.iter().find(|id| **id >= first.0).map(|id| pool(*id)));
    collect_pools(next).unwrap().iter().map(|pool| pool.id.0).collect()
}

#[test]
fn all_pools_are_found_and_the_search_ends() {
    assert_eq!(ids(&[0]), [0]);
    assert_eq!(ids(&[0, 1, 7]), [0, 1, 7]);
    assert_eq!(ids(&[]), [0; 0]);
    assert_eq!(ids(&[0, u32::MAX]), [0, u32::MAX]);
    // An answer below what was asked for would be endless.
    let same = collect_pools(|_| Ok(Some(pool(3)))).unwrap();
    assert_eq!(same.len(), 1);
}

fn failing(errno: Errno, times: u32) -> (u32, Result<(), Error>) {
    let mut calls = 0;
    let result = retry(|| {
        calls += 1;
        match calls <= times {
            true => Err(Error::Hypercall { operation: "x", domid: None, errno }),
            false => Ok(()),
        }
    });
    (calls, result)
}

#[test]
fn a_busy_cpu_is_tried_again_but_not_forever() {
    assert!(matches!(failing(Errno::EAGAIN, 2), (3, Ok(()))));
    assert!(matches!(failing(Errno::EADDRINUSE, 2), (3, Ok(()))));
    assert!(matches!(failing(Errno::EBUSY, 2), (1, Err(_))));
    assert!(matches!(failing(Errno::EAGAIN, u32::MAX), (ATTEMPTS, Err(_))));
}

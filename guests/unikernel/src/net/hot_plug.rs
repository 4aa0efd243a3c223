// SPDX-License-Identifier: MIT OR Apache-2.0
//! Network interfaces that dom0 adds and removes while the service runs.
//!
//! The buffers of an interface are granted for good, so an interface that is removed stays as a closed
//! one. The next that is added gets its place and its buffers, once the device page does not list the
//! closed one any more: until then its backend may write received frames to them.

use alloc::vec::Vec;

use noxs::{DevicePage, MAX_VIFS, Vif};

use super::buffers::LONG_PAGES;
use super::link::Link;
use super::netif::{LONG_RX_FRAMES, PLAIN_MTU};
use super::serve::{Server, Service};
use super::{
    FRAMES_PART, LONG_FRAMES_PART, MAX_FRAMES_TOGETHER, MIN_FRAMES, has_address, smoltcp_time,
};
use crate::clock::Instant;
use crate::guest::Guest;
use crate::heap;
use crate::hot_plug::Change;
use crate::layout::PAGE_SIZE;
use crate::println;

/// Memory and grants do not suffice for an interface.
struct NoRoom;

/// Returns the number of a vif and its instance.
fn id(vif: &Vif) -> (u16, u32) {
    (vif.backend.index, vif.backend.instance)
}

/// Returns whether a vif has a backend, which may use the pages of its buffers.
fn has_backend(page: &DevicePage, own: (u16, u32)) -> bool {
    page.vifs().any(|vif| id(vif) == own)
}

/// Returns the place of an interface whose buffers no backend uses. `closed` has the vif of each
/// interface that is closed.
fn free_place(
    page: &DevicePage,
    mut closed: impl Iterator<Item = Option<(u16, u32)>>,
) -> Option<usize> {
    closed.position(|vif| vif.is_some_and(|own| !has_backend(page, own)))
}

/// Returns whether frames of a vif may need buffers for long ones.
fn is_jumbo(vif: &Vif) -> bool {
    usize::from(vif.mtu) > PLAIN_MTU
}

/// Returns how many buffers one more interface has in each direction, and how many for long frames;
/// `None` if there are already `MAX_VIFS`, or if grants or bytes of memory do not suffice. `left` and
/// `free` are how many there are.
fn buffers(interfaces: usize, is_jumbo: bool, left: usize, free: usize) -> Option<(usize, usize)> {
    let others = MAX_VIFS.checked_sub(interfaces + 1)?;
    // A sent frame takes half a page.
    let pages = |frames: usize| frames + frames.div_ceil(2);
    let most = MAX_FRAMES_TOGETHER / MAX_VIFS;
    let frames = (free / FRAMES_PART / PAGE_SIZE).clamp(MIN_FRAMES, most);
    let long = pages(LONG_RX_FRAMES) + LONG_PAGES;
    let fits = |pages: usize| left >= pages && free / 2 >= pages * PAGE_SIZE;
    // Unless they are asked for, long frames take no grants of interfaces that may follow.
    let has_long = if is_jumbo {
        fits(long)
    } else {
        left >= long + others * pages(frames) && free / LONG_FRAMES_PART >= LONG_PAGES * PAGE_SIZE
    };
    match has_long {
        true => Some((LONG_RX_FRAMES, 1)),
        false => (!is_jumbo && fits(pages(frames))).then_some((frames, 0)),
    }
}

impl<S: Service> Server<'_, S> {
    /// Closes interfaces that dom0 removes, starts those that it adds, and passes disks on to the
    /// service. Answers dom0.
    #[cold]
    #[inline(never)]
    pub(super) fn change_devices(&mut self, change: Change, now: Instant) {
        #[cfg(not(feature = "ipv6"))]
        if change.page.vifs().any(|vif| vif.ipv6.is_some() && self.is_new(vif)) {
            return change.reject_ipv6();
        }
        let Some(mut guest) = self.net.guest.take() else { return change.reject() };
        let disks: Vec<_> = guest.disks().copied().collect();
        guest.update(&change);
        let vifs: Vec<Vif> = guest.vifs().take(MAX_VIFS).filter(has_address).copied().collect();
        for number in 0..self.net.links.len() {
            let link = &self.net.links[number];
            if link.is_open() && vifs.iter().all(|vif| id(vif) != link.vif) {
                // One that is not listed any more has no backend, and its rings may be another's.
                self.close_link(number, has_backend(&change.page, link.vif), now);
            }
        }
        let mut added = Ok(());
        for vif in &vifs {
            if added.is_ok() && self.is_new(vif) {
                let closed = self.net.links.iter().map(|link| {
                    let fits = !is_jumbo(vif) || link.netif.receives_long();
                    (!link.is_open() && fits).then_some(link.vif)
                });
                let place = free_place(&change.page, closed);
                added = self.open_link(&mut guest, place, vif, now);
            }
        }
        let are_other = !guest.disks().eq(&disks);
        let can_use = !are_other || self.service.change_disks(&mut guest, &change);
        self.net.guest = Some(guest);
        match (added, can_use) {
            (Err(NoRoom), _) => change.refuse(),
            (Ok(()), false) => change.reject(),
            (Ok(()), true) => change.accept(),
        }
    }

    /// Returns whether a vif has no interface, open or closed.
    fn is_new(&self, vif: &Vif) -> bool {
        self.net.links.iter().all(|link| link.vif != id(vif))
    }

    /// Closes the connections of an interface and stops using it. Their clients get a reset if it
    /// still has a backend.
    fn close_link(&mut self, number: usize, has_backend: bool, now: Instant) {
        for slot in (0u16..).take(self.connections.slots.len()) {
            let connection = &mut self.connections.slots[usize::from(slot)];
            if !connection.used || connection.link != number {
                continue;
            }
            connection.socket().abort();
            if has_backend {
                // It is lost if there is no room for it.
                self.net.links[number].send(connection, smoltcp_time(now));
            }
            self.connections.close(slot);
        }
        let link = &mut self.net.links[number];
        if has_backend {
            link.netif.flush();
        }
        link.is_closed = true;
        println!("vif: {} is not served any more", link.stations);
    }

    /// Starts an interface, in the place of a closed one if one is free.
    fn open_link(
        &mut self,
        guest: &mut Guest,
        place: Option<usize>,
        vif: &Vif,
        now: Instant,
    ) -> Result<(), NoRoom> {
        let seed = guest.seed().swap_bytes().wrapping_add(now.as_nanos());
        let place = if let Some(place) = place {
            let Link { mut netif, .. } = self.net.links.remove(place);
            netif.reopen(vif);
            self.net.links.insert(place, Link::start(netif, vif, seed, now));
            place
        } else {
            let table = guest.grants().map_err(|_| NoRoom)?;
            let free = heap::usage().free;
            // What is allocated in vain is lost, so look first.
            let buffers = buffers(self.net.links.len(), is_jumbo(vif), table.left(), free);
            let link = Link::new(vif, buffers.ok_or(NoRoom)?, table, seed, now).ok_or(NoRoom)?;
            self.net.links.push(link);
            self.net.links.len() - 1
        };
        println!("vif: {} is served, too", self.net.links[place].stations);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use noxs::{Backend, Device, DeviceState, MacAddr, Ring, VifFeatures};

    use super::*;

    /// Returns a page that lists these vifs: numbers, instances and states.
    fn page(vifs: &[(u16, u32, DeviceState)]) -> DevicePage {
        let mut page = DevicePage::new(1, [1; 16]);
        for &(index, instance, state) in vifs {
            let rings = [Ring { grant: 8, gfn: 0 }, Ring { grant: 9, gfn: 1 }];
            let vif = Vif {
                backend: Backend { index, instance, domid: 0, state, port: 3, rings },
                mac: MacAddr([0, 0x16, 0x3e, 0, 0, 1]),
                mtu: 1500,
                ipv4: None,
                ipv6: None,
                features: VifFeatures::NONE,
            };
            page.add(Device::Vif(vif)).unwrap();
        }
        page
    }

    #[test]
    fn an_interface_has_buffers_for_long_frames_if_it_leaves_room_for_others_or_needs_them() {
        const MUCH: usize = 64 << 20;
        let (plain, long) = (Some((30, 0)), Some((LONG_RX_FRAMES, 1)));
        // 45 pages for plain frames, and 70 with buffers for long ones.
        for (interfaces, left, expected, jumbo) in [
            (1, 70 + 6 * 45, long, long),
            (1, 70 + 6 * 45 - 1, plain, long),
            (7, 70, long, long),
            (7, 69, plain, None),
            (7, 45, plain, None),
            (7, 44, None, None),
            (8, 400, None, None),
        ] {
            assert_eq!(buffers(interfaces, false, left, MUCH), expected, "{interfaces}, {left}");
            assert_eq!(buffers(interfaces, true, left, MUCH), jumbo, "{interfaces}, {left}");
        }
        let enough = LONG_FRAMES_PART * LONG_PAGES * PAGE_SIZE;
        assert_eq!(buffers(1, false, 400, enough), long);
        assert_eq!(buffers(1, false, 400, enough - 1), plain);
        assert_eq!(buffers(1, true, 400, 2 * 70 * PAGE_SIZE), long);
        assert_eq!(buffers(1, true, 400, 2 * 70 * PAGE_SIZE - 1), None);
        assert_eq!(buffers(1, false, 400, 1 << 20), Some((MIN_FRAMES, 0)));
        assert_eq!(buffers(1, false, 400, 2 * 24 * PAGE_SIZE - 1), None);
    }

    #[test]
    fn the_buffers_of_a_closed_interface_are_used_again_only_when_its_backend_is_gone() {
        use DeviceState::{Closing, Connected};
        // The first one is open, the others are closed.
        let closed = [None, Some((1, 4)), Some((2, 6))];
        let place = |vifs: &[_]| free_place(&page(vifs), closed.into_iter());
        let open = (0, 0, Connected);
        assert_eq!(place(&[open, (1, 4, Closing), (2, 6, Closing), (3, 9, Connected)]), None);
        assert_eq!(place(&[open, (1, 4, Closing), (3, 9, Connected)]), Some(2));
        // The number has come back with another vif.
        assert_eq!(place(&[open, (1, 9, Connected), (2, 6, Closing)]), Some(1));
        assert_eq!(place(&[]), Some(1));
    }
}

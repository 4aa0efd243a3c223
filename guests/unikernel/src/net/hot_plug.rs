// SPDX-License-Identifier: MIT OR Apache-2.0
//! Network interfaces that dom0 adds and removes while the service runs.
//!
//! The buffers of an interface are granted for good, so an interface that is removed stays as a closed
//! one: the next that is added gets its place and its buffers.

use alloc::vec::Vec;

use noxs::{MAX_VIFS, Vif};

use super::link::Link;
use super::serve::{Server, Service};
use super::{FRAMES_PART, MAX_FRAMES_TOGETHER, MIN_FRAMES, has_address, smoltcp_time};
use crate::clock::Instant;
use crate::guest::Guest;
use crate::heap;
use crate::hot_plug::Change;
use crate::layout::PAGE_SIZE;
use crate::println;

/// Memory and grants do not suffice for an interface.
struct NoRoom;

impl<S: Service> Server<'_, S> {
    /// Closes interfaces that dom0 removes, starts those that it adds, and passes disks on to the
    /// service. Answers dom0.
    #[cold]
    #[inline(never)]
    pub(super) fn change_devices(&mut self, change: Change, now: Instant) {
        let Some(mut guest) = self.net.guest.take() else { return change.reject() };
        let disks: Vec<_> = guest.disks().copied().collect();
        guest.update(&change);
        let vifs: Vec<Vif> = guest.vifs().take(MAX_VIFS).filter(has_address).copied().collect();
        let id = |vif: &Vif| (vif.backend.index, vif.backend.instance);
        for number in 0..self.net.links.len() {
            let Some(own) = self.net.links[number].vif else { continue };
            if vifs.iter().all(|vif| id(vif) != own) {
                // One that is not listed any more has no backend, and its rings may be another's.
                let has_backend = change.page.vifs().any(|vif| id(vif) == own);
                self.close_link(number, has_backend, now);
            }
        }
        let mut added = Ok(());
        for vif in &vifs {
            if added.is_ok() && self.net.links.iter().all(|link| link.vif != Some(id(vif))) {
                added = self.open_link(&mut guest, vif, now);
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
        link.vif = None;
        println!("vif: {} is not served any more", link.stations);
    }

    /// Starts an interface, in the place of a closed one if there is one.
    fn open_link(&mut self, guest: &mut Guest, vif: &Vif, now: Instant) -> Result<(), NoRoom> {
        let seed = guest.seed().swap_bytes().wrapping_add(now.as_nanos());
        let place = if let Some(place) = self.net.links.iter().position(|link| !link.is_open()) {
            let Link { mut netif, .. } = self.net.links.remove(place);
            netif.reopen(vif);
            self.net.links.insert(place, Link::start(netif, vif, seed, now));
            place
        } else {
            let free = heap::usage().free;
            let most = MAX_FRAMES_TOGETHER / MAX_VIFS;
            let frames = (free / FRAMES_PART / PAGE_SIZE).clamp(MIN_FRAMES, most);
            let table = guest.grants().map_err(|_| NoRoom)?;
            // What is allocated in vain is lost, so look first. A sent frame takes half a page.
            let pages = frames + frames.div_ceil(2);
            if table.left() < pages || free / 2 < pages * PAGE_SIZE {
                return Err(NoRoom);
            }
            let link = Link::new(vif, (frames, 0), table, seed, now).ok_or(NoRoom)?;
            self.net.links.push(link);
            self.net.links.len() - 1
        };
        println!("vif: {} is served, too", self.net.links[place].stations);
        Ok(())
    }
}

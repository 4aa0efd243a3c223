// SPDX-License-Identifier: GPL-3.0-or-later
//! What users other than root may do: the guests they have, their limits, and the files from which
//! their guests are restarted.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::sync::Arc;

use chaos::config::{Action, Backends, DomainConfig};
use chaos::records::Record;
use noxs_control::VifAddress;
use thiserror::Error;
use xen::units::KiB;

use crate::settings::MemberLimits;
use crate::uploads::UploadedFile;

/// Xen's memory for each vCPU of a guest beyond the first (measured: 79 KiB on Xen 4.17). The first
/// is part of what each guest takes beside its memory.
const VCPU: KiB = KiB(96);

/// Root's number.
pub(crate) const ROOT: u32 = 0;

/// The files of a member's guest.
#[derive(Clone, Debug)]
pub(crate) struct MemberFiles {
    /// The kernel.
    pub(crate) kernel: Arc<UploadedFile>,
    /// The ramdisk, if the config has one.
    pub(crate) ramdisk: Option<Arc<UploadedFile>>,
}

impl MemberFiles {
    /// Returns the files of the kernel and the ramdisk, to be read.
    ///
    /// # Errors
    /// There are too many open files.
    pub(crate) fn open(&self) -> io::Result<(File, Option<File>)> {
        let ramdisk = self.ramdisk.as_ref().map(|file| file.file().try_clone()).transpose()?;
        Ok((self.kernel.file().try_clone()?, ramdisk))
    }
}

/// A member's guest.
#[derive(Debug)]
struct MemberGuest {
    uid: u32,
    /// Its memory with that of its vCPUs.
    memory: KiB,
    /// The files for a restart. `None` if it is never restarted, or if an earlier `chaosd` had them.
    files: Option<MemberFiles>,
}

/// The guests of members, by handle.
#[derive(Debug, Default)]
pub(crate) struct Members {
    guests: HashMap<[u8; 16], MemberGuest>,
}

/// Why a member's request is refused.
#[derive(Debug, PartialEq, Eq, Error)]
pub(crate) enum MemberRefusal {
    /// The guest has a disk.
    #[error(
        "disk: a guest of user {0} must have none, because chaosd would open it as root; ask root \
         to create the guest"
    )]
    Disk(u32),
    /// The guest would be in XenStore mode.
    #[error(
        "store=\"xenstore\": a guest of user {0} must have a kernel that reads the device page, \
         because in XenStore mode it would share names and console logs with xl's guests, and dom0's \
         kernel would let it use any address; ask root to create the guest"
    )]
    XenStoreMode(u32),
    /// The bridge is not allowed.
    #[error(
        "bridge={bridge}: must be one of {} (bridges= in [members] of chaosd.toml)",
        allowed.join(", ")
    )]
    Bridge {
        /// The bridge.
        bridge: String,
        /// Those that members may use.
        allowed: Vec<String>,
    },
    /// There are too many guests.
    #[error(
        "user {uid} has {used} guests, and may have {limit} (guests= in [members] of chaosd.toml); \
         wait until one has ended, or ask root"
    )]
    Guests {
        /// The user.
        uid: u32,
        /// The number of guests.
        used: usize,
        /// The most guests.
        limit: u32,
    },
    /// A core file is for root.
    #[error(
        "on_crash and other actions: only root may write core files, not user {0}; write \"preserve\", \
         or ask root"
    )]
    Coredump(u32),
    /// A key of the config is for root.
    #[error("{key}: only root may use this key, not user {uid}; remove it, or ask root")]
    Key {
        /// The user.
        uid: u32,
        /// The key.
        key: &'static str,
    },
    /// The guests have too much memory.
    #[error(
        "memory: user {uid} asks for {wanted}, has guests with {used}, and may have {limit} in all \
         (memory= in [members] of chaosd.toml); wait until one has ended, or ask root"
    )]
    Memory {
        /// The user.
        uid: u32,
        /// The memory of the guest.
        wanted: KiB,
        /// The memory of the user's guests.
        used: KiB,
        /// The most memory.
        limit: KiB,
    },
    /// There are too many guests of all users.
    #[error(
        "users other than root have {used} guests, and may have {limit} together (all_guests= in \
         [members] of chaosd.toml); wait until one has ended, or ask root"
    )]
    AllGuests {
        /// The number of guests.
        used: usize,
        /// The most guests.
        limit: u32,
    },
    /// The guests of all users have too much memory.
    #[error(
        "memory: user {uid} asks for {wanted}, users other than root have guests with {used}, and \
         may have {limit} together (all_memory= in [members] of chaosd.toml); wait until one has \
         ended, or ask root"
    )]
    AllMemory {
        /// The user.
        uid: u32,
        /// The memory of the guest.
        wanted: KiB,
        /// The memory of the guests of all users other than root.
        used: KiB,
        /// The most memory.
        limit: KiB,
    },
    /// Another user's guest is about to be restarted under the name.
    #[error(
        "the name {name} is that of a guest which is to be restarted; choose another one, or ask \
         root to cancel the restart: chaos destroy {name}"
    )]
    NamePending {
        /// The name.
        name: String,
    },
    /// Another user's guest is about to be restarted with the address.
    #[error(
        "{address} is that of guest {name}, which is to be restarted; choose another one, or ask root \
         to cancel the restart: chaos destroy {name}"
    )]
    AddressPending {
        /// The address.
        address: VifAddress,
        /// The guest's name.
        name: String,
    },
    /// Only root may do this.
    #[error("chaos pool {what}: only root may change the pool, which all users share")]
    Pool {
        /// The subcommand.
        what: &'static str,
    },
}

impl MemberRefusal {
    /// Returns whether the guests that users have are the reason.
    pub(crate) fn is_of_number(&self) -> bool {
        matches!(
            self,
            Self::Guests { .. }
                | Self::Memory { .. }
                | Self::AllGuests { .. }
                | Self::AllMemory { .. }
        )
    }
}

/// Returns how much memory a guest counts.
fn memory(config: &DomainConfig) -> KiB {
    let vcpus = u64::from(config.vcpus.saturating_sub(1));
    KiB(config.memory.0.saturating_add(vcpus.saturating_mul(VCPU.0)))
}

impl Members {
    /// Notes a guest that an earlier `chaosd` has created.
    pub(crate) fn found(&mut self, record: &Record) {
        self.created(record.owner, record.handle.0, &record.config, None);
    }

    /// Notes a guest that was created, with its files. Keeps the files only if the guest may be
    /// restarted.
    pub(crate) fn created(
        &mut self,
        uid: u32,
        handle: [u8; 16],
        config: &DomainConfig,
        files: Option<MemberFiles>,
    ) {
        if uid != ROOT {
            let files = files.filter(|_| may_restart(config));
            self.guests.insert(handle, MemberGuest { uid, memory: memory(config), files });
        }
    }

    /// Returns whether there are any guests of members.
    pub(crate) fn is_empty(&self) -> bool {
        self.guests.is_empty()
    }

    /// Forgets the guests that no longer exist.
    pub(crate) fn retain(&mut self, exists: impl Fn(&[u8; 16]) -> bool) {
        self.guests.retain(|handle, _| exists(handle));
    }

    /// Returns the files of a guest, if they are still there.
    pub(crate) fn files(&self, handle: &[u8; 16]) -> Option<MemberFiles> {
        self.guests.get(handle)?.files.clone()
    }

    /// Checks whether a member may have another guest of this config, `successor_of` a guest that
    /// is not counted.
    ///
    /// # Errors
    /// The guest is not allowed for members, or would exceed a limit.
    pub(crate) fn check(
        &self,
        uid: u32,
        config: &DomainConfig,
        limits: &MemberLimits,
        successor_of: Option<&[u8; 16]>,
    ) -> Result<(), MemberRefusal> {
        if !config.disks.is_empty() {
            return Err(MemberRefusal::Disk(uid));
        }
        // The protocol has no scripts: one can only come from a record that root has changed.
        if config.has_scripts() {
            return Err(MemberRefusal::Key { uid, key: "script" });
        }
        check_backends(uid, config)?;
        if let Some(key) = config.extras().key_of_root() {
            return Err(MemberRefusal::Key { uid, key });
        }
        // Core files of users would fill the disk.
        if actions(config).any(Action::dumps_core) {
            return Err(MemberRefusal::Coredump(uid));
        }
        if let Some(allowed) = &limits.bridges
            && let Some(vif) = config.vifs.iter().find(|vif| !allowed.contains(&vif.bridge))
        {
            let (bridge, allowed) = (vif.bridge.clone(), allowed.clone());
            return Err(MemberRefusal::Bridge { bridge, allowed });
        }
        let others = self.guests.iter().filter(|(handle, _)| Some(*handle) != successor_of);
        let (mut own, mut all) = (Usage::default(), Usage::default());
        for (_, guest) in others {
            all.add(guest);
            if guest.uid == uid {
                own.add(guest);
            }
        }
        let wanted = memory(config);
        if own.guests >= limits.guests as usize {
            return Err(MemberRefusal::Guests { uid, used: own.guests, limit: limits.guests });
        }
        if own.exceeds(wanted, limits.memory) {
            let (used, limit) = (own.memory, limits.memory);
            return Err(MemberRefusal::Memory { uid, wanted, used, limit });
        }
        if all.guests >= limits.all_guests as usize {
            return Err(MemberRefusal::AllGuests { used: all.guests, limit: limits.all_guests });
        }
        if all.exceeds(wanted, limits.all_memory) {
            let (used, limit) = (all.memory, limits.all_memory);
            return Err(MemberRefusal::AllMemory { uid, wanted, used, limit });
        }
        Ok(())
    }
}

/// Checks that the devices of a member's guest are served by `noxsd`: it checks addresses, and bounds
/// console logs. xl does not know the names of such guests, so none of its own is shared. Check this
/// again when the kernel has decided how the guest finds its devices.
///
/// # Errors
/// It would be in XenStore mode.
pub(crate) fn check_backends(uid: u32, config: &DomainConfig) -> Result<(), MemberRefusal> {
    let is_served = config.store.backends() == Backends::Noxsd;
    if uid == ROOT || is_served { Ok(()) } else { Err(MemberRefusal::XenStoreMode(uid)) }
}

/// What some guests take together.
#[derive(Debug, Default)]
struct Usage {
    guests: usize,
    memory: KiB,
}

impl Usage {
    fn add(&mut self, guest: &MemberGuest) {
        self.guests += 1;
        self.memory = KiB(self.memory.0.saturating_add(guest.memory.0));
    }

    /// Returns whether a guest with the memory `wanted` more would be too many.
    fn exceeds(&self, wanted: KiB, limit: KiB) -> bool {
        self.memory.0.saturating_add(wanted.0) > limit.0
    }
}

/// Returns whether a guest of this config may be restarted.
fn may_restart(config: &DomainConfig) -> bool {
    actions(config).any(Action::restarts)
}

/// Returns what a config says to do at the ends of a guest.
fn actions(config: &DomainConfig) -> impl Iterator<Item = Action> {
    let others = [config.on_watchdog(), config.on_soft_reset()];
    [config.on_poweroff, config.on_reboot, config.on_crash].into_iter().chain(others)
}

#[cfg(test)]
mod tests {
    use chaos::config::EncodedConfig;

    use super::*;
    use crate::uploads::Uploads;

    fn config(more: &str) -> DomainConfig {
        let text = format!("name='a'\ntype='pvh'\nkernel='/k'\nmemory=4\n{more}");
        chaos::config::parse_str("test", &text, &[], true).unwrap().config
    }

    fn limits() -> MemberLimits {
        MemberLimits { guests: 2, memory: KiB(10 << 10), ..MemberLimits::default() }
    }

    #[test]
    fn vcpus_count_as_memory() {
        let mut members = Members::default();
        let limits = MemberLimits { memory: KiB(20 << 10), ..limits() };
        let wide = config("vcpus=128");
        assert_eq!(members.check(7, &wide, &limits, None), Ok(()), "4 MiB and 127 vCPUs");
        members.created(7, [1; 16], &wide, None);
        let refused = members.check(7, &config("memory=5"), &limits, None).unwrap_err();
        assert!(matches!(refused, MemberRefusal::Memory { used: KiB(16288), .. }), "{refused:?}");
    }

    #[test]
    fn guests_and_memory_of_each_user_are_limited() {
        let (mut members, limits, small) = (Members::default(), limits(), config(""));
        members.created(7, [1; 16], &small, None);
        let large = config("memory=7");
        let memory = members.check(7, &large, &limits, None).unwrap_err();
        assert!(memory.is_of_number() && !MemberRefusal::Disk(7).is_of_number());
        let text = memory.to_string();
        assert!(text.contains("asks for 7168 KiB, has guests with 4096 KiB"), "{text}");
        assert_eq!(members.check(8, &large, &limits, None), Ok(()), "users are counted apart");
        members.created(7, [2; 16], &small, None);
        let refused = members.check(7, &small, &limits, None);
        assert_eq!(refused, Err(MemberRefusal::Guests { uid: 7, used: 2, limit: 2 }));
        assert_eq!(members.check(7, &small, &limits, Some(&[1; 16])), Ok(()), "its successor");
        members.retain(|handle| *handle == [1; 16]);
        assert_eq!(members.check(7, &small, &limits, None), Ok(()));
        members.created(ROOT, [3; 16], &small, None);
        assert_eq!(members.guests.len(), 1, "root has no limits");
    }

    #[test]
    fn all_users_together_leave_guests_and_memory_for_root() {
        let (mut members, small) = (Members::default(), config(""));
        let limits = MemberLimits { all_guests: 3, all_memory: KiB(14 << 10), ..limits() };
        for (handle, uid) in [(1, 7), (2, 8)] {
            members.created(uid, [handle; 16], &small, None);
        }
        let memory = members.check(9, &config("memory=7"), &limits, None).unwrap_err();
        assert!(memory.is_of_number());
        let text = memory.to_string();
        assert!(text.contains("have guests with 8192 KiB, and may have 14336 KiB"), "{text}");
        assert_eq!(members.check(9, &small, &limits, None), Ok(()));
        members.created(9, [3; 16], &small, None);
        let refused = members.check(10, &small, &limits, None).unwrap_err();
        assert_eq!(refused, MemberRefusal::AllGuests { used: 3, limit: 3 });
        assert!(refused.is_of_number());
        assert_eq!(members.check(9, &small, &limits, Some(&[3; 16])), Ok(()), "its successor");
    }

    #[test]
    fn the_guests_of_members_are_served_by_noxsd() {
        let members = Members::default();
        let refused = Err(MemberRefusal::XenStoreMode(7));
        for text in ["store='xenstore'", "store='xenstore'\nvif=['']"] {
            let config = config(text);
            assert_eq!(members.check(7, &config, &limits(), None), refused, "{text}");
            assert_eq!(check_backends(7, &config), refused, "{text}");
            assert_eq!(check_backends(ROOT, &config), Ok(()), "{text}");
        }
        let vif = config("store='noxs'\nvif=['']");
        assert_eq!(members.check(7, &vif, &limits(), None), Ok(()));
    }

    #[test]
    fn a_member_has_no_scripts() {
        let members = Members::default();
        for store in ["", "store='xenstore'\n"] {
            let config = config(&format!("{store}vif=['script=vif-route']"));
            let refused = members.check(7, &config, &limits(), None).unwrap_err();
            assert_eq!(refused, MemberRefusal::Key { uid: 7, key: "script" });
            assert!(refused.to_string().starts_with("script: only root may use this key"));
            // What reaches chaosd from a client has none.
            let sent = EncodedConfig::from(&config);
            assert!(!DomainConfig::try_from(sent).unwrap().has_scripts());
        }
    }

    #[test]
    fn a_member_has_no_disk_and_only_the_bridges_that_are_allowed() {
        let members = Members::default();
        let disk = config("store='xenstore'\ndisk=['/dev/sda,raw,xvda,rw']");
        assert_eq!(members.check(7, &disk, &limits(), None), Err(MemberRefusal::Disk(7)));
        let vif = config("vif=['bridge=inner']");
        assert_eq!(members.check(7, &vif, &limits(), None), Ok(()));
        let limits = MemberLimits { bridges: Some(vec!["outer".into()]), ..limits() };
        let refused = members.check(7, &vif, &limits, None).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "bridge=inner: must be one of outer (bridges= in [members] of chaosd.toml)"
        );
    }

    #[test]
    fn files_are_kept_only_for_a_guest_that_may_be_restarted() {
        let (mut members, uploads) = (Members::default(), Uploads::default());
        let limits = MemberLimits { files: KiB(100), ..MemberLimits::default() };
        let mut kernel = uploads.begin(7, 4 << 10, &limits).unwrap();
        assert!(kernel.append(&[1; 4 << 10]).unwrap());
        let kernel = uploads.complete(kernel).unwrap();
        let files = MemberFiles { kernel, ramdisk: None };
        let once = config("on_reboot='destroy'\non_crash='preserve'");
        members.created(7, [1; 16], &once, Some(files.clone()));
        members.created(7, [2; 16], &config("on_crash='restart'"), Some(files));
        assert!(members.files(&[1; 16]).is_none() && members.files(&[2; 16]).is_some());
        assert!(uploads.begin(7, 97 << 10, &limits).is_err(), "the kernel is still held");
        members.retain(|_| false);
        assert!(uploads.begin(7, 97 << 10, &limits).is_ok());
    }
}

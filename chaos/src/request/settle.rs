// SPDX-License-Identifier: GPL-3.0-or-later
//! Settles which kernel Xen starts, if that is not simply the one of the config.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;

use super::error::RequestError;
use crate::backends::disks::make_absolute;
use crate::bootloader::{self, BootFiles};
use crate::config::{Discovery, DomainConfig, OPEN_FILES};
use crate::guests::LifecycleError;
use crate::image::{Image, ImageError, SizeLimit, shim};

/// Files that the config of a guest refers to, and that no path leads to. They must stay open until the
/// guest is created.
#[derive(Debug, Default)]
#[must_use = "the guest is created from these files"]
pub struct HeldFiles {
    _files: Vec<File>,
}

/// Runs the bootloader if the config has one, decides whether a kernel starts as PVH or as PV if the
/// config leaves that open, and finds the PV shim if it needs one. A config with `type="pvh"` and
/// without a bootloader costs nothing.
///
/// # Errors
/// The bootloader finds no kernel, the kernel cannot be used, or the PV shim is needed and not
/// installed.
#[inline]
pub fn settle_kernel(config: &mut DomainConfig) -> Result<HeldFiles, RequestError> {
    if !config.undecided.kind && config.extras.is_none() {
        return Ok(HeldFiles::default());
    }
    settle_with_bootloader(config, geteuid().is_root())
}

#[cold]
fn settle_with_bootloader(
    config: &mut DomainConfig,
    is_root: bool,
) -> Result<HeldFiles, RequestError> {
    let held = boot(config)?;
    settle(config, is_root)?;
    Ok(held)
}

/// Runs the bootloader, if there is one, and has the config name what it finds.
fn boot(config: &mut DomainConfig) -> Result<HeldFiles, RequestError> {
    let Some(bootloader) = config.extras.as_mut().and_then(|extras| extras.bootloader.as_mut())
    else {
        return Ok(HeldFiles::default());
    };
    let Some(disk) = config.disks.first_mut() else { return Ok(HeldFiles::default()) };
    make_absolute(&mut disk.target)
        .map_err(|error| LifecycleError::from(error).about("create", &config.name))?;
    let BootFiles { kernel, ramdisk, cmdline } = bootloader::run(bootloader, disk)?;
    config.kernel = path_of(&kernel);
    config.ramdisk = ramdisk.as_ref().map(path_of);
    config.cmdline = cmdline;
    Ok(HeldFiles { _files: [Some(kernel), ramdisk].into_iter().flatten().collect() })
}

/// Returns the path of an open file in this process.
fn path_of(file: &File) -> PathBuf {
    Path::new(OPEN_FILES).join(file.as_raw_fd().to_string())
}

fn settle(config: &mut DomainConfig, is_root: bool) -> Result<(), RequestError> {
    if config.undecided.kind && config.extras().shim.is_none() {
        let limit = SizeLimit::of_guest(config.memory);
        // Other errors are those of the create.
        if let Err(ImageError::NoPvhNote) = Image::open_unread(&config.kernel, limit) {
            check_pv(config, is_root)?;
            config.use_shim();
        }
    }
    config.undecided.kind = false;
    if let Some(shim) = config.extras.as_mut().and_then(|extras| extras.shim.as_mut())
        && shim.path.is_none()
    {
        shim.path = Some(shim::find()?);
    }
    Ok(())
}

/// Checks that a guest of this config may have a PV kernel, which nothing in it says.
fn check_pv(config: &DomainConfig, is_root: bool) -> Result<(), RequestError> {
    let refused = |why| {
        let kernel = config.lasting_path(&config.kernel).into_owned();
        Err(RequestError::PvKernel { kernel, why })
    };
    if !config.undecided.store && config.store.discovery() == Discovery::DevicePage {
        return refused("which finds its devices in XenStore; remove store=");
    }
    if !is_root {
        return refused("which only root may start; name a kernel with a PVH entry, or ask root");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::config::{Store, parse_str};
    use crate::image::tests::{kernel, pv_kernel};

    fn settled(bytes: &[u8], more: &str) -> (Result<(), RequestError>, DomainConfig) {
        settled_for(true, bytes, more)
    }

    fn settled_for(
        is_root: bool,
        bytes: &[u8],
        more: &str,
    ) -> (Result<(), RequestError>, DomainConfig) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("k");
        fs::write(&path, bytes).unwrap();
        let text = format!("name='a'\nkernel='{}'\n{more}", path.display());
        let mut config = parse_str("x", &text, &[], true).unwrap().config;
        (settle(&mut config, is_root), config)
    }

    #[test]
    fn a_kernel_that_can_starts_as_pvh_and_another_one_as_pv() {
        let (result, config) = settled(&kernel(), "");
        result.unwrap();
        assert!(config.extras.is_none() && !config.undecided.kind);
        let (result, config) = settled(&pv_kernel(), "pvshim_path='/shim'");
        // Which needs the shim of this machine.
        assert!(matches!(result, Err(RequestError::Shim(_)) | Ok(())), "{result:?}");
        assert_eq!((config.store, config.extras().shim.is_some()), (Store::XenStore, true));
        let (_, config) = settled(&pv_kernel(), "pvshim_path='/shim'\nvif=['vifname=a']");
        assert!(config.extras().shim.is_some(), "a vif in XenStore can have a name");
        let error = settled(&pv_kernel(), "store='noxs'").0.unwrap_err().to_string();
        assert!(error.contains("remove store="), "{error}");
        let error = settled_for(false, &pv_kernel(), "").0.unwrap_err().to_string();
        assert!(error.contains("which only root may start"), "{error}");
        // What is wrong otherwise is found by the create.
        let (result, config) = settled(b"junk", "");
        result.unwrap();
        assert!(config.extras.is_none());
    }

    #[test]
    fn a_relative_path_of_a_bootloader_does_not_depend_on_the_working_directory() {
        let text = "name='a'\ntype='pvh'\nbootloader='sub/x'\ndisk=['/dev/null,raw,xvda,r']";
        let mut config = parse_str("x", text, &[], true).unwrap().config;
        // It is missing, or the user is not root.
        settle_kernel(&mut config).unwrap_err();
        let bootloader = config.extras().bootloader.as_deref().unwrap();
        assert_eq!(bootloader.program, Path::new("sub/x"));
    }

    #[test]
    fn the_shim_that_the_config_names_is_taken() {
        for more in ["type='pv'\n", "type='pvh'\npvshim=1\n"] {
            let (result, config) = settled(&pv_kernel(), &format!("{more}pvshim_path='/shim'"));
            result.unwrap();
            assert_eq!(config.boot_kernel(), std::path::Path::new("/shim"));
            assert_eq!(config.pv_kernel(), Some(config.kernel.as_path()));
        }
        let (result, config) = settled(&pv_kernel(), "type='pvh'");
        result.unwrap();
        assert_eq!((config.boot_kernel(), config.pv_kernel()), (config.kernel.as_path(), None));
    }
}

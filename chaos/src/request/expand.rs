// SPDX-License-Identifier: GPL-3.0-or-later
//! Derives the configs of the guests to create from one config.

use std::path::Path;

use super::error::RequestError;
use crate::backends::disks::make_absolute;
use crate::config::{self, DomainConfig};
use crate::guests::LifecycleError;
use crate::image::ImageError;

/// Returns the configs of the guests to create: without a `count` the given config, otherwise
/// `count` configs with the names `NAME-1`, `NAME-2` and so on and consecutive addresses.
///
/// Their paths are absolute, because `chaosd` opens the files again when it restarts a guest, and
/// has another working directory.
///
/// # Errors
/// The working directory cannot be read, a disk with a relative path does not exist, or the config
/// cannot be used for this number of guests.
pub fn expand(config: DomainConfig, count: Option<u32>) -> Result<Vec<DomainConfig>, RequestError> {
    let config = with_absolute_paths(config)?;
    match count {
        None => Ok(vec![config]),
        Some(count) => {
            config::numbered(&config, count).map_err(|source| RequestError::Count { count, source })
        }
    }
}

fn with_absolute_paths(mut config: DomainConfig) -> Result<DomainConfig, LifecycleError> {
    let absolute = |path: &Path| std::path::absolute(path).map_err(ImageError::Open);
    // It is empty if a bootloader is still to find the kernel, and only shown then.
    if !config.kernel.as_os_str().is_empty() {
        config.kernel = absolute(&config.kernel)
            .map_err(|source| LifecycleError::Kernel { path: config.kernel.clone(), source })?;
    }
    if let Some(ramdisk) = &mut config.ramdisk {
        *ramdisk = absolute(ramdisk)
            .map_err(|source| LifecycleError::Ramdisk { path: ramdisk.clone(), source })?;
    }
    let shim = config.extras.as_mut().and_then(|extras| extras.shim.as_mut()?.path.as_mut());
    if let Some(path) = shim {
        *path = absolute(path)
            .map_err(|source| LifecycleError::Kernel { path: path.clone(), source })?;
    }
    for disk in &mut config.disks {
        make_absolute(&mut disk.target)
            .map_err(|error| LifecycleError::from(error).about("create", &config.name))?;
    }
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::FailureClass;

    fn config(more: &str) -> DomainConfig {
        let text = format!("name='web'\ntype='pvh'\nkernel='boot/k'\nramdisk='/r'\n{more}");
        config::parse_str("test", &text, &[], true).unwrap().config
    }

    #[test]
    fn paths_are_absolute_and_names_are_numbered() {
        let here = std::env::current_dir().unwrap();
        let one = expand(config(""), None).unwrap();
        assert_eq!(one.len(), 1);
        assert_eq!(one[0].name, "web");
        assert_eq!(one[0].kernel, here.join("boot/k"));
        assert_eq!(one[0].ramdisk.as_deref(), Some(Path::new("/r")));
        let three = expand(config(""), Some(3)).unwrap();
        let names: Vec<_> = three.iter().map(|config| config.name.as_str()).collect();
        assert_eq!(names, ["web-1", "web-2", "web-3"]);
        assert!(three.iter().all(|config| config.kernel.is_absolute()));
    }

    #[test]
    fn a_relative_disk_is_looked_up_before_the_guest_is_requested() {
        let here = std::env::current_dir().unwrap();
        let one = expand(config("disk=['Cargo.toml,raw,xvda,r']"), None).unwrap();
        assert_eq!(one[0].disks[0].target, here.join("Cargo.toml"));
        let error = expand(config("disk=['none.img,raw,xvda,w']"), None).unwrap_err();
        assert_eq!(error.class(), FailureClass::WrongInput);
        let text = daemon::chain::chain(&error);
        assert!(
            text.starts_with("cannot create guest web: disk none.img does not exist"),
            "{text}"
        );
    }

    #[test]
    fn several_guests_with_one_mac_address_are_wrong_input() {
        let error = expand(config("vif=['mac=00:16:3e:00:00:01']"), Some(2)).unwrap_err();
        assert_eq!(error.class(), FailureClass::WrongInput);
        assert!(matches!(error, RequestError::Count { count: 2, .. }), "{error:?}");
    }
}

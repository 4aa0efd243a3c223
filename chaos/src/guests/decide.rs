// SPDX-License-Identifier: GPL-3.0-or-later
//! Decides how a guest discovers its devices, if its config leaves that open: the kernel's ELF notes
//! say what it can do.
//!
//! A kernel that reads the device page gets it. Another one that started with the device page would
//! run without a console or a network, and say nothing. So it is announced in XenStore, or refused.

use std::borrow::Cow;
use std::path::Path;

use noxs::layout::VERSION_MAJOR;

use super::error::LifecycleError;
use super::host::Host;
use crate::clients::xenstored::StoreError;
use crate::config::{Discovery, DomainConfig, Store, Undecided, VifConfig};
use crate::domain::Flavour;
use crate::image::{Expectations, Image};

/// Returns the config of a guest with nothing left open. `with_console` says whether the caller
/// connects to its console.
///
/// # Errors
/// The kernel reads no device page, or one of another version, and the config demands the device
/// page, or XenStore cannot be used. Or the kernel reads the device page without the IPv6 address that a
/// vif has, or reads nothing else and a vif has a script.
#[inline]
pub fn decide<'a, H>(
    host: &Host<H>,
    config: &'a DomainConfig,
    image: &Image,
    with_console: bool,
) -> Result<Cow<'a, DomainConfig>, LifecycleError> {
    let expects = image.expects();
    check_ipv6(config, expects)?;
    if config.is_store_of_script() {
        return with_scripts(config, expects);
    }
    if expects.device_page == Some(VERSION_MAJOR)
        || config.store.discovery() != Discovery::DevicePage
    {
        return Ok(Cow::Borrowed(config));
    }
    without_device_page(config, expects, with_console, || host.xenstored.call(|_| Ok(())))
}

/// Returns whether a guest is in XenStore mode only because of its kernel: `decided` is what
/// [`decide`] has made of `config`.
#[must_use]
pub fn is_kernels_store(config: &DomainConfig, decided: &DomainConfig) -> bool {
    config.undecided.store && decided.store != config.store
}

/// Checks that a kernel uses the IPv6 addresses of its vifs. It would start without them, and say
/// nothing.
#[inline]
fn check_ipv6(config: &DomainConfig, expects: Expectations) -> Result<(), LifecycleError> {
    if expects.uses_ipv6 || expects.device_page != Some(VERSION_MAJOR) {
        return Ok(());
    }
    let address = |(number, vif): (usize, &VifConfig)| Some((number, vif.ip6?.address));
    match config.vifs.iter().enumerate().find_map(address) {
        Some((vif, address)) => {
            Err(LifecycleError::NoIpv6 { kernel: config.kernel.clone(), vif, address })
        }
        None => Ok(()),
    }
}

/// Decides for a guest that is in XenStore mode only because of a script. A kernel that also reads the
/// device page may be an operating system, which can do both.
#[cold]
fn with_scripts(
    config: &DomainConfig,
    expects: Expectations,
) -> Result<Cow<'_, DomainConfig>, LifecycleError> {
    if expects.device_page.is_some() && !expects.is_operating_system {
        let vif = config.vifs.iter().position(|vif| vif.script.is_some()).unwrap_or_default();
        return Err(LifecycleError::NoScripts { kernel: config.kernel.clone(), vif });
    }
    Ok(Cow::Owned(DomainConfig { undecided: Undecided::default(), ..config.clone() }))
}

/// Checks that a kernel can use the devices of shells of a flavour. Otherwise no guest would ever take
/// such a shell.
///
/// # Errors
/// The devices are in the device page, and the kernel reads none, or one of another version.
pub fn check_flavour(
    flavour: &Flavour,
    kernel: &Path,
    image: &Image,
) -> Result<(), LifecycleError> {
    let has_devices = flavour.console || flavour.vifs > 0 || flavour.disks > 0;
    if flavour.store.discovery() != Discovery::DevicePage || !has_devices {
        return Ok(());
    }
    let kernel = kernel.to_owned();
    match image.expects().device_page {
        Some(VERSION_MAJOR) => Ok(()),
        Some(found) => Err(LifecycleError::DevicePageVersion { kernel, found }),
        None => Err(LifecycleError::NoDevicePage { kernel }),
    }
}

/// Decides for a kernel that reads no device page of this version. `reach` connects to xenstored.
#[cold]
fn without_device_page<'a>(
    config: &'a DomainConfig,
    expects: Expectations,
    with_console: bool,
    reach: impl FnOnce() -> Result<(), StoreError>,
) -> Result<Cow<'a, DomainConfig>, LifecycleError> {
    let kernel = || config.kernel.clone();
    if let Some(found) = expects.device_page {
        return Err(LifecycleError::DevicePageVersion { kernel: kernel(), found });
    }
    let needs_backends = !config.vifs.is_empty() || !config.disks.is_empty();
    if !needs_backends && !config.console {
        return Ok(Cow::Borrowed(config));
    }
    let decided = |change: fn(&mut DomainConfig)| {
        let mut decided = DomainConfig { undecided: Undecided::default(), ..config.clone() };
        change(&mut decided);
        Ok(Cow::Owned(decided))
    };
    let unreached = match config.undecided.store.then(reach) {
        Some(Ok(())) => return decided(|config| config.store = Store::XenStore),
        Some(Err(source)) => Some(source),
        None => None,
    };
    let wants_console = with_console || !config.undecided.console || expects.is_operating_system;
    if !needs_backends && !wants_console {
        return decided(|config| config.console = false);
    }
    Err(match unreached {
        Some(source) => LifecycleError::NeedsXenStore { kernel: kernel(), source },
        None => LifecycleError::NoDevicePage { kernel: kernel() },
    })
}

#[cfg(test)]
mod tests {
    use std::io;

    use xen::units::KiB;

    use super::*;
    use crate::config::Limits;
    use crate::failure::FailureClass;
    use crate::image::SizeLimit;
    use daemon::chain::chain;

    const LINUX: Expectations = Expectations { is_operating_system: true, ..BARE };
    const BARE: Expectations =
        Expectations { device_page: None, uses_ipv6: false, is_operating_system: false };
    const VIF: &str = "vif=['bridge=b']\n";

    fn config(more: &str) -> DomainConfig {
        let text = format!("name='web'\ntype='pvh'\nkernel='/boot/k'\n{more}");
        crate::config::parse_str("test", &text, &[], true).unwrap().config
    }

    /// Returns the store and the console that are decided, where xenstored runs or not.
    fn outcome(
        more: &str,
        expects: Expectations,
        xenstored: bool,
    ) -> Result<(Store, bool), LifecycleError> {
        let reach = || match xenstored {
            true => Ok(()),
            false => Err(StoreError::NotRunning { path: "/run/x".into() }),
        };
        let config = config(more);
        let decided = without_device_page(&config, expects, false, reach)?;
        assert!(matches!(decided, Cow::Borrowed(_)) || decided.undecided == Undecided::default());
        Ok((decided.store, decided.console))
    }

    #[test]
    fn an_ipv6_address_needs_a_kernel_that_uses_it() {
        let page = Expectations { device_page: Some(VERSION_MAJOR), ..BARE };
        let with_ipv6 = Expectations { uses_ipv6: true, ..page };
        let ipv6 = config("vif=['bridge=b,ip=10.0.0.2','bridge=b,ip=10.0.0.3 2001:db8::3']\n");
        for expects in [with_ipv6, LINUX, BARE] {
            check_ipv6(&ipv6, expects).unwrap();
        }
        let error = check_ipv6(&ipv6, page).unwrap_err();
        assert_eq!(error.class(), FailureClass::WrongInput);
        assert_eq!(
            error.to_string(),
            "vif1 has the IPv6 address 2001:db8::3, and kernel /boot/k was built without IPv6: remove \
             the address from ip=, or build the kernel with the feature ipv6 of its runtime"
        );
        check_ipv6(&config("vif=['bridge=b,ip=10.0.0.2']\n"), page).unwrap();
    }

    #[test]
    fn a_script_needs_a_kernel_that_finds_its_devices_in_xenstore() {
        let script = config("vif=['','script=vif-route']\n");
        assert!(script.is_store_of_script());
        let page = Some(VERSION_MAJOR);
        for expects in [LINUX, BARE, Expectations { device_page: page, ..LINUX }] {
            let decided = with_scripts(&script, expects).unwrap();
            assert_eq!((decided.store, decided.undecided), (Store::XenStore, Undecided::default()));
        }
        let expects = Expectations { device_page: page, ..BARE };
        let error = with_scripts(&script, expects).unwrap_err();
        assert_eq!(error.class(), FailureClass::WrongInput);
        let text = error.to_string();
        assert!(text.starts_with("vif1 has script=") && text.contains("/boot/k"), "{text}");
        assert!(
            text.ends_with("remove script=, and name a bridge of Linux with bridge="),
            "{text}"
        );
        // A config that demands XenStore gets it.
        let demands = config("store='xenstore'\nvif=['script=vif-route']\n");
        assert!(demands.has_scripts() && !demands.is_store_of_script());
    }

    #[test]
    fn another_kernel_is_announced_in_xenstore() {
        for expects in [LINUX, BARE] {
            for more in ["", "console=1", VIF, &format!("{VIF}console=0")] {
                let console = !more.contains("console=0");
                assert_eq!(outcome(more, expects, true).unwrap(), (Store::XenStore, console));
            }
        }
    }

    #[test]
    fn a_guest_without_devices_needs_neither() {
        for xenstored in [true, false] {
            for more in ["console=0", "console=0\nstore='noxs'"] {
                assert_eq!(outcome(more, LINUX, xenstored).unwrap(), (Store::Noxs, false));
            }
        }
        // The config does not ask for the console.
        for more in ["", "store='noxs'"] {
            assert_eq!(outcome(more, BARE, false).unwrap(), (Store::Noxs, false));
        }
        let config = config("");
        let refused =
            without_device_page(&config, BARE, true, || Err(StoreError::Unexpected)).unwrap_err();
        assert!(matches!(refused, LifecycleError::NeedsXenStore { .. }), "{refused:?}");
    }

    #[test]
    fn it_is_refused_if_it_would_start_without_its_devices() {
        for (more, expects) in [("", LINUX), (VIF, BARE), ("console=1", BARE)] {
            let refused = outcome(more, expects, false).unwrap_err();
            assert_eq!(refused.class(), FailureClass::NoDom0);
            let text = chain(&refused);
            for part in ["/boot/k", "ELF note \"chaos\"", "start xenstored and xenconsoled"] {
                assert!(text.contains(part), "{text}");
            }
        }
        let more = format!("{VIF}store='noxs'");
        let refused = outcome(&more, LINUX, true).unwrap_err();
        assert_eq!(refused.class(), FailureClass::WrongInput);
        assert!(refused.to_string().contains("store = \"xenstore\""), "{refused}");
        let config = config("");
        let lost = || Err(StoreError::Lost(io::ErrorKind::BrokenPipe.into()));
        let refused = without_device_page(&config, LINUX, false, lost).unwrap_err();
        assert!(chain(&refused).contains("connection to xenstored is lost"));
    }

    #[test]
    fn a_vif_keeps_its_name_where_the_kernel_of_dom0_serves_it() {
        let config = config("vif=['vifname=lan']");
        let decided = without_device_page(&config, LINUX, false, || Ok(())).unwrap();
        assert_eq!((decided.store, &decided.vifs), (Store::XenStore, &config.vifs));
    }

    #[test]
    fn a_flavour_needs_a_kernel_that_reads_its_devices() {
        let image = Image::parse(crate::image::tests::kernel(), SizeLimit::MOST).unwrap();
        let check = |store, console, vifs| {
            let flavour = Flavour {
                memory: KiB(8192),
                vcpus: 1,
                console,
                vifs,
                disks: 0,
                limits: Limits::default(),
                store,
            };
            check_flavour(&flavour, Path::new("/boot/k"), &image)
        };
        assert!(check(Store::XenStore, true, 1).is_ok());
        assert!(check(Store::Noxs, false, 0).is_ok());
        for (console, vifs) in [(true, 0), (false, 1)] {
            let refused = check(Store::Noxs, console, vifs).unwrap_err();
            assert!(matches!(refused, LifecycleError::NoDevicePage { .. }), "{refused:?}");
        }
    }

    #[test]
    fn another_version_of_the_page_is_refused() {
        let expects = Expectations { device_page: Some(VERSION_MAJOR + 1), ..BARE };
        let refused = outcome("console=0", expects, true).unwrap_err();
        assert_eq!(refused.class(), FailureClass::WrongInput);
        assert!(refused.to_string().contains("version 2 of the device page: must be 1"));
    }
}

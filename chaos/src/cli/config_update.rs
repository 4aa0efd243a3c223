// SPDX-License-Identifier: GPL-3.0-or-later
//! `chaos config-update`.

use chaos::clients::chaosd;
use chaos::guests::{self, Host};
use chaos::request::{expand, settle_kernel};

use super::create::load;
use super::failure::Failure;
use super::file_and_lines::file_and_lines;
use super::guest_args::ConfigUpdateArgs;
use super::host_error::HostError;
use super::output::Output;

/// Replaces the config that a guest is restarted with.
pub(super) fn run(args: &ConfigUpdateArgs, output: &mut Output) -> Result<(), Failure> {
    let (path, overrides) = file_and_lines(&args.arguments, args.config.as_deref())?;
    let path = path.ok_or_else(|| {
        let guest = &args.guest;
        HostError::Arguments(format!(
            "a config file is missing; name it: chaos config-update {guest} CONFIG"
        ))
    })?;
    let mut parsed = load(&path, &overrides, args.strict)?;
    for warning in &parsed.warnings {
        output.warning(warning);
    }
    let host = Host::open()?;
    guests::check_update(&host, &args.guest, &parsed.config.name)?;
    // A bootloader runs again at the restart; what it finds now shows that the config can be started.
    let _held = settle_kernel(&mut parsed.config)?;
    for config in expand(parsed.config, None)? {
        let updated = guests::update_config(&host, &args.guest, &config)?;
        let name = &updated.name;
        if !updated.restarts {
            output.warning(&format!(
                "nothing restarts guest {name} with the new config, because none of its actions does; \
                 set on_reboot=\"restart\""
            ));
        } else if !chaosd::client::is_running(&chaosd::socket()) {
            output.warning(&format!(
                "chaosd does not run, so nothing restarts guest {name} with the new config until \
                 chaosd is started"
            ));
        } else if !args.quiet {
            output.note(&format!(
                "domain {} keeps its config until guest {name} ends; chaosd restarts it with the new \
                 one",
                updated.domid
            ));
        }
    }
    Ok(())
}

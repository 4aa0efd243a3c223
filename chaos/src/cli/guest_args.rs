// SPDX-License-Identifier: GPL-3.0-or-later
//! The commands that look into guests and change their memory and vCPUs, and their arguments, which
//! are those of xl. Doc comments of fields are help texts.

use std::path::PathBuf;

use chaos::config::parse_memory;
use xen::units::KiB;

use super::host_args::NoArgs;

/// A command with its arguments.
#[derive(Debug)]
pub(crate) enum GuestCommand {
    DumpCore(DumpCoreArgs),
    MemMax(MemMaxArgs),
    MemSet(MemSetArgs),
    VcpuSet(VcpuSetArgs),
    Sysrq(SysrqArgs),
    VmList(NoArgs),
    ConfigUpdate(ConfigUpdateArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct ConfigUpdateArgs {
    /// Name or domid of the guest
    pub(crate) guest: String,
    /// Config file, in the syntax of xl.cfg(5), and lines to add to it, such as memory=16; - for standard
    /// input
    #[arg(value_name = "CONFIG|KEY=VALUE")]
    pub(crate) arguments: Vec<String>,
    /// Config file
    #[arg(short = 'f', long = "defconfig", value_name = "CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Refuse unknown keys instead of warning about them
    #[arg(long)]
    pub(crate) strict: bool,
    /// Print only warnings and errors
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct DumpCoreArgs {
    /// Name or domid of the guest
    pub(crate) guest: String,
    /// The core file; one that exists is replaced
    pub(crate) file: PathBuf,
}

/// Parses a size as xl does: in MiB, or with a unit.
fn memory(text: &str) -> Result<KiB, String> {
    let (number, unit) = match text.as_bytes().last() {
        Some(b'b' | b'B') => (&text[..text.len() - 1], 1),
        Some(b't' | b'T') => (&text[..text.len() - 1], 1 << 40),
        _ => return parse_memory(text).map_err(|error| error.to_string()),
    };
    let bytes = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
    let bytes = bytes.ok_or("must be a number of MiB, or a number and b, k, m, g or t")?;
    parse_memory(&format!("{}K", bytes >> 10)).map_err(|error| error.to_string())
}

#[derive(Debug, clap::Args)]
pub(crate) struct MemMaxArgs {
    /// Name or domid of the guest
    pub(crate) guest: String,
    /// The limit in MiB, or with a unit: b, k, m, g or t
    #[arg(value_parser = memory)]
    pub(crate) memory: KiB,
}

#[derive(Debug, clap::Args)]
pub(crate) struct MemSetArgs {
    /// Name or domid of the guest
    pub(crate) guest: String,
    /// The memory in MiB, or with a unit: b, k, m, g or t
    #[arg(value_parser = memory)]
    pub(crate) memory: KiB,
    /// Seconds to wait for a guest with a device page
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    pub(crate) timeout: u64,
}

#[derive(Debug, clap::Args)]
pub(crate) struct VcpuSetArgs {
    /// Name or domid of the guest
    pub(crate) guest: String,
    /// How many of its vCPUs the guest is to use
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) vcpus: u32,
    /// Allow more vCPUs than the machine has CPUs
    #[arg(short, long)]
    pub(crate) ignore_host: bool,
}

fn letter(text: &str) -> Result<char, String> {
    let mut letters = text.chars();
    match (letters.next(), letters.next()) {
        (Some(letter), None) if letter.is_ascii_graphic() => Ok(letter),
        _ => Err("must be one letter or digit, such as h".to_owned()),
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct SysrqArgs {
    /// Name or domid of the guest
    pub(crate) guest: String,
    /// The letter of Linux' magic SysRq key; h lists them on the guest's console
    #[arg(value_parser = letter)]
    pub(crate) letter: char,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_has_the_units_of_xl() {
        for (text, kib) in [
            ("64", 64 << 10),
            ("65536k", 64 << 10),
            ("67108864b", 64 << 10),
            ("64M", 64 << 10),
            ("1g", 1 << 20),
            ("1T", 1 << 30),
        ] {
            assert_eq!(memory(text), Ok(KiB(kib)), "{text}");
        }
        for wrong in ["", "b", "-1", "64mb", "4095b", "99999999999T", "x"] {
            assert!(memory(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_sysrq_is_one_letter() {
        assert_eq!(letter("h"), Ok('h'));
        assert!(letter("").is_err() && letter("hb").is_err() && letter("\n").is_err());
    }
}

//! What the keys mean: from settings to a [`DomainConfig`].

use std::ops::RangeInclusive;
use std::path::PathBuf;

use xen::units::KiB;

use super::action::Action;
use super::disk::{DiskConfig, MAX_DISKS, parse_disk};
use super::error::{ConfigError, Fault};
use super::keys::{self, ConfigKey, KeySupport, WhyNot};
use super::memory::parse_memory;
use super::name::check_name;
use super::parser::Setting;
use super::problem::ConfigProblem;
use super::source::{Source, SourcePosition, SourceSpan};
use super::store::Store;
use super::value::{Atom, Kind, Value};
use super::vif::{MAX_VIFS, VifConfig, parse_range, parse_vif};
use super::warning::{ConfigWarning, WarningKind};

/// Most vCPUs of a guest: what Xen gives to a PVH guest (`HVM_MAX_VCPUS`).
pub const MAX_VCPUS: u32 = *VCPUS.end() as u32;

/// Possible values of `vcpus=`.
const VCPUS: RangeInclusive<u16> = 1..=128;

/// Longest kernel command line in bytes, without the terminating zero: what fits in the boot page
/// behind the other boot structures.
pub const MAX_COMMAND_LINE: usize = 3890;

/// Memory of a guest that says nothing about it, as in xl.
pub const DEFAULT_MEMORY: KiB = KiB(32 << 10);

/// A guest as its config describes it, with all defaults filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DomainConfig {
    /// Its name: no path, no number, at most [`super::MAX_NAME`] bytes.
    pub name: String,
    /// The kernel, as it was written: relative to where the command runs.
    pub kernel: PathBuf,
    /// The ramdisk, likewise.
    pub ramdisk: Option<PathBuf>,
    /// Its memory: whole pages, from 1 MiB.
    pub memory: KiB,
    /// Its vCPUs, from 1 to [`MAX_VCPUS`].
    pub vcpus: u32,
    /// The kernel's command line, made of `cmdline=` or of `root=` and `extra=`.
    pub cmdline: String,
    /// Whether it has a console.
    pub console: bool,
    /// Its network interfaces, at most [`MAX_VIFS`].
    pub vifs: Vec<VifConfig>,
    /// Its disks, at most [`MAX_DISKS`]; in XenStore mode only.
    pub disks: Vec<DiskConfig>,
    /// What announces its devices.
    pub store: Store,
    /// What happens when it powers off.
    pub on_poweroff: Action,
    /// What happens when it reboots.
    pub on_reboot: Action,
    /// What happens when it crashes.
    pub on_crash: Action,
}

/// Returns the guest that the settings describe, and the warnings about them.
pub(super) fn build(
    file: &str,
    sources: &[Source<'_>],
    settings: &[Setting],
    strict: bool,
) -> Result<(DomainConfig, Vec<ConfigWarning>), ConfigError> {
    let mut reader = Reader { file, sources, settings, warnings: Vec::new() };
    reader.check_keys(strict)?;
    let config = reader.domain()?;
    Ok((config, reader.warnings))
}

struct Reader<'a> {
    file: &'a str,
    sources: &'a [Source<'a>],
    settings: &'a [Setting],
    warnings: Vec<ConfigWarning>,
}

impl<'a> Reader<'a> {
    /// Refuses keys that are not supported, and warns about unknown ones.
    fn check_keys(&mut self, strict: bool) -> Result<(), ConfigError> {
        for setting in self.settings {
            let problem = match keys::find(&setting.key) {
                Some(ConfigKey { support: KeySupport::Supported | KeySupport::Own, .. }) => {
                    continue;
                }
                Some(ConfigKey { support: KeySupport::DeviceList, .. })
                    if is_empty(&setting.value) =>
                {
                    continue;
                }
                Some(ConfigKey { name: key, support: KeySupport::NotSupported(why) }) => {
                    ConfigProblem::KeyNotSupported { key, why }
                }
                Some(ConfigKey { name: key, support: KeySupport::DeviceList }) => {
                    ConfigProblem::KeyNotSupported { key, why: WhyNot::NotYet }
                }
                None => {
                    let key = setting.key.clone();
                    let nearest = keys::nearest_key(&key);
                    if !strict {
                        self.warn(setting.key_span, WarningKind::UnknownKey { key, nearest });
                        continue;
                    }
                    ConfigProblem::UnknownKey { key, nearest }
                }
            };
            return Err(self.error(setting.key_span, problem));
        }
        Ok(())
    }

    fn domain(&mut self) -> Result<DomainConfig, ConfigError> {
        self.check_type()?;
        let store = self.store()?;
        let memory = self.memory("memory")?.map_or(DEFAULT_MEMORY, |(memory, _)| memory);
        if let Some((maxmem, span)) = self.memory("maxmem")?
            && maxmem != memory
        {
            return Err(self.error(span, ConfigProblem::Differs { key: "maxmem", of: "memory" }));
        }
        let vcpus = self.number("vcpus", VCPUS)?.map_or(1, |(vcpus, _)| vcpus);
        if let Some((maxvcpus, span)) = self.number("maxvcpus", VCPUS)?
            && maxvcpus != vcpus
        {
            return Err(self.error(span, ConfigProblem::Differs { key: "maxvcpus", of: "vcpus" }));
        }
        Ok(DomainConfig {
            name: self.name()?,
            kernel: self.path("kernel")?.ok_or_else(|| self.missing("kernel", "/boot/vmlinuz"))?,
            ramdisk: self.path("ramdisk")?,
            memory,
            vcpus: vcpus.into(),
            cmdline: self.cmdline()?,
            console: self.number("console", 0..=1)?.is_none_or(|(console, _)| console == 1),
            vifs: self.vifs()?,
            disks: self.disks(store)?,
            store,
            on_poweroff: self.action("on_poweroff", Action::Destroy)?,
            on_reboot: self.action("on_reboot", Action::Restart)?,
            on_crash: self.action("on_crash", Action::Destroy)?,
        })
    }

    /// `type=`, and `builder=`, which was its name before Xen 4.10.
    fn check_type(&mut self) -> Result<(), ConfigError> {
        let builder = self.text("builder")?;
        let Some((text, value)) = self.text("type")? else {
            match builder {
                Some(("generic" | "linux", _)) | None => {
                    let end = SourceSpan { source: 0, start: 0, end: 0 };
                    self.warn(builder.map_or(end, |(_, value)| value.span), WarningKind::NoType);
                    return Ok(());
                }
                Some((text, value)) => return Err(self.guest_type("builder", text, value)),
            }
        };
        if text != "pvh" {
            return Err(self.guest_type("type", text, value));
        }
        match builder {
            None => {}
            Some(("generic" | "linux", value)) => self.warn(value.span, WarningKind::Builder),
            Some((text, value)) => return Err(self.guest_type("builder", text, value)),
        }
        Ok(())
    }

    fn guest_type(&self, key: &'static str, text: &str, value: &Value) -> ConfigError {
        let why = match text {
            "pv" => "chaos creates PVH guests; a kernel with a PVH entry boots with type = \"pvh\"",
            "hvm" => "it needs a device model; a kernel with a PVH entry boots with type = \"pvh\"",
            _ => {
                let text = text.to_owned();
                return self.error(value.span, ConfigProblem::GuestType { key, text });
            }
        };
        let value_text = text.to_owned();
        self.error(value.span, ConfigProblem::ValueNotSupported { key, value: value_text, why })
    }

    /// `store=`: what announces devices to the guest.
    fn store(&self) -> Result<Store, ConfigError> {
        let Some((text, value)) = self.text("store")? else { return Ok(Store::default()) };
        text.parse()
            .map_err(|()| self.error(value.span, ConfigProblem::Store { text: text.to_owned() }))
    }

    fn name(&self) -> Result<String, ConfigError> {
        let Some((name, value)) = self.text("name")? else {
            return Err(self.missing("name", "web"));
        };
        check_name(name).map_err(|error| {
            self.error(value.span, ConfigProblem::Name { name: name.to_owned(), error })
        })?;
        Ok(name.to_owned())
    }

    /// As xl makes it: `cmdline=`, or else `root=` and `extra=`.
    fn cmdline(&mut self) -> Result<String, ConfigError> {
        let cmdline = self.text("cmdline")?;
        let root = self.text("root")?;
        let extra = self.text("extra")?;
        if let Some((cmdline, _)) = cmdline {
            for (key, value) in [("root", root), ("extra", extra)] {
                if let Some((_, value)) = value {
                    self.warn(value.span, WarningKind::Overridden { key });
                }
            }
            return Ok(cmdline.to_owned());
        }
        Ok(match (root, extra) {
            (Some((root, _)), Some((extra, _))) => format!("root={root} {extra}"),
            (Some((root, _)), None) => format!("root={root}"),
            (None, Some((extra, _))) => extra.to_owned(),
            (None, None) => String::new(),
        })
    }

    fn vifs(&mut self) -> Result<Vec<VifConfig>, ConfigError> {
        let Some(setting) = self.find("vif") else { return Ok(Vec::new()) };
        let Kind::List(values) = &setting.value.kind else {
            let wanted = "a list of strings, such as ['bridge=xenbr0']";
            let found = setting.value.kind_name();
            let problem = ConfigProblem::Type { key: "vif", wanted, found };
            return Err(self.error(setting.value.span, problem));
        };
        if let Some(value) = values.get(MAX_VIFS) {
            return Err(self.error(value.span, ConfigProblem::TooManyVifs { most: MAX_VIFS }));
        }
        let sources = self.sources;
        values
            .iter()
            .map(|value| parse_vif(value, sources, &mut self.warnings))
            .collect::<Result<_, _>>()
            .map_err(|fault| fault.into_error(sources))
    }

    fn disks(&self, store: Store) -> Result<Vec<DiskConfig>, ConfigError> {
        let Some(setting) = self.find("disk") else { return Ok(Vec::new()) };
        let Kind::List(values) = &setting.value.kind else {
            let wanted = "a list of strings, such as ['/srv/a.img,raw,xvda,rw']";
            let found = setting.value.kind_name();
            let problem = ConfigProblem::Type { key: "disk", wanted, found };
            return Err(self.error(setting.value.span, problem));
        };
        if !store.backends().serve_disks() && !values.is_empty() {
            return Err(self.error(setting.key_span, ConfigProblem::XenStoreOnly { key: "disk" }));
        }
        if let Some(value) = values.get(MAX_DISKS) {
            return Err(self.error(value.span, ConfigProblem::TooManyDisks { most: MAX_DISKS }));
        }
        let mut disks: Vec<DiskConfig> = Vec::new();
        for value in values {
            let disk = self.disk(value)?;
            if disks.iter().any(|other| other.id == disk.id) {
                return Err(self.error(value.span, ConfigProblem::DiskTwice { vdev: disk.vdev }));
            }
            disks.push(disk);
        }
        Ok(disks)
    }

    fn disk(&self, value: &Value) -> Result<DiskConfig, ConfigError> {
        let problem = match &value.kind {
            Kind::Atom(Atom { text, .. }) => match parse_disk(text) {
                Ok(disk) => return Ok(disk),
                Err(problem) => ConfigProblem::Disk { text: text.clone(), problem },
            },
            Kind::List(_) => {
                let wanted = "a list of strings, such as ['/srv/a.img,raw,xvda,rw']";
                ConfigProblem::Type { key: "disk", wanted, found: "a list in a list" }
            }
        };
        Err(self.error(value.span, problem))
    }

    fn action(&self, key: &'static str, default: Action) -> Result<Action, ConfigError> {
        let Some((text, value)) = self.text(key)? else { return Ok(default) };
        text.parse().map_err(|error| self.error(value.span, ConfigProblem::Action { key, error }))
    }

    fn memory(&self, key: &'static str) -> Result<Option<(KiB, SourceSpan)>, ConfigError> {
        let Some((text, value)) = self.text(key)? else { return Ok(None) };
        match parse_memory(text) {
            Ok(memory) => Ok(Some((memory, value.span))),
            Err(error) => {
                let text = text.to_owned();
                Err(self.error(value.span, ConfigProblem::Memory { key, text, error }))
            }
        }
    }

    fn number(
        &self,
        key: &'static str,
        range: RangeInclusive<u16>,
    ) -> Result<Option<(u16, SourceSpan)>, ConfigError> {
        let Some((text, value)) = self.text(key)? else { return Ok(None) };
        parse_range(key, text, range)
            .map(|number| Some((number, value.span)))
            .map_err(|problem| self.error(value.span, problem))
    }

    fn path(&self, key: &'static str) -> Result<Option<PathBuf>, ConfigError> {
        match self.text(key)? {
            Some(("", value)) => Err(self.error(value.span, ConfigProblem::Empty { key })),
            text => Ok(text.map(|(text, _)| PathBuf::from(text))),
        }
    }

    /// The text of a key that is a number or a string.
    fn text(&self, key: &'static str) -> Result<Option<(&'a str, &'a Value)>, ConfigError> {
        let Some(Setting { value, .. }) = self.find(key) else { return Ok(None) };
        match &value.kind {
            Kind::Atom(Atom { text, .. }) => Ok(Some((text, value))),
            Kind::List(_) => {
                let wanted = "a number or a string";
                let problem = ConfigProblem::Type { key, wanted, found: value.kind_name() };
                Err(self.error(value.span, problem))
            }
        }
    }

    fn find(&self, key: &str) -> Option<&'a Setting> {
        self.settings.iter().find(|setting| setting.key == key)
    }

    fn warn(&mut self, span: SourceSpan, kind: WarningKind) {
        self.warnings.push(ConfigWarning { place: SourcePosition::new(self.sources, span), kind });
    }

    fn error(&self, span: SourceSpan, problem: ConfigProblem) -> ConfigError {
        Fault { span, problem }.into_error(self.sources)
    }

    fn missing(&self, key: &'static str, example: &'static str) -> ConfigError {
        ConfigError::Missing { file: self.file.to_owned(), key, example }
    }
}

fn is_empty(value: &Value) -> bool {
    matches!(&value.kind, Kind::List(values) if values.is_empty())
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reads what a toolstack wrote into a guest's memory, without trusting its addresses.

use core::ops::Range;

use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::{MemmapEntry, ModlistEntry, StartInfo, XEN_HVM_START_MAGIC_VALUE};

/// Physical memory, from which structures are copied.
pub trait Physical {
    /// Copies memory at `address` to `to`; `None` if not all of it exists.
    fn read(&self, address: u64, to: &mut [u8]) -> Option<()>;
}

impl Physical for [u8] {
    /// Memory that begins at address 0.
    fn read(&self, address: u64, to: &mut [u8]) -> Option<()> {
        let address = usize::try_from(address).ok()?;
        to.copy_from_slice(self.get(address..address.checked_add(to.len())?)?);
        Some(())
    }
}

/// Why a `start_info` cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartInfoError {
    /// It does not begin with the magic number, but with this.
    Magic(u32),
    /// It has no memory map: it is version 0, or the map is empty.
    NoMemoryMap,
    /// It contains this address, which is not in memory.
    Address(u64),
}

/// A `start_info` in memory.
///
/// Each access copies from the memory; an invalid address is an error, never an invalid access.
#[derive(Clone, Copy, Debug)]
pub struct View<'a, M: ?Sized> {
    memory: &'a M,
    /// The structure itself.
    pub info: StartInfo,
}

impl<'a, M: Physical + ?Sized> View<'a, M> {
    /// Copies the structure at `address`.
    ///
    /// # Errors
    /// It is not a `start_info`, has no memory map, or is not in memory.
    pub fn open(memory: &'a M, address: u64) -> Result<Self, StartInfoError> {
        let info: StartInfo = read(memory, address)?;
        if info.magic != XEN_HVM_START_MAGIC_VALUE {
            return Err(StartInfoError::Magic(info.magic));
        }
        if info.version == 0 || info.memmap_entries == 0 {
            return Err(StartInfoError::NoMemoryMap);
        }
        Ok(Self { memory, info })
    }

    /// Returns the entries of the memory map, each an error if it is not in memory.
    pub fn memory_map(&self) -> impl Iterator<Item = Result<MemmapEntry, StartInfoError>> + '_ {
        self.entries(self.info.memmap_paddr, self.info.memmap_entries)
    }

    /// Returns the modules, at most `most`, each an error if it is not in memory.
    pub fn modules(
        &self,
        most: u32,
    ) -> impl Iterator<Item = Result<ModlistEntry, StartInfoError>> + '_ {
        self.entries(self.info.modlist_paddr, self.info.nr_modules.min(most))
    }

    /// Returns the range of the text at `address`, without its final zero, at most `longest` bytes.
    /// Address 0 is an empty text.
    ///
    /// # Errors
    /// It is not in memory.
    pub fn text(&self, address: u64, longest: u64) -> Result<Range<u64>, StartInfoError> {
        let mut end = address;
        while address != 0
            && end.wrapping_sub(address) < longest
            && read::<u8, _>(self.memory, end)? != 0
        {
            end = end.wrapping_add(1);
        }
        Ok(address..end)
    }

    /// Copies bytes of the memory.
    ///
    /// # Errors
    /// They are not all in memory.
    pub fn bytes(&self, address: u64, to: &mut [u8]) -> Result<(), StartInfoError> {
        self.memory.read(address, to).ok_or(StartInfoError::Address(address))
    }

    fn entries<T: FromBytes + IntoBytes + Immutable>(
        &self,
        first: u64,
        count: u32,
    ) -> impl Iterator<Item = Result<T, StartInfoError>> + '_ {
        (0..u64::from(count)).map(move |number| {
            read(self.memory, first.wrapping_add(number * size_of::<T>() as u64))
        })
    }
}

fn read<T: FromBytes + IntoBytes, M: Physical + ?Sized>(
    memory: &M,
    address: u64,
) -> Result<T, StartInfoError> {
    let mut value = T::new_zeroed();
    memory.read(address, value.as_mut_bytes()).ok_or(StartInfoError::Address(address))?;
    Ok(value)
}

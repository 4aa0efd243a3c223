//! Guests of xl.

use std::fs;
use std::path::absolute;

use anyhow::Result;

/// Writes the config of a PVH guest with one vCPU for xl: its name, kernel, memory in MiB, and `more`
/// lines, each with a newline.
///
/// Our guests find no device page under xl, say so and stop, and are kept: that is after the create.
///
/// # Errors
/// The file cannot be written.
pub fn write_config(file: &str, name: &str, kernel: &str, memory: u64, more: &str) -> Result<()> {
    let kernel = absolute(kernel)?;
    let text = format!(
        "name='{name}'\ntype='pvh'\nkernel='{}'\nmemory={memory}\nvcpus=1\n\
         on_crash='preserve'\n{more}",
        kernel.display()
    );
    Ok(fs::write(file, text)?)
}

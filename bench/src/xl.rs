// SPDX-License-Identifier: GPL-3.0-or-later
//! Configs of guests that xl creates.

use std::fs;
use std::path::absolute;

use anyhow::Result;

/// Writes the config of a PVH guest with one vCPU for xl. `memory` is in MiB; `more` has further
/// lines, each with a newline.
///
/// Under xl a guest finds no device page. One that needs the page prints an error and shuts down as
/// crashed, after the create. The config keeps the domain, so that xl can destroy it as usual.
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

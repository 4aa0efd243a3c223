// SPDX-License-Identifier: GPL-3.0-or-later
//! Brings the JSON of both programs into one form. What xl leaves out has libxl's default
//! (`libxl__domain_build_info_setdefault`, tools/libs/light/libxl_create.c).

use std::collections::BTreeSet;

use serde_json::{Value, json};

/// The memory of a config that says nothing, in KiB.
const DEFAULT_MEMORY: u64 = 32 << 10;

/// The CPUs of `all`: xl's bitmaps have whole bytes, so those of a machine with one CPU have 8 bits.
const ALL: std::ops::Range<u64> = 0..8;

/// Returns what xl has understood of a config. It chooses a UUID if the text has none.
pub(super) fn of_xl(read: &Value, text: &str) -> Value {
    let (create, build) = (&read["c_info"], &read["b_info"]);
    let most = build["max_memkb"].as_u64();
    let memory = build["target_memkb"].as_u64().or(most).unwrap_or(DEFAULT_MEMORY);
    let vcpus = build["avail_vcpus"].as_array().map_or(1, Vec::len);
    let max_vcpus = build["max_vcpus"].as_u64().unwrap_or(1);
    let max_vcpus = usize::try_from(max_vcpus).expect("a few");
    // libxl has no sign for it.
    let offset = u32::try_from(build["rtc_timeoffset"].as_u64().unwrap_or(0)).expect("32 bits");
    let lists = |key: &str| -> Vec<Value> {
        let lists = build[key].as_array().into_iter().flatten().cloned();
        lists.chain(std::iter::repeat(Value::Null)).take(max_vcpus).collect()
    };
    let action = |key: &str| match read[key].as_str().unwrap_or("destroy") {
        "restart_rename" => "rename-restart".to_owned(),
        action => action.replace('_', "-"),
    };
    let schedule = &build["sched_params"];
    json!({
        "name": create["name"],
        "uuid": text.contains("uuid").then(|| create["uuid"].clone()),
        "kernel": build["kernel"],
        "ramdisk": build["ramdisk"],
        "cmdline": build["cmdline"].as_str().unwrap_or_default(),
        "memory_kib": memory,
        "max_memory_kib": most.unwrap_or(DEFAULT_MEMORY),
        "vcpus": vcpus,
        "max_vcpus": max_vcpus,
        "cpus": lists("vcpu_hard_affinity"),
        "cpus_soft": lists("vcpu_soft_affinity"),
        "cpu_weight": schedule["weight"],
        "cap": schedule["cap"],
        "pool": create["pool_name"],
        "tsc_mode": build["tsc_mode"].as_str().unwrap_or("default"),
        "timer_mode": build["timer_mode"].as_str().unwrap_or("no_delay_for_missed_ticks"),
        "rtc_timeoffset": offset.cast_signed(),
        "localtime": build["localtime"] == "True",
        "driver_domain": create["driver_domain"] == "True",
        "max_grant_frames": build["max_grant_frames"],
        "max_maptrack_frames": build["max_maptrack_frames"],
        "max_event_channels": build["event_channels"],
        "on_poweroff": action("on_poweroff"),
        "on_reboot": action("on_reboot"),
        "on_crash": action("on_crash"),
        "on_watchdog": action("on_watchdog"),
        "on_soft_reset": action("on_soft_reset"),
        "is_pv": create["type"] == "pv" || build["type.pvh"]["pvshim"] == "True",
        "bootloader": build["bootloader"],
        "bootloader_args": build["bootloader_args"].as_array().cloned().unwrap_or_default(),
        "vifs": each(&read["nics"], vif_of_xl),
        "disks": each(&read["disks"], disk_of_xl),
    })
}

fn each(list: &Value, one: fn(&Value) -> Value) -> Vec<Value> {
    list.as_array().into_iter().flatten().map(one).collect()
}

fn vif_of_xl(nic: &Value) -> Value {
    let rate = nic["rate_bytes_per_interval"].as_u64();
    let rate = rate.map(|bytes| (bytes, nic["rate_interval_usecs"].clone()));
    json!({
        "devid": nic["devid"].as_u64().unwrap_or(0),
        "mac": nic["mac"],
        "bridge": nic["bridge"].as_str().unwrap_or("xenbr0"),
        "name": nic["ifname"],
        "mtu": nic["mtu"].as_u64().unwrap_or(1500),
        "rate": rate,
        "script": nic["script"],
    })
}

fn disk_of_xl(disk: &Value) -> Value {
    json!({
        "vdev": disk["vdev"],
        "target": disk["pdev_path"],
        "read_only": disk["readwrite"].as_u64() != Some(1),
        "format": disk["format"],
    })
}

/// Returns what chaos has understood of a config.
pub(super) fn of_chaos(read: &Value) -> Value {
    let lists = |key: &str| -> Vec<Value> {
        let all = read[key].as_array().expect("a list for each vCPU");
        all.iter().map(|list| list.as_str().map(cpus).into()).collect()
    };
    let same = |key: &str| read[key].clone();
    json!({
        "name": same("name"),
        "uuid": same("uuid"),
        "kernel": same("kernel"),
        "ramdisk": same("ramdisk"),
        "cmdline": same("cmdline"),
        "memory_kib": same("memory_kib"),
        "max_memory_kib": same("max_memory_kib"),
        "vcpus": same("vcpus"),
        "max_vcpus": same("max_vcpus"),
        "cpus": lists("cpus"),
        "cpus_soft": lists("cpus_soft"),
        "cpu_weight": same("cpu_weight"),
        "cap": same("cap"),
        "pool": same("pool"),
        "tsc_mode": same("tsc_mode"),
        "timer_mode": same("timer_mode"),
        "rtc_timeoffset": same("rtc_timeoffset"),
        "localtime": same("localtime"),
        "driver_domain": same("driver_domain"),
        "max_grant_frames": same("max_grant_frames"),
        "max_maptrack_frames": same("max_maptrack_frames"),
        "max_event_channels": same("max_event_channels"),
        "on_poweroff": same("on_poweroff"),
        "on_reboot": same("on_reboot"),
        "on_crash": same("on_crash"),
        "on_watchdog": same("on_watchdog"),
        "on_soft_reset": same("on_soft_reset"),
        "is_pv": !read["pvshim"].is_null(),
        "bootloader": read["bootloader"]["program"],
        "bootloader_args": read["bootloader"]["args"].as_array().cloned().unwrap_or_default(),
        "vifs": each(&read["vifs"], vif_of_chaos),
        "disks": each(&read["disks"], disk_of_chaos),
    })
}

fn vif_of_chaos(vif: &Value) -> Value {
    json!({
        "devid": vif["devid"],
        "mac": vif["mac"],
        "bridge": vif["bridge"],
        "name": vif["name"],
        "mtu": vif["mtu"],
        "rate": vif["rate"],
        "script": vif["script"],
    })
}

fn disk_of_chaos(disk: &Value) -> Value {
    json!({
        "vdev": disk["vdev"],
        "target": disk["target"],
        "read_only": disk["read_only"],
        "format": disk["format"],
    })
}

/// Returns the CPUs of a list, which `chaos config` prints as it was written.
fn cpus(list: &str) -> Vec<u64> {
    let mut cpus = BTreeSet::new();
    for item in list.split(',') {
        let (range, is_added) = item.strip_prefix('^').map_or((item, true), |rest| (rest, false));
        let node = range.strip_prefix("node:").or_else(|| range.strip_prefix("nodes:"));
        let range = match (range, node) {
            ("all", _) => ALL,
            // Node 0 has the one CPU.
            (_, Some(node)) => 0..u64::from(node.starts_with('0')),
            _ => {
                let (first, last) = range.split_once('-').unwrap_or((range, range));
                let number = |text: &str| text.parse::<u64>().expect("a number");
                number(first)..number(last) + 1
            }
        };
        for cpu in range.filter(|cpu| ALL.contains(cpu)) {
            if is_added {
                cpus.insert(cpu)
            } else {
                cpus.remove(&cpu)
            };
        }
    }
    cpus.into_iter().collect()
}

// SPDX-License-Identifier: GPL-3.0-or-later
//! Messages that arrive at the sockets of chaosd and noxsd, and their answers.
#![no_main]

use chaos::clients::chaosd::protocol;
use chaos::config::{DomainConfig, EncodedConfig};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let request = protocol::decode::<protocol::Request>(bytes);
    if let Ok(request) = request {
        assert!(protocol::encode(&request).is_some(), "it is as short as it was");
        if let protocol::Request::Create { config, .. } = request {
            check(config);
        }
    }
    if let Ok(reply) = protocol::decode::<protocol::Reply>(bytes) {
        assert!(protocol::encode(&reply).is_some(), "it is as short as it was");
    }
    if let Ok(request) = noxs_control::decode::<noxs_control::Request>(bytes) {
        assert!(noxs_control::encode(&request).is_some(), "it is as short as it was");
    }
    if let Ok(reply) = noxs_control::decode::<noxs_control::Reply>(bytes) {
        assert!(noxs_control::encode(&reply).is_some(), "it is as short as it was");
    }
});

/// A config that passes the checks passes them again.
fn check(config: EncodedConfig) {
    if let Ok(config) = DomainConfig::try_from(config) {
        let again = DomainConfig::try_from(EncodedConfig::from(&config));
        assert_eq!(again.expect("it was allowed before"), config);
    }
}

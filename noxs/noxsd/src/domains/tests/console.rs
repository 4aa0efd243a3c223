// SPDX-License-Identifier: GPL-3.0-or-later
//! Tests of a console, its client and its guest.

use super::*;

#[test]
fn output_goes_to_the_client_and_input_to_the_guest() {
    let mut bed = Bed::new();
    let one = bed.running(1);
    let (port, _) = bed.ports(1);
    let client = ClientId(5);
    let open = |bed: &mut Bed, client| {
        bed.domains.open_console(one.id, client, ConsoleUse::Terminal).map(|(role, _)| role)
    };
    assert_eq!(open(&mut bed, client), Ok(ConsoleRole::Writer));
    let page = bed.page(1, CONSOLE_REF);
    console_frontend::print(&page, b"hello\n");
    bed.domains.event(port);
    bed.settle();
    assert_eq!(bed.clients.output, b"hello\n");
    assert_eq!(bed.domains.host.notified, [port]);
    bed.domains.input(one.id, client, b"ls\r").unwrap();
    bed.settle();
    assert_eq!(console_frontend::input(&page), b"ls\r");
    assert_eq!(bed.clients.wanted, 1);
    assert_eq!(bed.domains.close_console(one.id, client), None);
    assert_eq!(open(&mut bed, ClientId(6)), Ok(ConsoleRole::Writer));

    console_frontend::set_output_index(&page, 1 << 31);
    bed.domains.event(port);
    bed.settle();
    assert_eq!(bed.clients.closed, [ClientId(6)]);
    assert!(bed.broken(&one)[0].is_some());
    assert_eq!(open(&mut bed, client), Err(Refusal::NoDevice));
    // The vif still works.
    bed.send(1, 0, &frame_to(99, 1));
    bed.run(1);
    assert_eq!(bed.sent(1), [(0, 0)]);
}
